// Tasks of a C++ program, as its users write it. Prints seconds.
// usage: tasks sync COUNT BUDGET_S WORKERS   median of a call and its result, back to back
//        tasks async COUNT WORKERS           submit COUNT no-ops, get all, drop all
#include <haz/haz.h>

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "../micro/probe.h"

namespace {

void noop() {}
HAZ_REMOTE(noop);

double sync_call_s(std::size_t count, double budget_s) {
  const auto task = haz::task(noop);
  for (int i = 0; i < 3; ++i)
    haz::get(task.remote());
  std::vector<double> seconds;
  seconds.reserve(count);
  const double deadline_s = probe::now_s() + budget_s;
  while (seconds.size() < count && probe::now_s() < deadline_s) {
    const double start_s = probe::now_s();
    haz::get(task.remote());
    seconds.push_back(probe::now_s() - start_s);
  }
  return probe::median(std::move(seconds));
}

double async_calls_s(std::size_t count) {
  const auto task = haz::task(noop);
  std::vector<haz::ref<void>> warm(1000);
  for (haz::ref<void>& one : warm)
    one = task.remote();
  haz::get(warm);
  std::vector<haz::ref<void>> refs;
  refs.reserve(count);
  const double start_s = probe::now_s();
  for (std::size_t i = 0; i < count; ++i)
    refs.push_back(task.remote());
  haz::get(refs);
  refs.clear();
  return probe::now_s() - start_s;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  const auto runtime = haz::init(argc, argv, {.num_cpus = std::atof(argv[argc - 1])});
  const auto count = static_cast<std::size_t>(std::atol(argv[2]));
  const bool sync = std::string(argv[1]) == "sync";
  std::printf("%.9f\n", sync ? sync_call_s(count, std::atof(argv[3])) : async_calls_s(count));
}
