#include "queue/drop_list.h"

#include <gtest/gtest.h>

#include <map>
#include <thread>
#include <vector>

namespace haz {
namespace {

TEST(DropList, ComesOutInOrderOnce) {
  DropList list;
  EXPECT_TRUE(list.empty());
  for (std::uint64_t i = 0; i < 10; ++i)
    list.append(i);
  EXPECT_FALSE(list.empty());
  std::vector<std::uint64_t> taken;
  list.drain([&](std::uint64_t value) {
    if (value == 4) list.append(100);  // what is dropped may drop more
    taken.push_back(value);
  });
  EXPECT_EQ(taken, (std::vector<std::uint64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
  taken.clear();
  list.drain([&](std::uint64_t value) { taken.push_back(value); });
  EXPECT_EQ(taken, std::vector<std::uint64_t>{100});
  EXPECT_TRUE(list.empty());
}

TEST(DropList, WhatIsLeftIsFreed) {
  DropList list;
  for (std::uint64_t i = 0; i < 10; ++i)
    list.append(i);
}

TEST(DropList, NodesThatAreUsedAgainComeInOrder) {
  DropList list;
  DropList other;
  std::uint64_t next = 0;
  std::uint64_t expected = 0;
  for (const std::uint64_t burst : {1, 3, 5000, 2, 9000, 4096, 1}) {
    for (std::uint64_t i = 0; i < burst; ++i) {
      list.append(next++);
      other.append(i);
    }
    list.drain([&](std::uint64_t value) { ASSERT_EQ(value, expected++); });
    EXPECT_EQ(expected, next);
  }
  std::uint64_t of_other = 0;
  other.drain([&](std::uint64_t) { ++of_other; });
  EXPECT_EQ(of_other, 1 + 3 + 5000 + 2 + 9000 + 4096 + 1U);
}

TEST(DropList, ManyThreads) {
  constexpr std::uint64_t kThreads = 4;
  constexpr std::uint64_t kEach = 50'000;
  DropList list;
  std::vector<std::thread> threads;
  for (std::uint64_t thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&list, thread] {
      for (std::uint64_t i = 1; i <= kEach; ++i)
        list.append(thread << 32 | i);
    });
  }
  std::map<std::uint64_t, std::uint64_t> last;
  for (std::uint64_t taken = 0; taken < kThreads * kEach;) {
    list.drain([&](std::uint64_t value) {
      ++taken;
      ASSERT_EQ(++last[value >> 32], value & 0xFFFFFFFF) << "each thread's in order";
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  EXPECT_TRUE(list.empty());
}

}  // namespace
}  // namespace haz
