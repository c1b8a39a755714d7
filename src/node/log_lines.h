/// @file
/// PURE: makes lines to show of the bytes that a worker writes to its standard output and error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

namespace haz {

/// A worker writes this, a task's name and a newline into a stream before the first output of a
/// task of another name. It is taken out of the output, at whatever place of a line it stands.
inline constexpr std::string_view kTaskMarker = "\x1ehaz:task:";
/// Stands in the place of the name when a task that has written to standard error has ended: what
/// it wrote does not belong into the report of a later crash.
inline constexpr std::string_view kTaskEnd = "\x1e";
/// Stands there for a task whose lines are shown as they are, and never folded: what calls of pools
/// print is the program's own output, as with the standard library's pools.
inline constexpr std::string_view kPlainOutput = "\x1f";

/// A worker writes this, the state of a progress bar as JSON, and a newline; it is no output, but
/// for who shows the bars.
inline constexpr std::string_view kBarMarker = "\x1ehaz:bar:";

/// Longer lines are cut into pieces, each shown as a line.
inline constexpr std::size_t kMaxLineBytes = 64 * 1024;
/// Longer task names are cut; so is what stands between a marker and the next newline.
inline constexpr std::size_t kMaxTaskNameBytes = 256;
/// How much of a worker's standard error is kept for the report of its crash.
inline constexpr std::size_t kStderrTailLines = 20;
inline constexpr std::size_t kMaxTailLineBytes = 2048;
inline constexpr std::size_t kMaxTailBytes = 4096;

enum class LogStream : std::uint8_t { kStdout, kStderr };

/// One line of a worker's output, without its newline; any bytes, valid UTF-8 or not.
struct LogLine {
  LogStream stream = LogStream::kStdout;
  std::int64_t pid = 0;   ///< 0: haz itself says it.
  std::string task_name;  ///< Empty before the worker's first task.
  std::string text;
  std::uint32_t job = 0;  ///< Whose driver the line is for; 0: nobody's.
  bool may_fold = true;   ///< As one of a flood; not where the driver wants all.
  bool is_plain = false;  ///< Of a task that wrote kPlainOutput.
  bool is_bar = false;    ///< `text` is the state of a progress bar; empty: the worker has ended.
};

/// The line as a terminal shows it, without a newline: "(name pid=123) text", or "(pid=123) text"
/// without a name, "(haz) text" without a process; the bracket in cyan if `colour`. Of a plain
/// line, its text; of a bar, kBarMarker, the pid, a space and its state.
std::string shown(const LogLine& line, bool colour = false);

/// The output of one worker. Memory is bounded, whatever the worker writes. Not thread-safe.
class LogLines {
 public:
  explicit LogLines(std::int64_t pid) : pid_(pid) {}

  /// Takes what was read from `stream`; appends the lines that it completes to `out`.
  void append(LogStream stream, std::string_view bytes, std::vector<LogLine>& out);

  /// The worker has ended: appends to `out` what was not followed by a newline.
  void finish(std::vector<LogLine>& out);

  /// The last lines of standard error since the last kTaskEnd, oldest first, at most
  /// kStderrTailLines of at most kMaxTailLineBytes, and about kMaxTailBytes in all; an unfinished
  /// line is the last one.
  [[nodiscard]] std::vector<std::string> stderr_tail() const;

 private:
  struct Stream {
    std::string pending;  // since the last newline; at most kMaxLineBytes
    std::string task_name;
    bool is_plain = false;
  };

  Stream& state_of(LogStream stream) { return streams_[static_cast<std::size_t>(stream)]; }
  void end_line(LogStream stream, std::string_view line, std::vector<LogLine>& out);
  void cut_long_line(LogStream stream, std::vector<LogLine>& out);
  void emit_bar(std::string_view state, std::vector<LogLine>& out);
  void emit(LogStream stream, std::string_view text, std::vector<LogLine>& out);

  std::int64_t pid_;
  Stream streams_[2];
  std::deque<std::string> stderr_tail_;
  bool has_bars_ = false;
};

}  // namespace haz
