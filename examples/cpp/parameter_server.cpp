// Fit a line to points by gradient descent: a server has the parameters, workers the data.
#include <haz/haz.h>

#include <cstdio>
#include <random>
#include <vector>

constexpr int kWorkers = 4;
constexpr int kPoints = 1000;
constexpr int kRounds = 200;

using numbers = std::vector<double>;

class server {
 public:
  explicit server(int count) : parameters_(static_cast<std::size_t>(count), 0.0) {}

  // Takes a step against each gradient, and returns the parameters after it.
  numbers apply(const std::vector<haz::ref<numbers>>& gradients, double rate) {
    for (const numbers& gradient : haz::get(gradients)) {
      for (std::size_t i = 0; i < parameters_.size(); ++i)
        parameters_[i] -= rate * gradient[i];
    }
    return parameters_;
  }

 private:
  numbers parameters_;
};
HAZ_ACTOR(server(int), &server::apply);

class worker {
 public:
  explicit worker(unsigned seed) {
    std::mt19937 generator(seed);
    std::normal_distribution<double> normal;
    for (int i = 0; i < kPoints; ++i) {
      const double x = normal(generator);
      x_.push_back(x);
      y_.push_back(3 * x - 2 + 0.1 * normal(generator));
    }
  }

  // Of the mean square error of y = slope * x + offset on this worker's points.
  numbers gradient(const numbers& parameters) {
    numbers sum(2, 0.0);
    for (std::size_t i = 0; i < x_.size(); ++i) {
      const double error = parameters[0] * x_[i] + parameters[1] - y_[i];
      sum[0] += 2 * error * x_[i] / kPoints;
      sum[1] += 2 * error / kPoints;
    }
    return sum;
  }

 private:
  numbers x_;
  numbers y_;
};
HAZ_ACTOR(worker(unsigned), &worker::gradient);

int main(int argc, char** argv) {
  const auto runtime = haz::init(argc, argv, {.num_cpus = 4});
  const auto parameter_server = haz::make_actor<server>(2);
  std::vector<haz::actor<worker>> workers;
  for (unsigned seed = 0; seed < kWorkers; ++seed)
    workers.push_back(haz::make_actor<worker>(seed));

  haz::ref<numbers> parameters = haz::put(numbers(2, 0.0));
  for (int round = 1; round <= kRounds; ++round) {
    std::vector<haz::ref<numbers>> gradients;
    for (const auto& one : workers)
      gradients.push_back(one.call(&worker::gradient, parameters));
    parameters = parameter_server.call(&server::apply, gradients, 0.02);
    if (round % 50 == 0) {
      const numbers now = haz::get(parameters);
      std::printf("round %3d: y = %.2f x %+.2f\n", round, now[0], now[1]);
    }
  }
}
