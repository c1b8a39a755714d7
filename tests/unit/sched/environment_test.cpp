// Functions of several runtime environments: their workers never mix, and make room for each other.

#include "unit/sched/fake_node.h"

namespace haz {
namespace {

Function* function_of(FakeNode& node, const std::string& environment) {
  return node.function(
      FunctionOptions{.name = "f", .resources = {{"CPU", 1}}, .environment = environment});
}

SchedulerOptions cap(std::uint32_t max_workers) {
  SchedulerOptions options = plain_options();
  options.max_workers = max_workers;
  return options;
}

/// Lets the one worker that was told to stop end.
void end_stopped(FakeNode& node) {
  ASSERT_FALSE(node.actions.stopped.empty());
  const ProcessId process = node.actions.stopped.back();
  for (Worker* worker : node.scheduler->workers()) {
    if (worker->process != process) continue;
    node.die(*worker);
    return;
  }
  FAIL() << "the worker that was stopped is gone already";
}

TEST(SchedulerEnvironments, AWorkerKeepsTheEnvironmentOfItsFirstTask) {
  FakeNode node(4);
  Function* plain = node.function();
  Function* special = function_of(node, "A");
  Worker& first = node.start_worker();
  node.submit(plain);
  node.dispatch();
  node.finish(first, node.claim(first));
  node.submit(special);
  node.dispatch();
  EXPECT_EQ(node.actions.unclaimed(first.process), 0U) << "an idle worker of another environment";
  ASSERT_EQ(node.actions.starts_wanted, 1U);
  Worker& second = node.start_worker();
  node.dispatch();
  node.finish(second, node.claim(second));
  node.submit(special);
  node.submit(plain);
  node.dispatch();
  EXPECT_EQ(node.actions.starts_wanted, 0U) << "each has an idle worker";
  node.finish(second, node.claim(second));
  node.finish(first, node.claim(first));
  node.end();
}

TEST(SchedulerEnvironments, AUsedWorkerIsTakenBeforeAFreshOne) {
  FakeNode node(4);
  Function* special = function_of(node, "A");
  Worker& used = node.start_worker();
  node.submit(special);
  node.dispatch();
  node.finish(used, node.claim(used));
  Worker& fresh = node.start_worker();
  node.submit(special);
  node.dispatch();
  EXPECT_EQ(node.actions.unclaimed(used.process), 1U);
  EXPECT_EQ(node.actions.unclaimed(fresh.process), 0U);
  node.end();
}

TEST(SchedulerEnvironments, TasksOfEqualNeedsDoNotQueueBehindThoseOfAnother) {
  FakeNode node(1);
  Function* plain = node.function();
  Function* special = function_of(node, "A");
  plain->mean_run_ns = special->mean_run_ns = 1000;
  Worker& worker = node.start_worker();
  node.submit(plain);
  node.dispatch();
  node.submit(special);
  node.dispatch();
  EXPECT_EQ(worker.assigned.size(), 1U);
  node.finish(worker, node.claim(worker));
  node.dispatch();
  EXPECT_EQ(worker.assigned.size(), 0U);
  EXPECT_EQ(node.actions.starts_wanted, 1U);
  node.end();
}

TEST(SchedulerEnvironments, NothingIsTakenBackForAnIdleWorkerOfAnother) {
  FakeNode node(2);
  Function* special = function_of(node, "A");
  Worker& plain_worker = node.start_worker();
  node.submit(node.function());
  node.dispatch();
  node.finish(plain_worker, node.claim(plain_worker));
  Worker& special_worker = node.start_worker();
  special->mean_run_ns = 10'000'000;
  const Claim running{node.submit(special), 1};
  node.submit(special);
  node.dispatch();
  EXPECT_EQ(node.claim(special_worker), running);
  node.tick();
  EXPECT_TRUE(plain_worker.assigned.empty());
  node.end();
}

TEST(SchedulerEnvironments, AtTheCapAnIdleWorkerOfAnotherMakesRoom) {
  FakeNode node(4, cap(2));
  Function* plain = node.function();
  const std::vector<Worker*> workers = node.start_workers(2);
  node.submit_many(plain, 2);
  node.dispatch();
  for (Worker* worker : workers)
    node.finish(*worker, node.claim(*worker));
  const TaskId task = node.submit(function_of(node, "A"));
  node.dispatch();
  node.dispatch();
  EXPECT_EQ(node.actions.stopped.size(), 1U) << "one is enough";
  EXPECT_EQ(node.actions.starts_wanted, 0U);
  end_stopped(node);
  node.dispatch();
  ASSERT_EQ(node.actions.starts_wanted, 1U);
  EXPECT_EQ(node.run_all(), std::vector<TaskId>{task});
  node.end();
}

TEST(SchedulerEnvironments, ABlockedWorkerRunsWhatItAwaitsOfItsOwnOnly) {
  FakeNode node(1, cap(1));
  Function* plain = node.function();
  Function* special = function_of(node, "A");
  const TaskId parent = node.submit(plain);
  node.answer_starts();
  Worker& first = *node.scheduler->workers().front();
  const Claim running = node.claim(first);
  EXPECT_EQ(running.task, parent);
  const TaskId child = node.submit(special, {.parent = parent, .submitter = first.process});
  const Request& request = node.get(child, parent);
  node.submit(plain);  // would take any worker
  node.dispatch();
  EXPECT_EQ(node.actions.unclaimed(first.process), 0U);
  ASSERT_EQ(node.actions.starts_wanted, 1U) << "one beyond the cap, or nothing would go on";
  node.dispatch();
  EXPECT_EQ(node.actions.starts_wanted, 1U) << "and only one";
  Worker& second = node.start_worker();
  node.dispatch();
  const Claim nested = node.claim(second);
  EXPECT_EQ(nested.task, child) << "it was started for this environment";
  node.finish(second, nested);
  EXPECT_TRUE(node.was_completed(request));
  node.finish(first, running);
  node.dispatch();
  node.finish(first, node.claim(first));
  node.end();
}

TEST(SchedulerEnvironments, BeyondTheCapAsManyMakeRoomAsMustGo) {
  FakeNode node(1, cap(1));
  const TaskId parent = node.submit(node.function());
  node.answer_starts();
  Worker& first = *node.scheduler->workers().front();
  const Claim running = node.claim(first);
  const TaskId child =
      node.submit(function_of(node, "A"), {.parent = parent, .submitter = first.process});
  node.get(child, parent);
  node.dispatch();
  Worker& second = node.start_worker();
  node.dispatch();
  node.finish(second, node.claim(second));
  const TaskId task = node.submit(function_of(node, "B"));
  node.dispatch();
  EXPECT_TRUE(node.actions.stopped.empty()) << "one less would not do, and the other is busy";
  node.finish(first, running);
  node.dispatch();
  ASSERT_EQ(node.actions.stopped.size(), 2U);
  node.die(first);
  node.dispatch();
  EXPECT_EQ(node.actions.starts_wanted, 0U);
  node.die(second);
  EXPECT_EQ(node.run_all(), std::vector<TaskId>{task});
  node.end();
}

TEST(SchedulerEnvironments, AStartBeyondTheCapThatFailsIsTriedAgain) {
  FakeNode node(1, cap(1));
  const TaskId parent = node.submit(node.function());
  node.answer_starts();
  Worker& first = *node.scheduler->workers().front();
  const Claim running = node.claim(first);
  const TaskId child =
      node.submit(function_of(node, "A"), {.parent = parent, .submitter = first.process});
  node.get(child, running.task);
  node.dispatch();
  ASSERT_EQ(node.actions.starts_wanted, 1U);
  --node.actions.starts_wanted;
  node.scheduler->start_failed();
  node.dispatch();
  EXPECT_EQ(node.actions.starts_wanted, 0U) << "not before the next tick";
  node.tick();
  EXPECT_EQ(node.actions.starts_wanted, 1U);
  EXPECT_EQ(node.run_all(), std::vector<TaskId>{child});
  node.finish(first, running);
  node.end();
}

TEST(SchedulerEnvironments, AnActorTakesAWorkerOfItsOwn) {
  FakeNode node(4);
  Worker& used = node.start_worker();
  node.submit(node.function());
  node.dispatch();
  node.finish(used, node.claim(used));
  FunctionOptions options{.name = "Actor", .environment = "A"};
  options.actor = std::make_shared<const ActorOptions>();
  Function* constructor = node.function(options);
  TaskSpec spec = node.spec_of(constructor, {});
  ASSERT_TRUE(node.scheduler->create_actor(spec, {}).ok());
  node.dispatch();
  EXPECT_EQ(node.actions.unclaimed(used.process), 0U);
  ASSERT_EQ(node.actions.starts_wanted, 1U);
  Worker& own = node.start_worker();
  node.dispatch();
  EXPECT_EQ(node.actions.unclaimed(own.process), 1U);
  node.end();
}

}  // namespace
}  // namespace haz
