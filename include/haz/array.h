/// @file
/// Views of arrays that lie elsewhere, such as NumPy's, and arrays to return.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <type_traits>
#include <utility>

#include "haz/detail/kernel_abi.h"
#include "haz/error.h"

namespace haz {

/// A layout of arrays: with any strides, as slices and transposed arrays have.
struct strided {};
/// A layout of arrays: in C order without gaps, the last axis the fastest.
struct contiguous {};

namespace detail {

[[noreturn]] inline void throw_index(std::int64_t index, int dimension, std::int64_t size) {
  throw index_error("index %lld is out of bounds for axis %d with size %lld",
                    static_cast<long long>(index), dimension, static_cast<long long>(size));
}

/// Fills `strides` as of a contiguous array; returns the number of items.
/// @throws value_error for a negative size; std::bad_alloc for more items than there can be.
inline std::int64_t contiguous_strides(const std::int64_t* shape, std::int64_t* strides,
                                       int dimensions) {
  std::int64_t items = 1;
  for (int axis = dimensions - 1; axis >= 0; --axis) {
    if (shape[axis] < 0)
      throw value_error("an array can't have size %lld", static_cast<long long>(shape[axis]));
    strides[axis] = items;
    if (__builtin_mul_overflow(items, shape[axis], &items)) throw std::bad_alloc();
  }
  return items;
}

}  // namespace detail

/// A view of an array of `Dimensions` axes, 1 to 4. It owns nothing and is cheap to copy.
///
/// `array<const T>` only reads. Indices count from 0 and are not checked, unless HAZ_CHECK_BOUNDS
/// is defined: then a wrong one throws index_error. Strides and sizes count items, not bytes.
template <class T, int Dimensions = 1, class Layout = strided>
class array {
  static_assert(Dimensions >= 1 && Dimensions <= detail::max_dimensions,
                "haz::array has 1 to 4 dimensions");

 public:
  using value_type = std::remove_const_t<T>;     ///< Of an item, without const.
  static constexpr int dimensions = Dimensions;  ///< Number of axes.
  /// Whether its type says that the items lie without gaps.
  static constexpr bool is_contiguous = std::same_as<Layout, contiguous>;

  /// The view of `data`, with sizes and strides of `Dimensions` numbers each, in items. The data
  /// stay the caller's, and have to outlive the view; the numbers are copied.
  array(T* data, const std::int64_t* shape, const std::int64_t* strides) : data_(data) {
    for (int axis = 0; axis < Dimensions; ++axis) {
      shape_[axis] = shape[axis];
      strides_[axis] = strides[axis];
    }
  }
  /// An array that can be written to is one that can be read, a contiguous one is a strided one.
  template <class U, class OtherLayout>
    requires(!std::same_as<array<U, Dimensions, OtherLayout>, array> &&
             std::convertible_to<U (*)[], T (*)[]> &&
             (std::same_as<Layout, OtherLayout> || std::same_as<Layout, strided>))
  array(const array<U, Dimensions, OtherLayout>& other)  // NOLINT(google-explicit-constructor)
      : data_(other.data()) {
    for (int axis = 0; axis < Dimensions; ++axis) {
      shape_[axis] = other.shape(axis);
      strides_[axis] = other.stride(axis);
    }
  }

  /// The item at the indices, one for each axis.
  template <std::integral... Index>
    requires(sizeof...(Index) == Dimensions)
  T& operator()(Index... indices) const {
    const std::int64_t list[] = {static_cast<std::int64_t>(indices)...};
    std::int64_t offset = 0;
    for (int axis = 0; axis < Dimensions; ++axis) {
      check(list[axis], axis);
      offset += list[axis] * step(axis);
    }
    return data_[offset];
  }
  /// Of one axis: the item. Of more: the view of what lies at that index of the first one.
  decltype(auto) operator[](std::integral auto index) const {
    const auto at = static_cast<std::int64_t>(index);
    check(at, 0);
    if constexpr (Dimensions == 1) {
      return static_cast<T&>(data_[at * step(0)]);
    } else {
      return array<T, Dimensions - 1, Layout>(data_ + at * step(0), shape_ + 1, strides_ + 1);
    }
  }

  /// The item whose indices are all 0. Owned by whoever made the view.
  [[nodiscard]] T* data() const { return data_; }
  /// Number of items along the axis, which counts from 0 and is not checked.
  [[nodiscard]] std::int64_t shape(int axis) const { return shape_[axis]; }
  /// Distance of neighbours along the axis, in items; negative where they lie backwards.
  [[nodiscard]] std::int64_t stride(int axis) const { return strides_[axis]; }
  /// Number of items.
  [[nodiscard]] std::int64_t size() const {
    std::int64_t items = 1;
    for (const std::int64_t extent : shape_)
      items *= extent;
    return items;
  }
  /// Of a contiguous array of one axis: its items in order, so that it is a range.
  T* begin() const
    requires(Dimensions == 1 && is_contiguous)
  {
    return data_;
  }
  /// Behind the last of them.
  T* end() const
    requires(Dimensions == 1 && is_contiguous)
  {
    return data_ + shape_[0];
  }

 private:
  [[nodiscard]] std::int64_t step(int axis) const {
    return is_contiguous && axis == Dimensions - 1 ? 1 : strides_[axis];
  }
  void check([[maybe_unused]] std::int64_t index, [[maybe_unused]] int axis) const {
#ifdef HAZ_CHECK_BOUNDS
    if (index < 0 || index >= shape_[axis]) detail::throw_index(index, axis, shape_[axis]);
#endif
  }

  T* data_;
  std::int64_t shape_[Dimensions];
  std::int64_t strides_[Dimensions];
};

/// A contiguous array that owns its items: what a function returns that makes a new array. Can be
/// moved, not copied; one that was moved from must not be read. Views of it do not keep it.
/// empty(), zeros() and empty_like() make one.
template <class T, int Dimensions = 1>
class owned_array : public array<T, Dimensions, contiguous> {
  static_assert(std::is_trivially_copyable_v<T> && !std::is_const_v<T>);

 public:
  owned_array(owned_array&& other) noexcept
      : array<T, Dimensions, contiguous>(other), owned_(std::exchange(other.owned_, nullptr)) {}
  owned_array(const owned_array&) = delete;
  owned_array& operator=(const owned_array&) = delete;
  owned_array& operator=(owned_array&&) = delete;
  ~owned_array() { std::free(owned_); }

  /// @param zeroed whether the items are 0, or not set.
  /// @throws value_error for a negative size, std::bad_alloc.
  static owned_array make(const std::int64_t (&shape)[Dimensions], bool zeroed) {
    std::int64_t strides[Dimensions];
    const auto items =
        static_cast<std::size_t>(detail::contiguous_strides(shape, strides, Dimensions));
    std::size_t bytes = 0;
    if (__builtin_mul_overflow(items, sizeof(T), &bytes)) throw std::bad_alloc();
    if (bytes == 0) bytes = 1;  // a pointer that is not null
    void* data = zeroed ? std::calloc(bytes, 1) : std::malloc(bytes);
    if (data == nullptr) throw std::bad_alloc();
    return owned_array(static_cast<T*>(data), shape, strides);
  }
  /// Gives the items away, to be freed with std::free.
  [[nodiscard]] T* release() && { return static_cast<T*>(std::exchange(owned_, nullptr)); }

 private:
  owned_array(T* data, const std::int64_t* shape, const std::int64_t* strides)
      : array<T, Dimensions, contiguous>(data, shape, strides), owned_(data) {}
  void* owned_;
};

/// A new array of that shape, whose items are not set: `haz::empty<double>(rows, columns)`.
/// @throws value_error for a negative size, std::bad_alloc.
template <class T, std::integral... Sizes>
owned_array<T, sizeof...(Sizes)> empty(Sizes... shape) {
  return owned_array<T, sizeof...(Sizes)>::make({static_cast<std::int64_t>(shape)...}, false);
}

/// A new array of that shape, of zeros. @throws as empty().
template <class T, std::integral... Sizes>
owned_array<T, sizeof...(Sizes)> zeros(Sizes... shape) {
  return owned_array<T, sizeof...(Sizes)>::make({static_cast<std::int64_t>(shape)...}, true);
}

/// A new array of the shape and type of `other`, whose items are not set. @throws std::bad_alloc.
template <class T, int Dimensions, class Layout>
owned_array<std::remove_const_t<T>, Dimensions> empty_like(
    const array<T, Dimensions, Layout>& other) {
  std::int64_t shape[Dimensions];
  for (int axis = 0; axis < Dimensions; ++axis)
    shape[axis] = other.shape(axis);
  return owned_array<std::remove_const_t<T>, Dimensions>::make(shape, false);
}

/// Throws value_error unless all of the arrays have the same shape.
template <class First, class... Others>
void check_same_shape(const First& first, const Others&... others) {
  static_assert(((First::dimensions == Others::dimensions) && ...),
                "check_same_shape takes arrays of as many dimensions");
  int position = 1;
  const auto check = [&](const auto& other) {
    ++position;
    for (int axis = 0; axis < First::dimensions; ++axis) {
      if (other.shape(axis) != first.shape(axis))
        throw value_error(
            "arrays of different shapes: axis %d of the first has size %lld, of "
            "number %d size %lld",
            axis, static_cast<long long>(first.shape(axis)), position,
            static_cast<long long>(other.shape(axis)));
    }
  };
  (check(others), ...);
}

}  // namespace haz
