/// @file
/// Bytes of a small value, kept in the scheduler's own memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>

namespace haz {

/// Owns a byte string: up to kInlineBytes without an allocation, more of them perhaps together with
/// others. Move-only. The owners that share bytes belong to one thread.
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
    if (bytes.size() > kInlineBytes) {
      storage_.heap = new std::byte[sizeof(Holders) + bytes.size()];
      set_holders(1);
    }
    size_ = static_cast<std::uint32_t>(bytes.size());
    if (size_ != 0) std::memcpy(mutable_data(), bytes.data(), size_);
  }

  /// One more owner of the same bytes.
  [[nodiscard]] ValueBytes share() const {
    ValueBytes other;
    other.storage_ = storage_;
    other.size_ = size_;
    if (is_large()) set_holders(holders() + 1);
    return other;
  }

  void clear() {
    if (is_large()) {
      set_holders(holders() - 1);
      if (holders() == 0) delete[] storage_.heap;
    }
    size_ = 0;
  }

  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] const std::byte* data() const {
    return is_large() ? storage_.heap + sizeof(Holders) : storage_.small;
  }
  [[nodiscard]] std::span<const std::byte> view() const { return {data(), size_}; }

 private:
  using Holders = std::uint64_t;  ///< How many own the bytes that follow it.

  [[nodiscard]] bool is_large() const { return size_ > kInlineBytes; }
  std::byte* mutable_data() {
    return is_large() ? storage_.heap + sizeof(Holders) : storage_.small;
  }
  [[nodiscard]] Holders holders() const {
    Holders count = 0;
    std::memcpy(&count, storage_.heap, sizeof count);
    return count;
  }
  void set_holders(Holders count) const { std::memcpy(storage_.heap, &count, sizeof count); }

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
