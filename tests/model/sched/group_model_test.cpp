// Placement groups under event orders drawn from seeds: groups made and removed, tasks and actors
// in them and outside, blocking, deaths and cancels in any order. HAZ_TEST_SEEDS=N runs N of them;
// HAZ_TEST_FIRST_SEED=S begins with S, to see a failure again.

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <vector>

#include "unit/sched/fake_node.h"

namespace haz {
namespace {

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text != nullptr && *text != '\0' ? std::strtoull(text, nullptr, 10) : otherwise;
}

/// What the test itself knows of a group, from what it said and not from what the scheduler says.
struct ModelGroup {
  ObjectId id;
  std::vector<double> cpus;  ///< Of each bundle.
  bool removed = false;
};

/// What runs, and with what: one claimed attempt that does not wait.
struct ModelRun {
  std::uint64_t group = 0;  ///< 0: none.
  std::int32_t bundle = kAnyBundle;
  double cpus = 1;
};

/// Makes one event after the other. What it checks beside the scheduler's invariants: reserved
/// bundles never exceed the node, what runs in a group never exceeds its bundles, a removed group
/// begins nothing, a group that fits is not kept waiting, and every ref ends with a value or error.
class RandomGroups {
 public:
  explicit RandomGroups(std::uint64_t seed) : random_(seed) {
    for (const double cpus : {0.0, 0.5, 1.0, 2.0})
      functions_.push_back({node_.function("f", cpus), cpus});
    ActorOptions options;
    options.max_restarts = 1;
    FunctionOptions cls{.name = "C", .resources = {{"CPU", 1}}};
    cls.max_retries = 0;
    cls.actor = std::make_shared<ActorOptions>(std::move(options));
    class_ = node_.function(cls);
  }

  void step() {
    switch (pick(16)) {
      case 0:
        create_group();
        break;
      case 1:
        if (one_in(2)) remove_group();
        break;
      case 2:
      case 3:
      case 4:
        submit();
        break;
      case 5:
        if (one_in(3)) create_actor();
        break;
      case 6:
        block();
        break;
      case 7:
        if (one_in(6)) die();
        break;
      case 8:
        if (one_in(3)) cancel();
        break;
      case 9:
        node_.tick();
        break;
      case 10:
        if (node_.actions.starts_wanted > 0) node_.start_worker();
        break;
      case 11:
        reap();
        break;
      default:
        work();
        break;
    }
    if (one_in(2)) node_.dispatch();
    check();
  }

  /// Removes all groups and lets the rest run to its end.
  void end() {
    for (ModelGroup& group : groups_)
      remove(group);
    for (int round = 0; round < 500; ++round) {
      node_.answer_starts();
      reap();
      finish_claimed();
      for (Worker* worker : std::vector<Worker*>(node_.scheduler->workers()))
        claim(*worker);
      finish_claimed();
      node_.tick();
      check();
    }
    for (const ObjectId ref : refs_)
      EXPECT_NE(node_.state(ref), ObjectState::kPending) << "a ref never ended";
    for (const ObjectId ref : refs_)
      node_.drop(ref);
    node_.end();
  }

 private:
  struct Claimed {
    ProcessId process;
    Claim claim;
  };

  std::size_t pick(std::size_t count) { return random_() % count; }
  bool one_in(std::size_t count) { return pick(count) == 0; }
  template <typename T>
  T& any(std::vector<T>& items) {
    return items[pick(items.size())];
  }

  void create_group() {
    GroupSpec spec;
    spec.id = node_.new_id(node_.driver);
    spec.creator = node_.driver;
    ModelGroup group{spec.id, {}};
    double sum = 0;
    for (std::size_t i = 0; i <= pick(3); ++i) {
      const double cpus = std::vector{0.5, 1.0, 2.0}[pick(3)];
      sum += cpus;
      group.cpus.push_back(cpus);
      spec.bundles.push_back({{"CPU", cpus}});
    }
    const Status made = node_.scheduler->create_group(spec, NewValue{});
    EXPECT_EQ(made.ok(), sum <= 4);
    if (!made.ok()) return;
    refs_.push_back(spec.id);
    groups_.push_back(std::move(group));
    node_.check();
  }

  void remove_group() {
    if (!groups_.empty()) remove(any(groups_));
  }
  void remove(ModelGroup& group) {
    group.removed = true;
    node_.scheduler->remove_group(group.id);
    node_.check();
  }

  ModelGroup* model_of(ObjectId id) {
    for (ModelGroup& group : groups_) {
      if (group.id == id) return &group;
    }
    return nullptr;
  }

  void submit() {
    const auto& [function, cpus] = any(functions_);
    TaskOptions options;
    if (!claimed_.empty() && one_in(3)) options.parent = any(claimed_).claim.task;
    if (!refs_.empty() && one_in(5)) options.dependencies = {any(refs_)};
    TaskSpec spec = node_.spec_of(function, options);
    choose_place(spec);
    ASSERT_TRUE(node_.scheduler->submit(spec).ok());
    refs_.push_back(spec.id.return_id(0));
    cpus_[spec.id.value] = cpus;
    note_bundle(spec);
    node_.check();
  }

  void create_actor() {
    TaskSpec spec = node_.spec_of(class_, {});
    choose_place(spec);
    Result<ObjectId> made = node_.scheduler->create_actor(spec, ActorSpec{});
    ASSERT_TRUE(made.ok());
    refs_.push_back(*made);
    cpus_[spec.id.value] = 1;
    note_bundle(spec);
    node_.check();
  }

  void choose_place(TaskSpec& spec) {
    if (groups_.empty() || one_in(4)) return;
    const ModelGroup& group = any(groups_);
    spec.group = one_in(8) ? kNoGroup : group.id;
    spec.bundle = static_cast<std::int32_t>(pick(group.cpus.size() + 1)) - 1;
    spec.captures = one_in(2);
  }
  void note_bundle(const TaskSpec& spec) {
    if (spec.group && spec.group != kNoGroup) bundles_[spec.id.value] = spec.bundle;
  }

  void work() {
    std::vector<Worker*> workers(node_.scheduler->workers());
    if (workers.empty()) return;
    if (one_in(2) && !claimed_.empty()) {
      finish(pick(claimed_.size()));
    } else {
      claim(*any(workers));
    }
  }

  void claim(Worker& worker) {
    const std::optional<Claim> claimed = node_.actions.claim(worker.process);
    if (!claimed) return;
    const Task* task = node_.scheduler->find_task(claimed->task);
    if (task != nullptr && task->worker == &worker && task->resources->group != nullptr) {
      const ModelGroup* group = model_of(task->resources->group->id);
      ASSERT_NE(group, nullptr);
      EXPECT_FALSE(group->removed && !worker.doomed) << "a removed group begins a task";
    }
    claimed_.push_back({worker.process, *claimed});
  }

  /// The last claimed of a process comes first, as it runs on top of the others.
  void finish(std::size_t at) {
    for (std::size_t later = at + 1; later < claimed_.size(); ++later) {
      if (claimed_[later].process == claimed_[at].process) at = later;
    }
    const Claimed ended = claimed_[at];
    const Task* task = node_.scheduler->find_task(ended.claim.task);
    if (task != nullptr && task->blocking_request != nullptr) return;
    claimed_.erase(claimed_.begin() + static_cast<std::ptrdiff_t>(at));
    Worker* worker = worker_of(ended.process);
    if (worker == nullptr) return;
    if (one_in(6)) {
      node_.raise(*worker, ended.claim, "error",
                  one_in(2) ? Outcome::kRetryable : Outcome::kRaised);
    } else {
      node_.finish(*worker, ended.claim);
    }
  }
  void finish_claimed() {
    for (std::size_t left = claimed_.size(); left > 0; --left) {
      if (left <= claimed_.size()) finish(left - 1);
    }
  }

  Worker* worker_of(ProcessId process) {
    for (Worker* worker : node_.scheduler->workers()) {
      if (worker->process == process) return worker;
    }
    return nullptr;
  }

  /// A claimed task waits for some ref.
  void block() {
    if (claimed_.empty() || refs_.empty()) return;
    const Claimed& sleeper = any(claimed_);
    const Task* task = node_.scheduler->find_task(sleeper.claim.task);
    if (task == nullptr || task->worker == nullptr || task->worker->process != sleeper.process ||
        task->attempt != sleeper.claim.attempt || task->blocking_request != nullptr) {
      return;
    }
    if (task->worker->assigned.front() != task) return;
    // Of those made before it only, so that nobody waits for himself.
    const ObjectId awaited = any(refs_);
    if (awaited.value >= sleeper.claim.task.value) return;
    node_.get({awaited}, sleeper.claim.task);
  }

  void die() {
    const std::vector<Worker*>& workers = node_.scheduler->workers();
    if (!workers.empty()) end_process(*workers[pick(workers.size())]);
  }
  void end_process(Worker& worker) {
    const ProcessId process = worker.process;
    std::erase_if(claimed_, [process](const Claimed& one) { return one.process == process; });
    node_.die(worker);
  }
  /// Those that were told to end do.
  void reap() {
    for (Worker* worker : std::vector<Worker*>(node_.scheduler->workers())) {
      if (worker->doomed) end_process(*worker);
    }
  }

  void cancel() {
    if (refs_.empty()) return;
    node_.scheduler->cancel(any(refs_), one_in(2), one_in(2));
    node_.check();
  }

  void check() {
    double reserved = 0;
    for (const ModelGroup& group : groups_) {
      const PlacementGroup* known = node_.scheduler->find_group(group.id);
      ASSERT_EQ(known != nullptr && known->state == GroupState::kRemoved, group.removed);
      if (known->state != GroupState::kReserved) continue;
      for (const double cpus : group.cpus)
        reserved += cpus;
    }
    EXPECT_LE(reserved, 4) << "more is reserved than there is";
    check_runs();
  }

  /// What runs in each bundle; what waits there has lent its part.
  void check_runs() {
    std::map<std::pair<std::uint64_t, std::int32_t>, double> in_bundle;
    std::map<std::uint64_t, double> in_group;
    for (const Claimed& one : claimed_) {
      const Task* task = node_.scheduler->find_task(one.claim.task);
      if (task == nullptr || task->worker == nullptr || task->worker->process != one.process)
        continue;
      if (task->attempt != one.claim.attempt || task->worker->assigned.front() != task) continue;
      if (task->blocking_request != nullptr || task->resources->group == nullptr) continue;
      // One that resumes does not wait for its slot, so only those that never waited are sure.
      if (resumed_.count(task->id.value) != 0) continue;
      const std::uint64_t group = task->resources->group->id.value;
      const double cpus = cpus_[task->id.value];
      in_group[group] += cpus;
      if (const auto said = bundles_.find(task->id.value); said != bundles_.end()) {
        if (said->second != kAnyBundle) in_bundle[{group, said->second}] += cpus;
      }
    }
    for (const ModelGroup& group : groups_) {
      double sum = 0;
      for (std::size_t i = 0; i < group.cpus.size(); ++i) {
        sum += group.cpus[i];
        const auto at = std::pair(group.id.value, static_cast<std::int32_t>(i));
        EXPECT_LE(in_bundle[at], group.cpus[i]) << "a bundle gives more than it has";
      }
      EXPECT_LE(in_group[group.id.value], sum) << "a group gives more than it has";
    }
    for (const Claimed& one : claimed_) {
      const Task* task = node_.scheduler->find_task(one.claim.task);
      if (task != nullptr && task->blocking_request != nullptr) resumed_.insert(task->id.value);
    }
  }

  std::mt19937_64 random_;
  FakeNode node_{4};
  std::vector<std::pair<Function*, double>> functions_;
  Function* class_ = nullptr;
  std::vector<ModelGroup> groups_;
  std::vector<ObjectId> refs_;
  std::vector<Claimed> claimed_;
  std::map<std::uint64_t, double> cpus_;           ///< Of a task.
  std::map<std::uint64_t, std::int32_t> bundles_;  ///< That a task has asked for.
  std::set<std::uint64_t> resumed_;                ///< Tasks that have waited.
};

TEST(GroupModel, AnyOrderOfEvents) {
  const std::uint64_t count = number_from("HAZ_TEST_SEEDS", 60);
  const std::uint64_t first = number_from("HAZ_TEST_FIRST_SEED", 1);
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    RandomGroups groups(seed);
    for (int i = 0; i < 400 && !::testing::Test::HasFailure(); ++i)
      groups.step();
    if (!::testing::Test::HasFailure()) groups.end();
    ASSERT_FALSE(::testing::Test::HasFailure()) << "HAZ_TEST_FIRST_SEED=" << seed;
  }
}

}  // namespace
}  // namespace haz
