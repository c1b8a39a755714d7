#include "client/driver_link.h"

#include <poll.h>

#include <array>
#include <chrono>
#include <utility>
#include <vector>

#include "base/units.h"
#include "os/poll.h"
#include "os/socket.h"
#include "os/thread.h"

namespace haz {

namespace {

/// How soon dropped references are handed in, while there are some now and then, and at most.
constexpr std::int64_t kActiveNs = 50 * kMillisecondNs;
constexpr std::int64_t kIdleNs = 500 * kMillisecondNs;

}  // namespace

Result<std::unique_ptr<DriverLink>> DriverLink::start(UniqueFd socket, RingClient& ring,
                                                      OnMessage on_message) {
  auto wake = EventFd::create();
  if (!wake) return wake.error();
  std::unique_ptr<DriverLink> link(
      new DriverLink(std::move(socket), ring, std::move(*wake), std::move(on_message)));
  ring.watch_host(link->socket_.get());
  auto thread = start_thread([raw = link.get()] { raw->run(); });
  if (!thread) return thread.error();
  link->thread_ = std::move(*thread);
  return link;
}

DriverLink::DriverLink(UniqueFd socket, RingClient& ring, EventFd wake, OnMessage on_message)
    : socket_(std::move(socket)),
      ring_(ring),
      wake_(std::move(wake)),
      on_message_(std::move(on_message)) {}

DriverLink::~DriverLink() { leave(0, {}, 0); }

void DriverLink::leave(std::int64_t timeout_ns, const std::function<void()>& before_end,
                       std::int64_t writers_ns) {
  if (!thread_.joinable()) return;
  leaving_.store(true, std::memory_order_relaxed);
  // What this process was lent is lent on as soon as the server hears of its end.
  ring_.lose();
  ring_.await_writers(writers_ns);
  if (before_end) before_end();
  end_sending(socket_.get());
  {
    std::unique_lock lock(mutex_);
    std::uint64_t told = told_;
    const auto has_news = [&] { return over_ || telling_ || told_ != told; };
    while (changed_.wait_for(lock, std::chrono::nanoseconds(timeout_ns), has_news) && !over_) {
      changed_.wait(lock, [this] { return !telling_; });
      told = told_;
    }
  }
  stopping_.store(true, std::memory_order_relaxed);
  wake_.signal();
  thread_.join();
}

void DriverLink::run() {
  std::int64_t pause_ns = kActiveNs;
  while (!stopping_.load(std::memory_order_relaxed)) {
    std::array<pollfd, 2> entries = {{{socket_.get(), POLLIN, 0}, {wake_.fd(), POLLIN, 0}}};
    poll_fds(entries, pause_ns);
    if (!receive()) break;
    if (leaving_.load(std::memory_order_relaxed)) continue;
    pause_ns = ring_.hand_in() ? kActiveNs : kIdleNs;
  }
  if (!leaving_.load(std::memory_order_relaxed)) ring_.lose();
  const std::lock_guard lock(mutex_);
  over_ = true;
  changed_.notify_all();
}

/// False: the other end is gone.
bool DriverLink::receive() {
  std::vector<std::byte> buffer(kMaxMessageBytes);
  for (;;) {
    std::size_t size = 0;
    std::vector<UniqueFd> fds;
    switch (receive_message(socket_.get(), buffer, size, fds)) {
      case SocketOutcome::kDone:
        if (size != 0 && on_message_) tell({buffer.data(), size});
        break;
      case SocketOutcome::kWouldBlock:
        return true;
      case SocketOutcome::kClosed:
        return false;
    }
  }
}

void DriverLink::tell(std::span<const std::byte> message) {
  const auto note = [this](bool telling) {
    const std::lock_guard lock(mutex_);
    telling_ = telling;
    told_ += telling ? 0 : 1;
    changed_.notify_all();
  };
  note(true);
  on_message_(message);
  note(false);
}

}  // namespace haz
