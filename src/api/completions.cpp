#include "api/completions.h"

#include <poll.h>

#include <array>
#include <utility>
#include <vector>

#include "base/units.h"
#include "os/poll.h"
#include "os/thread.h"

namespace haz {

Status Completions::start() {
  if (thread_.joinable()) return Ok{};
  if (ended_) return Error{ErrorKind::kNodeDied, "haz was shut down"};
  auto wake = EventFd::create();
  if (!wake) return wake.error();
  wake_ = std::make_unique<EventFd>(std::move(*wake));
  // Fails where it can be told, and not in the thread.
  if (auto fd = client_.completions_fd(); !fd) return fd.error();
  auto thread = start_thread([this] { run(); });
  if (!thread) return thread.error();
  thread_ = std::move(*thread);
  return Ok{};
}

Result<bool> Completions::notify(ObjectId id, detail::ready_callback resume, void* context) {
  std::uint64_t token = 0;
  {
    const std::lock_guard lock(mutex_);
    if (Status started = start(); !started) return started.error();
    token = next_token_++;
    waiting_.emplace(token, Waiting{resume, context});
  }
  if (client_.subscribe(id, token, true)) return false;
  const std::lock_guard lock(mutex_);
  // Not there: end() has called it meanwhile.
  return waiting_.erase(token) != 0;
}

void Completions::tell(std::uint64_t token) {
  Waiting one{};
  {
    const std::lock_guard lock(mutex_);
    const auto found = waiting_.find(token);
    if (found == waiting_.end()) return;
    one = found->second;
    waiting_.erase(found);
  }
  one.resume(one.context);
}

void Completions::run() {
  constexpr std::int64_t kLongestNs = kSecondNs / 2;
  while (!stopping_.load(std::memory_order_relaxed)) {
    auto fd = client_.completions_fd();
    std::array<pollfd, 2> entries = {{{fd ? *fd : -1, POLLIN, 0}, {wake_->fd(), POLLIN, 0}}};
    poll_fds(entries, kLongestNs);
    for (const std::uint64_t token : client_.take_completions())
      tell(token);
  }
}

void Completions::end() noexcept {
  std::thread ending;
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    ending = std::move(thread_);
  }
  if (ending.joinable()) {
    stopping_.store(true, std::memory_order_relaxed);
    wake_->signal();
    // One that it has resumed may call this.
    if (ending.get_id() == std::this_thread::get_id()) {
      ending.detach();
    } else {
      ending.join();
    }
  }
  std::vector<Waiting> left;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [token, one] : std::exchange(waiting_, {}))
      left.push_back(one);
  }
  for (const Waiting& one : left)
    one.resume(one.context);
}

}  // namespace haz
