#include <algorithm>

#include "base/check.h"
#include "sched/error_values.h"
#include "sched/scheduler.h"

namespace haz {

Scheduler::Scheduler(Actions& actions, SchedulerOptions options)
    : actions_(actions), options_(options) {}

Scheduler::~Scheduler() {
  objects_.for_each([this](std::uint64_t, Object* object) {
    Task* task = object->producer;
    if (task != nullptr && task->id.value == object->id.value) task_pool_.destroy(task);
    object_pool_.destroy(object);
  });
  for (const Worker* worker : workers_) delete worker;
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
  workers_.push_back(worker);
  idle_.push_back(worker);
  track_process(process);
  story_.add(StoryEvent::kWorkerStarted, process.value, 0, slot);
  return *worker;
}

void Scheduler::start_failed() {
  if (starting_ > 0) --starting_;
}

void Scheduler::worker_died(Worker& worker, const DeathCause& cause) {
  story_.add(StoryEvent::kWorkerDied, worker.process.value,
             static_cast<std::uint32_t>(cause.signal != 0 ? cause.signal : cause.exit_code),
             worker.slot);
  while (Task* task = worker.assigned.back()) {
    if (pull_back(task)) continue;
    crash_task(task, worker, cause);
  }
  for (Request* request = blocked_requests_.front(); request != nullptr;) {
    Request* next = List<Request, &Request::blocked_link>::next(request);
    if (request->blocked_worker == &worker) withdraw(*request);
    request = next;
  }
  settle();
  if (worker.lease != nullptr) give_up_lease(&worker);
  std::erase(idle_, &worker);
  std::erase(workers_, &worker);
  drop_references_of(worker.process);
  delete &worker;
}

void Scheduler::crash_task(Task* task, const Worker& worker, const DeathCause& cause) {
  ++task->starts;
  leave_worker(task);
  if (task->cancel_requested) {
    fail_task(task, cancelled_error(*task));
  } else if (task->timed_out) {
    fail_task(task, timeout_error(*task));
  } else if (may_retry(*task)) {
    story_.add(StoryEvent::kTaskRetried, task->id.value, task->attempt, worker.slot);
    enqueue(task, true);
  } else {
    fail_task(task, crashed_error(*task, cause));
  }
}

void Scheduler::take_lease(Worker* worker, ResourceClass* resources) {
  pool_.acquire(resources->request);
  worker->lease = resources;
  worker->state = WorkerState::kBusy;
  resources->holders.push_back(worker);
}

void Scheduler::give_up_lease(Worker* worker) {
  pool_.release(worker->lease->request);
  std::erase(worker->lease->holders, worker);
  worker->lease = nullptr;
}

void Scheduler::settle_worker(Worker* worker) {
  const Task* front = worker->assigned.front();
  if (front == nullptr) {
    if (worker->state == WorkerState::kIdle) return;
    give_up_lease(worker);
    worker->state = WorkerState::kIdle;
    idle_.push_back(worker);
    return;
  }
  if (front->blocking_request != nullptr) {
    worker->state = WorkerState::kBlocked;
  } else {
    worker->state = front->nested ? WorkerState::kNested : WorkerState::kBusy;
  }
}

SchedulerCounts Scheduler::counts() const {
  return {.objects = objects_.size(),
          .tasks = task_pool_.live(),
          .queued = queued_,
          .workers = workers_.size(),
          .idle = idle_.size(),
          .starting = starting_};
}

void Scheduler::check_invariants() const {
  std::size_t queued = 0;
  for (const auto& resources : classes_) queued += resources->ready.size();
  HAZ_CHECK(queued == queued_, "the number of queued tasks is wrong");
  HAZ_CHECK(settling_.empty() && dying_.empty(), "work was left half done");
  std::size_t assigned = 0;
  for (const Worker* worker : workers_) {
    const bool idle = std::find(idle_.begin(), idle_.end(), worker) != idle_.end();
    HAZ_CHECK(idle == (worker->state == WorkerState::kIdle), "the idle list is wrong");
    HAZ_CHECK(idle == worker->assigned.empty(), "an idle worker has tasks, or a busy one none");
    HAZ_CHECK(idle == (worker->lease == nullptr), "an idle worker holds resources");
    std::uint32_t wanted = 0;
    for (const Task* task = worker->assigned.front(); task != nullptr;
         task = List<Task, &Task::queue_link>::next(task)) {
      HAZ_CHECK(task->worker == worker && task->state == TaskState::kAssigned,
                "a task is in the wrong worker's list");
      wanted += task->wanted_soon ? 1 : 0;
      ++assigned;
    }
    HAZ_CHECK(wanted == worker->wanted_soon, "the number of wanted results is wrong");
  }
  HAZ_CHECK(queued + assigned <= task_pool_.live(), "tasks are counted twice");
}

}  // namespace haz
