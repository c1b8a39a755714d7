#include "os/process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <string>

#include "os/fd.h"
#include "os/signals.h"

namespace haz::test {

namespace {

std::string contents(const char* path) {
  const UniqueFd file(::open(path, O_RDONLY | O_CLOEXEC));
  std::string text;
  char buffer[4096];
  for (ssize_t got = 0; (got = ::read(file.get(), buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<std::size_t>(got));
  return text;
}

std::string number_of_descriptors() {
  std::size_t count = 0;
  for (int fd = 0; fd < 256; ++fd) {
    if (::fcntl(fd, F_GETFD) >= 0) ++count;
  }
  return std::to_string(count);
}

bool blocks_any_signal() {
  sigset_t blocked;
  ::sigprocmask(SIG_BLOCK, nullptr, &blocked);
  return ::sigisemptyset(&blocked) == 0;
}

/// What `report` returns in a copy of this process that shows HAZ_NODE=0123.
std::string in_copy(std::string (*report)()) {
  int ends[2];
  EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  auto pid = fork_apart({"HAZ_NODE=0123", {write_end.get()}});
  EXPECT_TRUE(pid) << pid.error().message;
  if (*pid == 0) {
    const std::string text = report();
    const bool written = ::write(kFirstInheritedFd, text.data(), text.size()) >= 0;
    exit_now(written ? 0 : 1);
  }
  write_end.reset();
  std::string text;
  char buffer[4096];
  for (ssize_t got = 0; (got = ::read(read_end.get(), buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<std::size_t>(got));
  int status = 0;
  EXPECT_EQ(::waitpid(*pid, &status, 0), *pid);
  EXPECT_EQ(status, 0);
  return text;
}

}  // namespace

TEST(ForkApart, ShowsAVariableMoreAndKeepsAll) {
  ASSERT_EQ(::setenv("HAZ_TEST_LATE", "late", 1), 0);
  const std::string path = std::getenv("PATH");
  const std::string before = contents("/proc/self/environ");
  const std::string shown = in_copy([] { return contents("/proc/self/environ"); });
  EXPECT_EQ(shown.size(), before.size());
  EXPECT_EQ(std::string(shown.c_str()), "HAZ_NODE=0123");
  const std::string first(before.c_str());
  EXPECT_EQ(shown.substr(14, first.size() + 1), first + '\0');
  EXPECT_EQ(shown.back(), '\0');
  EXPECT_EQ(in_copy([] { return std::string(std::getenv("PATH")); }), path);
  EXPECT_EQ(in_copy([] { return std::string(std::getenv("HAZ_TEST_LATE")); }), "late");
  EXPECT_EQ(contents("/proc/self/environ"), before);
  ::unsetenv("HAZ_TEST_LATE");
}

TEST(ForkApart, HasOnlyTheListedDescriptors) {
  const UniqueFd other(::open("/dev/null", O_RDONLY));
  EXPECT_EQ(in_copy(number_of_descriptors), "4");
  EXPECT_EQ(in_copy([] {
              char path[64];
              const ssize_t size = ::readlink("/proc/self/fd/0", path, sizeof path);
              return std::string(path, static_cast<std::size_t>(size));
            }),
            "/dev/null");
}

TEST(ForkApart, LeadsASessionAndBlocksNoSignal) {
  const ScopedSignalBlock blocked;
  EXPECT_EQ(in_copy([] {
              return std::string(::getsid(0) == ::getpid() ? "leads" : "") +
                     (blocks_any_signal() ? " blocks" : "");
            }),
            "leads");
}

TEST(ForkApart, RefusesTooManyDescriptors) {
  ForkOptions options;
  options.inherited_fds.assign(9, STDOUT_FILENO);
  EXPECT_FALSE(fork_apart(options));
}

TEST(OwnProcess, IsMeasured) {
  const OwnProcess own = own_process();
  EXPECT_GE(own.threads, 1U);
  EXPECT_GT(own.resident_bytes, 1U << 16U);
  EXPECT_EQ(own.environment_bytes, contents("/proc/self/environ").size());
}

}  // namespace haz::test
