/// @file
/// A map from non-zero 64-bit ids to small values, for tables that are asked on every task.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "sched/pool.h"

namespace haz {

/// Ids of one maker are consecutive, so they are kept in pages of neighbours: an entry takes little
/// more than its value, and who asks for one soon asks for the next. The pages are found by
/// hashing, with linear probing and backward-shift deletion (Knuth, TAOCP 6.4, algorithm R).
/// `Value{}` means "not there". Not thread-safe.
template <typename Value>
class IdMap {
 public:
  IdMap() : table_(kInitialCapacity) {}

  /// The value of `id`, or Value{}.
  [[nodiscard]] Value find(std::uint64_t id) const {
    const Page* page = page_of(id >> kPageBits);
    return page != nullptr ? page->values[id & kPageMask] : Value{};
  }

  /// Gives `id`, which is not 0, a value; Value{} removes it.
  void set(std::uint64_t id, Value value) {
    Page* page = page_of(id >> kPageBits);
    if (page == nullptr) {
      if (value == Value{}) return;
      page = add_page(id >> kPageBits);
    }
    Value& place = page->values[id & kPageMask];
    const int change = (value != Value{} ? 1 : 0) - (place != Value{} ? 1 : 0);
    place = value;
    if (change == 0) return;
    size_ += static_cast<std::size_t>(change);
    page->used += static_cast<std::uint32_t>(change);
    if (page->used == 0) forget(page);
  }
  void erase(std::uint64_t id) { set(id, Value{}); }

  [[nodiscard]] std::size_t size() const { return size_; }

  /// Calls `visit(id, value)` for each entry; the map must not be changed meanwhile.
  template <typename Visit>
  void for_each(Visit&& visit) const {
    for (const Page* page : table_) {
      if (page == nullptr || page->used == 0) continue;
      for (std::size_t i = 0; i < page->values.size(); ++i) {
        if (page->values[i] != Value{}) visit(page->number << kPageBits | i, page->values[i]);
      }
    }
  }

 private:
  static constexpr unsigned kPageBits = 5;
  static constexpr std::uint64_t kPageMask = (1U << kPageBits) - 1;
  static constexpr std::size_t kInitialCapacity = 64;
  static constexpr std::size_t kRecentPages = 4;

  struct Page {
    std::uint64_t number = 0;  ///< The ids' high bits.
    std::uint32_t used = 0;
    std::array<Value, kPageMask + 1> values{};
  };

  Page* page_of(std::uint64_t number) const {
    Page*& recent = recent_[number % kRecentPages];
    if (recent != nullptr && recent->number == number) return recent;
    for (std::size_t i = home_of(number);; i = next(i)) {
      Page* page = table_[i];
      if (page == nullptr) return nullptr;
      if (page->number == number) return recent = page;
    }
  }

  Page* add_page(std::uint64_t number) {
    if ((num_pages_ + 1) * 2 > table_.size()) rehash(table_.size() * 2);
    Page* page = pool_.make();
    page->number = number;
    place(page);
    ++num_pages_;
    return recent_[number % kRecentPages] = page;
  }

  /// `page` is empty. One empty page is kept, since the next id is likely to be in it.
  void forget(Page* page) {
    if (empty_ != nullptr && empty_ != page && empty_->used == 0) remove_page(empty_);
    empty_ = page;
  }

  void remove_page(Page* page) {
    Page*& recent = recent_[page->number % kRecentPages];
    if (recent == page) recent = nullptr;
    std::size_t hole = home_of(page->number);
    while (table_[hole] != page)
      hole = next(hole);
    for (std::size_t i = next(hole); table_[i] != nullptr; i = next(i)) {
      const std::size_t from_home = (i - home_of(table_[i]->number)) & (table_.size() - 1);
      const std::size_t from_hole = (i - hole) & (table_.size() - 1);
      if (from_home < from_hole) continue;
      table_[hole] = table_[i];
      hole = i;
    }
    table_[hole] = nullptr;
    pool_.destroy(page);
    --num_pages_;
    if (table_.size() > kInitialCapacity && num_pages_ * 16 < table_.size()) {
      rehash(table_.size() / 4);
    }
  }

  [[nodiscard]] std::size_t home_of(std::uint64_t number) const {
    const std::uint64_t mixed = number * 0x9E3779B97F4A7C15ULL;
    return mixed >> (64 - std::countr_zero(table_.size()));
  }
  [[nodiscard]] std::size_t next(std::size_t i) const { return (i + 1) & (table_.size() - 1); }

  void place(Page* page) {
    std::size_t i = home_of(page->number);
    while (table_[i] != nullptr)
      i = next(i);
    table_[i] = page;
  }

  void rehash(std::size_t capacity) {
    std::vector<Page*> old(capacity);
    old.swap(table_);
    for (Page* page : old) {
      if (page != nullptr) place(page);
    }
  }

  std::vector<Page*> table_;  ///< At most half full; its size is a power of two.
  mutable std::array<Page*, kRecentPages> recent_{};
  Page* empty_ = nullptr;  ///< May hold entries again.
  Pool<Page, 16> pool_;
  std::size_t num_pages_ = 0;
  std::size_t size_ = 0;
};

}  // namespace haz
