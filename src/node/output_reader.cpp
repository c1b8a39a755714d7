#include "node/output_reader.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <span>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "base/units.h"
#include "os/epoll.h"
#include "os/poll.h"
#include "os/socket.h"
#include "os/thread.h"

namespace haz {

namespace {

constexpr std::size_t kReadBytes = 64 * kKiB;
/// Reads from one stream in one round, and from one whose worker has ended: a process that the
/// worker has left behind may go on writing.
constexpr int kMaxReads = 4;
constexpr int kMaxLastReads = 64;
/// Held for the owner at most, but for one round's reads.
constexpr std::size_t kMostHeldBytes = 4 * kMiB;
/// Descriptors of the table that are not a worker's.
constexpr std::size_t kOwnDescriptors = 16;
constexpr std::size_t kReadyAtATime = 64;
constexpr std::int64_t kRetryNs = kMillisecondNs;

}  // namespace

/// What the thread runs.
class OutputReader::Loop {
 public:
  Loop(OutputReader& shared, UniqueFd socket, UniqueFd poller)
      : shared_(shared), socket_(std::move(socket)), poller_(std::move(poller)) {}

  void run() {
    std::array<int, kReadyAtATime> ready{};
    while (!closed_) {
      if (is_full()) {
        wait_readable(socket_.get(), kWaitForever);
        serve();
        continue;
      }
      const std::size_t count = wait_in_poller(poller_.get(), ready);
      for (std::size_t i = 0; i < count; ++i) {
        if (ready[i] == socket_.get()) {
          serve();
        } else if (const auto found = sources_.find(ready[i]); found != sources_.end()) {
          read_from(found->second, kMaxReads);
        }
      }
    }
  }

 private:
  struct Source {
    std::uint32_t process_id;
    LogStream stream;
    UniqueFd fd;
    bool ended = false;
  };

  bool is_full() {
    const std::lock_guard lock(shared_.mutex_);
    return shared_.held_bytes_ >= kMostHeldBytes;
  }

  void serve() {
    for (;;) {
      Message message;
      std::size_t size = 0;
      std::vector<UniqueFd> fds;
      switch (receive_message(socket_.get(), std::as_writable_bytes(std::span(&message, 1)), size,
                              fds)) {
        case SocketOutcome::kClosed:
          closed_ = true;
          return;
        case SocketOutcome::kWouldBlock:
          return;
        case SocketOutcome::kDone:
          break;
      }
      if (size != sizeof message) continue;
      if (message.request == Request::kEnd) closed_ = true;
      if (message.request == Request::kAdd && fds.size() == 2) {
        add(message.process_id, LogStream::kStdout, std::move(fds[0]));
        add(message.process_id, LogStream::kStderr, std::move(fds[1]));
      } else if (message.request == Request::kFinish) {
        finish(message.process_id);
      }
    }
  }

  void add(std::uint32_t process_id, LogStream stream, UniqueFd fd) {
    const int number = fd.get();
    static_cast<void>(add_to_poller(poller_.get(), number));
    sources_.insert_or_assign(number, Source{process_id, stream, std::move(fd)});
  }

  void finish(std::uint32_t process_id) {
    for (auto it = sources_.begin(); it != sources_.end();) {
      if (it->second.process_id != process_id) {
        ++it;
        continue;
      }
      read_from(it->second, kMaxLastReads);
      it = sources_.erase(it);
    }
    const std::lock_guard lock(shared_.mutex_);
    shared_.finished_ = process_id;
    shared_.changed_.notify_all();
  }

  /// A source that has ended is kept for its number until finish().
  void read_from(Source& source, int most) {
    for (int reads = 0; !source.ended && reads < most; ++reads) {
      const ssize_t got = ::read(source.fd.get(), buffer_.data(), buffer_.size());
      if (got > 0) {
        hand_over(source, {buffer_.data(), static_cast<std::size_t>(got)});
        continue;
      }
      if (got < 0 && errno == EINTR) continue;
      if (got == 0) {
        source.ended = true;
        remove_from_poller(poller_.get(), source.fd.get());
      }
      break;
    }
  }

  void hand_over(const Source& source, std::string_view bytes) {
    bool first = false;
    {
      const std::lock_guard lock(shared_.mutex_);
      first = shared_.pieces_.empty();
      shared_.pieces_.push_back({source.process_id, source.stream, std::string(bytes)});
      shared_.held_bytes_ += bytes.size();
    }
    // Where there is no room for it, there is one already that the owner has not read.
    const std::byte news{};
    if (first) static_cast<void>(send_message(socket_.get(), std::span(&news, 1)));
  }

  OutputReader& shared_;
  UniqueFd socket_;
  UniqueFd poller_;
  std::unordered_map<int, Source> sources_;  ///< By descriptor.
  std::vector<char> buffer_ = std::vector<char>(kReadBytes);
  bool closed_ = false;
};

Result<std::unique_ptr<OutputReader>> OutputReader::start() {
  auto sockets = make_socket_pair();
  if (!sockets) return sockets.error();
  const std::size_t limit = descriptor_limit();
  if (limit <= kOwnDescriptors + 2) {
    return Error{ErrorKind::kOverloaded, "a table of descriptors is too small (ulimit -n)"};
  }
  std::unique_ptr<OutputReader> reader(new OutputReader(std::move(sockets->first)));
  reader->most_workers_ = (limit - kOwnDescriptors) / 2;
  // The thread's table is a copy in which only this one is left; here it is closed then.
  const int far = sockets->second.get();
  auto thread = start_thread([shared = reader.get(), far] {
    const bool has_table = own_descriptor_table(far);
    Result<UniqueFd> poller = has_table ? make_poller() : Result<UniqueFd>(UniqueFd());
    const bool works = has_table && poller.ok() && add_to_poller(poller->get(), far).ok();
    {
      const std::lock_guard lock(shared->mutex_);
      shared->started_ = true;
      shared->has_table_ = works;
      shared->changed_.notify_all();
    }
    if (works) Loop(*shared, UniqueFd(far), std::move(*poller)).run();
  });
  if (!thread) return thread.error();
  reader->thread_ = std::move(*thread);
  std::unique_lock lock(reader->mutex_);
  reader->changed_.wait(lock, [&reader] { return reader->started_; });
  if (!reader->has_table_) {
    return Error{ErrorKind::kOverloaded, "this system gives threads no descriptors of their own"};
  }
  return reader;
}

OutputReader::~OutputReader() {
  // Said, since a child that this process has forked may hold a copy of the socket.
  static_cast<void>(send({Request::kEnd}));
  socket_.reset();
  if (thread_.joinable()) thread_.join();
}

bool OutputReader::send(const Message& message, std::span<const int> fds) {
  for (;;) {
    switch (send_message(socket_.get(), std::as_bytes(std::span(&message, 1)), fds)) {
      case SocketOutcome::kDone:
        return true;
      case SocketOutcome::kClosed:
        return false;
      case SocketOutcome::kWouldBlock:
        poll_fds({}, kRetryNs);
        break;
    }
  }
}

bool OutputReader::add(std::uint32_t process_id, UniqueFd& stdout_fd, UniqueFd& stderr_fd) {
  const std::array<int, 2> ends{stdout_fd.get(), stderr_fd.get()};
  if (!has_room() || !stdout_fd || !stderr_fd) return false;
  if (!send({Request::kAdd, process_id}, ends)) return false;
  stdout_fd.reset();
  stderr_fd.reset();
  ++workers_;
  return true;
}

void OutputReader::take(std::vector<Piece>& out) {
  std::array<std::byte, 1> news{};
  std::size_t size = 0;
  std::vector<UniqueFd> none;
  while (receive_message(socket_.get(), news, size, none) == SocketOutcome::kDone) {
  }
  bool was_full = false;
  {
    const std::lock_guard lock(mutex_);
    for (Piece& piece : pieces_)
      out.push_back(std::move(piece));
    pieces_.clear();
    was_full = std::exchange(held_bytes_, 0) >= kMostHeldBytes;
  }
  if (was_full) static_cast<void>(send({Request::kGoOn}));
}

void OutputReader::finish(std::uint32_t process_id) {
  if (!send({Request::kFinish, process_id})) return;
  --workers_;
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this, process_id] { return finished_ == process_id; });
}

}  // namespace haz
