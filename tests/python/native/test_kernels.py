"""C++ kernels as tasks, on arrays in the store; threads of OpenMP in tasks."""

from __future__ import annotations

import os

import haz
import haz.cpp
import numpy as np
import pytest

SOURCE = """
double sum(haz::array<const double> x) {
  return haz::parallel_reduce(x.size(), 0.0, [&](auto i) { return x[i]; });
}
haz::owned_array<double> doubled(haz::array<const double> x, double by = 2.0) {
  auto z = haz::empty_like(x);
  haz::parallel_for(x.size(), [&](auto i) { z[i] = by * x[i]; });
  return z;
}
void clear(haz::array<double> x) { for (int i = 0; i < x.size(); ++i) x[i] = 0; }
void crash() { *static_cast<volatile int*>(nullptr) = 1; }
void never_return() { for (volatile int i = 0;; i = i + 1) {} }
void refuse() { throw haz::value_error("not today"); }
int threads() { return haz::max_threads(); }
int team() {
  return haz::parallel_reduce(64, {.schedule = haz::schedule::static_, .chunk = 1}, 0,
      [](auto) { return omp_get_num_threads(); }, [](int a, int b) { return a > b ? a : b; });
}
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture(autouse=True)
def _own_cache(cache, monkeypatch):
    cache.chmod(0o700)
    monkeypatch.setenv("HAZ_CPP_CACHE", str(cache))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.fixture
def kernels(_own_cache):
    return haz.cpp.compile(SOURCE)


@pytest.fixture
def four_cpus():
    return haz.init(engine="native", num_cpus=4)


# ---- kernels are remote functions --------------------------------------------------------------


def test_arrays_of_the_store(node, kernels):
    x = np.arange(1_000_000.0)
    ref = haz.put(x)
    total = haz.remote(kernels.sum)
    doubled = haz.remote(kernels.doubled)
    assert haz.get(total.remote(ref)) == x.sum()
    # From kernel to kernel, through the store.
    assert haz.get(total.remote(doubled.remote(ref, by=3.0))) == 3 * x.sum()
    again = haz.get(doubled.remote(ref))
    assert np.array_equal(again, 2 * x)


def test_kernels_inside_of_tasks(node, kernels):
    @haz.remote
    def work(kernel, x):
        return kernel(x), kernels.sum(kernels.doubled(x)), os.getpid()

    plain, twice, pid = haz.get(work.remote(kernels.sum, np.ones(10)))
    assert (plain, twice) == (10, 20)
    assert pid != os.getpid()


def test_methods_of_actors_use_kernels(node, kernels):
    @haz.remote
    class Adder:
        def __init__(self, kernels):
            self.kernels = kernels

        def add(self, x):
            return self.kernels.sum(x)

    adder = Adder.remote(kernels)
    assert haz.get([adder.add.remote(np.ones(i)) for i in range(5)]) == [0, 1, 2, 3, 4]


def test_a_worker_without_the_library_compiles(node, kernels):
    haz.cpp.clear_cache()
    assert haz.get(haz.remote(kernels.sum).remote(np.ones(3))) == 3
    assert list(haz.cpp.cache_folder().glob("*.so"))


def test_a_kernel_is_a_function_to_remote(node, kernels):
    total = haz.remote(kernels.sum)
    assert "sum" in repr(total)
    with pytest.raises(TypeError, match=r"sum\(\): missing a required argument: 'x'"):
        total.remote()
    with pytest.raises(TypeError, match="unexpected keyword argument 'y'"):
        total.remote(np.ones(3), y=3)
    assert haz.get(total.options(name="total", num_cpus=2).remote(x=np.ones(3))) == 3


def test_arrays_of_the_store_are_not_written_to(node, kernels):
    x = haz.put(np.ones(100_000))
    with pytest.raises(ValueError, match=r"clear\(\): argument 1 'x' is written to"):
        haz.get(haz.remote(kernels.clear).remote(x))
    assert haz.get(x)[0] == 1


def test_exceptions_come_back(node, kernels):
    with pytest.raises(ValueError, match="not today"):
        haz.get(haz.remote(kernels.refuse).remote())
    with pytest.raises(TypeError, match="argument 1 'x' must be a 1-D array of float64, not int"):
        haz.get(haz.remote(kernels.sum).remote(3))


def test_kernels_that_crash_or_never_return(node, kernels):
    total = haz.remote(kernels.sum)
    with pytest.raises(haz.exceptions.WorkerCrashedError, match="SIGSEGV"):
        haz.get(haz.remote(kernels.crash).options(max_retries=0).remote())
    assert haz.get(total.remote(np.ones(3))) == 3
    with pytest.raises(haz.exceptions.TaskTimeoutError, match="never_return"):
        haz.get(haz.remote(kernels.never_return).options(timeout_s=0.2).remote())
    spinning = haz.remote(kernels.never_return).remote()
    assert haz.get(total.remote(np.ones(3))) == 3  # beside it
    haz.cancel(spinning, force=True)
    with pytest.raises((haz.exceptions.TaskCancelledError, haz.exceptions.WorkerCrashedError)):
        haz.get(spinning)


# ---- threads -----------------------------------------------------------------------------------


def test_a_task_has_as_many_threads_as_cpus(four_cpus, kernels):
    threads = haz.remote(kernels.threads)
    team = haz.remote(kernels.team)
    for cpus, expected in ((1, 1), (3, 3), (0, 1), (0.5, 1), (2.5, 2), (4, 4), (1, 1)):
        assert haz.get(threads.options(num_cpus=cpus).remote()) == expected
        assert haz.get(team.options(num_cpus=cpus).remote()) == expected


def test_the_same_process_goes_back_to_one_thread(kernels):
    haz.init(engine="native", num_cpus=2)

    def seen():
        return os.getpid(), kernels.threads(), haz.cpp.max_threads(), os.environ["OMP_NUM_THREADS"]

    one, two = haz.remote(seen), haz.remote(num_cpus=2)(seen)
    by_process = {}
    for task, expected in [(two, 2), (one, 1)] * 20:
        pid, *threads = haz.get(task.remote())
        assert threads == [expected, expected, str(expected)]
        by_process.setdefault(pid, set()).add(expected)
    assert {1, 2} in by_process.values()


def test_a_task_that_fails_leaves_one_thread(node, kernels):
    refuse = haz.remote(kernels.refuse).options(num_cpus=2)
    threads = haz.remote(kernels.threads)
    for _ in range(5):
        with pytest.raises(ValueError):
            haz.get(refuse.remote())
        assert haz.get([threads.remote() for _ in range(4)]) == [1] * 4


def test_generators_have_their_threads(node, kernels):
    @haz.remote(num_cpus=2)
    def items():
        for _ in range(3):
            yield kernels.threads()

    assert [haz.get(ref) for ref in items.remote()] == [2, 2, 2]
    assert haz.get(haz.remote(kernels.threads).remote()) == 1


def test_an_actor_has_as_many_threads_as_cpus(node, kernels):
    @haz.remote
    class Work:
        def threads(self):
            return kernels.threads(), haz.cpp.max_threads()

    assert haz.get(Work.remote().threads.remote()) == (1, 1)
    assert haz.get(Work.options(num_cpus=2).remote().threads.remote()) == (2, 2)


def test_what_the_user_has_set_counts(monkeypatch, kernels):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    haz.init(engine="native", num_cpus=4)
    threads = haz.remote(kernels.threads)
    assert haz.get(threads.remote()) == 3
    assert haz.get(threads.options(num_cpus=2).remote()) == 3


@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_variable_says_nothing(monkeypatch, kernels, empty):
    monkeypatch.setenv("OMP_NUM_THREADS", empty)
    haz.init(engine="native", num_cpus=4)
    threads = haz.remote(kernels.threads)
    assert haz.get(threads.remote()) == 1
    assert haz.get(threads.options(num_cpus=2).remote()) == 2


def test_a_task_with_a_number_of_its_own(node, kernels):
    threads = haz.remote(kernels.threads)
    own = threads.options(runtime_env={"env_vars": {"OMP_NUM_THREADS": "5"}})
    assert haz.get(own.remote()) == 5
    assert haz.get([threads.remote() for _ in range(4)]) == [1] * 4


def test_the_driver_has_all_cores(node):
    assert haz.cpp.max_threads() == len(os.sched_getaffinity(0))
