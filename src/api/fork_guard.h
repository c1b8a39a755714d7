/// @file
/// What becomes of haz in a process that user code has forked: nothing, so that the parent's stays
/// whole.
#pragma once

#include "shm/arena.h"

namespace haz {

/// From now on a forked child of this process sees the arena as it was, and can't write to it; haz
/// does not run there. Null: there is nothing to guard. Not thread-safe.
void guard_in_forked_children(Arena* arena);

/// Whether this process is such a child.
bool is_forked_child() noexcept;

}  // namespace haz
