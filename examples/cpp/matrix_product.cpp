// Multiply two pairs of matrices at the same time, and add the products.
//
// Big arrays lie in shared memory: each is written once, by the task that makes it, and whoever
// needs it reads it there, through a haz::array or a haz::view.
#include <haz/haz.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>

constexpr int kSize = 200;

using matrix = haz::owned_array<double, 2>;
using input = haz::array<const double, 2>;

matrix create_matrix(int size, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal;
  matrix made = haz::empty<double>(size, size);
  for (int i = 0; i < size; ++i) {
    for (int j = 0; j < size; ++j)
      made(i, j) = normal(generator);
  }
  return made;
}
HAZ_REMOTE(create_matrix);

matrix multiply(input x, input y) {
  matrix product = haz::zeros<double>(x.shape(0), y.shape(1));
  haz::parallel_for(x.shape(0), [&](auto i) {  // in as many threads as the task has num_cpus
    for (int k = 0; k < x.shape(1); ++k) {
      for (int j = 0; j < y.shape(1); ++j)
        product(i, j) += x(i, k) * y(k, j);
    }
  });
  return product;
}
HAZ_REMOTE(multiply);

matrix sum(input x, input y) {
  haz::check_same_shape(x, y);
  matrix total = haz::empty<double>(x.shape(0), x.shape(1));
  for (int i = 0; i < x.shape(0); ++i) {
    for (int j = 0; j < x.shape(1); ++j)
      total(i, j) = x(i, j) + y(i, j);
  }
  return total;
}
HAZ_REMOTE(sum);

int main(int argc, char** argv) {
  const auto runtime = haz::init(argc, argv, {.num_cpus = 4});
  const auto create = haz::task(create_matrix);
  const auto a = create.remote(kSize, 0), b = create.remote(kSize, 1);
  const auto c = create.remote(kSize, 2), d = create.remote(kSize, 3);
  const auto product = haz::task(multiply).options({.num_cpus = 2});
  const haz::ref<haz::view<double, 2>> total =
      haz::task(sum).remote(product.remote(a, b), product.remote(c, d));
  const haz::view<double, 2> result = haz::get(total);  // no copy

  const matrix ab = multiply(haz::get(a), haz::get(b));  // the same functions, called here
  const matrix cd = multiply(haz::get(c), haz::get(d));
  double error = 0;
  for (int i = 0; i < kSize; ++i) {
    for (int j = 0; j < kSize; ++j)
      error = std::max(error, std::abs(result(i, j) - ab(i, j) - cd(i, j)));
  }
  std::printf("(%d, %d), same as here: %s\n", kSize, kSize, error < 1e-9 ? "yes" : "no");
}
