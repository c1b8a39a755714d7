#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "node/node.h"
#include "os/clock.h"
#include "sched/error_values.h"
#include "sched/function_message.h"
#include "sched/group_message.h"
#include "wire/message_reader.h"

namespace haz {

namespace {

constexpr std::uint32_t kMaxReturns = 1U << 24;
/// A driver that waits for more objects than this does not want to hear of each.
constexpr std::size_t kBulkObjects = 8;

std::span<const ObjectId> as_ids(std::span<const std::byte> bytes) {
  static_assert(sizeof(ObjectId) == sizeof(std::uint64_t));
  return {reinterpret_cast<const ObjectId*>(bytes.data()), bytes.size() / sizeof(ObjectId)};
}

}  // namespace

bool Node::any_news() const {
  return doorbells_->news.any() ||
         std::any_of(busy_ports_.begin(), busy_ports_.end(),
                     [](const WorkerPort* port) { return port->has_news(); });
}

bool Node::look_at(WorkerPort& port) {
  if (port.send_waiting()) touch(port);
  if (!port.has_news()) return false;
  drain(port);
  return true;
}

bool Node::pump(bool all) {
  bool progress = std::exchange(gathers_, false);
  if (doorbells_->news.any()) {
    doorbells_->news.take([&](std::uint32_t slot) {
      if (slot < ports_.size() && ports_[slot]) progress |= look_at(*ports_[slot]);
    });
  }
  const std::vector<WorkerPort*>& ports = all ? live_ports_ : busy_ports_;
  for (std::size_t i = 0; i < ports.size(); ++i)
    progress |= look_at(*ports[i]);
  drain_drops();
  if (progress) needs_dispatch_ = true;
  return progress;
}

void Node::drain(WorkerPort& port) {
  RecordView record;
  while (!port.unheard) {
    const RingRead read = port.submissions.next(record);
    if (read == RingRead::kEmpty) break;
    if (read == RingRead::kCorrupt || !handle(port, record)) {
      port.unheard = true;
      kill_port(port, "it wrote nonsense to its memory of messages");
      return;
    }
    ++progress_;
    port.submissions.consume();
  }
  port.submissions.release();
}

void Node::check_ports(std::int64_t now_ns) {
  // A process that runs nothing sees the damage itself, and then none of its tasks has begun.
  constexpr std::int64_t kPatienceNs = 500 * kMillisecondNs;
  for (WorkerPort* port : busy_ports_) {
    if (port->worker == nullptr) continue;
    const Task* task = port->worker->assigned.front();
    while (task != nullptr && task->nested)
      task = List<Task, &Task::queue_link>::next(task);
    if (!port->is_damaged && (task == nullptr || port->is_intact(task->position))) {
      port->damaged_since_ns = 0;
    } else if (port->damaged_since_ns == 0) {
      port->damaged_since_ns = now_ns;
    } else if (now_ns - port->damaged_since_ns > kPatienceNs) {
      kill_port(*port, "it wrote nonsense to its memory of tasks");
    }
  }
}

bool Node::handle(WorkerPort& port, const RecordView& record) {
  // A copy: a process that scribbles over its ring must not change what was checked.
  record_.assign(record.data, record.data + record.size_bytes);
  const std::span<const std::byte> body(record_);
  const auto kind = static_cast<MessageKind>(record.kind & ~kIndirectFlag);
  if ((record.kind & kIndirectFlag) == 0) return handle_body(port, kind, body);
  MessageReader reader(body);
  const auto indirect = reader.take<IndirectMessage>();
  if (!reader.ok() || !store_.adopt(port.process, indirect.offset, indirect.size)) return false;
  const std::byte* data = arena_->at(indirect.offset);
  const std::vector<std::byte> copy(data, data + indirect.size);
  store_.free(indirect.offset);
  return handle_body(port, kind, copy);
}

bool Node::handle_body(WorkerPort& port, MessageKind kind, std::span<const std::byte> body) {
  MessageReader reader(body);
  switch (kind) {
    case MessageKind::kFinished:
    case MessageKind::kFinishedNear:
      return on_finished(port, kind, body);
    case MessageKind::kSubmit:
      return on_submit(port, body);
    case MessageKind::kAskedSubmit:
      return on_asked_submit(port, body);
    case MessageKind::kPut:
      return on_put(port, body);
    case MessageKind::kAddReferences:
    case MessageKind::kDropReferences:
    case MessageKind::kFree:
      return on_ids(port, kind, body);
    case MessageKind::kRequest:
      return on_request(port, body);
    case MessageKind::kWithdraw:
      return on_withdraw(port, body);
    case MessageKind::kStarted:
      return on_started(port, body);
    case MessageKind::kReturnNested: {
      const auto message = reader.take<ReturnNestedMessage>();
      if (!reader.ok() || port.worker == nullptr) return false;
      scheduler_.give_back_nested(*port.worker, TaskId{message.task}, message.attempt);
      return true;
    }
    case MessageKind::kCancel: {
      const auto message = reader.take<CancelMessage>();
      scheduler_.cancel(ObjectId{message.object}, (message.flags & kCancelForce) != 0,
                        (message.flags & kCancelRecursive) != 0);
      return reader.ok();
    }
    case MessageKind::kAllocate:
      return on_allocate(port, body);
    case MessageKind::kDiscard:
      store_.discard(port.process, reader.take<std::uint64_t>());
      return reader.ok();
    case MessageKind::kCloseChunk:
      store_.close_chunk(port.process, reader.take<std::uint64_t>());
      return reader.ok();
    case MessageKind::kRegisterFunction:
      return on_register(port, body);
    case MessageKind::kQuery:
      return on_query(port, body);
    case MessageKind::kCreateActor:
      return on_create_actor(port, body);
    case MessageKind::kFindActor:
      return on_find_actor(port, body);
    case MessageKind::kKillActor:
      return on_kill_actor(body);
    case MessageKind::kActorExit:
      return on_actor_exit(port);
    case MessageKind::kCreateGroup:
      return on_create_group(port, body);
    case MessageKind::kRemoveGroup:
      scheduler_.remove_group(ObjectId{reader.take<std::uint64_t>()});
      return reader.ok();
    case MessageKind::kYield:
      return on_yield(port, body);
    case MessageKind::kNextItem:
      return on_next_item(port, body);
    case MessageKind::kReturnItems:
      return on_return_items(port, body);
    case MessageKind::kReady:
      if (port.worker != nullptr || port.is_driver) return false;
      port.worker = &scheduler_.worker_started(port.slot, port.process);
      return true;
    case MessageKind::kDamaged:
      port.claims_nothing = true;
      kill_port(port, "a task had written over haz's memory in it");
      return true;
    default:
      return false;
  }
}

bool Node::on_finished(WorkerPort& port, MessageKind kind, std::span<const std::byte> body) {
  constexpr std::size_t kFewValues = 4;
  ++port.finished_seen;
  if (start_failures_.any()) start_failures_.reset();
  if (kind == MessageKind::kFinishedNear) return on_finished_near(port, body);
  MessageReader reader(body);
  const auto message = reader.take<FinishedMessage>();
  if (!reader.ok() || port.worker == nullptr || message.num_values > kMaxReturns ||
      message.outcome > static_cast<std::uint32_t>(Outcome::kRetryable)) {
    return false;
  }
  const std::span<const std::byte> entries =
      reader.take_bytes(message.num_values * sizeof(ValueEntry));
  if (!reader.ok()) return false;
  std::array<NewValue, kFewValues> few;
  std::vector<NewValue> many(message.num_values > kFewValues ? message.num_values : 0);
  const std::span<NewValue> values =
      many.empty() ? std::span(few).first(message.num_values) : std::span(many);
  std::vector<std::vector<std::byte>> copies;
  for (std::size_t i = 0; i < values.size(); ++i) {
    ValueEntry entry{};
    std::memcpy(&entry, entries.data() + i * sizeof entry, sizeof entry);
    if (!take_value(port, entry, reader, values[i], copies)) return false;
  }
  scheduler_.finished(*port.worker, TaskId{message.task}, message.attempt,
                      static_cast<Outcome>(message.outcome), values,
                      static_cast<std::int64_t>(message.run_ns), message.ended_ns);
  return true;
}

bool Node::on_finished_near(const WorkerPort& port, std::span<const std::byte> body) {
  MessageReader reader(body);
  const auto message = reader.take<FinishedNearMessage>();
  const NewValue value{.size = message.size,
                       .is_error = message.is_error != 0,
                       .bytes = reader.take_bytes(message.size)};
  if (!reader.ok() || port.worker == nullptr || message.is_error > 1 ||
      message.outcome > static_cast<std::uint8_t>(Outcome::kRetryable)) {
    return false;
  }
  scheduler_.finished(*port.worker, TaskId{message.task}, message.attempt,
                      static_cast<Outcome>(message.outcome), std::span(&value, 1), message.run_ns,
                      message.ended_ns);
  return true;
}

/// False: it is nonsense. The payload's block, if there is one, is the node's.
bool Node::read_submission(WorkerPort& port, MessageReader& reader, TaskSpec& spec) {
  const auto message = reader.take<SubmitMessage>();
  spec.id = TaskId{message.task};
  spec.function = scheduler_.function(FunctionId{message.function});
  spec.submitter = port.process;
  spec.actor = ObjectId{message.actor};
  spec.group = ObjectId{message.group};
  spec.bundle = message.bundle;
  spec.captures = message.captures != 0;
  spec.num_returns = message.num_returns;
  spec.payload_offset = message.payload_offset;
  spec.payload_size = message.payload_size;
  if (message.payload_offset == 0) spec.payload = reader.take_bytes(message.payload_size);
  spec.dependencies =
      as_ids(reader.take_bytes(std::uint64_t{message.num_dependencies} * sizeof(ObjectId)));
  spec.refs = as_ids(reader.take_bytes(std::uint64_t{message.num_refs} * sizeof(ObjectId)));
  if (!reader.ok() || spec.function == nullptr || message.num_returns > kMaxReturns) return false;
  const bool streams = spec.function->streams();
  const std::uint32_t num_ids = streams ? kStreamIds : std::max(message.num_returns, 1U);
  if ((streams && message.num_returns != 1) || maker_of(ObjectId{message.task}) != port.process ||
      maker_of(spec.id.return_id(num_ids - 1)) != port.process) {
    return false;
  }
  if (message.payload_offset != 0 &&
      !store_.adopt(port.process, message.payload_offset, message.payload_size)) {
    return false;
  }
  const Task* parent = scheduler_.find_task(TaskId{message.parent});
  if (parent != nullptr && parent->worker == port.worker && port.worker != nullptr) {
    spec.parent = TaskId{message.parent};
  }
  return true;
}

bool Node::on_submit(WorkerPort& port, std::span<const std::byte> body) {
  MessageReader reader(body);
  TaskSpec spec;
  if (!read_submission(port, reader, spec) || spec.function->actor) return false;
  const Status status = scheduler_.submit(spec);
  if (status) return true;
  if (spec.payload_offset != 0) store_.free(spec.payload_offset);
  if (status.error().kind == ErrorKind::kInvalid) return false;
  const std::vector<std::byte> error = status.error().kind == ErrorKind::kOverloaded
                                           ? pending_calls_error(status.error().message)
                                           : lost_error(status.error().message);
  if (spec.function->streams()) {
    scheduler_.put_failed_stream(port.process, spec.id, error);
    return true;
  }
  for (std::uint32_t i = 0; i < spec.num_returns; ++i) {
    (void)scheduler_.put(port.process, spec.id.return_id(i),
                         NewValue{.is_error = true, .bytes = error});
  }
  return true;
}

bool Node::on_asked_submit(WorkerPort& port, std::span<const std::byte> body) {
  MessageReader reader(body);
  const auto number = reader.take<std::uint64_t>();
  TaskSpec spec;
  if (!read_submission(port, reader, spec) || spec.function->actor) return false;
  const Status status = scheduler_.submit(spec);
  if (status) {
    answer(port, number, AnswerStatus::kOk, 0, 0, {});
    return true;
  }
  if (spec.payload_offset != 0) store_.free(spec.payload_offset);
  if (status.error().kind == ErrorKind::kInvalid) return false;
  answer_error(port, number, status.error());
  return true;
}

bool Node::on_put(WorkerPort& port, std::span<const std::byte> body) {
  MessageReader reader(body);
  const auto message = reader.take<PutMessage>();
  if (!reader.ok() || maker_of(ObjectId{message.object}) != port.process) return false;
  const auto entry = reader.take<ValueEntry>();
  NewValue value;
  std::vector<std::vector<std::byte>> copies;
  if (!take_value(port, entry, reader, value, copies)) return false;
  return scheduler_.put(port.process, ObjectId{message.object}, value).ok();
}

/// Takes the value that `entry` tells of off a message. False: nonsense. The bytes of an error that
/// came through the arena go to `copies`, since the scheduler keeps errors itself.
bool Node::take_value(WorkerPort& port, const ValueEntry& entry, MessageReader& reader,
                      NewValue& value, std::vector<std::vector<std::byte>>& copies) {
  value.is_error = (entry.flags & kValueIsError) != 0;
  value.offset = entry.offset;
  value.size = entry.size;
  if (entry.offset == 0) value.bytes = reader.take_bytes(entry.size);
  value.refs = as_ids(reader.take_bytes(std::uint64_t{entry.num_refs} * sizeof(ObjectId)));
  if (!reader.ok()) return false;
  if (entry.offset == 0) return true;
  if (!store_.adopt(port.process, entry.offset, entry.size)) return false;
  if (!value.is_error) return true;
  const std::byte* data = arena_->at(entry.offset);
  copies.emplace_back(data, data + entry.size);
  store_.free(entry.offset);
  value.offset = 0;
  value.bytes = copies.back();
  return true;
}

bool Node::on_ids(WorkerPort& port, MessageKind kind, std::span<const std::byte> body) {
  for (const ObjectId id : as_ids(body)) {
    if (kind == MessageKind::kAddReferences) {
      (void)scheduler_.add_reference(port.process, id);
    } else if (kind == MessageKind::kDropReferences) {
      scheduler_.drop_reference(port.process, id);
    } else {
      scheduler_.free_object(id);
    }
  }
  return true;
}

bool Node::on_request(WorkerPort& port, std::span<const std::byte> body) {
  MessageReader reader(body);
  const auto message = reader.take<RequestMessage>();
  const std::span<const ObjectId> ids =
      as_ids(reader.take_bytes(std::uint64_t{message.num_objects} * sizeof(ObjectId)));
  if (!reader.ok() || message.needed > ids.size() || port.requests.contains(message.number)) {
    return false;
  }
  auto request = std::make_unique<PortRequest>(port);
  request->process = port.process;
  request->number = message.number;
  request->needed = message.needed;
  request->wants_values = (message.flags & kRequestGet) != 0;
  request->wants_near = request->wants_values || (message.flags & kRequestNear) != 0;
  request->stop_at_error = request->wants_values;
  request->bulk = port.is_driver && request->wants_values && ids.size() > kBulkObjects;
  request->has_deadline = (message.flags & kRequestTimed) != 0;
  request->is_awaited = (message.flags & kRequestAwaited) != 0;
  PortRequest& started = *request;
  port.requests.emplace(message.number, std::move(request));
  Worker* blocked = (message.flags & kRequestBlocking) != 0 ? port.worker : nullptr;
  if (scheduler_.start(started, ids, blocked, TaskId{message.task})) {
    if ((message.flags & kRequestThread) != 0 && port.worker != nullptr) {
      scheduler_.lend_while(started, *port.worker);
    }
    return true;
  }
  port.requests.erase(message.number);
  const ObjectsMessage reply{message.number, 0, 1};
  touch(port);
  port.send(MessageKind::kObjects, std::as_bytes(std::span(&reply, 1)));
  return true;
}

bool Node::on_withdraw(WorkerPort& port, std::span<const std::byte> body) {
  MessageReader reader(body);
  const auto message = reader.take<WithdrawMessage>();
  if (!reader.ok()) return false;
  if (const auto found = port.requests.find(message.number); found != port.requests.end()) {
    scheduler_.withdraw(*found->second);
    std::erase(completed_, found->second.get());
    port.requests.erase(found);
  }
  // From here on it is sent no task to run in that wait, and those sent before come first.
  if (message.answer != 0) answer(port, message.answer, AnswerStatus::kOk, 0, 0, {});
  return true;
}

bool Node::on_started(WorkerPort& port, std::span<const std::byte> body) {
  MessageReader reader(body);
  const auto message = reader.take<StartedMessage>();
  const Task* task = scheduler_.find_task(TaskId{message.task});
  if (task == nullptr || port.worker == nullptr || task->worker != port.worker ||
      task->attempt != message.attempt || task->function->timeout_ns < 0) {
    return reader.ok();
  }
  time_limits_.push_back(
      {monotonic_ns() + task->function->timeout_ns, task->id, message.attempt, Stop::kInterrupt});
  return reader.ok();
}

bool Node::on_register(WorkerPort& port, std::span<const std::byte> body) {
  MessageReader reader(body);
  const auto message = reader.take<RegisterMessage>();
  FunctionOptions options = decode_function_options(reader);
  options.job = job_of(port);
  const std::span<const std::byte> code = reader.take_bytes(message.code_size);
  if (!reader.ok()) return false;
  const Result<Function*> function = add_function(options, code);
  if (function.ok()) {
    answer(port, message.number, AnswerStatus::kOk, function.value()->id.value, 0, {});
  } else {
    answer_error(port, message.number, function.error());
  }
  return true;
}

bool Node::on_query(WorkerPort& port, std::span<const std::byte> body) {
  MessageReader reader(body);
  const auto message = reader.take<QueryMessage>();
  std::vector<std::byte> bytes;
  encode_query(message.kind, message.argument, bytes);
  answer(port, message.number, AnswerStatus::kOk, 0, 0, bytes);
  return reader.ok();
}

// ---- actors ------------------------------------------------------------------------------------

namespace {

std::string take_text(MessageReader& reader, std::uint64_t size) {
  const std::span<const std::byte> bytes = reader.take_bytes(size);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

AnswerStatus status_of(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kInvalid:
      return AnswerStatus::kInvalid;
    case ErrorKind::kLost:
      return AnswerStatus::kLost;
    case ErrorKind::kExists:
      return AnswerStatus::kExists;
    default:
      return AnswerStatus::kOverloaded;
  }
}

}  // namespace

void Node::answer_error(WorkerPort& port, std::uint64_t number, const Error& error) {
  answer(port, number, status_of(error.kind), 0, 0, std::as_bytes(std::span(error.message)));
}

bool Node::on_create_actor(WorkerPort& port, std::span<const std::byte> body) {
  MessageReader reader(body);
  const auto message = reader.take<CreateActorMessage>();
  ActorSpec actor;
  actor.name = take_text(reader, message.name_size);
  actor.name_space = take_text(reader, message.namespace_size);
  actor.get_if_exists = message.get_if_exists != 0;
  TaskSpec spec;
  if (!read_submission(port, reader, spec) || !spec.function->actor) return false;
  const Result<ObjectId> made = scheduler_.create_actor(spec, actor);
  const bool taken = made.ok() && made.value() == spec.id.return_id(0);
  if (!taken && spec.payload_offset != 0) store_.free(spec.payload_offset);
  if (made.ok()) {
    answer(port, message.number, AnswerStatus::kOk, made.value().value, 0, {});
  } else {
    answer_error(port, message.number, made.error());
  }
  return true;
}

bool Node::on_find_actor(WorkerPort& port, std::span<const std::byte> body) {
  MessageReader reader(body);
  const auto message = reader.take<FindActorMessage>();
  const std::string name = take_text(reader, message.name_size);
  const std::string name_space = take_text(reader, message.namespace_size);
  if (!reader.ok()) return false;
  const Actor* actor = scheduler_.find_actor(name_space, name);
  if (actor == nullptr) {
    answer(port, message.number, AnswerStatus::kLost, 0, 0, {});
    return true;
  }
  (void)scheduler_.add_reference(port.process, actor->id);
  answer(port, message.number, AnswerStatus::kOk, actor->id.value, 0, actor->function->actor->meta);
  return true;
}

bool Node::on_kill_actor(std::span<const std::byte> body) {
  MessageReader reader(body);
  const auto message = reader.take<KillActorMessage>();
  scheduler_.kill_actor(ObjectId{message.actor}, message.no_restart != 0);
  return reader.ok();
}

bool Node::on_actor_exit(WorkerPort& port) {
  if (port.worker == nullptr) return false;
  scheduler_.actor_exited(*port.worker);
  return true;
}

bool Node::on_create_group(WorkerPort& port, std::span<const std::byte> body) {
  MessageReader reader(body);
  const auto message = reader.take<CreateGroupMessage>();
  GroupSpec spec = decode_group_spec(reader);
  const auto entry = reader.take<ValueEntry>();
  NewValue value;
  std::vector<std::vector<std::byte>> copies;
  if (!reader.ok() || maker_of(spec.id) != port.process ||
      !take_value(port, entry, reader, value, copies)) {
    return false;
  }
  spec.creator = port.process;
  spec.job = job_of(port);
  if (port.worker != nullptr && port.worker->actor != nullptr) {
    spec.owner = port.worker->actor->id;
  }
  const Status made = scheduler_.create_group(spec, value);
  if (made) {
    answer(port, message.number, AnswerStatus::kOk, 0, 0, {});
  } else {
    answer_error(port, message.number, made.error());
  }
  return true;
}

// ---- replies -----------------------------------------------------------------------------------

void Node::answer(WorkerPort& port, std::uint64_t number, AnswerStatus status, std::uint64_t value,
                  std::uint64_t size, std::span<const std::byte> bytes) {
  MessageBuilder builder;
  builder.add(AnswerMessage{number, value, size, status, static_cast<std::uint32_t>(bytes.size())});
  builder.add_bytes(bytes);
  send_body(port, MessageKind::kAnswer, builder.body());
}

void Node::send_body(WorkerPort& port, MessageKind kind, std::span<const std::byte> body) {
  touch(port);
  if (body.size() <= port.replies.max_record_bytes()) {
    port.send(kind, body);
    return;
  }
  auto block = store_.allocate(body.size(), StoreUse::kMessage);
  if (!block) {
    // Without room for the reply the process can't go on: its death is noticed and told.
    kill_port(port, "there was no room in the object store for what it asked for");
    return;
  }
  std::memcpy(arena_->at(block->offset), body.data(), body.size());
  store_.lend(port.process, block->offset);
  const IndirectMessage indirect{block->offset, body.size()};
  port.send(static_cast<MessageKind>(static_cast<std::uint32_t>(kind) | kIndirectFlag),
            std::as_bytes(std::span(&indirect, 1)));
}

void Node::answer_completed() {
  while (!completed_.empty()) {
    std::vector<PortRequest*> completed;
    completed.swap(completed_);
    for (PortRequest* request : completed) {
      WorkerPort& port = request->port;
      // The deaths that the node's end brings about are no news to a driver: the node ends.
      if (shut_down_ && port.is_driver) continue;
      answer_objects(port, *request);
      scheduler_.withdraw(*request);
      port.requests.erase(request->number);
    }
  }
}

namespace {

/// Whether the value is in the answer itself.
bool comes_along(const PortRequest& request, const Object& object) {
  return request.wants_near && object.state != ObjectState::kPending && object.offset == 0;
}

}  // namespace

void Node::answer_objects(WorkerPort& port, PortRequest& request) {
  const std::size_t count = request.nodes.size();
  MessageBuilder builder;
  builder.add(ObjectsMessage{request.number, static_cast<std::uint32_t>(count), 0});
  std::uint64_t near_at = builder.size() + count * sizeof(ObjectEntry);
  for (const WaitNode& node : request.nodes) {
    const Object& object = *node.object;
    ObjectEntry entry{object.id.value, object.offset, object.size, 0, 0};
    if (object.state != ObjectState::kPending) entry.flags |= kEntryReady;
    if (object.state == ObjectState::kError) entry.flags |= kValueIsError;
    if (comes_along(request, object)) {
      entry.flags |= kEntryNear;
      entry.offset = near_at;
      near_at += align_up(object.size, 8);
    } else if (request.wants_values && object.state != ObjectState::kPending) {
      (void)scheduler_.add_reference(port.process, object.id);
      entry.flags |= kEntryPinned;
    }
    builder.add(entry);
  }
  for (const WaitNode& node : request.nodes) {
    const Object& object = *node.object;
    if (comes_along(request, object)) builder.add_bytes(object.bytes.view());
  }
  send_body(port, MessageKind::kObjects, builder.body());
}

}  // namespace haz
