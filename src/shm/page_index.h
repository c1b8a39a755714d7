/// @file
/// Finds what a place of the arena belongs to, in two loads.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/units.h"

namespace haz {

/// Maps 4 KiB pages of the arena to a pointer, as a table of two levels. Any number may be looked
/// up: offsets come from processes that are not trusted. Not thread-safe.
template <typename Value>
class PageIndex {
 public:
  /// Sets the entries of all pages of [offset, offset + size_bytes); nullptr clears them. Both are
  /// multiples of 4 KiB.
  void set(std::uint64_t offset, std::uint64_t size_bytes, Value* value) {
    for (std::uint64_t page = offset / kPageBytes; page < (offset + size_bytes) / kPageBytes;
         ++page) {
      const std::size_t leaf = page / kPagesPerLeaf;
      if (leaf >= leaves_.size()) leaves_.resize(leaf + 1);
      if (!leaves_[leaf]) leaves_[leaf] = std::make_unique<Leaf>();
      (*leaves_[leaf])[page % kPagesPerLeaf] = value;
    }
  }

  /// The value of the page that holds `offset`, or nullptr.
  [[nodiscard]] Value* find(std::uint64_t offset) const {
    const std::uint64_t page = offset / kPageBytes;
    const std::uint64_t leaf = page / kPagesPerLeaf;
    if (leaf >= leaves_.size() || !leaves_[leaf]) [[unlikely]] {
      return nullptr;
    }
    return (*leaves_[leaf])[page % kPagesPerLeaf];
  }

 private:
  static constexpr std::uint64_t kPageBytes = 4 * kKiB;
  static constexpr std::uint64_t kPagesPerLeaf = 4096;  ///< 16 MiB of arena, 32 KiB of table.
  using Leaf = std::array<Value*, kPagesPerLeaf>;

  std::vector<std::unique_ptr<Leaf>> leaves_;
};

}  // namespace haz
