#include "node/start_failures.h"

#include <gtest/gtest.h>

#include <csignal>

namespace haz {
namespace {

ProcessExit killed_by(int signal) { return {.pid = 7, .exit_code = -1, .signal = signal}; }

TEST(StartFailures, TenInARowAreWithoutHope) {
  StartFailures failures;
  EXPECT_FALSE(failures.any());
  for (std::uint32_t i = 0; i < StartFailures::kMostInARow; ++i) {
    EXPECT_FALSE(failures.is_hopeless(0));
    failures.add("it says " + std::to_string(i), {.pid = 7, .exit_code = 1}, 0);
  }
  EXPECT_TRUE(failures.any());
  EXPECT_TRUE(failures.is_hopeless(0));
  EXPECT_EQ(failures.last(), "it says 9");
  failures.reset();
  EXPECT_FALSE(failures.any());
  EXPECT_FALSE(failures.is_hopeless(0));
}

TEST(StartFailures, WhatIsKilledIsTriedForHalfAMinute) {
  StartFailures failures;
  std::int64_t now_ns = 1000 * kSecondNs;
  const std::int64_t begin_ns = now_ns;
  while (now_ns - begin_ns < StartFailures::kPatienceNs) {
    failures.add("", killed_by((now_ns / kSecondNs) % 2 == 0 ? SIGKILL : SIGSEGV), now_ns);
    EXPECT_FALSE(failures.is_hopeless(now_ns));
    now_ns += kSecondNs;
  }
  EXPECT_TRUE(failures.is_hopeless(now_ns));
}

TEST(StartFailures, NowAndThenOneMayBeKilled) {
  StartFailures failures;
  for (int i = 0; i < 100; ++i) {
    failures.add("", killed_by(SIGTERM), i * 2 * StartFailures::kGapNs);
    EXPECT_FALSE(failures.is_hopeless(i * 2 * StartFailures::kGapNs));
  }
}

TEST(StartFailures, ManyAtOnceMayCountAsOne) {
  StartFailures failures;
  for (std::uint32_t i = 1; i < StartFailures::kMostInARow; ++i) {
    const StartFailures before = failures;
    for (int j = 0; j < 3; ++j)
      failures.add("the zygote", 0);
    failures.count_as_one(before, 0);
    EXPECT_FALSE(failures.is_hopeless(0));
  }
  EXPECT_EQ(failures.last(), "the zygote");
  failures.add("", 0);
  EXPECT_TRUE(failures.is_hopeless(0));
}

TEST(StartFailures, TheMoreTheLongerTheNextOneWaits) {
  StartFailures failures;
  EXPECT_EQ(failures.pause_ticks(), 1U);
  std::uint32_t last = 0;
  for (int i = 0; i < 6; ++i) {
    failures.add("", 0);
    EXPECT_GT(failures.pause_ticks(), last);
    last = failures.pause_ticks();
  }
  failures.add("", 0);
  EXPECT_EQ(failures.pause_ticks(), last);
}

}  // namespace
}  // namespace haz
