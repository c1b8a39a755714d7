/// @file
/// Owned file descriptors, and the few kinds of file that haz makes. All are close-on-exec.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"

namespace haz {

/// Closes `fd` if it is not negative. Keeps errno.
void close_fd(int fd) noexcept;

/// Owns one file descriptor and closes it. Not thread-safe.
class UniqueFd {
 public:
  UniqueFd() = default;
  /// Takes over `fd`; negative means none.
  explicit UniqueFd(int fd) noexcept : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    reset(other.release());
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { close_fd(fd_); }

  /// The descriptor, still owned by this object; -1 for none.
  [[nodiscard]] int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }
  /// Gives the descriptor away.
  [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }
  /// Closes what is held and takes over `fd`.
  void reset(int fd = -1) noexcept { close_fd(std::exchange(fd_, fd)); }

 private:
  int fd_ = -1;
};

/// Another descriptor of what `fd` is one of; none if there is none left.
UniqueFd duplicate(int fd) noexcept;

/// The two ends of a pipe.
struct Pipe {
  UniqueFd read_end;
  UniqueFd write_end;
};

/// Makes a pipe. Fails with kOverloaded when the process has no descriptors left.
Result<Pipe> make_pipe();

/// Makes reads and writes of this open file return at once.
Status set_nonblocking(int fd);

/// How many descriptors a table may hold (RLIMIT_NOFILE).
std::size_t descriptor_limit() noexcept;

/// Gives the calling thread a table of descriptors of its own, in which only `kept` is open. False:
/// the system refuses, and nothing has changed.
bool own_descriptor_table(int kept) noexcept;

/// Makes an anonymous file that holds `bytes` and can't be changed any more.
Result<UniqueFd> make_sealed_file(const char* name, std::string_view bytes);

/// Reads all of the regular file or memfd `fd` from its beginning; its position stays.
Result<std::string> read_whole_file(int fd);

/// Writes `text` to the existing file `path` in one call; false if that fails.
bool write_text(const char* path, std::string_view text) noexcept;

/// Reads at most `size` bytes of the file `path` into `buffer`; the number of bytes, or -1.
long read_text(const char* path, char* buffer, std::size_t size) noexcept;

}  // namespace haz
