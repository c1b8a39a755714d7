// References: who holds an object, and when it is freed.

#include "unit/sched/fake_node.h"

namespace haz {
namespace {

TEST(SchedulerObjects, PutAndDrop) {
  FakeNode node;
  const auto [id, offset] = node.put_big();
  EXPECT_EQ(node.state(id), ObjectState::kReady);
  EXPECT_TRUE(node.actions.is_live(offset));
  node.drop(id);
  EXPECT_FALSE(node.exists(id));
  EXPECT_FALSE(node.actions.is_live(offset));
  node.drop(id);  // once too often
  node.end();
}

TEST(SchedulerObjects, PutUnderAUsedIdIsRefusedAndItsValueFreed) {
  FakeNode node;
  const ObjectId id = node.put("first");
  const std::uint64_t offset = node.actions.allocate();
  const Status status = node.scheduler->put(node.driver, id, NewValue{.offset = offset, .size = 5});
  ASSERT_FALSE(status.ok());
  EXPECT_FALSE(node.actions.is_live(offset));
  EXPECT_EQ(node.value(id), "first");
  EXPECT_FALSE(node.scheduler->put(node.driver, ObjectId{}, NewValue{}).ok());
  node.end();
}

TEST(SchedulerObjects, AnErrorInTheArenaIsRefused) {
  FakeNode node;
  const std::uint64_t offset = node.actions.allocate();
  const Status status =
      node.scheduler->put(node.driver, node.new_id(node.driver),
                          NewValue{.offset = offset, .size = 5, .is_error = true});
  EXPECT_FALSE(status.ok());
  EXPECT_FALSE(node.actions.is_live(offset));
  node.end();
}

TEST(SchedulerObjects, EveryReferenceCounts) {
  FakeNode node;
  const ProcessId other = node.scheduler->new_process();
  node.scheduler->track_process(other);
  const ObjectId id = node.put();
  EXPECT_TRUE(node.scheduler->add_reference(other, id));
  EXPECT_TRUE(node.scheduler->add_reference(other, id));
  node.drop(id);
  EXPECT_TRUE(node.exists(id));
  node.drop(id, other);
  EXPECT_TRUE(node.exists(id));
  node.drop(id);  // the driver has none left: another's is not taken
  EXPECT_TRUE(node.exists(id));
  node.drop(id, other);
  EXPECT_FALSE(node.exists(id));
  EXPECT_FALSE(node.scheduler->add_reference(other, id));
  node.end();
}

TEST(SchedulerObjects, AnEndedProcessLetsGo) {
  FakeNode node;
  const ProcessId other = node.scheduler->new_process();
  node.scheduler->track_process(other);
  const ObjectId shared = node.put();
  const ObjectId own = node.put("own", {}, other);
  for (int i = 0; i < 3; ++i)
    EXPECT_TRUE(node.scheduler->add_reference(other, shared));
  node.scheduler->process_ended(other);
  node.check();
  EXPECT_TRUE(node.exists(shared));
  EXPECT_FALSE(node.exists(own));
  node.drop(shared);
  EXPECT_FALSE(node.exists(shared));
  node.scheduler->process_ended(other);
  node.end();
}

TEST(SchedulerObjects, AValueHoldsTheRefsInside) {
  FakeNode node;
  const auto [inner, offset] = node.put_big();
  const ObjectId list = node.put("[inner, inner]", {inner, inner});
  const ObjectId outer = node.put("[[inner]]", {list});
  node.drop(inner);
  node.drop(list);
  EXPECT_TRUE(node.actions.is_live(offset));
  node.drop(outer);
  EXPECT_FALSE(node.exists(inner));
  EXPECT_FALSE(node.actions.is_live(offset));
  node.end();
}

TEST(SchedulerObjects, ALongChainOfValuesIsFreedWithoutRecursion) {
  FakeNode node;
  ObjectId last = node.put();
  for (int i = 0; i < 100'000; ++i) {
    const ObjectId next = node.put("[previous]", {last});
    node.drop(last);
    last = next;
  }
  EXPECT_EQ(node.scheduler->counts().objects, 100'001U);
  node.drop(last);
  EXPECT_EQ(node.scheduler->counts().objects, 0U);
  node.end();
}

TEST(SchedulerObjects, AValueThatRefersToItselfDoesNotHoldItself) {
  FakeNode node;
  const TaskId task = node.submit(node.function());
  node.answer_starts();
  Worker& worker = *node.scheduler->workers().front();
  node.finish(worker, node.claim(worker), "[itself]", {task.return_id(0)});
  node.drop(task);
  EXPECT_FALSE(node.exists(task.return_id(0)));
  node.end();
}

TEST(SchedulerObjects, ATaskHoldsItsRefsUntilItsEnd) {
  FakeNode node;
  const ObjectId ref = node.put();
  const TaskId pending = node.submit(node.function());
  const TaskId task = node.submit(
      node.function(), {.dependencies = {pending.return_id(0)}, .refs = {ref, ref, ObjectId{99}}});
  node.drop(ref);
  node.drop(pending);
  node.answer_starts();
  Worker& worker = *node.scheduler->workers().front();
  node.finish(worker, node.claim(worker));
  node.dispatch();
  const Claim claim = node.claim(worker);
  EXPECT_EQ(claim.task, task);
  EXPECT_TRUE(node.exists(ref));
  EXPECT_TRUE(node.exists(pending.return_id(0)));
  node.finish(worker, claim);
  EXPECT_FALSE(node.exists(ref));
  EXPECT_FALSE(node.exists(pending.return_id(0)));
  node.end();
}

TEST(SchedulerObjects, ReturnsAreDroppedBeforeDuringAndAfterTheRun) {
  for (const int when : {0, 1, 2}) {
    FakeNode node;
    const TaskId task = node.submit(node.function(), {.num_returns = 2});
    if (when == 0) node.drop(task);
    node.answer_starts();
    Worker& worker = *node.scheduler->workers().front();
    const Claim claim = node.claim(worker);
    if (when == 1) node.drop(task);
    EXPECT_TRUE(node.exists(task.return_id(0))) << "held for the attempt";
    const std::uint64_t first = node.actions.allocate();
    const std::uint64_t second = node.actions.allocate();
    node.end(worker, claim, Outcome::kReturned,
             {NewValue{.offset = first, .size = 1}, NewValue{.offset = second, .size = 1}});
    EXPECT_EQ(node.exists(task.return_id(0)), when == 2);
    EXPECT_EQ(node.actions.is_live(first), when == 2);
    EXPECT_TRUE(node.actions.is_live(second));
    if (when == 2) node.drop(task);
    node.drop(task.return_id(1));
    EXPECT_EQ(node.scheduler->counts().objects, 0U);
    node.end();
  }
}

TEST(SchedulerObjects, ARefReturnedByATaskOutlivesTheWorkersHandle) {
  FakeNode node;
  const TaskId parent = node.submit(node.function());
  node.answer_starts();
  Worker& worker = *node.scheduler->workers().front();
  const Claim claim = node.claim(worker);
  const TaskId child =
      node.submit(node.function(), {.parent = parent, .submitter = worker.process});
  node.finish(worker, claim, "[child]", {child.return_id(0)});
  node.drop(child, worker.process);
  EXPECT_TRUE(node.exists(child.return_id(0))) << "the parent's value refers to it";
  EXPECT_TRUE(node.scheduler->add_reference(node.driver, child.return_id(0)));
  node.drop(parent);
  EXPECT_TRUE(node.exists(child.return_id(0)));
  node.run_all();
  EXPECT_EQ(node.value(child), "result");
  node.end();
}

TEST(SchedulerObjects, FreeingByHand) {
  FakeNode node;
  const ObjectId inner = node.put();
  const auto [id, offset] = node.put_big({inner});
  node.drop(inner);
  node.scheduler->free_object(id);
  node.check();
  EXPECT_FALSE(node.actions.is_live(offset));
  EXPECT_FALSE(node.exists(inner));
  EXPECT_EQ(node.error_kind(id), "freed");
  node.scheduler->free_object(id);
  node.scheduler->free_object(ObjectId{4711});
  EXPECT_EQ(node.error_kind(id), "freed");
  const TaskId task = node.submit(node.function(), {.dependencies = {id}});
  EXPECT_EQ(node.error_kind(task), "freed");
  const TaskId pending = node.submit(node.function());
  node.scheduler->free_object(pending.return_id(0));
  EXPECT_EQ(node.state(pending), ObjectState::kPending) << "there is nothing to free yet";
  node.end();
}

TEST(SchedulerObjects, AQueuedTaskFailsWhenItsArgumentIsFreedByHand) {
  FakeNode node;
  const auto [id, offset] = node.put_big();
  const TaskId task = node.submit(node.function(), {.dependencies = {id}});
  const TaskId next = node.submit(node.function(), {.dependencies = {task.return_id(0)}});
  node.scheduler->free_object(id);
  node.check();
  node.run_all();
  EXPECT_EQ(node.error_kind(task), "freed");
  EXPECT_EQ(node.error_kind(next), "freed");
  EXPECT_TRUE(node.actions.assigned.empty());
  node.end();
}

TEST(SchedulerObjects, FailAllEndsEverything) {
  FakeNode node(2);
  Function* f = node.function();
  const std::vector<TaskId> tasks = node.submit_many(f, 6);
  const TaskId waiting =
      node.submit(f, {.dependencies = {tasks[0].return_id(0)}, .num_returns = 2});
  const TaskId quiet = node.submit(f, {.num_returns = 0});
  node.answer_starts();
  const std::vector<Worker*> workers = node.scheduler->workers();
  const Claim running = node.claim(*workers[0]);
  const Claim blocked = node.claim(*workers[1]);
  const Request& inner = node.get(waiting, blocked.task);
  const Request& outer = node.get(tasks[5]);
  node.scheduler->fail_all("the node ends");
  node.check();
  for (const TaskId task : tasks)
    EXPECT_EQ(node.error_field(task.return_id(0), "message"), "the node ends");
  EXPECT_EQ(node.error_kind(waiting.return_id(1)), "node_died");
  EXPECT_EQ(node.scheduler->find_task(quiet), nullptr);
  EXPECT_TRUE(node.was_completed(inner));
  EXPECT_TRUE(node.was_completed(outer));
  EXPECT_EQ(node.scheduler->counts().tasks, 0U);
  node.finish(*workers[0], running, "too late");
  EXPECT_EQ(node.error_kind(running.task), "node_died");
  node.submit(f);
  node.dispatch();
  EXPECT_EQ(node.actions.unclaimed(workers[0]->process), 0U) << "a worker given up gets no task";
  EXPECT_EQ(node.actions.unclaimed(workers[1]->process), 0U);
  node.end();
}

}  // namespace
}  // namespace haz
