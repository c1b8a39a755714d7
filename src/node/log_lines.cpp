#include "node/log_lines.h"

#include <algorithm>
#include <utility>

namespace haz {

namespace {

// Where to cut `text` so that the piece has at most `limit` bytes and no UTF-8 character is split;
// in bytes that are not UTF-8, at `limit`.
std::size_t cut_position(std::string_view text, std::size_t limit) {
  constexpr std::size_t kMaxCharacterBytes = 4;
  if (text.size() <= limit) return text.size();
  const auto is_continuation = [&](std::size_t index) {
    return (static_cast<unsigned char>(text[index]) & 0xC0U) == 0x80U;
  };
  for (std::size_t back = 0; back < kMaxCharacterBytes && back < limit; ++back) {
    if (!is_continuation(limit - back)) return limit - back;
  }
  return limit;
}

// Whether `text` may turn out to begin with a marker once more bytes follow.
bool may_begin_marker(std::string_view text) {
  return text.substr(0, kTaskMarker.size()) == kTaskMarker.substr(0, text.size());
}

// What a terminal would show in the end: a carriage return starts the line again, as progress bars
// do; one before the newline belongs to the line's end.
std::string_view after_last_return(std::string_view line) {
  const std::size_t end = line.find_last_not_of('\r');
  if (end == std::string_view::npos) return {};
  line = line.substr(0, end + 1);
  const std::size_t last_return = line.rfind('\r');
  return last_return == std::string_view::npos ? line : line.substr(last_return + 1);
}

std::string shortened(std::string_view text, std::size_t limit) {
  const std::size_t kept = cut_position(text, limit);
  std::string result(text.substr(0, kept));
  if (kept < text.size()) result += "... (" + std::to_string(text.size() - kept) + " more bytes)";
  return result;
}

}  // namespace

std::string shown(const LogLine& line, bool colour) {
  if (line.is_plain) return line.text;
  if (line.is_bar) {
    return std::string(kBarMarker) + std::to_string(line.pid) + " " + line.text;
  }
  std::string text;
  text.reserve(line.task_name.size() + line.text.size() + 40);
  if (colour) text += "\x1b[36m";
  text += '(';
  if (!line.task_name.empty()) {
    text += line.task_name;
    text += ' ';
  }
  text += line.pid == 0 ? "haz" : "pid=" + std::to_string(line.pid);
  text += ')';
  if (colour) text += "\x1b[0m";
  text += ' ';
  text += line.text;
  return text;
}

void LogLines::append(LogStream stream, std::string_view bytes, std::vector<LogLine>& out) {
  std::string& pending = state_of(stream).pending;
  while (!bytes.empty()) {
    const std::size_t newline = bytes.find('\n');
    if (newline != std::string_view::npos && pending.empty() && newline <= kMaxLineBytes) {
      end_line(stream, bytes.substr(0, newline), out);
      bytes.remove_prefix(newline + 1);
      continue;
    }
    const std::size_t line_end = std::min(newline, bytes.size());
    const std::size_t taken = std::min(line_end, kMaxLineBytes - pending.size());
    pending.append(bytes.substr(0, taken));
    bytes.remove_prefix(taken);
    if (taken == newline) {
      bytes.remove_prefix(1);
      const std::string line = std::exchange(pending, {});
      end_line(stream, line, out);
    } else if (pending.size() == kMaxLineBytes) {
      cut_long_line(stream, out);
    }
  }
}

void LogLines::finish(std::vector<LogLine>& out) {
  for (const LogStream stream : {LogStream::kStdout, LogStream::kStderr}) {
    const std::string line = std::exchange(state_of(stream).pending, {});
    if (!line.empty()) end_line(stream, line, out);
  }
  if (std::exchange(has_bars_, false)) emit_bar({}, out);
}

std::vector<std::string> LogLines::stderr_tail() const {
  std::vector<std::string> tail(stderr_tail_.begin(), stderr_tail_.end());
  const std::string& pending = streams_[static_cast<std::size_t>(LogStream::kStderr)].pending;
  const std::string_view unfinished = after_last_return(pending);
  if (!unfinished.empty()) tail.push_back(shortened(unfinished, kMaxTailLineBytes));
  std::size_t kept = 0;
  std::size_t bytes = 0;
  while (kept < std::min(tail.size(), kStderrTailLines)) {
    bytes += tail[tail.size() - 1 - kept].size();
    if (kept > 0 && bytes > kMaxTailBytes) break;
    ++kept;
  }
  tail.erase(tail.begin(), tail.end() - static_cast<std::ptrdiff_t>(kept));
  return tail;
}

void LogLines::end_line(LogStream stream, std::string_view line, std::vector<LogLine>& out) {
  if (const std::size_t bar = line.find(kBarMarker); bar != std::string_view::npos) {
    const std::string_view before = after_last_return(line.substr(0, bar));
    if (!before.empty()) emit(stream, before, out);
    has_bars_ = true;
    emit_bar(line.substr(bar + kBarMarker.size()), out);
    return;
  }
  const std::size_t marker = line.find(kTaskMarker);
  if (marker == std::string_view::npos) {
    emit(stream, after_last_return(line), out);
    return;
  }
  const std::string_view before = after_last_return(line.substr(0, marker));
  if (!before.empty()) emit(stream, before, out);
  const std::string_view name = line.substr(marker + kTaskMarker.size());
  if (name == kTaskEnd) {
    if (stream == LogStream::kStderr) stderr_tail_.clear();
    return;
  }
  Stream& state = state_of(stream);
  state.is_plain = name == kPlainOutput;
  state.task_name = state.is_plain ? "" : name.substr(0, cut_position(name, kMaxTaskNameBytes));
}

// The piece ends before a marker that is not complete yet. What can't be one, since it is too long,
// is shown as it is.
void LogLines::cut_long_line(LogStream stream, std::vector<LogLine>& out) {
  std::string& pending = state_of(stream).pending;
  constexpr std::size_t kLongestMarker = kTaskMarker.size() + kMaxTaskNameBytes;
  const std::size_t marker = pending.rfind(kTaskMarker.front());
  const bool has_marker = marker != std::string::npos && marker > 0 &&
                          pending.size() - marker < kLongestMarker &&
                          may_begin_marker(std::string_view(pending).substr(marker));
  const std::size_t last_return = pending.rfind('\r');
  if (!has_marker && last_return != std::string::npos && last_return > 0) {
    pending.erase(0, last_return);  // a terminal would show none of it any more
    return;
  }
  const std::size_t cut = has_marker ? marker : cut_position(pending, kMaxLineBytes - 1);
  emit(stream, after_last_return(std::string_view(pending).substr(0, cut)), out);
  pending.erase(0, cut);
}

void LogLines::emit_bar(std::string_view state, std::vector<LogLine>& out) {
  LogLine line{LogStream::kStdout, pid_, {}, std::string(state)};
  line.is_bar = true;
  out.push_back(std::move(line));
}

// Every line passes here once, but for those of bars.
void LogLines::emit(LogStream stream, std::string_view text, std::vector<LogLine>& out) {
  const Stream& state = state_of(stream);
  LogLine& line = out.emplace_back();
  line.stream = stream;
  line.pid = pid_;
  line.task_name = state.task_name;
  line.text = text;
  line.is_plain = state.is_plain;
  line.may_fold = !state.is_plain;
  if (stream != LogStream::kStderr) return;
  stderr_tail_.push_back(shortened(text, kMaxTailLineBytes));
  if (stderr_tail_.size() > kStderrTailLines) stderr_tail_.pop_front();
}

}  // namespace haz
