// Submitting, dependencies and results.

#include "unit/sched/fake_node.h"

namespace haz {
namespace {

TEST(SchedulerTasks, ATaskStartsAWorkerAndRuns) {
  FakeNode node;
  const TaskId task = node.submit(node.function());
  EXPECT_EQ(node.actions.starts_wanted, 0U) << "submit only records";
  node.dispatch();
  EXPECT_EQ(node.actions.starts_wanted, 1U);
  Worker& worker = node.start_worker();
  EXPECT_EQ(node.actions.unclaimed(worker.process), 0U);
  node.dispatch();
  const Claim claim = node.claim(worker);
  EXPECT_EQ(claim, (Claim{task, 1}));
  EXPECT_EQ(node.state(task), ObjectState::kPending);
  node.finish(worker, claim, "42");
  EXPECT_EQ(node.value(task), "42");
  EXPECT_EQ(node.scheduler->find_task(task), nullptr);
  EXPECT_EQ(worker.state, WorkerState::kIdle);
  node.drop(task);
  EXPECT_FALSE(node.exists(task.return_id(0)));
  node.end();
}

TEST(SchedulerTasks, AsManyWorkersAreStartedAsCanRun) {
  FakeNode node(4);
  node.submit_many(node.function(), 3);
  node.dispatch();
  EXPECT_EQ(node.actions.starts_wanted, 3U) << "one for each task";
  node.submit_many(node.function(), 10);
  node.dispatch();
  EXPECT_EQ(node.actions.starts_wanted, 4U) << "one for each slot";
  node.end();
}

TEST(SchedulerTasks, AnIdInUseIsRefused) {
  FakeNode node;
  Function* f = node.function();
  const ObjectId put = node.put();
  TaskSpec spec = node.spec_of(f, {.num_returns = 3});
  EXPECT_TRUE(node.scheduler->submit(spec).ok());
  for (const std::uint64_t id : {spec.id.value, spec.id.value + 2, put.value, std::uint64_t{0}}) {
    TaskSpec again = spec;
    again.id = TaskId{id};
    again.num_returns = 1;
    const Status status = node.scheduler->submit(again);
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().kind, ErrorKind::kInvalid);
    node.check();
  }
  node.end();
}

TEST(SchedulerTasks, AnUnknownDependencyIsRefused) {
  FakeNode node;
  const ObjectId known = node.put();
  TaskOptions options{.dependencies = {known, ObjectId{99}}};
  options.payload_offset = node.actions.allocate();
  const TaskSpec spec = node.spec_of(node.function(), options);
  const Status status = node.scheduler->submit(spec);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().kind, ErrorKind::kLost);
  EXPECT_TRUE(node.actions.is_live(options.payload_offset)) << "the payload stays the caller's";
  node.actions.free_value(options.payload_offset);
  EXPECT_FALSE(node.exists(spec.id.return_id(0)));
  node.end();
}

TEST(SchedulerTasks, ATaskMayHaveNoReturns) {
  FakeNode node;
  const TaskId task = node.submit(node.function(), {.num_returns = 0});
  EXPECT_NE(node.scheduler->find_task(task), nullptr);
  EXPECT_EQ(node.run_all(), std::vector{task});
  EXPECT_EQ(node.scheduler->counts().objects, 0U);
  node.end();
}

TEST(SchedulerTasks, ATaskWithoutReturnsMayFail) {
  FakeNode node;
  const TaskId task = node.submit(node.function(), {.num_returns = 0});
  node.answer_starts();
  Worker& worker = *node.scheduler->workers().front();
  node.raise(worker, node.claim(worker));
  EXPECT_EQ(node.scheduler->counts().objects, 0U);
  EXPECT_EQ(node.scheduler->find_task(task), nullptr);
  node.end();
}

TEST(SchedulerTasks, EachReturnHasItsValue) {
  FakeNode node;
  const TaskId task = node.submit(node.function(), {.num_returns = 3});
  node.answer_starts();
  Worker& worker = *node.scheduler->workers().front();
  const Claim claim = node.claim(worker);
  const std::vector<std::byte> a = bytes_of("a");
  const std::vector<std::byte> b = bytes_of("b");
  const std::uint64_t offset = node.actions.allocate();
  node.end(worker, claim, Outcome::kReturned,
           {NewValue{.bytes = a}, NewValue{.offset = offset, .size = 9},
            NewValue{.is_error = true, .bytes = b}});
  EXPECT_EQ(node.value(task.return_id(0)), "a");
  EXPECT_EQ(node.scheduler->find(task.return_id(1))->size, 9U);
  EXPECT_EQ(node.state(task.return_id(2)), ObjectState::kError);
  node.drop(task.return_id(1));
  EXPECT_FALSE(node.actions.is_live(offset));
  EXPECT_TRUE(node.exists(task.return_id(0)));
  node.end();
}

TEST(SchedulerTasks, AnErrorAmongReturnsFailsOnlyWhatTakesIt) {
  FakeNode node;
  Function* f = node.function();
  const TaskId task = node.submit(f, {.num_returns = 2});
  const TaskId of_value = node.submit(f, {.dependencies = {task.return_id(0)}});
  const TaskId of_error = node.submit(f, {.dependencies = {task.return_id(1)}});
  node.answer_starts();
  Worker& worker = *node.scheduler->workers().front();
  const std::vector<std::byte> value = bytes_of("value");
  const std::vector<std::byte> error = bytes_of("oops");
  node.end(worker, node.claim(worker), Outcome::kReturned,
           {NewValue{.bytes = value}, NewValue{.is_error = true, .bytes = error}});
  EXPECT_EQ(node.state(of_error), ObjectState::kError);
  EXPECT_EQ(node.run_all(), std::vector<TaskId>{of_value});
  EXPECT_EQ(node.value(of_value), "result");
  node.end();
}

TEST(SchedulerTasks, AnErrorIsGivenToEachReturn) {
  FakeNode node;
  const TaskId task = node.submit(node.function(), {.num_returns = 3});
  node.answer_starts();
  Worker& worker = *node.scheduler->workers().front();
  node.raise(worker, node.claim(worker), "oops");
  for (std::uint32_t i = 0; i < 3; ++i) {
    EXPECT_EQ(node.state(task.return_id(i)), ObjectState::kError);
    EXPECT_EQ(node.value(task.return_id(i)), "oops");
  }
  node.end();
}

TEST(SchedulerTasks, AWrongNumberOfValuesIsADamagedResult) {
  for (const std::size_t count : {0U, 1U, 3U}) {
    FakeNode node;
    const TaskId task = node.submit(node.function(), {.num_returns = 2});
    node.answer_starts();
    Worker& worker = *node.scheduler->workers().front();
    std::vector<NewValue> values;
    values.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
      values.push_back(NewValue{.offset = node.actions.allocate(), .size = 1});
    }
    node.end(worker, node.claim(worker), Outcome::kReturned, values);
    EXPECT_EQ(node.error_kind(task), "serialization");
    EXPECT_EQ(node.actions.live_values(), 0U);
    node.end();
  }
}

TEST(SchedulerTasks, AnErrorWithoutBytesIsADamagedResult) {
  for (const int kind : {0, 1, 2}) {
    FakeNode node;
    const TaskId task = node.submit(node.function());
    node.answer_starts();
    Worker& worker = *node.scheduler->workers().front();
    std::vector<NewValue> values;
    if (kind == 1) values.push_back(NewValue{.is_error = true});
    if (kind == 2) {
      values.push_back(NewValue{.offset = node.actions.allocate(), .size = 1, .is_error = true});
    }
    node.end(worker, node.claim(worker), Outcome::kRaised, values);
    EXPECT_EQ(node.error_kind(task), "serialization");
    EXPECT_EQ(node.actions.live_values(), 0U) << "an error in the arena leaks";
    node.end();
  }
}

TEST(SchedulerTasks, ReadyArgumentsDoNotDelay) {
  FakeNode node;
  const ObjectId argument = node.put("x");
  const TaskId task = node.submit(node.function(), {.dependencies = {argument, argument}});
  EXPECT_EQ(node.scheduler->find_task(task)->state, TaskState::kQueued);
  node.drop(argument);
  EXPECT_TRUE(node.exists(argument)) << "the task holds it";
  node.run_all();
  EXPECT_FALSE(node.exists(argument));
  node.end();
}

TEST(SchedulerTasks, ATaskWaitsForAllItsArguments) {
  FakeNode node(1);
  Function* f = node.function();
  const TaskId a = node.submit(f);
  const TaskId b = node.submit(f);
  const TaskId both = node.submit(
      f, {.dependencies = {a.return_id(0), b.return_id(0), a.return_id(0), node.put()}});
  EXPECT_EQ(node.scheduler->find_task(both)->state, TaskState::kWaiting);
  EXPECT_EQ(node.run_all(), (std::vector{a, b, both}));
  node.end();
}

TEST(SchedulerTasks, ThoseWhoWaitForTheSameObjectStartInOrder) {
  FakeNode node(1);
  Function* f = node.function();
  const TaskId first = node.submit(f);
  std::vector<TaskId> expected{first};
  for (int i = 0; i < 10; ++i) {
    expected.push_back(node.submit(f, {.dependencies = {first.return_id(0)}}));
  }
  EXPECT_EQ(node.run_all(), expected);
  node.end();
}

TEST(SchedulerTasks, AnErrorPassesThrough) {
  FakeNode node;
  Function* f = node.function();
  const TaskId bad = node.submit(f);
  const TaskId slow = node.submit(f);
  const TaskId next =
      node.submit(f, {.dependencies = {slow.return_id(0), bad.return_id(0)}, .num_returns = 2});
  const TaskId last = node.submit(f, {.dependencies = {next.return_id(1)}});
  node.answer_starts();
  Worker& worker = *node.scheduler->workers().front();
  node.raise(worker, node.claim(worker), "the reason");
  EXPECT_TRUE(node.value(next).starts_with("the reason"))
      << "without waiting for the other argument";
  EXPECT_TRUE(node.value(last).starts_with("the reason"));
  EXPECT_EQ(node.state(last), ObjectState::kError);
  const TaskId late = node.submit(f, {.dependencies = {last.return_id(0)}});
  EXPECT_TRUE(node.value(late).starts_with("the reason")) << "submitted after the error";
  EXPECT_EQ(node.state(slow), ObjectState::kPending);
  node.end();
}

TEST(SchedulerTasks, AnErrorPassesThroughAChainWithoutRecursion) {
  constexpr int kLength = 100'000;
  FakeNode node(1);
  Function* f = node.function();
  const TaskId first = node.submit(f);
  TaskId last = first;
  for (int i = 0; i < kLength; ++i) {
    const TaskId next = node.submit(f, {.dependencies = {last.return_id(0)}});
    node.drop(last);
    last = next;
  }
  node.answer_starts();
  Worker& worker = *node.scheduler->workers().front();
  node.raise(worker, node.claim(worker), "the reason");
  EXPECT_TRUE(node.value(last).starts_with("the reason"));
  EXPECT_LT(node.value(last).size(), 20'000U);
  EXPECT_EQ(node.scheduler->counts().objects, 1U) << "each link is freed once the next has failed";
  node.end();
}

TEST(SchedulerTasks, ALongErrorIsSharedByAllThatItPassesTo) {
  FakeNode node(1);
  Function* f = node.function();
  const TaskId first = node.submit(f, {.num_returns = 2});
  std::vector<TaskId> chain{first};
  for (int i = 0; i < 100; ++i) {
    chain.push_back(node.submit(f, {.dependencies = {chain.back().return_id(0)}}));
  }
  node.answer_starts();
  Worker& worker = *node.scheduler->workers().front();
  node.raise(worker, node.claim(worker), std::string(100'000, 'x'));
  const std::byte* bytes = node.scheduler->find(first.return_id(0))->bytes.data();
  EXPECT_EQ(node.scheduler->find(first.return_id(1))->bytes.data(), bytes);
  for (const TaskId task : chain) {
    EXPECT_EQ(node.scheduler->find(task.return_id(0))->bytes.data(), bytes);
    node.drop(task);
  }
  EXPECT_EQ(node.value(first.return_id(1)), std::string(100'000, 'x'));
  node.end();
}

TEST(SchedulerTasks, RefsInAnErrorAreHeldAndPassedOn) {
  FakeNode node;
  Function* f = node.function();
  const ObjectId inner = node.put();
  const TaskId bad = node.submit(f, {.num_returns = 2});
  const TaskId next = node.submit(f, {.dependencies = {bad.return_id(0)}});
  node.answer_starts();
  Worker& worker = *node.scheduler->workers().front();
  const std::vector<std::byte> bytes = bytes_of("error");
  const std::vector<ObjectId> refs{inner};
  node.end(worker, node.claim(worker), Outcome::kRaised,
           {NewValue{.is_error = true, .bytes = bytes, .refs = refs}});
  node.drop(inner);
  node.drop(bad.return_id(0));
  node.drop(bad.return_id(1));
  EXPECT_TRUE(node.exists(inner)) << "the error of the last task refers to it";
  node.drop(next);
  EXPECT_FALSE(node.exists(inner));
  node.end();
}

TEST(SchedulerTasks, ALargePayloadIsFreedAtTheEnd) {
  FakeNode node;
  node.actions.lays_out_arguments = false;
  const std::uint64_t offset = node.actions.allocate();
  node.submit(node.function(), {.payload_offset = offset});
  node.answer_starts();
  Worker& worker = *node.scheduler->workers().front();
  const Claim claim = node.claim(worker);
  EXPECT_TRUE(node.actions.is_live(offset));
  node.finish(worker, claim);
  EXPECT_FALSE(node.actions.is_live(offset));
  node.end();
}

TEST(SchedulerTasks, ResultsOfUnknownTasksAreFreed) {
  FakeNode node;
  Worker& worker = node.start_worker();
  const std::uint64_t offset = node.actions.allocate();
  node.end(worker, Claim{TaskId{12345}, 1}, Outcome::kReturned,
           {NewValue{.offset = offset, .size = 1}});
  EXPECT_FALSE(node.actions.is_live(offset));
  node.end();
}

TEST(SchedulerTasks, AResultFromAnotherWorkerIsIgnored) {
  FakeNode node;
  const TaskId task = node.submit(node.function());
  node.answer_starts();
  Worker& right = *node.scheduler->workers().front();
  Worker& wrong = node.start_worker();
  const Claim claim = node.claim(right);
  node.finish(wrong, claim, "wrong");
  EXPECT_EQ(node.value(task), "(pending)");
  node.finish(right, Claim{claim.task, claim.attempt + 1}, "of an attempt that never was");
  EXPECT_EQ(node.value(task), "(pending)");
  node.finish(right, claim, "right");
  node.finish(right, claim, "again");
  EXPECT_EQ(node.value(task), "right");
  node.end();
}

}  // namespace
}  // namespace haz
