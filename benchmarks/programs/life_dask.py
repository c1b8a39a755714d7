"""The life of a program with Dask distributed: see stages.py."""

from stages import SCRATCH, WITH_NUMPY, WORKERS, live, use_worker

if WITH_NUMPY:
    import numpy  # noqa: F401

import dask
from distributed import Client, LocalCluster


def noop():
    pass


if __name__ == "__main__":
    opened = []

    def first():
        dask.config.set({"temporary-directory": SCRATCH})
        cluster = LocalCluster(
            n_workers=WORKERS, threads_per_worker=1, processes=True, dashboard_address=None
        )
        opened.extend([Client(cluster), cluster])
        return opened[0].submit(noop, pure=False).result()

    def use():
        client = opened[0]
        pending = [client.submit(use_worker, WITH_NUMPY, pure=False) for _ in range(WORKERS)]
        return client.gather(pending)

    def stop():
        for one in opened:
            one.close()

    live(first, use, stop)
