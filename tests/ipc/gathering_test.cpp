// Submissions that wait for the next look at the workers' rings: nobody is idle meanwhile, and
// whoever comes to the end of what it has tells of that. HAZ_TEST_SEEDS=N runs N orders,
// HAZ_TEST_FIRST_SEED=S begins with S.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "ipc/native_node.h"

namespace haz::test {

namespace {

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text != nullptr && *text != '\0' ? std::strtoull(text, nullptr, 10) : otherwise;
}

class GatheringTest : public NodeTest {
 protected:
  /// Of so many echoes, submitted one after the other.
  std::vector<ObjectId> submit_many(int count) {
    std::vector<ObjectId> ids;
    for (int i = 0; i < count; ++i) {
      ids.push_back(submit(NativeTask::kEcho, std::to_string(i)));
      EXPECT_TRUE(node_->is_told_in_time()) << "after task " << i;
    }
    return ids;
  }
  /// Whether its task has ended, as far as the node knows: this looks at no ring.
  bool has_ended(ObjectId id) {
    const std::vector<StoryRecord> story = node_->story(id.value);
    return std::any_of(story.begin(), story.end(), [](const StoryRecord& record) {
      return record.event == StoryEvent::kTaskFinished;
    });
  }
  void expect_end(ObjectId id) {
    const std::int64_t until = monotonic_ns() + kPatienceNs;
    while (!has_ended(id) && monotonic_ns() < until)
      ::usleep(200);
    EXPECT_TRUE(has_ended(id)) << "nobody looked at it";
  }
};

TEST_F(GatheringTest, WhatWasSubmittedLastRunsWithoutAnotherCall) {
  for (const int count : {1, 15, 16, 17, 400, 3000}) {
    const std::vector<ObjectId> ids = submit_many(count);
    expect_end(ids.back());
    for (int i = 0; i < count; ++i)
      EXPECT_EQ(get_and_drop(ids[static_cast<std::size_t>(i)]), std::to_string(i));
  }
  expect_empty();
}

TEST_F(GatheringTest, AThreadThatWaitsHearsOfWhatOthersSubmit) {
  const std::vector<ObjectId> first = submit_many(500);
  std::thread waiting([&] {
    for (std::size_t i = 0; i < first.size(); ++i)
      EXPECT_EQ(get_and_drop(first[i]), std::to_string(i));
  });
  const std::vector<ObjectId> second = submit_many(2000);
  waiting.join();
  expect_end(second.back());
  for (std::size_t i = 0; i < second.size(); ++i)
    EXPECT_EQ(get_and_drop(second[i]), std::to_string(i));
  expect_empty();
}

TEST_F(GatheringTest, BehindATaskThatTakesLongOthersGoToTheOtherWorker) {
  submit_many(200);  // the function is known to be short
  const ObjectId slow = submit(NativeTask::kSleepMs, "600000");
  const std::vector<ObjectId> ids = submit_many(2000);
  for (std::size_t i = 0; i < ids.size(); ++i)
    EXPECT_EQ(get_and_drop(ids[i]), std::to_string(i));
  node_->cancel(slow, true, true);
  EXPECT_NE(get_and_drop(slow).find("cancelled"), std::string::npos);
}

TEST_F(GatheringTest, AProgramThatPausesAnywhereLosesNoTime) {
  const std::uint64_t first = number_from("HAZ_TEST_FIRST_SEED", 1);
  const std::uint64_t count = number_from("HAZ_TEST_SEEDS", 3);
  for (std::uint64_t seed = first; seed < first + count && !HasFailure(); ++seed) {
    SCOPED_TRACE("HAZ_TEST_FIRST_SEED=" + std::to_string(seed) + " HAZ_TEST_SEEDS=1");
    std::mt19937_64 random(seed);
    const auto number = [&](int low, int high) {
      return std::uniform_int_distribution<int>(low, high)(random);
    };
    start(number(1, 3), 64 * kMiB);
    const std::vector<FunctionId> functions = {
        function_, add_function({.name = "half", .resources = {{"CPU", 0.5}}, .max_retries = -1}),
        add_function({.name = "urgent", .resources = {{"CPU", 1.0}}, .priority = 1}),
        add_function({.name = "free", .resources = {}, .max_retries = -1})};
    std::vector<std::pair<ObjectId, std::string>> open;
    const auto echo = [&](std::span<const ObjectId> waits_for) {
      const std::string text = std::to_string(number(0, 999));
      const FunctionId function =
          functions[number(0, 9) < 7 ? 0U : static_cast<std::size_t>(number(1, 3))];
      open.emplace_back(submit(function, NativeTask::kEcho, text, waits_for), text);
    };
    const auto take = [&](std::size_t at) {
      const auto [id, text] = std::exchange(open[at], open.back());
      open.pop_back();
      EXPECT_EQ(get_and_drop(id), text);
    };
    for (int step = 0; step < 300 && !HasFailure(); ++step) {
      switch (number(0, 9)) {
        case 0:
          ::usleep(static_cast<useconds_t>(number(0, 300)));
          break;
        case 1:
          open.emplace_back(submit(function_, NativeTask::kSleepMs, std::to_string(number(0, 1))),
                            "");
          break;
        case 2: {
          if (open.empty()) break;
          const ObjectId argument = open.back().first;
          echo(std::span(&argument, 1));
          break;
        }
        case 3:
          if (open.empty()) break;
          take(static_cast<std::size_t>(number(0, static_cast<int>(open.size()) - 1)));
          break;
        case 4: {
          const ObjectId cancelled = submit(NativeTask::kEcho, "or not");
          node_->cancel(cancelled, false, true);
          node_->drop_reference(cancelled);
          break;
        }
        default:
          for (int left = number(1, 60); left > 0; --left)
            echo({});
      }
      EXPECT_TRUE(node_->is_told_in_time()) << "step " << step;
    }
    echo({});
    expect_end(open.back().first);
    while (!open.empty())
      take(open.size() - 1);
    expect_empty();
  }
}

TEST_F(GatheringTest, WorkersThatDieWithFullRingsLoseNothing) {
  const FunctionId stubborn =
      add_function({.name = "stubborn", .resources = {{"CPU", 1.0}}, .max_retries = -1});
  for (int i = 0; i < 50; ++i)
    get_and_drop(submit(stubborn, NativeTask::kEcho, "it is short"));
  std::vector<ObjectId> ids;
  for (int i = 0; i < 6000; ++i) {
    ids.push_back(submit(stubborn, NativeTask::kEcho, std::to_string(i)));
    if (i % 1000 != 999) continue;
    const auto workers = node_->snapshot().workers;
    if (!workers.empty() && workers.front().second != 0) ::kill(workers.front().second, SIGKILL);
  }
  for (std::size_t i = 0; i < ids.size(); ++i)
    EXPECT_EQ(get_and_drop(ids[i]), std::to_string(i));
  expect_empty();
}

}  // namespace

}  // namespace haz::test
