#include "client/ring_client.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "client/ring_parts.h"
#include "os/clock.h"
#include "os/poll.h"
#include "wire/message_reader.h"

namespace haz {

namespace {

constexpr std::int64_t kFullRingNapNs = 50 * kMicrosecondNs;

bool has_hung_up(int fd) {
  std::array<pollfd, 1> entries = {{{fd, 0, 0}}};
  poll_fds(entries, 0);
  return (entries[0].revents & (POLLHUP | POLLERR)) != 0;
}

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
  made.was_ready_ = true;
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

void RingClient::ready() {
  if (!was_ready_) send(MessageKind::kReady, {}, true);
}

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

}  // namespace haz
