// The scheduler under event orders drawn from seeds. HAZ_TEST_SEEDS=N runs N of them instead of the
// few of the quick tier; HAZ_TEST_FIRST_SEED=S begins with S, to see a failure again.

#include <cstdlib>

#include "model/sched/simulated_node.h"

namespace haz {
namespace {

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text != nullptr && *text != '\0' ? std::strtoull(text, nullptr, 10) : otherwise;
}

TEST(SchedulerModel, RandomOrders) {
  constexpr int kSteps = 600;
  const std::uint64_t first = number_from("HAZ_TEST_FIRST_SEED", 1);
  const std::uint64_t count = number_from("HAZ_TEST_SEEDS", 300);
  std::size_t submitted_in_passing = 0;
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE("HAZ_TEST_FIRST_SEED=" + std::to_string(seed) + " HAZ_TEST_SEEDS=1");
    SimulatedNode node(seed);
    for (int i = 0; i < kSteps && !HasFailure(); ++i)
      node.step();
    if (HasFailure()) return;
    if (seed % 8 == 0) node.fail_all();
    node.drain();  // after fail_all: what was still under way
    if (HasFailure()) return;
    node.end();
    if (HasFailure()) return;
    submitted_in_passing += node.submitted_in_passing();
  }
  if (count >= 100) {
    EXPECT_GT(submitted_in_passing, count / 10) << "these seeds look at nothing";
  }
}

}  // namespace
}  // namespace haz
