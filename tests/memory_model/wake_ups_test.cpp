// No wake-up of a Doorbell is lost, whatever the order of what threads do and see; and each
// sequentially consistent access of the protocol is needed for that. Sleeps have no limit here.
#include <gtest/gtest.h>

#include "memory_model/model.h"
#include "queue/byte_ring.h"
#include "queue/claim_ring.h"
#include "queue/doorbell.h"

namespace haz::test {
namespace {

constexpr ::std::int64_t kForever = -1;

/// A ringer that publishes by one store.
class FlagAndBell {
 public:
  explicit FlagAndBell(void (*ring)(Doorbell&)) {
    explorer.name(&flag, "the flag");
    explorer.name(&bell, "the bell");
    explorer.add_thread("sleeper", [this] {
      while (flag.load(std::memory_order_acquire) == 0) {
        const std::uint32_t prepared = bell.prepare();
        if (flag.load(std::memory_order_seq_cst) != 0) {
          bell.cancel();
        } else {
          (void)bell.sleep(prepared, kForever);
        }
      }
    });
    explorer.add_thread("ringer", [this, ring] {
      flag.store(1, std::memory_order_seq_cst);
      ring(bell);
    });
  }

  std::atomic<std::uint32_t> flag{0};
  Doorbell bell;
  Explorer explorer;
};

void just_ring(Doorbell& bell) { bell.ring(); }
void ring_if_wanted(Doorbell& bell) {
  if (bell.wanted()) bell.ring();
}

TEST(DoorbellModel, LosesNoWakeUp) {
  for (const auto ring : {just_ring, ring_if_wanted}) {
    FlagAndBell model(ring);
    EXPECT_EQ(model.explorer.find_failure(), "");
    EXPECT_GT(model.explorer.num_states(), 50U);
  }
}

/// One of the four accesses, on which every other relies.
struct Part {
  const char* name;
  bool is_flag;
  AccessKind kind;
  std::memory_order order;
};

void PrintTo(const Part& part, ::std::ostream* out) { *out << part.name; }

class DoorbellPart : public ::testing::TestWithParam<Part> {};

TEST_P(DoorbellPart, IsNeeded) {
  for (const auto ring : {just_ring, ring_if_wanted}) {
    FlagAndBell model(ring);
    const Part& part = GetParam();
    const void* address = part.is_flag ? static_cast<const void*>(&model.flag) : &model.bell;
    model.explorer.weaken({address, part.kind, part.order});
    EXPECT_NE(model.explorer.find_failure().find("for ever asleep: sleeper"), std::string::npos);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Weaker, DoorbellPart,
    ::testing::Values(Part{"publication", true, AccessKind::kStore, std::memory_order_release},
                      Part{"look_at_mark", false, AccessKind::kLoad, std::memory_order_acquire},
                      Part{"mark", false, AccessKind::kSwap, std::memory_order_acq_rel},
                      Part{"second_look", true, AccessKind::kLoad, std::memory_order_acquire}),
    [](const auto& part) { return std::string(part.param.name); });

TEST(DoorbellModel, TwoRingersWakeASleeper) {
  std::atomic<std::uint32_t> published{0};
  Doorbell bell;
  Explorer explorer;
  explorer.add_thread("sleeper", [&] {
    for (std::uint32_t seen = 0; seen < 2;) {
      const std::uint32_t now = published.load(std::memory_order_acquire);
      if (now != seen) {
        seen = now;
        continue;
      }
      const std::uint32_t prepared = bell.prepare();
      if (published.load(std::memory_order_seq_cst) != seen) {
        bell.cancel();
      } else {
        (void)bell.sleep(prepared, kForever);
      }
    }
  });
  for (const char* name : {"first", "second"}) {
    explorer.add_thread(name, [&] {
      published.fetch_add(1, std::memory_order_seq_cst);
      bell.ring();
    });
  }
  EXPECT_EQ(explorer.find_failure(), "");
}

TEST(DoorbellModel, RingAlwaysEndsASleepWithoutAMark) {
  Doorbell bell;
  std::atomic<std::uint32_t> stop{0};
  Explorer explorer;
  explorer.add_thread("sleeper", [&] {
    const std::uint32_t prepared = bell.prepare();
    if (stop.load(std::memory_order_seq_cst) == 0) (void)bell.sleep(prepared, kForever);
  });
  explorer.add_thread("ringer", [&] {
    stop.store(1, std::memory_order_seq_cst);
    bell.ring_always();
  });
  EXPECT_EQ(explorer.find_failure(), "");
}

// ---- with the rings ----------------------------------------------------------------------------

/// Records through a byte ring, each of which is rung for.
class ByteRingAndBell {
 public:
  ByteRingAndBell() {
    explorer.name(&header.tail, "the tail");
    explorer.name(&header.head, "the head");
    explorer.name(&bell, "the bell");
    explorer.add_thread("reader", [this] {
      ByteRingReader reader(&header, data.data(), kCapacity);
      for (std::uint64_t count = 0; count < kRecords;) {
        RecordView record;
        const RingRead read = reader.next(record);
        if (read == RingRead::kCorrupt) throw Wrong{"the ring is corrupt"};
        if (read == RingRead::kRecord) {
          reader.consume();
          reader.release();
          ++count;
          continue;
        }
        const std::uint32_t prepared = bell.prepare();
        if (reader.has_news()) {
          bell.cancel();
        } else {
          (void)bell.sleep(prepared, kForever);
        }
      }
    });
    explorer.add_thread("writer", [this] {
      ByteRingWriter writer(&header, data.data(), kCapacity);
      for (std::uint64_t i = 0; i < kRecords; ++i) {
        if (writer.try_append(1, 8) == nullptr) throw Wrong{"the ring is full"};
        writer.publish();
        bell.ring();
      }
    });
  }

  static constexpr std::uint64_t kRecords = 2;
  static constexpr std::uint32_t kCapacity = 64;
  ByteRingHeader header{};
  alignas(8) std::array<std::byte, kCapacity> data{};
  Doorbell bell;
  Explorer explorer;
};

TEST(DoorbellModel, LosesNoWakeUpWithAByteRing) {
  ByteRingAndBell model;
  EXPECT_EQ(model.explorer.find_failure(), "");
}

TEST(DoorbellModel, NeedsTheOrderOfAByteRing) {
  for (const auto kind : {AccessKind::kStore, AccessKind::kLoad}) {
    ByteRingAndBell model;
    const bool stores = kind == AccessKind::kStore;
    model.explorer.weaken(
        {&model.header.tail, kind, stores ? std::memory_order_release : std::memory_order_acquire});
    EXPECT_NE(model.explorer.find_failure().find("for ever asleep: reader"), std::string::npos);
  }
}

/// Entries through a claim ring, all of which are rung for once; the last may be taken back.
class ClaimRingAndBell {
 public:
  struct Entry {
    std::atomic<std::uint64_t> number;
  };
  using Ring = ClaimRing<Entry, 4>;

  explicit ClaimRingAndBell(bool takes_back) {
    for (auto& slot : ring.slots)
      explorer.name(&slot.claim, "a claim");
    explorer.name(&bell, "the bell");
    explorer.add_thread("worker", [this] {
      reader.emplace(&ring);
      std::uint64_t last = 0;
      while (last != kEnd) {
        if (const Entry* entry = reader->claim_next()) {
          const std::uint64_t number = entry->number.load(std::memory_order_relaxed);
          if (number <= last) throw Wrong{"an entry was claimed before it was written"};
          last = number;
          reader->release();
          continue;
        }
        if (reader->is_damaged()) throw Wrong{"the ring is damaged"};
        const std::uint32_t prepared = bell.prepare();
        if (reader->has_news()) {
          bell.cancel();
        } else {
          (void)bell.sleep(prepared, kForever);
        }
      }
    });
    explorer.add_thread("host", [this, takes_back] {
      ClaimRingWriter<Ring> writer(&ring);
      push(writer, 1);
      const std::uint64_t second = push(writer, 2);
      if (bell.wanted_after_any()) bell.ring();
      if (takes_back) (void)writer.take_back(second);
      push(writer, kEnd);
      if (bell.wanted_after_any()) bell.ring();
    });
  }

  static std::uint64_t push(ClaimRingWriter<Ring>& writer, std::uint64_t number) {
    if (!writer.has_room()) throw Wrong{"the ring is full"};
    writer.next_entry().number.store(number, std::memory_order_relaxed);
    return writer.push();
  }

  static constexpr std::uint64_t kEnd = 3;
  Ring ring{};
  ::std::optional<ClaimRingReader<Ring>> reader;  ///< It has an atomic, too.
  Doorbell bell;
  Explorer explorer;
};

TEST(DoorbellModel, LosesNoWakeUpWithAClaimRing) {
  for (const bool takes_back : {false, true}) {
    ClaimRingAndBell model(takes_back);
    EXPECT_EQ(model.explorer.find_failure(), "");
  }
}

TEST(DoorbellModel, NeedsTheLookThatTakesPartInTheOrderOfTheWord) {
  ClaimRingAndBell model(false);
  model.explorer.weaken({&model.bell, AccessKind::kSwap, std::memory_order_relaxed});
  EXPECT_NE(model.explorer.find_failure().find("for ever asleep: worker"), std::string::npos);
}

}  // namespace
}  // namespace haz::test
