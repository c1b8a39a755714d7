// Cancel and time limits, in every state of a task.

#include "unit/sched/fake_node.h"

namespace haz {
namespace {

constexpr bool kForce = true;
constexpr bool kGently = false;
constexpr bool kRecursive = true;

TEST(SchedulerCancel, AWaitingTask) {
  FakeNode node;
  Function* f = node.function("work");
  const TaskId first = node.submit(f);
  const TaskId waiting = node.submit(f, {.dependencies = {first.return_id(0)}, .num_returns = 2});
  const TaskId next = node.submit(f, {.dependencies = {waiting.return_id(1)}});
  node.cancel(waiting);
  EXPECT_EQ(node.error_kind(waiting), "cancelled");
  EXPECT_EQ(node.error_field(waiting.return_id(1), "task_name"), "work");
  EXPECT_EQ(node.error_field(waiting.return_id(1), "task_id"), std::to_string(waiting.value));
  EXPECT_EQ(node.error_kind(next), "cancelled");
  EXPECT_EQ(node.run_all(), std::vector{first});
  node.end();
}

TEST(SchedulerCancel, AQueuedTaskByAnyOfItsReturns) {
  FakeNode node;
  const TaskId task = node.submit(node.function(), {.num_returns = 3});
  node.scheduler->cancel(task.return_id(2), kGently, kRecursive);
  node.check();
  EXPECT_EQ(node.error_kind(task), "cancelled");
  EXPECT_TRUE(node.run_all().empty());
  node.end();
}

TEST(SchedulerCancel, AnAssignedTaskThatHasNotBegun) {
  FakeNode node(1);
  const TaskId task = node.submit(node.function());
  node.answer_starts();
  Worker& worker = *node.scheduler->workers().front();
  EXPECT_EQ(node.actions.unclaimed(worker.process), 1U);
  node.cancel(task, kForce);
  EXPECT_EQ(node.error_kind(task), "cancelled");
  EXPECT_EQ(node.actions.unclaimed(worker.process), 0U);
  EXPECT_EQ(worker.state, WorkerState::kIdle);
  EXPECT_TRUE(node.actions.killed.empty());
  EXPECT_TRUE(node.actions.interrupted.empty());
  EXPECT_EQ(node.free_cpus(), 1);
  node.end();
}

TEST(SchedulerCancel, ATaskBehindARunningOne) {
  FakeNode node(1);
  const std::vector<TaskId> tasks = node.submit_many(node.function(), 2);
  node.answer_starts();
  Worker& worker = *node.scheduler->workers().front();
  const Claim running = node.claim(worker);
  EXPECT_EQ(node.actions.unclaimed(worker.process), 1U);
  node.cancel(tasks[1]);
  EXPECT_EQ(node.error_kind(tasks[1]), "cancelled");
  node.finish(worker, running);
  EXPECT_EQ(node.value(tasks[0]), "result");
  EXPECT_TRUE(node.run_all().empty());
  node.end();
}

TEST(SchedulerCancel, ARunningTaskIsInterrupted) {
  FakeNode node;
  const TaskId task = node.submit(node.function());
  node.answer_starts();
  Worker& worker = *node.scheduler->workers().front();
  const Claim claim = node.claim(worker);
  node.cancel(task);
  EXPECT_EQ(node.actions.interrupted, std::vector{claim});
  EXPECT_EQ(node.state(task), ObjectState::kPending) << "it ends when it ends";
  const std::uint64_t offset = node.actions.allocate();
  node.end(worker, claim, Outcome::kRetryable, {NewValue{.offset = offset, .size = 1}});
  EXPECT_EQ(node.error_kind(task), "cancelled") << "not retried";
  EXPECT_FALSE(node.actions.is_live(offset));
  node.end();
}

TEST(SchedulerCancel, ATaskThatReturnsAllTheSameHasItsValue) {
  FakeNode node;
  const TaskId task = node.submit(node.function());
  node.answer_starts();
  Worker& worker = *node.scheduler->workers().front();
  const Claim claim = node.claim(worker);
  node.cancel(task);
  node.finish(worker, claim, "done anyway");
  EXPECT_EQ(node.value(task), "done anyway");
  node.end();
}

TEST(SchedulerCancel, ByForceTheWorkerEnds) {
  FakeNode node(1);
  const std::vector<TaskId> tasks = node.submit_many(node.function(), 2);
  node.answer_starts();
  Worker& worker = *node.scheduler->workers().front();
  node.claim(worker);
  node.cancel(tasks[0], kGently);
  node.cancel(tasks[0], kForce);
  EXPECT_EQ(node.actions.killed, std::vector{worker.process});
  EXPECT_EQ(node.actions.unclaimed(worker.process), 0U) << "what waits behind it is taken back";
  node.dispatch();
  EXPECT_EQ(node.actions.unclaimed(worker.process), 0U) << "nothing is given to a doomed worker";
  node.die(worker);
  EXPECT_EQ(node.error_kind(tasks[0]), "cancelled") << "not retried";
  EXPECT_EQ(node.run_all(), std::vector{tasks[1]});
  node.end();
}

TEST(SchedulerCancel, AKillThatComesTooLateHitsNoOtherTask) {
  FakeNode node(2);
  const TaskId first = node.submit(node.function());
  node.answer_starts();
  Worker& worker = *node.scheduler->workers().front();
  const Claim claim = node.claim(worker);
  node.cancel(first, kForce);
  node.finish(worker, claim, "just in time");  // the message was on its way
  EXPECT_EQ(node.value(first), "just in time");
  const TaskId second = node.submit(node.function("other"));
  node.dispatch();
  EXPECT_EQ(node.actions.unclaimed(worker.process), 0U);
  EXPECT_EQ(node.free_cpus(), 2) << "the doomed worker holds nothing";
  node.die(worker);
  EXPECT_EQ(node.run_all(), std::vector{second});
  EXPECT_EQ(node.value(second), "result");
  node.end();
}

TEST(SchedulerCancel, AFinishedTask) {
  FakeNode node;
  const TaskId task = node.submit(node.function());
  node.run_all();
  node.cancel(task, kForce);
  EXPECT_EQ(node.value(task), "result");
  EXPECT_TRUE(node.actions.killed.empty());
  node.scheduler->cancel(ObjectId{4711}, kForce, kRecursive);
  node.cancel(TaskId{node.put().value});
  node.end();
}

TEST(SchedulerCancel, ABlockedTask) {
  FakeNode node;
  Function* f = node.function();
  const TaskId parent = node.submit(f);
  node.answer_starts();
  Worker& worker = *node.scheduler->workers().front();
  const Claim claim = node.claim(worker);
  const TaskId child = node.submit(f, {.parent = parent, .submitter = worker.process});
  Request& request = node.get(child, parent);
  node.cancel(parent, kGently, !kRecursive);
  EXPECT_EQ(node.actions.interrupted, std::vector{claim});
  EXPECT_FALSE(request.completed);
  // The interrupt ends its get.
  node.withdraw(request);
  EXPECT_EQ(node.free_cpus(), 3);
  node.raise(worker, claim, "KeyboardInterrupt");
  EXPECT_EQ(node.error_kind(parent), "cancelled");
  EXPECT_EQ(node.state(child), ObjectState::kPending) << "only the parent was cancelled";
  node.end();
}

TEST(SchedulerCancel, RecursivelyTheWholeTree) {
  FakeNode node;
  Function* f = node.function();
  const TaskId root = node.submit(f);
  node.answer_starts();
  Worker& first = *node.scheduler->workers().front();
  const Claim root_claim = node.claim(first);
  const TaskId child = node.submit(f, {.parent = root, .submitter = first.process});
  const TaskId sibling = node.submit(
      f, {.dependencies = {child.return_id(0)}, .parent = root, .submitter = first.process});
  node.answer_starts();
  Worker& second = *node.scheduler->workers().back();
  const Claim child_claim = node.claim(second);
  EXPECT_EQ(child_claim.task, child);
  const TaskId grandchild = node.submit(f, {.parent = child, .submitter = second.process});
  const TaskId stranger = node.submit(f);
  Request& request = node.get(std::vector{child.return_id(0), sibling.return_id(0)}, root);
  node.cancel(root, kGently, kRecursive);
  EXPECT_EQ(node.error_kind(grandchild), "cancelled");
  EXPECT_EQ(node.error_kind(sibling), "cancelled");
  EXPECT_EQ(node.actions.interrupted, (std::vector{child_claim, root_claim}));
  EXPECT_TRUE(node.was_completed(request)) << "its get found an error";
  node.raise(second, child_claim);
  node.raise(first, root_claim);
  EXPECT_EQ(node.error_kind(child), "cancelled");
  EXPECT_EQ(node.error_kind(root), "cancelled");
  EXPECT_EQ(node.run_all(), std::vector{stranger});
  node.end();
}

TEST(SchedulerCancel, ManyChildrenThatDependOnEachOther) {
  // Each is in the list of tasks to settle when its own turn comes.
  constexpr int kChildren = 50'000;
  FakeNode node;
  Function* f = node.function();
  const TaskId parent = node.submit(f);
  node.answer_starts();
  Worker& worker = *node.scheduler->workers().front();
  const Claim claim = node.claim(worker);
  std::vector<TaskId> children;
  for (int i = 0; i < kChildren; ++i) {
    TaskOptions options{.parent = parent, .submitter = worker.process};
    if (i > 1) options.dependencies = {children[0].return_id(0), children[1].return_id(0)};
    children.push_back(node.submit(f, options));
  }
  node.scheduler->cancel(children[0].return_id(0), kGently, kRecursive);
  node.cancel(parent, kGently, kRecursive);
  for (const TaskId child : children)
    ASSERT_EQ(node.error_kind(child), "cancelled");
  node.raise(worker, claim);
  node.end();
}

TEST(SchedulerCancel, ADeepTree) {
  constexpr std::size_t kDepth = 2000;
  SchedulerOptions options = plain_options();
  options.max_workers = kDepth;
  FakeNode node(kDepth, options);
  Function* f = node.function();
  std::vector<Claim> claims;
  TaskOptions task;
  for (std::size_t i = 0; i < kDepth; ++i) {
    task.parent = node.submit(f, task);
    node.answer_starts();
    task.submitter = node.scheduler->workers().back()->process;
    claims.push_back(node.claim(*node.scheduler->workers().back()));
  }
  node.cancel(claims.front().task, kGently, kRecursive);
  EXPECT_EQ(node.actions.interrupted.size(), kDepth);
  EXPECT_EQ(node.actions.interrupted.front(), claims.back()) << "deepest first";
  for (std::size_t i = 0; i < kDepth; ++i)
    node.raise(*node.scheduler->workers()[i], claims[i]);
  node.end();
}

TEST(SchedulerCancel, ARetriedAttempt) {
  FakeNode node;
  const TaskId task = node.submit(node.function());
  node.answer_starts();
  Worker& first = *node.scheduler->workers().front();
  node.claim(first);
  node.die(first);
  EXPECT_EQ(node.scheduler->find_task(task)->state, TaskState::kQueued);
  node.cancel(task);
  EXPECT_EQ(node.error_kind(task), "cancelled");
  EXPECT_TRUE(node.run_all().empty());
  node.end();
}

TEST(SchedulerCancel, AnInterruptedTaskWhoseWorkerDies) {
  FakeNode node;
  const TaskId task = node.submit(node.function());
  node.answer_starts();
  Worker& worker = *node.scheduler->workers().front();
  node.claim(worker);
  node.cancel(task);
  node.die(worker);
  EXPECT_EQ(node.error_kind(task), "cancelled") << "not retried";
  node.end();
}

// ---- time limits -------------------------------------------------------------------------------

Function* limited(FakeNode& node) {
  return node.function(FunctionOptions{.name = "slow",
                                       .resources = {{"CPU", 1}},
                                       .retry_exceptions = true,
                                       .timeout_ns = 500'000'000});
}

TEST(SchedulerTimeLimit, TheAttemptIsInterrupted) {
  FakeNode node;
  const TaskId task = node.submit(limited(node));
  node.answer_starts();
  Worker& worker = *node.scheduler->workers().front();
  const Claim claim = node.claim(worker);
  node.scheduler->timed_out(task, claim.attempt + 1, kGently);
  node.scheduler->timed_out(TaskId{4711}, 1, kGently);
  EXPECT_TRUE(node.actions.interrupted.empty()) << "only the attempt that it was said of";
  node.scheduler->timed_out(task, claim.attempt, kGently);
  EXPECT_EQ(node.actions.interrupted, std::vector{claim});
  node.raise(worker, claim, "KeyboardInterrupt", Outcome::kRetryable);
  EXPECT_EQ(node.error_kind(task), "timeout");
  node.end();
}

TEST(SchedulerTimeLimit, ByForceTheWorkerEnds) {
  FakeNode node;
  const TaskId task = node.submit(limited(node));
  node.answer_starts();
  Worker& worker = *node.scheduler->workers().front();
  const Claim claim = node.claim(worker);
  node.scheduler->timed_out(task, claim.attempt, kGently);
  node.scheduler->timed_out(task, claim.attempt, kForce);
  EXPECT_EQ(node.actions.killed, std::vector{worker.process});
  node.die(worker);
  EXPECT_EQ(node.error_kind(task), "timeout") << "not retried";
  node.end();
}

TEST(SchedulerTimeLimit, ItsChildrenAreCancelled) {
  FakeNode node(1);
  const TaskId task = node.submit(limited(node));
  node.answer_starts();
  Worker& worker = *node.scheduler->workers().front();
  const Claim claim = node.claim(worker);
  const TaskId child = node.submit(node.function(), {.parent = task});
  const TaskId grandchild = node.submit(node.function(), {.parent = child});
  const TaskId other = node.submit(node.function());
  node.scheduler->timed_out(task, claim.attempt, kGently);
  node.check();
  EXPECT_EQ(node.error_kind(child), "cancelled");
  EXPECT_EQ(node.error_kind(grandchild), "cancelled");
  EXPECT_EQ(node.state(other), ObjectState::kPending);
  const TaskId late = node.submit(node.function(), {.parent = task});
  node.scheduler->timed_out(task, claim.attempt, kForce);
  EXPECT_EQ(node.error_kind(late), "cancelled");
  node.die(worker);
  EXPECT_EQ(node.error_kind(task), "timeout");
  EXPECT_EQ(node.run_all(), std::vector{other});
  node.end();
}

TEST(SchedulerTimeLimit, AnotherTaskOfTheProcessIsToldWhy) {
  FakeNode node(1);
  Function* once = node.function(FunctionOptions{.name = "once", .max_retries = 0});
  const TaskId outer = node.submit(limited(node));
  node.answer_starts();
  Worker& worker = *node.scheduler->workers().front();
  const Claim claim = node.claim(worker);
  const TaskId next = node.submit(once);
  node.scheduler->timed_out(outer, claim.attempt, kGently);
  node.scheduler->timed_out(outer, claim.attempt, kForce);
  EXPECT_NE(worker.why_killed.find("slow overran its limit of 0.5 s"), std::string::npos);
  node.die(worker);
  EXPECT_EQ(node.run_all(), std::vector{next});
  node.end();
}

TEST(SchedulerTimeLimit, AnAttemptThatWasTakenBackStartsAnew) {
  FakeNode node;
  Function* f = limited(node);
  const TaskId task = node.submit(f);
  node.answer_starts();
  Worker& worker = *node.scheduler->workers().front();
  // A clock that runs for an attempt that has not begun is the host's mistake; its mark must not
  // stay.
  node.scheduler->timed_out(task, 1, kGently);
  node.die(worker);
  node.answer_starts();
  Worker& second = *node.scheduler->workers().front();
  node.raise(second, node.claim(second), "its own error");
  EXPECT_EQ(node.value(task), "its own error");
  node.end();
}

TEST(SchedulerTimeLimit, ATaskThatReturnsAllTheSameHasItsValue) {
  FakeNode node;
  const TaskId task = node.submit(limited(node));
  node.answer_starts();
  Worker& worker = *node.scheduler->workers().front();
  const Claim claim = node.claim(worker);
  node.scheduler->timed_out(task, claim.attempt, kGently);
  node.finish(worker, claim, "in time");
  node.scheduler->timed_out(task, claim.attempt, kForce);
  EXPECT_EQ(node.value(task), "in time");
  EXPECT_TRUE(node.actions.killed.empty());
  node.end();
}

}  // namespace
}  // namespace haz
