#include "node/zygote_link.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <utility>

#include "base/units.h"
#include "os/epoll.h"
#include "os/poll.h"
#include "os/socket.h"

namespace haz {

namespace {

constexpr std::int64_t kBurialNs = kSecondNs;
constexpr std::int64_t kPollNs = kMillisecondNs;
/// Held at most, so that many workers leave the program its descriptors.
constexpr std::size_t kMostPidfds = 64;

Error gone_error(const std::string& status) {
  return Error{ErrorKind::kLost, "the zygote, which starts worker processes, " +
                                     (status.empty() ? std::string("has been shut down") : status)};
}

Error no_descriptors() {
  return Error{ErrorKind::kOverloaded, "cannot hand the zygote its set-up: out of descriptors?"};
}

// Leaves in the socket what the zygote reads first, and without which it ends as soon as this
// process has.
Status send_setup(int socket, const ZygoteOptions& options) {
  auto file = make_sealed_file("haz-setup", options.setup);
  if (!file) return file.error();
  ZygoteMessage setup;
  setup.kind = ZygoteMessageKind::kSetup;
  setup.pid = current_pid();
  const std::array<int, 1> setup_fds = {file->get()};

  ZygoteMessage resources;
  resources.kind = ZygoteMessageKind::kResources;
  std::vector<int> resource_fds;
  const UniqueFd own_pidfd = open_pidfd(current_pid());
  if (own_pidfd) {
    resources.value |= kHasDriverPidfd;
    resource_fds.push_back(own_pidfd.get());
  }
  if (send_message(socket, bytes_of(setup), setup_fds) != SocketOutcome::kDone ||
      send_message(socket, bytes_of(resources), resource_fds) != SocketOutcome::kDone) {
    return no_descriptors();
  }
  return Ok{};
}

Result<pid_t> start_process(const ZygoteOptions& options, int socket) {
  if (!options.fork) {
    SpawnOptions spawn;
    spawn.argv = options.argv;
    spawn.env = options.env;
    spawn.variable = options.mark;
    spawn.inherited_fds = {socket};
    spawn.dies_with_caller = true;
    return spawn_process(spawn);
  }
  constexpr int kReturned = 1;
  options.fork->before_fork();
  auto pid = fork_apart({options.mark, {socket}, true});
  if (pid && *pid == 0) {
    options.fork->run(options.mark);
    exit_now(kReturned);
  }
  options.fork->after_fork_in_parent();
  return pid;
}

bool wait_until_gone(pid_t pid, int pidfd, std::int64_t deadline_ns) {
  for (;;) {
    const std::int64_t left_ns = std::max<std::int64_t>(deadline_ns - monotonic_ns(), 0);
    if (pidfd >= 0) return wait_readable(pidfd, left_ns);
    if (has_ended(pid)) return true;
    if (left_ns == 0) return false;
    poll_fds({}, kPollNs);
  }
}

}  // namespace

Result<std::unique_ptr<ZygoteLink>> ZygoteLink::start(const ZygoteOptions& options) {
  auto sockets = make_socket_pair();
  if (!sockets) return sockets.error();
  auto poller = make_poller();
  if (!poller) return poller.error();
  const auto pid = start_process(options, sockets->second.get());
  if (!pid) return pid.error();
  // A zygote that somebody has stopped goes on when it is asked for something, and when this
  // process ends.
  static_cast<void>(signal_on_news(sockets->second.get(), pid.value(), kZygoteNewsSignal));
  std::unique_ptr<ZygoteLink> link(
      new ZygoteLink(std::move(sockets->first), std::move(*poller), pid.value(), options.mark));
  if (auto watched = link->watch_descriptors(); !watched) return watched.error();
  // The zygote gets ready meanwhile.
  if (auto sent = send_setup(link->socket_.get(), options); !sent) return sent.error();
  return link;
}

ZygoteLink::ZygoteLink(UniqueFd socket, UniqueFd poller, pid_t zygote_pid, std::string mark)
    : socket_(std::move(socket)),
      poller_(std::move(poller)),
      zygote_pidfd_(open_pidfd(zygote_pid)),
      zygote_pid_(zygote_pid),
      owner_pid_(current_pid()),
      mark_(std::move(mark)) {}

ZygoteLink::~ZygoteLink() {
  if (owned()) static_cast<void>(shutdown(kSecondNs));
}

Status ZygoteLink::lend_arena(int arena_fd) {
  ZygoteMessage resources;
  resources.kind = ZygoteMessageKind::kResources;
  resources.value = kHasArena;
  const std::array<int, 1> fds = {arena_fd};
  const SocketOutcome sent = send_message(socket_.get(), bytes_of(resources), fds);
  if (sent == SocketOutcome::kWouldBlock) return no_descriptors();
  return Ok{};
}

bool ZygoteLink::owned() const { return current_pid() == owner_pid_; }

Status ZygoteLink::watch_descriptors() {
  if (auto added = add_to_poller(poller_.get(), socket_.get()); !added) return added;
  // The socket's end alone does not do: a child that the driver forked may hold the far end too.
  if (zygote_pidfd_) return add_to_poller(poller_.get(), zygote_pidfd_.get());
  return Ok{};
}

void ZygoteLink::watch_for_writing(bool wanted) {
  if (wanted == watching_for_writing_) return;
  watching_for_writing_ = wanted;
  static_cast<void>(change_in_poller(poller_.get(), socket_.get(), wanted));
}

void ZygoteLink::send(const ZygoteMessage& message, std::vector<UniqueFd> fds) {
  if (socket_closed_ || shutting_down_) return;
  switch (outbound_.send(socket_.get(), message, std::move(fds))) {
    case SocketOutcome::kDone:
      break;
    case SocketOutcome::kWouldBlock:
      watch_for_writing(true);
      break;
    case SocketOutcome::kClosed:
      socket_closed_ = true;
      break;
  }
}

Status ZygoteLink::request_worker(std::uint32_t slot, std::uint32_t process_id) {
  if (!owned()) return Error{ErrorKind::kInvalid, "haz does not work in a forked process"};
  if (zygote_pid_ == 0 || socket_closed_ || shutting_down_) return gone_error(zygote_status_);
  if (requested_.contains(process_id)) {
    return Error{ErrorKind::kInvalid, "a process id was used twice"};
  }
  auto output = make_pipe();
  if (!output) return output.error();
  auto errors = make_pipe();
  if (!errors) return errors.error();
  for (const int fd : {output->read_end.get(), errors->read_end.get()}) {
    if (auto set = set_nonblocking(fd); !set) return set;
  }
  ZygoteMessage request;
  request.kind = ZygoteMessageKind::kFork;
  request.slot = slot;
  request.process_id = process_id;
  std::vector<UniqueFd> write_ends;
  write_ends.push_back(std::move(output->write_end));
  write_ends.push_back(std::move(errors->write_end));
  requested_.emplace(process_id,
                     Requested{slot, std::move(output->read_end), std::move(errors->read_end)});
  send(request, std::move(write_ends));
  return Ok{};
}

Status ZygoteLink::signal_worker(pid_t pid, int signal_number) {
  if (!owned()) return Error{ErrorKind::kInvalid, "haz does not work in a forked process"};
  const auto found = running_.find(pid);
  if (found == running_.end()) return Error{ErrorKind::kLost, "that worker has ended"};
  const Running& worker = found->second;
  if (worker.pidfd) {
    const int failure = send_signal(worker.pidfd.get(), 0, signal_number);
    // A driver that has given up its rights since may not; its zygote has kept them.
    if (failure != ENOSYS && failure != EPERM) return Ok{};
  }
  ZygoteMessage request;
  request.kind = ZygoteMessageKind::kSignal;
  request.process_id = worker.process_id;
  request.value = signal_number;
  send(request);
  return Ok{};
}

Status ZygoteLink::kill_worker(pid_t pid) { return signal_worker(pid, SIGKILL); }

void ZygoteLink::read_events(std::vector<ZygoteEvent>& out) {
  if (!owned() || zygote_pid_ == 0) return;
  if (!socket_closed_ && outbound_.flush(socket_.get()) == SocketOutcome::kDone) {
    watch_for_writing(false);
  }
  receive_all(out);
  if (!reap_zygote()) {
    if (!socket_closed_) return;
    // A process that exits closes its files just before it can be reaped.
    if (!wait_for_zygote(kBurialNs)) {
      send_signal(zygote_pidfd_.get(), zygote_pid_, SIGKILL);
      wait_for_zygote(kBurialNs);
    }
  }
  receive_all(out);
  bury_zygote(out);
}

void ZygoteLink::receive_all(std::vector<ZygoteEvent>& out) {
  while (!socket_closed_) {
    ZygoteMessage message;
    std::size_t size = 0;
    std::vector<UniqueFd> fds;
    switch (receive_message(socket_.get(), writable_bytes_of(message), size, fds)) {
      case SocketOutcome::kDone:
        if (size == sizeof message) receive_one(message, fds, out);
        break;
      case SocketOutcome::kWouldBlock:
        return;
      case SocketOutcome::kClosed:
        socket_closed_ = true;
        break;
    }
  }
}

void ZygoteLink::receive_one(const ZygoteMessage& message, std::vector<UniqueFd>& fds,
                             std::vector<ZygoteEvent>& out) {
  switch (message.kind) {
    case ZygoteMessageKind::kForked:
      on_forked(message, fds, out);
      break;
    case ZygoteMessageKind::kForkFailed:
      if (requested_.erase(message.process_id) > 0) {
        out.emplace_back(ForkFailed{message.slot, message.process_id, message.value});
      }
      break;
    case ZygoteMessageKind::kExited:
      if (running_.erase(message.pid) > 0) {
        out.emplace_back(WorkerExited{
            message.slot, message.process_id,
            ProcessExit{message.pid, message.value, message.signal, message.core_dumped != 0}});
      }
      break;
    default:
      break;
  }
}

void ZygoteLink::on_forked(const ZygoteMessage& message, std::vector<UniqueFd>& fds,
                           std::vector<ZygoteEvent>& out) {
  const auto found = requested_.find(message.process_id);
  if (found == requested_.end()) return;
  Requested& request = found->second;
  out.emplace_back(WorkerForked{request.slot, message.process_id, message.pid,
                                std::move(request.stdout_fd), std::move(request.stderr_fd)});
  // The zygote signals those for which this process holds none.
  const bool keeps_pidfd = !fds.empty() && running_.size() < kMostPidfds;
  running_.emplace(message.pid, Running{request.slot, message.process_id,
                                        keeps_pidfd ? std::move(fds.front()) : UniqueFd()});
  requested_.erase(found);
}

bool ZygoteLink::reap_zygote() {
  ProcessExit exit;
  switch (reap(zygote_pid_, exit)) {
    case ReapOutcome::kRunning:
      return false;
    case ReapOutcome::kReaped:
      zygote_status_ = describe(exit);
      ended_in_order_ = exit.exit_code == 0;
      return true;
    case ReapOutcome::kNoChildren:
      zygote_status_ = "has ended (its status went to other code of this process)";
      return true;
  }
  return true;
}

bool ZygoteLink::wait_for_zygote(std::int64_t timeout_ns) {
  const std::int64_t deadline_ns = monotonic_ns() + timeout_ns;
  while (!reap_zygote()) {
    const std::int64_t left_ns = deadline_ns - monotonic_ns();
    if (left_ns <= 0) {
      zygote_status_ = "does not react";
      return false;
    }
    if (zygote_pidfd_) {
      wait_readable(zygote_pidfd_.get(), left_ns);
    } else {
      poll_fds({}, std::min(left_ns, kPollNs));
    }
  }
  return true;
}

void ZygoteLink::bury_zygote(std::vector<ZygoteEvent>& out) {
  remove_from_poller(poller_.get(), socket_.get());
  if (zygote_pidfd_) remove_from_poller(poller_.get(), zygote_pidfd_.get());
  socket_.reset();
  zygote_pidfd_.reset();
  socket_closed_ = true;
  zygote_pid_ = 0;
  outbound_ = MessageQueue();
  end_orphans(out);
  if (!shutting_down_) out.emplace_back(ZygoteDied{zygote_status_});
}

// The kernel kills the workers of a zygote that dies, unless a worker has undone that. What these
// have started is nobody's then.
void ZygoteLink::end_orphans(std::vector<ZygoteEvent>& out) {
  for (const auto& [pid, worker] : running_) {
    if (worker.pidfd) send_signal(worker.pidfd.get(), 0, SIGKILL);
  }
  const std::int64_t deadline_ns = monotonic_ns() + kBurialNs;
  for (const auto& [pid, worker] : running_) {
    wait_until_gone(pid, worker.pidfd.get(), deadline_ns);
    out.emplace_back(
        WorkerExited{worker.slot, worker.process_id, ProcessExit{pid, -1, SIGKILL, false}, true});
  }
  Heritage heritage{{}, mark_};
  for (const auto& [pid, worker] : running_)
    heritage.sessions.push_back(pid);
  running_.clear();
  while (!ended_in_order_ && kill_heirs(heritage) > 0 && monotonic_ns() < deadline_ns)
    poll_fds({}, kPollNs);
  for (const auto& [process_id, request] : requested_) {
    out.emplace_back(ForkFailed{request.slot, process_id, ESRCH});
  }
  requested_.clear();
}

void ZygoteLink::request_shutdown() {
  if (!owned() || zygote_pid_ == 0 || shutting_down_) return;
  shutting_down_ = true;
  // One that was stopped could end nothing.
  send_signal(zygote_pidfd_.get(), zygote_pid_, SIGCONT);
  if (socket_closed_) return;
  outbound_ = MessageQueue();
  watch_for_writing(false);
  end_sending(socket_.get());
}

Status ZygoteLink::shutdown(std::int64_t timeout_ns) {
  if (!owned()) return Error{ErrorKind::kInvalid, "haz does not work in a forked process"};
  request_shutdown();
  if (zygote_pid_ == 0) return Ok{};
  if (!wait_for_zygote(timeout_ns)) {
    return Error{ErrorKind::kTimeout,
                 "worker processes or what they started have not ended yet; the zygote goes on "
                 "killing them"};
  }
  std::vector<ZygoteEvent> dropped;
  receive_all(dropped);
  bury_zygote(dropped);
  return Ok{};
}

}  // namespace haz
