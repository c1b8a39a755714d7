// Actors under event orders drawn from seeds: calls, deaths, kills, cancels and dropped handles in
// any order. HAZ_TEST_SEEDS=N runs N of them; HAZ_TEST_FIRST_SEED=S begins with S, to see a failure
// again.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
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

/// Makes one event after the other. What it checks beside the scheduler's invariants: calls of one
/// caller begin in their order, an actor that takes them in turn has one at a time, and every ref
/// ends with a value or an error.
class RandomActors {
 public:
  explicit RandomActors(std::uint64_t seed) : random_(seed) {
    node_.actions.ring_capacity = std::array<std::size_t, 4>{1, 2, 8, 1024}[pick(4)];
    for (int i = 0; i < 6; ++i)
      add_class(i);
    for (const std::int32_t retries : {0, 1, -1}) {
      methods_.push_back(
          node_.function(FunctionOptions{.name = "C.f", .max_retries = retries, .group = ""}));
      methods_.push_back(
          node_.function(FunctionOptions{.name = "C.g", .max_retries = retries, .group = "io"}));
    }
    task_ = node_.function();
  }

  void step() {
    switch (pick(20)) {
      case 0:
      case 1:
        create();
        break;
      case 2:
        drop_handle();
        break;
      case 3:
        submit_task();
        break;
      case 4:
        if (one_in(3)) kill_actor();
        break;
      case 5:
        if (one_in(3)) kill_process();
        break;
      case 6:
        if (one_in(3)) exit_actor();
        break;
      case 7:
        cancel();
        break;
      case 8:
        node_.tick();
        break;
      case 9:
        if (node_.actions.starts_wanted > 0) node_.start_worker();
        break;
      case 10:
        drop_ref();
        break;
      case 11:
      case 12:
      case 13:
        work();
        break;
      default:
        call();
    }
    node_.dispatch();
  }

  /// Lets everything end, and looks at what the refs hold.
  void end() {
    // Actors that others hold may hold all CPUs: enough for everyone.
    node_.scheduler->set_resource("CPU", 1000);
    for (const ObjectId handle : handles_)
      node_.drop(handle);
    for (int i = 0; i < 20'000 && unfinished(); ++i) {
      if (node_.actions.starts_wanted > 0) node_.start_worker();
      work();
      node_.tick();
    }
    EXPECT_FALSE(unfinished()) << "a ref never ends: " << pending();
    for (const ObjectId ref : refs_)
      node_.drop(ref);
    node_.end();
  }

 private:
  struct Begun {
    TaskId task;
    std::uint32_t attempt;
  };

  std::uint64_t pick(std::uint64_t below) { return random_() % below; }
  bool one_in(std::uint64_t times) { return pick(times) == 0; }
  template <typename T>
  T& any(std::vector<T>& from) {
    return from[pick(from.size())];
  }

  void add_class(int kind) {
    auto options = std::make_shared<ActorOptions>();
    options->max_restarts = kind % 3 - 1;
    options->allow_out_of_order = kind == 3;
    options->is_sequential = kind < 4;
    if (kind % 2 == 1) options->resources = {{"CPU", 0.5}};
    if (kind == 5) {
      options->groups = {{"io", 2}};
      options->default_group_limit = 1;
    }
    FunctionOptions function{.name = "C.__init__", .resources = {{"CPU", 1}}, .max_retries = 0};
    function.actor = options;
    classes_.push_back(node_.function(function));
  }

  void create() {
    if (handles_.size() > 8) return;
    TaskOptions options;
    if (one_in(3) && !refs_.empty()) options.dependencies = {any(refs_)};
    const Result<ObjectId> made =
        node_.scheduler->create_actor(node_.spec_of(any(classes_), options),
                                      ActorSpec{one_in(4) ? "name" : "", "space", one_in(2)});
    node_.check();
    if (made.ok()) handles_.push_back(made.value());
  }

  void call() {
    if (handles_.empty() || refs_.size() > 300) return;
    TaskOptions options;
    if (one_in(4) && !refs_.empty()) options.dependencies = {any(refs_)};
    if (one_in(6)) options.refs = {any(handles_)};
    TaskSpec spec = node_.spec_of(any(methods_), options);
    spec.actor = any(handles_);
    const Status status = node_.scheduler->submit(spec);
    ASSERT_TRUE(status.ok()) << status.error().message;
    node_.check();
    refs_.push_back(spec.id.return_id(0));
    actor_of_[spec.id.value] = spec.actor;
  }

  void submit_task() {
    if (refs_.size() > 300) return;
    refs_.push_back(node_.submit(task_).return_id(0));
  }

  void drop_handle() {
    if (handles_.empty()) return;
    ObjectId& handle = any(handles_);
    node_.drop(handle);
    std::swap(handle, handles_.back());
    handles_.pop_back();
  }

  void drop_ref() {
    if (refs_.empty()) return;
    ObjectId& ref = any(refs_);
    node_.drop(ref);
    std::swap(ref, refs_.back());
    refs_.pop_back();
  }

  void kill_actor() {
    if (handles_.empty()) return;
    node_.scheduler->kill_actor(any(handles_), one_in(2));
    node_.check();
  }

  void cancel() {
    if (refs_.empty()) return;
    node_.scheduler->cancel(any(refs_), one_in(3), one_in(2));
    node_.check();
  }

  Worker* any_worker() {
    std::vector<Worker*> workers = node_.scheduler->workers();
    return workers.empty() ? nullptr : any(workers);
  }

  void kill_process() {
    Worker* worker = any_worker();
    if (worker == nullptr) return;
    begun_.erase(worker->process.value);
    node_.die(*worker, {.pid = 7, .signal = 9});
  }

  void exit_actor() {
    Worker* worker = any_worker();
    if (worker == nullptr || worker->actor == nullptr) return;
    node_.scheduler->actor_exited(*worker);
    node_.check();
  }

  /// A process that was told to end does, or begins or ends something.
  void work() {
    Worker* worker = any_worker();
    if (worker == nullptr) return;
    const auto told = [worker](const std::vector<ProcessId>& list) {
      return std::find(list.begin(), list.end(), worker->process) != list.end();
    };
    std::vector<Begun>& begun = begun_[worker->process.value];
    if (told(node_.actions.killed) || (told(node_.actions.stopped) && begun.empty())) {
      begun_.erase(worker->process.value);
      node_.die(*worker, {.pid = 7, .signal = 9});
      return;
    }
    const bool may_begin = begun.empty() || (worker->actor != nullptr && !is_in_turn(*worker));
    if (may_begin && one_in(2)) {
      if (const std::optional<Claim> claim = node_.actions.claim(worker->process)) {
        begin(*worker, *claim);
        begun.push_back({claim->task, claim->attempt});
      }
      return;
    }
    if (begun.empty()) return;
    const std::size_t which = pick(begun.size());
    const Claim claim{begun[which].task, begun[which].attempt};
    begun.erase(begun.begin() + static_cast<std::ptrdiff_t>(which));
    if (one_in(5)) {
      node_.raise(*worker, claim, "raised", one_in(2) ? Outcome::kRetryable : Outcome::kRaised);
    } else {
      node_.finish(*worker, claim);
    }
  }

  static bool is_in_turn(const Worker& worker) {
    return worker.actor->function->actor->is_sequential;
  }

  void begin(const Worker& worker, const Claim& claim) {
    const auto called = actor_of_.find(claim.task.value);
    if (called == actor_of_.end()) return;
    ASSERT_NE(worker.actor, nullptr) << "a call runs in a process without an actor";
    EXPECT_EQ(worker.actor->id, called->second) << "a call runs in another actor's process";
    const Task* task = node_.scheduler->find_task(claim.task);
    if (task == nullptr || worker.actor->function->actor->allow_out_of_order) return;
    // The driver is the only caller: first attempts begin in the order of the calls.
    if (!first_begun_.insert(claim.task.value).second) return;
    std::uint64_t& last = last_begun_[{worker.actor->id.value, task->group}];
    EXPECT_LT(last, claim.task.value) << "a call has overtaken an earlier one";
    last = claim.task.value;
  }

  [[nodiscard]] bool unfinished() {
    return std::any_of(refs_.begin(), refs_.end(),
                       [this](ObjectId ref) { return node_.state(ref) == ObjectState::kPending; });
  }

  /// What has not ended, for a person.
  std::string pending() {
    std::string text;
    for (const ObjectId ref : refs_) {
      const Task* task = node_.scheduler->find_task(TaskId{ref.value});
      if (task == nullptr) continue;
      text += "\n" + std::to_string(ref.value) + " state " +
              std::to_string(static_cast<int>(task->state)) + " place " +
              std::to_string(static_cast<int>(task->place)) + " missing " +
              std::to_string(task->missing);
      if (task->actor == nullptr) continue;
      const Actor& actor = *task->actor;
      text += " of actor " + std::to_string(actor.id.value) + " state " +
              std::to_string(static_cast<int>(actor.state)) + " process " +
              std::to_string(actor.worker != nullptr ? actor.worker->process.value : 0);
      for (std::uint32_t i = 0; i < task->num_dependencies; ++i)
        text += " needs " + std::to_string(task->dependencies[i].object->id.value);
    }
    text += "\nfree CPUs " + std::to_string(node_.free_cpus());
    return text;
  }

  std::mt19937_64 random_;
  FakeNode node_;
  std::vector<Function*> classes_;
  std::vector<Function*> methods_;
  Function* task_ = nullptr;
  std::vector<ObjectId> handles_;
  std::vector<ObjectId> refs_;
  std::map<std::uint64_t, ObjectId> actor_of_;         ///< Of each call.
  std::map<std::uint32_t, std::vector<Begun>> begun_;  ///< By process.
  std::set<std::uint64_t> first_begun_;
  std::map<std::pair<std::uint64_t, std::uint16_t>, std::uint64_t> last_begun_;
};

TEST(ActorModel, RandomOrders) {
  constexpr int kSteps = 500;
  const std::uint64_t first = number_from("HAZ_TEST_FIRST_SEED", 1);
  const std::uint64_t count = number_from("HAZ_TEST_SEEDS", 200);
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE("HAZ_TEST_FIRST_SEED=" + std::to_string(seed) + " HAZ_TEST_SEEDS=1");
    RandomActors actors(seed);
    for (int i = 0; i < kSteps && !testing::Test::HasFailure(); ++i)
      actors.step();
    if (testing::Test::HasFailure()) return;
    actors.end();
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace haz
