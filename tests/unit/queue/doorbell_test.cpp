#include "queue/doorbell.h"

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "queue/byte_ring.h"
#include "queue/claim_ring.h"

namespace haz {
namespace {

/// Far longer than any test runs: who sleeps so long was not woken.
constexpr std::int64_t kForever = 60'000'000'000;

TEST(Doorbell, OnlyASleeperIsRung) {
  Doorbell bell{};
  EXPECT_FALSE(bell.wanted());
  EXPECT_FALSE(bell.ring());
  const std::uint32_t prepared = bell.prepare();
  EXPECT_TRUE(bell.wanted());
  EXPECT_TRUE(bell.ring());
  EXPECT_FALSE(bell.wanted()) << "one ring is enough";
  EXPECT_FALSE(bell.ring());
  EXPECT_EQ(bell.sleep(prepared, kForever), FutexOutcome::kChanged);
}

TEST(Doorbell, TheMarkCanBeTakenBack) {
  Doorbell bell{};
  bell.prepare();
  bell.cancel();
  EXPECT_FALSE(bell.wanted());
  EXPECT_FALSE(bell.ring());
  const std::uint32_t prepared = bell.prepare();
  EXPECT_EQ(bell.sleep(prepared, 1'000'000), FutexOutcome::kTimedOut);
  EXPECT_FALSE(bell.wanted()) << "gone after the sleep";
}

TEST(Doorbell, ARingBetweenPrepareAndSleepIsNotLost) {
  Doorbell bell{};
  for (int i = 0; i < 1000; ++i) {
    const std::uint32_t prepared = bell.prepare();
    EXPECT_TRUE(bell.ring());
    EXPECT_EQ(bell.sleep(prepared, kForever), FutexOutcome::kChanged);
  }
}

TEST(Doorbell, RingAlwaysWakesASleeperWithoutAMark) {
  Doorbell bell{};
  std::atomic<int> woken{0};
  std::thread sleeper([&] {
    const std::uint32_t prepared = bell.prepare();
    bell.cancel();
    (void)bell.sleep(prepared & ~std::uint32_t{1}, kForever);
    woken.store(1);
  });
  while (woken.load() == 0) {
    bell.ring_always();
    std::this_thread::yield();
  }
  sleeper.join();
}

/// Publishes through a ring of the real kinds, sleeps as the real loops do. Mostly one entry at a
/// time, some of them just when the other side goes to sleep, so that a lost wake-up is not made
/// good by the next entry: the sleep then ends by its time limit only.
template <typename Publish, typename Take, typename HasNews>
void ping(std::uint64_t rounds, Doorbell& bell, Publish&& publish, Take&& take,
          HasNews&& has_news) {
  std::atomic<std::uint64_t> taken{0};
  std::atomic<bool> lost{false};
  std::thread consumer([&] {
    for (std::uint64_t count = 0; count < rounds;) {
      if (take()) {
        taken.store(++count, std::memory_order_relaxed);
        continue;
      }
      const std::uint32_t prepared = bell.prepare();
      if (has_news()) {
        bell.cancel();
        continue;
      }
      if (bell.sleep(prepared, kForever) == FutexOutcome::kTimedOut) {
        lost.store(true, std::memory_order_relaxed);
        return;
      }
    }
  });
  std::mt19937 random(7);
  for (std::uint64_t i = 0; i < rounds && !lost.load(std::memory_order_relaxed);) {
    const bool alone = random() % 8 != 0;
    for (int spins = 0; alone && taken.load(std::memory_order_relaxed) != i &&
                        !lost.load(std::memory_order_relaxed);
         ++spins) {
      spins % 1024 == 1023 ? std::this_thread::yield() : cpu_relax();
    }
    for (std::uint32_t spin = random() % 32; spin > 0; --spin)
      cpu_relax();
    if (!publish(i)) continue;
    ++i;
    if (i % 2 == 0) {
      if (bell.wanted()) bell.ring();
    } else {
      bell.ring();
    }
  }
  consumer.join();
  EXPECT_FALSE(lost.load()) << "a wake-up was lost after " << taken.load();
}

TEST(Doorbell, NoWakeUpIsLostWithAByteRing) {
  constexpr std::uint32_t kCapacity = 256;
  ByteRingHeader header{};
  alignas(64) std::array<std::byte, kCapacity> data{};
  ByteRingWriter writer(&header, data.data(), kCapacity);
  ByteRingReader reader(&header, data.data(), kCapacity);
  Doorbell bell{};
  ping(
      100'000, bell,
      [&](std::uint64_t) {
        if (writer.try_append(1, 8) == nullptr) return false;
        writer.publish();
        return true;
      },
      [&] {
        RecordView record;
        if (reader.next(record) != RingRead::kRecord) return false;
        reader.consume();
        reader.release();
        return true;
      },
      [&] { return reader.has_news(); });
}

TEST(Doorbell, NoWakeUpIsLostWithAClaimRing) {
  using Ring = ClaimRing<std::uint64_t, 16>;
  const auto ring = std::make_unique<Ring>();
  ClaimRingWriter<Ring> writer(ring.get());
  ClaimRingReader<Ring> reader(ring.get());
  Doorbell bell{};
  ping(
      100'000, bell,
      [&](std::uint64_t i) {
        if (!writer.has_room()) return false;
        writer.next_entry() = i;
        writer.push();
        if (bell.wanted_after_any()) bell.ring();
        return true;
      },
      [&] {
        if (reader.claim_next() == nullptr) return false;
        reader.release();
        return true;
      },
      [&] { return reader.has_news(); });
}

TEST(Doorbell, NoWakeUpIsLostWithManyRingers) {
  constexpr int kRingers = 4;
  constexpr std::uint64_t kEach = 100'000;
  Doorbell bell{};
  std::atomic<std::uint64_t> published{0};
  std::atomic<std::uint64_t> wakes{0};
  std::atomic<std::uint64_t> sleeps{0};
  std::vector<std::thread> ringers;
  for (int i = 0; i < kRingers; ++i) {
    ringers.emplace_back([&, i] {
      for (std::uint64_t n = 0; n < kEach; ++n) {
        // On a busy machine all ringers may be through before the sleeper runs at all: the last
        // entry waits until it has gone to sleep once.
        while (i == 0 && n == kEach - 1 && sleeps.load(std::memory_order_relaxed) == 0)
          std::this_thread::yield();
        published.fetch_add(1, std::memory_order_seq_cst);
        if (bell.ring()) wakes.fetch_add(1, std::memory_order_relaxed);
      }
    });
  }
  for (std::uint64_t seen = 0; seen < kRingers * kEach;) {
    const std::uint64_t now = published.load(std::memory_order_seq_cst);
    if (now != seen) {
      seen = now;
      continue;
    }
    const std::uint32_t prepared = bell.prepare();
    if (published.load(std::memory_order_seq_cst) != seen) {
      bell.cancel();
      continue;
    }
    sleeps.fetch_add(1, std::memory_order_relaxed);
    ASSERT_NE(bell.sleep(prepared, kForever), FutexOutcome::kTimedOut) << "after " << seen;
  }
  for (std::thread& ringer : ringers)
    ringer.join();
  EXPECT_LE(wakes.load(), kRingers * kEach);
  EXPECT_GT(sleeps.load(), 0U);
}

}  // namespace
}  // namespace haz
