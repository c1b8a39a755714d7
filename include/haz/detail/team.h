/// @file
/// A team of threads that runs one function: OpenMP's, or std::thread where a program is compiled
/// without OpenMP.
#pragma once

#ifdef _OPENMP
#include <omp.h>
#else
#include <cstdlib>
#include <thread>
#include <vector>
#endif

namespace haz::detail {

#ifdef _OPENMP

inline int max_threads() { return omp_get_max_threads(); }

/// Whether a team started here would be of one thread anyway.
inline bool team_is_nested() { return omp_get_active_level() >= omp_get_max_active_levels(); }

/// Calls `work(thread, team_size)` in each thread of a team of at most `num_threads`, and returns
/// when all have returned. `work` must not throw.
template <class Work>
void run_team(int num_threads, const Work& work) {
#pragma omp parallel num_threads(num_threads) default(none) shared(work)
  work(omp_get_thread_num(), omp_get_num_threads());
}

#else

inline thread_local bool in_team = false;

inline int max_threads() {
  if (const char* limit = std::getenv("OMP_NUM_THREADS"); limit != nullptr) {
    const long number = std::strtol(limit, nullptr, 10);
    if (number > 0) return static_cast<int>(number < 4096 ? number : 4096);
  }
  const unsigned cores = std::thread::hardware_concurrency();
  return cores > 0 ? static_cast<int>(cores) : 1;
}

inline bool team_is_nested() { return in_team; }

template <class Work>
void run_team(int num_threads, const Work& work) {
  // jthread: those that were started are joined also when the next one can't be.
  std::vector<std::jthread> others;
  others.reserve(static_cast<std::size_t>(num_threads) - 1);
  const auto run = [&work, num_threads](int thread) {
    in_team = true;
    work(thread, num_threads);
    in_team = false;
  };
  for (int thread = 1; thread < num_threads; ++thread)
    others.emplace_back(run, thread);
  run(0);
}

#endif

}  // namespace haz::detail
