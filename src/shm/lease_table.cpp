#include "shm/lease_table.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <utility>

namespace haz {
namespace {

Error bad_claim(const char* what, std::uint64_t offset, std::uint64_t size_bytes) {
  return Error{ErrorKind::kInvalid, std::string(what) + ": " + std::to_string(size_bytes) +
                                        " bytes at offset " + std::to_string(offset)};
}

}  // namespace

bool LeaseTable::Lease::contains(std::uint64_t offset, std::uint64_t size_bytes) const {
  return offset >= extent.offset && size_bytes <= extent.size_bytes &&
         offset - extent.offset <= extent.size_bytes - size_bytes;
}

std::int64_t LeaseTable::Lease::start_of(std::uint64_t offset) const {
  const std::uint64_t alignment = object_alignment(extent.size_bytes);
  const std::uint64_t distance = offset - extent.offset;
  if (distance >= extent.size_bytes || distance % alignment != 0) return -1;
  return static_cast<std::int64_t>(distance / alignment);
}

bool LeaseTable::Lease::has_start(std::int64_t start) const {
  if (start < 0) return false;
  const auto bit = static_cast<std::uint64_t>(start);
  return (starts[bit / 64] >> (bit % 64) & 1) != 0;
}

LeaseTable::Lease* LeaseTable::find(std::uint64_t offset) const {
  if (Lease* lease = index_.find(offset)) return lease;
  auto it = leases_.upper_bound(offset);
  if (it == leases_.begin()) return nullptr;
  Lease* lease = std::prev(it)->second.get();
  return lease->contains(offset, 1) ? lease : nullptr;
}

Result<Extent> LeaseTable::lease(ProcessId owner, std::uint64_t size_bytes, Reserve reserve) {
  auto extent = extents_.allocate(size_bytes, reserve);
  if (!extent) return extent;
  auto owned = std::make_unique<Lease>();
  Lease* lease = owned.get();
  lease->extent = *extent;
  lease->owner = owner;
  lease->starts.resize(extent->size_bytes / object_alignment(extent->size_bytes) / 64 + 1);
  leases_.emplace(extent->offset, std::move(owned));
  if (extent->size_bytes <= kMaxIndexedBytes) {
    index_.set(extent->offset, extent->size_bytes, lease);
  }
  open_by_owner_[owner.value].push_back(lease);
  ++stats_.open_leases;
  stats_.leased_bytes += extent->size_bytes;
  return extent;
}

Status LeaseTable::note_object(ProcessId owner, std::uint64_t offset, std::uint64_t size_bytes) {
  Lease* lease = find(offset);
  if (lease == nullptr || !lease->open || lease->owner != owner ||
      !lease->contains(offset, size_bytes)) {
    return bad_claim("an object outside of its process' leases", offset, size_bytes);
  }
  const std::int64_t start = lease->start_of(offset);
  if (start < 0) return bad_claim("a misaligned object", offset, size_bytes);
  if (lease->has_start(start)) return bad_claim("an object noted twice", offset, size_bytes);
  if (size_bytes > lease->extent.size_bytes - lease->noted_bytes) {
    return bad_claim("more objects than a lease can hold", offset, size_bytes);
  }
  const auto bit = static_cast<std::uint64_t>(start);
  lease->starts[bit / 64] |= std::uint64_t{1} << (bit % 64);
  lease->noted_bytes += size_bytes;
  lease->live_bytes += size_bytes;
  ++lease->live_objects;
  stats_.live_bytes += size_bytes;
  ++stats_.live_objects;
  return Ok{};
}

Status LeaseTable::drop_object(std::uint64_t offset, std::uint64_t size_bytes) {
  Lease* lease = find(offset);
  if (lease == nullptr || size_bytes > lease->live_bytes) {
    return bad_claim("dropped an object that was never noted", offset, size_bytes);
  }
  const std::int64_t start = lease->start_of(offset);
  if (!lease->has_start(start)) {
    return bad_claim("dropped an object that was never noted", offset, size_bytes);
  }
  const auto bit = static_cast<std::uint64_t>(start);
  lease->starts[bit / 64] &= ~(std::uint64_t{1} << (bit % 64));
  lease->live_bytes -= size_bytes;
  --lease->live_objects;
  stats_.live_bytes -= size_bytes;
  --stats_.live_objects;
  release_if_done(lease);
  return Ok{};
}

Status LeaseTable::close(ProcessId owner, std::uint64_t lease_offset) {
  const auto it = leases_.find(lease_offset);
  if (it == leases_.end() || !it->second->open || it->second->owner != owner) {
    return bad_claim("closed a lease that its process doesn't have", lease_offset, 0);
  }
  Lease* lease = it->second.get();
  const auto open = open_by_owner_.find(owner.value);
  std::erase(open->second, lease);
  if (open->second.empty()) open_by_owner_.erase(open);
  finish(lease);
  return Ok{};
}

void LeaseTable::close_all(ProcessId owner) {
  const auto it = open_by_owner_.find(owner.value);
  if (it == open_by_owner_.end()) return;
  const std::vector<Lease*> leases = std::move(it->second);
  open_by_owner_.erase(it);
  for (Lease* lease : leases)
    finish(lease);
}

void LeaseTable::finish(Lease* lease) {
  lease->open = false;
  --stats_.open_leases;
  ++stats_.closed_leases;
  release_if_done(lease);
}

void LeaseTable::release_if_done(Lease* lease) {
  if (lease->open || lease->live_objects != 0) return;
  const Extent extent = lease->extent;
  const bool was_filled = extent.reserved || lease->noted_bytes != 0;
  // A worker may have lied about sizes; what is left of its sum goes with the lease.
  stats_.live_bytes -= lease->live_bytes;
  stats_.leased_bytes -= extent.size_bytes;
  --stats_.closed_leases;
  if (extent.size_bytes <= kMaxIndexedBytes) index_.set(extent.offset, extent.size_bytes, nullptr);
  leases_.erase(extent.offset);
  if (was_filled) {
    extents_.free(extent);
  } else {
    extents_.discard(extent);
  }
}

bool LeaseTable::has_object(std::uint64_t offset) const {
  const Lease* lease = find(offset);
  return lease != nullptr && lease->has_start(lease->start_of(offset));
}

bool LeaseTable::may_write(ProcessId owner, std::uint64_t offset, std::uint64_t size_bytes) const {
  const Lease* lease = find(offset);
  return lease != nullptr && lease->open && lease->owner == owner &&
         lease->contains(offset, size_bytes);
}

}  // namespace haz
