// How long a task for many CPUs waits among streams of others, in times drawn from seeds. What
// bounds it is only how long the others run. HAZ_TEST_SEEDS=N runs N of them;
// HAZ_TEST_FIRST_SEED=S begins with S, to see a failure again.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <optional>
#include <random>
#include <vector>

#include "unit/sched/fake_node.h"

namespace haz {
namespace {

constexpr double kCpus = 4;
constexpr std::int64_t kTickNs = 2'000'000;

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text != nullptr && *text != '\0' ? std::strtoull(text, nullptr, 10) : otherwise;
}

/// A node whose tasks run for a number of ticks each. There always are more small ones than run.
class BusyNode {
 public:
  BusyNode(std::uint64_t seed, std::uint64_t longest) : random_(seed), longest_(longest) {
    for (const double cpus : {0.5, 1.0, 1.0, 2.0}) {
      small_.push_back(node_.function("small", cpus));
      if (random_() % 3 == 0) break;
    }
  }

  TaskId submit_large(double cpus) { return node_.submit(node_.function("large", cpus)); }

  /// Runs until a worker has begun `task`, at most for so many ticks; how many it took.
  std::uint64_t ticks_until_begun(TaskId task, std::uint64_t most) {
    std::uint64_t ticks = 0;
    while (!begun_.contains(task.value) && ticks < most && !testing::Test::HasFailure()) {
      step();
      ++ticks;
    }
    return ticks;
  }

  void step() {
    ++now_;
    for (auto it = running_.begin(); it != running_.end();) {
      const bool waits = needs_.contains(it->second.claim.task.value) &&
                         !ended_.contains(needs_[it->second.claim.task.value]);
      if (it->second.ends_at > now_ || waits) {
        ++it;
        continue;
      }
      const Running running = it->second;
      it = running_.erase(it);
      ended_.insert(running.claim.task.value);
      node_.finish(*running.worker, running.claim, "r", {}, running.ticks * kTickNs);
      node_.drop(running.claim.task);
    }
    while (node_.scheduler->counts().queued < 20)
      node_.submit(small_[random_() % small_.size()]);
    if (random_() % 4 == 0) {
      node_.answer_starts();
    } else {
      node_.dispatch();
    }
    begin_what_is_there();
    if (node_.scheduler->wants_tick()) node_.tick();
    begin_what_is_there();
  }

  /// From now on one that runs does not end before a small one has that is submitted now, and which
  /// it does not wait for in a way that the scheduler sees.
  void let_one_poll() {
    if (running_.empty()) return;
    needs_[running_.begin()->second.claim.task.value] = node_.submit(small_.front()).value;
  }

  void end() {
    while (!node_.scheduler->workers().empty())
      node_.die(*node_.scheduler->workers().front());
  }

 private:
  struct Running {
    Worker* worker;
    Claim claim;
    std::uint64_t ends_at;
    std::int64_t ticks;
  };

  void begin_what_is_there() {
    for (Worker* worker : node_.scheduler->workers()) {
      if (running_.contains(worker->process.value)) continue;
      const std::optional<Claim> claim = node_.actions.claim(worker->process);
      if (!claim) continue;
      begun_.insert(claim->task.value);
      const std::uint64_t ticks = 1 + random_() % longest_;
      running_[worker->process.value] = {worker, *claim, now_ + ticks,
                                         static_cast<std::int64_t>(ticks)};
    }
  }

  std::mt19937_64 random_;
  std::uint64_t longest_;
  FakeNode node_{kCpus};
  std::vector<Function*> small_;
  std::uint64_t now_ = 0;
  std::map<std::uint32_t, Running> running_;  ///< By process.
  std::set<std::uint64_t> begun_;
  std::set<std::uint64_t> ended_;
  std::map<std::uint64_t, std::uint64_t> needs_;
};

/// A worker may have one more in its ring than the one that it runs, so the longest lasts twice as
/// long; and before others make way, some overtake.
std::uint64_t bound_for(std::uint64_t longest) {
  constexpr std::uint64_t kFirstWindow = 64;
  return 10 * std::max(2 * longest, kFirstWindow) + 8 * longest;
}

template <typename Check>
void for_each_seed(const Check& check) {
  const std::uint64_t first = number_from("HAZ_TEST_FIRST_SEED", 1);
  const std::uint64_t count = number_from("HAZ_TEST_SEEDS", 300) / 10 + 1;
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE("HAZ_TEST_FIRST_SEED=" + std::to_string(seed) + " HAZ_TEST_SEEDS=1");
    for (const std::uint64_t longest : {1, 10, 100, 700}) {
      check(seed, longest);
      if (testing::Test::HasFailure()) return;
    }
  }
}

TEST(StarvationModel, ATaskForAllCpus) {
  for_each_seed([](std::uint64_t seed, std::uint64_t longest) {
    BusyNode node(seed, longest);
    for (std::uint64_t i = 0; i < 2 * longest; ++i)
      node.step();
    const TaskId large = node.submit_large(kCpus);
    const std::uint64_t bound = bound_for(longest);
    EXPECT_LT(node.ticks_until_begun(large, bound), bound) << "of tasks of " << longest << " ticks";
    node.end();
  });
}

TEST(StarvationModel, LargeOnesDoNotStarveEachOther) {
  for_each_seed([](std::uint64_t seed, std::uint64_t longest) {
    BusyNode node(seed, longest);
    for (std::uint64_t i = 0; i < longest; ++i)
      node.step();
    std::vector<TaskId> large;
    for (const double cpus : {4.0, 3.0, 3.5, 2.5})
      large.push_back(node.submit_large(cpus));
    const std::uint64_t bound = 4 * bound_for(longest);
    std::uint64_t ticks = 0;
    for (const TaskId task : large)
      ticks += node.ticks_until_begun(task, bound);
    EXPECT_LT(ticks, bound) << "of tasks of " << longest << " ticks";
    node.end();
  });
}

TEST(StarvationModel, WhatHoldsTheCpusMayNeedASmallOneFirst) {
  for_each_seed([](std::uint64_t seed, std::uint64_t longest) {
    BusyNode node(seed, longest);
    for (std::uint64_t i = 0; i < longest; ++i)
      node.step();
    const TaskId large = node.submit_large(kCpus);
    node.step();
    node.let_one_poll();
    const std::uint64_t bound = 8 * bound_for(longest);
    EXPECT_LT(node.ticks_until_begun(large, bound), bound) << "of tasks of " << longest << " ticks";
    node.end();
  });
}

}  // namespace
}  // namespace haz
