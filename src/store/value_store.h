/// @file
/// The host's account of the arena's object space: who may write where, and what is given back
/// when.
#pragma once

#include <cstdint>
#include <optional>
#include <unordered_map>

#include "base/ids.h"
#include "base/result.h"
#include "shm/arena.h"
#include "shm/chunk_allocator.h"
#include "shm/extent_allocator.h"
#include "shm/lease_table.h"

namespace haz {

/// A piece of the arena to write to.
struct StoreBlock {
  std::uint64_t offset = 0;
  std::uint64_t size = 0;  ///< At least what was asked for.
  bool cold = false;       ///< Pages may be missing: fill it with copy_to_cold().
};

/// What memory is for. Values leave a reserve, so that calls and messages go on in a full store:
/// those may free some. A value without which everything stands still may go beyond the limit, by
/// half of it.
enum class StoreUse : std::uint8_t { kValue, kMessage, kUrgentValue };

/// Memory of the object space in use, in bytes.
struct StoreUsage {
  std::uint64_t limit = 0;
  std::uint64_t used = 0;
  std::uint64_t peak = 0;
};

/// Hands out memory of the arena to the host and leases it to processes; frees each value by its
/// offset alone. What processes say of their leases is checked, never trusted. Not thread-safe.
class ValueStore {
 public:
  static constexpr std::uint64_t kChunkBytes = LeaseTable::kChunkBytes;

  /// Manages [begin, end) of `arena`, of which `limit_bytes` may be in use at once, and some more
  /// for what is small or a message.
  ValueStore(Arena& arena, std::uint64_t begin, std::uint64_t end, std::uint64_t limit_bytes);

  /// Memory for the host to write, 64-byte aligned. kOverloaded when there is no room.
  Result<StoreBlock> allocate(std::uint64_t size, StoreUse use = StoreUse::kValue);
  /// Takes back what allocate() gave and nobody has filled.
  void give_back(std::uint64_t offset);
  /// Frees a value, a block or a discarded lease at `offset`. Unknown offsets are ignored.
  void free(std::uint64_t offset);

  /// A chunk in which `process` places small values itself.
  Result<StoreBlock> lease_chunk(ProcessId process, StoreUse use = StoreUse::kValue);
  /// Room for one value of `process`, which fills it with copy_to_cold(): so the system calls for
  /// its pages are the process' own. With kMessage the pages are there.
  Result<StoreBlock> lease_value(ProcessId process, std::uint64_t size,
                                 StoreUse use = StoreUse::kValue);
  /// `process` has written a value at [offset, offset + size) of one of its leases: from now on it
  /// is freed by free(). False when the range is not its own or already holds a value.
  bool adopt(ProcessId process, std::uint64_t offset, std::uint64_t size);
  /// `process` places no more values in its chunk at `offset`.
  void close_chunk(ProcessId process, std::uint64_t offset);
  /// `process` may give back the host's block at `offset` with discard(), and does so by its end.
  void lend(ProcessId process, std::uint64_t offset);
  /// `process` gives back a leased extent that it did not publish.
  void discard(ProcessId process, std::uint64_t offset);
  /// All leases of `process` end; what it has published stays.
  void process_ended(ProcessId process);

  /// As of ExtentAllocator: what is freed beyond a budget is given back in this way only.
  std::optional<detail::ByteRange> begin_trim(std::uint64_t most_bytes) {
    return extents_.begin_trim(most_bytes);
  }
  void end_trim(detail::ByteRange range, bool punched) { extents_.end_trim(range, punched); }

  /// Whether an allocation of `size` could ever succeed.
  [[nodiscard]] bool possible(std::uint64_t size) const;
  [[nodiscard]] StoreUsage usage() const;

 private:
  [[nodiscard]] Error room_error(std::uint64_t size) const;
  [[nodiscard]] Error room_error(std::uint64_t size, const Error& cause) const;
  Result<Extent> lease(ProcessId process, std::uint64_t size, StoreUse use, Reserve reserve);
  [[nodiscard]] Status check_limit(std::uint64_t size, StoreUse use) const;
  void settle_limit();

  std::uint64_t limit_bytes_;
  ExtentAllocator extents_;
  ChunkAllocator chunks_;
  LeaseTable leases_;
  std::unordered_map<std::uint64_t, Extent> host_extents_;         ///< By offset.
  std::unordered_map<std::uint64_t, std::uint64_t> leased_sizes_;  ///< Published values: size.
  std::unordered_map<std::uint64_t, ProcessId> value_leases_;      ///< Leases for one value each.
  std::unordered_map<std::uint64_t, ProcessId> lent_;  ///< Host's blocks to be discarded.
  /// What was leased beyond the limit, by offset: size of the extent.
  std::unordered_map<std::uint64_t, std::uint64_t> urgent_;
};

}  // namespace haz
