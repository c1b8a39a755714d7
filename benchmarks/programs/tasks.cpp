// Tasks of a C++ program, as its users write it. Prints seconds.
// usage: tasks sync COUNT BUDGET_S WORKERS   median of a call and its result, back to back
//        tasks async COUNT WORKERS           submit COUNT no-ops, get all, drop all
//        tasks map COUNT WORKERS             the same of one call of map(), each with an int
#include <haz/haz.h>

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <string>
#include <vector>

#include "../micro/probe.h"

namespace {

void noop() {}
HAZ_REMOTE(noop);

void takes_int(int /*item*/) {}
HAZ_REMOTE(takes_int);

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

double map_s(std::size_t count) {
  const auto task = haz::task(takes_int);
  std::vector<int> items(count);
  std::iota(items.begin(), items.end(), 0);
  haz::get(task.map(std::vector<int>(1000)));
  const double start_s = probe::now_s();
  std::vector<haz::ref<void>> refs = task.map(items);
  haz::get(refs);
  refs.clear();
  return probe::now_s() - start_s;
}

double measured_s(const std::string& what, std::size_t count, char** argv) {
  if (what == "sync") return sync_call_s(count, std::atof(argv[3]));
  return what == "map" ? map_s(count) : async_calls_s(count);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  const auto runtime = haz::init(argc, argv, {.num_cpus = std::atof(argv[argc - 1])});
  const auto count = static_cast<std::size_t>(std::atol(argv[2]));
  std::printf("%.9f\n", measured_s(argv[1], count, argv));
}
