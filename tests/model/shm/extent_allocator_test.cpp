/// @file
/// Random sequences against a model that knows the state of every page. The model also plays the
/// memory file: it fails when told to, and counts the pages that are really there.
#include "shm/extent_allocator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "base/units.h"

namespace haz {

namespace {

constexpr std::uint64_t kPage = 4 * kKiB;
constexpr std::uint64_t kBegin = 16 * kPage;

int seed_count() {
  const char* text = std::getenv("HAZ_TEST_SEEDS");
  const int count = text == nullptr ? 0 : std::atoi(text);
  return count > 0 ? count : 20;
}

/// Pages as the memory file has them, and as their users do.
class Model final : public ExtentBacking {
 public:
  explicit Model(std::uint64_t pages) : backed_(pages), used_(pages) {}

  Status reserve(std::uint64_t offset, std::uint64_t size_bytes) override {
    const std::uint64_t first = page(offset, size_bytes);
    const std::uint64_t count = size_bytes / kPage;
    for (std::uint64_t i = first; i < first + count; ++i) {
      EXPECT_FALSE(backed_[i]) << "a page that was there is reserved again";
      EXPECT_FALSE(used_[i]);
      if (backed_pages_ == capacity_pages) return Error{ErrorKind::kOverloaded, "full"};
      backed_[i] = true;
      ++backed_pages_;
    }
    return Ok{};
  }

  bool punch(std::uint64_t offset, std::uint64_t size_bytes) override {
    const std::uint64_t first = page(offset, size_bytes);
    for (std::uint64_t i = first; i < first + size_bytes / kPage; ++i) {
      EXPECT_FALSE(used_[i]) << "a page in use is punched";
      if (backed_[i]) --backed_pages_;
      backed_[i] = false;
    }
    return true;
  }

  /// An extent was handed out.
  void take(const Extent& extent) {
    const std::uint64_t first = page(extent.offset, extent.size_bytes);
    for (std::uint64_t i = first; i < first + extent.size_bytes / kPage; ++i) {
      ASSERT_FALSE(used_[i]) << "extents overlap";
      ASSERT_TRUE(backed_[i]) << "touching this page could fail";
      used_[i] = true;
    }
    used_pages_ += extent.size_bytes / kPage;
  }

  void give_back(const Extent& extent) {
    const std::uint64_t first = page(extent.offset, extent.size_bytes);
    for (std::uint64_t i = first; i < first + extent.size_bytes / kPage; ++i)
      used_[i] = false;
    used_pages_ -= extent.size_bytes / kPage;
  }

  [[nodiscard]] std::uint64_t backed_bytes() const { return backed_pages_ * kPage; }
  [[nodiscard]] std::uint64_t used_bytes() const { return used_pages_ * kPage; }

  /// Longest run of warm pages, and of free pages, in bytes.
  [[nodiscard]] std::uint64_t longest_warm() const {
    return longest([this](std::size_t i) { return backed_[i] && !used_[i]; });
  }
  [[nodiscard]] std::uint64_t longest_free() const {
    return longest([this](std::size_t i) { return !used_[i]; });
  }

  std::uint64_t capacity_pages = ~std::uint64_t{0};

 private:
  template <typename Predicate>
  [[nodiscard]] std::uint64_t longest(Predicate matches) const {
    std::uint64_t best = 0;
    std::uint64_t run = 0;
    for (std::size_t i = 0; i < used_.size(); ++i) {
      run = matches(i) ? run + 1 : 0;
      best = std::max(best, run);
    }
    return best * kPage;
  }

  [[nodiscard]] std::uint64_t page(std::uint64_t offset, std::uint64_t size_bytes) const {
    EXPECT_GE(offset, kBegin);
    EXPECT_EQ(offset % kPage, 0U);
    EXPECT_EQ(size_bytes % kPage, 0U);
    const std::uint64_t first = (offset - kBegin) / kPage;
    EXPECT_LE(first + size_bytes / kPage, used_.size());
    return first;
  }

  std::vector<bool> backed_;
  std::vector<bool> used_;
  std::uint64_t backed_pages_ = 0;
  std::uint64_t used_pages_ = 0;
};

/// One random run; ends at the first difference.
class RandomRun {
 public:
  explicit RandomRun(unsigned seed)
      : random_(seed), pages_(64 + below(4000)), model_(pages_), extents_(model_, options()) {}

  void go(int steps) {
    for (int step = 0; step < steps && !testing::Test::HasFailure(); ++step) {
      const std::uint64_t dice = below(100);
      if (dice < 55) {
        allocate();
      } else if (dice < 97) {
        release();
      } else if (dice < 98) {
        extents_.trim(below(extents_.stats().warm_bytes + 1));
      } else {
        // The machine gets full, or has room again.
        model_.capacity_pages =
            below(2) == 0 ? ~std::uint64_t{0} : model_.backed_bytes() / kPage + below(64);
      }
      check();
    }
    while (!live_.empty())
      release();
    extents_.trim(0);
    EXPECT_EQ(model_.backed_bytes(), 0U);
    EXPECT_EQ(extents_.stats().cold_bytes, pages_ * kPage);
  }

 private:
  std::uint64_t below(std::uint64_t limit) { return random_() % limit; }

  ExtentAllocatorOptions options() {
    ExtentAllocatorOptions options;
    options.begin = kBegin;
    options.end = kBegin + pages_ * kPage;
    options.limit_bytes = (pages_ / 4 + below(pages_)) * kPage;
    options.warm_budget_bytes = below(pages_) * kPage;
    return options;
  }

  std::uint64_t random_size() {
    switch (below(4)) {
      case 0:
        return 1 + below(8 * kPage);
      case 1:
        return sizes_[below(sizes_.size())];  // values of the same size come again and again
      case 2:
        return 1 + below(64 * kPage);
      default:
        return 1 + below(pages_ * kPage);
    }
  }

  void allocate() {
    const std::uint64_t size = random_size();
    const std::uint64_t possible = extents_.largest_possible();
    const std::uint64_t longest_warm = model_.longest_warm();
    const bool machine_may_be_full = model_.capacity_pages != ~std::uint64_t{0};
    const std::uint64_t rounded = align_up(size, size < kMiB ? kPage : 16 * kPage);
    auto extent = extents_.allocate(size);
    if (!extent) {
      EXPECT_EQ(extent.error().kind, ErrorKind::kOverloaded);
      EXPECT_TRUE(size > possible || (machine_may_be_full && rounded > longest_warm));
      return;
    }
    EXPECT_LE(size, possible);
    EXPECT_EQ(extent->size_bytes, rounded);
    if (rounded <= longest_warm) {
      EXPECT_EQ(extent->cold_bytes, 0U) << "cold memory was touched without need";
    }
    model_.take(*extent);
    live_.push_back(*extent);
  }

  void release() {
    if (live_.empty()) return;
    const std::size_t victim = below(2) == 0 ? live_.size() - 1 : below(live_.size());
    const Extent extent = live_[victim];
    live_[victim] = live_.back();
    live_.pop_back();
    model_.give_back(extent);
    if (below(10) == 0) {
      extents_.discard(extent);
    } else {
      extents_.free(extent);
      EXPECT_LE(extents_.stats().warm_bytes, extents_.warm_budget_bytes());
    }
    EXPECT_FALSE(extents_.is_live(extent.offset, extent.size_bytes));
  }

  void check() {
    const ExtentStats stats = extents_.stats();
    EXPECT_EQ(stats.in_use_bytes, model_.used_bytes());
    EXPECT_EQ(stats.warm_bytes, model_.backed_bytes() - model_.used_bytes());
    EXPECT_EQ(stats.in_use_bytes + stats.warm_bytes + stats.cold_bytes, pages_ * kPage);
    EXPECT_LE(stats.in_use_bytes + stats.warm_bytes, extents_.limit_bytes());
    EXPECT_EQ(stats.live_extents, live_.size());
    const std::uint64_t room =
        std::min(model_.longest_free(), extents_.limit_bytes() - stats.in_use_bytes);
    EXPECT_LE(extents_.largest_possible(), room);
    EXPECT_GT(extents_.largest_possible() + 16 * kPage, room);
  }

  std::mt19937_64 random_;
  std::uint64_t pages_;
  std::vector<std::uint64_t> sizes_{3 * kPage, 17 * kPage + 5, 64 * kPage, 300 * kPage};
  Model model_;
  ExtentAllocator extents_;
  std::vector<Extent> live_;
};

}  // namespace

TEST(ExtentAllocatorModelTest, AgreesWithAMapOfPages) {
  for (int seed = 0; seed < seed_count(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    RandomRun run(static_cast<unsigned>(seed));
    run.go(800);
    if (HasFailure()) {
      std::printf("failed with seed %d\n", seed);
      return;
    }
  }
}

}  // namespace haz
