#include "os/futex.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <ctime>

namespace haz {

namespace {

constexpr std::int64_t kNsPerSecond = 1'000'000'000;

const std::uint32_t* address_of(const std::atomic<std::uint32_t>& word) {
  static_assert(sizeof(std::atomic<std::uint32_t>) == sizeof(std::uint32_t));
  return reinterpret_cast<const std::uint32_t*>(&word);
}

}  // namespace

FutexOutcome futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected,
                        std::int64_t timeout_ns) {
  timespec limit{};
  timespec* limit_pointer = nullptr;
  if (timeout_ns >= 0) {
    limit.tv_sec = static_cast<time_t>(timeout_ns / kNsPerSecond);
    limit.tv_nsec = static_cast<decltype(limit.tv_nsec)>(timeout_ns % kNsPerSecond);
    limit_pointer = &limit;
  }
  const long result =
      syscall(SYS_futex, address_of(word), FUTEX_WAIT, expected, limit_pointer, nullptr, 0);
  if (result == 0) return FutexOutcome::kWoken;
  switch (errno) {
    case EAGAIN:
      return FutexOutcome::kChanged;
    case ETIMEDOUT:
      return FutexOutcome::kTimedOut;
    case EINTR:
      return FutexOutcome::kInterrupted;
    default:
      return FutexOutcome::kWoken;
  }
}

void futex_wake(const std::atomic<std::uint32_t>& word, int count) {
  syscall(SYS_futex, address_of(word), FUTEX_WAKE, count, nullptr, nullptr, 0);
}

void yield_cpu() { sched_yield(); }

}  // namespace haz
