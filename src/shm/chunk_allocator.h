/// @file
/// Small blocks for the host, carved out of chunks that come from the extent allocator.
///
/// Each chunk holds blocks of one size class, and a bit for each block that is free. All of it is
/// the host's private memory: nothing in the arena is read or written, so that no process can spoil
/// it, and taking a block touches no page. The lowest free block goes first, which keeps the
/// touched part of a chunk small. After mimalloc and jemalloc, from which come the size classes:
/// four for each doubling, so at most a fifth of a block is wasted from 128 bytes on.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "shm/extent_allocator.h"
#include "shm/page_index.h"

namespace haz {

/// A block in use.
struct Block {
  std::uint64_t offset = 0;
  std::uint64_t size_bytes = 0;  ///< What may be used: what was asked for, rounded up.
};

/// What a ChunkAllocator holds.
struct ChunkStats {
  std::uint64_t live_blocks = 0;
  std::uint64_t live_bytes = 0;  ///< Of blocks, rounded up to their size class.
  std::uint64_t chunks = 0;      ///< Those kept empty included.
  std::uint64_t chunk_bytes = 0;
  std::uint64_t empty_chunks = 0;
};

/// Allocates blocks of 1 byte to 64 KiB in about 20 ns. Not thread-safe: the caller locks.
class ChunkAllocator {
 public:
  static constexpr std::uint64_t kMinBlockBytes = 16;
  static constexpr std::uint64_t kMaxBlockBytes = 64 * kKiB;

  /// `extents` outlives the allocator. Takes nothing before the first allocation.
  explicit ChunkAllocator(ExtentAllocator& extents) : extents_(extents) {}
  /// Gives no chunk back: views of blocks may outlive the allocator, and must not see their memory
  /// punched.
  ~ChunkAllocator() = default;
  ChunkAllocator(const ChunkAllocator&) = delete;
  ChunkAllocator& operator=(const ChunkAllocator&) = delete;

  /// A block of at least `size_bytes`, aligned to 16 bytes, from 257 bytes on to 64. Errors:
  /// kInvalid (0 or more than kMaxBlockBytes), kOverloaded (no chunk to be had).
  Result<Block> allocate(std::uint64_t size_bytes);

  /// Takes back the block at `offset`; false, and nothing is done, if no block in use begins there.
  bool free(std::uint64_t offset);

  /// Usable size of the block in use that begins at `offset`, or 0 if none does.
  [[nodiscard]] std::uint64_t block_bytes(std::uint64_t offset) const;

  /// Gives the chunks kept empty back to the extent allocator.
  void release_empty_chunks();

  [[nodiscard]] ChunkStats stats() const;

 private:
  static constexpr unsigned kClasses = 44;
  /// Blocks of up to this size live in small chunks, so that a few tiny values take little memory.
  static constexpr std::uint64_t kSmallChunkBlockBytes = 512;
  static constexpr std::uint64_t kSmallChunkBytes = 64 * kKiB;
  static constexpr std::uint64_t kLargeChunkBytes = 256 * kKiB;
  static constexpr std::size_t kBitWords = kSmallChunkBytes / kMinBlockBytes / 64;
  /// So many empty chunks are kept, lest a block that comes and goes takes a chunk each time.
  static constexpr std::size_t kMaxEmptyChunks = 4;

  struct Chunk {
    Extent extent;
    std::uint32_t block_bytes = 0;
    std::uint32_t capacity = 0;
    std::uint32_t live = 0;
    std::uint32_t first_free_word = 0;  ///< No word before it has a free block.
    std::uint32_t size_class = 0;
    std::size_t position = 0;  ///< In chunks_.
    Chunk* previous = nullptr;
    Chunk* next = nullptr;
    std::array<std::uint64_t, kBitWords> free_bits{};
  };

  /// Chunks of one class that have a free block; empty ones last.
  struct ChunkList {
    Chunk* first = nullptr;
    Chunk* last = nullptr;
    void append(Chunk* chunk);
    void remove(Chunk* chunk);
  };

  /// A block's place in its chunk; chunk is nullptr if there's no such block in use.
  struct Place {
    Chunk* chunk = nullptr;
    std::uint32_t index = 0;
  };

  static unsigned class_of(std::uint64_t size_bytes);
  static std::uint64_t class_bytes(unsigned size_class);
  [[nodiscard]] Place find(std::uint64_t offset) const;
  Result<Chunk*> add_chunk(unsigned size_class);
  void prepare(Chunk* chunk, unsigned size_class);
  void keep_empty(Chunk* chunk);
  void remove_chunk(Chunk* chunk);

  ExtentAllocator& extents_;
  std::array<ChunkList, kClasses> usable_{};
  PageIndex<Chunk> index_;
  std::vector<std::unique_ptr<Chunk>> chunks_;
  std::vector<Chunk*> empty_;  ///< Oldest first; also in usable_.
  std::uint64_t live_blocks_ = 0;
  std::uint64_t live_bytes_ = 0;
  std::uint64_t chunk_bytes_ = 0;
};

}  // namespace haz
