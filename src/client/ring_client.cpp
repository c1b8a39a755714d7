#include "client/ring_client.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "os/clock.h"
#include "os/poll.h"
#include "os/process.h"
#include "os/signals.h"
#include "sched/function_message.h"
#include "sched/group_message.h"
#include "wire/message_reader.h"

namespace haz {

namespace {

constexpr std::uint64_t kMaxChunkValue = 32 * kKiB;
constexpr std::int64_t kLongestSleepNs = 100 * kMillisecondNs;
/// Spin while waiting for the host's reply: it answers at once when it is awake.
constexpr std::int64_t kReplySpinNs = 20 * kMicrosecondNs;
/// Spin of a worker whose tasks come seldom.
constexpr std::int64_t kShortSpinNs = 30 * kMicrosecondNs;
/// Spins that are left out after one in vain.
constexpr std::uint32_t kSpinsLeftOut = 16;
constexpr std::int64_t kFullRingNapNs = 50 * kMicrosecondNs;
constexpr int kDamagedExit = 1;

template <typename T>
std::span<const std::byte> bytes_of(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

std::span<const std::byte> bytes_of_ids(std::span<const ObjectId> ids) {
  return std::as_bytes(ids);
}

std::span<const std::byte> bytes_of_text(const std::string& text) {
  return std::as_bytes(std::span(text));
}

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

ValueEntry entry_of(const NewValue& value) {
  return ValueEntry{value.offset, value.offset != 0 ? value.size : value.bytes.size(),
                    value.is_error ? kValueIsError : 0U,
                    static_cast<std::uint32_t>(value.refs.size())};
}

Error node_died() {
  return Error{ErrorKind::kNodeDied,
               "the node that this program had joined has ended: see `haz status`, and start "
               "another by `haz start`"};
}

bool has_hung_up(int fd) {
  std::array<pollfd, 1> entries = {{{fd, 0, 0}}};
  poll_fds(entries, 0);
  return (entries[0].revents & (POLLHUP | POLLERR)) != 0;
}

/// For calls that can't be interrupted.
class NoHooks final : public WaitHooks {};

/// For calls that come to their end in any case, in a thread that lets others run meanwhile.
class SteadyHooks final : public WaitHooks {
 public:
  explicit SteadyHooks(WaitHooks& inner) : inner_(inner) {}
  void before_block() override { inner_.before_block(); }
  void after_block() override { inner_.after_block(); }
  [[nodiscard]] bool may_run_tasks() const override { return inner_.may_run_tasks(); }

 private:
  WaitHooks& inner_;
};

}  // namespace

// ---- joining -----------------------------------------------------------------------------------

Result<std::unique_ptr<RingClient>> RingClient::join(UniqueFd arena_fd, std::uint32_t slot,
                                                     ProcessId process) {
  auto arena = Arena::attach(std::move(arena_fd));
  if (!arena) return arena.error();
  const auto* header = reinterpret_cast<const ArenaHeader*>((*arena)->at(0));
  if (header->magic != kArenaMagic || header->layout_version != kLayoutVersion ||
      slot >= header->max_processes) {
    return Error{ErrorKind::kInvalid,
                 "the node's memory has another layout: driver and worker use different builds of "
                 "haz. Install one version for both"};
  }
  const std::uint64_t area = header->areas_offset + slot * kProcessAreaStride;
  for (const auto& [offset, size] :
       {std::pair{std::uint64_t{kDoorbellsOffset}, sizeof(HostDoorbells)},
        std::pair{area, sizeof(ProcessArea)}}) {
    const Status writable = (*arena)->make_writable(offset, size);
    if (!writable) return writable.error();
  }
  return std::unique_ptr<RingClient>(new RingClient(std::move(*arena), slot, process));
}

Result<std::unique_ptr<RingClient>> RingClient::take_over(UniqueFd arena_fd, std::uint32_t slot,
                                                          ProcessId process) {
  auto client = join(std::move(arena_fd), slot, process);
  if (!client) return client;
  RingClient& made = **client;
  made.tasks_.resume();
  made.submissions_.resume();
  made.replies_.resume();
  // The one before may have asked for something, and have given a few ids.
  constexpr std::uint64_t kPassedOver = 1024;
  made.next_id_ += kPassedOver;
  made.next_number_ += kPassedOver;
  return client;
}

RingClient::RingClient(std::unique_ptr<Arena> arena, std::uint32_t slot, ProcessId process)
    : arena_(std::move(arena)),
      header_(reinterpret_cast<ArenaHeader*>(arena_->at(0))),
      host_(reinterpret_cast<HostDoorbells*>(arena_->at(kDoorbellsOffset))),
      area_(reinterpret_cast<ProcessArea*>(
          arena_->at(header_->areas_offset + slot * kProcessAreaStride))),
      slot_(slot),
      process_(process),
      main_thread_(std::this_thread::get_id()),
      next_id_(first_id_of(process)),
      tasks_(&area_->tasks),
      spin_ns_(kShortSpinNs),
      submissions_(&area_->submissions, area_->submission_bytes.data(), kSubmissionRingBytes),
      replies_(&area_->replies, area_->reply_bytes.data(), kReplyRingBytes) {}

void RingClient::ready() { send(MessageKind::kReady, {}, true); }

// ---- sending -----------------------------------------------------------------------------------

void RingClient::ring_host() {
  unannounced_.store(false, std::memory_order_relaxed);
  host_->news.mark(slot_);
  host_->ring();
}

bool RingClient::try_append(MessageKind kind, std::size_t size, Parts parts) {
  const std::lock_guard lock(send_mutex_);
  std::byte* to =
      submissions_.try_append(static_cast<std::uint32_t>(kind), static_cast<std::uint32_t>(size));
  if (to == nullptr) {
    HAZ_CHECK(!submissions_.is_damaged(), "this process has damaged its shared memory");
    return false;
  }
  for (const std::span<const std::byte> part : parts) {
    if (!part.empty()) std::memcpy(to, part.data(), part.size());
    to += align_up(part.size(), 8);
  }
  submissions_.publish();
  return true;
}

void RingClient::send(MessageKind kind, Parts parts, bool ring) {
  std::size_t size = 0;
  for (const std::span<const std::byte> part : parts)
    size += align_up(part.size(), 8);
  if (size > submissions_.max_record_bytes()) {
    MessageBuilder builder;
    for (const std::span<const std::byte> part : parts)
      builder.add_bytes(part);
    send_gathered(kind, builder.body(), ring);
    return;
  }
  while (!is_lost() && !try_append(kind, size, parts)) {
    ring_host();
    Doorbell nap{};
    (void)nap.sleep(nap.prepare(), kFullRingNapNs);
    if (host_fd_ >= 0 && has_hung_up(host_fd_)) lost_.store(true, std::memory_order_relaxed);
  }
  if (ring) {
    ring_host();
  } else {
    unannounced_.store(true, std::memory_order_relaxed);
  }
}

void RingClient::send_gathered(MessageKind kind, std::span<const std::byte> body, bool ring) {
  if (body.size() <= submissions_.max_record_bytes()) {
    send(kind, {body}, ring);
    return;
  }
  NoHooks hooks;
  auto block = allocate(body.size(), hooks, StoreUse::kMessage);
  if (is_lost()) return;
  HAZ_CHECK(block.ok(), "no room for a message in the object store");
  std::memcpy(arena_->at(block->offset), body.data(), body.size());
  seal(*block);
  const IndirectMessage indirect{block->offset, body.size()};
  send(static_cast<MessageKind>(static_cast<std::uint32_t>(kind) | kIndirectFlag),
       {bytes_of(indirect)}, ring);
  published(block->offset);
}

void RingClient::flush_drops() {
  if (drops_.empty()) return;
  std::vector<ObjectId> ids;
  drops_.drain([&ids](std::uint64_t id) { ids.push_back(ObjectId{id}); });
  for (const ObjectId id : ids)
    note_dropped(id);
  // In pieces that fit the ring: a full store must not keep references from being dropped.
  const std::size_t most = submissions_.max_record_bytes() / sizeof(ObjectId);
  for (std::span<const ObjectId> left(ids); !left.empty();) {
    const std::span<const ObjectId> piece = left.first(std::min(left.size(), most));
    send(MessageKind::kDropReferences, {bytes_of_ids(piece)}, false);
    left = left.subspan(piece.size());
  }
}

void RingClient::announce() {
  flush_drops();
  if (!unannounced_.load(std::memory_order_relaxed)) return;
  host_->news.mark(slot_);
  // pairs with the host's store before it looks at the rings and sleeps
  if (area_->control.wake_on_idle.load(std::memory_order_seq_cst) != 0) ring_host();
}

bool RingClient::hand_in() {
  const bool any = !drops_.empty() || unannounced_.load(std::memory_order_relaxed);
  flush_drops();
  if (any) ring_host();
  return any;
}

void RingClient::spin_for_replies(std::int64_t longest_ns) {
  const std::lock_guard lock(reply_mutex_);
  reply_spin_ns_ = longest_ns;
}

void RingClient::lose() {
  lost_.store(true, std::memory_order_relaxed);
  stop();
  const std::lock_guard lock(reply_mutex_);
  for (auto entry = pending_.begin(); entry != pending_.end();) {
    if (entry->second.token == 0) {
      ++entry;
      continue;
    }
    completions_.push_back(entry->second.token);
    entry = pending_.erase(entry);
    --subscriptions_;
  }
  if (completions_event_) completions_event_->signal();
  reply_arrived_.notify_all();
}

bool RingClient::has_writers() {
  const std::lock_guard lock(memory_mutex_);
  return !value_leases_.empty() ||
         std::any_of(chunks_.begin(), chunks_.end(),
                     [](const Chunk& chunk) { return chunk.unpublished != 0; });
}

void RingClient::await_writers(std::int64_t timeout_ns) {
  const std::int64_t until = monotonic_ns() + timeout_ns;
  while (has_writers()) {
    if (monotonic_ns() >= until) {
      area_->control.left_writing.store(1, std::memory_order_relaxed);
      return;
    }
    Doorbell nap{};
    (void)nap.sleep(nap.prepare(), kMillisecondNs);
  }
}

// ---- tasks -------------------------------------------------------------------------------------

const TaskCommand* RingClient::claim_task() {
  if (area_->control.mark.load(std::memory_order_relaxed) != kControlMark) leave_damaged();
  const TaskCommand* command = tasks_.claim_next();
  if (command == nullptr && tasks_.is_damaged()) leave_damaged();
  return command;
}

/// A task has written where only haz does, and came to its end all the same. Who is not to blame
/// must not run here.
void RingClient::leave_damaged() {
  std::fputs("haz: a task has written over haz's memory in this process, which ends of it\n",
             stderr);
  // Where there are threads, or an event loop, some calls may run.
  if (on_main_thread() && !running_task_ && !calls_event_) send(MessageKind::kDamaged, {}, true);
  exit_now(kDamagedExit);
}

const TaskCommand* RingClient::next_task(WaitHooks& hooks) {
  claimed_ns_ = 0;
  if (const TaskCommand* command = claim_task(); command != nullptr) return command;
  const std::int64_t idle_since = monotonic_ns();
  const ProcessControl& control = area_->control;
  announce();
  const TaskCommand* command = nullptr;
  bool blocked = false;
  const std::uint32_t spin_us = control.spin_us.load(std::memory_order_relaxed);
  const std::int64_t longest_spin =
      std::int64_t{std::min(spin_us, kMaxWorkerSpinUs)} * kMicrosecondNs;
  if (spin_.allowed(idle_since) &&
      spin_.spin(idle_since, idle_since + std::min(spin_ns_, longest_spin),
                 [this] { return tasks_.has_news(); })) {
    command = claim_task();
  }
  while (command == nullptr && control.stop.load(std::memory_order_relaxed) == 0) {
    if (!blocked) hooks.before_block();
    blocked = true;
    {
      std::unique_lock lock(reply_mutex_);
      idle_ = true;
      read_replies(lock);
      if (nested_.empty()) sleep(lock, monotonic_ns() + kLongestSleepNs);
      idle_ = false;
      // One that was sent while the task below it blocked, and came when that had ended.
      run_nested_tasks(lock, blocked, hooks);
    }
    announce();
    command = claim_task();
    if (command == nullptr && hooks.interrupted()) break;
  }
  if (blocked) hooks.after_block();
  claimed_ns_ = monotonic_ns();
  spin_ns_ = claimed_ns_ - idle_since < longest_spin ? longest_spin : kShortSpinNs;
  return command;
}

std::pair<TaskId, std::uint32_t> RingClient::begin_attempt(TaskId task, std::uint32_t attempt,
                                                           bool report_start) {
  const std::pair begun{task, attempt};
  std::pair outer{running_task_, running_attempt_};
  if (on_main_thread()) {
    running_task_ = task;
    running_attempt_ = attempt;
  } else {
    outer = std::exchange(attempt_here_, begun);
  }
  if (report_start) this->report_start(task, attempt);
  return outer;
}

void RingClient::report_start(TaskId task, std::uint32_t attempt) {
  const StartedMessage message{task.value, attempt, 0};
  send(MessageKind::kStarted, {bytes_of(message)}, true);
}

void RingClient::end_attempt(std::pair<TaskId, std::uint32_t> outer) {
  if (!on_main_thread()) {
    attempt_here_ = outer;
    return;
  }
  running_task_ = outer.first;
  running_attempt_ = outer.second;
}

bool RingClient::interrupt_pending() const noexcept {
  if (!on_main_thread()) {
    return attempt_here_.first && interrupts(attempt_here_.first, attempt_here_.second);
  }
  return running_task_ && interrupts(running_task_, running_attempt_);
}

void RingClient::stop() {
  area_->control.stop.store(1, std::memory_order_relaxed);
  area_->control.doorbell.ring_always();
}

void RingClient::finish(const FinishedTask& finished) {
  const std::span<const NewValue> values = finished.values;
  const std::int64_t now_ns = monotonic_ns();
  const FinishedMessage message{
      finished.task.value,
      finished.attempt,
      static_cast<std::uint32_t>(finished.outcome),
      static_cast<std::uint64_t>(std::max<std::int64_t>(now_ns - finished.began_ns, 0)),
      now_ns,
      static_cast<std::uint32_t>(values.size()),
      0};
  const std::uint64_t finished_count = finished_count_.fetch_add(1, std::memory_order_relaxed) + 1;
  if (values.size() == 1) {
    const ValueEntry entry = entry_of(values[0]);
    send(MessageKind::kFinished,
         {bytes_of(message), bytes_of(entry), values[0].bytes, bytes_of_ids(values[0].refs)},
         false);
  } else {
    MessageBuilder builder;
    builder.add(message);
    for (const NewValue& value : values)
      builder.add(entry_of(value));
    for (const NewValue& value : values) {
      builder.add_bytes(value.bytes);
      builder.add_bytes(bytes_of_ids(value.refs));
    }
    send_gathered(MessageKind::kFinished, builder.body(), false);
  }
  for (const NewValue& value : values)
    published(value.offset);
  // pairs with the host's store before it looks at the rings and sleeps
  if (finished_count >= area_->control.wake_after.load(std::memory_order_seq_cst)) ring_host();
}

void RingClient::yield_item(TaskId task, std::uint32_t attempt, std::uint64_t index,
                            const NewValue& value) {
  const YieldMessage message{task.value, index, attempt, 0};
  const ValueEntry entry = entry_of(value);
  send(MessageKind::kYield,
       {bytes_of(message), bytes_of(entry), value.bytes, bytes_of_ids(value.refs)}, false);
  published(value.offset);
  // pairs with the host's store before it looks at the rings and sleeps
  if (area_->control.wake_on_item.load(std::memory_order_seq_cst) != 0) ring_host();
}

// ---- waiting for replies -----------------------------------------------------------------------

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
  const RequestMessage message{number, 0, near ? kRequestNear : 0U, 1, 1, 0};
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

void RingClient::run_nested_tasks(std::unique_lock<std::mutex>& lock, bool blocked,
                                  WaitHooks& hooks) {
  while (!nested_.empty()) {
    const TaskCommand command = nested_.front();
    nested_.pop_front();
    lock.unlock();
    if (blocked) hooks.after_block();
    run_nested_(command);
    if (blocked) hooks.before_block();
    lock.lock();
  }
}

WaitOutcome RingClient::await_reply(std::uint64_t number, std::int64_t deadline_ns,
                                    WaitHooks& hooks, Reply& reply) {
  const bool on_main = on_main_thread();
  WaitOutcome outcome = WaitOutcome::kDone;
  bool blocked = false;
  std::unique_lock lock(reply_mutex_);
  const std::int64_t spin_until = monotonic_ns() + kReplySpinNs;
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
  const bool may_get_tasks =
      outcome == WaitOutcome::kTimeout && (flags & kRequestBlocking) != 0 && hooks.may_run_tasks();
  const WithdrawMessage withdraw{number, may_get_tasks ? expect_reply() : 0};
  send(MessageKind::kWithdraw, {bytes_of(withdraw)}, true);
  if (may_get_tasks) {
    SteadyHooks steady(hooks);
    (void)await_reply(withdraw.answer, -1, steady, reply);
  }
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

// ---- memory ------------------------------------------------------------------------------------

Result<StoreBlock> RingClient::ask_for_memory(AllocateKind kind, std::uint64_t size,
                                              WaitHooks& hooks) {
  flush_drops();
  const std::uint64_t number = expect_reply();
  const AllocateMessage message{number, running_task().value, size, kind, 0};
  send(MessageKind::kAllocate, {bytes_of(message)}, true);
  Reply reply;
  const WaitOutcome outcome = await_reply(number, -1, hooks, reply);
  if (outcome == WaitOutcome::kClosed) return node_died();
  if (outcome != WaitOutcome::kDone) {
    return Error{ErrorKind::kCancelled, "interrupted while waiting for room in the object store"};
  }
  MessageReader reader(reply.body);
  const auto answer = reader.take<AnswerMessage>();
  if (answer.status != AnswerStatus::kOk) {
    const std::span<const std::byte> text = reader.take_bytes(answer.num_bytes);
    return Error{ErrorKind::kOverloaded,
                 std::string(reinterpret_cast<const char*>(text.data()), text.size())};
  }
  const Status writable = arena_->make_writable(answer.value, answer.size);
  if (!writable) return writable.error();
  return StoreBlock{answer.value, answer.size, kind != AllocateKind::kChunk};
}

Result<StoreBlock> RingClient::allocate(std::uint64_t size, WaitHooks& hooks, StoreUse use) {
  if (size > kMaxChunkValue) {
    auto block = ask_for_memory(
        use == StoreUse::kMessage ? AllocateKind::kMessage : AllocateKind::kValue, size, hooks);
    if (!block) return block;
    const std::lock_guard lock(memory_mutex_);
    if (is_lost()) return node_died();
    value_leases_.push_back(block->offset);
    return block;
  }
  const std::uint64_t wanted = align_up(std::max<std::uint64_t>(size, 1), kCacheLine);
  for (;;) {
    {
      const std::lock_guard lock(memory_mutex_);
      if (is_lost()) return node_died();
      if (!chunks_.empty() && !chunks_.back().retired &&
          chunks_.back().size - chunks_.back().used >= wanted) {
        Chunk& chunk = chunks_.back();
        const StoreBlock block{chunk.offset + chunk.used, wanted, false};
        chunk.used += wanted;
        ++chunk.unpublished;
        return block;
      }
    }
    auto fresh = ask_for_memory(AllocateKind::kChunk, 0, hooks);
    if (!fresh) return fresh;
    std::vector<std::uint64_t> closed;
    {
      const std::lock_guard lock(memory_mutex_);
      for (Chunk& chunk : chunks_)
        chunk.retired = true;
      std::erase_if(chunks_, [&closed](const Chunk& chunk) {
        if (chunk.unpublished == 0) closed.push_back(chunk.offset);
        return chunk.unpublished == 0;
      });
      chunks_.push_back({fresh->offset, fresh->size, 0, 0, false});
    }
    for (const std::uint64_t offset : closed) {
      (void)arena_->make_read_only(offset, fresh->size);
      send(MessageKind::kCloseChunk, {bytes_of(offset)}, false);
    }
  }
}

void RingClient::seal(const StoreBlock& block) {
  const std::lock_guard lock(memory_mutex_);
  if (std::erase(value_leases_, block.offset) != 0) {
    (void)arena_->make_read_only(block.offset, block.size);
  }
}

void RingClient::discard(const StoreBlock& block) {
  seal(block);
  if (block.size > kMaxChunkValue) {
    send(MessageKind::kDiscard, {bytes_of(block.offset)}, false);
  } else {
    published(block.offset);
  }
}

void RingClient::published(std::uint64_t offset) {
  if (offset == 0) return;
  std::uint64_t closed = 0;
  std::uint64_t closed_size = 0;
  {
    const std::lock_guard lock(memory_mutex_);
    const auto chunk = std::find_if(chunks_.begin(), chunks_.end(), [offset](const Chunk& one) {
      return offset >= one.offset && offset < one.offset + one.size;
    });
    if (chunk == chunks_.end() || --chunk->unpublished != 0 || !chunk->retired) return;
    closed = chunk->offset;
    closed_size = chunk->size;
    chunks_.erase(chunk);
  }
  (void)arena_->make_read_only(closed, closed_size);
  send(MessageKind::kCloseChunk, {bytes_of(closed)}, false);
}

// ---- calls without a wait ----------------------------------------------------------------------

namespace {

SubmitMessage submit_message(const Submission& submission) {
  return {submission.id.value,
          submission.parent.value,
          submission.payload_offset,
          submission.payload_size,
          submission.function.value,
          submission.num_returns,
          static_cast<std::uint32_t>(submission.dependencies.size()),
          static_cast<std::uint32_t>(submission.refs.size()),
          0,
          submission.actor.value,
          submission.group.value,
          submission.bundle,
          submission.captures ? 1U : 0U};
}

std::span<const std::byte> near_payload(const Submission& submission) {
  return submission.payload_offset == 0 ? submission.payload : std::span<const std::byte>{};
}

}  // namespace

Status RingClient::submit(const Submission& submission) {
  if (is_lost()) {
    published(submission.payload_offset);  // or it would look as if it were still written
    return node_died();
  }
  const SubmitMessage message = submit_message(submission);
  send(MessageKind::kSubmit,
       {bytes_of(message), near_payload(submission), bytes_of_ids(submission.dependencies),
        bytes_of_ids(submission.refs)},
       true);
  published(submission.payload_offset);
  return Ok{};
}

Status RingClient::submit_asked(const Submission& submission, WaitHooks& hooks) {
  const std::uint64_t number = expect_reply();
  MessageBuilder builder;
  builder.add(number);
  builder.add(submit_message(submission));
  builder.add_bytes(near_payload(submission));
  builder.add_bytes(bytes_of_ids(submission.dependencies));
  builder.add_bytes(bytes_of_ids(submission.refs));
  SteadyHooks steady(hooks);
  const auto reply = ask(MessageKind::kAskedSubmit, builder.body(), number, steady);
  published(submission.payload_offset);
  if (!reply) return reply.error();
  return Ok{};
}

Status RingClient::put(ObjectId id, const NewValue& value) {
  if (is_lost()) {
    published(value.offset);
    return node_died();
  }
  const PutMessage message{id.value};
  const ValueEntry entry = entry_of(value);
  send(MessageKind::kPut,
       {bytes_of(message), bytes_of(entry), value.bytes, bytes_of_ids(value.refs)}, false);
  published(value.offset);
  return Ok{};
}

void RingClient::cancel(ObjectId id, bool force, bool recursive) {
  const CancelMessage message{id.value,
                              (force ? kCancelForce : 0U) | (recursive ? kCancelRecursive : 0U), 0};
  send(MessageKind::kCancel, {bytes_of(message)}, true);
}

void RingClient::free(std::span<const ObjectId> ids) {
  for (const ObjectId id : ids)
    items_.forget_value(id);
  send(MessageKind::kFree, {bytes_of_ids(ids)}, false);
}

void RingClient::add_reference(ObjectId id) {
  send(MessageKind::kAddReferences, {bytes_of(id)}, false);
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

Result<FunctionId> RingClient::register_function(const FunctionOptions& options,
                                                 std::span<const std::byte> code) {
  const std::uint64_t number = expect_reply();
  MessageBuilder builder;
  builder.add(RegisterMessage{number, code.size()});
  encode_function_options(options, builder);
  builder.add_bytes(code);
  NoHooks hooks;
  const auto reply = ask(MessageKind::kRegisterFunction, builder.body(), number, hooks);
  if (!reply) return reply.error();
  const auto answer = MessageReader(reply.value().body).take<AnswerMessage>();
  return FunctionId{static_cast<std::uint32_t>(answer.value)};
}

// ---- actors ------------------------------------------------------------------------------------

Result<ObjectId> RingClient::create_actor(const Submission& submission, const ActorSpec& actor,
                                          WaitHooks& hooks) {
  const std::uint64_t number = expect_reply();
  MessageBuilder builder;
  builder.add(CreateActorMessage{number, static_cast<std::uint32_t>(actor.name.size()),
                                 static_cast<std::uint32_t>(actor.name_space.size()),
                                 actor.get_if_exists ? 1U : 0U, 0});
  builder.add_bytes(bytes_of_text(actor.name));
  builder.add_bytes(bytes_of_text(actor.name_space));
  builder.add(submit_message(submission));
  builder.add_bytes(near_payload(submission));
  builder.add_bytes(bytes_of_ids(submission.dependencies));
  builder.add_bytes(bytes_of_ids(submission.refs));
  const auto reply = ask(MessageKind::kCreateActor, builder.body(), number, hooks);
  published(submission.payload_offset);
  if (!reply) return reply.error();
  return ObjectId{MessageReader(reply.value().body).take<AnswerMessage>().value};
}

Result<FoundActor> RingClient::find_actor(const ActorSpec& actor, WaitHooks& hooks) {
  const std::uint64_t number = expect_reply();
  MessageBuilder builder;
  builder.add(FindActorMessage{number, static_cast<std::uint32_t>(actor.name.size()),
                               static_cast<std::uint32_t>(actor.name_space.size())});
  builder.add_bytes(bytes_of_text(actor.name));
  builder.add_bytes(bytes_of_text(actor.name_space));
  const auto reply = ask(MessageKind::kFindActor, builder.body(), number, hooks);
  if (!reply) return reply.error();
  MessageReader reader(reply.value().body);
  const auto answer = reader.take<AnswerMessage>();
  const std::span<const std::byte> meta = reader.take_bytes(answer.num_bytes);
  return FoundActor{ObjectId{answer.value}, {meta.begin(), meta.end()}};
}

void RingClient::kill_actor(ObjectId id, bool no_restart) {
  const KillActorMessage message{id.value, no_restart ? 1U : 0U, 0};
  send(MessageKind::kKillActor, {bytes_of(message)}, true);
}

void RingClient::exit_actor() { send(MessageKind::kActorExit, {}, true); }

// ---- placement groups --------------------------------------------------------------------------

Status RingClient::create_group(GroupSpec& spec, const NewValue& value, WaitHooks& hooks) {
  const std::uint64_t number = expect_reply();
  MessageBuilder builder;
  builder.add(CreateGroupMessage{number});
  encode_group_spec(spec, builder);
  builder.add(entry_of(value));
  builder.add_bytes(value.bytes);
  builder.add_bytes(bytes_of_ids(value.refs));
  const auto reply = ask(MessageKind::kCreateGroup, builder.body(), number, hooks);
  published(value.offset);
  if (!reply) return reply.error();
  return Ok{};
}

void RingClient::remove_group(ObjectId id) {
  send(MessageKind::kRemoveGroup, {bytes_of(id)}, true);
}

Result<std::vector<std::byte>> RingClient::query(QueryKind kind, std::uint64_t argument) {
  const std::uint64_t number = expect_reply();
  const QueryMessage message{number, kind, 0, argument};
  send(MessageKind::kQuery, {bytes_of(message)}, true);
  NoHooks hooks;
  Reply reply;
  if (await_reply(number, -1, hooks, reply) != WaitOutcome::kDone) return node_died();
  MessageReader reader(reply.body);
  const auto answer = reader.take<AnswerMessage>();
  const std::span<const std::byte> bytes = reader.take_bytes(answer.num_bytes);
  return std::vector<std::byte>(bytes.begin(), bytes.end());
}

}  // namespace haz
