"""The life of a program with multiprocessing.Pool: see stages.py."""

from stages import WITH_NUMPY, WORKERS, live, use_worker

if WITH_NUMPY:
    import numpy  # noqa: F401

import multiprocessing


def noop():
    pass


if __name__ == "__main__":
    pools = []

    def first():
        pools.append(multiprocessing.Pool(WORKERS))
        return pools[0].apply(noop)

    def use():
        return pools[0].map(use_worker, [WITH_NUMPY] * WORKERS, chunksize=1)

    def stop():
        pools[0].close()
        pools[0].join()

    live(first, use, stop)
