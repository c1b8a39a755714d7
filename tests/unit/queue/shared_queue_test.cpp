#include "queue/shared_queue.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <deque>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "os/clock.h"

namespace haz {
namespace {

constexpr std::int64_t kLongNs = 60 * kSecondNs;

std::unique_ptr<SharedQueue> make_queue(std::uint32_t limit = SharedQueue::kMaxItems) {
  auto queue = SharedQueue::create(limit);
  EXPECT_TRUE(queue) << queue.error().message;
  return std::move(*queue);
}

std::unique_ptr<SharedQueue> attach_again(const SharedQueue& queue) {
  auto attached = SharedQueue::attach(UniqueFd(fcntl(queue.fd(), F_DUPFD_CLOEXEC, 0)));
  EXPECT_TRUE(attached) << attached.error().message;
  return std::move(*attached);
}

QueueTry put(SharedQueue& queue, const std::string& item) {
  auto outcome = queue.try_put(
      item.size(), [&](std::byte* to) { std::memcpy(to, item.data(), item.size()); },
      monotonic_ns() + kLongNs);
  EXPECT_TRUE(outcome) << outcome.error().message;
  return outcome ? *outcome : QueueTry::kBusy;
}

std::optional<std::string> get(SharedQueue& queue) {
  std::string item;
  auto outcome = queue.try_get(
      [&](std::span<const std::byte> bytes) {
        item.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        return true;
      },
      monotonic_ns() + kLongNs);
  EXPECT_TRUE(outcome) << outcome.error().message;
  if (!outcome || *outcome != QueueTry::kDone) return std::nullopt;
  return item;
}

std::uint64_t file_bytes(const SharedQueue& queue) {
  struct stat status{};
  EXPECT_EQ(fstat(queue.fd(), &status), 0);
  return static_cast<std::uint64_t>(status.st_blocks) * 512;
}

TEST(SharedQueue, GivesItemsInTheirOrder) {
  auto queue = make_queue();
  EXPECT_EQ(get(*queue), std::nullopt);
  for (const char* item : {"a", "", "ccc"})
    EXPECT_EQ(put(*queue, item), QueueTry::kDone);
  EXPECT_EQ(queue->size(), 3U);
  auto other = attach_again(*queue);
  EXPECT_EQ(get(*other), "a");
  EXPECT_EQ(get(*queue), "");
  EXPECT_EQ(get(*other), "ccc");
  EXPECT_EQ(get(*queue), std::nullopt);
  EXPECT_EQ(other->size(), 0U);
}

TEST(SharedQueue, TakesNoMoreThanItsLimit) {
  auto queue = make_queue(2);
  EXPECT_EQ(put(*queue, "a"), QueueTry::kDone);
  EXPECT_FALSE(queue->full());
  EXPECT_EQ(put(*queue, "b"), QueueTry::kDone);
  EXPECT_TRUE(queue->full());
  EXPECT_EQ(put(*queue, "c"), QueueTry::kNotNow);
  EXPECT_EQ(get(*queue), "a");
  EXPECT_EQ(put(*queue, "c"), QueueTry::kDone);
}

TEST(SharedQueue, WhatIsNotReadStays) {
  auto queue = make_queue();
  put(*queue, "a");
  auto outcome = queue->try_get([](std::span<const std::byte>) { return false; }, monotonic_ns());
  ASSERT_TRUE(outcome);
  EXPECT_EQ(*outcome, QueueTry::kNotNow);
  EXPECT_EQ(get(*queue), "a");
}

TEST(SharedQueue, CountsWhatIsDone) {
  auto queue = make_queue();
  EXPECT_TRUE(queue->all_done());
  EXPECT_FALSE(queue->mark_done());
  put(*queue, "a");
  EXPECT_FALSE(queue->all_done());
  EXPECT_TRUE(queue->mark_done());
  EXPECT_TRUE(queue->all_done());
  EXPECT_FALSE(queue->mark_done());
}

TEST(SharedQueue, RefusesWhatCanNeverFitAndAttachesToNothingElse) {
  auto queue = make_queue();
  auto outcome = queue->try_put(std::size_t{1} << 60, [](std::byte*) { FAIL(); }, 0);
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().kind, ErrorKind::kOverloaded);
  EXPECT_FALSE(SharedQueue::attach(UniqueFd(open("/dev/zero", O_RDWR))));
  EXPECT_FALSE(SharedQueue::attach(UniqueFd(open("/proc/self/exe", O_RDONLY))));
}

/// Any order of puts and gets of any size: through all kinds of ways between and in regions.
TEST(SharedQueue, IsAFifoWhateverTheSizes) {
  const char* seeds = std::getenv("HAZ_TEST_SEEDS");
  const int runs = seeds != nullptr ? std::atoi(seeds) : 20;
  for (int seed = 0; seed < runs; ++seed) {
    std::mt19937_64 random(static_cast<std::uint64_t>(seed));
    SCOPED_TRACE("seed " + std::to_string(seed));
    auto queue = make_queue();
    auto other = attach_again(*queue);
    std::deque<std::string> expected;
    std::size_t largest = 100;
    for (int step = 0; step < 1500; ++step) {
      if (step % 100 == 0) largest = std::size_t{1} << (random() % 19);
      SharedQueue& end = random() % 2 == 0 ? *queue : *other;
      // Phases of growth, of drain, and of neither.
      if (random() % 8 < 2 + static_cast<unsigned>(step / 200) % 5) {
        std::string item(random() % largest, static_cast<char>('a' + step % 26));
        ASSERT_EQ(put(end, item), QueueTry::kDone);
        expected.push_back(std::move(item));
      } else {
        const auto item = get(end);
        ASSERT_EQ(item.has_value(), !expected.empty());
        if (!item) continue;
        ASSERT_EQ(*item, expected.front());
        expected.pop_front();
      }
      ASSERT_EQ(queue->size(), expected.size());
    }
    while (!expected.empty()) {
      ASSERT_EQ(get(*queue), expected.front());
      expected.pop_front();
    }
  }
}

TEST(SharedQueue, KeepsLittleMemoryWhenItIsDrained) {
  auto queue = make_queue();
  const std::string item(1000, 'x');
  for (int i = 0; i < 20'000; ++i)
    put(*queue, item);
  EXPECT_GE(file_bytes(*queue), 20 * kMiB);
  for (int i = 0; i < 20'000; ++i)
    ASSERT_EQ(get(*queue), item);
  put(*queue, item);
  EXPECT_EQ(get(*queue), item);
  EXPECT_LE(file_bytes(*queue), 12 * kMiB);
}

TEST(SharedQueue, StaysSmallWhereItIsDrainedInTime) {
  auto queue = make_queue();
  const std::string item(1000, 'x');
  for (int i = 0; i < 5000; ++i) {
    put(*queue, item);
    ASSERT_EQ(get(*queue), item);
  }
  EXPECT_LE(file_bytes(*queue), 160 * kKiB);
}

TEST(SharedQueue, ManyThreadsLoseNothing) {
  constexpr int kThreads = 3;
  constexpr int kItems = 4000;
  auto queue = make_queue(64);
  std::vector<std::atomic<int>> seen(kThreads * kItems);
  std::atomic<int> left = kThreads * kItems;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kItems; ++i) {
        while (put(*queue, std::to_string(t * kItems + i)) != QueueTry::kDone)
          queue->wait_for_room(monotonic_ns() + kLongNs);
      }
    });
    threads.emplace_back([&] {
      while (left.load() > 0) {
        const auto item = get(*queue);
        if (!item) {
          queue->wait_for_item(monotonic_ns() + 10 * kMillisecondNs);
          continue;
        }
        seen[static_cast<std::size_t>(std::stoi(*item))].fetch_add(1);
        left.fetch_sub(1);
      }
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  for (const auto& count : seen)
    ASSERT_EQ(count.load(), 1);
}

TEST(SharedQueue, OneNotificationWakesEachWhoHasAnItem) {
  auto queue = make_queue();
  constexpr int kSleepers = 4;
  std::atomic<int> got = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kSleepers; ++t) {
    threads.emplace_back([&] {
      while (!get(*queue))
        queue->wait_for_item(monotonic_ns() + kLongNs);
      got.fetch_add(1);
    });
  }
  for (int i = 0; i < kSleepers; ++i)
    put(*queue, "x");
  for (std::thread& thread : threads)
    thread.join();
  EXPECT_EQ(got.load(), kSleepers);
  EXPECT_EQ(queue->size(), 0U);
}

/// Runs `work` in a process of its own until it is killed, `after_us` after its begin.
template <typename Work>
void kill_in_the_middle_of(int after_us, Work&& work) {
  const pid_t pid = fork();
  ASSERT_GE(pid, 0);
  if (pid == 0) {
    for (;;)
      work();
  }
  usleep(static_cast<useconds_t>(after_us));
  kill(pid, SIGKILL);
  int status = 0;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  ASSERT_TRUE(WIFSIGNALED(status));
}

TEST(SharedQueue, AKilledProcessHoldsNobodyUpAndLosesNothingThatWasPut) {
  auto queue = make_queue();
  std::string last;
  for (int round = 0; round < 40; ++round) {
    int next = 0;
    kill_in_the_middle_of(round * 100, [&] {
      const std::string text = std::to_string(next++);
      put(*queue, text + std::string(static_cast<std::size_t>(next) * 37 % 9000, 'x'));
    });
    // All that was published is whole and in order, and the queue goes on.
    ASSERT_EQ(put(*queue, "end"), QueueTry::kDone);
    int expected = 0;
    for (;;) {
      const auto item = get(*queue);
      ASSERT_TRUE(item);
      if (*item == "end") break;
      const std::string text = std::to_string(expected++);
      ASSERT_EQ(*item, text + std::string(static_cast<std::size_t>(expected) * 37 % 9000, 'x'));
    }
    ASSERT_EQ(queue->size(), 0U);
  }
}

TEST(SharedQueue, AKilledReaderTakesAtMostTheItemsThatItHasGot) {
  auto queue = make_queue();
  for (int round = 0; round < 40; ++round) {
    const int count = 2000;
    for (int i = 0; i < count; ++i)
      put(*queue, std::to_string(i));
    kill_in_the_middle_of(round * 50, [&] {
      if (!get(*queue)) queue->wait_for_item(monotonic_ns() + kLongNs);
    });
    const std::uint32_t left = queue->size();
    for (std::uint32_t i = 0; i < left; ++i)
      ASSERT_EQ(get(*queue), std::to_string(count - static_cast<int>(left - i)));
    ASSERT_EQ(get(*queue), std::nullopt);
  }
}

TEST(SharedQueue, NonsenseInItsMemoryIsAnError) {
  auto queue = make_queue();
  put(*queue, std::string(100, 'x'));
  // The file's first region, where the item lies.
  const std::string nonsense(256, '\xee');
  ASSERT_EQ(pwrite(queue->fd(), nonsense.data(), nonsense.size(), 64 * kKiB), 256);
  auto outcome = queue->try_get([](std::span<const std::byte>) { return true; }, 0);
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().kind, ErrorKind::kLost);
}

}  // namespace
}  // namespace haz
