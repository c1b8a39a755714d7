"""The life of a Ray program: see stages.py."""

from stages import SCRATCH, WITH_NUMPY, WORKERS, live, use_worker

if WITH_NUMPY:
    import numpy  # noqa: F401

import ray


@ray.remote
def noop():
    pass


def first():
    ray.init(
        address="local",
        num_cpus=WORKERS,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        _temp_dir=SCRATCH,
    )
    return ray.get(noop.remote())


def use():
    task = ray.remote(use_worker)
    return ray.get([task.remote(WITH_NUMPY) for _ in range(WORKERS)])


if __name__ == "__main__":
    live(first, use, ray.shutdown)
