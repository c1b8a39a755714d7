#include <algorithm>
#include <utility>

#include "base/check.h"
#include "sched/error_values.h"
#include "sched/scheduler.h"

namespace haz {

void Scheduler::start_job(ProcessId process) {
  HAZ_CHECK(process && !has_job(process), "a job starts under a number that is new");
  track_process(process);
  jobs_.emplace(process.value, std::make_shared<Job>(Job{.id = process}));
}

bool Scheduler::has_workers_of(ProcessId job) const {
  return std::any_of(workers_.begin(), workers_.end(),
                     [job](const Worker* worker) { return worker->job == job; });
}

/// The job of a function that is about to be registered; nullptr where there are none.
Result<std::shared_ptr<Job>> Scheduler::job_for(const FunctionOptions& options) {
  if (!options.job) return std::shared_ptr<Job>();
  const auto known = jobs_.find(options.job.value);
  if (known == jobs_.end()) {
    return Error{ErrorKind::kLost, "the driver of '" + options.name + "' has ended"};
  }
  if (!options.actor || !options.actor->is_detached) return known->second;
  const ProcessId own = new_process();
  start_job(own);
  return jobs_.at(own.value);
}

Environment& Scheduler::environment_of(const std::string& name, ProcessId job) {
  const auto known =
      std::find_if(environments_.begin(), environments_.end(),
                   [&](const Environment& one) { return one.name == name && one.job == job; });
  if (known != environments_.end()) return *known;
  environments_.push_back({.name = name, .job = job, .number = next_environment_++});
  return environments_.back();
}

// ---- the end -----------------------------------------------------------------------------------

void Scheduler::end_job(ProcessId process) {
  const auto entry = jobs_.extract(process.value);
  if (entry.empty()) return;
  const std::shared_ptr<Job>& job = entry.mapped();
  job->has_ended = true;
  end_groups_of(*job);
  end_actors_of(*job);
  end_tasks_of(*job);
  kill_workers_of(*job);
  drop_references_of(process);
  forget_functions_of(*job);
  settle();
}

void Scheduler::end_groups_of(const Job& job) {
  std::vector<ObjectId> ids;
  for (const auto& [id, group] : groups_) {
    if (group->job == job.id) ids.push_back(group->id);
  }
  std::sort(ids.begin(), ids.end());
  for (const ObjectId id : ids)
    remove_group(id);
}

void Scheduler::end_actors_of(const Job& job) {
  std::vector<ObjectId> ids;
  for (const auto& [id, actor] : actors_) {
    if (actor->function->resources->job.get() == &job) ids.push_back(actor->id);
  }
  std::sort(ids.begin(), ids.end());
  for (const ObjectId id : ids) {
    Actor* actor = find_actor(id);
    if (actor == nullptr || actor->state == ActorState::kDead) continue;
    Worker* worker = actor->worker;
    end_actor(*actor, ValueBytes(actor_died_error(*actor, ActorEnd::kDriver, nullptr)));
    if (worker != nullptr && !worker->doomed) {
      worker->doomed = true;
      actions_.kill_worker(*worker);
    }
    settle();
  }
}

void Scheduler::end_tasks_of(const Job& job) {
  std::vector<std::uint64_t> ids;
  objects_.for_each([&](std::uint64_t id, const Object* object) {
    const Task* task = object->producer;
    if (task != nullptr && task->function->resources->job.get() == &job) ids.push_back(id);
  });
  for (const std::uint64_t id : ids) {
    const Object* object = objects_.find(id);
    Task* task = object != nullptr ? object->producer : nullptr;
    if (task == nullptr) continue;
    if (Worker* worker = task->worker; worker != nullptr) {
      if (!pull_back(task)) {
        if (task->actor != nullptr) continue;  // others use the actor
        if (!worker->doomed) kill(*worker, "the program that had started its task had ended");
        leave_worker(task);
      }
      settle_worker(worker);
    }
    if (task->state == TaskState::kQueued) unqueue(task);
    fail_task(task, owner_died_error(*task));
    settle();
  }
}

void Scheduler::kill_workers_of(const Job& job) {
  for (Worker* worker : workers_) {
    if (worker->job != job.id) continue;
    std::erase(idle_, worker);
    if (!worker->doomed) kill(*worker, "the program that it worked for had ended");
  }
  if (promised_ == kNoEnvironment) return;
  for (const Environment& environment : environments_) {
    if (environment.number == promised_ && environment.job == job.id) promised_ = kNoEnvironment;
  }
}

// ---- functions ---------------------------------------------------------------------------------

void Scheduler::forget_functions_of(const Job& job) {
  for (const auto& function : functions_) {
    if (function == nullptr || function->owner != job.id) continue;
    function->is_forgotten = true;
    if (function->users == 0) unused_functions_.push_back(function->id);
  }
}

void Scheduler::release_function(Function& function) {
  if (--function.users == 0 && function.is_forgotten) unused_functions_.push_back(function.id);
}

/// Not at once when they are released: whoever released them may still look at them.
void Scheduler::forget_unused_functions() {
  for (const FunctionId id : std::exchange(unused_functions_, {})) {
    Function* unused = function(id);
    if (unused == nullptr || unused->users != 0) continue;
    ResourceClass* resources = unused->resources;
    if (unused->block_offset != 0) actions_.free_value(unused->block_offset);
    if (unused->actor && unused->actor->is_detached) unused_jobs_.push_back(resources->job->id);
    functions_[id.value - 1].reset();
    --resources->functions;
    forget_if_unused(resources);
  }
}

void Scheduler::forget_if_unused(ResourceClass* resources) {
  if (resources->functions != 0 || !resources->holders.empty()) return;
  const std::uint32_t number = resources->environment;
  std::erase_if(classes_, [resources](const auto& one) { return one.get() == resources; });
  const auto environment =
      std::find_if(environments_.begin(), environments_.end(),
                   [number](const Environment& one) { return one.number == number; });
  if (--environment->classes == 0) environments_.erase(environment);
}

void Scheduler::end_unused_jobs() {
  for (const ProcessId id : std::exchange(unused_jobs_, {}))
    end_job(id);
}

}  // namespace haz
