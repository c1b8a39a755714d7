// Streams: items come and are taken in every order, attempts die, consumers go, and limits hold.

#include "unit/sched/fake_node.h"

namespace haz {
namespace {

/// A streaming task that runs.
struct Running {
  TaskId task;
  Worker* worker;
  Claim claim;
};

Running run(FakeNode& node, Function* function, const TaskOptions& options = {}) {
  const TaskId task = node.submit(function, options);
  node.answer_starts();
  for (Worker* worker : node.scheduler->workers()) {
    if (worker->assigned.empty() || worker->assigned.back()->id != task) continue;
    return {task, worker, node.claim(*worker)};
  }
  ADD_FAILURE() << "the task was not placed";
  return {};
}

bool is_ready(const FakeNode& node, ObjectId id) { return node.state(id) != ObjectState::kPending; }

TEST(SchedulerStream, ItemsAreTakenInOrderWhileTheTaskRuns) {
  FakeNode node;
  const Running one = run(node, node.stream());
  EXPECT_FALSE(is_ready(node, stream_of(one.task)));
  EXPECT_EQ(node.take_text(one.task), "(none)");
  EXPECT_TRUE(node.yield(*one.worker, one.claim, 0, "a"));
  EXPECT_TRUE(node.yield(*one.worker, one.claim, 1, "b"));
  EXPECT_TRUE(is_ready(node, stream_of(one.task)));
  EXPECT_EQ(node.scheduler->counts().items, 2U);
  EXPECT_EQ(node.take_text(one.task), "a");
  EXPECT_EQ(node.take_text(one.task), "b");
  EXPECT_FALSE(is_ready(node, stream_of(one.task)));
  EXPECT_TRUE(node.yield(*one.worker, one.claim, 2, "c"));
  node.finish(*one.worker, one.claim, "3");
  EXPECT_EQ(node.take_text(one.task), "c");
  EXPECT_EQ(node.take_text(one.task), "(end)");
  EXPECT_TRUE(is_ready(node, stream_of(one.task))) << "the end is something to take";
  EXPECT_EQ(node.value(end_of(one.task)), "3");
  node.end();
}

TEST(SchedulerStream, AStreamWithoutItems) {
  FakeNode node;
  const Running one = run(node, node.stream());
  const Request& request = node.wait({stream_of(one.task)}, 1);
  node.finish(*one.worker, one.claim, "0");
  EXPECT_TRUE(node.was_completed(request));
  EXPECT_EQ(node.take_text(one.task), "(end)");
  node.end();
}

TEST(SchedulerStream, TheErrorIsTheLastItem) {
  FakeNode node;
  const Running one = run(node, node.stream());
  node.yield(*one.worker, one.claim, 0, "a");
  node.raise(*one.worker, one.claim, "boom");
  EXPECT_EQ(node.take_text(one.task), "a");
  const ObjectId last = node.take(one.task);
  EXPECT_EQ(node.state(last), ObjectState::kError);
  EXPECT_EQ(node.value(last), "boom");
  EXPECT_EQ(node.take_text(one.task), "(end)");
  EXPECT_EQ(node.state(end_of(one.task)), ObjectState::kError);
  EXPECT_EQ(node.value(end_of(one.task)), "boom");
  node.end();
}

TEST(SchedulerStream, ATaskThatNeverRanHasAnErrorToGive) {
  FakeNode node;
  const Running failing = run(node, node.function());
  const TaskId task = node.submit(node.stream(), {.dependencies = {failing.task.return_id(0)}});
  node.raise(*failing.worker, failing.claim, "boom");
  EXPECT_EQ(node.take_text(task).substr(0, 4), "boom");
  EXPECT_EQ(node.take_text(task), "(end)");
  node.end();
}

TEST(SchedulerStream, WhoWaitsForAnItemHearsOfIt) {
  FakeNode node;
  const Running one = run(node, node.stream());
  EXPECT_EQ(one.worker->wanted_items, 0U);
  const Request& first = node.wait({stream_of(one.task)}, 1);
  EXPECT_EQ(one.worker->wanted_items, 1U) << "the worker should tell of its next item";
  EXPECT_FALSE(node.was_completed(first));
  node.yield(*one.worker, one.claim, 0, "a");
  EXPECT_TRUE(node.was_completed(first));
  EXPECT_EQ(one.worker->wanted_items, 0U) << "of the others it need not";
  const Request& second = node.wait({stream_of(one.task)}, 1);
  EXPECT_TRUE(node.was_completed(second)) << "the item is still there";
  node.take_text(one.task);
  Request& third = node.wait({stream_of(one.task)}, 1);
  EXPECT_FALSE(node.was_completed(third));
  EXPECT_EQ(one.worker->wanted_items, 1U);
  node.withdraw(third);
  node.yield(*one.worker, one.claim, 1, "b");
  EXPECT_EQ(one.worker->wanted_items, 0U);
  node.finish(*one.worker, one.claim, "2");
  node.end();
}

TEST(SchedulerStream, AnItemThatWasAwaitedMayBeTakenByAnother) {
  FakeNode node;
  const Running one = run(node, node.stream());
  const Request& mine = node.wait({stream_of(one.task)}, 1);
  const Request& other = node.wait({stream_of(one.task)}, 1);
  node.yield(*one.worker, one.claim, 0, "a");
  EXPECT_TRUE(node.was_completed(mine));
  EXPECT_TRUE(node.was_completed(other));
  EXPECT_EQ(node.take_text(one.task), "a");
  EXPECT_EQ(node.take_text(one.task), "(none)");
  node.finish(*one.worker, one.claim, "1");
  node.end();
}

TEST(SchedulerStream, ItemsHoldWhatTheyReferTo) {
  FakeNode node;
  const Running one = run(node, node.stream());
  const ObjectId inner = node.put("inner");
  node.yield(*one.worker, one.claim, 0, "a", {inner});
  node.yield(*one.worker, one.claim, 1, "b", {inner});
  node.drop(inner);
  EXPECT_TRUE(node.exists(inner));
  const ObjectId item = node.take(one.task);
  node.drop(item);
  EXPECT_TRUE(node.exists(inner)) << "an item that nobody took holds it";
  node.drop(stream_of(one.task));
  EXPECT_FALSE(node.exists(inner));
  node.dispatch();
  node.finish(*one.worker, one.claim, "2");
  node.end();
}

TEST(SchedulerStream, ValuesInTheArenaGoWithTheirItem) {
  FakeNode node;
  const Running one = run(node, node.stream());
  std::vector<std::uint64_t> offsets;
  for (std::uint64_t i = 0; i < 3; ++i) {
    offsets.push_back(node.actions.allocate());
    node.scheduler->yielded(*one.worker, one.task, one.claim.attempt, i,
                            NewValue{.offset = offsets.back(), .size = 9});
  }
  const ObjectId item = node.take(one.task);
  EXPECT_EQ(node.scheduler->find(item)->offset, offsets[0]);
  node.drop(stream_of(one.task));
  EXPECT_TRUE(node.actions.is_live(offsets[0]));
  EXPECT_FALSE(node.actions.is_live(offsets[1]));
  EXPECT_FALSE(node.actions.is_live(offsets[2]));
  EXPECT_EQ(node.scheduler->counts().items, 0U);
  const std::uint64_t late = node.actions.allocate();
  EXPECT_TRUE(node.scheduler->yielded(*one.worker, one.task, one.claim.attempt, 3,
                                      NewValue{.offset = late, .size = 9}));
  EXPECT_FALSE(node.actions.is_live(late)) << "nobody can take it";
  node.finish(*one.worker, one.claim, "4");
  node.end();
}

TEST(SchedulerStream, ItemsThatWereTakenInVainComeAgain) {
  FakeNode node;
  const Running one = run(node, node.stream(2));
  const ObjectId inner = node.put("inner");
  node.yield(*one.worker, one.claim, 0, "a");
  node.yield(*one.worker, one.claim, 1, "b", {inner});
  node.drop(inner);
  const ObjectId first = node.take(one.task);
  const ObjectId second = node.take(one.task);
  const Request& request = node.wait({stream_of(one.task)}, 1);
  node.scheduler->return_item(node.driver, stream_of(one.task), second);
  node.check();
  EXPECT_TRUE(node.was_completed(request));
  node.scheduler->return_item(node.driver, stream_of(one.task), first);
  node.check();
  EXPECT_FALSE(node.exists(first));
  EXPECT_FALSE(is_ready(node, demand_of(one.task)));
  EXPECT_TRUE(node.exists(inner));
  EXPECT_EQ(node.take_text(one.task), "a");
  EXPECT_EQ(node.take_text(one.task), "b");
  node.finish(*one.worker, one.claim, "2");
  EXPECT_EQ(node.take_text(one.task), "(end)");
  node.end();
}

TEST(SchedulerStream, WhatIsInUseDoesNotComeAgain) {
  FakeNode node;
  Function* f = node.function();
  const Running one = run(node, node.stream());
  node.yield(*one.worker, one.claim, 0, "a");
  node.yield(*one.worker, one.claim, 1, "b");
  const ObjectId used = node.take(one.task);
  const TaskId user = node.submit(f, {.refs = {used}});
  node.scheduler->return_item(node.driver, stream_of(one.task), used);
  EXPECT_TRUE(node.exists(used)) << "only the handle was dropped";
  const ObjectId other = node.take(one.task);
  node.scheduler->return_item(one.worker->process, stream_of(one.task), other);
  EXPECT_TRUE(node.exists(other)) << "it is another process'";
  node.scheduler->return_item(node.driver, stream_of(one.task), user.return_id(0));
  node.scheduler->return_item(node.driver, stream_of(one.task), stream_of(one.task));
  node.scheduler->return_item(node.driver, stream_of(one.task), ObjectId{12345});
  node.drop(stream_of(one.task));
  node.scheduler->return_item(node.driver, stream_of(one.task), other);
  EXPECT_FALSE(node.exists(other)) << "nobody will take it again";
  node.finish(*one.worker, one.claim, "2");
  node.run_all();
  node.end();
}

// ---- attempts ----------------------------------------------------------------------------------

TEST(SchedulerStream, AnotherAttemptGoesOnWhereTheFirstOneDied) {
  FakeNode node(1);
  const Running one = run(node, node.stream());
  node.yield(*one.worker, one.claim, 0, "a");
  node.yield(*one.worker, one.claim, 1, "b");
  EXPECT_EQ(node.take_text(one.task), "a");
  node.die(*one.worker);
  EXPECT_EQ(node.scheduler->items_of(one.task), 2U) << "what the next attempt need not send";
  node.answer_starts();
  Worker& second = *node.scheduler->workers().front();
  const Claim again = node.claim(second);
  ASSERT_EQ(again, (Claim{one.task, 2}));
  // It sends them all the same.
  for (std::uint64_t i = 0; i < 4; ++i)
    EXPECT_TRUE(node.yield(second, again, i, std::string(1, static_cast<char>('A' + i))));
  node.finish(second, again, "4");
  EXPECT_EQ(node.take_text(one.task), "b") << "as the first attempt gave it";
  EXPECT_EQ(node.take_text(one.task), "C");
  EXPECT_EQ(node.take_text(one.task), "D");
  EXPECT_EQ(node.take_text(one.task), "(end)");
  node.end();
}

TEST(SchedulerStream, RetriesThatAreUsedUpEndInTheCrash) {
  FakeNode node(1);
  const Running one = run(node, node.stream(0, 0));
  node.yield(*one.worker, one.claim, 0, "a");
  const Request& request = node.wait({end_of(one.task)}, 1);
  node.die(*one.worker);
  EXPECT_TRUE(node.was_completed(request));
  EXPECT_EQ(node.take_text(one.task), "a");
  EXPECT_EQ(node.error_kind(node.take(one.task)), "worker_crashed");
  EXPECT_EQ(node.take_text(one.task), "(end)");
  node.end();
}

TEST(SchedulerStream, ItemsOfAnEarlierAttemptComeTooLate) {
  FakeNode node(1);
  const Running one = run(node, node.stream());
  node.yield(*one.worker, one.claim, 0, "a");
  node.raise(*one.worker, one.claim, "again", Outcome::kRetryable);
  node.answer_starts();
  const Claim again = node.claim(*one.worker);
  EXPECT_TRUE(node.yield(*one.worker, one.claim, 1, "late"));
  EXPECT_TRUE(node.yield(*one.worker, again, 1, "b"));
  node.finish(*one.worker, again, "2");
  EXPECT_TRUE(node.yield(*one.worker, again, 2, "later still"));
  EXPECT_EQ(node.take_text(one.task), "a");
  EXPECT_EQ(node.take_text(one.task), "b");
  EXPECT_EQ(node.take_text(one.task), "(end)");
  node.end();
}

TEST(SchedulerStream, NonsenseIsTold) {
  FakeNode node;
  Function* f = node.function();
  const Running one = run(node, node.stream());
  EXPECT_FALSE(node.yield(*one.worker, one.claim, 1, "a gap"));
  const std::vector<std::byte> bytes = bytes_of("error");
  const std::uint64_t offset = node.actions.allocate();
  EXPECT_FALSE(node.scheduler->yielded(*one.worker, one.task, 1, 0,
                                       NewValue{.offset = offset, .size = 1, .is_error = true}));
  EXPECT_FALSE(node.actions.is_live(offset));
  const Running other = run(node, f);
  EXPECT_FALSE(node.yield(*other.worker, other.claim, 0, "of a task that returns values"));
  EXPECT_EQ(
      node.scheduler->take_item(node.driver, other.task.return_id(0), node.new_id(node.driver)),
      TakenItem::kUnknown);
  node.yield(*one.worker, one.claim, 0, "a");
  EXPECT_EQ(node.scheduler->take_item(node.driver, stream_of(one.task), other.task.return_id(0)),
            TakenItem::kUnknown)
      << "the id is in use";
  EXPECT_EQ(node.scheduler->take_item(node.driver, stream_of(one.task), ObjectId{}),
            TakenItem::kUnknown);
  EXPECT_EQ(node.take_text(one.task), "a") << "it was not lost";
  node.scheduler->free_object(stream_of(one.task));
  const TaskOptions options{.dependencies = {stream_of(one.task)}};
  EXPECT_FALSE(node.scheduler->submit(node.spec_of(f, options)).ok()) << "a stream is no argument";
  node.finish(*one.worker, one.claim, "1");
  node.finish(*other.worker, other.claim);
  node.end();
}

TEST(SchedulerStream, AnIdInUseIsNoTask) {
  FakeNode node;
  Function* stream = node.stream();
  const ObjectId used = node.put();
  TaskSpec spec{.id = TaskId{used.value - 2}, .function = stream, .submitter = node.driver};
  if (spec.id) {
    EXPECT_FALSE(node.scheduler->submit(spec).ok());
  }
  const std::vector<std::byte> bytes = bytes_of("gone");
  const TaskId task{node.new_id(node.driver, kStreamIds).value};
  node.scheduler->put_failed_stream(node.driver, task, bytes);
  node.check();
  EXPECT_EQ(node.take_text(task), "gone");
  EXPECT_EQ(node.take_text(task), "(end)");
  EXPECT_EQ(node.state(end_of(task)), ObjectState::kError);
  node.drop(stream_of(task));
  EXPECT_FALSE(node.exists(end_of(task)));
  node.end();
}

// ---- consumers that go -------------------------------------------------------------------------

TEST(SchedulerStream, WithoutConsumersTheTaskIsClosed) {
  FakeNode node;
  const Running one = run(node, node.stream());
  node.yield(*one.worker, one.claim, 0, "a");
  EXPECT_FALSE(node.scheduler->has_abandoned());
  node.drop(stream_of(one.task));
  EXPECT_TRUE(node.scheduler->has_abandoned());
  EXPECT_FALSE(node.exists(stream_of(one.task)));
  node.dispatch();
  EXPECT_FALSE(node.scheduler->has_abandoned());
  EXPECT_EQ(node.actions.closed, std::vector{one.claim});
  EXPECT_TRUE(node.yield(*one.worker, one.claim, 1, "b"));
  node.finish(*one.worker, one.claim, "2");
  EXPECT_FALSE(node.exists(end_of(one.task)));
  node.end();
}

TEST(SchedulerStream, WithoutConsumersItIsNotTriedAgain) {
  FakeNode node(1);
  const Running one = run(node, node.stream());
  node.drop(stream_of(one.task));
  node.dispatch();
  node.die(*one.worker);
  node.answer_starts();
  EXPECT_EQ(node.scheduler->find_task(one.task), nullptr);
  node.end();
}

TEST(SchedulerStream, WithoutConsumersItNeverStarts) {
  FakeNode node(1);
  const Running running = run(node, node.function());
  const TaskId waiting = node.submit(node.stream(), {.dependencies = {running.task.return_id(0)}});
  const TaskId queued = node.submit(node.stream());
  node.dispatch();
  node.drop(stream_of(waiting));
  node.drop(stream_of(queued));
  node.dispatch();
  EXPECT_EQ(node.scheduler->counts().tasks, 1U);
  EXPECT_TRUE(node.actions.closed.empty());
  node.finish(*running.worker, running.claim);
  EXPECT_TRUE(node.run_all().empty());
  node.end();
}

TEST(SchedulerStream, WhoHoldsTheEndLetsItRunOn) {
  FakeNode node(1);
  const Running one = run(node, node.stream(1));
  EXPECT_TRUE(node.scheduler->add_reference(node.driver, end_of(one.task)));
  node.yield(*one.worker, one.claim, 0, "a");
  const Request& demand = node.wait({demand_of(one.task)}, 1, one.task);
  EXPECT_FALSE(node.was_completed(demand));
  node.drop(stream_of(one.task));
  node.dispatch();
  EXPECT_TRUE(node.actions.closed.empty());
  EXPECT_TRUE(node.was_completed(demand)) << "there is nobody to wait for";
  EXPECT_TRUE(node.yield(*one.worker, one.claim, 1, "b"));
  EXPECT_EQ(node.scheduler->counts().items, 0U);
  node.finish(*one.worker, one.claim, "2");
  EXPECT_EQ(node.value(end_of(one.task)), "2");
  node.end();
}

TEST(SchedulerStream, WhoLetsGoOfTheEndLetsItBeClosed) {
  FakeNode node(1);
  const Running one = run(node, node.stream());
  EXPECT_TRUE(node.scheduler->add_reference(node.driver, end_of(one.task)));
  node.drop(stream_of(one.task));
  node.dispatch();
  EXPECT_TRUE(node.actions.closed.empty());
  node.drop(end_of(one.task));
  EXPECT_TRUE(node.scheduler->has_abandoned());
  node.dispatch();
  EXPECT_EQ(node.actions.closed, std::vector{one.claim});
  node.finish(*one.worker, one.claim, "0");
  node.end();
}

TEST(SchedulerStream, AHandleInsideOfAValueIsAConsumer) {
  FakeNode node;
  const Running one = run(node, node.stream());
  const ObjectId box = node.put("box", {stream_of(one.task)});
  node.drop(stream_of(one.task));
  node.dispatch();
  EXPECT_TRUE(node.actions.closed.empty());
  node.drop(box);
  node.dispatch();
  EXPECT_EQ(node.actions.closed, std::vector{one.claim});
  node.finish(*one.worker, one.claim, "0");
  node.end();
}

TEST(SchedulerStream, AConsumerThatDiesIsNoneAnyMore) {
  FakeNode node;
  Function* f = node.function();
  const Running consumer = run(node, f);
  const Running one = run(node, node.stream(), {.submitter = consumer.worker->process});
  node.yield(*one.worker, one.claim, 0, "a");
  const ObjectId item = node.take(one.task, consumer.worker->process);
  EXPECT_TRUE(node.exists(item));
  node.die(*consumer.worker);
  node.dispatch();
  EXPECT_FALSE(node.exists(item));
  EXPECT_EQ(node.actions.closed, std::vector{one.claim});
  node.finish(*one.worker, one.claim, "1");
  node.end();
}

TEST(SchedulerStream, AStreamInsideOfAStream) {
  FakeNode node;
  const Running inner = run(node, node.stream());
  const Running outer = run(node, node.stream());
  node.yield(*outer.worker, outer.claim, 0, "inner stream", {stream_of(inner.task)});
  node.drop(stream_of(inner.task));
  node.yield(*inner.worker, inner.claim, 0, "a");
  node.dispatch();
  EXPECT_TRUE(node.actions.closed.empty());
  node.drop(stream_of(outer.task));
  EXPECT_EQ(node.scheduler->counts().streams, 0U);
  node.dispatch();
  EXPECT_EQ(node.actions.closed.size(), 2U);
  node.finish(*inner.worker, inner.claim, "1");
  node.finish(*outer.worker, outer.claim, "1");
  node.end();
}

// ---- cancel ------------------------------------------------------------------------------------

TEST(SchedulerStream, CancelledByItsStream) {
  FakeNode node;
  const Running one = run(node, node.stream());
  node.yield(*one.worker, one.claim, 0, "a");
  node.scheduler->cancel(stream_of(one.task), false, true);
  EXPECT_EQ(node.actions.interrupted, std::vector{one.claim});
  node.raise(*one.worker, one.claim);
  EXPECT_EQ(node.take_text(one.task), "a");
  EXPECT_EQ(node.error_kind(node.take(one.task)), "cancelled");
  EXPECT_EQ(node.take_text(one.task), "(end)");
  EXPECT_EQ(node.error_kind(end_of(one.task)), "cancelled");
  node.scheduler->cancel(stream_of(one.task), true, true);  // has ended
  EXPECT_TRUE(node.actions.killed.empty());
  node.end();
}

TEST(SchedulerStream, FailAll) {
  FakeNode node;
  const Running one = run(node, node.stream(1));
  const TaskId queued = node.submit(node.stream());
  node.yield(*one.worker, one.claim, 0, "a");
  node.wait({demand_of(one.task)}, 1, one.task);
  node.scheduler->fail_all("the end");
  node.check();
  EXPECT_EQ(node.take_text(one.task), "a");
  EXPECT_EQ(node.error_kind(node.take(one.task)), "node_died");
  EXPECT_EQ(node.error_kind(node.take(queued)), "node_died");
  EXPECT_EQ(node.take_text(queued), "(end)");
  node.end();
}

// ---- limits ------------------------------------------------------------------------------------

TEST(SchedulerStream, TheDemandFollowsTheItems) {
  FakeNode node;
  const Running one = run(node, node.stream(4));
  const auto demand = [&] { return is_ready(node, demand_of(one.task)); };
  EXPECT_TRUE(demand());
  for (std::uint64_t i = 0; i < 4; ++i)
    node.yield(*one.worker, one.claim, i, "x");
  EXPECT_FALSE(demand());
  node.take_text(one.task);
  EXPECT_FALSE(demand()) << "it goes on when half of them are taken";
  node.take_text(one.task);
  EXPECT_TRUE(demand());
  node.take_text(one.task);
  node.take_text(one.task);
  EXPECT_TRUE(demand());
  node.finish(*one.worker, one.claim, "4");
  EXPECT_FALSE(node.exists(demand_of(one.task)));
  node.end();
}

TEST(SchedulerStream, ATaskThatIsTooFarAheadLendsItsSlot) {
  FakeNode node(1);
  const Running one = run(node, node.stream(1));
  node.yield(*one.worker, one.claim, 0, "a");
  const Request& demand = node.wait({demand_of(one.task)}, 1, one.task);
  EXPECT_EQ(one.worker->state, WorkerState::kBlocked);
  EXPECT_EQ(node.free_cpus(), 1);
  const Running consumer = run(node, node.function(), {.refs = {stream_of(one.task)}});
  EXPECT_EQ(node.take_text(one.task), "a");
  EXPECT_TRUE(node.was_completed(demand));
  EXPECT_EQ(one.worker->state, WorkerState::kBusy);
  EXPECT_EQ(node.free_cpus(), -1) << "it does not wait for a slot";
  node.finish(*consumer.worker, consumer.claim);
  node.finish(*one.worker, one.claim, "1");
  node.end();
}

TEST(SchedulerStream, ATaskThatIsTooFarAheadCanBeCancelled) {
  FakeNode node(1);
  const Running one = run(node, node.stream(1));
  node.yield(*one.worker, one.claim, 0, "a");
  Request& demand = node.wait({demand_of(one.task)}, 1, one.task);
  node.scheduler->cancel(end_of(one.task), false, true);
  EXPECT_EQ(node.actions.interrupted, std::vector{one.claim});
  node.withdraw(demand);
  node.raise(*one.worker, one.claim);
  EXPECT_EQ(node.take_text(one.task), "a");
  EXPECT_EQ(node.error_kind(node.take(one.task)), "cancelled");
  node.end();
}

TEST(SchedulerStream, AnAwaitedStreamGoesFirst) {
  FakeNode node(1);
  const Running parent = run(node, node.function());
  node.submit(node.function());
  const TaskId stream =
      node.submit(node.stream(), {.parent = parent.task, .submitter = parent.worker->process});
  node.wait({stream_of(stream)}, 1, parent.task);
  EXPECT_EQ(parent.worker->state, WorkerState::kBlocked);
  node.answer_starts();
  Worker& second = *node.scheduler->workers().back();
  const Claim claim = node.claim(second);
  EXPECT_EQ(claim.task, stream);
  EXPECT_EQ(second.wanted_items, 1U);
  node.yield(second, claim, 0, "a");
  EXPECT_EQ(parent.worker->state, WorkerState::kBusy);
  node.finish(second, claim, "1");
  node.finish(*parent.worker, parent.claim);
  node.run_all();
  node.end();
}

SchedulerOptions one_worker() {
  SchedulerOptions options = plain_options();
  options.max_workers = 1;
  return options;
}

TEST(SchedulerStream, OnTopOfItsConsumerItHasNoLimit) {
  FakeNode node(1, one_worker());
  const Running parent = run(node, node.function());
  const TaskId stream =
      node.submit(node.stream(1), {.parent = parent.task, .submitter = parent.worker->process});
  const Request& request = node.wait({stream_of(stream)}, 1, parent.task);
  node.dispatch();
  const Claim nested = node.claim(*parent.worker);
  EXPECT_EQ(nested.task, stream);
  node.yield(*parent.worker, nested, 0, "a");
  EXPECT_TRUE(node.was_completed(request));
  node.yield(*parent.worker, nested, 1, "b");
  EXPECT_TRUE(is_ready(node, demand_of(stream))) << "its consumer lies below it";
  node.finish(*parent.worker, nested, "2");
  EXPECT_EQ(node.take_text(stream), "a");
  node.finish(*parent.worker, parent.claim);
  node.end();
}

TEST(SchedulerStream, ALimitGivesWayToConsumersThatCannotStart) {
  FakeNode node(1, one_worker());
  const Running one = run(node, node.stream(1));
  node.yield(*one.worker, one.claim, 0, "a");
  const Request& demand = node.wait({demand_of(one.task)}, 1, one.task);
  node.dispatch();
  EXPECT_FALSE(node.was_completed(demand)) << "nobody is in need";
  const TaskId consumer = node.submit(node.function(), {.refs = {stream_of(one.task)}});
  node.dispatch();
  EXPECT_TRUE(node.was_completed(demand));
  node.yield(*one.worker, one.claim, 1, "b");
  EXPECT_TRUE(is_ready(node, demand_of(one.task)));
  node.finish(*one.worker, one.claim, "2");
  EXPECT_EQ(node.run_all(), std::vector{consumer});
  node.end();
}

}  // namespace
}  // namespace haz
