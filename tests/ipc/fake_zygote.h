// What the tests of the zygote and their fake zygote share.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace haz::test {

/// What a worker of the fake zygote does; sent as its slot number.
enum class Behaviour : std::uint32_t {
  kSleep,        ///< Until it is killed.
  kExitSeven,    ///< Exits with code 7.
  kCrash,        ///< Kills itself with signal 9.
  kDescribe,     ///< Prints what it finds itself to be.
  kGrowFamily,   ///< Ignores signals; starts a child, a daemon and the daemon's child.
  kHop,          ///< Has a descendant that moves to a new process and session all the time.
  kLeaveOrphan,  ///< Exits while a child of its own still runs for a while.
};

/// Steps of preparation of a fake zygote that is told "preload".
inline constexpr int kPreloads = 3;

/// Processes that kGrowFamily starts for each worker, itself included.
inline constexpr std::size_t kFamilySize = 4;

/// Memory shared by the test and all processes of a fake zygote.
struct SharedPids {
  static constexpr std::size_t kMost = 256;
  std::atomic<std::size_t> count;
  std::atomic<std::uint64_t> hops;
  std::atomic<pid_t> pids[kMost];

  void add(pid_t pid) {
    const std::size_t index = count.fetch_add(1);
    if (index < kMost) pids[index].store(pid);
  }
};

}  // namespace haz::test
