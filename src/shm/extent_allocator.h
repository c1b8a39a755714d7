/// @file
/// Hands out extents of the arena: pure bookkeeping in the host's private memory. Memory itself
/// comes and goes through ExtentBacking.
///
/// Every byte of the object space is in use, warm (free, but its pages are still there) or cold (no
/// page behind it). The first touch of a page costs about fifty times what writing to a warm one
/// costs, so allocation prefers, in this order:
/// 1. the smallest warm piece that fits, the most recently freed among equals;
/// 2. a large warm piece that can grow into free neighbours, so that only the rest is cold;
/// 3. the smallest free span that fits: its low end for small extents, its high end for large ones,
///    so that long-lived small ones don't cut up the room of the large.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "base/units.h"

namespace haz {

/// Where an allocator's memory comes from. Offsets and sizes are multiples of the granule.
class ExtentBacking {
 public:
  ExtentBacking() = default;
  ExtentBacking(const ExtentBacking&) = delete;
  ExtentBacking& operator=(const ExtentBacking&) = delete;
  virtual ~ExtentBacking() = default;

  /// Puts pages behind a range, so that touching it can't fail. After an error the allocator
  /// punches the range.
  virtual Status reserve(std::uint64_t offset, std::uint64_t size_bytes) = 0;

  /// Takes the pages of a range away; false when that's impossible, so that they still count.
  virtual bool punch(std::uint64_t offset, std::uint64_t size_bytes) = 0;
};

/// A piece of the arena that is in use.
struct Extent {
  std::uint64_t offset = 0;
  std::uint64_t size_bytes = 0;  ///< What was asked for, rounded up to the granule.
  std::uint64_t cold_bytes = 0;  ///< How much of it nobody has touched yet.
  bool reserved = true;          ///< Whether touching it can't fail; else use copy_to_cold().
};

/// Who puts pages behind the cold part of a new extent.
enum class Reserve : std::uint8_t {
  kNow,  ///< The allocator, before it returns.
  /// The caller, who copies into it at once, which is faster than doing it in two steps. Where less
  /// than a quarter is cold that doesn't pay, and the allocator does it all the same.
  kByCaller,
};

/// How an ExtentAllocator works. Sizes in bytes.
struct ExtentAllocatorOptions {
  static constexpr std::uint64_t kDefaultWarmBudget = ~std::uint64_t{0};

  std::uint64_t begin = 0;        ///< First offset to hand out; a multiple of the granule.
  std::uint64_t end = 0;          ///< First offset not to hand out; likewise.
  std::uint64_t limit_bytes = 0;  ///< Most that may be in use and warm together.
  /// How much stays warm when it's freed. By default a quarter of the limit, at least 256 MiB: a
  /// loop that puts and drops values of a tenth of the store never sees a cold page, and what an
  /// idle store withholds from the rest of the machine stays a small share of it.
  std::uint64_t warm_budget_bytes = kDefaultWarmBudget;
  /// Whether free() leaves it to begin_trim() to give back what is warm beyond the budget.
  bool trims_later = false;
  std::uint64_t granule_bytes = 4 * kKiB;  ///< At least the page size; a power of two.
};

/// What an ExtentAllocator holds and has done. Bytes are rounded as extents are.
struct ExtentStats {
  std::uint64_t in_use_bytes = 0;
  std::uint64_t peak_in_use_bytes = 0;
  std::uint64_t warm_bytes = 0;  ///< Free, with pages.
  std::uint64_t cold_bytes = 0;  ///< Free address space without pages.
  std::uint64_t live_extents = 0;
  std::uint64_t warm_pieces = 0;  ///< Runs of warm memory; many small ones mean fragmentation.
  std::uint64_t allocations = 0;
  std::uint64_t failures = 0;           ///< Allocations that returned an error.
  std::uint64_t first_touch_bytes = 0;  ///< Cold bytes ever handed out.
  std::uint64_t punched_bytes = 0;      ///< Warm bytes ever given back to the system.
};

namespace detail {

/// [begin, end) of the arena.
struct ByteRange {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  [[nodiscard]] std::uint64_t size() const { return end - begin; }
};

/// Disjoint ranges, adjacent ones merged, each with the time at which it was last added to. Found
/// by place, size and age in logarithmic time.
class RangeSet {
 public:
  /// A part of the set and its time.
  struct Piece {
    ByteRange range;
    std::uint64_t time = 0;
  };

  /// Adds a range that overlaps none; merges it with its neighbours.
  void insert(ByteRange range, std::uint64_t time);
  /// Removes what lies inside `range` and appends it to `removed`, if given.
  void remove(ByteRange range, std::vector<Piece>* removed = nullptr);
  /// The smallest range of at least `size_bytes`; among equals the youngest, then the lowest.
  [[nodiscard]] std::optional<ByteRange> best_fit(std::uint64_t size_bytes) const;
  /// The range that holds `offset`.
  [[nodiscard]] std::optional<ByteRange> containing(std::uint64_t offset) const;
  /// The range least recently added to.
  [[nodiscard]] std::optional<ByteRange> oldest() const;
  /// Size of the largest range, or 0.
  [[nodiscard]] std::uint64_t largest_bytes() const;
  /// Calls `visit(range)` for ranges from the largest down until it returns true.
  template <typename Visit>
  void visit_largest_first(Visit visit) const {
    for (auto it = by_size_.rbegin(); it != by_size_.rend(); ++it) {
      const std::uint64_t begin = std::get<2>(*it);
      if (visit(ByteRange{begin, begin + std::get<0>(*it)})) return;
    }
  }
  [[nodiscard]] std::uint64_t total_bytes() const { return total_bytes_; }
  [[nodiscard]] std::size_t count() const { return by_place_.size(); }

 private:
  struct Entry {
    std::uint64_t end = 0;
    std::uint64_t time = 0;
  };
  using ByPlace = std::map<std::uint64_t, Entry>;
  using SizeKey = std::tuple<std::uint64_t, std::uint64_t, std::uint64_t>;

  static SizeKey size_key(std::uint64_t begin, const Entry& entry) {
    return {entry.end - begin, ~entry.time, begin};
  }
  void add(std::uint64_t begin, Entry entry);
  ByPlace::iterator drop(ByPlace::iterator it);

  ByPlace by_place_;
  std::set<SizeKey> by_size_;
  std::set<std::pair<std::uint64_t, std::uint64_t>> by_age_;  ///< (time, begin)
  std::uint64_t total_bytes_ = 0;
};

}  // namespace detail

/// Allocates extents. Not thread-safe: the caller locks. Each call takes logarithmic time, plus the
/// backing's own.
class ExtentAllocator {
 public:
  /// Extents of up to this size come from the low end of the space.
  static constexpr std::uint64_t kSmallBytes = 256 * kKiB;
  /// Extents from this size on are rounded up to kCoarseGranuleBytes.
  static constexpr std::uint64_t kCoarseFromBytes = kMiB;
  static constexpr std::uint64_t kCoarseGranuleBytes = 64 * kKiB;

  /// `backing` outlives the allocator. All of [begin, end) starts out cold.
  ExtentAllocator(ExtentBacking& backing, const ExtentAllocatorOptions& options);

  /// An extent of at least `size_bytes`. Where memory is short, warm memory elsewhere is punched
  /// first. Errors: kInvalid (size 0), kOverloaded (the limit, the space or the machine's memory
  /// doesn't allow it now); the allocator is then as before, but for warm memory given up.
  Result<Extent> allocate(std::uint64_t size_bytes, Reserve reserve = Reserve::kNow);

  /// Takes back an extent that allocate() returned; its memory stays warm as far as the budget
  /// goes. Aborts on anything else: a double free here is a bug of the host.
  void free(const Extent& extent);

  /// Like free(), but keeps nothing warm. For extents of Reserve::kByCaller that were not filled.
  void discard(const Extent& extent);

  /// Gives warm memory back to the system, the least recently freed first, until at most
  /// `keep_bytes` are left.
  void trim(std::uint64_t keep_bytes);

  /// With `trims_later`: warm memory to give back to the system, at most `most_bytes` of it, which
  /// can't be allocated until end_trim(); in between the caller punches it, and others may use the
  /// allocator. None: no more is warm than should be.
  std::optional<detail::ByteRange> begin_trim(std::uint64_t most_bytes);
  /// What begin_trim() gave is cold now, or, if it could not be `punched`, warm again.
  void end_trim(detail::ByteRange range, bool punched);

  /// Whether an extent in use begins at `offset` and has this size. For what others claim.
  [[nodiscard]] bool is_live(std::uint64_t offset, std::uint64_t size_bytes) const;

  /// The largest size for which allocate() can succeed now, if the machine has the memory.
  [[nodiscard]] std::uint64_t largest_possible() const;

  [[nodiscard]] ExtentStats stats() const;
  [[nodiscard]] std::uint64_t limit_bytes() const { return options_.limit_bytes; }
  /// From now on so much may be in use and warm together. What is in use stays, even if it is more.
  void set_limit_bytes(std::uint64_t limit_bytes) { options_.limit_bytes = limit_bytes; }
  [[nodiscard]] std::uint64_t warm_budget_bytes() const { return options_.warm_budget_bytes; }

 private:
  using ByteRange = detail::ByteRange;
  using RangeSet = detail::RangeSet;

  [[nodiscard]] std::uint64_t rounded(std::uint64_t size_bytes) const;
  [[nodiscard]] std::optional<ByteRange> choose(std::uint64_t size_bytes) const;
  [[nodiscard]] std::optional<ByteRange> inside_warm(std::uint64_t size_bytes) const;
  [[nodiscard]] std::optional<ByteRange> around_warm(std::uint64_t size_bytes) const;
  [[nodiscard]] std::optional<ByteRange> inside_span(std::uint64_t size_bytes) const;
  Status back(const std::vector<ByteRange>& cold, std::uint64_t cold_bytes);
  [[nodiscard]] std::uint64_t kept_when_trimmed() const;
  std::uint64_t punch_coldest(std::uint64_t at_least_bytes);
  [[nodiscard]] ByteRange part_to_punch(ByteRange piece, std::uint64_t most_bytes) const;
  ByteRange take_back(const Extent& extent);
  Error fail(ErrorKind kind, std::uint64_t size_bytes, const char* why);

  ExtentBacking& backing_;
  ExtentAllocatorOptions options_;
  RangeSet spans_;                                         ///< All free memory.
  RangeSet warm_;                                          ///< The warm part of it.
  std::unordered_map<std::uint64_t, std::uint64_t> live_;  ///< Offset to size.
  std::uint64_t in_use_bytes_ = 0;
  bool trimming_ = false;    ///< More was warm than the budget, and too much still is.
  std::uint64_t clock_ = 0;  ///< Counts frees; the age of warm memory.
  ExtentStats counts_;       ///< Only the fields that can't be computed.
};

}  // namespace haz
