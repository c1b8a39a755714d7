#include "shm/extent_allocator.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "base/units.h"

namespace haz {

namespace {

/// Keeps a set of pages as a file does, and fails when told to.
class FakeBacking final : public ExtentBacking {
 public:
  Status reserve(std::uint64_t offset, std::uint64_t size_bytes) override {
    ++reserve_calls;
    if (broken) return Error{ErrorKind::kLost, "closed"};
    for (std::uint64_t page = offset; page < offset + size_bytes; page += kPage) {
      if (pages.size() * kPage >= capacity_bytes) {
        return Error{ErrorKind::kOverloaded, "the machine is full"};
      }
      pages.insert(page);
    }
    return Ok{};
  }

  bool punch(std::uint64_t offset, std::uint64_t size_bytes) override {
    if (!can_punch) return false;
    pages.erase(pages.lower_bound(offset), pages.lower_bound(offset + size_bytes));
    punched.push_back({offset, offset + size_bytes});
    return true;
  }

  [[nodiscard]] std::uint64_t backed_bytes() const { return pages.size() * kPage; }

  static constexpr std::uint64_t kPage = 4 * kKiB;
  std::uint64_t capacity_bytes = ~std::uint64_t{0};
  bool can_punch = true;
  bool broken = false;
  int reserve_calls = 0;
  std::set<std::uint64_t> pages;
  std::vector<detail::ByteRange> punched;
};

class ExtentAllocatorTest : public testing::Test {
 protected:
  static ExtentAllocatorOptions options(std::uint64_t limit_bytes = 256 * kMiB) {
    ExtentAllocatorOptions options;
    options.begin = kMiB;
    options.end = kMiB + kGiB;
    options.limit_bytes = limit_bytes;
    options.warm_budget_bytes = 64 * kMiB;
    return options;
  }

  FakeBacking backing_;
};

}  // namespace

TEST_F(ExtentAllocatorTest, SmallAndLargeComeFromOppositeEnds) {
  ExtentAllocator extents(backing_, options());
  const Extent small = *extents.allocate(100);
  const Extent large = *extents.allocate(10 * kMiB);
  EXPECT_EQ(small.offset, kMiB);
  EXPECT_EQ(small.size_bytes, 4 * kKiB);
  EXPECT_EQ(small.cold_bytes, 4 * kKiB);
  EXPECT_EQ(large.offset + large.size_bytes, kMiB + kGiB);
}

TEST_F(ExtentAllocatorTest, SizesAreRoundedToTheGranule) {
  ExtentAllocator extents(backing_, options());
  EXPECT_EQ(extents.allocate(4097)->size_bytes, 8 * kKiB);
  EXPECT_EQ(extents.allocate(kMiB - 1)->size_bytes, kMiB);
  EXPECT_EQ(extents.allocate(kMiB + 1)->size_bytes, kMiB + 64 * kKiB);
}

TEST_F(ExtentAllocatorTest, ImpossibleSizesAreErrorsAndChangeNothing) {
  ExtentAllocator extents(backing_, options());
  EXPECT_EQ(extents.allocate(0).error().kind, ErrorKind::kInvalid);
  for (const std::uint64_t size : {257 * kMiB, 2 * kGiB, ~std::uint64_t{0}}) {
    EXPECT_EQ(extents.allocate(size).error().kind, ErrorKind::kOverloaded);
  }
  EXPECT_EQ(extents.stats().in_use_bytes, 0U);
  EXPECT_EQ(extents.stats().failures, 4U);
  EXPECT_EQ(backing_.reserve_calls, 0);
}

TEST_F(ExtentAllocatorTest, FreedMemoryIsHandedOutAgain) {
  ExtentAllocator extents(backing_, options());
  const Extent first = *extents.allocate(10 * kMiB);
  extents.free(first);
  const Extent again = *extents.allocate(10 * kMiB);
  EXPECT_EQ(again.offset, first.offset);
  EXPECT_EQ(again.cold_bytes, 0U);
  EXPECT_EQ(backing_.reserve_calls, 1);
}

TEST_F(ExtentAllocatorTest, BestFitAmongWarmThenTheMostRecent) {
  ExtentAllocator extents(backing_, options());
  std::vector<Extent> held;
  std::vector<Extent> fences;
  for (const std::uint64_t size : {8 * kMiB, 2 * kMiB, 2 * kMiB, 4 * kMiB}) {
    held.push_back(*extents.allocate(size));
    fences.push_back(*extents.allocate(kMiB));
  }
  for (const Extent& extent : held)
    extents.free(extent);
  EXPECT_EQ(extents.allocate(2 * kMiB)->offset, held[2].offset);
  EXPECT_EQ(extents.allocate(2 * kMiB)->offset, held[1].offset);
  EXPECT_EQ(extents.allocate(3 * kMiB)->cold_bytes, 0U);
  EXPECT_EQ(extents.allocate(7 * kMiB)->cold_bytes, 0U);
  EXPECT_EQ(extents.stats().warm_bytes, 2 * kMiB);
}

TEST_F(ExtentAllocatorTest, WarmExtentIsSplitRatherThanColdTouched) {
  ExtentAllocator extents(backing_, options());
  extents.free(*extents.allocate(10 * kMiB));
  const Extent small = *extents.allocate(4 * kKiB);
  EXPECT_EQ(small.cold_bytes, 0U);
  EXPECT_EQ(extents.stats().warm_bytes, 10 * kMiB - 4 * kKiB);
}

TEST_F(ExtentAllocatorTest, WarmExtentGrowsIntoColdNeighbours) {
  ExtentAllocator extents(backing_, options());
  extents.free(*extents.allocate(10 * kMiB));
  const Extent small = *extents.allocate(4 * kKiB);
  const Extent large = *extents.allocate(11 * kMiB);
  EXPECT_EQ(large.cold_bytes, kMiB + 4 * kKiB);
  EXPECT_EQ(extents.stats().warm_bytes, 0U);
  extents.free(small);
  extents.free(large);
  EXPECT_EQ(extents.stats().warm_bytes, 11 * kMiB + 4 * kKiB);
  EXPECT_EQ(extents.stats().warm_pieces, 1U);
}

TEST_F(ExtentAllocatorTest, BeyondTheBudgetTheColdestIsPunched) {
  ExtentAllocator extents(backing_, options());
  std::vector<Extent> held;
  std::vector<Extent> fences;
  for (int i = 0; i < 5; ++i) {
    held.push_back(*extents.allocate(16 * kMiB));
    fences.push_back(*extents.allocate(kMiB));
  }
  for (int i = 0; i < 4; ++i)
    extents.free(held[static_cast<std::size_t>(i)]);
  EXPECT_TRUE(backing_.punched.empty());
  extents.free(held[4]);
  EXPECT_FALSE(backing_.punched.empty());
  EXPECT_LE(extents.stats().warm_bytes, 64 * kMiB);
  for (const auto& range : backing_.punched) {
    EXPECT_TRUE((range.begin >= held[0].offset && range.end <= held[0].offset + 16 * kMiB) ||
                (range.begin >= held[1].offset && range.end <= held[1].offset + 16 * kMiB));
  }
  EXPECT_EQ(extents.allocate(16 * kMiB)->offset, held[4].offset);
}

TEST_F(ExtentAllocatorTest, WhatIsTooMuchMayBePunchedLater) {
  ExtentAllocatorOptions later = options();
  later.trims_later = true;
  ExtentAllocator extents(backing_, later);
  std::vector<Extent> held;
  for (int i = 0; i < 5; ++i)
    held.push_back(*extents.allocate(16 * kMiB));
  EXPECT_FALSE(extents.begin_trim(kMiB).has_value());
  for (const Extent& extent : held)
    extents.free(extent);
  EXPECT_TRUE(backing_.punched.empty());
  EXPECT_EQ(extents.stats().warm_bytes, 80 * kMiB);
  std::vector<Extent> meanwhile;
  while (const auto range = extents.begin_trim(4 * kMiB)) {
    EXPECT_LE(range->size(), 4 * kMiB);
    meanwhile.push_back(*extents.allocate(kMiB));
    const Extent& other = meanwhile.back();
    EXPECT_TRUE(other.offset + other.size_bytes <= range->begin || other.offset >= range->end);
    EXPECT_TRUE(backing_.punch(range->begin, range->size()));
    extents.end_trim(*range, true);
  }
  EXPECT_LE(extents.stats().warm_bytes, 60 * kMiB);
  EXPECT_EQ(extents.stats().in_use_bytes, meanwhile.size() * kMiB);
  EXPECT_EQ(extents.stats().cold_bytes + extents.stats().warm_bytes,
            kGiB - extents.stats().in_use_bytes);
  EXPECT_FALSE(extents.begin_trim(kMiB).has_value()) << "not before more is too much again";
  for (const Extent& extent : meanwhile)
    extents.free(extent);
}

TEST_F(ExtentAllocatorTest, WhatCanNotBePunchedLaterStaysWarm) {
  ExtentAllocatorOptions later = options();
  later.trims_later = true;
  ExtentAllocator extents(backing_, later);
  extents.free(*extents.allocate(100 * kMiB));
  const auto range = extents.begin_trim(kMiB);
  ASSERT_TRUE(range.has_value());
  EXPECT_EQ(extents.stats().warm_bytes, 99 * kMiB);
  extents.end_trim(*range, false);
  EXPECT_EQ(extents.stats().warm_bytes, 100 * kMiB);
  EXPECT_FALSE(extents.begin_trim(kMiB).has_value()) << "it is not tried again at once";
  EXPECT_EQ(extents.allocate(100 * kMiB)->cold_bytes, 0U);
}

TEST_F(ExtentAllocatorTest, TrimGivesBackAllButWhatIsAsked) {
  ExtentAllocator extents(backing_, options());
  extents.free(*extents.allocate(40 * kMiB));
  extents.trim(10 * kMiB);
  EXPECT_EQ(extents.stats().warm_bytes, 10 * kMiB);
  EXPECT_EQ(backing_.backed_bytes(), 10 * kMiB);
  extents.trim(0);
  EXPECT_EQ(extents.stats().warm_bytes, 0U);
  EXPECT_EQ(extents.stats().cold_bytes, kGiB);
}

TEST_F(ExtentAllocatorTest, WarmMemoryMakesRoomUnderTheLimit) {
  ExtentAllocator extents(backing_, options(64 * kMiB));
  std::vector<Extent> held;
  for (int i = 0; i < 8; ++i)
    held.push_back(*extents.allocate(8 * kMiB));
  EXPECT_EQ(extents.allocate(1).error().kind, ErrorKind::kOverloaded);
  for (std::size_t i = 0; i < 8; i += 2)
    extents.free(held[i]);
  EXPECT_EQ(extents.largest_possible(), 32 * kMiB);
  auto large = extents.allocate(32 * kMiB);
  ASSERT_TRUE(large.ok());
  EXPECT_EQ(extents.stats().in_use_bytes, 64 * kMiB);
  EXPECT_EQ(extents.stats().warm_bytes, 0U);
  EXPECT_EQ(extents.largest_possible(), 0U);
}

TEST_F(ExtentAllocatorTest, WhenTheMachineIsFullWarmMemoryIsGivenUp) {
  ExtentAllocator extents(backing_, options());
  const Extent first = *extents.allocate(16 * kMiB);
  const Extent fence = *extents.allocate(kMiB);
  const Extent second = *extents.allocate(8 * kMiB);
  extents.free(first);
  backing_.capacity_bytes = 32 * kMiB;
  EXPECT_TRUE(extents.allocate(23 * kMiB).ok());
  EXPECT_EQ(backing_.backed_bytes(), 32 * kMiB);
  EXPECT_EQ(extents.stats().warm_bytes, 0U);
  EXPECT_EQ(extents.allocate(4 * kKiB).error().kind, ErrorKind::kOverloaded);
  EXPECT_EQ(backing_.backed_bytes(), 32 * kMiB);
  extents.free(fence);
  EXPECT_TRUE(extents.allocate(4 * kKiB).ok());
  extents.free(second);
}

TEST_F(ExtentAllocatorTest, FailedReserveChangesNothing) {
  ExtentAllocator extents(backing_, options());
  extents.free(*extents.allocate(10 * kMiB));
  const Extent kept = *extents.allocate(5 * kMiB);
  const ExtentStats before = extents.stats();
  backing_.broken = true;
  auto failed = extents.allocate(20 * kMiB);
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.error().kind, ErrorKind::kLost);
  backing_.broken = false;
  const ExtentStats after = extents.stats();
  EXPECT_EQ(after.in_use_bytes, before.in_use_bytes);
  EXPECT_EQ(after.warm_bytes, before.warm_bytes);
  EXPECT_EQ(after.cold_bytes, before.cold_bytes);
  EXPECT_TRUE(extents.allocate(20 * kMiB).ok());
  extents.free(kept);
}

TEST_F(ExtentAllocatorTest, MemoryThatCannotBePunchedStillCounts) {
  backing_.can_punch = false;
  ExtentAllocator extents(backing_, options(16 * kMiB));
  const Extent low = *extents.allocate(100 * kKiB);
  extents.free(*extents.allocate(8 * kMiB));
  EXPECT_EQ(extents.stats().warm_bytes, 8 * kMiB);
  EXPECT_TRUE(extents.allocate(8 * kMiB).ok());
  extents.discard(low);
  EXPECT_EQ(extents.stats().warm_bytes, 100 * kKiB);
}

TEST_F(ExtentAllocatorTest, CallersOwnReserveAndDiscard) {
  ExtentAllocator extents(backing_, options());
  const Extent extent = *extents.allocate(10 * kMiB, Reserve::kByCaller);
  EXPECT_EQ(extent.cold_bytes, extent.size_bytes);
  EXPECT_FALSE(extent.reserved);
  EXPECT_EQ(backing_.reserve_calls, 0);
  extents.discard(extent);
  EXPECT_EQ(extents.stats().warm_bytes, 0U);
  ASSERT_EQ(backing_.punched.size(), 1U);
  EXPECT_EQ(backing_.punched[0].size(), extent.size_bytes);
}

TEST_F(ExtentAllocatorTest, MostlyWarmExtentIsReservedAllTheSame) {
  ExtentAllocator extents(backing_, options());
  extents.free(*extents.allocate(10 * kMiB));
  const Extent extent = *extents.allocate(11 * kMiB, Reserve::kByCaller);
  EXPECT_EQ(extent.cold_bytes, kMiB);
  EXPECT_TRUE(extent.reserved);
  EXPECT_EQ(backing_.backed_bytes(), 11 * kMiB);
}

TEST_F(ExtentAllocatorTest, DefaultWarmBudgetIsAQuarterAndAtLeast256MiB) {
  ExtentAllocatorOptions small = options(512 * kMiB);
  small.warm_budget_bytes = ExtentAllocatorOptions::kDefaultWarmBudget;
  EXPECT_EQ(ExtentAllocator(backing_, small).warm_budget_bytes(), 256 * kMiB);
  small.limit_bytes = 8 * kGiB;
  EXPECT_EQ(ExtentAllocator(backing_, small).warm_budget_bytes(), 2 * kGiB);
}

TEST_F(ExtentAllocatorTest, KnowsWhatIsLive) {
  ExtentAllocator extents(backing_, options());
  const Extent extent = *extents.allocate(5000);
  EXPECT_TRUE(extents.is_live(extent.offset, extent.size_bytes));
  EXPECT_FALSE(extents.is_live(extent.offset, 5000));
  EXPECT_FALSE(extents.is_live(extent.offset + 4096, 4096));
  extents.free(extent);
  EXPECT_FALSE(extents.is_live(extent.offset, extent.size_bytes));
}

TEST_F(ExtentAllocatorTest, BadFreesAbort) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  ExtentAllocator extents(backing_, options());
  const Extent extent = *extents.allocate(8 * kKiB);
  EXPECT_DEATH(extents.free(Extent{extent.offset + 4096, 4096}), "not in use");
  EXPECT_DEATH(extents.free(Extent{extent.offset, 4096}), "another size");
  extents.free(extent);
  EXPECT_DEATH(extents.free(extent), "not in use");
}

}  // namespace haz
