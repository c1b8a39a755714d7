/// @file
/// Allocations of workers, and what happens while the object store has no room for one.
#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "node/node.h"
#include "node/round.h"
#include "os/clock.h"
#include "wire/message_reader.h"

namespace haz {

namespace {

/// Time in which a worker that has nothing to do lets go of what its last task had.
constexpr std::int64_t kLetGoNs = 100 * kMillisecondNs;
/// Time without anything freed after which the user is told who holds the store.
constexpr std::int64_t kTellFullNs = 10 * kSecondNs;

StoreUse use_of(AllocateKind kind, bool urgent) {
  if (kind == AllocateKind::kMessage) return StoreUse::kMessage;
  return urgent ? StoreUse::kUrgentValue : StoreUse::kValue;
}

}  // namespace

bool Node::on_allocate(WorkerPort& port, std::span<const std::byte> body) {
  MessageReader reader(body);
  const auto message = reader.take<AllocateMessage>();
  if (!reader.ok()) return false;
  if (!must_queue(message) && try_allocation(port, message, Try::kPlain)) return true;
  WaitingAllocation& waiting = waiting_allocations_.emplace_back(&port, message);
  waiting.wait.process = port.process;
  waiting.wait.size = message.size;
  scheduler_.wait_for_room(waiting.wait, port.worker, TaskId{message.task});
  return true;
}

/// Whether others, who came earlier, must have got room first: values wait for each other.
bool Node::must_queue(const AllocateMessage& message) const {
  if (message.kind != AllocateKind::kValue) return false;
  return std::any_of(waiting_allocations_.begin(), waiting_allocations_.end(),
                     [](const WaitingAllocation& waiting) {
                       return waiting.message.kind == AllocateKind::kValue;
                     });
}

/// False: it has to wait.
bool Node::try_allocation(WorkerPort& port, const AllocateMessage& message, Try how) {
  const Result<StoreBlock> block =
      message.kind == AllocateKind::kChunk
          ? store_.lease_chunk(port.process, use_of(message.kind, how == Try::kUrgent))
          : store_.lease_value(port.process, message.size,
                               use_of(message.kind, how == Try::kUrgent));
  if (block.ok()) {
    answer(port, message.number, AnswerStatus::kOk, block.value().offset, block.value().size, {});
    return true;
  }
  if (store_.possible(message.size) && how != Try::kLast) return false;
  const Error error = full_store_error(block.error());
  answer(port, message.number, AnswerStatus::kOverloaded, 0, 0,
         std::as_bytes(std::span(error.message)));
  return true;
}

Error Node::full_store_error(Error error) const {
  const std::string holders = scheduler_.holders_of_room(epoch_);
  if (!holders.empty()) error.message += ". " + holders;
  return error;
}

/// Gives room to those who wait, as far as there is some. Whether anyone waits no longer.
bool Node::serve_allocations(std::int64_t now_ns) {
  if (waiting_allocations_.empty()) return false;
  drain_drops();
  return serve_in_order() || serve_urgent() || fail_hopeless(now_ns);
}

/// First those whose end gives room back; then the others, first come first.
bool Node::serve_in_order() {
  bool any = false;
  for (const bool first : {true, false}) {
    bool is_full = false;
    for (auto it = waiting_allocations_.begin(); it != waiting_allocations_.end();) {
      const bool in_order = it->message.kind == AllocateKind::kValue;
      const bool goes_first = !in_order || scheduler_.frees_room(it->wait);
      const bool is_tried = goes_first == first && !(is_full && in_order);
      if (is_tried && try_allocation(*it->port, it->message, Try::kPlain)) {
        scheduler_.end_room_wait(it->wait);
        it = waiting_allocations_.erase(it);
        any = true;
        continue;
      }
      is_full = is_full || (is_tried && !first);
      ++it;
    }
  }
  return any;
}

/// Where everything stands still: gives room to the first for whom there is enough, whoever came
/// earlier and needs more; or else, beyond the limit, to one that holds others up.
bool Node::serve_urgent() {
  if (!scheduler_.stands_still()) return false;
  const RoomWait* urgent = scheduler_.blocks_others();
  for (const Try how : {Try::kPlain, Try::kUrgent}) {
    for (auto it = waiting_allocations_.begin(); it != waiting_allocations_.end(); ++it) {
      if (how == Try::kUrgent && &it->wait != urgent) continue;
      if (!try_allocation(*it->port, it->message, how)) continue;
      scheduler_.end_room_wait(it->wait);
      waiting_allocations_.erase(it);
      return true;
    }
  }
  return false;
}

DriverSeen Node::look_at(const WorkerPort& port) const {
  DriverSeen seen;
  seen.waits =
      std::any_of(waiting_allocations_.begin(), waiting_allocations_.end(),
                  [&port](const WaitingAllocation& waiting) { return waiting.port == &port; });
  for (const auto& [number, request] : port.requests) {
    seen.waits_timed = seen.waits_timed || request->has_deadline;
    (request->is_awaited ? seen.awaits : seen.waits) = true;
  }
  seen.others_go_on = port.area->control.others_go_on.load(std::memory_order_relaxed) != 0;
  seen.holds_references = scheduler_.has_references(port.process);
  return seen;
}

DriversState Node::look_at_drivers() const {
  DriversSeen seen;
  // What this process holds doesn't matter: where it is the driver, nobody else waits.
  seen.add({.waits_timed = timed_waits_ != 0,
            .waits = endless_waits_ != 0,
            .awaits = !subscriptions_.empty(),
            .others_go_on = others_go_on_});
  for (const WorkerPort* port : driver_ports_)
    seen.add(look_at(*port));
  return seen.state();
}

/// Where nobody is seen who could free room, and it has been so for long, the first who waits gets
/// an error: what it held may help the others. A driver gets it first, and soon.
bool Node::fail_hopeless(std::int64_t now_ns) {
  const bool freed = freed_ != std::exchange(freed_when_hopeless_, freed_);
  if (freed || scheduler_.room_can_come()) {
    room_patience_.reset();
  } else {
    auto first =
        std::find_if(waiting_allocations_.begin(), waiting_allocations_.end(),
                     [](const WaitingAllocation& waiting) { return waiting.port->is_driver; });
    const bool is_driver = first != waiting_allocations_.end();
    if (!is_driver) first = waiting_allocations_.begin();
    const auto who = is_driver ? RoomPatience::First::kDriver : RoomPatience::First::kTask;
    if (room_patience_.is_over(now_ns, look_at_drivers(), who)) {
      (void)try_allocation(*first->port, first->message, Try::kLast);
      scheduler_.end_room_wait(first->wait);
      waiting_allocations_.erase(first);
      return true;
    }
  }
  if (!room_patience_.is_running()) others_go_on_ = false;
  return false;
}

// ---- the driver --------------------------------------------------------------------------------

Result<StoreBlock> Node::allocate(std::uint64_t size, WaitHooks& hooks, StoreUse use) {
  {
    Round round(*this);
    drain_drops();
    Result<StoreBlock> block = store_.allocate(size, use);
    if (!block && pump(true)) block = store_.allocate(size, use);
    if (block || !store_.possible(size) || shut_down_) return block;
  }
  const bool others_go_on = hooks.others_go_on();
  hooks.before_block();
  Result<StoreBlock> block = wait_for_room(size, hooks, use, others_go_on);
  hooks.after_block();
  return block;
}

Result<StoreBlock> Node::wait_for_room(std::uint64_t size, WaitHooks& hooks, StoreUse use,
                                       bool others_go_on) {
  RoomWait wait;
  wait.process = process_;
  wait.size = size;
  {
    Round round(*this);
    scheduler_.wait_for_room(wait);
    ++endless_waits_;
    needs_dispatch_ = true;
  }
  std::optional<Result<StoreBlock>> result;
  std::int64_t hopeless_since_ns = monotonic_ns();
  std::uint64_t freed = 0;
  while (!result) {
    Doorbell nap{};
    (void)nap.sleep(nap.prepare(), kMillisecondNs);
    const bool interrupted = hooks.interrupted();
    Round round(*this);
    drain_drops();
    pump(true);
    Result<StoreBlock> block = store_.allocate(size, use);
    const std::int64_t now_ns = monotonic_ns();
    if (freed_ != freed || scheduler_.room_can_come()) hopeless_since_ns = now_ns;
    freed = freed_;
    const std::int64_t patience_ns = others_go_on ? room_patience_.driver_with_threads_ns()
                                     : scheduler_.counts().tasks != 0 ? RoomPatience::kLeastNs
                                                                      : kLetGoNs;
    if (block || shut_down_) {
      result = std::move(block);
    } else if (interrupted) {
      result = Error{ErrorKind::kCancelled, "interrupted while waiting for room"};
    } else if (now_ns - hopeless_since_ns >= patience_ns) {
      result = full_store_error(block.error());
    }
    if (!result) continue;
    scheduler_.end_room_wait(wait);
    --endless_waits_;
    needs_dispatch_ = true;
  }
  return std::move(*result);
}

// ---- what the user is told ---------------------------------------------------------------------

void Node::tell_of_full_store(std::int64_t now_ns, std::vector<LogLine>& lines) {
  if (scheduler_.num_room_waits() == 0 || freed_ != freed_when_full_ || full_since_ns_ == 0) {
    full_since_ns_ = scheduler_.num_room_waits() != 0 ? now_ns : 0;
    freed_when_full_ = freed_;
    told_of_full_store_ = false;
    return;
  }
  if (told_of_full_store_ || now_ns - full_since_ns_ < kTellFullNs) return;
  told_of_full_store_ = true;
  const StoreUsage usage = store_.usage();
  const std::size_t waits = scheduler_.num_room_waits();
  std::string text = "haz: the object store is full, and nothing was freed for ";
  text += std::to_string(kTellFullNs / kSecondNs) + " s, for which " + std::to_string(waits);
  text += waits == 1 ? " value has" : " values have";
  text += " waited. " + std::to_string(usage.used) + " of " + std::to_string(usage.limit) +
          " bytes are in use. " + scheduler_.holders_of_room(epoch_) +
          " They go on waiting for as long as room can come: drop refs and views that are no "
          "longer needed, or give init() a greater object_store_memory";
  lines.push_back({.stream = LogStream::kStderr, .task_name = {}, .text = std::move(text)});
}

}  // namespace haz
