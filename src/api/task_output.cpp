#include "api/task_output.h"

#include <stdio_ext.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <iostream>
#include <mutex>
#include <streambuf>
#include <string>

#include "node/log_lines.h"

namespace haz {

namespace {

/// Of the task that runs, as set_output_task() has it. Each call of a function sets it, and few
/// print: so it is no part of the streams, and needs no lock.
std::atomic<const char*> running_name{""};

/// One of the two streams. Marks go before the first output of a task of another name.
class MarkedOutput {
 public:
  explicit MarkedOutput(int fd) : fd_(fd) {}

  /// The number of bytes written, which is less than `text` has if the other end is gone.
  std::size_t write(std::string_view text) {
    const std::lock_guard lock(mutex_);
    // pairs with set_output_task
    const std::string_view name = running_name.load(std::memory_order_acquire);
    if (is_unnamed_ || name != name_) {
      name_ = name;
      is_unnamed_ = false;
      (void)write_all(std::string(kTaskMarker) + std::string(name.substr(0, kMaxTaskNameBytes)) +
                      "\n");
    }
    has_written_.store(true, std::memory_order_relaxed);
    return write_all(text);
  }
  /// Whether something was written since the last call. The next write names its task again.
  bool take_written() {
    if (!has_written_.load(std::memory_order_relaxed)) return false;
    const std::lock_guard lock(mutex_);
    has_written_.store(false, std::memory_order_relaxed);
    is_unnamed_ = true;
    return true;
  }
  void end_task() {
    const std::lock_guard lock(mutex_);
    if (!has_written_.exchange(false, std::memory_order_relaxed)) return;
    (void)write_all(std::string(kTaskMarker) + std::string(kTaskEnd) + "\n");
  }

 private:
  [[nodiscard]] std::size_t write_all(std::string_view text) const {
    std::size_t done = 0;
    while (done < text.size()) {
      const ssize_t written = ::write(fd_, text.data() + done, text.size() - done);
      if (written > 0) {
        done += static_cast<std::size_t>(written);
      } else if (errno != EINTR) {
        break;
      }
    }
    return done;
  }

  const int fd_;
  std::mutex mutex_;
  std::string_view name_;                 ///< Of the task that was named last.
  bool is_unnamed_ = false;               ///< Others may have written since then.
  std::atomic<bool> has_written_{false};  ///< Since the last end_task().
};

MarkedOutput& standard_output() {
  static auto* output = new MarkedOutput(STDOUT_FILENO);
  return *output;
}

MarkedOutput& standard_error() {
  static auto* output = new MarkedOutput(STDERR_FILENO);
  return *output;
}

ssize_t write_cookie(void* cookie, const char* bytes, std::size_t size) {
  return static_cast<ssize_t>(static_cast<MarkedOutput*>(cookie)->write({bytes, size}));
}

std::FILE* open_marked(MarkedOutput& output, int buffering) {
  cookie_io_functions_t functions{};
  functions.write = write_cookie;
  std::FILE* const file = ::fopencookie(&output, "w", functions);
  if (file != nullptr) std::setvbuf(file, nullptr, buffering, BUFSIZ);
  return file;
}

/// std::cout and std::cerr write into C's streams, so that both stay in order.
class StreamOnFile final : public std::streambuf {
 public:
  explicit StreamOnFile(std::FILE* file) : file_(file) {}

 protected:
  int_type overflow(int_type c) override {
    if (c == traits_type::eof()) return sync() == 0 ? 0 : traits_type::eof();
    return std::fputc(c, file_);
  }
  std::streamsize xsputn(const char* text, std::streamsize size) override {
    return static_cast<std::streamsize>(
        std::fwrite(text, 1, static_cast<std::size_t>(size), file_));
  }
  int sync() override { return std::fflush(file_); }

 private:
  std::FILE* file_;
};

}  // namespace

void name_output_by_task() {
  std::FILE* const out = open_marked(standard_output(), _IOLBF);
  std::FILE* const err = open_marked(standard_error(), _IONBF);
  if (out == nullptr || err == nullptr) return;
  stdout = out;
  stderr = err;
  std::cout.rdbuf(new StreamOnFile(out));
  std::cerr.rdbuf(new StreamOnFile(err));
  std::clog.rdbuf(new StreamOnFile(err));
}

void set_output_task(const char* name) {
  running_name.store(name, std::memory_order_release);  // pairs with MarkedOutput::write
}

bool take_task_output() {
  flush_task_output(false);
  const bool out = standard_output().take_written();
  return standard_error().take_written() || out;
}

void flush_task_output(bool ended) {
  if (::__fpending(stdout) != 0) std::fflush(stdout);
  if (ended) standard_error().end_task();
}

}  // namespace haz
