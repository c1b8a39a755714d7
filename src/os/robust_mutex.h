/// @file
/// A mutex in shared memory that the death of its owner unlocks.
#pragma once

#include <pthread.h>

#include <cstdint>

#include "base/result.h"

namespace haz {

/// Excludes threads of all processes that map it. When a thread ends while it has the mutex, also
/// by SIGKILL, the kernel gives it to the next one. So what it guards must be whole after each
/// single store: the next owner isn't told that the last one has died. Thread-safe.
class RobustMutex {
 public:
  RobustMutex(const RobustMutex&) = delete;
  RobustMutex& operator=(const RobustMutex&) = delete;

  /// Makes it an unlocked mutex; once, before any other process knows it. kUnavailable: the system
  /// has no such mutexes.
  Status initialize();

  /// Whether this thread has it now, at once.
  bool try_lock();
  /// Waits until `until_ns` of monotonic_ns(), at least for a moment; whether this thread has it.
  bool lock_until(std::int64_t until_ns);
  /// Precondition: this thread has it.
  void unlock();

 private:
  bool is_ours(int outcome);

  pthread_mutex_t mutex_;
};

}  // namespace haz
