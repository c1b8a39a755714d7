/// @file
/// Reads what the host sends, for all threads; one sleeps for the others.
#include <algorithm>
#include <chrono>
#include <utility>

#include "base/check.h"
#include "client/ring_client.h"
#include "client/ring_parts.h"
#include "os/clock.h"
#include "os/signals.h"
#include "wire/message_reader.h"

namespace haz {

namespace {

/// Spins that are left out after one in vain.
constexpr std::uint32_t kSpinsLeftOut = 16;

}  // namespace

std::uint64_t RingClient::expect_reply() {
  const std::uint64_t number = next_number_.fetch_add(1, std::memory_order_relaxed);
  const std::lock_guard lock(reply_mutex_);
  pending_.emplace(number, Reply{});
  return number;
}

bool RingClient::read_replies(std::unique_lock<std::mutex>& lock) {
  HAZ_CHECK(lock.owns_lock(), "replies are read with the lock held");
  std::vector<std::uint64_t> lent;
  bool any = false;
  RecordView record;
  for (;;) {
    const RingRead read = replies_.next(record);
    HAZ_CHECK(read != RingRead::kCorrupt, "this process has damaged its shared memory");
    if (read == RingRead::kEmpty) break;
    const std::span<const std::byte> body(record.data, record.size_bytes);
    const auto kind = static_cast<MessageKind>(record.kind & ~kIndirectFlag);
    if ((record.kind & kIndirectFlag) != 0) {
      const auto indirect = MessageReader(body).take<IndirectMessage>();
      take_reply(kind, {arena_->at(indirect.offset), indirect.size});
      lent.push_back(indirect.offset);
    } else {
      take_reply(kind, body);
    }
    replies_.consume();
    any = true;
  }
  if (any) replies_.release();
  // pairs with the host's store when it finds the ring full
  if (any && area_->control.replies_waiting.load(std::memory_order_seq_cst) != 0) {
    host_->news.mark(slot_);
    host_->ring();
  }
  if (lent.empty()) return any;
  lock.unlock();
  for (const std::uint64_t offset : lent)
    send(MessageKind::kDiscard, {bytes_of(offset)}, false);
  lock.lock();
  return any;
}

void RingClient::take_reply(MessageKind kind, std::span<const std::byte> body) {
  MessageReader reader(body);
  if (kind == MessageKind::kRunNested) {
    nested_.push_back(reader.take<TaskCommand>());
    reply_arrived_.notify_all();
    return;
  }
  const auto number = reader.take<std::uint64_t>();
  const auto found = pending_.find(number);
  if (found == pending_.end()) {
    if (kind == MessageKind::kObjects) drop_unclaimed(body);
    return;
  }
  if (found->second.token != 0) {
    keep_value(body);
    completions_.push_back(found->second.token);
    pending_.erase(found);
    --subscriptions_;
    completions_event_->signal();
    return;
  }
  found->second.body.assign(body.begin(), body.end());
  found->second.done = true;
  reply_arrived_.notify_all();
}

/// Keeps the value that a subscription has brought, for the get() that follows.
void RingClient::keep_value(std::span<const std::byte> body) {
  MessageReader reader(body);
  const auto message = reader.take<ObjectsMessage>();
  if (message.num_objects != 1) return;
  const auto entry = reader.take<ObjectEntry>();
  if ((entry.flags & kEntryNear) == 0) return;
  items_.add_value(ObjectId{entry.object}, (entry.flags & kValueIsError) != 0,
                   body.subspan(entry.offset, entry.size));
}

void RingClient::drop_unclaimed(std::span<const std::byte> body) {
  MessageReader reader(body);
  const auto message = reader.take<ObjectsMessage>();
  for (const ObjectEntry& entry : reader.take_array<ObjectEntry>(message.num_objects)) {
    if ((entry.flags & kEntryPinned) != 0) drops_.append(entry.object);
  }
}

void RingClient::sleep(std::unique_lock<std::mutex>& lock, std::int64_t until_ns) {
  const std::int64_t now = monotonic_ns();
  const std::int64_t time_ns = std::clamp<std::int64_t>(until_ns - now, 0, kLongestSleepNs);
  if (sleeping_) {
    // The one that sleeps may have looked before this thread waited for tasks.
    if (has_news()) return;
    reply_arrived_.wait_for(lock, std::chrono::nanoseconds(time_ns));
    return;
  }
  sleeping_ = true;
  Doorbell& doorbell = area_->control.doorbell;
  const bool found = spin_for_news(lock, until_ns);
  const std::uint32_t prepared = doorbell.prepare();
  if (found || has_news() || area_->control.stop.load(std::memory_order_relaxed) != 0) {
    doorbell.cancel();
  } else {
    lock.unlock();
    doorbell.sleep(prepared, time_ns);
    lock.lock();
  }
  sleeping_ = false;
  reply_arrived_.notify_all();
}

/// Without the lock, which is held again afterwards; whether there is news.
bool RingClient::spin_for_news(std::unique_lock<std::mutex>& lock, std::int64_t until_ns) {
  const std::int64_t now = monotonic_ns();
  if (reply_spin_ns_ == 0 || !reply_spin_.allowed(now)) return false;
  const std::int64_t end = std::min(until_ns, now + reply_spin_ns_);
  lock.unlock();
  const bool found = reply_spin_.spin<2>(now, end, [&] {
    if (!lock.try_lock()) return false;
    if (has_news()) return true;
    lock.unlock();
    return false;
  });
  if (!lock.owns_lock()) lock.lock();
  return found;
}

// ---- listening for others ----------------------------------------------------------------------

RingClient::~RingClient() {
  if (!listener_.joinable()) return;
  {
    const std::lock_guard lock(reply_mutex_);
    ended_ = true;
    to_listen_.notify_all();
  }
  area_->control.doorbell.ring_always();
  listener_.join();
}

/// With reply_mutex_.
void RingClient::start_listening() {
  if (listener_.joinable()) {
    to_listen_.notify_all();
    return;
  }
  const ScopedSignalBlock block;
  listener_ = std::thread([this] { listen(); });
}

/// Reads replies while nobody else does, and watches for tasks, for those who sleep on descriptors.
void RingClient::listen() {
  std::unique_lock lock(reply_mutex_);
  while (!ended_) {
    const bool stopping = should_stop();
    if (watches_tasks_ && (stopping || tasks_.has_news())) {
      watches_tasks_ = false;
      calls_event_->signal();
    }
    if (stopping || (!watches_tasks_ && subscriptions_ == 0)) {
      to_listen_.wait_for(lock, std::chrono::nanoseconds(kLongestSleepNs));
      continue;
    }
    read_replies(lock);
    if (watches_tasks_ || subscriptions_ != 0) {
      sleep(lock, monotonic_ns() + kLongestSleepNs);
      read_replies(lock);
    }
  }
}

Status RingClient::open_calls_fd() {
  auto event = EventFd::create();
  if (!event) return event.error();
  calls_event_ = std::move(*event);
  return Ok{};
}

bool RingClient::await_calls(bool spin) {
  if (tasks_.has_news()) return true;
  announce();
  const std::int64_t now = monotonic_ns();
  const std::uint32_t spin_us = area_->control.spin_us.load(std::memory_order_relaxed);
  const std::int64_t longest = std::int64_t{std::min(spin_us, kMaxWorkerSpinUs)} * kMicrosecondNs;
  if (spin && spin_.allowed(now) &&
      spin_.spin(now, now + std::min(spin_ns_, longest), [this] { return tasks_.has_news(); })) {
    spin_ns_ = longest;
    return true;
  }
  if (spin) spin_ns_ = kShortSpinNs;
  const std::lock_guard lock(reply_mutex_);
  if (tasks_.has_news() || should_stop()) return true;
  if (!watches_tasks_) {
    watches_tasks_ = true;
    start_listening();
  }
  return false;
}

bool RingClient::subscribe(ObjectId id, std::uint64_t token, bool near) {
  flush_drops();
  if (items_.has_value(id)) return false;
  if (items_.has_streams()) share_stream(id);  // the host tells what is ready
  const std::uint64_t number = expect_reply();
  {
    const std::lock_guard lock(reply_mutex_);
    if (is_lost()) {
      pending_.erase(number);
      return false;
    }
    start_listening();
    pending_[number].token = token;
    ++subscriptions_;
  }
  // Worth it where what is asked for is ready most often.
  const std::uint32_t rest = spins_to_leave_out_.load(std::memory_order_relaxed);
  const bool spins = rest == 0 && !host_->wanted();
  const std::uint32_t flags = kRequestAwaited | (near ? kRequestNear : 0U);
  const RequestMessage message{number, 0, flags, 1, 1, 0};
  send(MessageKind::kRequest, {bytes_of(message), bytes_of(id)}, true);
  std::unique_lock lock(reply_mutex_);
  const std::int64_t spin_until = monotonic_ns() + (spins ? kReplySpinNs : 0);
  while (!replies_.has_news() && monotonic_ns() < spin_until)
    cpu_relax();
  read_replies(lock);
  // Ready already, and nobody else has taken the news of it.
  const bool is_ready = !pending_.contains(number) && std::erase(completions_, token) != 0;
  const std::uint32_t next = is_ready ? 0 : spins ? kSpinsLeftOut : rest - (rest != 0 ? 1 : 0);
  spins_to_leave_out_.store(next, std::memory_order_relaxed);
  if (is_ready) return false;
  start_listening();
  return true;
}

std::vector<std::uint64_t> RingClient::take_completions() {
  const std::lock_guard lock(reply_mutex_);
  if (completions_event_) completions_event_->drain();
  return std::exchange(completions_, {});
}

Result<int> RingClient::completions_fd() {
  const std::lock_guard lock(reply_mutex_);
  if (!completions_event_) {
    auto event = EventFd::create();
    if (!event) return event.error();
    completions_event_ = std::move(*event);
  }
  return completions_event_->fd();
}

}  // namespace haz
