"""A parallel loop in C++: exp(-gamma (x - y)^2) over millions of numbers, beside NumPy, and as tasks.

It is compiled when the program first runs, which takes a second and needs g++ or clang++.
"""

import time

import haz
import haz.cpp
import numpy as np

SIZE = 4_000_000
CPUS = 2

kernels = haz.cpp.compile("""
using input = haz::array<const double, 1, haz::contiguous>;

haz::owned_array<double> gauss(double gamma, input x, input y) {
  haz::check_same_shape(x, y);
  auto z = haz::empty_like(x);
  haz::parallel_for(x.size(), {.schedule = haz::schedule::guided},
                    [&](auto i) { z[i] = exp(-gamma * pow(x[i] - y[i], 2)); });
  return z;
}

double total(input x) { return haz::parallel_reduce(x.size(), 0.0, [&](auto i) { return x[i]; }); }
""")


def timed(name, function, *args):
    begin = time.perf_counter()
    result = function(*args)
    print(f"{name:<28} {1e3 * (time.perf_counter() - begin):8.1f} ms")
    return result


def main():
    x, y = np.random.default_rng(0).standard_normal((2, SIZE))
    wanted = timed("NumPy", lambda: np.exp(-1.0 * (x - y) ** 2))
    here = timed(f"C++, {haz.cpp.max_threads()} threads", kernels.gauss, 1.0, x, y)
    print("the same:", np.allclose(wanted, here))

    # Kernels are remote functions: they read the store's arrays in place, and a task's loops
    # have as many threads as it has CPUs.
    haz.init(num_cpus=CPUS)
    gauss = haz.remote(kernels.gauss).options(num_cpus=CPUS)
    total = haz.remote(kernels.total).options(num_cpus=CPUS)
    refs = [haz.put(x), haz.put(y)]
    sums = timed(
        "two tasks for each of three",
        lambda: haz.get([total.remote(gauss.remote(gamma, *refs)) for gamma in (0.5, 1.0, 2.0)]),
    )
    print("the same sum:", np.isclose(sums[1], wanted.sum()))


if __name__ == "__main__":
    main()
