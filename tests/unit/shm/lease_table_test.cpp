#include "shm/lease_table.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "base/units.h"

namespace haz {

namespace {

class NoBacking final : public ExtentBacking {
 public:
  Status reserve(std::uint64_t, std::uint64_t size_bytes) override {
    reserved += size_bytes;
    return Ok{};
  }
  bool punch(std::uint64_t, std::uint64_t size_bytes) override {
    punched += size_bytes;
    return true;
  }

  std::uint64_t reserved = 0;
  std::uint64_t punched = 0;
};

class LeaseTableTest : public testing::Test {
 protected:
  static ExtentAllocatorOptions options() {
    ExtentAllocatorOptions options;
    options.begin = kMiB;
    options.end = kMiB + kGiB;
    options.limit_bytes = 256 * kMiB;
    return options;
  }

  [[nodiscard]] std::uint64_t in_use() const { return extents_.stats().in_use_bytes; }

  NoBacking backing_;
  ExtentAllocator extents_{backing_, options()};
  LeaseTable leases_{extents_};
  ProcessId worker_{7};
  ProcessId other_{8};
};

}  // namespace

TEST_F(LeaseTableTest, ExtentGoesBackWhenClosedAndEmpty) {
  const Extent lease = *leases_.lease(worker_, LeaseTable::kChunkBytes);
  EXPECT_TRUE(leases_.note_object(worker_, lease.offset, 100).ok());
  EXPECT_TRUE(leases_.note_object(worker_, lease.offset + 112, 1000).ok());
  EXPECT_EQ(leases_.stats().live_bytes, 1100U);
  EXPECT_TRUE(leases_.drop_object(lease.offset, 100).ok());
  EXPECT_TRUE(leases_.close(worker_, lease.offset).ok());
  EXPECT_EQ(in_use(), LeaseTable::kChunkBytes);
  EXPECT_TRUE(leases_.drop_object(lease.offset + 112, 1000).ok());
  EXPECT_EQ(in_use(), 0U);
  EXPECT_EQ(leases_.stats().leased_bytes, 0U);
}

TEST_F(LeaseTableTest, OpenLeaseStaysThoughEmpty) {
  const Extent lease = *leases_.lease(worker_, LeaseTable::kChunkBytes);
  EXPECT_TRUE(leases_.note_object(worker_, lease.offset, 10).ok());
  EXPECT_TRUE(leases_.drop_object(lease.offset, 10).ok());
  EXPECT_EQ(in_use(), LeaseTable::kChunkBytes);
  EXPECT_TRUE(leases_.close(worker_, lease.offset).ok());
  EXPECT_EQ(in_use(), 0U);
}

TEST_F(LeaseTableTest, LargeLeaseHoldsOneLargeObject) {
  const Extent lease = *leases_.lease(worker_, 100 * kMiB);
  EXPECT_TRUE(leases_.may_write(worker_, lease.offset + 99 * kMiB, kMiB));
  EXPECT_TRUE(leases_.note_object(worker_, lease.offset, 100 * kMiB).ok());
  EXPECT_FALSE(leases_.note_object(worker_, lease.offset + 16, 16).ok());
  EXPECT_TRUE(leases_.close(worker_, lease.offset).ok());
  EXPECT_TRUE(leases_.has_object(lease.offset));
  EXPECT_TRUE(leases_.drop_object(lease.offset, 100 * kMiB).ok());
  EXPECT_EQ(in_use(), 0U);
}

TEST_F(LeaseTableTest, ItsOwnerMayPutThePagesBehindIt) {
  constexpr std::uint64_t kSize = 100 * kMiB;
  const Extent filled = *leases_.lease(worker_, kSize, Reserve::kByCaller);
  EXPECT_FALSE(filled.reserved);
  EXPECT_TRUE(leases_.note_object(worker_, filled.offset, kSize).ok());
  EXPECT_TRUE(leases_.close(worker_, filled.offset).ok());
  EXPECT_TRUE(leases_.drop_object(filled.offset, kSize).ok());
  EXPECT_EQ(backing_.punched, 0U);
  EXPECT_EQ(extents_.stats().warm_bytes, kSize);
  const Extent again = *leases_.lease(worker_, kSize);
  EXPECT_EQ(backing_.reserved, 0U) << "all of it was warm";
  const Extent given_up = *leases_.lease(worker_, kSize, Reserve::kByCaller);
  EXPECT_TRUE(leases_.close(worker_, given_up.offset).ok());
  EXPECT_EQ(backing_.punched, kSize) << "nobody knows which pages are there";
  EXPECT_EQ(extents_.stats().warm_bytes, 0U);
  EXPECT_TRUE(leases_.close(worker_, again.offset).ok());
  EXPECT_EQ(extents_.stats().warm_bytes, kSize);
  EXPECT_EQ(in_use(), 0U);
}

TEST_F(LeaseTableTest, ClaimsOfAWorkerAreChecked) {
  const Extent lease = *leases_.lease(worker_, LeaseTable::kChunkBytes);
  const std::uint64_t end = lease.offset + lease.size_bytes;
  const std::uint64_t huge = ~std::uint64_t{0};
  EXPECT_FALSE(leases_.note_object(other_, lease.offset, 10).ok());
  EXPECT_FALSE(leases_.note_object(worker_, lease.offset + 8, 10).ok());
  EXPECT_FALSE(leases_.note_object(worker_, lease.offset + 16, lease.size_bytes).ok());
  EXPECT_FALSE(leases_.note_object(worker_, lease.offset + 16, huge).ok());
  EXPECT_FALSE(leases_.note_object(worker_, lease.offset + 16, huge - lease.offset).ok());
  EXPECT_FALSE(leases_.note_object(worker_, end, 0).ok());
  EXPECT_FALSE(leases_.note_object(worker_, 0, 10).ok());
  EXPECT_FALSE(leases_.note_object(worker_, huge, 10).ok());
  EXPECT_TRUE(leases_.note_object(worker_, lease.offset, lease.size_bytes - 100).ok());
  EXPECT_FALSE(leases_.note_object(worker_, lease.offset, 10).ok());
  EXPECT_FALSE(leases_.note_object(worker_, lease.offset + 16, 101).ok()) << "more than fits";
  EXPECT_EQ(leases_.stats().live_objects, 1U);

  EXPECT_FALSE(leases_.drop_object(lease.offset + 16, 10).ok());
  EXPECT_FALSE(leases_.drop_object(lease.offset + 8, 10).ok());
  EXPECT_FALSE(leases_.drop_object(lease.offset, huge).ok());
  EXPECT_FALSE(leases_.drop_object(huge, 1).ok());
  EXPECT_TRUE(leases_.drop_object(lease.offset, lease.size_bytes - 100).ok());
  EXPECT_FALSE(leases_.drop_object(lease.offset, lease.size_bytes - 100).ok());

  EXPECT_FALSE(leases_.close(other_, lease.offset).ok());
  EXPECT_FALSE(leases_.close(worker_, lease.offset + 4096).ok());
  EXPECT_TRUE(leases_.close(worker_, lease.offset).ok());
  EXPECT_FALSE(leases_.close(worker_, lease.offset).ok());
  EXPECT_FALSE(leases_.note_object(worker_, lease.offset, 10).ok()) << "it was given back";
}

TEST_F(LeaseTableTest, NothingIsNotedInAClosedLease) {
  const Extent lease = *leases_.lease(worker_, LeaseTable::kChunkBytes);
  EXPECT_TRUE(leases_.note_object(worker_, lease.offset, 10).ok());
  EXPECT_TRUE(leases_.close(worker_, lease.offset).ok());
  EXPECT_FALSE(leases_.note_object(worker_, lease.offset + 16, 10).ok());
  EXPECT_FALSE(leases_.may_write(worker_, lease.offset, 16));
}

TEST_F(LeaseTableTest, DeathClosesAllLeasesOfTheProcessOnly) {
  const Extent empty = *leases_.lease(worker_, LeaseTable::kChunkBytes);
  const Extent full = *leases_.lease(worker_, 2 * kMiB);
  const Extent others = *leases_.lease(other_, LeaseTable::kChunkBytes);
  EXPECT_TRUE(leases_.note_object(worker_, full.offset, 5).ok());
  leases_.close_all(worker_);
  leases_.close_all(worker_);
  EXPECT_EQ(leases_.stats().open_leases, 1U);
  EXPECT_EQ(leases_.stats().closed_leases, 1U);
  EXPECT_FALSE(extents_.is_live(empty.offset, empty.size_bytes));
  EXPECT_TRUE(leases_.drop_object(full.offset, 5).ok());
  EXPECT_EQ(in_use(), others.size_bytes);
}

TEST_F(LeaseTableTest, LiesAboutSizesLeaveNoTrace) {
  const Extent lease = *leases_.lease(worker_, LeaseTable::kChunkBytes);
  EXPECT_TRUE(leases_.note_object(worker_, lease.offset, 1000).ok());
  EXPECT_TRUE(leases_.close(worker_, lease.offset).ok());
  EXPECT_TRUE(leases_.drop_object(lease.offset, 10).ok());
  EXPECT_EQ(leases_.stats().live_bytes, 0U);
  EXPECT_EQ(in_use(), 0U);
}

TEST_F(LeaseTableTest, FullStoreIsAnError) {
  EXPECT_EQ(leases_.lease(worker_, kGiB).error().kind, ErrorKind::kOverloaded);
  EXPECT_EQ(leases_.stats().open_leases, 0U);
}

TEST_F(LeaseTableTest, RandomNonsenseNeverBreaksTheTable) {
  std::mt19937_64 random(3);
  std::vector<std::uint64_t> offsets{0, ~std::uint64_t{0}};
  for (int step = 0; step < 50'000; ++step) {
    const ProcessId process{static_cast<std::uint32_t>(random() % 4 + 1)};
    const std::uint64_t offset = offsets[random() % offsets.size()] + random() % 5 * 16;
    const std::uint64_t size = random() % 3 == 0 ? random() : random() % 5000;
    switch (random() % 8) {
      case 0:
        if (const auto lease = leases_.lease(process, size % (3 * kMiB) + 1)) {
          offsets.push_back(lease.value().offset);
        }
        break;
      case 1:
        static_cast<void>(leases_.close(process, offset));
        break;
      case 2:
        if (random() % 50 == 0) leases_.close_all(process);
        break;
      case 3:
      case 4:
        static_cast<void>(leases_.drop_object(offset, size));
        break;
      default:
        static_cast<void>(leases_.note_object(process, offset, size));
    }
    ASSERT_EQ(leases_.stats().leased_bytes, in_use());
  }
  for (std::uint32_t process = 1; process <= 4; ++process)
    leases_.close_all(ProcessId{process});
  EXPECT_EQ(leases_.stats().open_leases, 0U);
}

}  // namespace haz
