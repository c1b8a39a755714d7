#include "store/value_store.h"

#include <algorithm>
#include <string>
#include <vector>

namespace haz {

namespace {

std::uint64_t reserve_of(std::uint64_t limit_bytes) {
  constexpr std::uint64_t kShare = 8;
  return std::clamp(limit_bytes / kShare, 4 * kMiB, 256 * kMiB);
}

std::uint64_t urgent_limit(std::uint64_t limit_bytes) { return limit_bytes + limit_bytes / 2; }

}  // namespace

ValueStore::ValueStore(Arena& arena, std::uint64_t begin, std::uint64_t end,
                       std::uint64_t limit_bytes)
    : limit_bytes_(limit_bytes),
      extents_(arena, {.begin = begin,
                       .end = end,
                       .limit_bytes = limit_bytes + reserve_of(limit_bytes),
                       .trims_later = true}),
      chunks_(extents_),
      leases_(extents_) {}

bool ValueStore::possible(std::uint64_t size) const { return size <= limit_bytes_; }

Error ValueStore::room_error(std::uint64_t size) const {
  return Error{ErrorKind::kOverloaded,
               "the object store has no room for " + std::to_string(size) + " bytes: " +
                   std::to_string(usage().used) + " of " + std::to_string(limit_bytes_) +
                   " bytes are in use. Drop refs and views that are no longer needed, or give " +
                   "init() a greater object_store_memory"};
}

/// `cause`: of the extents.
Error ValueStore::room_error(std::uint64_t size, const Error& cause) const {
  Error error = room_error(size);
  error.message += " (" + cause.message + ")";
  return error;
}

Status ValueStore::check_limit(std::uint64_t size, StoreUse use) const {
  if (!possible(size)) return room_error(size);
  const bool fits =
      use == StoreUse::kMessage ||
      usage().used + size <= (use == StoreUse::kValue ? limit_bytes_ : urgent_limit(limit_bytes_));
  if (!fits) return room_error(size);
  return Ok{};
}

/// Beyond the limit lie the reserve and the urgent values that there are.
void ValueStore::settle_limit() {
  std::uint64_t beyond = reserve_of(limit_bytes_);
  std::erase_if(urgent_,
                [this](const auto& entry) { return !extents_.is_live(entry.first, entry.second); });
  for (const auto& [offset, size] : urgent_)
    beyond += size;
  extents_.set_limit_bytes(limit_bytes_ + beyond);
}

Result<StoreBlock> ValueStore::allocate(std::uint64_t size, StoreUse use) {
  if (!urgent_.empty()) settle_limit();
  if (size <= ChunkAllocator::kMaxBlockBytes) {
    auto block = chunks_.allocate(size == 0 ? 1 : size);
    if (!block) return room_error(size, block.error());
    return StoreBlock{block->offset, block->size_bytes, false};
  }
  if (const Status allowed = check_limit(size, use); !allowed) return allowed.error();
  auto extent = extents_.allocate(size, can_populate() ? Reserve::kByCaller : Reserve::kNow);
  if (!extent) return room_error(size, extent.error());
  host_extents_.emplace(extent->offset, *extent);
  return StoreBlock{extent->offset, extent->size_bytes, !extent->reserved};
}

void ValueStore::give_back(std::uint64_t offset) {
  const auto extent = host_extents_.find(offset);
  if (extent == host_extents_.end()) {
    free(offset);
    return;
  }
  extents_.discard(extent->second);
  host_extents_.erase(extent);
}

void ValueStore::free(std::uint64_t offset) {
  if (const auto extent = host_extents_.find(offset); extent != host_extents_.end()) {
    extents_.free(extent->second);
    host_extents_.erase(extent);
    return;
  }
  if (const auto leased = leased_sizes_.find(offset); leased != leased_sizes_.end()) {
    (void)leases_.drop_object(offset, leased->second);
    leased_sizes_.erase(leased);
    return;
  }
  (void)chunks_.free(offset);
}

/// Leases an extent; an urgent one beyond the limit.
Result<Extent> ValueStore::lease(ProcessId process, std::uint64_t size, StoreUse use,
                                 Reserve reserve) {
  if (!urgent_.empty()) settle_limit();
  const bool is_urgent = use == StoreUse::kUrgentValue;
  // Alone it may take what the check allows, whatever the extent's real size is.
  if (is_urgent) extents_.set_limit_bytes(2 * extents_.limit_bytes());
  auto extent = leases_.lease(process, size, reserve);
  if (is_urgent) {
    if (extent.ok()) urgent_.emplace(extent->offset, extent->size_bytes);
    settle_limit();
  }
  return extent;
}

Result<StoreBlock> ValueStore::lease_chunk(ProcessId process, StoreUse use) {
  // Small values may fill the reserve, too.
  if (use == StoreUse::kUrgentValue) {
    if (const Status allowed = check_limit(kChunkBytes, use); !allowed) return allowed.error();
  }
  auto extent = lease(process, kChunkBytes, use, Reserve::kNow);
  if (!extent) return room_error(kChunkBytes, extent.error());
  return StoreBlock{extent->offset, extent->size_bytes, false};
}

Result<StoreBlock> ValueStore::lease_value(ProcessId process, std::uint64_t size, StoreUse use) {
  if (const Status allowed = check_limit(size, use); !allowed) return allowed.error();
  const bool by_process = use != StoreUse::kMessage && can_populate();
  auto extent = lease(process, size, use, by_process ? Reserve::kByCaller : Reserve::kNow);
  if (!extent) return room_error(size, extent.error());
  value_leases_.emplace(extent->offset, process);
  return StoreBlock{extent->offset, extent->size_bytes, !extent->reserved};
}

bool ValueStore::adopt(ProcessId process, std::uint64_t offset, std::uint64_t size) {
  if (!leases_.note_object(process, offset, size)) return false;
  leased_sizes_.emplace(offset, size);
  if (value_leases_.erase(offset) != 0) (void)leases_.close(process, offset);
  return true;
}

void ValueStore::close_chunk(ProcessId process, std::uint64_t offset) {
  if (!value_leases_.contains(offset)) (void)leases_.close(process, offset);
}

void ValueStore::lend(ProcessId process, std::uint64_t offset) { lent_.emplace(offset, process); }

void ValueStore::discard(ProcessId process, std::uint64_t offset) {
  if (const auto lent = lent_.find(offset); lent != lent_.end() && lent->second == process) {
    lent_.erase(lent);
    free(offset);
    return;
  }
  const auto lease = value_leases_.find(offset);
  if (lease == value_leases_.end() || lease->second != process) return;
  value_leases_.erase(lease);
  (void)leases_.close(process, offset);
}

void ValueStore::process_ended(ProcessId process) {
  leases_.close_all(process);
  std::erase_if(value_leases_, [process](const auto& entry) { return entry.second == process; });
  std::vector<std::uint64_t> lent;
  for (const auto& [offset, borrower] : lent_) {
    if (borrower == process) lent.push_back(offset);
  }
  for (const std::uint64_t offset : lent) {
    lent_.erase(offset);
    free(offset);
  }
}

StoreUsage ValueStore::usage() const {
  const ExtentStats stats = extents_.stats();
  return {.limit = limit_bytes_, .used = stats.in_use_bytes, .peak = stats.peak_in_use_bytes};
}

}  // namespace haz
