#include "sched/placement_group.h"

#include <gtest/gtest.h>

#include "unit/sched/fake_node.h"

namespace haz {
namespace {

/// A node with four CPUs and two GPUs, and its events in short words.
class PlacementGroupTest : public ::testing::Test {
 protected:
  using Bundles = std::vector<std::vector<std::pair<std::string, double>>>;

  PlacementGroupTest() { node.scheduler->set_resource("GPU", 2); }

  Status try_create(const GroupSpec& given, std::string_view value = "group") {
    GroupSpec spec = given;
    if (!spec.id) spec.id = node.new_id(node.driver);
    if (!spec.creator) spec.creator = node.driver;
    const std::vector<std::byte> bytes = bytes_of(value);
    last_ = spec.id;
    Status made = node.scheduler->create_group(spec, NewValue{.bytes = bytes});
    node.check();
    return made;
  }
  ObjectId create(const Bundles& bundles, std::string name = {}) {
    const Status made = try_create(GroupSpec{.name = std::move(name), .bundles = bundles});
    EXPECT_TRUE(made.ok()) << (made.ok() ? "" : made.error().message);
    return last_;
  }
  void remove(ObjectId group) {
    node.scheduler->remove_group(group);
    node.check();
    node.dispatch();
  }
  GroupState state(ObjectId group) { return node.scheduler->find_group(group)->state; }

  TaskId submit(ObjectId group, Function* function, std::int32_t bundle = kAnyBundle,
                bool captures = false, const TaskOptions& options = {}) {
    TaskSpec spec = node.spec_of(function, options);
    spec.group = group;
    spec.bundle = bundle;
    spec.captures = captures;
    const Status status = node.scheduler->submit(spec);
    EXPECT_TRUE(status.ok()) << (status.ok() ? "" : status.error().message);
    node.check();
    return spec.id;
  }
  Function* actor_class(double cpus_to_place = 1, std::int32_t max_restarts = 0) {
    ActorOptions options;
    options.max_restarts = max_restarts;
    FunctionOptions function{.name = "Counter", .resources = {{"CPU", cpus_to_place}}};
    function.max_retries = 0;
    function.actor = std::make_shared<ActorOptions>(std::move(options));
    return node.function(function);
  }
  ObjectId create_actor(ObjectId group, Function* cls, bool captures = false) {
    TaskSpec spec = node.spec_of(cls, {});
    spec.group = group;
    spec.captures = captures;
    Result<ObjectId> made = node.scheduler->create_actor(spec, ActorSpec{});
    EXPECT_TRUE(made.ok());
    node.check();
    return *made;
  }
  Worker& construct(ObjectId actor) {
    node.answer_starts();
    Worker& worker = *node.scheduler->find_actor(actor)->worker;
    node.finish(worker, node.claim(worker), "made");
    node.dispatch();
    return worker;
  }
  /// The worker on which a task was placed.
  Worker& worker_of(TaskId task) { return *node.scheduler->find_task(task)->worker; }
  Claim claim(TaskId task) { return node.claim(worker_of(task)); }

  FakeNode node;
  ObjectId last_;
};

TEST_F(PlacementGroupTest, IsReservedAtOnceWhereThereIsRoom) {
  const ObjectId group = create({{{"CPU", 2}}, {{"CPU", 1}, {"GPU", 1}}});
  EXPECT_EQ(node.value(group), "group");
  EXPECT_EQ(state(group), GroupState::kReserved);
  EXPECT_DOUBLE_EQ(node.free_cpus(), 1);
  remove(group);
  EXPECT_DOUBLE_EQ(node.free_cpus(), 4);
  EXPECT_EQ(node.error_kind(group), "group_removed");
  node.drop(group);
  EXPECT_EQ(node.scheduler->find_group(group), nullptr);
  node.end();
}

TEST_F(PlacementGroupTest, AHandleDroppedDoesNotRemoveIt) {
  const ObjectId group = create({{{"CPU", 3}}});
  node.drop(group);
  EXPECT_EQ(state(group), GroupState::kReserved);
  EXPECT_DOUBLE_EQ(node.free_cpus(), 1);
  remove(group);
  EXPECT_FALSE(node.exists(group));
  EXPECT_DOUBLE_EQ(node.free_cpus(), 4);
  node.end();
}

TEST_F(PlacementGroupTest, WaitsForRoomAndThenIsReady) {
  const TaskId task = node.submit(node.function("f", 3));
  node.answer_starts();
  const Claim claimed = claim(task);
  Worker& worker = worker_of(task);
  const ObjectId group = create({{{"CPU", 2}}});
  Request& request = node.get({group});
  EXPECT_EQ(state(group), GroupState::kPending);
  node.dispatch();
  EXPECT_FALSE(request.completed);
  node.finish(worker, claimed);
  node.dispatch();
  EXPECT_TRUE(request.completed);
  EXPECT_DOUBLE_EQ(node.free_cpus(), 2);
  remove(group);
  node.end();
}

TEST_F(PlacementGroupTest, ReservesAllOrNothing) {
  const ObjectId first = create({{{"CPU", 3}}});
  const ObjectId second = create({{{"CPU", 1}}, {{"CPU", 2}}});
  EXPECT_DOUBLE_EQ(node.free_cpus(), 1);
  const ObjectId third = create({{{"GPU", 1}}});
  EXPECT_EQ(state(third), GroupState::kReserved) << "it needs nothing of what the second waits for";
  remove(first);
  EXPECT_EQ(state(second), GroupState::kReserved);
  remove(second);
  remove(third);
  node.end();
}

TEST_F(PlacementGroupTest, WhatCanNeverBeReservedIsAnError) {
  EXPECT_EQ(try_create({.bundles = {{{"CPU", 5}}}}).error().kind, ErrorKind::kInvalid);
  const Status sum = try_create({.bundles = {{{"CPU", 3}}, {{"CPU", 2}}}});
  ASSERT_FALSE(sum.ok());
  EXPECT_NE(sum.error().message.find("5 CPU of 4"), std::string::npos) << sum.error().message;
  EXPECT_FALSE(try_create({.bundles = {{{"whale", 1}}}}).ok());
  EXPECT_FALSE(try_create({.bundles = {}}).ok());
  // Parts of GPUs must lie on one each.
  EXPECT_FALSE(try_create({.bundles = {{{"GPU", 0.6}}, {{"GPU", 0.6}}, {{"GPU", 0.6}}}}).ok());
  const ObjectId parts = create({{{"GPU", 0.4}}, {{"GPU", 0.4}}, {{"GPU", 0.6}}, {{"GPU", 0.6}}});
  EXPECT_EQ(state(parts), GroupState::kReserved);
  remove(parts);
  node.end();
}

TEST_F(PlacementGroupTest, AValueThatIsNotTakenIsFreed) {
  GroupSpec spec{.bundles = {{{"CPU", 9}}}};
  spec.id = node.new_id(node.driver);
  spec.creator = node.driver;
  const std::uint64_t offset = node.actions.allocate();
  EXPECT_FALSE(node.scheduler->create_group(spec, NewValue{.offset = offset, .size = 9}).ok());
  EXPECT_EQ(node.actions.live_values(), 0U);
  node.end();
}

TEST_F(PlacementGroupTest, ANameIsTakenUntilItsGroupIsRemoved) {
  const ObjectId group = create({{{"CPU", 1}}}, "mine");
  const Status again = try_create({.name = "mine", .bundles = {{{"CPU", 1}}}});
  ASSERT_FALSE(again.ok());
  EXPECT_EQ(again.error().kind, ErrorKind::kExists);
  EXPECT_TRUE(try_create({.name = "mine", .name_space = "other", .bundles = {{{"CPU", 1}}}}).ok());
  remove(last_);
  remove(group);
  remove(create({{{"CPU", 1}}}, "mine"));
  node.end();
}

TEST_F(PlacementGroupTest, TasksRunWithWhatTheirBundleHas) {
  const ObjectId group = create({{{"CPU", 1}}, {{"CPU", 1}}});
  Function* f = node.function("f", 1);
  const TaskId first = submit(group, f, 0);
  const TaskId second = submit(group, f, 0);
  const TaskId other = submit(group, f, 1);
  node.answer_starts();
  EXPECT_DOUBLE_EQ(node.free_cpus(), 2) << "they take nothing of the node";
  EXPECT_NE(&worker_of(first), &worker_of(other));
  EXPECT_EQ(&worker_of(second), &worker_of(first)) << "it runs when the first has ended";
  EXPECT_EQ(node.run_all().size(), 3U);
  remove(group);
  node.end();
}

TEST_F(PlacementGroupTest, WithoutABundleTheyRunInAny) {
  const ObjectId group = create({{{"CPU", 1}}, {{"CPU", 2}}});
  const std::vector<TaskId> tasks{submit(group, node.function("f", 1)),
                                  submit(group, node.function("f", 1)),
                                  submit(group, node.function("f", 1))};
  node.answer_starts();
  std::set<Worker*> workers;
  for (const TaskId task : tasks)
    workers.insert(&worker_of(task));
  EXPECT_EQ(workers.size(), 3U);
  EXPECT_EQ(node.run_all().size(), 3U);
  remove(group);
  node.end();
}

TEST_F(PlacementGroupTest, TasksWaitForTheirGroup) {
  const ObjectId first = create({{{"CPU", 4}}});
  const ObjectId second = create({{{"CPU", 2}}});
  const TaskId task = submit(second, node.function("f", 2));
  EXPECT_TRUE(node.run_all().empty());
  remove(first);
  EXPECT_EQ(node.run_all(), std::vector{task});
  remove(second);
  node.end();
}

TEST_F(PlacementGroupTest, WhatNoBundleCanHoldIsAnError) {
  const ObjectId group = create({{{"CPU", 2}}, {{"CPU", 1}}});
  const TaskId task = submit(group, node.function("f", 2), 1);
  EXPECT_EQ(node.error_kind(task), "infeasible");
  EXPECT_EQ(node.error_kind(submit(group, node.function("f", 3))), "infeasible");
  EXPECT_EQ(node.error_kind(submit(group, node.function("f", 1), 2)), "infeasible");
  const ObjectId actor = create_actor(group, actor_class(3));
  EXPECT_EQ(node.error_field(actor, "reason"), "constructor");
  remove(group);
  node.end();
}

TEST_F(PlacementGroupTest, RemovalEndsWhatWaitsAndWhatRuns) {
  const ObjectId group = create({{{"CPU", 1}}});
  Function* f = node.function("f", 1);
  const TaskId running = submit(group, f);
  const TaskId queued = submit(group, f);
  const TaskId blocker = node.submit(node.function("g", 1));
  const TaskId waiting = submit(group, f, 0, false, {.dependencies = {blocker.return_id(0)}});
  const TaskId dependent =
      node.submit(node.function("h", 1), {.dependencies = {queued.return_id(0)}});
  node.answer_starts();
  (void)claim(running);
  Worker& worker = worker_of(running);
  remove(group);
  for (const TaskId task : {queued, waiting, dependent})
    EXPECT_EQ(node.error_kind(task), "group_removed");
  EXPECT_EQ(node.actions.killed, std::vector{worker.process});
  EXPECT_EQ(node.state(running), ObjectState::kPending);
  EXPECT_DOUBLE_EQ(node.free_cpus(), 2) << "the process that uses the bundle still lives";
  node.die(worker);
  node.dispatch();
  EXPECT_EQ(node.error_kind(running), "group_removed") << "it is not tried again";
  EXPECT_DOUBLE_EQ(node.free_cpus(), 3);
  EXPECT_EQ(node.error_kind(submit(group, f)), "group_removed");
  node.end();
}

TEST_F(PlacementGroupTest, AResultThatCameBeforeTheKillCounts) {
  const ObjectId group = create({{{"CPU", 1}}});
  const TaskId task = submit(group, node.function("f", 1));
  node.answer_starts();
  const Claim claimed = claim(task);
  Worker& worker = worker_of(task);
  remove(group);
  node.drop(group);
  node.finish(worker, claimed, "done");
  EXPECT_EQ(node.value(task), "done");
  EXPECT_DOUBLE_EQ(node.free_cpus(), 4);
  EXPECT_EQ(node.scheduler->find_group(group), nullptr);
  node.end();
}

TEST_F(PlacementGroupTest, ARetryAfterTheRemovalIsAnError) {
  const ObjectId group = create({{{"CPU", 1}}});
  const TaskId task = submit(group, node.function("f", 1));
  node.answer_starts();
  const Claim claimed = claim(task);
  Worker& worker = worker_of(task);
  remove(group);
  node.raise(worker, claimed, "again", Outcome::kRetryable);
  EXPECT_EQ(node.error_kind(task), "group_removed");
  node.end();
}

TEST_F(PlacementGroupTest, AGroupIsRemovedWhileItIsPending) {
  const ObjectId first = create({{{"CPU", 4}}});
  const ObjectId second = create({{{"CPU", 1}}});
  const TaskId task = submit(second, node.function("f", 1));
  Request& request = node.get({second});
  const TaskId dependent = node.submit(node.function("g", 1), {.dependencies = {second}});
  remove(second);
  EXPECT_TRUE(request.completed);
  EXPECT_EQ(node.error_kind(second), "group_removed");
  EXPECT_EQ(node.error_kind(task), "group_removed");
  EXPECT_EQ(node.error_kind(dependent), "group_removed");
  remove(first);
  node.end();
}

TEST_F(PlacementGroupTest, ActorsHoldWhatTheyRunWithOfTheirBundle) {
  const ObjectId group = create({{{"CPU", 2}}});
  const ObjectId actor = create_actor(group, actor_class(2));
  node.answer_starts();
  const TaskId task = submit(group, node.function("f", 1));
  node.dispatch();
  EXPECT_EQ(node.scheduler->find_task(task)->worker, nullptr) << "the constructor has all of it";
  construct(actor);
  EXPECT_EQ(node.run_all(), std::vector{task}) << "an actor that runs holds no CPU by default";
  node.drop(actor);
  remove(group);
  node.end();
}

TEST_F(PlacementGroupTest, RemovalKillsItsActors) {
  const ObjectId group = create({{{"CPU", 1}}});
  const ObjectId actor = create_actor(group, actor_class(1, -1));
  Worker& worker = construct(actor);
  const ObjectId waiting = create_actor(group, actor_class());
  remove(group);
  EXPECT_EQ(node.actions.killed.front(), worker.process);
  EXPECT_EQ(node.scheduler->find_actor(actor)->state, ActorState::kDead) << "it is not restarted";
  EXPECT_EQ(node.error_field(waiting, "reason"), "group_removed");
  node.die(worker);
  EXPECT_DOUBLE_EQ(node.free_cpus(), 4);
  node.end();
}

TEST_F(PlacementGroupTest, AnActorIsRestartedInItsBundle) {
  const ObjectId group = create({{{"CPU", 1}}, {{"CPU", 1}}});
  const ObjectId actor = create_actor(group, actor_class(1, 1));
  Worker& worker = construct(actor);
  node.die(worker);
  node.dispatch();
  construct(actor);
  const Actor* again = node.scheduler->find_actor(actor);
  ASSERT_NE(again->grant.bundle, nullptr);
  EXPECT_EQ(again->grant.bundle->group->id, group);
  EXPECT_DOUBLE_EQ(node.free_cpus(), 2);
  remove(group);
  node.end();
}

TEST_F(PlacementGroupTest, ChildrenAreCapturedUnlessTheySayOtherwise) {
  const ObjectId group = create({{{"CPU", 2}}});
  Function* f = node.function("f", 1);
  const TaskId parent = submit(group, f, 0, true);
  const TaskId other = submit(group, f);
  node.answer_starts();
  (void)claim(parent);
  (void)claim(other);
  const auto group_of = [this](TaskId task) {
    return node.scheduler->group_of(*node.scheduler->find_task(task));
  };
  const TaskId child = node.submit(f, {.parent = parent});
  EXPECT_EQ(group_of(child).first, node.scheduler->find_group(group));
  EXPECT_TRUE(group_of(child).second) << "and so are its own";
  EXPECT_EQ(group_of(submit(kNoGroup, f, kAnyBundle, false, {.parent = parent})).first, nullptr);
  EXPECT_EQ(group_of(node.submit(f, {.parent = other})).first, nullptr);
  remove(group);
  node.end();
}

TEST_F(PlacementGroupTest, ABlockedTaskLendsItsSlotInsideTheGroup) {
  const ObjectId group = create({{{"CPU", 1}}});
  Function* f = node.function("f", 1);
  const TaskId parent = submit(group, f, 0, true);
  node.answer_starts();
  const Claim claimed = claim(parent);
  Worker& worker = worker_of(parent);
  const TaskId child = node.submit(f, {.parent = parent});
  Request& request = node.get(child, parent);
  EXPECT_DOUBLE_EQ(node.free_cpus(), 3) << "the slot is the bundle's, not the node's";
  EXPECT_EQ(node.run_all(), std::vector{child});
  EXPECT_TRUE(request.completed);
  node.withdraw(request);
  node.finish(worker, claimed);
  remove(group);
  node.end();
}

TEST_F(PlacementGroupTest, ItsGpusAreItsOwn) {
  const ObjectId group = create({{{"GPU", 1}}});
  Function* f = node.function(FunctionOptions{.name = "f", .resources = {{"GPU", 1}}});
  const TaskId inside = submit(group, f);
  const TaskId outside = node.submit(f);
  node.answer_starts();
  const auto gpu_of = [this](TaskId task) {
    return Scheduler::grant_of(*node.scheduler->find_task(task)).gpus.ids.at(0);
  };
  EXPECT_NE(gpu_of(inside), gpu_of(outside));
  EXPECT_EQ(gpu_of(inside), node.scheduler->find_group(group)->bundles[0].grant.gpus.ids.at(0));
  node.run_all();
  remove(group);
  node.end();
}

TEST_F(PlacementGroupTest, TasksThatCameLaterMakeWayForAGroup) {
  Function* f = node.function("f", 1);
  node.submit_many(f, 8);
  node.answer_starts();
  const ObjectId group = create({{{"CPU", 4}}});
  std::size_t ran = 0;
  while (state(group) == GroupState::kPending && ran < 100) {
    node.submit(f);  // there is always one more
    node.dispatch();
    for (Worker* worker : std::vector<Worker*>(node.scheduler->workers())) {
      if (node.actions.unclaimed(worker->process) == 0) continue;
      node.finish(*worker, node.claim(*worker));
      ++ran;
      node.dispatch();
    }
  }
  EXPECT_EQ(state(group), GroupState::kReserved);
  remove(group);
  node.run_all();
  node.end();
}

TEST_F(PlacementGroupTest, TasksGoOnWhileAGroupWaitsForLong) {
  const ObjectId holder = create({{{"CPU", 3}}});
  const ObjectId group = create({{{"CPU", 4}}});
  const TaskId task = node.submit(node.function("f", 1));
  node.answer_starts();
  EXPECT_TRUE(node.scheduler->wants_tick());
  for (int i = 0; i < 100 && node.scheduler->find_task(task)->worker == nullptr; ++i) {
    node.tick();
    node.answer_starts();
  }
  EXPECT_EQ(node.run_all(), std::vector{task});
  remove(group);
  remove(holder);
  node.end();
}

TEST_F(PlacementGroupTest, EndsWithTheActorThatMadeIt) {
  const ObjectId actor = create_actor({}, actor_class());
  Worker& worker = construct(actor);
  const Status made =
      try_create({.creator = worker.process, .owner = actor, .bundles = {{{"CPU", 2}}}});
  ASSERT_TRUE(made.ok());
  const ObjectId group = last_;
  EXPECT_DOUBLE_EQ(node.free_cpus(), 2);
  node.scheduler->kill_actor(actor, true);
  node.dispatch();
  EXPECT_EQ(state(group), GroupState::kRemoved);
  EXPECT_DOUBLE_EQ(node.free_cpus(), 4);
  node.die(worker);
  EXPECT_EQ(node.scheduler->find_group(group), nullptr);
  node.end();
}

TEST_F(PlacementGroupTest, TheNodesEndLeavesNothing) {
  const ObjectId group = create({{{"CPU", 2}}});
  submit(group, node.function("f", 1));
  create_actor(group, actor_class());
  create({{{"CPU", 4}}});
  node.answer_starts();
  node.scheduler->fail_all("the end");
  node.check();
}

TEST_F(PlacementGroupTest, TasksThatNoEndOfATaskLetsRunAreTold) {
  const ObjectId group = create({{{"CPU", 3}}});
  Function* small = node.function("small", 1);
  Function* large = node.function("large", 2);
  const TaskId running = node.submit(small);
  node.submit(small);
  node.answer_starts();
  // The first small task will make room for the second.
  EXPECT_TRUE(node.scheduler->tell_waiting("5 s").empty());
  EXPECT_TRUE(node.scheduler->tell_waiting("5 s").empty());
  node.submit(large);
  node.submit(large);
  node.dispatch();
  EXPECT_TRUE(node.scheduler->tell_waiting("5 s").empty());
  const std::vector<std::string> told = node.scheduler->tell_waiting("5 s");
  ASSERT_EQ(told.size(), 1U);
  EXPECT_EQ(told[0],
            "task large, as 1 more, has waited for 5 s: it needs 2 CPU (0 of 4 are free, actors "
            "hold 0, placement groups 3)");
  EXPECT_TRUE(node.scheduler->tell_waiting("5 s").empty());
  EXPECT_NE(node.scheduler->find_task(running), nullptr);
  remove(group);
  EXPECT_TRUE(node.scheduler->tell_waiting("5 s").empty());
  node.end();
}

TEST_F(PlacementGroupTest, WhatWaitsForLongIsToldOnce) {
  const ObjectId holder = create({{{"CPU", 4}}});
  const ObjectId group = create({{{"CPU", 2}}}, "mine");
  const ObjectId actor = create_actor({}, actor_class());
  node.dispatch();
  EXPECT_TRUE(node.scheduler->tell_waiting("5 s").empty());
  std::vector<std::string> lines = node.scheduler->tell_waiting("5 s");
  std::sort(lines.begin(), lines.end());
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(lines[0],
            "actor Counter has waited for 5 s: it needs 1 CPU (0 of 4 are free, actors hold 0, "
            "placement groups 4)");
  EXPECT_EQ(lines[1].find("placement group 'mine' has waited for 5 s: it needs 2 CPU"), 0U);
  EXPECT_TRUE(node.scheduler->tell_waiting("5 s").empty());
  remove(holder);
  remove(group);
  node.drop(actor);
  node.end();
}

}  // namespace
}  // namespace haz
