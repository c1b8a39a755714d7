#include "sched/history.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "sched/actor.h"
#include "unit/sched/fake_node.h"

namespace haz {
namespace {

constexpr std::int64_t kRunNs = 2 * kMillisecondNs;

const EndedTask& latest(const FakeNode& node) {
  const Recent<EndedTask>& tasks = node.scheduler->history().tasks;
  return tasks[tasks.size() - 1];
}

TEST(RecentTest, KeepsTheLatestInOrder) {
  Recent<int> recent(3);
  EXPECT_EQ(recent.size(), 0U);
  for (int i = 0; i < 8; ++i) {
    recent.add(i);
    ASSERT_EQ(recent.size(), static_cast<std::size_t>(std::min(i + 1, 3)));
    for (std::size_t at = 0; at < recent.size(); ++at)
      EXPECT_EQ(recent[at], i + 1 - static_cast<int>(recent.size() - at));
  }
}

TEST(HistoryTest, ATaskThatHasReturned) {
  FakeNode node;
  node.scheduler->story().set_time(5 * kSecondNs);
  const TaskId parent = node.submit(node.function("parent"));
  TaskOptions options;
  options.parent = parent;
  options.num_returns = 3;
  const TaskId task = node.submit(node.function("f"), options);
  EXPECT_EQ(node.scheduler->live_tasks().size(), 2U);
  EXPECT_EQ(node.scheduler->task_of(task.return_id(2)), task) << "it has not ended";
  node.answer_starts();
  node.scheduler->story().set_time(6 * kSecondNs);
  (void)node.run_all();
  EXPECT_TRUE(node.scheduler->live_tasks().empty());
  const Recent<EndedTask>& ended = node.scheduler->history().tasks;
  ASSERT_EQ(ended.size(), 2U);
  const EndedTask& found = ended[0].id == task ? ended[0] : ended[1];
  EXPECT_EQ(found.id, task);
  EXPECT_EQ(found.parent, parent) << "though that may have ended before";
  EXPECT_EQ(found.end, TaskEnd::kReturned);
  EXPECT_EQ(found.attempt, 1U);
  EXPECT_TRUE(found.process);
  EXPECT_EQ(found.times.submitted_ns, 5 * kSecondNs);
  EXPECT_EQ(found.times.ended_ns, 6 * kSecondNs) << "no other clock has told";
  EXPECT_EQ(found.times.began_ns, 6 * kSecondNs - kMillisecondNs) << "of what it took";
  EXPECT_EQ(node.scheduler->task_of(task.return_id(2)), task);
  EXPECT_FALSE(node.scheduler->task_of(task.return_id(3)));
}

TEST(HistoryTest, TimesAreThoseOfTheWorkersClock) {
  FakeNode node;
  const TaskId task = node.submit(node.function());
  node.answer_starts();
  Worker& worker = *node.scheduler->workers().front();
  const Claim claim = node.claim(worker);
  const std::vector<std::byte> bytes(4);
  const NewValue value{.bytes = bytes};
  node.scheduler->finished(worker, task, claim.attempt, Outcome::kReturned, std::span(&value, 1),
                           kRunNs, 9 * kSecondNs);
  EXPECT_EQ(latest(node).times.ended_ns, 9 * kSecondNs);
  EXPECT_EQ(latest(node).times.began_ns, 9 * kSecondNs - kRunNs);
}

TEST(HistoryTest, NonsenseOfAWorkersClockHarmsNobody) {
  FakeNode node;
  const TaskId task = node.submit(node.function());
  node.answer_starts();
  Worker& worker = *node.scheduler->workers().front();
  const Claim claim = node.claim(worker);
  const std::vector<std::byte> bytes(4);
  const NewValue value{.bytes = bytes};
  node.scheduler->finished(worker, task, claim.attempt, Outcome::kReturned, std::span(&value, 1),
                           std::numeric_limits<std::int64_t>::min(),
                           std::numeric_limits<std::int64_t>::min());
  EXPECT_LE(latest(node).times.began_ns, latest(node).times.ended_ns);
}

TEST(HistoryTest, HowTasksFail) {
  FakeNode node(1);
  Function* function = node.function(FunctionOptions{.name = "f", .max_retries = 0});
  const TaskId raises = node.submit(function);
  node.answer_starts();
  Worker& worker = *node.scheduler->workers().front();
  node.raise(worker, node.claim(worker));
  EXPECT_EQ(latest(node).end, TaskEnd::kRaised);

  TaskOptions options;
  options.dependencies = {raises.return_id(0)};
  const TaskId depends = node.submit(function, options);
  EXPECT_EQ(latest(node).id, depends);
  EXPECT_EQ(latest(node).end, TaskEnd::kNotRun);
  EXPECT_FALSE(latest(node).process);

  const TaskId cancelled = node.submit(function);
  node.cancel(cancelled);
  EXPECT_EQ(latest(node).id, cancelled);
  EXPECT_EQ(latest(node).end, TaskEnd::kCancelled);

  const TaskId late = node.submit(function);
  node.dispatch();
  const Claim claim = node.claim(worker);
  node.scheduler->timed_out(late, claim.attempt, false);
  node.raise(worker, claim);
  EXPECT_EQ(latest(node).id, late);
  EXPECT_EQ(latest(node).end, TaskEnd::kTimedOut);

  const TaskId crashes = node.submit(function);
  node.dispatch();
  (void)node.claim(worker);
  const ProcessId process = worker.process;
  node.die(worker, {.pid = 77, .exit_code = 3});
  EXPECT_EQ(latest(node).id, crashes);
  EXPECT_EQ(latest(node).end, TaskEnd::kCrashed);
  EXPECT_EQ(latest(node).process, process);
  const Recent<EndedWorker>& workers = node.scheduler->history().workers;
  ASSERT_EQ(workers.size(), 1U);
  EXPECT_EQ(workers[0].process, process);
  EXPECT_EQ(workers[0].pid, 77);
  EXPECT_EQ(workers[0].exit_code, 3);
}

TEST(HistoryTest, ARetryIsOneTaskWithItsLastAttempt) {
  FakeNode node(1);
  FunctionOptions options{.name = "f", .max_retries = 2};
  options.retry_exceptions = true;
  const TaskId task = node.submit(node.function(options));
  node.answer_starts();
  Worker& worker = *node.scheduler->workers().front();
  node.raise(worker, node.claim(worker), "error", Outcome::kRetryable);
  EXPECT_EQ(node.scheduler->history().tasks.size(), 0U);
  ASSERT_EQ(node.scheduler->live_tasks().size(), 1U);
  node.dispatch();
  node.finish(worker, node.claim(worker));
  ASSERT_EQ(node.scheduler->history().tasks.size(), 1U);
  EXPECT_EQ(latest(node).id, task);
  EXPECT_EQ(latest(node).attempt, 2U);
  EXPECT_EQ(latest(node).end, TaskEnd::kReturned);
}

TEST(HistoryTest, AnActorItsConstructorAndItsCalls) {
  FakeNode node;
  FunctionOptions cls{.name = "Counter.__init__", .max_retries = 0};
  cls.actor = std::make_shared<ActorOptions>();
  Function* constructor = node.function(cls);
  Result<ObjectId> made =
      node.scheduler->create_actor(node.spec_of(constructor, {}), {.name = "tally"});
  ASSERT_TRUE(made.ok());
  ASSERT_EQ(node.scheduler->live_tasks().size(), 1U);
  EXPECT_TRUE(node.scheduler->live_tasks().front()->creates_actor);
  node.answer_starts();
  Worker& worker = *node.scheduler->find_actor(*made)->worker;
  const ProcessId process = worker.process;
  node.finish(worker, node.claim(worker), "made");
  EXPECT_TRUE(latest(node).creates_actor);
  EXPECT_EQ(latest(node).actor, *made);
  EXPECT_EQ(latest(node).end, TaskEnd::kReturned);
  EXPECT_TRUE(node.scheduler->live_tasks().empty());

  TaskSpec call = node.spec_of(node.function("Counter.add", 0), {});
  call.actor = *made;
  ASSERT_TRUE(node.scheduler->submit(call).ok());
  node.dispatch();
  (void)node.claim(worker);
  EXPECT_EQ(node.scheduler->history().actors.size(), 0U);
  node.die(worker);
  EXPECT_EQ(latest(node).id, call.id);
  EXPECT_EQ(latest(node).end, TaskEnd::kCrashed);
  ASSERT_EQ(node.scheduler->history().actors.size(), 1U);
  const EndedActor& actor = node.scheduler->history().actors[0];
  EXPECT_EQ(actor.id, *made);
  EXPECT_EQ(actor.name, "tally");
  EXPECT_EQ(actor.process, process);
  EXPECT_FALSE(actor.death.view().empty());
}

TEST(HistoryTest, AConstructorThatFails) {
  FakeNode node;
  FunctionOptions cls{.name = "Counter.__init__", .max_retries = 0};
  cls.actor = std::make_shared<ActorOptions>();
  Result<ObjectId> made = node.scheduler->create_actor(node.spec_of(node.function(cls), {}), {});
  ASSERT_TRUE(made.ok());
  node.answer_starts();
  Worker& worker = *node.scheduler->find_actor(*made)->worker;
  node.raise(worker, node.claim(worker));
  ASSERT_EQ(node.scheduler->history().tasks.size(), 1U);
  EXPECT_EQ(latest(node).end, TaskEnd::kRaised);
  EXPECT_EQ(node.scheduler->history().actors.size(), 1U);
}

}  // namespace
}  // namespace haz
