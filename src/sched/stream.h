/// @file
/// Streams: what a task yields while it runs, for whoever takes it first.
#pragma once

#include <cstdint>
#include <deque>

#include "base/ids.h"
#include "sched/task.h"

namespace haz {

/// A streaming task owns three ids: those of its end, of its stream, and of the demand for items.
inline constexpr std::uint32_t kStreamIds = 3;

/// Becomes ready when the task has ended: the number of its items, or its error.
constexpr ObjectId end_of(TaskId task) { return task.return_id(0); }
/// What consumers refer to: ready while there is something to take, which may be the end.
constexpr ObjectId stream_of(TaskId task) { return task.return_id(1); }
/// Ready while the task may run ahead of its consumers. Only where that is limited.
constexpr ObjectId demand_of(TaskId task) { return task.return_id(2); }
/// The task whose stream_of() that is.
constexpr TaskId task_of_stream(ObjectId stream) { return TaskId{stream.value - 1}; }

/// Items that may have come to their consumers when the task goes on: a task that has been ahead as
/// far as it may waits for more than one of them, so that it wakes up less often.
constexpr std::size_t items_at_demand(std::int32_t items_ahead) {
  return static_cast<std::size_t>(items_ahead / 2);
}

/// The items of one streaming task, from its submission until nobody refers to its stream.
struct Stream {
  Task* task = nullptr;       ///< None once it has ended.
  Object* object = nullptr;   ///< stream_of(): its references are those of the consumers.
  Object* end = nullptr;      ///< end_of(): the stream counts as one reference of it.
  Object* demand = nullptr;   ///< demand_of(), or none. The task's.
  std::deque<Object*> items;  ///< Not taken yet. They have no id, and are in no table.
  std::uint64_t yielded = 0;  ///< Items that ever came, of whichever attempt.
  bool limited = false;       ///< The task may only be so far ahead.
  bool wanted = false;        ///< Somebody waits for the next item.
};

/// What became of an attempt to take an item.
enum class TakenItem : std::uint8_t {
  kTaken,
  kNone,     ///< There is none now.
  kEnded,    ///< There will be none any more.
  kUnknown,  ///< There is no such stream, or the new object's id is in use.
};

}  // namespace haz
