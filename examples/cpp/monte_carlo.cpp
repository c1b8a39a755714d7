// Estimate pi from random points, and print what comes as it comes.
#include <haz/haz.h>

#include <algorithm>
#include <cstdio>
#include <random>
#include <ranges>
#include <vector>

constexpr int kTasks = 40;
constexpr int kPoints = 50'000;

// Each call has a seed: a generator that is made before the tasks would be the same in all workers.
int points_in_circle(int number, unsigned seed) {
  std::mt19937 generator(seed);
  std::uniform_real_distribution<double> uniform;
  int inside = 0;
  for (int i = 0; i < number; ++i) {
    const double x = uniform(generator);
    const double y = uniform(generator);
    inside += x * x + y * y < 1 ? 1 : 0;
  }
  return inside;
}
HAZ_REMOTE(points_in_circle);

int main(int argc, char** argv) {
  const auto runtime = haz::init(argc, argv);
  const std::vector<int> points(kTasks, kPoints);
  std::vector<haz::ref<int>> pending =
      haz::task(points_in_circle).map(points, std::views::iota(0U));
  long inside = 0;
  std::size_t done = 0;
  while (!pending.empty()) {
    // Those that are ready first; the rest is waited for again.
    auto found = haz::wait(pending, std::min<std::size_t>(10, pending.size()));
    for (const int count : haz::get(found.ready))
      inside += count;
    done += found.ready.size();
    pending = std::move(found.pending);
    std::printf("%2zu of %d tasks: pi is about %.4f\n", done, kTasks,
                4.0 * static_cast<double>(inside) / static_cast<double>(done * kPoints));
  }
}
