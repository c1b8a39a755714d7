/// @file
/// One call of a registered function: its arguments read, its result or error placed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "haz/detail/call.h"
#include "haz/detail/engine.h"
#include "haz/detail/registry.h"
#include "sched/scheduler.h"
#include "shm/arena.h"
#include "wire/task_command.h"

namespace haz {

/// What a call has come to: one value or, where it has not returned, one error. Of a chunk of a
/// map(), which always returns, a value or an error of each item. All of it stays during the call
/// that gives it, and may be changed then. Errors have no place in the arena, however large.
struct CallOutcome {
  Outcome outcome = Outcome::kReturned;
  std::span<NewValue> values{};
};

/// Whether it has the arguments of several items of a map().
inline bool has_items(const TaskCommand& command, Arena& arena) {
  std::uint32_t count = 0;
  if (command.payload_size < sizeof count) return false;
  std::memcpy(
      &count,
      command.block_offset != 0 ? arena.at(command.block_offset) : command.near_bytes.data(),
      sizeof count);
  return (count & detail::each_item) != 0;
}

/// Calls `function` with the arguments of `command`, which stay in `arena` until the attempt's end,
/// or once with those of each item; `self` is the actor of this process, if it has one. Then gives
/// what it has come to to `done`, but where the function has called exit_actor().
/// Only `done` may throw.
void run_call(const detail::remote_function& function, std::string_view task_name,
              const TaskCommand& command, std::shared_ptr<void>& self, Arena& arena,
              detail::engine& engine, const std::function<void(const CallOutcome&)>& done);

/// Arguments that are no task's: `count` values in the first `size` of the bytes, which views keep.
struct LocalArguments {
  std::shared_ptr<const std::byte> bytes;
  std::size_t size;
  std::size_t count;
};
/// Gets the value, or null and an error value.
using LocalCallDone =
    std::function<void(const detail::encoded* value, std::span<const std::byte> error)>;
/// Calls `function` in this process, outside of a task. Only `done` may throw.
void call_here(const detail::remote_function& function, std::string_view task_name,
               const LocalArguments& arguments, std::shared_ptr<void>& self,
               const LocalCallDone& done);

}  // namespace haz
