"""The first ``Parallel`` of a program, its imports done: BACKEND WORKERS CALLS; prints the seconds."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import joblib

from benchmarks import tasks

if __name__ == "__main__":
    backend, workers, calls = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    if backend == "haz":
        import haz.joblib

        haz.joblib.register()
    begin = time.perf_counter()
    results = joblib.Parallel(n_jobs=workers, backend=backend)(
        joblib.delayed(tasks.identity)(i) for i in range(calls)
    )
    seconds = time.perf_counter() - begin
    assert results == list(range(calls))
    print(seconds)
