/// @file
/// A futex word on which any number of threads of any processes sleep.
///
/// As with a Doorbell, the sleeper marks the word and looks once more; who notifies publishes and
/// then looks at the mark. A mark may outlive its sleepers, which costs one call of the system. A
/// sleeper that is killed after it was woken wakes nobody else: so sleeps are to be short, and who
/// wakes up looks.
#pragma once

#include <atomic>
#include <climits>
#include <cstdint>

#include "os/futex.h"

namespace haz {

/// Lives in shared memory; zero-initialised memory is a valid WaitWord. Thread-safe.
class WaitWord {
 public:
  /// Sleeper: marks the word. Afterwards look once more, then sleep() or not; then leave().
  std::uint32_t prepare() {
    return word_.fetch_or(1, std::memory_order_seq_cst) | 1;  // pairs with notify()
  }

  /// Sleeper: sleeps until notified, or `timeout_ns` have passed. `prepared` is what prepare() has
  /// returned.
  FutexOutcome sleep(std::uint32_t prepared, std::int64_t timeout_ns) const {
    return futex_wait(word_, prepared, timeout_ns);
  }

  /// Sleeper: says that others may sleep yet. Afterwards it takes what it waited for, and where
  /// more of that is there, notifies one: it may have been woken in place of several.
  void leave() { prepare(); }

  /// Wakes one sleeper if there is one. Call after a sequentially consistent publication.
  void notify_one() { notify(1); }
  void notify_all() { notify(INT_MAX); }

 private:
  void notify(int count) {
    std::uint32_t value = word_.load(std::memory_order_seq_cst);  // pairs with prepare()
    while ((value & 1) != 0) {
      if (word_.compare_exchange_weak(value, (value & ~std::uint32_t{1}) + 2,
                                      std::memory_order_relaxed)) {
        futex_wake(word_, count);
        return;
      }
    }
  }

  std::atomic<std::uint32_t> word_;
};

static_assert(sizeof(WaitWord) == sizeof(std::uint32_t));

}  // namespace haz
