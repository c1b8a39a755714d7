// Several drivers on one node under event orders drawn from seeds: they join and leave, hand refs
// to each other, make actors, detached ones too, and processes die, in any order. HAZ_TEST_SEEDS=N
// runs N of them; HAZ_TEST_FIRST_SEED=S begins with S, to see a failure again.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "sched/actor.h"
#include "unit/sched/fake_node.h"

namespace haz {
namespace {

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text != nullptr && *text != '\0' ? std::strtoull(text, nullptr, 10) : otherwise;
}

struct ModelDriver {
  ProcessId process{};
  Function* task = nullptr;
  Function* method = nullptr;
  std::vector<ObjectId> refs{};
  std::vector<ObjectId> handles{};
};

/// Makes one event after the other. What it checks beside the scheduler's invariants: a process
/// runs tasks of one job only, a driver's end leaves nothing of its job that still begins, whatever
/// another driver has a ref of ends with a value or an error, a detached actor outlives its driver,
/// and nothing is left when all have gone.
class RandomJobs {
 public:
  explicit RandomJobs(std::uint64_t seed) : random_(seed) { join(); }

  void step() {
    switch (pick(20)) {
      case 0:
        if (drivers_.size() < 4) join();
        break;
      case 1:
        if (drivers_.size() > 1 && one_in(2)) leave(any(drivers_));
        break;
      case 2:
        create(one_in(2));
        break;
      case 3:
      case 4:
        call();
        break;
      case 5:
        hand_over();
        break;
      case 6:
        find_by_name();
        break;
      case 7:
        drop_ref();
        break;
      case 8:
        drop_handle();
        break;
      case 9:
        if (one_in(3)) kill_process();
        break;
      case 10:
        if (one_in(3)) kill_actor();
        break;
      case 11:
        node_.tick();
        break;
      case 12:
      case 13:
        if (node_.actions.starts_wanted > 0) start_worker();
        break;
      case 14:
      case 15:
      case 16:
        work();
        break;
      default:
        submit();
    }
    if (one_in(2)) node_.dispatch();
  }

  void end() {
    let_end();
    for (const ModelDriver& driver : drivers_) {
      for (const ObjectId ref : driver.refs)
        EXPECT_NE(node_.state(ref), ObjectState::kPending) << "a ref never ends: " << ref.value;
    }
    while (!drivers_.empty())
      leave(drivers_.back());
    let_end();
    for (const ObjectId id : detached_) {
      const Actor* actor = node_.scheduler->find_actor(id);
      if (actor == nullptr || actor->state == ActorState::kDead) continue;
      EXPECT_TRUE(actor->is_kept) << "a detached actor that nobody has a handle of";
      node_.scheduler->kill_actor(id, true);
      node_.check();
    }
    let_end();
    node_.end();
  }

 private:
  struct Begun {
    Claim claim;
    ProcessId job;
  };

  std::uint64_t pick(std::uint64_t below) { return random_() % below; }
  bool one_in(std::uint64_t times) { return pick(times) == 0; }
  template <typename T>
  T& any(std::vector<T>& from) {
    return from[pick(from.size())];
  }

  FunctionOptions options_of(ProcessId job, const std::string& name) {
    FunctionOptions options{.name = name, .resources = {{"CPU", 1}}};
    options.max_retries = static_cast<std::int32_t>(pick(3)) - 1;
    options.job = job;
    return options;
  }

  void join() {
    ModelDriver driver;
    driver.process = node_.scheduler->new_process();
    node_.scheduler->start_job(driver.process);
    driver.task = node_.function(options_of(driver.process, "f"));
    FunctionOptions method = options_of(driver.process, "C.f");
    method.resources.clear();
    driver.method = node_.function(method);
    drivers_.push_back(driver);
  }

  void leave(const ModelDriver& leaving) {
    const ProcessId process = leaving.process;
    std::erase_if(drivers_, [process](const ModelDriver& one) { return one.process == process; });
    node_.scheduler->end_job(process);
    node_.check();
    EXPECT_FALSE(node_.scheduler->has_job(process));
    gone_.push_back(process);
  }

  void submit() {
    ModelDriver& driver = any(drivers_);
    if (driver.refs.size() > 40) return;
    TaskOptions options{.submitter = driver.process};
    if (one_in(3) && !driver.refs.empty()) options.dependencies = {any(driver.refs)};
    if (one_in(4) && !driver.refs.empty()) options.refs = {any(driver.refs)};
    driver.refs.push_back(node_.submit(driver.task, options).return_id(0));
  }

  void create(bool detached) {
    ModelDriver& driver = any(drivers_);
    if (driver.handles.size() > 5) return;
    auto actor = std::make_shared<ActorOptions>();
    actor->is_detached = detached;
    actor->max_restarts = static_cast<std::int32_t>(pick(3)) - 1;
    if (one_in(2)) actor->resources = {{"CPU", 0.5}};
    FunctionOptions options = options_of(driver.process, "C.__init__");
    options.max_retries = 0;  // a constructor is not tried again: its actor is restarted
    options.actor = std::move(actor);
    const TaskSpec spec = node_.spec_of(node_.function(options), {.submitter = driver.process});
    const std::string name = one_in(2) ? "name" : "";
    const Result<ObjectId> made =
        node_.scheduler->create_actor(spec, ActorSpec{name, "space", one_in(2)});
    node_.check();
    if (!made.ok()) return;
    driver.handles.push_back(made.value());
    if (detached && made.value() == spec.id.return_id(0)) detached_.push_back(made.value());
  }

  void call() {
    ModelDriver& driver = any(drivers_);
    if (driver.handles.empty() || driver.refs.size() > 40) return;
    TaskOptions options{.submitter = driver.process};
    if (one_in(3) && !driver.refs.empty()) options.dependencies = {any(driver.refs)};
    TaskSpec spec = node_.spec_of(driver.method, options);
    spec.actor = any(driver.handles);
    const Status status = node_.scheduler->submit(spec);
    ASSERT_TRUE(status.ok()) << status.error().message;
    node_.check();
    driver.refs.push_back(spec.id.return_id(0));
  }

  void hand_over() {
    ModelDriver& from = any(drivers_);
    ModelDriver& to = any(drivers_);
    if (from.refs.empty()) return;
    const ObjectId ref = any(from.refs);
    EXPECT_TRUE(node_.scheduler->add_reference(to.process, ref));
    node_.check();
    to.refs.push_back(ref);
  }

  void find_by_name() {
    ModelDriver& driver = any(drivers_);
    const Actor* actor = node_.scheduler->find_actor("space", "name");
    if (actor == nullptr || driver.handles.size() > 5) return;
    EXPECT_TRUE(node_.scheduler->add_reference(driver.process, actor->id));
    node_.check();
    driver.handles.push_back(actor->id);
  }

  void drop(std::vector<ObjectId>& from, ProcessId process) {
    if (from.empty()) return;
    ObjectId& id = any(from);
    node_.drop(id, process);
    std::swap(id, from.back());
    from.pop_back();
  }
  void drop_ref() {
    ModelDriver& driver = any(drivers_);
    drop(driver.refs, driver.process);
  }
  void drop_handle() {
    ModelDriver& driver = any(drivers_);
    drop(driver.handles, driver.process);
  }

  void kill_actor() {
    ModelDriver& driver = any(drivers_);
    if (driver.handles.empty()) return;
    node_.scheduler->kill_actor(any(driver.handles), one_in(2));
    node_.check();
  }

  Worker* any_worker() {
    std::vector<Worker*> workers = node_.scheduler->workers();
    return workers.empty() ? nullptr : any(workers);
  }

  void die(Worker& worker) {
    begun_.erase(worker.process.value);
    node_.die(worker, {.pid = 7, .signal = 9});
  }

  void kill_process() {
    if (Worker* worker = any_worker(); worker != nullptr) die(*worker);
  }

  void start_worker() {
    const Worker& worker = node_.start_worker();
    EXPECT_FALSE(is_gone(worker.job)) << "a worker starts for a job that has ended";
  }

  [[nodiscard]] bool is_gone(ProcessId job) const {
    return std::find(gone_.begin(), gone_.end(), job) != gone_.end();
  }

  void work() {
    if (Worker* worker = any_worker(); worker != nullptr) work(*worker);
  }

  /// A process that was told to end does; another begins or ends something.
  void work(Worker& worker) {
    const auto told = [&worker](const std::vector<ProcessId>& list) {
      return std::find(list.begin(), list.end(), worker.process) != list.end();
    };
    std::vector<Begun>& begun = begun_[worker.process.value];
    if (told(node_.actions.killed) || (told(node_.actions.stopped) && begun.empty())) {
      die(worker);
      return;
    }
    if (begun.empty()) {
      if (const std::optional<Claim> claim = node_.actions.claim(worker.process)) {
        begin(worker, *claim);
        begun.push_back({*claim, worker.job});
        if (one_in(3)) nest(worker, *claim);
      }
      return;
    }
    const Begun ended = begun.back();
    begun.pop_back();
    EXPECT_EQ(ended.job, worker.job) << "a process has changed its job";
    if (one_in(6)) {
      node_.raise(worker, ended.claim, "raised",
                  one_in(2) ? Outcome::kRetryable : Outcome::kRaised);
    } else {
      node_.finish(worker, ended.claim);
    }
  }

  void begin(const Worker& worker, const Claim& claim) {
    const Task* task = node_.scheduler->find_task(claim.task);
    if (task == nullptr) return;
    const Job* job = task->function->resources->job.get();
    ASSERT_NE(job, nullptr);
    if (task->actor == nullptr || task->creates_actor) {
      EXPECT_EQ(job->id, worker.job) << "a process runs a task of another job";
    }
    EXPECT_FALSE(job->has_ended) << "a task of a job that has ended begins";
  }

  /// A task submits another one, of which its process keeps the ref.
  void nest(const Worker& worker, const Claim& claim) {
    const auto driver =
        std::find_if(drivers_.begin(), drivers_.end(),
                     [&worker](const ModelDriver& one) { return one.process == worker.job; });
    if (driver == drivers_.end()) return;
    node_.submit(driver->task, {.parent = claim.task, .submitter = worker.process});
  }

  [[nodiscard]] bool unfinished() {
    for (const ModelDriver& driver : drivers_) {
      for (const ObjectId ref : driver.refs) {
        if (node_.state(ref) == ObjectState::kPending) return true;
      }
    }
    return std::any_of(gone_.begin(), gone_.end(),
                       [this](ProcessId job) { return node_.scheduler->has_workers_of(job); });
  }

  void let_end() {
    // Actors may hold all CPUs: enough for everyone.
    node_.scheduler->set_resource("CPU", 1000);
    for (int i = 0; i < 2000 && unfinished(); ++i) {
      node_.tick();
      while (node_.actions.starts_wanted > 0)
        start_worker();
      for (Worker* worker : std::vector<Worker*>(node_.scheduler->workers())) {
        const std::vector<Worker*>& now = node_.scheduler->workers();
        if (std::find(now.begin(), now.end(), worker) != now.end()) work(*worker);
      }
    }
    EXPECT_FALSE(unfinished());
  }

  std::mt19937_64 random_;
  FakeNode node_{3};
  std::vector<ModelDriver> drivers_;
  std::vector<ProcessId> gone_;
  std::vector<ObjectId> detached_;
  std::map<std::uint32_t, std::vector<Begun>> begun_;  ///< By process.
};

TEST(JobModel, RandomOrders) {
  constexpr int kSteps = 500;
  const std::uint64_t first = number_from("HAZ_TEST_FIRST_SEED", 1);
  const std::uint64_t count = number_from("HAZ_TEST_SEEDS", 200);
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE("HAZ_TEST_FIRST_SEED=" + std::to_string(seed) + " HAZ_TEST_SEEDS=1");
    RandomJobs jobs(seed);
    for (int i = 0; i < kSteps && !testing::Test::HasFailure(); ++i)
      jobs.step();
    if (testing::Test::HasFailure()) return;
    jobs.end();
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace haz
