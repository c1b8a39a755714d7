/// @file
/// Waits for answers, and runs tasks on top of such a wait.
#include <optional>
#include <utility>

#include "client/ring_client.h"
#include "client/ring_parts.h"
#include "os/clock.h"
#include "wire/message_reader.h"

namespace haz {

namespace {

ErrorKind error_kind_of(AnswerStatus status) {
  switch (status) {
    case AnswerStatus::kInvalid:
      return ErrorKind::kInvalid;
    case AnswerStatus::kLost:
      return ErrorKind::kLost;
    case AnswerStatus::kExists:
      return ErrorKind::kExists;
    default:
      return ErrorKind::kOverloaded;
  }
}

}  // namespace

void RingClient::run_nested_tasks(std::unique_lock<std::mutex>& lock, bool blocked,
                                  WaitHooks& hooks) {
  while (!nested_.empty()) {
    const TaskCommand command = nested_.front();
    nested_.pop_front();
    lock.unlock();
    if (blocked) hooks.after_block();
    seal_published();
    run_nested_(command);
    if (blocked) hooks.before_block();
    lock.lock();
  }
}

/// Who interrupts a task does not mean it to run others first; and left here, nobody else could.
void RingClient::return_nested_tasks() {
  std::deque<TaskCommand> unbegun;
  {
    const std::lock_guard lock(reply_mutex_);
    unbegun.swap(nested_);
  }
  for (const TaskCommand& command : unbegun) {
    const ReturnNestedMessage message{command.task, command.attempt, 0};
    send(MessageKind::kReturnNested, {bytes_of(message)}, true);
  }
}

WaitOutcome RingClient::await_reply(std::uint64_t number, std::int64_t deadline_ns,
                                    WaitHooks& hooks, Reply& reply) {
  const bool on_main = on_main_thread();
  WaitOutcome outcome = WaitOutcome::kDone;
  bool blocked = false;
  std::unique_lock lock(reply_mutex_);
  const std::int64_t began_ns = monotonic_ns();
  const std::int64_t spin_until = began_ns + kReplySpinNs;
  std::int64_t tell_at_ns = began_ns + kLongestSleepNs;
  while (!replies_.has_news() && monotonic_ns() < spin_until)
    cpu_relax();
  for (;;) {
    read_replies(lock);
    // Also when this wait is over: nobody else can run them, and what the caller does next may wait
    // for them in a way that is not seen here, as by joining a thread.
    if (on_main && !nested_.empty() && hooks.may_run_tasks()) {
      run_nested_tasks(lock, blocked, hooks);
      continue;
    }
    const auto found = pending_.find(number);
    if (found->second.done) {
      reply = std::move(found->second);
      break;
    }
    const std::int64_t now = monotonic_ns();
    if (area_->control.stop.load(std::memory_order_relaxed) != 0) {
      outcome = WaitOutcome::kClosed;
    } else if (deadline_ns >= 0 && now >= deadline_ns) {
      outcome = WaitOutcome::kTimeout;
    }
    if (outcome != WaitOutcome::kDone) break;
    if (!blocked) {
      blocked = true;
      lock.unlock();
      hooks.before_block();
      lock.lock();
      continue;
    }
    sleep(lock, deadline_ns >= 0 ? deadline_ns : now + kLongestSleepNs);
    lock.unlock();
    const bool interrupted = hooks.interrupted();
    if (is_driver() && !interrupted && now >= tell_at_ns) {
      const std::uint32_t others_go_on = hooks.others_go_on() ? 1 : 0;
      area_->control.others_go_on.store(others_go_on, std::memory_order_relaxed);
      tell_at_ns = now + kLongestSleepNs;
    }
    lock.lock();
    if (interrupted) {
      outcome = WaitOutcome::kInterrupted;
      break;
    }
  }
  pending_.erase(number);
  lock.unlock();
  if (blocked) hooks.after_block();
  return outcome;
}

WaitOutcome RingClient::request(std::span<const ObjectId> ids, std::uint32_t needed,
                                bool wants_values, std::int64_t deadline_ns, WaitHooks& hooks,
                                Reply& reply) {
  flush_drops();
  const std::uint64_t number = expect_reply();
  // A poll asks for the state as it is, and its answer comes at once.
  const bool poll = deadline_ns >= 0 && deadline_ns <= monotonic_ns();
  std::uint32_t flags = wants_values ? kRequestGet : 0U;
  const TaskId task = running_task();
  if (!poll && !on_main_thread()) {
    flags |= kRequestThread;  // whatever is noted: for a moment around a nested task none is
  } else if (!poll && task) {
    flags |= kRequestBlocking;
  }
  if (deadline_ns >= 0) flags |= kRequestTimed;
  const RequestMessage message{
      number, task.value, flags, poll ? 0 : needed, static_cast<std::uint32_t>(ids.size()), 0};
  send(MessageKind::kRequest, {bytes_of(message), bytes_of_ids(ids)}, true);
  const WaitOutcome outcome = await_reply(number, poll ? -1 : deadline_ns, hooks, reply);
  if (outcome == WaitOutcome::kDone) return outcome;
  // A task to run on top of this one may be on its way: the answer comes behind it.
  const bool was_interrupted = outcome == WaitOutcome::kInterrupted;
  const bool may_get_tasks = (outcome == WaitOutcome::kTimeout || was_interrupted) &&
                             (flags & kRequestBlocking) != 0 && hooks.may_run_tasks();
  const WithdrawMessage withdraw{number, may_get_tasks ? expect_reply() : 0};
  send(MessageKind::kWithdraw, {bytes_of(withdraw)}, true);
  if (!may_get_tasks) return outcome;
  SteadyHooks steady(hooks, !was_interrupted);
  (void)await_reply(withdraw.answer, -1, steady, reply);
  if (was_interrupted) return_nested_tasks();
  return outcome;
}

WaitOutcome RingClient::get(std::span<const ObjectId> ids, std::int64_t deadline_ns,
                            WaitHooks& hooks, FetchedValues& out) {
  if (ids.size() == 1 && items_.get_value(ids.front(), out)) return WaitOutcome::kDone;
  Reply reply;
  const WaitOutcome outcome =
      request(ids, static_cast<std::uint32_t>(ids.size()), true, deadline_ns, hooks, reply);
  if (outcome != WaitOutcome::kDone) return outcome;
  MessageReader reader(reply.body);
  const auto message = reader.take<ObjectsMessage>();
  if (message.unknown != 0) return WaitOutcome::kUnknownObject;
  bool all_ready = true;
  bool failed = false;
  for (const ObjectEntry& entry : reader.take_array<ObjectEntry>(message.num_objects)) {
    FetchedValue value{.id = ObjectId{entry.object}, .offset = entry.offset, .size = entry.size};
    value.ready = (entry.flags & kEntryReady) != 0;
    value.in_arena = (entry.flags & kEntryPinned) != 0;
    value.is_error = (entry.flags & kValueIsError) != 0;
    all_ready = all_ready && value.ready;
    failed = failed || value.is_error;
    out.values.push_back(value);
  }
  out.near_bytes = std::move(reply.body);
  if (all_ready || failed) return WaitOutcome::kDone;
  for (const FetchedValue& value : out.values) {
    if (value.in_arena) drop_reference(value.id);
  }
  out.values.clear();
  return WaitOutcome::kTimeout;
}

WaitOutcome RingClient::wait(std::span<const ObjectId> ids, std::uint32_t needed,
                             std::int64_t deadline_ns, WaitHooks& hooks, std::vector<bool>& ready) {
  Reply reply;
  ready.assign(ids.size(), false);
  if (items_.has_streams()) {
    for (const ObjectId id : ids)
      share_stream(id);  // the host tells what is ready
  }
  WaitOutcome outcome = request(ids, needed, false, deadline_ns, hooks, reply);
  if (outcome == WaitOutcome::kTimeout) {
    // What is ready now is not known here: ask once more, without waiting.
    outcome = request(ids, needed, false, 0, hooks, reply);
  }
  if (outcome != WaitOutcome::kDone) return outcome;
  MessageReader reader(reply.body);
  const auto message = reader.take<ObjectsMessage>();
  if (message.unknown != 0) return WaitOutcome::kUnknownObject;
  const std::vector<ObjectEntry> entries = reader.take_array<ObjectEntry>(message.num_objects);
  std::uint32_t found = 0;
  for (std::size_t i = 0; i < entries.size() && i < ids.size(); ++i) {
    ready[i] = (entries[i].flags & kEntryReady) != 0;
    found += ready[i] ? 1 : 0;
  }
  return found >= needed ? WaitOutcome::kDone : WaitOutcome::kTimeout;
}

TakenItem RingClient::take_item(ObjectId stream, ObjectId* item, WaitHooks& hooks) {
  if (item == nullptr && items_.has_item(stream)) return TakenItem::kTaken;
  if (item != nullptr) {
    if (const std::optional<ObjectId> taken = items_.take(stream)) {
      *item = *taken;
      return TakenItem::kTaken;
    }
  }
  flush_drops();
  const std::uint32_t most = item != nullptr ? items_.items_to_ask_for(stream, monotonic_ns()) : 0;
  const ObjectId first{most != 0 ? new_ids(most) : 0};
  const std::uint64_t number = expect_reply();
  const NextItemMessage message{number, stream.value, first.value, most, 0};
  send(MessageKind::kNextItem, {bytes_of(message)}, true);
  // The answer may bring items, so it must not be missed.
  SteadyHooks steady(hooks);
  Reply reply;
  if (await_reply(number, -1, steady, reply) != WaitOutcome::kDone) return TakenItem::kUnknown;
  MessageReader reader(reply.body);
  const auto answer = reader.take<AnswerMessage>();
  const auto taken = static_cast<TakenItem>(answer.value);
  if (taken == TakenItem::kEnded) (void)items_.give_up(stream);
  if (taken != TakenItem::kTaken || item == nullptr) return taken;
  *item = first;
  const std::span<const std::byte> body = reader.take_bytes(answer.num_bytes);
  MessageReader entries(body);
  for (std::uint64_t i = 0; i < answer.size; ++i) {
    const auto entry = entries.take<ObjectEntry>();
    const ObjectId id{entry.object};
    if ((entry.flags & kEntryNear) != 0) {
      items_.add_value(id, (entry.flags & kValueIsError) != 0,
                       body.subspan(entry.offset, entry.size));
    }
    if (i != 0) items_.add(stream, id);
  }
  return taken;
}

void RingClient::share_stream(ObjectId stream) {
  const std::vector<ObjectId> unused = items_.give_up(stream);
  if (unused.empty()) return;
  send(MessageKind::kReturnItems, {bytes_of(stream), bytes_of_ids(unused)}, true);
}

void RingClient::note_dropped(ObjectId id) {
  items_.forget_value(id);
  share_stream(id);
}

Result<RingClient::Reply> RingClient::ask(MessageKind kind, std::span<const std::byte> body,
                                          std::uint64_t number, WaitHooks& hooks) {
  send_gathered(kind, body, true);
  Reply reply;
  const WaitOutcome outcome = await_reply(number, -1, hooks, reply);
  if (outcome == WaitOutcome::kInterrupted) {
    return Error{ErrorKind::kCancelled, "interrupted while waiting for the node's answer"};
  }
  if (outcome != WaitOutcome::kDone) return node_died();
  MessageReader reader(reply.body);
  const auto answer = reader.take<AnswerMessage>();
  if (answer.status == AnswerStatus::kOk) return reply;
  const std::span<const std::byte> text = reader.take_bytes(answer.num_bytes);
  return Error{error_kind_of(answer.status),
               std::string(reinterpret_cast<const char*>(text.data()), text.size())};
}

}  // namespace haz
