#include <algorithm>

#include "base/check.h"
#include "sched/scheduler.h"

namespace haz {

namespace {

/// Below this mean a task is queued behind another even though that costs it its place in order.
constexpr std::int64_t kWorthQueueingNs = 20'000'000;
constexpr std::int64_t kShortestRunNs = 200;
/// Tasks of a function that never ran: one runs, one waits behind it.
constexpr std::uint32_t kUnknownPipeline = 2;
/// Objects looked at when a blocked worker searches what it could run itself.
constexpr int kSearchBudget = 256;

}  // namespace

ResourceClass* Scheduler::class_for(const ResourceRequest& request) {
  for (const auto& known : classes_) {
    if (known->request == request) return known.get();
  }
  classes_.push_back(std::make_unique<ResourceClass>());
  classes_.back()->request = request;
  return classes_.back().get();
}

std::uint32_t Scheduler::pipeline_limit(const Function& function) const {
  const std::int64_t mean = function.mean_run_ns;
  if (mean < 0) return kUnknownPipeline;
  if (mean >= kWorthQueueingNs) return 1;
  const std::int64_t limit = options_.pipeline_ns / std::max(mean, kShortestRunNs);
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>(limit, 2, options_.max_pipeline));
}

Worker* Scheduler::least_loaded(ResourceClass* resources, const Function& function) {
  Worker* best = nullptr;
  std::size_t best_load = pipeline_limit(function);
  for (Worker* worker : resources->holders) {
    if (worker->state != WorkerState::kBusy || worker->assigned.size() >= best_load) continue;
    if (!actions_.has_room(*worker)) continue;
    best = worker;
    best_load = worker->assigned.size();
  }
  return best;
}

void Scheduler::start_worker_if_useful(const ResourceClass& resources) {
  if (workers_.size() + starting_ >= options_.max_workers) return;
  if (starting_ >= resources.ready.size()) return;
  if (!pool_.fits(resources.request, std::int64_t{starting_} + 1)) return;
  ++starting_;
  actions_.start_worker();
}

void Scheduler::assign(Task* task, Worker* worker) {
  unqueue(task);
  task->state = TaskState::kAssigned;
  task->worker = worker;
  ++task->attempt;
  worker->assigned.push_back(task);
  if (task->wanted_soon) ++worker->wanted_soon;
  task->position = actions_.assign(*task);
  story_.add(StoryEvent::kTaskAssigned, task->id.value, task->attempt, worker->slot);
}

bool Scheduler::place_front(ResourceClass* resources) {
  Task* task = resources->ready.front();
  if (!idle_.empty() && pool_.fits(resources->request)) {
    Worker* worker = idle_.back();
    if (!actions_.has_room(*worker)) return false;
    idle_.pop_back();
    take_lease(worker, resources);
    assign(task, worker);
    return true;
  }
  if (idle_.empty()) start_worker_if_useful(*resources);
  Worker* worker = least_loaded(resources, *task->function);
  if (worker == nullptr) return false;
  assign(task, worker);
  return true;
}

bool Scheduler::place_ready() {
  bool placed = false;
  std::uint64_t stuck = 0;
  while (queued_ != 0) {
    ResourceClass* best = nullptr;
    std::size_t best_index = 0;
    for (std::size_t i = 0; i < classes_.size(); ++i) {
      ResourceClass* candidate = classes_[i].get();
      if (candidate->ready.empty() || (i < 64 && (stuck >> i & 1) != 0)) continue;
      if (best != nullptr && candidate->ready.front_rank() <= best->ready.front_rank()) continue;
      best = candidate;
      best_index = i;
    }
    if (best == nullptr) break;
    if (place_front(best)) {
      placed = true;
      continue;
    }
    if (best_index >= 64) break;
    stuck |= std::uint64_t{1} << best_index;
  }
  return placed;
}

void Scheduler::dispatch() {
  do {
    if (queued_ != 0) place_ready();
  } while (steal(false));
  while (queued_ != 0 && run_awaited_on_blocked()) {
  }
}

bool Scheduler::wants_tick() const {
  if (idle_.empty()) return false;
  return std::any_of(workers_.begin(), workers_.end(), [](const Worker* worker) {
    return worker->state == WorkerState::kBusy && worker->assigned.size() >= 2;
  });
}

void Scheduler::tick() {
  steal(true);
  for (Worker* worker : workers_) worker->finished_at_tick = worker->finished;
}

bool Scheduler::steal(bool only_stuck) {
  if (idle_.empty() || queued_ != 0) return false;
  Worker* victim = nullptr;
  for (Worker* worker : workers_) {
    if (worker->state != WorkerState::kBusy || worker->assigned.size() < 2) continue;
    if (only_stuck && worker->finished != worker->finished_at_tick) continue;
    if (!pool_.fits(worker->lease->request)) continue;
    if (victim == nullptr || worker->assigned.size() > victim->assigned.size()) victim = worker;
  }
  if (victim == nullptr) return false;
  const std::size_t waiting = victim->assigned.size() - 1;
  const std::int64_t mean = victim->assigned.back()->function->mean_run_ns;
  const bool worth_it =
      only_stuck || mean < 0 || static_cast<std::int64_t>(waiting) * mean >= options_.steal_ns;
  if (!worth_it) return false;
  bool got = false;
  for (std::size_t i = 0; i < (waiting + 1) / 2; ++i) {
    if (!pull_back(victim->assigned.back())) break;
    got = true;
  }
  if (got) settle_worker(victim);
  return got;
}

// ---- at the cap of processes -------------------------------------------------------------------

bool Scheduler::run_awaited_on_blocked() {
  if (!idle_.empty() || starting_ != 0 || workers_.size() < options_.max_workers) return false;
  for (Request* request = blocked_requests_.back(); request != nullptr;
       request = List<Request, &Request::blocked_link>::previous(request)) {
    Worker* worker = request->blocked_worker;
    if (worker->assigned.front() != request->blocked_task) continue;
    int budget = kSearchBudget;
    for (const WaitNode& node : request->nodes) {
      Task* task = runnable_for(node.object, budget);
      if (task == nullptr) continue;
      if (!pool_.fits(task->function->resources->request)) continue;
      run_nested(task, worker);
      return true;
    }
  }
  return false;
}

Task* Scheduler::runnable_for(Object* object, int& budget) {
  Task* task = object->producer;
  if (task == nullptr || --budget < 0) return nullptr;
  if (task->state == TaskState::kQueued) return task;
  if (task->state != TaskState::kWaiting) return nullptr;
  for (std::uint32_t i = 0; i < task->num_dependencies; ++i) {
    Task* found = runnable_for(task->dependencies[i].object, budget);
    if (found != nullptr) return found;
  }
  return nullptr;
}

void Scheduler::run_nested(Task* task, Worker* worker) {
  unqueue(task);
  task->state = TaskState::kAssigned;
  task->worker = worker;
  task->nested = true;
  ++task->attempt;
  pool_.acquire(task->function->resources->request);
  worker->assigned.push_front(task);
  if (task->wanted_soon) ++worker->wanted_soon;
  worker->state = WorkerState::kNested;
  story_.add(StoryEvent::kTaskAssigned, task->id.value, task->attempt, worker->slot);
  actions_.run_nested(*task);
}

}  // namespace haz
