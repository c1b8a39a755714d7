#include "queue/byte_ring.h"

#include <gtest/gtest.h>

#include <deque>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace haz {
namespace {

/// A ring with both ends, and the memory between them, in which a hostile test may write.
template <std::uint32_t Capacity = 1024>
struct Ring {
  ByteRingHeader header{};
  alignas(64) std::array<std::byte, Capacity> data{};
  ByteRingWriter writer{&header, data.data(), Capacity};
  ByteRingReader reader{&header, data.data(), Capacity};

  bool send(std::uint32_t kind, std::string_view text) {
    std::byte* to = writer.try_append(kind, static_cast<std::uint32_t>(text.size()));
    if (to == nullptr) return false;
    std::memcpy(to, text.data(), text.size());
    writer.publish();
    return true;
  }
  /// The next record as "kind:text", "(empty)" or "(corrupt)".
  std::string receive(bool release = true) {
    RecordView record;
    switch (reader.next(record)) {
      case RingRead::kEmpty:
        return "(empty)";
      case RingRead::kCorrupt:
        return "(corrupt)";
      case RingRead::kRecord:
        break;
    }
    std::string text = std::to_string(record.kind) + ":" +
                       std::string(reinterpret_cast<const char*>(record.data), record.size_bytes);
    reader.consume();
    if (release) reader.release();
    return text;
  }
  void put_header(std::size_t position, std::uint32_t size_bytes, std::uint32_t kind) {
    RecordHeader record = RecordHeader::of(kind, size_bytes);
    const std::size_t padded = align_up(std::uint64_t{record.size_bytes()}, kRecordAlignment);
    if (padded <= Capacity - position - sizeof record) {
      record.check = detail::check_of(record, data.data() + position + sizeof record, padded);
    }
    std::memcpy(data.data() + position, &record, sizeof record);
  }
};

TEST(ByteRing, RecordsComeInOrder) {
  Ring ring;
  EXPECT_EQ(ring.receive(), "(empty)");
  EXPECT_FALSE(ring.reader.has_news());
  EXPECT_TRUE(ring.send(7, "hello"));
  EXPECT_TRUE(ring.send(8, ""));
  EXPECT_TRUE(ring.reader.has_news());
  EXPECT_EQ(ring.receive(), "7:hello");
  EXPECT_EQ(ring.receive(), "8:");
  EXPECT_FALSE(ring.reader.has_news());
  EXPECT_EQ(ring.receive(), "(empty)");
}

TEST(ByteRing, NothingIsSeenBeforeItIsPublished) {
  Ring ring;
  ASSERT_NE(ring.writer.try_append(1, 10), nullptr);
  EXPECT_FALSE(ring.reader.has_news());
  EXPECT_EQ(ring.receive(), "(empty)");
}

TEST(ByteRing, ARecordThatWasNotConsumedComesAgain) {
  Ring ring;
  EXPECT_TRUE(ring.send(1, "again"));
  RecordView record;
  EXPECT_EQ(ring.reader.next(record), RingRead::kRecord);
  EXPECT_EQ(ring.reader.next(record), RingRead::kRecord);
  EXPECT_EQ(ring.receive(), "1:again");
  EXPECT_EQ(ring.receive(), "(empty)");
}

TEST(ByteRing, OtherEndsOfTheSameProcessesGoOn) {
  Ring ring;
  for (int i = 0; i < 40; ++i) {
    EXPECT_TRUE(ring.send(1, "one of a length that is no multiple of eight"));
    EXPECT_NE(ring.receive(), "(empty)");
  }
  EXPECT_TRUE(ring.send(2, "left"));
  ring.writer = ByteRingWriter(&ring.header, ring.data.data(), 1024);
  ring.writer.resume();
  EXPECT_TRUE(ring.send(3, "after"));
  EXPECT_EQ(ring.receive(), "2:left");
  ring.reader = ByteRingReader(&ring.header, ring.data.data(), 1024);
  ring.reader.resume();
  EXPECT_EQ(ring.receive(), "3:after");
  EXPECT_EQ(ring.receive(), "(empty)");
}

TEST(ByteRing, RecordsAreAligned) {
  Ring ring;
  for (int i = 0; i < 200; ++i) {
    const std::byte* to = ring.writer.try_append(1, static_cast<std::uint32_t>(i % 30));
    ASSERT_EQ(reinterpret_cast<std::uintptr_t>(to) % kRecordAlignment, 0U);
    ring.writer.publish();
    ring.receive();
  }
}

TEST(ByteRing, IsFullUntilSpaceIsReleased) {
  Ring<256> ring;
  int sent = 0;
  while (ring.send(1, std::to_string(sent)))
    ++sent;
  EXPECT_EQ(sent, 256 / 16);
  EXPECT_EQ(ring.receive(false), "1:0");
  EXPECT_FALSE(ring.send(1, "x")) << "consumed, but not released";
  ring.reader.release();
  EXPECT_TRUE(ring.send(1, "x"));
  EXPECT_FALSE(ring.send(1, "x"));
  for (int i = 1; i < sent; ++i)
    EXPECT_EQ(ring.receive(), "1:" + std::to_string(i));
  EXPECT_EQ(ring.receive(), "1:x");
}

TEST(ByteRing, TheLargestRecordAlwaysFitsInTheEnd) {
  // Whatever the position is: an empty ring takes it, with padding or without.
  for (std::uint32_t offset = 0; offset < 256; offset += 8) {
    Ring<256> ring;
    for (std::uint32_t at = 0; at < offset; at += 8) {
      ASSERT_TRUE(ring.send(1, ""));
      ASSERT_EQ(ring.receive(), "1:");
    }
    const std::string largest(ring.writer.max_record_bytes(), 'x');
    ASSERT_TRUE(ring.send(2, largest)) << offset;
    EXPECT_EQ(ring.receive(), "2:" + largest);
    EXPECT_EQ(ring.receive(), "(empty)");
  }
}

TEST(ByteRing, RandomSizesAgainstAQueue) {
  std::mt19937 random(1);
  Ring<512> ring;
  std::deque<std::string> expected;
  std::uint32_t sent = 0;
  for (int i = 0; i < 200'000; ++i) {
    if (random() % 2 == 0) {
      const std::string text(random() % (ring.writer.max_record_bytes() + 1),
                             static_cast<char>('a' + sent % 26));
      if (!ring.send(1 + sent % 100, text)) continue;
      expected.push_back(std::to_string(1 + sent % 100) + ":" + text);
      ++sent;
    } else if (expected.empty()) {
      ASSERT_EQ(ring.receive(), "(empty)");
      ring.reader.release();
    } else {
      ASSERT_EQ(ring.receive(random() % 3 != 0), expected.front());
      expected.pop_front();
    }
  }
  EXPECT_GT(sent, 10'000U);
}

// ---- a hostile producer ------------------------------------------------------------------------

TEST(ByteRing, ATailThatCannotBeIsCorrupt) {
  for (const std::uint64_t tail : {std::uint64_t{1}, std::uint64_t{1025 + 7}, std::uint64_t{4096},
                                   std::uint64_t{0} - 8, std::uint64_t{12}}) {
    Ring ring;
    ring.header.tail.store(tail);
    EXPECT_EQ(ring.receive(), "(corrupt)") << tail;
    EXPECT_EQ(ring.receive(), "(corrupt)") << "and stays so";
  }
  Ring ring;
  ASSERT_TRUE(ring.send(1, "a"));
  ASSERT_EQ(ring.receive(), "1:a");
  ring.header.tail.store(8);  // back
  EXPECT_EQ(ring.receive(), "(corrupt)");
}

TEST(ByteRing, ASizeBeyondWhatWasPublishedIsCorrupt) {
  for (const std::uint32_t size : {9U, 100U, 1016U, 1017U, 0x7FFFFFU, 0xFFFFFFU}) {
    Ring ring;
    ring.put_header(0, size, 1);
    ring.header.tail.store(16);
    EXPECT_EQ(ring.receive(), "(corrupt)") << size;
  }
}

TEST(ByteRing, ARecordAcrossTheEndIsCorrupt) {
  Ring ring;
  for (int i = 0; i < 63; ++i) {
    ASSERT_TRUE(ring.send(1, "x"));
    ASSERT_EQ(ring.receive(), "1:x");
  }
  ring.put_header(1008, 32, 1);
  ring.header.tail.store(1008 + 40);
  EXPECT_EQ(ring.receive(), "(corrupt)");
}

TEST(ByteRing, PaddingIsOnlyAtTheEnd) {
  Ring ring;
  ring.put_header(0, 1016, kPaddingRecord);  // the whole ring
  ring.header.tail.store(1024);
  EXPECT_EQ(ring.receive(), "(corrupt)");
  Ring middle;
  ASSERT_TRUE(middle.send(1, "x"));
  ASSERT_EQ(middle.receive(), "1:x");
  middle.put_header(16, 8, kPaddingRecord);
  middle.header.tail.store(32);
  EXPECT_EQ(middle.receive(), "(corrupt)");
}

TEST(ByteRing, PaddingWithoutEndDoesNotHoldTheConsumer) {
  // A producer that ignores the head and publishes padding for ever.
  Ring ring;
  std::atomic<bool> stop{false};
  std::thread producer([&] {
    for (std::size_t at = 0; at < 1024; at += 8)
      ring.put_header(at, 0, kPaddingRecord);
    for (std::uint64_t tail = 8; !stop.load(); tail += 8)
      ring.header.tail.store(tail);
  });
  std::string received = "(empty)";
  while (received == "(empty)")
    received = ring.receive();
  EXPECT_EQ(received, "(corrupt)");
  stop.store(true);
  producer.join();
}

TEST(ByteRing, RandomBytesHarmNobody) {
  std::mt19937_64 random(2);
  for (int round = 0; round < 20'000; ++round) {
    Ring<256> ring;
    for (std::size_t at = 0; at < 256; at += 8) {
      const bool likely = random() % 4 != 0;
      ring.put_header(at,
                      static_cast<std::uint32_t>((likely ? random() % 64 : random()) & 0xFFFFFF),
                      static_cast<std::uint32_t>(random() % 3));
    }
    ring.header.tail.store(random() % 2 == 0 ? random() % 300 : random());
    for (int i = 0; i < 40; ++i) {
      const std::string received = ring.receive();  // under ASan: no byte outside
      if (received == "(corrupt)") break;
    }
  }
}

TEST(ByteRing, ADamagedRecordIsCorrupt) {
  const std::string text = "a record of some words, which end within one";
  for (std::size_t at = 0; at < sizeof(RecordHeader) + text.size(); ++at) {
    for (const unsigned mask : {1U, 0x80U, 0xFFU}) {
      Ring ring;
      ASSERT_TRUE(ring.send(1, "before"));
      ASSERT_TRUE(ring.send(2, text));
      ASSERT_TRUE(ring.send(3, "behind"));
      EXPECT_EQ(ring.receive(), "1:before");
      ring.data[16 + at] ^= static_cast<std::byte>(mask);
      EXPECT_EQ(ring.receive(), "(corrupt)") << at << " " << mask;
    }
  }
}

TEST(ByteRing, ZeroesAndOnesAreCorrupt) {
  for (const unsigned fill : {0U, 0xFFU}) {
    Ring ring;
    ASSERT_TRUE(ring.send(1, std::string(100, static_cast<char>(fill))));
    std::memset(ring.data.data(), static_cast<int>(fill), ring.data.size());
    EXPECT_EQ(ring.receive(), "(corrupt)");
    Ring only_bytes;
    ASSERT_TRUE(only_bytes.send(1, "some text"));
    std::memset(only_bytes.data.data() + 8, static_cast<int>(fill), 1000);
    EXPECT_EQ(only_bytes.receive(), "(corrupt)");
  }
}

// ---- a hostile consumer ------------------------------------------------------------------------

TEST(ByteRing, AHeadThatCannotBeGivesNoRoom) {
  for (const std::uint64_t head : {std::uint64_t{257}, std::uint64_t{1} << 63, ~std::uint64_t{0}}) {
    Ring<256> ring;
    int sent = 0;
    while (ring.send(1, "x"))
      ++sent;
    EXPECT_EQ(sent, 16);
    ring.header.head.store(head);
    EXPECT_FALSE(ring.send(1, "x"));
  }
  Ring<256> ring;
  while (ring.send(1, "x")) {
  }
  ring.receive();
  EXPECT_TRUE(ring.send(1, "x"));
  ring.header.head.store(0);  // back
  EXPECT_FALSE(ring.send(1, "x"));
}

// ---- threads -----------------------------------------------------------------------------------

TEST(ByteRing, TwoThreads) {
  constexpr std::uint32_t kRecords = 200'000;
  Ring<4096> ring;
  std::thread producer([&] {
    std::mt19937 random(3);
    for (std::uint32_t i = 0; i < kRecords;) {
      const auto size = static_cast<std::uint32_t>(4 * (1 + random() % 40));
      std::byte* to = ring.writer.try_append(i % 7 + 1, size);
      if (to == nullptr) {
        ring.writer.publish();
        std::this_thread::yield();
        continue;
      }
      for (std::uint32_t at = 0; at < size; at += 4)
        std::memcpy(to + at, &i, 4);
      ++i;
      if (random() % 5 == 0) ring.writer.publish();  // several at once
    }
    ring.writer.publish();
  });
  std::mt19937 random(4);
  for (std::uint32_t i = 0; i < kRecords;) {
    RecordView record;
    const RingRead read = ring.reader.next(record);
    ASSERT_NE(read, RingRead::kCorrupt);
    if (read == RingRead::kEmpty) {
      ring.reader.release();
      std::this_thread::yield();
      continue;
    }
    ASSERT_EQ(record.kind, i % 7 + 1);
    for (std::uint32_t at = 0; at < record.size_bytes; at += 4) {
      std::uint32_t value = 0;
      std::memcpy(&value, record.data + at, 4);
      ASSERT_EQ(value, i);
    }
    ring.reader.consume();
    if (random() % 5 == 0) ring.reader.release();
    ++i;
  }
  producer.join();
}

}  // namespace
}  // namespace haz
