#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/units.h"
#include "ipc/fake_zygote.h"
#include "node/zygote_link.h"
#include "os/clock.h"
#include "os/fd.h"
#include "os/poll.h"
#include "os/process.h"

namespace haz::test {

namespace {

// Only against hangs.
constexpr std::int64_t kPatienceNs = 60 * kSecondNs;

/// Whether the kernel of the test has the calls that haz prefers, or lacks them.
enum class Kernel { kAsIs, kOld };

void forbid_newer_calls() {
  // No pidfds, no close_range, no signalfd, as under an old kernel or a strict sandbox.
  static const unsigned kCalls[] = {SYS_pidfd_open, SYS_pidfd_send_signal, SYS_close_range,
                                    SYS_signalfd4};
  std::vector<sock_filter> program;
  program.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)));
  for (const unsigned call : kCalls) {
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1));
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS));
  }
  program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  ASSERT_EQ(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
  ASSERT_EQ(::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), 0);
  ASSERT_FALSE(open_pidfd(::getpid()));
}

std::string fake_zygote_path() {
  char path[4096];
  const ssize_t size = ::readlink("/proc/self/exe", path, sizeof path);
  const std::string self(path, static_cast<std::size_t>(size));
  return self.substr(0, self.rfind('/') + 1) + "fake_zygote_child";
}

std::set<std::string> open_descriptors() {
  std::set<std::string> found;
  DIR* directory = ::opendir("/proc/self/fd");
  const std::string own = std::to_string(::dirfd(directory));
  while (const dirent* entry = ::readdir(directory)) {
    if (entry->d_name[0] != '.' && entry->d_name != own) found.insert(entry->d_name);
  }
  ::closedir(directory);
  return found;
}

bool eventually(const std::function<bool()>& condition) {
  const std::int64_t deadline_ns = monotonic_ns() + kPatienceNs;
  while (!condition()) {
    if (monotonic_ns() > deadline_ns) return false;
    ::usleep(1000);
  }
  return true;
}

/// Memory shared with everything that a fake zygote starts.
class Arena {
 public:
  Arena() : fd_(::memfd_create("test-arena", MFD_CLOEXEC)) {
    EXPECT_EQ(::ftruncate(fd_.get(), sizeof(SharedPids)), 0);
    pids_ = static_cast<SharedPids*>(
        ::mmap(nullptr, sizeof(SharedPids), PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0));
  }
  ~Arena() { ::munmap(pids_, sizeof(SharedPids)); }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] SharedPids& pids() const { return *pids_; }
  [[nodiscard]] std::size_t running() const {
    std::size_t count = 0;
    for (std::size_t index = 0; index < pids_->count.load(); ++index) {
      if (!has_ended(pids_->pids[index].load())) ++count;
    }
    return count;
  }
  [[nodiscard]] bool none_runs() const { return running() == 0; }

 private:
  UniqueFd fd_;
  SharedPids* pids_ = nullptr;
};

/// A driver: a link, and what it has heard.
class Driver {
 public:
  explicit Driver(int arena_fd = -1, const std::string& setup = "",
                  std::vector<std::string> argv = {fake_zygote_path()}) {
    ZygoteOptions options;
    options.mark = "TEST_NODE=" + std::to_string(::getpid());
    options.argv = std::move(argv);
    options.setup = setup;
    auto started = ZygoteLink::start(options);
    EXPECT_TRUE(started.ok()) << (started.ok() ? "" : started.error().message);
    if (started.ok()) link_ = std::move(*started);
    if (arena_fd >= 0) {
      EXPECT_TRUE(link_->lend_arena(arena_fd).ok());
    }
  }

  ZygoteLink& link() { return *link_; }

  std::uint32_t request(Behaviour behaviour) {
    const std::uint32_t process_id = next_process_id_++;
    EXPECT_TRUE(link_->request_worker(static_cast<std::uint32_t>(behaviour), process_id).ok());
    return process_id;
  }

  bool wait_for(const std::function<bool()>& condition) {
    const std::int64_t deadline_ns = monotonic_ns() + kPatienceNs;
    while (!condition()) {
      if (monotonic_ns() > deadline_ns) return false;
      wait_readable(link_->fd(), kSecondNs);
      std::vector<ZygoteEvent> events;
      link_->read_events(events);
      for (ZygoteEvent& event : events)
        take(event);
    }
    return true;
  }

  WorkerForked& wait_forked(std::uint32_t process_id) {
    EXPECT_TRUE(wait_for([&] { return forked.contains(process_id); }));
    return forked[process_id];
  }

  ProcessExit wait_exited(std::uint32_t process_id) {
    EXPECT_TRUE(wait_for([&] { return exited.contains(process_id); }));
    return exited[process_id];
  }

  std::map<std::uint32_t, WorkerForked> forked;
  std::vector<std::uint32_t> fork_order;
  std::map<std::uint32_t, ProcessExit> exited;
  std::map<std::uint32_t, int> failed;
  std::vector<std::string> deaths;

 private:
  void take(ZygoteEvent& event) {
    if (auto* start = std::get_if<WorkerForked>(&event)) {
      fork_order.push_back(start->process_id);
      EXPECT_TRUE(forked.emplace(start->process_id, std::move(*start)).second);
    } else if (const auto* end = std::get_if<WorkerExited>(&event)) {
      EXPECT_TRUE(forked.contains(end->process_id));
      EXPECT_TRUE(exited.emplace(end->process_id, end->exit).second);
    } else if (const auto* failure = std::get_if<ForkFailed>(&event)) {
      EXPECT_TRUE(failed.emplace(failure->process_id, failure->error_number).second);
    } else {
      deaths.push_back(std::get<ZygoteDied>(event).status);
    }
  }

  std::unique_ptr<ZygoteLink> link_;
  std::uint32_t next_process_id_ = 1;
};

std::string read_to_end(int fd) {
  std::string text;
  char buffer[4096];
  for (;;) {
    if (!wait_readable(fd, kPatienceNs)) return text + "<no end>";
    const ssize_t got = ::read(fd, buffer, sizeof buffer);
    if (got <= 0) return text;
    text.append(buffer, static_cast<std::size_t>(got));
  }
}

/// Runs each test body in a process of its own, which must leave nothing behind.
class ZygoteTest : public testing::TestWithParam<Kernel> {
 protected:
  static pid_t fork_driver(const std::function<void()>& body) {
    const pid_t pid = ::fork();
    if (pid != 0) return pid;
    if (GetParam() == Kernel::kOld) forbid_newer_calls();
    body();
    ::_exit(HasFailure() ? 1 : 0);
  }

  static void run_as_driver(const std::function<void()>& body) {
    const pid_t pid = fork_driver([&] {
      const auto before = open_descriptors();
      body();
      EXPECT_EQ(open_descriptors(), before);
      EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a child is left";
      EXPECT_EQ(errno, ECHILD);
    });
    int status = 0;
    ASSERT_EQ(::waitpid(pid, &status, 0), pid);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
  }
};

}  // namespace

TEST_P(ZygoteTest, EightWorkersRunAndAreGoneAfterShutdown) {
  run_as_driver([] {
    Driver driver;
    for (int count = 0; count < 8; ++count)
      driver.request(Behaviour::kSleep);
    ASSERT_TRUE(driver.wait_for([&] { return driver.forked.size() == 8; }));
    for (const auto& [process_id, worker] : driver.forked)
      EXPECT_FALSE(has_ended(worker.pid));
    EXPECT_TRUE(driver.link().shutdown(kPatienceNs).ok());
    for (const auto& [process_id, worker] : driver.forked)
      EXPECT_TRUE(has_ended(worker.pid));
    EXPECT_EQ(driver.link().zygote_pid(), 0);
    EXPECT_FALSE(driver.link().request_worker(0, 100).ok());
  });
}

TEST_P(ZygoteTest, KilledWorkerIsReportedWithItsSignal) {
  run_as_driver([] {
    Driver driver;
    const auto victim = driver.request(Behaviour::kSleep);
    const auto bystander = driver.request(Behaviour::kSleep);
    const pid_t pid = driver.wait_forked(victim).pid;
    driver.wait_forked(bystander);
    ASSERT_EQ(::kill(pid, SIGKILL), 0);
    const ProcessExit exit = driver.wait_exited(victim);
    EXPECT_EQ(exit.pid, pid);
    EXPECT_EQ(exit.signal, SIGKILL);
    EXPECT_EQ(exit.exit_code, -1);
    EXPECT_FALSE(has_ended(driver.forked[bystander].pid));
    EXPECT_EQ(driver.link().kill_worker(pid).error().kind, ErrorKind::kLost);
  });
}

TEST_P(ZygoteTest, KillAndSignalReachTheNamedWorker) {
  run_as_driver([] {
    Driver driver;
    const auto first = driver.request(Behaviour::kSleep);
    const auto second = driver.request(Behaviour::kSleep);
    EXPECT_TRUE(driver.link().kill_worker(driver.wait_forked(first).pid).ok());
    EXPECT_EQ(driver.wait_exited(first).signal, SIGKILL);
    EXPECT_TRUE(driver.link().signal_worker(driver.wait_forked(second).pid, SIGTERM).ok());
    EXPECT_EQ(driver.wait_exited(second).signal, SIGTERM);
  });
}

TEST_P(ZygoteTest, ExitCodesAndCrashesAreTold) {
  run_as_driver([] {
    Driver driver;
    const auto exiting = driver.request(Behaviour::kExitSeven);
    const auto crashing = driver.request(Behaviour::kCrash);
    EXPECT_EQ(driver.wait_exited(exiting).exit_code, 7);
    EXPECT_EQ(driver.wait_exited(exiting).signal, 0);
    EXPECT_EQ(driver.wait_exited(crashing).signal, SIGKILL);
  });
}

TEST_P(ZygoteTest, WorkerHasOnlyWhatItIsGiven) {
  Arena arena;
  run_as_driver([&] {
    const UniqueFd leaky(::open("/dev/null", O_RDONLY));  // as a C library might leave it
    const UniqueFd high(::fcntl(leaky.get(), F_DUPFD, 200));
    ::signal(SIGUSR1, SIG_IGN);
    Driver driver(arena.fd(), "preload");
    const auto worker = driver.request(Behaviour::kDescribe);
    const WorkerForked& forked = driver.wait_forked(worker);
    const std::string output = read_to_end(forked.stdout_fd.get());
    EXPECT_EQ(read_to_end(forked.stderr_fd.get()), "this is standard error\n");
    int arena_fd = -1;
    int blocked = -1;
    int leader = -1;
    int null_input = -1;
    int oom = -1;
    char fds[256] = {};
    ASSERT_EQ(std::sscanf(output.c_str(),
                          "process_id=%*u arena=%d blocked=%d session_leader=%d stdin_null=%d "
                          "oom=%d preloads=%*d quiet_preloads=%*d fds=%255[^\n]",
                          &arena_fd, &blocked, &leader, &null_input, &oom, fds),
              6)
        << output;
    EXPECT_EQ(blocked, 0);
    EXPECT_EQ(leader, 1);
    EXPECT_EQ(null_input, 1);
    EXPECT_GT(oom, 0);
    EXPECT_EQ(std::string(fds), "0 1 2 " + std::to_string(arena_fd) + " ");
    EXPECT_EQ(driver.wait_exited(worker).exit_code, 0);
  });
}

TEST_P(ZygoteTest, SecondWorkerFindsEverythingPreloaded) {
  run_as_driver([] {
    Driver driver(-1, "preload");
    driver.request(Behaviour::kExitSeven);
    const WorkerForked& forked = driver.wait_forked(driver.request(Behaviour::kDescribe));
    const std::string output = read_to_end(forked.stdout_fd.get());
    EXPECT_NE(output.find("preloads=" + std::to_string(kPreloads)), std::string::npos) << output;
  });
}

TEST_P(ZygoteTest, PreloadsTheRestWhenQuiet) {
  run_as_driver([] {
    Driver driver(-1, "preload");
    const std::string all = "quiet_preloads=" + std::to_string(kPreloads) + " ";
    std::string output;
    for (int tries = 0; tries < 600 && output.find(all) == std::string::npos; ++tries) {
      ::usleep(50'000);
      const WorkerForked& forked = driver.wait_forked(driver.request(Behaviour::kDescribe));
      output = read_to_end(forked.stdout_fd.get());
    }
    EXPECT_NE(output.find(all), std::string::npos) << output;
  });
}

TEST_P(ZygoteTest, BurstOfAHundredRequestsIsServed) {
  run_as_driver([] {
    Driver driver;
    for (int count = 0; count < 100; ++count)
      driver.request(Behaviour::kExitSeven);
    ASSERT_TRUE(driver.wait_for([&] { return driver.exited.size() == 100; }));
    EXPECT_TRUE(driver.failed.empty());
    for (const auto& [process_id, exit] : driver.exited)
      EXPECT_EQ(exit.exit_code, 7);
  });
}

TEST_P(ZygoteTest, RequestsBeyondTheSocketsRoomAreKeptInOrder) {
  run_as_driver([] {
    Driver driver(-1, "late");
    for (int count = 0; count < 600; ++count)
      driver.request(Behaviour::kExitSeven);
    ASSERT_TRUE(driver.wait_for([&] { return driver.exited.size() == 600; }));
    EXPECT_TRUE(std::ranges::is_sorted(driver.fork_order));
  });
}

TEST_P(ZygoteTest, ShutdownWithARequestUnderWayStillEnds) {
  run_as_driver([] {
    Driver driver;
    for (int count = 0; count < 600; ++count)
      driver.request(Behaviour::kSleep);
    EXPECT_TRUE(driver.link().shutdown(kPatienceNs).ok());
  });
}

TEST_P(ZygoteTest, ManyStartsAndStopsLeaveNothing) {
  run_as_driver([] {
    for (int cycle = 0; cycle < 20; ++cycle) {
      Driver driver;
      driver.wait_forked(driver.request(Behaviour::kSleep));
    }
    for (int cycle = 0; cycle < 20; ++cycle) {
      Driver driver;
      driver.request(Behaviour::kSleep);  // gone before the zygote is up
    }
  });
}

TEST_P(ZygoteTest, OrphansOfWorkersAreReaped) {
  run_as_driver([] {
    Driver driver;
    const auto worker = driver.request(Behaviour::kLeaveOrphan);
    EXPECT_EQ(driver.wait_exited(worker).exit_code, 0);
    const std::string children = "/proc/" + std::to_string(driver.link().zygote_pid()) + "/task/" +
                                 std::to_string(driver.link().zygote_pid()) + "/children";
    EXPECT_TRUE(eventually([&] {
      char list[64];
      return read_text(children.c_str(), list, sizeof list) == 0;
    }));
  });
}

TEST_P(ZygoteTest, DeadZygoteIsReportedAndItsWorkersEnd) {
  run_as_driver([] {
    Driver driver;
    for (int count = 0; count < 8; ++count)
      driver.request(Behaviour::kSleep);
    ASSERT_TRUE(driver.wait_for([&] { return driver.forked.size() == 8; }));
    ASSERT_EQ(::kill(driver.link().zygote_pid(), SIGKILL), 0);
    ASSERT_TRUE(driver.wait_for([&] { return !driver.deaths.empty(); }));
    EXPECT_NE(driver.deaths[0].find("signal 9"), std::string::npos) << driver.deaths[0];
    EXPECT_EQ(driver.exited.size(), 8U);
    for (const auto& [process_id, worker] : driver.forked)
      EXPECT_TRUE(has_ended(worker.pid));
    EXPECT_EQ(driver.link().request_worker(0, 100).error().kind, ErrorKind::kLost);
    EXPECT_TRUE(driver.link().shutdown(0).ok());
  });
}

TEST_P(ZygoteTest, ZygoteThatFailsToStartAnswersEveryRequest) {
  run_as_driver([] {
    Driver driver(-1, "exit at once");
    const auto worker = driver.request(Behaviour::kSleep);
    ASSERT_TRUE(driver.wait_for([&] { return !driver.deaths.empty(); }));
    EXPECT_NE(driver.deaths[0].find("code 3"), std::string::npos) << driver.deaths[0];
    EXPECT_TRUE(driver.failed.contains(worker));
  });
}

TEST_P(ZygoteTest, DeadZygoteIsNoticedThoughAnotherProcessHoldsItsSocket) {
  if (GetParam() == Kernel::kOld) GTEST_SKIP() << "needs pidfds";
  run_as_driver([] {
    Driver driver;
    driver.wait_forked(driver.request(Behaviour::kSleep));
    // As a child would that another thread of the driver forked while the zygote was started.
    const UniqueFd zygote = open_pidfd(driver.link().zygote_pid());
    const UniqueFd far_end(
        static_cast<int>(::syscall(SYS_pidfd_getfd, zygote.get(), kFirstInheritedFd, 0)));
    ASSERT_TRUE(far_end);
    ::kill(driver.link().zygote_pid(), SIGKILL);
    EXPECT_TRUE(driver.wait_for([&] { return !driver.deaths.empty(); }));
  });
}

TEST_P(ZygoteTest, LinkIsInertInAForkedCopyOfTheDriver) {
  run_as_driver([] {
    Driver driver;
    const auto worker = driver.request(Behaviour::kSleep);
    const pid_t worker_pid = driver.wait_forked(worker).pid;
    const pid_t copy = ::fork();
    if (copy == 0) {
      bool inert = !driver.link().request_worker(0, 50).ok();
      inert = inert && !driver.link().kill_worker(worker_pid).ok();
      inert = inert && !driver.link().shutdown(kPatienceNs).ok();
      {
        const Driver moved = std::move(driver);
      }
      ::_exit(inert ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(copy, &status, 0), copy);
    EXPECT_EQ(status, 0);
    EXPECT_FALSE(has_ended(worker_pid));
    EXPECT_TRUE(driver.link().kill_worker(worker_pid).ok());
    EXPECT_EQ(driver.wait_exited(worker).signal, SIGKILL);
  });
}

TEST_P(ZygoteTest, MissingProgramIsAnErrorAtStart) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "ThreadSanitizer makes a fork of vfork; the zygote's exit code 127 tells then";
#endif
  run_as_driver([] {
    ZygoteOptions options;
    options.argv = {"/nonexistent/python"};
    const auto started = ZygoteLink::start(options);
    ASSERT_FALSE(started.ok());
    EXPECT_NE(started.error().message.find("/nonexistent/python"), std::string::npos);
  });
}

TEST_P(ZygoteTest, ShutdownEndsWhatWorkersStarted) {
  Arena arena;
  run_as_driver([&] {
    Driver driver(arena.fd());
    for (int count = 0; count < 3; ++count)
      driver.request(Behaviour::kGrowFamily);
    driver.request(Behaviour::kHop);
    EXPECT_TRUE(eventually([&] { return arena.pids().count.load() == 3 * kFamilySize + 1; }));
    EXPECT_TRUE(driver.link().shutdown(kPatienceNs).ok());
  });
  EXPECT_TRUE(arena.none_runs());
}

TEST_P(ZygoteTest, WhatAWorkerLeavesInItsSessionEndsWithIt) {
  Arena arena;
  run_as_driver([&] {
    Driver driver(arena.fd());
    const auto worker = driver.request(Behaviour::kGrowFamily);
    EXPECT_TRUE(eventually([&] { return arena.pids().count.load() == kFamilySize; }));
    const auto other = driver.request(Behaviour::kSleep);
    driver.wait_forked(other);
    ASSERT_TRUE(driver.link().kill_worker(driver.wait_forked(worker).pid).ok());
    driver.wait_exited(worker);
    constexpr std::size_t kDaemons = 2;  // in sessions of their own
    EXPECT_TRUE(eventually([&] { return arena.running() == kDaemons; }));
    ::usleep(100'000);
    EXPECT_EQ(arena.running(), kDaemons);
    EXPECT_FALSE(has_ended(driver.forked[other].pid));
    EXPECT_TRUE(driver.link().shutdown(kPatienceNs).ok());
  });
  EXPECT_TRUE(arena.none_runs());
}

TEST_P(ZygoteTest, KilledZygoteLeavesNothing) {
  Arena arena;
  run_as_driver([&] {
    Driver driver(arena.fd());
    driver.request(Behaviour::kGrowFamily);
    EXPECT_TRUE(eventually([&] { return arena.pids().count.load() == kFamilySize; }));
    // Else nobody would reap what the zygote leaves.
    ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
    ::kill(driver.link().zygote_pid(), SIGKILL);
    EXPECT_TRUE(driver.wait_for([&] { return !driver.deaths.empty(); }));
    EXPECT_TRUE(eventually([&] { return arena.none_runs(); }));
    while (::waitpid(-1, nullptr, 0) > 0) {
    }
  });
}

TEST_P(ZygoteTest, ZygoteThatIsNotReadyEndsAtOnce) {
  run_as_driver([] {
    for (const int pause_us : {0, 1'000, 20'000}) {
      Driver driver(-1, "never ready");
      driver.request(Behaviour::kSleep);
      ::usleep(static_cast<useconds_t>(pause_us));
      EXPECT_TRUE(driver.link().shutdown(kPatienceNs).ok());
    }
  });
}

TEST_P(ZygoteTest, StoppedZygoteGoesOnWhenItIsNeeded) {
  run_as_driver([] {
    Driver driver;
    driver.wait_forked(driver.request(Behaviour::kSleep));
    ::kill(driver.link().zygote_pid(), SIGSTOP);
    driver.wait_forked(driver.request(Behaviour::kSleep));
  });
}

TEST_P(ZygoteTest, KilledDriverLeavesNoStoppedZygote) {
  ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
  Arena arena;
  const pid_t victim = fork_driver([&] {
    Driver driver(arena.fd());
    driver.request(Behaviour::kGrowFamily);
    EXPECT_TRUE(eventually([&] { return arena.pids().count.load() == kFamilySize; }));
    ::kill(driver.link().zygote_pid(), SIGSTOP);
    arena.pids().add(driver.link().zygote_pid());
    driver.wait_for([] { return false; });
  });
  EXPECT_TRUE(eventually([&] { return arena.pids().count.load() == kFamilySize + 1; }));
  ASSERT_EQ(::kill(victim, SIGKILL), 0);
  EXPECT_EQ(::waitpid(victim, nullptr, 0), victim);
  EXPECT_TRUE(eventually([&] { return arena.none_runs(); }));
  while (::waitpid(-1, nullptr, 0) > 0) {
  }
  ::prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
}

TEST_P(ZygoteTest, KilledDriverLeavesNoZygoteThatHasNotBegun) {
  ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
  Arena arena;
  const pid_t victim = fork_driver([&] {
    // Looks at its socket as little as an interpreter does that is about to start.
    Driver driver(-1, "", {find_program("sleep"), "600"});
    arena.pids().add(driver.link().zygote_pid());
    driver.wait_for([] { return false; });
  });
  EXPECT_TRUE(eventually([&] { return arena.pids().count.load() == 1; }));
  ASSERT_EQ(::kill(victim, SIGKILL), 0);
  EXPECT_EQ(::waitpid(victim, nullptr, 0), victim);
  EXPECT_TRUE(eventually([&] { return arena.none_runs(); }));
  if (!arena.none_runs()) ::kill(arena.pids().pids[0].load(), SIGKILL);
  while (::waitpid(-1, nullptr, 0) > 0) {
  }
  ::prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
}

TEST_P(ZygoteTest, ZygoteLivesOnWhenTheThreadThatStartedItEnds) {
  run_as_driver([] {
    std::unique_ptr<Driver> driver;
    std::thread([&] { driver = std::make_unique<Driver>(); }).join();
    driver->wait_forked(driver->request(Behaviour::kSleep));
    EXPECT_TRUE(driver->deaths.empty());
  });
}

TEST_P(ZygoteTest, KilledDriverLeavesNothing) {
  // Adopts the zygote of the killed driver, and so learns how that ended.
  ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
  Arena arena;
  constexpr std::size_t kFamilies = 8;
  const pid_t victim = fork_driver([&] {
    Driver driver(arena.fd());
    arena.pids().add(driver.link().zygote_pid());
    for (std::size_t count = 0; count < kFamilies; ++count) {
      driver.request(Behaviour::kGrowFamily);
    }
    driver.request(Behaviour::kHop);
    driver.wait_for([] { return false; });
  });
  EXPECT_TRUE(eventually([&] { return arena.pids().count.load() == kFamilies * kFamilySize + 2; }));
  EXPECT_TRUE(eventually([&] { return arena.pids().hops.load() > 20; }));
  ASSERT_EQ(::kill(victim, SIGKILL), 0);
  EXPECT_EQ(::waitpid(victim, nullptr, 0), victim);
  EXPECT_TRUE(eventually([&] { return arena.none_runs(); }));
  int status = -1;
  EXPECT_GT(::waitpid(-1, &status, 0), 0);
  EXPECT_EQ(status, 0) << "the zygote did not exit in order";
  EXPECT_EQ(::waitpid(-1, &status, 0), -1) << "an orphan escaped the zygote";
  const auto hops = arena.pids().hops.load();
  ::usleep(20'000);
  EXPECT_EQ(arena.pids().hops.load(), hops);
  ::prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
}

TEST_P(ZygoteTest, DriverKilledWithACopyThatHoldsItsSocket) {
  ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
  Arena arena;
  const pid_t victim = fork_driver([&] {
    Driver driver(arena.fd());
    driver.request(Behaviour::kGrowFamily);
    EXPECT_TRUE(eventually([&] { return arena.pids().count.load() == kFamilySize; }));
    const pid_t copy = ::fork();
    if (copy == 0) {
      for (;;)
        ::pause();
    }
    arena.pids().hops.store(static_cast<std::uint64_t>(copy));
    for (;;)
      ::pause();
  });
  EXPECT_TRUE(eventually([&] { return arena.pids().hops.load() != 0; }));
  ASSERT_EQ(::kill(victim, SIGKILL), 0);
  EXPECT_EQ(::waitpid(victim, nullptr, 0), victim);
  EXPECT_TRUE(eventually([&] { return arena.none_runs(); }));
  ASSERT_EQ(::kill(static_cast<pid_t>(arena.pids().hops.load()), SIGKILL), 0);
  while (::waitpid(-1, nullptr, 0) > 0) {
  }
  ::prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
}

INSTANTIATE_TEST_SUITE_P(Kernels, ZygoteTest, testing::Values(Kernel::kAsIs, Kernel::kOld),
                         [](const testing::TestParamInfo<Kernel>& kernel) {
                           return kernel.param == Kernel::kAsIs ? "AsIs" : "Old";
                         });

}  // namespace haz::test
