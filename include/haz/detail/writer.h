/// @file
/// Writes values in the wire's format (src/wire/value.h), which Python's codec writes too.
#pragma once

#include <complex>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "haz/detail/engine.h"
#include "haz/error.h"

namespace haz::detail {

enum class tag : std::uint8_t {
  end = 0,
  none = 1,
  false_ = 2,
  true_ = 3,
  int8 = 4,
  int32 = 5,
  int64 = 6,
  big_int = 7,
  float64 = 8,
  str8 = 9,
  str32 = 10,
  bytes8 = 11,
  bytes32 = 12,
  tuple8 = 13,
  tuple32 = 14,
  list8 = 15,
  list32 = 16,
  dict8 = 17,
  dict32 = 18,
  ref = 19,
  far_str = 20,
  far_bytes = 21,
  array = 22,
};

/// Strings and bytes from this size on stand behind the stream; and arrays.
inline constexpr std::size_t far_text_min = 32 * std::size_t{1024};
inline constexpr std::size_t far_array_min = 1024;
inline constexpr std::uint64_t near_buffer = ~std::uint64_t{0};

/// What an array consists of.
enum class element : std::uint8_t {
  bool_,
  int8,
  uint8,
  int16,
  uint16,
  int32,
  uint32,
  int64,
  uint64,
  float16,
  float32,
  float64,
  complex64,
  complex128,
  none = 255,
};

/// The element that a type is in an array; element::none: it is none.
template <class T>
constexpr element element_of() {
  if constexpr (std::is_same_v<T, bool>) {
    return element::bool_;
  } else if constexpr (std::is_same_v<T, float>) {
    return element::float32;
  } else if constexpr (std::is_same_v<T, double>) {
    return element::float64;
  } else if constexpr (std::is_same_v<T, std::complex<float>>) {
    return element::complex64;
  } else if constexpr (std::is_same_v<T, std::complex<double>>) {
    return element::complex128;
  } else if constexpr (std::is_same_v<T, char> || std::is_same_v<T, wchar_t> ||
                       std::is_same_v<T, char8_t> || std::is_same_v<T, char16_t> ||
                       std::is_same_v<T, char32_t> || !std::is_integral_v<T>) {
    return element::none;
  } else {
    constexpr int power = sizeof(T) == 1 ? 0 : sizeof(T) == 2 ? 1 : sizeof(T) == 4 ? 2 : 3;
    return static_cast<element>(1 + 2 * power + (std::is_unsigned_v<T> ? 1 : 0));
  }
}

HAZ_API bool is_utf8(std::string_view text) noexcept;

/// Appends values to a stream. What is large is not copied before the value is placed, and must
/// stay until then. Not thread-safe.
class writer {
 public:
  writer() noexcept = default;
  writer(const writer&) = delete;
  writer& operator=(const writer&) = delete;
  ~writer() {
    if (data_ != near_) delete[] data_;
  }

  void none() { put(tag::none); }
  void boolean(bool value) { put(value ? tag::true_ : tag::false_); }
  void integer(std::int64_t value) {
    if (value >= std::numeric_limits<std::int8_t>::min() &&
        value <= std::numeric_limits<std::int8_t>::max()) {
      put(tag::int8, static_cast<std::int8_t>(value));
    } else if (value >= std::numeric_limits<std::int32_t>::min() &&
               value <= std::numeric_limits<std::int32_t>::max()) {
      put(tag::int32, static_cast<std::int32_t>(value));
    } else {
      put(tag::int64, value);
    }
  }
  void unsigned_integer(std::uint64_t value) {
    if (value <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      integer(static_cast<std::int64_t>(value));
    } else {
      put(tag::big_int, std::uint32_t{sizeof value + 1});
      raw(&value, sizeof value);
      *grow(1) = std::byte{0};
    }
  }
  void number(double value) { put(tag::float64, value); }
  /// Bytes where it is not UTF-8, as C++ strings need not be.
  void text(std::string_view text) {
    const bool is_text = is_utf8(text);
    sized(is_text ? tag::str8 : tag::bytes8, is_text ? tag::far_str : tag::far_bytes, text.data(),
          text.size());
  }
  void bytes(const void* data, std::size_t size) { sized(tag::bytes8, tag::far_bytes, data, size); }
  /// An array in C order of as many bytes as the extents say.
  void array(element kind, const std::int64_t* extents, int dimensions, const void* data,
             std::size_t size) {
    put(tag::array, static_cast<std::uint8_t>(kind));
    const std::uint8_t head[] = {0, static_cast<std::uint8_t>(dimensions)};
    raw(head, sizeof head);
    raw(extents, static_cast<std::size_t>(dimensions) * sizeof *extents);
    if (size >= far_array_min) {
      add_far(data, size);
    } else {
      raw(&near_buffer, sizeof near_buffer);
      const std::uint64_t length = size;
      raw(&length, sizeof length);
      raw(data, size);
    }
  }
  void begin_tuple(std::size_t count) { begin(tag::tuple8, count); }
  void begin_list(std::size_t count) { begin(tag::list8, count); }
  /// Of `count` pairs.
  void begin_dict(std::size_t count) { begin(tag::dict8, count); }
  /// A reference of the object `id`, which the caller keeps until the value was placed.
  void ref(std::uint64_t id) {
    put(tag::ref, id);
    refs_.push_back(id);
  }

  /// What was written since `from`, as a value of its own.
  [[nodiscard]] encoded value(std::size_t from = 0, std::size_t first_far = 0,
                              std::size_t first_ref = 0) {
    if (from != 0) {
      for (std::size_t i = first_far; i < far_.size(); ++i)
        far_[i].field -= from;
    }
    return {data_ + from,
            size_ - from,
            far_.data() + first_far,
            far_.size() - first_far,
            refs_.data() + first_ref,
            refs_.size() - first_ref};
  }
  /// Forgets what was written since.
  void cut(std::size_t size, std::size_t num_far, std::size_t num_refs) {
    size_ = size;
    far_.resize(num_far);
    refs_.resize(num_refs);
  }
  /// Keeps `value`, to which the stream points, as long as this.
  void keep(std::shared_ptr<const void> value) { kept_ = std::move(value); }
  /// What keep() was given last, for the caller to keep.
  [[nodiscard]] std::shared_ptr<const void> take_kept() { return std::move(kept_); }
  [[nodiscard]] std::byte* data() { return data_; }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] std::size_t num_far() const { return far_.size(); }
  [[nodiscard]] const std::vector<std::uint64_t>& refs() const { return refs_; }
  /// Room for `size` more bytes, which the caller writes.
  std::byte* grow(std::size_t size) {
    if (capacity_ - size_ < size) [[unlikely]]
      enlarge(size);
    std::byte* const place = data_ + size_;
    size_ += size;
    return place;
  }

 private:
  static constexpr std::size_t near_size = 256;

  void enlarge(std::size_t size) {
    const std::size_t capacity = 2 * capacity_ + size;
    auto* larger = new std::byte[capacity];
    std::memcpy(larger, data_, size_);
    if (data_ != near_) delete[] data_;
    data_ = larger;
    capacity_ = capacity;
  }
  void raw(const void* bytes, std::size_t size) {
    if (size != 0) std::memcpy(grow(size), bytes, size);
  }
  void put(tag kind) { *grow(1) = static_cast<std::byte>(kind); }
  template <class T>
  void put(tag kind, T value) {
    std::byte* const place = grow(1 + sizeof value);
    *place = static_cast<std::byte>(kind);
    std::memcpy(place + 1, &value, sizeof value);
  }
  void begin(tag short_kind, std::size_t count) {
    if (count <= std::numeric_limits<std::uint8_t>::max()) {
      put(short_kind, static_cast<std::uint8_t>(count));
      return;
    }
    check_count(count);
    put(static_cast<tag>(static_cast<std::uint8_t>(short_kind) + 1),
        static_cast<std::uint32_t>(count));
  }
  static void check_count(std::size_t count) {
    if (count > std::numeric_limits<std::uint32_t>::max())
      throw value_error("a container of %zu items is too large for haz; use arrays", count);
  }
  void sized(tag short_kind, tag far_kind, const void* data, std::size_t size) {
    if (size >= far_text_min) {
      put(far_kind);
      add_far(data, size);
      return;
    }
    begin(short_kind, size);
    raw(data, size);
  }
  void add_far(const void* data, std::size_t size) {
    far_.push_back({data, size, size_});
    const std::uint64_t offset_and_length[] = {0, size};
    raw(offset_and_length, sizeof offset_and_length);
  }

  std::byte* data_ = near_;
  std::size_t size_ = 0;
  std::size_t capacity_ = near_size;
  std::vector<far_bytes> far_;
  std::vector<std::uint64_t> refs_;
  std::shared_ptr<const void> kept_;
  std::byte near_[near_size];
};

}  // namespace haz::detail
