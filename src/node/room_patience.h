/// @file
/// How long those who wait for room in the store are left to wait, where nobody is seen who could
/// free some.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/units.h"

namespace haz {

/// What drivers do, as far as can be seen.
enum class DriversState : std::uint8_t {
  kGoOn,     ///< One of them does, or will, and may free what it holds.
  kMayGoOn,  ///< All wait, but one only awaits, or has threads that don't.
  kWait,     ///< All those that hold something wait for workers, or for room.
};

/// What is seen of one driver.
struct DriverSeen {
  bool waits_timed = false;   ///< A thread waits, and goes on some time.
  bool waits = false;         ///< A thread waits without a deadline.
  bool awaits = false;        ///< An event loop does, or a callback.
  bool others_go_on = false;  ///< It has other threads, as who waits says.
  bool holds_references = false;
};

/// All drivers, one after the other.
class DriversSeen {
 public:
  void add(const DriverSeen& driver) {
    const bool waits = driver.waits || driver.awaits;
    one_goes_on_ = one_goes_on_ || driver.waits_timed || (!waits && driver.holds_references);
    one_waits_ = one_waits_ || waits;
    one_may_go_on_ = one_may_go_on_ || (driver.waits ? driver.others_go_on : driver.awaits);
  }
  [[nodiscard]] DriversState state() const {
    if (one_goes_on_ || !one_waits_) return DriversState::kGoOn;
    return one_may_go_on_ ? DriversState::kMayGoOn : DriversState::kWait;
  }

 private:
  bool one_goes_on_ = false;
  bool one_waits_ = false;
  bool one_may_go_on_ = false;
};

/// Not thread-safe. Times are of any one clock.
class RoomPatience {
 public:
  /// Time for what is on its way to be freed, of which the scheduler doesn't know yet.
  static constexpr std::int64_t kLeastNs = kSecondNs;
  /// Between one error and the next: what the first held may help the others.
  static constexpr std::int64_t kNextNs = 100 * kMillisecondNs;

  /// What the first who waits is.
  enum class First : std::uint8_t { kTask, kDriver };

  /// `store_full_wait_s`: for a task, while all drivers wait.
  explicit RoomPatience(double store_full_wait_s)
      : task_ns_(static_cast<std::int64_t>(store_full_wait_s * 1e9)) {}

  /// Of a driver that has other threads: less than that of tasks, whose errors can't be taken back.
  [[nodiscard]] std::int64_t driver_with_threads_ns() const {
    return std::max(task_ns_ / 2, kLeastNs);
  }
  /// Room has come, or can come.
  void reset() { since_ns_ = 0; }
  /// Since the last reset(), and before it is over.
  [[nodiscard]] bool is_running() const { return since_ns_ != 0; }
  /// No room can come as far as is seen: whether the first who waits gets an error now. Where
  /// nobody may go on any more, what they have dropped may be on its way.
  bool is_over(std::int64_t now_ns, DriversState drivers, First first) {
    if (drivers == DriversState::kGoOn) {
      reset();
      return false;
    }
    if (since_ns_ == 0) since_ns_ = all_wait_since_ns_ = now_ns;
    if (drivers == DriversState::kMayGoOn) all_wait_since_ns_ = now_ns;
    const bool is_driver = first == First::kDriver;
    const std::int64_t most_ns = is_driver ? driver_with_threads_ns() : kMostTimesAsLong * task_ns_;
    const std::int64_t least_ns = is_driver ? kLeastNs : task_ns_;
    if (now_ns - since_ns_ < most_ns && now_ns - all_wait_since_ns_ < least_ns) return false;
    since_ns_ = now_ns - most_ns + kNextNs;
    all_wait_since_ns_ = now_ns - least_ns + kNextNs;
    return true;
  }

 private:
  static constexpr std::int64_t kMostTimesAsLong = 6;

  std::int64_t task_ns_;
  std::int64_t since_ns_ = 0;           ///< 0: not running.
  std::int64_t all_wait_since_ns_ = 0;  ///< While it runs.
};

}  // namespace haz
