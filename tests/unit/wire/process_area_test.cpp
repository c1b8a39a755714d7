#include "wire/process_area.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

namespace haz {
namespace {

std::vector<std::uint32_t> taken(NewsMarks& marks) {
  std::vector<std::uint32_t> slots;
  marks.take([&slots](std::uint32_t slot) { slots.push_back(slot); });
  return slots;
}

TEST(NewsMarks, AreTakenOnce) {
  const auto marks = std::make_unique<NewsMarks>();
  EXPECT_FALSE(marks->any());
  for (const std::uint32_t slot : {1U, 63U, 64U, 1U, 4000U, NewsMarks::kMaxSlots - 1})
    marks->mark(slot);
  EXPECT_TRUE(marks->any());
  EXPECT_EQ(taken(*marks), (std::vector<std::uint32_t>{1, 63, 64, 4000, NewsMarks::kMaxSlots - 1}));
  EXPECT_FALSE(marks->any());
  EXPECT_TRUE(taken(*marks).empty());
}

TEST(NewsMarks, WhatIsPublishedBeforeAMarkIsSeenAfterIt) {
  constexpr std::uint32_t kWriters = 3;
  constexpr std::uint64_t kMessages = 20'000;
  const auto marks = std::make_unique<NewsMarks>();
  std::vector<std::atomic<std::uint64_t>> published(kWriters);
  std::vector<std::uint64_t> seen(kWriters);
  std::vector<std::thread> writers;
  for (std::uint32_t i = 0; i < kWriters; ++i) {
    writers.emplace_back([&, i] {
      for (std::uint64_t message = 1; message <= kMessages; ++message) {
        published[i].store(message, std::memory_order_seq_cst);  // pairs with the load below
        marks->mark(i);
      }
    });
  }
  const auto look = [&] {
    marks->take([&](std::uint32_t slot) {
      seen[slot] = published[slot].load(std::memory_order_seq_cst);  // pairs with the store above
    });
  };
  for (std::thread& writer : writers) {
    look();
    writer.join();
  }
  look();
  // Whoever marked last was looked at after its last message.
  EXPECT_EQ(seen, std::vector<std::uint64_t>(kWriters, kMessages));
}

}  // namespace
}  // namespace haz
