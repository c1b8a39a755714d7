/// @file
/// Arrays that are read where they lie: in the shared memory of the object store.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

#include "haz/array.h"

namespace haz {

/// A contiguous array of `Dimensions` axes that is only read, and kept by its views: what get() and
/// a task's parameter of this type give without a copy. Cheap to copy.
///
/// A small array (below 1 KiB), one in Fortran order, and one inside of a task's message are
/// copied; that makes no difference but for the time. One of one axis is a range, and so converts
/// to std::span<const T>. The memory stays until the last view is gone,
/// also when haz has ended. Any number of threads may read.
template <class T, int Dimensions = 1>
class view : public array<const T, Dimensions, contiguous> {
  static_assert(std::is_arithmetic_v<T> || std::is_trivially_copyable_v<T>,
                "a haz::view is of numbers");

 public:
  /// What `data` points to stays as long as `owner` exists. Sizes of Dimensions numbers.
  view(std::shared_ptr<const void> owner, const T* data, const std::int64_t* shape)
      : view(std::move(owner), data, layout(shape)) {}

  /// What keeps the items.
  [[nodiscard]] const std::shared_ptr<const void>& owner() const { return owner_; }

 private:
  struct shape_and_strides {
    std::int64_t shape[Dimensions];
    std::int64_t strides[Dimensions];
  };
  static shape_and_strides layout(const std::int64_t* shape) {
    shape_and_strides made;
    for (int axis = 0; axis < Dimensions; ++axis)
      made.shape[axis] = shape[axis];
    detail::contiguous_strides(made.shape, made.strides, Dimensions);
    return made;
  }
  view(std::shared_ptr<const void> owner, const T* data, const shape_and_strides& layout)
      : array<const T, Dimensions, contiguous>(data, layout.shape, layout.strides),
        owner_(std::move(owner)) {}

  std::shared_ptr<const void> owner_;
};

}  // namespace haz
