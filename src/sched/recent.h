/// @file
/// The latest of many records, in bounded memory.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

namespace haz {

/// A ring of at most `capacity` records: the oldest are overwritten. Memory grows with what was
/// added. Not thread-safe.
template <typename Record>
class Recent {
 public:
  /// Precondition: capacity is not 0.
  explicit Recent(std::size_t capacity) : capacity_(capacity) {}

  void add(Record record) {
    if (records_.size() < capacity_) {
      records_.push_back(std::move(record));
    } else {
      records_[next_] = std::move(record);
    }
    if (++next_ == capacity_) next_ = 0;
  }

  [[nodiscard]] std::size_t size() const { return records_.size(); }
  /// Record number `index`, the oldest is 0. Precondition: index < size().
  [[nodiscard]] const Record& operator[](std::size_t index) const {
    const std::size_t start = records_.size() < capacity_ ? 0 : next_;
    return records_[(start + index) % records_.size()];
  }

 private:
  std::size_t capacity_;
  std::size_t next_ = 0;  ///< Where the next record goes.
  std::vector<Record> records_;
};

}  // namespace haz
