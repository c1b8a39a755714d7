#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <utility>

#include "node/node.h"
#include "node/round.h"
#include "node/worker_output.h"
#include "os/clock.h"

namespace haz {

namespace {

constexpr std::size_t kReadBytes = 64 * kKiB;
/// Reads from one stream in one round: a worker that writes without end must not keep the others
/// waiting, nor fill our memory.
constexpr int kMaxReads = 16;
/// Workers whose output this process reads with descriptors of its own table.
constexpr std::size_t kOutputsHeld = 32;
constexpr int kWatchTimeoutMs = 1000;

/// Lets the processes of this node be told from those of others.
std::string node_mark(std::uint64_t epoch) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "HAZ_NODE=%016" PRIx64, epoch);
  return text.data();
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines)
    text += line + "\n";
  return text;
}

}  // namespace

Result<std::unique_ptr<ZygoteLink>> Node::new_zygote(const NodeOptions& options) {
  ZygoteOptions zygote;
  zygote.argv = options.zygote_argv;
  zygote.fork = options.first_zygote;
  zygote.mark = node_mark(options.epoch);
  zygote.setup = options.zygote_setup;
  return ZygoteLink::start(zygote);
}

Status Node::start_zygote() {
  if (!arena_->has_descriptor()) {
    return Error{ErrorKind::kLost,
                 "this program has closed the file descriptors of haz, as os.closerange() and "
                 "libraries do that make it a daemon: start haz after that, or call "
                 "haz.shutdown() now and go on"};
  }
  auto zygote = new_zygote(options_);
  if (!zygote) return zygote.error();
  Status lent = (*zygote)->lend_arena(arena_->fd());
  if (!lent) return lent;
  zygote_ = std::move(*zygote);
  watch_event_->signal();
  return Ok{};
}

void Node::watch() {
  std::vector<ZygoteEvent> events;
  std::vector<LogLine> lines;
  std::vector<ProcessId> over;
  for (;;) {
    std::vector<pollfd> polled{{watch_event_->fd(), POLLIN, 0}};
    {
      const std::lock_guard lock(mutex_);
      if (zygote_) polled.push_back({zygote_->fd(), POLLIN, 0});
    }
    for (const auto& output : outputs_) {
      if (output->stdout_fd) polled.push_back({output->stdout_fd.get(), POLLIN, 0});
      if (output->stderr_fd) polled.push_back({output->stderr_fd.get(), POLLIN, 0});
    }
    for (const auto& reader : readers_)
      polled.push_back({reader->fd(), POLLIN, 0});
    (void)poll(polled.data(), polled.size(), kWatchTimeoutMs);
    watch_event_->drain();
    events.clear();
    lines.clear();
    over.clear();
    read_outputs(lines);
    bool stop = false;
    {
      Round round(*this);
      if (zygote_) zygote_->read_events(events);
      const StartFailures failures_before = start_failures_;
      for (ZygoteEvent& event : events)
        on_zygote_event(event, lines);
      // A zygote's death is one failure, whatever it was starting.
      if (!events.empty() && std::holds_alternative<ZygoteDied>(events.back())) {
        start_failures_.count_as_one(failures_before, monotonic_ns());
      }
      if (!events.empty()) needs_dispatch_ = true;
      note_jobs(lines);
      tell_ended_drivers(over);
      stop = stopping_ &&
             (!zygote_ || zygote_->zygote_pid() == 0 || monotonic_ns() > shutdown_deadline_ns_);
    }
    if (stop) {
      for (const auto& output : outputs_)
        finish_output(*output, lines);
    }
    show(lines, over, stop);
    for (const ProcessId driver : over)
      options_.on_driver_over(driver);
    if (stop) return;
    if (!events.empty()) doorbells_->ring();
  }
}

/// The last lines of those in `over`, too, who hear nothing more.
void Node::show(std::vector<LogLine>& lines, std::span<const ProcessId> over, bool stop) {
  if (!options_.show_output || !options_.on_output) return;
  if (options_.fold_output) {
    std::vector<LogLine> folded;
    const std::int64_t now_ns = monotonic_ns();
    for (LogLine& line : lines)
      folding_.add(std::move(line), now_ns, folded);
    folding_.expire(now_ns, folded);
    for (const ProcessId driver : over)
      folding_.finish_job(driver.value, folded);
    if (stop) folding_.finish(folded);
    lines = std::move(folded);
  }
  if (!lines.empty()) options_.on_output(lines);
}

void Node::read_output(WorkerOutput& output, std::vector<LogLine>& lines) {
  std::array<char, kReadBytes> buffer;  // NOLINT(cppcoreguidelines-pro-type-member-init): read into
  const auto read_from = [&](UniqueFd& fd, LogStream stream) {
    for (int reads = 0; fd && reads < kMaxReads; ++reads) {
      const ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
      if (got > 0) {
        output.lines.append(stream, {buffer.data(), static_cast<std::size_t>(got)}, lines);
        continue;
      }
      if (got < 0 && errno == EINTR) continue;
      if (got == 0) fd.reset();
      break;
    }
  };
  read_from(output.stdout_fd, LogStream::kStdout);
  read_from(output.stderr_fd, LogStream::kStderr);
}

void Node::read_outputs(std::vector<LogLine>& lines) {
  std::vector<OutputReader::Piece> pieces;
  for (const auto& reader : readers_)
    reader->take(pieces);
  for (const OutputReader::Piece& piece : pieces) {
    const auto output = std::find_if(outputs_.begin(), outputs_.end(), [&piece](const auto& one) {
      return one->process_id == piece.process_id;
    });
    if (output != outputs_.end()) (*output)->lines.append(piece.stream, piece.bytes, lines);
  }
  for (const auto& output : outputs_)
    read_output(*output, lines);
}

/// The worker has ended, or the node.
void Node::finish_output(WorkerOutput& output, std::vector<LogLine>& lines) {
  if (output.reader != nullptr) {
    std::exchange(output.reader, nullptr)->finish(output.process_id);
    read_outputs(lines);
  } else {
    read_output(output, lines);
  }
  output.lines.finish(lines);
}

/// Leaves the first few workers' pipes in this process' own table, where they cost no thread.
void Node::hand_to_reader(WorkerOutput& output) {
  if (outputs_.size() <= kOutputsHeld) return;
  for (const auto& reader : readers_) {
    if (!reader->add(output.process_id, output.stdout_fd, output.stderr_fd)) continue;
    output.reader = reader.get();
    return;
  }
  auto reader = OutputReader::start();
  if (!reader) return;
  readers_.push_back(std::move(*reader));
  if (readers_.back()->add(output.process_id, output.stdout_fd, output.stderr_fd)) {
    output.reader = readers_.back().get();
  }
}

void Node::on_zygote_event(ZygoteEvent& event, std::vector<LogLine>& lines) {
  if (auto* forked = std::get_if<WorkerForked>(&event)) {
    on_worker_forked(*forked);
  } else if (const auto* exited = std::get_if<WorkerExited>(&event)) {
    on_worker_exited(*exited, lines);
  } else if (const auto* failed = std::get_if<ForkFailed>(&event)) {
    if (ports_[failed->slot]) forget_port(*ports_[failed->slot]);
    fail_start("fork failed: error " + std::to_string(failed->error_number));
  } else if (const auto* died = std::get_if<ZygoteDied>(&event)) {
    const std::string reason = "the zygote, which forks them, " + died->status;
    start_failures_.add(reason, monotonic_ns());
    zygote_.reset();
    drop_unasked(reason);
  }
  ask_for_workers();
}

void Node::on_worker_forked(WorkerForked& forked) {
  outputs_.push_back(std::make_unique<WorkerOutput>(
      forked.process_id, forked.pid, std::move(forked.stdout_fd), std::move(forked.stderr_fd)));
  hand_to_reader(*outputs_.back());
  WorkerPort* port = ports_[forked.slot].get();
  if (port == nullptr || port->process.value != forked.process_id) return;
  port->pid = forked.pid;
  if (!zygote_) return;
  if (port->killed) {
    (void)zygote_->kill_worker(forked.pid);
  } else {
    send_interrupt(*port);
  }
}

void Node::on_worker_exited(const WorkerExited& exited, std::vector<LogLine>& lines) {
  DeathCause cause;
  cause.pid = exited.exit.pid;
  cause.exit_code = exited.exit.exit_code;
  cause.signal = exited.exit.signal;
  if (exited.with_zygote) cause.why_killed = "the zygote, which had forked it, was gone";
  const auto output = std::find_if(outputs_.begin(), outputs_.end(),
                                   [&exited](const std::unique_ptr<WorkerOutput>& candidate) {
                                     return candidate->process_id == exited.process_id;
                                   });
  if (output != outputs_.end()) {
    finish_output(**output, lines);
    note_jobs(lines);
    cause.last_stderr = joined((*output)->lines.stderr_tail());
    outputs_.erase(output);
  }
  WorkerPort* port = ports_[exited.slot].get();
  if (port == nullptr || port->process.value != exited.process_id) return;
  drain(*port);
  const bool was_ready = port->worker != nullptr;
  const bool told_to_end =
      port->killed || port->area->control.stop.load(std::memory_order_relaxed) != 0;
  cause.heard_out = !port->unheard;
  bool has_begun = false;
  if (was_ready) {
    scheduler_.story().set_time(monotonic_ns());
    has_begun = scheduler_.worker_died(*port->worker, cause);
    port->worker = nullptr;
  }
  forget_port(*port);
  if (stopping_ || has_begun || (was_ready && told_to_end)) return;
  start_failures_.add(std::string("a worker ended before it ") +
                          (was_ready ? "ran a task: " : "was ready: ") + describe(exited.exit) +
                          (cause.last_stderr.empty() ? "" : "\n" + cause.last_stderr),
                      exited.exit, monotonic_ns());
  start_failed_ = true;
  if (!was_ready) ++failed_starts_;
}

void Node::forget_port(WorkerPort& port, bool keeps_leases) {
  for (const auto& entry : port.requests) {
    std::erase(completed_, entry.second.get());
    scheduler_.withdraw(*entry.second);
  }
  std::erase_if(waiting_allocations_, [&](WaitingAllocation& waiting) {
    if (waiting.port != &port) return false;
    scheduler_.end_room_wait(waiting.wait);
    return true;
  });
  if (!keeps_leases) store_.process_ended(port.process);
  std::erase(live_ports_, &port);
  std::erase(busy_ports_, &port);
  std::erase(touched_, &port);
  ports_[port.slot].reset();
}

void Node::fail_start(std::string reason) {
  start_failures_.add(std::move(reason), monotonic_ns());
  ++failed_starts_;
  start_failed_ = true;
  needs_dispatch_ = true;
}

/// Tells the scheduler of starts that have failed.
void Node::note_failed_starts() {
  start_failed_ = false;
  for (; failed_starts_ != 0; --failed_starts_)
    scheduler_.start_failed();
  scheduler_.pause_starts(start_failures_.pause_ticks());
  if (start_failures_.is_hopeless(monotonic_ns())) {
    const SchedulerCounts counts = scheduler_.counts();
    if (counts.workers == 0 && counts.starting == 0) {
      scheduler_.fail_all("no worker process could be started: " + start_failures_.last());
      start_failures_.reset();
      return;
    }
    scheduler_.give_up_starts(start_failures_.last());
  }
  scheduler_.dispatch();
}

}  // namespace haz
