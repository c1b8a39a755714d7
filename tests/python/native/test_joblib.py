"""haz as a backend of joblib."""

from __future__ import annotations

import multiprocessing
import os

import haz
import joblib
import pytest
from haz.util.joblib import register_haz, register_ray


@pytest.fixture(autouse=True)
def _registered():
    register_haz()
    haz.init(num_cpus=2)
    yield
    haz.shutdown()


def test_names():
    assert register_ray is register_haz
    for name in ("haz", "ray"):
        with joblib.parallel_backend(name):
            assert joblib.effective_n_jobs(-1) == 2


def test_results_come_from_workers():
    with joblib.parallel_backend("haz", n_jobs=2):
        calls = (joblib.delayed(lambda x: (x * x, os.getpid()))(x) for x in range(300))
        results = joblib.Parallel()(calls)
    assert [one[0] for one in results] == [x * x for x in range(300)]
    assert os.getpid() not in {one[1] for one in results}


def test_generator():
    with joblib.parallel_config("haz", n_jobs=2):
        results = joblib.Parallel(return_as="generator")(joblib.delayed(abs)(-x) for x in range(50))
        assert list(results) == list(range(50))


def test_an_error_is_the_users_own():
    def fail(x):
        raise KeyError(x)

    with joblib.parallel_backend("haz", n_jobs=2), pytest.raises(KeyError):
        joblib.Parallel()(joblib.delayed(fail)(x) for x in range(4))


def test_one_job_runs_here():
    with joblib.parallel_backend("haz", n_jobs=1):
        assert joblib.Parallel()([joblib.delayed(os.getpid)()]) == [os.getpid()]


def test_nested():
    def outer(x):
        return sum(joblib.Parallel(n_jobs=2)(joblib.delayed(abs)(y) for y in range(x)))

    with joblib.parallel_backend("haz", n_jobs=2):
        assert joblib.Parallel()(joblib.delayed(outer)(x) for x in range(5)) == [0, 0, 1, 3, 6]


def test_timeout():
    import time

    with joblib.parallel_backend("haz", n_jobs=2), pytest.raises(multiprocessing.TimeoutError):
        joblib.Parallel(timeout=0.2)(joblib.delayed(time.sleep)(600) for _ in range(2))
