// Deaths of workers, retries, and results that come too late.

#include "unit/sched/fake_node.h"

namespace haz {
namespace {

Function* retried(FakeNode& node, std::int32_t max_retries) {
  return node.function(
      FunctionOptions{.name = "f", .resources = {{"CPU", 1}}, .max_retries = max_retries});
}

/// The node's only worker, asked for and started when there is none.
Worker& only_worker(FakeNode& node) {
  node.answer_starts();
  EXPECT_EQ(node.scheduler->workers().size(), 1U);
  return *node.scheduler->workers().front();
}

TEST(SchedulerRetries, ADeathBeforeTheClaimCostsNoTry) {
  FakeNode node(1);
  const TaskId task = node.submit(retried(node, 0));
  for (int i = 0; i < 5; ++i) {
    Worker& worker = only_worker(node);
    EXPECT_EQ(node.actions.unclaimed(worker.process), 1U);
    node.die(worker);
    EXPECT_EQ(node.scheduler->counts().queued, 1U);
  }
  Worker& worker = only_worker(node);
  const Claim claim = node.claim(worker);
  EXPECT_EQ(claim.attempt, 6U);
  node.finish(worker, claim);
  EXPECT_EQ(node.value(task), "result");
  node.end();
}

TEST(SchedulerRetries, WhatIsBehindTheFirstInADamagedRingCostsNoTry) {
  for (const bool heard_out : {true, false}) {
    FakeNode node(1);
    Function* function = retried(node, 0);
    const std::vector<TaskId> tasks = node.submit_many(function, 2);
    Worker& worker = only_worker(node);
    ASSERT_EQ(worker.assigned.size(), 2U);
    node.claim(worker);
    node.claim(worker);  // what the host sees of a word that is neither claimed nor ready
    node.die(worker, {.pid = 77, .signal = 11, .heard_out = heard_out});
    EXPECT_EQ(node.error_kind(tasks[0]), "worker_crashed");
    if (heard_out) {
      EXPECT_EQ(node.state(tasks[1]), ObjectState::kPending);
      EXPECT_EQ(node.run_all(), std::vector<TaskId>{tasks[1]});
    } else {
      // It may have been begun, and the end of the first not be known.
      EXPECT_EQ(node.error_kind(tasks[1]), "worker_crashed");
    }
    node.end();
  }
}

TEST(SchedulerRetries, ADeathAfterTheClaimCostsOne) {
  FakeNode node(1);
  const TaskId task = node.submit(retried(node, 2), {.num_returns = 2});
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(node.state(task), ObjectState::kPending);
    Worker& worker = only_worker(node);
    node.claim(worker);
    node.die(worker, {.pid = 100 + i, .signal = 11, .last_stderr = "bad news"});
  }
  EXPECT_EQ(node.error_kind(task), "worker_crashed");
  EXPECT_EQ(node.error_kind(task.return_id(1)), "worker_crashed");
  EXPECT_EQ(node.error_field(task.return_id(0), "task_name"), "f");
  EXPECT_EQ(node.error_field(task.return_id(0), "pid"), "102");
  EXPECT_EQ(node.error_field(task.return_id(0), "signal"), "11");
  EXPECT_EQ(node.error_field(task.return_id(0), "stderr"), "bad news");
  EXPECT_EQ(node.error_field(task.return_id(0), "attempts"), "3");
  node.end();
}

TEST(SchedulerRetries, WithoutEnd) {
  FakeNode node(1);
  const TaskId task = node.submit(retried(node, -1));
  for (int i = 0; i < 50; ++i) {
    Worker& worker = only_worker(node);
    node.claim(worker);
    node.die(worker);
  }
  EXPECT_EQ(node.run_all(), std::vector{task});
  node.end();
}

TEST(SchedulerRetries, OnlyTheTaskThatRanPaysForTheDeath) {
  FakeNode node(1);
  Function* f = retried(node, 0);
  f->mean_run_ns = 1000;
  const std::vector<TaskId> tasks = node.submit_many(f, 5);
  Worker& worker = only_worker(node);
  EXPECT_EQ(node.actions.unclaimed(worker.process), 5U);
  node.finish(worker, node.claim(worker));
  node.claim(worker);
  node.die(worker);
  EXPECT_EQ(node.value(tasks[0]), "result");
  EXPECT_EQ(node.error_kind(tasks[1]), "worker_crashed");
  EXPECT_EQ(node.run_all(), (std::vector{tasks[2], tasks[3], tasks[4]})) << "in their old order";
  node.end();
}

TEST(SchedulerRetries, ALateResultIsDiscardedAndFreedOnce) {
  FakeNode node(2);
  const TaskId task = node.submit(retried(node, 1));
  Worker& first = only_worker(node);
  Worker& second = node.start_worker();
  const Claim lost = node.claim(first);
  // The death of the first worker is noticed before its last message: a host must drain first, but
  // a damaged ring may hide it.
  const std::uint64_t late = node.actions.allocate();
  node.die(first);
  node.dispatch();
  const Claim again = node.claim(second);
  EXPECT_EQ(again, (Claim{task, 2}));
  node.end(second, lost, Outcome::kReturned, {NewValue{.offset = late, .size = 1}});
  EXPECT_FALSE(node.actions.is_live(late));
  EXPECT_EQ(node.value(task), "(pending)");
  const std::uint64_t right = node.actions.allocate();
  node.end(second, again, Outcome::kReturned, {NewValue{.offset = right, .size = 1}});
  EXPECT_TRUE(node.actions.is_live(right));
  node.drop(task);
  EXPECT_FALSE(node.actions.is_live(right));
  node.end();
}

TEST(SchedulerRetries, ArgumentsAndSlotsAreHeldUntilTheLastAttempt) {
  FakeNode node(1);
  const auto [argument, offset] = node.put_big();
  const ObjectId ref = node.put();
  const TaskId task = node.submit(retried(node, 3), {.dependencies = {argument}, .refs = {ref}});
  node.drop(argument);
  node.drop(ref);
  node.drop(task);
  for (int i = 0; i < 3; ++i) {
    Worker& worker = only_worker(node);
    node.claim(worker);
    node.die(worker);
    EXPECT_TRUE(node.actions.is_live(offset));
    EXPECT_TRUE(node.exists(ref));
    EXPECT_TRUE(node.exists(task.return_id(0)));
  }
  node.run_all();
  EXPECT_EQ(node.scheduler->counts().objects, 0U);
  node.end();
}

TEST(SchedulerRetries, RetryableErrors) {
  FakeNode node(1);
  const TaskId task = node.submit(retried(node, 2));
  Worker& worker = only_worker(node);
  const std::uint64_t held_by_error = node.actions.allocate();
  const std::vector<std::byte> bytes = bytes_of("no");
  node.end(worker, node.claim(worker), Outcome::kRetryable,
           {NewValue{.offset = held_by_error, .size = 3}});
  EXPECT_FALSE(node.actions.is_live(held_by_error)) << "of an attempt that counts no more";
  node.dispatch();
  node.raise(worker, node.claim(worker), "no", Outcome::kRetryable);
  node.dispatch();
  EXPECT_EQ(node.value(task), "(pending)");
  const Claim third = node.claim(worker);
  EXPECT_EQ(third.attempt, 3U);
  node.raise(worker, third, "the last", Outcome::kRetryable);
  EXPECT_EQ(node.value(task), "the last");
  node.end();
}

TEST(SchedulerRetries, CrashesAndRetryableErrorsCountTogether) {
  FakeNode node(1);
  const TaskId task = node.submit(retried(node, 1));
  Worker& first = only_worker(node);
  node.claim(first);
  node.die(first);
  Worker& second = only_worker(node);
  node.raise(second, node.claim(second), "no", Outcome::kRetryable);
  EXPECT_EQ(node.value(task), "no");
  node.end();
}

TEST(SchedulerRetries, AFinalErrorIsNotRetried) {
  FakeNode node(1);
  const TaskId task = node.submit(retried(node, 5));
  Worker& worker = only_worker(node);
  node.raise(worker, node.claim(worker), "final");
  EXPECT_EQ(node.value(task), "final");
  node.end();
}

TEST(SchedulerRetries, ARetriedTaskStartsBeforeLaterOnes) {
  FakeNode node(1);
  Function* f = retried(node, 1);
  const std::vector<TaskId> tasks = node.submit_many(f, 4);
  Worker& worker = only_worker(node);
  node.claim(worker);
  node.die(worker);
  EXPECT_EQ(node.run_all(), tasks);
  node.end();
}

TEST(SchedulerRetries, ABlockedParentThatDiesIsRetriedAndItsChildGoesOn) {
  FakeNode node(2);
  Function* f = retried(node, 1);
  const TaskId parent = node.submit(f);
  Worker& worker = only_worker(node);
  const Claim first = node.claim(worker);
  const TaskId child = node.submit(f, {.parent = parent, .submitter = worker.process});
  Request& request = node.get(child, first.task);
  EXPECT_EQ(node.free_cpus(), 2);
  node.answer_starts();
  node.die(worker);
  EXPECT_FALSE(request.completed);
  EXPECT_EQ(request.blocked_task, nullptr);
  EXPECT_TRUE(node.exists(child.return_id(0))) << "the request still waits for it";
  node.withdraw(request);
  EXPECT_NE(node.scheduler->find_task(child), nullptr) << "it was submitted, so it runs";
  node.run_all();
  EXPECT_EQ(node.value(parent), "result");
  EXPECT_FALSE(node.exists(child.return_id(0))) << "the handle died with its process";
  node.end();
}

TEST(SchedulerRetries, TheReferencesOfADeadWorkerAreDropped) {
  FakeNode node(1);
  node.submit(node.function());
  Worker& worker = only_worker(node);
  const ObjectId put = node.put("x", {}, worker.process);
  const ObjectId shared = node.put();
  EXPECT_TRUE(node.scheduler->add_reference(worker.process, shared));
  const TaskId child = node.submit(node.function(), {.submitter = worker.process});
  node.die(worker);
  EXPECT_FALSE(node.exists(put));
  EXPECT_TRUE(node.exists(shared));
  EXPECT_TRUE(node.exists(child.return_id(0)));
  node.run_all();
  EXPECT_FALSE(node.exists(child.return_id(0)));
  node.end();
}

TEST(SchedulerRetries, AnIdleWorkerMayDie) {
  FakeNode node;
  Worker& a = node.start_worker();
  Worker& b = node.start_worker();
  node.die(a);
  EXPECT_EQ(node.scheduler->counts().idle, 1U);
  const TaskId task = node.submit(node.function());
  node.dispatch();
  EXPECT_EQ(node.claim(b).task, task);
  node.end();
}

TEST(SchedulerRetry, WhetherTheDeadHadBegunSomething) {
  FakeNode node(2);
  const TaskId task = node.submit(node.function());
  node.answer_starts();
  EXPECT_FALSE(node.die(*node.scheduler->workers().front())) << "it never claimed the task";
  node.answer_starts();
  Worker& second = *node.scheduler->workers().front();
  const Claim claim = node.claim(second);
  EXPECT_EQ(claim.task, task);
  EXPECT_TRUE(node.die(second));
  node.answer_starts();
  Worker& third = *node.scheduler->workers().front();
  node.finish(third, node.claim(third));
  EXPECT_TRUE(node.die(third)) << "idle, but it has worked";
  node.end();
}

}  // namespace
}  // namespace haz
