// Several drivers on one node: what belongs to one ends with it, and nothing else does.

#include "sched/actor.h"
#include "unit/sched/fake_node.h"

namespace haz {
namespace {

class SchedulerJobs : public testing::Test {
 protected:
  ProcessId join() {
    const ProcessId process = node.scheduler->new_process();
    node.scheduler->start_job(process);
    return process;
  }
  void leave(ProcessId process) {
    node.scheduler->end_job(process);
    node.check();
    node.dispatch();
    die_of_kills();
  }
  /// Workers that were killed end.
  void die_of_kills() {
    for (const ProcessId killed : std::exchange(node.actions.killed, {})) {
      const std::vector<Worker*> workers = node.scheduler->workers();
      for (Worker* worker : workers) {
        if (worker->process == killed) node.die(*worker);
      }
    }
    node.dispatch();
  }
  Function* function_of(ProcessId job, const std::string& name = "f") {
    return node.function(FunctionOptions{.name = name, .resources = {{"CPU", 1}}, .job = job});
  }
  Function* class_of(ProcessId job, bool detached = false) {
    ActorOptions options;
    options.is_detached = detached;
    return node.function(FunctionOptions{.name = "Counter.__init__",
                                         .job = job,
                                         .actor = std::make_shared<const ActorOptions>(options)});
  }
  Function* method_of(ProcessId job) {
    return node.function(FunctionOptions{.name = "Counter.add", .job = job});
  }
  TaskId submit(Function* function, ProcessId submitter, TaskOptions options = {}) {
    options.submitter = submitter;
    const TaskId id = node.submit(function, options);
    node.answer_starts();
    return id;
  }
  ObjectId create(Function* constructor, ProcessId submitter, const std::string& name = "") {
    TaskSpec spec = node.spec_of(constructor, {.submitter = submitter});
    Result<ObjectId> made = node.scheduler->create_actor(spec, ActorSpec{.name = name});
    EXPECT_TRUE(made.ok());
    node.answer_starts();
    Worker& worker = *node.scheduler->find_actor(*made)->worker;
    node.finish(worker, node.claim(worker), "None");
    node.dispatch();
    return *made;
  }
  TaskId call(Function* method, ObjectId actor, ProcessId submitter) {
    TaskSpec spec = node.spec_of(method, {.submitter = submitter});
    spec.actor = actor;
    EXPECT_TRUE(node.scheduler->submit(spec).ok());
    node.dispatch();
    return spec.id;
  }
  Worker& worker_of(TaskId id) { return *node.scheduler->find_task(id)->worker; }
  Worker& worker_of(ObjectId actor) { return *node.scheduler->find_actor(actor)->worker; }

  FakeNode node{2};
};

TEST_F(SchedulerJobs, WorkersServeOneJob) {
  const ProcessId a = join();
  const ProcessId b = join();
  Function* of_a = function_of(a);
  Function* of_b = function_of(b);
  const TaskId first = submit(of_a, a);
  Worker& worker = worker_of(first);
  node.finish(worker, node.claim(worker));
  const TaskId second = submit(of_b, b);
  EXPECT_NE(&worker_of(second), &worker) << "an idle worker of another job";
  EXPECT_EQ(worker.job, a);
  leave(a);
  EXPECT_FALSE(node.scheduler->has_workers_of(a));
  EXPECT_TRUE(node.scheduler->has_workers_of(b));
  leave(b);
  node.end();
}

TEST_F(SchedulerJobs, ADriversEndTakesItsTasksInEveryState) {
  const ProcessId a = join();
  const ProcessId b = join();
  Function* f = function_of(a);
  const TaskId running = submit(f, a);
  (void)node.claim(worker_of(running));
  const TaskId assigned = submit(f, a);
  const TaskId waiting = submit(f, a, {.dependencies = {running.return_id(0)}});
  const TaskId queued = submit(f, a);
  for (const TaskId id : {running, assigned, waiting, queued})
    ASSERT_TRUE(node.scheduler->add_reference(b, id.return_id(0)));
  leave(a);
  for (const TaskId id : {running, assigned, waiting, queued}) {
    EXPECT_EQ(node.error_kind(id), "owner_died") << id.value;
    node.drop(id, b);
  }
  EXPECT_EQ(node.scheduler->counts().objects, 0U);
  EXPECT_TRUE(node.scheduler->workers().empty());
  leave(b);
  node.end();
}

TEST_F(SchedulerJobs, ACallThatHasBegunIsNotTriedAgainWithoutItsDriver) {
  const ProcessId a = join();
  const ProcessId b = join();
  ActorOptions options;
  options.max_restarts = -1;
  const ObjectId actor = create(
      node.function(FunctionOptions{
          .name = "C.__init__", .job = b, .actor = std::make_shared<const ActorOptions>(options)}),
      b, "name");
  ASSERT_TRUE(node.scheduler->add_reference(a, actor));
  Function* method = node.function(FunctionOptions{.name = "C.f", .max_retries = -1, .job = a});
  const TaskId id = call(method, actor, a);
  ASSERT_TRUE(node.scheduler->add_reference(b, id.return_id(0)));
  (void)node.claim(worker_of(actor));
  leave(a);
  EXPECT_EQ(node.state(id), ObjectState::kPending);
  node.die(worker_of(actor));
  EXPECT_EQ(node.error_kind(id), "owner_died");
  leave(b);
  node.end();
}

TEST_F(SchedulerJobs, AnotherDriversTasksGoOn) {
  const ProcessId a = join();
  const ProcessId b = join();
  const TaskId of_a = submit(function_of(a), a);
  const TaskId of_b = submit(function_of(b), b);
  (void)node.claim(worker_of(of_a));
  Worker& worker = worker_of(of_b);
  const Claim claim = node.claim(worker);
  leave(a);
  node.finish(worker, claim, "mine");
  EXPECT_EQ(node.value(of_b), "mine");
  leave(b);
  node.end();
}

TEST_F(SchedulerJobs, WhatAnotherDriverRefersToStays) {
  const ProcessId a = join();
  const ProcessId b = join();
  const ObjectId value = node.put("value", {}, a);
  ASSERT_TRUE(node.scheduler->add_reference(b, value));
  leave(a);
  EXPECT_EQ(node.value(value), "value");
  leave(b);
  EXPECT_FALSE(node.exists(value));
  node.end();
}

TEST_F(SchedulerJobs, ActorsEndWithTheirDriverAndTellItsCallers) {
  const ProcessId a = join();
  const ProcessId b = join();
  const ObjectId actor = create(class_of(a), a, "counter");
  ASSERT_TRUE(node.scheduler->add_reference(b, actor));
  const TaskId running = call(method_of(b), actor, b);
  (void)node.claim(worker_of(actor));
  const TaskId waiting = call(method_of(b), actor, b);
  leave(a);
  for (const TaskId id : {running, waiting}) {
    EXPECT_EQ(node.error_kind(id), "actor_died");
    EXPECT_EQ(node.error_field(id.return_id(0), "reason"), "driver");
  }
  EXPECT_EQ(node.scheduler->find_actor("", "counter"), nullptr);
  leave(b);
  EXPECT_EQ(node.scheduler->find_actor(actor), nullptr);
  node.end();
}

TEST_F(SchedulerJobs, ADetachedActorOutlivesItsDriver) {
  const ProcessId a = join();
  const ProcessId b = join();
  Function* constructor = class_of(a, true);
  const FunctionId number = constructor->id;
  const ObjectId actor = create(constructor, a, "counter");
  Function* add = method_of(a);
  const TaskId running = call(add, actor, a);
  Worker& worker = worker_of(actor);
  const Claim begun = node.claim(worker);
  const TaskId waiting = call(add, actor, a);
  leave(a);
  ASSERT_NE(node.scheduler->find_actor("", "counter"), nullptr);
  EXPECT_EQ(node.scheduler->find_task(waiting), nullptr) << "a call that had not begun";
  EXPECT_NE(node.scheduler->find_task(running), nullptr) << "its process serves others, too";
  node.finish(worker, begun);
  node.dispatch();
  EXPECT_EQ(node.scheduler->counts().tasks, 0U);
  EXPECT_NE(node.scheduler->function(number), nullptr);
  ASSERT_TRUE(node.scheduler->add_reference(b, actor));
  const TaskId later = call(method_of(b), actor, b);
  node.finish(worker, node.claim(worker), "served");
  EXPECT_EQ(node.value(later), "served");
  node.scheduler->kill_actor(actor, true);
  die_of_kills();
  leave(b);
  node.dispatch();
  EXPECT_EQ(node.scheduler->function(number), nullptr) << "nobody can use it any more";
  node.end();
}

TEST_F(SchedulerJobs, PlacementGroupsGoWithTheirDriver) {
  const ProcessId a = join();
  const ProcessId b = join();
  GroupSpec spec{.id = node.new_id(a), .creator = a, .job = a, .bundles = {{{"CPU", 2}}}};
  ASSERT_TRUE(node.scheduler->create_group(spec, NewValue{.bytes = bytes_of("group")}).ok());
  ASSERT_EQ(node.free_cpus(), 0.0);
  ASSERT_TRUE(node.scheduler->add_reference(b, spec.id));
  const TaskId waits = node.submit(function_of(b), {.submitter = b});
  leave(a);
  EXPECT_EQ(node.state(spec.id), ObjectState::kError) << "for whoever has a handle of it";
  node.answer_starts();
  Worker& worker = worker_of(waits);
  node.finish(worker, node.claim(worker));
  EXPECT_EQ(node.state(waits), ObjectState::kReady);
  leave(b);
  EXPECT_EQ(node.free_cpus(), 2.0);
  node.end();
}

TEST_F(SchedulerJobs, ADetachedPlacementGroupStaysUntilItIsRemoved) {
  const ProcessId a = join();
  GroupSpec spec{.id = node.new_id(a),
                 .creator = a,
                 .job = a,
                 .is_detached = true,
                 .name = "ours",
                 .bundles = {{{"CPU", 1}}}};
  ASSERT_TRUE(node.scheduler->create_group(spec, NewValue{.bytes = bytes_of("group")}).ok());
  leave(a);
  EXPECT_EQ(node.state(spec.id), ObjectState::kReady);
  EXPECT_EQ(node.free_cpus(), 1.0);
  for (int i = 0; i < 3; ++i) {
    const ProcessId b = join();
    ASSERT_TRUE(node.scheduler->add_reference(b, spec.id));
    Function* f = function_of(b);
    const auto submit_there = [&] {
      TaskSpec one = node.spec_of(f, {.submitter = b});
      one.group = spec.id;
      EXPECT_TRUE(node.scheduler->submit(one).ok());
      node.dispatch();
      node.answer_starts();
      return one.id;
    };
    const TaskId task = submit_there();
    Worker& worker = worker_of(task);
    node.finish(worker, node.claim(worker));
    EXPECT_EQ(node.state(task), ObjectState::kReady);
    (void)node.claim(worker_of(submit_there()));
    leave(b);
    EXPECT_EQ(node.state(spec.id), ObjectState::kReady);
    EXPECT_LE(node.scheduler->find_group(spec.id)->classes.size(), 2U) << "of those that left";
  }
  node.scheduler->remove_group(spec.id);
  node.dispatch();
  EXPECT_EQ(node.free_cpus(), 2.0);
  node.end();
}

TEST_F(SchedulerJobs, FunctionsGoWithTheirDriver) {
  const ProcessId a = join();
  Function* f = function_of(a);
  f->block_offset = node.actions.allocate();
  const FunctionId number = f->id;
  const TaskId task = submit(f, a);
  (void)node.claim(worker_of(task));
  leave(a);
  EXPECT_EQ(node.scheduler->function(number), nullptr);
  EXPECT_EQ(node.actions.live_values(), 0U) << "its code was freed";
  const Result<Function*> late = node.scheduler->register_function(FunctionOptions{.job = a});
  EXPECT_FALSE(late.ok()) << "a worker that is about to die of it";
  node.end();
}

/// CPUs that tasks of the job run on.
std::size_t running(const FakeNode& node, ProcessId job) {
  std::size_t count = 0;
  for (const Worker* worker : node.scheduler->workers())
    count += worker->job == job && !worker->assigned.empty() ? 1 : 0;
  return count;
}

TEST_F(SchedulerJobs, ALateDriverGetsItsShare) {
  const ProcessId a = join();
  const ProcessId b = join();
  Function* of_a = function_of(a);
  Function* of_b = function_of(b);
  node.submit_many(of_a, 200, {.submitter = a});
  node.answer_starts();
  EXPECT_EQ(running(node, a), 2U);
  const std::vector<TaskId> late = node.submit_many(of_b, 200, {.submitter = b});
  node.dispatch();
  std::size_t turns = 0;
  std::size_t done_of_b = 0;
  for (std::size_t step = 0; step < 200; ++step) {
    node.tick();
    node.answer_starts();
    const std::vector<Worker*> workers = node.scheduler->workers();
    for (Worker* worker : workers) {
      const std::optional<Claim> claim = node.actions.claim(worker->process);
      if (!claim) continue;
      done_of_b += worker->job == b ? 1 : 0;
      node.finish(*worker, *claim);
      ++turns;
    }
    node.dispatch();
    EXPECT_LE(running(node, a) + running(node, b), 2U);
  }
  EXPECT_GT(done_of_b * 5, turns * 2) << "about a half";
  EXPECT_LT(done_of_b * 5, turns * 3) << "about a half";
  leave(a);
  leave(b);
  node.end();
}

TEST_F(SchedulerJobs, JobsTakeTurnsWhereOnlyOneTaskFits) {
  const ProcessId a = join();
  const ProcessId b = join();
  const std::vector<std::pair<std::string, double>> all{{"CPU", 2}};
  Function* of_a = node.function(FunctionOptions{.name = "a", .resources = all, .job = a});
  Function* of_b = node.function(FunctionOptions{.name = "b", .resources = all, .job = b});
  node.submit_many(of_a, 60, {.submitter = a});
  node.answer_starts();
  node.submit_many(of_b, 60, {.submitter = b});
  std::size_t done_of_b = 0;
  for (int step = 0; step < 40; ++step) {
    node.tick();
    node.answer_starts();
    const std::vector<Worker*> workers = node.scheduler->workers();
    for (Worker* worker : workers) {
      const std::optional<Claim> claim = node.actions.claim(worker->process);
      if (!claim) continue;
      done_of_b += worker->job == b ? 1 : 0;
      node.finish(*worker, *claim);
      node.dispatch();
    }
  }
  EXPECT_GT(done_of_b, 10U);
  EXPECT_LT(done_of_b, 30U);
  leave(a);
  leave(b);
  node.end();
}

TEST_F(SchedulerJobs, PrioritiesCountInsideOfAJob) {
  const ProcessId a = join();
  const ProcessId b = join();
  Function* greedy = node.function(
      FunctionOptions{.name = "greedy", .resources = {{"CPU", 2}}, .priority = 100, .job = a});
  Function* modest = function_of(b);
  node.submit_many(greedy, 50, {.submitter = a});
  node.answer_starts();
  const TaskId waits = node.submit(modest, {.submitter = b});
  node.dispatch();
  for (int step = 0; step < 10 && node.state(waits) == ObjectState::kPending; ++step) {
    node.tick();
    node.answer_starts();
    const std::vector<Worker*> workers = node.scheduler->workers();
    for (Worker* worker : workers) {
      if (const std::optional<Claim> claim = node.actions.claim(worker->process)) {
        node.finish(*worker, *claim);
        node.dispatch();
      }
    }
  }
  EXPECT_EQ(node.state(waits), ObjectState::kReady);
  leave(a);
  leave(b);
  node.end();
}

TEST_F(SchedulerJobs, ThousandsOfDriversLeaveNothing) {
  for (int i = 0; i < 2000; ++i) {
    const ProcessId driver = join();
    const TaskId task = submit(function_of(driver), driver);
    if (i % 2 == 0) {
      Worker& worker = worker_of(task);
      node.finish(worker, node.claim(worker));
    }
    leave(driver);
    ASSERT_EQ(node.scheduler->counts().objects, 0U);
    ASSERT_TRUE(node.scheduler->workers().empty());
  }
  node.end();
}

}  // namespace
}  // namespace haz
