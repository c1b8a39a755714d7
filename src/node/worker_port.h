/// @file
/// The host's end of one worker process: its rings, its requests, its output.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/ids.h"
#include "queue/byte_ring.h"
#include "queue/claim_ring.h"
#include "sched/request.h"
#include "sched/task.h"
#include "wire/messages.h"
#include "wire/process_area.h"

namespace haz {

struct WorkerPort;

/// A request that a worker made through its ring.
struct PortRequest : Request {
  explicit PortRequest(WorkerPort& asker) : port(asker) {}
  WorkerPort& port;
  bool wants_values = false;  ///< Those in the arena, too, with a pin.
  bool wants_near = false;    ///< Those that come with the message.
  bool is_awaited = false;    ///< No thread sleeps on it.
};

/// All calls with the node's lock held.
struct WorkerPort {
  WorkerPort(std::uint32_t slot_number, ProcessId process_id, ProcessArea* shared);

  /// Sends a reply, or keeps it until the ring has room. `doorbell` is left to the caller.
  void send(MessageKind kind, std::span<const std::byte> body);
  /// Sends what waited, as far as there is room now; whether that was anything.
  bool send_waiting();
  /// Whether the process can still take what is sent to it; `first` is the position of the first
  /// task in its ring that it has not finished.
  [[nodiscard]] bool is_intact(std::uint64_t first) const {
    return tasks.is_intact(first) && (waiting_.empty() || !replies.is_damaged());
  }

  /// Whether something waits for room in the ring of replies.
  [[nodiscard]] bool has_waiting() const { return !waiting_.empty(); }
  [[nodiscard]] bool has_news() const { return !unheard && submissions.has_news(); }

  std::uint32_t slot;
  ProcessId process;
  ProcessArea* area;
  pid_t pid = 0;             ///< 0 until the zygote has said.
  Worker* worker = nullptr;  ///< None until the process has said that it is ready; of a driver
                             ///< always.
  bool is_driver = false;
  std::int32_t driver_pid = 0;  ///< Of a driver.
  bool killed = false;          ///< We have sent SIGKILL.
  bool unheard = false;         ///< It wrote nonsense: nothing is read from it any more.
  bool is_damaged = false;      ///< A task in its ring can't be taken back, nor be claimed.
  bool claims_nothing = false;  ///< It has said that it runs nothing, and will begin nothing more.
  bool touched = false;         ///< Something was written to it since its doorbell was looked at.
  bool busy = false;            ///< In the node's list of those that run something or start.
  std::int64_t damaged_since_ns = 0;  ///< When its ring of tasks was first seen damaged; 0: not.
  std::uint64_t finished_seen = 0;
  std::uint64_t wake_after = 0;  ///< What area->control.wake_after holds.
  std::uint32_t wake_on_idle = 0;
  std::uint32_t wake_on_item = 0;
  ClaimRingWriter<TaskRing> tasks;
  ByteRingWriter replies;
  ByteRingReader submissions;
  std::unordered_map<std::uint64_t, std::unique_ptr<PortRequest>> requests;

 private:
  struct Waiting {
    MessageKind kind;
    std::vector<std::byte> body;
  };
  bool try_send(MessageKind kind, std::span<const std::byte> body);

  std::deque<Waiting> waiting_;
};

}  // namespace haz
