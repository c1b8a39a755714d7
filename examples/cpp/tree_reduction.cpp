// Add numbers up in a chain and in a tree: the tree has three steps where the chain has seven.
//
// A ref given as an argument of a task arrives as its value, and the task starts when all of them
// are there. So a whole graph of tasks is laid out at once, and nobody waits in between.
#include <haz/haz.h>

#include <chrono>
#include <cstdio>
#include <thread>
#include <vector>

constexpr double kStepS = 0.1;

int add(int a, int b) {
  std::this_thread::sleep_for(std::chrono::duration<double>(kStepS));  // stands for real work
  return a + b;
}
HAZ_REMOTE(add);

using numbers = std::vector<haz::ref<int>>;

// ((1 + 2) + 3) + 4 ...: each step needs the one before it.
haz::ref<int> chain(const numbers& given) {
  haz::ref<int> total = given.front();
  for (std::size_t i = 1; i < given.size(); ++i)
    total = haz::task(add).remote(total, given[i]);
  return total;
}

// (1 + 2) + (3 + 4) ...: the additions of one level run at the same time.
haz::ref<int> tree(numbers level) {
  while (level.size() > 1) {
    numbers next;
    for (std::size_t i = 0; i + 1 < level.size(); i += 2)
      next.push_back(haz::task(add).remote(level[i], level[i + 1]));
    level = next;
  }
  return level.front();
}

template <class Shape>
void measure(const char* name, const Shape& shape, const numbers& given) {
  const auto start = std::chrono::steady_clock::now();
  const int total = haz::get(shape(given));
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  std::printf("%s: %d, after the time of %.1f additions\n", name, total, took.count() / kStepS);
}

int main(int argc, char** argv) {
  const auto runtime = haz::init(argc, argv, {.num_cpus = 4});
  numbers given;
  for (int i = 1; i <= 8; ++i)
    given.push_back(haz::put(i));
  measure("chain", chain, given);
  measure("tree", tree, given);
}
