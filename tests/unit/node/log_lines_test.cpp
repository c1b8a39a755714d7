#include "node/log_lines.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace haz {

namespace {

constexpr LogStream kOut = LogStream::kStdout;
constexpr LogStream kErr = LogStream::kStderr;

std::string marker(std::string_view name) {
  return std::string(kTaskMarker) + std::string(name) + "\n";
}

std::vector<std::string> shown_all(const std::vector<LogLine>& lines) {
  std::vector<std::string> texts;
  texts.reserve(lines.size());
  for (const LogLine& line : lines)
    texts.push_back(shown(line));
  return texts;
}

/// Feeds whole pieces and collects.
class Reader {
 public:
  Reader& add(std::string_view bytes, LogStream stream = kOut) {
    lines_.append(stream, bytes, out);
    return *this;
  }
  Reader& finish() {
    lines_.finish(out);
    return *this;
  }
  LogLines& log() { return lines_; }
  std::vector<LogLine> out;

 private:
  LogLines lines_{123};
};

using Texts = std::vector<std::string>;

}  // namespace

TEST(LogLinesTest, ShowsNameAndPidBeforeTheText) {
  EXPECT_EQ(shown(LogLine{kOut, 123, "f", "text"}), "(f pid=123) text");
  EXPECT_EQ(shown(LogLine{kOut, 123, "", "text"}), "(pid=123) text");
  EXPECT_EQ(shown(LogLine{kOut, 7, "A.m", ""}, true), "\x1b[36m(A.m pid=7)\x1b[0m ");
}

TEST(LogLinesTest, ShowsLinesOfPlainOutputAsTheyAre) {
  Reader reader;
  reader.add(marker(kPlainOutput) + "one\n" + marker("f") + "two\n" + marker(kPlainOutput) +
             "three\n");
  EXPECT_EQ(shown_all(reader.out), (Texts{"one", "(f pid=123) two", "three"}));
  EXPECT_EQ(shown(reader.out.front(), true), "one");
  EXPECT_FALSE(reader.out.front().may_fold);
  EXPECT_TRUE(reader.out[1].may_fold);
}

TEST(LogLinesTest, AssemblesLinesAcrossReads) {
  Reader reader;
  reader.add("one").add(" line\ntwo\nth");
  EXPECT_EQ(shown_all(reader.out), (Texts{"(pid=123) one line", "(pid=123) two"}));
  reader.add("ree").finish();
  EXPECT_EQ(shown(reader.out.back()), "(pid=123) three");
  reader.finish();
  EXPECT_EQ(reader.out.size(), 3U);
}

TEST(LogLinesTest, KeepsEmptyLines) {
  EXPECT_EQ(shown_all(Reader().add("\n\nx\n").out),
            (Texts{"(pid=123) ", "(pid=123) ", "(pid=123) x"}));
}

TEST(LogLinesTest, StreamsDoNotMix) {
  Reader reader;
  reader.add("out", kOut).add("err\n", kErr).add("put\n", kOut);
  ASSERT_EQ(reader.out.size(), 2U);
  EXPECT_EQ(reader.out[0].stream, kErr);
  EXPECT_EQ(reader.out[0].text, "err");
  EXPECT_EQ(reader.out[1].stream, kOut);
  EXPECT_EQ(reader.out[1].text, "output");
}

TEST(LogLinesTest, MarkersNameWhatFollowsAndAreNotShown) {
  Reader reader;
  reader.add("early\n" + marker("f") + "a\n" + marker("g") + "b\n" + marker("") + "c\n");
  EXPECT_EQ(shown_all(reader.out),
            (Texts{"(pid=123) early", "(f pid=123) a", "(g pid=123) b", "(pid=123) c"}));
}

TEST(LogLinesTest, MarkerAfterAnUnfinishedLineEndsIt) {
  EXPECT_EQ(shown_all(Reader().add(marker("f") + "no newline" + marker("g") + "b\n").out),
            (Texts{"(f pid=123) no newline", "(g pid=123) b"}));
}

TEST(LogLinesTest, EachStreamHasItsOwnName) {
  Reader reader;
  reader.add(marker("f") + "x\n", kOut).add("y\n", kErr);
  EXPECT_EQ(shown_all(reader.out), (Texts{"(f pid=123) x", "(pid=123) y"}));
}

TEST(LogLinesTest, BarsAreNoOutput) {
  Reader reader;
  const std::string bar = std::string(kBarMarker) + "{\"done\": 1}\n";
  reader.add(marker("f")).add("text\n").add(bar).add("half").add(bar).add("of a line\n").finish();
  EXPECT_EQ(shown_all(reader.out),
            (Texts{"(f pid=123) text", std::string(kBarMarker) + "123 {\"done\": 1}",
                   "(f pid=123) half", std::string(kBarMarker) + "123 {\"done\": 1}",
                   "(f pid=123) of a line", std::string(kBarMarker) + "123 "}))
      << "the last says that the worker has ended";
  EXPECT_TRUE(reader.log().stderr_tail().empty());
  reader.finish();
  EXPECT_EQ(reader.out.size(), 6U) << "and is said once";
}

TEST(LogLinesTest, OtherRecordSeparatorsAreText) {
  EXPECT_EQ(Reader().add("\x1e{\"a\":1}\n").out.at(0).text, "\x1e{\"a\":1}");
  EXPECT_EQ(Reader().add("\x1ehaz:tas").finish().out.at(0).text, "\x1ehaz:tas");
}

TEST(LogLinesTest, LongTaskNamesAreCut) {
  Reader reader;
  reader.add(marker(std::string(10'000, 'n')) + "x\n");
  EXPECT_EQ(reader.out.at(0).task_name.size(), kMaxTaskNameBytes);
}

TEST(LogLinesTest, AnyBytesPassUnharmed) {
  std::string bytes;
  for (int value = 0; value < 256; ++value) {
    if (value != '\n' && value != '\r') bytes += static_cast<char>(value);
  }
  EXPECT_EQ(Reader().add(bytes + "\n").out.at(0).text, bytes);
}

TEST(LogLinesTest, CarriageReturnsStartTheLineAgain) {
  EXPECT_EQ(Reader().add("windows\r\n").out.at(0).text, "windows");
  EXPECT_EQ(Reader().add(" 10%\r 50%\r100%\n").out.at(0).text, "100%");
  EXPECT_EQ(Reader().add("done\r\r\n").out.at(0).text, "done");
  EXPECT_EQ(Reader().add("\r\n").out.at(0).text, "");
}

TEST(LogLinesTest, EndlessLineIsCutIntoPieces) {
  Reader reader;
  const std::string chunk(50'000, 'x');
  for (int count = 0; count < 200; ++count)
    reader.add(chunk);
  reader.add("\n");
  std::size_t total = 0;
  for (const LogLine& line : reader.out) {
    EXPECT_LE(line.text.size(), kMaxLineBytes);
    total += line.text.size();
  }
  EXPECT_EQ(total, 10'000'000U);
  EXPECT_LE(reader.out.size(), 10'000'000U / (kMaxLineBytes - 8) + 1);
}

TEST(LogLinesTest, EndlessProgressBarShowsItsEnd) {
  Reader reader;
  for (int count = 0; count < 100'000; ++count)
    reader.add("\rstep " + std::to_string(count));
  EXPECT_TRUE(reader.out.empty());
  reader.add("\n");
  EXPECT_EQ(shown_all(reader.out), (Texts{"(pid=123) step 99999"}));
}

TEST(LogLinesTest, CutsDoNotSplitCharacters) {
  for (std::size_t shift = 0; shift < 4; ++shift) {
    std::string text(shift, 'a');
    while (text.size() < 2 * kMaxLineBytes)
      text += "\xf0\x9f\x98\x80";
    Reader reader;
    reader.add(text + "\n");
    std::string joined;
    for (const LogLine& line : reader.out) {
      joined += line.text;
      EXPECT_NE(static_cast<unsigned char>(line.text.front()) & 0xC0U, 0x80U);
    }
    EXPECT_EQ(joined, text);
  }
}

TEST(LogLinesTest, MarkerAtACutIsStillUnderstood) {
  for (std::size_t before = kMaxLineBytes - 30; before <= kMaxLineBytes + 2; ++before) {
    Reader reader;
    const std::string text(before, 'x');
    for (const char byte : text + marker("task_name") + "y\n")
      reader.add({&byte, 1});
    std::string joined;
    for (const LogLine& line : reader.out) {
      if (line.task_name.empty()) joined += line.text;
    }
    EXPECT_EQ(joined, text) << before;
    EXPECT_EQ(shown(reader.out.back()), "(task_name pid=123) y") << before;
  }
}

TEST(LogLinesTest, ResultDoesNotDependOnHowReadsFall) {
  std::mt19937 random(20240607);
  const auto below = [&](std::size_t limit) { return random() % limit; };
  const std::vector<std::string> parts = {"a",  "\n",   marker("f"),  marker("g"), "\xc3\xa9",
                                          "\r", "\x1e", "long text ", "\x1ehaz:",  "\r\n"};
  for (int round = 0; round < 300; ++round) {
    std::string bytes;
    for (int count = 0; count < 60; ++count)
      bytes += parts[below(parts.size())];
    Reader whole;
    whole.add(bytes).finish();
    Reader pieces;
    for (std::string_view rest = bytes; !rest.empty();) {
      const std::size_t size = std::min<std::size_t>(1 + below(12), rest.size());
      pieces.add(rest.substr(0, size));
      rest.remove_prefix(size);
    }
    pieces.finish();
    ASSERT_EQ(shown_all(whole.out), shown_all(pieces.out)) << "round " << round;
  }
}

TEST(LogLinesTest, TailHoldsTheLastErrorLines) {
  Reader reader;
  reader.add("not an error\n", kOut);
  for (int count = 0; count < 50; ++count)
    reader.add("e" + std::to_string(count) + "\n", kErr);
  auto tail = reader.log().stderr_tail();
  ASSERT_EQ(tail.size(), kStderrTailLines);
  EXPECT_EQ(tail.front(), "e30");
  EXPECT_EQ(tail.back(), "e49");
  reader.add("Segmentation", kErr);
  tail = reader.log().stderr_tail();
  ASSERT_EQ(tail.size(), kStderrTailLines);
  EXPECT_EQ(tail.back(), "Segmentation");
  reader.finish();
  EXPECT_EQ(reader.log().stderr_tail(), tail);
}

TEST(LogLinesTest, TailBeginsAnewWhenATaskHasEnded) {
  const std::string end = marker(kTaskEnd);
  Reader reader;
  reader.add(marker("first"), kErr);
  reader.add("of the first\nand its unfinished" + end, kErr);
  EXPECT_TRUE(reader.log().stderr_tail().empty());
  EXPECT_EQ(reader.out.back().text, "and its unfinished");
  reader.add("of the next\n", kErr);
  EXPECT_EQ(reader.log().stderr_tail(), std::vector<std::string>{"of the next"});
  EXPECT_EQ(reader.out.back().task_name, "first");
  // Standard output has no part in it.
  reader.add(end, kOut);
  EXPECT_EQ(reader.log().stderr_tail().size(), 1U);
}

TEST(LogLinesTest, TailLinesAreBounded) {
  Reader reader;
  reader.add(std::string(60'000, 'x') + "\n", kErr);
  const auto tail = reader.log().stderr_tail();
  ASSERT_EQ(tail.size(), 1U);
  EXPECT_LT(tail[0].size(), kMaxTailLineBytes + 40);
  EXPECT_NE(tail[0].find("more bytes"), std::string::npos);
}

TEST(LogLinesTest, TailIsBoundedInAllWhateverTheLines) {
  Reader reader;
  reader.add(std::string(5'000'000, 'x') + "\nlast words\n", kErr);
  std::size_t bytes = 0;
  const auto tail = reader.log().stderr_tail();
  for (const std::string& line : tail)
    bytes += line.size();
  EXPECT_LE(bytes, kMaxTailBytes);
  EXPECT_GE(tail.size(), 2U);
  EXPECT_EQ(tail.back(), "last words");
  reader.add(std::string(60'000, 'y'), kErr);
  ASSERT_FALSE(reader.log().stderr_tail().empty());
  EXPECT_EQ(reader.log().stderr_tail().back().front(), 'y');
}

}  // namespace haz
