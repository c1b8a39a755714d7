#include "shm/chunk_allocator.h"

#include <algorithm>
#include <bit>
#include <string>
#include <utility>

namespace haz {

void ChunkAllocator::ChunkList::append(Chunk* chunk) {
  chunk->previous = last;
  chunk->next = nullptr;
  (last != nullptr ? last->next : first) = chunk;
  last = chunk;
}

void ChunkAllocator::ChunkList::remove(Chunk* chunk) {
  (chunk->previous != nullptr ? chunk->previous->next : first) = chunk->next;
  (chunk->next != nullptr ? chunk->next->previous : last) = chunk->previous;
}

// Classes 0 to 7 are 16, 32, … 128 bytes; then 160, 192, 224, 256, 320 and so on.
unsigned ChunkAllocator::class_of(std::uint64_t size_bytes) {
  if (size_bytes <= 128) return static_cast<unsigned>((size_bytes + 15) / 16 - 1);
  const auto below = static_cast<unsigned>(size_bytes - 1);
  const auto width = static_cast<unsigned>(std::bit_width(below));
  const unsigned quarter = (below >> (width - 3)) - 4;
  return 8 + (width - 8) * 4 + quarter;
}

std::uint64_t ChunkAllocator::class_bytes(unsigned size_class) {
  if (size_class < 8) return (std::uint64_t{size_class} + 1) * 16;
  const unsigned doubling = (size_class - 8) / 4;
  const std::uint64_t quarter = (size_class - 8) % 4;
  return (quarter + 5) << (doubling + 5);
}

Result<Block> ChunkAllocator::allocate(std::uint64_t size_bytes) {
  if (size_bytes - 1 >= kMaxBlockBytes) [[unlikely]] {
    return Error{ErrorKind::kInvalid,
                 "a block can't have " + std::to_string(size_bytes) + " bytes"};
  }
  const unsigned size_class = class_of(size_bytes);
  Chunk* chunk = usable_[size_class].first;
  if (chunk == nullptr) [[unlikely]] {
    auto added = add_chunk(size_class);
    if (!added) return added.error();
    chunk = *added;
  }
  if (chunk->live == 0) std::erase(empty_, chunk);

  std::uint32_t word = chunk->first_free_word;
  while (chunk->free_bits[word] == 0)
    ++word;
  chunk->first_free_word = word;
  const auto bit = static_cast<std::uint32_t>(std::countr_zero(chunk->free_bits[word]));
  chunk->free_bits[word] &= chunk->free_bits[word] - 1;
  if (++chunk->live == chunk->capacity) usable_[size_class].remove(chunk);
  ++live_blocks_;
  live_bytes_ += chunk->block_bytes;
  const std::uint64_t index = std::uint64_t{word} * 64 + bit;
  return Block{chunk->extent.offset + index * chunk->block_bytes, chunk->block_bytes};
}

ChunkAllocator::Place ChunkAllocator::find(std::uint64_t offset) const {
  Chunk* chunk = index_.find(offset);
  if (chunk == nullptr) return {};
  const auto distance = static_cast<std::uint32_t>(offset - chunk->extent.offset);
  const std::uint32_t index = distance / chunk->block_bytes;
  if (index >= chunk->capacity || index * chunk->block_bytes != distance) return {};
  if ((chunk->free_bits[index / 64] >> (index % 64) & 1) != 0) return {};
  return Place{chunk, index};
}

bool ChunkAllocator::free(std::uint64_t offset) {
  const auto [chunk, index] = find(offset);
  if (chunk == nullptr) return false;
  const std::uint32_t word = index / 64;
  chunk->free_bits[word] |= std::uint64_t{1} << (index % 64);
  chunk->first_free_word = std::min(chunk->first_free_word, word);
  --live_blocks_;
  live_bytes_ -= chunk->block_bytes;
  if (chunk->live-- == chunk->capacity) usable_[chunk->size_class].append(chunk);
  if (chunk->live == 0) keep_empty(chunk);
  return true;
}

std::uint64_t ChunkAllocator::block_bytes(std::uint64_t offset) const {
  const Chunk* chunk = find(offset).chunk;
  return chunk == nullptr ? 0 : chunk->block_bytes;
}

Result<ChunkAllocator::Chunk*> ChunkAllocator::add_chunk(unsigned size_class) {
  const std::uint64_t bytes =
      class_bytes(size_class) <= kSmallChunkBlockBytes ? kSmallChunkBytes : kLargeChunkBytes;
  for (Chunk* chunk : empty_) {
    if (chunk->extent.size_bytes != bytes) continue;
    usable_[chunk->size_class].remove(chunk);
    prepare(chunk, size_class);
    return chunk;
  }
  auto extent = extents_.allocate(bytes);
  if (!extent && !empty_.empty()) {
    release_empty_chunks();
    extent = extents_.allocate(bytes);
  }
  if (!extent) return extent.error();
  auto owned = std::make_unique<Chunk>();
  Chunk* chunk = owned.get();
  chunk->extent = *extent;
  chunk->position = chunks_.size();
  chunks_.push_back(std::move(owned));
  chunk_bytes_ += extent->size_bytes;
  index_.set(extent->offset, extent->size_bytes, chunk);
  prepare(chunk, size_class);
  return chunk;
}

void ChunkAllocator::prepare(Chunk* chunk, unsigned size_class) {
  chunk->size_class = size_class;
  chunk->block_bytes = static_cast<std::uint32_t>(class_bytes(size_class));
  chunk->capacity = static_cast<std::uint32_t>(chunk->extent.size_bytes / chunk->block_bytes);
  chunk->first_free_word = 0;
  const std::size_t whole_words = chunk->capacity / 64;
  std::fill_n(chunk->free_bits.begin(), whole_words, ~std::uint64_t{0});
  if (chunk->capacity % 64 != 0) {
    chunk->free_bits[whole_words] = (std::uint64_t{1} << (chunk->capacity % 64)) - 1;
  }
  usable_[size_class].append(chunk);
}

void ChunkAllocator::keep_empty(Chunk* chunk) {
  ChunkList& list = usable_[chunk->size_class];
  if (list.last != chunk) {
    list.remove(chunk);
    list.append(chunk);
  }
  empty_.push_back(chunk);
  if (empty_.size() <= kMaxEmptyChunks) return;
  Chunk* oldest = empty_.front();
  empty_.erase(empty_.begin());
  remove_chunk(oldest);
}

void ChunkAllocator::remove_chunk(Chunk* chunk) {
  usable_[chunk->size_class].remove(chunk);
  index_.set(chunk->extent.offset, chunk->extent.size_bytes, nullptr);
  chunk_bytes_ -= chunk->extent.size_bytes;
  extents_.free(chunk->extent);
  const std::size_t position = chunk->position;
  if (position + 1 != chunks_.size()) {
    std::swap(chunks_[position], chunks_.back());
    chunks_[position]->position = position;
  }
  chunks_.pop_back();
}

void ChunkAllocator::release_empty_chunks() {
  for (Chunk* chunk : empty_)
    remove_chunk(chunk);
  empty_.clear();
}

ChunkStats ChunkAllocator::stats() const {
  return ChunkStats{live_blocks_, live_bytes_, chunks_.size(), chunk_bytes_, empty_.size()};
}

}  // namespace haz
