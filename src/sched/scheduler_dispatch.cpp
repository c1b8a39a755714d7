#include <algorithm>
#include <iterator>

#include "base/units.h"
#include "sched/scheduler.h"

namespace haz {

namespace {

/// Below this mean a task is queued behind another even though that costs it its place in order.
constexpr std::int64_t kWorthQueueingNs = 20'000'000;
constexpr std::int64_t kShortestRunNs = 200;
/// Tasks of a function that never ran: one runs, one waits behind it.
constexpr std::uint32_t kUnknownPipeline = 2;
/// Work that waits behind a task of a function that never ran.
constexpr std::int64_t kUnknownRunNs = kSecondNs;
/// Work in the ring of a worker that is not about to be without any.
constexpr std::int64_t kEnoughNs = 20'000;
/// Work that is given to a worker at a time.
constexpr std::int64_t kTogetherNs = 3'000;
/// A task may be overtaken by this many times the length of a ring before others make way for it,
/// so that workers do not change between classes all the time.
constexpr std::uint64_t kPatience = 4;
/// Tasks of another job that has more make way after so many ticks, each for most of a period: a
/// job works off some tasks in its turn, and does not lose its worker after each.
constexpr std::uint32_t kTurnTicks = 1;
constexpr std::uint32_t kMakeWayForJobTicks = 768;
constexpr std::uint32_t kMakeWayForJobPeriod = 1024;

/// Measured work that waits in `worker`'s ring behind its first task.
std::int64_t waiting_work_ns(const Worker& worker) {
  if (worker.state != WorkerState::kBusy || worker.assigned.size() < 2) return 0;
  const std::int64_t mean = worker.assigned.back()->function->mean_run_ns;
  const auto waiting = static_cast<std::int64_t>(worker.assigned.size() - 1);
  return waiting * (mean < 0 ? kUnknownRunNs : std::max(mean, kShortestRunNs));
}

bool of_different_jobs(const ResourceClass& a, const ResourceClass& b) {
  return a.job != b.job && a.job && b.job;
}

bool goes_before(const ResourceClass& a, const ResourceClass& b) {
  // Among jobs the one that has least goes first, then the one whose turn was longest ago, whatever
  // the priorities inside.
  if (of_different_jobs(a, b)) {
    if (a.job->cpu_held != b.job->cpu_held) return a.job->cpu_held < b.job->cpu_held;
    if (a.job->last_turn != b.job->last_turn) return a.job->last_turn < b.job->last_turn;
  }
  const std::int64_t rank_a = a.ready.front_rank();
  const std::int64_t rank_b = b.ready.front_rank();
  return rank_a != rank_b ? rank_a > rank_b : a.ready.front()->order < b.ready.front()->order;
}

}  // namespace

ResourceClass* Scheduler::class_for(const ResourceRequest& request, bool for_actors,
                                    Environment& environment, const std::shared_ptr<Job>& job) {
  for (const auto& known : classes_) {
    if (known->request == request && known->for_actors == for_actors &&
        known->environment == environment.number) {
      return known.get();
    }
  }
  classes_.push_back(std::make_unique<ResourceClass>());
  classes_.back()->request = request;
  classes_.back()->for_actors = for_actors;
  classes_.back()->environment = environment.number;
  classes_.back()->job = job;
  ++environment.classes;
  return classes_.back().get();
}

std::uint32_t Scheduler::pipeline_limit(const Function& function) const {
  const std::int64_t mean = function.mean_run_ns;
  if (mean < 0) return kUnknownPipeline;
  if (mean >= kWorthQueueingNs) return 1;
  const std::int64_t limit = options_.pipeline_ns / std::max(mean, kShortestRunNs);
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>(limit, 2, options_.max_pipeline));
}

/// Whether an idle worker has room in its ring. If not, that is full of what was taken back, which
/// the worker will have passed soon.
bool Scheduler::can_take(const Worker& worker) {
  const bool has_room = actions_.has_room(worker);
  passing_ = passing_ || !has_room;
  return has_room;
}

Worker* Scheduler::take_idle(const ResourceClass& resources) {
  if (idle_.empty() || !fits(resources)) return nullptr;
  auto found = idle_.rend();
  for (auto place = idle_.rbegin(); place != idle_.rend(); ++place) {
    const std::uint32_t environment = (*place)->environment;
    const bool fits = environment == resources.environment;
    if (!fits && (environment != kNoEnvironment || found != idle_.rend())) continue;
    if (!can_take(**place)) continue;
    found = place;
    if (fits) break;  // better than one that may serve any environment
  }
  if (found == idle_.rend()) return nullptr;
  Worker* worker = *found;
  idle_.erase(std::next(found).base());
  return worker;
}

namespace {

bool serves(const Worker& worker, std::uint32_t environment) {
  return worker.environment == environment || worker.environment == kNoEnvironment;
}

}  // namespace

bool Scheduler::has_idle(std::uint32_t environment) const {
  return std::any_of(idle_.begin(), idle_.end(),
                     [environment](const Worker* worker) { return serves(*worker, environment); });
}

/// Whether one of those can be given a task at once.
bool Scheduler::has_taker(std::uint32_t environment) {
  return std::any_of(idle_.begin(), idle_.end(), [this, environment](const Worker* worker) {
    return serves(*worker, environment) && can_take(*worker);
  });
}

/// Whether a task may be queued behind what `worker` runs. Not where threads of the running task
/// wait: it may be this very task that they wait for.
bool Scheduler::may_queue_on(const Worker& worker) {
  return worker.state == WorkerState::kBusy && !worker.stuck && !worker.doomed &&
         worker.assigned.front()->waiting_threads == 0 && actions_.has_room(worker);
}

Worker* Scheduler::least_loaded(ResourceClass* resources, const Function& function) {
  if (overdrawn(*resources)) return nullptr;
  Worker* best = nullptr;
  std::size_t best_load = pipeline_limit(function);
  for (Worker* worker : resources->holders) {
    if (worker->assigned.size() >= best_load || !may_queue_on(*worker)) continue;
    best = worker;
    best_load = worker->assigned.size();
  }
  return best;
}

/// A busy worker that would have begun the task before an idle one had woken up; of several, the
/// one with most to do, so that the others may stay asleep.
Worker* Scheduler::soon_free(const ResourceClass& resources, const Function& function) {
  const std::int64_t mean = function.mean_run_ns;
  if (mean < 0 || overdrawn(resources)) return nullptr;
  const auto limit = static_cast<std::size_t>(options_.wake_ns / std::max(mean, kShortestRunNs));
  Worker* best = nullptr;
  for (Worker* worker : resources.holders) {
    if (worker->assigned.size() >= limit) continue;
    if (best != nullptr && worker->assigned.size() <= best->assigned.size()) continue;
    if (!may_queue_on(*worker)) continue;
    best = worker;
  }
  return best;
}

bool Scheduler::may_start(bool for_actor) const {
  const std::size_t processes = workers_.size() + starting_;
  if (starts_paused_ != 0 || processes >= options_.max_processes) return false;
  return for_actor || processes - processes_of_actors_ < options_.max_workers;
}

void Scheduler::start_workers(const ResourceClass& resources, std::size_t demand) {
  while (starting_ < demand && may_start(resources.for_actors) &&
         fits(resources, std::int64_t{starting_} + 1)) {
    ++starting_;
    actions_.start_worker();
  }
  if (starting_ == 0 && !idle_.empty() && fits(resources)) make_room_for(resources);
}

/// Where the cap stands in the way of a worker for these tasks, ends idle ones of other
/// environments: as many as must go, which is more than one after start_beyond_cap().
void Scheduler::make_room_for(const ResourceClass& resources) {
  if (starts_paused_ != 0 || may_start(resources.for_actors)) return;
  const bool some_end = std::any_of(workers_.begin(), workers_.end(),
                                    [](const Worker* worker) { return worker->doomed; });
  if (some_end) return;
  std::size_t cap = options_.max_processes;
  if (!resources.for_actors) {
    cap = std::min<std::size_t>(cap, options_.max_workers + processes_of_actors_);
  }
  const auto is_other = [&resources](const Worker* worker) {
    return !serves(*worker, resources.environment);
  };
  const std::size_t needed = workers_.size() + 1 - cap;
  const auto others = std::count_if(idle_.begin(), idle_.end(), is_other);
  if (static_cast<std::size_t>(others) < needed) return;
  for (std::size_t i = 0; i < needed; ++i) {
    const auto other = std::find_if(idle_.begin(), idle_.end(), is_other);
    Worker* worker = *other;
    idle_.erase(other);
    worker->doomed = true;
    actions_.stop_worker(*worker);
  }
}

void Scheduler::start_workers_for_waiting() {
  if (!may_start() || !room_waits_.empty()) return;
  std::size_t waiting = 0;
  for (const Worker* worker : task_workers_) {
    const std::int64_t work = waiting_work_ns(*worker);
    if (work == 0 || work < options_.start_ns || has_idle(worker->environment)) continue;
    waiting += worker->assigned.size() - 1;
    start_workers(*worker->lease, waiting);
  }
}

void Scheduler::assign(Task* task, Worker* worker) {
  unqueue(task);
  looks_at_all_ = false;
  task->state = TaskState::kAssigned;
  task->worker = worker;
  task->process = worker->process;
  task->has_reported = false;
  task->times.began_ns = story_.time();
  ++task->attempt;
  worker->assigned.push_back(task);
  if (task->wanted_soon) ++worker->wanted_soon;
  count_wanted_item(*task, 1);
  task->position = actions_.assign(*task);
  story_.add(StoryEvent::kTaskAssigned, task->id.value, task->attempt, worker->slot);
}

/// Whether the class must wait for the first of those that go before it, can't be placed, and have
/// been overtaken for long. For one at a time, so that not all the time is somebody's.
bool Scheduler::must_make_way(const ResourceClass& resources) {
  ResourceClass* first = nullptr;
  const std::int64_t rank = resources.ready.front_rank();
  const Task& task = *resources.ready.front();
  for (ResourceClass* other : ready_classes_) {
    if (!other->stuck || other->is_kept_back) continue;
    const bool is_turn = of_different_jobs(*other, resources);
    if (is_turn) {
      if (other->job->cpu_held >= resources.job->cpu_held) continue;
    } else {
      if (other->ready.front_rank() < rank) continue;
      const std::uint64_t patience = kPatience * pipeline_limit(*task.function);
      if (other->ready.front_rank() == rank &&
          other->ready.front()->order + patience >= task.order) {
        continue;
      }
    }
    // What it lacks is a resource that both need, or a worker.
    const bool lacks_worker = fits(*other) && !has_idle(other->environment) && starting_ == 0;
    if (!lacks_worker && !compete(*other, resources)) continue;
    if (first == nullptr || goes_before(*other, *first)) first = other;
  }
  if (first != nullptr) {
    first->held_up = making_way_ = true;
    const std::uint32_t ticks = first->ticks_held_up % kMakeWayForJobPeriod;
    const bool waits = of_different_jobs(*first, resources)
                           ? ticks >= kTurnTicks && ticks < kMakeWayForJobTicks
                           : makes_others_wait(first->ticks_held_up);
    if (waits && !is_held_by_actors(*first)) return true;
  }
  return resources.group == nullptr && must_make_way_for_group(task, resources.request);
}

/// Whether the tasks could give back all that they have, and it would still be too little.
bool Scheduler::is_held_by_actors(const ResourceClass& resources) const {
  if (resources.group != nullptr) return false;
  return std::any_of(resources.request.begin(), resources.request.end(), [this](const auto& asked) {
    std::int64_t left = pool_.total(asked.first) - asked.second;
    for (const Worker* worker : workers_) {
      const Actor* actor = worker->actor;
      if (actor == nullptr || actor->acquired == nullptr) continue;
      if (actor->grant.bundle == nullptr) left -= units_of(*actor->acquired, asked.first);
    }
    return left < 0;
  });
}

bool Scheduler::place_front(ResourceClass* resources) {
  Task* task = next_ready(*resources);
  resources->is_kept_back = task == nullptr;
  if (task == nullptr) return false;
  if (freed_by_hand_ && has_failed_argument(*task)) {
    unqueue(task);
    fail_if_argument_failed(task);
    settle();
    return true;
  }
  if (must_make_way(*resources)) return false;
  if (is_kept_for_awaited(*task)) return false;
  if (resources->for_actors) return place_actor(resources, task);
  Worker* worker = soon_free(*resources, *task->function);
  if (worker == nullptr) {
    worker = take_idle(*resources);
    if (worker != nullptr) take_lease(worker, resources);
  }
  if (worker == nullptr) {
    const ReadyQueue& ready = resources->ready;
    const std::size_t demand =
        room_waits_.empty() ? ready.size() : std::max<std::size_t>(ready.num_holders(), 1);
    if (!has_idle(resources->environment)) start_workers(*resources, demand);
    worker = least_loaded(resources, *task->function);
  }
  if (worker == nullptr) return false;
  resources->ticks_held_up = 0;
  const Function& function = *task->function;
  assign(task, worker);
  assign_next(*resources, function, worker);
  return true;
}

/// Whether nothing but the room in rings decides where ready tasks of the class run.
bool Scheduler::depends_on_room_only(const ResourceClass& resources) const {
  const bool is_only_one = ready_classes_.empty() || ready_classes_.front() == &resources;
  return is_only_one && ready_classes_.size() <= 1 && pending_groups_.empty() &&
         room_waits_.empty() && blocked_requests_.empty() && lending_requests_.empty() &&
         !freed_by_hand_ && task_workers_.size() <= options_.max_workers;
}

/// Gives `worker`, which has just been given a task of `function`, some that come next, where they
/// take so little time that nobody could tell.
void Scheduler::assign_next(ResourceClass& resources, const Function& function, Worker* worker) {
  const std::int64_t mean = function.mean_run_ns;
  if (mean < 0 || !depends_on_room_only(resources)) return;
  const std::size_t limit = std::min<std::size_t>(
      worker->assigned.size() +
          static_cast<std::size_t>(kTogetherNs / std::max(mean, kShortestRunNs)),
      pipeline_limit(function));
  while (worker->assigned.size() < limit && !resources.ready.empty() &&
         resources.ready.front()->function == &function && may_queue_on(*worker)) {
    assign(resources.ready.front(), worker);
  }
}

ResourceClass* Scheduler::next_class() const {
  ResourceClass* best = nullptr;
  for (ResourceClass* candidate : ready_classes_) {
    if (candidate->stuck) continue;
    if (best == nullptr || goes_before(*candidate, *best)) best = candidate;
  }
  return best;
}

/// Places the first tasks of the only class that has any, while a busy worker is soon free for them
/// and nothing else is to be looked at.
void Scheduler::place_on_soon_free(ResourceClass& resources) {
  while (!resources.ready.empty() && depends_on_room_only(resources) && !resources.for_actors) {
    const Function& function = *resources.ready.front()->function;
    Worker* worker = soon_free(resources, function);
    if (worker == nullptr) return;
    resources.ticks_held_up = 0;
    assign(resources.ready.front(), worker);
    assign_next(resources, function, worker);
  }
}

void Scheduler::place_ready() {
  if (!pending_groups_.empty()) reserve_groups();
  if (ready_classes_.size() == 1) place_on_soon_free(*ready_classes_.front());
  while (ResourceClass* next = next_class()) {
    if (!place_front(next)) next->stuck = true;
  }
  for (ResourceClass* resources : ready_classes_) {
    resources->is_saturated = is_saturated(*resources);
    resources->stuck = resources->is_kept_back = false;
  }
}

bool Scheduler::is_supplied(const Function& function) {
  const ResourceClass& resources = *function.resources;
  if (resources.holders.empty() || resources.for_actors || fits(resources)) return false;
  if (!depends_on_room_only(resources)) return false;
  return std::all_of(resources.holders.begin(), resources.holders.end(), [this](Worker* worker) {
    return waiting_work_ns(*worker) >= kEnoughNs && may_queue_on(*worker);
  });
}

/// Whether more ready tasks of the class, the first of which can't be placed, change nothing.
bool Scheduler::is_saturated(const ResourceClass& resources) const {
  if (!room_waits_.empty()) return false;
  return !may_start(resources.for_actors) || !fits(resources, std::int64_t{starting_} + 1);
}

void Scheduler::dispatch() {
  has_placeable_ = false;
  if (!unused_functions_.empty()) forget_unused_functions();
  if (!unused_jobs_.empty()) end_unused_jobs();
  if (has_abandoned()) close_abandoned();
  if (!orphans_.empty()) remove_orphans();
  feed_actors();
  do {
    place_ready();
  } while (steal());
  start_workers_for_waiting();
  while (queued_ != 0 && (run_awaited() || lift_a_limit())) {
  }
  if (starting_ == 0) looks_at_all_ = false;  // what was looked for is not there
  // A task that has failed here may have had the last reference of a stream.
  if (has_abandoned()) dispatch();
}

bool Scheduler::could_run(const Worker& worker) const {
  if (waiting_work_ns(worker) == 0 || !fits(*worker.lease)) return false;
  return has_idle(worker.environment) || may_start() || !blocked_requests_.empty();
}

bool Scheduler::wants_tick() const {
  if (!room_waits_.empty() || (passing_ && queued_ != 0)) return true;
  if (making_way_ || !starved_.empty() || (starts_paused_ != 0 && queued_ != 0)) return true;
  // Most workers run tasks of one class: asked for each round, it is looked at once.
  const ResourceClass* looked_at = nullptr;
  bool may_run = false;
  return std::any_of(task_workers_.begin(), task_workers_.end(), [&](const Worker* worker) {
    if (waiting_work_ns(*worker) == 0) return false;
    if (worker->lease != looked_at) {
      looked_at = worker->lease;
      may_run = could_run(*worker);
    }
    return may_run;
  });
}

void Scheduler::tick() {
  if (starts_paused_ != 0) --starts_paused_;
  passing_ = false;
  feed_starved();
  for (Worker* worker : task_workers_) {
    const Task* first = worker->assigned.front();
    const TaskId now = first != nullptr ? first->id : TaskId{};
    worker->stuck = first != nullptr && now == worker->first_at_tick;
    worker->first_at_tick = now;
    if (!worker->stuck || !could_run(*worker)) continue;
    while (worker->assigned.size() > 1 && pull_back(worker->assigned.back())) {
    }
  }
  look_at_standstill();
  making_way_ = false;
  for (ResourceClass* resources : ready_classes_) {
    if (resources->held_up) ++resources->ticks_held_up;
    resources->held_up = false;
  }
  for (PlacementGroup* group : pending_groups_) {
    if (group->held_up) ++group->ticks_held_up;
    group->held_up = false;
  }
}

bool Scheduler::steal() {
  if (idle_.empty()) return false;
  Worker* victim = nullptr;
  std::int64_t most = 0;
  for (Worker* worker : task_workers_) {
    const std::int64_t work = waiting_work_ns(*worker);
    if (work == 0 || work < most || work < options_.steal_ns) continue;
    // Of those with equally much to do, from the one whose task has waited longest.
    if (work == most && worker->assigned.back()->order > victim->assigned.back()->order) continue;
    if (!fits(*worker->lease) || !has_taker(worker->environment)) continue;
    victim = worker;
    most = work;
  }
  if (victim == nullptr) return false;
  const std::size_t half = victim->assigned.size() / 2;
  bool got = false;
  for (std::size_t i = 0; i < half; ++i) {
    if (!pull_back(victim->assigned.back())) break;
    got = true;
  }
  return got;
}

}  // namespace haz
