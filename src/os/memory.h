/// @file
/// Memory that processes share: memory files, mappings, protection, reservation. The only place of
/// these system calls.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/result.h"
#include "os/fd.h"

namespace haz {

/// What a mapping may be used for.
enum class Access : std::uint8_t { kRead, kReadWrite };

/// Size of a page in bytes: the granule of map, protect, reserve and punch. Thread-safe.
std::size_t page_size();

/// A file that lives in memory (or, as a last resort, on disk) and has no name.
struct MemoryFile {
  UniqueFd fd;               ///< Close-on-exec.
  bool is_memfd = false;     ///< False: an unlinked file, bounded by the size of its file system.
  bool size_sealed = false;  ///< Nobody can shrink or grow it, so no mapped page can vanish.
};

/// Makes a sparse file of `size_bytes` that goes away with its last descriptor and mapping: a memfd
/// sealed against resizing; where the kernel has none, an unlinked file in /dev/shm, else in /tmp.
/// `name` shows up in /proc/PID/maps. Errors: kInvalid (size 0 or above RLIMIT_FSIZE), kOverloaded
/// (descriptors or memory), kUnavailable (none of the three works). Thread-safe.
Result<MemoryFile> create_memory_file(const char* name, std::size_t size_bytes);

/// The fallback of create_memory_file() alone: an unlinked file in `directory`.
Result<MemoryFile> create_unlinked_file(const char* directory, std::size_t size_bytes);

/// Identity of an open file, to notice that somebody closed a descriptor and its number was used
/// again.
struct FileIdentity {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::size_t size_bytes = 0;
  friend bool operator==(const FileIdentity&, const FileIdentity&) = default;
};

/// What `fd` is open on. Error: kLost when it's not open.
Result<FileIdentity> identify_file(int fd);

/// The largest mapping of a memory file that the limits of this process allow, if it had nothing
/// else: the lower one of RLIMIT_AS and RLIMIT_FSIZE.
std::uint64_t mapping_limit();

/// Maps `size_bytes` of `fd` from `offset_bytes` on, a multiple of page_size(); shared, anywhere.
/// Pages are made when touched. Errors: kOverloaded (address space), kInvalid (no such access on
/// `fd`).
Result<std::byte*> map_file(int fd, std::size_t size_bytes, Access access,
                            std::uint64_t offset_bytes = 0);

/// The same for reading and writing, with what is written kept from all others: a page is copied
/// when it is first written to, and shows what the file holds until then. Errors: as map_file().
Result<std::byte*> map_file_privately(int fd, std::size_t size_bytes, std::uint64_t offset_bytes);

/// Removes a mapping made by map_file(). Never fails on such a one.
void unmap(std::byte* address, std::size_t size_bytes);

/// Changes what the pages of [address, address + size_bytes) may be used for. `address` is a
/// multiple of page_size(). Async-signal-safe when it succeeds. Errors: kOverloaded (the process
/// has too many mappings), kInvalid (not mapped, or `fd` was read-only).
Status protect_range(std::byte* address, std::size_t size_bytes, Access access);

/// protect_range(address, size_bytes, Access::kRead) for the child of a fork: async-signal-safe
/// always. Returns whether it worked.
bool protect_after_fork(std::byte* address, std::size_t size_bytes) noexcept;

/// Allocates the pages of a range of the file now, so that touching them later can't fail. Does not
/// clear or map them. Errors: kOverloaded (no memory), kUnavailable (the file system can't), kLost
/// (`fd` is closed). After an error a part of the range may be allocated. Thread-safe.
Status reserve_range(int fd, std::size_t offset, std::size_t size_bytes);

/// Gives the pages behind a shared, writable mapping back to the system; they read as zero again.
/// Goes by the mapping and not by the descriptor, since a descriptor that somebody closed may by
/// now stand for a file of the user. Errors: kUnavailable (the file system can't). Thread-safe.
Status punch_mapped_range(std::byte* address, std::size_t size_bytes);

/// Keeps a mapping out of children of fork: they fault when they touch it.
Status exclude_from_fork(std::byte* address, std::size_t size_bytes);

/// Keeps a mapping out of core dumps.
Status exclude_from_core_dump(std::byte* address, std::size_t size_bytes);

/// Whether populate_for_writing() works without touching pages itself (Linux 5.14 and later).
bool can_populate();

/// Allocates, clears and maps the pages that hold [address, address + size_bytes), keeping what
/// they hold. Running out of memory is an error where can_populate(), else a SIGBUS unless the
/// range was reserved. Errors: kOverloaded (no memory), kInvalid (not mapped writable).
/// Thread-safe.
Status populate_for_writing(std::byte* address, std::size_t size_bytes);

}  // namespace haz
