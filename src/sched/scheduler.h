/// @file
/// The scheduler of one node: decides which task runs where and when an object may be freed.
///
/// Pure: events come in as calls, commands go out through Actions. No clock, no I/O, no threads, so
/// that every race of the running system is a list of calls in a unit test.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "sched/actions.h"
#include "sched/actor.h"
#include "sched/id_map.h"
#include "sched/job.h"
#include "sched/object.h"
#include "sched/placement_group.h"
#include "sched/pool.h"
#include "sched/request.h"
#include "sched/resources.h"
#include "sched/room.h"
#include "sched/story.h"
#include "sched/stream.h"
#include "sched/task.h"

namespace haz {

/// Limits and tuning of a Scheduler.
struct SchedulerOptions {
  std::uint32_t max_workers = 64;  ///< Processes alive at once, but for those of actors.
  /// The same while most of them wait for what none of them can run.
  std::uint32_t hard_max_workers = 512;
  std::uint32_t max_nested = 32;         ///< Tasks that run on top of others in one process.
  std::uint32_t max_processes = 4096;    ///< Processes alive at once, with those of actors.
  std::int64_t pipeline_ns = 2'000'000;  ///< Measured work to keep in a busy worker's ring.
  std::uint32_t max_pipeline = 512;      ///< Tasks to keep in a busy worker's ring.
  std::int64_t steal_ns = 100'000;       ///< Measured queued work that is worth a steal.
  std::int64_t start_ns = 5'000'000;     ///< Measured queued work that is worth one more worker.
  std::int64_t wake_ns = 50'000;         ///< Work that is done before a sleeping worker would wake.
};

/// What a function's registration says.
struct FunctionOptions {
  std::string name{};
  std::vector<std::pair<std::string, double>> resources{};  ///< Name to amount; CPU is `CPU`.
  std::int32_t max_retries = 3;
  bool retry_exceptions = false;
  std::int64_t timeout_ns = -1;
  std::int32_t items_ahead = -1;  ///< See Function.
  std::int32_t priority = 0;
  std::string group{};                          ///< Concurrency group of a method.
  std::string environment{};                    ///< Functions of one of equal names share workers.
  ProcessId job{};                              ///< Whose it is; none: it stays for ever.
  std::shared_ptr<const ActorOptions> actor{};  ///< Makes it a constructor.
};

/// How one attempt ended.
enum class Outcome : std::uint8_t {
  kReturned,   ///< With its values.
  kRaised,     ///< With an error, final unless the cancel or a time limit explains it.
  kRetryable,  ///< With an error that the function's options allow to retry.
};

/// How a worker ended, for the error that its tasks get.
struct DeathCause {
  int pid = 0;
  int exit_code = 0;
  int signal = 0;            ///< 0: exited by itself.
  std::string why_killed{};  ///< Where haz has killed it: why, in words.
  std::string last_stderr{};
  /// All that it told was read: so of the tasks in its ring it has begun the first at most.
  bool heard_out = false;
};

/// Counts for `snapshot()`-like views and tests.
struct SchedulerCounts {
  std::size_t objects = 0;
  std::size_t streams = 0;
  std::size_t items = 0;  ///< Of streams, not taken yet.
  std::size_t tasks = 0;
  std::size_t queued = 0;
  std::size_t workers = 0;
  std::size_t idle = 0;
  std::size_t starting = 0;
  std::size_t actors = 0;  ///< Processes of actors.
  std::size_t groups = 0;  ///< Placement groups that were not removed.
};

/// Single-threaded: the host serialises all calls. Calls marked *batched* only record; dispatch()
/// then places work.
class Scheduler {
 public:
  Scheduler(Actions& actions, SchedulerOptions options);
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // ---- set-up ----------------------------------------------------------------------------------

  /// Sets the total of resource `name` on this node.
  void set_resource(const std::string& name, double total);
  /// A number for a new process; never used again.
  ProcessId new_process();
  /// Makes the table of `process`' references, which process_ended() drops. A process without one
  /// (an embedded driver) is trusted to balance its own.
  void track_process(ProcessId process);
  /// Registers a function. kInvalid when the node can never satisfy its resources.
  Result<Function*> register_function(const FunctionOptions& options);

  /// The function of that id, or nullptr.
  Function* function(FunctionId id) {
    return id.value != 0 && id.value <= functions_.size() ? functions_[id.value - 1].get()
                                                          : nullptr;
  }

  // ---- tasks -----------------------------------------------------------------------------------

  /// Takes a task, and gives the submitter one handle of each return, or of its stream. Batched.
  /// kInvalid when the id
  /// is in use, kLost when a dependency is unknown: the payload then stays the caller's.
  Status submit(const TaskSpec& spec);
  /// An attempt ended: with a value for each return, or one error. Late and unknown attempts are
  /// ignored (their values are freed). `ended_ns`: by the worker's clock; 0: by story(). Batched.
  void finished(Worker& worker, TaskId task, std::uint32_t attempt, Outcome outcome,
                std::span<const NewValue> values, std::int64_t run_ns, std::int64_t ended_ns = 0);
  /// `worker` was told to run the attempt on top of a task whose wait has ended since, and has not
  /// begun it: it is queued again, and loses no try. Ignored where that is not so. Batched.
  void give_back_nested(Worker& worker, TaskId task, std::uint32_t attempt);
  /// Cancels the task that makes `object`. `force` ends its worker if it runs: at once, or where
  /// others lie on its stack, only if it does not heed an interrupt; these are then tried again,
  /// and lose no try. `recursive` cancels the tasks that it submitted, too. Without effect when it
  /// has ended. Batched.
  void cancel(ObjectId object, bool force, bool recursive);
  /// The attempt has run longer than its function may; the tasks that it submitted are cancelled.
  /// `force`: it was told so before, and goes on. Batched.
  void timed_out(TaskId task, std::uint32_t attempt, bool force);
  /// The attempt, which was to heed an interrupt, has not: its worker is ended. Batched.
  void kill_attempt(TaskId task, std::uint32_t attempt);
  /// The task `id` if it has not ended.
  Task* find_task(TaskId id) {
    Object* first = objects_.find(id.value);
    Task* task = first != nullptr ? first->producer : nullptr;
    return task != nullptr && task->id == id ? task : nullptr;
  }

  /// Whether anybody but the task itself has a ref of its first result. False when it has ended.
  bool is_result_wanted(TaskId id) {
    return find_task(id) != nullptr && objects_.find(id.value)->refs > 1;
  }

  // ---- actors ----------------------------------------------------------------------------------

  /// Takes the call of a constructor, and makes its actor, which the id of the call's one return
  /// names from now on: the submitter gets one handle. Returns that id, or the one of the actor
  /// that has the name already, where `actor` says so: then too the submitter gets a handle, and
  /// the payload stays the caller's. kExists when the name is taken; else as submit(). Batched.
  Result<ObjectId> create_actor(const TaskSpec& spec, const ActorSpec& actor);
  /// The actor of that name that has not died, or nullptr.
  [[nodiscard]] const Actor* find_actor(const std::string& name_space,
                                        const std::string& name) const;
  /// The actor `id`, dead or alive, while it has handles; or nullptr.
  [[nodiscard]] Actor* find_actor(ObjectId id) {
    const auto found = actors_.find(id.value);
    return found != actors_.end() ? found->second.get() : nullptr;
  }
  /// (namespace, name) to actor.
  using ActorNames = std::map<std::pair<std::string, std::string>, Actor*>;
  [[nodiscard]] const ActorNames& actor_names() const { return actor_names_; }
  /// Ends the process of an actor, and unless it may be restarted the actor. Batched.
  void kill_actor(ObjectId id, bool no_restart);
  /// When restart_due() has something to do, by the time of story(); 0: there is nothing to wait
  /// for.
  [[nodiscard]] std::int64_t next_restart_ns() const;
  /// Starts those actors again whose pause after a death is over. Batched.
  void restart_due();
  /// The actor of `worker` has said that it ends, for good. Its process is about to end. Batched.
  void actor_exited(Worker& worker);

  // ---- placement groups ------------------------------------------------------------------------

  /// Makes a placement group. Its object gets `value`, and becomes ready when all bundles are
  /// reserved, perhaps before this returns. kInvalid when the node can never give that, or the id
  /// is in use; kExists when the name is taken. The place of `value` in the arena is the
  /// scheduler's from the call on. Batched.
  Status create_group(const GroupSpec& spec, const NewValue& value);
  /// Removes a placement group: its tasks and actors end with an error, those that run by the death
  /// of their process. Without effect when it was removed before. Batched.
  void remove_group(ObjectId id);
  /// The placement group `id`, also a removed one while it has handles; or nullptr.
  [[nodiscard]] PlacementGroup* find_group(ObjectId id) const {
    const auto found = groups_.find(id.value);
    return found != groups_.end() ? found->second.get() : nullptr;
  }
  using Groups = std::map<std::uint64_t, std::unique_ptr<PlacementGroup>>;
  /// By id.
  [[nodiscard]] const Groups& groups() const { return groups_; }
  /// The placement group of `task`, or of its actor, or nullptr; and whether what the task submits
  /// runs there too.
  [[nodiscard]] std::pair<const PlacementGroup*, bool> group_of(const Task& task) const;
  /// One line for each actor and placement group that waits for resources and did so at the last
  /// call already, but was not told yet; and for tasks of equal needs that wait for what actors and
  /// placement groups hold. `waited`: how long that is, in words.
  std::vector<std::string> tell_waiting(const std::string& waited);
  /// Lines for the user, each given once: of actors that die again and again.
  std::vector<std::string> take_notices() { return std::exchange(notices_, {}); }

  // ---- objects ---------------------------------------------------------------------------------

  /// Stores a value under a new id and gives `owner` one handle. kInvalid when the id is in use.
  Status put(ProcessId owner, ObjectId id, const NewValue& value);
  /// The object, or nullptr when it was freed or never was.
  Object* find(ObjectId id) { return objects_.find(id.value); }
  /// Counts one more reference of `process`. False: there is no such object.
  bool add_reference(ProcessId process, ObjectId id);
  /// Drops one reference of `process`. Ignored when the process has none.
  void drop_reference(ProcessId process, ObjectId id);
  /// Replaces the value of a ready object by `error` now, whoever holds refs.
  void free_object(ObjectId id);

  // ---- streams ---------------------------------------------------------------------------------

  /// The attempt has yielded its item number `index`, counted from 0. What an earlier attempt has
  /// yielded, late and unknown attempts are ignored (the value is freed). False: nonsense.
  bool yielded(Worker& worker, TaskId task, std::uint32_t attempt, std::uint64_t index,
               const NewValue& value);
  /// The first item that nobody has taken becomes the object `item`, and `process` gets one handle
  /// of it. A failed task's error is the last item.
  TakenItem take_item(ProcessId process, ObjectId stream, ObjectId item);
  /// Gives back an item that `process` took last, and used for nothing: it is the next one again.
  void return_item(ProcessId process, ObjectId stream, ObjectId item);
  /// Whether there is an item to take, none now, or none any more.
  [[nodiscard]] TakenItem next_item(ObjectId stream) const;
  /// Whether the stream's task may only be so far ahead of who takes.
  [[nodiscard]] bool is_limited(ObjectId stream) const;
  /// Items that attempts of the task have yielded; the next attempt need not repeat them.
  [[nodiscard]] std::uint64_t items_of(TaskId task) const;
  /// A stream that has only an error to give, instead of a task that can't be submitted.
  void put_failed_stream(ProcessId owner, TaskId task, std::span<const std::byte> error);
  /// Whether dispatch() has tasks to end whose streams nobody refers to any more, or placement
  /// groups to remove whose actor has died.
  [[nodiscard]] bool has_abandoned() const { return !abandoned_.empty() || !orphans_.empty(); }

  // ---- requests --------------------------------------------------------------------------------

  /// Starts waiting for `ids`. `blocked`: the worker whose main thread sleeps on it, in `task`
  /// (none: the one on top). Completes through Actions::complete, perhaps before it returns. False,
  /// and nothing is done, when an id is unknown or more are needed than named. Batched.
  bool start(Request& request, std::span<const ObjectId> ids, Worker* blocked, TaskId task = {});
  /// A thread of `worker`, not its main one, sleeps on `request`, which start() took. The main
  /// thread may be waiting for that thread, so until the request has completed the running task
  /// lends its CPU slot as if it were blocked itself. Batched.
  void lend_while(Request& request, Worker& worker);
  /// Lets go of a request's objects, once its owner has read them; also ends a request that has not
  /// completed (its time is over, or its thread was interrupted).
  void withdraw(Request& request);

  // ---- room in the object store ----------------------------------------------------------------

  /// An allocation of `wait.size` bytes of `wait.process` waits for room: in `task`, which runs on
  /// `worker`; or in none. The task lends its CPU slot. While anyone waits, tasks that hold
  /// something in the store go first, and of functions whose tasks wait only those tasks begin that
  /// free some when they end. Batched.
  void wait_for_room(RoomWait& wait, Worker* worker = nullptr, TaskId task = {});
  /// The allocation has got room, or is given up. Batched.
  void end_room_wait(RoomWait& wait);
  /// Whether the end of the task that waits frees memory of the store, since nothing else holds it.
  [[nodiscard]] bool frees_room(const RoomWait& wait) const;
  /// Whether no process can go on, as far as can be seen, before one of those who wait gets room.
  [[nodiscard]] bool stands_still() const;
  /// Of those who wait while everything stands still, the one whose allocation lets others free
  /// memory, or come to the end of a wait; or nullptr. Not before that has been so for a tick.
  [[nodiscard]] RoomWait* blocks_others() const;
  /// Whether some worker goes on, or will, that may free memory of the store, or make what others
  /// wait for. The driver is not looked at.
  [[nodiscard]] bool room_can_come() const;
  /// Whether `process` has references of objects. One without a table of them has none.
  [[nodiscard]] bool has_references(ProcessId process) const {
    const auto table = references_.find(process.value);
    return table != references_.end() && table->second.size() != 0;
  }
  /// Allocations that wait.
  [[nodiscard]] std::size_t num_room_waits() const { return room_waits_.size(); }
  /// Who holds how much of the store, and the largest values: sentences. `epoch`: the first half of
  /// refs as people see them. Takes time in proportion to the number of objects.
  [[nodiscard]] std::string holders_of_room(std::uint64_t epoch) const;

  // ---- workers ---------------------------------------------------------------------------------

  /// A worker that start_worker() asked for takes tasks from now on. Batched.
  Worker& worker_started(std::uint32_t slot, ProcessId process);
  /// A worker that start_worker() asked for could not be started, or died before it had started. No
  /// other is asked for before the next tick(). Batched.
  void start_failed();
  /// No worker is asked for before so many ticks.
  void pause_starts(std::uint32_t ticks);
  /// So many starts have failed that no more workers are to be counted on before one has started:
  /// where everything waits, and a task could run only in a worker more, it fails because of
  /// `reason`. Batched.
  void give_up_starts(std::string reason);
  /// A worker's process has ended and its ring is drained. Its attempts are tried again or fail;
  /// its references are dropped. `worker` is gone afterwards. Batched.
  /// Returns whether it had begun a task: if not, it may be that none can run here.
  bool worker_died(Worker& worker, const DeathCause& cause);
  /// Gives up an idle worker that was not used for longest, if more than `keep` are idle: it gets
  /// no more tasks, and the host ends it. nullptr when there is nothing to give up.
  Worker* retire_idle(std::size_t keep);
  /// A process without tasks and without a job has ended: drops its references.
  void process_ended(ProcessId process);

  // ---- jobs ------------------------------------------------------------------------------------

  /// A driver has joined, which calls itself `process`, a new number: functions of the job of that
  /// number may be registered.
  void start_job(ProcessId process);
  /// That driver has gone, and its ring is drained. Ends what belongs to its job with an error:
  /// tasks, actors that are not detached; its workers are killed, its references dropped. Its calls
  /// of other jobs' actors that have begun run to their end. Batched.
  void end_job(ProcessId process);
  /// Whether there is a job of that number that has not ended.
  [[nodiscard]] bool has_job(ProcessId process) const { return jobs_.contains(process.value); }
  /// Whether a worker of the job has not died yet. Not of what has not been given a task.
  [[nodiscard]] bool has_workers_of(ProcessId job) const;

  // ---- progress --------------------------------------------------------------------------------

  /// Places ready tasks on workers, starts workers, takes back what waits behind a busy worker.
  void dispatch();
  /// Whether dispatch() may find something to do because of what submit() has taken since it ran.
  /// False while all of that stands behind tasks of its class for which there was no place, nor a
  /// worker to start, so that only another event changes that; or while its class is_supplied().
  [[nodiscard]] bool has_placeable() const { return has_placeable_; }
  /// Whether a further task of `function` could only be queued in the ring of a worker that has
  /// enough to do there: it may as well be placed a little later.
  [[nodiscard]] bool is_supplied(const Function& function);
  /// Whether something waits for tick().
  [[nodiscard]] bool wants_tick() const;
  /// Some milliseconds have passed since the last tick: what waits behind a task that runs since
  /// then is taken back where others could run it. Batched.
  void tick();
  /// Whether ready tasks wait for room in a ring, so that progress of any worker matters.
  [[nodiscard]] bool has_backlog() const { return queued_ != 0 || queued_calls_ != 0; }
  /// Ends everything that has not ended with an error, as when the node shuts down. Workers that
  /// run something are told to end.
  void fail_all(const std::string& message);

  [[nodiscard]] const ResourcePool& resources() const { return pool_; }
  [[nodiscard]] SchedulerCounts counts() const;
  [[nodiscard]] const std::vector<Worker*>& workers() const { return workers_; }
  /// What a task that is assigned was given, or its actor.
  [[nodiscard]] static const ResourceGrant& grant_of(const Task& task);
  [[nodiscard]] Story& story() { return story_; }
  [[nodiscard]] const History& history() const { return history_; }
  /// The task that makes `object`, or made it, if it has ended lately; no id: not known.
  [[nodiscard]] TaskId task_of(ObjectId object) const;
  /// All tasks that have not ended, in no order; constructors while they have not returned.
  [[nodiscard]] std::vector<const Task*> live_tasks() const;
  /// All actors, dead ones too while they have handles.
  [[nodiscard]] const std::unordered_map<std::uint64_t, std::unique_ptr<Actor>>& actors() const {
    return actors_;
  }
  /// Calls `visit(object)` for each object that exists; nothing must be changed meanwhile.
  template <typename Visit>
  void for_each_object(Visit&& visit) const {
    objects_.for_each([&](std::uint64_t /*id*/, const Object* object) { visit(*object); });
  }
  /// Checks the invariants that tests rely on; aborts when one is broken. Slow.
  void check_invariants() const;

 private:
  using References = IdMap<std::uint32_t>;  ///< How often, by object.

  Object* make_object(ObjectId id, Task* producer);
  void add_ref(Object* object) { ++object->refs; }
  void drop_ref(Object* object);
  void destroy(Object* object);
  void drop_references_of(ProcessId process);
  void count_reference(ProcessId process, ObjectId id);
  bool uncount_reference(ProcessId process, ObjectId id);
  void set_value(Object* object, const NewValue& value);
  void replace_value(Object* object, std::span<const std::byte> error);
  void free_unpublished(const NewValue& value);
  void notify_waiters(Object* object);
  static void link(WaitNode& node, Waiter* waiter);
  static void unlink(WaitNode& node);
  void want_soon(Task* task);
  void complete_request(Request& request);
  void block(Request& request, Task* task);
  void unblock(Request& request);
  void lend_cpu(Task* task);
  void take_cpu_back(Task* task);
  void lend(Request& request, Task* task);
  void end_lending(Request& request);
  void end_lending_of(const Task* task);
  void pass_lending(Task* task, Task* below);
  void pull_back_behind(Task* task);

  Stream* find_stream(TaskId task) const;
  Stream& open_stream(TaskId id, Object* end, ProcessId owner);
  void append_item(Stream& stream, const NewValue& value);
  void end_stream(Task* task, const NewValue& result);
  void drop_stream(Object* object);
  void make_ready(Object* object);
  void settle_demand(Stream& stream);
  void lift_limit(TaskId task);
  bool lift_a_limit();
  void want_item(const Object* object);
  static void unwant_item(Stream& stream);
  void count_wanted_item(const Task& task, int change);
  void abandon(const Task* task);
  void close_abandoned();
  void close_task(Task* task);
  void close_running(Task& task);

  Task* make_task(const TaskSpec& spec);
  static void adopt(Task* parent, Task* child);
  static void disown(Task* child);
  void attach_dependencies(Task* task);
  void settle();
  void settle_task(Task* task);
  void enqueue(Task* task, bool at_front);
  [[nodiscard]] bool is_saturated(const ResourceClass& resources) const;
  [[nodiscard]] bool depends_on_room_only(const ResourceClass& resources) const;
  void unqueue(Task* task);
  void mark_awaited(Object* object);
  void end_task(Task* task, std::span<const NewValue> values);
  void publish(Task* task, std::span<const NewValue> values);
  void release_task(Task* task);
  void note_attempt_end(Task* task, std::int64_t run_ns, std::int64_t ended_ns);
  void remember(const Task& task, bool failed);
  void fail_task(Task* task, const ValueBytes& error, std::span<const ObjectId> refs = {});
  void fail_task(Task* task, std::span<const std::byte> error, std::span<const ObjectId> refs = {});
  void end_attempt_badly(Task* task, Outcome outcome, std::span<const NewValue> values);
  void leave_worker(Task* task);
  bool pull_back(Task* task);
  void put_back(Task* task);
  void retry(Task* task);
  static std::vector<Task*> with_children(Task* task);
  void cancel_tasks(std::span<Task* const> tasks, bool force);
  void cancel_task(Task* task, bool force);
  bool end_unstarted(Task* task);
  static bool heeds_no_interrupt(const Task& task);
  void stop_running(Task& task, bool force);
  void crash_task(Task* task, const Worker& worker, const DeathCause& cause);
  [[nodiscard]] static bool may_retry(const Task& task);
  static void remember_run(Function& function, std::int64_t run_ns);

  // Jobs (scheduler_jobs.cpp).
  Result<std::shared_ptr<Job>> job_for(const FunctionOptions& options);
  void end_groups_of(const Job& job);
  void end_actors_of(const Job& job);
  void end_tasks_of(const Job& job);
  void kill_workers_of(const Job& job);
  void forget_functions_of(const Job& job);
  void release_function(Function& function);
  void forget_unused_functions();
  void forget_if_unused(ResourceClass* resources);
  void end_unused_jobs();

  // Actors (scheduler_actors.cpp).
  Result<ResourceRequest> request_of(const std::string& name,
                                     const std::vector<std::pair<std::string, double>>& resources,
                                     const char* use = "run");
  Status check_call(const TaskSpec& spec, Actor** actor);
  void add_creation(Task* task);
  void add_call(Task* task, Actor* actor);
  void enqueue_call(Task* task);
  void add_to_group(Task* task);
  void release_caller(Actor& actor, ProcessId caller);
  void forget_call(Task* task);
  void want_feeding(Actor& actor);
  void feed_actors();
  void feed(Actor& actor);
  void make_way_for(const Task& next, Worker* worker);
  void feed_starved();
  bool place_actor(ResourceClass* resources, Task* task);
  void actor_constructed(Task* task, const NewValue& value);
  void constructor_failed(Task* task, const ValueBytes& error);
  bool actor_process_died(Worker& worker, const DeathCause& cause);
  bool end_unwanted(Actor& actor);
  void start_again(Actor& actor, const Worker& died, const DeathCause& cause);
  bool attempt_crashed(Task* task, const Worker& worker);
  void unreferenced(ObjectId actor);
  void end_actor(Actor& actor, ValueBytes error);
  void end_calls(Actor& actor);
  void end_creation(Actor& actor);
  void stop_process(Worker* worker);
  void forget_if_over(Actor& actor);
  [[nodiscard]] static bool may_restart(const Actor& actor);
  [[nodiscard]] static std::int64_t lent_cpu_of(const Task& task);

  // Placement groups (scheduler_groups.cpp).
  void choose_place(Task* task, const TaskSpec& spec);
  static Refusal refusal_of(const PlacementGroup* group, const ResourceRequest& request,
                            std::int32_t bundle);
  void refuse(Task* task);
  [[nodiscard]] static bool is_placeable(const ResourceClass& resources);
  void reserve_groups();
  bool reserve(PlacementGroup& group);
  bool is_held_up(const PlacementGroup& group);
  bool must_make_way_for_group(const Task& task, const ResourceRequest& request);
  void end_tasks_of(PlacementGroup& group);
  void end_actors_of(const PlacementGroup& group);
  void give_back(Bundle& bundle);
  void remove_orphans();
  void forget_if_over(const PlacementGroup& group);
  static std::span<Bundle> bundles_of(const ResourceClass& resources);
  ResourceAmounts& amounts_of(const ResourceGrant& grant) {
    return grant.bundle != nullptr ? grant.bundle->amounts : pool_;
  }
  [[nodiscard]] bool fits(const ResourceClass& resources, std::int64_t times = 1) const;
  [[nodiscard]] bool overdrawn(const ResourceClass& resources) const;
  [[nodiscard]] bool compete(const ResourceClass& a, const ResourceClass& b) const;
  ResourceGrant acquire(const ResourceClass& resources);
  void release(const ResourceRequest& request, ResourceGrant& grant);
  [[nodiscard]] std::string shortage_of(const ResourceRequest& request) const;
  /// Of one resource: what actors outside of groups hold for their lives, and what groups reserve.
  struct Held {
    std::int64_t of_actors = 0;
    std::int64_t of_groups = 0;
  };
  [[nodiscard]] Held held_of(std::size_t index) const;
  [[nodiscard]] std::string why_tasks_wait(const ResourceClass& resources) const;

  ResourceClass* class_for(const ResourceRequest& request, bool for_actors,
                           Environment& environment, const std::shared_ptr<Job>& job);
  static ResourceClass* class_in(PlacementGroup& group, std::int32_t bundle,
                                 const ResourceClass& outside);
  Environment& environment_of(const std::string& name, ProcessId job);
  [[nodiscard]] bool has_idle(std::uint32_t environment) const;
  bool has_taker(std::uint32_t environment);
  bool can_take(const Worker& worker);
  void make_room_for(const ResourceClass& resources);
  void place_ready();
  [[nodiscard]] ResourceClass* next_class() const;
  void place_on_soon_free(ResourceClass& resources);
  bool place_front(ResourceClass* resources);
  bool must_make_way(const ResourceClass& resources);
  [[nodiscard]] bool is_held_by_actors(const ResourceClass& resources) const;
  [[nodiscard]] static bool has_failed_argument(const Task& task);
  bool fail_if_argument_failed(Task* task);
  void assign(Task* task, Worker* worker);
  void assign_next(ResourceClass& resources, const Function& function, Worker* worker);
  Worker* take_idle(const ResourceClass& resources);
  bool may_queue_on(const Worker& worker);
  Worker* least_loaded(ResourceClass* resources, const Function& function);
  Worker* soon_free(const ResourceClass& resources, const Function& function);
  [[nodiscard]] std::uint32_t pipeline_limit(const Function& function) const;
  [[nodiscard]] bool may_start(bool for_actor = false) const;
  void start_workers(const ResourceClass& resources, std::size_t demand);
  void start_workers_for_waiting();
  bool steal();
  [[nodiscard]] bool could_run(const Worker& worker) const;

  // While the object store has no room (scheduler_room.cpp).
  [[nodiscard]] static bool holds_objects(const Task& task);
  [[nodiscard]] bool frees_room(const Task& task) const;
  [[nodiscard]] bool may_begin(const Task& task) const;
  [[nodiscard]] Task* next_ready(const ResourceClass& resources) const;
  [[nodiscard]] bool waits_at_once(const Task& task) const;
  [[nodiscard]] bool has_to_do_with_others(const Worker& worker) const;
  [[nodiscard]] bool can_go_on(const Worker& worker) const;
  [[nodiscard]] const Task* task_of(const RoomWait& wait) const;
  [[nodiscard]] bool ends_a_wait(const Task& task) const;
  [[nodiscard]] bool is_passed_on(const Task& task) const;
  void look_at_standstill();

  // At the cap of processes (scheduler_nesting.cpp).
  [[nodiscard]] bool is_kept_for_awaited(const Task& task) const;
  bool run_awaited();
  Task* find_nestable(Request& request, std::size_t& budget, Task*& left);
  Task* runnable_for(Object* object, std::size_t& budget);
  void run_nested(Task* task, Worker* worker);
  bool start_beyond_cap(std::uint32_t environment);
  [[nodiscard]] bool is_at_hard_limit() const;
  bool fail_without_process(Task* task);

  void kill(Worker& worker, std::string why);
  void kill_process_of(const Task& task);
  [[nodiscard]] static bool is_alone(const Task& task);
  void give_up_lease(Worker* worker);
  void take_lease(Worker* worker, ResourceClass* resources);
  void settle_worker(Worker* worker);
  void check_queues() const;
  void check_actors() const;
  void check_workers() const;
  void check_groups() const;
  void check_amounts() const;
  void check_objects() const;
  void check_streams(std::unordered_map<std::uint64_t, std::uint32_t>& known) const;

  Actions& actions_;
  SchedulerOptions options_;
  ResourcePool pool_;
  Story story_;
  History history_;
  std::uint32_t next_process_ = 1;
  std::uint32_t next_function_ = 1;
  Pool<Object> object_pool_;
  Pool<Task> task_pool_;
  IdMap<Object*> objects_;
  std::vector<std::unique_ptr<Function>> functions_;
  std::vector<std::unique_ptr<ResourceClass>> classes_;
  std::vector<Worker*> workers_;
  std::vector<Worker*> task_workers_;  ///< Those that are no actor's.
  std::vector<Worker*> idle_;          ///< Last in, first out: the warmest worker is taken first.
  std::unordered_map<std::uint64_t, std::unique_ptr<Stream>> streams_;  ///< By task.
  std::size_t num_items_ = 0;                                           ///< Of all streams.
  std::vector<TaskId> abandoned_;  ///< Streaming tasks without consumers.
  std::unordered_map<std::uint32_t, References> references_;
  List<Request, &Request::blocked_link> blocked_requests_;
  List<Request, &Request::lending_link> lending_requests_;
  List<RoomWait, &RoomWait::room_link> room_waits_;  ///< First come first.
  std::uint32_t ticks_still_ = 0;  ///< Ticks since everything stands still for want of room.
  bool looks_at_all_ = false;      ///< For a ready task that may begin all the same.
  std::deque<Task*>
      settling_;  ///< Tasks whose arguments have all come, or one of them as an error.
  std::vector<Object*> dying_;  ///< Objects whose last reference went while others are being freed.
  std::vector<ResourceClass*> ready_classes_;  ///< Those with ready tasks.
  std::vector<Task*> search_;                  ///< Tasks to look at; empty between searches.
  bool has_placeable_ = false;                 ///< See has_placeable().
  bool freeing_ = false;
  bool freed_by_hand_ = false;       ///< free_object() was ever used.
  std::uint32_t starts_paused_ = 0;  ///< Ticks before a worker is asked for again.
  std::string why_no_starts_;        ///< Not empty: no worker is to be counted on.
  bool making_way_ = false;  ///< Since the last tick some ready task has been held up by others
                             ///< that go after it.
  std::uint32_t searches_ = 0;
  std::uint64_t next_order_ = 1;
  std::size_t queued_ = 0;        ///< Tasks that are ready to run.
  std::size_t queued_calls_ = 0;  ///< Calls that wait for the process of their actor.
  std::uint32_t starting_ = 0;
  std::vector<Environment> environments_{{.number = kDefaultEnvironment}};
  std::uint32_t next_environment_ = kDefaultEnvironment + 1;
  std::unordered_map<std::uint32_t, std::shared_ptr<Job>> jobs_;  ///< That have not ended.
  std::vector<FunctionId> unused_functions_;  ///< To be forgotten, unless they are used again.
  std::vector<ProcessId> unused_jobs_;        ///< Of detached actors, to be ended.
  std::uint32_t promised_ = kNoEnvironment;   ///< Whose the next worker to start is.
  std::unordered_map<std::uint64_t, std::unique_ptr<Actor>> actors_;  ///< By id.
  ActorNames actor_names_;
  Groups groups_;
  std::vector<PlacementGroup*> pending_groups_;  ///< First come first.
  std::vector<ObjectId> orphans_;                ///< Groups to remove: their owner has died.
  std::vector<ObjectId> hungry_;                 ///< Actors whose process may take more calls.
  std::vector<ObjectId> starved_;          ///< Actors with calls for which a ring had no room.
  bool passing_ = false;                   ///< An idle worker had no room, since the last tick.
  std::vector<ObjectId> resting_;          ///< Actors that are not started again yet.
  std::vector<std::string> notices_;       ///< For take_notices().
  std::uint32_t processes_of_actors_ = 0;  ///< Of workers_.
};

}  // namespace haz
