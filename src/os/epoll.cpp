#include "os/epoll.h"

#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>

#include "os/system_error.h"

namespace haz {

namespace {

Status control(int poller, int operation, int fd, bool writing) {
  epoll_event event{};
  event.events = EPOLLIN | (writing ? static_cast<std::uint32_t>(EPOLLOUT) : 0U);
  event.data.fd = fd;
  if (::epoll_ctl(poller, operation, fd, &event) != 0) {
    return system_error("cannot watch a descriptor", errno);
  }
  return Ok{};
}

}  // namespace

Result<UniqueFd> make_poller() {
  UniqueFd poller(::epoll_create1(EPOLL_CLOEXEC));
  if (!poller) return system_error("cannot make an epoll instance", errno);
  return poller;
}

Status add_to_poller(int poller, int fd, bool writing) {
  return control(poller, EPOLL_CTL_ADD, fd, writing);
}

Status change_in_poller(int poller, int fd, bool writing) {
  return control(poller, EPOLL_CTL_MOD, fd, writing);
}

std::size_t wait_in_poller(int poller, std::span<int> ready) {
  std::array<epoll_event, 64> events{};
  const std::size_t most = std::min(events.size(), ready.size());
  const int count = ::epoll_wait(poller, events.data(), static_cast<int>(most), -1);
  for (int i = 0; i < count; ++i)
    ready[static_cast<std::size_t>(i)] = events[static_cast<std::size_t>(i)].data.fd;
  return static_cast<std::size_t>(std::max(count, 0));
}

void remove_from_poller(int poller, int fd) noexcept {
  ::epoll_ctl(poller, EPOLL_CTL_DEL, fd, nullptr);
}

}  // namespace haz
