#include "node/log_folding.h"

#include <algorithm>
#include <utility>

namespace haz {

namespace {

/// Whether the line says something; bytes beyond ASCII count as letters.
bool has_words(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char character) {
    const auto byte = static_cast<unsigned char>(character);
    return byte >= 0x80U || (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= 'a' && byte <= 'z');
  });
}

}  // namespace

void LogFolding::add(LogLine line, std::int64_t now_ns, std::vector<LogLine>& out) {
  expire(now_ns, out);
  if (!line.may_fold || line.is_bar || line.text.size() > kMaxFoldedBytes ||
      !has_words(line.text)) {
    out.push_back(std::move(line));
    return;
  }
  std::string key = std::to_string(line.job);
  key += line.stream == LogStream::kStdout ? 'o' : 'e';
  key += line.text;
  const auto known = places_.find(key);
  if (known == places_.end()) {
    if (folded_.size() < kMaxFolded) {
      folded_.push_back(Folded{std::move(key), line.job, now_ns, line.pid, 1, 0, {}});
      places_.emplace(folded_.back().key, std::prev(folded_.end()));
    }
    out.push_back(std::move(line));
    return;
  }
  Folded& folded = *known->second;
  if (line.pid == folded.first_pid && folded.shown < kShownOfOneWorker) {
    ++folded.shown;
    out.push_back(std::move(line));
    return;
  }
  ++folded.held;
  folded.last = std::move(line);
}

void LogFolding::expire(std::int64_t now_ns, std::vector<LogLine>& out) {
  while (!folded_.empty() && now_ns - folded_.front().since_ns >= kFoldNs) {
    const auto first = folded_.begin();
    if (first->held == 0) {
      places_.erase(first->key);
      folded_.pop_front();
      continue;
    }
    tell(*first, out);
    // The flood may go on: one line for each such time.
    first->since_ns = now_ns;
    first->shown = kShownOfOneWorker;
    folded_.splice(folded_.end(), folded_, first);
  }
}

void LogFolding::finish(std::vector<LogLine>& out) {
  for (Folded& folded : folded_) {
    if (folded.held != 0) tell(folded, out);
  }
  places_.clear();
  folded_.clear();
}

void LogFolding::finish_job(std::uint32_t job, std::vector<LogLine>& out) {
  for (auto folded = folded_.begin(); folded != folded_.end();) {
    if (folded->job != job) {
      ++folded;
      continue;
    }
    if (folded->held != 0) tell(*folded, out);
    places_.erase(folded->key);
    folded = folded_.erase(folded);
  }
}

void LogFolding::tell(Folded& folded, std::vector<LogLine>& out) {
  LogLine line = std::exchange(folded.last, {});
  const std::uint64_t count = std::exchange(folded.held, 0);
  if (count > 1) {
    line.text += " [repeated " + std::to_string(count) + "x across cluster; HAZ_DEDUP_LOGS=0: all]";
  }
  out.push_back(std::move(line));
}

}  // namespace haz
