/// @file
/// How long to spin before sleeping.
#pragma once

#include <cstdint>

#include "os/clock.h"
#include "os/futex.h"

namespace haz {

/// Longest spin of an idle worker, in microseconds: a little more than the pauses of a program that
/// calls again and again.
inline constexpr std::uint32_t kMaxWorkerSpinUs = 500;

/// Decides when spinning pays. Waking a sleeping process costs 20-100 us, so a short spin is a gain
/// as long as nobody else needs the processor: it yields now and then, and a yield that takes long
/// means that somebody does. One thread at a time.
class SpinPolicy {
 public:
  /// Whether to begin a spin at all.
  [[nodiscard]] bool allowed(std::int64_t now_ns) const { return now_ns >= not_before_ns_; }

  /// One pause of a spin that began at `begin_ns`. False: stop spinning.
  bool pause(std::int64_t& now_ns) {
    for (int i = 0; i < kPausesPerLook; ++i) cpu_relax();
    const std::int64_t before = monotonic_ns();
    if (before - last_yield_ns_ < kYieldEveryNs) {
      now_ns = before;
      return true;
    }
    yield_cpu();
    now_ns = monotonic_ns();
    last_yield_ns_ = now_ns;
    if (now_ns - before < kSlowYieldNs) return true;
    not_before_ns_ = now_ns + kRestNs;
    return false;
  }

 private:
  static constexpr int kPausesPerLook = 4;
  static constexpr std::int64_t kYieldEveryNs = 5'000;
  static constexpr std::int64_t kSlowYieldNs = 30'000;
  static constexpr std::int64_t kRestNs = 10'000'000;

  std::int64_t not_before_ns_ = 0;
  std::int64_t last_yield_ns_ = 0;
};

}  // namespace haz
