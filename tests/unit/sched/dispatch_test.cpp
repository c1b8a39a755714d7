// Where tasks go: pipelines, stealing, resources, fairness between classes.

#include "unit/sched/fake_node.h"

namespace haz {
namespace {

constexpr std::int64_t kMicrosecond = 1000;
constexpr std::int64_t kMillisecond = 1'000'000;

Function* measured(FakeNode& node, std::int64_t mean_run_ns, double cpus = 1) {
  Function* f = node.function("f", cpus);
  f->mean_run_ns = mean_run_ns;
  return f;
}

TEST(SchedulerDispatch, ShortTasksAreQueuedAhead) {
  FakeNode node(1);
  Worker& worker = node.start_worker();
  node.submit_many(measured(node, 10 * kMicrosecond), 1000);
  node.dispatch();
  EXPECT_EQ(worker.assigned.size(), 200U) << "2 ms of measured work";
  node.end();
}

TEST(SchedulerDispatch, HowManyDependsOnTheMeasuredTime) {
  for (const auto& [mean, expected] :
       std::vector<std::pair<std::int64_t, std::size_t>>{{-1, 2},
                                                         {0, 512},
                                                         {100, 512},
                                                         {20 * kMicrosecond, 100},
                                                         {5 * kMillisecond, 2},
                                                         {20 * kMillisecond, 1},
                                                         {1000 * kMillisecond, 1}}) {
    FakeNode node(1);
    Worker& worker = node.start_worker();
    node.submit_many(measured(node, mean), 600);
    node.dispatch();
    EXPECT_EQ(worker.assigned.size(), expected) << "mean " << mean;
    node.end();
  }
}

TEST(SchedulerDispatch, RunsAreMeasured) {
  FakeNode node(1);
  Function* f = node.function();
  node.submit_many(f, 100);
  node.answer_starts();
  Worker& worker = *node.scheduler->workers().front();
  node.finish(worker, node.claim(worker), "r", {}, 1000 * kMillisecond);
  EXPECT_EQ(f->mean_run_ns, 1000 * kMillisecond);
  for (int i = 0; i < 60; ++i) {
    node.dispatch();
    node.finish(worker, node.claim(worker), "r", {}, 10 * kMicrosecond);
  }
  EXPECT_LT(f->mean_run_ns, kMillisecond) << "one slow start is forgotten";
  node.dispatch();
  node.finish(worker, node.claim(worker), "r", {}, -5);  // a clock that a worker made up
  EXPECT_GE(f->mean_run_ns, 0);
  node.dispatch();
  node.finish(worker, node.claim(worker), "r", {}, std::numeric_limits<std::int64_t>::max());
  EXPECT_GE(f->mean_run_ns, 0);
  node.end();
}

TEST(SchedulerDispatch, AFullRingIsNotWrittenTo) {
  FakeNode node(1);
  node.actions.ring_capacity = 8;
  Worker& worker = node.start_worker();
  node.submit_many(measured(node, 0), 100);
  node.dispatch();
  EXPECT_EQ(worker.assigned.size(), 8U);
  EXPECT_TRUE(node.scheduler->has_backlog());
  node.finish(worker, node.claim(worker));
  node.dispatch();
  EXPECT_EQ(worker.assigned.size(), 8U);
  EXPECT_EQ(node.run_all().size(), 99U);
  EXPECT_FALSE(node.scheduler->has_backlog());
  node.end();
}

TEST(SchedulerDispatch, AnIdleWorkerWithAFullRingIsPassedOver) {
  FakeNode node(2);
  node.actions.ring_capacity = 1;
  Worker& other = node.start_worker();
  Worker& full = node.start_worker();
  const TaskId task = node.submit(node.function());
  node.dispatch();
  EXPECT_EQ(node.actions.unclaimed(full.process), 1U);
  node.cancel(task);  // the worker has not passed the entry yet
  EXPECT_EQ(full.state, WorkerState::kIdle);
  const TaskId next = node.submit(node.function());
  node.dispatch();
  EXPECT_EQ(node.claim(other).task, next);
  node.end();
}

TEST(SchedulerDispatch, ATaskWaitsForTheRoomOfTheOnlyIdleWorker) {
  FakeNode node(1);
  node.actions.ring_capacity = 1;
  Worker& worker = node.start_worker();
  const TaskId task = node.submit(node.function());
  node.dispatch();
  node.cancel(task);  // the worker has not passed the entry yet
  const TaskId next = node.submit(node.function());
  node.dispatch();
  EXPECT_EQ(node.actions.starts_wanted, 0U);
  EXPECT_TRUE(node.scheduler->wants_tick()) << "nobody would look at the task again";
  EXPECT_EQ(node.actions.claim(worker.process), std::nullopt);
  node.tick();
  EXPECT_EQ(node.claim(worker).task, next);
  EXPECT_FALSE(node.scheduler->wants_tick());
  node.end();
}

TEST(SchedulerDispatch, NothingIsStolenForAnIdleWorkerWithoutRoom) {
  FakeNode node(2);
  node.actions.ring_capacity = 8;
  Function* f = measured(node, kMillisecond);
  Worker& busy = node.start_worker();
  node.submit_many(f, 6);
  node.dispatch();
  const Claim running = node.claim(busy);
  Worker& full = node.start_worker();
  FakeActions& actions = node.actions;
  actions.fill_ring(full.process);
  const std::size_t assigned = actions.assigned.size();
  node.dispatch();
  EXPECT_EQ(actions.assigned.size(), assigned) << "given, and taken back, for nobody";
  EXPECT_TRUE(node.scheduler->wants_tick());
  EXPECT_EQ(actions.claim(full.process), std::nullopt);
  node.tick();
  EXPECT_GT(full.assigned.size(), 0U);
  node.finish(busy, running);
  node.run_all();
  node.end();
}

TEST(SchedulerDispatch, WorkIsSpreadOverIdleWorkersFirst) {
  FakeNode node(4);
  const std::vector<Worker*> workers = node.start_workers(4);
  node.submit_many(measured(node, 10 * kMicrosecond), 8);
  node.dispatch();
  for (const Worker* worker : workers)
    EXPECT_EQ(worker->assigned.size(), 2U);
  node.end();
}

TEST(SchedulerDispatch, NobodyIsWokenForWhatIsDoneSooner) {
  SchedulerOptions options;
  options.wake_ns = 50 * kMicrosecond;
  FakeNode node(2, options);
  Worker& asleep = node.start_worker();
  Worker& awake = node.start_worker();
  Function* f = measured(node, 10 * kMicrosecond);
  for (std::size_t i = 1; i <= 5; ++i) {
    node.submit(f);
    node.dispatch();
    EXPECT_EQ(awake.assigned.size(), i);
    EXPECT_EQ(asleep.state, WorkerState::kIdle);
  }
  node.submit(f);
  node.dispatch();
  EXPECT_EQ(asleep.state, WorkerState::kBusy);
  node.end();
}

TEST(SchedulerDispatch, FirstComeFirstServed) {
  FakeNode node(1);
  const std::vector<TaskId> tasks = node.submit_many(measured(node, 10 * kMicrosecond), 100);
  EXPECT_EQ(node.run_all(), tasks);
  node.end();
}

// ---- taking back -------------------------------------------------------------------------------

TEST(SchedulerSteal, AnIdleWorkerTakesHalf) {
  FakeNode node(2);
  Worker& first = node.start_worker();
  const std::vector<TaskId> tasks = node.submit_many(measured(node, 100 * kMicrosecond), 20);
  node.scheduler->set_resource("CPU", 1);
  node.dispatch();
  EXPECT_EQ(first.assigned.size(), 20U);
  node.scheduler->set_resource("CPU", 2);
  Worker& second = node.start_worker();
  node.dispatch();
  EXPECT_EQ(first.assigned.size(), 10U);
  EXPECT_EQ(second.assigned.size(), 10U);
  EXPECT_EQ(node.claim(second).task, tasks[10]) << "the later half, in its order";
  node.end();
}

TEST(SchedulerSteal, NotForALittleWork) {
  FakeNode node(2);
  Worker& first = node.start_worker();
  node.scheduler->set_resource("CPU", 1);
  node.submit_many(measured(node, 10 * kMicrosecond), 10);
  node.dispatch();
  EXPECT_EQ(first.assigned.size(), 10U);
  node.scheduler->set_resource("CPU", 2);
  Worker& second = node.start_worker();
  node.dispatch();
  EXPECT_EQ(second.state, WorkerState::kIdle) << "done sooner than the other is awake";
  EXPECT_TRUE(node.scheduler->wants_tick());
  node.tick();
  node.finish(first, node.claim(first), "r", {}, 10 * kMicrosecond);
  node.tick();
  EXPECT_EQ(second.state, WorkerState::kIdle) << "it makes progress";
  node.tick();
  EXPECT_EQ(second.assigned.size(), 8U) << "it is stuck";
  EXPECT_EQ(first.assigned.size(), 1U);
  node.submit_many(first.assigned.front()->function, 3);
  node.dispatch();
  EXPECT_EQ(first.assigned.size(), 1U) << "nothing is queued behind a stuck task";
  node.end();
}

TEST(SchedulerSteal, WhatBeganIsNotTaken) {
  FakeNode node(2);
  Worker& first = node.start_worker();
  node.scheduler->set_resource("CPU", 1);
  node.submit_many(measured(node, 100 * kMicrosecond), 4);
  node.dispatch();
  for (int i = 0; i < 4; ++i)
    node.claim(first);  // its messages are on their way
  node.scheduler->set_resource("CPU", 2);
  Worker& second = node.start_worker();
  node.dispatch();
  EXPECT_EQ(first.assigned.size(), 4U);
  EXPECT_EQ(second.state, WorkerState::kIdle);
  node.end();
}

TEST(SchedulerSteal, FromTheWorkerWithMostWorkNotMostTasks) {
  FakeNode node(3);
  node.scheduler->set_resource("X", 1);
  Function* shorts = measured(node, 0);
  Function* longs =
      node.function(FunctionOptions{.name = "g", .resources = {{"CPU", 1}, {"X", 0.5}}});
  longs->mean_run_ns = 10 * kMillisecond;
  node.scheduler->set_resource("CPU", 2);
  Worker& first = node.start_worker();
  node.submit_many(shorts, 100);
  node.dispatch();
  Worker& second = node.start_worker();
  const std::vector<TaskId> slow = node.submit_many(longs, 2);
  node.dispatch();
  EXPECT_EQ(first.assigned.size(), 100U);
  EXPECT_EQ(second.assigned.size(), 2U);
  node.scheduler->set_resource("CPU", 3);
  Worker& third = node.start_worker();
  node.dispatch();
  EXPECT_EQ(node.claim(third).task, slow[1]);
  node.end();
}

TEST(SchedulerSteal, AlsoWhileOtherTasksWaitForWhatIsNotThere) {
  FakeNode node(2);
  node.scheduler->set_resource("GPU", 1);
  Function* gpu = node.function(FunctionOptions{.name = "gpu", .resources = {{"GPU", 1}}});
  Function* f = measured(node, 100 * kMicrosecond);
  Worker& holder = node.start_worker();
  node.submit_many(gpu, 3);
  node.dispatch();
  node.claim(holder);
  node.scheduler->set_resource("CPU", 1);
  Worker& first = node.start_worker();
  node.submit_many(f, 10);
  node.dispatch();
  EXPECT_EQ(first.assigned.size(), 10U);
  EXPECT_TRUE(node.scheduler->has_backlog()) << "a third task for the GPU";
  node.scheduler->set_resource("CPU", 2);
  Worker& second = node.start_worker();
  node.dispatch();
  EXPECT_EQ(second.assigned.size(), 5U);
  node.end();
}

TEST(SchedulerSteal, AllIdleWorkersGetSomethingAtATick) {
  FakeNode node(8);
  Function* f = measured(node, kMicrosecond);
  const std::vector<Worker*> busy = node.start_workers(4);
  node.scheduler->set_resource("CPU", 4);
  node.submit_many(f, 40);
  node.dispatch();
  for (Worker* worker : busy)
    node.claim(*worker);
  node.scheduler->set_resource("CPU", 8);
  const std::vector<Worker*> idle = node.start_workers(4);
  node.dispatch();
  for (const Worker* worker : idle)
    EXPECT_EQ(worker->state, WorkerState::kIdle);
  node.tick();
  node.tick();
  for (const Worker* worker : idle)
    EXPECT_EQ(worker->state, WorkerState::kBusy);
  node.end();
}

TEST(SchedulerDispatch, WithFreeSlotsNoTaskStaysBehindALongOne) {
  // Three tasks of unknown length on four slots run on three workers.
  FakeNode node(4);
  const std::vector<TaskId> tasks = node.submit_many(node.function(), 3);
  node.dispatch();
  node.start_worker();  // the first comes before the others
  node.answer_starts();
  std::size_t running = 0;
  for (const Worker* worker : node.scheduler->workers()) {
    running += node.actions.claim(worker->process).has_value() ? 1 : 0;
  }
  EXPECT_EQ(running, 3U);
  node.end();
}

TEST(SchedulerDispatch, AWorkerIsStartedForWhatWaitsInRings) {
  FakeNode node(4);
  Function* f = node.function();
  Worker& first = node.start_worker();
  node.submit_many(f, 1);
  node.dispatch();
  node.claim(first);
  node.submit_many(f, 1);
  node.dispatch();
  EXPECT_EQ(first.assigned.size(), 2U) << "behind one that runs, in case that it is short";
  EXPECT_EQ(node.actions.starts_wanted, 1U) << "in case that it is not";
  Worker& second = node.start_worker();
  node.dispatch();
  EXPECT_EQ(second.assigned.size(), 1U);
  EXPECT_EQ(first.assigned.size(), 1U);
  node.end();
}

TEST(SchedulerDispatch, AWorkerIsStartedForWhatIsStuck) {
  FakeNode node(2);
  Function* f = measured(node, kMicrosecond);
  Worker& first = node.start_worker();
  node.scheduler->set_resource("CPU", 1);
  node.submit_many(f, 10);
  node.dispatch();
  node.claim(first);  // much longer than the others before it
  node.scheduler->set_resource("CPU", 2);
  node.dispatch();
  EXPECT_EQ(node.actions.starts_wanted, 0U);
  EXPECT_TRUE(node.scheduler->wants_tick());
  node.tick();
  EXPECT_EQ(node.actions.starts_wanted, 0U) << "it may have begun a moment ago";
  node.tick();
  EXPECT_EQ(node.actions.starts_wanted, 1U);
  Worker& second = node.start_worker();
  node.dispatch();
  EXPECT_EQ(first.assigned.size(), 1U);
  EXPECT_EQ(second.assigned.size(), 9U);
  node.end();
}

TEST(SchedulerDispatch, AnIdleOrSaturatedNodeWantsNoTicks) {
  FakeNode node(1);
  EXPECT_FALSE(node.scheduler->wants_tick());
  Function* f = measured(node, 10 * kMicrosecond);
  node.submit_many(f, 1000);
  node.answer_starts();
  EXPECT_FALSE(node.scheduler->wants_tick());
  node.run_all();
  EXPECT_FALSE(node.scheduler->wants_tick());
  node.end();
}

// ---- starts that fail --------------------------------------------------------------------------

TEST(SchedulerDispatch, AFailedStartIsTriedAgainAtTheNextTick) {
  FakeNode node(4);
  const TaskId task = node.submit(node.function());
  for (int i = 0; i < 3; ++i) {
    node.dispatch();
    ASSERT_EQ(node.actions.starts_wanted, 1U);
    node.actions.starts_wanted = 0;
    node.scheduler->start_failed();
    node.dispatch();
    EXPECT_EQ(node.actions.starts_wanted, 0U);
    EXPECT_TRUE(node.scheduler->wants_tick());
    node.scheduler->tick();
  }
  EXPECT_EQ(node.run_all(), std::vector{task});
  node.end();
}

TEST(SchedulerDispatch, StartsAreCapped) {
  for (const double cpus : {0.0, 0.01, 1.0}) {
    SchedulerOptions options = plain_options();
    options.max_workers = 5;
    FakeNode node(1000, options);
    node.submit_many(node.function("f", cpus), 1000);
    node.dispatch();
    EXPECT_EQ(node.actions.starts_wanted, 5U);
    node.answer_starts();
    EXPECT_EQ(node.scheduler->counts().workers, 5U);
    node.end();
  }
}

// ---- resources ---------------------------------------------------------------------------------

TEST(SchedulerResources, TenthsAddUpToAWhole) {
  FakeNode node(1);
  Function* f = measured(node, 100 * kMillisecond, 0.1);
  node.submit_many(f, 20);
  node.answer_starts();
  EXPECT_EQ(node.scheduler->counts().workers, 10U);
  EXPECT_EQ(node.free_cpus(), 0);
  node.end();
}

TEST(SchedulerResources, SeveralAtOnce) {
  FakeNode node(4);
  node.scheduler->set_resource("GPU", 2);
  Function* f = node.function(
      FunctionOptions{.name = "f", .resources = {{"GPU", 0.5}, {"CPU", 1}, {"none", 0}}});
  f->mean_run_ns = 100 * kMillisecond;
  node.submit_many(f, 8);
  node.answer_starts();
  EXPECT_EQ(node.scheduler->counts().workers, 4U);
  EXPECT_EQ(from_resource_units(node.scheduler->resources().free(1)), 0);
  EXPECT_EQ(node.free_cpus(), 0);
  node.end();
}

TEST(SchedulerResources, TheSameNameTwiceIsASum) {
  FakeNode node(4);
  Function* f =
      node.function(FunctionOptions{.name = "f", .resources = {{"CPU", 1.5}, {"CPU", 0.5}}});
  f->mean_run_ns = 100 * kMillisecond;
  node.submit_many(f, 8);
  node.answer_starts();
  EXPECT_EQ(node.scheduler->counts().workers, 2U);
  EXPECT_FALSE(
      node.scheduler
          ->register_function(FunctionOptions{.name = "g", .resources = {{"CPU", 3}, {"CPU", 3}}})
          .ok());
  node.end();
}

TEST(SchedulerResources, WhatCanNeverRunIsRefusedAtOnce) {
  FakeNode node(4);
  const std::vector<std::pair<std::string, double>> impossible{
      {"CPU", 4.0001},
      {"GPU", 1},
      {"CPU", -1},
      {"CPU", std::nan("")},
      {"CPU", std::numeric_limits<double>::infinity()},
      {"CPU", 1e300}};
  for (const auto& resource : impossible) {
    const Result<Function*> result = node.scheduler->register_function(
        FunctionOptions{.name = "greedy", .resources = {resource}});
    ASSERT_FALSE(result.ok()) << resource.first << " " << resource.second;
    EXPECT_EQ(result.error().kind, ErrorKind::kInvalid);
    EXPECT_NE(result.error().message.find("greedy"), std::string::npos);
    EXPECT_NE(result.error().message.find(resource.first), std::string::npos);
  }
  EXPECT_EQ(node.scheduler->resources().size(), 1U) << "a resource that nobody has is not made";
  EXPECT_TRUE(
      node.scheduler->register_function(FunctionOptions{.name = "f", .resources = {{"CPU", 4}}})
          .ok());
  node.end();
}

TEST(SchedulerResources, FunctionsOfTheSameNeedsShareAClass) {
  FakeNode node;
  node.scheduler->set_resource("A", 1);
  Function* f = node.function(FunctionOptions{.name = "f", .resources = {{"A", 1}, {"CPU", 1}}});
  Function* g = node.function(FunctionOptions{.name = "g", .resources = {{"CPU", 1}, {"A", 1}}});
  EXPECT_EQ(f->resources, g->resources);
  EXPECT_NE(f->resources, node.function()->resources);
  EXPECT_EQ(node.scheduler->function(g->id), g);
  EXPECT_EQ(node.scheduler->function(FunctionId{99}), nullptr);
  EXPECT_EQ(node.scheduler->function(FunctionId{}), nullptr);
  node.end();
}

// ---- between classes ---------------------------------------------------------------------------

TEST(SchedulerClasses, AStuckClassDoesNotHoldUpAnother) {
  // More classes than any word has bits; each but the last waits for what is in use.
  constexpr int kClasses = 100;
  FakeNode node(200);
  node.scheduler->set_resource("crane", kClasses);
  Worker& holder = node.start_worker();
  node.submit(node.function(FunctionOptions{.name = "all", .resources = {{"crane", kClasses}}}));
  node.dispatch();
  node.claim(holder);
  for (int i = 1; i <= kClasses; ++i) {
    node.submit(
        node.function(FunctionOptions{.name = "g", .resources = {{"crane", i}, {"CPU", 1}}}));
  }
  const TaskId possible = node.submit(node.function());
  Worker& worker = node.start_worker();
  node.dispatch();
  EXPECT_EQ(node.claim(worker).task, possible);
  node.end();
}

TEST(SchedulerClasses, TheOldestGoesFirst) {
  FakeNode node(1);
  node.scheduler->set_resource("A", 9);
  Function* f = measured(node, 100 * kMillisecond);
  Function* g = node.function(FunctionOptions{.name = "g", .resources = {{"CPU", 1}, {"A", 1}}});
  g->mean_run_ns = 100 * kMillisecond;
  std::vector<TaskId> tasks;
  for (int i = 0; i < 6; ++i) {
    tasks.push_back(node.submit(g));
    tasks.push_back(node.submit(f));
  }
  EXPECT_EQ(node.run_all(), tasks);
  node.end();
}

/// Runs tasks of `flood`, of which as many wait always, until `wanted` has begun; how many that
/// are.
std::size_t overtaken(FakeNode& node, Function* flood, TaskId wanted) {
  constexpr std::int64_t kTick = 2 * kMillisecond;
  const std::int64_t run_ns = flood->mean_run_ns;
  std::int64_t now = 0;
  for (std::size_t ended = 0; ended < 20'000;) {
    const std::vector<Worker*> workers = node.scheduler->workers();
    for (Worker* worker : workers) {
      const std::optional<Claim> claim = node.actions.claim(worker->process);
      if (!claim) continue;
      if (claim->task == wanted) return ended;
      ++ended;
      node.finish(*worker, *claim, "r", {}, run_ns);
      node.submit(flood);
    }
    for (now += run_ns; now >= kTick; now -= kTick) {
      if (node.scheduler->wants_tick()) node.tick();
    }
    node.answer_starts();
  }
  return 20'000;
}

TEST(SchedulerClasses, AFloodOfOneClassDoesNotStarveAnother) {
  for (const std::int64_t mean : {kMicrosecond, 100 * kMillisecond}) {
    FakeNode node(4);
    node.scheduler->set_resource("A", 1);
    Function* flood = measured(node, mean);
    Function* rare =
        node.function(FunctionOptions{.name = "g", .resources = {{"CPU", 1}, {"A", 1}}});
    node.submit_many(flood, 3000);
    node.answer_starts();
    const TaskId wanted = node.submit(rare);
    EXPECT_LT(overtaken(node, flood, wanted), 20'000U);
    node.end();
  }
}

TEST(SchedulerClasses, AFloodOfSmallTasksDoesNotStarveALargeOne) {
  FakeNode node(4);
  Function* flood = measured(node, kMicrosecond);
  Function* large = node.function("large", 4);
  node.submit_many(flood, 3000);
  node.answer_starts();
  const TaskId wanted = node.submit(large);
  EXPECT_LT(overtaken(node, flood, wanted), 20'000U);
  node.end();
}

TEST(SchedulerClasses, AnAwaitedTaskOfAnotherClassGoesBeforeAFlood) {
  FakeNode node(2);
  node.scheduler->set_resource("GPU", 1);
  Function* f = measured(node, 10 * kMicrosecond);
  Function* gpu =
      node.function(FunctionOptions{.name = "gpu", .resources = {{"GPU", 1}, {"CPU", 1}}});
  Worker& first = node.start_worker();
  Worker& second = node.start_worker();
  node.submit(gpu);
  node.dispatch();
  const Claim using_gpu = node.claim(second);
  const TaskId parent = node.submit(f);
  node.dispatch();
  const Claim parent_claim = node.claim(first);
  EXPECT_EQ(parent_claim.task, parent);
  const TaskId child = node.submit(gpu, {.parent = parent, .submitter = first.process});
  node.get(child, parent);
  node.submit_many(f, 3000);
  node.answer_starts();  // the lent slot goes to the flood: the child waits for the GPU
  node.finish(second, using_gpu);
  EXPECT_LT(overtaken(node, f, child), 1500U);
  node.end();
}

TEST(SchedulerClasses, NobodyMakesWayForEver) {
  // A large task waits for slots, one of which is held by a task that never ends by itself: it
  // polls for the result of a small task.
  FakeNode node(2);
  Function* f = measured(node, 100 * kMillisecond);
  Function* large = node.function("large", 2);
  node.start_workers(2);
  const TaskId poller = node.submit(f);
  node.dispatch();
  Worker& busy = *node.scheduler->find_task(poller)->worker;
  node.claim(busy);
  node.submit(large);
  node.dispatch();
  TaskId last;
  for (int i = 0; i < 100; ++i)
    last = node.submit(f);
  node.dispatch();
  for (int ticks = 0; ticks < 10'000; ++ticks) {
    if (node.scheduler->wants_tick()) node.tick();
    node.dispatch();
    for (Worker* worker : node.scheduler->workers()) {
      if (worker == &busy) continue;
      if (const auto claim = node.actions.claim(worker->process)) node.finish(*worker, *claim);
    }
    if (node.scheduler->find_task(last) == nullptr) break;
  }
  EXPECT_EQ(node.value(last), "result") << "a deadlock";
  node.end();
}

// ---- submissions that need no dispatch ---------------------------------------------------------

TEST(SchedulerPlaceable, ALoneTaskIsPlaceableUntilItWasPlaced) {
  FakeNode node(1);
  Function* f = measured(node, 0);
  EXPECT_FALSE(node.scheduler->has_placeable());
  node.submit(f);
  EXPECT_TRUE(node.scheduler->has_placeable()) << "a worker is to be started";
  node.answer_starts();
  EXPECT_FALSE(node.scheduler->has_placeable());
  node.submit(f);
  EXPECT_TRUE(node.scheduler->has_placeable()) << "the worker is about to be without work";
  node.dispatch();
  node.run_all();
  node.submit(f);
  EXPECT_TRUE(node.scheduler->has_placeable()) << "it sleeps";
  node.run_all();
  node.end();
}

TEST(SchedulerPlaceable, WhatStandsBehindOthersIsNot) {
  FakeNode node(1);
  Function* f = measured(node, 1000 * kMillisecond);
  Worker& worker = node.start_worker();
  node.submit_many(f, 2);  // one runs, and one waits for its end
  node.dispatch();
  node.submit(f);
  EXPECT_FALSE(node.scheduler->has_placeable());
  EXPECT_TRUE(node.scheduler->has_backlog());
  Function* urgent = node.function(FunctionOptions{
      .name = "urgent", .resources = {{"CPU", 1}}, .max_retries = 3, .priority = 1});
  node.submit(urgent);
  EXPECT_TRUE(node.scheduler->has_placeable()) << "it is the first one now";
  node.dispatch();
  const ObjectId argument = node.put();
  node.submit(f, {.dependencies = {argument}});
  EXPECT_TRUE(node.scheduler->has_placeable()) << "anything else is looked at";
  node.dispatch();
  node.submit(node.function("other", 0));
  EXPECT_TRUE(node.scheduler->has_placeable()) << "of another class";
  node.finish(worker, node.claim(worker));
  EXPECT_EQ(node.run_all().size(), 5U);
  node.end();
}

TEST(SchedulerPlaceable, TasksForWhichWorkersAreToStartAre) {
  FakeNode node(4);
  Function* f = node.function();
  for (int i = 0; i < 4; ++i) {
    node.submit(f);
    EXPECT_TRUE(node.scheduler->has_placeable()) << "worker " << i;
    node.dispatch();
  }
  EXPECT_EQ(node.actions.starts_wanted, 4U);
  node.submit(f);
  EXPECT_FALSE(node.scheduler->has_placeable()) << "no more than four fit";
  EXPECT_EQ(node.run_all().size(), 5U);
  node.end();
}

TEST(SchedulerPlaceable, BehindWorkersWithEnoughToDoNothingIs) {
  FakeNode node(2);
  Function* f = measured(node, 0);
  node.start_workers(2);
  node.submit_many(f, 1);
  node.dispatch();
  EXPECT_FALSE(node.scheduler->is_supplied(*f)) << "a worker is idle";
  node.submit_many(f, 400);
  node.dispatch();
  EXPECT_FALSE(node.scheduler->has_backlog());
  EXPECT_TRUE(node.scheduler->is_supplied(*f));
  node.submit(f);
  EXPECT_FALSE(node.scheduler->has_placeable());
  node.submit(f);
  EXPECT_FALSE(node.scheduler->has_placeable());
  node.dispatch();
  EXPECT_FALSE(node.scheduler->has_backlog()) << "there was room all the same";
  Worker& worker = *node.scheduler->workers().front();
  while (worker.assigned.size() > 2)
    node.finish(worker, node.claim(worker), "r", {}, 0);
  EXPECT_FALSE(node.scheduler->is_supplied(*f)) << "it soon needs more";
  node.submit(f);
  EXPECT_TRUE(node.scheduler->has_placeable());
  node.run_all();
  node.end();
}

TEST(SchedulerPlaceable, SomeShortTasksAtATimeGoToAWorkerAndKeepTheirOrder) {
  FakeNode node(2);
  Function* f = measured(node, kMicrosecond);
  const std::vector<Worker*> workers = node.start_workers(2);
  const std::vector<TaskId> tasks = node.submit_many(f, 40);
  node.dispatch();
  EXPECT_EQ(workers[0]->assigned.size() + workers[1]->assigned.size(), 40U);
  const auto most = std::max(workers[0]->assigned.size(), workers[1]->assigned.size());
  EXPECT_LE(most, 24U) << "by turns";
  for (Worker* worker : workers) {
    TaskId last;
    while (!worker->assigned.empty()) {
      const Claim claim = node.claim(*worker);
      EXPECT_GT(claim.task.value, last.value);
      last = claim.task;
      node.finish(*worker, claim);
    }
  }
  node.run_all();
  node.end();
}

}  // namespace
}  // namespace haz
