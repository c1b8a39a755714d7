// A node with real processes and no interpreter: scheduler, rings, store and supervision together.
#include "node/node.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "ipc/native_node.h"
#include "wire/value.h"

namespace haz::test {

namespace {

TEST_F(NodeTest, RunsTasks) {
  for (int i = 0; i < 2000; ++i) {
    const std::string text = std::to_string(i);
    EXPECT_EQ(get_and_drop(submit(NativeTask::kEcho, text)), text);
  }
  expect_empty();
}

TEST_F(NodeTest, RunsManyTasksFromManyThreads) {
  constexpr int kThreads = 8;
  constexpr int kTasks = 1000;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([this, thread] {
      std::vector<ObjectId> ids;
      for (int i = 0; i < kTasks; ++i)
        ids.push_back(submit(NativeTask::kEcho, std::to_string(thread * kTasks + i)));
      for (int i = 0; i < kTasks; ++i)
        EXPECT_EQ(get_and_drop(ids[static_cast<std::size_t>(i)]),
                  std::to_string(thread * kTasks + i));
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  expect_empty();
}

TEST_F(NodeTest, LargeValuesAndDependents) {
  const ObjectId large = submit(NativeTask::kLarge, "5000000");
  const ObjectId after = submit(NativeTask::kEcho, "after", std::span(&large, 1));
  EXPECT_EQ(get_and_drop(after), "after");
  EXPECT_EQ(get_and_drop(large).size(), 5'000'000U);
  expect_empty();
}

TEST_F(NodeTest, ParentsWaitForChildren) {
  std::vector<ObjectId> parents;
  for (int i = 0; i < 100; ++i)
    parents.push_back(submit(NativeTask::kParent, "5"));
  for (const ObjectId parent : parents)
    EXPECT_EQ(get_and_drop(parent), "0,1,2,3,4,");
  expect_empty();
}

TEST_F(NodeTest, AnInterruptedWaitGivesBackWhatWasToRunOnTopOfIt) {
  // So many that the last ones find no process for their children.
  std::vector<ObjectId> parents;
  for (int i = 0; i < 100; ++i)
    parents.push_back(submit(NativeTask::kInterrupted, std::to_string(i)));
  for (int i = 0; i < 100; ++i)
    EXPECT_EQ(get_and_drop(parents[static_cast<std::size_t>(i)]), std::to_string(i));
  expect_empty();
}

TEST_F(NodeTest, WorkerWithMoreChildrenThanItsRingTakes) {
  const std::string joined = get_and_drop(submit(NativeTask::kParent, "20000"));
  EXPECT_EQ(joined.substr(0, 6), "0,1,2,");
  EXPECT_EQ(joined.substr(joined.size() - 6), "19999,");
  expect_empty();
}

TEST_F(NodeTest, ErrorsPassThroughDependents) {
  const ObjectId failed = submit(NativeTask::kRaise, "reason");
  const ObjectId after = submit(NativeTask::kEcho, "never", std::span(&failed, 1));
  EXPECT_EQ(get_and_drop(failed), "error: reason");
  EXPECT_EQ(get_and_drop(after).substr(0, 13), "error: reason");
  expect_empty();
}

TEST_F(NodeTest, DeadWorkersAreReplacedAndTold) {
  const FunctionId final =
      add_function({.name = "final", .resources = {{"CPU", 1.0}}, .max_retries = 0});
  std::vector<ObjectId> ids;
  for (int i = 0; i < 60; ++i)
    ids.push_back(i % 10 == 5 ? submit(final, NativeTask::kDie, "")
                              : submit(NativeTask::kEcho, std::to_string(i)));
  for (int i = 0; i < 60; ++i) {
    const std::string value = get_and_drop(ids[static_cast<std::size_t>(i)]);
    if (i % 10 == 5) {
      EXPECT_NE(value.find("worker_crashed"), std::string::npos) << value;
    } else {
      EXPECT_EQ(value, std::to_string(i));
    }
  }
  expect_empty();
}

/// Those behind a task that damages its process run elsewhere. They lose no try as long as it is
/// seen what the process has begun.
TEST_F(NodeTest, AWorkerThatScribblesBreaksOnlyItself) {
  start(1, 64 * kMiB);
  const FunctionId once =
      add_function({.name = "once", .resources = {{"CPU", 1.0}}, .max_retries = 0});
  const FunctionId again =
      add_function({.name = "again", .resources = {{"CPU", 1.0}}, .max_retries = 1});
  for (int i = 0; i < 20; ++i) {  // so often that one pause of a busy machine is forgotten
    get_and_drop(submit(once, NativeTask::kEcho, "it is short"));
    get_and_drop(submit(again, NativeTask::kEcho, "it is short"));
  }
  for (const std::string where : {"entries", "claims", "ones", "zeros"}) {
    const FunctionId innocent = where == "entries" || where == "claims" ? once : again;
    for (int round = 0; round < 5; ++round) {
      const ObjectId scribbler = submit(once, NativeTask::kScribble, "4" + where);
      std::vector<ObjectId> ids;
      for (int i = 0; i < 8; ++i)
        ids.push_back(submit(innocent, NativeTask::kEcho, std::to_string(i)));
      for (int i = 0; i < 8; ++i) {
        EXPECT_EQ(get_and_drop(ids[static_cast<std::size_t>(i)]), std::to_string(i)) << where;
      }
      // With its ring it may have lost the news of its own end.
      const std::string end = get_and_drop(scribbler);
      EXPECT_TRUE(end == "scribbled" || end.find("worker_crashed") != std::string::npos) << end;
    }
  }
  expect_empty();
}

/// The last one, so that none of those before it is taken back either.
TEST_F(NodeTest, ATaskThatCanNeitherBeTakenBackNorBegunDoesNotWaitForTheOneBeforeIt) {
  start(2, 64 * kMiB);
  const FunctionId once =
      add_function({.name = "once", .resources = {{"CPU", 1.0}}, .max_retries = 0});
  for (int i = 0; i < 20; ++i)
    get_and_drop(submit(once, NativeTask::kEcho, "it is short"));
  for (int round = 0; round < 5; ++round) {
    const ObjectId scribbler = submit(once, NativeTask::kScribble, "1last");
    std::vector<ObjectId> ids;
    for (int i = 0; i < 8; ++i)
      ids.push_back(submit(once, NativeTask::kEcho, std::to_string(i)));
    for (int i = 0; i < 8; ++i)
      EXPECT_EQ(get_and_drop(ids[static_cast<std::size_t>(i)]), std::to_string(i));
    const std::string end = get_and_drop(scribbler);
    EXPECT_TRUE(end == "scribbled" || end.find("worker_crashed") != std::string::npos) << end;
  }
  expect_empty();
}

TEST_F(NodeTest, WorkersThatEndBeforeTheirFirstTaskAreNotStartedForEver) {
  start(2, 64 * kMiB, "ends when ready");
  const std::string error = get(submit(NativeTask::kEcho, "never"));
  EXPECT_NE(error.find("node_died"), std::string::npos) << error;
  EXPECT_NE(error.find("exited with code 7"), std::string::npos) << error;
  EXPECT_NE(error.find("last words"), std::string::npos) << error;
}

TEST_F(NodeTest, KillsUnderLoadLoseNothing) {
  std::vector<ObjectId> ids;
  const FunctionId stubborn =
      add_function({.name = "stubborn", .resources = {{"CPU", 1.0}}, .max_retries = -1});
  for (int i = 0; i < 300; ++i)
    ids.push_back(submit(stubborn, i % 3 == 0 ? NativeTask::kParent : NativeTask::kSleepMs, "3"));
  std::thread killer([this] {
    for (int i = 0; i < 10; ++i) {
      ::usleep(20'000);
      for (const auto& [slot, pid] : node_->snapshot().workers) {
        if (pid == 0 || static_cast<int>(slot) % 2 != i % 2) continue;
        ::kill(pid, SIGKILL);
        break;
      }
    }
  });
  for (std::size_t i = 0; i < ids.size(); ++i)
    EXPECT_EQ(get_and_drop(ids[i]), i % 3 == 0 ? "0,1,2," : "");
  killer.join();
  expect_empty();
}

TEST_F(NodeTest, FullStoreIsAnErrorOfTheCallOrWaits) {
  NoHooks hooks;
  EXPECT_FALSE(node_->allocate(65 * kMiB, hooks).ok());
  auto block = node_->allocate(40 * kMiB, hooks);
  ASSERT_TRUE(block.ok());
  EXPECT_FALSE(node_->allocate(40 * kMiB, hooks).ok());
  node_->discard(block->offset);
  auto again = node_->allocate(40 * kMiB, hooks);
  EXPECT_TRUE(again.ok());
  if (again) node_->discard(again->offset);
}

TEST_F(NodeTest, CancelledWhileQueuedNeverRuns) {
  // Both CPUs are taken until the test says so, however long that takes.
  const ObjectId holds = submit(NativeTask::kSleepMs, "600000");
  const ObjectId holds_too = submit(NativeTask::kSleepMs, "600000");
  std::vector<ObjectId> queued;
  for (int i = 0; i < 50; ++i)
    queued.push_back(submit(NativeTask::kDie, ""));
  for (const ObjectId id : queued)
    node_->cancel(id, false, true);
  for (const ObjectId id : queued)
    EXPECT_NE(get_and_drop(id).find("cancelled"), std::string::npos);
  for (const ObjectId id : {holds, holds_too}) {
    node_->cancel(id, true, true);
    EXPECT_NE(get_and_drop(id).find("cancelled"), std::string::npos);
  }
  EXPECT_EQ(get_and_drop(submit(NativeTask::kEcho, "after")), "after");
  expect_empty();
}

TEST_F(NodeTest, SubscriptionsAreToldAndWaitsTimeOut) {
  start(1, 64 * kMiB);
  const ObjectId holds = submit(NativeTask::kSleepMs, "600000");  // the only CPU
  const ObjectId queued = submit(NativeTask::kEcho, "ran");
  ASSERT_TRUE(node_->subscribe(queued, 7));
  NoHooks hooks;
  std::vector<bool> ready;
  EXPECT_EQ(node_->wait(std::span(&queued, 1), 1, monotonic_ns() + kMillisecondNs, hooks, ready),
            WaitOutcome::kTimeout);
  EXPECT_FALSE(ready.front());
  EXPECT_TRUE(node_->take_completions().empty());
  node_->cancel(holds, true, true);
  std::vector<std::uint64_t> tokens;
  const std::int64_t until = monotonic_ns() + kPatienceNs;
  while (tokens.empty() && monotonic_ns() < until) {
    ::usleep(1000);
    tokens = node_->take_completions();
  }
  EXPECT_EQ(tokens, std::vector<std::uint64_t>{7});
  EXPECT_EQ(get_and_drop(queued), "ran");
  node_->drop_reference(holds);
}

TEST_F(NodeTest, ShutdownEndsWaits) {
  const ObjectId slow = submit(NativeTask::kSleepMs, "60000");
  std::thread waiter([this, slow] {
    NoHooks hooks;
    FetchedValues fetched;
    EXPECT_EQ(node_->get(std::span(&slow, 1), monotonic_ns() + kPatienceNs, hooks, fetched),
              WaitOutcome::kClosed);
  });
  ::usleep(50'000);
  node_->shutdown();
  waiter.join();
}

}  // namespace

}  // namespace haz::test
