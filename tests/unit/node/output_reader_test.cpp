#include "node/output_reader.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/units.h"
#include "os/poll.h"

namespace haz {
namespace {

struct Writer {
  UniqueFd out;
  UniqueFd err;
};

void write_all(int fd, const std::string& text) {
  ASSERT_EQ(::write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
}

class OutputReaderTest : public ::testing::Test {
 protected:
  void SetUp() override {
#ifdef __SANITIZE_THREAD__
    GTEST_SKIP()
        << "TSan knows descriptors by their numbers, and takes those of two tables for one";
#endif
    static_cast<void>(std::signal(SIGPIPE, SIG_IGN));
    auto started = OutputReader::start();
    if (!started) GTEST_SKIP() << started.error().message;
    reader = std::move(*started);
  }
  Writer add(std::uint32_t process_id) {
    auto out = make_pipe();
    auto err = make_pipe();
    EXPECT_TRUE(out.ok() && err.ok());
    EXPECT_TRUE(set_nonblocking(out->read_end.get()).ok());
    EXPECT_TRUE(set_nonblocking(err->read_end.get()).ok());
    EXPECT_TRUE(reader->add(process_id, out->read_end, err->read_end));
    EXPECT_FALSE(out->read_end) << "the caller's own end stays open";
    return {std::move(out->write_end), std::move(err->write_end)};
  }
  void take() {
    std::vector<OutputReader::Piece> pieces;
    reader->take(pieces);
    for (const OutputReader::Piece& piece : pieces)
      text[{piece.process_id, piece.stream}] += piece.bytes;
  }
  void take_bytes(std::size_t count, std::pair<std::uint32_t, LogStream> from) {
    while (text[from].size() < count && wait_readable(reader->fd(), 20 * kSecondNs))
      take();
  }

  std::unique_ptr<OutputReader> reader;
  std::map<std::pair<std::uint32_t, LogStream>, std::string> text;
};

TEST_F(OutputReaderTest, TellsWritersAndStreamsApart) {
  const Writer first = add(7);
  const Writer second = add(9);
  write_all(first.out.get(), "one");
  write_all(second.err.get(), "two");
  write_all(first.err.get(), "three");
  take_bytes(3, {7, LogStream::kStdout});
  take_bytes(3, {9, LogStream::kStderr});
  take_bytes(5, {7, LogStream::kStderr});
  EXPECT_EQ((text[{7, LogStream::kStdout}]), "one");
  EXPECT_EQ((text[{9, LogStream::kStderr}]), "two");
  EXPECT_EQ((text[{7, LogStream::kStderr}]), "three");
}

TEST_F(OutputReaderTest, FinishReadsWhatIsLeft) {
  for (std::uint32_t id = 1; id <= 50; ++id) {
    Writer writer = add(id);
    write_all(writer.err.get(), "last words " + std::to_string(id));
    reader->finish(id);
    take();
    EXPECT_EQ((text[{id, LogStream::kStderr}]), "last words " + std::to_string(id));
    EXPECT_LT(::write(writer.out.get(), "x", 1), 0) << "the reading end is still open";
  }
}

TEST_F(OutputReaderTest, HoldsMoreThanTheProcessHasDescriptorsFor) {
  // What this process has open stays the same however many writers there are.
  const int before = ::dup(0);
  ::close(before);
  for (std::uint32_t id = 1; id <= 20; ++id)
    add(id);
  const int after = ::dup(0);
  ::close(after);
  EXPECT_EQ(before, after);
}

TEST_F(OutputReaderTest, ReadsNoFurtherAheadThanAFewMegabytes) {
  const Writer writer = add(1);
  ASSERT_TRUE(set_nonblocking(writer.out.get()).ok());
  const std::string block(64 * kKiB, 'x');
  std::size_t written = 0;
  // Without take() the writer comes to a halt; with it everything passes.
  for (int quiet = 0; quiet < 50;) {
    const ssize_t got = ::write(writer.out.get(), block.data(), block.size());
    if (got > 0) written += static_cast<std::size_t>(got);
    quiet = got > 0 ? 0 : quiet + 1;
    if (got < 0) poll_fds({}, kMillisecondNs);
    ASSERT_LT(written, 64 * kMiB);
  }
  reader->finish(1);
  take();
  EXPECT_EQ((text[{1, LogStream::kStdout}].size()), written);
}

}  // namespace
}  // namespace haz
