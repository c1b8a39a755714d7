// A zygote whose workers run tasks without an interpreter, so that node, client and rings can be
// tested together under the sanitizers. The first byte of a task's payload says what it does.
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "client/ring_client.h"
#include "ipc/native_tasks.h"
#include "node/zygote_loop.h"
#include "os/clock.h"
#include "os/process.h"
#include "sched/stream.h"

namespace haz::test {

namespace {

class NoHooks final : public WaitHooks {};

/// Of a thread that may run tasks, and is interrupted when one has come.
class InterruptingHooks final : public WaitHooks {
 public:
  explicit InterruptingHooks(const ProcessArea& area)
      : replies_(area.replies), before_(replies_.tail.load()) {}
  [[nodiscard]] bool may_run_tasks() const override { return true; }
  bool interrupted() override {
    while (replies_.tail.load() == before_)
      ::usleep(100);
    return true;
  }

 private:
  const ByteRingHeader& replies_;
  std::uint64_t before_;
};

class NativeWorker {
 public:
  NativeWorker(RingClient& ring, std::uint32_t slot)
      : ring_(ring),
        area_(*reinterpret_cast<ProcessArea*>(
            ring.arena().at(kAreasOffset + slot * kProcessAreaStride))) {
    ring_.set_nested_runner([this](const TaskCommand& command) { execute(command, false); });
  }

  void run() {
    ring_.ready();
    NoHooks hooks;
    while (const TaskCommand* command = ring_.next_task(hooks))
      execute(*command, true);
  }

 private:
  void execute(const TaskCommand& shared, bool in_ring) {
    const TaskCommand command = shared;
    const std::byte* block = command.block_offset != 0 ? ring_.arena().at(command.block_offset)
                                                       : command.near_bytes.data();
    const std::string payload(reinterpret_cast<const char*>(block), command.payload_size);
    if (in_ring) ring_.release_task();
    const auto outer = ring_.begin_attempt(TaskId{command.task}, command.attempt, false);
    std::string result;
    const Outcome outcome = act(command, payload, result);
    hand_in(command, outcome, result);
    ring_.end_attempt(outer);
  }

  Outcome act(const TaskCommand& command, const std::string& payload, std::string& result) {
    const std::string_view rest = std::string_view(payload).substr(1);
    switch (static_cast<NativeTask>(payload.front())) {
      case NativeTask::kEcho:
        result = rest;
        return Outcome::kReturned;
      case NativeTask::kRaise:
        result = rest;
        return Outcome::kRaised;
      case NativeTask::kDie:
        ::kill(::getpid(), SIGKILL);
        return Outcome::kRaised;
      case NativeTask::kLarge:
        result.assign(std::stoul(std::string(rest)), 'x');
        return Outcome::kReturned;
      case NativeTask::kSleepMs:
        ::usleep(static_cast<useconds_t>(std::stoul(std::string(rest)) * 1000));
        return Outcome::kReturned;
      case NativeTask::kParent:
        return be_parent(command, std::stoul(std::string(rest)), result);
      case NativeTask::kStream:
      case NativeTask::kStreamBig:
      case NativeTask::kStreamDies:
        stream(command, static_cast<NativeTask>(payload.front()), std::stoul(std::string(rest)));
        result = rest;
        return Outcome::kReturned;
      case NativeTask::kScribble:
        scribble(rest.front() - '0', rest.substr(1));
        result = "scribbled";
        return Outcome::kReturned;
      case NativeTask::kInterrupted:
        return be_interrupted(command, rest, result);
      case NativeTask::kConsume:
        return consume(ObjectId{std::stoull(std::string(rest))}, result);
    }
    return Outcome::kRaised;
  }

  void scribble(int behind, std::string_view where) {
    constexpr std::uint64_t kState = 3;
    const auto is_ready = [](const TaskRing::Slot& slot) {
      return (slot.claim.load() & kState) == detail::kClaimReady;
    };
    auto& slots = area_.tasks.slots;
    // Where there are other workers, they may have run all of them.
    for (int looks = 0; looks < 10'000; ++looks) {
      if (std::count_if(slots.begin(), slots.end(), is_ready) >= behind) break;
      ::usleep(100);
    }
    if (where == "last") {
      const auto last = std::find_if(slots.rbegin(), slots.rend(), is_ready);
      if (last == slots.rend()) return;
      last->claim.store(0xDEAD'BEEF);
      ::sleep(600);
    }
    for (TaskRing::Slot& slot : area_.tasks.slots) {
      if (where == "entries" && is_ready(slot)) slot.entry.near_bytes[1] ^= std::byte{1};
      if (where == "claims") slot.claim.store(0xDEAD'BEEF);
    }
    if (where == "ones") std::memset(static_cast<void*>(&area_), 0xFF, sizeof area_);
    if (where == "zeros") std::memset(static_cast<void*>(&area_), 0, sizeof area_);
  }

  /// Submits an echo of `text`.
  Result<ObjectId> submit_echo(const TaskCommand& command, const std::string& text) {
    const std::string payload = native_task(NativeTask::kEcho, text);
    Submission submission;
    submission.id = TaskId{ring_.new_ids(1)};
    submission.function = FunctionId{command.function};
    submission.parent = TaskId{command.task};
    submission.payload_size = static_cast<std::uint32_t>(payload.size());
    submission.payload = std::as_bytes(std::span(payload));
    const Status status = ring_.submit(submission);
    if (!status) return status.error();
    return submission.id.return_id(0);
  }

  Outcome be_interrupted(const TaskCommand& command, std::string_view text, std::string& result) {
    auto child = submit_echo(command, std::string(text));
    if (!child) return Outcome::kRaised;
    FetchedValues fetched;
    InterruptingHooks interrupting(area_);
    WaitOutcome outcome = ring_.get(std::span(&*child, 1), -1, interrupting, fetched);
    if (outcome != WaitOutcome::kInterrupted && outcome != WaitOutcome::kDone) {
      return Outcome::kRaised;
    }
    fetched = {};
    std::thread waiting([&] {
      NoHooks hooks;
      outcome = ring_.get(std::span(&*child, 1), -1, hooks, fetched);
    });
    waiting.join();
    if (outcome != WaitOutcome::kDone) return Outcome::kRaised;
    const FetchedValue& value = fetched.values.front();
    result.assign(reinterpret_cast<const char*>(fetched.near_bytes.data()) + value.offset,
                  value.size);
    ring_.drop_reference(*child);
    return Outcome::kReturned;
  }

  /// Submits `count` echoes of the numbers below, and returns them joined.
  Outcome be_parent(const TaskCommand& command, std::size_t count, std::string& result) {
    std::vector<ObjectId> ids;
    for (std::size_t i = 0; i < count; ++i) {
      auto id = submit_echo(command, std::to_string(i) + ",");
      if (!id) return Outcome::kRaised;
      ids.push_back(*id);
    }
    NoHooks hooks;
    FetchedValues fetched;
    if (ring_.get(ids, -1, hooks, fetched) != WaitOutcome::kDone) return Outcome::kRaised;
    for (const FetchedValue& value : fetched.values) {
      const std::byte* bytes = value.in_arena ? ring_.arena().at(value.offset)
                                              : fetched.near_bytes.data() + value.offset;
      result.append(reinterpret_cast<const char*>(bytes), value.size);
      if (value.in_arena) ring_.drop_reference(value.id);
    }
    for (const ObjectId id : ids)
      ring_.drop_reference(id);
    return Outcome::kReturned;
  }

  void stream(const TaskCommand& command, NativeTask kind, std::size_t count) {
    FunctionBlock function{};
    std::memcpy(&function, ring_.arena().at(command.function_offset), sizeof function);
    const TaskId task{command.task};
    const bool dies = kind == NativeTask::kStreamDies && command.attempt < 3;
    const std::size_t given = command.num_returns;
    std::int32_t credit = given == 0 ? function.items_ahead : 0;
    for (std::size_t i = given; i < count; ++i) {
      if (function.items_ahead > 0 && credit == 0) {
        NoHooks hooks;
        std::vector<bool> ready;
        const ObjectId demand = demand_of(task);
        (void)ring_.wait(std::span(&demand, 1), 1, -1, hooks, ready);
        credit =
            function.items_ahead - static_cast<std::int32_t>(items_at_demand(function.items_ahead));
      }
      if (ring_.is_stream_closed(task, command.attempt)) return;
      if (dies && i >= command.attempt * count / 3) ::kill(::getpid(), SIGKILL);
      const std::string item = kind == NativeTask::kStreamBig
                                   ? std::string(100'000, static_cast<char>('a' + i % 26))
                                   : std::to_string(i) + ",";
      ring_.yield_item(task, command.attempt, i, value_of(item, false));
      --credit;
    }
  }

  Outcome consume(ObjectId stream, std::string& result) {
    ring_.add_reference(stream);
    NoHooks hooks;
    for (;;) {
      ObjectId item{};
      const TakenItem taken = ring_.take_item(stream, &item, hooks);
      if (taken == TakenItem::kUnknown) return Outcome::kRaised;
      if (taken == TakenItem::kEnded) break;
      if (taken == TakenItem::kNone) {
        std::vector<bool> ready;
        (void)ring_.wait(std::span(&stream, 1), 1, -1, hooks, ready);
        continue;
      }
      FetchedValues fetched;
      if (ring_.get(std::span(&item, 1), -1, hooks, fetched) != WaitOutcome::kDone) {
        return Outcome::kRaised;
      }
      const FetchedValue& value = fetched.values.front();
      const std::byte* bytes = value.in_arena ? ring_.arena().at(value.offset)
                                              : fetched.near_bytes.data() + value.offset;
      result.append(reinterpret_cast<const char*>(bytes), value.size);
      if (value.in_arena) ring_.drop_reference(item);
      ring_.drop_reference(item);
    }
    ring_.drop_reference(stream);
    return Outcome::kReturned;
  }

  NewValue value_of(const std::string& text, bool is_error) {
    NewValue value{.size = text.size(), .is_error = is_error};
    if (text.size() <= Client::kMaxNearValue) {
      value.bytes = std::as_bytes(std::span(text));
      return value;
    }
    NoHooks hooks;
    auto block = ring_.allocate(text.size(), hooks, StoreUse::kValue);
    if (!block) return {.is_error = true, .bytes = std::as_bytes(std::span("no room", 7))};
    std::memcpy(ring_.arena().at(block->offset), text.data(), text.size());
    ring_.seal(*block);
    value.offset = block->offset;
    return value;
  }

  void hand_in(const TaskCommand& command, Outcome outcome, const std::string& result) {
    const NewValue value = value_of(result, outcome != Outcome::kReturned);
    if (value.is_error) outcome = Outcome::kRaised;
    ring_.finish({TaskId{command.task}, command.attempt, outcome, monotonic_ns() - 1000,
                  std::span(&value, 1)});
  }

  RingClient& ring_;
  ProcessArea& area_;
};

int run() {
  auto setup = receive_zygote_setup(kFirstInheritedFd);
  if (!setup) return 2;
  auto worker = run_zygote(UniqueFd(kFirstInheritedFd), setup->driver_pid, {});
  if (!worker) return 0;
  auto ring =
      RingClient::join(std::move(worker->arena_fd), worker->slot, ProcessId{worker->process_id});
  if (!ring) return 3;
  if (setup->bytes == "ends when ready") {
    (*ring)->ready();
    ::write(STDERR_FILENO, "last words\n", 11);
    ::_exit(7);
  }
  NativeWorker(**ring, worker->slot).run();
  return 0;
}

}  // namespace

}  // namespace haz::test

int main() { return haz::test::run(); }
