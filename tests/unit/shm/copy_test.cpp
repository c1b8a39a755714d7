#include "shm/copy.h"

#include <dirent.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/units.h"
#include "os/machine.h"
#include "os/memory.h"
#include "shm/arena.h"

namespace haz {

namespace {

std::vector<std::byte> pattern(std::size_t size_bytes, unsigned seed = 1) {
  std::vector<std::byte> bytes(align_up(size_bytes, sizeof(std::uint64_t)));
  std::uint64_t state = seed;
  for (std::size_t i = 0; i < bytes.size(); i += sizeof state) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    std::memcpy(&bytes[i], &state, sizeof state);
  }
  bytes.resize(size_bytes);
  return bytes;
}

bool same_bytes(const std::byte* left, const std::byte* right, std::size_t size_bytes) {
  return size_bytes == 0 || std::memcmp(left, right, size_bytes) == 0;
}

/// Copies `size_bytes` between misaligned places; the bytes around must stay.
void expect_exact_copy(std::size_t size_bytes, std::size_t to, std::size_t from) {
  const auto source = pattern(size_bytes + from);
  std::vector<std::byte> destination(size_bytes + to + 64, std::byte{0xEE});
  copy_large(destination.data() + to, source.data() + from, size_bytes);
  EXPECT_TRUE(same_bytes(destination.data() + to, source.data() + from, size_bytes))
      << size_bytes << " to +" << to << " from +" << from;
  for (std::size_t i = 0; i < to; ++i)
    ASSERT_EQ(destination[i], std::byte{0xEE});
  for (std::size_t i = to + size_bytes; i < destination.size(); ++i) {
    ASSERT_EQ(destination[i], std::byte{0xEE});
  }
}

/// Names of this process' threads, and which signals each blocks.
std::vector<std::pair<std::string, std::uint64_t>> threads() {
  std::vector<std::pair<std::string, std::uint64_t>> found;
  DIR* folder = opendir("/proc/self/task");
  while (const dirent* entry = readdir(folder)) {
    if (entry->d_name[0] == '.') continue;
    std::ifstream status(std::string("/proc/self/task/") + entry->d_name + "/status");
    std::string line;
    std::string name;
    std::uint64_t blocked = 0;
    while (std::getline(status, line)) {
      if (line.starts_with("Name:\t")) name = line.substr(6);
      if (line.starts_with("SigBlk:\t")) blocked = std::stoull(line.substr(8), nullptr, 16);
    }
    found.emplace_back(name, blocked);
  }
  closedir(folder);
  return found;
}

std::size_t copy_threads() {
  std::size_t count = 0;
  for (const auto& [name, blocked] : threads())
    count += name == "haz-copy";
  return count;
}

/// Whether all helpers have gone. A joined thread stands in /proc for a moment longer.
bool no_copy_threads() {
  for (int i = 0; i < 60'000 && copy_threads() != 0; ++i)
    usleep(1000);
  return copy_threads() == 0;
}

class CopyTest : public testing::Test {
 protected:
  ~CopyTest() override { shutdown_copy_threads(); }
};

}  // namespace

TEST_F(CopyTest, AllSizesAndAlignments) {
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, std::size_t{63}, kMiB - 1, kMiB, kMiB + 1, 3 * kMiB + 77,
        8 * kMiB, 8 * kMiB + 511, 20 * kMiB + 13}) {
    expect_exact_copy(size, 0, 0);
    expect_exact_copy(size, 1, 0);
    expect_exact_copy(size, 0, 3);
    expect_exact_copy(size, 17, 5);
  }
}

TEST_F(CopyTest, ColdMemoryGetsPagesAndBytes) {
  if (!can_populate()) GTEST_SKIP() << "before Linux 5.14";
  const auto arena = std::move(Arena::create(256 * kMiB).value());
  const auto source = pattern(20 * kMiB);
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, std::size_t{5000}, kMiB + 3, 5 * kMiB, 20 * kMiB}) {
    ASSERT_TRUE(arena->punch(0, 64 * kMiB));
    ASSERT_TRUE(copy_to_cold(arena->at(4097), source.data(), size).ok());
    EXPECT_TRUE(same_bytes(arena->at(4097), source.data(), size));
    EXPECT_EQ(*arena->at(4097 + size), std::byte{0});
  }
}

TEST_F(CopyTest, WarmUpKeepsWhatIsThere) {
  if (!can_populate()) GTEST_SKIP() << "before Linux 5.14";
  const auto arena = std::move(Arena::create(64 * kMiB).value());
  *arena->at(5 * kMiB) = std::byte{77};
  ASSERT_TRUE(warm_up(arena->at(0), 32 * kMiB).ok());
  EXPECT_EQ(*arena->at(5 * kMiB), std::byte{77});
}

TEST_F(CopyTest, ColdMemoryThatCannotBeHadIsAnError) {
  if (!can_populate()) GTEST_SKIP() << "before Linux 5.14";
  const auto arena = std::move(Arena::create(64 * kMiB).value());
  ASSERT_TRUE(arena->make_read_only(16 * kMiB, kMiB).ok());
  const auto source = pattern(32 * kMiB);
  EXPECT_FALSE(copy_to_cold(arena->at(0), source.data(), source.size()).ok());
  EXPECT_TRUE(copy_to_cold(arena->at(0), source.data(), 16 * kMiB).ok());
}

TEST_F(CopyTest, ManyThreadsCopyAtOnce) {
  std::vector<std::thread> callers;
  for (unsigned caller = 0; caller < 4; ++caller) {
    callers.emplace_back([caller] {
      const auto source = pattern(9 * kMiB + caller, caller + 1);
      std::vector<std::byte> destination(source.size());
      for (int round = 0; round < 5; ++round) {
        std::memset(destination.data(), 0, destination.size());
        copy_large(destination.data(), source.data(), source.size());
        EXPECT_TRUE(same_bytes(destination.data(), source.data(), source.size()));
      }
    });
  }
  for (std::thread& caller : callers)
    caller.join();
}

TEST_F(CopyTest, HelpersStartLateBlockSignalsAndAreJoined) {
  shutdown_copy_threads();
  ASSERT_TRUE(no_copy_threads());
  const auto source = pattern(8 * kMiB);
  std::vector<std::byte> destination(source.size());
  copy_large(destination.data(), source.data(), 7 * kMiB);
  EXPECT_EQ(copy_threads(), 0U);
  for (int round = 0; round < 3; ++round) {
    copy_large(destination.data(), source.data(), source.size());
    const auto expected = static_cast<std::size_t>(std::min(4, usable_cpus()) - 1);
    EXPECT_EQ(copy_threads(), expected);
    for (const auto& [name, blocked] : threads()) {
      if (name != "haz-copy") continue;
      EXPECT_NE(blocked & (std::uint64_t{1} << (SIGINT - 1)), 0U);
      EXPECT_NE(blocked & (std::uint64_t{1} << (SIGCHLD - 1)), 0U);
    }
    shutdown_copy_threads();
    EXPECT_TRUE(no_copy_threads());
  }
}

TEST_F(CopyTest, ForkedChildCopiesByItself) {
  const auto source = pattern(16 * kMiB);
  std::vector<std::byte> destination(source.size());
  copy_large(destination.data(), source.data(), source.size());  // the helpers exist
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    std::memset(destination.data(), 0, destination.size());
    copy_large(destination.data(), source.data(), source.size());
    shutdown_copy_threads();
    _exit(same_bytes(destination.data(), source.data(), source.size()) ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST_F(CopyTest, ShutdownWhileOthersCopy) {
  std::vector<std::thread> callers;
  for (unsigned caller = 0; caller < 2; ++caller) {
    callers.emplace_back([caller] {
      const auto source = pattern(8 * kMiB, caller + 1);
      std::vector<std::byte> destination(source.size());
      for (int round = 0; round < 10; ++round) {
        copy_large(destination.data(), source.data(), source.size());
        EXPECT_TRUE(same_bytes(destination.data(), source.data(), source.size()));
        destination[static_cast<std::size_t>(round)] ^= std::byte{1};
      }
    });
  }
  for (int i = 0; i < 20; ++i)
    shutdown_copy_threads();
  for (std::thread& caller : callers)
    caller.join();
}

}  // namespace haz
