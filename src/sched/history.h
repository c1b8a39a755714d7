/// @file
/// What has ended on a node: tasks, actors and workers, for those who ask later.
#pragma once

#include <cstdint>
#include <string>

#include "base/ids.h"
#include "sched/recent.h"
#include "sched/value_bytes.h"

namespace haz {

/// How a task ended.
enum class TaskEnd : std::uint8_t {
  kReturned,
  kRaised,  ///< Its last attempt has raised an exception.
  kCancelled,
  kTimedOut,
  kCrashed,  ///< Its worker, or actor, died.
  kNotRun,   ///< It failed before it was begun, as for an argument that failed.
};

/// When a task came, and when its last attempt ran. Monotonic nanoseconds; 0: not known.
struct TaskTimes {
  std::int64_t submitted_ns = 0;  ///< Up to some milliseconds early.
  std::int64_t began_ns = 0;      ///< Until it ends: when its worker was given it.
  std::int64_t ended_ns = 0;
};

struct EndedTask {
  TaskId id;
  TaskId parent;
  ObjectId actor;  ///< Whose method or constructor it was; none: a task.
  FunctionId function;
  ProcessId process;  ///< Of its last attempt.
  std::uint32_t attempt = 0;
  std::uint32_t num_returns = 1;
  TaskEnd end = TaskEnd::kReturned;
  bool creates_actor = false;
  TaskTimes times;
};

struct EndedActor {
  ObjectId id;
  FunctionId function;  ///< Its constructor.
  ProcessId process;    ///< The last one; none: it never had any.
  std::uint32_t restarts = 0;
  bool is_detached = false;
  std::string name;
  std::string name_space;
  ValueBytes death;  ///< The error of its calls.
};

struct EndedWorker {
  ProcessId process;
  ProcessId job;
  std::int32_t pid = 0;
  std::int32_t exit_code = 0;
  std::int32_t signal = 0;  ///< 0: it exited by itself.
};

/// The latest of each. Not thread-safe.
struct History {
  static constexpr std::size_t kTasks = 8192;
  static constexpr std::size_t kActors = 1024;
  static constexpr std::size_t kWorkers = 1024;

  Recent<EndedTask> tasks{kTasks};
  Recent<EndedActor> actors{kActors};
  Recent<EndedWorker> workers{kWorkers};
};

}  // namespace haz
