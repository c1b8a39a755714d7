#include "os/event_fd.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "os/system_error.h"

namespace haz {

Result<EventFd> EventFd::create() {
  UniqueFd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!fd) return system_error("cannot make an eventfd", errno);
  return EventFd(std::move(fd));
}

void EventFd::signal() const noexcept {
  const std::uint64_t one = 1;
  // EAGAIN means that the counter is full, so the descriptor is readable anyway.
  while (::write(fd_.get(), &one, sizeof one) < 0 && errno == EINTR) {
  }
}

bool EventFd::drain() const noexcept {
  std::uint64_t count = 0;
  ssize_t got = 0;
  do {
    got = ::read(fd_.get(), &count, sizeof count);
  } while (got < 0 && errno == EINTR);
  return got == static_cast<ssize_t>(sizeof count);
}

}  // namespace haz
