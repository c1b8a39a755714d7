#include <algorithm>
#include <vector>

#include "node/node.h"
#include "node/round.h"

namespace haz {

Result<Node::DriverPlace> Node::admit_driver(std::int32_t pid, bool fold_output) {
  Round round(*this);
  if (stopping_) return Error{ErrorKind::kLost, "the node is ending"};
  Result<WorkerPort*> port = new_port(slot_for_driver(pid));
  if (!port) return port.error();
  (*port)->is_driver = true;
  (*port)->driver_pid = pid;
  if (!fold_output) unfolded_jobs_.push_back((*port)->process);
  driver_ports_.push_back(*port);
  scheduler_.start_job((*port)->process);
  return DriverPlace{(*port)->slot, (*port)->process};
}

void Node::end_driver(ProcessId driver) {
  Round round(*this);
  const auto port =
      std::find_if(driver_ports_.begin(), driver_ports_.end(),
                   [driver](const WorkerPort* one) { return one->process == driver; });
  if (port == driver_ports_.end()) return;
  const auto left_writing = (*port)->area->control.left_writing.load(std::memory_order_relaxed);
  end_driver_port(**port, left_writing != 0);
}

void Node::driver_process_ended(std::int32_t pid) {
  const Round round(*this);
  std::erase_if(held_slots_, [this, pid](const HeldSlot& held) {
    if (held.pid != pid) return false;
    if (held.keeps_leases) store_.process_ended(held.process);
    return true;
  });
}

bool Node::is_held(std::uint32_t slot) const {
  return std::any_of(held_slots_.begin(), held_slots_.end(),
                     [slot](const HeldSlot& held) { return held.slot == slot; });
}

/// One that an earlier driver of the same process had, if that can be.
std::uint32_t Node::slot_for_driver(std::int32_t pid) {
  const auto held =
      std::find_if(held_slots_.begin(), held_slots_.end(),
                   [pid](const HeldSlot& one) { return one.pid == pid && !one.keeps_leases; });
  if (held == held_slots_.end()) return free_slot();
  const std::uint32_t slot = held->slot;
  held_slots_.erase(held);
  return slot;
}

/// What the driver has published counts: it may have put something into another driver's actor. Its
/// process may live, and write where it could before: nobody else gets that. With `keeps_leases`
/// not even what it was lent of the store.
void Node::end_driver_port(WorkerPort& port, bool keeps_leases) {
  const ProcessId driver = port.process;
  drain(port);
  std::erase(driver_ports_, &port);
  std::erase(expelled_, port.slot);
  scheduler_.end_job(driver);
  held_slots_.push_back({port.slot, port.driver_pid, driver, keeps_leases});
  forget_port(port, keeps_leases);
  needs_dispatch_ = true;
  ending_drivers_.push_back(driver);
  watch_event_->signal();
}

/// In a round of its own, not in the middle of reading the ports.
void Node::end_expelled() {
  for (const std::uint32_t slot : std::exchange(expelled_, {})) {
    if (ports_[slot] == nullptr || !ports_[slot]->is_driver) continue;
    WorkerPort& port = *ports_[slot];
    port.area->control.stop.store(1, std::memory_order_relaxed);
    port.area->control.doorbell.ring_always();
    end_driver_port(port, true);
  }
}

/// Of the watching thread.
void Node::tell_ended_drivers(std::vector<ProcessId>& over) {
  if (!options_.on_driver_over) return;
  std::erase_if(ending_drivers_, [&](ProcessId driver) {
    const bool ended = !scheduler_.has_workers_of(driver);
    if (ended) {
      over.push_back(driver);
      std::erase(unfolded_jobs_, driver);
    }
    return ended;
  });
}

bool Node::some_driver_waits() const {
  return std::any_of(driver_ports_.begin(), driver_ports_.end(),
                     [](const WorkerPort* port) { return !port->requests.empty(); });
}

ProcessId Node::job_of(const WorkerPort& port) const {
  if (port.is_driver) return port.process;
  return port.worker != nullptr ? port.worker->job : ProcessId{};
}

/// Tells of lines that the workers of drivers wrote whose they are.
void Node::note_jobs(std::vector<LogLine>& lines) const {
  if (!options_.on_driver_over) return;
  for (LogLine& line : lines) {
    if (line.job != 0) continue;
    const auto port = std::find_if(
        live_ports_.begin(), live_ports_.end(),
        [&line](const WorkerPort* one) { return !one->is_driver && one->pid == line.pid; });
    if (port == live_ports_.end()) continue;
    const ProcessId job = job_of(**port);
    line.job = job.value;
    if (std::find(unfolded_jobs_.begin(), unfolded_jobs_.end(), job) != unfolded_jobs_.end()) {
      line.may_fold = false;
    }
  }
}

}  // namespace haz
