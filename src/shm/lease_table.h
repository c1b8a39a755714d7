/// @file
/// What the host knows about extents that it leased to other processes, which place objects in them
/// by themselves.
///
/// A worker takes a lease, bump-allocates objects in it and tells the host of each one that it
/// publishes. The host counts them; when the worker has moved on or died (the lease is closed) and
/// the last object is dropped, the extent goes back to the extent allocator. Whatever a worker says
/// is checked: nonsense is an error for the host to act on, never a damaged table.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "base/units.h"
#include "shm/extent_allocator.h"
#include "shm/page_index.h"

namespace haz {

/// What a LeaseTable holds.
struct LeaseStats {
  std::uint64_t open_leases = 0;
  std::uint64_t closed_leases = 0;  ///< Kept alive by their objects.
  std::uint64_t leased_bytes = 0;   ///< Of both.
  std::uint64_t live_objects = 0;
  std::uint64_t live_bytes = 0;  ///< As the owners said.
};

/// Leases of all processes of a node. Host-private; not thread-safe: the caller locks.
class LeaseTable {
 public:
  /// What a worker leases for its small and middling objects.
  static constexpr std::uint64_t kChunkBytes = 256 * kKiB;

  /// `extents` outlives the table.
  explicit LeaseTable(ExtentAllocator& extents) : extents_(extents) {}
  /// Gives nothing back: views may outlive the table.
  ~LeaseTable() = default;
  LeaseTable(const LeaseTable&) = delete;
  LeaseTable& operator=(const LeaseTable&) = delete;

  /// What the offset of an object in a lease of this size is a multiple of (from the lease's own
  /// offset, which is a multiple of 4 KiB): 16 in leases of up to kChunkBytes, else 4 KiB.
  static constexpr std::uint64_t object_alignment(std::uint64_t lease_bytes) {
    return lease_bytes <= kChunkBytes ? 16 : 4 * kKiB;
  }

  /// Gives `owner` an extent of at least `size_bytes` to write to. Reserve::kByCaller: `owner` puts
  /// pages behind it; one in which it has noted no object then keeps none. Errors: as of
  /// ExtentAllocator::allocate().
  Result<Extent> lease(ProcessId owner, std::uint64_t size_bytes, Reserve reserve = Reserve::kNow);

  /// Counts an object that `owner` says it has published at `offset`. Errors, all kInvalid: not in
  /// an open lease of `owner`; misaligned; over the lease's end; one begins there already; more
  /// bytes than the lease has, all of its objects together.
  Status note_object(ProcessId owner, std::uint64_t offset, std::uint64_t size_bytes);

  /// Counts an object off, whose size was noted as `size_bytes`. Error kInvalid: no object noted
  /// there, or a size that can't be.
  Status drop_object(std::uint64_t offset, std::uint64_t size_bytes);

  /// The lease that begins at `lease_offset` will get no more objects; `owner` can't write there
  /// any more. Error kInvalid: `owner` has no such open lease.
  Status close(ProcessId owner, std::uint64_t lease_offset);

  /// Closes all leases of a process that has died or left. Call after its last notes were taken in.
  void close_all(ProcessId owner);

  /// Whether an object was noted at `offset` and not dropped.
  [[nodiscard]] bool has_object(std::uint64_t offset) const;

  /// Whether [offset, offset + size_bytes) lies in an open lease of `owner`. For any numbers.
  [[nodiscard]] bool may_write(ProcessId owner, std::uint64_t offset,
                               std::uint64_t size_bytes) const;

  [[nodiscard]] LeaseStats stats() const { return stats_; }

 private:
  /// Leases of up to this size are found by page, larger ones in a tree.
  static constexpr std::uint64_t kMaxIndexedBytes = kMiB;

  struct Lease {
    Extent extent;
    ProcessId owner;
    bool open = true;
    std::uint64_t noted_bytes = 0;  ///< Ever.
    std::uint64_t live_objects = 0;
    std::uint64_t live_bytes = 0;
    std::vector<std::uint64_t> starts;  ///< A bit for each place where an object may begin.

    [[nodiscard]] bool contains(std::uint64_t offset, std::uint64_t size_bytes) const;
    /// Which bit stands for `offset`, or -1 if an object can't begin there.
    [[nodiscard]] std::int64_t start_of(std::uint64_t offset) const;
    [[nodiscard]] bool has_start(std::int64_t start) const;
  };

  [[nodiscard]] Lease* find(std::uint64_t offset) const;
  void finish(Lease* lease);
  void release_if_done(Lease* lease);

  ExtentAllocator& extents_;
  std::map<std::uint64_t, std::unique_ptr<Lease>> leases_;  ///< By offset.
  PageIndex<Lease> index_;
  std::unordered_map<std::uint32_t, std::vector<Lease*>> open_by_owner_;
  LeaseStats stats_;
};

}  // namespace haz
