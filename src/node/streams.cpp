#include "node/node.h"
#include "node/round.h"
#include "os/clock.h"
#include "wire/message_reader.h"

namespace haz {

namespace {

/// Time that a streaming task without consumers has to come to its next item, before it is
/// interrupted.
constexpr std::int64_t kCloseNs = 2 * kSecondNs;

}  // namespace

TakenItem Node::take_item(ObjectId stream, ObjectId item) {
  Round round(*this);
  if (shut_down_) return TakenItem::kUnknown;
  TakenItem taken = take_item_for(process_, stream, item);
  if (taken == TakenItem::kNone && pump()) taken = take_item_for(process_, stream, item);
  return taken;
}

TakenItem Node::take_item_for(ProcessId process, ObjectId stream, ObjectId item) {
  return item ? scheduler_.take_item(process, stream, item) : scheduler_.next_item(stream);
}

bool Node::on_next_item(WorkerPort& port, std::span<const std::byte> body) {
  MessageReader reader(body);
  const auto message = reader.take<NextItemMessage>();
  const ObjectId item{message.item};
  if (!reader.ok() || (item && maker_of(item) != port.process)) return false;
  const TakenItem taken = take_item_for(port.process, ObjectId{message.stream}, item);
  answer(port, message.number, AnswerStatus::kOk, static_cast<std::uint64_t>(taken), 0, {});
  return true;
}

bool Node::on_yield(WorkerPort& port, std::span<const std::byte> body) {
  MessageReader reader(body);
  const auto message = reader.take<YieldMessage>();
  const auto entry = reader.take<ValueEntry>();
  NewValue value;
  std::vector<std::vector<std::byte>> copies;
  if (port.worker == nullptr || !take_value(port, entry, reader, value, copies)) return false;
  return scheduler_.yielded(*port.worker, TaskId{message.task}, message.attempt, message.index,
                            value);
}

void Node::close_stream(Task& task) {
  port_of(*task.worker).area->control.closed_streams.add(task.id.value, task.attempt);
  time_limits_.push_back({monotonic_ns() + kCloseNs, task.id, task.attempt, Stop::kCancel});
}

}  // namespace haz
