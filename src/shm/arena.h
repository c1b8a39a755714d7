/// @file
/// The arena: one sparse memory file that every process of a node maps.
///
/// Processes name places in it by offset, never by pointer, since each maps it where it likes. The
/// host, which owns all allocation, maps it writable; every other process maps it read-only and
/// makes writable only what it alone writes: its own areas and the extents leased to it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/result.h"
#include "os/fd.h"
#include "os/memory.h"
#include "shm/extent_allocator.h"

namespace haz {

/// One process' mapping of an arena. Views hold a reference to it, so that they stay readable when
/// the Arena itself is gone; the last reference unmaps. Immutable, so thread-safe.
class ArenaMapping {
 public:
  /// Takes over a mapping made by map_file() or map_file_privately().
  ArenaMapping(std::byte* base, std::size_t size_bytes) : base_(base), size_bytes_(size_bytes) {}
  ArenaMapping(const ArenaMapping&) = delete;
  ArenaMapping& operator=(const ArenaMapping&) = delete;
  ~ArenaMapping() { unmap(base_, size_bytes_); }

  [[nodiscard]] std::byte* base() const { return base_; }
  [[nodiscard]] std::size_t size_bytes() const { return size_bytes_; }

 private:
  std::byte* base_;
  std::size_t size_bytes_;
};

/// A process' handle on the arena. Thread-safe where not said otherwise.
class Arena final : public ExtentBacking {
 public:
  /// The host's side: makes an arena of `virtual_size_bytes` (rounded up to pages) that takes no
  /// memory until it's used, mapped writable. Errors: kInvalid (no such size), kOverloaded (address
  /// space, as under `ulimit -v`: try a smaller one), kUnavailable (no memory files here).
  static Result<std::unique_ptr<Arena>> create(std::size_t virtual_size_bytes);

  /// Any other process' side: maps the arena behind `fd` read-only. `expected_size_bytes` is what
  /// the host says it is, or 0 for "don't check". Errors: kInvalid (another size), kLost (`fd`
  /// isn't open), kOverloaded (address space).
  static Result<std::unique_ptr<Arena>> attach(UniqueFd fd, std::size_t expected_size_bytes = 0);

  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena() override;

  /// Lets this process write to [offset, offset + size_bytes), rounded outwards to pages. Costs a
  /// system call. Errors: kInvalid (outside of the arena), kOverloaded (too many mappings).
  Status make_writable(std::uint64_t offset, std::uint64_t size_bytes);

  /// Takes that back. Rounded outwards too, so it undoes make_writable() of the same range.
  Status make_read_only(std::uint64_t offset, std::uint64_t size_bytes);

  /// For the child of a fork: makes all of the mapping read-only, so that the child can read its
  /// parent's objects and spoil none. Async-signal-safe. Returns whether it worked.
  bool protect_after_fork() const noexcept;

  /// Where `offset` lies in this process. Precondition: offset <= size().
  [[nodiscard]] std::byte* at(std::uint64_t offset) const { return base_ + offset; }

  /// Whether the whole range lies inside. Safe for any numbers: nothing overflows.
  [[nodiscard]] bool contains(std::uint64_t offset, std::uint64_t size_bytes) const {
    return offset <= size_bytes_ && size_bytes <= size_bytes_ - offset;
  }

  /// Whether `pointer` points into this process' mapping.
  [[nodiscard]] bool contains(const void* pointer) const {
    return static_cast<const std::byte*>(pointer) >= base_ &&
           static_cast<const std::byte*>(pointer) < base_ + size_bytes_;
  }

  /// The offset of `pointer`. Precondition: contains(pointer).
  [[nodiscard]] std::uint64_t offset_of(const void* pointer) const {
    return static_cast<std::uint64_t>(static_cast<const std::byte*>(pointer) - base_);
  }

  /// Bytes of address space: what offsets stay below.
  [[nodiscard]] std::uint64_t size() const { return size_bytes_; }

  /// The descriptor to hand to other processes; the arena keeps it.
  [[nodiscard]] int fd() const { return fd_.get(); }

  /// Whether that still is the arena's: the program may have closed it behind our back.
  [[nodiscard]] bool has_descriptor() const;

  /// Keeps the mapping alive for as long as the caller holds it.
  [[nodiscard]] std::shared_ptr<const ArenaMapping> mapping() const { return mapping_; }

  /// Maps the pages of [offset, offset + size_bytes) once more, to be written to without anybody
  /// else seeing it; pages that were not written to show the arena's, so what lies there must stay.
  /// Errors: kInvalid (outside of the arena), kLost (its descriptor was closed), kOverloaded.
  [[nodiscard]] Result<std::unique_ptr<ArenaMapping>> map_privately(std::uint64_t offset,
                                                                    std::uint64_t size_bytes) const;

  /// Host only. Allocates the pages of the range, or says kOverloaded. Works (more slowly) also
  /// when somebody has closed the descriptor behind our back.
  Status reserve(std::uint64_t offset, std::uint64_t size_bytes) override;

  /// Host only. Gives the pages of the range back to the system; false if it can't.
  bool punch(std::uint64_t offset, std::uint64_t size_bytes) override;

 private:
  Arena(UniqueFd fd, const FileIdentity& identity, std::shared_ptr<const ArenaMapping> mapping);
  static Result<std::unique_ptr<Arena>> map(UniqueFd fd, Access access);
  Status set_access(std::uint64_t offset, std::uint64_t size_bytes, Access access);

  UniqueFd fd_;
  FileIdentity identity_;
  std::shared_ptr<const ArenaMapping> mapping_;
  std::byte* base_;
  std::uint64_t size_bytes_;
};

}  // namespace haz
