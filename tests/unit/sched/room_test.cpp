// The object store has no room: who lends, who begins, and how a standstill ends.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "unit/sched/fake_node.h"

namespace haz {
namespace {

/// Two producers, of which the first has made a value that one consumer waits for.
class Room : public ::testing::Test {
 protected:
  FakeNode node{2};
  Function* make = node.function("make");
  Function* use = node.function("use");

  /// A task of `function` whose only argument is a value of the store that nothing else holds.
  TaskId submit_with_own_value(Function* function) {
    const ObjectId value = node.put_big().first;
    const TaskId task = node.submit(function, {.dependencies = {value}});
    node.drop(value);
    return task;
  }
  std::vector<Worker*> begin(std::size_t count) {
    node.answer_starts();
    std::vector<Worker*> workers = node.scheduler->workers();
    EXPECT_EQ(workers.size(), count);
    return workers;
  }
  void lasting_standstill() {
    for (int i = 0; i < 2; ++i)
      node.tick();
  }
};

TEST_F(Room, TaskThatWaitsLendsItsSlotToOneThatFreesSome) {
  node.submit_many(make, 4);
  const std::vector<Worker*> workers = begin(2);
  const Claim first = node.claim(*workers[0]);
  const Claim second = node.claim(*workers[1]);
  const TaskId consumer = submit_with_own_value(use);
  node.dispatch();
  EXPECT_EQ(node.free_cpus(), 0);
  RoomWait& wait = node.wait_for_room(*workers[0], first);
  EXPECT_EQ(node.free_cpus(), 1);
  node.answer_starts();
  ASSERT_EQ(node.scheduler->workers().size(), 3U);
  Worker& third = *node.scheduler->workers()[2];
  EXPECT_EQ(node.claim(third).task, consumer) << "producers that came before it would only wait";
  EXPECT_EQ(node.free_cpus(), 0);
  node.end_room_wait(wait);
  EXPECT_EQ(node.free_cpus(), -1);
  node.finish(*workers[0], first);
  node.finish(*workers[1], second);
  node.end();
}

TEST_F(Room, NoMoreOfItsFunctionBegin) {
  make->mean_run_ns = 50'000'000;  // none waits in a ring
  const std::vector<TaskId> makers = node.submit_many(make, 6);
  const std::vector<Worker*> workers = begin(2);
  const Claim first = node.claim(*workers[0]);
  const Claim second = node.claim(*workers[1]);
  RoomWait& wait = node.wait_for_room(*workers[0], first);
  node.answer_starts();
  EXPECT_EQ(node.scheduler->workers().size(), 2U) << "nothing may begin";
  node.finish(*workers[1], second);
  node.dispatch();
  EXPECT_EQ(node.actions.unclaimed(workers[1]->process), 0U);
  // With room they go on.
  node.end_room_wait(wait);
  node.dispatch();
  EXPECT_EQ(node.claim(*workers[1]).task, makers[2]);
  node.end();
}

TEST_F(Room, OtherFunctionsGoOn) {
  node.submit_many(make, 3);
  const std::vector<Worker*> workers = begin(2);
  const Claim first = node.claim(*workers[0]);
  const Claim second = node.claim(*workers[1]);
  node.wait_for_room(*workers[0], first);
  Function* ping = node.function("ping");
  const TaskId other = node.submit(ping);
  node.finish(*workers[1], second);
  node.dispatch();
  EXPECT_EQ(node.claim(*workers[1]).task, other);
  node.end();
}

TEST_F(Room, ArgumentThatTheDriverHoldsDoesNotCount) {
  const ObjectId shared = node.put_big().first;
  const std::vector<TaskId> users = node.submit_many(use, 4, {.dependencies = {shared}});
  const std::vector<Worker*> workers = begin(2);
  const Claim first = node.claim(*workers[0]);
  node.claim(*workers[1]);
  node.wait_for_room(*workers[0], first);
  node.answer_starts();
  EXPECT_EQ(node.scheduler->workers().size(), 2U) << "their end would free nothing";
  node.end();
}

TEST_F(Room, WhatIsBehindTheWaiterIsTakenBack) {
  make->mean_run_ns = 1000;
  FakeNode& one = node;
  one.submit_many(make, 2);
  const TaskId behind = submit_with_own_value(use);
  use->mean_run_ns = 1000;
  Worker& worker = one.start_worker();
  one.dispatch();
  const Claim first = one.claim(worker);
  ASSERT_GE(worker.assigned.size(), 2U);
  one.wait_for_room(worker, first);
  EXPECT_EQ(worker.assigned.size(), 1U);
  one.answer_starts();
  ASSERT_EQ(one.scheduler->workers().size(), 2U);
  EXPECT_EQ(one.claim(*one.scheduler->workers()[1]).task, behind);
  one.end();
}

TEST_F(Room, WorkerThatWaitsDies) {
  const TaskId task = node.submit(make);
  const std::vector<Worker*> workers = begin(1);
  node.wait_for_room(*workers[0], node.claim(*workers[0]));
  node.die(*workers[0]);
  EXPECT_EQ(node.free_cpus(), 2);
  node.run_all();
  EXPECT_EQ(node.value(task), "result");
  node.end();
}

TEST_F(Room, ConsumerOfAGeneratorThatHasNotBegunStays) {
  Function* stream = node.stream();
  stream->mean_run_ns = 50'000'000;  // none waits in a ring
  node.submit(stream);
  node.submit(stream);
  const TaskId third = node.submit(stream);
  const TaskId consumer = node.submit(use, {.refs = {stream_of(third)}});
  const std::vector<Worker*> workers = begin(2);
  const Claim first = node.claim(*workers[0]);
  const Claim second = node.claim(*workers[1]);
  RoomWait& wait = node.wait_for_room(*workers[0], first);
  node.answer_starts();
  EXPECT_EQ(node.scheduler->workers().size(), 2U) << "it would only wait";
  node.end_room_wait(wait);
  node.finish(*workers[0], first);
  node.finish(*workers[1], second);
  node.dispatch();
  std::vector<TaskId> begun{node.claim(*workers[0]).task, node.claim(*workers[1]).task};
  std::sort(begun.begin(), begun.end());
  EXPECT_EQ(begun, (std::vector<TaskId>{third, consumer}));
  node.end();
}

// ---- a standstill ------------------------------------------------------------------------------

TEST_F(Room, WhoFreesMostComesFirstAtAStandstill) {
  const TaskId maker = node.submit(make);
  const TaskId after = node.submit(use, {.dependencies = {maker.return_id(0)}});
  node.drop(maker);
  const TaskId user = submit_with_own_value(use);
  const std::vector<Worker*> workers = begin(2);
  const Claim first = node.claim(*workers[0]);
  const Claim second = node.claim(*workers[1]);
  RoomWait& of_maker = node.wait_for_room(*workers[first.task == maker ? 0 : 1],
                                          first.task == maker ? first : second);
  EXPECT_FALSE(node.scheduler->stands_still()) << "the other one runs";
  EXPECT_EQ(node.scheduler->blocks_others(), nullptr);
  RoomWait& of_user =
      node.wait_for_room(*workers[first.task == user ? 0 : 1], first.task == user ? first : second);
  EXPECT_TRUE(node.scheduler->stands_still());
  EXPECT_EQ(node.scheduler->blocks_others(), nullptr) << "it may be over at once";
  lasting_standstill();
  EXPECT_EQ(node.scheduler->blocks_others(), &of_user);
  node.end_room_wait(of_user);
  node.wait_for_room(*workers[first.task == user ? 0 : 1], first.task == user ? first : second);
  node.end_room_wait(of_maker);
  EXPECT_FALSE(node.scheduler->stands_still());
  EXPECT_NE(node.scheduler->find_task(after), nullptr);
  node.end();
}

TEST_F(Room, ValueThatIsPassedOnGoesBeyondTheLimit) {
  const TaskId maker = node.submit(make);
  node.submit(use, {.dependencies = {maker.return_id(0)}});
  const std::vector<Worker*> workers = begin(1);
  RoomWait& wait = node.wait_for_room(*workers[0], node.claim(*workers[0]));
  lasting_standstill();
  EXPECT_EQ(node.scheduler->blocks_others(), nullptr) << "the driver will keep it";
  node.drop(maker);
  EXPECT_EQ(node.scheduler->blocks_others(), &wait);
  node.end_room_wait(wait);
  node.end();
}

TEST_F(Room, ValueThatEndsAWaitGoesBeyondTheLimit) {
  const TaskId one = node.submit(make);
  const TaskId two = node.submit(make);
  const std::vector<Worker*> workers = begin(2);
  RoomWait& first = node.wait_for_room(*workers[0], node.claim(*workers[0]));
  node.wait_for_room(*workers[1], node.claim(*workers[1]));
  Request& both = node.get({one.return_id(0), two.return_id(0)});
  lasting_standstill();
  EXPECT_EQ(node.scheduler->blocks_others(), nullptr) << "the wait would go on";
  node.withdraw(both);
  node.get(one);
  EXPECT_EQ(node.scheduler->blocks_others(), &first);
  node.end_room_wait(first);
  node.end();
}

TEST_F(Room, ItemThatIsWaitedForGoesBeyondTheLimit) {
  const TaskId task = node.submit(node.stream());
  const std::vector<Worker*> workers = begin(1);
  RoomWait& wait = node.wait_for_room(*workers[0], node.claim(*workers[0]));
  lasting_standstill();
  EXPECT_EQ(node.scheduler->blocks_others(), nullptr);
  node.wait({stream_of(task)}, 1);
  EXPECT_EQ(node.scheduler->blocks_others(), &wait);
  node.end_room_wait(wait);
  node.end();
}

TEST_F(Room, AtAStandstillAllReadyTasksAreLookedAt) {
  node.submit_many(make, 100);
  const TaskId last = node.submit(node.function("other"));
  const std::vector<Worker*> workers = begin(2);
  node.wait_for_room(*workers[0], node.claim(*workers[0]));
  node.wait_for_room(*workers[1], node.claim(*workers[1]));
  node.answer_starts();
  EXPECT_EQ(node.scheduler->workers().size(), 2U);
  lasting_standstill();
  lasting_standstill();
  node.answer_starts();
  ASSERT_EQ(node.scheduler->workers().size(), 3U);
  EXPECT_EQ(node.claim(*node.scheduler->workers()[2]).task, last);
  node.end();
}

TEST_F(Room, AtAStandstillOneThatIsNeededBeginsThoughItsFunctionWaits) {
  make->mean_run_ns = 50'000'000;  // none waits in a ring
  const std::vector<TaskId> makers = node.submit_many(make, 4);
  const std::vector<Worker*> workers = begin(2);
  node.wait_for_room(*workers[0], node.claim(*workers[0]));
  node.finish(*workers[1], node.claim(*workers[1]));
  node.get(makers[3]);
  node.dispatch();
  EXPECT_EQ(node.actions.unclaimed(workers[1]->process), 0U) << "it would most likely only wait";
  lasting_standstill();
  lasting_standstill();
  node.dispatch();
  const Claim needed = node.claim(*workers[1]);
  EXPECT_EQ(needed.task, makers[3]);
  RoomWait& wait = node.wait_for_room(*workers[1], needed);
  lasting_standstill();
  EXPECT_EQ(node.scheduler->blocks_others(), &wait);
  lasting_standstill();
  lasting_standstill();
  node.answer_starts();
  EXPECT_EQ(node.scheduler->workers().size(), 2U) << "one is enough";
  node.end_room_wait(wait);
  node.end();
}

TEST_F(Room, WhatIsKeptBackHoldsNobodyUp) {
  Function* wide = node.function("wide", 2);
  node.submit(wide);
  const std::vector<Worker*> workers = begin(1);
  RoomWait& wait = node.wait_for_room(*workers[0], node.claim(*workers[0]));
  node.submit(wide);
  Function* ping = node.function("ping", 0.5);
  ping->mean_run_ns = 100'000'000;
  node.submit_many(ping, 300);
  std::size_t ended = 0;
  for (int round = 0; round < 400 && ended < 300; ++round) {
    node.tick();
    node.answer_starts();
    for (Worker* worker : node.scheduler->workers()) {
      if (const auto claim = node.actions.claim(worker->process)) {
        EXPECT_EQ(node.scheduler->find_task(claim->task)->function, ping);
        node.finish(*worker, *claim);
        ++ended;
      }
    }
  }
  EXPECT_EQ(ended, 300U);
  node.end_room_wait(wait);
  node.end();
}

// ---- whether any can come ----------------------------------------------------------------------

TEST_F(Room, NoneComesFromATaskThatHoldsNothing) {
  const TaskId sleeper = node.submit(node.function("sleeps"));
  const std::vector<Worker*> workers = begin(1);
  node.claim(*workers[0]);
  EXPECT_FALSE(node.scheduler->room_can_come());
  Request& request = node.get(sleeper);
  EXPECT_TRUE(node.scheduler->room_can_come()) << "somebody waits for it";
  node.withdraw(request);
  EXPECT_FALSE(node.scheduler->room_can_come());
  const ObjectId held = node.put("mine", {}, workers[0]->process);
  EXPECT_TRUE(node.scheduler->room_can_come());
  node.drop(held, workers[0]->process);
  node.end();
}

TEST_F(Room, NoneComesWhereAllWait) {
  const TaskId parent = node.submit(use);
  const TaskId child = node.submit(make);
  const std::vector<Worker*> workers = begin(2);
  const Claim first = node.claim(*workers[0]);
  const Claim second = node.claim(*workers[1]);
  const bool parent_first = first.task == parent;
  Request& request = node.get(child, parent);
  EXPECT_TRUE(node.scheduler->room_can_come());
  RoomWait& wait =
      node.wait_for_room(*workers[parent_first ? 1 : 0], parent_first ? second : first);
  EXPECT_FALSE(node.scheduler->room_can_come());
  request.has_deadline = true;
  EXPECT_TRUE(node.scheduler->room_can_come()) << "the parent goes on some time";
  node.end_room_wait(wait);
  node.end();
}

TEST_F(Room, HoldersAreNamed) {
  const ObjectId mine = node.put_big().first;
  submit_with_own_value(use);
  const std::string text = node.scheduler->holders_of_room(1);
  EXPECT_NE(text.find("refs and views of"), std::string::npos) << text;
  EXPECT_NE(text.find("arguments of tasks"), std::string::npos) << text;
  EXPECT_NE(text.find("ObjectRef(0000000000000001"), std::string::npos) << text;
  node.drop(mine);
  node.end();
}

}  // namespace
}  // namespace haz
