/// @file
/// What the driver and its zygote tell each other: one fixed-size record a message, over a
/// SOCK_SEQPACKET pair. Descriptors travel beside the record.
#pragma once

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

namespace haz {

/// What the kernel sends the zygote when the driver has sent it something, or has ended.
inline constexpr int kZygoteNewsSignal = SIGCONT;

enum class ZygoteMessageKind : std::uint32_t {
  // driver -> zygote
  kSetup = 1,  ///< First message. `pid`: the driver. Carries the set-up file.
  kResources,  ///< Any time. `value`: ResourceFlags. Carries what they name, in their order.
  kFork,       ///< Fork worker `process_id` for `slot`. Carries its stdout and stderr.
  kSignal,     ///< Send signal `value` to worker `process_id`.
  // zygote -> driver
  kForked,      ///< Worker `process_id` is `pid`. Carries its pidfd where there are such.
  kForkFailed,  ///< Worker `process_id` could not be forked: errno `value`.
  kExited,      ///< Worker `process_id`, `pid`, has ended with exit code `value` or by `signal`.
};

/// Which descriptors come with ZygoteMessageKind::kResources, in this order.
enum ResourceFlags : std::int32_t { kHasDriverPidfd = 1, kHasArena = 2 };

/// One message. Fields that a kind does not name are zero.
struct ZygoteMessage {
  ZygoteMessageKind kind{};
  std::uint32_t slot = 0;
  std::uint32_t process_id = 0;
  std::int32_t pid = 0;
  std::int32_t value = 0;
  std::int32_t signal = 0;
  std::int32_t core_dumped = 0;
};
static_assert(std::is_trivially_copyable_v<ZygoteMessage> && sizeof(ZygoteMessage) == 28);

/// The bytes of `message`, for sending.
inline std::span<const std::byte> bytes_of(const ZygoteMessage& message) {
  return std::as_bytes(std::span(&message, 1));
}

/// The bytes of `message`, for receiving.
inline std::span<std::byte> writable_bytes_of(ZygoteMessage& message) {
  return std::as_writable_bytes(std::span(&message, 1));
}

}  // namespace haz
