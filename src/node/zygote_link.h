/// @file
/// The driver's side of its zygote: starts it, asks for workers, hears of their ends.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

#include "base/result.h"
#include "node/message_queue.h"
#include "node/zygote_message.h"
#include "os/fd.h"
#include "os/process.h"

namespace haz {

/// How the driver becomes a zygote in a copy of itself, which starts faster than a program.
struct ZygoteFork {
  std::function<void()> before_fork;
  std::function<void()> after_fork_in_parent;
  /// In the copy; given ZygoteOptions::mark. Finds its socket as descriptor kFirstInheritedFd, and
  /// does not return.
  std::function<void(const std::string& mark)> run;
};

/// What a zygote is started with.
struct ZygoteOptions {
  /// Absolute path of the program and its arguments. It finds its socket as descriptor
  /// kFirstInheritedFd.
  std::vector<std::string> argv;
  /// Instead of `argv` and `env`; only where this thread is the only one.
  std::optional<ZygoteFork> fork;
  /// "NAME=value" each; absent: as in this process.
  std::optional<std::vector<std::string>> env;
  /// "NAME=value", unique to the node: set in the zygote, so that all that descends from it can be
  /// found when it is gone. Empty: only what stays in its worker's session is found.
  std::string mark;
  /// Opaque to the link; what receive_zygote_setup() returns in the zygote. Any size.
  std::string setup;
};

/// A worker runs; it has not said anything yet. The read ends of its output are non-blocking.
struct WorkerForked {
  std::uint32_t slot = 0;
  std::uint32_t process_id = 0;
  pid_t pid = 0;
  UniqueFd stdout_fd;
  UniqueFd stderr_fd;
};

/// A worker has ended and been reaped; what it wrote may still wait in its pipes.
struct WorkerExited {
  std::uint32_t slot = 0;
  std::uint32_t process_id = 0;
  ProcessExit exit;
  bool with_zygote = false;  ///< Since the zygote had died.
};

/// A worker that was asked for will not come.
struct ForkFailed {
  std::uint32_t slot = 0;
  std::uint32_t process_id = 0;
  int error_number = 0;
};

/// The zygote is gone, by itself. `status` says how, for a person.
struct ZygoteDied {
  std::string status;
};

using ZygoteEvent = std::variant<WorkerForked, WorkerExited, ForkFailed, ZygoteDied>;

/// Owns one zygote process. Not thread-safe, and inert in forked children of the process that
/// started it: there everything fails or does nothing.
///
/// Each successful request_worker() is answered by exactly one WorkerForked or ForkFailed, and each
/// WorkerForked by exactly one WorkerExited, also when the zygote dies; its ZygoteDied comes last.
class ZygoteLink {
 public:
  /// Starts a zygote and returns without waiting for its interpreter.
  static Result<std::unique_ptr<ZygoteLink>> start(const ZygoteOptions& options);

  /// Gives every worker that is requested from now on a copy of `arena_fd`, which is only lent.
  /// Fails when there are no descriptors left; a zygote that has died is left to read_events().
  Status lend_arena(int arena_fd);

  /// As shutdown() with a second's time, but has no event to give. Never blocks longer.
  ~ZygoteLink();
  ZygoteLink(const ZygoteLink&) = delete;
  ZygoteLink& operator=(const ZygoteLink&) = delete;

  /// Asks for a worker named `process_id` (never used before) in `slot`. Never blocks. Fails with
  /// kLost when there is no zygote any more, kOverloaded when there are no descriptors left.
  Status request_worker(std::uint32_t slot, std::uint32_t process_id);

  /// Workers that were asked for and have not come yet; each takes four descriptors.
  [[nodiscard]] std::size_t requested() const { return requested_.size(); }

  /// A descriptor that is readable while read_events() has something to do; owned by the link.
  [[nodiscard]] int fd() const { return poller_.get(); }

  /// Appends what has happened since the last call. Does not block, except that when the zygote has
  /// died it waits (a second at most, usually none) until its workers are gone too, and what these
  /// have started.
  void read_events(std::vector<ZygoteEvent>& out);

  /// Sends `signal_number` to the worker whose WorkerForked gave `pid`. Never hits another process
  /// that got the number later. Fails with kLost when the worker's end is already known.
  Status signal_worker(pid_t pid, int signal_number);
  /// signal_worker with SIGKILL. The end is reported by WorkerExited as any other.
  Status kill_worker(pid_t pid);

  /// Asks the zygote to end everything, without waiting. No worker can be requested afterwards.
  void request_shutdown();
  /// request_shutdown(), then waits until the zygote and all descendants are gone, at most
  /// `timeout_ns`. After kTimeout the zygote goes on trying by itself; call again to wait more.
  /// Events that were not read are dropped.
  Status shutdown(std::int64_t timeout_ns);

  /// The zygote's process; 0 once it is gone.
  [[nodiscard]] pid_t zygote_pid() const { return zygote_pid_; }

 private:
  struct Requested {
    std::uint32_t slot;
    UniqueFd stdout_fd;
    UniqueFd stderr_fd;
  };
  struct Running {
    std::uint32_t slot;
    std::uint32_t process_id;
    UniqueFd pidfd;
  };

  ZygoteLink(UniqueFd socket, UniqueFd poller, pid_t zygote_pid, std::string mark);
  [[nodiscard]] bool owned() const;
  [[nodiscard]] Status watch_descriptors();
  void watch_for_writing(bool wanted);
  void send(const ZygoteMessage& message, std::vector<UniqueFd> fds = {});
  void receive_all(std::vector<ZygoteEvent>& out);
  void receive_one(const ZygoteMessage& message, std::vector<UniqueFd>& fds,
                   std::vector<ZygoteEvent>& out);
  void on_forked(const ZygoteMessage& message, std::vector<UniqueFd>& fds,
                 std::vector<ZygoteEvent>& out);
  bool reap_zygote();
  bool wait_for_zygote(std::int64_t timeout_ns);
  void bury_zygote(std::vector<ZygoteEvent>& out);
  void end_orphans(std::vector<ZygoteEvent>& out);

  UniqueFd socket_;
  UniqueFd poller_;
  UniqueFd zygote_pidfd_;
  pid_t zygote_pid_;
  const pid_t owner_pid_;
  MessageQueue outbound_;
  bool watching_for_writing_ = false;
  bool socket_closed_ = false;
  bool shutting_down_ = false;
  const std::string mark_;
  std::string zygote_status_;
  bool ended_in_order_ = false;
  std::unordered_map<std::uint32_t, Requested> requested_;  // by process_id
  std::unordered_map<pid_t, Running> running_;
};

}  // namespace haz
