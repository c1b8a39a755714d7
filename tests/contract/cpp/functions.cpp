// A library of C++ functions and classes, as users of haz.cpp_function() and haz.cpp_class() write
// them. The tests compile it.
#include <haz/haz.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

void nothing() {}
HAZ_REMOTE(nothing);

int add(int a, int b) { return a + b; }
HAZ_REMOTE(add);

double weighted(haz::array<const double> x, double weight) {
  double sum = 0;
  for (int i = 0; i < x.size(); ++i)
    sum += x[i] * weight;
  return sum;
}
HAZ_REMOTE(weighted);

haz::owned_array<float, 2> scaled(haz::view<float, 2> x, float factor) {
  auto y = haz::empty<float>(x.shape(0), x.shape(1));
  for (int i = 0; i < x.shape(0); ++i) {
    for (int j = 0; j < x.shape(1); ++j)
      y(i, j) = factor * x(i, j);
  }
  return y;
}
HAZ_REMOTE(scaled);

// Where the array lies: equal for two tasks of one process only if neither has copied it.
std::uint64_t place(haz::view<double> x) { return reinterpret_cast<std::uint64_t>(x.data()); }
HAZ_REMOTE(place);

using everything =
    std::tuple<std::string, std::vector<std::string>, std::map<std::string, double>,
               std::optional<int>, bool, std::pair<int, double>, std::vector<double>, std::int64_t>;
everything echo(std::string text, std::vector<std::string> list, std::map<std::string, double> dict,
                std::optional<int> maybe, bool flag, std::pair<int, double> pair,
                std::vector<double> numbers, std::int64_t large) {
  return {text, list, dict, maybe, flag, pair, numbers, large};
}
HAZ_REMOTE(echo);

namespace geometry {

struct point {
  double x = 0, y = 0;
};
inline auto haz_fields(point& p) { return std::tie(p.x, p.y); }
point flipped(point p) { return {p.y, p.x}; }

}  // namespace geometry
HAZ_REMOTE(geometry::flipped);

// Holds others of its own kind.
struct tree {
  int value = 0;
  std::vector<tree> children;
};
auto haz_fields(tree& t) { return std::tie(t.value, t.children); }
int total(const tree& t) {
  int sum = t.value;
  for (const tree& child : t.children)
    sum += total(child);
  return sum;
}
HAZ_REMOTE(total);
tree path(int length) {
  tree made;
  for (int i = 1; i < length; ++i) {
    tree longer;
    longer.children.push_back(std::move(made));
    made = std::move(longer);
  }
  return made;
}
HAZ_REMOTE(path);

namespace first {
int same_name() { return 1; }
HAZ_REMOTE(same_name);
}  // namespace first
namespace second {
int same_name() { return 2; }
HAZ_REMOTE(same_name);
class Same {
 public:
  explicit Same(int value) : value_(value) {}
  int get() { return value_; }

 private:
  int value_;
};
HAZ_ACTOR(Same(int), &Same::get);
}  // namespace second
namespace third {
class Same {
 public:
  explicit Same(int value) : value_(value) {}
  int get() { return 3 * value_; }

 private:
  int value_;
};
HAZ_ACTOR(Same(int), &Same::get);
}  // namespace third
int both_of_a_name() {
  return haz::get(haz::task(first::same_name).remote()) +
         10 * haz::get(haz::task(second::same_name).remote());
}
HAZ_REMOTE(both_of_a_name);

int fail(const std::string& how) {
  using namespace std::chrono_literals;
  if (how == "invalid") throw std::invalid_argument("bad value");
  if (how == "range") throw std::out_of_range("too far");
  if (how == "runtime") throw std::runtime_error("sad");
  if (how == "int") throw 42;
  if (how == "long") throw std::runtime_error(std::string(100'000, 'x'));
  if (how == "memory") return static_cast<int>(std::vector<char>(std::size_t{1} << 60U).size());
  if (how == "abort") std::abort();
  if (how == "segv") std::raise(SIGSEGV);
  if (how == "exit") ::_exit(3);
  while (how == "sleep" || (how == "heed" && !haz::should_stop()))
    std::this_thread::sleep_for(1ms);
  return 7;
}
HAZ_REMOTE(fail);

double power(double base, int exponent) { return std::pow(base, exponent); }
HAZ_REMOTE(power, base, exponent);

// Notes in a file that it ran, and throws.
int fail_again(const std::string& file, const std::string& how) {
  std::ofstream(file, std::ios::app) << 'x';
  return fail(how);
}
HAZ_REMOTE(fail_again);

std::string fail_at(int number, const std::string& text) {
  if (number % 5 == 3) throw std::runtime_error(text + std::to_string(number));
  return std::to_string(number) + text;
}
HAZ_REMOTE(fail_at);

// Waits for a task of its own kind: so blocked workers run what they wait for.
int depth(int left) { return left <= 0 ? 0 : haz::get(haz::task(depth).remote(left - 1)) + 1; }
HAZ_REMOTE(depth);

// Of each item, or its error; some items make one task.
std::vector<std::string> mapped(int count, int chunksize, const std::string& text) {
  const auto task = haz::task(fail_at).options({.chunksize = static_cast<std::size_t>(chunksize)});
  std::vector<int> items(static_cast<std::size_t>(count));
  std::iota(items.begin(), items.end(), 0);
  std::vector<std::string> told;
  for (const haz::ref<std::string>& ref : task.map(items, std::vector(items.size(), text))) {
    try {
      told.push_back(haz::get(ref));
    } catch (const haz::task_error& error) {
      told.push_back(error.message());
    }
  }
  return told;
}
HAZ_REMOTE(mapped);

int num_threads() { return haz::max_threads(); }
HAZ_REMOTE(num_threads);

void say(const std::string& words) {
  std::cout << words << " by cout\n";
  std::printf("%s by printf\n", words.c_str());
}
HAZ_REMOTE(say);

haz::ref<int> stored(int value) { return haz::put(value); }
HAZ_REMOTE(stored);

int sum_of(const std::vector<haz::ref<int>>& refs) {
  int sum = 0;
  for (const haz::ref<int>& one : refs)
    sum += haz::get(one);
  return sum;
}
HAZ_REMOTE(sum_of);

std::int64_t pid() { return ::getpid(); }
HAZ_REMOTE(pid);

double hypotenuse(double a, double b) {
  return haz::get(haz::py_function<double(double, double)>("math", "hypot").remote(a, b));
}
HAZ_REMOTE(hypotenuse);

class Counter {
 public:
  explicit Counter(int start) : value_(start) {
    if (start < 0) throw std::invalid_argument("negative");
  }
  int add(int amount) { return value_ += amount; }
  int add_all(const std::vector<int>& amounts) {
    for (const int amount : amounts)
      value_ += amount;
    return value_;
  }
  int fail() { throw std::logic_error("no"); }
  double keep(haz::view<double> x) {
    kept_ = x;
    return x[0];
  }
  double kept() const { return (*kept_)[kept_->size() - 1]; }
  haz::owned_array<double> zeros(int size) { return haz::zeros<double>(size); }
  int die() { std::abort(); }
  std::int64_t pid() { return ::getpid(); }
  int slow() {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    return value_;
  }

 private:
  int value_;
  std::optional<haz::view<double>> kept_;
};
HAZ_ACTOR(Counter(int start), &Counter::add, &Counter::add_all, &Counter::fail, &Counter::keep,
          &Counter::kept, &Counter::zeros, &Counter::die, &Counter::pid, &Counter::slow);
HAZ_PARAMETERS(Counter::add, amount);

int add_by_name(const std::string& name, int amount) {
  return haz::get(haz::get_actor<Counter>(name).call(&Counter::add, amount));
}
HAZ_REMOTE(add_by_name);

int count_words(const std::vector<std::vector<std::string>>& lists,
                const std::map<std::string, std::string>& more) {
  std::size_t count = more.size();
  for (const std::vector<std::string>& list : lists)
    count += list.size();
  return static_cast<int>(count);
}
HAZ_REMOTE(count_words, lists, more);

int count_handles(const std::vector<haz::py_actor>& actors) {
  return static_cast<int>(actors.size());
}
HAZ_REMOTE(count_handles);

int take_handle(const haz::py_actor& actor) { return haz::get(actor.call<int>("add", 0)); }
HAZ_REMOTE(take_handle);

// Makes one that has a name, and returns its handle, which keeps it.
haz::actor<Counter> named_counter(const std::string& name) {
  return haz::actor_of<Counter>().options({.name = name}).remote(100);
}
HAZ_REMOTE(named_counter);

// Of a Python class with methods add(self, n) and names(self, *words).
std::string use_python_actor(const std::string& name) {
  const haz::py_actor actor = haz::get_py_actor(name);
  const haz::ref<int> sum = actor.call<int>("add", haz::put(5));
  const haz::ref<std::string> words =
      actor.call<std::string>({.timeout_s = 60.0}, "join", "a", sum);
  return std::to_string(haz::get(sum)) + " " + haz::get(words);
}
HAZ_REMOTE(use_python_actor);

haz::coroutine<double> root_of_sum(int a, int b) {
  const int sum = co_await haz::task(add).remote(a, b);
  co_return co_await haz::py_function<double(double)>("math", "sqrt").remote(sum);
}
double awaited(int a, int b) { return haz::sync_wait(root_of_sum(a, b)); }
HAZ_REMOTE(awaited, a, b);
