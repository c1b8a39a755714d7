#include "queue/call_page.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace haz {
namespace {

struct Ends {
  std::unique_ptr<CallPage> page = std::make_unique<CallPage>();  // zeroed
  CallPageWriter writer{page.get()};
  CallPageReader reader{page.get()};

  bool record(const std::string& value) { return writer.record(std::as_bytes(std::span(value))); }
  [[nodiscard]] std::vector<std::string> recorded() const {
    std::vector<std::string> values;
    for (const auto bytes : reader.recorded())
      values.emplace_back(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return values;
  }
};

TEST(CallPage, TellsWhatHasBegunAndWhatItReturned) {
  Ends ends;
  EXPECT_FALSE(ends.reader.begun(7));
  ends.writer.open(7, 3);
  EXPECT_EQ(ends.reader.begun(7), 0U);
  EXPECT_TRUE(ends.writer.claim());
  EXPECT_TRUE(ends.record("a"));
  EXPECT_TRUE(ends.writer.claim());
  EXPECT_EQ(ends.reader.begun(7), 2U);
  EXPECT_EQ(ends.recorded(), std::vector<std::string>{"a"}) << "the second one runs";
  EXPECT_TRUE(ends.record(""));
  EXPECT_TRUE(ends.writer.claim());
  EXPECT_FALSE(ends.writer.claim());
  EXPECT_EQ(ends.recorded(), (std::vector<std::string>{"a", ""}));
}

TEST(CallPage, WhatHasNotBegunCanBeTakenBackOnce) {
  Ends ends;
  ends.writer.open(7, 10);
  EXPECT_TRUE(ends.writer.claim());
  EXPECT_FALSE(ends.reader.take_back(8)) << "another batch";
  EXPECT_EQ(ends.reader.take_back(7), 1U);
  EXPECT_FALSE(ends.reader.take_back(7));
  EXPECT_FALSE(ends.writer.claim());
  ends.writer.open(11, 2);
  EXPECT_FALSE(ends.reader.take_back(7)) << "it has ended";
  EXPECT_TRUE(ends.recorded().empty());
  EXPECT_TRUE(ends.writer.claim());
}

TEST(CallPage, IsFullAtItsEnd) {
  Ends ends;
  ends.writer.open(1, 2);
  EXPECT_FALSE(ends.record(std::string(CallPage::kDataBytes - 3, 'x')));
  EXPECT_TRUE(ends.record(std::string(CallPage::kDataBytes - 4, 'x')));
  EXPECT_FALSE(ends.record(""));
  EXPECT_EQ(ends.recorded().size(), 1U);
}

TEST(CallPage, NonsenseStaysInBounds) {
  Ends ends;
  ends.writer.open(1, 2);
  EXPECT_TRUE(ends.record("abcd"));
  ends.page->recorded = 1'000'000;
  std::size_t bytes = 0;
  for (const auto value : ends.reader.recorded())
    bytes += value.size();
  EXPECT_LE(bytes, CallPage::kDataBytes);
  std::memset(ends.page->data.data(), 0xff, CallPage::kDataBytes);
  EXPECT_TRUE(ends.reader.recorded().empty());
}

TEST(CallPage, ACallIsEitherClaimedOrTakenBack) {
  Ends ends;
  constexpr std::uint32_t kCalls = 1000;
  for (std::uint32_t number = 1; number <= 50; ++number) {
    ends.writer.open(number, kCalls);
    std::uint32_t claimed = 0;
    std::thread worker([&] {
      while (ends.writer.claim())
        ++claimed;
    });
    while (ends.reader.begun(number) == 0U)
      std::this_thread::yield();
    const std::uint32_t first = ends.reader.take_back(number).value_or(kCalls);
    worker.join();
    ASSERT_EQ(claimed, first);
  }
}

}  // namespace
}  // namespace haz
