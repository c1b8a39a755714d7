"""Functions and a class of a C++ library, as remote functions and actors: no binding is written.

The library is built here by hand, with g++; one of your own comes out of its build system.
"""

import pathlib
import subprocess
import tempfile

import haz
import numpy as np

SOURCE = """
#include <haz/haz.h>

double energy(haz::array<const double> signal, double scale) {
  return haz::parallel_reduce(signal.size(), 0.0,
                              [&](auto i) { return scale * signal[i] * signal[i]; });
}
HAZ_REMOTE(energy, signal, scale);

class Total {
 public:
  explicit Total(double start) : sum_(start) {}
  double add(double amount) { return sum_ += amount; }

 private:
  double sum_;
};
HAZ_ACTOR(Total(double start), &Total::add);
HAZ_PARAMETERS(Total::add, amount);
"""


def build(folder):
    source, library = pathlib.Path(folder, "signal.cpp"), pathlib.Path(folder, "libsignal.so")
    source.write_text(SOURCE)
    flags = ["-std=c++20", "-O2", "-fopenmp", "-shared", "-fPIC", f"-I{haz.get_include()}"]
    subprocess.run(["g++", *flags, source, "-o", library], check=True)
    return library


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        library = build(folder)
        haz.init(num_cpus=2)
        energy = haz.cpp_function(library, "energy")
        total = haz.cpp_class(library, "Total").remote(start=0)

        signal = haz.put(np.ones(1_000_000))  # lies in shared memory, where C++ reads it
        for scale in (0.5, 2.0):  # a ref goes from the task to the actor
            print("total:", haz.get(total.add.remote(energy.remote(signal, scale=scale))))
        try:
            energy.remote(np.ones(3, dtype="float32"), 1.0)
        except TypeError as error:
            print(error)
        haz.shutdown()
