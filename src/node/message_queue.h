/// @file
/// Sending zygote messages in order without ever blocking or losing one.
#pragma once

#include <deque>
#include <vector>

#include "node/zygote_message.h"
#include "os/fd.h"
#include "os/socket.h"

namespace haz {

/// Messages on their way into one socket, which the caller owns. Not thread-safe.
class MessageQueue {
 public:
  /// Sends `message` with `fds` on `socket`, or keeps it until flush() can. The descriptors are
  /// closed here once they are sent. kClosed: the other end is gone, and the message with it.
  SocketOutcome send(int socket, const ZygoteMessage& message, std::vector<UniqueFd> fds = {});
  /// Sends what was kept, as far as possible. kWouldBlock: call again when `socket` is writable.
  SocketOutcome flush(int socket);
  /// Whether messages are waiting for flush().
  [[nodiscard]] bool has_waiting() const { return !waiting_.empty(); }

 private:
  struct Waiting {
    ZygoteMessage message;
    std::vector<UniqueFd> fds;
  };
  std::deque<Waiting> waiting_;
};

}  // namespace haz
