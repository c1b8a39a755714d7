/// @file
/// A host without processes: records the scheduler's commands, and keeps a ring for each worker in
/// which the test decides when an entry is claimed.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "sched/actions.h"

namespace haz {

/// What a worker found in its ring.
struct Claim {
  TaskId task;
  std::uint32_t attempt = 0;
  friend bool operator==(const Claim&, const Claim&) = default;
};

/// Fails the running test when the scheduler breaks a promise: a value is freed twice, a block is
/// released twice, a ring overflows, a request completes twice.
class FakeActions : public Actions {
 public:
  std::size_t ring_capacity = 1024;
  /// Whether assign() lays out the arguments in the arena, which release_block() then gives back.
  bool lays_out_arguments = true;

  // ---- what the test reads ---------------------------------------------------------------------

  std::uint32_t starts_wanted = 0;  ///< start_worker() calls that were not answered.
  std::vector<Claim> assigned;      ///< Every assign() and run_nested(), in order.
  std::vector<Claim> interrupted;
  std::vector<Claim> to_kill;  ///< Interrupted, to be killed if they do not heed it.
  std::vector<Claim> closed;   ///< Streaming ones that were asked to end.
  std::vector<ProcessId> killed;
  std::vector<ProcessId> stopped;
  std::vector<Request*> completed;

  /// A new value in the arena. Must be freed once.
  std::uint64_t allocate() {
    const std::uint64_t offset = next_offset_;
    next_offset_ += 64;
    live_.insert(offset);
    return offset;
  }
  [[nodiscard]] bool is_live(std::uint64_t offset) const { return live_.count(offset) != 0; }
  [[nodiscard]] std::size_t live_values() const { return live_.size(); }
  [[nodiscard]] std::size_t live_blocks() const { return blocks_.size(); }

  // ---- the worker's side -----------------------------------------------------------------------

  /// The worker takes its next task: a nested one first. None: nothing is ready for it.
  std::optional<Claim> claim(ProcessId process) {
    if (const std::optional<Claim> nested = claim_nested(process)) return nested;
    Ring& ring = rings_[process.value];
    for (; ring.head < ring.entries.size(); ++ring.head) {
      Entry& entry = ring.entries[ring.head];
      if (entry.state != EntryState::kReady) continue;
      entry.state = EntryState::kClaimed;
      ++ring.head;
      return entry.claim;
    }
    return std::nullopt;
  }
  /// As after many entries that were all taken back, and that the worker has not passed yet.
  void fill_ring(ProcessId process) {
    Ring& ring = rings_[process.value];
    while (ring.entries.size() - ring.head < ring_capacity)
      ring.entries.push_back(Entry{{}, EntryState::kTaken});
  }
  /// The blocked worker takes a task to run on top of the blocked one.
  std::optional<Claim> claim_nested(ProcessId process) {
    for (Entry& entry : rings_[process.value].nested) {
      if (entry.state != EntryState::kReady) continue;
      entry.state = EntryState::kClaimed;
      return entry.claim;
    }
    return std::nullopt;
  }
  /// The worker gives back what it was to run on top of a task and has not taken.
  std::vector<Claim> return_nested(ProcessId process) {
    std::vector<Claim> returned;
    for (Entry& entry : rings_[process.value].nested) {
      if (take(entry)) returned.push_back(entry.claim);
    }
    return returned;
  }
  /// Entries that the worker could claim.
  [[nodiscard]] std::size_t unclaimed(ProcessId process) const {
    const auto found = rings_.find(process.value);
    if (found == rings_.end()) return 0;
    std::size_t count = 0;
    for (const Entry& entry : found->second.entries)
      count += entry.state == EntryState::kReady;
    for (const Entry& entry : found->second.nested)
      count += entry.state == EntryState::kReady;
    return count;
  }

  // ---- Actions ---------------------------------------------------------------------------------

  bool has_room(const Worker& worker) override {
    const Ring& ring = rings_[worker.process.value];
    return ring.entries.size() - ring.head < ring_capacity;
  }

  std::uint64_t assign(Task& task) override {
    EXPECT_TRUE(has_room(*task.worker)) << "a full ring was written to";
    EXPECT_EQ(task.block_offset, 0U) << "the block of an earlier attempt was not released";
    if (lays_out_arguments) {
      task.block_offset = allocate();
      blocks_.insert(task.block_offset);
    }
    Ring& ring = rings_[task.worker->process.value];
    ring.entries.push_back(Entry{{task.id, task.attempt}, EntryState::kReady});
    assigned.push_back({task.id, task.attempt});
    return ring.entries.size() - 1;
  }

  bool take_back(Task& task) override {
    Ring& ring = rings_[task.worker->process.value];
    EXPECT_FALSE(task.nested) << "a nested task is in no ring";
    Entry& entry = ring.entries.at(task.position);
    EXPECT_EQ(entry.claim, (Claim{task.id, task.attempt})) << "a wrong position is taken back";
    return take(entry);
  }

  void run_nested(Task& task) override {
    EXPECT_EQ(task.block_offset, 0U) << "the block of an earlier attempt was not released";
    if (lays_out_arguments) {
      task.block_offset = allocate();
      blocks_.insert(task.block_offset);
    }
    rings_[task.worker->process.value].nested.push_back(
        Entry{{task.id, task.attempt}, EntryState::kReady});
    assigned.push_back({task.id, task.attempt});
  }

  void release_block(Task& task) override {
    if (task.block_offset == 0) return;
    EXPECT_EQ(blocks_.erase(task.block_offset), 1U) << "a block is released twice";
    EXPECT_EQ(live_.erase(task.block_offset), 1U);
    task.block_offset = 0;
  }

  void start_worker() override { ++starts_wanted; }

  void interrupt(Task& task) override {
    EXPECT_NE(task.worker, nullptr) << "a task that does not run is interrupted";
    interrupted.push_back({task.id, task.attempt});
  }

  void interrupt_then_kill(Task& task) override {
    interrupt(task);
    to_kill.push_back({task.id, task.attempt});
  }

  void close_stream(Task& task) override {
    EXPECT_NE(task.worker, nullptr) << "a task that does not run is closed";
    EXPECT_TRUE(task.function->streams());
    closed.push_back({task.id, task.attempt});
  }

  void kill_worker(Worker& worker) override { killed.push_back(worker.process); }
  void stop_worker(Worker& worker) override { stopped.push_back(worker.process); }

  void complete(Request& request) override {
    EXPECT_TRUE(request.completed);
    completed.push_back(&request);
  }

  void free_value(std::uint64_t offset) override {
    EXPECT_NE(offset, 0U);
    EXPECT_EQ(live_.erase(offset), 1U) << "value " << offset << " is freed twice";
  }

 private:
  enum class EntryState : std::uint8_t { kReady, kClaimed, kTaken };
  struct Entry {
    Claim claim;
    EntryState state;
  };
  struct Ring {
    std::vector<Entry> entries;
    std::size_t head = 0;
    std::vector<Entry> nested;
  };

  static bool take(Entry& entry) {
    if (entry.state != EntryState::kReady) return false;
    entry.state = EntryState::kTaken;
    return true;
  }

  std::map<std::uint32_t, Ring> rings_;
  std::uint64_t next_offset_ = 64;
  std::set<std::uint64_t> live_;
  std::set<std::uint64_t> blocks_;
};

}  // namespace haz
