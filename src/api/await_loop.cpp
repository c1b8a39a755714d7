#include "haz/detail/await_loop.h"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <utility>
#include <vector>

#include "base/units.h"
#include "haz/detail/engine.h"

namespace haz::detail {

namespace {

/// How soon the end of a coroutine that has gone on in another thread is seen.
constexpr std::int64_t kLookNs = 20 * kMillisecondNs;

thread_local await_loop* innermost = nullptr;

}  // namespace

struct await_loop::state {
  explicit state(std::size_t count) : running(count) {}

  std::vector<std::uint64_t> objects;
  std::vector<std::coroutine_handle<>> waiting;  ///< For each of `objects`.
  await_loop* outer = nullptr;
  std::mutex mutex;  ///< Guards what follows.
  std::condition_variable ended;
  std::size_t running;

  [[nodiscard]] bool is_over() {
    const std::lock_guard lock(mutex);
    return running == 0;
  }
  /// No coroutine waits for an object: they are in other hands.
  void wait_for_others() {
    std::unique_lock lock(mutex);
    ended.wait_for(lock, std::chrono::nanoseconds(kLookNs), [this] { return running == 0; });
  }
  /// Takes those out that are ready, waiting for the first.
  std::vector<std::coroutine_handle<>> take_ready() {
    const std::unique_ptr<bool[]> ready(new bool[objects.size()]());
    failure why;
    if (!current_engine().wait(objects.data(), objects.size(), 1, kLookNs, ready.get(), why))
      throw_failure(why);
    std::vector<std::coroutine_handle<>> taken;
    std::size_t kept = 0;
    for (std::size_t i = 0; i < objects.size(); ++i) {
      if (ready[i]) {
        taken.push_back(waiting[i]);
        continue;
      }
      objects[kept] = objects[i];
      waiting[kept++] = waiting[i];
    }
    objects.resize(kept);
    waiting.resize(kept);
    return taken;
  }
};

await_loop::await_loop(std::size_t count) : state_(std::make_unique<state>(count)) {
  state_->outer = std::exchange(innermost, this);
}

await_loop::~await_loop() { innermost = state_->outer; }

await_loop* await_loop::current() noexcept { return innermost; }

void await_loop::add(std::uint64_t object, std::coroutine_handle<> waiting) {
  state_->objects.push_back(object);
  state_->waiting.push_back(waiting);
}

void await_loop::end_one() noexcept {
  const std::lock_guard lock(state_->mutex);
  --state_->running;
  state_->ended.notify_all();
}

void await_loop::run(const std::function<void()>& begin) {
  begin();
  while (!state_->is_over()) {
    if (state_->objects.empty()) {
      state_->wait_for_others();
      continue;
    }
    for (const std::coroutine_handle<> one : state_->take_ready())
      one.resume();
  }
}

}  // namespace haz::detail
