/// @file
/// Starting, signalling, reaping and finding processes.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "os/fd.h"

namespace haz {

/// Number that the first entry of SpawnOptions::inherited_fds has in the new process.
inline constexpr int kFirstInheritedFd = 3;

/// What spawn_process starts.
struct SpawnOptions {
  /// Absolute path of the program, then its arguments.
  std::vector<std::string> argv;
  /// "NAME=value" each; absent: the environment of this process.
  std::optional<std::vector<std::string>> env;
  /// "NAME=value" that is added, instead of another variable of that name; empty: none.
  std::string variable;
  /// Descriptors of this process that the new one gets as kFirstInheritedFd, + 1, and so on.
  std::vector<int> inherited_fds;
  /// From its first instruction on the kernel kills the new process when this one ends, until it
  /// calls live_without_parent(). Only on behalf of the program's first thread: the kernel takes
  /// the end of the thread that calls for that of the process, and others may end sooner.
  bool dies_with_caller = false;
};

/// Starts a program in a session of its own, with nothing of this process' state: default signal
/// handling, no blocked signals, /dev/null as standard input, and no descriptors but standard
/// output and error and the listed ones. Does not copy this process' memory, so it is quick in
/// large ones; may be called with other threads running. The caller must reap the process.
Result<pid_t> spawn_process(const SpawnOptions& options);

/// The absolute path of a program as a shell finds it; "" if there is none.
std::string find_program(const std::string& name);

/// Runs the program of `argv` to its end; what it has written to its descriptor kFirstInheritedFd,
/// at most some kilobytes.
Result<std::string> run_for_answer(const std::vector<std::string>& argv);

/// Becomes another program, `argv`, which inherits the descriptor `fd`, too. Returns only if that
/// fails: the reason.
std::string become_program(const std::vector<std::string>& argv, int fd);

/// What fork_apart makes of the copy.
struct ForkOptions {
  /// "NAME=value": what other processes see first in the copy's environment (/proc/PID/environ),
  /// before what has room of this process' own. Its variables stay as they are. It must fit into
  /// OwnProcess::environment_bytes.
  std::string shown_variable;
  /// Descriptors that the copy gets as kFirstInheritedFd, + 1, and so on.
  std::vector<int> inherited_fds;
  bool dies_with_caller = false;  ///< As in SpawnOptions.
};

/// Copies this process: the copy's number here, 0 in the copy. That one runs in a session of its
/// own, with /dev/null as standard input and no descriptors but standard output and error and the
/// listed ones. How it handles signals is copied; none is blocked. Call it with a single thread
/// only. The caller must reap the copy.
Result<pid_t> fork_apart(const ForkOptions& options);

/// What a copy of this process would cost and lose. Zeros where the kernel does not say.
struct OwnProcess {
  std::uint64_t threads = 0;
  std::uint64_t resident_bytes = 0;
  std::uint64_t environment_bytes = 0;  ///< Room of the environment that the program started with.
};
OwnProcess own_process();

/// The file of a program, and what tells whether it is the same one later.
struct ProgramFile {
  std::string path;
  std::string identity;  ///< "device:inode:bytes:nanoseconds of its last change".
};
/// That of this process.
Result<ProgramFile> own_program_file();

/// The folder that this process is in.
std::string working_folder();

/// This process.
pid_t current_pid() noexcept;

/// The process that started this one, or whoever adopted this one since.
pid_t parent_pid() noexcept;

/// Copies this process: 0 in the copy, the copy's number here, -1 with errno set on failure. Call
/// it with a single thread only, since the copy has no others.
pid_t fork_process() noexcept;

/// Ends this process at once, without running destructors or exit handlers.
[[noreturn]] void exit_now(int code) noexcept;

/// Leaves the terminal and the process group of the parent.
void start_session() noexcept;

/// A descriptor that names process `pid` for ever and is readable once it has ended; none where the
/// kernel lacks it or the process is gone.
UniqueFd open_pidfd(pid_t pid) noexcept;

/// Sends `signal_number` to the process that `pidfd` names, or, if `pidfd` is negative, to `pid`,
/// which then must be an unreaped child of this process. 0, or the errno of the failure.
int send_signal(int pidfd, pid_t pid, int signal_number) noexcept;

/// Whether no process `pid` runs any more: it is gone, or waits to be reaped.
bool has_ended(pid_t pid) noexcept;

/// How a process ended.
struct ProcessExit {
  pid_t pid = 0;
  int exit_code = -1;  ///< -1 if a signal ended it.
  int signal = 0;      ///< 0 if it exited.
  bool core_dumped = false;
};

/// Words for a person: "exited with code 3", "was killed by signal 9 (SIGKILL)".
std::string describe(const ProcessExit& exit);

/// What an attempt to reap found.
enum class ReapOutcome : std::uint8_t {
  kReaped,      ///< A child had ended.
  kRunning,     ///< There are children, none of them has ended.
  kNoChildren,  ///< There is no such child (any more).
};

/// Collects the status of child `pid` (-1: of any child) if it has ended. Never blocks.
ReapOutcome reap(pid_t pid, ProcessExit& exit) noexcept;

/// Makes this process the parent of orphans among its descendants. False where that is impossible.
bool become_subreaper() noexcept;

/// Has the kernel kill this process when the thread that forked it ends. The caller must check
/// afterwards that its parent still is who it was.
bool die_with_parent() noexcept;

/// Undoes die_with_parent(), and SpawnOptions::dies_with_caller.
void live_without_parent() noexcept;

/// Sets the name that ps and top show, at most 15 bytes.
void set_process_name(const char* name) noexcept;

/// Makes the kernel's out-of-memory killer prefer this process by `points` (of 1000).
void raise_oom_score(int points) noexcept;

/// Makes `fd` be descriptor number `target` too, inheritable, in place of what was there.
bool duplicate_onto(int fd, int target) noexcept;

/// Makes standard input of this process /dev/null.
bool detach_stdin() noexcept;

/// Sends SIGKILL to every direct child of this process, orphans that it was given included. Quick
/// enough to hit what forks and exits all the time; does nothing where the kernel has no such list.
void kill_children() noexcept;

/// Whether this process has more than `known` children, those that wait to be reaped included. True
/// where the kernel has no list of them.
bool has_more_children_than(std::size_t known) noexcept;

/// Names processes by what they have inherited.
struct Heritage {
  std::vector<pid_t> sessions;  ///< Those in one of these sessions, and
  std::string variable;         ///< those that started with this "NAME=value"; empty: none.
};

/// Sends SIGKILL to every process with that heritage, but not to this one. One pass: what is forked
/// meanwhile is met by the next one. Sessions without any process are taken out of `heritage`,
/// since their numbers may come to stand for others. The number of processes that had not ended.
int kill_heirs(Heritage& heritage);

/// What one pass of kill_descendants met.
struct KillSweep {
  int alive = 0;         ///< Descendants that had not ended, whether killed now or not.
  int denied = 0;        ///< Those of them that this process may not kill.
  bool can_look = true;  ///< False where /proc can't be read.
};

/// Sends SIGKILL to every descendant of this process that exists now, whatever its session, process
/// group or handling of signals. One pass: what is forked meanwhile is met by the next one, so call
/// it until reap(-1) says kNoChildren. Needs become_subreaper() to see orphans.
KillSweep kill_descendants();

}  // namespace haz
