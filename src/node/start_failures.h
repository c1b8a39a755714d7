/// @file
/// Counts workers that end before they have run anything, to tell when none is to be had.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "base/units.h"
#include "os/process.h"

namespace haz {

/// Those that exit by themselves, ten in a row, are enough. A signal may come from outside (a user,
/// the kernel where memory is short), and that may end soon: of these, only if it goes on for half
/// a minute. Not thread-safe.
class StartFailures {
 public:
  static constexpr std::uint32_t kMostInARow = 10;
  static constexpr std::int64_t kPatienceNs = 30 * kSecondNs;
  /// Deaths by signals that are further apart have nothing to do with each other.
  static constexpr std::int64_t kGapNs = 5 * kSecondNs;

  /// A worker could not be started, or ended by itself.
  void add(std::string reason, std::int64_t now_ns) {
    ++own_;
    note(std::move(reason), now_ns);
  }
  /// A worker ended as `exit` says.
  void add(std::string reason, const ProcessExit& exit, std::int64_t now_ns);
  /// As many failures at once as one: `before` is the state without them.
  void count_as_one(const StartFailures& before, std::int64_t now_ns) {
    std::string reason = std::move(last_);
    *this = before;
    add(std::move(reason), now_ns);
  }
  /// A worker has finished a task.
  void reset() { *this = StartFailures(); }

  [[nodiscard]] bool any() const { return own_ + killed_ != 0; }
  /// Whether no worker is to be counted on.
  [[nodiscard]] bool is_hopeless(std::int64_t now_ns) const {
    if (own_ >= kMostInARow) return true;
    return own_ + killed_ >= kMostInARow && now_ns - first_ns_ >= kPatienceNs;
  }
  /// Ticks until the next try: the more that end by themselves in a row, the longer.
  [[nodiscard]] std::uint32_t pause_ticks() const;
  /// What happened to the latest one.
  [[nodiscard]] const std::string& last() const { return last_; }

 private:
  void note(std::string reason, std::int64_t now_ns);

  std::uint32_t own_ = 0;
  std::uint32_t killed_ = 0;
  std::int64_t first_ns_ = 0;
  std::int64_t last_ns_ = 0;
  std::string last_;
};

}  // namespace haz
