#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <utility>

#include "base/check.h"
#include "sched/error_values.h"
#include "sched/scheduler.h"

namespace haz {

Result<ResourceRequest> Scheduler::request_of(
    const std::string& name, const std::vector<std::pair<std::string, double>>& resources,
    const char* use) {
  std::map<std::string, std::int64_t> amounts;
  for (const auto& [resource, amount] : resources) {
    if (!(amount >= 0) || amount > kMaxResourceAmount) {
      std::string text = "'" + name;
      text += "' asks for an impossible amount of " + resource;
      text += ": " + std::to_string(amount);
      return Error{ErrorKind::kInvalid, std::move(text)};
    }
    amounts[resource] += to_resource_units(amount);
  }
  if (const auto gpus = amounts.find("GPU"); gpus != amounts.end()) {
    const bool too_many = gpus->second > kMaxGpusOfTask * kGpuUnits;
    if (too_many || !is_gpu_amount(gpus->second)) {
      const std::string most = std::to_string(kMaxGpusOfTask);
      return Error{ErrorKind::kInvalid, "'" + name + "' asks for " + shown_amount(gpus->second) +
                                            " GPUs: it can have whole ones, up to " + most +
                                            ", or a part of one"};
    }
  }
  ResourceRequest request;
  std::string lacking;
  for (const auto& [resource, units] : amounts) {
    const std::optional<std::size_t> index = pool_.find(resource);
    const std::int64_t total = index ? pool_.total(*index) : 0;
    if (units > total) {
      lacking += (lacking.empty() ? " " : ", ") + shown_amount(units) + " " + resource + " of " +
                 shown_amount(total);
    } else if (units > 0) {
      request.emplace_back(*index, units);
    }
  }
  if (!lacking.empty()) {
    return Error{ErrorKind::kInvalid,
                 "'" + name + "' can never " + use + " on this node: it asks for" + lacking};
  }
  std::sort(request.begin(), request.end());
  return request;
}

namespace {

/// A longer run is nonsense of a worker.
constexpr std::int64_t kMaxRunNs = std::int64_t{1} << 50;

/// How messages name what is registered: an actor by its class.
std::string shown_function(const FunctionOptions& options) {
  return options.actor ? "actor " + std::string(class_name_of(options.name)) : options.name;
}

}  // namespace

Result<Function*> Scheduler::register_function(const FunctionOptions& options) {
  const std::string shown = shown_function(options);
  Result<ResourceRequest> request = request_of(shown, options.resources);
  if (!request) return request.error();
  auto function = std::make_unique<Function>();
  if (options.actor) {
    Result<ResourceRequest> held = request_of(shown, options.actor->resources);
    if (!held) return held.error();
    if (pool_.gpu_units(*request) != pool_.gpu_units(*held)) {
      return Error{ErrorKind::kInvalid,
                   "'" + shown + "' must be placed with the GPUs that it holds"};
    }
    function->actor = options.actor;
    function->actor_request = std::move(*held);
  }
  Result<std::shared_ptr<Job>> job = job_for(options);
  if (!job) return job.error();
  function->id = FunctionId{next_function_++};
  function->name = options.name;
  const ProcessId job_id = *job ? (*job)->id : ProcessId{};
  function->resources = class_for(*request, options.actor != nullptr,
                                  environment_of(options.environment, job_id), *job);
  ++function->resources->functions;
  function->owner = options.job;
  function->max_retries = options.max_retries;
  function->retry_exceptions = options.retry_exceptions;
  function->timeout_ns = options.timeout_ns;
  function->items_ahead = options.actor ? -1 : options.items_ahead;
  function->priority = options.priority;
  function->group = options.group;
  functions_.push_back(std::move(function));
  return functions_.back().get();
}

Status Scheduler::submit(const TaskSpec& spec) {
  const std::uint32_t num_objects = std::max<std::uint32_t>(spec.num_returns, 1);
  const std::uint32_t num_ids = spec.function->streams() ? kStreamIds : num_objects;
  for (std::uint32_t i = 0; i < num_ids; ++i) {
    if (!spec.id || objects_.find(spec.id.return_id(i).value) != nullptr) {
      return Error{ErrorKind::kInvalid, "submit: the task id is in use"};
    }
  }
  if (spec.function->is_forgotten) {
    return Error{ErrorKind::kLost, "submit: the driver that registered the function has ended"};
  }
  Actor* actor = nullptr;
  if (spec.actor) {
    const Status status = check_call(spec, &actor);
    if (!status) return status;
  }
  // Each id is looked up once: the caller's memory may belong to a process gone mad.
  std::unique_ptr<WaitNode[]> dependencies;
  if (!spec.dependencies.empty()) {
    dependencies = std::make_unique<WaitNode[]>(spec.dependencies.size());
  }
  for (std::size_t i = 0; i < spec.dependencies.size(); ++i) {
    dependencies[i].object = objects_.find(spec.dependencies[i].value);
    const Object* object = dependencies[i].object;
    const bool is_value = object != nullptr && (object->role == ObjectRole::kValue ||
                                                object->role == ObjectRole::kGroup);
    if (!is_value) {
      return Error{ErrorKind::kLost, "submit: an argument's object is gone"};
    }
  }
  Task* task = make_task(spec);
  task->num_dependencies = static_cast<std::uint32_t>(spec.dependencies.size());
  task->dependencies = std::move(dependencies);
  for (std::uint32_t i = 0; i < num_objects; ++i) {
    Object* object = make_object(spec.id.return_id(i), task);
    add_ref(object);
    if (spec.num_returns == 0) break;
    if (spec.function->streams()) {
      open_stream(spec.id, object, spec.submitter);
      break;
    }
    add_ref(object);
    count_reference(spec.submitter, object->id);
  }
  story_.add(StoryEvent::kTaskSubmitted, spec.id.value);
  if (actor != nullptr) add_call(task, actor);
  choose_place(task, spec);
  if (spec.creates_actor) add_creation(task);
  const bool is_plain = actor == nullptr && !spec.creates_actor && spec.dependencies.empty() &&
                        task->resources->group == nullptr && task->refusal == Refusal::kNone;
  if (is_plain) {
    enqueue(task, false);
    return Ok{};
  }
  has_placeable_ = true;
  attach_dependencies(task);
  settle();
  return Ok{};
}

Task* Scheduler::make_task(const TaskSpec& spec) {
  Task* task = task_pool_.make();
  task->id = spec.id;
  task->function = spec.function;
  ++spec.function->users;
  task->submitter = spec.submitter;
  task->priority = spec.function->priority;
  task->num_returns = spec.num_returns;
  task->parent_id = spec.parent;
  task->times.submitted_ns = story_.time();
  task->payload_offset = spec.payload_offset;
  task->payload_size = spec.payload_size;
  if (spec.payload_offset == 0) task->payload.assign(spec.payload);
  if (spec.parent) {
    if (Task* parent = find_task(spec.parent); parent != nullptr) {
      task->depth = static_cast<std::uint16_t>(
          std::min<int>(parent->depth + 1, std::numeric_limits<std::uint16_t>::max()));
      adopt(parent, task);
    }
  }
  if (!spec.refs.empty()) {
    task->refs = std::make_unique<ObjectId[]>(spec.refs.size());
    for (const ObjectId id : spec.refs) {
      Object* object = objects_.find(id.value);
      if (object == nullptr) continue;
      add_ref(object);
      task->refs[task->num_refs++] = id;
    }
  }
  return task;
}

void Scheduler::adopt(Task* parent, Task* child) {
  child->parent = parent;
  child->sibling_link = {nullptr, parent->first_child};
  if (parent->first_child != nullptr) parent->first_child->sibling_link.previous = child;
  parent->first_child = child;
}

void Scheduler::disown(Task* child) {
  const Link<Task> link = child->sibling_link;
  (link.previous != nullptr ? link.previous->sibling_link.next : child->parent->first_child) =
      link.next;
  if (link.next != nullptr) link.next->sibling_link.previous = link.previous;
  child->parent = nullptr;
}

void Scheduler::attach_dependencies(Task* task) {
  bool failed = false;
  for (std::uint32_t i = 0; i < task->num_dependencies; ++i) {
    Object* object = task->dependencies[i].object;
    add_ref(object);
    failed = failed || object->state == ObjectState::kError;
    if (object->state != ObjectState::kPending) continue;
    link(task->dependencies[i], task);
    ++task->missing;
    want_soon(object->producer);
  }
  const bool is_call = task->actor != nullptr && !task->creates_actor;
  const bool too_late = is_call && task->actor->state == ActorState::kDead;
  if (task->missing != 0 && !failed && !too_late && task->refusal == Refusal::kNone) {
    if (is_call) enqueue_call(task);
    return;
  }
  task->settling = true;
  settling_.push_back(task);
}

void Scheduler::settle() {
  while (!settling_.empty()) {
    Task* task = settling_.front();
    settling_.pop_front();
    task->settling = false;
    settle_task(task);
  }
}

void Scheduler::settle_task(Task* task) {
  if (task->creates_actor && task->actor->state == ActorState::kDead) {
    end_creation(*task->actor);
    return;
  }
  if (task->refusal != Refusal::kNone) {
    refuse(task);
    return;
  }
  if (task->cancel_requested) {
    fail_task(task, cancelled_error(*task));
    return;
  }
  const bool is_call = task->actor != nullptr && !task->creates_actor;
  if (is_call && task->actor->state == ActorState::kDead) {
    fail_task(task, passed_on_error(task->actor->death, *task));
    return;
  }
  if (fail_if_argument_failed(task)) return;
  if (task->missing == 0) enqueue(task, false);
}

bool Scheduler::has_failed_argument(const Task& task) {
  for (std::uint32_t i = 0; i < task.num_dependencies; ++i) {
    if (task.dependencies[i].object->state == ObjectState::kError) return true;
  }
  return false;
}

bool Scheduler::fail_if_argument_failed(Task* task) {
  for (std::uint32_t i = 0; i < task->num_dependencies; ++i) {
    const Object* object = task->dependencies[i].object;
    if (object->state != ObjectState::kError) continue;
    const auto refs =
        object->inner ? std::span<const ObjectId>(*object->inner) : std::span<const ObjectId>();
    fail_task(task, passed_on_error(object->bytes, *task), refs);
    return true;
  }
  return false;
}

void Scheduler::enqueue(Task* task, bool at_front) {
  if (task->actor != nullptr && !task->creates_actor) {
    enqueue_call(task);
    return;
  }
  ResourceClass* resources = task->resources;
  if (resources->group != nullptr && resources->group->state == GroupState::kRemoved) {
    task->state = TaskState::kWaiting;
    task->refusal = Refusal::kGroupRemoved;
    task->settling = true;
    settling_.push_back(task);
    return;
  }
  task->state = TaskState::kQueued;
  if (task->order == 0) task->order = next_order_++;
  task->holds_objects = holds_objects(*task);
  if (resources->ready.empty()) {
    resources->stuck = false;
    resources->is_kept_back = false;
    resources->held_up = false;
    resources->ticks_held_up = 0;
    if (is_placeable(*resources)) ready_classes_.push_back(resources);
    resources->is_saturated = is_supplied(*task->function);
  }
  if (at_front) {
    resources->ready.put_back(task);
  } else {
    resources->ready.push_back(task);
  }
  ++queued_;
  const bool is_behind = resources->ready.front() != task || resources->ready.size() == 1;
  if (!resources->is_saturated || !is_behind) has_placeable_ = true;
}

void Scheduler::unqueue(Task* task) {
  if (task->place != CallPlace::kNone) {
    forget_call(task);
    return;
  }
  task->state = TaskState::kWaiting;
  ResourceClass* resources = task->resources;
  resources->ready.remove(task);
  --queued_;
  if (!resources->ready.empty() || !is_placeable(*resources)) return;
  const auto place = std::find(ready_classes_.begin(), ready_classes_.end(), resources);
  *place = ready_classes_.back();
  ready_classes_.pop_back();
}

void Scheduler::remember_run(Function& function, std::int64_t run_ns) {
  constexpr std::int64_t kWeight = 8;
  run_ns = std::clamp<std::int64_t>(run_ns, 0, kMaxRunNs);
  function.mean_run_ns = function.mean_run_ns < 0
                             ? run_ns
                             : function.mean_run_ns + (run_ns - function.mean_run_ns) / kWeight;
}

void Scheduler::finished(Worker& worker, TaskId id, std::uint32_t attempt, Outcome outcome,
                         std::span<const NewValue> values, std::int64_t run_ns,
                         std::int64_t ended_ns) {
  Task* task = worker.assigned.front();
  if (task == nullptr || task->id != id) task = find_task(id);
  if (task == nullptr || task->worker != &worker || task->attempt != attempt) {
    for (const NewValue& value : values)
      free_unpublished(value);
    return;
  }
  ++worker.finished;
  worker.stuck = false;
  ++task->starts;
  remember_run(*task->function, run_ns);
  note_attempt_end(task, run_ns, ended_ns);
  leave_worker(task);
  const bool complete = values.size() == task->num_returns &&
                        std::none_of(values.begin(), values.end(), [](const NewValue& value) {
                          return value.is_error && value.offset != 0;
                        });
  const bool was_closed = task->closing && find_stream(id) != nullptr;
  if (outcome == Outcome::kReturned && complete && task->creates_actor) {
    actor_constructed(task, values.front());
  } else if (outcome == Outcome::kReturned && complete && was_closed) {
    fail_task(task, cancelled_error(*task));
    for (const NewValue& value : values)
      free_unpublished(value);
  } else if (outcome == Outcome::kReturned && complete) {
    end_task(task, values);
  } else {
    end_attempt_badly(task, outcome, values);
    for (const NewValue& value : values)
      free_unpublished(value);
  }
  settle();
  settle_worker(&worker);
}

void Scheduler::end_attempt_badly(Task* task, Outcome outcome, std::span<const NewValue> values) {
  const bool raised = outcome != Outcome::kReturned;
  const bool has_error =
      !values.empty() && values.front().offset == 0 && !values.front().bytes.empty();
  // The error of a call that nothing told to stop is its own: it had begun, and was not cancelled.
  const bool told_to_stop = task->closing || !heeds_no_interrupt(*task);
  if (raised && task->cancel_requested && told_to_stop) {
    fail_task(task, cancelled_error(*task));
  } else if (raised && task->timed_out) {
    fail_task(task, timeout_error(*task));
  } else if (outcome == Outcome::kRetryable && !task->cancel_requested && may_retry(*task)) {
    retry(task);
  } else if (!raised || !has_error) {
    fail_task(task, damaged_result_error(*task));
  } else {
    fail_task(task, values.front().bytes, values.front().refs);
  }
}

bool Scheduler::may_retry(const Task& task) {
  if (task.function->is_forgotten) return false;
  const std::int32_t limit = task.function->max_retries;
  return limit < 0 || task.starts <= static_cast<std::uint32_t>(limit);
}

void Scheduler::retry(Task* task) {
  story_.add(StoryEvent::kTaskRetried, task->id.value, task->attempt);
  enqueue(task, true);
}

void Scheduler::end_task(Task* task, std::span<const NewValue> values) {
  const bool failed = values.size() == 1 && values.front().is_error;
  story_.add(failed ? StoryEvent::kTaskFailed : StoryEvent::kTaskFinished, task->id.value,
             task->attempt);
  remember(*task, failed);
  if (task->place != CallPlace::kNone) forget_call(task);
  publish(task, values);
  release_task(task);
}

/// `ended_ns` comes from a worker, which may say anything.
void Scheduler::note_attempt_end(Task* task, std::int64_t run_ns, std::int64_t ended_ns) {
  task->has_reported = true;
  task->times.ended_ns = ended_ns > 0 ? ended_ns : story_.time();
  task->times.began_ns = task->times.ended_ns - std::clamp<std::int64_t>(run_ns, 0, kMaxRunNs);
}

void Scheduler::remember(const Task& task, bool failed) {
  TaskEnd end = TaskEnd::kReturned;
  if (failed && task.cancel_requested) {
    end = TaskEnd::kCancelled;
  } else if (failed && task.timed_out) {
    end = TaskEnd::kTimedOut;
  } else if (failed && task.has_reported) {
    end = TaskEnd::kRaised;
  } else if (failed) {
    const bool with_actor = task.actor != nullptr && task.actor->state == ActorState::kDead;
    end =
        task.starts != 0 || with_actor || task.creates_actor ? TaskEnd::kCrashed : TaskEnd::kNotRun;
  }
  TaskTimes times = task.times;
  if (!task.has_reported) times.ended_ns = story_.time();
  history_.tasks.add({task.id, task.parent_id, task.actor != nullptr ? task.actor->id : ObjectId{},
                      task.function->id, task.process, task.attempt, task.num_returns, end,
                      task.creates_actor, times});
}

TaskId Scheduler::task_of(ObjectId object) const {
  const Object* found = objects_.find(object.value);
  if (found != nullptr && found->producer != nullptr) return found->producer->id;
  for (std::size_t i = history_.tasks.size(); i > 0; --i) {
    const EndedTask& task = history_.tasks[i - 1];
    const bool is_its = object.value - task.id.value < std::max<std::uint32_t>(task.num_returns, 1);
    if (is_its) return task.id;
  }
  return {};
}

std::vector<const Task*> Scheduler::live_tasks() const {
  std::vector<const Task*> found;
  for_each_object([&found](const Object& object) {
    const Task* task = object.producer;
    if (task != nullptr && task->id.value == object.id.value && !task->creates_actor) {
      found.push_back(task);
    }
  });
  for (const auto& [id, actor] : actors_) {
    const bool is_being_made =
        actor->state == ActorState::kPending || actor->state == ActorState::kRestarting;
    if (is_being_made && actor->creation != nullptr) found.push_back(actor->creation);
  }
  return found;
}

void Scheduler::publish(Task* task, std::span<const NewValue> values) {
  const bool shared = values.size() == 1;  // one error for all returns, or one return
  const std::uint32_t num_objects = std::max<std::uint32_t>(task->num_returns, 1);
  for (std::uint32_t i = 0; i < num_objects; ++i) {
    Object* object = objects_.find(task->id.return_id(i).value);
    object->producer = nullptr;
    if (task->num_returns != 0) {
      set_value(object, values[shared ? 0 : i]);
      notify_waiters(object);
    }
    drop_ref(object);
  }
  if (task->function->streams()) end_stream(task, values.front());
}

void Scheduler::release_task(Task* task) {
  while (task->first_child != nullptr)
    disown(task->first_child);
  if (task->parent != nullptr) disown(task);
  for (std::uint32_t i = 0; i < task->num_dependencies; ++i) {
    unlink(task->dependencies[i]);
    drop_ref(task->dependencies[i].object);
  }
  for (std::uint32_t i = 0; i < task->num_refs; ++i) {
    if (Object* object = objects_.find(task->refs[i].value); object != nullptr) drop_ref(object);
  }
  if (task->payload_offset != 0) actions_.free_value(task->payload_offset);
  Actor* called = task->creates_actor ? nullptr : task->actor;
  PlacementGroup* group = task->resources->group;
  if (group != nullptr) group->tasks.remove(task);
  release_function(*task->function);
  task_pool_.destroy(task);
  if (group != nullptr) forget_if_over(*group);
  if (called == nullptr) return;
  --called->pending;
  drop_ref(objects_.find(called->id.value));
}

void Scheduler::fail_task(Task* task, const ValueBytes& error, std::span<const ObjectId> refs) {
  if (task->creates_actor) {
    constructor_failed(task, error);
    return;
  }
  const NewValue value{.is_error = true, .shared = &error, .refs = refs};
  end_task(task, std::span(&value, 1));
}

void Scheduler::fail_task(Task* task, std::span<const std::byte> error,
                          std::span<const ObjectId> refs) {
  fail_task(task, ValueBytes(error), refs);
}

bool Scheduler::pull_back(Task* task) {
  if (task->nested || !actions_.take_back(*task)) return false;
  put_back(task);
  return true;
}

/// Queues a task that its worker has not begun, and will not.
void Scheduler::put_back(Task* task) {
  story_.add(StoryEvent::kTaskTakenBack, task->id.value, task->attempt, task->worker->slot);
  leave_worker(task);
  task->timed_out = false;
  enqueue(task, true);
}

void Scheduler::leave_worker(Task* task) {
  Worker* worker = task->worker;
  if (task->actor != nullptr && !task->creates_actor) {
    --task->actor->groups[task->group].running;
    want_feeding(*task->actor);
  }
  if (task->blocking_request != nullptr) unblock(*task->blocking_request);
  Task* below = task->nested ? List<Task, &Task::queue_link>::next(task) : nullptr;
  if (below != nullptr) pass_lending(task, below);
  end_lending_of(task);
  take_cpu_back(task);
  worker->assigned.remove(task);
  if (task->wanted_soon) --worker->wanted_soon;
  count_wanted_item(*task, -1);
  if (task->nested) {
    release(task->resources->request, *task->grant);
    task->grant.reset();
    task->nested = false;
    --worker->nested;
  }
  task->worker = nullptr;
  actions_.release_block(*task);
}

// ---- cancel and time limits --------------------------------------------------------------------

void Scheduler::cancel(ObjectId id, bool force, bool recursive) {
  Object* object = objects_.find(id.value);
  if (object == nullptr || object->producer == nullptr) return;
  cancel_tasks(recursive ? with_children(object->producer) : std::vector<Task*>{object->producer},
               force);
  settle();
}

/// `task`, and behind each one what it has submitted and has not ended.
std::vector<Task*> Scheduler::with_children(Task* task) {
  std::vector<Task*> tasks{task};
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    for (Task* child = tasks[i]->first_child; child != nullptr; child = child->sibling_link.next) {
      tasks.push_back(child);
    }
  }
  return tasks;
}

void Scheduler::cancel_tasks(std::span<Task* const> tasks, bool force) {
  for (Task* task : tasks)
    task->cancel_requested = true;
  // Deepest first. None of them ends another: what depends on one ends in settle().
  for (auto task = tasks.rbegin(); task != tasks.rend(); ++task)
    cancel_task(*task, force);
}

void Scheduler::cancel_task(Task* task, bool force) {
  story_.add(StoryEvent::kTaskCancelled, task->id.value, task->attempt);
  if (end_unstarted(task)) return;
  if (!heeds_no_interrupt(*task)) {
    stop_running(*task, force);
  } else if (task->function->streams() && !task->closing) {
    lift_limit(task->id);
    close_running(*task);
  }
}

/// Whether a cancelled task that runs is not interrupted: in the middle of a method that would
/// leave the actor's state half changed. A generator can be stopped between two items.
bool Scheduler::heeds_no_interrupt(const Task& task) {
  return task.actor != nullptr && !task.actor->function->actor->is_async;
}

/// Ends a cancelled task. False: it runs.
bool Scheduler::end_unstarted(Task* task) {
  if (task->state == TaskState::kAssigned) {
    Worker* worker = task->worker;
    if (!pull_back(task)) return false;
    settle_worker(worker);
  }
  if (task->settling) return true;
  if (task->state == TaskState::kQueued) unqueue(task);
  fail_task(task, cancelled_error(*task));
  return true;
}

void Scheduler::timed_out(TaskId id, std::uint32_t attempt, bool force) {
  Task* task = find_task(id);
  if (task == nullptr || task->worker == nullptr || task->attempt != attempt) return;
  task->timed_out = true;
  const std::vector<Task*> tasks = with_children(task);
  cancel_tasks(std::span(tasks).subspan(1), false);
  stop_running(*task, force);
  settle();
}

void Scheduler::kill_attempt(TaskId id, std::uint32_t attempt) {
  Task* task = find_task(id);
  if (task == nullptr || task->worker == nullptr || task->attempt != attempt) return;
  kill_process_of(*task);
}

void Scheduler::stop_running(Task& task, bool force) {
  const bool has_not_heeded = force && task.timed_out;
  if (has_not_heeded || (force && task.actor == nullptr && is_alone(task))) {
    kill_process_of(task);
  } else if (!force || task.actor != nullptr) {
    actions_.interrupt(task);
  } else {
    actions_.interrupt_then_kill(task);
  }
}

/// Whether no other task that should go on has begun in its process.
bool Scheduler::is_alone(const Task& task) {
  for (const Task* other = task.worker->assigned.front(); other != nullptr;
       other = List<Task, &Task::queue_link>::next(other)) {
    if (other != &task && !other->cancel_requested && !other->timed_out) return false;
    if (!other->nested) break;  // what comes next is behind it in the ring
  }
  return true;
}

void Scheduler::kill_process_of(const Task& task) {
  task.worker->ended_for_task = true;
  kill(*task.worker,
       task.timed_out ? overran_limit(task) : task.function->name + " was cancelled by force");
}

void Scheduler::kill(Worker& worker, std::string why) {
  if (worker.why_killed.empty()) worker.why_killed = std::move(why);
  // The end comes some time later: it must not hit a task that begins in between.
  while (worker.assigned.size() > 1 && pull_back(worker.assigned.back())) {
  }
  worker.doomed = true;
  actions_.kill_worker(worker);
}

void Scheduler::fail_all(const std::string& message) {
  const ValueBytes error(node_died_error(message));
  std::vector<std::uint64_t> ids;
  objects_.for_each([&ids](std::uint64_t id, const Object* object) {
    if (object->producer != nullptr) ids.push_back(id);
  });
  for (const std::uint64_t id : ids) {
    const Object* object = objects_.find(id);
    Task* task = object != nullptr ? object->producer : nullptr;
    if (task == nullptr) continue;
    if (Worker* worker = task->worker; worker != nullptr) {
      if (!pull_back(task)) {
        if (!worker->doomed) kill(*worker, message);
        leave_worker(task);
      }
      settle_worker(worker);
    }
    if (task->state == TaskState::kQueued) unqueue(task);
    fail_task(task, error);
    settle();
  }
}

}  // namespace haz
