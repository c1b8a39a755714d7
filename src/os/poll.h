/// @file
/// Waiting for descriptors.
#pragma once

#include <poll.h>

#include <cerrno>
#include <cstdint>
#include <ctime>
#include <span>

#include "os/clock.h"

namespace haz {

inline constexpr std::int64_t kWaitForever = -1;

/// Waits until one of `fds` is ready or `timeout_ns` has passed (0: only looks, kWaitForever: no
/// limit); fills in `revents` and returns how many are ready. Signals don't end the wait. Entries
/// with a negative descriptor are skipped.
inline int poll_fds(std::span<pollfd> fds, std::int64_t timeout_ns) {
  constexpr std::int64_t kNsPerSecond = 1'000'000'000;
  const std::int64_t deadline_ns = timeout_ns > 0 ? monotonic_ns() + timeout_ns : 0;
  for (;;) {
    timespec limit{};
    if (timeout_ns > 0) {
      limit.tv_sec = static_cast<time_t>(timeout_ns / kNsPerSecond);
      limit.tv_nsec = static_cast<decltype(limit.tv_nsec)>(timeout_ns % kNsPerSecond);
    }
    const int ready = ::ppoll(fds.data(), fds.size(), timeout_ns < 0 ? nullptr : &limit, nullptr);
    if (ready >= 0) return ready;
    for (pollfd& entry : fds)
      entry.revents = 0;
    if (errno != EINTR) return 0;
    if (timeout_ns > 0) {
      timeout_ns = deadline_ns - monotonic_ns();
      if (timeout_ns < 0) timeout_ns = 0;
    }
  }
}

/// Whether `fd` becomes readable, or its other end goes away, within `timeout_ns`.
inline bool wait_readable(int fd, std::int64_t timeout_ns) {
  pollfd entry{fd, POLLIN, 0};
  return poll_fds({&entry, 1}, timeout_ns) > 0;
}

}  // namespace haz
