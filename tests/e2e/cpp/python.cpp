// Functions of Python, called from a program of C++.
#include <haz/haz.h>

#include <chrono>
#include <iostream>
#include <map>
#include <string>
#include <utility>
#include <vector>

int tenfold(int x) { return 10 * x; }
HAZ_REMOTE(tenfold);

double from_task(double x) {
  return haz::get(haz::py_function<double(double)>("math", "sqrt").remote(x));
}
HAZ_REMOTE(from_task);

namespace {

template <class Error, class Work>
void expect(const char* what, Work work) {
  try {
    work();
    std::cout << what << ": nothing was thrown\n";
  } catch (const Error& error) {
    std::cout << what << ": " << error.what() << "\n";
  }
}

void values() {
  std::cout << haz::get(haz::py_function<double(double, double)>("math", "hypot").remote(3, 4.0))
            << "\n";
  using dict = std::map<std::string, std::vector<double>>;
  const auto sums = haz::py_function<std::map<std::string, double>(dict)>("model", "sums");
  for (const auto& [name, sum] : haz::get(sums.remote(dict{{"a", {1, 2}}, {"b", {}}})))
    std::cout << name << " " << sum << "\n";
  auto numbers = haz::zeros<double>(100'000);
  numbers[7] = 5;
  const auto doubled =
      haz::py_function<haz::view<double>(haz::owned_array<double>)>("model", "doubled");
  const haz::ref<haz::view<double>> result = doubled.remote(haz::put(numbers));
  std::cout << haz::get(result)[7] << " " << haz::get(doubled.remote(result))[7] << "\n";
  const auto name = haz::py_function<std::string(std::string)>("model", "Person.greet");
  std::cout << haz::get(name.options({.name = "renamed"}).remote("Ada")) << "\n";
}

void both() {
  std::vector<haz::ref<int>> cpp;
  std::vector<haz::ref<int>> python;
  const auto absolute = haz::py_function<int(int)>("operator", "neg");
  for (int i = 0; i < 50; ++i) {
    cpp.push_back(haz::task(tenfold).remote(i));
    python.push_back(absolute.remote(cpp.back()));
  }
  int sum = 0;
  for (const int one : haz::get(cpp))
    sum += one;
  for (const int one : haz::get(python))
    sum += one;
  std::cout << sum << " " << haz::get(haz::task(from_task).remote(49.0)) << "\n";
  // A function of Python that uses haz itself.
  std::cout << haz::get(haz::py_function<int(int)>("model", "nested").remote(5)) << "\n";
}

void errors() {
  const auto fail = haz::py_function<int(std::string)>("model", "fail");
  try {
    haz::get(fail.remote("sad"));
  } catch (const haz::task_error& error) {
    std::cout << error.type_name() << ": " << error.message() << "\n";
    std::cout << (std::string(error.what()).find("model.py") != std::string::npos) << "\n";
  }
  expect<haz::type_error>("type",
                          [] { haz::get(haz::py_function<int()>("model", "text").remote()); });
  expect<haz::task_error>("module",
                          [] { haz::get(haz::py_function<int()>("no_such", "f").remote()); });
  expect<haz::task_error>("name",
                          [] { haz::get(haz::py_function<int()>("model", "nope").remote()); });
  expect<haz::usage_error>("empty", [] { haz::py_function<int()>("", "f"); });
  expect<haz::worker_crashed_error>("crash", [] {
    haz::get(haz::py_function<int()>("model", "crash").options({.max_retries = 0}).remote());
  });
  expect<haz::task_timeout_error>("timeout", [] {
    haz::get(haz::py_function<int()>("model", "sleep").options({.timeout_s = 0.1}).remote());
  });
  std::cout << haz::get(haz::task(tenfold).remote(1)) << "\n";
}

}  // namespace

int main(int argc, char** argv) {
  const std::string way = argc > 1 ? argv[1] : "";
  const auto runtime = haz::init(argc, argv, {.num_cpus = 2, .python = argc > 2 ? argv[2] : ""});
  if (way == "values") values();
  if (way == "both") both();
  if (way == "errors") errors();
  if (way == "none") {
    expect<haz::runtime_error>("none",
                               [] { haz::py_function<int()>("math", "factorial").remote(); });
    std::cout << haz::get(haz::task(tenfold).remote(4)) << "\n";
  }
}
