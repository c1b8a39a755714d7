/// @file
/// Reads the output of many workers without taking descriptors from the rest of the process.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/result.h"
#include "node/log_lines.h"
#include "os/fd.h"

namespace haz {

/// A thread with a table of descriptors of its own, in which it holds the pipes of workers:
/// RLIMIT_NOFILE bounds each table by itself. The members are for one thread, the owner.
class OutputReader {
 public:
  /// Some of what a worker has written.
  struct Piece {
    std::uint32_t process_id;
    LogStream stream;
    std::string bytes;
  };

  /// Fails when there is no descriptor or thread to be had, and where the system gives a thread no
  /// table of its own.
  static Result<std::unique_ptr<OutputReader>> start();
  ~OutputReader();
  OutputReader(const OutputReader&) = delete;
  OutputReader& operator=(const OutputReader&) = delete;

  /// Whether the table has room for one more worker.
  [[nodiscard]] bool has_room() const { return workers_ < most_workers_; }
  /// Reads from these non-blocking ends from now on. False: they stay the caller's.
  bool add(std::uint32_t process_id, UniqueFd& stdout_fd, UniqueFd& stderr_fd);
  /// Readable while take() may give something.
  [[nodiscard]] int fd() const { return socket_.get(); }
  /// Appends what was read since the last call. Until it is called, the thread reads no more than a
  /// few megabytes ahead.
  void take(std::vector<Piece>& out);
  /// Reads what a worker that has ended has left in its pipes, for take(), and closes them.
  void finish(std::uint32_t process_id);

 private:
  class Loop;
  enum class Request : std::uint32_t { kAdd, kFinish, kGoOn, kEnd };
  struct Message {
    Request request{};
    std::uint32_t process_id = 0;
  };

  explicit OutputReader(UniqueFd socket) : socket_(std::move(socket)) {}
  bool send(const Message& message, std::span<const int> fds = {});

  UniqueFd socket_;  ///< To the thread.
  std::size_t workers_ = 0;
  std::size_t most_workers_ = 0;
  std::mutex mutex_;  ///< Guards what follows.
  std::condition_variable changed_;
  std::vector<Piece> pieces_;
  std::size_t held_bytes_ = 0;
  std::uint32_t finished_ = 0;  ///< The last for which finish() is done.
  bool started_ = false;
  bool has_table_ = false;
  std::thread thread_;
};

}  // namespace haz
