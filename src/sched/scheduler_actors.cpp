#include <algorithm>

#include "base/check.h"
#include "base/units.h"
#include "sched/error_values.h"
#include "sched/scheduler.h"

namespace haz {

namespace {

/// Whether `a` goes before `b` among the calls of a group.
bool goes_before(const Task& a, const Task& b) {
  const std::int32_t priority_a = a.priority;
  const std::int32_t priority_b = b.priority;
  return priority_a != priority_b ? priority_a > priority_b : a.order < b.order;
}

bool is_ready(const Task& task) { return task.missing == 0 && !task.settling; }

}  // namespace

// ---- creation ----------------------------------------------------------------------------------

Result<ObjectId> Scheduler::create_actor(const TaskSpec& spec, const ActorSpec& actor_spec) {
  const std::shared_ptr<const ActorOptions>& options = spec.function->actor;
  if (!options || spec.num_returns != 1) {
    return Error{ErrorKind::kInvalid, "create_actor: not the constructor of an actor"};
  }
  if (!actor_spec.name.empty()) {
    if (const Actor* known = find_actor(actor_spec.name_space, actor_spec.name)) {
      if (!actor_spec.get_if_exists) {
        return Error{ErrorKind::kExists, "there is an actor of the name '" + actor_spec.name +
                                             "' in the namespace '" + actor_spec.name_space +
                                             "': take another name, get_if_exists=True, or "
                                             "get_actor()"};
      }
      (void)add_reference(spec.submitter, known->id);
      return known->id;
    }
  }
  TaskSpec created = spec;
  created.creates_actor = true;
  auto made = std::make_unique<Actor>();
  Actor* actor = made.get();
  actor->id = spec.id.return_id(0);
  actor->function = spec.function;
  actor->held = spec.function->actor_request;
  actor->name = actor_spec.name;
  actor->name_space = actor_spec.name_space;
  actor->groups.resize(1 + options->groups.size());
  for (std::size_t i = 0; i < options->groups.size(); ++i) {
    actor->groups[i + 1].name = options->groups[i].first;
    actor->groups[i + 1].limit = options->groups[i].second;
  }
  if (!options->groups.empty()) actor->groups[0].limit = options->default_group_limit;
  ++spec.function->users;
  actors_.emplace(actor->id.value, std::move(made));
  if (!actor->name.empty()) actor_names_[{actor->name_space, actor->name}] = actor;
  const Status status = submit(created);
  if (status) {
    actor->is_kept = options->is_detached;
    if (actor->is_kept) add_ref(objects_.find(actor->id.value));
    return spec.id.return_id(0);
  }
  if (!actor->name.empty()) actor_names_.erase({actor->name_space, actor->name});
  actors_.erase(spec.id.value);
  release_function(*spec.function);
  return status.error();
}

const Actor* Scheduler::find_actor(const std::string& name_space, const std::string& name) const {
  const auto found = actor_names_.find({name_space, name});
  return found != actor_names_.end() ? found->second : nullptr;
}

bool Scheduler::place_actor(ResourceClass* resources, Task* task) {
  Worker* worker = take_idle(*resources);
  if (worker == nullptr) {
    start_workers(*resources, resources->ready.size());
    if (workers_.size() < options_.max_processes || starting_ != 0) return false;
    Actor& actor = *task->actor;
    end_actor(actor, ValueBytes(actor_died_error(actor, ActorEnd::kNeverPlaced, nullptr)));
    return true;
  }
  Actor& actor = *task->actor;
  actor.grant = acquire(*resources);
  actor.acquired = &resources->request;
  actor.worker = worker;
  actor.process = worker->process;
  actor.placed_ns = story_.time();
  worker->actor = &actor;
  std::erase(task_workers_, worker);
  worker->environment = resources->environment;
  if (resources->job) worker->job = resources->job->id;
  worker->state = WorkerState::kBusy;
  ++processes_of_actors_;
  resources->ticks_held_up = 0;
  assign(task, worker);
  return true;
}

void Scheduler::actor_constructed(Task* task, const NewValue& value) {
  Actor& actor = *task->actor;
  const bool first = actor.state == ActorState::kPending;
  actor.state = ActorState::kAlive;
  amounts_of(actor.grant).exchange(*actor.acquired, actor.held);
  actor.acquired = &actor.held;
  story_.add(StoryEvent::kActorAlive, actor.id.value, actor.restarts, actor.worker->slot);
  remember(*task, false);
  task->state = TaskState::kWaiting;
  want_feeding(actor);
  if (first) {
    const NewValue made = value;
    publish(task, std::span(&made, 1));
  } else {
    free_unpublished(value);
  }
  // Without handles it may have ended in the meantime.
  if (actor.state == ActorState::kAlive && actor.function->actor->max_restarts == 0) {
    end_creation(actor);
  }
}

void Scheduler::constructor_failed(Task* task, const ValueBytes& error) {
  Actor& actor = *task->actor;
  Worker* worker = actor.worker;  // without one the actor may be gone with its last call
  end_actor(actor, ValueBytes(actor_died_error(actor, ActorEnd::kConstructor, nullptr, &error)));
  stop_process(worker);
}

// ---- calls -------------------------------------------------------------------------------------

Status Scheduler::check_call(const TaskSpec& spec, Actor** actor) {
  *actor = find_actor(spec.actor);
  if (*actor == nullptr || !(*actor)->referenced) {
    return Error{ErrorKind::kLost, "the actor is gone: nobody had a handle of it any more"};
  }
  const std::uint32_t limit = (*actor)->function->actor->max_pending_calls;
  if (limit != 0 && (*actor)->pending >= limit) {
    return Error{ErrorKind::kOverloaded, "the actor " + shown_actor(**actor) + " has " +
                                             std::to_string(limit) +
                                             " calls that have not ended, as many as "
                                             "max_pending_calls allows: get some results first"};
  }
  return Ok{};
}

void Scheduler::add_creation(Task* task) {
  Object* object = objects_.find(task->id.value);
  object->is_actor = true;
  task->creates_actor = true;
  task->actor = find_actor(object->id);
  task->actor->creation = task;
}

void Scheduler::add_call(Task* task, Actor* actor) {
  task->actor = actor;
  ++actor->pending;
  add_ref(objects_.find(actor->id.value));
  const std::string& group = task->function->group;
  if (group.empty()) return;
  for (std::size_t i = 1; i < actor->groups.size(); ++i) {
    if (actor->groups[i].name == group) task->group = static_cast<std::uint16_t>(i);
  }
}

/// Takes a call that waits for arguments, that has them, or that is to run once more.
void Scheduler::enqueue_call(Task* task) {
  Actor& actor = *task->actor;
  if (task->place == CallPlace::kCaller) {
    release_caller(actor, task->submitter);
    return;
  }
  const bool is_new = task->order == 0;
  const auto queue =
      std::find_if(actor.callers.begin(), actor.callers.end(),
                   [task](const CallerQueue& one) { return one.caller == task->submitter; });
  const bool behind_others = queue != actor.callers.end();
  const bool in_order = is_new && !actor.function->actor->allow_out_of_order;
  if (is_ready(*task) && !(in_order && behind_others)) {
    add_to_group(task);
    return;
  }
  if (!in_order) return;  // it comes again when its arguments have
  task->place = CallPlace::kCaller;
  if (behind_others) {
    queue->waiting.push_back(task);
    return;
  }
  actor.callers.push_back({task->submitter, {}});
  actor.callers.back().waiting.push_back(task);
}

void Scheduler::release_caller(Actor& actor, ProcessId caller) {
  const auto queue =
      std::find_if(actor.callers.begin(), actor.callers.end(),
                   [caller](const CallerQueue& one) { return one.caller == caller; });
  if (queue == actor.callers.end()) return;
  while (!queue->waiting.empty() && is_ready(*queue->waiting.front())) {
    Task* task = queue->waiting.front();
    queue->waiting.remove(task);
    add_to_group(task);
  }
  if (queue->waiting.empty()) actor.callers.erase(queue);
}

void Scheduler::add_to_group(Task* task) {
  Actor& actor = *task->actor;
  task->place = CallPlace::kGroup;
  task->state = TaskState::kQueued;
  if (task->order == 0) task->order = next_order_++;
  CallGroup::TaskList& ready = actor.groups[task->group].ready;
  // New ones go to the end, those that are to run again to the front: look from both ends.
  if (ready.empty() || goes_before(*ready.back(), *task)) {
    ready.push_back(task);
  } else {
    Task* next = ready.front();
    while (next != nullptr && goes_before(*next, *task))
      next = CallGroup::TaskList::next(next);
    ready.insert_before(next, task);
  }
  ++queued_calls_;
  want_feeding(actor);
}

/// Takes a call out of the lists of its actor.
void Scheduler::forget_call(Task* task) {
  Actor& actor = *task->actor;
  const CallPlace place = std::exchange(task->place, CallPlace::kNone);
  if (place == CallPlace::kGroup) {
    actor.groups[task->group].ready.remove(task);
    --queued_calls_;
  } else if (place == CallPlace::kCaller) {
    const auto queue =
        std::find_if(actor.callers.begin(), actor.callers.end(),
                     [task](const CallerQueue& one) { return one.caller == task->submitter; });
    queue->waiting.remove(task);
    release_caller(actor, task->submitter);
  }
}

void Scheduler::want_feeding(Actor& actor) {
  if (actor.hungry) return;
  actor.hungry = true;
  hungry_.push_back(actor.id);
}

void Scheduler::feed_actors() {
  for (std::size_t i = 0; i < hungry_.size(); ++i) {
    Actor* actor = find_actor(hungry_[i]);
    if (actor == nullptr) continue;
    actor->hungry = false;
    feed(*actor);
  }
  hungry_.clear();
}

void Scheduler::feed(Actor& actor) {
  Worker* worker = actor.worker;
  if (actor.state != ActorState::kAlive || worker->doomed || actor.killed) return;
  bool has_more = false;
  for (CallGroup& group : actor.groups) {
    if (!group.ready.empty()) make_way_for(*group.ready.front(), worker);
    while (!group.ready.empty() && group.running < group.limit && actions_.has_room(*worker)) {
      Task* task = group.ready.front();
      ++group.running;
      if (worker->state == WorkerState::kIdle) worker->state = WorkerState::kBusy;
      assign(task, worker);
    }
    has_more = has_more || (!group.ready.empty() && group.running < group.limit);
  }
  // The calls that fill the ring may all wait for one that is behind it, and then none ends; and
  // what was taken back takes room until the process has passed it. Look again later.
  const bool one_ends = actor.function->actor->is_sequential && !worker->assigned.empty();
  if (!has_more || one_ends || actor.starved) return;
  actor.starved = true;
  starved_.push_back(actor.id);
}

/// Takes back the calls that have not begun and that `next` goes before.
void Scheduler::make_way_for(const Task& next, Worker* worker) {
  const std::int32_t priority = next.priority;
  bool any = false;
  while (Task* last = worker->assigned.back()) {
    if (last->creates_actor || last->priority >= priority || !pull_back(last)) break;
    any = true;
  }
  if (any) settle_worker(worker);
}

void Scheduler::feed_starved() {
  for (const ObjectId id : std::exchange(starved_, {})) {
    Actor* actor = find_actor(id);
    if (actor == nullptr) continue;
    actor->starved = false;
    want_feeding(*actor);
  }
}

// ---- the end -----------------------------------------------------------------------------------

bool Scheduler::may_restart(const Actor& actor) {
  const std::int32_t limit = actor.function->actor->max_restarts;
  return actor.creation != nullptr &&
         (limit < 0 || actor.restarts < static_cast<std::uint32_t>(limit));
}

void Scheduler::kill_actor(ObjectId id, bool no_restart) {
  Actor* actor = find_actor(id);
  if (actor == nullptr || actor->state == ActorState::kDead) return;
  Worker* worker = actor->worker;
  if (!no_restart && (worker == nullptr || may_restart(*actor))) {
    if (worker == nullptr || actor->killed) return;  // it has just died
    actor->killed = true;
    kill(*worker, "haz.kill() was called for it");
    return;
  }
  end_actor(*actor, ValueBytes(actor_died_error(*actor, ActorEnd::kKilled, nullptr)));
  if (worker != nullptr && !worker->doomed) {
    worker->doomed = true;
    actions_.kill_worker(*worker);
  }
  settle();
}

void Scheduler::actor_exited(Worker& worker) {
  Actor* actor = worker.actor;
  worker.doomed = true;
  if (actor == nullptr || actor->state == ActorState::kDead) return;
  end_actor(*actor, ValueBytes(actor_died_error(*actor, ActorEnd::kExited, nullptr)));
  settle();
}

/// Whether it had begun its constructor.
bool Scheduler::actor_process_died(Worker& worker, const DeathCause& cause) {
  Actor& actor = *worker.actor;
  Task* creation = actor.creation;
  const bool given = creation != nullptr && creation->worker == &worker;
  const bool unbegun = given && !actor.killed && pull_back(creation);
  const bool again = !unbegun && actor.state != ActorState::kDead && may_restart(actor);
  if (again) {
    if (actor.state == ActorState::kAlive) actor.state = ActorState::kRestarting;
    ++actor.restarts;
    story_.add(StoryEvent::kActorRestarting, actor.id.value, actor.restarts, worker.slot);
    while (Task* task = worker.assigned.back()) {
      if (task->creates_actor) {
        (void)actions_.take_back(*task);
        leave_worker(task);
      } else if (pull_back(task)) {
        continue;
      } else if (!attempt_crashed(task, worker)) {
        fail_task(task, actor_unavailable_error(*task, cause));
      }
    }
  } else if (actor.state != ActorState::kDead && !unbegun) {
    const ActorEnd end = actor.killed ? ActorEnd::kKilled : ActorEnd::kProcess;
    end_actor(actor, ValueBytes(actor_died_error(actor, end, &cause)));
  }
  HAZ_CHECK(worker.assigned.empty(), "calls of an actor survive its process");
  if (actor.acquired != nullptr) release(*actor.acquired, actor.grant);
  actor.acquired = nullptr;
  actor.killed = false;
  actor.worker = nullptr;
  --processes_of_actors_;
  // Calls that ended may have been the last to hold it.
  if (again && actor.state != ActorState::kDead) {
    start_again(actor, worker, cause);
  } else {
    forget_if_over(actor);
  }
  return !unbegun;
}

/// At once after one death; where process after process comes to nothing after longer and longer
/// pauses, or the machine would do nothing but that.
void Scheduler::start_again(Actor& actor, const Worker& died, const DeathCause& cause) {
  constexpr std::int64_t kSettledNs = 5 * kSecondNs;
  constexpr std::int64_t kFirstPauseNs = 20 * kMillisecondNs;
  constexpr std::int64_t kLongestPauseNs = 4 * kSecondNs;
  constexpr std::uint32_t kTold = 5;
  constexpr std::uint32_t kMostDoublings = 10;
  actor.creation->order = 0;
  const bool has_run_a_call = died.finished > 1;  // the first is its constructor
  const std::int64_t now_ns = story_.time();
  if (has_run_a_call || now_ns - actor.placed_ns > kSettledNs) actor.deaths_in_a_row = 0;
  if (end_unwanted(actor)) return;
  if (++actor.deaths_in_a_row == 1) {
    enqueue(actor.creation, false);
    return;
  }
  if (actor.deaths_in_a_row == kTold) {
    notices_.push_back("actor " + shown_actor(actor) + " has died " + std::to_string(kTold) +
                       " times in a row before it had run a call: its process " + in_words(cause) +
                       ". max_restarts lets it be started again: from now on after pauses, each "
                       "twice as long, up to 4 s");
  }
  actor.creation->state = TaskState::kWaiting;
  const std::uint32_t doublings = std::min(actor.deaths_in_a_row - 2, kMostDoublings);
  actor.restart_at_ns = now_ns + std::min(kFirstPauseNs << doublings, kLongestPauseNs);
  resting_.push_back(actor.id);
}

/// Ends an actor whose constructor has not returned yet, which keeps it, if nobody else does. True:
/// it may be gone.
bool Scheduler::end_unwanted(Actor& actor) {
  const Object* object = objects_.find(actor.id.value);
  if (object == nullptr || object->producer != actor.creation || object->refs > 1) return false;
  end_actor(actor, ValueBytes(actor_died_error(actor, ActorEnd::kOutOfScope, nullptr)));
  return true;
}

std::int64_t Scheduler::next_restart_ns() const {
  std::int64_t next = 0;
  for (const ObjectId id : resting_) {
    const auto actor = actors_.find(id.value);
    if (actor == actors_.end()) continue;
    const std::int64_t at = actor->second->restart_at_ns;
    if (at != 0) next = next == 0 ? at : std::min(next, at);
  }
  return next;
}

void Scheduler::restart_due() {
  std::erase_if(resting_, [this](ObjectId id) {
    Actor* actor = find_actor(id);
    if (actor == nullptr || actor->state == ActorState::kDead) return true;
    if (actor->restart_at_ns > story_.time()) return false;
    actor->restart_at_ns = 0;
    if (!end_unwanted(*actor)) enqueue(actor->creation, false);
    return true;
  });
  settle();
}

void Scheduler::unreferenced(ObjectId id) {
  Actor* actor = find_actor(id);
  actor->referenced = false;
  if (actor->state != ActorState::kDead) {
    end_actor(*actor, ValueBytes(actor_died_error(*actor, ActorEnd::kOutOfScope, nullptr)));
    stop_process(actor->worker);
  }
  forget_if_over(*actor);
}

void Scheduler::end_actor(Actor& actor, ValueBytes error) {
  story_.add(StoryEvent::kActorDied, actor.id.value, actor.restarts);
  if (actor.state != ActorState::kAlive && actor.creation != nullptr) {
    remember(*actor.creation, true);
  }
  actor.state = ActorState::kDead;
  actor.restart_at_ns = 0;
  actor.death = std::move(error);
  history_.actors.add({actor.id, actor.function->id, actor.process, actor.restarts,
                       actor.function->actor->is_detached, actor.name, actor.name_space,
                       actor.death.share()});
  if (!actor.name.empty()) actor_names_.erase({actor.name_space, actor.name});
  if (actor.owns_groups) {
    for (const auto& [id, group] : groups_)
      if (group->owner == actor.id) orphans_.push_back(group->id);
  }
  // Calls hold it, and so end it only when all of them have ended.
  Object* object = actor.referenced ? objects_.find(actor.id.value) : nullptr;
  if (object != nullptr) add_ref(object);
  end_calls(actor);
  if (actor.creation != nullptr) end_creation(actor);
  if (std::exchange(actor.is_kept, false)) drop_ref(objects_.find(actor.id.value));
  if (object != nullptr) drop_ref(object);
}

void Scheduler::end_calls(Actor& actor) {
  std::vector<Task*> calls;
  for (const CallGroup& group : actor.groups) {
    for (Task* task = group.ready.front(); task != nullptr; task = CallGroup::TaskList::next(task))
      calls.push_back(task);
  }
  for (const CallerQueue& queue : actor.callers) {
    for (Task* task = queue.waiting.front(); task != nullptr;
         task = CallGroup::TaskList::next(task))
      calls.push_back(task);
  }
  if (actor.worker != nullptr) {
    for (Task* task = actor.worker->assigned.front(); task != nullptr;
         task = CallGroup::TaskList::next(task))
      if (!task->creates_actor) calls.push_back(task);
  }
  // In the order in which they came.
  std::sort(calls.begin(), calls.end(),
            [](const Task* a, const Task* b) { return a->id.value < b->id.value; });
  for (Task* task : calls) {
    bool overran = false;
    if (task->worker != nullptr) {
      overran = !actions_.take_back(*task) && task->timed_out;
      leave_worker(task);
    }
    if (task->settling) continue;
    fail_task(task,
              overran ? ValueBytes(timeout_error(*task)) : passed_on_error(actor.death, *task));
  }
  if (actor.worker != nullptr) settle_worker(actor.worker);
}

/// Lets go of the constructor's call and its arguments.
void Scheduler::end_creation(Actor& actor) {
  Task* task = std::exchange(actor.creation, nullptr);
  Worker* worker = task->worker;
  if (worker != nullptr) {
    (void)actions_.take_back(*task);
    leave_worker(task);
    settle_worker(worker);
  } else if (task->state == TaskState::kQueued) {
    unqueue(task);
  }
  if (task->settling) {
    actor.creation = task;  // ends in settle()
    return;
  }
  const NewValue death{.is_error = true, .shared = &actor.death};
  const Object* object = objects_.find(actor.id.value);
  if (object != nullptr && object->producer == task) publish(task, std::span(&death, 1));
  release_task(task);
}

void Scheduler::stop_process(Worker* worker) {
  if (worker == nullptr || worker->doomed) return;
  worker->doomed = true;
  actions_.stop_worker(*worker);
}

void Scheduler::forget_if_over(Actor& actor) {
  if (actor.referenced || actor.worker != nullptr || actor.state != ActorState::kDead) return;
  Function& function = *actor.function;
  actors_.erase(actor.id.value);
  release_function(function);
}

const ResourceGrant& Scheduler::grant_of(const Task& task) {
  if (task.grant) return *task.grant;
  return task.worker->actor != nullptr ? task.worker->actor->grant : task.worker->grant;
}

std::int64_t Scheduler::lent_cpu_of(const Task& task) {
  if (task.actor == nullptr || task.creates_actor) {
    return cpu_units(task.resources->request);
  }
  return cpu_units(task.actor->held);
}

}  // namespace haz
