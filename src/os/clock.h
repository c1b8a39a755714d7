/// @file
/// The monotonic clock.
#pragma once

#include <cstdint>
#include <ctime>

namespace haz {

/// Nanoseconds of CLOCK_MONOTONIC: the same in every process of the machine. Never fails.
inline std::int64_t monotonic_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

/// The same, up to some milliseconds ago, for less.
inline std::int64_t rough_monotonic_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

}  // namespace haz
