#include <algorithm>

#include "base/check.h"
#include "sched/scheduler.h"

namespace haz {

namespace {

bool contains(const std::vector<Worker*>& workers, const Worker* worker) {
  return std::find(workers.begin(), workers.end(), worker) != workers.end();
}

/// Checks the list of those who wait for `object`; returns how many of them are requests.
std::uint32_t check_waiters(const Object& object) {
  std::uint32_t requests = 0;
  const WaitNode* last = nullptr;
  for (const WaitNode* node = object.waiters; node != nullptr; node = node->next) {
    HAZ_CHECK(node->object == &object && node->waiter != nullptr, "a waiter is in a wrong list");
    HAZ_CHECK(last == nullptr || node->previous == last, "the list of waiters is broken");
    if (node->waiter->kind == Waiter::Kind::kRequest) ++requests;
    last = node;
  }
  HAZ_CHECK(last == nullptr || object.waiters->previous == last, "the end of the waiters is wrong");
  HAZ_CHECK(last == nullptr || object.state == ObjectState::kPending, "a ready object is awaited");
  return requests;
}

void check_task(const Task& task) {
  std::uint32_t missing = 0;
  for (std::uint32_t i = 0; i < task.num_dependencies; ++i) {
    const WaitNode& node = task.dependencies[i];
    const bool pending = node.object->state == ObjectState::kPending;
    HAZ_CHECK(pending == (node.waiter == &task), "a task waits for what is ready, or not for all");
    missing += pending ? 1 : 0;
  }
  HAZ_CHECK(missing == task.missing, "the number of missing arguments is wrong");
  const bool behind_another = task.place == CallPlace::kCaller;
  const bool rests = task.creates_actor && task.actor->restart_at_ns != 0;
  HAZ_CHECK((missing != 0 || behind_another || rests) == (task.state == TaskState::kWaiting),
            "a task waits for nothing");
  HAZ_CHECK((task.worker != nullptr) == (task.state == TaskState::kAssigned),
            "a task has a worker exactly while it is assigned");
  HAZ_CHECK(task.blocking_request == nullptr || task.blocking_request->blocked_task == &task,
            "a blocked task and its request do not agree");
  HAZ_CHECK(task.blocking_request == nullptr || task.lends_cpu, "a blocked task keeps its slot");
  HAZ_CHECK(task.worker != nullptr || (!task.nested && !task.lends_cpu), "a task left too much");
  HAZ_CHECK(task.waiting_threads == 0 || (task.lends_cpu && task.worker != nullptr),
            "a task whose thread waits keeps its slot");
}

}  // namespace

void Scheduler::check_invariants() const {
  HAZ_CHECK(settling_.empty() && dying_.empty() && search_.empty(), "work was left half done");
  check_queues();
  check_actors();
  check_workers();
  check_groups();
  check_amounts();
  check_objects();
}

void Scheduler::check_queues() const {
  std::size_t queued = 0;
  std::vector<const ResourceClass*> classes;
  classes.reserve(classes_.size());
  for (const auto& resources : classes_)
    classes.push_back(resources.get());
  for (const auto& entry : groups_) {
    for (const auto& resources : entry.second->classes)
      classes.push_back(resources.get());
  }
  for (const ResourceClass* resources : classes) {
    queued += resources->ready.size();
    const auto listed = std::count(ready_classes_.begin(), ready_classes_.end(), resources);
    const bool is_listed = !resources->ready.empty() && is_placeable(*resources);
    HAZ_CHECK(listed == (is_listed ? 1 : 0), "the list of ready classes is wrong");
    HAZ_CHECK(!resources->stuck, "a class stays stuck after its round");
    for (const Worker* worker : resources->holders) {
      HAZ_CHECK(worker->lease == resources, "a class counts a worker that left it");
    }
  }
  HAZ_CHECK(queued == queued_, "the number of queued tasks is wrong");
}

void Scheduler::check_actors() const {
  std::size_t queued = 0;
  std::size_t processes = 0;
  std::size_t named = 0;
  for (const auto& [id, actor] : actors_) {
    const bool dead = actor->state == ActorState::kDead;
    const Object* object = objects_.find(id);
    HAZ_CHECK(actor->referenced == (object != nullptr && object->is_actor),
              "an actor does not know of its handles");
    HAZ_CHECK(actor->referenced || dead, "an actor lives without handles");
    HAZ_CHECK((actor->acquired != nullptr) == (actor->worker != nullptr),
              "an actor holds resources without a process, or none with one");
    HAZ_CHECK(actor->state != ActorState::kAlive || actor->worker != nullptr,
              "an actor lives without a process");
    HAZ_CHECK(dead || actor->creation != nullptr || actor->state == ActorState::kAlive,
              "an actor can't be made any more");
    HAZ_CHECK(!dead || actor->creation == nullptr, "a dead actor keeps its constructor");
    if (actor->worker != nullptr) {
      ++processes;
      HAZ_CHECK(actor->worker->actor == actor.get(), "an actor's process is not its own");
    }
    if (!actor->name.empty() && !dead) {
      ++named;
      HAZ_CHECK(find_actor(actor->name_space, actor->name) == actor.get(), "a name is not known");
    }
    std::uint32_t pending = 0;
    for (const CallGroup& group : actor->groups) {
      queued += group.ready.size();
      pending += static_cast<std::uint32_t>(group.ready.size()) + group.running;
      HAZ_CHECK(group.running <= group.limit, "more calls of a group run than may");
    }
    for (const CallerQueue& queue : actor->callers) {
      HAZ_CHECK(!queue.waiting.empty(), "an empty queue of a caller is kept");
      HAZ_CHECK(queue.waiting.front()->missing != 0, "a call waits behind nothing");
      pending += static_cast<std::uint32_t>(queue.waiting.size());
    }
    HAZ_CHECK(pending <= actor->pending, "calls are counted twice");
    HAZ_CHECK(!dead || pending == 0, "calls of a dead actor have not ended");
    if (!actor->function->actor->allow_out_of_order) {
      HAZ_CHECK(pending == actor->pending, "a call is in no list");
    }
  }
  HAZ_CHECK(queued == queued_calls_, "the number of queued calls is wrong");
  HAZ_CHECK(processes == processes_of_actors_, "the number of actors' processes is wrong");
  HAZ_CHECK(named == actor_names_.size(), "the name of a dead actor is known");
}

void Scheduler::check_workers() const {
  std::size_t assigned = 0;
  for (const Worker* worker : workers_) {
    const bool idle = worker->state == WorkerState::kIdle;
    HAZ_CHECK(idle == worker->assigned.empty(), "an idle worker has tasks, or a busy one none");
    const bool free_to_take = idle && !worker->doomed && worker->actor == nullptr;
    HAZ_CHECK(contains(idle_, worker) == free_to_take, "the idle list is wrong");
    const Actor* actor = worker->actor;
    const Task* front = worker->assigned.front();
    const Task* back = worker->assigned.back();
    HAZ_CHECK((worker->lease != nullptr) == (back != nullptr && !back->nested && actor == nullptr),
              "a worker holds resources without tasks in its ring");
    if (worker->lease != nullptr) {
      HAZ_CHECK(worker->environment == worker->lease->environment, "environments mix");
      HAZ_CHECK(contains(worker->lease->holders, worker), "a class misses one of its workers");
    }
    if (front != nullptr) {
      const WorkerState running = front->nested ? WorkerState::kNested : WorkerState::kBusy;
      HAZ_CHECK(worker->state == (front->blocking_request ? WorkerState::kBlocked : running),
                "a worker's state does not fit its tasks");
      const bool waits = front->blocking_request != nullptr || front->waiting_threads != 0;
      HAZ_CHECK(front->lends_cpu == waits, "a running task has lent its slot");
    }
    std::uint32_t wanted = 0;
    std::uint32_t wanted_items = 0;
    std::uint32_t num_nested = 0;
    bool nested = true;
    for (const Task* task = front; task != nullptr;
         task = List<Task, &Task::queue_link>::next(task)) {
      HAZ_CHECK(task->worker == worker && task->state == TaskState::kAssigned,
                "a task is in the wrong worker's list");
      HAZ_CHECK(nested || !task->nested, "a nested task is below one of the ring");
      nested = task->nested;
      num_nested += nested ? 1 : 0;
      HAZ_CHECK(actor != nullptr || task->resources->environment == worker->environment,
                "a worker runs a task of another environment");
      wanted += task->wanted_soon ? 1 : 0;
      const Stream* stream = find_stream(task->id);
      wanted_items += stream != nullptr && stream->wanted ? 1 : 0;
      ++assigned;
    }
    HAZ_CHECK(num_nested == worker->nested && num_nested <= options_.max_nested,
              "the number of nested tasks is wrong");
    HAZ_CHECK(wanted == worker->wanted_soon, "the number of wanted results is wrong");
    HAZ_CHECK(wanted_items == worker->wanted_items, "the number of wanted items is wrong");
  }
  HAZ_CHECK(queued_ + assigned <= task_pool_.live(), "tasks are counted twice");
}

void Scheduler::check_groups() const {
  for (const auto& [id, group] : groups_) {
    const bool removed = group->state == GroupState::kRemoved;
    const Object* object = objects_.find(id);
    HAZ_CHECK(group->referenced == (object != nullptr && object->role == ObjectRole::kGroup),
              "a placement group does not know of its handles");
    HAZ_CHECK(group->referenced || removed, "a placement group was lost");
    HAZ_CHECK(object == nullptr || (object->state == ObjectState::kPending) ==
                                       (group->state == GroupState::kPending),
              "the object of a placement group does not fit its state");
    const auto listed = std::count(pending_groups_.begin(), pending_groups_.end(), group.get());
    HAZ_CHECK(listed == (group->state == GroupState::kPending ? 1 : 0),
              "the list of pending groups is wrong");
    for (const Bundle& bundle : group->bundles) {
      const bool reserved = group->state == GroupState::kReserved || (removed && bundle.users != 0);
      HAZ_CHECK(bundle.is_reserved == reserved, "a bundle is not what its group says");
      HAZ_CHECK(reserved || bundle.users == 0, "what is not reserved is used");
    }
    for (const Task* task = group->tasks.front(); task != nullptr;
         task = List<Task, &Task::group_link>::next(task)) {
      HAZ_CHECK(task->resources->group == group.get(), "a task is in the wrong placement group");
      HAZ_CHECK(!removed || task->worker != nullptr, "a task outlives its placement group");
    }
    HAZ_CHECK(!removed || group->referenced || !group->tasks.empty() ||
                  std::any_of(group->bundles.begin(), group->bundles.end(),
                              [](const Bundle& bundle) { return bundle.users != 0; }),
              "a placement group is kept for nothing");
  }
}

/// What is free, of the node and of each bundle, is what no worker, actor or bundle has.
void Scheduler::check_amounts() const {
  struct Account {
    std::vector<std::int64_t> free;
    std::uint32_t users = 0;
  };
  std::map<const Bundle*, Account> accounts;  // the node's is that of no bundle
  const auto open = [&](const Bundle* bundle, const ResourceAmounts& amounts) {
    for (std::size_t i = 0; i < pool_.size(); ++i)
      accounts[bundle].free.push_back(amounts.total(i));
  };
  const auto take = [&](const ResourceRequest& request, const ResourceGrant& grant) {
    Account& account = accounts[grant.bundle];
    ++account.users;
    for (const auto& [index, units] : request)
      account.free[index] -= units;
  };
  open(nullptr, pool_);
  for (const auto& entry : groups_) {
    for (const Bundle& bundle : entry.second->bundles) {
      if (!bundle.is_reserved) continue;
      open(&bundle, bundle.amounts);
      take(bundle.request, bundle.grant);
    }
  }
  for (const Worker* worker : workers_) {
    if (worker->actor != nullptr) take(*worker->actor->acquired, worker->actor->grant);
    if (worker->lease != nullptr) take(worker->lease->request, worker->grant);
    for (const Task* task = worker->assigned.front(); task != nullptr;
         task = List<Task, &Task::queue_link>::next(task)) {
      if (task->nested) take(task->resources->request, *task->grant);
      if (task->lends_cpu) accounts[grant_of(*task).bundle].free[kCpuIndex] += lent_cpu_of(*task);
    }
  }
  for (const auto& [bundle, account] : accounts) {
    const ResourceAmounts& amounts = bundle != nullptr ? bundle->amounts : pool_;
    HAZ_CHECK(bundle == nullptr || bundle->users == account.users, "a bundle's users are wrong");
    for (std::size_t i = 0; i < pool_.size(); ++i) {
      HAZ_CHECK(account.free[i] == amounts.free(i), "resources got lost, or are counted twice");
      if (pool_.name(i) != "GPU") continue;
      HAZ_CHECK(amounts.gpus().free() == amounts.free(i),
                "the GPUs do not agree with their amount");
    }
  }
}

void Scheduler::check_objects() const {
  std::unordered_map<std::uint64_t, std::uint32_t> known;  // references whose holder is known
  std::size_t tasks = 0;
  objects_.for_each([&](std::uint64_t id, const Object* object) {
    const bool pending = object->state == ObjectState::kPending;
    HAZ_CHECK(object->role != ObjectRole::kValue || pending == (object->producer != nullptr),
              "an object without a value has no task, or one with a value has one");
    HAZ_CHECK(!pending || object->producer != nullptr || object->role == ObjectRole::kGroup,
              "nothing will make an object ready");
    HAZ_CHECK(object->offset == 0 || object->bytes.size() == 0, "an object has two values");
    known[id] += check_waiters(*object);
    if (object->inner) {
      for (const ObjectId inner : *object->inner)
        ++known[inner.value];
    }
    if (object->producer == nullptr) return;
    if (object->role != ObjectRole::kStream) ++known[id];
    const Task& task = *object->producer;
    if (task.id.value != id) return;
    ++tasks;
    check_task(task);
    for (std::uint32_t i = 0; i < task.num_dependencies; ++i) {
      ++known[task.dependencies[i].object->id.value];
    }
    for (std::uint32_t i = 0; i < task.num_refs; ++i)
      ++known[task.refs[i].value];
    if (task.actor != nullptr && !task.creates_actor) ++known[task.actor->id.value];
  });
  for (const auto& entry : actors_) {
    const Task* kept = entry.second->creation;
    const Object* object = objects_.find(entry.first);
    if (kept == nullptr || (object != nullptr && object->producer == kept)) continue;
    ++tasks;
    for (std::uint32_t i = 0; i < kept->num_dependencies; ++i)
      ++known[kept->dependencies[i].object->id.value];
    for (std::uint32_t i = 0; i < kept->num_refs; ++i)
      ++known[kept->refs[i].value];
  }
  for (const auto& [id, group] : groups_) {
    if (group->state != GroupState::kRemoved) ++known[id];
  }
  HAZ_CHECK(tasks == task_pool_.live(), "a task is not to be found by its id");
  check_streams(known);
  for (const auto& [process, references] : references_) {
    references.for_each([&known](std::uint64_t id, std::uint32_t count) { known[id] += count; });
  }
  for (const auto& [id, count] : known) {
    const Object* object = objects_.find(id);
    HAZ_CHECK(object != nullptr && object->refs >= count,
              "an object has more holders than it counts");
  }
}

void Scheduler::check_streams(std::unordered_map<std::uint64_t, std::uint32_t>& known) const {
  std::size_t num_items = 0;
  for (const auto& [id, stream] : streams_) {
    const Task* task = stream->task;
    const Object* object = objects_.find(stream_of(TaskId{id}).value);
    HAZ_CHECK(object != nullptr && object == stream->object, "a stream has lost its object");
    HAZ_CHECK(object->producer == task && stream->end->producer == task,
              "a stream's task is wrong");
    HAZ_CHECK(
        (object->state == ObjectState::kPending) == (stream->items.empty() && task != nullptr),
        "a stream without an item is ready, or one with an item is not");
    HAZ_CHECK(!stream->wanted || object->state == ObjectState::kPending, "what came is wanted");
    HAZ_CHECK(stream->wanted || object->waiters == nullptr, "an awaited item is not wanted");
    HAZ_CHECK((stream->demand != nullptr) == (task != nullptr && task->function->items_ahead > 0),
              "a task has a limit without a demand, or the other way round");
    if (stream->demand != nullptr) {
      const bool too_many =
          stream->limited && stream->items.size() > items_at_demand(task->function->items_ahead);
      HAZ_CHECK(too_many == (stream->demand->state == ObjectState::kPending),
                "the demand does not fit the items");
    }
    ++known[stream->end->id.value];
    num_items += stream->items.size();
    for (const Object* item : stream->items) {
      HAZ_CHECK(item->refs == 0 && item->waiters == nullptr,
                "somebody has an item before its time");
      if (!item->inner) continue;
      for (const ObjectId inner : *item->inner)
        ++known[inner.value];
    }
  }
  HAZ_CHECK(num_items == num_items_, "the number of items is wrong");
}

}  // namespace haz
