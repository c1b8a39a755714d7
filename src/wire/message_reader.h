/// @file
/// Bounds-checked reading of message bodies whose writer is not trusted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>
#include <vector>

#include "base/units.h"

namespace haz {

/// Takes parts off the front of a body. After the first part that does not fit ok() is false, and
/// all further parts are empty or zero. Not thread-safe.
class MessageReader {
 public:
  explicit MessageReader(std::span<const std::byte> body) : left_(body) {}

  [[nodiscard]] bool ok() const { return ok_; }

  /// Copies one struct out; zeroed when it does not fit.
  template <typename T>
  T take() {
    static_assert(std::is_trivially_copyable_v<T>);
    T value{};
    const std::span<const std::byte> bytes = take_bytes(sizeof(T));
    if (ok_) std::memcpy(&value, bytes.data(), sizeof(T));
    return value;
  }

  /// Copies `count` structs out.
  template <typename T>
  std::vector<T> take_array(std::uint64_t count) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (count > left_.size() / sizeof(T)) {
      ok_ = false;
      return {};
    }
    std::vector<T> values(count);
    const std::span<const std::byte> bytes = take_bytes(count * sizeof(T));
    if (ok_ && count != 0) std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }

  /// `size` bytes in place, and the padding behind them.
  std::span<const std::byte> take_bytes(std::uint64_t size) {
    if (!ok_ || size > left_.size()) {
      ok_ = false;
      return {};
    }
    const std::span<const std::byte> bytes = left_.first(size);
    const std::uint64_t padded = align_up(size, 8);
    left_ = left_.subspan(padded < left_.size() ? padded : left_.size());
    return bytes;
  }

 private:
  std::span<const std::byte> left_;
  bool ok_ = true;
};

/// Builds a message body part by part. Not thread-safe.
class MessageBuilder {
 public:
  void clear() { bytes_.clear(); }

  template <typename T>
  void add(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    add_bytes({reinterpret_cast<const std::byte*>(&value), sizeof(T)});
  }

  template <typename T>
  void add_array(std::span<const T> values) {
    static_assert(std::is_trivially_copyable_v<T>);
    add_bytes({reinterpret_cast<const std::byte*>(values.data()), values.size_bytes()});
  }

  void add_bytes(std::span<const std::byte> bytes) {
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    bytes_.resize(align_up(bytes_.size(), 8));
  }

  [[nodiscard]] std::span<const std::byte> body() const { return bytes_; }
  [[nodiscard]] std::size_t size() const { return bytes_.size(); }

 private:
  std::vector<std::byte> bytes_;
};

}  // namespace haz
