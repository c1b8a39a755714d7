/// @file
/// Bytes of a small value, kept in the scheduler's own memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>

namespace haz {

/// Owns a byte string; up to kInlineBytes without an allocation. Move-only.
class ValueBytes {
 public:
  static constexpr std::size_t kInlineBytes = 24;

  ValueBytes() = default;
  explicit ValueBytes(std::span<const std::byte> bytes) { assign(bytes); }
  ValueBytes(ValueBytes&& other) noexcept { take(other); }
  ValueBytes& operator=(ValueBytes&& other) noexcept {
    if (this != &other) {
      clear();
      take(other);
    }
    return *this;
  }
  ~ValueBytes() { clear(); }

  void assign(std::span<const std::byte> bytes) {
    clear();
    size_ = static_cast<std::uint32_t>(bytes.size());
    if (size_ > kInlineBytes) storage_.heap = new std::byte[size_];
    if (size_ != 0) std::memcpy(data(), bytes.data(), size_);
  }

  void clear() {
    if (size_ > kInlineBytes) delete[] storage_.heap;
    size_ = 0;
  }

  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] std::byte* data() { return size_ > kInlineBytes ? storage_.heap : storage_.small; }
  [[nodiscard]] const std::byte* data() const {
    return size_ > kInlineBytes ? storage_.heap : storage_.small;
  }
  [[nodiscard]] std::span<const std::byte> view() const { return {data(), size_}; }

 private:
  void take(ValueBytes& other) noexcept {
    storage_ = other.storage_;
    size_ = std::exchange(other.size_, 0);
  }

  union {
    std::byte small[kInlineBytes];
    std::byte* heap;
  } storage_;
  std::uint32_t size_ = 0;
};

}  // namespace haz
