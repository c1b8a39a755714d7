#include "os/robust_mutex.h"

#include <algorithm>
#include <cerrno>
#include <ctime>

#include "base/check.h"
#include "base/units.h"
#include "os/clock.h"
#include "os/system_error.h"

namespace haz {

Status RobustMutex::initialize() {
  pthread_mutexattr_t attributes;
  int outcome = pthread_mutexattr_init(&attributes);
  if (outcome == 0) {
    outcome = pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    if (outcome == 0) outcome = pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    if (outcome == 0) outcome = pthread_mutex_init(&mutex_, &attributes);
    pthread_mutexattr_destroy(&attributes);
  }
  if (outcome == 0) return Ok{};
  Error error = system_error("cannot make a mutex for several processes", outcome);
  error.kind = ErrorKind::kUnavailable;
  return error;
}

bool RobustMutex::is_ours(int outcome) {
  if (outcome == 0) return true;
  if (outcome != EOWNERDEAD) return false;
  HAZ_CHECK(pthread_mutex_consistent(&mutex_) == 0, "a mutex whose owner died can't be used");
  return true;
}

bool RobustMutex::try_lock() { return is_ours(pthread_mutex_trylock(&mutex_)); }

bool RobustMutex::lock_until(std::int64_t until_ns) {
  if (try_lock()) return true;
  timespec limit{};
  clock_gettime(CLOCK_REALTIME, &limit);
  const std::int64_t left = std::max<std::int64_t>(until_ns - monotonic_ns(), 0);
  const std::int64_t nanoseconds = limit.tv_nsec + left % kSecondNs;
  limit.tv_sec += static_cast<time_t>(left / kSecondNs + nanoseconds / kSecondNs);
  limit.tv_nsec = static_cast<decltype(limit.tv_nsec)>(nanoseconds % kSecondNs);
  return is_ours(pthread_mutex_timedlock(&mutex_, &limit));
}

void RobustMutex::unlock() { pthread_mutex_unlock(&mutex_); }

}  // namespace haz
