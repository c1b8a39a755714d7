#include "os/process_settings.h"

#include <grp.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

namespace haz {
namespace {

/// What `body` returns, in a process of its own, since settings can't be undone by everybody.
int in_child(const std::function<int()>& body) {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(body());
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

rlimit core_limit() {
  rlimit limit{};
  ::getrlimit(RLIMIT_CORE, &limit);
  return limit;
}

TEST(ProcessSettings, ArePutBack) {
  EXPECT_EQ(in_child([] {
              ::umask(027);
              const rlimit before = core_limit();
              cpu_set_t processors;
              ::sched_getaffinity(0, sizeof processors, &processors);
              const ProcessSettings settings = ProcessSettings::current();
              if (!settings.put_back()) return 1;

              ::umask(0777);
              const rlimit none{0, before.rlim_max};
              ::setrlimit(RLIMIT_CORE, &none);
              cpu_set_t one;
              CPU_ZERO(&one);
              for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
                if (CPU_COUNT(&one) == 0 && CPU_ISSET(cpu, &processors)) CPU_SET(cpu, &one);
              }
              ::sched_setaffinity(0, sizeof one, &one);

              if (!settings.put_back()) return 2;
              if (::umask(0) != 027) return 3;
              if (core_limit().rlim_cur != before.rlim_cur) return 4;
              cpu_set_t now;
              ::sched_getaffinity(0, sizeof now, &now);
              return CPU_EQUAL(&now, &processors) ? 0 : 5;
            }),
            0);
}

TEST(ProcessSettings, UserAndGroupsArePutBackWhereThatIsAllowed) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  EXPECT_EQ(in_child([] {
              constexpr uid_t kNobody = 65534;
              ProcessSettings settings = ProcessSettings::current();
              const gid_t other = 12345;
              if (::setgroups(1, &other) != 0) return 1;
              if (::setresgid(kNobody, kNobody, 0) != 0) return 2;
              if (::setresuid(kNobody, kNobody, 0) != 0) return 3;
              settings.accept_current();  // not these
              if (!settings.put_back()) return 4;
              if (::getuid() != 0 || ::geteuid() != 0 || ::getegid() != 0) return 5;
              if (::getgroups(0, nullptr) == 1) {
                gid_t group = 0;
                ::getgroups(1, &group);
                if (group == other) return 6;
              }
              if (::setresuid(kNobody, kNobody, kNobody) != 0) return 7;
              return settings.put_back() ? 8 : 0;
            }),
            0);
}

TEST(ProcessSettings, SayWhenAHardLimitCannotBeRaisedAgain) {
  EXPECT_EQ(in_child([] {
              constexpr uid_t kNobody = 65534;
              const rlimit some{4096, 4096};
              if (::setrlimit(RLIMIT_CORE, &some) != 0) return 0;  // it is lower already
              if (::geteuid() == 0 && ::setresuid(kNobody, kNobody, kNobody) != 0) return 1;
              const ProcessSettings settings = ProcessSettings::current();
              const rlimit none{0, 0};
              ::setrlimit(RLIMIT_CORE, &none);
              return settings.put_back() ? 2 : 0;
            }),
            0);
}

}  // namespace
}  // namespace haz
