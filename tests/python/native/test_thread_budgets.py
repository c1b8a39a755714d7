"""BLAS has as many threads in a task as that takes CPUs, and joblib's count of CPUs says the same."""

from __future__ import annotations

import os

import haz
import pytest

pytest.importorskip("numpy")
threadpoolctl = pytest.importorskip("threadpoolctl")
VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")


@pytest.fixture(autouse=True)
def _unset(monkeypatch):
    for name in (*VARIABLES, "LOKY_MAX_CPU_COUNT"):
        monkeypatch.delenv(name, raising=False)
    yield
    haz.shutdown()


def seen():
    """In a task: threads of BLAS, the variables, joblib's CPUs; and the process."""
    import joblib
    import numpy as np

    np.ones((64, 64)) @ np.ones((64, 64))
    found = threadpoolctl.threadpool_info()
    threads = {one["num_threads"] for one in found if one["user_api"] == "blas"}
    return threads, [os.environ.get(name) for name in VARIABLES], joblib.cpu_count(), os.getpid()


def test_a_task_has_threads_for_its_cpus_and_the_next_one_has_one():
    haz.init(engine="native", num_cpus=2)
    cpus = min(2, len(os.sched_getaffinity(0)))
    tasks = {1: haz.remote(seen), 2: haz.remote(num_cpus=2)(seen)}
    processes = {1: set(), 2: set()}
    for number in [2, 1] * 6:  # numpy is loaded by a task with two
        threads, variables, count, pid = haz.get(tasks[number].remote())
        assert threads == {number}
        assert variables == [str(number)] * 4
        assert count == min(number, cpus)
        processes[number].add(pid)
    assert processes[1] & processes[2], "no process was used for both"


def test_workers_of_pools_and_actors():
    haz.init(engine="native", num_cpus=2)
    with haz.Executor(2) as executor:
        assert executor.submit(seen).result(60)[:3] == ({1}, ["1"] * 4, 1)

    @haz.remote
    class Worker:
        def seen(self):
            return seen()

    assert haz.get(Worker.options(num_cpus=2).remote().seen.remote())[:2] == ({2}, ["2"] * 4)


def test_what_the_user_has_set_for_blas_counts(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    haz.init(engine="native", num_cpus=4)
    for cpus in (1, 2, 1):
        threads, variables, _, _ = haz.get(haz.remote(seen).options(num_cpus=cpus).remote())
        assert threads == {1}
        assert variables == [str(cpus), "1", str(cpus), str(cpus)]


#: In the place of PyTorch, which is too large for here: what its documentation says of its threads.
TORCH = """
import os

_threads = int(os.environ.get("OMP_NUM_THREADS", "64"))


def get_num_threads():
    return _threads


def set_num_threads(threads):
    global _threads
    if type(threads) is not int or threads < 1:
        raise ValueError("set_num_threads expects a positive integer")
    _threads = threads
"""


@pytest.mark.parametrize("told", [None, "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"])
def test_torch_has_threads_for_the_cpus_of_a_task(tmp_path, monkeypatch, told):
    (tmp_path / "torch.py").write_text(TORCH)
    monkeypatch.syspath_prepend(tmp_path)
    if told is not None:
        monkeypatch.setenv(told, "1")
    haz.init(engine="native", num_cpus=2)

    def threads():
        import torch

        return torch.get_num_threads(), os.getpid()

    seen = [haz.get(haz.remote(num_cpus=number)(threads).remote()) for number in [1, 2] * 4]
    if told == "MKL_NUM_THREADS":  # of PyTorch's BLAS, so that haz leaves it as it was imported
        assert len(set(seen)) == len({pid for _, pid in seen})
    else:
        assert [number for number, _ in seen] == [1, 2] * 4
