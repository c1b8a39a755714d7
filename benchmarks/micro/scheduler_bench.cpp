// What a task costs in the scheduler alone: its host does nothing.
//
//   submit + assign + finish + drop, in ns a task, for so many tasks that are queued at once, on so
//   many workers; and the memory of a queued task.

#include <benchmark/benchmark.h>
#include <malloc.h>
#include <unistd.h>

#include <deque>
#include <fstream>
#include <memory>
#include <vector>

#include "sched/scheduler.h"

namespace haz {
namespace {

/// Rings without bytes: a worker is a queue of the tasks that it was given.
class NullActions : public Actions {
 public:
  std::vector<std::deque<Task*>> rings;

  bool has_room(const Worker& worker) override { return rings[worker.slot].size() < 512; }
  std::uint64_t assign(Task& task) override {
    rings[task.worker->slot].push_back(&task);
    return 0;
  }
  bool take_back(Task& /*task*/) override { return false; }
  void run_nested(Task& /*task*/) override {}
  void release_block(Task& /*task*/) override {}
  void start_worker() override { ++starts; }
  void interrupt(Task& /*task*/) override {}
  void kill_worker(Worker& /*worker*/) override {}
  void complete(Request& /*request*/) override {}
  void free_value(std::uint64_t /*offset*/) override {}

  std::uint32_t starts = 0;
};

struct Node {
  explicit Node(std::uint32_t num_workers) : scheduler(actions, SchedulerOptions{}) {
    scheduler.set_resource("CPU", num_workers);
    driver = scheduler.new_process();
    FunctionOptions options{.name = "f", .resources = {{"CPU", 1}}};
    function = scheduler.register_function(options).value();
    function->mean_run_ns = 1000;
    for (std::uint32_t slot = 0; slot < num_workers; ++slot) {
      actions.rings.emplace_back();
      workers.push_back(&scheduler.worker_started(slot, scheduler.new_process()));
    }
    next_id = first_id_of(driver);
  }

  void submit(std::span<const ObjectId> dependencies = {}) {
    TaskSpec spec{.id = TaskId{next_id++},
                  .function = function,
                  .submitter = driver,
                  .parent = {},
                  .payload_size = static_cast<std::uint32_t>(payload.size()),
                  .payload = payload,
                  .dependencies = dependencies};
    benchmark::DoNotOptimize(scheduler.submit(spec).ok());
  }
  /// Up to `batch` tasks of each worker end.
  std::size_t finish(std::size_t batch, bool drop) {
    const NewValue value{.bytes = payload};
    std::size_t ended = 0;
    for (Worker* worker : workers) {
      std::deque<Task*>& ring = actions.rings[worker->slot];
      for (std::size_t i = 0; i < batch && !ring.empty(); ++i) {
        const TaskId id = ring.front()->id;
        const std::uint32_t attempt = ring.front()->attempt;
        ring.pop_front();
        scheduler.finished(*worker, id, attempt, Outcome::kReturned, std::span(&value, 1), 1000);
        if (drop) scheduler.drop_reference(driver, id.return_id(0));
        ++ended;
      }
    }
    scheduler.dispatch();
    return ended;
  }

  NullActions actions;
  Scheduler scheduler;
  ProcessId driver;
  Function* function = nullptr;
  std::vector<Worker*> workers;
  std::uint64_t next_id = 0;
  std::array<std::byte, 16> payload{};
};

/// All are submitted, then all run: the queue is as long as there are tasks.
void queued_tasks(benchmark::State& state) {
  const auto tasks = static_cast<std::size_t>(state.range(0));
  for (auto _ : state) {
    Node node(static_cast<std::uint32_t>(state.range(1)));
    for (std::size_t i = 0; i < tasks; ++i) {
      node.submit();
      if (i % 16 == 0) node.scheduler.dispatch();
    }
    for (std::size_t ended = 0; ended < tasks;)
      ended += node.finish(64, true);
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(queued_tasks)
    ->ArgNames({"tasks", "workers"})
    ->ArgsProduct({{1000, 10'000, 100'000, 1'000'000}, {1, 4, 16}})
    ->Unit(benchmark::kMillisecond);

/// A steady stream: each batch that ends is followed by as many new ones.
void streamed_tasks(benchmark::State& state) {
  Node node(static_cast<std::uint32_t>(state.range(0)));
  for (std::size_t i = 0; i < 4096; ++i)
    node.submit();
  node.scheduler.dispatch();
  std::int64_t tasks = 0;
  for (auto _ : state) {
    const std::size_t ended = node.finish(32, true);
    for (std::size_t i = 0; i < ended; ++i)
      node.submit();
    tasks += static_cast<std::int64_t>(ended);
  }
  state.SetItemsProcessed(tasks);
}
BENCHMARK(streamed_tasks)->ArgName("workers")->Arg(1)->Arg(4)->Arg(16);

/// One at a time, as a synchronous call does.
void single_tasks(benchmark::State& state) {
  Node node(4);
  for (auto _ : state) {
    node.submit();
    node.scheduler.dispatch();
    node.finish(1, true);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(single_tasks);

/// Each depends on the one before.
void chained_tasks(benchmark::State& state) {
  const auto tasks = static_cast<std::size_t>(state.range(0));
  for (auto _ : state) {
    Node node(4);
    node.submit();
    for (std::size_t i = 1; i < tasks; ++i) {
      const ObjectId before{node.next_id - 1};
      node.submit(std::span(&before, 1));
    }
    node.scheduler.dispatch();
    for (std::size_t ended = 0; ended < tasks;)
      ended += node.finish(64, false);
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(chained_tasks)->Arg(1000)->Arg(100'000)->Unit(benchmark::kMillisecond);

double resident_bytes() {
  std::ifstream file("/proc/self/statm");
  double total_pages = 0;
  double resident_pages = 0;
  file >> total_pages >> resident_pages;
  return resident_pages * static_cast<double>(sysconf(_SC_PAGESIZE));
}

/// Not a time: bytes of memory a task that is queued.
void memory_of_queued_tasks(benchmark::State& state) {
  const auto tasks = static_cast<std::size_t>(state.range(0));
  double bytes = 0;
  for (auto _ : state) {
    malloc_trim(0);
    const double before = resident_bytes();
    Node node(4);
    for (std::size_t i = 0; i < tasks; ++i)
      node.submit();
    bytes = resident_bytes() - before;
  }
  state.counters["bytes_per_task"] = bytes / static_cast<double>(tasks);
}
BENCHMARK(memory_of_queued_tasks)
    ->Arg(10'000)
    ->Arg(1'000'000)
    ->Iterations(1)
    ->Unit(benchmark::kMillisecond);

/// Many ids of the driver are alive while a worker submits its own.
void ids_of_two_processes(benchmark::State& state) {
  Node node(4);
  for (std::int64_t i = 0; i < state.range(0); ++i)
    node.submit();
  const ProcessId other = node.scheduler.new_process();
  std::uint64_t next = first_id_of(other);
  const NewValue value{.bytes = node.payload};
  for (auto _ : state) {
    const ObjectId id{next++};
    benchmark::DoNotOptimize(node.scheduler.put(other, id, value).ok());
    node.scheduler.drop_reference(other, id);
  }
}
BENCHMARK(ids_of_two_processes)->Arg(1000)->Arg(100'000)->Arg(500'000);

}  // namespace
}  // namespace haz
