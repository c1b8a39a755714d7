/// @file
/// The zygote: a single-threaded process that forks workers on request, reports their exits, and is
/// the guardian of everything that they start. Runs in the zygote process; knows nothing of Python.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "base/result.h"
#include "os/fd.h"

namespace haz {

/// What the host of the loop (an interpreter) needs done; any of them may be empty.
struct ZygoteHooks {
  std::function<void()> before_fork;
  std::function<void()> after_fork_in_parent;
  /// Runs in the new worker, with its standard streams in place and signals still blocked.
  std::function<void()> after_fork_in_child;
  /// Does one step of the preparations that make later workers start warmer, and says whether there
  /// is more to do. Called while nothing is asked of the zygote, and after the first fork.
  std::function<bool()> preload;
  /// Likewise, but never before a fork that is asked for: called after a moment without requests.
  std::function<bool()> preload_when_quiet;
};

/// What a newly forked worker is.
struct ForkedWorker {
  std::uint32_t slot = 0;
  std::uint32_t process_id = 0;
  UniqueFd arena_fd;  ///< None if the driver gave none.
};

/// What the driver tells its zygote first.
struct ZygoteSetup {
  std::string bytes;  ///< As given in ZygoteOptions::setup.
  pid_t driver_pid = 0;
};

/// Waits for the driver's set-up, the first message on `socket`. Fails when the driver is gone.
/// From now until run_zygote() the end of the driver, or its request to end, ends this process at
/// once, whatever it does: there are no workers yet. (The kernel sees to that before this call, and
/// where another process holds the driver's end of `socket`; see SpawnOptions::dies_with_caller.)
Result<ZygoteSetup> receive_zygote_setup(int socket);

/// Serves the driver at the other end of `socket` until it asks for the end or is gone, whichever
/// way it went; then kills every descendant, again and again until none remain, and returns
/// nothing: the caller should exit. When a worker has ended, what it has left running in its
/// session is killed. Returns a value in each forked worker, which inherits no descriptor of the
/// zygote but what ForkedWorker names, runs in a session of its own with no signal blocked, and is
/// killed by the kernel should the zygote end before it.
///
/// Takes over `socket`. Call it once, after receive_zygote_setup, in a process with a single
/// thread. The zygote itself can be ended by SIGKILL only: all other signals are blocked in it.
std::optional<ForkedWorker> run_zygote(UniqueFd socket, pid_t driver_pid, const ZygoteHooks& hooks);

}  // namespace haz
