#include "shm/chunk_allocator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "base/units.h"

namespace haz {

namespace {

class NoBacking final : public ExtentBacking {
 public:
  Status reserve(std::uint64_t, std::uint64_t) override { return Ok{}; }
  bool punch(std::uint64_t, std::uint64_t) override { return true; }
};

class ChunkAllocatorTest : public testing::Test {
 protected:
  static ExtentAllocatorOptions options() {
    ExtentAllocatorOptions options;
    options.begin = kMiB;
    options.end = kMiB + kGiB;
    options.limit_bytes = 64 * kMiB;
    return options;
  }

  NoBacking backing_;
  ExtentAllocator extents_{backing_, options()};
  ChunkAllocator chunks_{extents_};
};

}  // namespace

TEST_F(ChunkAllocatorTest, EverySizeFitsItsBlockWithLittleWaste) {
  for (std::uint64_t size = 1; size <= ChunkAllocator::kMaxBlockBytes;
       size += size < 2000 ? 1 : 97) {
    auto block = chunks_.allocate(size);
    ASSERT_TRUE(block.ok()) << size;
    EXPECT_GE(block->size_bytes, size);
    EXPECT_LE(block->size_bytes, std::max<std::uint64_t>(size + 15, size + size / 4)) << size;
    EXPECT_EQ(block->offset % (size > 256 ? 64 : 16), 0U) << size;
    EXPECT_EQ(chunks_.block_bytes(block->offset), block->size_bytes);
    EXPECT_TRUE(chunks_.free(block->offset));
  }
  EXPECT_EQ(chunks_.stats().live_blocks, 0U);
  EXPECT_EQ(chunks_.stats().live_bytes, 0U);
}

TEST_F(ChunkAllocatorTest, ImpossibleSizesAreErrors) {
  EXPECT_EQ(chunks_.allocate(0).error().kind, ErrorKind::kInvalid);
  EXPECT_EQ(chunks_.allocate(64 * kKiB + 1).error().kind, ErrorKind::kInvalid);
  EXPECT_EQ(chunks_.allocate(~std::uint64_t{0}).error().kind, ErrorKind::kInvalid);
  EXPECT_EQ(chunks_.stats().chunks, 0U);
}

TEST_F(ChunkAllocatorTest, BadFreesAreRefused) {
  const Block block = *chunks_.allocate(100);
  for (const std::uint64_t offset :
       {std::uint64_t{0}, block.offset + 1, block.offset + block.size_bytes,
        block.offset + 64 * kKiB, ~std::uint64_t{0}, std::uint64_t{1} << 62}) {
    EXPECT_FALSE(chunks_.free(offset)) << offset;
    EXPECT_EQ(chunks_.block_bytes(offset), 0U);
  }
  EXPECT_TRUE(chunks_.free(block.offset));
  EXPECT_FALSE(chunks_.free(block.offset));
}

TEST_F(ChunkAllocatorTest, PlaceBeyondTheLastWholeBlockIsNone) {
  // 64 KiB hold 409 blocks of 160 bytes and 96 bytes more.
  const Block block = *chunks_.allocate(160);
  EXPECT_FALSE(chunks_.free(block.offset + std::uint64_t{409} * 160));
}

TEST_F(ChunkAllocatorTest, AFewEmptyChunksAreKeptTheRestGoesBack) {
  std::vector<std::uint64_t> offsets;
  for (int i = 0; i < 40; ++i)
    offsets.push_back(chunks_.allocate(64 * kKiB)->offset);
  EXPECT_EQ(chunks_.stats().chunks, 10U);
  EXPECT_EQ(extents_.stats().in_use_bytes, 10 * 256 * kKiB);
  for (const std::uint64_t offset : offsets)
    EXPECT_TRUE(chunks_.free(offset));
  EXPECT_EQ(chunks_.stats().empty_chunks, 4U);
  EXPECT_EQ(extents_.stats().in_use_bytes, kMiB);
  const std::uint64_t allocations = extents_.stats().allocations;
  EXPECT_TRUE(chunks_.allocate(50'000).ok());  // another class takes an empty chunk over
  EXPECT_EQ(extents_.stats().allocations, allocations);
  chunks_.release_empty_chunks();
  EXPECT_EQ(extents_.stats().in_use_bytes, 256 * kKiB);
}

TEST_F(ChunkAllocatorTest, FullStoreIsAnErrorAndRecovers) {
  std::vector<std::uint64_t> offsets;
  for (;;) {
    auto block = chunks_.allocate(64 * kKiB);
    if (!block) {
      EXPECT_EQ(block.error().kind, ErrorKind::kOverloaded);
      break;
    }
    offsets.push_back(block->offset);
  }
  EXPECT_EQ(offsets.size(), 64 * kMiB / (64 * kKiB));
  for (std::size_t i = 0; i < 4; ++i)
    EXPECT_TRUE(chunks_.free(offsets[i]));
  EXPECT_TRUE(chunks_.allocate(20).ok());  // takes an empty chunk's memory, of another size
}

TEST_F(ChunkAllocatorTest, RandomBlocksNeverOverlap) {
  std::mt19937 random(7);
  std::vector<Block> live;
  std::vector<bool> taken(80 * kMiB / 16);
  const auto mark = [&](const Block& block, bool value) {
    for (std::uint64_t place = block.offset / 16; place < (block.offset + block.size_bytes) / 16;
         ++place) {
      ASSERT_NE(taken[place], value);
      taken[place] = value;
    }
  };
  std::uint64_t live_bytes = 0;
  for (int step = 0; step < 60'000; ++step) {
    if (live.empty() || random() % 100 < (live.size() < 3000 ? 60 : 40)) {
      const std::uint64_t size = 1 + random() % (random() % 8 == 0 ? 60'000 : 600);
      auto block = chunks_.allocate(size);
      if (!block) continue;
      mark(*block, true);
      live.push_back(*block);
      live_bytes += block->size_bytes;
    } else {
      const std::size_t victim = random() % live.size();
      mark(live[victim], false);
      ASSERT_TRUE(chunks_.free(live[victim].offset));
      live_bytes -= live[victim].size_bytes;
      live[victim] = live.back();
      live.pop_back();
    }
    ASSERT_EQ(chunks_.stats().live_blocks, live.size());
    ASSERT_EQ(chunks_.stats().live_bytes, live_bytes);
    ASSERT_EQ(chunks_.stats().chunk_bytes, extents_.stats().in_use_bytes);
  }
  for (const Block& block : live)
    EXPECT_TRUE(chunks_.free(block.offset));
  chunks_.release_empty_chunks();
  EXPECT_EQ(extents_.stats().in_use_bytes, 0U);
}

}  // namespace haz
