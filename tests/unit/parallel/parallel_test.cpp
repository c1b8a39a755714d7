#include "haz/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <limits>
#include <mutex>
#include <numeric>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace haz {
namespace {

constexpr schedule kSchedules[] = {schedule::static_, schedule::dynamic, schedule::guided,
                                   schedule::runtime};

parallel_options options_of(schedule kind, int threads, std::int64_t chunk = 0) {
  return {.num_threads = threads, .schedule = kind, .chunk = chunk};
}

TEST(Range, CountsAsPythonDoes) {
  EXPECT_EQ(range(5).size(), 5);
  EXPECT_EQ(range(-5).size(), 0);
  EXPECT_EQ(range(std::size_t{7}).size(), 7);
  EXPECT_EQ(range(2, 9, 3).size(), 3);  // 2 5 8
  EXPECT_EQ(range(2, 9, 3)[2], 8);
  EXPECT_EQ(range(9, 2, -3).size(), 3);  // 9 6 3
  EXPECT_EQ(range(9, 2, -3)[2], 3);
  EXPECT_EQ(range(2, 9, -1).size(), 0);
  constexpr std::int64_t kLeast = std::numeric_limits<std::int64_t>::min();
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(range(kLeast, kMost).size(), std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(range(kMost, kLeast, kLeast).size(), 2);
  EXPECT_EQ(range(kMost, kLeast, kLeast)[1], -1);
  EXPECT_THROW(range(0, 1, 0), value_error);
}

TEST(ParallelFor, RunsEachIterationOnce) {
  for (const schedule kind : kSchedules) {
    for (const int threads : {1, 2, 3, 8}) {
      for (const std::int64_t chunk : {std::int64_t{0}, std::int64_t{1}, std::int64_t{7},
                                       std::numeric_limits<std::int64_t>::max()}) {
        for (const std::size_t size : {0U, 1U, 2U, 7U, 64U, 1000U}) {
          std::vector<std::atomic<int>> runs(size);
          parallel_for(size, options_of(kind, threads, chunk),
                       [&](std::int64_t i) { ++runs[static_cast<std::size_t>(i)]; });
          for (std::size_t i = 0; i < size; ++i)
            ASSERT_EQ(runs[i], 1) << "iteration " << i << " of " << size << ", schedule "
                                  << static_cast<int>(kind) << ", chunk " << chunk << ", "
                                  << threads << " threads";
        }
      }
    }
  }
}

TEST(ParallelFor, TakesRangesWithAStep) {
  std::mutex mutex;
  std::set<std::int64_t> seen;
  parallel_for({10, -10, -4}, {.num_threads = 3}, [&](std::int64_t i) {
    const std::scoped_lock lock(mutex);
    seen.insert(i);
  });
  EXPECT_EQ(seen, (std::set<std::int64_t>{10, 6, 2, -2, -6}));
}

TEST(ParallelFor, GivesTheItemsOfContainers) {
  std::vector<int> numbers(1000);
  std::iota(numbers.begin(), numbers.end(), 0);
  parallel_for(numbers, {.num_threads = 4}, [](int& item) { item *= 2; });
  parallel_for(std::span(numbers).first(10), [](int& item) { item += 1; });
  for (int i = 0; i < 1000; ++i)
    ASSERT_EQ(numbers[static_cast<std::size_t>(i)], 2 * i + (i < 10 ? 1 : 0));
}

TEST(ParallelFor, HasTheThreadsThatWereAskedFor) {
  std::mutex mutex;
  std::set<std::thread::id> threads;
  std::atomic<int> here{0};
  // Each of the three waits until the others are there: no thread can run two of them.
  parallel_for(3, {.num_threads = 3}, [&](std::int64_t) {
    ++here;
    while (here < 3)
      std::this_thread::yield();
    const std::scoped_lock lock(mutex);
    threads.insert(std::this_thread::get_id());
  });
  EXPECT_EQ(threads.size(), 3);
}

TEST(ParallelFor, StaticPartsAreEvenAndInOrder) {
  std::vector<std::thread::id> by(10);
  parallel_for(10, {.num_threads = 3}, [&](std::int64_t i) {
    by[static_cast<std::size_t>(i)] = std::this_thread::get_id();
  });
  for (const auto& [first, last] : {std::pair{0, 3}, {4, 6}, {7, 9}}) {
    for (int i = first; i <= last; ++i)
      EXPECT_EQ(by[static_cast<std::size_t>(i)], by[static_cast<std::size_t>(first)]) << i;
  }
  EXPECT_NE(by[0], by[4]);
  EXPECT_NE(by[4], by[7]);
}

TEST(ParallelFor, ALoopInALoopStaysInItsThread) {
  std::atomic<int> runs{0};
  parallel_for(4, {.num_threads = 2}, [&](std::int64_t) {
    const std::thread::id outer = std::this_thread::get_id();
    parallel_for(10, {.num_threads = 4}, [&](std::int64_t) {
      EXPECT_EQ(std::this_thread::get_id(), outer);
      ++runs;
    });
  });
  EXPECT_EQ(runs, 40);
}

TEST(ParallelFor, LoopsInSeveralThreadsDoNotMeet) {
  std::vector<std::thread> callers;
  std::atomic<std::int64_t> sum{0};
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&] {
      for (int round = 0; round < 20; ++round)
        parallel_for(100, options_of(schedule::dynamic, 2), [&](std::int64_t i) { sum += i; });
    });
  }
  for (std::thread& caller : callers)
    caller.join();
  EXPECT_EQ(sum, 4 * 20 * 4950);
}

TEST(ParallelFor, AnExceptionComesOutOnce) {
  for (const schedule kind : kSchedules) {
    for (const int threads : {1, 2, 8}) {
      int caught = 0;
      try {
        // All of them throw.
        parallel_for(1000, options_of(kind, threads),
                     [](std::int64_t i) { throw std::runtime_error(std::to_string(i)); });
      } catch (const std::runtime_error& error) {
        ++caught;
        EXPECT_LT(std::stoi(error.what()), 1000);
      }
      EXPECT_EQ(caught, 1);
    }
  }
}

TEST(ParallelFor, AfterAnExceptionNoChunkBegins) {
  std::atomic<int> runs{0};
  std::atomic<bool> thrown{false};
  // The other thread waits in its first chunk until the exception is on its way.
  EXPECT_THROW(parallel_for(std::int64_t{1} << 40, options_of(schedule::dynamic, 2, 1),
                            [&](std::int64_t i) {
                              ++runs;
                              if (i == 0) {
                                thrown = true;
                                throw 7;
                              }
                              while (!thrown)
                                std::this_thread::yield();
                            }),
               int);
  // Without an end to the loop this would run for ever.
  EXPECT_GE(runs, 1);
}

TEST(ParallelFor, RefusesNonsense) {
  const auto nothing = [](std::int64_t) {};
  EXPECT_THROW(parallel_for(5, {.num_threads = -1}, nothing), value_error);
  EXPECT_THROW(parallel_for(5, {.chunk = -1}, nothing), value_error);
  EXPECT_THROW(parallel_for(0, {.num_threads = -1}, nothing), value_error);
}

TEST(ParallelReduce, SumsAsAPlainLoopDoes) {
  for (const schedule kind : kSchedules) {
    for (const int threads : {1, 2, 3, 8}) {
      for (const std::int64_t size : {0, 1, 15, 16, 17, 1000}) {
        const std::int64_t sum = parallel_reduce(size, options_of(kind, threads), std::int64_t{5},
                                                 [](std::int64_t i) { return i; });
        ASSERT_EQ(sum, 5 + size * (size - 1) / 2);
      }
    }
  }
}

TEST(ParallelReduce, TheInitialValueCountsOnce) {
  const double sum = parallel_reduce(100, {.num_threads = 4}, 1000.0, [](auto) { return 1.0; });
  EXPECT_EQ(sum, 1100.0);
}

TEST(ParallelReduce, CombinesAsTold) {
  const auto most = [](double a, double b) { return a > b ? a : b; };
  const auto at = [](std::int64_t i) { return static_cast<double>((i * 7919) % 1000); };
  EXPECT_EQ(parallel_reduce(1000, {.num_threads = 3}, -1.0, at, most), 999.0);
  EXPECT_EQ(parallel_reduce(0, -1.0, at, most), -1.0);
}

TEST(ParallelReduce, TakesValuesThatOwnMemory) {
  const std::string letters = parallel_reduce(
      100, {.num_threads = 4}, std::string("x"),
      [](std::int64_t i) { return std::string(1, static_cast<char>('a' + i % 26)); });
  // Static parts are combined in their order.
  ASSERT_EQ(letters.size(), 101);
  for (std::size_t i = 0; i < 100; ++i)
    ASSERT_EQ(letters[i + 1], static_cast<char>('a' + i % 26));
}

TEST(ParallelReduce, TheSameThreadsGiveTheSameSum) {
  const auto term = [](std::int64_t i) { return 1.0 / static_cast<double>(i + 1); };
  const double first = parallel_reduce(100'000, {.num_threads = 3}, 0.0, term);
  for (int round = 0; round < 10; ++round)
    ASSERT_EQ(parallel_reduce(100'000, {.num_threads = 3}, 0.0, term), first);
}

TEST(ParallelReduce, AnExceptionComesOut) {
  EXPECT_THROW(parallel_reduce(1000, {.num_threads = 4}, std::string(),
                               [](std::int64_t i) -> std::string {
                                 if (i == 500) throw std::out_of_range("500");
                                 return "a string too long for the place inside of the object";
                               }),
               std::out_of_range);
}

#ifdef _OPENMP

TEST(ParallelFor, FollowsWhatOpenMpWasTold) {
  omp_sched_t kind{};
  int chunk = 0;
  omp_get_schedule(&kind, &chunk);
  omp_set_schedule(omp_sched_static, 2);
  std::vector<std::thread::id> by(8);
  parallel_for(8, options_of(schedule::runtime, 2), [&](std::int64_t i) {
    by[static_cast<std::size_t>(i)] = std::this_thread::get_id();
  });
  omp_set_schedule(kind, chunk);
  for (const int i : {1, 4, 5})  // chunks of two, in turn
    EXPECT_EQ(by[static_cast<std::size_t>(i)], by[0]) << i;
  for (const int i : {2, 3, 6, 7})
    EXPECT_NE(by[static_cast<std::size_t>(i)], by[0]) << i;
}

TEST(ParallelFor, KeepsToTheLimitOfThreads) {
  const int before = omp_get_max_threads();
  omp_set_num_threads(1);
  EXPECT_EQ(max_threads(), 1);
  const std::thread::id here = std::this_thread::get_id();
  parallel_for(100, [&](std::int64_t) { EXPECT_EQ(std::this_thread::get_id(), here); });
  omp_set_num_threads(before);
}

#endif

}  // namespace
}  // namespace haz
