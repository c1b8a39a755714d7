/// @file
/// Tasks, the functions they run, and the workers they run on, as the scheduler sees them.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/ids.h"
#include "sched/history.h"
#include "sched/list.h"
#include "sched/object.h"
#include "sched/resources.h"
#include "sched/value_bytes.h"

namespace haz {

struct Actor;
struct ActorOptions;
struct Job;
struct PlacementGroup;
struct Request;
struct ResourceClass;
struct Worker;

/// A registered function with its options.
struct Function {
  FunctionId id;
  std::string name;
  ResourceClass* resources = nullptr;  ///< Outside of placement groups.
  std::int32_t max_retries = 3;        ///< Further starts after a worker's death; -1: without end.
  bool retry_exceptions = false;   ///< Exceptions that the worker marks as retryable are retried.
  std::int64_t timeout_ns = -1;    ///< Longest run of one attempt; -1: no limit.
  std::int32_t items_ahead = -1;   ///< Of a streaming one: items that may wait to be taken while it
                                   ///< goes on, 0: any number; -1: it returns values.
  std::uint64_t block_offset = 0;  ///< Name and code in the arena, for the workers.
  std::int64_t mean_run_ns = -1;   ///< Moving average of measured runs; -1: never ran.
  std::shared_ptr<const ActorOptions> actor;  ///< Of a constructor.
  ResourceRequest actor_request;              ///< What that actor holds while it lives.
  std::string group;                 ///< Concurrency group of a method; empty: the default.
  std::int32_t priority = 0;         ///< Greater ones start earlier.
  ProcessId owner{};                 ///< Job that registered it; none: there are no jobs.
  std::uint32_t users = 0;           ///< Tasks of it that have not ended, and actors.
  bool is_forgotten = false;         ///< Its owner has ended: it goes with the last user.
  std::uint32_t room_waits = 0;      ///< Of its tasks: how many wait for room in the object store.
  bool has_waited_for_room = false;  ///< One of them ever did.

  [[nodiscard]] bool streams() const { return items_ahead >= 0; }
};

enum class TaskState : std::uint8_t {
  kWaiting,   ///< For arguments.
  kQueued,    ///< Ready to run, in its class' queue.
  kAssigned,  ///< In a worker's ring or running there.
};

/// Any bundle of a placement group.
inline constexpr std::int32_t kAnyBundle = -1;
/// In TaskSpec: no placement group, whatever the parent says.
inline constexpr ObjectId kNoGroup{~std::uint64_t{0}};

/// What a submitter says of a task. Spans belong to the caller.
struct TaskSpec {
  TaskId id;
  Function* function = nullptr;
  ProcessId submitter;
  TaskId parent{};             ///< The task that submits; none for a driver.
  ObjectId actor{};            ///< Whose method it is; none: a task.
  bool creates_actor = false;  ///< It is a constructor: for Scheduler::create_actor().
  /// The placement group in which it runs; kNoGroup: none. No id: that of the parent where that
  /// captures its children, and else none.
  ObjectId group{};
  std::int32_t bundle = kAnyBundle;  ///< Of `group`.
  bool captures = false;             ///< Its children run in `group`, too.
  std::uint32_t num_returns = 1;     ///< Of a streaming function: 1.
  std::uint64_t payload_offset = 0;  ///< Arguments in the arena; 0: in `payload`.
  std::uint32_t payload_size = 0;
  std::span<const std::byte> payload{};
  std::span<const ObjectId> dependencies{};  ///< Resolved before the start, in argument order.
  std::span<const ObjectId> refs{};          ///< Held until the end, passed as refs.
};

/// Why a task can't run where it was to.
enum class Refusal : std::uint8_t {
  kNone,
  kGroupRemoved,  ///< Its placement group was removed.
  kTooLarge,      ///< No bundle of its placement group ever has what it asks for.
};

/// Where a call of an actor waits.
enum class CallPlace : std::uint8_t {
  kNone,    ///< Not in a list of its actor.
  kCaller,  ///< For arguments, or behind an earlier call of its caller that does.
  kGroup,   ///< For the actor's process.
};

/// One task that has not ended: of a function, a constructor or a method.
struct Task : Waiter {
  Task() : Waiter(Kind::kTask) {}

  TaskId id;
  Function* function = nullptr;
  ResourceClass* resources = nullptr;  ///< Its function's, or of its placement group.
  TaskState state = TaskState::kWaiting;
  bool awaited = false;  ///< A blocked task waits for it.
  bool cancel_requested = false;
  bool timed_out = false;
  bool closing = false;      ///< Its stream was told to end at the next item.
  bool nested = false;       ///< Runs on top of a blocked task of its worker.
  bool wanted_soon = false;  ///< Somebody waits for this very result.
  bool settling = false;     ///< In the scheduler's list of tasks to settle.
  bool captures = false;     ///< Its children run in its placement group.
  Refusal refusal = Refusal::kNone;
  bool holds_objects = false;  ///< When it was last queued: something in the object store.
  bool lends_cpu = false;      ///< It or a thread of it waits, or it is under a nested task: others
                               ///< use its CPU slot.
  std::uint16_t waiting_threads = 0;  ///< Threads of it, but for its main one, that sleep.
  std::uint16_t depth = 0;            ///< In the call tree; 0: submitted by a driver.
  std::uint32_t num_returns = 1;
  std::uint32_t attempt = 0;  ///< Number of the latest assignment, from 1.
  std::uint32_t starts = 0;   ///< Assignments that a worker began.
  Worker* worker = nullptr;
  std::uint64_t position = 0;  ///< In the worker's ring.
  std::uint64_t order = 0;     ///< Rises with the time at which tasks became ready, from 1.
  Link<Task> queue_link;       ///< Ready queue or the worker's assigned list.
  Link<Task> group_link;       ///< Tasks of its placement group.
  Task* parent = nullptr;      ///< While the parent has not ended.
  Link<Task> sibling_link;
  Task* first_child = nullptr;  ///< Of those that have not ended, the latest.
  std::uint64_t payload_offset = 0;
  std::uint32_t payload_size = 0;
  std::uint32_t num_dependencies = 0;
  std::uint32_t num_refs = 0;
  std::uint32_t visit = 0;  ///< Number of the last search that came by.
  ValueBytes payload;
  std::unique_ptr<WaitNode[]> dependencies;  ///< One per dependency, in argument order.
  std::unique_ptr<ObjectId[]> refs;
  Request* blocking_request = nullptr;  ///< On which its main thread sleeps.
  std::uint64_t block_offset = 0;       ///< Arguments laid out for this attempt in the arena, or 0.
  Actor* actor = nullptr;               ///< Whose method or constructor it is.
  bool creates_actor = false;           ///< It is the constructor.
  CallPlace place = CallPlace::kNone;
  std::int32_t priority = 0;             ///< Of its function.
  std::uint16_t group = 0;               ///< Index of its group in the actor.
  std::unique_ptr<ResourceGrant> grant;  ///< What a nested one was given.
  ProcessId submitter;
  ProcessId process;          ///< That of its latest attempt.
  TaskId parent_id;           ///< Of `parent`, also when that has ended.
  bool has_reported = false;  ///< The latest attempt has ended and said so.
  TaskTimes times;
};

/// Tasks in the order in which they should start: awaited by a blocked task first, then by
/// priority, then deeper in the call tree, then first come.
class TaskOrder {
 public:
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] std::size_t size() const { return size_; }
  /// Rank of the first task: greater runs earlier. Precondition: !empty().
  [[nodiscard]] std::int64_t front_rank() const {
    if (!awaited_.empty()) return std::numeric_limits<std::int64_t>::max();
    const Level& level = front_level();
    return std::int64_t{level.priority} * kDepths + level.deepest();
  }
  /// Precondition: !empty().
  [[nodiscard]] Task* front() const {
    if (!awaited_.empty()) return awaited_.front();
    const Level& level = front_level();
    return level.lists[static_cast<std::size_t>(level.deepest())].front();
  }

  /// The first of the first `most` tasks of which `is_wanted(task)` is true; or nullptr.
  template <typename Wanted>
  [[nodiscard]] Task* find(std::size_t most, Wanted is_wanted) const {
    const auto find_in = [&](const TaskList& list) {
      Task* task = list.front();
      while (task != nullptr && most != 0 && !is_wanted(*task)) {
        task = TaskList::next(task);
        --most;
      }
      return most != 0 ? task : nullptr;
    };
    if (Task* found = find_in(awaited_)) return found;
    for (const Level& level : levels_) {
      for (std::uint64_t left = level.occupied; left != 0 && most != 0;) {
        const int deepest = 63 - std::countl_zero(left);
        if (Task* found = find_in(level.lists[static_cast<std::size_t>(deepest)])) return found;
        left &= ~(std::uint64_t{1} << deepest);
      }
    }
    return nullptr;
  }

  void push_back(Task* task) { list_for(task).push_back(task); }
  /// For a task that was taken back from a worker: it gets its place again, which is among the
  /// first, since what it passes over was taken back, too.
  void put_back(Task* task) {
    TaskList& list = list_for(task);
    Task* next = list.front();
    while (next != nullptr && next->order < task->order)
      next = TaskList::next(next);
    list.insert_before(next, task);
  }

  void remove(Task* task) {
    --size_;
    if (task->awaited) {
      awaited_.remove(task);
      return;
    }
    Level& level = level_of(task->priority);
    const std::size_t depth = depth_of(*task);
    level.lists[depth].remove(task);
    if (!level.lists[depth].empty()) return;
    level.occupied &= ~(std::uint64_t{1} << depth);
    if (level.occupied == 0 && levels_.size() > 1) {
      levels_.erase(levels_.begin() + (&level - levels_.data()));
    }
  }

 private:
  using TaskList = List<Task, &Task::queue_link>;
  static constexpr int kDepths = 63;

  /// Tasks of one priority by their depth; the deepest list has those of greater depths, too.
  struct Level {
    std::int32_t priority = 0;
    std::uint64_t occupied = 0;  ///< Bit per list: not empty.
    std::array<TaskList, kDepths> lists;

    [[nodiscard]] int deepest() const { return 63 - std::countl_zero(occupied); }
  };

  static std::size_t depth_of(const Task& task) {
    return std::min<std::size_t>(task.depth, kDepths - 1);
  }

  [[nodiscard]] const Level& front_level() const {
    const Level* level = levels_.data();
    while (level->occupied == 0)
      ++level;
    return *level;
  }
  /// The level of `priority`, made where there is none. Most nodes only ever have one.
  Level& level_of(std::int32_t priority) {
    std::size_t i = 0;
    while (i < levels_.size() && levels_[i].priority > priority)
      ++i;
    if (i == levels_.size() || levels_[i].priority != priority) {
      levels_.insert(levels_.begin() + static_cast<std::ptrdiff_t>(i), Level{})->priority =
          priority;
    }
    return levels_[i];
  }
  TaskList& list_for(const Task* task) {
    ++size_;
    if (task->awaited) return awaited_;
    Level& level = level_of(task->priority);
    const std::size_t depth = depth_of(*task);
    level.occupied |= std::uint64_t{1} << depth;
    return level.lists[depth];
  }

  TaskList awaited_;
  std::vector<Level> levels_;  ///< Greatest priority first.
  std::size_t size_ = 0;
};

/// Ready tasks of one class, in their order. Those that hold something in the object store are kept
/// apart, since they go first where that has no room.
class ReadyQueue {
 public:
  [[nodiscard]] bool empty() const { return others_.empty() && holders_.empty(); }
  [[nodiscard]] std::size_t size() const { return others_.size() + holders_.size(); }
  [[nodiscard]] std::size_t num_holders() const { return holders_.size(); }
  /// As of TaskOrder.
  [[nodiscard]] std::int64_t front_rank() const { return first().front_rank(); }
  [[nodiscard]] Task* front() const { return first().front(); }

  /// The first task of which `is_wanted(task)` is true, among the first `most` that hold something,
  /// or else among the first `most` others; or nullptr.
  template <typename Wanted>
  [[nodiscard]] Task* find(std::size_t most, Wanted is_wanted) const {
    Task* found = holders_.find(most, is_wanted);
    return found != nullptr ? found : others_.find(most, is_wanted);
  }

  /// `task->holds_objects` stays what it is until remove().
  void push_back(Task* task) { order_of(*task).push_back(task); }
  void put_back(Task* task) { order_of(*task).put_back(task); }
  void remove(Task* task) { order_of(*task).remove(task); }

 private:
  TaskOrder& order_of(const Task& task) { return task.holds_objects ? holders_ : others_; }
  [[nodiscard]] const TaskOrder& first() const {
    if (holders_.empty()) return others_;
    if (others_.empty()) return holders_;
    const std::int64_t rank = others_.front_rank();
    const std::int64_t rank_of_holders = holders_.front_rank();
    if (rank != rank_of_holders) return rank > rank_of_holders ? others_ : holders_;
    return others_.front()->order < holders_.front()->order ? others_ : holders_;
  }

  TaskOrder others_;
  TaskOrder holders_;
};

/// A worker that has not been given a task yet: it may take those of any environment.
inline constexpr std::uint32_t kNoEnvironment = 0;
/// That of functions that ask for none.
inline constexpr std::uint32_t kDefaultEnvironment = 1;

/// Tasks that ask for the same resources and environment: they can follow each other on a worker
/// without new accounting.
struct ResourceClass {
  ResourceRequest request;
  PlacementGroup* group = nullptr;   ///< Whose class it is; none: the node's own.
  std::int32_t bundle = kAnyBundle;  ///< Of `group`.
  bool for_actors = false;  ///< Its tasks are constructors: each takes a worker for itself.
  std::uint32_t environment = kDefaultEnvironment;  ///< Only its workers run these tasks.
  std::shared_ptr<Job> job;     ///< Whose tasks these are; none: there are no jobs.
  std::uint32_t functions = 0;  ///< That name it.
  ReadyQueue ready;
  std::vector<Worker*> holders;  ///< Workers that hold this class' resources.
  bool stuck = false;            ///< Its first task could not be placed in this round.
  bool is_kept_back = false;     ///< The reason is that the object store has no room.
  bool is_saturated = false;     ///< Further tasks behind its first one need no dispatch: see
                                 ///< Scheduler::has_placeable().
  bool held_up = false;  ///< Since the last tick tasks that go after its first have used what that
                         ///< one needs, or waited for it.
  std::uint32_t ticks_held_up = 0;  ///< Since one of its tasks was placed.
  bool seen_waiting = false;  ///< For what actors and groups hold, at the last tell_waiting().
  bool told_waiting = false;  ///< And the user was told, since it last did not.
};

enum class WorkerState : std::uint8_t {
  kIdle,     ///< No task.
  kBusy,     ///< Runs calls of its actor, or tasks of one class, whose resources it holds.
  kBlocked,  ///< Its task waits for objects; its CPU slot is given to others.
  kNested,   ///< Runs a task outside of its ring, as a rule on top of a blocked one.
};

/// One worker process that is alive. `slot` is its place in tables and may be used again later;
/// `process` never is.
struct Worker {
  std::uint32_t slot = 0;
  ProcessId process;
  WorkerState state = WorkerState::kIdle;
  bool ended_for_task =
      false;               ///< It is ended because of one of its tasks: the others lose no try.
  bool doomed = false;     ///< Was told to end, or is given up: gets no more tasks.
  std::string why_killed;  ///< Why haz kills it, in words; empty: it does not.
  Actor* actor = nullptr;  ///< Whose process it is: it runs nothing else.
  std::uint32_t environment = kNoEnvironment;  ///< That of its first task, and so of all.
  ProcessId job;                               ///< Likewise.
  ResourceClass* lease = nullptr;  ///< Whose resources the tasks in its ring use; nested ones have
                                   ///< their own. None while its ring is empty.
  ResourceGrant grant;             ///< What it was given of that.
  List<Task, &Task::queue_link> assigned;  ///< The first runs or is about to: nested ones, then
                                           ///< ring order.
  std::uint32_t nested = 0;                ///< Of these, nested ones.
  std::uint32_t wanted_soon = 0;           ///< Assigned tasks whose very result somebody waits for.
  std::uint32_t wanted_items = 0;          ///< Assigned tasks whose next item somebody waits for.
  std::uint64_t finished = 0;              ///< Tasks ended here.
  TaskId first_at_tick;                    ///< Of its tasks, at the last tick.
  bool stuck = false;                      ///< It still was the first one a tick later, and is.
};

}  // namespace haz
