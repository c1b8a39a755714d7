/// @file
/// Waiting for room in the object store.
#pragma once

#include <cstdint>
#include <vector>

#include "base/ids.h"
#include "sched/list.h"
#include "sched/request.h"

namespace haz {

/// One allocation that waits. Owned by the host; stays where it is from Scheduler::wait_for_room()
/// to Scheduler::end_room_wait(). It is the request of a thread for no objects, so that the task
/// lends its CPU slot meanwhile.
struct RoomWait : Request {
  std::uint64_t size = 0;  ///< In bytes.
  TaskId task;             ///< Which asks; none: a driver, or a process between two tasks.
  FunctionId function;     ///< Of `task`.
  Link<RoomWait> room_link;
};

}  // namespace haz
