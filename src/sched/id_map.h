/// @file
/// A hash map from non-zero 64-bit ids to pointers, for tables that are asked on every task.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace haz {

/// Open addressing with linear probing and backward-shift deletion (Knuth, TAOCP 6.4, algorithm R),
/// so there are no tombstones and a table that stays small stays fast. Not thread-safe.
template <typename T>
class IdMap {
 public:
  IdMap() : cells_(kInitialCapacity), mask_(kInitialCapacity - 1) {}

  /// The pointer stored under `id`, or nullptr.
  [[nodiscard]] T* find(std::uint64_t id) const {
    for (std::size_t i = home_of(id);; i = (i + 1) & mask_) {
      if (cells_[i].id == id) return cells_[i].value;
      if (cells_[i].id == 0) return nullptr;
    }
  }

  /// Stores `value` under `id`. Precondition: id != 0 and not in the map.
  void insert(std::uint64_t id, T* value) {
    if ((size_ + 1) * 2 > cells_.size()) rehash(cells_.size() * 2);
    place(id, value);
    ++size_;
  }

  /// Removes `id` if it is there.
  void erase(std::uint64_t id) {
    std::size_t hole = home_of(id);
    while (cells_[hole].id != id) {
      if (cells_[hole].id == 0) return;
      hole = (hole + 1) & mask_;
    }
    --size_;
    for (std::size_t next = (hole + 1) & mask_; cells_[next].id != 0; next = (next + 1) & mask_) {
      const std::size_t distance_home = (next - home_of(cells_[next].id)) & mask_;
      const std::size_t distance_hole = (next - hole) & mask_;
      if (distance_home >= distance_hole) {
        cells_[hole] = cells_[next];
        hole = next;
      }
    }
    cells_[hole] = Cell{};
    if (cells_.size() > kInitialCapacity && size_ * 16 < cells_.size()) rehash(cells_.size() / 4);
  }

  [[nodiscard]] std::size_t size() const { return size_; }

  /// Calls `visit(id, pointer)` for each entry; the map must not be changed meanwhile.
  template <typename Visit>
  void for_each(Visit&& visit) const {
    for (const Cell& cell : cells_) {
      if (cell.id != 0) visit(cell.id, cell.value);
    }
  }

 private:
  struct Cell {
    std::uint64_t id = 0;
    T* value = nullptr;
  };
  static constexpr std::size_t kInitialCapacity = 1024;

  [[nodiscard]] std::size_t home_of(std::uint64_t id) const {
    // Ids of one maker are consecutive: keeping them neighbours makes probing walk one cache line.
    return (id ^ ((id >> 40) * 0x9E3779B97F4A7C15ULL)) & mask_;
  }

  void place(std::uint64_t id, T* value) {
    std::size_t i = home_of(id);
    while (cells_[i].id != 0)
      i = (i + 1) & mask_;
    cells_[i] = Cell{id, value};
  }

  void rehash(std::size_t capacity) {
    std::vector<Cell> old(capacity);
    old.swap(cells_);
    mask_ = capacity - 1;
    for (const Cell& cell : old) {
      if (cell.id != 0) place(cell.id, cell.value);
    }
  }

  std::vector<Cell> cells_;
  std::size_t mask_;
  std::size_t size_ = 0;
};

}  // namespace haz
