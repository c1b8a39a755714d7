// Call functions of Python by name: they run in workers that are interpreters, with this program's
// values. `call_python /path/to/python3` names the interpreter, in which haz must be installed.
#include <haz/haz.h>

#include <cstdio>
#include <string>
#include <vector>

double half(double x) { return x / 2; }
HAZ_REMOTE(half);

int main(int argc, char** argv) {
  const auto runtime = haz::init(argc, argv, {.python = argc > 1 ? argv[1] : "python3"});

  // The types are those that C++ sees.
  const auto sum = haz::py_function<double(std::vector<std::string>)>("math", "fsum");
  const auto hypot = haz::py_function<double(double, double)>("math", "hypot");
  const auto wrap =
      haz::py_function<std::vector<std::string>(std::string, int)>("textwrap", "wrap");

  // Refs go from one language to the other; no value comes here in between.
  const haz::ref<double> length = hypot.remote(3.0, 4.0);
  std::printf("half of %g is %g\n", haz::get(length), haz::get(haz::task(half).remote(length)));

  for (const std::string& line : haz::get(wrap.remote("the quick brown fox jumps", 10)))
    std::printf("  %s\n", line.c_str());

  try {
    haz::get(sum.remote(std::vector<std::string>{"one", "two"}));
  } catch (const haz::task_error& error) {  // Python's exception, with its traceback in what()
    std::printf("%s: %s\n", error.type_name().c_str(), error.message().c_str());
  }
}
