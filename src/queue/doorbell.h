/// @file
/// A futex word on which one thread sleeps and which anyone rings after publishing work.
///
/// The lost wake-up is excluded by the store-load pattern of Dekker: the sleeper marks the word and
/// then looks at its queues; the ringer publishes and then looks at the mark. All four are
/// sequentially consistent operations, so at least one of the two sees the other.
#pragma once

#include <atomic>
#include <cstdint>

#include "os/futex.h"

namespace haz {

/// Lives in shared memory; zero-initialised memory is a valid Doorbell.
///
/// Bit 0 says that the owner sleeps or is about to; the rest counts rings. Whoever clears bit 0
/// makes the one wake call, so a sleeper is woken once however many ring.
class Doorbell {
 public:
  /// Sleeper: marks the word. Afterwards look at the queues once more, then sleep() or cancel().
  std::uint32_t prepare() {
    return word_.fetch_or(1, std::memory_order_seq_cst) | 1;  // pairs with wanted...()
  }

  /// Sleeper: takes the mark back, since there is work.
  void cancel() { word_.fetch_and(~std::uint32_t{1}, std::memory_order_relaxed); }

  /// Sleeper: sleeps until rung, or `timeout_ns` have passed (negative: no limit).
  /// `prepared` is what prepare() returned. The mark is gone afterwards.
  FutexOutcome sleep(std::uint32_t prepared, std::int64_t timeout_ns) {
    const FutexOutcome outcome = futex_wait(word_, prepared, timeout_ns);
    cancel();
    return outcome;
  }

  /// Ringer: whether the owner sleeps. Call after a sequentially consistent publication.
  [[nodiscard]] bool wanted() const {
    return (word_.load(std::memory_order_seq_cst) & 1) != 0;  // pairs with prepare()
  }

  /// Ringer: the same after publications of whatever order. A sleeper that marks the word later
  /// sees them all: this takes part in the order of the word's changes.
  [[nodiscard]] bool wanted_after_any() {
    return (word_.fetch_add(0, std::memory_order_seq_cst) & 1) != 0;  // pairs with prepare()
  }

  /// Ringer: wakes the owner even if it sleeps without a mark, as at the end of all work.
  void ring_always() {
    word_.fetch_add(2, std::memory_order_relaxed);
    futex_wake(word_, 1);
  }

  /// Ringer: wakes the owner if it sleeps. Returns whether this call did it. Call after a
  /// sequentially consistent publication.
  bool ring() {
    std::uint32_t value = word_.load(std::memory_order_seq_cst);  // pairs with prepare()
    while ((value & 1) != 0) {
      if (word_.compare_exchange_weak(value, (value & ~std::uint32_t{1}) + 2,
                                      std::memory_order_relaxed)) {
        futex_wake(word_, 1);
        return true;
      }
    }
    return false;
  }

 private:
  std::atomic<std::uint32_t> word_;
};

static_assert(sizeof(Doorbell) == sizeof(std::uint32_t));

}  // namespace haz
