/// @file
/// A free-list allocator of equal objects: what the scheduler makes by the million.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <utility>
#include <vector>

namespace haz {

/// Allocates `T`s from blocks of `BlockSize`; freed ones are handed out again first. After a flood
/// the memory goes back once all are destroyed. Not thread-safe. Objects alive at the pool's end
/// are not destroyed.
template <typename T, std::size_t BlockSize = 256>
class Pool {
 public:
  Pool() = default;
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  template <typename... Args>
  T* make(Args&&... args) {
    Cell* cell = free_ != nullptr ? std::exchange(free_, free_->next) : fresh_cell();
    ++live_;
    return new (cell) T(std::forward<Args>(args)...);
  }

  void destroy(T* object) {
    object->~T();
    Cell* cell = new (object) Cell;
    cell->next = free_;
    free_ = cell;
    if (--live_ == 0 && blocks_.size() > kBlocksKept) clear();
  }

  [[nodiscard]] std::size_t live() const { return live_; }

 private:
  union Cell {
    Cell* next;
    alignas(T) std::byte storage[sizeof(T)];
  };

  static constexpr std::size_t kBlocksKept = 16;

  Cell* fresh_cell() {
    if (fresh_ == BlockSize) {
      blocks_.push_back(std::make_unique_for_overwrite<Cell[]>(BlockSize));
      fresh_ = 0;
    }
    return &blocks_.back()[fresh_++];
  }

  void clear() {
    blocks_.clear();
    free_ = nullptr;
    fresh_ = BlockSize;
  }

  std::vector<std::unique_ptr<Cell[]>> blocks_;
  Cell* free_ = nullptr;
  std::size_t fresh_ = BlockSize;  ///< First cell of the last block that was never used.
  std::size_t live_ = 0;
};

}  // namespace haz
