/// @file
/// How long to spin before sleeping.
#pragma once

#include <algorithm>
#include <cstdint>

#include "os/clock.h"
#include "os/futex.h"

namespace haz {

/// Longest spin of an idle worker, in microseconds: a little more than the pauses of a program that
/// calls again and again.
inline constexpr std::uint32_t kMaxWorkerSpinUs = 500;

/// Decides when spinning pays. Waking a sleeping process costs 20-100 us, so a short spin is a gain
/// as long as nobody else needs the processor: it yields now and then, and a yield that takes long
/// means that somebody does. Then it rests, the longer the more often that happens. One thread at a
/// time.
class SpinPolicy {
 public:
  /// Whether to begin a spin at all.
  [[nodiscard]] bool allowed(std::int64_t now_ns) const { return now_ns >= not_before_ns_; }

  /// Spins until `done()` or `until_ns`; returns whether it was done. `now_ns` is the time at the
  /// start. With `kPauses` between two looks: more than one where a look keeps others waiting.
  template <int kPauses = 1, typename Done>
  bool spin(std::int64_t now_ns, std::int64_t until_ns, Done&& done) {
    std::int64_t yield_at = now_ns + kYieldEveryNs;
    while (now_ns < until_ns) {
      // The clock costs as much as a pause.
      for (int i = 1; i <= kPausesPerTime; ++i) {
        cpu_relax();
        if (i % kPauses == 0 && done()) {
          rest_ns_ = kShortestRestNs;
          return true;
        }
      }
      now_ns = monotonic_ns();
      if (now_ns < yield_at) continue;
      yield_cpu();
      const std::int64_t after = monotonic_ns();
      if (after - now_ns > kSlowYieldNs) {
        const bool found = done();
        // Who was let in may have been the one that this waits for.
        if (found && after - now_ns < kTurnNs) return true;
        not_before_ns_ = after + rest_ns_;
        rest_ns_ = std::min(2 * rest_ns_, kLongestRestNs);
        return found;
      }
      now_ns = after;
      yield_at = now_ns + kYieldEveryNs;
    }
    return false;
  }

 private:
  static constexpr int kPausesPerTime = 4;
  static constexpr std::int64_t kYieldEveryNs = 5'000;
  static constexpr std::int64_t kSlowYieldNs = 30'000;
  /// Longest turn of a process that does a little and waits, as in a chain of messages.
  static constexpr std::int64_t kTurnNs = 100'000;
  static constexpr std::int64_t kShortestRestNs = 10'000'000;
  static constexpr std::int64_t kLongestRestNs = 1'000'000'000;

  std::int64_t not_before_ns_ = 0;
  std::int64_t rest_ns_ = kShortestRestNs;
};

}  // namespace haz
