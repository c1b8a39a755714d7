#include <algorithm>
#include <vector>

#include "node/node.h"
#include "node/round.h"
#include "os/clock.h"
#include "wire/message_reader.h"

namespace haz {

namespace {

/// Time that a streaming task without consumers has to come to its next item, before it is
/// interrupted.
constexpr std::int64_t kCloseNs = 2 * kSecondNs;
/// Items in one answer.
constexpr std::uint32_t kMostItems = 64;

}  // namespace

TakenItem Node::take_item(ObjectId stream, ObjectId item) {
  Round round(*this);
  if (shut_down_) return TakenItem::kUnknown;
  const auto take = [&] {
    return item ? scheduler_.take_item(process_, stream, item) : scheduler_.next_item(stream);
  };
  const TakenItem taken = take();
  return taken == TakenItem::kNone && pump() ? take() : taken;
}

bool Node::on_next_item(WorkerPort& port, std::span<const std::byte> body) {
  MessageReader reader(body);
  const auto message = reader.take<NextItemMessage>();
  const ObjectId stream{message.stream};
  const ObjectId first{message.first_item};
  const std::uint32_t most = std::min(message.most_items, kMostItems);
  if (!reader.ok()) return false;
  if (most != 0 && (maker_of(first) != port.process ||
                    maker_of(ObjectId{first.value + most - 1}) != port.process)) {
    return false;
  }
  std::vector<ObjectId> items;
  TakenItem taken = most == 0 ? scheduler_.next_item(stream) : TakenItem::kTaken;
  while (items.size() < most) {
    const ObjectId item{first.value + items.size()};
    const TakenItem next = scheduler_.take_item(port.process, stream, item);
    if (next != TakenItem::kTaken) {
      if (items.empty()) taken = next;
      break;
    }
    items.push_back(item);
    if (scheduler_.is_limited(stream)) break;  // its task waits for what is taken only
  }
  answer_items(port, message.number, taken, items);
  return true;
}

void Node::answer_items(WorkerPort& port, std::uint64_t number, TakenItem taken,
                        std::span<const ObjectId> items) {
  MessageBuilder entries;
  MessageBuilder values;
  const std::uint64_t values_at = items.size() * sizeof(ObjectEntry);
  for (const ObjectId id : items) {
    const Object& object = *scheduler_.find(id);
    ObjectEntry entry{id.value, 0, object.size, kEntryReady, 0};
    if (object.state == ObjectState::kError) entry.flags |= kValueIsError;
    if (object.offset == 0) {
      entry.flags |= kEntryNear;
      entry.offset = values_at + values.size();
      values.add_bytes(object.bytes.view());
    }
    entries.add(entry);
  }
  entries.add_bytes(values.body());
  answer(port, number, AnswerStatus::kOk, static_cast<std::uint64_t>(taken), items.size(),
         entries.body());
}

bool Node::on_return_items(WorkerPort& port, std::span<const std::byte> body) {
  MessageReader reader(body);
  const ObjectId stream{reader.take<std::uint64_t>()};
  if (!reader.ok()) return false;
  const std::size_t count = (body.size() - sizeof(std::uint64_t)) / sizeof(std::uint64_t);
  for (std::size_t i = 0; i < count; ++i)
    scheduler_.return_item(port.process, stream, ObjectId{reader.take<std::uint64_t>()});
  return reader.ok();
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
