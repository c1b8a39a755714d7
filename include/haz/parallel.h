/// @file
/// Parallel loops over OpenMP's threads: parallel_for and parallel_reduce.
///
/// How many threads a loop has: `num_threads` if that is given, else max_threads(). A loop inside
/// of another one runs in the thread that calls it. Loops may be called from several threads at a
/// time.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <new>
#include <type_traits>
#include <utility>

#include "haz/detail/loop.h"
#include "haz/detail/team.h"
#include "haz/error.h"

namespace haz {

/// Threads that a loop has which does not say: what OpenMP would take, that is `OMP_NUM_THREADS`,
/// or else a thread for each core that the process may use. In a task of haz: the task's
/// `num_cpus`.
inline int max_threads() { return detail::max_threads(); }

/// In a function that haz.cpp.compile has made, in the thread that Python has called it in: throws
/// interrupted_error if somebody has pressed Ctrl-C, or the task was cancelled. For plain loops
/// that run for long; parallel_for() and parallel_reduce() do it by themselves. Costs nanoseconds.
/// Does nothing in other threads and elsewhere.
inline void check_interrupt() {
  if (detail::interrupt_check != nullptr && detail::interrupt_check())
    throw interrupted_error("interrupted");
}

/// Optional settings of a loop.
struct parallel_options {
  /// At most so many threads, also if that is more than the machine has cores. 0: max_threads().
  int num_threads = 0;
  /// Who runs which iterations.
  haz::schedule schedule = haz::schedule::static_;
  /// Iterations that a thread takes at a time; for guided, at least. 0: chosen, see `schedule`.
  std::int64_t chunk = 0;
};

/// The whole numbers of a loop: `n` stands for 0 to n-1, `{begin, end}` and `{begin, end, step}`
/// are as in Python. An empty range is no error; a step of 0 throws value_error.
class range {
 public:
  /// 0 to `end` - 1; none if `end` is 0 or negative.
  template <std::integral End>
  range(End end)
      : range(0, static_cast<std::int64_t>(end)) {}  // NOLINT(google-explicit-constructor)
  /// `begin`, `begin + step` and so on, `end` excluded. @throws value_error if `step` is 0.
  range(std::int64_t begin, std::int64_t end, std::int64_t step = 1) : begin_(begin), step_(step) {
    if (step == 0) throw value_error("a range can't have a step of 0");
    // Unsigned: the distance of two int64_t need not fit into a third.
    const auto from = static_cast<std::uint64_t>(step > 0 ? begin : end);
    const auto to = static_cast<std::uint64_t>(step > 0 ? end : begin);
    const auto width = step > 0 ? static_cast<std::uint64_t>(step)
                                : std::uint64_t{0} - static_cast<std::uint64_t>(step);
    const bool is_empty = step > 0 ? begin >= end : begin <= end;
    size_ = is_empty ? 0 : (to - from - 1) / width + 1;
  }

  /// Number of iterations.
  [[nodiscard]] std::uint64_t size() const { return size_; }
  /// Distance of numbers that follow each other; never 0.
  [[nodiscard]] std::int64_t step() const { return step_; }
  /// The number of iteration `i`, which is below size() and not checked.
  std::int64_t operator[](std::uint64_t i) const {
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(begin_) +
                                     i * static_cast<std::uint64_t>(step_));
  }

 private:
  std::int64_t begin_;
  std::int64_t step_;
  std::uint64_t size_;
};

namespace detail {

/// What std::vector, std::span and std::array are.
template <class Items>
concept random_access = requires(Items& items) {
  { items.end() - items.begin() } -> std::convertible_to<std::ptrdiff_t>;
  items.begin()[std::ptrdiff_t{0}];
};

/// A body as a loop should have it: a small one copied, so that the compiler sees what it captures
/// not change.
template <class Body>
using loop_body = std::conditional_t<std::is_trivially_copyable_v<Body> && sizeof(Body) <= 256,
                                     const Body, const Body&>;

/// Calls `body` for the numbers of iterations `begin` to `end`, at least one. Where the numbers
/// follow each other the compiler sees that, and can use vector instructions.
template <class Body>
void run_iterations(const range& numbers, std::uint64_t begin, std::uint64_t end,
                    const Body& shared_body) {
  loop_body<Body> body = shared_body;
  if (numbers.step() == 1) {
    const std::int64_t stop = numbers[end];
    for (std::int64_t i = numbers[begin]; i < stop; ++i)
      body(i);
  } else {
    for (std::uint64_t i = begin; i < end; ++i)
      body(numbers[i]);
  }
}

/// Combines what `body` returns for them.
template <class Value, class Body, class Combine>
Value reduce_iterations(const range& numbers, std::uint64_t begin, std::uint64_t end,
                        const Body& shared_body, const Combine& combine) {
  loop_body<Body> body = shared_body;
  if (numbers.step() == 1) {
    const std::int64_t first = numbers[begin];
    return reduce_part<Value>(
        std::int64_t{0}, static_cast<std::int64_t>(end - begin),
        [&body, first](std::int64_t i) { return static_cast<Value>(body(first + i)); }, combine);
  }
  return reduce_part<Value>(
      begin, end, [&](std::uint64_t i) { return static_cast<Value>(body(numbers[i])); }, combine);
}

inline int team_size(std::uint64_t size, const parallel_options& options) {
  if (options.num_threads < 0)
    throw value_error("num_threads must be 0 or more, not %d", options.num_threads);
  if (options.chunk < 0)
    throw value_error("chunk must be 0 or more, not %lld", static_cast<long long>(options.chunk));
  if (size <= 1 || team_is_nested()) return 1;
  const int wanted = options.num_threads > 0 ? options.num_threads : max_threads();
  return size < static_cast<std::uint64_t>(wanted) ? static_cast<int>(size) : wanted;
}

/// Calls `part(thread, begin, end)` until all of `size` iterations are covered; then throws what
/// the first part threw that failed. No part begins after that.
template <class Part>
void for_each_part(std::uint64_t size, const parallel_options& options, int threads,
                   const Part& part) {
  if (size == 0) return;
  if (threads == 1) {
    if (interrupt_check == nullptr) {
      part(0, std::uint64_t{0}, size);
      return;
    }
    for (growing_blocks blocks(size); blocks.next();) {
      part(0, blocks.begin, blocks.end);
      check_interrupt();
    }
    return;
  }
  loop_state loop(size, options.schedule, static_cast<std::uint64_t>(options.chunk));
  run_team(threads, [&loop, &part](int thread, int team) noexcept {
    loop_share share(loop, thread, team);
    try {
      while (share.next()) {
        part(thread, share.begin, share.end);
        if (thread == 0) check_interrupt();
      }
    } catch (...) {
      loop.fail(std::current_exception());
    }
  });
  loop.rethrow();
}

}  // namespace detail

/// Calls `body(i)` for each number of `numbers`, in several threads.
///
/// The calls may come in any order and at the same time. When one throws, no thread begins another
/// chunk, and the first exception comes out of here, once, when all threads have stopped. So also
/// after Ctrl-C, in a function that haz.cpp.compile has made: see check_interrupt().
///
///     haz::parallel_for(n, [&](auto i) { z(i) = x(i) + y(i); });
///     haz::parallel_for({1, n - 1}, {.num_threads = 4, .schedule = haz::schedule::guided},
///                       [&](auto i) { ... });
///
/// @throws value_error if an option is negative, interrupted_error.
template <class Body>
  requires std::invocable<const Body&, std::int64_t>
void parallel_for(range numbers, const parallel_options& options, const Body& body) {
  const int threads = detail::team_size(numbers.size(), options);
  detail::for_each_part(numbers.size(), options, threads,
                        [&](int /*thread*/, std::uint64_t begin, std::uint64_t end) {
                          detail::run_iterations(numbers, begin, end, body);
                        });
}

/// The same with max_threads() threads and schedule::static_.
template <class Body>
  requires std::invocable<const Body&, std::int64_t>
void parallel_for(range numbers, const Body& body) {
  parallel_for(numbers, parallel_options{}, body);
}

/// The same with each item of a container that has random access: `body(item)`. The container is
/// the caller's, and must keep its size meanwhile.
template <detail::random_access Items, class Body>
void parallel_for(Items&& items, const parallel_options& options, const Body& body) {
  const auto first = items.begin();
  parallel_for(range(items.end() - first), options,
               [&](std::int64_t i) { body(first[static_cast<std::ptrdiff_t>(i)]); });
}

/// The same with max_threads() threads and schedule::static_.
template <detail::random_access Items, class Body>
void parallel_for(Items&& items, const Body& body) {
  parallel_for(items, parallel_options{}, body);
}

/// Returns `combine(initial, body(i), ...)` over all numbers `i` of `numbers`, without `combine`:
/// their sum.
///
/// As with std::reduce, `combine` must be associative and commutative; `initial` counts once. Sums
/// of floating-point numbers differ in the last digits from those of a plain loop. With
/// schedule::static_ and the same number of threads they are always the same.
///
///     double sum = haz::parallel_reduce(n, 0.0, [&](auto i) { return x(i) * y(i); });
///     double most = haz::parallel_reduce(n, {.num_threads = 2}, x(0), [&](auto i) { return x(i);
///     },
///                                        [](double a, double b) { return a > b ? a : b; });
///
/// @throws What `body` or `combine` threw first; value_error if an option is negative.
template <class Value, class Body, class Combine = detail::plus>
  requires std::invocable<const Body&, std::int64_t>
Value parallel_reduce(range numbers, const parallel_options& options, Value initial,
                      const Body& body, const Combine& combine = {}) {
  const int threads = detail::team_size(numbers.size(), options);
  detail::partial_results<Value> partials(threads);
  detail::for_each_part(
      numbers.size(), options, threads, [&](int thread, std::uint64_t begin, std::uint64_t end) {
        partials.add(thread, detail::reduce_iterations<Value>(numbers, begin, end, body, combine),
                     combine);
      });
  return partials.result(std::move(initial), combine);
}

/// The same with max_threads() threads and schedule::static_.
template <class Value, class Body, class Combine = detail::plus>
  requires std::invocable<const Body&, std::int64_t>
Value parallel_reduce(range numbers, Value initial, const Body& body, const Combine& combine = {}) {
  return parallel_reduce(numbers, parallel_options{}, std::move(initial), body, combine);
}

}  // namespace haz
