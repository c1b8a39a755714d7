#include "shm/arena.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <memory>
#include <utility>

#include "base/units.h"

namespace haz {

namespace {

std::unique_ptr<Arena> create(std::size_t size_bytes) {
  return std::move(Arena::create(size_bytes).value());
}

std::unique_ptr<Arena> attach(const Arena& host) {
  return std::move(
      Arena::attach(UniqueFd(fcntl(host.fd(), F_DUPFD_CLOEXEC, 3)), host.size()).value());
}

std::size_t allocated_bytes(int fd) {
  struct stat facts{};
  EXPECT_EQ(fstat(fd, &facts), 0);
  return static_cast<std::size_t>(facts.st_blocks) * 512;
}

/// Whether a forked child dies of SIGSEGV when it writes there.
bool write_faults(std::byte* address, const Arena* protect = nullptr) {
  const pid_t child = fork();
  if (child == 0) {
    std::signal(SIGSEGV, SIG_DFL);  // a sanitizer's handler would report it
    if (protect != nullptr && !protect->protect_after_fork()) _exit(1);
    *const_cast<volatile std::byte*>(address) = std::byte{1};
    _exit(0);
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
}

}  // namespace

TEST(ArenaTest, BothSidesSeeTheSameBytes) {
  const auto host = create(kGiB);
  const auto other = attach(*host);
  EXPECT_EQ(other->size(), kGiB);
  std::memcpy(host->at(123456), "shared", 7);
  EXPECT_STREQ(reinterpret_cast<const char*>(other->at(123456)), "shared");
}

TEST(ArenaTest, APrivateMappingShowsTheArenaAndKeepsWhatIsWritten) {
  const auto host = create(kMiB);
  const std::uint64_t offset = page_size() + 100;
  std::memcpy(host->at(offset), "shared", 7);
  const auto mapping = std::move(attach(*host)->map_privately(offset, 2 * page_size()).value());
  ASSERT_EQ(mapping->size_bytes(), 3 * page_size());
  auto* const text = reinterpret_cast<char*>(mapping->base()) + 100;
  EXPECT_STREQ(text, "shared");
  text[0] = 'S';
  text[2 * page_size() - 1] = 'x';
  EXPECT_STREQ(reinterpret_cast<char*>(host->at(offset)), "shared");
  EXPECT_EQ(*host->at(offset + 2 * page_size() - 1), std::byte{0});
  EXPECT_EQ(host->map_privately(kMiB, 1).error().kind, ErrorKind::kInvalid);
}

TEST(ArenaTest, APrivateMappingIsNotOfAnotherFile) {
  const auto host = create(kMiB);
  const auto other = create(kMiB);
  const UniqueFd kept(fcntl(host->fd(), F_DUPFD_CLOEXEC, 3));
  ASSERT_EQ(dup2(other->fd(), host->fd()), host->fd());
  EXPECT_EQ(host->map_privately(0, 1).error().kind, ErrorKind::kLost);
  ASSERT_EQ(dup2(kept.get(), host->fd()), host->fd());
  EXPECT_TRUE(host->map_privately(0, 1).ok());
}

TEST(ArenaTest, TakesNoMemoryUntilUsed) {
  const auto host = create(64 * kGiB);
  EXPECT_EQ(allocated_bytes(host->fd()), 0U);
}

TEST(ArenaTest, ContainsIsSafeForAnyNumbers) {
  const auto host = create(kMiB);
  EXPECT_TRUE(host->contains(0, kMiB));
  EXPECT_TRUE(host->contains(kMiB, 0));
  EXPECT_FALSE(host->contains(1, kMiB));
  EXPECT_FALSE(host->contains(kMiB + 1, 0));
  EXPECT_FALSE(host->contains(~std::uint64_t{0}, 2));
  EXPECT_FALSE(host->contains(2, ~std::uint64_t{0}));
  EXPECT_TRUE(host->contains(host->at(5)));
  EXPECT_FALSE(host->contains(host.get()));
  EXPECT_EQ(host->offset_of(host->at(5)), 5U);
}

TEST(ArenaTest, AttachedIsReadOnlyUntilMadeWritable) {
  const auto host = create(kMiB);
  const auto other = attach(*host);
  EXPECT_TRUE(write_faults(other->at(5000)));
  ASSERT_TRUE(other->make_writable(5000, 10).ok());
  EXPECT_FALSE(write_faults(other->at(5000)));
  EXPECT_TRUE(write_faults(other->at(0)));
  EXPECT_TRUE(write_faults(other->at(8192)));
  ASSERT_TRUE(other->make_read_only(5000, 10).ok());
  EXPECT_TRUE(write_faults(other->at(5000)));
  EXPECT_EQ(other->make_writable(kMiB, 1).error().kind, ErrorKind::kInvalid);
  EXPECT_EQ(other->make_writable(~std::uint64_t{0}, 5).error().kind, ErrorKind::kInvalid);
}

TEST(ArenaTest, ForkedChildCanReadButNotSpoil) {
  const auto host = create(kMiB);
  EXPECT_FALSE(write_faults(host->at(0)));
  EXPECT_TRUE(write_faults(host->at(0), host.get()));
  EXPECT_EQ(*host->at(0), std::byte{1});
}

TEST(ArenaTest, MappingOutlivesTheArena) {
  auto host = create(kMiB);
  std::memcpy(host->at(4096), "alive", 6);
  const auto mapping = host->mapping();
  host.reset();
  EXPECT_STREQ(reinterpret_cast<const char*>(mapping->base() + 4096), "alive");
}

TEST(ArenaTest, AttachChecksWhatItGets) {
  const auto host = create(kMiB);
  UniqueFd copy(fcntl(host->fd(), F_DUPFD_CLOEXEC, 3));
  EXPECT_EQ(Arena::attach(std::move(copy), 2 * kMiB).error().kind, ErrorKind::kInvalid);
  EXPECT_EQ(Arena::attach(UniqueFd(), kMiB).error().kind, ErrorKind::kLost);
  EXPECT_EQ(Arena::create(0).error().kind, ErrorKind::kInvalid);
}

TEST(ArenaTest, ReserveAndPunch) {
  const auto host = create(64 * kMiB);
  ASSERT_TRUE(host->reserve(kMiB, 2 * kMiB).ok());
  EXPECT_EQ(allocated_bytes(host->fd()), 2 * kMiB);
  std::memset(host->at(kMiB), 3, 2 * kMiB);
  EXPECT_TRUE(host->punch(kMiB, kMiB));
  EXPECT_EQ(allocated_bytes(host->fd()), kMiB);
  EXPECT_EQ(*host->at(kMiB), std::byte{0});
  EXPECT_FALSE(host->reserve(64 * kMiB, 4096).ok());
  EXPECT_FALSE(host->punch(64 * kMiB, 4096));
}

TEST(ArenaTest, SurvivesAUserThatClosesAndReusesDescriptors) {
  if (!can_populate()) GTEST_SKIP() << "before Linux 5.14";
  auto host = create(16 * kMiB);
  const UniqueFd witness(fcntl(host->fd(), F_DUPFD_CLOEXEC, 3));
  const int number = host->fd();
  close(number);
  const int users_file = memfd_create("users", MFD_CLOEXEC);
  ASSERT_EQ(users_file, number);
  ASSERT_EQ(ftruncate(users_file, static_cast<off_t>(16 * kMiB)), 0);
  ASSERT_EQ(pwrite(users_file, "mine", 4, 0), 4);

  ASSERT_TRUE(host->reserve(0, kMiB).ok());
  EXPECT_EQ(allocated_bytes(witness.get()), kMiB);
  EXPECT_TRUE(host->punch(0, kMiB));
  EXPECT_EQ(allocated_bytes(witness.get()), 0U);
  EXPECT_EQ(allocated_bytes(users_file), 4096U);
  host.reset();
  EXPECT_EQ(fcntl(users_file, F_GETFD), FD_CLOEXEC) << "the user's file was closed";
  close(users_file);
}

TEST(ArenaTest, WhatTheAllocatorGrantsCanBeWritten) {
  const auto host = create(kGiB);
  ExtentAllocatorOptions options;
  options.end = kGiB;
  options.limit_bytes = 32 * kMiB;
  ExtentAllocator extents(*host, options);
  std::size_t granted = 0;
  for (;;) {
    auto extent = extents.allocate(5 * kMiB);
    if (!extent) {
      EXPECT_EQ(extent.error().kind, ErrorKind::kOverloaded);
      break;
    }
    std::memset(host->at(extent->offset), 1, extent->size_bytes);
    granted += extent->size_bytes;
  }
  EXPECT_EQ(granted, 30 * kMiB);
  EXPECT_EQ(allocated_bytes(host->fd()), granted);
}

}  // namespace haz
