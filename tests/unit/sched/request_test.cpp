// Requests: get and wait.

#include "unit/sched/fake_node.h"

namespace haz {
namespace {

struct TwoTasks : ::testing::Test {
  FakeNode node{2};
  Function* f = node.function();
  TaskId a = node.submit(f);
  TaskId b = node.submit(f);
  ObjectId ready = node.put();
  std::vector<Claim> claims;

  void SetUp() override {
    node.answer_starts();
    for (Worker* worker : node.scheduler->workers())
      claims.push_back(node.claim(*worker));
  }
  void TearDown() override { node.end(); }
  Worker& worker(std::size_t i) { return *node.scheduler->workers()[i]; }
};
using SchedulerRequests = TwoTasks;

TEST_F(SchedulerRequests, CompletesAtOnceWhenAllIsReady) {
  EXPECT_TRUE(node.was_completed(node.get({ready, ready})));
  EXPECT_TRUE(node.was_completed(node.wait({a.return_id(0), ready}, 1)));
  EXPECT_TRUE(node.was_completed(node.wait({a.return_id(0)}, 0)));
  EXPECT_TRUE(node.was_completed(node.get(std::vector<ObjectId>{})));
}

TEST_F(SchedulerRequests, CompletesWithTheLast) {
  const Request& get = node.get({a.return_id(0), ready, b.return_id(0)});
  const Request& any = node.wait({a.return_id(0), b.return_id(0)}, 1);
  EXPECT_FALSE(get.completed || any.completed);
  node.finish(worker(1), claims[1]);
  EXPECT_FALSE(get.completed);
  EXPECT_TRUE(node.was_completed(any));
  node.finish(worker(0), claims[0]);
  EXPECT_TRUE(node.was_completed(get));
  EXPECT_EQ(node.actions.completed.size(), 2U) << "each once";
}

TEST_F(SchedulerRequests, DuplicatesCountEach) {
  const Request& three = node.wait({a.return_id(0), a.return_id(0), b.return_id(0)}, 3);
  const Request& two = node.wait({a.return_id(0), a.return_id(0), b.return_id(0)}, 2);
  node.finish(worker(0), claims[0]);
  EXPECT_TRUE(node.was_completed(two));
  EXPECT_FALSE(three.completed);
  node.finish(worker(1), claims[1]);
  EXPECT_TRUE(node.was_completed(three));
}

TEST_F(SchedulerRequests, AnUnknownObjectIsRefusedAndNothingIsHeld) {
  Request request;
  request.needed = 1;
  const std::vector<ObjectId> ids{ready, a.return_id(0), ObjectId{4711}};
  EXPECT_FALSE(node.scheduler->start(request, ids, nullptr));
  EXPECT_TRUE(request.nodes.empty());
  node.drop(ready);
  EXPECT_FALSE(node.exists(ready));
}

TEST_F(SchedulerRequests, MoreThanIsNamedIsRefused) {
  Request request;
  request.needed = 2;
  EXPECT_FALSE(node.scheduler->start(request, std::vector{ready}, nullptr));
  node.drop(ready);
  EXPECT_FALSE(node.exists(ready));
}

TEST_F(SchedulerRequests, AGetStopsAtTheFirstError) {
  const Request& get = node.get({a.return_id(0), b.return_id(0)});
  const Request& wait = node.wait({a.return_id(0), b.return_id(0)}, 2);
  node.raise(worker(1), claims[1]);
  EXPECT_TRUE(node.was_completed(get));
  EXPECT_FALSE(wait.completed) << "to a wait an error is as good as a value";
  EXPECT_TRUE(node.was_completed(node.get({a.return_id(0), b.return_id(0)})));
  node.finish(worker(0), claims[0]);
  EXPECT_TRUE(node.was_completed(wait));
}

TEST_F(SchedulerRequests, HoldsItsObjectsUntilWithdrawn) {
  Request& request = node.get({a.return_id(0), ready});
  node.drop(a);
  node.drop(ready);
  node.finish(worker(0), claims[0]);
  EXPECT_TRUE(node.was_completed(request));
  EXPECT_EQ(node.value(a), "result");
  EXPECT_TRUE(node.exists(ready));
  node.withdraw(request);
  EXPECT_FALSE(node.exists(a.return_id(0)));
  EXPECT_FALSE(node.exists(ready));
  node.withdraw(request);  // once more does nothing
}

TEST_F(SchedulerRequests, AWithdrawnRequestNeverCompletes) {
  Request& request = node.get({a.return_id(0), b.return_id(0)});
  node.finish(worker(0), claims[0]);
  node.withdraw(request);
  node.finish(worker(1), claims[1]);
  EXPECT_FALSE(request.completed);
  EXPECT_TRUE(node.actions.completed.empty());
}

TEST_F(SchedulerRequests, ManyWaitForTheSame) {
  std::vector<Request*> requests;
  for (int i = 0; i < 10; ++i)
    requests.push_back(&node.get(a));
  for (const int i : {0, 9, 4})
    node.withdraw(*requests[static_cast<std::size_t>(i)]);
  node.finish(worker(0), claims[0]);
  EXPECT_EQ(node.actions.completed.size(), 7U);
  EXPECT_EQ(node.actions.completed.front(), requests[1]) << "first come first";
  EXPECT_EQ(node.actions.completed.back(), requests[8]);
}

TEST_F(SchedulerRequests, TheWorkerKnowsWhichResultsAreWantedSoon) {
  EXPECT_EQ(worker(0).wanted_soon, 0U);
  Request& single = node.get(a);
  EXPECT_EQ(worker(0).wanted_soon, 1U);
  EXPECT_EQ(worker(1).wanted_soon, 0U);
  Request bulk;
  bulk.bulk = true;
  bulk.needed = 1;
  EXPECT_TRUE(node.scheduler->start(bulk, std::vector{b.return_id(0)}, nullptr));
  EXPECT_EQ(worker(1).wanted_soon, 0U);
  node.submit(f, {.dependencies = {b.return_id(0)}});
  EXPECT_EQ(worker(1).wanted_soon, 1U) << "another task waits for it";
  node.withdraw(single);
  node.withdraw(bulk);
  node.finish(worker(0), claims[0]);
  EXPECT_EQ(worker(0).wanted_soon, 0U);
}

}  // namespace
}  // namespace haz
