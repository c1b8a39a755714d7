#include "shm/extent_allocator.h"

#include <algorithm>
#include <iterator>
#include <string>

#include "base/check.h"

namespace haz {
namespace detail {

void RangeSet::add(std::uint64_t begin, Entry entry) {
  by_place_.emplace(begin, entry);
  by_size_.insert(size_key(begin, entry));
  by_age_.emplace(entry.time, begin);
  total_bytes_ += entry.end - begin;
}

RangeSet::ByPlace::iterator RangeSet::drop(ByPlace::iterator it) {
  by_size_.erase(size_key(it->first, it->second));
  by_age_.erase({it->second.time, it->first});
  total_bytes_ -= it->second.end - it->first;
  return by_place_.erase(it);
}

void RangeSet::insert(ByteRange range, std::uint64_t time) {
  Entry merged{range.end, time};
  auto next = by_place_.lower_bound(range.begin);
  HAZ_CHECK(next == by_place_.end() || next->first >= range.end, "free ranges overlap");
  if (next != by_place_.end() && next->first == range.end) {
    merged.end = next->second.end;
    merged.time = std::max(merged.time, next->second.time);
    next = drop(next);
  }
  if (next != by_place_.begin()) {
    const auto previous = std::prev(next);
    HAZ_CHECK(previous->second.end <= range.begin, "free ranges overlap");
    if (previous->second.end == range.begin) {
      range.begin = previous->first;
      merged.time = std::max(merged.time, previous->second.time);
      drop(previous);
    }
  }
  add(range.begin, merged);
}

void RangeSet::remove(ByteRange range, std::vector<Piece>* removed) {
  auto it = by_place_.lower_bound(range.begin);
  if (it != by_place_.begin() && std::prev(it)->second.end > range.begin) --it;
  while (it != by_place_.end() && it->first < range.end) {
    const std::uint64_t begin = it->first;
    const Entry entry = it->second;
    it = drop(it);
    const ByteRange part{std::max(begin, range.begin), std::min(entry.end, range.end)};
    if (removed != nullptr) removed->push_back(Piece{part, entry.time});
    if (begin < part.begin) add(begin, Entry{part.begin, entry.time});
    if (part.end < entry.end) {
      add(part.end, entry);
      return;
    }
  }
}

std::optional<ByteRange> RangeSet::best_fit(std::uint64_t size_bytes) const {
  const auto it = by_size_.lower_bound(SizeKey{size_bytes, 0, 0});
  if (it == by_size_.end()) return std::nullopt;
  return ByteRange{std::get<2>(*it), std::get<2>(*it) + std::get<0>(*it)};
}

std::optional<ByteRange> RangeSet::containing(std::uint64_t offset) const {
  auto it = by_place_.upper_bound(offset);
  if (it == by_place_.begin()) return std::nullopt;
  --it;
  if (it->second.end <= offset) return std::nullopt;
  return ByteRange{it->first, it->second.end};
}

std::optional<ByteRange> RangeSet::oldest() const {
  if (by_age_.empty()) return std::nullopt;
  return containing(by_age_.begin()->second);
}

std::uint64_t RangeSet::largest_bytes() const {
  return by_size_.empty() ? 0 : std::get<0>(*by_size_.rbegin());
}

}  // namespace detail

namespace {

constexpr std::uint64_t kLeastDefaultWarmBudget = 256 * kMiB;
/// Warm pieces that are tried for growing before cold memory is taken instead.
constexpr int kMaxGrowthCandidates = 8;
/// A warm piece is worth growing when it has at least this share of what is needed.
constexpr std::uint64_t kWorthwhileShare = 8;
/// Below this share of cold memory an extent is better reserved first and then copied to as if
/// warm.
constexpr std::uint64_t kMostlyWarmShare = 4;
/// Above the budget, this share of it is punched at once, so that a system call pays for many
/// frees.
constexpr std::uint64_t kTrimShare = 16;

}  // namespace

ExtentAllocator::ExtentAllocator(ExtentBacking& backing, const ExtentAllocatorOptions& options)
    : backing_(backing), options_(options) {
  const std::uint64_t mask = options_.granule_bytes - 1;
  HAZ_CHECK(options_.granule_bytes != 0 && (options_.granule_bytes & mask) == 0 &&
                (options_.begin & mask) == 0 && (options_.end & mask) == 0 &&
                options_.begin < options_.end,
            "bad extent space");
  if (options_.warm_budget_bytes == ExtentAllocatorOptions::kDefaultWarmBudget) {
    options_.warm_budget_bytes = std::max(options_.limit_bytes / 4, kLeastDefaultWarmBudget);
  }
  spans_.insert(ByteRange{options_.begin, options_.end}, 0);
}

std::uint64_t ExtentAllocator::rounded(std::uint64_t size_bytes) const {
  const std::uint64_t granule = size_bytes >= kCoarseFromBytes
                                    ? std::max(options_.granule_bytes, kCoarseGranuleBytes)
                                    : options_.granule_bytes;
  return align_up(size_bytes, granule);
}

Result<Extent> ExtentAllocator::allocate(std::uint64_t size_bytes, Reserve reserve) {
  if (size_bytes == 0) return fail(ErrorKind::kInvalid, 0, "an extent can't be empty");
  if (size_bytes > options_.limit_bytes || rounded(size_bytes) > options_.limit_bytes) {
    return fail(ErrorKind::kOverloaded, size_bytes, "that's more than the whole limit");
  }
  const std::uint64_t size = rounded(size_bytes);
  if (in_use_bytes_ + size > options_.limit_bytes) {
    return fail(ErrorKind::kOverloaded, size_bytes, "too much is in use");
  }
  const auto window = choose(size);
  if (!window) {
    return fail(ErrorKind::kOverloaded, size_bytes, "no free range is long enough (fragmented)");
  }

  std::vector<RangeSet::Piece> reused;
  warm_.remove(*window, &reused);
  spans_.remove(*window);
  std::vector<ByteRange> cold;
  std::uint64_t cold_bytes = 0;
  std::uint64_t place = window->begin;
  const auto add_cold = [&](std::uint64_t end) {
    if (end > place) cold.push_back(ByteRange{place, end});
    cold_bytes += end - place;
  };
  for (const auto& piece : reused) {
    add_cold(piece.range.begin);
    place = piece.range.end;
  }
  add_cold(window->end);

  Status status = Ok{};
  const std::uint64_t wanted = in_use_bytes_ + size + warm_.total_bytes();
  if (wanted > options_.limit_bytes) {
    const std::uint64_t excess = wanted - options_.limit_bytes;
    if (punch_coldest(excess) < excess) {
      status = Error{ErrorKind::kOverloaded, "free memory can't be given back to the system"};
    }
  }
  const bool left_to_caller = reserve == Reserve::kByCaller && cold_bytes > size / kMostlyWarmShare;
  if (status && !left_to_caller) status = back(cold, cold_bytes);
  if (!status) {
    spans_.insert(*window, 0);
    for (const auto& piece : reused)
      warm_.insert(piece.range, piece.time);
    return fail(status.error().kind, size_bytes, status.error().message.c_str());
  }

  live_.emplace(window->begin, size);
  in_use_bytes_ += size;
  counts_.peak_in_use_bytes = std::max(counts_.peak_in_use_bytes, in_use_bytes_);
  counts_.first_touch_bytes += cold_bytes;
  ++counts_.allocations;
  return Extent{window->begin, size, cold_bytes, !left_to_caller};
}

std::optional<detail::ByteRange> ExtentAllocator::choose(std::uint64_t size_bytes) const {
  auto window = inside_warm(size_bytes);
  if (!window) window = around_warm(size_bytes);
  if (!window) window = inside_span(size_bytes);
  return window;
}

std::optional<detail::ByteRange> ExtentAllocator::inside_warm(std::uint64_t size_bytes) const {
  const auto piece = warm_.best_fit(size_bytes);
  if (!piece) return std::nullopt;
  // What is left over should still be able to grow into free memory beside it.
  const auto span = spans_.containing(piece->begin);
  const bool can_grow_down = span->begin < piece->begin;
  const bool can_grow_up = piece->end < span->end;
  const bool take_low = can_grow_down == can_grow_up ? size_bytes <= kSmallBytes : can_grow_up;
  if (take_low) return ByteRange{piece->begin, piece->begin + size_bytes};
  return ByteRange{piece->end - size_bytes, piece->end};
}

std::optional<detail::ByteRange> ExtentAllocator::around_warm(std::uint64_t size_bytes) const {
  std::optional<ByteRange> window;
  int candidates = 0;
  warm_.visit_largest_first([&](ByteRange piece) {
    if (piece.size() < size_bytes / kWorthwhileShare) return true;
    const auto span = spans_.containing(piece.begin);
    if (span->size() < size_bytes) return ++candidates == kMaxGrowthCandidates;
    // Grow down, as large extents are placed from the high end; up where there's no room below.
    const std::uint64_t end = std::max(piece.end, span->begin + size_bytes);
    window = ByteRange{end - size_bytes, end};
    return true;
  });
  return window;
}

std::optional<detail::ByteRange> ExtentAllocator::inside_span(std::uint64_t size_bytes) const {
  const auto span = spans_.best_fit(size_bytes);
  if (!span) return std::nullopt;
  if (size_bytes <= kSmallBytes) return ByteRange{span->begin, span->begin + size_bytes};
  return ByteRange{span->end - size_bytes, span->end};
}

Status ExtentAllocator::back(const std::vector<ByteRange>& cold, std::uint64_t cold_bytes) {
  Status status = Ok{};
  for (std::size_t done = 0; done < cold.size();) {
    status = backing_.reserve(cold[done].begin, cold[done].size());
    if (status) {
      ++done;
      continue;
    }
    backing_.punch(cold[done].begin, cold[done].size());
    // The machine is short of memory: give up what is warm, and try again while that yields some.
    const bool retry = status.error().kind == ErrorKind::kOverloaded &&
                       punch_coldest(std::min(cold_bytes, warm_.total_bytes())) > 0;
    if (retry) continue;
    for (std::size_t i = 0; i < done; ++i)
      backing_.punch(cold[i].begin, cold[i].size());
    return status;
  }
  return status;
}

void ExtentAllocator::free(const Extent& extent) {
  const ByteRange range = take_back(extent);
  warm_.insert(range, ++clock_);
  if (warm_.total_bytes() <= options_.warm_budget_bytes) return;
  if (options_.trims_later) {
    trimming_ = true;
  } else {
    trim(kept_when_trimmed());
  }
}

void ExtentAllocator::discard(const Extent& extent) {
  const ByteRange range = take_back(extent);
  if (backing_.punch(range.begin, range.size())) {
    counts_.punched_bytes += range.size();
  } else {
    warm_.insert(range, ++clock_);
  }
}

detail::ByteRange ExtentAllocator::take_back(const Extent& extent) {
  const auto it = live_.find(extent.offset);
  HAZ_CHECK(it != live_.end(), "freed an extent that is not in use");
  HAZ_CHECK(it->second == extent.size_bytes, "freed an extent with another size");
  const ByteRange range{extent.offset, extent.offset + extent.size_bytes};
  live_.erase(it);
  in_use_bytes_ -= extent.size_bytes;
  spans_.insert(range, 0);
  return range;
}

void ExtentAllocator::trim(std::uint64_t keep_bytes) {
  if (warm_.total_bytes() > keep_bytes) punch_coldest(warm_.total_bytes() - keep_bytes);
}

std::uint64_t ExtentAllocator::punch_coldest(std::uint64_t at_least_bytes) {
  std::uint64_t punched = 0;
  while (punched < at_least_bytes) {
    auto piece = warm_.oldest();
    if (!piece) break;
    const std::uint64_t needed = align_up(at_least_bytes - punched, options_.granule_bytes);
    piece = part_to_punch(*piece, needed);
    if (!backing_.punch(piece->begin, piece->size())) break;
    warm_.remove(*piece);
    punched += piece->size();
  }
  counts_.punched_bytes += punched;
  return punched;
}

/// Of a warm piece, from the side where cold memory is, so that what stays warm doesn't split it.
detail::ByteRange ExtentAllocator::part_to_punch(ByteRange piece, std::uint64_t most_bytes) const {
  if (piece.size() <= most_bytes) return piece;
  const auto span = spans_.containing(piece.begin);
  if (span->begin < piece.begin) return ByteRange{piece.begin, piece.begin + most_bytes};
  return ByteRange{piece.end - most_bytes, piece.end};
}

std::optional<detail::ByteRange> ExtentAllocator::begin_trim(std::uint64_t most_bytes) {
  if (!trimming_) return std::nullopt;
  const std::uint64_t keep = kept_when_trimmed();
  const auto piece = warm_.oldest();
  if (!piece || warm_.total_bytes() <= keep) {
    trimming_ = false;
    return std::nullopt;
  }
  const std::uint64_t excess = align_up(warm_.total_bytes() - keep, options_.granule_bytes);
  const ByteRange part = part_to_punch(*piece, std::min(excess, most_bytes));
  warm_.remove(part);
  spans_.remove(part);
  return part;
}

void ExtentAllocator::end_trim(detail::ByteRange range, bool punched) {
  spans_.insert(range, 0);
  if (punched) {
    counts_.punched_bytes += range.size();
    return;
  }
  warm_.insert(range, ++clock_);
  trimming_ = false;  // until more is freed
}

std::uint64_t ExtentAllocator::kept_when_trimmed() const {
  return options_.warm_budget_bytes - options_.warm_budget_bytes / kTrimShare;
}

bool ExtentAllocator::is_live(std::uint64_t offset, std::uint64_t size_bytes) const {
  const auto it = live_.find(offset);
  return it != live_.end() && it->second == size_bytes;
}

std::uint64_t ExtentAllocator::largest_possible() const {
  const std::uint64_t room = options_.limit_bytes - std::min(options_.limit_bytes, in_use_bytes_);
  const std::uint64_t largest = std::min(room, spans_.largest_bytes());
  const std::uint64_t granule = largest >= kCoarseFromBytes
                                    ? std::max(options_.granule_bytes, kCoarseGranuleBytes)
                                    : options_.granule_bytes;
  return largest & ~(granule - 1);
}

ExtentStats ExtentAllocator::stats() const {
  ExtentStats stats = counts_;
  stats.in_use_bytes = in_use_bytes_;
  stats.warm_bytes = warm_.total_bytes();
  stats.cold_bytes = spans_.total_bytes() - warm_.total_bytes();
  stats.live_extents = live_.size();
  stats.warm_pieces = warm_.count();
  return stats;
}

Error ExtentAllocator::fail(ErrorKind kind, std::uint64_t size_bytes, const char* why) {
  ++counts_.failures;
  return Error{kind, "cannot allocate " + std::to_string(size_bytes) + " bytes of shared memory: " +
                         why + " (limit " + std::to_string(options_.limit_bytes) + ", in use " +
                         std::to_string(in_use_bytes_) + ")"};
}

}  // namespace haz
