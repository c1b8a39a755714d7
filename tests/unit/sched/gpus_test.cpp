#include "sched/gpus.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <vector>

#include "unit/sched/fake_node.h"

namespace haz {
namespace {

using Ids = std::vector<std::uint32_t>;

GpuTable table_of(std::uint32_t count) {
  GpuTable table;
  for (std::uint32_t id = 0; id < count; ++id)
    table.add(id, kGpuUnits);
  return table;
}

TEST(GpuTable, PartsShareAGpuUntilItIsFull) {
  GpuTable table = table_of(2);
  GpuShare first = table.take(kGpuUnits / 2);
  EXPECT_EQ(first.ids, Ids{0});
  GpuShare second = table.take(kGpuUnits / 4);
  EXPECT_EQ(second.ids, Ids{0});
  EXPECT_TRUE(table.fits(kGpuUnits));
  EXPECT_FALSE(table.fits(2 * kGpuUnits));
  GpuShare third = table.take(kGpuUnits / 2);
  EXPECT_EQ(third.ids, Ids{1});
  EXPECT_FALSE(table.fits(kGpuUnits)) << "one is left, but in two parts";
  table.give_back(first);
  table.give_back(second);
  table.give_back(third);
  EXPECT_EQ(table.free(), 2 * kGpuUnits);
  EXPECT_TRUE(third.ids.empty());
}

TEST(GpuTable, CountsHowOftenAShareFits) {
  const GpuTable table = table_of(4);
  EXPECT_TRUE(table.fits(2 * kGpuUnits, 2));
  EXPECT_FALSE(table.fits(2 * kGpuUnits, 3));
  EXPECT_TRUE(table.fits(4'000, 8)) << "two on each";
  EXPECT_FALSE(table.fits(4'000, 9));
}

/// Tasks and actors that ask for GPUs.
class GpuTest : public ::testing::Test {
 protected:
  explicit GpuTest() { node.scheduler->set_resource("GPU", 2); }

  Function* gpu_function(double gpus, std::int32_t max_retries = 3) {
    Function* made = node.function(
        FunctionOptions{.name = "f", .resources = {{"GPU", gpus}}, .max_retries = max_retries});
    made->mean_run_ns = kSecondNs;  // none waits behind another
    return made;
  }
  /// Runs what can run, and looks that no GPU is given twice. Ids by task.
  std::map<std::uint64_t, Ids> running() {
    std::map<std::uint64_t, Ids> found;
    std::map<std::uint32_t, std::int64_t> used;
    for (const Worker* worker : node.scheduler->workers()) {
      const Task* task = worker->assigned.front();
      if (task == nullptr) continue;
      const GpuShare& share = Scheduler::grant_of(*task).gpus;
      found[task->id.value] = share.ids;
      for (const std::uint32_t id : share.ids)
        used[id] += share.units_each;
    }
    for (const auto& [id, units] : used) {
      EXPECT_LT(id, 2U);
      EXPECT_LE(units, kGpuUnits) << "GPU " << id << " was given twice";
    }
    return found;
  }

  FakeNode node{8};
};

TEST_F(GpuTest, EachTaskHasItsOwn) {
  Function* f = gpu_function(1);
  const std::vector<TaskId> tasks = node.submit_many(f, 3);
  node.answer_starts();
  const auto ids = running();
  EXPECT_EQ(ids.size(), 2U) << "the third one waits";
  EXPECT_NE(ids.at(tasks[0].value), ids.at(tasks[1].value));
  EXPECT_EQ(node.run_all().size(), 3U);
  node.end();
}

TEST_F(GpuTest, AWholeOneWaitsForTheSecondHalf) {
  Function* half = gpu_function(0.5);
  Function* more = gpu_function(0.75);
  Function* whole = gpu_function(1);
  const TaskId first = node.submit(half);
  const TaskId second = node.submit(more);
  node.answer_starts();
  const TaskId third = node.submit(whole);
  node.answer_starts();
  EXPECT_EQ(running().size(), 2U) << "0.75 are free, and not of one GPU";
  Worker& worker = *node.scheduler->find_task(first)->worker;
  node.finish(worker, node.claim(worker));
  node.dispatch();
  EXPECT_EQ(running().at(third.value), Ids{0});
  EXPECT_EQ(running().at(second.value), Ids{1});
  node.run_all();
  node.end();
}

TEST_F(GpuTest, ADeadWorkersGpuGoesToTheRetry) {
  Function* f = gpu_function(2);
  const TaskId task = node.submit(f);
  node.answer_starts();
  Worker& worker = *node.scheduler->find_task(task)->worker;
  (void)node.claim(worker);
  EXPECT_EQ(running().at(task.value).size(), 2U);
  node.die(worker);
  node.answer_starts();
  EXPECT_EQ(running().at(task.value).size(), 2U);
  EXPECT_EQ(node.run_all().size(), 1U);
  node.end();
}

TEST_F(GpuTest, AnActorKeepsItsOwnUntilItsProcessEnds) {
  ActorOptions options;
  options.resources = {{"GPU", 1}};
  FunctionOptions function{.name = "A", .resources = {{"CPU", 1}, {"GPU", 1}}, .max_retries = 0};
  function.actor = std::make_shared<ActorOptions>(options);
  Function* cls = node.function(function);
  Result<ObjectId> made = node.scheduler->create_actor(node.spec_of(cls, {}), {});
  ASSERT_TRUE(made.ok());
  node.answer_starts();
  Actor* actor = node.scheduler->find_actor(*made);
  Worker& worker = *actor->worker;
  const Ids placed = actor->grant.gpus.ids;
  node.finish(worker, node.claim(worker), "made");
  EXPECT_EQ(actor->grant.gpus.ids, placed);
  const TaskId task = node.submit(gpu_function(1));
  node.answer_starts();
  EXPECT_NE(running().at(task.value), placed);
  node.run_all();
  node.scheduler->kill_actor(*made, true);
  const TaskId both = node.submit(gpu_function(2));
  node.answer_starts();
  EXPECT_EQ(running().count(both.value), 0U) << "the process has not ended yet";
  node.die(worker);
  node.answer_starts();
  EXPECT_EQ(running().at(both.value).size(), 2U);
  node.run_all();
  node.drop(*made);
  node.end();
}

TEST_F(GpuTest, WhatIsNoNumberOfGpusIsRefused) {
  node.scheduler->set_resource("GPU", 40);
  for (const double amount : {1.5, 2.0001, 25.0, 41.0}) {
    EXPECT_FALSE(
        node.scheduler->register_function({.name = "f", .resources = {{"GPU", amount}}}).ok())
        << amount;
  }
  EXPECT_TRUE(node.scheduler->register_function({.name = "f", .resources = {{"GPU", 24}}}).ok());
  node.end();
}

}  // namespace
}  // namespace haz
