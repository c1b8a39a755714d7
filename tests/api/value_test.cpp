// Values on their way through a task: what comes back is what was sent.
#include <gtest/gtest.h>
#include <haz/haz.h>

#include <array>
#include <complex>
#include <cstdint>
#include <limits>
#include <list>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

namespace shapes {

struct particle {
  double x = 0;
  double y = 0;
  std::string name;
  std::vector<int> hits;
  friend bool operator==(const particle&, const particle&) = default;
};
auto haz_fields(particle& p) { return std::tie(p.x, p.y, p.name, p.hits); }

struct plain {
  int a;
  double b;
  friend bool operator==(const plain&, const plain&) = default;
};

enum class colour : std::uint8_t { red, green = 200 };

}  // namespace shapes

namespace {

/// Registers the function that returns its argument, for T.
template <class T>
T same(T value) {
  return value;
}

template <class T>
void expect_comes_back(const T& value) {
  EXPECT_EQ(haz::get(haz::task(same<T>).remote(value)), value);
  EXPECT_EQ(haz::get(haz::put(value)), value);
  EXPECT_EQ(haz::get(haz::task(same<T>).remote(haz::put(value))), value);
}

using pairs = std::vector<std::pair<std::string, int>>;
using text_map = std::map<std::string, std::vector<double>>;
using hash_map = std::unordered_map<int, std::string>;
using mixed = std::tuple<int, std::string, std::optional<double>>;
using maybe = std::optional<std::string>;
using complexes = std::vector<std::complex<double>>;
using three = std::array<float, 3>;
using names = std::array<std::string, 2>;
using many = std::array<double, 1000>;
HAZ_REMOTE(same<bool>);

/// task_test.cpp has another one of this name.
int in_each_file() { return 2; }
HAZ_REMOTE(in_each_file);
HAZ_REMOTE(same<int>);
HAZ_REMOTE(same<std::int64_t>);
HAZ_REMOTE(same<std::uint64_t>);
HAZ_REMOTE(same<std::uint8_t>);
HAZ_REMOTE(same<double>);
HAZ_REMOTE(same<float>);
HAZ_REMOTE(same<std::string>);
HAZ_REMOTE(same<std::vector<double>>);
HAZ_REMOTE(same<std::vector<bool>>);
HAZ_REMOTE(same<std::vector<std::string>>);
HAZ_REMOTE(same<std::vector<char>>);
HAZ_REMOTE(same<std::list<std::string>>);
HAZ_REMOTE(same<std::set<int>>);
HAZ_REMOTE(same<pairs>);
HAZ_REMOTE(same<text_map>);
HAZ_REMOTE(same<hash_map>);
HAZ_REMOTE(same<mixed>);
HAZ_REMOTE(same<maybe>);
HAZ_REMOTE(same<std::complex<double>>);
HAZ_REMOTE(same<complexes>);
HAZ_REMOTE(same<three>);
HAZ_REMOTE(same<names>);
HAZ_REMOTE(same<many>);
HAZ_REMOTE(same<shapes::particle>);
HAZ_REMOTE(same<std::vector<shapes::particle>>);
HAZ_REMOTE(same<shapes::plain>);
HAZ_REMOTE(same<shapes::colour>);

TEST(Value, FunctionsOfThisFileAreFound) {
  EXPECT_EQ(haz::get(haz::task(in_each_file).remote()), 2);
}

TEST(Value, Numbers) {
  expect_comes_back(true);
  expect_comes_back(std::numeric_limits<int>::min());
  expect_comes_back(std::numeric_limits<std::int64_t>::max());
  expect_comes_back(std::numeric_limits<std::uint64_t>::max());
  expect_comes_back(std::uint8_t{255});
  expect_comes_back(-0.1);
  expect_comes_back(std::numeric_limits<float>::infinity());
  expect_comes_back(std::complex<double>(1, -2));
  expect_comes_back(shapes::colour::green);
}

TEST(Value, TextsOfAllSizes) {
  expect_comes_back(std::string());
  expect_comes_back(std::string("grüße, 世界"));
  expect_comes_back(std::string("\xff\x00 no text", 10));
  expect_comes_back(std::string(2000, 'x'));
  expect_comes_back(std::string(100'000, 'y'));
  expect_comes_back(std::vector<char>{'a', '\0', 'b'});
}

TEST(Value, Containers) {
  expect_comes_back(std::vector<double>{});
  expect_comes_back(std::vector<double>{1, 2.5});
  expect_comes_back(std::vector<double>(10'000, 0.25));
  expect_comes_back(std::vector<bool>{true, false, true});
  expect_comes_back(std::vector<std::string>(300, "item"));
  expect_comes_back(std::list<std::string>{"a", "b"});
  expect_comes_back(std::set<int>{3, 1, 2});
  expect_comes_back(pairs{{"one", 1}, {"two", 2}});
  expect_comes_back(text_map{{"empty", {}}, {"some", {1, 2, 3}}});
  expect_comes_back(hash_map{{1, "one"}, {-2, "minus two"}});
  expect_comes_back(mixed{1, "two", 3.5});
  expect_comes_back(mixed{1, "two", std::nullopt});
  expect_comes_back(maybe());
  expect_comes_back(maybe("here"));
  expect_comes_back(complexes{{1, 2}, {3, 4}});
  expect_comes_back(three{1, 2, 3});
  expect_comes_back(names{"a", "b"});
  many numbers{};
  numbers.back() = 7;
  expect_comes_back(numbers);
}

TEST(Value, TypesOfUsers) {
  const shapes::particle one{1, 2, "electron", {4, 5}};
  expect_comes_back(one);
  expect_comes_back(std::vector(50, one));
  expect_comes_back(shapes::plain{3, 0.5});
}

double sum(haz::array<const double> x) {
  double total = 0;
  for (std::int64_t i = 0; i < x.size(); ++i)
    total += x[i];
  return total;
}
HAZ_REMOTE(sum);

double sum_of_span(std::span<const double> x) {
  double total = 0;
  for (const double item : x)
    total += item;
  return total;
}
HAZ_REMOTE(sum_of_span);

haz::owned_array<double, 2> table(int rows, int columns) {
  auto made = haz::zeros<double>(rows, columns);
  for (int i = 0; i < rows; ++i) {
    for (int j = 0; j < columns; ++j)
      made(i, j) = 10 * i + j;
  }
  return made;
}
HAZ_REMOTE(table);

std::size_t length(std::string_view text) { return text.size(); }
HAZ_REMOTE(length);

TEST(Value, ArraysAreParametersWithoutACopy) {
  const std::vector<double> numbers(20'000, 0.5);
  EXPECT_DOUBLE_EQ(haz::get(haz::task(sum).remote(numbers)), 10'000);
  EXPECT_DOUBLE_EQ(haz::get(haz::task(sum_of_span).remote(std::span(numbers))), 10'000);
  EXPECT_DOUBLE_EQ(haz::get(haz::task(sum_of_span).remote(haz::put(numbers))), 10'000);
  EXPECT_DOUBLE_EQ(haz::get(haz::task(sum).remote(std::vector<double>{1, 2})), 3);
}

TEST(Value, ViewsLieInTheStore) {
  const haz::ref<haz::view<double>> stored = haz::put(std::vector<double>(5000, 1.5));
  const haz::view<double> first = haz::get(stored);
  const haz::view<double> second = haz::get(stored);
  EXPECT_EQ(first.data(), second.data());
  EXPECT_EQ(first.size(), 5000);
  EXPECT_DOUBLE_EQ(first[4999], 1.5);
}

TEST(Value, ViewsKeepTheirObject) {
  haz::view<double> kept =
      haz::get(haz::ref<haz::view<double>>(haz::put(std::vector<double>(5000, 1.5))));
  for (int i = 0; i < 20; ++i)
    (void)haz::put(std::vector<double>(5000, -1.0));
  EXPECT_DOUBLE_EQ(kept[0], 1.5);
  EXPECT_DOUBLE_EQ(kept[4999], 1.5);
}

TEST(Value, ArraysOfSeveralAxes) {
  const haz::ref<haz::view<double, 2>> small = haz::task(table).remote(2, 3);
  EXPECT_DOUBLE_EQ(haz::get(small)(1, 2), 12);
  const haz::ref<haz::view<double, 2>> large = haz::task(table).remote(40, 50);
  const haz::view<double, 2> view = haz::get(large);
  EXPECT_EQ(view.shape(0), 40);
  EXPECT_EQ(view.shape(1), 50);
  EXPECT_DOUBLE_EQ(view(39, 49), 439);
}

TEST(Value, TextsAreTakenAsTheyCome) {
  EXPECT_EQ(haz::get(haz::task(length).remote("four")), 4U);
  EXPECT_EQ(haz::get(haz::task(length).remote(std::string("five!"))), 5U);
}

int through(const std::map<std::string, haz::ref<int>>& named) {
  return haz::get(named.at("here"));
}
HAZ_REMOTE(through);

TEST(Value, RefsInsideOfValues) {
  const std::map<std::string, haz::ref<int>> named{{"here", haz::put(12)}};
  EXPECT_EQ(haz::get(haz::task(through).remote(named)), 12);
  // The map holds the last ref of the number.
  const auto stored = haz::put(std::map<std::string, haz::ref<int>>{{"here", haz::put(13)}});
  EXPECT_EQ(haz::get(haz::get(stored).at("here")), 13);
}

TEST(Value, NumberThatDoesNotFitIsAnError) {
  const haz::ref<std::int64_t> large = haz::put(std::int64_t{1} << 40);
  try {
    (void)haz::get(haz::task(same<int>).remote(large));
    FAIL();
  } catch (const haz::task_error& error) {
    EXPECT_NE(std::string(error.what()).find("does not fit into int"), std::string::npos)
        << error.what();
    EXPECT_NE(std::string(error.what()).find("argument 1"), std::string::npos) << error.what();
  }
}

}  // namespace
