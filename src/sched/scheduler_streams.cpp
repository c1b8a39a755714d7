#include "base/check.h"
#include "sched/error_values.h"
#include "sched/scheduler.h"

namespace haz {

Stream* Scheduler::find_stream(TaskId task) const {
  const auto found = streams_.find(task.value);
  return found != streams_.end() ? found->second.get() : nullptr;
}

Stream& Scheduler::open_stream(TaskId id, Object* end, ProcessId owner) {
  auto& stream = streams_[id.value];
  stream = std::make_unique<Stream>();
  stream->end = end;
  add_ref(end);
  stream->object = make_object(stream_of(id), end->producer);
  stream->object->role = ObjectRole::kStream;
  add_ref(stream->object);
  count_reference(owner, stream->object->id);
  stream->task = end->producer;
  if (stream->task != nullptr && stream->task->function->items_ahead > 0) {
    stream->limited = true;
    stream->demand = make_object(demand_of(id), end->producer);
    stream->demand->role = ObjectRole::kDemand;
    stream->demand->state = ObjectState::kReady;
    add_ref(stream->demand);
  }
  return *stream;
}

void Scheduler::put_failed_stream(ProcessId owner, TaskId task, std::span<const std::byte> error) {
  const NewValue value{.is_error = true, .bytes = error};
  Object* end = make_object(end_of(task), nullptr);
  set_value(end, value);
  append_item(open_stream(task, end, owner), value);
}

// ---- items come, and go ------------------------------------------------------------------------

bool Scheduler::yielded(Worker& worker, TaskId id, std::uint32_t attempt, std::uint64_t index,
                        const NewValue& value) {
  const Task* task = find_task(id);
  const bool current = task != nullptr && task->worker == &worker && task->attempt == attempt;
  const bool nonsense = current && (!task->function->streams() || value.is_error);
  Stream* stream = current && !nonsense ? find_stream(id) : nullptr;
  if (stream == nullptr || index != stream->yielded) {
    free_unpublished(value);
    return !nonsense && (stream == nullptr || index < stream->yielded);
  }
  ++stream->yielded;
  story_.add(StoryEvent::kTaskYielded, id.value, static_cast<std::uint32_t>(index), worker.slot);
  append_item(*stream, value);
  settle_demand(*stream);
  return true;
}

void Scheduler::append_item(Stream& stream, const NewValue& value) {
  Object* item = object_pool_.make();
  set_value(item, value);
  stream.items.push_back(item);
  ++num_items_;
  unwant_item(stream);
  make_ready(stream.object);
}

TakenItem Scheduler::next_item(ObjectId id) const {
  const Object* object = objects_.find(id.value);
  if (object == nullptr || object->role != ObjectRole::kStream) return TakenItem::kUnknown;
  const Stream* stream = find_stream(task_of_stream(id));
  if (!stream->items.empty()) return TakenItem::kTaken;
  return stream->task != nullptr ? TakenItem::kNone : TakenItem::kEnded;
}

TakenItem Scheduler::take_item(ProcessId process, ObjectId id, ObjectId item_id) {
  const TakenItem next = next_item(id);
  if (next != TakenItem::kTaken) return next;
  if (!item_id || objects_.find(item_id.value) != nullptr) return TakenItem::kUnknown;
  Stream& stream = *find_stream(task_of_stream(id));
  Object* item = stream.items.front();
  stream.items.pop_front();
  --num_items_;
  item->id = item_id;
  objects_.set(item_id.value, item);
  add_ref(item);
  count_reference(process, item_id);
  if (stream.items.empty() && stream.task != nullptr) stream.object->state = ObjectState::kPending;
  settle_demand(stream);
  return TakenItem::kTaken;
}

void Scheduler::return_item(ProcessId process, ObjectId id, ObjectId item_id) {
  Object* item = objects_.find(item_id.value);
  if (item == nullptr || item->role != ObjectRole::kValue || item->is_actor) return;
  Stream* stream = find_stream(task_of_stream(id));
  const bool unused = item->refs == 1 && item->producer == nullptr;
  if (stream == nullptr || !unused) {
    drop_reference(process, item_id);
    return;
  }
  if (!uncount_reference(process, item_id)) return;
  objects_.erase(item_id.value);
  item->id = ObjectId{};
  item->refs = 0;
  stream->items.push_front(item);
  ++num_items_;
  unwant_item(*stream);
  make_ready(stream->object);
  settle_demand(*stream);
}

bool Scheduler::is_limited(ObjectId id) const {
  const Stream* stream = find_stream(task_of_stream(id));
  return stream != nullptr && stream->limited && stream->task != nullptr;
}

std::uint64_t Scheduler::items_of(TaskId task) const {
  const Stream* stream = find_stream(task);
  return stream != nullptr ? stream->yielded : 0;
}

void Scheduler::make_ready(Object* object) {
  if (object->state == ObjectState::kReady) return;
  object->state = ObjectState::kReady;
  notify_waiters(object);
}

// ---- who waits for items -----------------------------------------------------------------------

void Scheduler::want_item(const Object* object) {
  Stream* stream = find_stream(task_of_stream(object->id));
  if (stream->wanted) return;
  stream->wanted = true;
  if (stream->task->worker != nullptr) ++stream->task->worker->wanted_items;
}

void Scheduler::unwant_item(Stream& stream) {
  if (!stream.wanted) return;
  stream.wanted = false;
  if (stream.task != nullptr && stream.task->worker != nullptr) {
    --stream.task->worker->wanted_items;
  }
}

void Scheduler::count_wanted_item(const Task& task, int change) {
  if (!task.function->streams()) return;
  const Stream* stream = find_stream(task.id);
  if (stream != nullptr && stream->wanted) {
    task.worker->wanted_items += static_cast<std::uint32_t>(change);
  }
}

// ---- the demand for items ----------------------------------------------------------------------

void Scheduler::settle_demand(Stream& stream) {
  if (stream.demand == nullptr) return;
  const std::int32_t ahead = stream.task->function->items_ahead;
  if (stream.limited && stream.items.size() > items_at_demand(ahead)) {
    stream.demand->state = ObjectState::kPending;
  } else {
    make_ready(stream.demand);
  }
}

void Scheduler::lift_limit(TaskId task) {
  if (Stream* stream = find_stream(task); stream != nullptr) {
    stream->limited = false;
    settle_demand(*stream);
  } else if (Object* demand = objects_.find(demand_of(task).value);
             demand != nullptr && demand->role == ObjectRole::kDemand) {
    make_ready(demand);
  }
}

/// Every process there may be is one of a task that waits, and some of those wait for consumers,
/// which can't start: the oldest of them goes on without a limit, to make room.
bool Scheduler::lift_a_limit() {
  if (!idle_.empty() || starting_ != 0 || may_start()) return false;
  for (const Worker* worker : workers_) {
    if (worker->state != WorkerState::kBlocked) return false;
  }
  for (Request* request = blocked_requests_.front(); request != nullptr;
       request = List<Request, &Request::blocked_link>::next(request)) {
    const Task* task = request->blocked_task;
    if (request->nodes.empty() || task->worker->assigned.front() != task) continue;
    if (request->nodes.front().object->role != ObjectRole::kDemand) continue;
    lift_limit(task->id);
    return true;
  }
  return false;
}

// ---- the end -----------------------------------------------------------------------------------

void Scheduler::end_stream(Task* task, const NewValue& result) {
  Stream* stream = find_stream(task->id);
  if (Object* demand = objects_.find(demand_of(task->id).value);
      task->function->items_ahead > 0 && demand != nullptr) {
    demand->producer = nullptr;
    make_ready(demand);
    drop_ref(demand);
  }
  if (stream == nullptr) return;
  stream->demand = nullptr;
  stream->task = nullptr;
  stream->object->producer = nullptr;
  if (result.is_error) append_item(*stream, result);
  unwant_item(*stream);
  make_ready(stream->object);
}

void Scheduler::drop_stream(Object* object) {
  const auto found = streams_.find(task_of_stream(object->id).value);
  const std::unique_ptr<Stream> stream = std::move(found->second);
  streams_.erase(found);
  unwant_item(*stream);
  for (Object* item : stream->items)
    destroy(item);
  num_items_ -= stream->items.size();
  abandon(stream->task);
  drop_ref(stream->end);
}

/// Later: whatever drops references may be in the middle of something.
void Scheduler::abandon(const Task* task) {
  if (task != nullptr) abandoned_.push_back(task->id);
}

void Scheduler::close_abandoned() {
  while (!abandoned_.empty()) {
    const TaskId id = abandoned_.back();
    abandoned_.pop_back();
    Task* task = find_task(id);
    if (task == nullptr) continue;
    lift_limit(id);
    Object* end = objects_.find(end_of(id).value);
    end->closes_task = end->refs > 1;  // who holds the end wants the task to come to it
    if (!end->closes_task && !task->cancel_requested) close_task(task);
  }
  settle();
}

void Scheduler::close_task(Task* task) {
  task->cancel_requested = true;
  story_.add(StoryEvent::kTaskCancelled, task->id.value, task->attempt);
  if (!end_unstarted(task)) close_running(*task);
}

void Scheduler::close_running(Task& task) {
  task.closing = true;
  actions_.close_stream(task);
}

}  // namespace haz
