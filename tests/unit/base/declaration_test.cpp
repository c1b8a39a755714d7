#include "base/declaration.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace haz {
namespace {

TEST(Declaration, WhatStandsInBrackets) {
  EXPECT_EQ(in_brackets("(double, std::pair<int, int>) -> bool"), "double, std::pair<int, int>");
  EXPECT_EQ(in_brackets("() -> void"), "");
  EXPECT_EQ(in_brackets("(int"), "int");
  EXPECT_EQ(in_brackets("int"), "");
  EXPECT_EQ(in_brackets(""), "");
}

TEST(Declaration, ListsAreSplitOutsideOfBrackets) {
  const std::vector<std::string_view> expected = {"a", "std::map<int, b>", "f(x, y)"};
  EXPECT_EQ(split_list(" a , std::map<int, b>,f(x, y)"), expected);
  EXPECT_TRUE(split_list("").empty());
  EXPECT_EQ(split_list("std::map<int, b").size(), 1U);  // cut
}

TEST(Declaration, NamesStandBehindTheTypesOfASignature) {
  EXPECT_EQ(with_names("(double, haz::view<float, 2>) -> bool", "x, y"),
            "(double x, haz::view<float, 2> y) -> bool");
  EXPECT_EQ(with_names("(double) -> bool", ""), "(double) -> bool");
  EXPECT_EQ(with_names("(double) -> bool", "x, y"), "(double) -> bool");
  EXPECT_EQ(with_names("() -> int", ""), "() -> int");
  EXPECT_EQ(with_names("((int, double)) -> bool", "point"), "((int, double) point) -> bool");
}

TEST(Declaration, NamesOfAConstructorsParameters) {
  EXPECT_EQ(names_in("counter(int start)"), "start");
  EXPECT_EQ(names_in("a::b(const std::string& name, std::vector<int> all,unsigned long n)"),
            "name, all, n");
  EXPECT_EQ(names_in("c(std::map<int, double>::size_type n, haz::view<double, 2>&& m)"), "n, m");
  EXPECT_EQ(names_in("c(struct point p, const double* const x)"), "p, x");
}

TEST(Declaration, TypesAreNoNames) {
  for (const char* one :
       {"counter(int)", "counter()", "counter(unsigned long)", "counter(const std::string&)",
        "counter(const point)", "counter(std::vector<int>)", "counter(point, int x)",
        "counter(int x, point)", "counter(std::map<int, double>::size_type)", "counter"})
    EXPECT_EQ(names_in(one), "") << one;
}

}  // namespace
}  // namespace haz
