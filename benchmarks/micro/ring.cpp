// No-op "tasks" through shared-memory rings: the limit of asynchronous tasks.
// usage: ring WORKERS COUNT  -> {"per_task": s}
// One driver, WORKERS forked processes; per worker a ring of 128-byte commands and a ring of
// 64-byte completions, both single-producer single-consumer. Nobody sleeps: who has nothing to do
// yields. The driver checks that each completion answers its command.
#include <sched.h>

#include <array>
#include <atomic>
#include <new>

#include "probe.h"

namespace {

template <std::size_t Bytes>
struct Record {
  std::uint64_t id;
  std::array<std::byte, Bytes - sizeof(std::uint64_t)> body;
};

// Bounded single-producer single-consumer ring; each side keeps its own copy of the far index.
template <std::size_t Bytes>
class Ring {
 public:
  bool try_push(std::uint64_t id) {
    const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
    if (tail - head_seen_ == capacity) {
      head_seen_ = head_.load(std::memory_order_acquire);  // pairs with the store in try_pop
      if (tail - head_seen_ == capacity) return false;
    }
    auto& slot = slots_[tail % capacity];
    slot.id = id;
    slot.body.fill(std::byte{1});
    tail_.store(tail + 1, std::memory_order_release);  // pairs with the load in try_pop
    return true;
  }

  bool try_pop(std::uint64_t& id) {
    const std::uint64_t head = head_.load(std::memory_order_relaxed);
    if (head == tail_seen_) {
      tail_seen_ = tail_.load(std::memory_order_acquire);  // pairs with the store in try_push
      if (head == tail_seen_) return false;
    }
    id = slots_[head % capacity].id;
    head_.store(head + 1, std::memory_order_release);  // pairs with the load in try_push
    return true;
  }

 private:
  static constexpr std::uint64_t capacity = 1024;
  alignas(128) std::atomic<std::uint64_t> head_{0};
  std::uint64_t tail_seen_ = 0;  // the consumer's
  alignas(128) std::atomic<std::uint64_t> tail_{0};
  std::uint64_t head_seen_ = 0;  // the producer's
  alignas(128) std::array<Record<Bytes>, capacity> slots_{};
};

struct Lane {
  Ring<128> commands;
  Ring<64> completions;
};

[[noreturn]] void serve(Lane& lane) {
  for (std::uint64_t id = 0;;) {
    if (!lane.commands.try_pop(id)) {
      sched_yield();
      continue;
    }
    while (!lane.completions.try_push(id))
      sched_yield();
  }
}

double drive(Lane* lanes, std::size_t workers, std::uint64_t count) {
  const double start_s = probe::now_s();
  std::uint64_t submitted = 0;
  std::uint64_t completed = 0;
  std::uint64_t sum = 0;
  while (completed < count) {
    bool moved = false;
    for (std::size_t i = 0; i < workers; ++i) {
      while (submitted < count && lanes[i].commands.try_push(submitted)) {
        ++submitted;
        moved = true;
      }
      for (std::uint64_t id = 0; lanes[i].completions.try_pop(id); ++completed) {
        sum += id;
        moved = true;
      }
    }
    if (!moved) sched_yield();
  }
  if (sum != count * (count - 1) / 2) std::exit(1);
  return (probe::now_s() - start_s) / static_cast<double>(count);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const auto workers = static_cast<std::size_t>(std::atol(argv[1]));
  const auto count = static_cast<std::uint64_t>(std::atoll(argv[2]));
  auto* lanes = static_cast<Lane*>(probe::shared_memory(workers * sizeof(Lane)));
  std::vector<pid_t> children;
  for (std::size_t i = 0; i < workers; ++i) {
    new (lanes + i) Lane;
    const pid_t pid = probe::fork_child();
    if (pid == 0) serve(lanes[i]);
    children.push_back(pid);
  }
  drive(lanes, workers, std::min<std::uint64_t>(count, 10000));  // first touch, first schedule
  const double per_task_s = drive(lanes, workers, count);
  for (const pid_t pid : children)
    probe::kill_and_reap(pid);
  std::printf("{\"per_task\": %.12f}\n", per_task_s);
}
