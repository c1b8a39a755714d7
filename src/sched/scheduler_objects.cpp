#include <limits>

#include "base/check.h"
#include "sched/error_values.h"
#include "sched/scheduler.h"

namespace haz {

Object* Scheduler::make_object(ObjectId id, Task* producer) {
  Object* object = object_pool_.make();
  object->id = id;
  object->producer = producer;
  objects_.set(id.value, object);
  return object;
}

void Scheduler::drop_ref(Object* object) {
  HAZ_CHECK(object->refs > 0, "reference count below zero");
  if (--object->refs != 0) {
    if (object->refs == 1 && object->closes_task) abandon(object->producer);
    return;
  }
  dying_.push_back(object);
  if (freeing_) return;
  freeing_ = true;
  while (!dying_.empty()) {
    Object* dead = dying_.back();
    dying_.pop_back();
    HAZ_CHECK(dead->waiters == nullptr, "an awaited object has no references");
    if (dead->is_actor) unreferenced(dead->id);
    if (dead->role == ObjectRole::kGroup) {
      PlacementGroup& group = *find_group(dead->id);
      group.referenced = false;
      forget_if_over(group);
    }
    story_.add(StoryEvent::kObjectFreed, dead->id.value);
    objects_.erase(dead->id.value);
    if (dead->role == ObjectRole::kStream) drop_stream(dead);
    destroy(dead);
  }
  freeing_ = false;
}

void Scheduler::destroy(Object* object) {
  if (object->offset != 0) actions_.free_value(object->offset);
  if (object->inner) {
    for (const ObjectId id : *object->inner) {
      if (Object* inner = objects_.find(id.value); inner != nullptr) drop_ref(inner);
    }
  }
  object_pool_.destroy(object);
}

void Scheduler::set_value(Object* object, const NewValue& value) {
  object->state = value.is_error ? ObjectState::kError : ObjectState::kReady;
  object->offset = value.offset;
  object->bytes.clear();
  if (value.shared != nullptr) {
    object->bytes = value.shared->share();
  } else if (value.offset == 0) {
    object->bytes.assign(value.bytes);
  }
  object->size = value.offset != 0 ? value.size : object->bytes.size();
  if (!value.refs.empty()) {
    object->inner = std::make_unique<std::vector<ObjectId>>();
    for (const ObjectId id : value.refs) {
      Object* inner = objects_.find(id.value);
      if (inner == nullptr || inner == object) continue;  // one that held itself would never go
      add_ref(inner);
      object->inner->push_back(id);
    }
  }
}

void Scheduler::free_unpublished(const NewValue& value) {
  if (value.offset != 0) actions_.free_value(value.offset);
}

Status Scheduler::put(ProcessId owner, ObjectId id, const NewValue& value) {
  if (!id || objects_.find(id.value) != nullptr) {
    free_unpublished(value);
    return Error{ErrorKind::kInvalid, "put: the object id is in use"};
  }
  if (value.is_error && value.offset != 0) {
    free_unpublished(value);
    return Error{ErrorKind::kInvalid, "put: an error has no place in the arena"};
  }
  Object* object = make_object(id, nullptr);
  story_.add(StoryEvent::kObjectPut, id.value);
  add_ref(object);
  count_reference(owner, id);
  set_value(object, value);
  return Ok{};
}

void Scheduler::count_reference(ProcessId process, ObjectId id) {
  const auto table = references_.find(process.value);
  if (table != references_.end()) table->second.set(id.value, table->second.find(id.value) + 1);
}

bool Scheduler::uncount_reference(ProcessId process, ObjectId id) {
  const auto table = references_.find(process.value);
  if (table == references_.end()) return true;
  const std::uint32_t count = table->second.find(id.value);
  if (count == 0) return false;
  table->second.set(id.value, count - 1);
  return true;
}

bool Scheduler::add_reference(ProcessId process, ObjectId id) {
  Object* object = objects_.find(id.value);
  if (object == nullptr) return false;
  add_ref(object);
  count_reference(process, id);
  return true;
}

void Scheduler::drop_reference(ProcessId process, ObjectId id) {
  Object* object = objects_.find(id.value);
  if (object == nullptr || !uncount_reference(process, id)) return;
  drop_ref(object);
}

void Scheduler::drop_references_of(ProcessId process) {
  const auto table = references_.extract(process.value);
  if (table.empty()) return;
  table.mapped().for_each([this](std::uint64_t id, std::uint32_t count) {
    for (std::uint32_t i = 0; i < count; ++i) {
      if (Object* object = objects_.find(id); object != nullptr) drop_ref(object);
    }
  });
}

void Scheduler::process_ended(ProcessId process) { drop_references_of(process); }

void Scheduler::free_object(ObjectId id) {
  Object* object = objects_.find(id.value);
  if (object == nullptr || object->state == ObjectState::kPending) return;
  if (object->role != ObjectRole::kValue) return;
  replace_value(object, freed_error());
}

/// Lets `error` stand where the value of an object was.
void Scheduler::replace_value(Object* object, std::span<const std::byte> error) {
  freed_by_hand_ = true;
  if (object->offset != 0) actions_.free_value(object->offset);
  const auto inner = std::move(object->inner);
  set_value(object, NewValue{.is_error = true, .bytes = error});
  if (!inner) return;
  for (const ObjectId inner_id : *inner) {
    if (Object* referred = objects_.find(inner_id.value); referred != nullptr) drop_ref(referred);
  }
}

void Scheduler::link(WaitNode& node, Waiter* waiter) {
  WaitNode* first = node.object->waiters;
  node.waiter = waiter;
  node.next = nullptr;
  if (first == nullptr) {
    node.previous = &node;
    node.object->waiters = &node;
    return;
  }
  node.previous = first->previous;
  first->previous->next = &node;
  first->previous = &node;
}

void Scheduler::unlink(WaitNode& node) {
  if (node.waiter == nullptr) return;
  WaitNode*& first = node.object->waiters;
  WaitNode* last = first->previous;
  if (&node == first) {
    first = node.next;
  } else {
    node.previous->next = node.next;
  }
  if (node.next != nullptr) node.next->previous = node.previous;
  if (&node == last && first != nullptr) first->previous = node.previous;
  node.waiter = nullptr;
  node.previous = nullptr;
  node.next = nullptr;
}

void Scheduler::notify_waiters(Object* object) {
  const bool is_error = object->state == ObjectState::kError;
  while (object->waiters != nullptr) {
    WaitNode& node = *object->waiters;
    Waiter* waiter = node.waiter;
    unlink(node);
    if (waiter->missing > 0) --waiter->missing;
    if (waiter->kind == Waiter::Kind::kRequest) {
      auto& request = static_cast<Request&>(*waiter);
      if (waiter->missing == 0 || (is_error && request.stop_at_error)) complete_request(request);
      continue;
    }
    auto* task = static_cast<Task*>(waiter);
    if ((waiter->missing == 0 || is_error) && !task->settling) {
      task->settling = true;
      settling_.push_back(task);
    }
  }
}

// ---- requests ----------------------------------------------------------------------------------

bool Scheduler::start(Request& request, std::span<const ObjectId> ids, Worker* blocked,
                      TaskId task) {
  if (request.needed > ids.size()) return false;
  request.first_pending = 0;
  request.nodes.assign(ids.size(), WaitNode{});
  request.completed = false;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    Object* object = objects_.find(ids[i].value);
    if (object == nullptr) {
      for (std::size_t j = 0; j < i; ++j)
        drop_ref(request.nodes[j].object);
      request.nodes.clear();
      return false;
    }
    add_ref(object);
    request.nodes[i].object = object;
  }
  std::uint32_t ready = 0;
  bool failed = false;
  for (const WaitNode& node : request.nodes) {
    ready += node.object->state != ObjectState::kPending ? 1 : 0;
    failed = failed || node.object->state == ObjectState::kError;
  }
  if (ready >= request.needed || (failed && request.stop_at_error)) {
    complete_request(request);
    return true;
  }
  request.missing = request.needed - ready;
  for (WaitNode& node : request.nodes) {
    if (node.object->state != ObjectState::kPending) continue;
    link(node, &request);
    if (node.object->role == ObjectRole::kStream) want_item(node.object);
    if (!request.bulk) want_soon(node.object->producer);
  }
  if (blocked != nullptr) {
    Task* sleeper = task ? find_task(task) : blocked->assigned.front();
    if (sleeper != nullptr && sleeper->worker == blocked) block(request, sleeper);
  }
  return true;
}

void Scheduler::want_soon(Task* task) {
  if (task == nullptr || task->wanted_soon) return;
  task->wanted_soon = true;
  if (task->worker != nullptr) ++task->worker->wanted_soon;
}

void Scheduler::complete_request(Request& request) {
  for (WaitNode& node : request.nodes)
    unlink(node);
  unblock(request);
  end_lending(request);
  request.completed = true;
  actions_.complete(request);
}

void Scheduler::withdraw(Request& request) {
  for (WaitNode& node : request.nodes)
    unlink(node);
  unblock(request);
  end_lending(request);
  for (const WaitNode& node : request.nodes)
    drop_ref(node.object);
  request.nodes.clear();
}

void Scheduler::lend_cpu(Task* task) {
  if (task->lends_cpu) return;
  task->lends_cpu = true;
  amounts_of(grant_of(*task)).add_cpu(lent_cpu_of(*task));
  if (Job* job = task->function->resources->job.get(); job != nullptr && task->actor == nullptr) {
    job->cpu_held -= lent_cpu_of(*task);
  }
}

void Scheduler::take_cpu_back(Task* task) {
  if (!task->lends_cpu || task->waiting_threads != 0) return;
  task->lends_cpu = false;
  amounts_of(grant_of(*task)).add_cpu(-lent_cpu_of(*task));
  if (Job* job = task->function->resources->job.get(); job != nullptr && task->actor == nullptr) {
    job->cpu_held += lent_cpu_of(*task);
  }
}

void Scheduler::block(Request& request, Task* task) {
  if (task->blocking_request != nullptr) return;
  Worker* worker = task->worker;
  for (const WaitNode& node : request.nodes)
    mark_awaited(node.object);
  // Of an actor that runs several calls at a time others go on.
  if (worker->actor != nullptr && !worker->actor->function->actor->is_sequential) return;
  pull_back_behind(task);
  request.blocked_task = task;
  task->blocking_request = &request;
  lend_cpu(task);
  if (worker->assigned.front() == task) worker->state = WorkerState::kBlocked;
  blocked_requests_.push_back(&request);
  story_.add(StoryEvent::kTaskBlocked, task->id.value, task->attempt, worker->slot);
}

void Scheduler::pull_back_behind(Task* task) {
  const Worker* worker = task->worker;
  if (worker->actor != nullptr) return;  // nobody else could run them
  while (worker->assigned.back() != task && pull_back(worker->assigned.back())) {
  }
}

void Scheduler::lend_while(Request& request, Worker& worker) {
  Task* task = worker.assigned.front();
  if (task == nullptr || request.completed) return;
  for (const WaitNode& node : request.nodes)
    mark_awaited(node.object);
  lend(request, task);
}

void Scheduler::lend(Request& request, Task* task) {
  constexpr std::uint16_t kMostThreads = std::numeric_limits<std::uint16_t>::max();
  const Actor* actor = task->worker->actor;
  if (task->waiting_threads == kMostThreads) return;
  if (actor != nullptr && !actor->function->actor->is_sequential) return;
  pull_back_behind(task);
  request.lending_task = task;
  lending_requests_.push_back(&request);
  ++task->waiting_threads;
  lend_cpu(task);
}

void Scheduler::end_lending(Request& request) {
  Task* task = request.lending_task;
  if (task == nullptr) return;
  lending_requests_.remove(&request);
  --task->waiting_threads;
  request.lending_task = nullptr;
  // Blocked itself, or below a nested task, it goes on lending.
  if (task->blocking_request == nullptr && task->worker->assigned.front() == task) {
    take_cpu_back(task);
  }
}

void Scheduler::end_lending_of(const Task* task) {
  Request* request = lending_requests_.front();
  while (task->waiting_threads != 0) {
    Request* next = List<Request, &Request::lending_link>::next(request);
    if (request->lending_task == task) end_lending(*request);
    request = next;
  }
}

/// Threads that began to wait while the nested `task` ran are of its process: the one `below` it,
/// which goes on now, may wait for them, and so may not be taken for one that comes to its end.
void Scheduler::pass_lending(Task* task, Task* below) {
  constexpr std::uint16_t kMostThreads = std::numeric_limits<std::uint16_t>::max();
  Request* request = lending_requests_.front();
  while (task->waiting_threads != 0 && below->waiting_threads != kMostThreads) {
    if (request->lending_task == task) {
      --task->waiting_threads;
      ++below->waiting_threads;
      request->lending_task = below;
      lend_cpu(below);
    }
    request = List<Request, &Request::lending_link>::next(request);
  }
}

void Scheduler::unblock(Request& request) {
  Task* task = request.blocked_task;
  if (task == nullptr) return;
  Worker* worker = task->worker;
  blocked_requests_.remove(&request);
  request.blocked_task = nullptr;
  task->blocking_request = nullptr;
  story_.add(StoryEvent::kTaskResumed, task->id.value, task->attempt, worker->slot);
  // Below a nested task it can't go on yet: settle_worker() takes the slot back when it can.
  if (worker->assigned.front() == task) {
    take_cpu_back(task);
    worker->state = task->nested ? WorkerState::kNested : WorkerState::kBusy;
  }
}

void Scheduler::mark_awaited(Object* object) {
  std::vector<Object*> pending{object};
  while (!pending.empty()) {
    Task* task = pending.back()->producer;
    pending.pop_back();
    if (task == nullptr || task->awaited) continue;
    const bool is_call = task->actor != nullptr && !task->creates_actor;
    if (is_call) {
      // It keeps its place among the calls of its actor, which must have been made first.
      if (Object* made = objects_.find(task->actor->id.value)) pending.push_back(made);
    } else if (task->state == TaskState::kQueued) {
      unqueue(task);
      task->awaited = true;
      enqueue(task, false);
      continue;
    }
    task->awaited = true;
    if (task->state != TaskState::kWaiting) continue;
    for (std::uint32_t i = 0; i < task->num_dependencies; ++i) {
      pending.push_back(task->dependencies[i].object);
    }
  }
}

}  // namespace haz
