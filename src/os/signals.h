/// @file
/// Signal masks, and child exits as a descriptor that can be polled.
#pragma once

#include <csignal>

#include "os/fd.h"

namespace haz {

/// Blocks every signal of the calling thread that can be blocked, except those that a faulty
/// instruction or abort() raises; puts the mask back when it ends.
class ScopedSignalBlock {
 public:
  ScopedSignalBlock() noexcept;
  ~ScopedSignalBlock();
  ScopedSignalBlock(const ScopedSignalBlock&) = delete;
  ScopedSignalBlock& operator=(const ScopedSignalBlock&) = delete;

 private:
  sigset_t previous_{};
};

/// Lets every signal through to the calling thread.
void unblock_all_signals() noexcept;

/// From now on `handler` runs when `signal_number` comes, and system calls go on after it. Null:
/// what the system does by default.
void handle_signal(int signal_number, void (*handler)(int)) noexcept;

/// A descriptor that is readable while a SIGCHLD is pending, which must be blocked. None where the
/// platform lacks it: then look for dead children every few milliseconds.
UniqueFd open_child_signal_fd() noexcept;

/// Takes the pending signals out of such a descriptor. Never blocks.
void drain_signal_fd(int fd) noexcept;

}  // namespace haz
