// A zygote without an interpreter. What its workers do is given by their slot number; where the
// processes are that they start is written into the arena.
#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "ipc/fake_zygote.h"
#include "node/zygote_loop.h"
#include "os/process.h"

namespace haz::test {

namespace {

SharedPids* map_arena(int fd) {
  void* memory = ::mmap(nullptr, sizeof(SharedPids), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  return memory == MAP_FAILED ? nullptr : static_cast<SharedPids*>(memory);
}

[[noreturn]] void sleep_for_ever() {
  for (;;)
    ::pause();
}

void ignore_polite_signals() {
  for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1})
    ::signal(number, SIG_IGN);
}

[[noreturn]] void grow_family(SharedPids* pids) {
  ignore_polite_signals();
  if (::fork() == 0) {  // a plain child
    pids->add(::getpid());
    sleep_for_ever();
  }
  if (::fork() == 0) {  // a daemon: its parent ends at once, its session is its own
    ::setsid();
    if (::fork() != 0) ::_exit(0);
    ::setsid();
    pids->add(::getpid());
    if (::fork() == 0) {
      ::setpgid(0, 0);
      pids->add(::getpid());
      sleep_for_ever();
    }
    sleep_for_ever();
  }
  pids->add(::getpid());
  sleep_for_ever();
}

// Never the same process for long.
[[noreturn]] void hop(SharedPids* pids) {
  pids->add(::getpid());
  if (::fork() != 0) sleep_for_ever();
  for (;;) {
    pids->hops.fetch_add(1);
    if (::fork() != 0) ::_exit(0);
    ::setsid();
    ::usleep(300);
  }
}

std::string open_descriptors() {
  std::string list;
  DIR* directory = ::opendir("/proc/self/fd");
  while (const dirent* entry = ::readdir(directory)) {
    const int fd = std::atoi(entry->d_name);
    if (entry->d_name[0] != '.' && fd != ::dirfd(directory)) list += std::to_string(fd) + ' ';
  }
  ::closedir(directory);
  return list;
}

int preloads_done = 0;
int quiet_preloads_done = 0;

int describe_itself(const ForkedWorker& worker) {
  sigset_t blocked;
  ::sigprocmask(SIG_SETMASK, nullptr, &blocked);
  int blocked_count = 0;
  for (int number = 1; number < NSIG; ++number) {
    if (::sigismember(&blocked, number) == 1) ++blocked_count;
  }
  struct stat input{};
  struct stat null{};
  ::fstat(STDIN_FILENO, &input);
  ::stat("/dev/null", &null);
  char score[16] = {};
  FILE* score_file = std::fopen("/proc/self/oom_score_adj", "r");
  if (score_file != nullptr) {
    if (std::fgets(score, sizeof score, score_file) == nullptr) score[0] = '\0';
    std::fclose(score_file);
  }
  std::printf(
      "process_id=%u arena=%d blocked=%d session_leader=%d stdin_null=%d oom=%d preloads=%d "
      "quiet_preloads=%d fds=%s\n",
      worker.process_id, worker.arena_fd.get(), blocked_count, ::getsid(0) == ::getpid() ? 1 : 0,
      input.st_rdev == null.st_rdev ? 1 : 0, std::atoi(score), preloads_done, quiet_preloads_done,
      open_descriptors().c_str());
  std::fprintf(stderr, "this is standard error\n");
  std::fflush(stdout);
  return 0;
}

int act(const ForkedWorker& worker) {
  SharedPids* pids = worker.arena_fd ? map_arena(worker.arena_fd.get()) : nullptr;
  switch (static_cast<Behaviour>(worker.slot)) {
    case Behaviour::kSleep:
      sleep_for_ever();
    case Behaviour::kExitSeven:
      return 7;
    case Behaviour::kCrash:
      ::raise(SIGKILL);
      return 1;
    case Behaviour::kDescribe:
      return describe_itself(worker);
    case Behaviour::kGrowFamily:
      grow_family(pids);
    case Behaviour::kHop:
      hop(pids);
    case Behaviour::kLeaveOrphan:
      if (::fork() == 0) {
        ::setsid();
        ::usleep(20'000);
        ::_exit(0);
      }
      return 0;
  }
  return 1;
}

int run() {
  auto setup = receive_zygote_setup(kFirstInheritedFd);
  if (!setup) return 2;
  if (setup->bytes == "exit at once") return 3;
  if (setup->bytes == "late") ::usleep(200'000);
  if (setup->bytes == "never ready") sleep_for_ever();
  const int preloads = setup->bytes == "preload" ? kPreloads : 0;
  ZygoteHooks hooks;
  hooks.preload = [&] {
    if (preloads_done < preloads) ++preloads_done;
    return preloads_done < preloads;
  };
  hooks.preload_when_quiet = [&] {
    if (quiet_preloads_done < preloads) ++quiet_preloads_done;
    return quiet_preloads_done < preloads;
  };
  auto worker = run_zygote(UniqueFd(kFirstInheritedFd), setup->driver_pid, hooks);
  return worker ? act(*worker) : 0;
}

}  // namespace

}  // namespace haz::test

int main() { return haz::test::run(); }
