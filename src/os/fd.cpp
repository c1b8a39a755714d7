#include "os/fd.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>

#include "os/system_error.h"

namespace haz {

namespace {

/// MFD_NOEXEC_SEAL, which glibc has since 2.38.
constexpr unsigned kNoExecSeal = 8U;

UniqueFd create_memfd(const char* name) {
  constexpr unsigned kFlags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  const int fd = memfd_create(name, kFlags | kNoExecSeal);
  if (fd >= 0 || errno != EINVAL) return UniqueFd(fd);
  return UniqueFd(memfd_create(name, kFlags));  // before Linux 6.3
}

}  // namespace

void close_fd(int fd) noexcept {
  if (fd < 0) return;
  const int saved = errno;
  ::close(fd);
  errno = saved;
}

UniqueFd duplicate(int fd) noexcept { return UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 0)); }

Result<Pipe> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return system_error("cannot make a pipe", errno);
  return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

Status set_nonblocking(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
    return system_error("cannot make a descriptor non-blocking", errno);
  }
  return Ok{};
}

std::size_t descriptor_limit() noexcept {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  return std::min<std::size_t>(limit.rlim_cur, 1U << 20);
}

bool own_descriptor_table(int kept) noexcept {
  if (::unshare(CLONE_FILES) != 0) return false;
  const auto close_all = [](unsigned first, unsigned last) {
    if (first > last || ::syscall(SYS_close_range, first, last, 0U) == 0) return;
    for (unsigned fd = first; fd <= last && fd < descriptor_limit(); ++fd)
      ::close(static_cast<int>(fd));
  };
  if (kept > 0) close_all(0, static_cast<unsigned>(kept) - 1);
  close_all(static_cast<unsigned>(kept) + 1, ~0U);
  return true;
}

Result<UniqueFd> make_sealed_file(const char* name, std::string_view bytes) {
  UniqueFd file = create_memfd(name);
  if (!file) return system_error("cannot make an anonymous file", errno);
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t written = ::write(file.get(), bytes.data() + done, bytes.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0 && errno == EFBIG)
      return system_error("cannot fill an anonymous file (RLIMIT_FSIZE, ulimit -f)", errno);
    if (written <= 0) return system_error("cannot fill an anonymous file", errno);
    done += static_cast<std::size_t>(written);
  }
  // Where the kernel can't seal, the file is merely not protected against our own bugs.
  ::fcntl(file.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
  return file;
}

Result<std::string> read_whole_file(int fd) {
  struct stat facts{};
  if (::fstat(fd, &facts) != 0) return system_error("cannot examine a file", errno);
  std::string bytes(static_cast<std::size_t>(facts.st_size), '\0');
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t got =
        ::pread(fd, bytes.data() + done, bytes.size() - done, static_cast<off_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return system_error("cannot read a file", errno);
    if (got == 0) return Error{ErrorKind::kInvalid, "a file shrank while it was read"};
    done += static_cast<std::size_t>(got);
  }
  return bytes;
}

bool write_text(const char* path, std::string_view text) noexcept {
  const UniqueFd file(::open(path, O_WRONLY | O_CLOEXEC));
  if (!file) return false;
  return ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

long read_text(const char* path, char* buffer, std::size_t size) noexcept {
  const UniqueFd file(::open(path, O_RDONLY | O_CLOEXEC));
  if (!file) return -1;
  ssize_t got = 0;
  do {
    got = ::read(file.get(), buffer, size);
  } while (got < 0 && errno == EINTR);
  return got;
}

}  // namespace haz
