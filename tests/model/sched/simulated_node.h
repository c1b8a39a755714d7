/// @file
/// A node in one thread: a driver and workers that submit, block, finish, raise and die in an order
/// drawn from a seed, with their messages under way, around a real Scheduler. Beside it a reference
/// model of what must be there, made from what was said to the scheduler, not from what it says.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "sched/scheduler.h"
#include "unit/sched/fake_actions.h"
#include "wire/value.h"

namespace haz {

class SimulatedNode {
 public:
  explicit SimulatedNode(std::uint64_t seed) : random_(seed) {
    SchedulerOptions options;
    options.max_workers = pick<std::uint32_t>({1, 1, 2, 3, 4, 8});
    options.wake_ns = chance(0.5) ? 0 : options.wake_ns;
    options.max_nested = pick<std::uint32_t>({0, 1, 2, 32, 32});
    if (chance(0.2)) options.hard_max_workers = options.max_workers + pick<std::uint32_t>({0, 1});
    few_processes_ = options.hard_max_workers < 100;
    actions_.ring_capacity = pick<std::size_t>({1, 2, 8, 1024});
    actions_.lays_out_arguments = chance(0.7);
    scheduler_ = std::make_unique<Scheduler>(actions_, options);
    scheduler_->set_resource("CPU", pick<double>({0.5, 1, 1, 2, 3, 4}));
    scheduler_->set_resource("GPU", 1);
    make_functions();
    driver_.id = scheduler_->new_process();
    driver_.next_id = first_id_of(driver_.id);
    scheduler_->track_process(driver_.id);
  }

  /// One event, drawn by its weight.
  void step() {
    const std::vector<std::pair<int, void (SimulatedNode::*)()>> events{
        {30, &SimulatedNode::worker_acts},       {30, &SimulatedNode::deliver_message},
        {20, &SimulatedNode::worker_claims},     {20, &SimulatedNode::dispatch},
        {20, &SimulatedNode::driver_acts},       {8, &SimulatedNode::answer_start},
        {10, &SimulatedNode::worker_hears},      {4, &SimulatedNode::tick},
        {2, &SimulatedNode::somebody_dies},      {4, &SimulatedNode::kill_arrives},
        {3, &SimulatedNode::cancel_something},   {2, &SimulatedNode::time_limit_passes},
        {4, &SimulatedNode::room_comes},         {2, &SimulatedNode::grace_is_over},
        {1, &SimulatedNode::result_comes_twice}, {5, &SimulatedNode::submit_in_passing}};
    int total = 0;
    for (const auto& [weight, event] : events)
      total += weight;
    int drawn = number(0, total - 1);
    for (const auto& [weight, event] : events) {
      drawn -= weight;
      if (drawn >= 0) continue;
      (this->*event)();
      break;
    }
    check();
  }

  /// How often tasks were submitted that needed no dispatch.
  [[nodiscard]] std::size_t submitted_in_passing() const { return submitted_in_passing_; }

  /// Lets everything come to its end without new work; fails when something never does.
  void drain() {
    draining_ = true;
    int idle_rounds = 0;
    dispatch();
    while (!::testing::Test::HasFailure()) {
      const std::size_t before = events_;
      while (deliver_one()) {
      }
      if (unfinished_.empty()) return;
      while (actions_.starts_wanted > 0)
        start_worker();
      if (chance(0.5)) dispatch_after_news(before);  // before a worker has passed what it had
      for (auto& process : processes_) {
        if (process->killed) die(*process);
        while (hear(*process)) {
        }
        if (act_finally(*process)) ++events_;
      }
      reap();
      dispatch_after_news(before);
      check();
      if (events_ != before || unfinished_.empty()) {
        idle_rounds = 0;
        continue;
      }
      ASSERT_TRUE(scheduler_->wants_tick()) << "a deadlock: nothing is under way\n" << describe();
      tick();
      ASSERT_LT(++idle_rounds, 5000) << "a deadlock: ticks do not help\n" << describe();
    }
  }

  /// Ends everything at once, as a shutdown does.
  void fail_all() {
    scheduler_->fail_all("the end");
    events_ += 1;
    after_call();
    check();
    EXPECT_TRUE(unfinished_.empty()) << "a task outlived fail_all";
  }

  /// After drain() or fail_all(): lets go of everything, and nothing may be left.
  void end() {
    while (deliver_one()) {
    }
    for (auto& process : processes_)
      die(*process);
    reap();
    while (!requests_.empty())
      withdraw(*requests_.back());
    scheduler_->process_ended(driver_.id);
    model_handles_.erase(driver_.id.value);
    check();
    const SchedulerCounts counts = scheduler_->counts();
    EXPECT_EQ(counts.objects, 0U);
    EXPECT_EQ(counts.tasks, 0U);
    EXPECT_EQ(counts.queued, 0U);
    EXPECT_EQ(counts.workers, 0U);
    EXPECT_EQ(actions_.live_values(), 0U) << "a value was never freed";
    EXPECT_EQ(actions_.live_blocks(), 0U) << "a block was never released";
    const ResourcePool& pool = scheduler_->resources();
    for (std::size_t i = 0; i < pool.size(); ++i)
      EXPECT_EQ(pool.free(i), pool.total(i));
  }

 private:
  // ---- what the model knows ---------------------------------------------------------------------

  struct ModelItem {
    std::string text;
    bool is_error = false;
    std::vector<ObjectId> inner{};
  };
  struct ModelStream {
    std::deque<ModelItem> items;  ///< Not taken yet.
    std::uint64_t yielded = 0;
    bool ended = false;
  };
  struct ModelObject {
    std::uint64_t order = 0;  ///< Refs go to objects made earlier only: no cycles.
    bool ready = false;
    bool freed_by_hand = false;
    std::vector<ObjectId> inner{};
  };
  struct ModelTask {
    Function* function = nullptr;
    std::uint32_t num_returns = 1;
    std::vector<ObjectId> dependencies;
    std::vector<ObjectId> refs;
    std::vector<TaskId> children;
    std::uint32_t claims = 0;
    std::uint32_t failures = 0;  ///< Attempts that ended by a death or a retryable error.
    bool may_be_cancelled = false;
    bool may_time_out = false;
    bool may_fail = false;                  ///< An attempt raised an error of its own.
    bool may_crash = false;                 ///< An attempt died.
    std::optional<std::uint32_t> returned;  ///< The attempt whose values were taken.

    [[nodiscard]] bool streams() const { return function->streams(); }
    [[nodiscard]] std::uint32_t num_ids() const {
      return streams() ? kStreamIds : std::max(num_returns, 1U);
    }
  };

  // ---- processes --------------------------------------------------------------------------------

  struct Process;
  struct Room {
    RoomWait wait{};
    Process* process = nullptr;
    bool asked = false;  ///< The scheduler knows of it.
  };
  struct Frame {
    Claim claim;
    Room* room = nullptr;        ///< It waits for room in the store.
    Request* request = nullptr;  ///< It sleeps on this one.
    std::vector<ObjectId> borrowed{};
    std::set<std::uint64_t> known{};  ///< What it was told of or made: it uses nothing else.
    bool interrupted = false;
    bool closed = false;            ///< It streams, and should end at its next item.
    std::uint64_t next_item = 0;    ///< Number of the item that it yields next.
    std::uint64_t credit = 0;       ///< Items that it may yield before it asks.
    bool waits_for_demand = false;  ///< `request` is for that.
    bool has_blocked = false;       ///< Something may be on its way to run on top of it.
    bool joins = false;             ///< `request` is that of a thread, for which this one waits.
    bool gives_back = false;        ///< Its wait was interrupted, which the node has not heard yet.
  };
  struct Process {
    ProcessId id;
    Worker* worker = nullptr;
    std::uint64_t next_id = 0;
    std::deque<std::function<void()>> messages;  ///< On their way to the scheduler.
    std::deque<std::function<void()>> news;      ///< On their way to the process.
    std::map<std::uint64_t, int> handles;        ///< As the process itself sees them.
    std::vector<Frame> stack;
    std::map<std::uint64_t, std::uint32_t> interrupts;  ///< Task to attempt.
    bool killed = false;
    bool dead = false;
  };

  // ---- drawing ----------------------------------------------------------------------------------

  int number(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }
  bool chance(double probability) { return std::bernoulli_distribution(probability)(random_); }
  template <typename T>
  T pick(std::initializer_list<T> values) {
    return values.begin()[number(0, static_cast<int>(values.size()) - 1)];
  }
  template <typename T>
  T& pick_of(std::vector<T>& values) {
    return values[static_cast<std::size_t>(number(0, static_cast<int>(values.size()) - 1))];
  }
  Process* pick_process() {
    if (processes_.empty()) return nullptr;
    return pick_of(processes_).get();
  }

  void make_functions() {
    const bool environments = chance(0.3);
    const std::vector<std::vector<std::pair<std::string, double>>> needs{
        {{"CPU", 0.5}}, {{"CPU", 0.5}}, {}, {{"CPU", 0.01}}, {{"GPU", 1}}};
    for (const auto& resources : needs) {
      FunctionOptions options{.name = "f", .resources = resources};
      options.max_retries = pick<std::int32_t>({0, 0, 1, 3, -1});
      if (environments && chance(0.5)) options.environment = pick<const char*>({"A", "B"});
      add_function(options);
    }
    const double cpus = from_resource_units(scheduler_->resources().total(kCpuIndex));
    add_function(FunctionOptions{.name = "all", .resources = {{"CPU", cpus}}});
    for (const std::int32_t items_ahead : {0, 1, 3}) {
      FunctionOptions options{.name = "stream", .resources = {{"CPU", 0.5}}};
      options.max_retries = pick<std::int32_t>({0, 1, 3, -1});
      options.items_ahead = items_ahead;
      add_function(options);
    }
  }
  void add_function(const FunctionOptions& options) {
    const Result<Function*> made = scheduler_->register_function(options);
    ASSERT_TRUE(made.ok());
    if (chance(0.5)) made.value()->mean_run_ns = pick<std::int64_t>({100, 100'000, 50'000'000});
    functions_.push_back(made.value());
  }

  // ---- what processes do ------------------------------------------------------------------------

  /// One of the handles that the process' task on top knows of; of all, where none runs.
  std::optional<ObjectId> pick_handle(const Process& process) {
    const Frame* frame = process.stack.empty() ? nullptr : &process.stack.back();
    std::vector<std::uint64_t> ids;
    for (const auto& [id, count] : process.handles) {
      if (count > 0 && (frame == nullptr || frame->known.contains(id))) ids.push_back(id);
    }
    if (ids.empty()) return std::nullopt;
    return ObjectId{pick_of(ids)};
  }
  std::vector<ObjectId> pick_handles(const Process& process, int most) {
    std::vector<ObjectId> ids;
    const int count = number(0, most);
    for (int i = 0; i < count; ++i) {
      if (const auto id = pick_handle(process)) ids.push_back(*id);
    }
    return ids;
  }
  /// `process` has one more handle, which its task on top knows of.
  void learn(Process& process, ObjectId id) {
    ++process.handles[id.value];
    if (!process.stack.empty()) process.stack.back().known.insert(id.value);
  }

  void driver_acts() {
    if (draining_) return;
    switch (number(0, 11)) {
      case 0:
      case 1:
      case 2:
        if (unfinished_.size() < 60) submit(driver_, {});
        break;
      case 10:
      case 11:
        take(driver_);
        break;
      case 3:
        put(driver_);
        break;
      case 4:
      case 5:
      case 6:
        drop(driver_);
        break;
      case 7:
        add(driver_);
        break;
      case 8: {
        const std::vector<ObjectId> ids = pick_handles(driver_, 4);
        start_request(driver_, ids, {});
        break;
      }
      default:
        if (chance(0.3)) {
          if (const auto id = pick_handle(driver_)) free_by_hand(*id);
        } else if (!requests_.empty()) {
          Request& request = *pick_of(requests_);
          if (request.process == driver_.id) withdraw(request);
        }
    }
    while (!driver_.messages.empty())
      deliver(driver_);  // the driver calls the scheduler itself
  }

  void worker_acts() {
    Process* process = pick_process();
    if (process == nullptr || process->stack.empty()) return;
    Frame& frame = process->stack.back();
    if (frame.room != nullptr || frame.gives_back) return;
    if (frame.request != nullptr) {
      const bool may_nest = !frame.joins && actions_.unclaimed(process->id) != 0;
      if (may_nest ? chance(0.4) : !frame.joins && chance(0.03)) {
        interrupt_wait(*process, frame);
      } else if (chance(0.1)) {
        stop_waiting(*process, frame);
      }
      return;
    }
    if (frame.interrupted && chance(0.7)) {
      end_frame(*process, chance(0.8) ? Outcome::kRaised : Outcome::kRetryable);
      return;
    }
    if (tasks_.at(frame.claim.task.value).streams() && chance(0.6)) {
      yield(*process, frame);
      return;
    }
    const bool may_block = tasks_.at(frame.claim.task.value).function->resources->request.empty() ||
                           tasks_.at(frame.claim.task.value).function != functions_[4];
    switch (number(0, 13)) {
      case 0:
      case 1:
      case 2:
        if (unfinished_.size() < 60) submit(*process, frame.claim.task);
        break;
      case 13:
        wait_for_room(*process, frame);
        break;
      case 12:
        take(*process);
        break;
      case 3:
        put(*process);
        break;
      case 4:
        drop(*process);
        break;
      case 5:
        add(*process);
        break;
      case 6:
      case 7:
      case 8:
        if (may_block) block(*process, frame);
        break;
      default:
        end_frame(*process, pick({Outcome::kReturned, Outcome::kReturned, Outcome::kReturned,
                                  Outcome::kRaised, Outcome::kRetryable}));
    }
  }

  /// In drain(): the shortest way to the end.
  bool act_finally(Process& process) {
    if (process.dead) return false;
    if (!process.stack.empty() && process.stack.back().room != nullptr) {
      give_room(*process.stack.back().room);
      return true;
    }
    if (!process.stack.empty() && process.stack.back().waits_for_demand) {
      stop_waiting(process, process.stack.back());  // nobody takes anything any more
    }
    if (process.stack.empty() || process.stack.back().request != nullptr) return claim(process);
    if (process.stack.back().gives_back) return false;
    end_frame(process, Outcome::kReturned);
    return true;
  }

  void worker_claims() {
    if (Process* process = pick_process()) claim(*process);
  }

  bool claim(Process& process) {
    if (process.dead) return false;
    std::optional<Claim> claimed;
    if (process.stack.empty()) {
      claimed = actions_.claim(process.id);
    } else if (process.stack.back().request != nullptr && !process.stack.back().joins) {
      claimed = actions_.claim_nested(process.id);
    }
    if (!claimed) return false;
    ++events_;
    for (const auto& other : processes_) {
      for (const Frame& frame : other->stack) {
        EXPECT_NE(frame.claim.task, claimed->task) << "a task runs twice at the same time";
      }
    }
    ModelTask& task = tasks_.at(claimed->task.value);
    EXPECT_TRUE(unfinished_.contains(claimed->task.value)) << "a task runs after its end";
    ++task.claims;
    const std::int32_t retries = task.function->max_retries;
    EXPECT_TRUE(retries < 0 || task.claims <= static_cast<std::uint32_t>(retries) + 1)
        << "a task runs too often";
    for (const ObjectId id : task.dependencies) {
      const Object* argument = scheduler_->find(id);
      EXPECT_TRUE(argument != nullptr && argument->state != ObjectState::kPending)
          << "a task runs without its argument";
    }
    Frame frame{.claim = *claimed};
    if (task.streams() && chance(0.7)) frame.next_item = scheduler_->items_of(claimed->task);
    if (frame.next_item == 0 && task.streams()) {
      frame.credit = static_cast<std::uint64_t>(task.function->items_ahead);
    }
    frame.closed = closed_.contains({claimed->task.value, claimed->attempt});
    const auto interrupt = process.interrupts.find(claimed->task.value);
    frame.interrupted =
        interrupt != process.interrupts.end() && interrupt->second == claimed->attempt;
    frame.borrowed = task.refs;
    process.stack.push_back(std::move(frame));
    for (const ObjectId id : task.refs)
      send_add(process, id);
    return true;
  }

  void submit(Process& process, TaskId parent) {
    ModelTask task;
    task.function = pick_of(functions_);
    task.num_returns = task.streams() ? 1 : static_cast<std::uint32_t>(pick({0, 1, 1, 1, 1, 2, 3}));
    task.dependencies = pick_handles(process, 3);
    task.refs = pick_handles(process, 2);
    const TaskId id{process.next_id};
    process.next_id += task.num_ids();
    if (task.streams()) {
      learn(process, stream_of(id));
      known_.insert(stream_of(id).value);
    }
    for (std::uint32_t i = 0; !task.streams() && i < task.num_returns; ++i) {
      learn(process, id.return_id(i));
      known_.insert(id.return_id(i).value);
    }
    process.messages.push_back(
        [this, &process, id, parent, task] { submitted(process, id, parent, task); });
  }

  void submitted(Process& process, TaskId id, TaskId parent, const ModelTask& task) {
    bool lost = false;
    for (const ObjectId dependency : task.dependencies)
      lost = lost || !must_exist(dependency) || has_no_value(dependency);
    const std::uint64_t payload = chance(0.3) ? actions_.allocate() : 0;
    const Status status = scheduler_->submit({.id = id,
                                              .function = task.function,
                                              .submitter = process.id,
                                              .parent = parent,
                                              .num_returns = task.num_returns,
                                              .payload_offset = payload,
                                              .dependencies = task.dependencies,
                                              .refs = task.refs});
    EXPECT_EQ(status.ok(), !lost);
    if (!status.ok()) {
      if (payload != 0) actions_.free_value(payload);
      if (task.streams()) {
        scheduler_->put_failed_stream(process.id, id, kLost);
        open_stream(process, id, task);
        objects_.at(end_of(id).value).ready = true;
        streams_.at(id.value).ended = true;
        streams_.at(id.value).items.push_back({"l", true});
        after_call();
        return;
      }
      for (std::uint32_t i = 0; i < task.num_returns; ++i) {
        put_value(process, id.return_id(i), NewValue{.is_error = true, .bytes = kLost});
      }
      return;
    }
    ModelTask& added = tasks_[id.value] = task;
    std::erase_if(added.refs, [this](ObjectId ref) { return !must_exist(ref); });
    if (task.streams()) {
      open_stream(process, id, task);
    } else {
      for (std::uint32_t i = 0; i < task.num_returns; ++i) {
        ++model_handles_[process.id.value][id.return_id(i).value];
      }
      for (std::uint32_t i = 0; i < std::max(task.num_returns, 1U); ++i) {
        objects_[id.return_id(i).value] = ModelObject{.order = next_order_++};
      }
    }
    if (parent && unfinished_.contains(parent.value)) {
      tasks_.at(parent.value).children.push_back(id);
    }
    unfinished_.insert(id.value);
    after_call();
  }

  // ---- streams ----------------------------------------------------------------------------------

  /// Objects that are ready now and not later: streams, and the demand for their items.
  [[nodiscard]] bool has_no_value(ObjectId id) const { return has_no_value_.contains(id.value); }

  void open_stream(const Process& process, TaskId id, const ModelTask& task) {
    objects_[end_of(id).value] = ModelObject{.order = next_order_++};
    objects_[stream_of(id).value] = ModelObject{.order = next_order_++};
    ++model_handles_[process.id.value][stream_of(id).value];
    has_no_value_.insert(stream_of(id).value);
    streams_[id.value] = ModelStream{};
    if (task.function->items_ahead <= 0) return;
    objects_[demand_of(id).value] = ModelObject{.order = next_order_++};
    has_no_value_.insert(demand_of(id).value);
  }

  void yield(Process& process, Frame& frame) {
    const ModelTask& task = tasks_.at(frame.claim.task.value);
    const std::int32_t ahead = task.function->items_ahead;
    if (frame.closed) {
      end_frame(process, Outcome::kReturned);
      return;
    }
    if (ahead > 0 && frame.credit == 0) {
      frame.credit = static_cast<std::uint64_t>(ahead) - items_at_demand(ahead);
      frame.waits_for_demand = true;
      frame.has_blocked = true;
      frame.request = &start_request(process, {demand_of(frame.claim.task)}, frame.claim.task);
      frame.request->needed = 1;
      return;
    }
    if (frame.credit > 0) --frame.credit;
    process.messages.push_back(
        [this, &process, claim = frame.claim, index = frame.next_item++,
         refs = pick_handles(process, 2)] { yielded(process, claim, index, refs); });
  }

  void yielded(Process& process, Claim claim, std::uint64_t index,
               const std::vector<ObjectId>& refs) {
    const Task* task = scheduler_->find_task(claim.task);
    const bool current = task != nullptr && task->worker == process.worker &&
                         task->attempt == claim.attempt && must_exist(stream_of(claim.task));
    ModelStream& stream = streams_.at(claim.task.value);
    ModelItem item{text_of_item(claim, index)};
    for (const ObjectId ref : refs) {
      const auto object = objects_.find(ref.value);
      const std::uint64_t order = objects_.at(claim.task.value).order;
      if (object != objects_.end() && object->second.order < order && must_exist(ref)) {
        item.inner.push_back(ref);
      }
    }
    const std::vector<std::byte> bytes = bytes_of_text(item.text);
    NewValue value{.bytes = bytes, .refs = item.inner};
    if (chance(0.3)) {
      value = NewValue{.offset = actions_.allocate(), .size = item.text.size(), .refs = item.inner};
      item.text.clear();
    }
    EXPECT_TRUE(scheduler_->yielded(*process.worker, claim.task, claim.attempt, index, value));
    if (current && index == stream.yielded) {
      ++stream.yielded;
      stream.items.push_back(std::move(item));
    }
    after_call();
  }

  /// Takes an item of a stream that `process` has a handle of.
  void take(Process& process) {
    const auto id = pick_handle(process);
    if (!id || !has_no_value(*id)) return;
    const ObjectId item{process.next_id++};
    process.messages.push_back(
        [this, &process, stream = *id, item] { taken(process, stream, item); });
  }

  void taken(Process& process, ObjectId id, ObjectId item) {
    const bool known = must_exist(id);
    const TakenItem taken = scheduler_->take_item(process.id, id, item);
    EXPECT_EQ(taken == TakenItem::kUnknown, !known);
    if (!known) return;
    ModelStream& stream = streams_.at(task_of_stream(id).value);
    if (stream.items.empty()) {
      EXPECT_EQ(taken, stream.ended ? TakenItem::kEnded : TakenItem::kNone);
      return;
    }
    EXPECT_EQ(taken, TakenItem::kTaken);
    if (taken != TakenItem::kTaken) return;
    const ModelItem expected = stream.items.front();
    if (chance(0.2)) {  // taken ahead of its use, which did not come
      scheduler_->return_item(process.id, id, item);
      after_call();
      return;
    }
    stream.items.pop_front();
    const Object& object = *scheduler_->find(item);
    EXPECT_EQ(object.state == ObjectState::kError, expected.is_error);
    const bool is_near = !expected.is_error && !expected.text.empty();
    EXPECT_TRUE(!is_near || text(object) == expected.text) << text(object);
    objects_[item.value] =
        ModelObject{.order = next_order_++, .ready = true, .inner = expected.inner};
    ++model_handles_[process.id.value][item.value];
    known_.insert(item.value);
    if (&process == &driver_) {
      learn(process, item);
    } else {
      process.news.push_back([this, &process, item] { learn(process, item); });
    }
    after_call();
  }

  static std::string text_of_item(Claim claim, std::uint64_t index) {
    return "item " + std::to_string(index) + " of " + std::to_string(claim.task.value) +
           " attempt " + std::to_string(claim.attempt);
  }
  static std::vector<std::byte> bytes_of_text(const std::string& text) {
    const auto* bytes = reinterpret_cast<const std::byte*>(text.data());
    return {bytes, bytes + text.size()};
  }

  /// After a dispatch: a task that nobody will hear of again is ended, or asked to end.
  void check_abandoned() {
    EXPECT_FALSE(scheduler_->has_abandoned());
    const std::set<std::uint64_t> expected = referenced();
    for (const std::uint64_t id : unfinished_) {
      const ModelTask& task = tasks_.at(id);
      if (!task.streams() || expected.contains(stream_of(TaskId{id}).value)) continue;
      if (!abandoned_.insert(id).second) continue;
      if (scheduler_->find(ObjectId{id})->refs > 1) continue;  // somebody has its end
      EXPECT_TRUE(scheduler_->find_task(TaskId{id})->cancel_requested)
          << "a stream that nobody takes from goes on";
    }
  }

  void put(Process& process) {
    const ObjectId id{process.next_id++};
    learn(process, id);
    known_.insert(id.value);
    const std::vector<ObjectId> refs = pick_handles(process, 2);
    process.messages.push_back([this, &process, id, refs] {
      NewValue value{.refs = refs};
      if (chance(0.5)) {
        value.offset = actions_.allocate();
        value.size = 7;
      }
      put_value(process, id, value);
    });
  }

  void put_value(Process& process, ObjectId id, const NewValue& value) {
    ModelObject object{.order = next_order_++, .ready = true};
    for (const ObjectId ref : value.refs) {
      if (must_exist(ref)) object.inner.push_back(ref);
    }
    EXPECT_TRUE(scheduler_->put(process.id, id, value).ok());
    objects_[id.value] = object;
    ++model_handles_[process.id.value][id.value];
    after_call();
  }

  void drop(Process& process) {
    if (const auto id = pick_handle(process)) drop(process, *id);
  }
  void drop(Process& process, ObjectId id) {
    --process.handles[id.value];
    process.messages.push_back([this, &process, id] {
      scheduler_->drop_reference(process.id, id);
      auto& handles = model_handles_[process.id.value];
      const auto found = handles.find(id.value);
      if (found != handles.end() && --found->second == 0) handles.erase(found);
      after_call();
    });
  }

  void add(Process& process) {
    const auto id = pick_handle(process);
    if (!id) return;
    if (chance(0.5)) {
      send_add(process, *id);
      return;
    }
    if (has_no_value(*id)) {
      send_add(process, end_of(task_of_stream(*id)));
      return;
    }
    // What a value that it holds refers to.
    const auto object = objects_.find(id->value);
    if (object == objects_.end() || object->second.inner.empty()) return;
    send_add(process, pick_of(object->second.inner));
  }
  void send_add(Process& process, ObjectId id) {
    learn(process, id);
    process.messages.push_back([this, &process, id] {
      const bool expected = must_exist(id);
      EXPECT_EQ(scheduler_->add_reference(process.id, id), expected);
      if (expected) ++model_handles_[process.id.value][id.value];
    });
  }

  void block(Process& process, Frame& frame) {
    const std::vector<ObjectId> ids = pick_handles(process, 4);
    if (ids.empty()) return;
    if (chance(0.2)) {
      // A thread of the task waits, which may outlive it.
      Request& request = start_request(process, ids, {}, true);
      if (frame.has_blocked || chance(0.5)) return;
      frame.joins = true;
      frame.request = &request;
      return;
    }
    frame.has_blocked = true;
    frame.request = &start_request(process, ids, frame.claim.task);
  }

  Request& start_request(Process& process, const std::vector<ObjectId>& ids, TaskId blocked,
                         bool in_thread = false) {
    requests_.push_back(std::make_unique<Request>());
    Request& request = *requests_.back();
    request.process = process.id;
    request.number = next_request_++;
    request.needed = static_cast<std::uint32_t>(
        chance(0.6) ? ids.size() : number(0, static_cast<int>(ids.size())));
    request.stop_at_error = chance(0.6);
    request.bulk = chance(0.2);
    const std::uint64_t id = request.number;
    process.messages.push_back([this, &process, id, ids, blocked, in_thread] {
      Request* found = find_request(id);
      if (found == nullptr) return;  // was given up before it was sent
      bool known = true;
      for (const ObjectId object : ids)
        known = known && must_exist(object);
      EXPECT_EQ(scheduler_->start(*found, ids, blocked ? process.worker : nullptr, blocked), known);
      if (known) started_[id] = ids;
      if (known && in_thread) scheduler_->lend_while(*found, *process.worker);
      if (!known) tell_completion(*found);
      after_call();
    });
    return request;
  }
  Request* find_request(std::uint64_t number) {
    for (const auto& request : requests_) {
      if (request->number == number) return request.get();
    }
    return nullptr;
  }

  void wait_for_room(Process& process, Frame& frame) {
    rooms_.push_back(std::make_unique<Room>());
    Room& room = *rooms_.back();
    room.process = &process;
    room.wait.process = process.id;
    room.wait.size = 100;
    frame.room = &room;
    process.messages.push_back([this, &process, &room, task = frame.claim.task] {
      room.asked = true;
      scheduler_->wait_for_room(room.wait, process.worker, task);
    });
  }
  /// One of those who wait gets room, most often the one that holds others up.
  void room_comes() {
    (void)scheduler_->room_can_come();
    const RoomWait* urgent = scheduler_->blocks_others();
    std::vector<Room*> asked;
    for (const auto& room : rooms_) {
      if (room->asked && (urgent == nullptr || &room->wait == urgent)) asked.push_back(room.get());
    }
    EXPECT_TRUE(urgent == nullptr || asked.size() == 1) << "one who does not wait";
    if (!asked.empty()) give_room(*pick_of(asked));
  }
  void give_room(Room& room) {
    ++events_;
    if (room.asked) scheduler_->end_room_wait(room.wait);
    for (Frame& frame : room.process->stack) {
      if (frame.room == &room) frame.room = nullptr;
    }
    std::erase_if(rooms_, [&room](const auto& one) { return one.get() == &room; });
  }
  void stop_waiting(Process& process, Frame& frame) {
    const std::uint64_t number = frame.request->number;
    frame.request = nullptr;
    frame.waits_for_demand = false;
    frame.joins = false;
    process.messages.push_back([this, number] {
      if (Request* request = find_request(number)) withdraw(*request);
    });
  }

  /// What was to run on top of the frame comes back; so nothing is on its way to it any more.
  void interrupt_wait(Process& process, Frame& frame) {
    const std::uint64_t number = frame.request->number;
    frame.request = nullptr;
    frame.waits_for_demand = false;
    frame.gives_back = true;
    process.messages.push_back([this, &process, number] {
      if (Request* request = find_request(number)) withdraw(*request);
      for (const Claim claim : actions_.return_nested(process.id)) {
        process.messages.push_back([this, &process, claim] {
          scheduler_->give_back_nested(*process.worker, claim.task, claim.attempt);
          after_call();
        });
      }
      process.stack.back().gives_back = false;
      process.stack.back().has_blocked = false;
    });
  }

  void withdraw(Request& request) {
    scheduler_->withdraw(request);
    started_.erase(request.number);
    told_.erase(request.number);
    for (auto& process : processes_) {
      for (Frame& frame : process->stack) {
        if (frame.request != &request) continue;
        frame.request = nullptr;
        frame.waits_for_demand = false;
        frame.joins = false;
      }
    }
    std::erase_if(actions_.completed, [&request](const Request* done) { return done == &request; });
    std::erase_if(requests_, [&request](const auto& owned) { return owned.get() == &request; });
    after_call();
  }

  void end_frame(Process& process, Outcome outcome) {
    const std::vector<ObjectId> refs =
        outcome == Outcome::kReturned ? pick_handles(process, 2) : std::vector<ObjectId>();
    const Frame frame = std::move(process.stack.back());
    process.stack.pop_back();
    process.messages.push_back([this, &process, claim = frame.claim, outcome, refs] {
      finished(process, claim, outcome, refs);
    });
    if (chance(0.8)) {
      for (const ObjectId id : frame.borrowed)
        drop(process, id);
    }
    if (process.stack.empty() && chance(0.7)) {
      const std::map<std::uint64_t, int> handles = process.handles;
      for (const auto& [id, count] : handles) {
        for (int i = 0; i < count; ++i)
          drop(process, ObjectId{id});
      }
    }
  }

  void finished(Process& process, Claim claim, Outcome outcome, const std::vector<ObjectId>& refs) {
    ModelTask& task = tasks_.at(claim.task.value);
    const bool counts = unfinished_.contains(claim.task.value);
    const std::uint64_t order = objects_.at(claim.task.value).order;
    std::vector<ObjectId> older;
    for (const ObjectId ref : refs) {
      const auto object = objects_.find(ref.value);
      if (object != objects_.end() && object->second.order < order) older.push_back(ref);
    }
    std::vector<std::vector<std::byte>> texts;
    std::vector<NewValue> values;
    const std::uint32_t count = outcome == Outcome::kReturned ? task.num_returns : 1;
    for (std::uint32_t i = 0; i < count; ++i)
      texts.push_back(text_of(claim, outcome, i));
    for (std::uint32_t i = 0; i < count; ++i) {
      NewValue value{.is_error = outcome != Outcome::kReturned, .bytes = texts[i], .refs = older};
      if (outcome == Outcome::kReturned && chance(0.4)) {
        value = NewValue{.offset = actions_.allocate(), .size = claim.attempt, .refs = older};
      }
      values.push_back(value);
    }
    if (counts) {
      if (outcome == Outcome::kReturned) {
        task.returned = claim.attempt;
        for (std::uint32_t i = 0; i < task.num_returns; ++i) {
          for (const ObjectId ref : older) {
            if (must_exist(ref)) pending_inner_[claim.task.return_id(i).value].push_back(ref);
          }
        }
      }
      if (outcome == Outcome::kRaised) task.may_fail = true;
      if (outcome == Outcome::kRetryable) {
        ++task.failures;
        task.may_fail = !may_retry(task);
      }
    }
    scheduler_->finished(*process.worker, claim.task, claim.attempt, outcome, values,
                         number(0, 1'000'000));
    after_call();
    if (counts && outcome != Outcome::kRetryable) {
      EXPECT_FALSE(unfinished_.contains(claim.task.value)) << "a task goes on after its result";
    }
  }

  [[nodiscard]] static bool may_retry(const ModelTask& task) {
    return task.function->max_retries < 0 ||
           task.failures <= static_cast<std::uint32_t>(task.function->max_retries);
  }

  static std::vector<std::byte> text_of(Claim claim, Outcome outcome, std::uint32_t index) {
    const std::string text = std::string(outcome == Outcome::kReturned ? "value " : "error ") +
                             std::to_string(claim.task.value) + " attempt " +
                             std::to_string(claim.attempt) + " return " + std::to_string(index);
    const auto* bytes = reinterpret_cast<const std::byte*>(text.data());
    return {bytes, bytes + text.size()};
  }

  // ---- what happens to them
  // ----------------------------------------------------------------------

  void deliver_message() {
    if (Process* process = pick_process(); process != nullptr) deliver(*process);
  }
  bool deliver(Process& process) {
    if (process.messages.empty()) return false;
    ++events_;
    const std::function<void()> message = std::move(process.messages.front());
    process.messages.pop_front();
    message();
    return true;
  }
  bool deliver_one() {
    bool any = false;
    for (auto& process : processes_)
      any = deliver(*process) || any;
    return any;
  }
  void worker_hears() {
    if (Process* process = pick_process()) hear(*process);
  }
  bool hear(Process& process) {
    if (process.news.empty() || process.dead) return false;
    ++events_;
    const std::function<void()> news = std::move(process.news.front());
    process.news.pop_front();
    news();
    return true;
  }

  void dispatch() {
    scheduler_->dispatch();
    after_call();
    check_abandoned();
  }
  /// As a node does, which dispatches only when it has heard something.
  void dispatch_after_news(std::size_t events_before) {
    if (events_ == events_before) return;
    const std::size_t assigned = actions_.assigned.size();
    dispatch();
    if (actions_.assigned.size() != assigned || actions_.starts_wanted != 0) ++events_;
  }
  /// The driver submits some tasks right after a dispatch. Where the scheduler says that they need
  /// none of their own, nobody who could run them may be idle, and no worker be missing.
  void submit_in_passing() {
    if (draining_) return;
    while (!driver_.messages.empty())
      deliver(driver_);  // of which some change more than a submission does
    std::uint32_t started = 0;
    do {  // nobody makes way for a class any more once it has been promised a worker
      started = actions_.starts_wanted;
      dispatch();
    } while (actions_.starts_wanted != started);
    for (int left = number(1, 4); left > 0 && unfinished_.size() < 60; --left) {
      submit(driver_, {});
      while (!driver_.messages.empty())
        deliver(driver_);
    }
    if (scheduler_->has_placeable()) return;
    ++submitted_in_passing_;
    std::set<const Worker*> idle;
    for (const Worker* worker : scheduler_->workers()) {
      if (worker->assigned.empty()) idle.insert(worker);
    }
    const std::uint32_t starts = actions_.starts_wanted;
    const std::size_t before = actions_.assigned.size();
    dispatch();
    EXPECT_EQ(actions_.starts_wanted, starts) << "a worker was missing\n" << describe();
    for (std::size_t i = before; i < actions_.assigned.size(); ++i) {
      const Task* task = scheduler_->find_task(actions_.assigned[i].task);
      EXPECT_FALSE(task != nullptr && idle.contains(task->worker))
          << "worker " << task->worker->slot << " was idle\n"
          << describe();
    }
  }
  void tick() {
    if (!scheduler_->wants_tick()) return;
    scheduler_->tick();
    after_call();
    if (draining_) dispatch();
  }

  void start_worker() {
    --actions_.starts_wanted;
    ++events_;
    processes_.push_back(std::make_unique<Process>());
    Process& process = *processes_.back();
    process.id = scheduler_->new_process();
    process.next_id = first_id_of(process.id);
    process.worker = &scheduler_->worker_started(next_slot_++, process.id);
    after_call();
  }
  void answer_start() {
    if (actions_.starts_wanted == 0) return;
    if (chance(0.8)) {
      start_worker();
      return;
    }
    --actions_.starts_wanted;
    scheduler_->start_failed();
  }

  void somebody_dies() {
    if (Process* process = pick_process()) die(*process);
    reap();
  }
  void kill_arrives() {
    for (auto& process : processes_) {
      if (process->killed && chance(0.5)) die(*process);
    }
    reap();
  }
  void die(Process& process) {
    if (process.dead) return;
    ++events_;
    while (deliver(process)) {  // its ring is drained
    }
    for (const Frame& frame : process.stack) {
      ModelTask& task = tasks_.at(frame.claim.task.value);
      if (is_spared(process, frame.claim)) {
        --task.claims;
        task.may_crash = task.may_crash || task.function->max_retries == 0;
        continue;
      }
      ++task.failures;
      if (!may_retry(task)) task.may_crash = true;
    }
    // A nested task that it never looked at counts as begun.
    for (const Task* task = process.worker->assigned.front(); task != nullptr;
         task = List<Task, &Task::queue_link>::next(task)) {
      const bool begun =
          std::any_of(process.stack.begin(), process.stack.end(),
                      [task](const Frame& frame) { return frame.claim.task == task->id; });
      if (begun || !task->nested) continue;
      ModelTask& model = tasks_.at(task->id.value);
      if (is_spared(process, {task->id, task->attempt})) {
        model.may_crash = model.may_crash || model.function->max_retries == 0;
        continue;
      }
      ++model.failures;
      if (!may_retry(model)) model.may_crash = true;
    }
    process.dead = true;
    process.stack.clear();
    scheduler_->worker_died(*process.worker, {.pid = 1, .signal = 9});
    process.worker = nullptr;
    model_handles_.erase(process.id.value);
    after_call();
    for (std::size_t i = rooms_.size(); i > 0; --i) {
      if (rooms_[i - 1]->process == &process) give_room(*rooms_[i - 1]);
    }
    for (std::size_t i = requests_.size(); i > 0; --i) {
      if (i <= requests_.size() && requests_[i - 1]->process == process.id) {
        withdraw(*requests_[i - 1]);
      }
    }
  }
  /// Whether its process ends because of another task.
  [[nodiscard]] bool is_spared(const Process& process, Claim claim) const {
    const Task* task = scheduler_->find_task(claim.task);
    return task != nullptr && task->worker == process.worker && task->attempt == claim.attempt &&
           process.worker->ended_for_task && !task->cancel_requested && !task->timed_out;
  }
  void reap() {
    std::erase_if(processes_, [](const auto& process) { return process->dead; });
  }

  void cancel_something() {
    if (draining_ || known_.empty()) return;
    std::vector<std::uint64_t> ids(known_.begin(), known_.end());
    const ObjectId id{pick_of(ids)};
    const bool recursive = chance(0.5);
    for (const auto& [task_id, task] : tasks_) {
      if (id.value < task_id || id.value >= task_id + task.num_ids()) continue;
      expect_cancel({TaskId{task_id}}, recursive);
      break;
    }
    scheduler_->cancel(id, chance(0.3), recursive);
    after_call();
  }
  void expect_cancel(std::vector<TaskId> doomed, bool recursive) {
    for (std::size_t i = 0; i < doomed.size(); ++i) {
      if (!unfinished_.contains(doomed[i].value)) continue;
      ModelTask& cancelled = tasks_.at(doomed[i].value);
      cancelled.may_be_cancelled = true;
      if (!recursive) break;
      doomed.insert(doomed.end(), cancelled.children.begin(), cancelled.children.end());
    }
  }

  void grace_is_over() {
    if (actions_.to_kill.empty()) return;
    const Claim claim = actions_.to_kill.front();
    actions_.to_kill.erase(actions_.to_kill.begin());
    scheduler_->kill_attempt(claim.task, claim.attempt);
    after_call();
  }

  void time_limit_passes() {
    Process* process = pick_process();
    if (draining_ || process == nullptr || process->stack.empty()) return;
    const Claim claim = pick_of(process->stack).claim;
    if (unfinished_.contains(claim.task.value)) {
      ModelTask& task = tasks_.at(claim.task.value);
      task.may_time_out = true;
      expect_cancel(task.children, true);
    }
    scheduler_->timed_out(claim.task, claim.attempt, chance(0.3));
    after_call();
  }

  void result_comes_twice() {
    Process* process = pick_process();
    if (process == nullptr || process->dead || tasks_.empty()) return;
    std::vector<std::uint64_t> ids;
    for (const auto& [id, task] : tasks_) {
      if (!unfinished_.contains(id)) ids.push_back(id);
    }
    if (ids.empty()) return;
    const NewValue value{.offset = actions_.allocate(), .size = 3};
    scheduler_->finished(*process->worker, TaskId{pick_of(ids)}, 1, Outcome::kReturned,
                         std::span(&value, 1), 1);
    after_call();
  }

  void free_by_hand(ObjectId id) {
    scheduler_->free_object(id);
    const auto object = objects_.find(id.value);
    if (object != objects_.end() && object->second.ready && must_exist(id)) {
      object->second.freed_by_hand = true;
      object->second.inner.clear();
    }
    after_call();
  }

  void tell_completion(Request& request) {
    if (!told_.insert(request.number).second) return;
    const std::uint64_t number = request.number;
    for (auto& process : processes_) {
      if (process->id != request.process) continue;
      process->news.push_back([this, &process = *process, number] {
        for (Frame& frame : process.stack) {
          if (frame.request == nullptr || frame.request->number != number) continue;
          stop_waiting(process, frame);
        }
      });
    }
  }

  // ---- after each call of the scheduler
  // ----------------------------------------------------------

  void after_call() {
    for (const Claim& claim : actions_.interrupted) {
      for (auto& process : processes_) {
        for (Frame& frame : process->stack)
          frame.interrupted |= frame.claim == claim;
        process->interrupts[claim.task.value] = claim.attempt;
      }
    }
    actions_.interrupted.clear();
    for (const Claim& claim : actions_.closed) {
      closed_.insert({claim.task.value, claim.attempt});
      tasks_.at(claim.task.value).may_be_cancelled = true;
      for (auto& process : processes_) {
        for (Frame& frame : process->stack)
          frame.closed |= frame.claim == claim;
      }
    }
    actions_.closed.clear();
    for (const ProcessId killed : actions_.killed) {
      for (auto& process : processes_)
        process->killed |= process->id == killed;
    }
    actions_.killed.clear();
    for (const ProcessId stopped : actions_.stopped) {  // an idle one, which may die as well
      ++events_;
      for (auto& process : processes_)
        process->killed |= process->id == stopped;
    }
    actions_.stopped.clear();
    for (Request* request : actions_.completed)
      tell_completion(*request);
    actions_.completed.clear();
    notice_ends();
  }

  void notice_ends() {
    std::vector<std::uint64_t> ended;
    for (const std::uint64_t id : unfinished_) {
      if (scheduler_->find_task(TaskId{id}) == nullptr) ended.push_back(id);
    }
    for (const std::uint64_t id : ended) {
      unfinished_.erase(id);
      ModelTask& task = tasks_.at(id);
      if (task.streams()) end_stream(TaskId{id}, task);
      for (std::uint32_t i = 0; i < task.num_returns; ++i) {
        const ObjectId object{id + i};
        ModelObject& model = objects_.at(object.value);
        model.ready = true;
        if (task.returned) model.inner = pending_inner_[object.value];
        pending_inner_.erase(object.value);
      }
    }
    for (const std::uint64_t id : ended)
      check_end(TaskId{id});
  }

  void end_stream(TaskId id, ModelTask& task) {
    ModelStream& stream = streams_.at(id.value);
    stream.ended = true;
    if (!task.returned) stream.items.push_back({"", true});
    // It may have been cancelled since nobody had its stream any more.
    if (scheduler_->find(stream_of(id)) == nullptr) task.may_be_cancelled = true;
  }

  void check_end(TaskId id) {
    const ModelTask& task = tasks_.at(id.value);
    for (std::uint32_t i = 0; i < task.num_returns; ++i) {
      const Object* object = scheduler_->find(id.return_id(i));
      if (object == nullptr) continue;
      EXPECT_NE(object->state, ObjectState::kPending);
      if (task.returned) {
        EXPECT_EQ(object->state, ObjectState::kReady);
        if (object->offset != 0) {
          EXPECT_EQ(object->size, *task.returned) << "the value of another attempt";
        } else {
          EXPECT_EQ(text(*object), text_of(*task.returned, id, i));
        }
        continue;
      }
      EXPECT_EQ(object->state, ObjectState::kError);
      EXPECT_TRUE(is_explained(task, text(*object)))
          << "task " << id.value << " ended with an error "
          << "that nothing explains: " << text(*object);
    }
  }
  static std::string text(const Object& object) {
    const auto view = object.bytes.view();
    return {reinterpret_cast<const char*>(view.data()), view.size()};
  }
  static std::string text_of(std::uint32_t attempt, TaskId id, std::uint32_t index) {
    const auto bytes = text_of(Claim{id, attempt}, Outcome::kReturned, index);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  bool is_explained(const ModelTask& task, const std::string& error) {
    const auto has = [&error](const char* word) { return error.find(word) != std::string::npos; };
    if (has("node_died")) return true;
    if (has("infeasible") && few_processes_) return true;
    if (has("cancelled") && task.may_be_cancelled) return true;
    if (has("timeout") && task.may_time_out) return true;
    if (has("worker_crashed") && task.may_crash) return true;
    if (error.starts_with("error ") && task.may_fail) return true;
    return std::any_of(task.dependencies.begin(), task.dependencies.end(), [&](ObjectId id) {
      const Object* argument = scheduler_->find(id);
      return argument == nullptr ||  // went with this task
             (argument->state == ObjectState::kError && error.starts_with(text(*argument)));
    });
  }

  // ---- the reference model
  // -----------------------------------------------------------------------

  /// Every object that something still refers to.
  [[nodiscard]] std::set<std::uint64_t> referenced() const {
    std::set<std::uint64_t> found;
    std::vector<std::uint64_t> next;
    const auto reach = [&](std::uint64_t id) {
      if (objects_.contains(id) && found.insert(id).second) next.push_back(id);
    };
    for (const auto& [process, handles] : model_handles_) {
      for (const auto& [id, count] : handles)
        reach(id);
    }
    for (const std::uint64_t id : unfinished_) {
      const ModelTask& task = tasks_.at(id);
      for (std::uint32_t i = 0; i < task.num_ids(); ++i) {
        if (!task.streams() || i != 1) reach(id + i);
      }
      for (const ObjectId dependency : task.dependencies)
        reach(dependency.value);
      for (const ObjectId ref : task.refs)
        reach(ref.value);
    }
    for (const auto& [number, ids] : started_) {
      for (const ObjectId id : ids)
        reach(id.value);
    }
    while (!next.empty()) {
      const std::uint64_t id = next.back();
      next.pop_back();
      for (const ObjectId inner : objects_.at(id).inner)
        reach(inner.value);
      const auto stream = streams_.find(id - 1);
      if (stream == streams_.end()) continue;
      reach(id - 1);  // its end
      for (const ModelItem& item : stream->second.items) {
        for (const ObjectId inner : item.inner)
          reach(inner.value);
      }
    }
    return found;
  }
  [[nodiscard]] bool must_exist(ObjectId id) const {
    if (!objects_.contains(id.value)) return false;
    return referenced().contains(id.value);
  }

  void check() {
    scheduler_->check_invariants();
    const std::set<std::uint64_t> expected = referenced();
    EXPECT_EQ(scheduler_->counts().objects, expected.size());
    EXPECT_EQ(scheduler_->counts().tasks, unfinished_.size());
    std::size_t items = 0;
    for (const auto& [id, stream] : streams_)
      items += expected.contains(id + 1) ? stream.items.size() : 0;
    EXPECT_EQ(scheduler_->counts().items, items);
    for (const std::uint64_t id : expected) {
      EXPECT_NE(scheduler_->find(ObjectId{id}), nullptr) << "freed while something refers to it";
    }
    for (auto object = objects_.begin(); object != objects_.end();) {
      if (expected.contains(object->first)) {
        ++object;
        continue;
      }
      EXPECT_EQ(scheduler_->find(ObjectId{object->first}), nullptr) << "never freed";
      known_.erase(object->first);
      // A task's first object is asked for as long as messages of it may come.
      object->second.inner.clear();
      ++object;
    }
    for (const auto& [number, ids] : started_) {
      const Request* request = find_request(number);
      ASSERT_NE(request, nullptr);
      std::uint32_t ready = 0;
      bool failed = false;
      bool freed = false;   // an error that came later by hand completes nothing
      bool fickle = false;  // what made it complete may be over
      for (const ObjectId id : ids) {
        const Object* object = scheduler_->find(id);
        ready += object->state != ObjectState::kPending ? 1 : 0;
        failed = failed || object->state == ObjectState::kError;
        freed = freed || objects_.at(id.value).freed_by_hand;
        fickle = fickle || has_no_value(id);
      }
      const bool due = ready >= request->needed || (request->stop_at_error && failed);
      EXPECT_TRUE(request->completed || !due || freed) << "a request waits for nothing";
      EXPECT_TRUE(!request->completed || due || fickle) << "a request completed too early";
    }
  }

  std::string describe() {
    std::string text;
    for (const Worker* worker : scheduler_->workers()) {
      text += "worker " + std::to_string(worker->slot) + " state " +
              std::to_string(static_cast<int>(worker->state)) + " doomed " +
              std::to_string(worker->doomed) + ":";
      for (const Task* task = worker->assigned.front(); task != nullptr;
           task = List<Task, &Task::queue_link>::next(task)) {
        text += " " + std::to_string(task->id.value) + "." + std::to_string(task->attempt) +
                (task->nested ? "n" : "") + (task->blocking_request != nullptr ? "b" : "");
      }
      text += "\n";
    }
    for (const auto& process : processes_) {
      text += "process " + std::to_string(process->id.value) + ":";
      for (const Frame& frame : process->stack) {
        text += " " + std::to_string(frame.claim.task.value);
        if (frame.request != nullptr) text += " waits " + std::to_string(frame.request->number);
      }
      text += " unclaimed " + std::to_string(actions_.unclaimed(process->id)) + " messages " +
              std::to_string(process->messages.size()) + "\n";
    }
    for (const auto& request : requests_) {
      text += "request " + std::to_string(request->number) + " of " +
              std::to_string(request->process.value) +
              (request->completed ? " completed" : " not completed") +
              (started_.contains(request->number) ? " started" : " not started") +
              (told_.contains(request->number) ? " told" : " not told") + "\n";
    }
    for (const std::uint64_t id : unfinished_) {
      const Task* task = scheduler_->find_task(TaskId{id});
      text += "task " + std::to_string(id) + " state " +
              std::to_string(static_cast<int>(task->state)) + " missing " +
              std::to_string(task->missing) + "\n";
    }
    const ResourcePool& pool = scheduler_->resources();
    for (std::size_t i = 0; i < pool.size(); ++i) {
      text += pool.name(i) + " " + std::to_string(pool.free(i)) + " of " +
              std::to_string(pool.total(i)) + "\n";
    }
    return text;
  }

  inline static const std::vector<std::byte> kLost{std::byte{'l'}};

  std::mt19937_64 random_;
  FakeActions actions_;
  std::unique_ptr<Scheduler> scheduler_;
  std::vector<Function*> functions_;
  Process driver_;
  std::vector<std::unique_ptr<Process>> processes_;
  std::vector<std::unique_ptr<Request>> requests_;
  std::vector<std::unique_ptr<Room>> rooms_;
  std::map<std::uint64_t, ModelTask> tasks_;
  std::set<std::uint64_t> unfinished_;
  std::map<std::uint64_t, ModelObject> objects_;
  std::map<std::uint64_t, std::vector<ObjectId>> pending_inner_;
  std::map<std::uint32_t, std::map<std::uint64_t, int>> model_handles_;  ///< As delivered.
  std::map<std::uint64_t, std::vector<ObjectId>> started_;               ///< By request number.
  std::map<std::uint64_t, ModelStream> streams_;                         ///< By task.
  std::set<std::uint64_t> has_no_value_;
  std::set<std::pair<std::uint64_t, std::uint32_t>> closed_;  ///< Attempts that were asked to end.
  std::set<std::uint64_t> abandoned_;  ///< Streaming tasks without consumers that were looked at.
  std::set<std::uint64_t> told_;
  std::set<std::uint64_t> known_;
  std::uint64_t next_order_ = 1;
  std::uint64_t next_request_ = 1;
  std::uint32_t next_slot_ = 0;
  std::size_t events_ = 0;
  std::size_t submitted_in_passing_ = 0;
  bool draining_ = false;
  bool few_processes_ = false;  ///< The hard limit may be reached.
};

}  // namespace haz
