// Tasks that wait for tasks: slots lent, replacements, and what happens at the cap of processes.

#include "unit/sched/fake_node.h"

namespace haz {
namespace {

SchedulerOptions cap(std::uint32_t max_workers) {
  SchedulerOptions options = plain_options();
  options.max_workers = max_workers;
  return options;
}

/// A claimed task that submits children and waits for them.
struct Parent {
  Worker* worker;
  Claim claim;
};

Parent begin(FakeNode& node, Worker& worker) { return {&worker, node.claim(worker)}; }

TaskId child_of(FakeNode& node, const Parent& parent, Function* f, TaskOptions options = {}) {
  options.parent = parent.claim.task;
  options.submitter = parent.worker->process;
  return node.submit(f, options);
}

TEST(SchedulerBlocking, ABlockedTaskLendsItsSlotAndAReplacementStarts) {
  FakeNode node(1);
  Function* f = node.function();
  const TaskId task = node.submit(f);
  node.answer_starts();
  Worker& first = *node.scheduler->workers().front();
  const Parent parent = begin(node, first);
  EXPECT_EQ(node.free_cpus(), 0);
  const TaskId child = child_of(node, parent, f);
  node.dispatch();
  EXPECT_EQ(node.actions.starts_wanted, 0U) << "there is no slot for a second one yet";
  const Request& request = node.get(child, task);
  EXPECT_EQ(first.state, WorkerState::kBlocked);
  EXPECT_EQ(node.free_cpus(), 1);
  node.dispatch();
  EXPECT_EQ(node.actions.starts_wanted, 1U);
  Worker& second = node.start_worker();
  node.dispatch();
  EXPECT_EQ(node.free_cpus(), 0);
  node.finish(second, node.claim(second));
  EXPECT_TRUE(node.was_completed(request));
  EXPECT_EQ(first.state, WorkerState::kBusy);
  EXPECT_EQ(node.free_cpus(), 0);
  node.finish(first, parent.claim);
  EXPECT_EQ(node.free_cpus(), 1);
  node.end();
}

TEST(SchedulerBlocking, AThreadThatWaitsLendsTheSlotOfItsTask) {
  FakeNode node(1);
  Function* f = node.function();
  node.submit(f);
  node.answer_starts();
  Worker& first = *node.scheduler->workers().front();
  const Parent parent = begin(node, first);
  const TaskId one = child_of(node, parent, f);
  const TaskId other = child_of(node, parent, f);
  node.dispatch();
  // One of them may stand behind the parent, whose main thread waits for its threads.
  const Request& request = node.thread_get(first, one);
  const Request& request2 = node.thread_get(first, other);
  EXPECT_EQ(first.state, WorkerState::kBusy);
  EXPECT_EQ(first.assigned.size(), 1U);
  EXPECT_EQ(node.free_cpus(), 1);
  node.dispatch();
  EXPECT_EQ(first.assigned.size(), 1U);
  ASSERT_EQ(node.actions.starts_wanted, 1U);
  Worker& second = node.start_worker();
  node.dispatch();
  node.finish(second, node.claim(second));
  EXPECT_TRUE(node.was_completed(request));
  EXPECT_EQ(node.free_cpus(), 0) << "the other thread still waits, and the second worker runs on";
  node.dispatch();
  node.finish(second, node.claim(second));
  EXPECT_TRUE(node.was_completed(request2));
  EXPECT_EQ(node.free_cpus(), 0);
  node.finish(first, parent.claim);
  EXPECT_EQ(node.free_cpus(), 1);
  node.end();
}

TEST(SchedulerBlocking, AThreadMayWaitLongerThanItsTaskRuns) {
  FakeNode node(2);
  Function* f = node.function();
  const TaskId slow = node.submit(f);
  const TaskId task = node.submit(f);
  node.answer_starts();
  Worker& first = *node.scheduler->workers().front();
  Worker& second = *node.scheduler->workers().back();
  const Claim slow_claim = node.claim(first);
  const Claim claim = node.claim(second);
  ASSERT_EQ(claim.task, task);
  Request& request = node.thread_get(second, slow);
  EXPECT_EQ(node.free_cpus(), 1);
  const Request& blocked = node.get(slow, task);
  EXPECT_EQ(node.free_cpus(), 1) << "it has one slot to lend";
  node.withdraw(request);
  EXPECT_EQ(node.free_cpus(), 1) << "the main thread waits too";
  node.thread_get(second, slow);
  node.withdraw(const_cast<Request&>(blocked));
  EXPECT_EQ(node.free_cpus(), 1);
  node.finish(second, claim);
  EXPECT_EQ(node.free_cpus(), 1);
  node.finish(first, slow_claim);
  EXPECT_EQ(node.free_cpus(), 2);
  node.end();
}

TEST(SchedulerBlocking, AResumedTaskDoesNotWaitForASlot) {
  FakeNode node(1);
  Function* f = node.function();
  f->mean_run_ns = 100'000'000;
  node.submit(f);
  node.answer_starts();
  Worker& first = *node.scheduler->workers().front();
  const Parent parent = begin(node, first);
  const TaskId child = child_of(node, parent, f);
  Request& request = node.get(child, parent.claim.task);
  const std::vector<TaskId> others = node.submit_many(f, 3);
  node.answer_starts();
  Worker& second = *node.scheduler->workers().back();
  const Claim running = node.claim(second);
  EXPECT_EQ(running.task, child) << "awaited first";
  node.withdraw(request);  // its time is over
  EXPECT_EQ(node.free_cpus(), -1);
  EXPECT_EQ(first.state, WorkerState::kBusy);
  node.finish(second, running);
  node.dispatch();
  EXPECT_EQ(node.free_cpus(), 0) << "nobody gets the slot that was used twice";
  EXPECT_EQ(second.state, WorkerState::kIdle);
  node.end();
}

TEST(SchedulerBlocking, WhileSlotsAreUsedTwiceNoRingIsFilled) {
  FakeNode node(1);
  Function* f = node.function();
  f->mean_run_ns = 1000;
  node.submit(f);
  node.answer_starts();
  Worker& first = *node.scheduler->workers().front();
  const Parent parent = begin(node, first);
  const TaskId child = child_of(node, parent, f);
  Request& request = node.get(child, parent.claim.task);
  node.answer_starts();
  Worker& second = *node.scheduler->workers().back();
  const Claim running = node.claim(second);
  node.withdraw(request);
  EXPECT_EQ(node.free_cpus(), -1);
  node.submit_many(f, 100);
  node.dispatch();
  EXPECT_EQ(first.assigned.size(), 1U);
  EXPECT_EQ(second.assigned.size(), 1U);
  node.finish(second, running, "r", {}, 1000);
  node.dispatch();
  EXPECT_EQ(second.state, WorkerState::kIdle);
  EXPECT_GT(first.assigned.size(), 50U);
  node.end();
}

TEST(SchedulerBlocking, WhatWaitsBehindItGoesElsewhere) {
  FakeNode node(1);
  Function* f = node.function();
  f->mean_run_ns = 1000;
  const std::vector<TaskId> tasks = node.submit_many(f, 5);
  node.answer_starts();
  Worker& first = *node.scheduler->workers().front();
  const Parent parent = begin(node, first);
  EXPECT_EQ(first.assigned.size(), 5U);
  const TaskId child = child_of(node, parent, f);
  node.get(child, parent.claim.task);
  EXPECT_EQ(first.assigned.size(), 1U);
  node.answer_starts();
  std::vector<TaskId> order;
  Worker& second = *node.scheduler->workers().back();
  while (const auto claim = node.actions.claim(second.process)) {
    order.push_back(claim->task);
    node.finish(second, *claim);
    node.dispatch();
  }
  EXPECT_EQ(order, (std::vector{child, tasks[1], tasks[2], tasks[3], tasks[4]}));
  node.end();
}

TEST(SchedulerBlocking, ReadyOrder) {
  // Awaited by a blocked task first, then deeper in the call tree, then first come.
  FakeNode node(2);
  Function* f = node.function();
  f->mean_run_ns = 100'000'000;
  const TaskId root = node.submit(f);
  const TaskId other = node.submit(f);
  node.answer_starts();
  Worker& first = *node.scheduler->workers()[0];
  Worker& second = *node.scheduler->workers()[1];
  const Parent parent = begin(node, first);
  const Parent busy = begin(node, second);
  const std::vector<TaskId> shallow = node.submit_many(f, 3);
  const TaskId deep = child_of(node, busy, f);
  const TaskId awaited = child_of(node, parent, f);
  const TaskId argument = node.submit(f);
  const TaskId waiting = child_of(node, parent, f, {.dependencies = {argument.return_id(0)}});
  node.get(std::vector{awaited.return_id(0), waiting.return_id(0)}, root);
  EXPECT_TRUE(node.scheduler->find_task(argument)->awaited) << "through the task that waits for it";
  node.answer_starts();
  std::vector<TaskId> order;
  Worker& third = *node.scheduler->workers()[2];
  while (const auto claim = node.actions.claim(third.process)) {
    order.push_back(claim->task);
    node.finish(third, *claim);
    node.dispatch();
  }
  EXPECT_EQ(order, (std::vector{awaited, argument, waiting})) << "then the slots are in use";
  node.finish(first, parent.claim);
  node.finish(second, busy.claim);
  EXPECT_EQ(node.value(other), "result");
  node.dispatch();
  std::set<TaskId> next;
  for (Worker* worker : node.scheduler->workers()) {
    if (const auto claim = node.actions.claim(worker->process)) next.insert(claim->task);
  }
  EXPECT_EQ(next, (std::set{deep, shallow[0]}));
  node.end();
}

TEST(SchedulerBlocking, ARequestWithoutABlockedTaskLendsNothing) {
  FakeNode node(1);
  const TaskId task = node.submit(node.function());
  node.answer_starts();
  Worker& worker = *node.scheduler->workers().front();
  const Claim claim = node.claim(worker);
  node.get(node.submit(node.function()));
  EXPECT_EQ(node.free_cpus(), 0);
  EXPECT_EQ(worker.state, WorkerState::kBusy);
  node.finish(worker, claim);
  node.drop(task);
  node.end();
}

TEST(SchedulerBlocking, ASecondRequestOfABlockedTaskChangesNothing) {
  FakeNode node(1);
  Function* f = node.function();
  node.submit(f);
  node.answer_starts();
  const Parent parent = begin(node, *node.scheduler->workers().front());
  const TaskId a = child_of(node, parent, f);
  const TaskId b = child_of(node, parent, f);
  Request& first = node.get(a, parent.claim.task);
  Request& second = node.get(b, parent.claim.task);
  EXPECT_EQ(node.free_cpus(), 1);
  node.withdraw(second);
  EXPECT_EQ(parent.worker->state, WorkerState::kBlocked);
  node.withdraw(first);
  EXPECT_EQ(node.free_cpus(), 0);
  node.end();
}

TEST(SchedulerBlocking, ARequestOfATaskThatHasEndedBlocksNobody) {
  FakeNode node(1);
  Function* f = node.function();
  node.submit(f);
  node.answer_starts();
  Worker& worker = *node.scheduler->workers().front();
  const Parent parent = begin(node, worker);
  const TaskId child = child_of(node, parent, f);
  node.finish(worker, parent.claim);
  Request request;
  request.needed = 1;
  EXPECT_TRUE(
      node.scheduler->start(request, std::vector{child.return_id(0)}, &worker, parent.claim.task));
  EXPECT_EQ(request.blocked_task, nullptr);
  EXPECT_EQ(worker.state, WorkerState::kIdle);
  node.scheduler->withdraw(request);
  request.needed = 0;
  EXPECT_TRUE(node.scheduler->start(request, {}, &worker));
  node.scheduler->withdraw(request);
  node.end();
}

TEST(SchedulerBlocking, OnlyCpusAreLent) {
  FakeNode node(2);
  node.scheduler->set_resource("GPU", 1);
  Function* g =
      node.function(FunctionOptions{.name = "g", .resources = {{"GPU", 1}, {"CPU", 0.5}}});
  const TaskId task = node.submit(g);
  node.answer_starts();
  const Parent parent = begin(node, *node.scheduler->workers().front());
  EXPECT_EQ(node.free_cpus(), 1.5);
  const TaskId child = child_of(node, parent, node.function());
  node.get(child, task);
  EXPECT_EQ(node.free_cpus(), 2);
  EXPECT_EQ(node.scheduler->resources().free(1), 0);
  node.end();
}

// ---- at the cap --------------------------------------------------------------------------------

TEST(SchedulerNesting, AtTheCapTheAwaitedTaskRunsOnTop) {
  FakeNode node(1, cap(1));
  Function* f = node.function();
  const TaskId task = node.submit(f);
  const std::vector<TaskId> others = node.submit_many(f, 3);
  node.answer_starts();
  Worker& worker = *node.scheduler->workers().front();
  const Parent parent = begin(node, worker);
  const TaskId child = child_of(node, parent, f);
  const Request& request = node.get(child, task);
  node.dispatch();
  EXPECT_EQ(worker.state, WorkerState::kNested);
  EXPECT_EQ(node.free_cpus(), 0);
  const std::optional<Claim> nested = node.actions.claim_nested(worker.process);
  ASSERT_TRUE(nested.has_value());
  EXPECT_EQ(nested->task, child);
  EXPECT_FALSE(request.completed);
  node.finish(worker, *nested);
  EXPECT_TRUE(node.was_completed(request));
  EXPECT_EQ(worker.state, WorkerState::kBusy);
  EXPECT_EQ(node.free_cpus(), 0);
  node.finish(worker, parent.claim);
  EXPECT_EQ(node.run_all(), others);
  node.end();
}

TEST(SchedulerNesting, OnlyWhatItAwaitsItself) {
  FakeNode node(1, cap(1));
  Function* f = node.function();
  node.submit(f);
  node.answer_starts();
  const Parent parent = begin(node, *node.scheduler->workers().front());
  const TaskId argument = node.submit(f);
  const TaskId child = child_of(node, parent, f, {.dependencies = {argument.return_id(0)}});
  node.submit_many(f, 3);
  node.get(child, parent.claim.task);
  node.dispatch();
  const std::optional<Claim> first = node.actions.claim_nested(parent.worker->process);
  ASSERT_TRUE(first.has_value());
  EXPECT_EQ(first->task, argument) << "through the task that waits for it";
  node.finish(*parent.worker, *first);
  node.dispatch();
  const std::optional<Claim> second = node.actions.claim_nested(parent.worker->process);
  ASSERT_TRUE(second.has_value());
  EXPECT_EQ(second->task, child);
  node.end();
}

TEST(SchedulerNesting, TheEndOfALongChainIsAwaited) {
  // Its first link, which alone can run, is far from what is waited for.
  constexpr int kLength = 3000;
  FakeNode node(1, cap(1));
  Function* f = node.function();
  node.submit(f);
  node.answer_starts();
  const Parent parent = begin(node, *node.scheduler->workers().front());
  std::vector<TaskId> chain{child_of(node, parent, f)};
  for (int i = 0; i < kLength; ++i) {
    chain.push_back(child_of(node, parent, f, {.dependencies = {chain.back().return_id(0)}}));
  }
  Request& request = node.get(chain.back(), parent.claim.task);
  for (int i = 0; i < 10; ++i) {
    node.dispatch();
    const std::optional<Claim> nested = node.actions.claim_nested(parent.worker->process);
    ASSERT_TRUE(nested.has_value());
    EXPECT_EQ(nested->task, chain[static_cast<std::size_t>(i)]);
    node.finish(*parent.worker, *nested);
  }
  node.withdraw(request);
  node.end();
}

TEST(SchedulerNesting, WaitingForManyOfWhichMostAreDone) {
  constexpr std::size_t kChildren = 5000;
  FakeNode node(1, cap(1));
  Function* f = node.function();
  node.submit(f);
  node.answer_starts();
  const Parent parent = begin(node, *node.scheduler->workers().front());
  std::vector<ObjectId> ids;
  for (std::size_t i = 0; i < kChildren; ++i) {
    ids.push_back(child_of(node, parent, f).return_id(0));
  }
  const Request& request = node.get(ids, parent.claim.task);
  for (const ObjectId id : ids) {
    ASSERT_FALSE(request.completed);
    node.dispatch();
    const std::optional<Claim> nested = node.actions.claim_nested(parent.worker->process);
    ASSERT_TRUE(nested.has_value());
    ASSERT_EQ(nested->task.value, id.value);
    node.finish(*parent.worker, *nested);
  }
  EXPECT_TRUE(request.completed);
  node.end();
}

TEST(SchedulerNesting, WhileOneRunsTheOthersSlotsAreUsed) {
  // Three parents blocked on many children each, most of them done, and a fourth task that runs
  // long.
  constexpr std::size_t kChildren = 600;
  FakeNode node(4, cap(4));
  Function* f = node.function();
  f->mean_run_ns = 100'000'000;
  node.submit_many(f, 4);
  node.answer_starts();
  std::vector<Parent> parents;
  for (Worker* worker : node.scheduler->workers())
    parents.push_back(begin(node, *worker));
  for (std::size_t i = 1; i < 4; ++i) {
    std::vector<ObjectId> ids;
    for (std::size_t j = 0; j < kChildren; ++j) {
      ids.push_back(child_of(node, parents[i], f).return_id(0));
    }
    node.get(ids, parents[i].claim.task);
  }
  for (std::size_t j = 0; j < kChildren; ++j) {
    node.tick();
    for (std::size_t i = 1; i < 4; ++i) {
      const std::optional<Claim> nested = node.actions.claim_nested(parents[i].worker->process);
      ASSERT_TRUE(nested.has_value()) << "parent " << i << " idles at child " << j;
      node.finish(*parents[i].worker, *nested);
    }
  }
  node.end();
}

TEST(SchedulerNesting, AChainOfThousandAtACapOfFour) {
  // Some tasks lie on top of another in each process; then it goes on in one more.
  constexpr std::size_t kDepth = 1000;
  FakeNode node(2, cap(4));
  Function* f = node.function();
  std::vector<std::pair<Worker*, Claim>> stack;
  TaskOptions options;
  for (std::size_t depth = 0; depth < kDepth; ++depth) {
    const TaskId task = node.submit(f, options);
    if (depth > 0) node.get(task, stack.back().second.task);
    node.answer_starts();
    for (Worker* worker : node.scheduler->workers()) {
      const std::optional<Claim> claim = node.actions.claim(worker->process);
      if (!claim) continue;
      EXPECT_EQ(claim->task, task);
      stack.emplace_back(worker, *claim);
    }
    ASSERT_EQ(stack.size(), depth + 1) << "a deadlock";
    ASSERT_LE(node.scheduler->counts().workers, 4 + kDepth / 33);
    options = {.parent = task, .submitter = stack.back().first->process};
  }
  EXPECT_EQ(node.scheduler->find_task(stack.back().second.task)->depth, kDepth - 1);
  while (!stack.empty()) {
    const auto [worker, claim] = stack.back();
    stack.pop_back();
    ASSERT_EQ(worker->assigned.front()->id, claim.task) << "the top of its worker's stack";
    node.finish(*worker, claim);
  }
  EXPECT_EQ(node.actions.completed.size(), kDepth - 1);
  node.end();
}

TEST(SchedulerNesting, ManyParentsBlockedOnChildren) {
  constexpr std::size_t kParents = 10'000;
  for (const double cpus_of_parent : {1.0, 0.01, 0.0}) {
    FakeNode node(2, cap(8));
    Function* parent = node.function("parent", cpus_of_parent);
    Function* child = node.function("child");
    node.submit_many(parent, kParents);
    std::map<std::uint64_t, Request*> requests;  // of the tasks that have begun, by their id
    std::size_t ended = 0;
    std::size_t most = 0;
    while (ended < 2 * kParents) {
      node.answer_starts();
      most = std::max(most, node.scheduler->counts().workers);
      bool progress = false;
      const std::vector<Worker*> workers = node.scheduler->workers();
      for (Worker* worker : workers) {
        const Task* top = worker->assigned.front();
        if (top == nullptr) continue;
        const auto known = requests.find(top->id.value);
        if (known != requests.end() && !known->second->completed) continue;
        progress = true;
        if (known != requests.end()) {
          node.withdraw(*known->second);
          node.finish(*worker, {top->id, top->attempt});
          ++ended;
          continue;
        }
        const Claim claim = node.claim(*worker);
        ASSERT_EQ(claim.task, top->id);
        if (top->function == child) {
          node.finish(*worker, claim);
          ++ended;
          continue;
        }
        const TaskId inner =
            node.submit(child, {.parent = claim.task, .submitter = worker->process});
        requests[claim.task.value] = &node.get(inner, claim.task);
        node.drop(inner, worker->process);
      }
      ASSERT_TRUE(progress) << "deadlock after " << ended << " tasks";
    }
    EXPECT_LE(most, 8U);
    node.end();
  }
}

TEST(SchedulerNesting, ANestedTaskMayBlockAndNestAgain) {
  FakeNode node(1, cap(1));
  Function* f = node.function();
  node.submit(f);
  node.answer_starts();
  Worker& worker = *node.scheduler->workers().front();
  const Parent outer = begin(node, worker);
  const TaskId middle_task = child_of(node, outer, f);
  Request& outer_request = node.get(middle_task, outer.claim.task);
  node.dispatch();
  const Parent middle = begin(node, worker);
  const TaskId inner_task = child_of(node, middle, f);
  const Request& middle_request = node.get(inner_task, middle.claim.task);
  EXPECT_EQ(node.free_cpus(), 1);
  EXPECT_EQ(worker.state, WorkerState::kBlocked);
  node.dispatch();
  const Parent inner = begin(node, worker);
  EXPECT_EQ(inner.claim.task, inner_task);
  EXPECT_EQ(node.free_cpus(), 0);
  node.withdraw(outer_request);  // its time is over, but it lies below
  EXPECT_EQ(node.free_cpus(), 0);
  EXPECT_EQ(worker.state, WorkerState::kNested);
  node.finish(worker, inner.claim);
  EXPECT_TRUE(node.was_completed(middle_request));
  EXPECT_EQ(node.free_cpus(), 0);
  node.finish(worker, middle.claim);
  EXPECT_EQ(worker.state, WorkerState::kBusy);
  EXPECT_EQ(node.free_cpus(), 0) << "the outer task goes on";
  node.finish(worker, outer.claim);
  EXPECT_EQ(node.free_cpus(), 1);
  node.end();
}

TEST(SchedulerNesting, ATaskBelowANestedOneKeepsItsSlotLent) {
  // Its get has ended by its timeout, but it can't go on before the nested task ends; that one
  // waits for a task that needs the slot.
  FakeNode node(1, cap(1));
  Function* f = node.function();
  node.submit(f);
  node.answer_starts();
  Worker& worker = *node.scheduler->workers().front();
  const Parent outer = begin(node, worker);
  const TaskId middle_task = child_of(node, outer, f);
  Request& outer_request = node.get(middle_task, outer.claim.task);
  node.dispatch();
  const Parent middle = begin(node, worker);
  node.withdraw(outer_request);
  const TaskId inner_task = child_of(node, middle, f);
  const Request& request = node.get(inner_task, middle.claim.task);
  node.dispatch();
  const std::optional<Claim> inner = node.actions.claim_nested(worker.process);
  ASSERT_TRUE(inner.has_value()) << "a deadlock";
  node.finish(worker, *inner);
  EXPECT_TRUE(node.was_completed(request));
  node.finish(worker, middle.claim);
  node.finish(worker, outer.claim);
  node.end();
}

TEST(SchedulerNesting, TheBlockedTaskMayGoOnBeforeItLearnsOfTheNestedOne) {
  // Its get ends by its timeout while run_nested is on its way: it blocks again, or ends.
  for (const bool blocks_again : {true, false}) {
    FakeNode node(1, cap(1));
    Function* f = node.function();
    const TaskId task = node.submit(f);
    node.answer_starts();
    Worker& worker = *node.scheduler->workers().front();
    const Parent outer = begin(node, worker);
    const TaskId child = child_of(node, outer, f);
    const TaskId other = child_of(node, outer, f);
    Request& timed_out = node.get(child, task);
    node.dispatch();
    EXPECT_EQ(worker.state, WorkerState::kNested);
    node.withdraw(timed_out);
    if (blocks_again) {
      const Request& again = node.get(other, task);
      EXPECT_EQ(again.blocked_task, node.scheduler->find_task(task)) << "not the nested one";
      EXPECT_EQ(node.free_cpus(), 0);
      const Claim nested = node.claim(worker);
      EXPECT_EQ(nested.task, child);
      node.finish(worker, nested);
      EXPECT_EQ(worker.state, WorkerState::kBlocked);
      EXPECT_EQ(node.free_cpus(), 1);
      node.dispatch();
      const Claim second = node.claim(worker);
      EXPECT_EQ(second.task, other);
      node.finish(worker, second);
      EXPECT_TRUE(node.was_completed(again));
      node.finish(worker, outer.claim);
    } else {
      node.finish(worker, outer.claim);
      EXPECT_EQ(node.free_cpus(), 0) << "of the nested one alone";
      const Parent nested = begin(node, worker);
      EXPECT_EQ(nested.claim.task, child);
      const Request& request = node.get(other, child);
      node.dispatch();
      const std::optional<Claim> inner = node.actions.claim_nested(worker.process);
      ASSERT_TRUE(inner.has_value()) << "a deadlock";
      node.finish(worker, *inner);
      EXPECT_TRUE(node.was_completed(request));
      node.finish(worker, nested.claim);
      EXPECT_EQ(worker.state, WorkerState::kIdle);
      EXPECT_EQ(node.free_cpus(), 1);
    }
    node.end();
  }
}

TEST(SchedulerNesting, WhatAnInterruptedWaitWasToRunRunsElsewhere) {
  // The task goes on and joins a thread of its own, which waits for the same child: nothing would
  // ever take what was sent to run on top of it.
  FakeNode node(1, cap(1));
  Function* f =
      node.function(FunctionOptions{.name = "f", .resources = {{"CPU", 1}}, .max_retries = 0});
  node.submit(f);
  node.answer_starts();
  Worker& worker = *node.scheduler->workers().front();
  const Parent outer = begin(node, worker);
  const TaskId child = child_of(node, outer, f);
  Request& interrupted = node.get(child, outer.claim.task);
  node.dispatch();
  EXPECT_EQ(worker.state, WorkerState::kNested);
  node.withdraw(interrupted);
  EXPECT_EQ(node.return_nested(worker).size(), 1U);
  EXPECT_EQ(worker.state, WorkerState::kBusy);
  EXPECT_EQ(worker.assigned.size(), 1U);
  EXPECT_EQ(node.free_cpus(), 0) << "the task that was interrupted goes on";
  const Request& joined = node.thread_get(worker, child);
  node.answer_starts();
  ASSERT_EQ(node.scheduler->workers().size(), 2U) << "a deadlock";
  Worker& other = *node.scheduler->workers().back();
  const Claim claim = node.claim(other);
  EXPECT_EQ(claim.task, child);
  node.scheduler->give_back_nested(worker, child, claim.attempt);
  node.scheduler->give_back_nested(other, child, claim.attempt);
  EXPECT_EQ(other.assigned.size(), 1U) << "it was not sent to run on top of another";
  node.finish(other, claim);
  EXPECT_TRUE(node.was_completed(joined));
  EXPECT_EQ(node.state(child), ObjectState::kReady) << "it has lost no try";
  node.finish(worker, outer.claim);
  node.end();
}

TEST(SchedulerNesting, WhatAnInterruptedWaitGivesBackMayBeCancelledMeanwhile) {
  FakeNode node(1, cap(1));
  Function* f = node.function();
  node.submit(f);
  node.answer_starts();
  Worker& worker = *node.scheduler->workers().front();
  const Parent outer = begin(node, worker);
  const TaskId child = child_of(node, outer, f);
  Request& request = node.get(child, outer.claim.task);
  node.dispatch();
  node.withdraw(request);
  node.cancel(child);
  EXPECT_EQ(node.state(child), ObjectState::kPending) << "it may have begun";
  node.return_nested(worker);
  EXPECT_EQ(node.error_kind(child), "cancelled");
  node.dispatch();
  EXPECT_EQ(node.actions.unclaimed(worker.process), 0U);
  node.finish(worker, outer.claim);
  node.end();
}

TEST(SchedulerNesting, ADeathTakesTheWholeStackAlong) {
  FakeNode node(1, cap(1));
  Function* f =
      node.function(FunctionOptions{.name = "f", .resources = {{"CPU", 1}}, .max_retries = 0});
  Function* retried = node.function();
  const TaskId task = node.submit(f);
  node.answer_starts();
  Worker& worker = *node.scheduler->workers().front();
  const Parent outer = begin(node, worker);
  const TaskId child = child_of(node, outer, retried);
  Request& request = node.get(child, task);
  node.dispatch();
  begin(node, worker);
  node.die(worker);
  node.withdraw(request);
  EXPECT_EQ(node.error_kind(task), "worker_crashed");
  EXPECT_EQ(node.free_cpus(), 1);
  EXPECT_EQ(node.run_all(), std::vector{child});
  node.end();
}

TEST(SchedulerNesting, ANestedTaskIsCancelled) {
  for (const bool force : {false, true}) {
    FakeNode node(1, cap(1));
    Function* f = node.function();
    const TaskId task = node.submit(f);
    node.answer_starts();
    Worker& worker = *node.scheduler->workers().front();
    const Parent outer = begin(node, worker);
    const TaskId child = child_of(node, outer, f);
    Request& request = node.get(child, task);
    node.dispatch();
    const Claim nested = node.claim(worker);
    node.cancel(child, force);
    EXPECT_EQ(node.actions.interrupted, std::vector{nested});
    EXPECT_TRUE(node.actions.killed.empty()) << "the outer one is on the same stack";
    if (force) {
      EXPECT_EQ(node.actions.to_kill, std::vector{nested});
      node.kill_attempt(nested);
      EXPECT_EQ(node.actions.killed.size(), 1U);
      node.die(worker);
      node.withdraw(request);
      EXPECT_FALSE(node.exists(child.return_id(0))) << "cancelled, and its only holder dead";
      EXPECT_EQ(node.scheduler->find_task(task)->state, TaskState::kQueued) << "tried again";
    } else {
      node.raise(worker, nested);
      EXPECT_TRUE(node.was_completed(request));
      EXPECT_EQ(node.error_kind(child), "cancelled");
      EXPECT_EQ(worker.state, WorkerState::kBusy);
    }
    node.end();
  }
}

TEST(SchedulerNesting, ByForceTheOthersOfTheStackLoseNoTry) {
  // One that was cancelled too, one with a last try, one that must not run twice.
  FakeNode node(1, cap(1));
  Function* once =
      node.function(FunctionOptions{.name = "once", .resources = {{"CPU", 1}}, .max_retries = 0});
  Function* last =
      node.function(FunctionOptions{.name = "last", .resources = {{"CPU", 1}}, .max_retries = 1});
  const TaskId bottom = node.submit(once);
  node.answer_starts();
  Worker& worker = *node.scheduler->workers().front();
  std::vector<Parent> stack{begin(node, worker)};
  std::vector<Request*> requests;
  for (Function* f : {last, once, once}) {
    const TaskId child = node.submit(f);
    requests.push_back(&node.get(child, stack.back().claim.task));
    node.dispatch();
    stack.push_back(begin(node, worker));
    EXPECT_EQ(stack.back().claim.task, child);
  }
  const TaskId cancelled = stack[3].claim.task;
  const TaskId gently = stack[2].claim.task;
  node.cancel(gently);
  node.cancel(cancelled, true);
  EXPECT_EQ(node.actions.to_kill, std::vector{stack[3].claim});
  node.kill_attempt({cancelled, stack[3].claim.attempt + 1});
  EXPECT_TRUE(node.actions.killed.empty()) << "another attempt";
  node.kill_attempt(stack[3].claim);
  EXPECT_EQ(node.actions.killed, std::vector{worker.process});
  EXPECT_TRUE(node.die(worker));
  for (Request* request : requests)
    node.withdraw(*request);
  EXPECT_EQ(node.error_kind(cancelled), "cancelled");
  EXPECT_EQ(node.error_kind(gently), "cancelled");
  EXPECT_EQ(node.error_kind(bottom), "worker_crashed");
  EXPECT_NE(node.error_field(bottom.return_id(0), "message").find("max_retries=0"),
            std::string::npos);
  const TaskId retried = stack[1].claim.task;
  EXPECT_EQ(node.scheduler->find_task(retried)->starts, 0U);
  node.answer_starts();
  Worker& second = *node.scheduler->workers().front();
  EXPECT_EQ(node.claim(second).task, retried);
  node.die(second);
  EXPECT_EQ(node.state(retried), ObjectState::kPending) << "that was its first try";
  node.end();
}

TEST(SchedulerNesting, ByForceAtOnceWhereAllAreCancelled) {
  FakeNode node(1, cap(1));
  Function* f = node.function();
  const TaskId task = node.submit(f);
  node.answer_starts();
  Worker& worker = *node.scheduler->workers().front();
  const Parent outer = begin(node, worker);
  const TaskId child = child_of(node, outer, f);
  Request& request = node.get(child, task);
  node.dispatch();
  begin(node, worker);
  node.cancel(task, true, true);
  EXPECT_EQ(node.actions.killed, (std::vector{worker.process, worker.process}));
  node.die(worker);
  node.withdraw(request);
  EXPECT_EQ(node.error_kind(task), "cancelled");
  node.end();
}

TEST(SchedulerNesting, WithoutHopeOfAProcessAnAwaitedTaskFails) {
  SchedulerOptions options = cap(64);
  options.max_nested = 0;
  FakeNode node(1, options);
  Function* f = node.function();
  node.submit(f);
  node.answer_starts();
  const Parent parent = begin(node, *node.scheduler->workers().front());
  const TaskId child = child_of(node, parent, f);
  node.get(child, parent.claim.task);
  for (int i = 0; i < 3; ++i) {
    node.dispatch();
    ASSERT_EQ(node.actions.starts_wanted, 1U);
    node.actions.starts_wanted = 0;
    node.scheduler->start_failed();
    node.scheduler->pause_starts(2);
    node.dispatch();
    EXPECT_EQ(node.actions.starts_wanted, 0U);
    node.tick();
    EXPECT_EQ(node.actions.starts_wanted, 0U) << "not before the second tick";
    EXPECT_EQ(node.state(child), ObjectState::kPending);
    node.scheduler->tick();
  }
  node.scheduler->pause_starts(1);
  node.scheduler->give_up_starts("no memory");
  node.dispatch();
  EXPECT_EQ(node.error_kind(child), "node_died");
  EXPECT_NE(node.error_field(child.return_id(0), "message").find("no memory"), std::string::npos);
  node.finish(*parent.worker, parent.claim);
  node.end();
}

TEST(SchedulerNesting, AlsoWhenNoProcessCanBeStarted) {
  FakeNode node(1, cap(64));
  Function* f = node.function();
  const TaskId task = node.submit(f);
  node.answer_starts();
  Worker& worker = *node.scheduler->workers().front();
  const Parent parent = begin(node, worker);
  const TaskId child = child_of(node, parent, f);
  node.get(child, task);
  node.dispatch();
  ASSERT_EQ(node.actions.starts_wanted, 1U);
  node.actions.starts_wanted = 0;
  node.scheduler->start_failed();
  node.dispatch();
  EXPECT_EQ(node.actions.starts_wanted, 0U) << "not again before the next tick";
  EXPECT_EQ(node.claim(worker).task, child);
  node.end();
}

TEST(SchedulerNesting, OnlySoManyOnTopOfAnother) {
  SchedulerOptions options = cap(1);
  options.max_nested = 2;
  FakeNode node(1, options);
  Function* f = node.function();
  node.submit(f);
  node.answer_starts();
  Worker& first = *node.scheduler->workers().front();
  std::vector<Parent> stack{begin(node, first)};
  for (int i = 0; i < 2; ++i) {
    const TaskId child = child_of(node, stack.back(), f);
    node.get(child, stack.back().claim.task);
    node.dispatch();
    stack.push_back(begin(node, first));
    EXPECT_EQ(stack.back().claim.task, child);
  }
  EXPECT_EQ(first.nested, 2U);
  const TaskId child = child_of(node, stack.back(), f);
  const Request& request = node.get(child, stack.back().claim.task);
  node.submit(f);  // would take any worker
  node.dispatch();
  EXPECT_EQ(node.actions.unclaimed(first.process), 0U);
  ASSERT_EQ(node.actions.starts_wanted, 1U);
  Worker& second = node.start_worker();
  node.dispatch();
  const Parent deepest = begin(node, second);
  EXPECT_EQ(deepest.claim.task, child);
  node.finish(second, deepest.claim);
  EXPECT_TRUE(node.was_completed(request));
  for (; !stack.empty(); stack.pop_back())
    node.finish(first, stack.back().claim);
  EXPECT_EQ(first.nested, 0U);
  node.end();
}

TEST(SchedulerNesting, AtTheHardLimitAnAwaitedTaskFails) {
  SchedulerOptions options = cap(1);
  options.max_nested = 0;
  options.hard_max_workers = 2;
  FakeNode node(1, options);
  Function* f = node.function("deep");
  node.submit(f);
  node.answer_starts();
  const Parent first = begin(node, *node.scheduler->workers().front());
  const TaskId middle = child_of(node, first, f);
  node.get(middle, first.claim.task);
  node.answer_starts();
  const Parent second = begin(node, *node.scheduler->workers().back());
  EXPECT_EQ(second.claim.task, middle);
  const TaskId last = child_of(node, second, f);
  const Request& request = node.get(last, middle);
  node.dispatch();
  EXPECT_EQ(node.actions.starts_wanted, 0U);
  EXPECT_TRUE(node.was_completed(request));
  EXPECT_EQ(node.error_kind(last), "infeasible");
  EXPECT_NE(node.error_field(last.return_id(0), "message").find("deep"), std::string::npos);
  node.finish(*second.worker, second.claim);
  node.finish(*first.worker, first.claim);
  node.end();
}

TEST(SchedulerNesting, AtTheHardLimitNothingFailsWhileOneRuns) {
  SchedulerOptions options = cap(1);
  options.max_nested = 0;
  options.hard_max_workers = 2;
  FakeNode node(2, options);
  Function* f = node.function();
  Function* long_one = node.function("long", 0);
  node.submit(f);
  node.answer_starts();
  const Parent first = begin(node, *node.scheduler->workers().front());
  const TaskId other = child_of(node, first, long_one);
  node.get(other, first.claim.task);
  node.answer_starts();
  const Parent second = begin(node, *node.scheduler->workers().back());
  const TaskId child = child_of(node, first, f);
  node.thread_get(*first.worker, child);
  node.dispatch();
  EXPECT_EQ(node.state(child), ObjectState::kPending) << "the other one comes to its end";
  node.finish(*second.worker, second.claim);
  node.dispatch();
  EXPECT_EQ(begin(node, *second.worker).claim.task, child);
  node.end();
}

TEST(SchedulerNesting, WhatThreadsWaitForRunsInOneProcessMore) {
  // Each main thread waits for its threads: nothing can run on top of it.
  FakeNode node(2, cap(2));
  Function* f = node.function();
  f->mean_run_ns = 100'000'000;
  const std::vector<TaskId> parents = node.submit_many(f, 50);
  node.answer_starts();
  std::map<Worker*, Claim> running;
  std::map<std::uint64_t, std::vector<Request*>> waiting;  // of each parent
  std::size_t ended = 0;
  std::size_t most = 0;
  for (int i = 0; i < 10'000 && ended < parents.size(); ++i) {
    node.answer_starts();
    most = std::max(most, node.scheduler->counts().workers);
    const std::vector<Worker*> workers = node.scheduler->workers();
    for (Worker* worker : workers) {
      const auto known = running.find(worker);
      if (known != running.end()) {
        const Claim claim = known->second;
        const std::vector<Request*>& requests = waiting[claim.task.value];
        if (std::any_of(requests.begin(), requests.end(),
                        [](const Request* request) { return !request->completed; })) {
          continue;
        }
        running.erase(known);
        node.finish(*worker, claim);
        if (!requests.empty()) ++ended;
        continue;
      }
      const std::optional<Claim> claim = node.actions.claim(worker->process);
      if (!claim) continue;
      running[worker] = *claim;
      if (std::find(parents.begin(), parents.end(), claim->task) == parents.end()) continue;
      for (int thread = 0; thread < 3; ++thread) {
        const TaskId child = child_of(node, {worker, *claim}, f);
        waiting[claim->task.value].push_back(&node.thread_get(*worker, child));
      }
    }
  }
  EXPECT_EQ(ended, parents.size()) << "a deadlock";
  EXPECT_LE(most, 3U) << "a process more begins nothing that would wait in its turn";
  node.end();
}

TEST(SchedulerNesting, AThreadThatBeganToWaitDuringANestedTaskWaitsAlsoAfterIt) {
  FakeNode node(1, cap(1));
  Function* f = node.function("free", 0);
  node.submit(f);
  node.answer_starts();
  const Parent parent = begin(node, *node.scheduler->workers().front());
  const TaskId first = child_of(node, parent, f);
  const TaskId second = child_of(node, parent, f);
  Request& request = node.get(first, parent.claim.task);
  node.dispatch();
  const Claim nested = node.claim(*parent.worker);
  ASSERT_EQ(nested.task, first);
  node.thread_get(*parent.worker, second);
  node.finish(*parent.worker, nested);
  EXPECT_TRUE(node.was_completed(request));
  // The main thread may join the other one now, so there must be somebody to run what that awaits.
  node.answer_starts();
  ASSERT_EQ(node.scheduler->workers().size(), 2U) << "a deadlock";
  const Parent other = begin(node, *node.scheduler->workers().back());
  EXPECT_EQ(other.claim.task, second);
  node.finish(*other.worker, other.claim);
  node.finish(*parent.worker, parent.claim);
  node.end();
}

TEST(SchedulerNesting, WithNoCpusOfTheirOwn) {
  // Tasks that ask for nothing fit always; only the cap keeps them in.
  FakeNode node(1, cap(3));
  Function* f = node.function("free", 0);
  node.submit_many(f, 100);
  node.dispatch();
  EXPECT_EQ(node.actions.starts_wanted, 3U);
  node.answer_starts();
  EXPECT_EQ(node.scheduler->counts().workers, 3U);
  EXPECT_EQ(node.free_cpus(), 1);
  node.end();
}

}  // namespace
}  // namespace haz
