#include "sched/actor.h"

#include <gtest/gtest.h>

#include <array>

#include "unit/sched/fake_node.h"

namespace haz {
namespace {

/// A node with one kind of actor, and its events in short words.
class ActorTest : public ::testing::Test {
 protected:
  Function* actor_class(ActorOptions options = {}, double cpus_to_place = 1) {
    FunctionOptions function{.name = "Counter"};
    if (cpus_to_place != 0) function.resources = {{"CPU", cpus_to_place}};
    function.max_retries = 0;
    function.actor = std::make_shared<ActorOptions>(std::move(options));
    return node.function(function);
  }
  Function* method(std::int32_t max_retries = 0, std::string group = {},
                   std::int32_t priority = 0) {
    FunctionOptions options{.name = "Counter.add"};
    options.max_retries = max_retries;
    options.group = std::move(group);
    options.priority = priority;
    return node.function(options);
  }

  ObjectId create(Function* cls, const TaskOptions& options = {}, const ActorSpec& actor = {}) {
    Result<ObjectId> made = node.scheduler->create_actor(node.spec_of(cls, options), actor);
    EXPECT_TRUE(made.ok()) << (made.ok() ? "" : made.error().message);
    node.check();
    return made.ok() ? *made : ObjectId{};
  }
  Worker& worker_of(ObjectId actor) { return *node.scheduler->find_actor(actor)->worker; }
  ActorState state(ObjectId actor) { return node.scheduler->find_actor(actor)->state; }
  /// Places the actor and lets its constructor return.
  Worker& construct(ObjectId actor) {
    if (node.scheduler->next_restart_ns() != 0) {
      for (int i = 0; i < 5; ++i)
        node.tick();  // longer than any pause
    }
    node.answer_starts();
    Worker& worker = worker_of(actor);
    node.finish(worker, node.claim(worker), "made");
    node.dispatch();
    return worker;
  }
  ObjectId alive(Function* cls, const TaskOptions& options = {}) {
    const ObjectId actor = create(cls, options);
    construct(actor);
    return actor;
  }
  TaskId call(ObjectId actor, Function* function, const TaskOptions& options = {}) {
    TaskSpec spec = node.spec_of(function, options);
    spec.actor = actor;
    const Status status = node.scheduler->submit(spec);
    EXPECT_TRUE(status.ok()) << (status.ok() ? "" : status.error().message);
    node.check();
    node.dispatch();
    return spec.id;
  }
  TaskId claim_and_finish(Worker& worker) {
    const Claim claim = node.claim(worker);
    node.finish(worker, claim);
    node.dispatch();
    return claim.task;
  }
  std::vector<TaskId> finish_all(Worker& worker) {
    std::vector<TaskId> order;
    while (node.actions.unclaimed(worker.process) != 0)
      order.push_back(claim_and_finish(worker));
    return order;
  }

  FakeNode node;
};

TEST_F(ActorTest, CallsWaitForTheConstructorAndRunInOrder) {
  const ObjectId actor = create(actor_class());
  Function* add = method();
  const std::vector<TaskId> calls{call(actor, add), call(actor, add), call(actor, add)};
  EXPECT_EQ(node.state(actor), ObjectState::kPending);
  Worker& worker = construct(actor);
  EXPECT_EQ(node.state(actor), ObjectState::kReady);
  EXPECT_EQ(finish_all(worker), calls);
  node.drop(actor);
  EXPECT_EQ(node.actions.stopped, std::vector{worker.process});
  node.end();
}

TEST_F(ActorTest, APlacedActorHoldsWhatItRunsWith) {
  ActorOptions options;
  options.resources = {{"CPU", 0.5}};
  const ObjectId actor = create(actor_class(options, 2));
  node.answer_starts();
  EXPECT_DOUBLE_EQ(node.free_cpus(), 2);
  construct(actor);
  EXPECT_DOUBLE_EQ(node.free_cpus(), 3.5);
  Worker& worker = worker_of(actor);
  node.drop(actor);
  EXPECT_DOUBLE_EQ(node.free_cpus(), 3.5) << "its process has not ended";
  node.die(worker, {.pid = 7, .exit_code = 0});
  EXPECT_DOUBLE_EQ(node.free_cpus(), 4);
  node.end();
}

TEST_F(ActorTest, ItsProcessRunsNothingElse) {
  const ObjectId actor = alive(actor_class());
  Worker& worker = worker_of(actor);
  node.submit_many(node.function(), 8);
  node.answer_starts();
  EXPECT_EQ(node.actions.unclaimed(worker.process), 0U);
  EXPECT_EQ(node.run_all().size(), 8U);
  node.drop(actor);
  node.end();
}

TEST_F(ActorTest, ActorsDoNotCountAgainstTheCapOfWorkers) {
  SchedulerOptions options = plain_options();
  options.max_workers = 2;
  FakeNode& small = node;
  small.scheduler = std::make_unique<Scheduler>(small.actions, options);
  small.scheduler->set_resource("CPU", 4);
  small.driver = small.scheduler->new_process();
  small.scheduler->track_process(small.driver);
  Function* cls = actor_class({}, 0);
  std::vector<ObjectId> actors;
  for (int i = 0; i < 5; ++i)
    actors.push_back(alive(cls));
  node.submit_many(node.function(), 4);
  EXPECT_EQ(node.run_all().size(), 4U);
  for (const ObjectId actor : actors)
    node.drop(actor);
  node.end();
}

TEST_F(ActorTest, NoProcessToBeHadIsAnError) {
  SchedulerOptions options = plain_options();
  options.max_processes = 1;
  node.scheduler = std::make_unique<Scheduler>(node.actions, options);
  node.scheduler->set_resource("CPU", 4);
  node.driver = node.scheduler->new_process();
  node.scheduler->track_process(node.driver);
  Function* cls = actor_class();
  const ObjectId first = alive(cls);
  const ObjectId second = create(cls);
  const TaskId waiting = call(second, method());
  node.dispatch();
  EXPECT_EQ(node.error_field(second, "reason"), "never_placed");
  EXPECT_EQ(node.error_kind(waiting), "actor_died");
  node.drop(first);
  node.drop(second);
  node.end();
}

TEST_F(ActorTest, AHandleDroppedAtOnceEndsTheActorAfterItsCalls) {
  const ObjectId actor = create(actor_class());
  const TaskId only = call(actor, method());
  node.drop(actor);
  Worker& worker = construct(actor);
  EXPECT_TRUE(node.actions.stopped.empty());
  EXPECT_EQ(finish_all(worker), std::vector{only});
  EXPECT_FALSE(node.exists(actor));
  EXPECT_EQ(node.actions.stopped, std::vector{worker.process});
  node.end();
}

TEST_F(ActorTest, AnActorNobodyCallsIsMadeAndEnds) {
  const ObjectId actor = create(actor_class());
  node.drop(actor);
  node.answer_starts();
  Worker& worker = worker_of(actor);
  node.finish(worker, node.claim(worker), "made");
  EXPECT_FALSE(node.exists(actor));
  EXPECT_EQ(node.actions.stopped, std::vector{worker.process});
  node.die(worker, {});
  node.end();
}

TEST_F(ActorTest, ACallWaitsForItsArgumentsAndHoldsUpItsCallersLaterOnes) {
  const ObjectId actor = alive(actor_class());
  Function* slow = node.function("slow");
  const TaskId argument = node.submit(slow);
  Function* add = method();
  const TaskId first = call(actor, add, {.dependencies = {argument.return_id(0)}});
  const TaskId second = call(actor, add);
  Worker& other = node.start_worker();  // a caller of its own
  const TaskId from_other = call(actor, add, {.submitter = other.process});
  Worker& worker = worker_of(actor);
  EXPECT_EQ(finish_all(worker), std::vector{from_other});
  node.dispatch();
  for (Worker* one : std::vector<Worker*>(node.scheduler->workers())) {
    if (one != &worker && node.actions.unclaimed(one->process) != 0) claim_and_finish(*one);
  }
  EXPECT_EQ(finish_all(worker), (std::vector{first, second}));
  node.drop(actor);
  node.end();
}

TEST_F(ActorTest, OutOfOrderCallsOvertake) {
  ActorOptions options;
  options.allow_out_of_order = true;
  const ObjectId actor = alive(actor_class(options));
  const TaskId argument = node.submit(node.function("slow"));
  Function* add = method();
  const TaskId first = call(actor, add, {.dependencies = {argument.return_id(0)}});
  const TaskId second = call(actor, add);
  Worker& worker = worker_of(actor);
  EXPECT_EQ(finish_all(worker), std::vector{second});
  node.answer_starts();
  for (Worker* one : std::vector<Worker*>(node.scheduler->workers())) {
    if (one != &worker && node.actions.unclaimed(one->process) != 0) claim_and_finish(*one);
  }
  EXPECT_EQ(finish_all(worker), std::vector{first});
  node.drop(actor);
  node.end();
}

TEST_F(ActorTest, AFailedOrCancelledCallLetsTheNextOnesGo) {
  const ObjectId actor = alive(actor_class());
  Worker& worker = worker_of(actor);
  const TaskId argument = node.submit(node.function("slow"));
  Function* add = method();
  const TaskId first = call(actor, add, {.dependencies = {argument.return_id(0)}});
  const TaskId second = call(actor, add, {.dependencies = {argument.return_id(0)}});
  const TaskId third = call(actor, add);
  node.cancel(first);
  EXPECT_EQ(node.error_kind(first), "cancelled");
  EXPECT_EQ(node.actions.unclaimed(worker.process), 0U);
  node.cancel(argument);
  EXPECT_EQ(node.error_kind(second), "cancelled");
  node.dispatch();
  EXPECT_EQ(finish_all(worker), std::vector{third});
  node.drop(actor);
  node.end();
}

TEST_F(ActorTest, ARunningCallOfMethodsThatAreNotCoroutinesGoesOn) {
  const ObjectId actor = alive(actor_class());
  Worker& worker = worker_of(actor);
  Function* add = method();
  const TaskId running = call(actor, add);
  const TaskId queued = call(actor, add);
  const Claim claim = node.claim(worker);
  node.cancel(queued);
  EXPECT_EQ(node.error_kind(queued), "cancelled");
  node.cancel(running);
  EXPECT_TRUE(node.actions.interrupted.empty());
  EXPECT_TRUE(node.actions.killed.empty());
  node.finish(worker, claim);
  EXPECT_EQ(node.error_kind(running), "(no error)");
  node.drop(actor);
  node.end();
}

TEST_F(ActorTest, ARunningCallThatWasCancelledForNothingEndsAsItDoes) {
  ActorOptions options;
  options.max_restarts = -1;
  const ObjectId actor = alive(actor_class(options));
  Function* add = method(3);
  const TaskId raises = call(actor, add);
  const TaskId dies = call(actor, add);
  const TaskId queued = call(actor, add);
  Claim claim = node.claim(worker_of(actor));
  node.cancel(raises);
  node.raise(worker_of(actor), claim, "its own", Outcome::kRetryable);
  EXPECT_EQ(node.value(raises), "its own") << "and it is not tried again";
  node.dispatch();
  claim = node.claim(worker_of(actor));
  EXPECT_EQ(claim.task, dies);
  node.cancel(dies);
  node.cancel(queued);
  node.die(worker_of(actor));
  EXPECT_EQ(node.error_kind(dies), "actor_unavailable") << "and it is not tried again";
  EXPECT_EQ(node.error_kind(queued), "cancelled") << "it had not begun";
  node.drop(actor);
  node.end();
}

TEST_F(ActorTest, QueuedCallsAreCancelledRunningCoroutinesInterrupted) {
  ActorOptions options;
  options.is_async = true;
  const ObjectId actor = alive(actor_class(options));
  Worker& worker = worker_of(actor);
  Function* add = method();
  const TaskId running = call(actor, add);
  const TaskId queued = call(actor, add);
  const TaskId last = call(actor, add);
  const Claim claim = node.claim(worker);
  node.cancel(queued);
  EXPECT_EQ(node.error_kind(queued), "cancelled");
  node.cancel(running, true);
  EXPECT_TRUE(node.actions.killed.empty()) << "force would end the actor";
  ASSERT_EQ(node.actions.interrupted.size(), 1U);
  EXPECT_EQ(node.actions.interrupted[0].task, running);
  node.raise(worker, claim);
  EXPECT_EQ(node.error_kind(running), "cancelled");
  node.dispatch();
  EXPECT_EQ(finish_all(worker), std::vector{last});
  node.drop(actor);
  node.end();
}

TEST_F(ActorTest, AConstructorThatRaisesIsTheCauseOfTheDeath) {
  const ObjectId actor = create(actor_class());
  const TaskId early = call(actor, method());
  node.answer_starts();
  Worker& worker = worker_of(actor);
  node.raise(worker, node.claim(worker), "what it raised");
  EXPECT_EQ(node.error_field(actor, "reason"), "constructor");
  EXPECT_EQ(node.error_field(early.return_id(0), "cause"), "what it raised");
  EXPECT_EQ(node.actions.stopped, std::vector{worker.process});
  const TaskId late = call(actor, method());
  EXPECT_EQ(node.error_field(late.return_id(0), "reason"), "constructor");
  node.die(worker, {});
  EXPECT_EQ(state(actor), ActorState::kDead);
  node.drop(actor);
  EXPECT_EQ(node.scheduler->find_actor(actor), nullptr);
  node.end();
}

TEST_F(ActorTest, AConstructorsArgumentThatFailedIsTheCause) {
  const TaskId argument = node.submit(node.function("slow"));
  const ObjectId actor = create(actor_class(), {.dependencies = {argument.return_id(0)}});
  const TaskId early = call(actor, method());
  node.cancel(argument);
  EXPECT_EQ(node.error_field(early.return_id(0), "reason"), "constructor");
  node.drop(actor);
  node.end();
}

TEST_F(ActorTest, AConstructorsArgumentFailsWhileOnlyACallHoldsTheActor) {
  const TaskId argument = node.submit(node.function("slow"));
  const ObjectId actor = create(actor_class(), {.dependencies = {argument.return_id(0)}});
  const TaskId early = call(actor, method());
  node.drop(actor);
  node.cancel(argument);
  EXPECT_EQ(node.error_field(early.return_id(0), "reason"), "constructor");
  EXPECT_EQ(node.scheduler->find_actor(actor), nullptr);
  node.end();
}

TEST_F(ActorTest, DeathEndsAllCallsWithoutRestarts) {
  const ObjectId actor = alive(actor_class());
  Worker& worker = worker_of(actor);
  Function* add = method();
  std::vector<TaskId> calls;
  for (int i = 0; i < 100; ++i)
    calls.push_back(call(actor, add));
  (void)node.claim(worker);
  node.die(worker, {.pid = 7, .signal = 9});
  for (const TaskId id : calls) {
    EXPECT_EQ(node.error_kind(id), "actor_died");
    EXPECT_EQ(node.error_field(id.return_id(0), "reason"), "signal");
  }
  EXPECT_EQ(node.error_kind(call(actor, add)), "actor_died");
  node.drop(actor);
  node.end();
}

TEST_F(ActorTest, ARestartDeliversUnfinishedCallsInOrderBeforeNewOnes) {
  ActorOptions options;
  options.max_restarts = 1;
  const ObjectId actor = alive(actor_class(options));
  Worker& worker = worker_of(actor);
  Function* add = method(1);
  const TaskId started = call(actor, add);
  const TaskId queued = call(actor, add);
  (void)node.claim(worker);
  node.die(worker);
  EXPECT_EQ(state(actor), ActorState::kRestarting);
  const TaskId later = call(actor, add);
  Worker& next = construct(actor);
  EXPECT_EQ(finish_all(next), (std::vector{started, queued, later}));
  // Its one restart is used up.
  node.die(next);
  EXPECT_EQ(node.error_kind(call(actor, add)), "actor_died");
  node.drop(actor);
  node.end();
}

TEST_F(ActorTest, OnlyCallsThatStartedConsumeATry) {
  ActorOptions options;
  options.max_restarts = -1;
  const ObjectId actor = alive(actor_class(options));
  Function* add = method(0);
  const TaskId started = call(actor, add);
  const TaskId queued = call(actor, add);
  Worker* worker = &worker_of(actor);
  (void)node.claim(*worker);
  node.die(*worker);
  EXPECT_EQ(node.error_kind(started), "actor_unavailable");
  for (int i = 0; i < 5; ++i)
    node.die(construct(actor));
  EXPECT_EQ(node.state(queued), ObjectState::kPending);
  EXPECT_EQ(finish_all(construct(actor)), std::vector{queued});
  node.drop(actor);
  node.end();
}

TEST_F(ActorTest, ACallThatOverranItsLimitIsWhyTheOthersDie) {
  const ObjectId actor = alive(actor_class({}), {});
  Worker& worker = worker_of(actor);
  Function* slow = node.function(
      FunctionOptions{.name = "Counter.slow", .max_retries = 0, .timeout_ns = 1'500'000'000});
  const TaskId overran = call(actor, slow);
  const TaskId queued = call(actor, method());
  const Claim claim = node.claim(worker);
  node.scheduler->timed_out(overran, claim.attempt, false);
  node.scheduler->timed_out(overran, claim.attempt, true);
  EXPECT_EQ(node.actions.killed, std::vector{worker.process});
  node.die(worker, {.pid = 7, .signal = 9});
  EXPECT_EQ(node.error_kind(overran), "timeout");
  EXPECT_EQ(node.error_kind(queued), "actor_died");
  const std::string why = "Counter.slow overran its limit of 1.5 s, and heeded no interrupt";
  EXPECT_EQ(node.error_field(queued.return_id(0), "why_killed"), why);
  EXPECT_EQ(node.error_field(call(actor, method()).return_id(0), "why_killed"), why);
  node.drop(actor);
  node.end();
}

TEST_F(ActorTest, AnotherSignalIsNotExplainedByTheKill) {
  const ObjectId actor = alive(actor_class());
  Worker& worker = worker_of(actor);
  Function* slow = node.function(
      FunctionOptions{.name = "Counter.slow", .max_retries = 0, .timeout_ns = 1'500'000'000});
  const TaskId overran = call(actor, slow);
  const TaskId queued = call(actor, method());
  const Claim claim = node.claim(worker);
  node.scheduler->timed_out(overran, claim.attempt, false);
  node.scheduler->timed_out(overran, claim.attempt, true);
  node.die(worker, {.pid = 7, .signal = 11});
  EXPECT_EQ(node.error_field(queued.return_id(0), "why_killed"), "");
  node.drop(actor);
  node.end();
}

TEST_F(ActorTest, ProcessAfterProcessThatDiesIsStartedAgainLaterAndLater) {
  ActorOptions options;
  options.max_restarts = -1;
  const ObjectId actor = create(actor_class(options), {}, {.name = "phoenix"});
  std::int64_t now = 10 * kSecondNs;
  std::vector<std::int64_t> pauses;
  std::vector<std::string> notices;
  for (int deaths = 0; deaths < 12; ++deaths) {
    node.scheduler->story().set_time(now);
    node.answer_starts();
    Worker& worker = worker_of(actor);
    (void)node.claim(worker);
    node.die(worker, {.pid = 7, .exit_code = 3});
    node.dispatch();
    for (std::string& notice : node.scheduler->take_notices())
      notices.push_back(std::move(notice));
    const std::int64_t next = node.scheduler->next_restart_ns();
    pauses.push_back(next == 0 ? 0 : (next - now) / kMillisecondNs);
    if (next == 0) continue;
    node.scheduler->story().set_time(next - 1);
    node.scheduler->restart_due();
    node.dispatch();
    EXPECT_EQ(node.scheduler->find_actor(actor)->worker, nullptr) << "before its time";
    now = next;
    node.scheduler->story().set_time(now);
    node.scheduler->restart_due();
    node.dispatch();
  }
  EXPECT_EQ(pauses, (std::vector<std::int64_t>{0, 20, 40, 80, 160, 320, 640, 1280, 2560, 4000, 4000,
                                               4000}));
  ASSERT_EQ(notices.size(), 1U);
  EXPECT_NE(notices[0].find("Counter 'phoenix' has died 5 times in a row"), std::string::npos);
  EXPECT_NE(notices[0].find("process 7 exited with code 3"), std::string::npos);
  // A process that has run a call was worth it: the next one comes at once.
  Worker& worker = construct(actor);
  call(actor, method());
  finish_all(worker);
  node.die(worker);
  EXPECT_EQ(node.scheduler->next_restart_ns(), 0);
  // So was one that has lived for long.
  Worker& idle = construct(actor);
  node.scheduler->story().set_time(node.scheduler->story().time() + 6 * kSecondNs);
  node.die(idle);
  EXPECT_EQ(node.scheduler->next_restart_ns(), 0);
  node.drop(actor);
  node.end();
}

TEST_F(ActorTest, AnActorEndsInThePauseBeforeARestart) {
  ActorOptions options;
  options.max_restarts = -1;
  for (const bool killed : {false, true}) {
    const ObjectId actor = create(actor_class(options));
    const TaskId waiting = call(actor, method());
    for (int deaths = 0; deaths < 2; ++deaths) {
      node.answer_starts();
      Worker& worker = worker_of(actor);
      (void)node.claim(worker);
      node.die(worker);
      node.dispatch();
    }
    EXPECT_NE(node.scheduler->next_restart_ns(), 0);
    if (killed) {
      node.scheduler->kill_actor(actor, true);
    } else {
      node.cancel(waiting);
      node.drop(actor);
    }
    EXPECT_EQ(node.error_kind(waiting), killed ? "actor_died" : "cancelled");
    node.tick();
    EXPECT_EQ(node.scheduler->next_restart_ns(), 0);
    if (killed) node.drop(actor);
    EXPECT_EQ(node.scheduler->find_actor(actor), nullptr);
  }
  node.end();
}

TEST_F(ActorTest, AStreamOfAMethodIsStoppedBetweenItems) {
  const ObjectId actor = alive(actor_class());
  Worker& worker = worker_of(actor);
  Function* count =
      node.function(FunctionOptions{.name = "Counter.count", .max_retries = 0, .items_ahead = 1});
  TaskSpec spec = node.spec_of(count, {});
  spec.actor = actor;
  ASSERT_TRUE(node.scheduler->submit(spec).ok());
  node.dispatch();
  const Claim claim = node.claim(worker);
  node.yield(worker, claim, 0, "a");
  node.scheduler->cancel(stream_of(spec.id), false, true);
  node.scheduler->cancel(stream_of(spec.id), false, true);
  EXPECT_TRUE(node.actions.interrupted.empty()) << "its state would be half changed";
  EXPECT_EQ(node.actions.closed, std::vector{claim}) << "once";
  node.finish(worker, claim, "1");
  EXPECT_EQ(node.take_text(spec.id), "a");
  EXPECT_EQ(node.error_kind(node.take(spec.id)), "cancelled");
  EXPECT_EQ(node.take_text(spec.id), "(end)");
  node.drop(stream_of(spec.id));
  node.drop(actor);
  node.end();
}

TEST_F(ActorTest, ARestartKeepsTheArgumentsOfTheConstructor) {
  ActorOptions options;
  options.max_restarts = 1;
  const auto [argument, offset] = node.put_big();
  const ObjectId actor = alive(actor_class(options), {.dependencies = {argument}});
  node.drop(argument);
  EXPECT_TRUE(node.exists(argument));
  node.die(worker_of(actor));
  construct(actor);
  node.drop(actor);
  EXPECT_FALSE(node.exists(argument));
  node.end();
}

TEST_F(ActorTest, WithoutRestartsTheArgumentsGoWhenItIsMade) {
  const auto [argument, offset] = node.put_big();
  const ObjectId actor = create(actor_class(), {.dependencies = {argument}});
  node.drop(argument);
  EXPECT_TRUE(node.exists(argument));
  construct(actor);
  EXPECT_FALSE(node.exists(argument));
  node.drop(actor);
  node.end();
}

TEST_F(ActorTest, DeathInTheConstructorCountsAsARestart) {
  ActorOptions options;
  options.max_restarts = 1;
  const ObjectId actor = create(actor_class(options));
  const TaskId waiting = call(actor, method());
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(node.state(actor), ObjectState::kPending);
    node.answer_starts();
    Worker& worker = worker_of(actor);
    (void)node.claim(worker);
    node.die(worker);
  }
  EXPECT_EQ(node.error_field(actor, "reason"), "signal");
  EXPECT_EQ(node.error_kind(waiting), "actor_died");
  node.drop(actor);
  node.end();
}

TEST_F(ActorTest, AWorkerThatDiesBeforeItsClaimIsNoLoss) {
  const ObjectId actor = create(actor_class());
  node.answer_starts();
  node.die(worker_of(actor));
  EXPECT_EQ(node.state(actor), ObjectState::kPending) << "its constructor had not begun";
  construct(actor);
  EXPECT_EQ(state(actor), ActorState::kAlive);
  node.drop(actor);
  node.end();
}

TEST_F(ActorTest, AKillBeforeTheConstructorBegan) {
  ActorOptions options;
  options.max_restarts = 1;
  const ObjectId actor = create(actor_class(options));
  node.answer_starts();
  Worker& worker = worker_of(actor);
  node.scheduler->kill_actor(actor, false);
  node.die(worker);
  construct(actor);
  EXPECT_EQ(state(actor), ActorState::kAlive);
  node.drop(actor);
  node.end();
}

TEST_F(ActorTest, TheCallThatDiesWithItsProcessWasTheLastToHoldIt) {
  ActorOptions options;
  options.max_restarts = -1;
  const ObjectId actor = alive(actor_class(options));
  Worker& worker = worker_of(actor);
  const TaskId only = call(actor, method(0));
  (void)node.claim(worker);
  node.drop(actor);
  node.die(worker);
  EXPECT_EQ(node.error_kind(only), "actor_unavailable");
  EXPECT_EQ(node.scheduler->find_actor(actor), nullptr);
  node.dispatch();
  EXPECT_EQ(node.actions.starts_wanted, 0U);
  node.end();
}

TEST_F(ActorTest, AKillEndsEverythingAtOnce) {
  const ObjectId actor = alive(actor_class());
  Worker& worker = worker_of(actor);
  Function* add = method();
  const TaskId running = call(actor, add);
  const TaskId queued = call(actor, add);
  const Claim claim = node.claim(worker);
  node.scheduler->kill_actor(actor, true);
  node.check();
  EXPECT_EQ(node.error_field(running.return_id(0), "reason"), "killed");
  EXPECT_EQ(node.error_field(queued.return_id(0), "reason"), "killed");
  EXPECT_EQ(node.actions.killed, std::vector{worker.process});
  node.finish(worker, claim, "too late");
  EXPECT_EQ(node.error_kind(running), "actor_died");
  node.die(worker);
  node.drop(actor);
  node.end();
}

TEST_F(ActorTest, AKillWithRestartStartsItAgain) {
  ActorOptions options;
  options.max_restarts = 1;
  const ObjectId actor = alive(actor_class(options));
  Worker& worker = worker_of(actor);
  node.scheduler->kill_actor(actor, false);
  node.scheduler->kill_actor(actor, false);
  EXPECT_EQ(node.actions.killed.size(), 1U) << "one kill, though asked for twice";
  const TaskId meanwhile = call(actor, method());
  EXPECT_EQ(node.actions.unclaimed(worker.process), 0U) << "given to a process about to die";
  node.die(worker);
  EXPECT_EQ(finish_all(construct(actor)), std::vector{meanwhile});
  node.drop(actor);
  node.end();
}

TEST_F(ActorTest, AKillReachesOneThatWasNeverPlaced) {
  const TaskId argument = node.submit(node.function("slow"));
  const ObjectId waiting = create(actor_class(), {.dependencies = {argument.return_id(0)}});
  const ObjectId queued = create(actor_class());
  for (const ObjectId actor : {waiting, queued}) {
    const TaskId early = call(actor, method());
    node.scheduler->kill_actor(actor, true);
    node.check();
    EXPECT_EQ(node.error_field(early.return_id(0), "reason"), "killed");
    EXPECT_EQ(node.state(actor), ObjectState::kError);
    node.drop(actor);
  }
  node.end();
}

TEST_F(ActorTest, AnActorThatExitsIsNotStartedAgain) {
  ActorOptions options;
  options.max_restarts = -1;
  const ObjectId actor = alive(actor_class(options));
  Worker& worker = worker_of(actor);
  const TaskId last = call(actor, method(-1));
  const TaskId queued = call(actor, method(-1));
  (void)node.claim(worker);
  node.scheduler->actor_exited(worker);
  node.check();
  EXPECT_EQ(node.error_field(last.return_id(0), "reason"), "exited");
  EXPECT_EQ(node.error_field(queued.return_id(0), "reason"), "exited");
  node.die(worker, {.pid = 7});
  node.dispatch();
  EXPECT_EQ(node.actions.starts_wanted, 0U);
  node.drop(actor);
  node.end();
}

TEST_F(ActorTest, NamesAreUniqueWithinANamespaceAndEndWithTheActor) {
  Function* cls = actor_class();
  const ActorSpec named{.name = "one", .name_space = "a"};
  const ObjectId actor = create(cls, {}, named);
  const Result<ObjectId> again = node.scheduler->create_actor(node.spec_of(cls, {}), named);
  ASSERT_FALSE(again.ok());
  EXPECT_EQ(again.error().kind, ErrorKind::kExists);
  const ObjectId elsewhere = create(cls, {}, {.name = "one", .name_space = "b"});
  EXPECT_NE(actor, elsewhere);
  ActorSpec taken = named;
  taken.get_if_exists = true;
  EXPECT_EQ(create(cls, {}, taken), actor);
  node.drop(actor);
  construct(actor);
  EXPECT_EQ(node.scheduler->find_actor("a", "one")->id, actor) << "one handle is left";
  node.drop(actor);
  EXPECT_EQ(node.scheduler->find_actor("a", "one"), nullptr);
  node.drop(elsewhere);
  node.end();
}

TEST_F(ActorTest, ALimitOfPendingCallsRefusesMore) {
  ActorOptions options;
  options.max_pending_calls = 2;
  const ObjectId actor = alive(actor_class(options));
  Function* add = method();
  call(actor, add);
  call(actor, add);
  TaskSpec spec = node.spec_of(add, {});
  spec.actor = actor;
  const Status refused = node.scheduler->submit(spec);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().kind, ErrorKind::kOverloaded);
  claim_and_finish(worker_of(actor));
  call(actor, add);
  finish_all(worker_of(actor));
  node.drop(actor);
  node.end();
}

TEST_F(ActorTest, GroupsDoNotWaitForEachOther) {
  ActorOptions options;
  options.is_sequential = false;
  options.groups = {{"io", 2}};
  options.default_group_limit = 1;
  const ObjectId actor = alive(actor_class(options));
  Worker& worker = worker_of(actor);
  Function* io = method(0, "io");
  Function* compute = method();
  const TaskId c1 = call(actor, compute);
  const TaskId c2 = call(actor, compute);
  const TaskId i1 = call(actor, io);
  const TaskId i2 = call(actor, io);
  const TaskId i3 = call(actor, io);
  const Claim first = node.claim(worker);
  EXPECT_EQ(first.task, c1);
  const Claim second = node.claim(worker);
  EXPECT_EQ(second.task, i1);
  const Claim third = node.claim(worker);
  EXPECT_EQ(third.task, i2);
  EXPECT_EQ(node.actions.unclaimed(worker.process), 0U);
  node.finish(worker, third);
  node.dispatch();
  EXPECT_EQ(node.claim(worker).task, i3);
  node.finish(worker, first);
  node.dispatch();
  EXPECT_EQ(node.claim(worker).task, c2);
  node.die(worker);
  node.drop(actor);
  node.end();
}

TEST_F(ActorTest, CallsOfGreaterPriorityGoFirst) {
  const ObjectId actor = create(actor_class());
  const TaskId low = call(actor, method(0, {}, -1));
  const TaskId first = call(actor, method());
  const TaskId second = call(actor, method());
  const TaskId high = call(actor, method(0, {}, 5));
  EXPECT_EQ(finish_all(construct(actor)), (std::vector{high, first, second, low}));
  node.drop(actor);
  node.end();
}

TEST_F(ActorTest, CallsOfGreaterPriorityGoBeforeThoseThatHaveNotBegun) {
  const ObjectId actor = alive(actor_class());
  Worker& worker = worker_of(actor);
  (void)call(actor, method(0, {}, -2));
  const Claim running = node.claim(worker);
  const TaskId low = call(actor, method(0, {}, -1));
  const TaskId first = call(actor, method());
  const TaskId second = call(actor, method());
  const TaskId high = call(actor, method(0, {}, 5));
  node.finish(worker, running);
  EXPECT_EQ(finish_all(worker), (std::vector{high, first, second, low}));
  node.drop(actor);
  node.end();
}

TEST_F(ActorTest, CallsBehindAFullRingComeWhenThoseInItHaveBegun) {
  node.actions.ring_capacity = 2;
  ActorOptions options;
  options.is_sequential = false;
  const ObjectId actor = alive(actor_class(options));
  Worker& worker = worker_of(actor);
  const TaskId first = call(actor, method());
  const TaskId second = call(actor, method());
  const TaskId third = call(actor, method());
  EXPECT_EQ(node.actions.unclaimed(worker.process), 2U);
  EXPECT_TRUE(node.scheduler->wants_tick());
  node.scheduler->tick();
  node.dispatch();
  EXPECT_EQ(node.actions.unclaimed(worker.process), 2U);
  const std::array claims{node.claim(worker), node.claim(worker)};
  EXPECT_EQ(claims[0].task, first);
  EXPECT_EQ(claims[1].task, second);
  node.scheduler->tick();
  node.dispatch();
  EXPECT_FALSE(node.scheduler->wants_tick());
  const Claim last = node.claim(worker);
  EXPECT_EQ(last.task, third);
  node.finish(worker, last);
  for (const Claim& claim : claims)
    node.finish(worker, claim);
  node.dispatch();
  node.drop(actor);
  node.end();
}

TEST_F(ActorTest, ACallBehindARingOfCancelledOnesComesWhenTheProcessHasPassedThem) {
  node.actions.ring_capacity = 2;
  const ObjectId actor = alive(actor_class());
  Worker& worker = worker_of(actor);
  (void)call(actor, method());
  const Claim running = node.claim(worker);
  const std::array cancelled{call(actor, method()), call(actor, method())};
  const TaskId next = call(actor, method());
  for (const TaskId task : cancelled)
    node.cancel(task);
  node.dispatch();
  node.finish(worker, running);
  node.dispatch();
  EXPECT_EQ(node.actions.unclaimed(worker.process), 0U) << "the ring has room already";
  EXPECT_TRUE(node.scheduler->wants_tick()) << "nobody would look at the call again";
  EXPECT_EQ(node.actions.claim(worker.process), std::nullopt);
  node.tick();
  EXPECT_EQ(node.claim(worker).task, next);
  EXPECT_FALSE(node.scheduler->wants_tick());
  node.drop(actor);
  node.end();
}

TEST_F(ActorTest, TasksOfGreaterPriorityGoFirst) {
  FunctionOptions options{.name = "urgent", .resources = {{"CPU", 1}}};
  options.priority = 1;
  Function* urgent = node.function(options);
  Function* plain = node.function();
  const TaskId first = node.submit(plain);
  const TaskId second = node.submit(urgent);
  const TaskId third = node.submit(plain);
  node.scheduler->set_resource("CPU", 1);
  EXPECT_EQ(node.run_all(), (std::vector{second, first, third}));
  node.end();
}

TEST_F(ActorTest, ABlockedCallLendsTheCpusOfItsActor) {
  ActorOptions options;
  options.resources = {{"CPU", 4}};
  const ObjectId actor = alive(actor_class(options, 4));
  Worker& worker = worker_of(actor);
  const TaskId running = call(actor, method());
  (void)node.claim(worker);
  const TaskId child = node.submit(node.function(), {.submitter = worker.process});
  Request& request = node.get(child, running);
  EXPECT_EQ(worker.state, WorkerState::kBlocked);
  EXPECT_DOUBLE_EQ(node.free_cpus(), 4);
  node.answer_starts();
  for (Worker* one : std::vector<Worker*>(node.scheduler->workers())) {
    if (one != &worker && node.actions.unclaimed(one->process) != 0) claim_and_finish(*one);
  }
  EXPECT_TRUE(node.was_completed(request));
  EXPECT_DOUBLE_EQ(node.free_cpus(), 0);
  node.die(worker);
  node.drop(actor);
  node.end();
}

TEST_F(ActorTest, AHandleInsideOfAValueKeepsItAlive) {
  const ObjectId actor = alive(actor_class());
  const ObjectId box = node.put("box", {actor});
  node.drop(actor);
  EXPECT_TRUE(node.actions.stopped.empty());
  node.drop(box);
  EXPECT_EQ(node.actions.stopped.size(), 1U);
  node.end();
}

TEST_F(ActorTest, TheEndOfTheCallersProcessDropsItsHandles) {
  Worker& caller = node.start_worker();
  node.submit(node.function());
  node.dispatch();
  (void)node.claim(caller);
  const ObjectId actor = create(actor_class(), {.submitter = caller.process});
  Worker& worker = construct(actor);
  EXPECT_NE(&worker, &caller);
  node.die(caller);
  EXPECT_FALSE(node.exists(actor));
  EXPECT_EQ(node.actions.stopped, std::vector{worker.process});
  node.end();
}

TEST_F(ActorTest, TheEndOfTheNodeEndsCallsAndConstructors) {
  const ObjectId made = alive(actor_class());
  const ObjectId waiting = create(actor_class());
  Function* add = method();
  const std::vector<TaskId> calls{call(made, add), call(waiting, add)};
  node.scheduler->fail_all("the end");
  node.check();
  for (const TaskId id : calls)
    EXPECT_NE(node.state(id), ObjectState::kPending);
  node.drop(made);
  node.drop(waiting);
  node.end();
}

}  // namespace
}  // namespace haz
