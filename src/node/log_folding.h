/// @file
/// Floods of equal lines in workers' output, folded for the terminal. Pure: the caller has the
/// clock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/units.h"
#include "node/log_lines.h"

namespace haz {

/// Equal lines are told as one for this long.
inline constexpr std::int64_t kFoldNs = 5 * kSecondNs;
/// Equal lines of one worker in that time which are no flood yet: a program may well say the same
/// twice.
inline constexpr std::uint32_t kShownOfOneWorker = 10;
/// Longer lines are not folded, nor are more than so many different ones at a time: memory is
/// bounded.
inline constexpr std::size_t kMaxFoldedBytes = 2048;
inline constexpr std::size_t kMaxFolded = 1024;

/// A line that another worker of the same job has just written (to the same stream), or the same
/// worker many times, is held back; after kFoldNs the last such one is shown with their number. A
/// line of which there is one is always shown, unchanged; so are those without a letter or digit,
/// which draw something. Not thread-safe.
class LogFolding {
 public:
  /// Appends to `out` what of `line` is to be shown now. Precondition: `now_ns` never goes back.
  void add(LogLine line, std::int64_t now_ns, std::vector<LogLine>& out);
  /// Appends to `out` what was held back long enough.
  void expire(std::int64_t now_ns, std::vector<LogLine>& out);
  /// Appends to `out` all that was held back.
  void finish(std::vector<LogLine>& out);
  /// Likewise, what is of that job.
  void finish_job(std::uint32_t job, std::vector<LogLine>& out);

 private:
  struct Folded {
    std::string key;  ///< Stream, job and text.
    std::uint32_t job = 0;
    std::int64_t since_ns = 0;
    std::int64_t first_pid = 0;
    std::uint32_t shown = 0;  ///< Of the first worker.
    std::uint64_t held = 0;
    LogLine last;  ///< Of those that are held.
  };

  static void tell(Folded& folded, std::vector<LogLine>& out);

  std::list<Folded> folded_;                                                  ///< By since_ns.
  std::unordered_map<std::string_view, std::list<Folded>::iterator> places_;  ///< By their keys.
};

}  // namespace haz
