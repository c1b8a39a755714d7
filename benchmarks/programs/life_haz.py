"""The life of a haz program: see stages.py."""

from stages import WITH_NUMPY, WORKERS, live, use_worker

if WITH_NUMPY:
    import numpy  # noqa: F401

import haz


@haz.remote
def noop():
    pass


def first():
    haz.init(num_cpus=WORKERS)
    return haz.get(noop.remote())


def use():
    task = haz.remote(use_worker)
    return haz.get([task.remote(WITH_NUMPY) for _ in range(WORKERS)])


if __name__ == "__main__":
    live(first, use, haz.shutdown)
