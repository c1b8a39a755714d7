/// @file
/// Pairs of connected local sockets that keep message borders and carry descriptors.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "os/fd.h"

namespace haz {

/// Two connected ends: what one sends, the other receives.
struct SocketPair {
  UniqueFd first;
  UniqueFd second;
};

/// Makes a SOCK_SEQPACKET pair, close-on-exec. Fails when there are no descriptors left.
Result<SocketPair> make_socket_pair();

/// Connects to the SOCK_SEQPACKET socket at `path`, close-on-exec. Waiting for it and for messages
/// ends after `timeout_ns`. kLost: nobody listens there, the message says why; kInvalid: somebody
/// else's process does, or the path is too long.
Result<UniqueFd> connect_to_socket(const std::string& path, std::int64_t timeout_ns);

/// How an attempt to send or receive ended.
enum class SocketOutcome : std::uint8_t {
  kDone,        ///< One whole message has passed.
  kWouldBlock,  ///< Not now: no message is waiting, or the other end is full.
  kClosed,      ///< The other end is gone.
};

/// Most descriptors that one message carries.
inline constexpr std::size_t kMaxMessageFds = 4;

/// Sends `bytes` (not empty) with copies of `fds` as one message. Never blocks, raises no SIGPIPE.
SocketOutcome send_message(int socket, std::span<const std::byte> bytes,
                           std::span<const int> fds = {});

/// Tells the other end that nothing more will come: it reads what is under way, then kClosed. Holds
/// for all copies of `socket`, in whatever process.
void end_sending(int socket) noexcept;

/// Has the kernel send `signal_number` to process `owner` whenever something comes in at `socket`,
/// or the other end is gone; also if that process is stopped. Holds for all copies of `socket`.
/// False where that is impossible.
bool signal_on_news(int socket, pid_t owner, int signal_number) noexcept;

/// Whether the other end of `socket` is gone or has called end_sending(). Async-signal-safe.
bool has_ended_sending(int socket) noexcept;

/// Receives one message of at most `buffer.size()` bytes; sets `size` to its length, 0 for one that
/// did not fit, and appends what descriptors came with it, close-on-exec, to `fds`. Descriptors for
/// which this process has no room are lost. Waits for a message only if `wait`.
SocketOutcome receive_message(int socket, std::span<std::byte> buffer, std::size_t& size,
                              std::vector<UniqueFd>& fds, bool wait = false);

}  // namespace haz
