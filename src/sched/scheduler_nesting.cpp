/// @file
/// At the cap of processes: what those wait for that take up all of them must run all the same. On
/// top of a blocked task, in its process; or else in one process more.
#include <algorithm>
#include <limits>

#include "sched/error_values.h"
#include "sched/scheduler.h"

namespace haz {

namespace {

/// Tasks looked at when a waiting worker searches what it could run itself, while others run.
constexpr std::size_t kSearchBudget = 256;
/// Beyond the cap one more process is started while fewer than this part of the cap run something.
constexpr std::size_t kRunningShare = 4;

/// Whether the worker comes to the end of its task by itself, as far as can be seen: where threads
/// wait, the main one may wait for them.
bool goes_on(const Worker& worker) {
  const Task* front = worker.assigned.front();
  return front != nullptr && worker.state != WorkerState::kBlocked && front->waiting_threads == 0;
}

bool waits(const Worker& worker) { return !worker.assigned.empty() && !goes_on(worker); }

/// Whether the process runs what the request waits for on top of the task that sleeps on it.
bool may_nest(const Worker& worker, const Task& sleeper) {
  return worker.state == WorkerState::kBlocked && !worker.doomed && worker.actor == nullptr &&
         worker.assigned.front() == &sleeper;
}

/// The first node that is still pending, from which on `request` waits.
std::uint32_t first_pending(Request& request) {
  // Of the object of a placement group there is no producer.
  while (request.first_pending < request.nodes.size() &&
         request.nodes[request.first_pending].object->producer == nullptr) {
    ++request.first_pending;
  }
  return request.first_pending;
}

}  // namespace

/// Whether no other task than an awaited one may begin: beyond the cap it would only be one more
/// that waits, and need a process more in its turn.
bool Scheduler::is_kept_for_awaited(const Task& task) const {
  if (task.awaited || task_workers_.size() <= options_.max_workers) return false;
  std::size_t waiting = 0;
  bool somebody_goes_on = false;
  for (const Worker* worker : task_workers_) {
    waiting += waits(*worker) ? 1 : 0;
    somebody_goes_on = somebody_goes_on || goes_on(*worker);
  }
  return somebody_goes_on && waiting >= options_.max_workers;
}

/// Sees to it that something runs of what waiting workers wait for. False: nothing more to do.
bool Scheduler::run_awaited() {
  if (starting_ != 0 || may_start()) return false;
  if (!idle_.empty() && environments_.size() == 1) return false;
  if (blocked_requests_.empty() && lending_requests_.empty()) return false;
  const bool somebody_runs = std::any_of(workers_.begin(), workers_.end(),
                                         [](const Worker* worker) { return goes_on(*worker); });
  // Without anyone who runs, what is found must be all that there is.
  std::size_t budget = somebody_runs ? kSearchBudget : std::numeric_limits<std::size_t>::max();
  Task* left = nullptr;  // what no waiting worker can run itself
  ++searches_;
  for (Request* request = blocked_requests_.back(); request != nullptr && budget != 0;
       request = List<Request, &Request::blocked_link>::previous(request)) {
    if (!may_nest(*request->blocked_task->worker, *request->blocked_task)) continue;
    Task* task = find_nestable(*request, budget, left);
    if (task == nullptr) continue;
    run_nested(task, request->blocked_task->worker);
    return true;
  }
  for (Request* request = lending_requests_.front(); request != nullptr && budget != 0;
       request = List<Request, &Request::lending_link>::next(request)) {
    if (left != nullptr) break;
    (void)find_nestable(*request, budget, left);
  }
  if (left == nullptr) return false;
  if (start_beyond_cap(left->resources->environment)) return false;
  return !somebody_runs && fail_without_process(left);
}

/// The first task that can run of those that `request` waits for, and its worker may run itself. Of
/// the others, the first becomes `left`.
Task* Scheduler::find_nestable(Request& request, std::size_t& budget, Task*& left) {
  const Worker* worker = request.blocked_task != nullptr ? request.blocked_task->worker : nullptr;
  const std::vector<WaitNode>& nodes = request.nodes;
  for (std::size_t i = first_pending(request); i < nodes.size() && budget != 0; ++i, --budget) {
    Task* task = runnable_for(nodes[i].object, budget);
    if (task == nullptr || !may_begin(*task)) continue;
    const std::uint32_t environment = task->resources->environment;
    if (has_idle(environment)) continue;
    // Below it its consumer could not take what it waits to be taken.
    const bool needs_consumer = task->function->streams() && task->function->has_waited_for_room;
    const bool nests = worker != nullptr && worker->environment == environment &&
                       worker->nested < options_.max_nested && !needs_consumer;
    if (nests) return task;
    task->visit = 0;  // others that wait for it may run it themselves
    if (left == nullptr) left = task;
  }
  return nullptr;
}

Task* Scheduler::runnable_for(Object* object, std::size_t& budget) {
  Task* found = nullptr;
  const auto look_at = [this](const Object* next) {
    Task* task = next->producer;
    if (task == nullptr || task->visit == searches_) return;
    task->visit = searches_;
    search_.push_back(task);
  };
  look_at(object);
  while (!search_.empty() && found == nullptr && budget > 1) {
    Task* task = search_.back();
    search_.pop_back();
    --budget;
    const bool can_nest = task->actor == nullptr;
    if (task->state == TaskState::kQueued && can_nest && fits(*task->resources)) {
      found = task;
    }
    if (task->state != TaskState::kWaiting) continue;
    for (std::uint32_t i = task->num_dependencies; i > 0; --i) {
      look_at(task->dependencies[i - 1].object);
    }
  }
  search_.clear();
  return found;
}

void Scheduler::run_nested(Task* task, Worker* worker) {
  unqueue(task);
  task->state = TaskState::kAssigned;
  task->worker = worker;
  task->nested = true;
  task->process = worker->process;
  task->has_reported = false;
  task->times.began_ns = story_.time();
  ++task->attempt;
  task->grant = std::make_unique<ResourceGrant>(acquire(*task->resources));
  worker->assigned.push_front(task);
  ++worker->nested;
  if (task->wanted_soon) ++worker->wanted_soon;
  count_wanted_item(*task, 1);
  // Its consumer may be the task below it.
  if (task->function->streams()) lift_limit(task->id);
  worker->state = WorkerState::kNested;
  story_.add(StoryEvent::kTaskAssigned, task->id.value, task->attempt, worker->slot);
  actions_.run_nested(*task);
}

void Scheduler::give_back_nested(Worker& worker, TaskId id, std::uint32_t attempt) {
  Task* task = find_task(id);
  if (task == nullptr || task->worker != &worker || !task->nested || task->attempt != attempt) {
    return;
  }
  put_back(task);
  settle_worker(&worker);
  if (task->cancel_requested) (void)end_unstarted(task);
  settle();
}

/// One process more than the cap, for what no waiting worker can run itself. False: as many run
/// something as may, or there are too many processes.
bool Scheduler::start_beyond_cap(std::uint32_t environment) {
  if (starts_paused_ != 0 || is_at_hard_limit()) return false;
  const auto running = std::count_if(
      task_workers_.begin(), task_workers_.end(), [environment](const Worker* worker) {
        return worker->environment == environment && (goes_on(*worker) || worker->doomed);
      });
  const std::size_t most = std::max<std::size_t>(options_.max_workers / kRunningShare, 1);
  if (static_cast<std::size_t>(running) >= most) return false;
  promised_ = environment;
  ++starting_;
  actions_.start_worker();
  return true;
}

bool Scheduler::is_at_hard_limit() const {
  return task_workers_.size() >= options_.hard_max_workers ||
         workers_.size() >= options_.max_processes;
}

/// Everything waits, `task` could run, and there is no process to run it in: it fails, so that
/// those who wait for it hear of that instead of waiting for ever.
bool Scheduler::fail_without_process(Task* task) {
  const bool some_end = std::any_of(workers_.begin(), workers_.end(),
                                    [](const Worker* worker) { return worker->doomed; });
  if (some_end || (!is_at_hard_limit() && why_no_starts_.empty())) return false;
  unqueue(task);
  fail_task(task, is_at_hard_limit()
                      ? no_process_error(*task, task_workers_.size(), options_.max_nested)
                      : node_died_error("task " + task->function->name +
                                        " can't run: all worker processes wait for results, and "
                                        "no other could be started: " +
                                        why_no_starts_));
  settle();
  return true;
}

}  // namespace haz
