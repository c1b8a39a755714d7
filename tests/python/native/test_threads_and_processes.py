"""What docs/threads.md says of threads, processes and native code."""

from __future__ import annotations

import os
import sys
import time
from multiprocessing.pool import ThreadPool

import haz
import haz.multiprocessing
import pytest

MEET = """
// Says that it is here, and waits for the other one: 1, or 0 if that has not come in a minute.
long meet(haz::array<long> here, long own) {
  std::atomic_ref<long>(here[own]).store(1);
  const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (std::atomic_ref<long>(here[1 - own]).load() == 0)
    if (std::chrono::steady_clock::now() > end) return 0;
  return 1;
}
"""


@pytest.fixture
def pool():
    haz.init(engine="native", num_cpus=2)
    with haz.multiprocessing.Pool(2) as pool:
        yield pool
    haz.shutdown()


def spin(steps):
    total = 0
    for n in range(steps):
        total += n % 3
    return total


def is_gil_enabled():
    return getattr(sys, "_is_gil_enabled", lambda: True)()


@pytest.mark.skipif(not is_gil_enabled(), reason="this Python has no such lock")
def test_threads_of_python_code_have_one_core_together():
    with ThreadPool(4) as threads:
        wall, cpu = time.perf_counter(), time.process_time()
        threads.map(spin, [500_000] * 8, chunksize=1)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    # They take turns. On two cores without the lock this would be two.
    assert cpu / wall < 1.3


def test_native_code_of_two_threads_runs_at_the_same_time():
    np = pytest.importorskip("numpy")
    import haz.cpp

    meet = haz.cpp.compile("#include <atomic>\n#include <chrono>\n" + MEET).meet
    here = np.zeros(2, dtype=np.int64)
    with ThreadPool(2) as threads:
        # Each runs until the other does: with the lock held, neither would end.
        assert threads.starmap(meet, [(here, 0), (here, 1)], chunksize=1) == [1, 1]


def test_calls_of_two_processes_run_at_the_same_time(pool):
    barrier = haz.multiprocessing.Barrier(2)

    def meet(barrier):
        barrier.wait(60)
        return os.getpid()

    pids = pool.map(meet, [barrier] * 2, chunksize=1)
    assert len({*pids, os.getpid()}) == 3


def test_calls_that_wait_do_so_together_in_both(pool):
    with ThreadPool(2) as threads:
        for one in (threads, pool):
            begin = time.perf_counter()
            one.map(time.sleep, [1.0] * 4, chunksize=1)
            assert 2.0 <= time.perf_counter() - begin < 4.0, "longer than one by one"


def test_threads_share_objects_and_processes_do_not(pool):
    results = []
    with ThreadPool(2) as threads:
        threads.map(results.append, range(4))
    assert sorted(results) == list(range(4))
    pool.map(lambda item: results.append(item), range(4))
    assert len(results) == 4
