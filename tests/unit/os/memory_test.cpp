#include "os/memory.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <string>
#include <utility>

#include "base/units.h"

namespace haz {

namespace {

/// Bytes that a file really takes.
std::size_t allocated_bytes(int fd) {
  struct stat facts{};
  EXPECT_EQ(fstat(fd, &facts), 0);
  return static_cast<std::size_t>(facts.st_blocks) * 512;
}

/// A memory file, mapped.
class Mapped {
 public:
  explicit Mapped(std::size_t size_bytes, Access access = Access::kReadWrite)
      : file_(std::move(create_memory_file("haz-test", size_bytes).value())),
        size_bytes_(size_bytes),
        address_(map_file(file_.fd.get(), size_bytes, access).value()) {}
  ~Mapped() { unmap(address_, size_bytes_); }
  Mapped(const Mapped&) = delete;
  Mapped& operator=(const Mapped&) = delete;

  [[nodiscard]] int fd() const { return file_.fd.get(); }
  [[nodiscard]] std::byte* at(std::size_t offset) const { return address_ + offset; }

 private:
  MemoryFile file_;
  std::size_t size_bytes_;
  std::byte* address_;
};

/// The signal that kills a forked child which runs `body`, or 0.
template <typename Body>
int signal_of_child(Body body) {
  const pid_t child = fork();
  if (child == 0) {
    for (const int fault : {SIGSEGV, SIGBUS, SIGABRT})
      std::signal(fault, SIG_DFL);  // sanitizers
    body();
    _exit(0);
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

/// Gives this process a /dev/shm of its own with room for 4 MiB. In a user namespace, so that no
/// privilege is needed and no other process sees it.
bool enter_small_file_system() {
  const std::string uid = "0 " + std::to_string(getuid()) + " 1";
  const std::string gid = "0 " + std::to_string(getgid()) + " 1";
  return unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 && write_text("/proc/self/uid_map", uid) &&
         write_text("/proc/self/setgroups", "deny") && write_text("/proc/self/gid_map", gid) &&
         mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=4m") == 0;
}

}  // namespace

TEST(MemoryTest, MemoryFileIsSparseSealedAndCloseOnExec) {
  auto file = create_memory_file("haz-test", kGiB);
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE(file->is_memfd);
  EXPECT_TRUE(file->size_sealed);
  EXPECT_EQ(identify_file(file->fd.get()).value().size_bytes, kGiB);
  EXPECT_EQ(allocated_bytes(file->fd.get()), 0U);
  EXPECT_NE(ftruncate(file->fd.get(), 4096), 0);
  EXPECT_NE(ftruncate(file->fd.get(), static_cast<off_t>(2 * kGiB)), 0);
  EXPECT_EQ(fcntl(file->fd.get(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
}

TEST(MemoryTest, ImpossibleSizesAreErrors) {
  EXPECT_EQ(create_memory_file("haz-test", 0).error().kind, ErrorKind::kInvalid);
  EXPECT_EQ(create_memory_file("haz-test", ~std::size_t{0}).error().kind, ErrorKind::kInvalid);
}

TEST(MemoryTest, FileSizeLimitIsAnErrorAndNoSignal) {
  EXPECT_EQ(signal_of_child([] {
              const rlimit limit{kMiB, kMiB};
              setrlimit(RLIMIT_FSIZE, &limit);
              const auto file = create_memory_file("haz-test", kGiB);
              if (file.ok() || file.error().kind != ErrorKind::kInvalid) std::abort();
            }),
            0);
}

TEST(MemoryTest, AddressSpaceLimitIsNamed) {
  EXPECT_EQ(signal_of_child([] {
              const rlimit limit{kGiB, kGiB};
              setrlimit(RLIMIT_AS, &limit);
              if (mapping_limit() != kGiB) std::abort();
              auto file = create_memory_file("haz-test", 2 * kGiB);
              const auto mapped = map_file(file->fd.get(), 2 * kGiB, Access::kRead);
              if (mapped.ok() || mapped.error().kind != ErrorKind::kOverloaded ||
                  mapped.error().message.find("ulimit -v") == std::string::npos) {
                std::abort();
              }
            }),
            0);
}

TEST(MemoryTest, UnlinkedFileStandsInForMemfd) {
  for (const char* directory : {"/dev/shm", "/tmp"}) {
    auto file = create_unlinked_file(directory, 64 * kMiB);
    ASSERT_TRUE(file.ok()) << directory;
    EXPECT_FALSE(file->is_memfd);
    EXPECT_FALSE(file->size_sealed);
    struct stat facts{};
    ASSERT_EQ(fstat(file->fd.get(), &facts), 0);
    EXPECT_EQ(facts.st_nlink, 0U);
    auto address = map_file(file->fd.get(), 64 * kMiB, Access::kReadWrite);
    ASSERT_TRUE(address.ok());
    ASSERT_TRUE(reserve_range(file->fd.get(), kMiB, kMiB).ok());
    std::memset(*address + kMiB, 7, kMiB);
    EXPECT_TRUE(punch_mapped_range(*address + kMiB, kMiB).ok());
    EXPECT_EQ((*address)[kMiB], std::byte{0});
    unmap(*address, 64 * kMiB);
  }
  EXPECT_FALSE(create_unlinked_file("/no/such/folder", kMiB).ok());
}

TEST(MemoryTest, TwoMappingsShareBytes) {
  const Mapped one(kMiB);
  auto other = map_file(one.fd(), kMiB, Access::kRead);
  ASSERT_TRUE(other.ok());
  *one.at(5000) = std::byte{42};
  EXPECT_EQ((*other)[5000], std::byte{42});
  unmap(*other, kMiB);
}

TEST(MemoryTest, ReserveAllocatesAndPunchGivesBack) {
  const Mapped memory(64 * kMiB);
  ASSERT_TRUE(reserve_range(memory.fd(), 4 * kMiB, 20 * kMiB).ok());
  EXPECT_EQ(allocated_bytes(memory.fd()), 20 * kMiB);
  std::memset(memory.at(4 * kMiB), 1, 20 * kMiB);
  EXPECT_EQ(allocated_bytes(memory.fd()), 20 * kMiB);
  ASSERT_TRUE(punch_mapped_range(memory.at(8 * kMiB), 8 * kMiB).ok());
  EXPECT_EQ(allocated_bytes(memory.fd()), 12 * kMiB);
  EXPECT_EQ(*memory.at(8 * kMiB), std::byte{0});
  EXPECT_EQ(*memory.at(4 * kMiB), std::byte{1});
}

TEST(MemoryTest, ReserveOnAClosedDescriptorIsLost) {
  EXPECT_EQ(reserve_range(-1, 0, 4096).error().kind, ErrorKind::kLost);
  EXPECT_EQ(identify_file(-1).error().kind, ErrorKind::kLost);
}

TEST(MemoryTest, ProtectionHolds) {
  const Mapped memory(kMiB, Access::kRead);
  const auto write = [&] { *const_cast<volatile std::byte*>(memory.at(8192)) = std::byte{1}; };
  EXPECT_EQ(signal_of_child(write), SIGSEGV);
  ASSERT_TRUE(protect_range(memory.at(8192), 4096, Access::kReadWrite).ok());
  EXPECT_EQ(signal_of_child(write), 0);
  EXPECT_EQ(*memory.at(8192), std::byte{1});
  EXPECT_TRUE(protect_after_fork(memory.at(0), kMiB));
  EXPECT_EQ(signal_of_child(write), SIGSEGV);
}

TEST(MemoryTest, ReadOnlyDescriptorCannotBeMadeWritable) {
  const Mapped memory(kMiB);
  const std::string path = "/proc/self/fd/" + std::to_string(memory.fd());
  const UniqueFd read_only(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(read_only);
  EXPECT_FALSE(map_file(read_only.get(), kMiB, Access::kReadWrite).ok());
  auto address = map_file(read_only.get(), kMiB, Access::kRead);
  ASSERT_TRUE(address.ok());
  EXPECT_FALSE(protect_range(*address, 4096, Access::kReadWrite).ok());
  unmap(*address, kMiB);
}

TEST(MemoryTest, PopulateKeepsWhatPagesHold) {
  const Mapped memory(8 * kMiB);
  std::memset(memory.at(kMiB), 9, 4096);
  ASSERT_TRUE(populate_for_writing(memory.at(kMiB + 100), 2 * kMiB).ok());
  EXPECT_EQ(*memory.at(kMiB), std::byte{9});
  EXPECT_EQ(allocated_bytes(memory.fd()), 2 * kMiB + 4096);
}

TEST(MemoryTest, PopulateReportsWhatItCannotDo) {
  if (!can_populate()) GTEST_SKIP() << "before Linux 5.14";
  const Mapped memory(kMiB, Access::kRead);
  EXPECT_FALSE(populate_for_writing(memory.at(0), 4096).ok());
}

TEST(MemoryTest, FullFileSystemIsAnErrorAndNoBusError) {
  constexpr int kCannotMount = 77;
  const pid_t child = fork();
  if (child == 0) {
    std::signal(SIGBUS, SIG_DFL);  // a sanitizer's handler would report it
    if (!enter_small_file_system()) _exit(kCannotMount);
    auto file = create_unlinked_file("/dev/shm", 64 * kMiB);
    if (!file) _exit(1);
    auto address = map_file(file->fd.get(), 64 * kMiB, Access::kReadWrite);
    if (!address) _exit(2);
    if (!reserve_range(file->fd.get(), 0, 2 * kMiB)) _exit(3);
    std::memset(*address, 1, 2 * kMiB);
    const Status reserved = reserve_range(file->fd.get(), 2 * kMiB, 8 * kMiB);
    if (reserved || reserved.error().kind != ErrorKind::kOverloaded) _exit(4);
    if (!punch_mapped_range(*address + 2 * kMiB, 8 * kMiB)) _exit(5);
    if (can_populate()) {
      const Status populated = populate_for_writing(*address + 2 * kMiB, 8 * kMiB);
      if (populated || populated.error().kind != ErrorKind::kOverloaded) _exit(6);
    }
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
  if (WEXITSTATUS(status) == kCannotMount) GTEST_SKIP() << "no user namespaces here";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(MemoryTest, ExcludedRangesAreGoneInAForkedChild) {
  const Mapped memory(kMiB);
  ASSERT_TRUE(exclude_from_core_dump(memory.at(0), kMiB).ok());
  ASSERT_TRUE(exclude_from_fork(memory.at(0), 4096).ok());
  const auto read = [&](std::size_t offset) {
    return signal_of_child([&] {
      [[maybe_unused]] const auto value = *const_cast<const volatile std::byte*>(memory.at(offset));
    });
  };
  EXPECT_EQ(read(0), SIGSEGV);
  EXPECT_EQ(read(4096), 0);
}

}  // namespace haz
