/// @file
/// One descriptor that stands for several in poll().
#pragma once

#include <cstddef>
#include <span>

#include "base/result.h"
#include "os/fd.h"

namespace haz {

/// Makes an epoll instance: readable while any descriptor added to it is ready.
Result<UniqueFd> make_poller();

/// Has `poller` watch `fd` for reading and, if `writing`, for writing.
Status add_to_poller(int poller, int fd, bool writing = false);

/// Changes what `poller` watches an added `fd` for.
Status change_in_poller(int poller, int fd, bool writing);

/// Waits until something that was added is ready for reading; fills `ready` with descriptors that
/// are, and returns their number.
std::size_t wait_in_poller(int poller, std::span<int> ready);

/// Ends the watch.
void remove_from_poller(int poller, int fd) noexcept;

}  // namespace haz
