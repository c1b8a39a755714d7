"""exp(-gamma (x - y)^2) over 10 million doubles, by each tool that is installed, at several threads.

Prints one line of JSON: seconds by tool and number of threads, a sample for each round. All write into
the same array, except NumPy, which makes its own, as its users do. The compilers get the same flags.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

THREADS = (1, 2, 4, 8)
GAMMA = 1.0
FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fopenmp", "-fPIC", "-shared")

os.environ.setdefault("NUMBA_NUM_THREADS", str(max(THREADS)))
os.environ.pop("OMP_NUM_THREADS", None)

import numpy as np  # noqa: E402  (after the environment is set)

CYTHON = """\
# cython: language_level=3, boundscheck=False, wraparound=False
from cython.parallel cimport prange

cdef extern from "math.h" nogil:
    double exp(double)

def sequential(double gamma, double[::1] x, double[::1] y, double[::1] z):
    cdef Py_ssize_t i
    cdef Py_ssize_t n = x.shape[0]
    for i in range(n):
        z[i] = exp(-gamma*(x[i] - y[i])**2)

def parallel(double gamma, double[::1] x, double[::1] y, double[::1] z, int n_threads):
    cdef Py_ssize_t i
    cdef Py_ssize_t n = x.shape[0]
    with nogil:
        for i in prange(n, num_threads=n_threads, schedule='guided'):
            z[i] = exp(-gamma*(x[i] - y[i])**2)
"""
OURS = """
using input = haz::array<const double, 1, haz::contiguous>;
using output = haz::array<double, 1, haz::contiguous>;

void gauss(double gamma, input x, input y, output z, int n_threads) {
  haz::parallel_for(x.size(), {.num_threads = n_threads, .schedule = haz::schedule::guided},
                    [&](auto i) { z[i] = exp(-gamma * pow(x[i] - y[i], 2)); });
}
// The same traffic, and next to no arithmetic.
void add(input x, input y, output z, int n_threads) {
  haz::parallel_for(x.size(), {.num_threads = n_threads}, [&](auto i) { z[i] = x[i] + y[i]; });
}
"""

Tool = Callable[[int], object]


def _cython(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> dict[str, Tool]:
    with tempfile.TemporaryDirectory(prefix="gaussian-") as name:
        folder = Path(name)
        (folder / "kernel_of_cython.pyx").write_text(CYTHON)
        subprocess.run([sys.executable, "-m", "cython", "kernel_of_cython.pyx"], cwd=folder, check=True,
                       stdout=subprocess.DEVNULL)  # fmt: skip
        include = sysconfig.get_path("include")
        subprocess.run(["gcc", *FLAGS, f"-I{include}", "kernel_of_cython.c", "-o", "kernel.so"],
                       cwd=folder, check=True)  # fmt: skip
        spec = importlib.util.spec_from_file_location("kernel_of_cython", folder / "kernel.so")
        assert spec is not None
        assert spec.loader is not None
        kernel = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(kernel)
    return {
        "cython": lambda _threads: kernel.sequential(GAMMA, x, y, z),
        "cython-prange": lambda threads: kernel.parallel(GAMMA, x, y, z, threads),
    }


def _numba(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> dict[str, Tool]:
    import numba

    @numba.njit(parallel=True)
    def kernel(gamma, x, y, z):
        for i in numba.prange(x.shape[0]):
            z[i] = np.exp(-gamma * (x[i] - y[i]) ** 2)

    def run(threads: int) -> None:
        numba.set_num_threads(threads)
        kernel(GAMMA, x, y, z)

    return {"numba-prange": run}


def _ours(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> dict[str, Tool]:
    import haz.cpp

    kernels = haz.cpp.compile(OURS)
    fast = haz.cpp.compile(OURS, flags=["-ffast-math"])
    return {
        "haz": lambda threads: kernels.gauss(GAMMA, x, y, z, threads),
        "haz-fast-math": lambda threads: fast.gauss(GAMMA, x, y, z, threads),
        "bound": lambda threads: kernels.add(x, y, z, threads),
    }


def main(size: int, rounds: int) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal(size), rng.standard_normal(size)
    z = np.empty_like(x)
    tools: dict[str, Tool] = {"numpy": lambda _threads: np.exp(-GAMMA * (x - y) ** 2)}
    tools |= _ours(x, y, z)
    if importlib.util.find_spec("Cython"):
        tools |= _cython(x, y, z)
    if importlib.util.find_spec("numba"):
        tools |= _numba(x, y, z)
    expected = np.exp(-GAMMA * (x - y) ** 2)
    cases = [(name, threads) for name in tools for threads in THREADS
             if threads == 1 or name not in ("numpy", "cython")]  # fmt: skip
    samples: dict[str, dict[int, list[float]]] = {name: {} for name in tools}
    for number in range(rounds + 1):
        for name, threads in cases[number:] + cases[:number]:
            z.fill(0)
            begin = time.perf_counter()
            made = tools[name](threads)
            seconds = time.perf_counter() - begin
            if number > 0:
                samples[name].setdefault(threads, []).append(seconds)
            elif name != "bound":  # the first round is checked, not counted
                assert np.allclose(expected, z if made is None else made), (name, threads)
    print(json.dumps({"size": size, "samples": samples}))


if __name__ == "__main__":
    main(int(float(sys.argv[1])), int(sys.argv[2]))
