#include "node/log_folding.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>
#include <vector>

namespace haz {

namespace {

class Terminal {
 public:
  Terminal& add(const std::string& text, std::int64_t pid, double now_s = 0,
                LogStream stream = LogStream::kStdout) {
    folding.add(LogLine{stream, pid, "f", text}, static_cast<std::int64_t>(now_s * 1e9), lines);
    return *this;
  }
  Terminal& wait_until(double now_s) {
    folding.expire(static_cast<std::int64_t>(now_s * 1e9), lines);
    return *this;
  }
  Terminal& finish() {
    folding.finish(lines);
    return *this;
  }
  [[nodiscard]] std::vector<std::string> texts() const {
    std::vector<std::string> texts;
    for (const LogLine& line : lines)
      texts.push_back(line.text);
    return texts;
  }

  LogFolding folding;
  std::vector<LogLine> lines;
};

using Texts = std::vector<std::string>;

std::string repeated(const std::string& text, int count) {
  return text + " [repeated " + std::to_string(count) + "x across cluster; HAZ_DEDUP_LOGS=0: all]";
}

}  // namespace

TEST(LogFolding, DifferentLinesAreShownAtOnce) {
  Terminal terminal;
  terminal.add("a 1", 1).add("a 2", 2).add("b", 3);
  EXPECT_EQ(terminal.texts(), (Texts{"a 1", "a 2", "b"}));
  EXPECT_EQ(terminal.finish().lines.size(), 3U);
}

TEST(LogFolding, BarsAreAllPassedOn) {
  Terminal terminal;
  for (int pid = 1; pid <= 3; ++pid) {
    LogLine line{LogStream::kStdout, pid, "", "{\"done\": 1}"};
    line.is_bar = true;
    terminal.folding.add(std::move(line), 0, terminal.lines);
  }
  EXPECT_EQ(terminal.texts().size(), 3U);
}

TEST(LogFolding, EqualLinesOfSeveralWorkersAreShownOnceAndCounted) {
  Terminal terminal;
  for (int pid = 1; pid <= 5; ++pid)
    terminal.add("warning", pid, 0.1 * pid);
  EXPECT_EQ(terminal.texts(), Texts{"warning"});
  EXPECT_EQ(terminal.wait_until(5.0).texts(), Texts{"warning"});
  terminal.wait_until(5.2);
  EXPECT_EQ(terminal.texts(), (Texts{"warning", repeated("warning", 4)}));
  EXPECT_EQ(terminal.lines[0].pid, 1);
  EXPECT_EQ(terminal.lines[1].pid, 5) << "the last one is told";
  EXPECT_EQ(terminal.finish().lines.size(), 2U);
}

TEST(LogFolding, ASecondOneIsShownAsItIs) {
  Terminal terminal;
  terminal.add("warning", 1).add("warning", 2).wait_until(6);
  EXPECT_EQ(terminal.texts(), (Texts{"warning", "warning"}));
}

TEST(LogFolding, OneWorkerMayRepeatItselfAFewTimes) {
  Terminal terminal;
  for (std::uint32_t i = 0; i < kShownOfOneWorker + 3; ++i)
    terminal.add("again", 1);
  EXPECT_EQ(terminal.lines.size(), kShownOfOneWorker);
  terminal.finish();
  EXPECT_EQ(terminal.lines.size(), kShownOfOneWorker + 1);
  EXPECT_EQ(terminal.texts().back(), repeated("again", 3));
}

TEST(LogFolding, AFloodThatGoesOnIsToldOncePerPeriod) {
  Terminal terminal;
  for (int i = 0; i < 200; ++i)
    terminal.add("flood", i % 4, 0.1 * i);
  terminal.finish();
  std::uint64_t told = 0;
  for (const std::string& text : terminal.texts()) {
    const std::size_t at = text.find("[repeated ");
    told += at == std::string::npos ? 1 : std::stoull(text.substr(at + 10));
  }
  EXPECT_EQ(told, 200U);
  EXPECT_LE(terminal.lines.size(), kShownOfOneWorker + 5U);
}

TEST(LogFolding, AfterSilenceALineIsShownAgain) {
  Terminal terminal;
  terminal.add("now and then", 1, 0).add("now and then", 2, 6).add("now and then", 1, 12);
  EXPECT_EQ(terminal.lines.size(), 3U);
}

TEST(LogFolding, StreamsAreToldApartAndDrawingsAreNotFolded) {
  Terminal terminal;
  terminal.add("x", 1).add("x", 2, 0, LogStream::kStderr);
  terminal.add("-----", 1).add("-----", 2).add("", 1).add("", 2);
  terminal.add("größer", 1).add("größer", 2);
  EXPECT_EQ(terminal.lines.size(), 7U);
}

TEST(LogFolding, LongOnesAndTooManyDifferentOnesAreShown) {
  Terminal terminal;
  const std::string text(kMaxFoldedBytes + 1, 'x');
  terminal.add(text, 1).add(text, 2);
  EXPECT_EQ(terminal.lines.size(), 2U);
  for (std::size_t i = 0; i < kMaxFolded + 10; ++i)
    terminal.add("line " + std::to_string(i), 1);
  terminal.add("line " + std::to_string(kMaxFolded + 5), 2);
  EXPECT_EQ(terminal.lines.size(), 2 + kMaxFolded + 10 + 1);
}

// Whatever comes in which order: each line is shown, or counted in one that is.
TEST(LogFolding, NoLineIsLost) {
  for (std::uint32_t seed = 1; seed <= 50; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    Terminal terminal;
    std::map<std::string, std::uint64_t> wrote;
    double now_s = 0;
    for (int i = 0; i < 500; ++i) {
      now_s += std::uniform_real_distribution<double>(0, 0.2)(random);
      const std::string text = "t" + std::to_string(random() % 5);
      terminal.add(text, static_cast<std::int64_t>(random() % 3), now_s);
      ++wrote[text];
    }
    terminal.finish();
    std::map<std::string, std::uint64_t> told;
    for (const std::string& text : terminal.texts()) {
      const std::size_t at = text.find(" [repeated ");
      told[text.substr(0, at)] += at == std::string::npos ? 1 : std::stoull(text.substr(at + 11));
    }
    EXPECT_EQ(told, wrote);
  }
}

TEST(LogFolding, JobsAreToldOfTheirOwnLines) {
  LogFolding folding;
  std::vector<LogLine> lines;
  for (const std::uint32_t job : {1U, 2U}) {
    for (const std::int64_t pid : {10, 11, 12})
      folding.add(LogLine{.pid = pid, .task_name = "f", .text = "warning", .job = job}, 0, lines);
  }
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(lines[0].job, 1U);
  EXPECT_EQ(lines[1].job, 2U);
  lines.clear();
  folding.finish_job(1, lines);
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_EQ(lines[0].job, 1U);
  EXPECT_EQ(lines[0].text, repeated("warning", 2));
  folding.finish_job(1, lines);
  folding.add(LogLine{.pid = 10, .task_name = "f", .text = "warning", .job = 1}, 0, lines);
  EXPECT_EQ(lines.size(), 2U);
  folding.finish(lines);
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_EQ(lines[2].job, 2U);
}

TEST(LogFolding, WhoWantsAllGetsAll) {
  LogFolding folding;
  std::vector<LogLine> lines;
  for (std::int64_t pid = 0; pid < 5; ++pid)
    folding.add(LogLine{.pid = pid, .task_name = "f", .text = "warning", .may_fold = false}, 0,
                lines);
  EXPECT_EQ(lines.size(), 5U);
}

}  // namespace haz
