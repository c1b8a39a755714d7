/// @file
/// Memory that this process was lent, to write values to.
#include <algorithm>

#include "client/ring_client.h"
#include "client/ring_parts.h"
#include "os/memory.h"
#include "wire/message_reader.h"

namespace haz {

namespace {

constexpr std::uint64_t kMaxChunkValue = 32 * kKiB;
/// Pages of a chunk that are mapped ahead of the values.
constexpr std::uint64_t kLeastMapped = 16 * kKiB;
constexpr std::uint64_t kMostMapped = 64 * kKiB;

}  // namespace

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
        map_ahead(chunk, chunk.used + wanted);
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
      chunks_.push_back({.offset = fresh->offset, .size = fresh->size});
    }
    for (const std::uint64_t offset : closed) {
      (void)arena_->make_read_only(offset, fresh->size);
      send(MessageKind::kCloseChunk, {bytes_of(offset)}, false);
    }
  }
}

/// Page faults of one write each cost more than all of some pages together.
void RingClient::map_ahead(Chunk& chunk, std::uint64_t needed) {
  if (needed <= chunk.mapped || !can_populate()) return;
  const std::uint64_t step = std::clamp(chunk.mapped, kLeastMapped, kMostMapped);
  const std::uint64_t end =
      std::min(align_up(std::max(chunk.mapped + step, needed), page_size()), chunk.size);
  (void)populate_for_writing(arena_->at(chunk.offset + chunk.mapped), end - chunk.mapped);
  chunk.mapped = end;
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
  has_unsealed_.store(true, std::memory_order_relaxed);
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

/// Makes read-only what lies in the chunk, before a task begins that may write where it should not:
/// what others have published must not suffer. The rest of the last page is given up for that, and
/// 2 to 4 us.
void RingClient::seal_published() {
  if (!has_unsealed_.load(std::memory_order_relaxed)) return;
  const std::lock_guard lock(memory_mutex_);
  // Another thread is writing to it, so this has to wait.
  if (!chunks_.empty() && chunks_.back().unpublished != 0) return;
  has_unsealed_.store(false, std::memory_order_relaxed);
  if (chunks_.empty() || chunks_.back().retired) return;
  Chunk& chunk = chunks_.back();
  const std::uint64_t end = align_up(chunk.offset + chunk.used, page_size());
  chunk.used = std::min(end - chunk.offset, chunk.size);
  if (chunk.used == chunk.sealed) return;
  (void)arena_->make_read_only(chunk.offset + chunk.sealed, chunk.used - chunk.sealed);
  chunk.sealed = chunk.used;
}

}  // namespace haz
