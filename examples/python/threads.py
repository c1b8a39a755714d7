"""Where threads, processes, and native code without Python's lock win: the same work, done three ways.

docs/threads.md explains the table. The loop in C++ is compiled when the program first runs.
"""

import hashlib
import os
import sys
import time
from multiprocessing.pool import ThreadPool

import haz
import haz.cpp
import haz.multiprocessing

WORKERS = 2
PARTS = 8

native = haz.cpp.compile("""
long steps(long begin, long end) {
  long total = 0;
  for (long n = begin; n < end; n++)
    for (long x = n; x != 1; total++) x = x % 2 ? 3 * x + 1 : x / 2;
  return total;
}
""")


def wait(seconds):
    time.sleep(seconds)


def factorials(numbers):
    results = []
    for number in numbers:
        product = 1
        while number > 0:
            product *= number
            number -= 1
        results.append(product)
    return results


def python_steps(begin, end):
    total = 0
    for n in range(begin, end):
        while n != 1:
            n = 3 * n + 1 if n % 2 else n // 2
            total += 1
    return total


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def measure(name, function, calls, pools, repeats):
    """Print how long the calls take, at best, in this thread and in each pool."""
    ways = [lambda: [function(*call) for call in calls]]
    ways += [lambda pool=pool: pool.starmap(function, calls, chunksize=1) for pool in pools]
    times = [[] for _ in ways]
    for _ in range(repeats):
        for way, taken in zip(ways, times, strict=True):
            begin = time.perf_counter()
            result = way()
            taken.append(time.perf_counter() - begin)
            assert result == ways[0](), "all ways give the same"
    print(f"{name:<32}" + "".join(f"{1e3 * min(taken):13.0f}" for taken in times))


def main():
    haz.init(num_cpus=WORKERS)
    is_quick = "--quick" in sys.argv
    size, repeats = (1, 1) if is_quick else (8, 5)
    parts = [(1 + n * 1000 * size, 1 + (n + 1) * 1000 * size) for n in range(PARTS)]
    many = [(20 * begin, 20 * end) for begin, end in parts]
    numbers = [(range(1000 + n, 2000, 32 // size),) for n in range(PARTS)]
    data = [(os.urandom(size * 4_000_000),) for _ in range(PARTS)]
    with ThreadPool(WORKERS) as threads, haz.multiprocessing.Pool(WORKERS) as processes:
        pools = [threads, processes]
        processes.starmap(native.steps, [(1, 2)] * WORKERS, chunksize=1)  # it is loaded there
        heads = ["one by one", f"{WORKERS} threads", f"{WORKERS} processes"]
        print(f"{'milliseconds':<32}" + "".join(f"{head:>13}" for head in heads))
        measure("waiting", wait, [(0.02 * size,)] * PARTS, pools, 1)
        measure("factorials in Python", factorials, numbers, pools, repeats)
        measure("Collatz steps in Python", python_steps, parts, pools, repeats)
        measure("Collatz steps in C++", native.steps, parts, pools, repeats)
        measure("Collatz steps in C++, 20x as far", native.steps, many, pools, repeats)
        measure(f"SHA-256 of {PARTS} x {4 * size} MB", sha256, data, pools, repeats)


if __name__ == "__main__":
    main()
