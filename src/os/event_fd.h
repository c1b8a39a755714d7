/// @file
/// A wake-up that can be polled together with other descriptors.
#pragma once

#include "base/result.h"
#include "os/fd.h"

namespace haz {

/// An eventfd: readable from signal() until drain(). Both may be called from any thread, signal()
/// from a signal handler too.
class EventFd {
 public:
  /// Makes one that is not readable. Fails with kOverloaded when there are no descriptors left.
  static Result<EventFd> create();

  /// Makes fd() readable. Never blocks.
  void signal() const noexcept;
  /// Makes fd() unreadable again; whether it was readable. Never blocks.
  bool drain() const noexcept;
  /// The descriptor to poll for reading; owned by this object.
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }

 private:
  explicit EventFd(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace haz
