/// @file
/// Sizes and times with their units.
#pragma once

#include <cstddef>
#include <cstdint>

namespace haz {

inline constexpr std::size_t kKiB = 1024;
inline constexpr std::size_t kMiB = 1024 * kKiB;
inline constexpr std::size_t kGiB = 1024 * kMiB;
inline constexpr std::int64_t kMicrosecondNs = 1000;
inline constexpr std::int64_t kMillisecondNs = 1000 * kMicrosecondNs;
inline constexpr std::int64_t kSecondNs = 1000 * kMillisecondNs;
inline constexpr std::size_t kCacheLine = 64;

/// Rounds `value` up to a multiple of `alignment`, a power of two.
constexpr std::uint64_t align_up(std::uint64_t value, std::uint64_t alignment) {
  return (value + alignment - 1) & ~(alignment - 1);
}

}  // namespace haz
