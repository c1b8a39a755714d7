"""haz.multiprocessing.Pool beside multiprocessing.Pool: the same programs, the same outcomes."""

from __future__ import annotations

import contextlib
import gc
import importlib
import itertools
import multiprocessing
import operator
import os
import pkgutil
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import managers

import haz
import haz.multiprocessing
import pytest
from haz._core.runtime import runtime
from haz._faces import sending
from haz.exceptions import ActorDiedError, DeserializationError
from haz.testing import wait_until

from tests.engines import HAS_NATIVE


@pytest.fixture(params=["standard", "inline", *["native"] * HAS_NATIVE])
def module(request):
    """The standard module, or haz's on an engine."""
    if request.param == "standard":
        yield multiprocessing.get_context("fork")  # leaves no server behind
        gc.collect()  # tracebacks that keep a pool
    else:
        haz.init(engine=request.param, num_cpus=2)
        yield haz.multiprocessing


def test_calls_and_maps(module):
    with module.Pool(2) as pool:
        assert pool.apply(divmod, (7, 2)) == (3, 1)
        assert pool.apply(dict, [[(1, 2)]], {"a": 1}) == {1: 2, "a": 1}
        assert pool.apply_async(abs, [-1]).get(60) == 1
        assert pool.map(abs, range(-50, 0)) == list(range(50, 0, -1))
        assert pool.map(abs, (x for x in [-1, 2]), 1) == [1, 2]
        assert pool.map(abs, []) == []
        assert pool.starmap(pow, [(2, 3), [3, 2]]) == [8, 9]
        assert list(pool.imap(abs, iter([-1, 2]))) == [1, 2]
        assert list(pool.imap(abs, range(-20, 0), 3)) == list(range(20, 0, -1))
        assert sorted(pool.imap_unordered(abs, range(-20, 0), chunksize=3)) == list(range(1, 21))
        assert pool.map_async(abs, [-5]).get(60) == [5]
        assert pool.starmap_async(divmod, [(5, 3)]).get(60) == [(1, 2)]
        assert pool.apply(eval, ("[ValueError(3)]",))[0].args == (3,)
        assert isinstance(pool.apply(ValueError, (3,)), ValueError)


def test_results(module):
    told = []
    with module.Pool(1) as pool:
        good = pool.apply_async(abs, (-3,), callback=told.append)
        good.wait(60)
        assert (good.ready(), good.successful(), good.get(0)) == (True, True, 3)
        bad = pool.apply_async(operator.truediv, (1, 0), error_callback=told.append)
        bad.wait(60)
        assert (bad.ready(), bad.successful()) == (True, False)
        with pytest.raises(ZeroDivisionError) as caught:
            bad.get()
        assert type(caught.value.__cause__).__name__ == "RemoteTraceback"
        assert "ZeroDivisionError: division by zero" in str(caught.value.__cause__)
        pool.map_async(abs, [-1, 1], callback=told.append).get(60)
        with pytest.raises(ZeroDivisionError):
            pool.starmap(operator.truediv, [(1, 1), (1, 0), (2, 1)])
        pool.close()
        pool.join()
    assert told == [3, caught.value, [1, 1]]


def test_results_that_take_long(module, tmp_path):
    if module is haz.multiprocessing and haz._core.runtime.runtime.engine.name == "inline":
        pytest.skip("calls have ended there before anybody can wait")
    with module.Pool(1) as pool:
        result = pool.apply_async(_wait_for, (str(tmp_path / "gate"),))
        with pytest.raises(multiprocessing.TimeoutError):
            result.get(0.05)
        result.wait(0.05)
        assert not result.ready()
        with pytest.raises(ValueError, match="not ready"):
            result.successful()
        (tmp_path / "gate").touch()
        assert result.get(60)


def _wait_for(path, deadline_s=90.0):
    end = time.monotonic() + deadline_s
    while not os.path.exists(path):
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True


def test_what_cannot_be_pickled(module):
    with module.Pool(1) as pool:
        with pytest.raises(multiprocessing.pool.MaybeEncodingError):
            pool.apply(threading.Lock)
        with pytest.raises(TypeError):
            pool.apply(abs, (threading.Lock(),))
        assert pool.apply(abs, (-1,)) == 1
        with pytest.raises(NotImplementedError):
            pool.__reduce__()


def test_the_end(module):
    pool = module.Pool(1)
    with pytest.raises(ValueError, match="still running"):
        pool.join()
    waiting = pool.map_async(abs, range(-10, 0))
    pool.close()
    for call in (pool.map, pool.imap, pool.apply_async, pool.starmap):
        with pytest.raises(ValueError, match="not running"):
            call(abs, [])
    pool.join()
    assert waiting.get(0) == list(range(10, 0, -1))
    pool.terminate()
    pool.join()
    with pytest.raises(ValueError), pool:
        pass


@pytest.mark.parametrize("end", ["close", "terminate"])
def test_join_waits_for_the_processes(module, end):
    pool = module.Pool(3)
    pids = set(pool.map(_pid_after_a_moment, range(6), chunksize=1))
    getattr(pool, end)()
    pool.join()
    assert not any(map(_is_running, pids - {os.getpid()}))


def _pid_after_a_moment(_):
    time.sleep(0.02)
    return os.getpid()


def _is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"processes": 0}, ValueError),
        ({"processes": 1, "initializer": 3}, TypeError),
        ({"processes": 1, "maxtasksperchild": 0}, ValueError),
        ({"processes": 1, "maxtasksperchild": 0.5}, ValueError),
    ],
)
def test_bad_arguments(module, arguments, error):
    with pytest.raises(error):
        module.Pool(**arguments)


def test_bad_chunks(module):
    with module.Pool(1) as pool:
        for call in (pool.imap, pool.imap_unordered):
            with pytest.raises(ValueError, match=r"1\+"):
                call(abs, [1], 0)


def _set_variable(value):
    os.environ["HAZ_TEST_POOL"] = value


def test_initializer(module):
    try:
        with module.Pool(2, _set_variable, ("set",)) as pool:
            assert pool.map(os.getenv, ["HAZ_TEST_POOL"] * 6) == ["set"] * 6
    finally:
        os.environ.pop("HAZ_TEST_POOL", None)


def test_an_unclosed_pool_warns(engine):
    pool = haz.multiprocessing.Pool(1)
    pool.apply(abs, (1,))
    with pytest.warns(ResourceWarning, match="unclosed running multiprocessing"):  # noqa: PT031
        del pool
        gc.collect()


def test_a_pool_of_threads():
    with haz.multiprocessing.pool.ThreadPool(2) as pool:
        assert pool.map(abs, [-1, -2]) == [1, 2]


def test_names():
    for name in multiprocessing.__all__:
        assert hasattr(haz.multiprocessing, name), name
    assert haz.multiprocessing.Process is multiprocessing.Process
    assert haz.multiprocessing.TimeoutError is multiprocessing.TimeoutError
    for context in (haz.multiprocessing.get_context(), haz.multiprocessing.get_context("spawn")):
        assert context.Pool is haz.multiprocessing.Pool
        assert context.cpu_count() == multiprocessing.cpu_count()
        assert haz.multiprocessing.cpu_count() == multiprocessing.cpu_count()
        assert context.get_context() is context
    with pytest.raises(ValueError, match="nonsense"):
        haz.multiprocessing.get_context("nonsense")


def test_cpus_of_tasks(engine):
    count = haz.remote(haz.multiprocessing.cpu_count)
    assert haz.get([count.options(num_cpus=number).remote() for number in (2, 1, 0.5, 0)]) == [
        2,
        1,
        1,
        1,
    ]
    with haz.multiprocessing.Pool(2) as pool:
        assert pool.apply(haz.multiprocessing.cpu_count) == 1
        assert pool.apply(haz.multiprocessing.get_context().cpu_count) == 1
    assert haz.multiprocessing.cpu_count() == multiprocessing.cpu_count()


STANDARD_IMPORTS = """
import haz.multiprocessing as multiprocessing
import haz.multiprocessing.connection
from haz.multiprocessing.shared_memory import SharedMemory
from haz.multiprocessing.managers import BaseManager, SyncManager
from haz.multiprocessing.dummy import Pool as ThreadPool
from haz.multiprocessing.context import TimeoutError
from haz.multiprocessing import connection, queues, sharedctypes, synchronize, process, reduction
import multiprocessing.managers as standard
assert issubclass(SyncManager, BaseManager) and SyncManager is standard.SyncManager
assert haz.multiprocessing.connection is connection is multiprocessing.connection
assert multiprocessing.util.get_logger() is multiprocessing.get_logger()
with ThreadPool(2) as threads:
    assert threads.map(abs, [-1]) == [1]
try:
    multiprocessing.nonsense
except AttributeError:
    print("done")
"""


def test_the_standard_modules_have_these_names_too():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", STANDARD_IMPORTS],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("done\n", "")


# ---- what the standard one does not have -----------------------------------------------------------


@pytest.fixture
def native():
    if not HAS_NATIVE:
        pytest.skip("the native engine is not built")
    haz.init(engine="native", num_cpus=2)
    return haz.multiprocessing


class TwoArguments(Exception):
    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")
        self.second = second


def test_errors_that_do_not_unpickle(native):
    def fail():
        raise TwoArguments(1, 2)

    with native.Pool(1) as pool:
        with pytest.raises(TwoArguments, match="1 and 2") as caught:
            pool.apply(fail)
        assert caught.value.second == 2
        assert pool.apply(abs, (-1,)) == 1


class Unloadable:
    def __init__(self, function, *args):
        self.reduced = function, args

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("kind", ["apply", "map", "imap", "executor"])
def test_results_that_can_not_be_loaded_fail_their_own_call_alone(native, kind):
    """Also where that would end the program that asks for them."""

    def call(pool, function, *args):
        if kind == "executor":
            return pool.submit(Unloadable, function, *args).result(60)
        if kind == "apply":
            return pool.apply_async(Unloadable, (function, *args)).get(60)
        return list(getattr(pool, kind)(lambda one: Unloadable(function, *args), [1]))

    with native.Pool(1) if kind != "executor" else haz.Executor(1) as pool:
        with pytest.raises(DeserializationError, match=r"the (call|map) can't be .*SystemExit: 3"):
            call(pool, sys.exit, 3)
        with pytest.raises(DeserializationError, match=r"the (call|map) can't be") as raised:
            call(pool, int, "x")
        assert isinstance(raised.value, ValueError)
        assert call(pool, abs, -1) in (1, [1])


@pytest.mark.parametrize("end", ["os._exit(3)", "sys.exit(3)", "os.kill(os.getpid(), 9)"])
def test_a_process_that_ends_fails_its_own_call(native, end):
    with native.Pool(2) as pool:
        results = [pool.apply_async(abs, (-x,)) for x in range(20)]
        bad = pool.apply_async(lambda: eval(end, {"os": os, "sys": __import__("sys")}))
        many = pool.map_async(abs, range(100), chunksize=5)
        with pytest.raises(ActorDiedError):
            bad.get(60)
        assert [result.get(60) for result in results] == list(range(20))
        assert many.get(60) == list(range(100))
        with pytest.raises(ActorDiedError):
            pool.map(lambda x: x or os._exit(3), [1, 2, 0, 3], chunksize=1)
        assert pool.apply(abs, (-1,)) == 1


def test_leaving_the_block_loses_results_and_says_so(native):
    with pytest.warns(RuntimeWarning, match="2 results are lost"):  # noqa: PT031
        with native.Pool(1) as pool:
            done = pool.apply_async(abs, (-1,))
            done.wait(60)
            running = pool.apply_async(time.sleep, (600,))
            waiting = pool.map_async(abs, range(5))
    assert done.get(0) == 1
    for result in (running, waiting):
        with pytest.raises(ValueError, match="terminated"):
            result.get()


def test_what_has_ended_is_not_lost(native):
    """Also where the pool's thread has not got to it when the block is left."""
    with native.Pool(1) as pool:
        pool.apply(abs, (-1,))
        going_on = threading.Event()
        pool.apply_async(abs, (-1,), callback=lambda _: going_on.wait(60))
        results = [pool.apply_async(pow, (2, n)) for n in range(6)]
        pool._group._mean_s = 1e-6  # so that all are sent
        pool._group._feed()
        refs = [sent.ref for sent in pool._group._messages()]
        haz.wait(refs, num_returns=len(refs))
        threading.Timer(0.5, going_on.set).start()
    assert [result.get(0) for result in results] == [1, 2, 4, 8, 16, 32]


def test_calls_do_not_wait_for_processes_that_start(native, tmp_path):
    def begin():
        try:
            (tmp_path / "first").mkdir()
        except FileExistsError:
            time.sleep(600)

    with native.Pool(3, begin) as pool:
        assert pool.map(abs, range(-9, 0), chunksize=1) == list(range(9, 0, -1))
        assert [pool.apply(abs, (-n,)) for n in range(9)] == list(range(9))


def fail_to_begin():
    raise RuntimeError("no database")


def test_errors_are_told_in_words_of_the_caller(native):
    lock = threading.Lock()
    with native.Pool(1) as pool, haz.Executor(1) as executor:
        for send in (pool.apply_async, lambda function, args: executor.submit(function, *args)):
            sent = send(max, (1, lock))
            with pytest.raises(
                TypeError, match=r"^can't pickle argument 2 of the call: _thread.lock"
            ):
                getattr(sent, "get", getattr(sent, "result", None))(60)
        with pytest.raises(TypeError, match=r"argument 'key' of the call: _thread.lock"):
            pool.apply(max, (1, 2), {"key": lock})
        with pytest.raises(TypeError, match="the items of the map, item 1 of a list"):
            pool.map(abs, [1, lock], chunksize=2)
        with pytest.raises(
            BrokenProcessPool, match=r"died, and the executor goes on: process .* 3"
        ):
            executor.submit(os._exit, 3).result(60)
    with native.Pool(1, fail_to_begin) as pool:
        with pytest.raises(ActorDiedError, match=r"^the initializer failed: RuntimeError: no data"):
            pool.apply(abs, (1,))
    with haz.Executor(1, initializer=fail_to_begin) as executor:
        with pytest.raises(
            BrokenProcessPool, match=r"^the initializer failed: RuntimeError: no data"
        ):
            executor.submit(abs, 1).result(60)


def test_nobody_waits_for_a_result_that_has_no_memory(native, monkeypatch):
    def fail(value):
        raise MemoryError("no room for it")

    pytest.importorskip("numpy")
    with native.Pool(1) as pool, haz.Executor(1) as executor:
        pool.apply(__import__, ("numpy",))
        monkeypatch.setattr("haz.multiprocessing.results.writable", fail)
        monkeypatch.setattr("haz.executor.writable", fail)
        for get in (
            lambda: pool.apply_async(list, ("ab",)).get(60),
            lambda: pool.map_async(abs, [1]).get(60),
            lambda: pool.imap(list, ["ab"]).next(60),
            lambda: executor.submit(list, "ab").result(60),
        ):
            with pytest.raises(MemoryError, match="no room"):
                get()


def test_the_first_call_is_the_first_to_begin(native):
    both_run = native.Barrier(2)
    with native.Pool(2) as pool:
        numbers = [pool.apply_async(_number_of_process, (both_run,)) for _ in range(2)]
        assert [number.get(60) for number in numbers] == [1, 2]


def _number_of_process(both_run):
    both_run.wait(60)
    return multiprocessing.current_process()._identity[0]


OUTPUT = """
import os, sys
import haz.multiprocessing
import haz.joblib, joblib
from haz import Executor

def say(x):
    print("said by all")
    print("an error", x, file=sys.stderr)
    os.system("echo of a child")

with haz.multiprocessing.Pool(2) as pool:
    pool.map(say, range(4), chunksize=1)
with Executor(2) as executor:
    list(executor.map(say, range(4)))
haz.joblib.register()
with joblib.parallel_config("haz", n_jobs=2):
    joblib.Parallel(batch_size=1)(joblib.delayed(print)("of joblib") for _ in range(3))
"""


def test_what_calls_print_is_shown_as_it_is(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(OUTPUT)
    done = subprocess.run(
        [sys.executable, path], capture_output=True, text=True, timeout=100, check=True
    )
    lines = ["said by all"] * 8 + ["of a child"] * 8 + ["of joblib"] * 3
    assert sorted(done.stdout.splitlines()) == sorted(lines)
    assert sorted(done.stderr.splitlines()) == sorted(
        f"an error {n}" for n in range(4) for _ in "12"
    )


def test_an_iterator_of_a_pool_that_was_terminated(native):
    with native.Pool(1) as pool:
        lazy = pool.imap(time.sleep, [0, 600, 600])
        assert next(lazy) is None
    with pytest.raises(ValueError, match="terminated"):
        list(lazy)


def test_terminate_in_a_callback(native):
    pool = native.Pool(1)
    both_are_made = threading.Event()

    def terminate(_):
        both_are_made.wait(60)
        pool.terminate()

    pool.apply_async(abs, (-1,), callback=terminate)
    waiting = pool.apply_async(time.sleep, (600,))
    both_are_made.set()
    with pytest.raises(ValueError, match="terminated"):
        waiting.get(60)
    pool.join()


def test_a_callback_that_fails_ends_nothing(native, capsys):
    with native.Pool(1) as pool:
        result = pool.apply_async(abs, (-1,), callback=lambda _: 1 / 0)
        assert result.get(60) == 1
        assert pool.apply(abs, (-2,)) == 2
        pool.close()
        pool.join()
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_pools_in_pools(engine):
    def inner(count):
        with haz.multiprocessing.Pool(2) as pool:
            return sum(pool.map(lambda x: x * x, range(count)))

    with haz.multiprocessing.Pool(2) as pool:
        assert pool.map(inner, [1, 2, 3, 4]) == [0, 1, 5, 14]


def test_endless_iterables_are_read_as_results_are(engine):
    read = itertools.count()
    with haz.multiprocessing.Pool(2) as pool:
        results = pool.imap_unordered(abs, (next(read) for _ in itertools.repeat(None)), 5)
        assert len(set(itertools.islice(results, 50))) == 50
    assert next(read) <= 50 + 2 * 2 * 5


def test_processes_have_names_and_numbers(native):
    def name():
        process = multiprocessing.current_process()
        time.sleep(0.01)
        return process.name, process._identity

    with native.Pool(2) as pool:
        names = {result.get(60) for result in [pool.apply_async(name) for _ in range(10)]}
    assert names <= {("PoolWorker-1", (1,)), ("PoolWorker-2", (2,))}


_NAMES = """
import os, sys
from multiprocessing import current_process, parent_process
import haz, haz.multiprocessing

def tell(_=None):
    return current_process().name, parent_process().pid == os.getppid(), parent_process().is_alive()

def note():
    global at_start
    at_start = tell()

with haz.multiprocessing.Pool(1) as pool:
    print(*pool.map(tell, range(2), chunksize=1))
with haz.multiprocessing.Pool(1, note) as pool:
    print(pool.apply(lambda: at_start))
with haz.Executor(1) as executor:
    print(executor.submit(tell).result())
"""


def test_processes_have_names_before_their_first_call(tmp_path):
    """Programs ask for them to know whether they are in the main process."""
    program = tmp_path / "program.py"
    program.write_text(_NAMES)
    told = "('PoolWorker-1', True, True)"
    ran = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=120)
    assert ran.stdout.splitlines() == [f"{told} {told}", told, told]


def test_of_several_errors_of_a_map_the_first_one_is_raised(native):
    def fail(x):
        time.sleep((3 - x) / 20)
        raise ValueError(x)

    with native.Pool(4) as pool, pytest.raises(ValueError, match=r"^0$"):
        pool.map(fail, range(4), chunksize=1)


def test_an_array_that_many_calls_have_is_stored_once(native):
    numpy = pytest.importorskip("numpy")
    array = numpy.ones(4_000_000)

    def change(array, x):
        assert array.sum() == 4_000_000
        array[:10] += x
        return float(array[0])

    with native.Pool(2) as pool:
        for _ in range(2):
            results = pool.starmap(change, [(array, x) for x in range(20)])
            assert results == [1.0 + x for x in range(20)]
            array[0] = 1.0
        array[:] = 0  # is seen by the next map
        assert pool.map(numpy.sum, [array] * 4) == [0] * 4
    assert array.flags.writeable


def _note(values, key):
    values[key] = os.getpid()
    return len(values)


@pytest.mark.parametrize("first", ["manager", "pool"])
def test_values_of_a_manager(native, first):
    """Also where the program makes the manager after the pool; and in an executor."""
    with contextlib.ExitStack() as stack:
        if first == "manager":
            manager = stack.enter_context(multiprocessing.get_context("fork").Manager())
        pool = stack.enter_context(native.Pool(2))
        executor = stack.enter_context(haz.Executor(1))
        assert pool.apply(abs, (-1,)) == executor.submit(abs, -1).result(60) == 1
        if first == "pool":
            manager = stack.enter_context(multiprocessing.get_context("fork").Manager())
        values = manager.dict()
        pool.starmap(_note, [(values, key) for key in range(4)])
        executor.submit(_note, values, "executor").result(60)
        assert sorted(values.keys(), key=str) == [0, 1, 2, 3, "executor"]
        assert os.getpid() not in values.values()


def _count(values):
    values["begun"] += 1


def test_values_of_a_manager_for_an_initializer(native):
    """It runs though there are no calls."""
    with multiprocessing.get_context("fork").Manager() as manager:
        values = manager.dict(begun=0)
        pool = native.Pool(1, _count, (values,))
        pool.close()
        pool.join()
        assert values["begun"] == 1


class OfManager(managers.BaseManager):
    pass


OfManager.register("Lines", list)


def test_values_of_managers_in_tasks(native):
    """With what they hold; and of a manager with a key of its own."""

    @haz.remote
    def change(values, lines):
        values["inner"]["b"] = values["inner"]["a"] + 1
        lines.append(os.getpid())
        return values

    manager = multiprocessing.get_context("fork").Manager()
    of_manager = OfManager(authkey=b"another", ctx=multiprocessing.get_context("fork"))
    with manager, of_manager:
        values, lines = manager.dict(), of_manager.Lines()
        values["inner"] = manager.dict(a=1)
        back = haz.get(change.remote(values, lines))
        assert back["inner"]["b"] == values["inner"]["b"] == 2
        assert lines.count(os.getpid()) == 0
        assert len(list(haz.map(lines.append, range(5)))) == 5
        assert sorted(lines.copy()[1:]) == [0, 1, 2, 3, 4]


class Unsendable:
    def __reduce__(self):
        raise LookupError("not this")


def test_what_pickling_raises_is_raised(native):
    pool = native.Pool(1)
    with pytest.raises(LookupError, match=r"item 3 of a list: .*Unsendable") as raised:
        pool.map(repr, [1, 2, 3, Unsendable()], chunksize=4)
    assert isinstance(raised.value, haz.exceptions.SerializationError)
    with pytest.raises(LookupError, match="argument 1 of the call"):
        pool.apply(repr, (Unsendable(),))
    assert pool.apply(repr, (1,)) == "1"
    pool.terminate()
    pool.join()


@pytest.mark.parametrize("kind", ["pool", "executor"])
def test_processes_can_be_seen_and_ended(native, kind):
    """Under the names that programs use with those of the standard library."""
    with contextlib.ExitStack() as stack:
        if kind == "pool":
            pool = stack.enter_context(native.Pool(2))
            processes, call = pool._pool, pool.apply
        else:
            executor = stack.enter_context(haz.Executor(1))
            call = lambda f, args: executor.submit(f, *args).result(60)  # noqa: E731
            pid = call(os.getpid, ())
            processes = list(executor._processes.values())
            assert list(executor._processes) == [pid]
        assert len(processes) == (2 if kind == "pool" else 1)
        assert call(os.getpid, ()) in [process.pid for process in processes]
        assert all(process.is_alive() and process.daemon for process in processes)
        processes[0].join(0.01)
        processes[0].kill()
        processes[0].join(60)
        assert not processes[0].is_alive()
        assert multiprocessing.connection.wait([processes[0].sentinel], 60)
        processes[0].pid = os.getpid()  # as if it was used again
        processes[0].kill()  # has ended: nothing happens
        assert "stopped" in repr(processes[0])
        assert call(abs, (-1,)) == 1
    for process in processes:
        process.join(60)
        assert not process.is_alive()


def _living_workers():
    return sum(row["is_alive"] for row in runtime.engine.list_state("workers")[0])


@pytest.fixture
def head_start(monkeypatch):
    """Whatever the machine; returns what sets how long it is."""
    monkeypatch.setattr(sending, "_usable_cpus", lambda: 1)
    return lambda seconds: monkeypatch.setattr(sending, "_HEAD_START_S", seconds)


def test_the_first_process_serves_small_calls_before_others_are_there(native, head_start):
    head_start(3600)
    with native.Pool(4) as pool:
        pids = pool.map(_pid, range(20), chunksize=1)
        assert len(set(pids)) == 1
        assert [process.pid for process in pool._pool].count(pids[0]) == 1
        assert len(pool._pool) == 4


@pytest.mark.parametrize("how", ["pool", "busy", "executor"])
def test_others_start_after_the_head_start(native, head_start, how):
    head_start(0.2)
    before = _living_workers()
    with haz.Executor(3) if how == "executor" else native.Pool(3) as pool:
        if how == "pool":
            wait_until(lambda: _living_workers() >= before + 3, 60)
            return
        barrier = native.Barrier(3)
        start = pool.apply_async if how == "busy" else lambda f, args: pool.submit(f, *args)
        started = [start(_pass_barrier, (barrier,)) for _ in range(3)]
        ends = [one.get(60) if how == "busy" else one.result(60) for one in started]
        assert sorted(ends) == [0, 1, 2]


def test_nothing_starts_after_the_end_of_a_pool_in_its_head_start(native, head_start):
    head_start(0.1)
    with native.Pool(1) as pool:
        pool.apply(abs, (-1,))
    before = _living_workers()
    pool = native.Pool(4)
    pool.terminate()
    pool.join()
    time.sleep(0.3)
    assert _living_workers() <= before + 1
    pool = native.Pool(4)
    pool.close()
    pool.join()


def _pid(_):
    return os.getpid()


def _pass_barrier(barrier):
    return barrier.wait(60)


def test_initializers_that_wait_for_each_other_go_on(native, head_start):
    head_start(3600)
    with native.Pool(3, _pass_barrier, (native.Barrier(3),)) as pool:
        assert pool.map(abs, [-1, 2]) == [1, 2]


def test_processes_that_take_the_place_of_others_are_seen(native):
    with native.Pool(2) as pool:
        before = pool._pool
        before[0].kill()
        before[0].join(60)
        after = pool._pool
        assert [process.is_alive() for process in after] == [True, True]
        assert before[1].pid in [process.pid for process in after]


def test_all_modules_of_the_standard_library_are_there():
    names = [module.name for module in pkgutil.iter_modules(multiprocessing.__path__)]
    for name in set(names) - {"popen_spawn_win32"}:
        ours = importlib.import_module(f"haz.multiprocessing.{name}")
        standard = importlib.import_module(f"multiprocessing.{name}")
        missing = {
            key for key in vars(standard) if not key.startswith("_") and not hasattr(ours, key)
        }
        assert missing == set(), name
    assert not hasattr(haz.multiprocessing.pool, "nothing")


class Counted:
    alive = 0

    def __init__(self):
        Counted.alive += 1

    def __setstate__(self, state):
        Counted.alive += 1

    def __getstate__(self):
        return {"a": 1}

    def __del__(self):
        Counted.alive -= 1


def test_what_a_pool_was_given_and_has_returned_is_not_kept(native):
    def same(value):
        return value

    def calls(pool):
        pool.map(same, [Counted() for _ in range(40)], chunksize=2)
        for result in [pool.apply_async(same, (Counted(),)) for _ in range(40)]:
            result.get(60)
        list(pool.imap(same, [Counted() for _ in range(5)]))
        with pytest.raises(ZeroDivisionError):
            pool.apply(lambda value: 1 // 0, (Counted(),))

    with native.Pool(2) as pool:
        for _ in range(3):
            calls(pool)
            gc.collect()
        wait_until(lambda: Counted.alive == 0, "their end")


def test_maxtasksperchild_of_maps(native):
    with native.Pool(2, maxtasksperchild=1) as pool:
        pids = pool.map(lambda _: os.getpid(), range(6), chunksize=1)
    assert len(set(pids)) == 6


def test_a_result_is_an_object_like_others(native):
    with haz.multiprocessing.Pool(1) as pool:
        result = pool.apply_async(abs, (-1,))
        result.mine = [1]
        assert result.mine == [1]
        seen = weakref.ref(result)
        result.mine.append(result)  # a cycle
        assert result.get() == 1
        del result
        gc.collect()
        assert seen() is None
        pending = [pool.apply_async(abs, (-i,)) for i in range(50)]
        pending[7].mine = pending
        assert [one.get() for one in pending] == list(range(50))


def test_values_of_all_kinds_among_many_results(native):
    """In batches, which are delivered at once as far as nothing has to be done for a value."""
    came = []
    with haz.multiprocessing.Pool(2) as pool:
        for _ in range(3):
            pending = []
            for i in range(400):
                callback = came.append if i % 50 == 0 else _raise_for if i % 50 == 1 else None
                pending.append(pool.apply_async(_of_kind, (i,), callback=callback))
            results = [one.get(30) for one in pending]
            assert results == [_of_kind(i) for i in range(400)]
        wanted = 3 * [_of_kind(i) for i in range(0, 400, 50)]
        assert sorted(came, key=str) == sorted(wanted, key=str)
        assert all(one.ready() and one.successful() for one in pending)


def _of_kind(i):
    return [i] if i % 97 == 3 else i


def _raise_for(value):
    raise ValueError(value)


@pytest.mark.slow
def test_calls_that_come_while_a_pool_ends(native):
    """Each is refused, or has an outcome: nobody waits for ever."""
    for end in ("close", "terminate"):
        pool = haz.multiprocessing.Pool(2)
        pool.map(abs, range(100))
        taken, refused = [], []

        def submit(pool=pool, taken=taken, refused=refused):
            while not refused:
                try:
                    taken.append(pool.apply_async(abs, (-1,)))
                except ValueError as error:
                    refused.append(error)

        threads = [threading.Thread(target=submit) for _ in range(2)]
        for thread in threads:
            thread.start()
        wait_until(lambda taken=taken: len(taken) > 500)
        getattr(pool, end)()
        for thread in threads:
            thread.join()
        pool.join()
        outcomes = set()
        for one in taken:
            one.wait(30)
            outcomes.add(one.get(0) if one.successful() else "terminated")
        assert outcomes <= ({1, "terminated"} if end == "terminate" else {1})
        assert "not running" in str(refused[0])
