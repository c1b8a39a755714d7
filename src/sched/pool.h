/// @file
/// A free-list allocator of equal objects: what the scheduler makes by the million.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <utility>
#include <vector>

namespace haz {

/// Allocates `T`s from blocks of `BlockSize`; freed ones are handed out again first. Memory goes
/// back to the system when the pool ends, and per block never before. Not thread-safe. Objects
/// alive at the pool's end are not destroyed.
template <typename T, std::size_t BlockSize = 256>
class Pool {
 public:
  Pool() = default;
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  template <typename... Args>
  T* make(Args&&... args) {
    if (free_ == nullptr) grow();
    Cell* cell = free_;
    free_ = cell->next;
    ++live_;
    return new (cell) T(std::forward<Args>(args)...);
  }

  void destroy(T* object) {
    object->~T();
    Cell* cell = new (object) Cell;
    cell->next = free_;
    free_ = cell;
    --live_;
  }

  [[nodiscard]] std::size_t live() const { return live_; }

 private:
  union Cell {
    Cell* next;
    alignas(T) std::byte storage[sizeof(T)];
  };

  void grow() {
    blocks_.push_back(std::make_unique_for_overwrite<Cell[]>(BlockSize));
    Cell* cells = blocks_.back().get();
    for (std::size_t i = BlockSize; i > 0; --i) {
      cells[i - 1].next = free_;
      free_ = &cells[i - 1];
    }
  }

  std::vector<std::unique_ptr<Cell[]>> blocks_;
  Cell* free_ = nullptr;
  std::size_t live_ = 0;
};

}  // namespace haz
