#include "queue/claim_ring.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <thread>
#include <vector>

namespace haz {
namespace {

using SmallRing = ClaimRing<std::uint64_t, 8>;

/// The next value claimed, and its slot given back; 0 when there is none.
std::uint64_t take(ClaimRingReader<SmallRing>& reader) {
  const std::uint64_t* entry = reader.claim_next();
  if (entry == nullptr) return 0;
  const std::uint64_t value = *entry;
  reader.release();
  return value;
}

struct Ends {
  std::unique_ptr<SmallRing> ring = std::make_unique<SmallRing>();  // zeroed
  ClaimRingWriter<SmallRing> writer{ring.get()};
  ClaimRingReader<SmallRing> reader{ring.get()};

  std::uint64_t push(std::uint64_t value) {
    EXPECT_TRUE(writer.has_room());
    writer.next_entry() = value;
    return writer.push();
  }
  std::uint64_t take() { return haz::take(reader); }
};

TEST(ClaimRing, EntriesComeInOrder) {
  Ends ends;
  EXPECT_EQ(ends.take(), 0U);
  EXPECT_FALSE(ends.reader.has_news());
  for (std::uint64_t i = 1; i <= 100; ++i) {
    EXPECT_EQ(ends.push(i), i - 1) << "its position";
    EXPECT_TRUE(ends.reader.has_news());
    EXPECT_EQ(ends.take(), i);
    EXPECT_FALSE(ends.reader.has_news());
  }
}

TEST(ClaimRing, IsFullUntilAnEntryIsPassed) {
  Ends ends;
  for (std::uint64_t i = 1; i <= 8; ++i)
    ends.push(i);
  EXPECT_FALSE(ends.writer.has_room());
  EXPECT_NE(ends.reader.claim_next(), nullptr);
  EXPECT_FALSE(ends.writer.has_room()) << "claimed, but in use";
  ends.reader.release();
  EXPECT_TRUE(ends.writer.has_room());
}

TEST(ClaimRing, WhatIsTakenBackIsNotClaimed) {
  Ends ends;
  std::vector<std::uint64_t> positions;
  for (std::uint64_t i = 1; i <= 6; ++i)
    positions.push_back(ends.push(i));
  for (const std::size_t i : {0U, 3U, 5U})
    EXPECT_TRUE(ends.writer.take_back(positions[i]));
  EXPECT_FALSE(ends.writer.take_back(positions[0])) << "twice";
  EXPECT_EQ(ends.take(), 2U);
  EXPECT_EQ(ends.take(), 3U);
  EXPECT_EQ(ends.take(), 5U);
  EXPECT_TRUE(ends.reader.has_news()) << "an entry to pass, so that its slot is free again";
  EXPECT_EQ(ends.take(), 0U);
  EXPECT_FALSE(ends.reader.has_news());
  EXPECT_EQ(ends.push(7), 6U);
  EXPECT_EQ(ends.take(), 7U);
}

TEST(ClaimRing, AnotherConsumerOfTheProcessGoesOn) {
  Ends ends;
  for (std::uint64_t i = 1; i <= 11; ++i) {
    ends.push(i);
    EXPECT_EQ(ends.take(), i);
  }
  const std::uint64_t claimed = ends.push(12);
  ends.push(13);
  ASSERT_NE(ends.reader.claim_next(), nullptr);  // and not released
  ClaimRingReader<SmallRing> other(ends.ring.get());
  other.resume();
  EXPECT_EQ(take(other), 12U);
  EXPECT_FALSE(ends.writer.take_back(claimed));
  EXPECT_EQ(take(other), 13U);
  EXPECT_EQ(take(other), 0U);
  EXPECT_FALSE(other.is_damaged());
}

TEST(ClaimRing, ConsumerThatHadClaimedNothingIsFollowedByAnother) {
  Ends ends;
  ends.push(1);
  EXPECT_EQ(ends.take(), 1U);
  ClaimRingReader<SmallRing> other(ends.ring.get());
  other.resume();
  EXPECT_EQ(take(other), 0U);
  EXPECT_FALSE(other.is_damaged());
  ends.push(2);
  EXPECT_EQ(take(other), 2U);
}

TEST(ClaimRing, ALookClaimsNothing) {
  Ends ends;
  EXPECT_EQ(ends.reader.peek_next(), nullptr);
  const std::uint64_t first = ends.push(1);
  ends.push(2);
  ASSERT_NE(ends.reader.peek_next(), nullptr);
  EXPECT_EQ(*ends.reader.peek_next(), 1U);
  EXPECT_TRUE(ends.writer.take_back(first)) << "it was only looked at";
  EXPECT_EQ(*ends.reader.peek_next(), 2U);
  EXPECT_EQ(ends.take(), 2U);
  EXPECT_EQ(ends.reader.peek_next(), nullptr);
}

TEST(ClaimRing, WhatIsClaimedIsNotTakenBack) {
  Ends ends;
  const std::uint64_t first = ends.push(1);
  const std::uint64_t second = ends.push(2);
  ASSERT_NE(ends.reader.claim_next(), nullptr);
  EXPECT_FALSE(ends.writer.take_back(first));
  EXPECT_TRUE(ends.writer.take_back(second));
  ends.reader.release();
  EXPECT_FALSE(ends.writer.take_back(first)) << "nor once passed";
  EXPECT_EQ(ends.take(), 0U);
}

TEST(ClaimRing, AnOldPositionIsNotTheNewEntryOfItsSlot) {
  Ends ends;
  const std::uint64_t old = ends.push(1);
  EXPECT_EQ(ends.take(), 1U);
  for (std::uint64_t i = 2; i <= 9; ++i)
    ends.push(i);  // the last one in the same slot
  EXPECT_FALSE(ends.writer.take_back(old));
  EXPECT_FALSE(ends.writer.take_back(old + 16)) << "nor one that is not there yet";
  for (std::uint64_t i = 2; i <= 9; ++i)
    EXPECT_EQ(ends.take(), i);
}

TEST(ClaimRing, AllTakenBackLeavesRoomOnceTheReaderHasLooked) {
  Ends ends;
  for (int round = 0; round < 10; ++round) {
    std::vector<std::uint64_t> positions;
    for (std::uint64_t i = 1; i <= 8; ++i)
      positions.push_back(ends.push(i));
    for (const std::uint64_t position : positions)
      EXPECT_TRUE(ends.writer.take_back(position));
    EXPECT_FALSE(ends.writer.has_room());
    EXPECT_TRUE(ends.reader.has_news());
    EXPECT_EQ(ends.take(), 0U);
    EXPECT_TRUE(ends.writer.has_room());
  }
}

TEST(ClaimRing, DamagedMemoryGivesNoEntryAndNoRoom) {
  Ends ends;
  const std::uint64_t position = ends.push(1);
  ends.ring->slots[0].claim.store(0xDEADBEEF);
  EXPECT_FALSE(ends.writer.take_back(position));
  EXPECT_FALSE(ends.reader.is_damaged()) << "not looked yet";
  EXPECT_EQ(ends.reader.claim_next(), nullptr);
  EXPECT_TRUE(ends.reader.is_damaged());
  EXPECT_FALSE(ends.reader.has_news());
  for (std::uint64_t i = 2; i <= 8; ++i)
    ends.push(i);
  for (const std::uint64_t head : {std::uint64_t{9}, ~std::uint64_t{0}}) {
    ends.ring->head.store(head);
    EXPECT_FALSE(ends.writer.has_room());
  }
  ends.ring->head.store(8);
  EXPECT_TRUE(ends.writer.has_room());
  ends.ring->head.store(2);  // back
  EXPECT_TRUE(ends.writer.has_room()) << "what was given once is not lost";
}

TEST(ClaimRing, WordsThatWereLeftBehindAreNoDamage) {
  Ends ends;
  for (std::uint64_t i = 1; i <= 40; ++i) {
    EXPECT_EQ(ends.take(), 0U);
    EXPECT_FALSE(ends.reader.is_damaged()) << i;
    const std::uint64_t position = ends.push(i);
    EXPECT_EQ(i % 3 == 0 && ends.writer.take_back(position), i % 3 == 0);
    EXPECT_EQ(ends.take(), i % 3 == 0 ? 0 : i);
    EXPECT_FALSE(ends.reader.is_damaged()) << i;
  }
}

/// An entry that shows whether it is as it was written.
struct Checked {
  std::uint64_t value;
  std::uint64_t inverse;
  [[nodiscard]] bool is_sound() const { return value == ~inverse; }
};

TEST(ClaimRing, ADamagedEntryIsNotClaimed) {
  using Ring = ClaimRing<Checked, 8>;
  const auto ring = std::make_unique<Ring>();
  ClaimRingWriter<Ring> writer(ring.get());
  ClaimRingReader<Ring> reader(ring.get());
  std::vector<std::uint64_t> positions;
  for (std::uint64_t i = 0; i < 3; ++i) {
    writer.next_entry() = {i, ~i};
    positions.push_back(writer.push());
  }
  ASSERT_NE(reader.claim_next(), nullptr);
  reader.release();
  ring->slots[1].entry.value ^= 1;
  EXPECT_EQ(reader.claim_next(), nullptr);
  EXPECT_TRUE(reader.is_damaged());
  EXPECT_FALSE(writer.take_back(positions[0]));
  EXPECT_TRUE(writer.take_back(positions[1])) << "it was not begun";
  EXPECT_TRUE(writer.take_back(positions[2]));
}

/// A producer that takes back at random races a consumer that claims: every entry goes to exactly
/// one of them.
TEST(ClaimRing, TakingBackRacesClaiming) {
  constexpr std::uint64_t kEntries = 300'000;
  Ends ends;
  std::vector<std::uint8_t> claimed(kEntries + 1, 0);
  std::atomic<bool> done{false};
  std::thread consumer([&] {
    std::uint64_t last = 0;
    for (;;) {
      const bool over = done.load(std::memory_order_acquire);
      const std::uint64_t* entry = ends.reader.claim_next();
      if (entry == nullptr) {
        if (over) return;
        std::this_thread::yield();
        continue;
      }
      const std::uint64_t value = *entry;
      if (value <= last || value > kEntries) {
        ADD_FAILURE() << value << " after " << last;
        return;
      }
      last = value;
      ++claimed[value];
      ends.reader.release();
    }
  });
  std::vector<std::uint8_t> taken(kEntries + 1, 0);
  std::vector<std::pair<std::uint64_t, std::uint64_t>> open;  // position, value
  std::mt19937 random(5);
  for (std::uint64_t value = 1; value <= kEntries;) {
    if (ends.writer.has_room()) {
      ends.writer.next_entry() = value;
      open.emplace_back(ends.writer.push(), value);
      ++value;
    } else {
      std::this_thread::yield();
    }
    if (random() % 3 == 0) {
      // As the scheduler does: from the last on, until one has been claimed.
      while (!open.empty() && ends.writer.take_back(open.back().first)) {
        ++taken[open.back().second];
        open.pop_back();
      }
      open.clear();
    }
  }
  done.store(true, std::memory_order_release);
  consumer.join();
  std::uint64_t sum_taken = 0;
  for (std::uint64_t value = 1; value <= kEntries; ++value) {
    ASSERT_EQ(claimed[value] + taken[value], 1) << value;
    sum_taken += taken[value];
  }
  EXPECT_GT(sum_taken, 0U);
  EXPECT_LT(sum_taken, kEntries);
}

/// The block that an entry points to is written before it, and freed only if it was taken back.
TEST(ClaimRing, WhatAnEntryPointsToIsSeenWithIt) {
  constexpr std::uint64_t kEntries = 100'000;
  Ends ends;
  std::vector<std::uint64_t> blocks(kEntries + 1, 0);
  std::thread consumer([&] {
    for (std::uint64_t expected = 1; expected <= kEntries;) {
      const std::uint64_t* entry = ends.reader.claim_next();
      if (entry == nullptr) {
        std::this_thread::yield();
        continue;
      }
      if (blocks[*entry] != *entry * 3) {
        ADD_FAILURE() << *entry;
        return;
      }
      blocks[*entry] = 0;
      ++expected;
      ends.reader.release();
    }
  });
  for (std::uint64_t value = 1; value <= kEntries;) {
    if (!ends.writer.has_room()) {
      std::this_thread::yield();
      continue;
    }
    blocks[value] = value * 3;
    ends.push(value);
    ++value;
  }
  consumer.join();
}

}  // namespace
}  // namespace haz
