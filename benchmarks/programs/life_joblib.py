"""The life of a program with joblib's loky backend: see stages.py."""

from stages import WITH_NUMPY, WORKERS, live, use_worker

if WITH_NUMPY:
    import numpy  # noqa: F401

from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor


def noop():
    pass


if __name__ == "__main__":
    parallel = Parallel(n_jobs=WORKERS, backend="loky")
    live(
        lambda: parallel([delayed(noop)()])[0],
        lambda: parallel(delayed(use_worker)(WITH_NUMPY) for _ in range(WORKERS)),
        lambda: get_reusable_executor().shutdown(wait=True),
    )
