/// @file
/// A scheduler with a fake host around it, and the events of its tests in short words.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "sched/error_values.h"
#include "sched/scheduler.h"
#include "unit/sched/fake_actions.h"
#include "wire/value.h"

namespace haz {

inline std::vector<std::byte> bytes_of(std::string_view text) {
  const auto* first = reinterpret_cast<const std::byte*>(text.data());
  return {first, first + text.size()};
}

/// What a test says of a task, beside its function.
struct TaskOptions {
  std::vector<ObjectId> dependencies{};
  std::vector<ObjectId> refs{};
  std::uint32_t num_returns = 1;
  TaskId parent{};
  ProcessId submitter{};  ///< None: the driver.
  std::uint64_t payload_offset = 0;
};

/// Idle workers are woken at once: fewer reasons for where a task goes.
inline SchedulerOptions plain_options() {
  SchedulerOptions options;
  options.wake_ns = 0;
  return options;
}

/// Each call checks the scheduler's invariants. The driver is a tracked process, so that end()
/// finds references that were counted wrongly.
class FakeNode {
 public:
  explicit FakeNode(double cpus = 4, SchedulerOptions options = plain_options())
      : scheduler(std::make_unique<Scheduler>(actions, options)) {
    scheduler->set_resource("CPU", cpus);
    driver = scheduler->new_process();
    scheduler->track_process(driver);
  }

  FakeActions actions;
  std::unique_ptr<Scheduler> scheduler;
  ProcessId driver;

  // ---- set-up ----------------------------------------------------------------------------------

  Function* function(FunctionOptions options) {
    Result<Function*> made = scheduler->register_function(options);
    EXPECT_TRUE(made.ok());
    return made.ok() ? *made : nullptr;
  }
  Function* function(std::string name = "f", double cpus = 1) {
    return function(FunctionOptions{.name = std::move(name), .resources = {{"CPU", cpus}}});
  }

  /// Answers one start_worker(), asked for or not.
  Worker& start_worker() {
    if (actions.starts_wanted > 0) --actions.starts_wanted;
    Worker& worker = scheduler->worker_started(next_slot_++, scheduler->new_process());
    check();
    return worker;
  }
  /// `count` workers that the node started by itself.
  std::vector<Worker*> start_workers(std::size_t count) {
    std::vector<Worker*> started;
    for (std::size_t i = 0; i < count; ++i)
      started.push_back(&start_worker());
    return started;
  }
  /// Answers every start_worker() until none is open, dispatching in between.
  void answer_starts() {
    dispatch();
    while (actions.starts_wanted > 0) {
      start_worker();
      dispatch();
    }
  }

  // ---- objects ---------------------------------------------------------------------------------

  ObjectId new_id(ProcessId process, std::uint32_t count = 1) {
    std::uint64_t& counter = counters_[process.value];
    const ObjectId id{first_id_of(process) + counter};
    counter += count;
    return id;
  }
  ObjectId put(std::string_view text = "value", std::vector<ObjectId> refs = {},
               ProcessId owner = {}) {
    owner = owner ? owner : driver;
    const ObjectId id = new_id(owner);
    const std::vector<std::byte> bytes = bytes_of(text);
    EXPECT_TRUE(scheduler->put(owner, id, NewValue{.bytes = bytes, .refs = refs}).ok());
    check();
    return id;
  }
  /// A value in the arena; its place there.
  std::pair<ObjectId, std::uint64_t> put_big(std::vector<ObjectId> refs = {}) {
    const ObjectId id = new_id(driver);
    const std::uint64_t offset = actions.allocate();
    EXPECT_TRUE(
        scheduler->put(driver, id, NewValue{.offset = offset, .size = 100, .refs = refs}).ok());
    check();
    return {id, offset};
  }
  void drop(ObjectId id, ProcessId process = {}) {
    scheduler->drop_reference(process ? process : driver, id);
    check();
  }
  void drop(TaskId id, ProcessId process = {}) { drop(id.return_id(0), process); }

  [[nodiscard]] bool exists(ObjectId id) const { return scheduler->find(id) != nullptr; }
  [[nodiscard]] ObjectState state(ObjectId id) const {
    const Object* object = scheduler->find(id);
    EXPECT_NE(object, nullptr) << "no such object";
    return object == nullptr ? ObjectState::kPending : object->state;
  }
  [[nodiscard]] ObjectState state(TaskId id) const { return state(id.return_id(0)); }
  [[nodiscard]] std::string value(ObjectId id) const {
    const Object* object = scheduler->find(id);
    if (object == nullptr) return "(gone)";
    if (object->state == ObjectState::kPending) return "(pending)";
    const auto view = object->bytes.view();
    return {reinterpret_cast<const char*>(view.data()), view.size()};
  }
  [[nodiscard]] std::string value(TaskId id) const { return value(id.return_id(0)); }
  /// The field `key` of the scheduler's own error in `id`, as text.
  [[nodiscard]] std::string error_field(ObjectId id, std::string_view key) const {
    const Object* object = scheduler->find(id);
    if (object == nullptr) return "(gone)";
    if (object->state != ObjectState::kError) return "(no error)";
    ValueReader reader(object->bytes.view());
    const Result<ValueItem> begin = reader.next();
    if (!begin.ok() || begin.value().kind != ValueItem::Kind::kDict) return "(not a dictionary)";
    for (std::uint32_t i = 0; i < begin.value().count; ++i) {
      const Result<ValueItem> name = reader.next();
      const Result<ValueItem> item = reader.next();
      if (!name.ok() || !item.ok()) return "(damaged)";
      if (name.value().text() != key) continue;
      if (item.value().kind == ValueItem::Kind::kInt) return std::to_string(item.value().integer);
      return std::string(item.value().text());
    }
    return "(missing)";
  }
  [[nodiscard]] std::string error_kind(ObjectId id) const { return error_field(id, "kind"); }
  [[nodiscard]] std::string error_kind(TaskId id) const { return error_kind(id.return_id(0)); }

  // ---- tasks -----------------------------------------------------------------------------------

  TaskSpec spec_of(Function* function, const TaskOptions& options) {
    const ProcessId submitter = options.submitter ? options.submitter : driver;
    const std::uint32_t num_ids =
        function->streams() ? kStreamIds : std::max(options.num_returns, 1U);
    return TaskSpec{.id = TaskId{new_id(submitter, num_ids).value},
                    .function = function,
                    .submitter = submitter,
                    .parent = options.parent,
                    .num_returns = options.num_returns,
                    .payload_offset = options.payload_offset,
                    .dependencies = options.dependencies,
                    .refs = options.refs};
  }
  TaskId submit(Function* function, const TaskOptions& options = {}) {
    const TaskSpec spec = spec_of(function, options);
    const Status status = scheduler->submit(spec);
    EXPECT_TRUE(status.ok()) << (status.ok() ? "" : status.error().message);
    check();
    return spec.id;
  }
  std::vector<TaskId> submit_many(Function* function, std::size_t count,
                                  const TaskOptions& options = {}) {
    std::vector<TaskId> ids;
    for (std::size_t i = 0; i < count; ++i)
      ids.push_back(submit(function, options));
    return ids;
  }
  void dispatch() {
    scheduler->dispatch();
    check();
  }
  /// A second passes.
  void tick() {
    scheduler->story().set_time(scheduler->story().time() + kSecondNs);
    scheduler->tick();
    scheduler->restart_due();
    scheduler->dispatch();
    check();
  }

  /// `worker` claims its next task. The test fails when there is none.
  Claim claim(Worker& worker) {
    const std::optional<Claim> claimed = actions.claim(worker.process);
    EXPECT_TRUE(claimed.has_value()) << "worker " << worker.slot << " has nothing to do";
    return claimed.value_or(Claim{});
  }
  void finish(Worker& worker, Claim claim, std::string_view text = "result",
              std::vector<ObjectId> refs = {}, std::int64_t run_ns = 1'000'000) {
    const std::vector<std::byte> bytes = bytes_of(text);
    const Task* task = scheduler->find_task(claim.task);
    const std::uint32_t num_returns = task != nullptr ? task->num_returns : 1;
    const std::vector<NewValue> values(num_returns, NewValue{.bytes = bytes, .refs = refs});
    end(worker, claim, Outcome::kReturned, values, run_ns);
  }
  void raise(Worker& worker, Claim claim, std::string_view text = "error",
             Outcome outcome = Outcome::kRaised) {
    const std::vector<std::byte> bytes = bytes_of(text);
    const std::vector<NewValue> values(1, NewValue{.is_error = true, .bytes = bytes});
    end(worker, claim, outcome, values, 1'000'000);
  }
  void end(Worker& worker, Claim claim, Outcome outcome, const std::vector<NewValue>& values,
           std::int64_t run_ns = 1'000'000) {
    scheduler->finished(worker, claim.task, claim.attempt, outcome, values, run_ns);
    check();
  }
  /// Claims and finishes one task after the other, on any worker, until nothing can be claimed.
  /// Returns the tasks in the order in which they began.
  std::vector<TaskId> run_all() {
    std::vector<TaskId> order;
    for (bool progress = true; progress;) {
      answer_starts();
      progress = false;
      const std::vector<Worker*> workers = scheduler->workers();
      for (Worker* worker : workers) {
        const std::optional<Claim> claimed = actions.claim(worker->process);
        if (!claimed) continue;
        order.push_back(claimed->task);
        finish(*worker, *claimed);
        dispatch();
        progress = true;
      }
    }
    return order;
  }

  void cancel(TaskId id, bool force = false, bool recursive = true) {
    scheduler->cancel(id.return_id(0), force, recursive);
    check();
  }
  /// An interrupted attempt has not heeded that.
  void kill_attempt(Claim claim) {
    scheduler->kill_attempt(claim.task, claim.attempt);
    check();
  }
  bool die(Worker& worker, const DeathCause& cause = {.pid = 77, .signal = 9}) {
    const ProcessId process = worker.process;
    const bool has_begun = scheduler->worker_died(worker, cause);
    const std::vector<RoomWait*> waits = open_room_waits_;
    for (RoomWait* wait : waits) {
      if (wait->process == process) end_room_wait(*wait);
    }
    check();
    return has_begun;
  }

  // ---- streams ---------------------------------------------------------------------------------

  Function* stream(std::int32_t items_ahead = 0, std::int32_t max_retries = 3) {
    return function(FunctionOptions{.name = "stream",
                                    .resources = {{"CPU", 1}},
                                    .max_retries = max_retries,
                                    .items_ahead = items_ahead});
  }
  /// What the scheduler says of the item, which is taken by its text.
  bool yield(Worker& worker, Claim claim, std::uint64_t index, std::string_view text,
             std::vector<ObjectId> refs = {}) {
    const std::vector<std::byte> bytes = bytes_of(text);
    const bool sane = scheduler->yielded(worker, claim.task, claim.attempt, index,
                                         NewValue{.bytes = bytes, .refs = refs});
    check();
    return sane;
  }
  /// The next item as an object of `process`; none, with the reason in `taken`.
  ObjectId take(TaskId task, ProcessId process = {}) {
    process = process ? process : driver;
    const ObjectId id = new_id(process);
    taken = scheduler->take_item(process, stream_of(task), id);
    check();
    return taken == TakenItem::kTaken ? id : ObjectId{};
  }
  TakenItem taken = TakenItem::kTaken;
  /// The text of the next item, which is let go of again.
  std::string take_text(TaskId task) {
    const ObjectId id = take(task);
    if (!id) return taken == TakenItem::kEnded ? "(end)" : "(none)";
    const std::string text = value(id);
    drop(id);
    return text;
  }

  // ---- requests --------------------------------------------------------------------------------

  /// A request that lives as long as the node. `blocked`: the task that sleeps on it.
  Request& wait(const std::vector<ObjectId>& ids, std::uint32_t needed, TaskId blocked = {},
                bool stop_at_error = false) {
    Request& request = requests_.emplace_back();
    request.needed = needed;
    request.stop_at_error = stop_at_error;
    const Task* task = blocked ? scheduler->find_task(blocked) : nullptr;
    Worker* worker = task != nullptr ? task->worker : nullptr;
    EXPECT_TRUE(scheduler->start(request, ids, worker, blocked));
    check();
    return request;
  }
  /// A `get`.
  Request& get(const std::vector<ObjectId>& ids, TaskId blocked = {}) {
    return wait(ids, static_cast<std::uint32_t>(ids.size()), blocked, true);
  }
  Request& get(TaskId id, TaskId blocked = {}) {
    return get(std::vector<ObjectId>{id.return_id(0)}, blocked);
  }
  /// A get in another thread of `worker` than the one that runs its task.
  Request& thread_get(Worker& worker, TaskId id) {
    Request& request = get(id);
    scheduler->lend_while(request, worker);
    check();
    return request;
  }
  /// The claimed task needs room in the store; lives as long as the node.
  RoomWait& wait_for_room(Worker& worker, Claim claim, std::uint64_t size = 100) {
    RoomWait& wait = room_waits_.emplace_back();
    wait.process = worker.process;
    wait.size = size;
    scheduler->wait_for_room(wait, &worker, claim.task);
    open_room_waits_.push_back(&wait);
    check();
    return wait;
  }
  void end_room_wait(RoomWait& wait) {
    EXPECT_EQ(std::erase(open_room_waits_, &wait), 1U) << "it does not wait";
    scheduler->end_room_wait(wait);
    check();
  }
  void withdraw(Request& request) {
    scheduler->withdraw(request);
    check();
  }
  /// What the worker was to run on top of an interrupted wait comes back.
  std::vector<Claim> return_nested(Worker& worker) {
    const std::vector<Claim> returned = actions.return_nested(worker.process);
    for (const Claim claim : returned)
      scheduler->give_back_nested(worker, claim.task, claim.attempt);
    check();
    return returned;
  }
  [[nodiscard]] bool was_completed(const Request& request) const {
    return std::count(actions.completed.begin(), actions.completed.end(), &request) == 1;
  }

  // ---- the end ---------------------------------------------------------------------------------

  [[nodiscard]] double free_cpus() const {
    return from_resource_units(scheduler->resources().free(kCpuIndex));
  }
  /// The look at everything takes time in proportion: each step of a small test, some of a large
  /// one.
  void check() {
    if (++unchecked_steps_ * 16 < scheduler->counts().objects) return;
    unchecked_steps_ = 0;
    scheduler->check_invariants();
  }
  /// Lets go of all that the driver and the requests hold; then nothing may be left.
  void end() {
    for (Request& request : requests_)
      withdraw(request);
    scheduler->process_ended(driver);
    run_all();
    while (scheduler->counts().tasks != 0) {  // their workers will never say that they ended
      while (!scheduler->workers().empty())
        die(*scheduler->workers().front());
      tick();
      run_all();
    }
    while (!scheduler->workers().empty())
      die(*scheduler->workers().front());
    scheduler->check_invariants();
    EXPECT_EQ(scheduler->counts().objects, 0U);
    EXPECT_EQ(scheduler->counts().tasks, 0U);
    EXPECT_EQ(scheduler->counts().queued, 0U);
    EXPECT_EQ(actions.live_values(), 0U) << "a value was never freed";
    EXPECT_EQ(actions.live_blocks(), 0U) << "a block was never released";
    for (std::size_t i = 0; i < scheduler->resources().size(); ++i) {
      EXPECT_EQ(scheduler->resources().free(i), scheduler->resources().total(i));
    }
  }

 private:
  std::uint32_t next_slot_ = 0;
  std::size_t unchecked_steps_ = 0;
  std::map<std::uint32_t, std::uint64_t> counters_;
  std::deque<Request> requests_;
  std::deque<RoomWait> room_waits_;
  std::vector<RoomWait*> open_room_waits_;
};

}  // namespace haz
