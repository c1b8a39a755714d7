/// @file
/// Requests of processes that wait for objects.
#pragma once

#include <cstdint>
#include <vector>

#include "base/ids.h"
#include "sched/list.h"
#include "sched/object.h"

namespace haz {

/// Waits until `needed` of its objects are ready. Owned by whoever made it (a driver's thread, or
/// the node for a worker); stays where it is until it has completed or was withdrawn.
struct Request : Waiter {
  Request() : Waiter(Kind::kRequest) {}

  ProcessId process;
  std::uint64_t number = 0;    ///< The process' own number of this request.
  std::uint32_t needed = 0;    ///< Objects that must be ready.
  bool stop_at_error = false;  ///< Complete as soon as one object holds an error (a `get`).
  bool completed = false;
  bool has_deadline = false;  ///< Its owner goes on some time, even if it never completes.
  bool bulk = false;  ///< Nobody cares for single completions, only for the last (a `get` of many).
  std::uint32_t first_pending = 0;  ///< No node before this one is pending.
  Task* blocked_task = nullptr;     ///< The running task whose main thread sleeps on it.
  std::vector<WaitNode> nodes;      ///< One per object, in the order asked for.
  Link<Request> blocked_link;
  Task* lending_task = nullptr;  ///< Of which another thread than the main one sleeps on it.
  Link<Request> lending_link;
};

}  // namespace haz
