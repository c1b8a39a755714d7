/// @file
/// Copies of large values into shared memory.
///
/// What was measured (2-core virtual machine, AMD EPYC 5th generation; 100 MB; GB/s):
/// | to warm memory | 1 thread | 2 | | to cold memory | |
/// |---|---|---|---|---|---|
/// | memcpy | 16.7 | 17.0 | | memcpy that faults, 1 / 2 threads | 1.6 / 2.7 |
/// | non-temporal stores | 22.4 | 24.0 | | fallocate all, then copy, 2 threads | 2.2 |
/// | | | | | populate 256 KiB, copy it, and so on, 2 threads | 2.9 |
///
/// Below 1 MiB memcpy is as fast or faster, and leaves the copy in the cache for its reader.
/// Memory that the virtual machine's host has never backed costs 0.3 GB/s on one thread and 0.57 on
/// two, in whatever way it's touched.
#pragma once

#include <cstddef>

#include "base/result.h"

namespace haz {

/// memcpy for warm memory of any size; the ranges don't overlap. From 1 MiB on it bypasses the
/// caches, from 8 MiB on up to three helper threads join in. Thread-safe; when another thread has
/// the helpers, it does without. In a forked child of a process that has used them too.
void copy_large(void* destination, const void* source, std::size_t size_bytes) noexcept;

/// The same into memory that may be cold, whether or not it's reserved: puts pages behind it as it
/// goes. Memory that is warm costs a little more than with copy_large(). Errors: kOverloaded (the
/// machine has no more memory; part of the destination may be written), kUnavailable (this kernel
/// can't report that, before Linux 5.14: nothing was done; reserve, then use copy_large()).
/// Thread-safe.
Status copy_to_cold(void* destination, const void* source, std::size_t size_bytes);

/// Puts pages behind cold memory, on several threads, without changing what it holds: for a value
/// that is then written in place. Errors as of copy_to_cold().
Status warm_up(void* destination, std::size_t size_bytes);

/// Ends and joins the helper threads; a later large copy starts them again. Does nothing in a
/// forked child. Thread-safe.
void shutdown_copy_threads();

}  // namespace haz
