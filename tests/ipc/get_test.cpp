// get() of many values at once: some are there, some come, some fail; none stays pinned.
#include <gtest/gtest.h>

#include <span>
#include <string>
#include <vector>

#include "ipc/native_node.h"

namespace haz::test {

namespace {

constexpr std::size_t kLargeBytes = 100'000;

class GetTest : public NodeTest {
 protected:
  ObjectId small(int number) { return submit(NativeTask::kEcho, std::to_string(number)); }
  ObjectId large() { return submit(NativeTask::kLarge, std::to_string(kLargeBytes)); }
  /// Lets the task of `id` come to its end.
  void await(ObjectId id) {
    NoHooks hooks;
    std::vector<bool> ready;
    EXPECT_EQ(node_->wait(std::span(&id, 1), 1, monotonic_ns() + kPatienceNs, hooks, ready),
              WaitOutcome::kDone);
  }
  WaitOutcome get_all(const std::vector<ObjectId>& ids, std::int64_t patience_ns = kPatienceNs) {
    NoHooks hooks;
    return node_->get(ids, monotonic_ns() + patience_ns, hooks, fetched_);
  }
  void drop(const std::vector<ObjectId>& ids) {
    for (const ObjectId id : ids)
      node_->drop_reference(id);
  }
  void unpin() {
    for (const FetchedValue& value : fetched_.values) {
      if (value.in_arena) node_->drop_reference(value.id);
    }
  }
  std::string text(std::size_t at) {
    const FetchedValue& value = fetched_.values[at];
    const std::byte* bytes =
        value.in_arena ? node_->at(value.offset) : fetched_.near_bytes.data() + value.offset;
    return {reinterpret_cast<const char*>(bytes), value.size};
  }

  FetchedValues fetched_;
};

TEST_F(GetTest, ReadyOnesAndOthersKeepTheirOrder) {
  for (int round = 0; round < 20; ++round) {
    std::vector<ObjectId> ids;
    for (int i = 0; i < 60; ++i) {
      ids.push_back(i % 7 == 3 ? large() : small(i));
      if (i % 10 == round % 10) await(ids.back());
    }
    ASSERT_EQ(get_all(ids), WaitOutcome::kDone);
    ASSERT_EQ(fetched_.values.size(), ids.size());
    for (std::size_t i = 0; i < ids.size(); ++i) {
      ASSERT_TRUE(fetched_.values[i].ready);
      EXPECT_EQ(fetched_.values[i].id, ids[i]);
      EXPECT_EQ(text(i), i % 7 == 3 ? std::string(kLargeBytes, 'x') : std::to_string(i));
    }
    unpin();
    drop(ids);
  }
  expect_empty();
}

TEST_F(GetTest, OneObjectMayBeNamedTwice) {
  const std::vector<ObjectId> ids = {large(), small(1)};
  ASSERT_EQ(get_all({ids[0], ids[1], ids[0], ids[1]}), WaitOutcome::kDone);
  EXPECT_EQ(text(1), "1");
  EXPECT_EQ(text(3), "1");
  EXPECT_EQ(text(0), text(2));
  unpin();
  drop(ids);
  expect_empty();
}

TEST_F(GetTest, AnErrorEndsItAtOnce) {
  const ObjectId slow = submit(NativeTask::kSleepMs, "600000");
  const ObjectId failed = submit(NativeTask::kRaise, "reason");
  const std::vector<ObjectId> ids = {large(), slow, failed, large()};
  await(ids[0]);
  for (int again = 0; again < 2; ++again) {  // while it is waited for, and when it is there
    ASSERT_EQ(get_all(ids), WaitOutcome::kDone);
    EXPECT_FALSE(fetched_.values[1].ready);
    EXPECT_TRUE(fetched_.values[2].is_error);
    EXPECT_EQ(text(2), "reason");
    unpin();
  }
  node_->cancel(slow, true, true);
  drop(ids);
  expect_empty();
}

TEST_F(GetTest, AWaitThatIsOverPinsNothing) {
  const ObjectId slow = submit(NativeTask::kSleepMs, "600000");
  const std::vector<ObjectId> ids = {large(), slow};
  await(ids[0]);
  EXPECT_EQ(get_all(ids, kMillisecondNs), WaitOutcome::kTimeout);
  EXPECT_TRUE(fetched_.values.empty());
  node_->cancel(slow, true, true);
  drop(ids);
  expect_empty();
}

TEST_F(GetTest, AnUnknownObjectPinsNothing) {
  const std::vector<ObjectId> ids = {large()};
  await(ids[0]);
  EXPECT_EQ(get_all({ids[0], ObjectId{12345}}), WaitOutcome::kUnknownObject);
  EXPECT_TRUE(fetched_.values.empty());
  drop(ids);
  expect_empty();
}

}  // namespace

}  // namespace haz::test
