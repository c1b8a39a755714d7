#include "node/zygote_loop.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/units.h"
#include "node/message_queue.h"
#include "node/zygote_message.h"
#include "os/poll.h"
#include "os/process.h"
#include "os/signals.h"
#include "os/socket.h"

namespace haz {

namespace {

/// How often to look for what no descriptor announces: children that ended where there is no
/// signalfd, a driver that is gone where there is no pidfd.
constexpr std::int64_t kChildPollNs = 2 * kMillisecondNs;
constexpr std::int64_t kDriverPollNs = 100 * kMillisecondNs;

/// How long nothing must have been asked before what is not urgent is prepared.
constexpr std::int64_t kQuietNs = 10 * kMillisecondNs;

/// Workers are killed by the kernel's out-of-memory killer before the driver is.
constexpr int kWorkerOomPoints = 100;

constexpr std::int64_t kFirstSweepNs = 3 * kMillisecondNs;
constexpr std::int64_t kSlowestSweepNs = 50 * kMillisecondNs;
/// How long to go on when all that is left belongs to somebody else and may not be killed.
constexpr std::int64_t kGiveUpNs = 2 * kSecondNs;

/// For the handler.
int socket_to_driver = -1;

void end_without_driver(int /*signal*/) {
  constexpr int kNotInOrder = 1;
  const int error_number = errno;
  if (has_ended_sending(socket_to_driver)) exit_now(kNotInOrder);
  errno = error_number;
}

void call(const std::function<void()>& hook) {
  if (hook) hook();
}

std::int64_t sooner(std::int64_t first_ns, std::int64_t second_ns) {
  if (first_ns == kWaitForever) return second_ns;
  return std::min(first_ns, second_ns);
}

class Zygote {
 public:
  Zygote(UniqueFd socket, pid_t driver_pid, const ZygoteHooks& hooks)
      : socket_(std::move(socket)),
        driver_pid_(driver_pid),
        own_pid_(current_pid()),
        hooks_(hooks),
        preload_pending_(static_cast<bool>(hooks.preload)),
        quiet_preload_pending_(static_cast<bool>(hooks.preload_when_quiet)) {}

  std::optional<ForkedWorker> run();

 private:
  struct Worker {
    std::uint32_t slot;
    std::uint32_t process_id;
  };
  struct Ready {
    bool any;
    bool socket;
  };

  Ready wait_for_something();
  [[nodiscard]] std::int64_t wait_limit_ns() const;
  [[nodiscard]] bool driver_is_gone() const;
  void take_resources(std::int32_t flags, std::vector<UniqueFd>& fds);
  std::optional<ForkedWorker> serve_one_message();
  std::optional<ForkedWorker> fork_worker(const ZygoteMessage& request, std::vector<UniqueFd>& fds);
  ForkedWorker become_worker(const ZygoteMessage& request, const std::vector<UniqueFd>& fds);
  void report_fork(const ZygoteMessage& request, pid_t pid);
  void report_failure(const ZygoteMessage& request, int error_number);
  void signal_worker(std::uint32_t process_id, int signal_number) const;
  ReapOutcome reap_children();
  void send(const ZygoteMessage& message, std::vector<UniqueFd> fds = {});
  void end_sessions();
  void kill_everything();
  void wait_for_child(std::int64_t timeout_ns);

  UniqueFd socket_;
  pid_t driver_pid_;
  pid_t own_pid_;
  const ZygoteHooks& hooks_;
  UniqueFd child_signals_;
  UniqueFd driver_pidfd_;
  UniqueFd arena_fd_;
  MessageQueue outbound_;
  std::unordered_map<pid_t, Worker> workers_;
  Heritage left_behind_;  ///< Sessions of workers that have ended, until they are empty.
  std::int64_t next_sweep_ns_ = 0;
  std::int64_t sweep_pause_ns_ = 0;
  std::int64_t give_up_at_ns_ = 0;
  bool preload_pending_;
  bool quiet_preload_pending_;
  bool has_forked_ = false;
  bool stopping_ = false;
};

std::optional<ForkedWorker> Zygote::run() {
  const ScopedSignalBlock no_signals;
  handle_signal(kZygoteNewsSignal, nullptr);
  // From here on there may be descendants, which are to end first.
  live_without_parent();
  become_subreaper();
  set_process_name("haz-zygote");
  child_signals_ = open_child_signal_fd();
  while (!stopping_) {
    const Ready ready = wait_for_something();
    if (driver_is_gone()) break;
    reap_children();
    end_sessions();
    // The first worker must not wait; what the others share must be there before the second one.
    if (preload_pending_ && (has_forked_ || !ready.any)) {
      preload_pending_ = hooks_.preload();
    } else if (ready.socket) {
      if (auto worker = serve_one_message()) return worker;
    } else if (quiet_preload_pending_ && !ready.any) {
      quiet_preload_pending_ = hooks_.preload_when_quiet();
    }
  }
  kill_everything();
  return std::nullopt;
}

std::int64_t Zygote::wait_limit_ns() const {
  if (preload_pending_) return 0;
  std::int64_t limit_ns = kWaitForever;
  if (!driver_pidfd_) limit_ns = sooner(limit_ns, kDriverPollNs);
  if (!child_signals_ && !workers_.empty()) limit_ns = sooner(limit_ns, kChildPollNs);
  if (quiet_preload_pending_) limit_ns = sooner(limit_ns, kQuietNs);
  if (!left_behind_.sessions.empty()) {
    limit_ns = sooner(limit_ns, std::max<std::int64_t>(next_sweep_ns_ - monotonic_ns(), 0));
  }
  return limit_ns;
}

Zygote::Ready Zygote::wait_for_something() {
  constexpr short kEnd = POLLRDHUP | POLLHUP | POLLERR;
  const short socket_events =
      static_cast<short>(POLLIN | POLLRDHUP | (outbound_.has_waiting() ? POLLOUT : 0));
  std::array<pollfd, 3> entries = {{{socket_.get(), socket_events, 0},
                                    {child_signals_.get(), POLLIN, 0},
                                    {driver_pidfd_.get(), POLLIN, 0}}};
  const bool any = poll_fds(entries, wait_limit_ns()) > 0;
  if (entries[1].revents != 0) drain_signal_fd(child_signals_.get());
  if ((entries[0].revents & POLLOUT) != 0) outbound_.flush(socket_.get());
  // Requests that the driver sent before it said that it is done need no answer any more.
  if ((entries[0].revents & kEnd) != 0 || entries[2].revents != 0) stopping_ = true;
  return Ready{any, (entries[0].revents & POLLIN) != 0};
}

bool Zygote::driver_is_gone() const {
  if (stopping_) return true;
  return !driver_pidfd_ && parent_pid() != driver_pid_;
}

void Zygote::take_resources(std::int32_t flags, std::vector<UniqueFd>& fds) {
  std::size_t next = 0;
  if ((flags & kHasDriverPidfd) != 0 && next < fds.size()) driver_pidfd_ = std::move(fds[next++]);
  if ((flags & kHasArena) != 0 && next < fds.size()) arena_fd_ = std::move(fds[next++]);
}

std::optional<ForkedWorker> Zygote::serve_one_message() {
  ZygoteMessage message;
  std::size_t size = 0;
  std::vector<UniqueFd> fds;
  switch (receive_message(socket_.get(), writable_bytes_of(message), size, fds)) {
    case SocketOutcome::kWouldBlock:
      return std::nullopt;
    case SocketOutcome::kClosed:
      stopping_ = true;
      return std::nullopt;
    case SocketOutcome::kDone:
      break;
  }
  if (size != sizeof message) return std::nullopt;
  switch (message.kind) {
    case ZygoteMessageKind::kResources:
      take_resources(message.value, fds);
      break;
    case ZygoteMessageKind::kFork:
      return fork_worker(message, fds);
    case ZygoteMessageKind::kSignal:
      signal_worker(message.process_id, message.value);
      break;
    default:
      break;
  }
  return std::nullopt;
}

std::optional<ForkedWorker> Zygote::fork_worker(const ZygoteMessage& request,
                                                std::vector<UniqueFd>& fds) {
  if (fds.size() != 2) {  // this process had no room for them
    report_failure(request, EMFILE);
    return std::nullopt;
  }
  call(hooks_.before_fork);
  const pid_t pid = fork_process();
  const int error_number = errno;
  if (pid == 0) return become_worker(request, fds);
  call(hooks_.after_fork_in_parent);
  std::erase(left_behind_.sessions, pid);  // its number was free, so nobody was left there
  if (pid < 0) {
    report_failure(request, error_number);
  } else {
    report_fork(request, pid);
  }
  return std::nullopt;
}

ForkedWorker Zygote::become_worker(const ZygoteMessage& request, const std::vector<UniqueFd>& fds) {
  constexpr int kSetupFailed = 125;
  die_with_parent();
  if (parent_pid() != own_pid_) exit_now(kSetupFailed);
  start_session();
  set_process_name("haz-worker");
  if (!detach_stdin() || !duplicate_onto(fds[0].get(), STDOUT_FILENO) ||
      !duplicate_onto(fds[1].get(), STDERR_FILENO)) {
    exit_now(kSetupFailed);
  }
  socket_.reset();
  child_signals_.reset();
  driver_pidfd_.reset();
  outbound_ = MessageQueue();
  raise_oom_score(kWorkerOomPoints);
  call(hooks_.after_fork_in_child);
  return ForkedWorker{request.slot, request.process_id, std::move(arena_fd_)};
}

void Zygote::report_fork(const ZygoteMessage& request, pid_t pid) {
  workers_.emplace(pid, Worker{request.slot, request.process_id});
  has_forked_ = true;
  ZygoteMessage report;
  report.kind = ZygoteMessageKind::kForked;
  report.slot = request.slot;
  report.process_id = request.process_id;
  report.pid = pid;
  std::vector<UniqueFd> fds;
  if (UniqueFd pidfd = open_pidfd(pid)) fds.push_back(std::move(pidfd));
  send(report, std::move(fds));
}

void Zygote::report_failure(const ZygoteMessage& request, int error_number) {
  ZygoteMessage report;
  report.kind = ZygoteMessageKind::kForkFailed;
  report.slot = request.slot;
  report.process_id = request.process_id;
  report.value = error_number;
  send(report);
}

// A worker that is in the table has not been reaped, so its pid can't belong to another process.
void Zygote::signal_worker(std::uint32_t process_id, int signal_number) const {
  for (const auto& [pid, worker] : workers_) {
    if (worker.process_id == process_id) send_signal(-1, pid, signal_number);
  }
}

ReapOutcome Zygote::reap_children() {
  for (;;) {
    ProcessExit exit;
    const ReapOutcome outcome = reap(-1, exit);
    if (outcome != ReapOutcome::kReaped) return outcome;
    const auto found = workers_.find(exit.pid);
    if (found == workers_.end()) continue;  // an orphan that a worker left behind
    ZygoteMessage report;
    report.kind = ZygoteMessageKind::kExited;
    report.slot = found->second.slot;
    report.process_id = found->second.process_id;
    report.pid = exit.pid;
    report.value = exit.exit_code;
    report.signal = exit.signal;
    report.core_dumped = exit.core_dumped ? 1 : 0;
    workers_.erase(found);
    send(report);
    if (has_more_children_than(workers_.size())) {
      left_behind_.sessions.push_back(exit.pid);
      next_sweep_ns_ = monotonic_ns();
      sweep_pause_ns_ = kFirstSweepNs;
      give_up_at_ns_ = next_sweep_ns_ + kGiveUpNs;
    }
  }
}

void Zygote::end_sessions() {
  if (left_behind_.sessions.empty() || monotonic_ns() < next_sweep_ns_) return;
  static_cast<void>(kill_heirs(left_behind_));
  if (monotonic_ns() > give_up_at_ns_) left_behind_.sessions.clear();
  next_sweep_ns_ = monotonic_ns() + sweep_pause_ns_;
  sweep_pause_ns_ = std::min(2 * sweep_pause_ns_, kSlowestSweepNs);
}

void Zygote::send(const ZygoteMessage& message, std::vector<UniqueFd> fds) {
  if (outbound_.send(socket_.get(), message, std::move(fds)) == SocketOutcome::kClosed) {
    stopping_ = true;
  }
}

void Zygote::wait_for_child(std::int64_t timeout_ns) {
  if (!child_signals_) timeout_ns = std::min(timeout_ns, kChildPollNs);
  pollfd entry{child_signals_.get(), POLLIN, 0};
  if (poll_fds({&entry, 1}, timeout_ns) > 0) drain_signal_fd(child_signals_.get());
}

// Workers first: most often they are all there is, and then nobody needs to search /proc. As this
// process is the subreaper, having no children left means having no descendants left.
void Zygote::kill_everything() {
  for (const auto& [pid, worker] : workers_)
    send_signal(-1, pid, SIGKILL);
  const std::int64_t first_sweep_ns = monotonic_ns() + kFirstSweepNs;
  std::int64_t pause_ns = kMillisecondNs;
  std::int64_t hopeless_since_ns = 0;
  while (reap_children() != ReapOutcome::kNoChildren) {
    kill_children();
    if (monotonic_ns() < first_sweep_ns && !workers_.empty()) {
      wait_for_child(kMillisecondNs);
      continue;
    }
    const KillSweep sweep = kill_descendants();
    if (sweep.alive > sweep.denied) {
      hopeless_since_ns = 0;
    } else if (hopeless_since_ns == 0) {
      hopeless_since_ns = monotonic_ns();
    } else if (monotonic_ns() - hopeless_since_ns > kGiveUpNs) {
      return;
    }
    kill_children();
    wait_for_child(pause_ns);
    pause_ns = std::min(2 * pause_ns, kSlowestSweepNs);
  }
}

}  // namespace

Result<ZygoteSetup> receive_zygote_setup(int socket) {
  socket_to_driver = socket;
  handle_signal(kZygoteNewsSignal, end_without_driver);
  end_without_driver(kZygoteNewsSignal);  // it may have come before
  ZygoteMessage message;
  std::size_t size = 0;
  std::vector<UniqueFd> fds;
  if (receive_message(socket, writable_bytes_of(message), size, fds, true) !=
      SocketOutcome::kDone) {
    return Error{ErrorKind::kLost, "the driver ended before its zygote was set up"};
  }
  if (size != sizeof message || message.kind != ZygoteMessageKind::kSetup || fds.size() != 1) {
    return Error{ErrorKind::kInvalid, "the zygote's first message is not its set-up"};
  }
  auto bytes = read_whole_file(fds.front().get());
  if (!bytes) return bytes.error();
  return ZygoteSetup{std::move(*bytes), message.pid};
}

std::optional<ForkedWorker> run_zygote(UniqueFd socket, pid_t driver_pid,
                                       const ZygoteHooks& hooks) {
  std::optional<ForkedWorker> worker = Zygote(std::move(socket), driver_pid, hooks).run();
  if (worker) unblock_all_signals();
  return worker;
}

}  // namespace haz
