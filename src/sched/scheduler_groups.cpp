#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>

#include "base/check.h"
#include "sched/error_values.h"
#include "sched/scheduler.h"

namespace haz {

namespace {

/// The amounts of all `bundles` together.
ResourceRequest sum_of(const std::vector<Bundle>& bundles) {
  ResourceRequest sum;
  for (const Bundle& bundle : bundles) {
    for (const auto& [index, units] : bundle.request) {
      const auto known = std::find_if(
          sum.begin(), sum.end(), [at = index](const auto& entry) { return entry.first == at; });
      if (known != sum.end()) {
        known->second += units;
      } else {
        sum.emplace_back(index, units);
      }
    }
  }
  std::sort(sum.begin(), sum.end());
  return sum;
}

/// Takes what each of `bundles` asks for out of `from`, or nothing of it; what each got.
std::optional<std::vector<ResourceGrant>> take_all(ResourceAmounts& from,
                                                   const std::vector<Bundle>& bundles) {
  // Greater parts of GPUs first, so that the smaller ones find room beside them.
  std::vector<std::size_t> order(bundles.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return from.gpu_units(bundles[a].request) > from.gpu_units(bundles[b].request);
  });
  std::vector<ResourceGrant> grants(bundles.size());
  for (std::size_t i = 0; i < order.size(); ++i) {
    const ResourceRequest& request = bundles[order[i]].request;
    if (!from.fits(request)) {
      for (std::size_t j = 0; j < i; ++j)
        from.release(bundles[order[j]].request, grants[order[j]]);
      return std::nullopt;
    }
    grants[order[i]] = from.acquire(request);
  }
  return grants;
}

bool can_hold(const Bundle& bundle, const ResourceRequest& request) {
  return std::all_of(request.begin(), request.end(), [&bundle](const auto& entry) {
    return entry.second <= units_of(bundle.request, entry.first);
  });
}

}  // namespace

// ---- making and removing -----------------------------------------------------------------------

Status Scheduler::create_group(const GroupSpec& spec, const NewValue& value) {
  const auto refused = [&](ErrorKind kind, std::string message) -> Status {
    free_unpublished(value);
    return Error{kind, std::move(message)};
  };
  if (!spec.id || objects_.find(spec.id.value) != nullptr || spec.bundles.empty()) {
    return refused(ErrorKind::kInvalid, "a placement group needs an id of its own, and bundles");
  }
  const auto has_name = [&spec](const auto& entry) {
    return entry.second->state != GroupState::kRemoved && entry.second->name == spec.name &&
           entry.second->name_space == spec.name_space;
  };
  if (!spec.name.empty() && std::any_of(groups_.begin(), groups_.end(), has_name)) {
    return refused(ErrorKind::kExists, "there is a placement group of the name '" + spec.name +
                                           "': take another name, or get_placement_group()");
  }
  auto group = std::make_unique<PlacementGroup>();
  group->bundles.resize(spec.bundles.size());
  for (std::size_t i = 0; i < spec.bundles.size(); ++i) {
    Result<ResourceRequest> request =
        request_of("bundle " + std::to_string(i), spec.bundles[i], "be reserved");
    if (!request) return refused(request.error().kind, request.error().message);
    group->bundles[i].group = group.get();
    group->bundles[i].request = std::move(*request);
  }
  group->total = sum_of(group->bundles);
  ResourceAmounts empty = pool_.unused();
  if (!take_all(empty, group->bundles)) {
    std::string message = "the placement group can never be reserved on this node: its bundles ask";
    for (const auto& [index, units] : group->total) {
      message += (index == group->total.front().first ? " for " : ", ") + shown_amount(units) +
                 " " + pool_.name(index) + " of " + shown_amount(pool_.total(index));
    }
    return refused(ErrorKind::kInvalid, message);
  }
  group->id = spec.id;
  if (!spec.is_detached) {
    group->owner = spec.owner;
    group->job = spec.job;
  }
  group->name = spec.name;
  group->name_space = spec.name_space;
  group->strategy = spec.strategy;
  group->order = next_order_++;
  if (Actor* owner = find_actor(group->owner); owner != nullptr) owner->owns_groups = true;
  Object* object = make_object(spec.id, nullptr);
  object->role = ObjectRole::kGroup;
  set_value(object, value);
  object->state = ObjectState::kPending;
  add_ref(object);  // until it is removed
  add_ref(object);
  count_reference(spec.creator, spec.id);
  pending_groups_.push_back(group.get());
  groups_.emplace(spec.id.value, std::move(group));
  reserve_groups();
  settle();
  return Ok{};
}

void Scheduler::remove_group(ObjectId id) {
  PlacementGroup* group = find_group(id);
  if (group == nullptr || group->state == GroupState::kRemoved) return;
  Object* object = objects_.find(id.value);
  const bool was_pending = group->state == GroupState::kPending;
  group->state = GroupState::kRemoved;
  std::erase(pending_groups_, group);
  for (const auto& resources : group->classes)
    std::erase(ready_classes_, resources.get());
  replace_value(object, group_removed_error());
  if (was_pending) notify_waiters(object);
  end_actors_of(*group);
  end_tasks_of(*group);
  settle();
  for (Bundle& bundle : group->bundles) {
    if (bundle.is_reserved && bundle.users == 0) give_back(bundle);
  }
  drop_ref(object);
}

void Scheduler::end_actors_of(const PlacementGroup& group) {
  if (!group.has_actors) return;
  std::vector<ObjectId> ids;
  for (const auto& [id, actor] : actors_) {
    if (actor->group == group.id && actor->state != ActorState::kDead) ids.push_back(actor->id);
  }
  std::sort(ids.begin(), ids.end(), [](ObjectId a, ObjectId b) { return a.value < b.value; });
  for (const ObjectId id : ids) {
    Actor* actor = find_actor(id);
    if (actor == nullptr || actor->state == ActorState::kDead) continue;
    Worker* worker = actor->worker;
    end_actor(*actor, ValueBytes(actor_died_error(*actor, ActorEnd::kGroupRemoved, nullptr)));
    if (worker == nullptr || worker->doomed) continue;
    worker->doomed = true;
    actions_.kill_worker(*worker);
  }
}

/// Those that run end with their processes.
void Scheduler::end_tasks_of(PlacementGroup& group) {
  std::vector<TaskId> ids;
  for (const Task* task = group.tasks.front(); task != nullptr;
       task = List<Task, &Task::group_link>::next(task)) {
    if (!task->creates_actor) ids.push_back(task->id);
  }
  for (const TaskId id : ids) {
    Task* task = find_task(id);
    if (task == nullptr || task->settling) continue;  // it learns of it when it is settled
    if (Worker* worker = task->worker; worker != nullptr) {
      if (pull_back(task)) {
        settle_worker(worker);
      } else if (!worker->doomed) {
        kill(*worker, "the placement group of " + task->function->name + " was removed");
      }
      continue;
    }
    if (task->state == TaskState::kQueued) unqueue(task);
    fail_task(task, group_removed_error(*task));
  }
}

void Scheduler::remove_orphans() {
  for (const ObjectId id : std::exchange(orphans_, {}))
    remove_group(id);
}

void Scheduler::give_back(Bundle& bundle) {
  pool_.release(bundle.request, bundle.grant);
  bundle.is_reserved = false;
}

void Scheduler::forget_if_over(const PlacementGroup& group) {
  if (group.state != GroupState::kRemoved || group.referenced || !group.tasks.empty()) return;
  const bool in_use = std::any_of(group.bundles.begin(), group.bundles.end(),
                                  [](const Bundle& bundle) { return bundle.users != 0; });
  if (!in_use) groups_.erase(group.id.value);
}

// ---- reserving ---------------------------------------------------------------------------------

void Scheduler::reserve_groups() {
  for (std::size_t i = 0; i < pending_groups_.size();) {
    PlacementGroup& group = *pending_groups_[i];
    if (is_held_up(group) || !reserve(group)) {
      ++i;
      continue;
    }
    pending_groups_.erase(pending_groups_.begin() + static_cast<std::ptrdiff_t>(i));
  }
  settle();
}

/// Whether `group` makes way for one that came earlier.
bool Scheduler::is_held_up(const PlacementGroup& group) {
  PlacementGroup& first = *pending_groups_.front();
  if (&first == &group || !haz::compete(pool_, first.total, group.total)) return false;
  first.held_up = making_way_ = true;
  return makes_others_wait(first.ticks_held_up);
}

/// Whether `task`, which is ready and asks for `request`, makes way for a group that came earlier.
/// Not what somebody waits for, or may: the end of that may give the group what it lacks.
bool Scheduler::must_make_way_for_group(const Task& task, const ResourceRequest& request) {
  if (pending_groups_.empty() || task.awaited || task.depth != 0) return false;
  PlacementGroup& first = *pending_groups_.front();
  if (first.order > task.order || !haz::compete(pool_, first.total, request)) return false;
  first.held_up = making_way_ = true;
  return makes_others_wait(first.ticks_held_up);
}

bool Scheduler::reserve(PlacementGroup& group) {
  std::optional<std::vector<ResourceGrant>> grants = take_all(pool_, group.bundles);
  if (!grants) return false;
  for (std::size_t i = 0; i < group.bundles.size(); ++i) {
    Bundle& bundle = group.bundles[i];
    bundle.grant = std::move((*grants)[i]);
    bundle.amounts = ResourceAmounts(pool_, bundle.request, bundle.grant.gpus);
    bundle.is_reserved = true;
  }
  group.state = GroupState::kReserved;
  for (const auto& resources : group.classes) {
    if (!resources->ready.empty()) ready_classes_.push_back(resources.get());
  }
  Object* object = objects_.find(group.id.value);
  object->state = ObjectState::kReady;
  notify_waiters(object);
  return true;
}

// ---- running in a group ------------------------------------------------------------------------

std::pair<const PlacementGroup*, bool> Scheduler::group_of(const Task& task) const {
  if (task.actor != nullptr && !task.creates_actor) {
    return {find_group(task.actor->group), task.actor->captures};
  }
  return {task.resources->group, task.captures};
}

/// Whether `request` may run in `bundle` of `group` at some time.
Refusal Scheduler::refusal_of(const PlacementGroup* group, const ResourceRequest& request,
                              std::int32_t bundle) {
  if (group == nullptr || group->state == GroupState::kRemoved) return Refusal::kGroupRemoved;
  const std::vector<Bundle>& bundles = group->bundles;
  if (bundle != kAnyBundle) {
    const auto at = static_cast<std::size_t>(bundle);
    const bool can = bundle >= 0 && at < bundles.size() && can_hold(bundles[at], request);
    return can ? Refusal::kNone : Refusal::kTooLarge;
  }
  const bool can = std::any_of(bundles.begin(), bundles.end(),
                               [&request](const Bundle& one) { return can_hold(one, request); });
  return can ? Refusal::kNone : Refusal::kTooLarge;
}

/// Lets a new task be one of the node, or of the placement group that it is for.
void Scheduler::choose_place(Task* task, const TaskSpec& spec) {
  ResourceClass* outside = spec.function->resources;
  task->resources = outside;
  if (spec.actor || spec.group == kNoGroup) return;
  PlacementGroup* group = nullptr;
  if (spec.group) {
    group = find_group(spec.group);
    task->captures = spec.captures;
  } else if (task->parent != nullptr) {
    const auto [parents, captures] = group_of(*task->parent);
    if (parents == nullptr || !captures) return;
    group = find_group(parents->id);
    task->captures = true;
  } else {
    return;
  }
  const std::int32_t bundle = spec.group ? spec.bundle : kAnyBundle;
  task->refusal = refusal_of(group, outside->request, bundle);
  if (task->refusal != Refusal::kNone) return;
  task->resources = class_in(*group, bundle, *outside);
  group->tasks.push_back(task);
  if (!spec.creates_actor) return;
  Actor* actor = find_actor(task->id.return_id(0));
  actor->group = group->id;
  actor->captures = task->captures;
  group->has_actors = true;
}

/// Ends a task that can't run where it was to.
void Scheduler::refuse(Task* task) {
  const bool removed = task->refusal == Refusal::kGroupRemoved;
  if (removed && task->creates_actor) {
    Actor& actor = *task->actor;
    end_actor(actor, ValueBytes(actor_died_error(actor, ActorEnd::kGroupRemoved, nullptr)));
  } else if (removed) {
    fail_task(task, group_removed_error(*task));
  } else {
    fail_task(task, infeasible_error("'" + task->function->name +
                                     "' asks for more than any bundle of its placement group has"));
  }
}

ResourceClass* Scheduler::class_in(PlacementGroup& group, std::int32_t bundle,
                                   const ResourceClass& outside) {
  for (const auto& known : group.classes) {
    if (known->bundle == bundle && known->for_actors == outside.for_actors &&
        known->environment == outside.environment && known->request == outside.request) {
      return known.get();
    }
  }
  // Of programs that have ended, in a group that outlives them.
  std::erase_if(group.classes, [&](const std::unique_ptr<ResourceClass>& one) {
    return one->job != nullptr && one->job->has_ended && one->ready.empty() && one->holders.empty();
  });
  auto made = std::make_unique<ResourceClass>();
  made->request = outside.request;
  made->for_actors = outside.for_actors;
  made->environment = outside.environment;
  made->job = outside.job;
  made->group = &group;
  made->bundle = bundle;
  group.classes.push_back(std::move(made));
  return group.classes.back().get();
}

/// Whether tasks of a class may be looked at: those of a group wait until it is reserved.
bool Scheduler::is_placeable(const ResourceClass& resources) {
  return resources.group == nullptr || resources.group->state == GroupState::kReserved;
}

std::span<Bundle> Scheduler::bundles_of(const ResourceClass& resources) {
  const std::span<Bundle> all(resources.group->bundles);
  if (resources.bundle == kAnyBundle) return all;
  return all.subspan(static_cast<std::size_t>(resources.bundle), 1);
}

bool Scheduler::fits(const ResourceClass& resources, std::int64_t times) const {
  if (resources.group == nullptr) return pool_.fits(resources.request, times);
  if (!is_placeable(resources)) return false;
  for (const Bundle& bundle : bundles_of(resources)) {
    for (std::int64_t here = 1; bundle.amounts.fits(resources.request, here); ++here) {
      if (--times == 0) return true;
    }
  }
  return false;
}

bool Scheduler::overdrawn(const ResourceClass& resources) const {
  if (resources.group == nullptr) return pool_.overdrawn(resources.request);
  const std::span<Bundle> bundles = bundles_of(resources);
  return std::all_of(bundles.begin(), bundles.end(), [&resources](const Bundle& bundle) {
    return bundle.amounts.overdrawn(resources.request);
  });
}

bool Scheduler::compete(const ResourceClass& a, const ResourceClass& b) const {
  if (a.group != b.group) return false;
  if (a.group == nullptr) return haz::compete(pool_, a.request, b.request);
  if (a.bundle != b.bundle && a.bundle != kAnyBundle && b.bundle != kAnyBundle) return false;
  const std::span<Bundle> bundles = bundles_of(a.bundle != kAnyBundle ? a : b);
  return std::any_of(bundles.begin(), bundles.end(), [&](const Bundle& bundle) {
    return haz::compete(bundle.amounts, a.request, b.request);
  });
}

ResourceGrant Scheduler::acquire(const ResourceClass& resources) {
  if (resources.group == nullptr) return pool_.acquire(resources.request);
  for (Bundle& bundle : bundles_of(resources)) {
    if (!bundle.amounts.fits(resources.request)) continue;
    ResourceGrant grant = bundle.amounts.acquire(resources.request);
    grant.bundle = &bundle;
    ++bundle.users;
    return grant;
  }
  HAZ_CHECK(false, "a bundle was promised that there is not");
  return {};
}

void Scheduler::release(const ResourceRequest& request, ResourceGrant& grant) {
  Bundle* bundle = std::exchange(grant.bundle, nullptr);
  if (bundle == nullptr) {
    pool_.release(request, grant);
    return;
  }
  bundle->amounts.release(request, grant);
  const PlacementGroup& group = *bundle->group;
  if (--bundle->users != 0 || group.state != GroupState::kRemoved) return;
  give_back(*bundle);
  forget_if_over(group);
}

// ---- what is told of those that wait -----------------------------------------------------------

Scheduler::Held Scheduler::held_of(std::size_t index) const {
  Held held;
  for (const auto& entry : actors_) {
    const Actor& actor = *entry.second;
    if (actor.acquired == nullptr || actor.grant.bundle != nullptr) continue;
    held.of_actors += units_of(*actor.acquired, index);
  }
  for (const auto& entry : groups_) {
    for (const Bundle& bundle : entry.second->bundles)
      held.of_groups += bundle.is_reserved ? units_of(bundle.request, index) : 0;
  }
  return held;
}

/// What of `request` the node can't give now, in words.
std::string Scheduler::shortage_of(const ResourceRequest& request) const {
  std::string text;
  for (const auto& [index, units] : request) {
    if (!pool_.lacks(index, units)) continue;
    const Held held = held_of(index);
    text += (text.empty() ? "" : ", ") + shown_amount(units) + " " + pool_.name(index) + " (" +
            shown_amount(std::max<std::int64_t>(pool_.free(index), 0)) + " of " +
            shown_amount(pool_.total(index)) + " are free, actors hold " +
            shown_amount(held.of_actors) + ", placement groups " + shown_amount(held.of_groups) +
            ")";
  }
  return text;
}

/// What the tasks of a class lack, in words, if no end of a task can give it; else nothing.
std::string Scheduler::why_tasks_wait(const ResourceClass& resources) const {
  if (resources.for_actors || resources.group != nullptr || resources.ready.empty()) return {};
  for (const auto& [index, units] : resources.request) {
    if (!pool_.lacks(index, units)) continue;
    const Held held = held_of(index);
    if (pool_.total(index) - held.of_actors - held.of_groups < units) {
      return shortage_of(resources.request);
    }
  }
  return {};
}

std::vector<std::string> Scheduler::tell_waiting(const std::string& waited) {
  std::vector<std::string> lines;
  const auto tell = [&](bool waits, bool& seen, bool& told, const std::string& who,
                        const std::string& why) {
    if (waits && seen && !told) {
      lines.push_back(who + " has waited for " + waited + ": it needs " + why);
      told = true;
    }
    seen = waits;
  };
  for (const auto& entry : actors_) {
    Actor& actor = *entry.second;
    const Task* creation = actor.creation;
    const bool queued = creation != nullptr && creation->state == TaskState::kQueued;
    std::string why;
    if (queued && creation->resources->group == nullptr) {
      why = shortage_of(creation->resources->request);
    } else if (queued && is_placeable(*creation->resources) && !fits(*creation->resources)) {
      why = "a bundle of its placement group, which others use";
    }
    tell(!why.empty(), actor.seen_waiting, actor.told_waiting, "actor " + shown_actor(actor), why);
  }
  for (PlacementGroup* group : pending_groups_) {
    const std::string shown =
        group->name.empty() ? "a placement group" : "placement group '" + group->name + "'";
    const std::string why = shortage_of(group->total);
    tell(!why.empty(), group->seen_waiting, group->told_waiting, shown, why);
  }
  for (const std::unique_ptr<ResourceClass>& resources : classes_) {
    const std::string why = why_tasks_wait(*resources);
    resources->told_waiting = resources->told_waiting && !why.empty();
    std::string who;
    if (!why.empty()) {
      const std::size_t others = resources->ready.size() - 1;
      who = "task " + resources->ready.front()->function->name;
      if (others != 0) who += ", as " + std::to_string(others) + " more,";
    }
    tell(!why.empty(), resources->seen_waiting, resources->told_waiting, who, why);
  }
  return lines;
}

}  // namespace haz
