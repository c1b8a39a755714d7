/// @file
/// Actors as the scheduler sees them: one object in a process of its own, and the calls for it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "sched/list.h"
#include "sched/resources.h"
#include "sched/task.h"
#include "sched/value_bytes.h"

namespace haz {

/// What the registration of an actor class says, beside the options of its constructor as a
/// function.
struct ActorOptions {
  /// Held while the actor lives; name to amount. The constructor's function has what must be free
  /// to place it.
  std::vector<std::pair<std::string, double>> resources{};
  std::int32_t max_restarts = 0;        ///< After deaths of its process; -1: without end.
  std::uint32_t max_pending_calls = 0;  ///< Calls that have not ended; 0: no limit.
  bool is_sequential = true;            ///< One call at a time, on the process' main thread.
  bool is_async = false;                ///< Calls are asyncio's tasks, which can be cancelled.
  bool allow_out_of_order = false;      ///< Calls may overtake those that wait for arguments.
  bool is_detached = false;             ///< Lives without handles, and longer than its creator.
  /// Groups of methods with the number of calls that each runs at a time. None: the process itself
  /// sees to the number of all.
  std::vector<std::pair<std::string, std::uint32_t>> groups{};
  std::uint32_t default_group_limit = 1;  ///< Of methods without a group, where there are groups.
  std::vector<std::byte> meta{};          ///< Kept for those who ask for the actor by name.
};

/// What a call that creates an actor says, beside its TaskSpec.
struct ActorSpec {
  std::string name{};  ///< Empty: none.
  std::string name_space{};
  bool get_if_exists = false;
};

enum class ActorState : std::uint8_t {
  kPending,     ///< Its constructor has not returned yet.
  kAlive,       ///< Takes calls.
  kRestarting,  ///< Its process died; the constructor runs again.
  kDead,        ///< For good. Its process may still be about to end.
};

/// Why an actor is dead, for the error that its calls get.
enum class ActorEnd : std::uint8_t {
  kExited,        ///< By itself.
  kKilled,        ///< By a caller.
  kOutOfScope,    ///< Nobody had a handle.
  kConstructor,   ///< Its constructor failed.
  kProcess,       ///< Its process died.
  kNeverPlaced,   ///< No process could be had for it.
  kGroupRemoved,  ///< Its placement group was removed.
  kNode,          ///< The node ended.
  kDriver,        ///< The driver ended whose it was.
};

/// Calls that run side by side up to a limit.
struct CallGroup {
  using TaskList = List<Task, &Task::queue_link>;

  std::string name;
  std::uint32_t limit = std::numeric_limits<std::uint32_t>::max();  ///< In the process at a time.
  std::uint32_t running = 0;
  TaskList ready;  ///< By priority, then by order.
};

/// Calls of one caller that wait for arguments, or behind such a one.
struct CallerQueue {
  ProcessId caller;
  List<Task, &Task::queue_link> waiting;
};

/// One actor. It is named by the object of its creation, whose references are the handles.
struct Actor {
  ObjectId id;
  Task* creation = nullptr;  ///< Kept with its arguments for as long as the actor may be restarted.
  Function* function = nullptr;  ///< Its constructor.
  ObjectId group;                ///< Its placement group, if any.
  bool captures = false;         ///< What its calls submit runs in `group`, too.
  bool owns_groups = false;      ///< It has made placement groups, which end with it.
  bool seen_waiting = false;     ///< For resources, at the last tell_waiting().
  bool told_waiting = false;     ///< That was told.
  Worker* worker = nullptr;      ///< Its process, from the start of the constructor on.
  ProcessId process;             ///< The latest one.
  ActorState state = ActorState::kPending;
  bool referenced = true;                     ///< Its object exists.
  bool is_kept = false;                       ///< The node itself has a handle.
  bool killed = false;                        ///< Its process was told to die.
  bool hungry = false;                        ///< In the scheduler's list of actors to feed.
  bool starved = false;                       ///< In that of those whose process had no room.
  std::uint32_t restarts = 0;                 ///< So far.
  std::uint32_t deaths_in_a_row = 0;          ///< Of processes that came to nothing.
  std::int64_t placed_ns = 0;                 ///< When its process was given to it.
  std::int64_t restart_at_ns = 0;             ///< Until when it is not started again; 0: it may be.
  std::uint32_t pending = 0;                  ///< Calls that have not ended.
  ResourceRequest held;                       ///< What it holds while it lives.
  const ResourceRequest* acquired = nullptr;  ///< What is taken from the pool for it now.
  ResourceGrant grant;                        ///< What it was given of that.
  std::string name;
  std::string name_space;
  std::vector<CallGroup> groups;  ///< The first is that of methods without a group.
  std::vector<CallerQueue> callers;
  ValueBytes death;  ///< The error of calls, once dead.
};

}  // namespace haz
