#include "node/worker_port.h"

#include <cstring>

#include "base/check.h"

namespace haz {

WorkerPort::WorkerPort(std::uint32_t slot_number, ProcessId process_id, ProcessArea* shared)
    : slot(slot_number),
      process(process_id),
      area(shared),
      tasks(&shared->tasks),
      replies(&shared->replies, shared->reply_bytes.data(), kReplyRingBytes),
      submissions(&shared->submissions, shared->submission_bytes.data(), kSubmissionRingBytes) {}

void WorkerPort::send(MessageKind kind, std::span<const std::byte> body) {
  HAZ_CHECK(body.size() <= replies.max_record_bytes(), "a reply is greater than its ring takes");
  if (waiting_.empty() && try_send(kind, body)) return;
  waiting_.push_back({kind, {body.begin(), body.end()}});
  // pairs with the load of the process when it has made room
  area->control.replies_waiting.store(1, std::memory_order_seq_cst);
}

bool WorkerPort::send_waiting() {
  if (waiting_.empty()) return false;
  bool sent = false;
  while (!waiting_.empty() && try_send(waiting_.front().kind, waiting_.front().body)) {
    waiting_.pop_front();
    sent = true;
  }
  if (waiting_.empty()) area->control.replies_waiting.store(0, std::memory_order_relaxed);
  return sent;
}

bool WorkerPort::try_send(MessageKind kind, std::span<const std::byte> body) {
  std::byte* space =
      replies.try_append(static_cast<std::uint32_t>(kind), static_cast<std::uint32_t>(body.size()));
  if (space == nullptr) return false;
  if (!body.empty()) std::memcpy(space, body.data(), body.size());
  replies.publish();
  return true;
}

}  // namespace haz
