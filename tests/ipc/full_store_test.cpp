// A store that is full: what waits, for how long, and what gets an error. The node's limit for
// waits without hope is one second here.
#include <unistd.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "ipc/native_node.h"

namespace haz::test {
namespace {

class FullStoreTest : public NodeTest {
 protected:
  static constexpr std::uint64_t kStoreBytes = 64 * kMiB;
  const std::string large_ = std::to_string(10 * kMiB);
  const std::string half_ = std::to_string(40 * kMiB);  ///< Not even beyond the limit.

  ObjectId put(std::uint64_t size) {
    NoHooks hooks;
    auto block = node_->allocate(size, hooks);
    EXPECT_TRUE(block.ok());
    const ObjectId id{node_->new_ids(1)};
    EXPECT_TRUE(node_->put(id, NewValue{.offset = block->offset, .size = size}).ok());
    return id;
  }
  /// Of a get without a deadline: whether each has a value.
  bool get_without_deadline(ObjectId id) {
    NoHooks hooks;
    FetchedValues fetched;
    EXPECT_EQ(node_->get(std::span(&id, 1), -1, hooks, fetched), WaitOutcome::kDone);
    if (fetched.values.empty()) return false;
    const FetchedValue& value = fetched.values.front();
    if (value.in_arena) node_->drop_reference(id);
    return !value.is_error;
  }
  /// As many tasks as `stages`, each with the result of the one before as its argument.
  ObjectId pipeline(std::size_t stages) {
    ObjectId last = submit(NativeTask::kLarge, large_);
    for (std::size_t i = 1; i < stages; ++i) {
      const ObjectId next = submit(NativeTask::kLarge, large_, std::span(&last, 1));
      node_->drop_reference(last);
      last = next;
    }
    const ObjectId end = submit(NativeTask::kEcho, "end", std::span(&last, 1));
    node_->drop_reference(last);
    return end;
  }
};

TEST_F(FullStoreTest, PipelinesGreaterThanItPass) {
  for (const double cpus : {1.0, 4.0}) {
    start(cpus, kStoreBytes);
    for (const std::size_t stages : {1U, 3U}) {
      std::vector<ObjectId> ends;
      for (int i = 0; i < 40; ++i)
        ends.push_back(pipeline(stages));
      for (const ObjectId id : ends)
        EXPECT_EQ(get_and_drop(id), "end");
    }
    expect_empty();
    EXPECT_LE(node_->snapshot().store.peak, kStoreBytes + kStoreBytes / 2 + 16 * kMiB);
  }
}

TEST_F(FullStoreTest, TasksWaitForAsLongAsTheDriverComputes) {
  const ObjectId held = put(60 * kMiB);
  const ObjectId waits = submit(NativeTask::kLarge, large_);
  ::usleep(2'500'000);
  EXPECT_EQ(node_->snapshot().counts.tasks, 1U);
  node_->drop_reference(held);
  EXPECT_TRUE(get_without_deadline(waits));
  node_->drop_reference(waits);
  expect_empty();
}

TEST_F(FullStoreTest, WhatSomebodyWaitsForGoesBeyondTheLimit) {
  const ObjectId held = put(60 * kMiB);
  const ObjectId id = submit(NativeTask::kLarge, large_);
  EXPECT_TRUE(get_without_deadline(id));
  node_->drop_reference(held);
  node_->drop_reference(id);
  expect_empty();
}

TEST_F(FullStoreTest, SoDoesWhatIsSmall) {
  // Full of small values, which leave nothing of what is kept for messages either.
  std::vector<ObjectId> held;
  NoHooks hooks;
  for (auto block = node_->allocate(30'000, hooks); block; block = node_->allocate(30'000, hooks)) {
    held.emplace_back(node_->new_ids(1));
    EXPECT_TRUE(node_->put(held.back(), {.offset = block->offset, .size = block->size}).ok());
  }
  const ObjectId id = submit(NativeTask::kLarge, "5000");
  EXPECT_TRUE(get_without_deadline(id));
  node_->drop_reference(id);
  for (const ObjectId one : held)
    node_->drop_reference(one);
  expect_empty();
}

TEST_F(FullStoreTest, ADriverWithOtherThreadsIsWaitedForLonger) {
  struct OthersGoOn final : WaitHooks {
    bool others_go_on() override { return true; }
  };
  const ObjectId held = put(60 * kMiB);
  const ObjectId id = submit(NativeTask::kLarge, half_);
  std::thread other([this, held] {
    ::usleep(2'200'000);
    node_->drop_reference(held);
  });
  OthersGoOn hooks;
  FetchedValues fetched;
  EXPECT_EQ(node_->get(std::span(&id, 1), -1, hooks, fetched), WaitOutcome::kDone);
  other.join();
  ASSERT_EQ(fetched.values.size(), 1U);
  EXPECT_FALSE(fetched.values[0].is_error);
  if (fetched.values[0].in_arena) node_->drop_reference(id);
  node_->drop_reference(id);
  expect_empty();
}

TEST_F(FullStoreTest, ADriverThatWaitsForWhatCanNotComeGetsAnError) {
  const ObjectId held = put(60 * kMiB);
  std::vector<ObjectId> ids;
  for (int i = 0; i < 3; ++i)
    ids.push_back(submit(NativeTask::kLarge, half_));
  EXPECT_FALSE(get_without_deadline(ids[0]));
  NoHooks hooks;
  std::vector<bool> ready;
  EXPECT_EQ(node_->wait(ids, 2, -1, hooks, ready), WaitOutcome::kDone);
  // Who holds it lets go: the others have lost nothing.
  node_->drop_reference(held);
  const auto other = std::find(ready.begin(), ready.end(), false) - ready.begin();
  ASSERT_LT(other, 3);
  EXPECT_TRUE(get_without_deadline(ids[static_cast<std::size_t>(other)]));
  for (const ObjectId id : ids)
    node_->drop_reference(id);
  expect_empty();
}

TEST_F(FullStoreTest, AWaitWithADeadlineIsNoReasonForAnError) {
  const ObjectId held = put(60 * kMiB);
  const ObjectId id = submit(NativeTask::kLarge, half_);
  NoHooks hooks;
  std::vector<bool> ready;
  EXPECT_EQ(node_->wait(std::span(&id, 1), 1, monotonic_ns() + 5 * kSecondNs / 2, hooks, ready),
            WaitOutcome::kTimeout);
  node_->drop_reference(held);
  EXPECT_TRUE(get_without_deadline(id));
  node_->drop_reference(id);
  expect_empty();
}

TEST_F(FullStoreTest, TheDriversOwnValueDoesNotWaitForTasksThatHoldNothing) {
  const ObjectId held = put(60 * kMiB);
  const ObjectId sleeps = submit(NativeTask::kSleepMs, "600000");
  NoHooks hooks;
  auto block = node_->allocate(10 * kMiB, hooks);
  ASSERT_FALSE(block.ok());
  EXPECT_NE(block.error().message.find("the driver: 62.9 MB"), std::string::npos)
      << block.error().message;
  node_->cancel(sleeps, true, true);
  node_->drop_reference(sleeps);
  node_->drop_reference(held);
}

TEST_F(FullStoreTest, TheDriversOwnValueWaitsForATaskThatHoldsSome) {
  const ObjectId held = put(60 * kMiB);
  const ObjectId uses = submit(NativeTask::kSleepMs, "1500", std::span(&held, 1));
  node_->drop_reference(held);
  NoHooks hooks;
  auto block = node_->allocate(10 * kMiB, hooks);
  ASSERT_TRUE(block.ok());
  node_->discard(block->offset);
  EXPECT_EQ(get_and_drop(uses), "");
  expect_empty();
}

}  // namespace
}  // namespace haz::test
