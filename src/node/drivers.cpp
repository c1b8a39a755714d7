#include <algorithm>
#include <vector>

#include "node/node.h"
#include "node/round.h"

namespace haz {

Result<Node::DriverPlace> Node::admit_driver() {
  Round round(*this);
  if (stopping_) return Error{ErrorKind::kLost, "the node is ending"};
  Result<WorkerPort*> port = new_port();
  if (!port) return port.error();
  (*port)->is_driver = true;
  driver_ports_.push_back(*port);
  scheduler_.start_job((*port)->process);
  return DriverPlace{(*port)->slot, (*port)->process};
}

void Node::end_driver(ProcessId driver) {
  Round round(*this);
  const auto port =
      std::find_if(driver_ports_.begin(), driver_ports_.end(),
                   [driver](const WorkerPort* one) { return one->process == driver; });
  if (port != driver_ports_.end()) end_driver_port(**port);
}

/// What the driver has published counts: it may have put something into another driver's actor.
void Node::end_driver_port(WorkerPort& port) {
  const ProcessId driver = port.process;
  drain(port);
  std::erase(driver_ports_, &port);
  std::erase(expelled_, port.slot);
  scheduler_.end_job(driver);
  forget_port(port);
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
    end_driver_port(port);
  }
}

/// Of the watching thread.
void Node::tell_ended_drivers(std::vector<ProcessId>& over) {
  if (!options_.on_driver_over) return;
  std::erase_if(ending_drivers_, [&](ProcessId driver) {
    const bool ended = !scheduler_.has_workers_of(driver);
    if (ended) over.push_back(driver);
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
    if (port != live_ports_.end()) line.job = job_of(**port).value;
  }
}

}  // namespace haz
