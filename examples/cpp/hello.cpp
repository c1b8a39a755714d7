// One task, from the call to its result.
#include <haz/haz.h>

#include <iostream>
#include <string>

std::string hello(const std::string& name) { return "hello, " + name; }
HAZ_REMOTE(hello);

int main(int argc, char** argv) {
  const auto runtime = haz::init(argc, argv);  // first in main: workers are copies of what is here
  const haz::ref<std::string> ref = haz::task(hello).remote("world");  // returns at once
  std::cout << haz::get(ref) << "\n";                                  // waits for the value
}
