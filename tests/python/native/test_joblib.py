"""haz as a backend of joblib."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys

import haz
import haz.joblib
import joblib
import pytest
from haz._faces.joblib_batch import run_calls
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

    with joblib.parallel_backend("haz", n_jobs=2), pytest.raises(KeyError) as caught:
        joblib.Parallel()(joblib.delayed(fail)(x) for x in [7] * 4)
    assert type(caught.value) is KeyError
    assert caught.value.args == (7,)
    assert "in fail" in str(caught.value.__cause__)


def test_one_job_runs_here():
    with joblib.parallel_backend("haz", n_jobs=1):
        assert joblib.Parallel()([joblib.delayed(os.getpid)()]) == [os.getpid()]


def test_nested():
    def outer(x):
        return sum(joblib.Parallel(n_jobs=2)(joblib.delayed(abs)(y) for y in range(x)))

    with joblib.parallel_backend("haz", n_jobs=2):
        assert joblib.Parallel()(joblib.delayed(outer)(x) for x in range(5)) == [0, 0, 1, 3, 6]


@pytest.mark.parametrize("imports", [False, True])
def test_nested_by_name(imports):
    """All CPUs are held by calls which wait for calls: those are tasks beside them."""
    code = "import joblib\n" if imports else ""
    names: dict = {}
    exec(
        code
        + "def outer(x):\n"
        + "    import os, joblib\n"
        + "    calls = [joblib.delayed(os.getpid)() for _ in range(4)]\n"
        + "    alone = joblib.Parallel(n_jobs=-1, backend='haz')(calls)\n"
        + "    pids = joblib.Parallel(n_jobs=2, backend='haz')(calls)\n"
        + "    return os.getpid() not in pids, set(alone) == {os.getpid()}\n",
        names,
    )
    with joblib.parallel_backend("haz", n_jobs=2):
        found = joblib.Parallel()(joblib.delayed(names["outer"])(x) for x in range(3))
    assert found == [(True, True)] * 3


def _make_file(folder, name):
    with open(os.path.join(folder, f"{os.getpid()}-{name}"), "x"):
        os.environ["HAZ_TEST_JOBLIB"] = name


def _is_made(folder):
    name = os.environ["HAZ_TEST_JOBLIB"]
    return os.path.exists(os.path.join(folder, f"{os.getpid()}-{name}"))


@pytest.mark.parametrize("way", ["config", "parallel"])
def test_an_initializer_runs_once_in_each_worker(tmp_path, way):
    """Or again, for other arguments; what it raises is the batch's error."""
    folder = str(tmp_path)

    def run(*args):
        options = {"backend": "haz", "n_jobs": 2, "initializer": _make_file, "initargs": args}
        calls = [joblib.delayed(_is_made)(folder)] * 20
        if way == "parallel":
            return joblib.Parallel(**options)(calls)
        with joblib.parallel_config(**options):
            return joblib.Parallel()(calls)

    assert run(folder, "a") == run(folder, "a") == run(folder, "b") == [True] * 20
    names = {name.partition("-")[2] for name in os.listdir(folder)}
    assert names == {"a", "b"}
    with pytest.raises(FileExistsError):
        run(folder, "a")
    with pytest.raises(TypeError, match="initializer"):
        joblib.Parallel(backend="haz", n_jobs=2, initializer=5)([joblib.delayed(abs)(1)])


CALL = """
import sys
from haz._faces.joblib_batch import run_calls

def look(level):
    import threading
    import joblib
    backend, n_jobs = joblib.parallel.get_active_backend()
    is_main = threading.current_thread() is threading.main_thread()
    print(level, type(backend).__name__, backend.nesting_level, n_jobs, is_main)
    if level < 3:
        joblib.Parallel(n_jobs=2)([joblib.delayed(look)(level + 1)])

def run(function, *args):
    return run_calls([(function, args, {})], "ThreadingBackend", 1, None, None, None)

assert run(abs, -1) == [1]
assert "joblib" not in sys.modules
for _ in range(2):  # it is imported by the first
    run(look, 1)
assert not [one for one in sys.meta_path if type(one).__module__.startswith("haz")]
import joblib
print(type(joblib.parallel.get_active_backend()[0]).__name__)
"""


def test_calls_that_import_joblib_themselves():
    done = subprocess.run(
        [sys.executable, "-c", CALL], capture_output=True, text=True, timeout=100, check=True
    )
    levels = [
        *("1 ThreadingBackend 1 None True", "2 SequentialBackend 2 None False"),
        "3 SequentialBackend 2 None False",  # as on joblib's own backend
    ]
    assert done.stdout.splitlines() == [*levels, *levels, "LokyBackend"]
    assert done.stderr == ""


def test_timeout():
    import time

    with joblib.parallel_backend("haz", n_jobs=2), pytest.raises(multiprocessing.TimeoutError):
        joblib.Parallel(timeout=0.2)(joblib.delayed(time.sleep)(600) for _ in range(2))


def test_register():
    import haz.joblib

    haz.joblib.register("other")
    with joblib.parallel_config("other", n_jobs=2):
        assert joblib.Parallel()(joblib.delayed(abs)(-x) for x in range(5)) == list(range(5))


@pytest.mark.parametrize("n_jobs", [2, 3])
def test_no_more_run_than_there_are_jobs(tmp_path, n_jobs):
    import time

    haz.shutdown()
    haz.init(num_cpus=2 if n_jobs == 3 else 4)

    def work(number):
        path = tmp_path / str(number)
        path.touch()
        time.sleep(0.02)
        count = len(list(tmp_path.iterdir()))
        path.unlink()
        return count

    with joblib.parallel_config("haz", n_jobs=n_jobs):
        counts = joblib.Parallel(batch_size=1)(joblib.delayed(work)(x) for x in range(30))
    assert max(counts) <= n_jobs


def test_batches_that_have_ended_at_once_are_not_nested(monkeypatch):
    class AtOnce:
        def remote(self, *args):
            return haz.put(run_calls(*args))

    configure = haz.joblib.HazBackend.configure

    def configure_at_once(self, *arguments, **options):
        n_jobs = configure(self, *arguments, **options)
        self._run_calls = AtOnce()
        return n_jobs

    monkeypatch.setattr(haz.joblib.HazBackend, "configure", configure_at_once)
    count = 2 * sys.getrecursionlimit()
    with joblib.parallel_config("haz", n_jobs=2):
        results = joblib.Parallel(batch_size=1)(joblib.delayed(abs)(-x) for x in range(count))
    assert results == list(range(count))


def test_a_worker_that_dies_is_an_error():
    with joblib.parallel_config("haz", n_jobs=2):
        with pytest.raises(haz.exceptions.WorkerCrashedError, match="exit code 3"):
            joblib.Parallel()(joblib.delayed(os._exit)(3) for _ in range(2))
        assert joblib.Parallel()(joblib.delayed(abs)(-x) for x in range(5)) == list(range(5))


def _threads(_):
    import numpy  # noqa: F401
    import threadpoolctl

    return max(library["num_threads"] for library in threadpoolctl.threadpool_info())


def test_threads_of_libraries_in_calls():
    pytest.importorskip("numpy")
    with joblib.parallel_config("haz", n_jobs=2):
        assert joblib.Parallel()(joblib.delayed(_threads)(x) for x in range(4)) == [1] * 4
    with joblib.parallel_config("haz", n_jobs=2, inner_max_num_threads=2):
        assert joblib.Parallel()(joblib.delayed(_threads)(x) for x in range(4)) == [2] * 4
    with joblib.parallel_config("haz", n_jobs=2):
        assert joblib.Parallel()(joblib.delayed(_threads)(x) for x in range(4)) == [1] * 4


def test_unordered_generators_and_what_cannot_be_pickled():
    import threading

    with joblib.parallel_config("haz", n_jobs=2):
        results = joblib.Parallel(return_as="generator_unordered")(
            joblib.delayed(abs)(-x) for x in range(50)
        )
        assert sorted(results) == list(range(50))
        lock = threading.Lock()
        with pytest.raises(TypeError, match="lock"):
            joblib.Parallel()(joblib.delayed(str)(lock) for _ in range(4))
