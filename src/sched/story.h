/// @file
/// The history of a node: every transition of a task, object or worker as one fixed-size record.
#pragma once

#include <cstdint>
#include <vector>

#include "sched/recent.h"

namespace haz {

enum class StoryEvent : std::uint16_t {
  kTaskSubmitted = 1,
  kTaskAssigned,
  kTaskTakenBack,
  kTaskBlocked,
  kTaskResumed,
  kTaskFinished,
  kTaskFailed,
  kTaskRetried,
  kTaskCancelled,
  kTaskYielded,
  kObjectPut,
  kObjectFreed,
  kWorkerStarted,
  kWorkerDied,
  kActorAlive,
  kActorRestarting,
  kActorDied,
};

/// One transition. `subject` is a task, object or process id according to `event`.
struct StoryRecord {
  std::int64_t time_ns;  ///< Monotonic time of the batch in which it happened.
  std::uint64_t subject;
  std::uint32_t detail;  ///< Attempt number, number of the item, or exit status of a worker.
  std::uint16_t worker;  ///< Worker slot, where one is concerned.
  StoryEvent event;
};
static_assert(sizeof(StoryRecord) == 24);

/// A bounded ring of records: the oldest are overwritten. Not thread-safe.
class Story {
 public:
  explicit Story(std::size_t capacity = 8192) : records_(capacity) {}

  /// The host tells the time once per batch of events; the scheduler has no clock.
  void set_time(std::int64_t now_ns) { now_ns_ = now_ns; }
  /// Likewise, by a clock that may be some milliseconds behind.
  void note_time(std::int64_t rough_ns) {
    if (rough_ns > now_ns_) now_ns_ = rough_ns;
  }
  [[nodiscard]] std::int64_t time() const { return now_ns_; }

  void add(StoryEvent event, std::uint64_t subject, std::uint32_t detail = 0,
           std::uint32_t worker = 0) {
    records_.add({now_ns_, subject, detail, static_cast<std::uint16_t>(worker), event});
  }

  /// Records of `subject`, oldest first; of everything when `subject` is 0.
  [[nodiscard]] std::vector<StoryRecord> of(std::uint64_t subject) const {
    std::vector<StoryRecord> found;
    for (std::size_t i = 0; i < records_.size(); ++i) {
      const StoryRecord& record = records_[i];
      if (subject == 0 || record.subject == subject) found.push_back(record);
    }
    return found;
  }

 private:
  std::int64_t now_ns_ = 0;
  Recent<StoryRecord> records_;
};

}  // namespace haz
