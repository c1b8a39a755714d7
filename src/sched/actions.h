/// @file
/// What the scheduler asks its host to do. The host writes rings and starts processes; a test
/// records, and answers as it likes.
#pragma once

#include <cstdint>

#include "sched/request.h"
#include "sched/task.h"

namespace haz {

/// All calls come from inside a Scheduler call and must not call the scheduler back.
class Actions {
 public:
  Actions() = default;
  Actions(const Actions&) = delete;
  Actions& operator=(const Actions&) = delete;
  virtual ~Actions() = default;

  /// Whether `worker`'s ring takes another task.
  virtual bool has_room(const Worker& worker) = 0;
  /// Puts `task` into its worker's ring; returns its position there. May set block_offset.
  virtual std::uint64_t assign(Task& task) = 0;
  /// Takes `task` out of its worker's ring. False: the worker has begun it. Never called for a
  /// nested one.
  virtual bool take_back(Task& task) = 0;
  /// Has the blocked worker run `task` on top of what it runs. A worker that is no longer blocked
  /// when it learns of this runs `task` when it blocks again, or has nothing else to do. May set
  /// block_offset.
  virtual void run_nested(Task& task) = 0;
  /// The arguments laid out for the attempt that ended are no longer needed.
  virtual void release_block(Task& task) = 0;
  /// Starts one more worker process; answered by worker_started or start_failed.
  virtual void start_worker() = 0;
  /// Interrupts `task`'s current attempt, and nothing else.
  virtual void interrupt(Task& task) = 0;
  /// As interrupt(); if the attempt goes on for some time all the same, the host calls
  /// Scheduler::kill_attempt().
  virtual void interrupt_then_kill(Task& task) = 0;
  /// Has the streaming `task`, of which nobody will take an item any more, end at its next one; if
  /// that does not come soon, the host cancels the task.
  virtual void close_stream(Task& task) = 0;
  /// Ends the process of `worker`; answered by worker_died. It gets no more tasks.
  virtual void kill_worker(Worker& worker) = 0;
  /// Has the process of `worker` end itself when it has run what it was given; answered by
  /// worker_died. It gets no more tasks.
  virtual void stop_worker(Worker& worker) = 0;
  /// `request` has completed; the scheduler has forgotten it.
  virtual void complete(Request& request) = 0;
  /// Nothing refers to the value at `offset` of the arena any more.
  virtual void free_value(std::uint64_t offset) = 0;
};

}  // namespace haz
