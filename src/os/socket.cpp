#include "os/socket.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "base/units.h"
#include "os/system_error.h"

namespace haz {

namespace {

union ControlBuffer {
  cmsghdr header;
  char bytes[CMSG_SPACE(kMaxMessageFds * sizeof(int))];
};

void attach_fds(msghdr& message, ControlBuffer& control, std::span<const int> fds) {
  message.msg_control = control.bytes;
  message.msg_controllen = CMSG_SPACE(fds.size_bytes());
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(fds.size_bytes());
  std::memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
}

void take_fds(msghdr& message, std::vector<UniqueFd>& fds) {
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t index = 0; index < count; ++index) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header) + index * sizeof(int), sizeof fd);
      fds.emplace_back(fd);
    }
  }
}

}  // namespace

Result<SocketPair> make_socket_pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return system_error("cannot make a socket pair", errno);
  }
  return SocketPair{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

Result<UniqueFd> connect_to_socket(const std::string& path, std::int64_t timeout_ns) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  if (path.size() >= sizeof name.sun_path) {
    return Error{ErrorKind::kInvalid, "the path " + path + " is too long for a socket"};
  }
  std::memcpy(name.sun_path, path.c_str(), path.size());
  UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!socket) return system_error("cannot make a socket", errno);
  const timeval limit{timeout_ns / kSecondNs, timeout_ns % kSecondNs / 1000};
  (void)::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  (void)::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0) {
    return Error{ErrorKind::kLost, std::strerror(errno)};
  }
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 ||
      peer.uid != ::getuid()) {
    return Error{ErrorKind::kInvalid, path + " belongs to a process of another user"};
  }
  return socket;
}

SocketOutcome send_message(int socket, std::span<const std::byte> bytes, std::span<const int> fds) {
  HAZ_CHECK(!bytes.empty() && fds.size() <= kMaxMessageFds, "malformed message");
  iovec piece{const_cast<std::byte*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  ControlBuffer control{};
  if (!fds.empty()) attach_fds(message, control, fds);
  for (;;) {
    if (::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) return SocketOutcome::kDone;
    switch (errno) {
      case EINTR:
        continue;
      case EAGAIN:
      case ENOBUFS:
      case ENOMEM:
      case ETOOMANYREFS:  // until the other end has taken descriptors that are under way
        return SocketOutcome::kWouldBlock;
      default:
        return SocketOutcome::kClosed;
    }
  }
}

void end_sending(int socket) noexcept { ::shutdown(socket, SHUT_WR); }

bool signal_on_news(int socket, pid_t owner, int signal_number) noexcept {
  const int flags = ::fcntl(socket, F_GETFL);
  return flags >= 0 && ::fcntl(socket, F_SETOWN, owner) == 0 &&
         ::fcntl(socket, F_SETSIG, signal_number) == 0 &&
         ::fcntl(socket, F_SETFL, flags | O_ASYNC) == 0;
}

bool has_ended_sending(int socket) noexcept {
  pollfd entry{socket, POLLRDHUP, 0};
  return ::poll(&entry, 1, 0) > 0 && (entry.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

SocketOutcome receive_message(int socket, std::span<std::byte> buffer, std::size_t& size,
                              std::vector<UniqueFd>& fds, bool wait) {
  for (;;) {
    iovec piece{buffer.data(), buffer.size()};
    ControlBuffer control{};
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
    const ssize_t got = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT));
    if (got < 0 && errno == EINTR) continue;
    // Reported once when the other end closed without reading all; its own messages come after.
    if (got < 0 && errno == ECONNRESET) continue;
    if (got < 0 && errno == EAGAIN) return SocketOutcome::kWouldBlock;
    if (got <= 0) return SocketOutcome::kClosed;
    take_fds(message, fds);
    size = (message.msg_flags & MSG_TRUNC) != 0 ? 0 : static_cast<std::size_t>(got);
    return SocketOutcome::kDone;
  }
}

}  // namespace haz
