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
  HAZ_CHECK((missing != 0) == (task.state == TaskState::kWaiting), "a task waits for nothing");
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
  check_workers();
  check_objects();
}

void Scheduler::check_queues() const {
  std::size_t queued = 0;
  for (const auto& resources : classes_) {
    queued += resources->ready.size();
    const auto listed = std::count(ready_classes_.begin(), ready_classes_.end(), resources.get());
    HAZ_CHECK(listed == (resources->ready.empty() ? 0 : 1), "the list of ready classes is wrong");
    HAZ_CHECK(!resources->stuck, "a class stays stuck after its round");
    for (const Worker* worker : resources->holders) {
      HAZ_CHECK(worker->lease == resources.get(), "a class counts a worker that left it");
    }
  }
  HAZ_CHECK(queued == queued_, "the number of queued tasks is wrong");
}

void Scheduler::check_workers() const {
  std::vector<std::int64_t> free;
  free.reserve(pool_.size());
  for (std::size_t i = 0; i < pool_.size(); ++i)
    free.push_back(pool_.total(i));
  const auto take = [&free](const ResourceRequest& request) {
    for (const auto& [index, units] : request)
      free[index] -= units;
  };
  std::size_t assigned = 0;
  for (const Worker* worker : workers_) {
    const bool idle = worker->state == WorkerState::kIdle;
    HAZ_CHECK(idle == worker->assigned.empty(), "an idle worker has tasks, or a busy one none");
    HAZ_CHECK(contains(idle_, worker) == (idle && !worker->doomed), "the idle list is wrong");
    const Task* front = worker->assigned.front();
    const Task* back = worker->assigned.back();
    HAZ_CHECK((worker->lease != nullptr) == (back != nullptr && !back->nested),
              "a worker holds resources without tasks in its ring");
    if (worker->lease != nullptr) {
      take(worker->lease->request);
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
    bool nested = true;
    for (const Task* task = front; task != nullptr;
         task = List<Task, &Task::queue_link>::next(task)) {
      HAZ_CHECK(task->worker == worker && task->state == TaskState::kAssigned,
                "a task is in the wrong worker's list");
      HAZ_CHECK(nested || !task->nested, "a nested task is below one of the ring");
      nested = task->nested;
      if (nested) take(task->function->resources->request);
      if (task->lends_cpu) free[kCpuIndex] += cpu_units(task->function->resources->request);
      wanted += task->wanted_soon ? 1 : 0;
      ++assigned;
    }
    HAZ_CHECK(wanted == worker->wanted_soon, "the number of wanted results is wrong");
  }
  for (std::size_t i = 0; i < pool_.size(); ++i) {
    HAZ_CHECK(free[i] == pool_.free(i), "resources got lost, or are counted twice");
  }
  HAZ_CHECK(queued_ + assigned <= task_pool_.live(), "tasks are counted twice");
}

void Scheduler::check_objects() const {
  std::unordered_map<std::uint64_t, std::uint32_t> known;  // references whose holder is known
  std::size_t tasks = 0;
  objects_.for_each([&](std::uint64_t id, const Object* object) {
    HAZ_CHECK((object->state == ObjectState::kPending) == (object->producer != nullptr),
              "an object without a value has no task, or one with a value has one");
    HAZ_CHECK(object->offset == 0 || object->bytes.size() == 0, "an object has two values");
    known[id] += check_waiters(*object);
    if (object->inner) {
      for (const ObjectId inner : *object->inner)
        ++known[inner.value];
    }
    if (object->producer == nullptr) return;
    ++known[id];
    const Task& task = *object->producer;
    if (task.id.value != id) return;
    ++tasks;
    check_task(task);
    for (std::uint32_t i = 0; i < task.num_dependencies; ++i) {
      ++known[task.dependencies[i].object->id.value];
    }
    for (std::uint32_t i = 0; i < task.num_refs; ++i)
      ++known[task.refs[i].value];
  });
  HAZ_CHECK(tasks == task_pool_.live(), "a task is not to be found by its id");
  for (const auto& [process, references] : references_) {
    references.for_each([&known](std::uint64_t id, std::uint32_t count) { known[id] += count; });
  }
  for (const auto& [id, count] : known) {
    const Object* object = objects_.find(id);
    HAZ_CHECK(object != nullptr && object->refs >= count,
              "an object has more holders than it counts");
  }
}

}  // namespace haz
