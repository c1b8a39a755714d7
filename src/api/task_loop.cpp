#include "api/task_loop.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "api/function_code.h"
#include "api/program.h"
#include "api/registry.h"
#include "api/task_call.h"
#include "api/task_output.h"
#include "os/clock.h"
#include "os/shared_library.h"
#include "os/thread.h"
#include "wire/plain_error.h"

namespace haz {

TaskLoop::TaskLoop(RingClient& ring, ClientEngine& engine, WorkerPlace place)
    : ring_(ring),
      place_(std::move(place)),
      engine_(engine),
      sets_threads_(std::getenv("OMP_NUM_THREADS") == nullptr) {}

void TaskLoop::run(bool is_ready) {
  name_output_by_task();
  if (sets_threads_) set_library_threads(1, /*with_blas=*/true);
  ring_.set_nested_runner([this](const TaskCommand& command) { execute(command); });
  if (place_.arena)
    ring_.look_before_claim([this](const TaskCommand& command) { look_at_first(command); });
  if (!is_ready) ring_.ready();
  NativeHooks hooks(&ring_);
  while (concurrency_ == 1) {
    const TaskCommand* const shared = ring_.next_task(hooks);
    if (shared == nullptr) break;
    const TaskCommand command = *shared;
    ring_.release_task();
    execute(command);
  }
  if (concurrency_ > 1) run_call_threads();
  actor_.reset();  // its destructor may print, and use haz
  flush_task_output(false);
}

/// Calls of an actor in this thread, until the process should end: claims in turn with the others.
void TaskLoop::run_calls() {
  NativeHooks hooks(&ring_);
  for (;;) {
    std::unique_lock claim(claim_mutex_);
    const TaskCommand* const shared = ring_.next_task(hooks);
    if (shared == nullptr) return;
    const TaskCommand command = *shared;
    ring_.release_task();
    claim.unlock();
    const Loaded& loaded = load(command);
    const auto outer = ring_.begin_attempt(TaskId{command.task}, command.attempt,
                                           (command.flags & kReportStart) != 0);
    set_output_task(loaded.name.c_str());
    execute_here(command, loaded, true);
    ring_.end_attempt(outer);
  }
}

/// The main thread runs calls, too. Where the system has not so many threads, fewer run at a time.
void TaskLoop::run_call_threads() {
  std::vector<std::thread> threads;
  for (std::uint32_t i = 1; i < concurrency_; ++i) {
    auto thread = start_thread([this] { run_calls(); });
    if (!thread) break;
    threads.push_back(std::move(*thread));
  }
  run_calls();
  for (std::thread& thread : threads)
    thread.join();
}

namespace {

/// The function's name and its code.
struct Named {
  std::string_view name;
  std::span<const std::byte> code;
};
Named function_of(const TaskCommand& command, Arena& arena) {
  const std::byte* const block = arena.at(command.function_offset);
  FunctionBlock head{};
  std::memcpy(&head, block, sizeof head);
  const std::byte* const name = block + sizeof head;
  return {{reinterpret_cast<const char*>(name), head.name_size},
          std::span(name + head.name_size, head.code_size)};
}

}  // namespace

/// Its first task makes a worker one of C++ or of Python: others of the other kind never come.
void TaskLoop::look_at_first(const TaskCommand& command) {
  if (!no_python_.empty() ||
      decode_function_code(split_program(function_of(command, ring_.arena()).code).code))
    return;
  no_python_ = "this task needs an interpreter of Python: " + become_python(place_);
}

const TaskLoop::Loaded& TaskLoop::load(const TaskCommand& command) {
  const std::lock_guard lock(functions_mutex_);
  Loaded& loaded = functions_[command.function];
  if (loaded.function != nullptr || !loaded.missing.empty()) return loaded;
  const Named named = function_of(command, ring_.arena());
  loaded.name = named.name;
  const ProgramCode parts = split_program(named.code);
  if (!parts.program.empty()) engine_.set_program(parts.program);  // for tasks that it submits
  const auto code = decode_function_code(parts.code);
  if (!code) {
    loaded.missing = !no_python_.empty() ? no_python_ : "this worker runs functions of C++ only";
    return loaded;
  }
  loaded.threads = code->threads;
  loaded.concurrency = code->concurrency;
  loaded.is_retried = code->is_retried;
  loaded.function = find_function(code->name, code->library);
  if (loaded.function == nullptr) {
    loaded.missing = code->library.empty()
                         ? "this program has no HAZ_REMOTE(" + code->name + ")"
                         : code->library + ", loaded again, has no HAZ_REMOTE(" + code->name + ")";
  }
  return loaded;
}

void TaskLoop::execute(const TaskCommand& command) {
  const auto outer = ring_.begin_attempt(TaskId{command.task}, command.attempt,
                                         (command.flags & kReportStart) != 0);
  if (place_.arena) {
    ring_.look_before_claim({});
    place_.arena.reset();
  }
  const std::uint32_t outer_threads = std::max(threads_, 1U);
  if (last_loaded_ == nullptr || last_number_ != command.function) {
    last_loaded_ = &load(command);
    last_number_ = command.function;
  }
  const Loaded& loaded = *last_loaded_;
  const std::string* const outer_name = std::exchange(output_name_, &loaded.name);
  set_output_task(loaded.name.c_str());
  set_threads(loaded.threads);
  execute_here(command, loaded, !outer.first);
  if (actor_ == nullptr) set_threads(outer_threads);  // else it has those of its constructor
  if (outer_name != nullptr) set_output_task(outer_name->c_str());
  output_name_ = outer_name;
  ring_.end_attempt(outer);
}

/// In any thread.
void TaskLoop::execute_here(const TaskCommand& command, const Loaded& loaded, bool outermost) {
  if ((command.flags & kNoMemory) != 0) {
    const std::vector<std::byte> error = plain_error(
        "object_store_full", "the object store had no room for the arguments of this task");
    fail(command, monotonic_ns(), error);
  } else if (loaded.function == nullptr) {
    const std::vector<std::byte> error = plain_error("serialization", loaded.missing);
    fail(command, monotonic_ns(), error);
  } else {
    call(loaded, command, outermost);
  }
}

/// When the call that begins now does: looking at the clock takes as long as a short call.
std::int64_t TaskLoop::began_at(bool outermost) const {
  if (!outermost || concurrency_ > 1) return monotonic_ns();
  if (const std::int64_t claimed_ns = ring_.claimed_ns(); claimed_ns != 0) return claimed_ns;
  // It was claimed as soon as the one before it had ended.
  return ended_ns_ != 0 ? ended_ns_ : monotonic_ns();
}

void TaskLoop::call(const Loaded& loaded, const TaskCommand& command, bool outermost) {
  const std::int64_t began_ns = began_at(outermost);
  const bool was_actor = actor_ != nullptr;
  const auto done = [&](const CallOutcome& result) {
    flush_task_output(outermost);
    if (result.outcome == Outcome::kReturned && ring_.interrupt_pending()) {
      give_up(command, began_ns, result.values);
      return;
    }
    const bool is_final = result.outcome == Outcome::kRetryable && !loaded.is_retried;
    finish(command, began_ns, is_final ? Outcome::kRaised : result.outcome, result.values);
  };
  // By reference: a copy of it would be allocated.
  run_call(*loaded.function, loaded.name, command, actor_, ring_.arena(), engine_, std::ref(done));
  if (was_actor || actor_ == nullptr) return;
  concurrency_ = loaded.concurrency;
  engine_.become_actor();
}

/// The task was told to stop: what it has returned since then counts as if it had thrown.
void TaskLoop::give_up(const TaskCommand& command, std::int64_t began_ns,
                       std::span<const NewValue> values) {
  for (const NewValue& value : values) {
    if (value.offset != 0) ring_.discard({value.offset, value.size, false});
  }
  fail(command, began_ns, plain_error("cancelled", "the task was told to stop"));
}

void TaskLoop::fail(const TaskCommand& command, std::int64_t began_ns,
                    std::span<const std::byte> error) {
  NewValue value{.size = error.size(), .is_error = true, .bytes = error};
  finish(command, began_ns, Outcome::kRaised, std::span(&value, 1));
}

/// False: there is no room.
bool TaskLoop::move_to_arena(NewValue& error) {
  NativeHooks hooks(nullptr);
  auto block = ring_.allocate(error.size, hooks, StoreUse::kMessage);
  if (!block) return false;
  std::memcpy(ring_.arena().at(block->offset), error.bytes.data(), error.size);
  ring_.seal(*block);
  error.offset = block->offset;
  error.bytes = {};
  return true;
}

void TaskLoop::finish(const TaskCommand& command, std::int64_t began_ns, Outcome outcome,
                      std::span<NewValue> values) {
  // From here on an interrupt comes too late.
  ring_.end_attempt({});
  std::vector<std::byte> shortened;
  for (NewValue& value : values) {
    if (!value.is_error || value.size <= Client::kMaxNearValue || move_to_arena(value)) continue;
    if (shortened.empty())
      shortened = plain_error("object_store_full", "there was no room for the error of this task");
    value.size = shortened.size();
    value.bytes = shortened;
  }
  const std::int64_t ended_ns =
      ring_.finish({TaskId{command.task}, command.attempt, outcome, began_ns, values});
  if (concurrency_ == 1) ended_ns_ = ended_ns;
}

void TaskLoop::set_threads(std::uint32_t threads) {
  if (!sets_threads_ || threads == threads_ || threads == 0) return;
  threads_ = threads;
  // For loops without OpenMP, libraries that are loaded later, and processes that the task starts.
  // Not before the first task: if it needs an interpreter, that would take it for the program's.
  ::setenv("OMP_NUM_THREADS", std::to_string(threads).c_str(), /*overwrite=*/1);
  set_library_threads(static_cast<int>(threads), /*with_blas=*/true);
}

}  // namespace haz
