"""What programs of the standard library, joblib and dask do: the same code on haz and on its peers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import tasks
from benchmarks.timing import Stopwatch, check, median_call_s

#: Of the matrices whose products are calls.
_SIDE = 600


def pool_apply_async(pool: Any, n: int) -> float:
    """No-ops through ``apply_async``."""
    with Stopwatch() as watch:
        pending = [pool.apply_async(tasks.noop) for _ in range(n)]
        results = [one.get() for one in pending]
        del pending
    check(results == [None] * n, "calls of a pool")
    return watch.seconds


def pool_map(pool: Any, n: int) -> float:
    """Small items through ``map``, with its own chunks."""
    with Stopwatch() as watch:
        results = pool.map(tasks.identity, range(n))
    check(results == list(range(n)), "map of a pool")
    return watch.seconds


def pool_start(module: Any, workers: int) -> float:
    """A pool, and a result of each of its processes."""
    with Stopwatch() as watch:
        pool = module.Pool(workers)
        results = pool.map(tasks.identity, range(workers), chunksize=1)
    check(results == list(range(workers)), "start of a pool")
    pool.close()
    pool.join()
    return watch.seconds


def pool_argument(pool: Any, size: int, n: int) -> float:
    """A large array as the argument of n calls."""
    import numpy as np

    array = np.ones(size, dtype=np.uint8)
    with Stopwatch() as watch:
        results = pool.map(tasks.last_item, [array] * n, chunksize=1)
    check(results == [1] * n, "large arguments")
    return watch.seconds


def queue_items(module: Any, n: int) -> float:
    """Small items through a queue, from this process to another."""
    items, answers = module.Queue(), module.Queue()
    process = module.Process(target=tasks.add_items, args=(items, answers, n))
    process.start()
    check(answers.get() == "ready", "a process with a queue")
    with Stopwatch() as watch:
        for i in range(n):
            items.put(i)
        total = answers.get()
    process.join()
    check(total == n * (n - 1) // 2, "items of a queue")
    return watch.seconds


def queue_round_trip(module: Any, n: int, budget_s: float) -> float:
    """Median of an item to another process, and its answer."""
    items, answers = module.Queue(), module.Queue()
    process = module.Process(target=tasks.answer_items, args=(items, answers))
    process.start()
    check(answers.get() == "ready", "a process with a queue")

    def there_and_back() -> None:
        items.put(1)
        answers.get()

    median = median_call_s(there_and_back, n, 0.0, budget_s)
    items.put(None)
    process.join()
    return median


def process_life(module: Any, n: int) -> float:
    """Processes of a no-op, one after the other: started and joined."""
    with Stopwatch() as watch:
        for _ in range(n):
            process = module.Process(target=tasks.noop)
            process.start()
            process.join()
            check(process.exitcode == 0, "a process")
    return watch.seconds


def executor_submit(executor: Any, n: int) -> float:
    """No-ops through ``submit``."""
    with Stopwatch() as watch:
        futures = [executor.submit(tasks.noop) for _ in range(n)]
        results = [future.result() for future in futures]
        del futures
    check(results == [None] * n, "calls of an executor")
    return watch.seconds


def joblib_calls(backend: str, workers: int, n: int) -> float:
    """Small calls in one ``Parallel``."""
    import joblib

    with Stopwatch() as watch:
        calls = (joblib.delayed(tasks.identity)(i) for i in range(n))
        results = joblib.Parallel(n_jobs=workers, backend=backend)(calls)
    check(results == list(range(n)), "calls of joblib")
    return watch.seconds


def joblib_cold(backend: str, workers: int, n: int) -> float:
    """Small calls in the first ``Parallel`` of a fresh program."""
    program = Path(__file__).parents[1] / "programs" / "joblib_cold.py"
    done = subprocess.run(
        [sys.executable, str(program), backend, str(workers), str(n)],
        capture_output=True,
        text=True,
        check=False,
    )
    check(done.returncode == 0, f"a program of joblib: {done.stderr}")
    return float(done.stdout)


def nested_blas(module: Any, workers: int, n: int, threads: int | None = None) -> float:
    """Matrix products in the calls of a pool; with so many threads each, if that is told by hand."""
    told = () if threads is None else (tasks.limit_blas, (threads,))
    pool = module.Pool(workers, *told)
    pool.map(tasks.matrix_product, [8] * workers, chunksize=1)
    with Stopwatch() as watch:
        results = pool.map(tasks.matrix_product, [_SIDE] * n, chunksize=1)
    pool.close()
    pool.join()
    check(results == [_SIDE] * n, "matrix products")
    return watch.seconds


def dask_graph(scheduler: Any, n: int, **options: Any) -> float:
    """The sum of an array of about n chunks."""
    import dask.array

    side = max(int(n**0.5), 1)
    array = dask.array.ones((10 * side, 10 * side), chunks=(10, 10)) + 1
    with Stopwatch() as watch:
        total = array.sum().compute(scheduler=scheduler, **options)
    check(total == 2 * (10 * side) ** 2, "sum of a dask array")
    return watch.seconds
