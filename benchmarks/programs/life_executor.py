"""The life of a program with ProcessPoolExecutor: see stages.py."""

from stages import WITH_NUMPY, WORKERS, live, use_worker

if WITH_NUMPY:
    import numpy  # noqa: F401

from concurrent.futures import ProcessPoolExecutor


def noop():
    pass


if __name__ == "__main__":
    executor = ProcessPoolExecutor(max_workers=WORKERS)
    live(
        lambda: executor.submit(noop).result(),
        lambda: executor.map(use_worker, [WITH_NUMPY] * WORKERS),
        executor.shutdown,
    )
