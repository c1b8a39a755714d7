#include <gtest/gtest.h>
#include <haz/haz.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;

int square(int x) { return x * x; }
HAZ_REMOTE(square);

double add(double a, double b) { return a + b; }
HAZ_REMOTE(add);

int process_id() noexcept { return static_cast<int>(::getpid()); }
HAZ_REMOTE(process_id);

void nothing() {}
HAZ_REMOTE(nothing);

void sleep_ms(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }
HAZ_REMOTE(sleep_ms);

int sum_of_squares(int n) {
  std::vector<haz::ref<int>> parts;
  for (int i = 0; i < n; ++i)
    parts.push_back(haz::task(square).remote(i));
  int sum = 0;
  for (const int part : haz::get(parts))
    sum += part;
  return sum;
}
HAZ_REMOTE(sum_of_squares);

int refuses_number(int x) { throw std::runtime_error("of " + std::to_string(x)); }
HAZ_REMOTE(refuses_number);

/// value_test.cpp has another one of this name.
int in_each_file() { return 1; }
HAZ_REMOTE(in_each_file);

namespace first {
int same_name() { return 10; }
HAZ_REMOTE(same_name);
class same_class {
 public:
  int get() { return 100; }
};
HAZ_ACTOR(same_class(), &same_class::get);
}  // namespace first
namespace second {
int same_name() { return 20; }
HAZ_REMOTE(same_name);
class same_class {
 public:
  int get() { return 200; }
};
HAZ_ACTOR(same_class(), &same_class::get);
}  // namespace second

std::string thread_variable() {
  const char* const value = std::getenv("OMP_NUM_THREADS");
  return value != nullptr ? value : "none";
}
HAZ_REMOTE(thread_variable);

/// Waits for another task, which may run on top of it, and tells what it finds before and after.
std::string thread_variables() {
  const std::string before = thread_variable();
  const std::string inner = haz::get(haz::task(thread_variable).remote());
  return before + inner + thread_variable();
}
HAZ_REMOTE(thread_variables);

int unregistered(int x) { return x; }

TEST(Task, ReturnsWhatItsFunctionReturns) {
  EXPECT_EQ(haz::get(haz::task(square).remote(7)), 49);
  haz::get(haz::task(nothing).remote());
}

struct circle {
  double radius = 0;
  [[nodiscard]] double area(double pi) const { return pi * radius * radius; }
  double grown(double by) { return radius += by; }
};
HAZ_REMOTE(circle::area);
HAZ_REMOTE(circle::grown);

struct scaling {
  double factor = 1;
  std::string unit;
  std::string operator()(const std::vector<int>& all, int index) const {
    return std::to_string(static_cast<int>(factor * all.at(static_cast<std::size_t>(index)))) +
           unit;
  }
};
auto haz_fields(scaling& s) { return std::tie(s.factor, s.unit); }
HAZ_REMOTE(scaling::operator());

struct not_registered {
  int operator()() const { return 1; }
};

TEST(Task, MayBeAMemberFunction) {
  const circle unit{2};
  EXPECT_EQ(haz::get(haz::task(&circle::area).remote(unit, 3.0)), 12);
  EXPECT_EQ(haz::get(haz::task(&circle::area).remote(haz::put(unit), haz::put(3.0))), 12);
  EXPECT_EQ(haz::get(haz::task(&circle::grown).remote(unit, 1)), 3);
  EXPECT_EQ(unit.radius, 2) << "a copy";
}

TEST(Task, MayBeAFunctor) {
  const auto in_m = haz::task(scaling{100, "m"});
  EXPECT_EQ(haz::get(in_m.remote(std::vector<int>{1, 2, 3}, 2)), "300m");
  EXPECT_EQ(haz::get(in_m.options({.num_cpus = 2}).remote(haz::put(std::vector<int>{5}), 0)),
            "500m");
  EXPECT_THROW((void)haz::task(not_registered{}), haz::usage_error);
}

TEST(Task, RunsInAnotherProcess) {
  EXPECT_NE(haz::get(haz::task(process_id).remote()), ::getpid());
}

TEST(Task, IsOfTheFunctionOfItsOwnFileAndNamespace) {
  EXPECT_EQ(haz::get(haz::task(in_each_file).remote()), 1);
  EXPECT_EQ(haz::get(haz::task(first::same_name).remote()), 10);
  EXPECT_EQ(haz::get(haz::task(second::same_name).remote()), 20);
  const auto one = haz::actor_of<first::same_class>().options({.name = "one"}).remote();
  const auto two = haz::actor_of<second::same_class>().options({.name = "two"}).remote();
  EXPECT_EQ(haz::get(one.call(&first::same_class::get)), 100);
  EXPECT_EQ(haz::get(two.call(&second::same_class::get)), 200);
  EXPECT_EQ(haz::get(haz::get_actor<second::same_class>("two").call(&second::same_class::get)),
            200);
  EXPECT_THROW((void)haz::get_actor<second::same_class>("one"), haz::type_error);
}

TEST(Task, ItsEnvironmentSaysHowManyThreadsItHas) {
  if (std::getenv("OMP_NUM_THREADS") != nullptr) GTEST_SKIP() << "set by the user";
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(haz::get(haz::task(thread_variable).remote()), "1");
    EXPECT_EQ(haz::get(haz::task(thread_variable).options({.num_cpus = 2}).remote()), "2");
    EXPECT_EQ(haz::get(haz::task(thread_variables).options({.num_cpus = 2}).remote()), "212");
  }
  EXPECT_EQ(std::getenv("OMP_NUM_THREADS"), nullptr) << "only in tasks";
}

TEST(Task, ConvertsArgumentsAsACallDoes) {
  EXPECT_DOUBLE_EQ(haz::get(haz::task(add).remote(1, 2.5F)), 3.5);
}

TEST(Task, GetsTheValuesOfRefs) {
  const haz::ref<int> nine = haz::task(square).remote(3);
  const haz::ref<double> half = haz::put(0.5);
  EXPECT_DOUBLE_EQ(haz::get(haz::task(add).remote(nine, half)), 9.5);
}

TEST(Task, SubmitsTasksAndWaitsForThem) {
  EXPECT_EQ(haz::get(haz::task(sum_of_squares).remote(50)), 40425);
}

TEST(Task, OfAFunctionThatIsNotRegisteredIsAnErrorThatSaysHow) {
  try {
    (void)haz::task(unregistered);
    FAIL();
  } catch (const haz::usage_error& error) {
    EXPECT_NE(std::string(error.what()).find("HAZ_REMOTE"), std::string::npos);
  }
}

TEST(Task, ManyFromManyThreads) {
  constexpr int kThreads = 4;
  constexpr int kTasks = 500;
  std::atomic<int> wrong = 0;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&wrong] {
        std::vector<haz::ref<int>> refs;
        for (int i = 0; i < kTasks; ++i)
          refs.push_back(haz::task(square).remote(i));
        const std::vector<int> values = haz::get(refs);
        for (int i = 0; i < kTasks; ++i)
          wrong += values[static_cast<std::size_t>(i)] != i * i ? 1 : 0;
      });
    }
  }
  EXPECT_EQ(wrong, 0);
}

TEST(Task, OptionsAreChecked) {
  EXPECT_THROW((void)haz::task(square).options({.num_cpus = -1}), haz::usage_error);
  EXPECT_THROW((void)haz::task(square).options({.timeout_s = 0}), haz::usage_error);
  EXPECT_THROW((void)haz::task(square).options({.resources = {{"CPU", 1}}}), haz::usage_error);
  EXPECT_THROW((void)haz::task(square).options({.max_retries = -2}), haz::usage_error);
  EXPECT_THROW((void)haz::task(square).options({.num_cpus = std::nan("")}), haz::usage_error);
}

TEST(Task, ThatCanNeverBePlacedIsAnError) {
  EXPECT_THROW((void)haz::task(square).options({.num_cpus = 1000}).remote(1),
               haz::infeasible_resources_error);
  EXPECT_THROW((void)haz::task(square).options({.resources = {{"unheard", 1}}}).remote(1),
               haz::infeasible_resources_error);
}

TEST(Get, OfSeveralTypes) {
  const auto [a, b] = haz::get(haz::task(square).remote(2), haz::task(add).remote(1.0, 1.5));
  EXPECT_EQ(a, 4);
  EXPECT_DOUBLE_EQ(b, 2.5);
}

TEST(Get, ForSomeTimeOnly) {
  const haz::ref<void> slow = haz::task(sleep_ms).remote(30'000);
  EXPECT_THROW(haz::get_for(slow, 10ms), haz::get_timeout_error);
  haz::cancel(slow, {.force = true});
  EXPECT_THROW(haz::get(slow), haz::task_cancelled_error);
}

TEST(Get, OfManyKeepsTheirOrder) {
  std::vector<haz::ref<int>> squares;
  std::vector<haz::ref<void>> nothings;
  for (int i = 0; i < 1000; ++i) {
    squares.push_back(haz::task(square).remote(i));
    nothings.push_back(haz::task(nothing).remote());
  }
  const std::vector<int> values = haz::get(squares);
  ASSERT_EQ(values.size(), squares.size());
  for (int i = 0; i < 1000; ++i)
    EXPECT_EQ(values[static_cast<std::size_t>(i)], i * i);
  haz::get(nothings);
  EXPECT_TRUE(haz::get(std::vector<haz::ref<int>>{}).empty());
}

TEST(Get, OfManyOfWhichOneHasFailed) {
  std::vector<haz::ref<int>> refs;
  for (int i = 0; i < 700; ++i)
    refs.push_back(i == 500 ? haz::task(refuses_number).remote(i) : haz::task(square).remote(i));
  for (int again = 0; again < 2; ++again) {
    try {
      (void)haz::get(refs);
      FAIL() << "no error";
    } catch (const haz::task_error& error) {
      EXPECT_NE(std::string(error.what()).find("of 500"), std::string::npos) << error.what();
    }
  }
}

TEST(Get, OfNothingIsAnError) {
  EXPECT_THROW(haz::get(haz::ref<int>()), haz::object_lost_error);
  EXPECT_THROW((void)haz::task(square).remote(haz::ref<int>()), haz::object_lost_error);
}

TEST(Get, OfAnotherTypeThanTheValueIsAnError) {
  const haz::ref<std::string> text = haz::put(std::string("words"));
  const auto wrong = haz::ref<int>::adopt(text.id());
  haz::detail::current_engine().add_reference(text.id());
  EXPECT_THROW((void)haz::get(wrong), haz::type_error);
}

TEST(Wait, GivesThoseThatAreReady) {
  const haz::ref<int> fast = haz::task(square).remote(5);
  (void)haz::get(fast);
  const haz::ref<int> also = haz::put(1);
  const auto result = haz::wait(std::vector{fast, also}, 1);
  ASSERT_EQ(result.ready.size(), 1U);
  EXPECT_EQ(result.ready.front(), fast);
  ASSERT_EQ(result.pending.size(), 1U);
  EXPECT_EQ(result.pending.front(), also);
  EXPECT_THROW((void)haz::wait(std::vector{fast}, 2), haz::usage_error);
}

TEST(Wait, NoLongerThanItsTimeout) {
  const haz::ref<void> slow = haz::task(sleep_ms).remote(30'000);
  const auto result = haz::wait(std::vector{slow}, 1, 10ms);
  EXPECT_TRUE(result.ready.empty());
  EXPECT_EQ(result.pending.size(), 1U);
  haz::cancel(slow, {.force = true});
}

}  // namespace
