/// @file
/// Reads values in the wire's format, and trusts nothing in them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include "haz/detail/export.h"
#include "haz/detail/writer.h"

namespace haz::detail {

enum class item_kind : std::uint8_t {
  none,
  boolean,
  integer,
  big_integer,
  number,
  text,
  bytes,
  tuple,
  list,
  dict,
  ref,
  pickle,
  array,
};

/// One item of a value. Pointers are into the bytes that are read.
struct value_item {
  item_kind kind = item_kind::none;
  bool boolean = false;
  bool is_fortran = false;  ///< Of an array: its first index varies fastest.
  bool is_near = false;     ///< Of an array: its items may not be aligned.
  element items = element::none;
  std::uint8_t dimensions = 0;
  std::uint32_t count = 0;  ///< Items that follow; of a dict pairs.
  std::int64_t integer = 0;
  double number = 0;
  std::uint64_t ref = 0;
  const std::byte* extents = nullptr;
  const std::byte* data = nullptr;
  std::size_t size = 0;

  [[nodiscard]] std::string_view text() const {
    return {reinterpret_cast<const char*>(data), size};
  }
  /// Precondition: axis < dimensions.
  [[nodiscard]] std::int64_t extent(int axis) const {
    std::int64_t size_there;
    std::memcpy(&size_there, extents + static_cast<std::size_t>(axis) * sizeof size_there,
                sizeof size_there);
    return size_there;
  }
  /// As a person calls it: "a str", "an array of float64 with 2 axes".
  [[nodiscard]] HAZ_API std::string described() const;
};

/// Not thread-safe.
class HAZ_API reader {
 public:
  /// `object`: of which the bytes are, as they lie in shared memory, so that views can point there;
  /// 0: they do not stay.
  reader(const std::byte* data, std::size_t size, std::uint64_t object) noexcept;
  /// The bytes stay as long as `owner` exists.
  reader(const std::byte* data, std::size_t size, std::shared_ptr<const void> owner) noexcept;
  reader(const reader&) = delete;
  reader& operator=(const reader&) = delete;
  ~reader();

  /// The next item; what a container holds follows. @throws type_error for damaged bytes.
  value_item next();
  /// The next item; what it holds is passed over. Precondition: the value before was read whole.
  value_item next_whole();
  /// Takes the next item if it is None.
  bool take_none();
  /// Whether views may point into the bytes: keep() says how they stay.
  [[nodiscard]] bool can_keep() const { return object_ != 0 || kept_ != nullptr; }
  /// Keeps the bytes for as long as it exists. Precondition: can_keep().
  std::shared_ptr<const void> keep();

 private:
  struct state;
  static constexpr std::size_t state_size = 192;

  std::uint64_t object_;
  std::shared_ptr<const void> kept_;
  alignas(8) std::byte state_[state_size];
};

/// Copies an array that lies in Fortran order into C order.
HAZ_API void copy_transposed(const value_item& item, std::size_t item_size, void* to);

/// Throws type_error: `expected` is what the program wants.
[[noreturn]] HAZ_API void throw_mismatch(const std::string& expected, const value_item& found);

}  // namespace haz::detail
