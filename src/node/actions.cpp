#include <algorithm>
#include <csignal>
#include <cstring>
#include <utility>

#include "node/node.h"
#include "os/clock.h"

namespace haz {

static_assert(TaskGrant::kMaxGpus == kMaxGpusOfTask);
static_assert(sizeof(TaskGrant) <= TaskCommand::kNearBytes);

namespace {

/// Workers under way at a time, each of which takes descriptors until it has come.
constexpr std::size_t kMostRequested = 16;

}  // namespace

bool Node::has_room(const Worker& worker) { return port_of(worker).tasks.has_room(); }

std::uint64_t Node::assign(Task& task) {
  WorkerPort& port = port_of(*task.worker);
  note_busy(port);
  // Made elsewhere: what is written there may be overwritten at once by a process gone mad.
  TaskCommand command{};
  fill_command(command, task);
  command.share(port.tasks.next_entry());
  touch(port);
  return port.tasks.push();
}

void Node::touch(WorkerPort& port) {
  if (port.touched) return;
  port.touched = true;
  touched_.push_back(&port);
}

void Node::note_busy(WorkerPort& port) {
  if (port.busy) return;
  port.busy = true;
  rings_in_time_ = false;
  busy_ports_.push_back(&port);
}

bool Node::take_back(Task& task) {
  WorkerPort& port = port_of(*task.worker);
  // A process that claims nothing more has finished all that it has begun.
  if (port.tasks.take_back(task.position) || port.claims_nothing) return true;
  port.is_damaged = port.is_damaged || !port.tasks.is_intact(task.position);
  return false;
}

void Node::run_nested(Task& task) {
  TaskCommand command{};
  fill_command(command, task);
  WorkerPort& port = port_of(*task.worker);
  note_busy(port);
  touch(port);
  port.send(MessageKind::kRunNested, std::as_bytes(std::span(&command, 1)));
}

void Node::fill_command(TaskCommand& command, Task& task) {
  const Function& function = *task.function;
  command.task = task.id.value;
  command.attempt = task.attempt;
  command.function = function.id.value;
  command.function_offset = function.block_offset;
  command.num_returns = function.streams()
                            ? static_cast<std::uint32_t>(scheduler_.items_of(task.id))
                            : task.num_returns;
  command.num_arguments = task.num_dependencies;
  command.flags = function.timeout_ns >= 0 ? kReportStart : 0;
  const bool takes = task.actor == nullptr || task.creates_actor;
  const ResourceGrant* grant = takes ? &Scheduler::grant_of(task) : nullptr;
  if (grant != nullptr && grant->gpus.ids.empty()) grant = nullptr;
  const std::size_t grant_size = grant != nullptr ? TaskGrant::size(grant->gpus.ids.size()) : 0;
  const std::size_t near_room = TaskCommand::kNearBytes - grant_size;
  const auto near_size = static_cast<std::uint32_t>(task.payload_offset != 0 ? task.payload_size
                                                                             : task.payload.size());
  command.payload_size = near_size;
  command.block_offset = 0;
  command.block_size = near_size;
  if (task.num_dependencies != 0 || (task.payload_offset == 0 && near_size > near_room)) {
    if (!lay_out_arguments(command, task, near_room)) command.flags |= kNoMemory;
  } else if (task.payload_offset != 0) {
    command.block_offset = task.payload_offset;
  } else if (near_size != 0) {
    std::memcpy(command.near_bytes.data(), task.payload.data(), near_size);
  }
  if (grant != nullptr) add_grant(command, *grant);
  const std::size_t block_here =
      command.block_offset == 0 ? std::min<std::size_t>(command.block_size, near_room) : 0;
  command.seal(grant != nullptr ? TaskCommand::kNearBytes : block_here);
}

void Node::add_grant(TaskCommand& command, const ResourceGrant& grant) {
  TaskGrant shown{};
  for (const std::uint32_t id : grant.gpus.ids)
    shown.gpus[shown.num_gpus++] = static_cast<std::uint16_t>(id);
  command.flags |= kHasGrant;
  command.grant_at =
      static_cast<std::uint8_t>(TaskCommand::kNearBytes - TaskGrant::size(shown.num_gpus));
  std::memcpy(command.near_bytes.data() + command.grant_at, &shown,
              TaskGrant::size(shown.num_gpus));
}

/// Puts the payload, and what the arguments are, where the worker finds them: into the command if
/// that takes no more than `near_room` bytes.
bool Node::lay_out_arguments(TaskCommand& command, Task& task, std::size_t near_room) {
  const std::span<const WaitNode> nodes(task.dependencies.get(), task.num_dependencies);
  const std::uint64_t array_at = align_up(command.payload_size, 8);
  std::uint64_t near_at = nodes.size() * sizeof(ArgumentLocation);
  std::uint64_t total = array_at + near_at;
  for (const WaitNode& node : nodes) {
    if (node.object->offset == 0) total += align_up(node.object->size, 8);
  }
  std::byte* block = command.near_bytes.data();
  if (total > near_room) {
    auto room = store_.allocate(total, StoreUse::kMessage);
    if (!room) return false;
    command.block_offset = task.block_offset = room->offset;
    block = arena_->at(room->offset);
  }
  command.block_size = static_cast<std::uint32_t>(total);
  const std::byte* payload =
      task.payload_offset != 0 ? arena_->at(task.payload_offset) : task.payload.data();
  std::memcpy(block, payload, command.payload_size);
  std::byte* array = block + array_at;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const Object& object = *nodes[i].object;
    ArgumentLocation location{object.id.value, object.offset,
                              static_cast<std::uint32_t>(object.size),
                              static_cast<std::uint32_t>(object.size >> 32)};
    if (object.offset == 0) {
      location.offset = near_at;
      location.size_high_and_near |= kNearArgument;
      std::memcpy(array + near_at, object.bytes.data(), object.size);
      near_at += align_up(object.size, 8);
    }
    std::memcpy(array + i * sizeof location, &location, sizeof location);
  }
  return true;
}

void Node::release_block(Task& task) {
  if (task.block_offset == 0) return;
  store_.free(task.block_offset);
  task.block_offset = 0;
}

/// A place for one more process; past the end when there is none.
std::uint32_t Node::free_slot() const {
  std::uint32_t slot = 1;
  while (slot < ports_.size() && (ports_[slot] != nullptr || is_held(slot)))
    ++slot;
  return slot;
}

Result<WorkerPort*> Node::new_port(std::uint32_t slot) {
  if (slot >= ports_.size()) {
    return Error{ErrorKind::kOverloaded, "all process slots are in use"};
  }
  const std::uint64_t area_offset = kAreasOffset + slot * kProcessAreaStride;
  (void)arena_->punch(area_offset, kProcessAreaStride);
  const Status reserved = arena_->reserve(area_offset, align_up(sizeof(ProcessArea), 4 * kKiB));
  if (!reserved) return reserved.error();
  auto* area = reinterpret_cast<ProcessArea*>(arena_->at(area_offset));
  area->control.mark.store(kControlMark, std::memory_order_relaxed);
  area->control.spin_us.store(cpus_ > 1 ? kMaxWorkerSpinUs : 0, std::memory_order_relaxed);
  ports_[slot] = std::make_unique<WorkerPort>(slot, scheduler_.new_process(), area);
  live_ports_.push_back(ports_[slot].get());
  return ports_[slot].get();
}

void Node::start_worker() {
  if (!zygote_) {
    const Status started = start_zygote();
    if (!started) {
      fail_start(started.error().message);
      return;
    }
  }
  const Result<WorkerPort*> port = new_port(free_slot());
  if (!port.ok()) {
    fail_start(port.error().message);
    return;
  }
  note_busy(*port.value());
  unasked_.push_back(port.value()->slot);
  ask_for_workers();
}

void Node::ask_for_workers() {
  while (!unasked_.empty() && zygote_ && zygote_->requested() < kMostRequested) {
    WorkerPort& port = *ports_[unasked_.front()];
    unasked_.pop_front();
    const Status asked = zygote_->request_worker(port.slot, port.process.value);
    if (asked) continue;
    forget_port(port);
    fail_start(asked.error().message);
  }
}

void Node::drop_unasked(const std::string& reason) {
  for (const std::uint32_t slot : std::exchange(unasked_, {})) {
    forget_port(*ports_[slot]);
    fail_start(reason);
  }
}

void Node::interrupt(Task& task) {
  const WorkerPort& port = port_of(*task.worker);
  port.area->control.interrupts.add(task.id.value, task.attempt);
  send_interrupt(port);
  time_limits_.push_back({monotonic_ns() + kRemindNs, task.id, task.attempt, Stop::kRemind});
}

bool Node::interrupt_again(const Task& task) {
  if (task.worker == nullptr) return false;
  const WorkerPort& port = port_of(*task.worker);
  const ProcessControl& control = port.area->control;
  if (control.interrupts_seen.load(std::memory_order_relaxed) == control.interrupts.count()) {
    return false;
  }
  send_interrupt(port);
  return true;
}

void Node::send_interrupt(const WorkerPort& port) {
  if (!zygote_ || port.pid == 0 || port.area->control.interrupts.empty()) return;
  (void)zygote_->signal_worker(port.pid, SIGINT);
}

void Node::interrupt_then_kill(Task& task) {
  interrupt(task);
  time_limits_.push_back({monotonic_ns() + kHeedNs, task.id, task.attempt, Stop::kKillCancelled});
}

void Node::kill_worker(Worker& worker) { kill_port(port_of(worker), ""); }

void Node::stop_worker(Worker& worker) {
  WorkerPort& port = port_of(worker);
  port.area->control.stop.store(1, std::memory_order_relaxed);
  touch(port);
}

/// `why`: for the errors of what runs there; empty: the scheduler has said it.
void Node::kill_port(WorkerPort& port, const char* why) {
  if (port.killed) return;
  port.killed = true;
  if (port.is_driver) {
    expelled_.push_back(port.slot);
    return;
  }
  if (port.worker != nullptr && port.worker->why_killed.empty()) port.worker->why_killed = why;
  // Else on_worker_forked() does it, as soon as the process is known.
  if (zygote_ && port.pid != 0) (void)zygote_->kill_worker(port.pid);
}

void Node::complete(Request& request) {
  if (request.process != process_) {
    completed_.push_back(static_cast<PortRequest*>(&request));
    return;
  }
  auto& mine = static_cast<ThreadRequest&>(request);
  if (mine.token != 0) {
    ended_subscriptions_.push_back(mine.token);
  } else if (&mine != leader_) {
    threads_to_ring_.push_back(&mine.doorbell);
  }
}

void Node::free_value(std::uint64_t offset) {
  ++freed_;
  store_.free(offset);
}

}  // namespace haz
