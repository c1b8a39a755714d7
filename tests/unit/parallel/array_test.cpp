#include "haz/array.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <new>
#include <type_traits>
#include <utility>

namespace haz {
namespace {

static_assert(std::is_convertible_v<array<double>, array<const double>>);
static_assert(!std::is_convertible_v<array<const double>, array<double>>);
static_assert(std::is_convertible_v<array<double, 2, contiguous>, array<double, 2>>);
static_assert(!std::is_convertible_v<array<double, 2>, array<double, 2, contiguous>>);
static_assert(!std::is_convertible_v<array<float>, array<double>>);
static_assert(std::is_convertible_v<owned_array<double>, array<const double>>);
static_assert(!std::is_copy_constructible_v<owned_array<double>>);

TEST(Array, FindsItemsByStrides) {
  int items[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
  const std::int64_t shape[] = {2, 3};
  const std::int64_t strides[] = {-6, 2};
  const array<int, 2> view(items + 6, shape, strides);
  EXPECT_EQ(view(0, 0), 6);
  EXPECT_EQ(view(0, 2), 10);
  EXPECT_EQ(view(1, 1), 2);
  EXPECT_EQ(view[1][2], 4);
  EXPECT_EQ(view[1].shape(0), 3);
  EXPECT_EQ(view.size(), 6);
  view(1, 0) = 100;
  EXPECT_EQ(items[0], 100);
  const array<const int, 2> same = view;
  EXPECT_EQ(same(1, 0), 100);
}

TEST(Array, OwnedOnesAreContiguous) {
  const auto zeros_of = zeros<double>(2, 3, 4);
  EXPECT_EQ(zeros_of.size(), 24);
  EXPECT_EQ(zeros_of.stride(0), 12);
  EXPECT_EQ(zeros_of.stride(2), 1);
  for (int i = 0; i < 24; ++i)
    EXPECT_EQ(zeros_of.data()[i], 0.0);
  auto line = empty<int>(3);
  int next = 7;
  for (int& item : line)
    item = next++;
  EXPECT_EQ(line[2], 9);
  const auto like = empty_like(zeros_of);
  EXPECT_EQ(like.shape(1), 3);
  const auto moved = std::move(line);
  EXPECT_EQ(moved[0], 7);
  EXPECT_EQ(empty<double>(0, 5).size(), 0);
}

TEST(Array, ThatCanNotBe) {
  EXPECT_THROW(empty<double>(-1), value_error);
  EXPECT_THROW(zeros<double>(5, -2), value_error);
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  EXPECT_THROW(empty<char>(kMost, 3), std::bad_alloc);
  EXPECT_THROW(empty<double>(kMost), std::bad_alloc);
}

TEST(Array, ShapesAreCompared) {
  const auto a = zeros<double>(2, 3);
  const auto b = zeros<int>(2, 3);
  const auto c = zeros<int>(2, 4);
  EXPECT_NO_THROW(check_same_shape(a, b));
  EXPECT_THROW(check_same_shape(a, b, c), value_error);
}

}  // namespace
}  // namespace haz
