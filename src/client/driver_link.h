/// @file
/// What a driver that has joined a long-lived node keeps beside its rings: the connection to the
/// node's server, which tells each of the two of the other's end.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <thread>

#include "base/result.h"
#include "base/units.h"
#include "client/ring_client.h"
#include "os/event_fd.h"
#include "os/fd.h"

namespace haz {

/// One thread, which listens to the server, and hands in dropped references while the driver makes
/// no calls. When the server is gone, it has every wait of the client end.
class DriverLink {
 public:
  /// Called on the link's thread, without locks, with what the server has sent.
  using OnMessage = std::function<void(std::span<const std::byte>)>;

  /// Longest message of a server in bytes.
  static constexpr std::size_t kMaxMessageBytes = 64 * 1024;

  /// Takes over `socket`, whose other end has admitted `ring`, which outlives the link.
  static Result<std::unique_ptr<DriverLink>> start(UniqueFd socket, RingClient& ring,
                                                   OnMessage on_message);
  /// As leave() without any waiting.
  ~DriverLink();
  DriverLink(const DriverLink&) = delete;
  DriverLink& operator=(const DriverLink&) = delete;

  /// Ends the client's calls, and waits for threads that fill a value, at most `writers_ns`. Then
  /// calls `before_end`, while the node's memory is still as this driver has it; tells the server
  /// that this driver ends, and waits until it has sent what it had for the driver and nothing of
  /// that is left there, or has sent nothing for `timeout_ns`. Idempotent; one thread at a time.
  void leave(std::int64_t timeout_ns, const std::function<void()>& before_end = {},
             std::int64_t writers_ns = 10 * kSecondNs);

 private:
  DriverLink(UniqueFd socket, RingClient& ring, EventFd wake, OnMessage on_message);
  void run();
  bool receive();
  void tell(std::span<const std::byte> message);

  UniqueFd socket_;
  RingClient& ring_;
  EventFd wake_;
  OnMessage on_message_;
  std::atomic<bool> leaving_{false};
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;  ///< Guards what follows.
  std::condition_variable changed_;
  std::uint64_t told_ = 0;  ///< Messages for which on_message_ was called.
  bool telling_ = false;    ///< It runs.
  bool over_ = false;       ///< The other end is gone.
  std::thread thread_;
};

}  // namespace haz
