#include "node/message_queue.h"

#include <utility>

namespace haz {

namespace {

SocketOutcome send_now(int socket, const ZygoteMessage& message, const std::vector<UniqueFd>& fds) {
  std::vector<int> numbers;
  numbers.reserve(fds.size());
  for (const UniqueFd& fd : fds)
    numbers.push_back(fd.get());
  return send_message(socket, bytes_of(message), numbers);
}

}  // namespace

SocketOutcome MessageQueue::send(int socket, const ZygoteMessage& message,
                                 std::vector<UniqueFd> fds) {
  if (waiting_.empty()) {
    const SocketOutcome outcome = send_now(socket, message, fds);
    if (outcome != SocketOutcome::kWouldBlock) return outcome;
  }
  waiting_.push_back(Waiting{message, std::move(fds)});
  return SocketOutcome::kWouldBlock;
}

SocketOutcome MessageQueue::flush(int socket) {
  while (!waiting_.empty()) {
    const SocketOutcome outcome = send_now(socket, waiting_.front().message, waiting_.front().fds);
    if (outcome != SocketOutcome::kDone) return outcome;
    waiting_.pop_front();
  }
  return SocketOutcome::kDone;
}

}  // namespace haz
