/// @file
/// The loop in which sync_wait() runs coroutines.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "haz/detail/export.h"

namespace haz::detail {

/// Of one thread; loops may lie inside of each other.
class HAZ_API await_loop {
 public:
  /// Ends when end_one() was called for each of `count` coroutines.
  explicit await_loop(std::size_t count);
  ~await_loop();
  await_loop(const await_loop&) = delete;
  await_loop& operator=(const await_loop&) = delete;

  /// The innermost one that runs in this thread; null: there is none.
  static await_loop* current() noexcept;
  /// Resumes `waiting` when the object is ready. In the thread of run().
  void add(std::uint64_t object, std::coroutine_handle<> waiting);
  /// Any thread: one of the coroutines has ended.
  void end_one() noexcept;
  /// Calls `begin`, then resumes until all have ended. @throws task_cancelled_error and others, as
  /// get() does where the wait itself fails.
  void run(const std::function<void()>& begin);

 private:
  struct state;
  std::unique_ptr<state> state_;
};

}  // namespace haz::detail
