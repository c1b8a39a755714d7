#include <algorithm>
#include <utility>

#include "base/check.h"
#include "sched/error_values.h"
#include "sched/scheduler.h"

namespace haz {

Scheduler::Scheduler(Actions& actions, SchedulerOptions options)
    : actions_(actions), options_(options) {}

Scheduler::~Scheduler() {
  for (const auto& [id, stream] : streams_) {
    for (Object* item : stream->items)
      object_pool_.destroy(item);
  }
  objects_.for_each([this](std::uint64_t, Object* object) {
    Task* task = object->producer;
    if (task != nullptr && task->id.value == object->id.value) task_pool_.destroy(task);
    object_pool_.destroy(object);
  });
  for (const auto& entry : actors_) {
    Task* creation = entry.second->creation;
    if (creation != nullptr && entry.second->state != ActorState::kPending) {
      task_pool_.destroy(creation);
    }
  }
  for (const Worker* worker : workers_)
    delete worker;
}

void Scheduler::set_resource(const std::string& name, double total) {
  pool_.set_total(pool_.index_of(name), to_resource_units(total));
}

ProcessId Scheduler::new_process() {
  HAZ_CHECK(next_process_ <= kMaxProcessId, "process numbers are used up");
  return ProcessId{next_process_++};
}

void Scheduler::track_process(ProcessId process) { references_.try_emplace(process.value); }

Worker& Scheduler::worker_started(std::uint32_t slot, ProcessId process) {
  if (starting_ > 0) --starting_;
  auto* worker = new Worker;
  worker->slot = slot;
  worker->process = process;
  worker->environment = std::exchange(promised_, kNoEnvironment);
  why_no_starts_.clear();
  for (const Environment& environment : environments_) {
    if (environment.number == worker->environment) worker->job = environment.job;
  }
  workers_.push_back(worker);
  task_workers_.push_back(worker);
  idle_.push_back(worker);
  track_process(process);
  story_.add(StoryEvent::kWorkerStarted, process.value, 0, slot);
  return *worker;
}

Worker* Scheduler::retire_idle(std::size_t keep) {
  if (idle_.size() <= keep) return nullptr;
  Worker* worker = idle_.front();
  idle_.erase(idle_.begin());
  worker->doomed = true;
  return worker;
}

void Scheduler::start_failed() {
  if (starting_ > 0) --starting_;
  promised_ = kNoEnvironment;
  pause_starts(1);
}

void Scheduler::pause_starts(std::uint32_t ticks) {
  starts_paused_ = std::max(starts_paused_, ticks);
}

void Scheduler::give_up_starts(std::string reason) { why_no_starts_ = std::move(reason); }

namespace {

/// Whether its worker runs it when it has finished another one of its ring.
bool is_behind_another(const Task& task) {
  const Task* before = List<Task, &Task::queue_link>::previous(&task);
  return !task.nested && before != nullptr && !before->nested;
}

}  // namespace

bool Scheduler::worker_died(Worker& worker, const DeathCause& reported) {
  constexpr int kKillSignal = 9;
  DeathCause cause = reported;
  if (cause.signal == kKillSignal && cause.why_killed.empty()) cause.why_killed = worker.why_killed;
  story_.add(StoryEvent::kWorkerDied, worker.process.value,
             static_cast<std::uint32_t>(cause.signal != 0 ? cause.signal : cause.exit_code),
             worker.slot);
  history_.workers.add({worker.process, worker.job, cause.pid, cause.exit_code, cause.signal});
  bool has_begun = worker.finished != 0;
  if (worker.actor != nullptr) {
    has_begun = actor_process_died(worker, cause) || has_begun;
  } else {
    while (Task* task = worker.assigned.back()) {
      if (pull_back(task)) continue;
      // The ring may be damaged, and not tell.
      if (cause.heard_out && is_behind_another(*task)) {
        put_back(task);
        continue;
      }
      has_begun = true;
      crash_task(task, worker, cause);
    }
  }
  settle();
  if (worker.lease != nullptr) give_up_lease(&worker);
  std::erase(idle_, &worker);
  std::erase(workers_, &worker);
  std::erase(task_workers_, &worker);
  drop_references_of(worker.process);
  delete &worker;
  return has_begun;
}

namespace {

/// Whether the process was ended because of another task, so that this one loses no try.
bool is_spared(const Task& task, const Worker& worker) {
  return worker.ended_for_task && !task.cancel_requested && !task.timed_out;
}

}  // namespace

void Scheduler::crash_task(Task* task, const Worker& worker, const DeathCause& cause) {
  const bool spared = is_spared(*task, worker);
  if (attempt_crashed(task, worker)) return;
  fail_task(task, spared ? ended_with_another_error(*task, cause) : crashed_error(*task, cause));
}

/// False: the task must fail of it.
bool Scheduler::attempt_crashed(Task* task, const Worker& worker) {
  const bool spared = is_spared(*task, worker);
  if (!spared) ++task->starts;
  leave_worker(task);
  const PlacementGroup* group = task->resources->group;
  if (group != nullptr && group->state == GroupState::kRemoved) {
    fail_task(task, group_removed_error(*task));
  } else if (task->cancel_requested && (task->closing || !heeds_no_interrupt(*task))) {
    fail_task(task, cancelled_error(*task));
  } else if (task->timed_out) {
    fail_task(task, timeout_error(*task));
  } else if (task->function->is_forgotten) {  // a call of another job's actor
    fail_task(task, owner_died_error(*task));
  } else if (!task->cancel_requested &&
             (spared ? task->function->max_retries != 0 : may_retry(*task))) {
    story_.add(StoryEvent::kTaskRetried, task->id.value, task->attempt, worker.slot);
    enqueue(task, true);
  } else {
    return false;
  }
  return true;
}

void Scheduler::take_lease(Worker* worker, ResourceClass* resources) {
  worker->grant = acquire(*resources);
  worker->lease = resources;
  worker->environment = resources->environment;
  if (resources->job) {
    worker->job = resources->job->id;
    resources->job->cpu_held += cpu_units(resources->request);
    resources->job->last_turn = next_order_++;
  }
  worker->state = WorkerState::kBusy;
  resources->holders.push_back(worker);
}

void Scheduler::give_up_lease(Worker* worker) {
  ResourceClass* resources = std::exchange(worker->lease, nullptr);
  std::erase(resources->holders, worker);
  if (resources->job) resources->job->cpu_held -= cpu_units(resources->request);
  const bool is_unused = resources->job && resources->group == nullptr && resources->functions == 0;
  release(resources->request, worker->grant);
  if (is_unused) forget_if_unused(resources);
}

void Scheduler::settle_worker(Worker* worker) {
  Task* front = worker->assigned.front();
  if (worker->actor != nullptr) {
    const bool blocked = front != nullptr && front->blocking_request != nullptr;
    worker->state = front == nullptr ? WorkerState::kIdle
                    : blocked        ? WorkerState::kBlocked
                                     : WorkerState::kBusy;
    return;
  }
  if (front == nullptr) {
    if (worker->state == WorkerState::kIdle) return;
    if (worker->lease != nullptr) give_up_lease(worker);
    worker->state = WorkerState::kIdle;
    worker->stuck = false;
    if (!worker->doomed) idle_.push_back(worker);
    return;
  }
  if (worker->assigned.back()->nested && worker->lease != nullptr) give_up_lease(worker);
  if (front->blocking_request != nullptr) {
    worker->state = WorkerState::kBlocked;
    return;
  }
  take_cpu_back(front);
  worker->state = front->nested ? WorkerState::kNested : WorkerState::kBusy;
}

SchedulerCounts Scheduler::counts() const {
  // Constructors that may have to run again are no work now.
  const auto kept = std::count_if(actors_.begin(), actors_.end(), [](const auto& entry) {
    return entry.second->creation != nullptr && entry.second->state == ActorState::kAlive;
  });
  const auto groups = std::count_if(groups_.begin(), groups_.end(), [](const auto& entry) {
    return entry.second->state != GroupState::kRemoved;
  });
  return {.objects = objects_.size(),
          .streams = streams_.size(),
          .items = num_items_,
          .tasks = task_pool_.live() - static_cast<std::size_t>(kept),
          .queued = queued_,
          .workers = workers_.size(),
          .idle = idle_.size(),
          .starting = starting_,
          .actors = processes_of_actors_,
          .groups = static_cast<std::size_t>(groups)};
}

}  // namespace haz
