"""haz.Executor beside concurrent.futures.ProcessPoolExecutor: the same programs, the same outcomes."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import itertools
import multiprocessing
import operator
import os
import threading
import time
from concurrent.futures import ProcessPoolExecutor, as_completed, wait
from concurrent.futures.process import BrokenProcessPool

import haz
import haz.multiprocessing
import pytest
from haz.testing import descendants, wait_until

from tests.engines import HAS_NATIVE


@pytest.fixture(params=["standard", "inline", *["native"] * HAS_NATIVE])
def make(request):
    """Make an executor of either kind."""
    if request.param == "standard":
        context = multiprocessing.get_context("fork")  # leaves no server behind
        return lambda *args, **kwargs: ProcessPoolExecutor(*args, mp_context=context, **kwargs)
    haz.init(engine=request.param, num_cpus=2)
    return haz.Executor


def test_submit(make):
    with make(2) as executor:
        future = executor.submit(pow, 2, 10)
        assert isinstance(future, concurrent.futures.Future)
        assert future.result(60) == 1024
        assert future.done()
        assert not future.running()
        assert not future.cancelled()
        assert not future.cancel()
        assert future.exception() is None
        assert executor.submit(dict, [(1, 2)], a=3).result(60) == {1: 2, "a": 3}
        assert "finished returned int" in repr(future)


def test_errors_and_their_remote_traceback(make):
    with make(1) as executor:
        future = executor.submit(operator.truediv, 1, 0)
        error = future.exception(60)
        assert type(error) is ZeroDivisionError
        assert error.args == ("division by zero",)
        assert type(error.__cause__).__name__ == "_RemoteTraceback"
        assert "ZeroDivisionError: division by zero" in str(error.__cause__)
        with pytest.raises(ZeroDivisionError):
            future.result()
        with pytest.raises(SystemExit) as caught:
            executor.submit(_leave, 3).result(60)
        assert caught.value.code == 3
        assert executor.submit(abs, -1).result(60) == 1


def _leave(code):
    raise SystemExit(code)


def test_what_cannot_be_pickled_is_an_error_of_its_own_future(make):
    with make(1) as executor:
        for future in (executor.submit(abs, threading.Lock()), executor.submit(threading.Lock)):
            with pytest.raises(TypeError) as caught:
                future.result(60)
            assert "GroupWorker" not in str(caught.value)
        assert type(caught.value.__cause__).__name__ == "_RemoteTraceback"
        assert executor.submit(abs, -1).result(60) == 1


def test_map(make):
    with make(2) as executor:
        assert list(executor.map(pow, [1, 2, 3], itertools.count(2))) == [1, 8, 81]
        assert list(executor.map(abs, range(-20, 0), chunksize=7)) == list(range(20, 0, -1))
        assert list(executor.map(abs, [])) == []
        results = executor.map(operator.floordiv, [6, 6, 6], [3, 0, 2])
        assert next(results) == 2
        with pytest.raises(ZeroDivisionError):
            next(results)
        with pytest.raises(StopIteration):
            next(results)
        with pytest.raises(ValueError, match="chunksize"):
            executor.map(abs, [1], chunksize=0)


def test_wait_and_as_completed(make):
    with make(2) as executor:
        futures = {executor.submit(abs, -x): x for x in range(20)}
        for future in as_completed(futures, timeout=60):
            assert future.result() == futures[future]
        more = [executor.submit(abs, -x) for x in range(5)]
        done, rest = wait([*more, *futures], timeout=60)
        assert (len(done), len(rest)) == (25, 0)
        bad = executor.submit(operator.truediv, 1, 0)
        done, _ = wait([bad], timeout=60, return_when=concurrent.futures.FIRST_EXCEPTION)
        assert done == {bad}


def test_callbacks(make, caplog):
    told = []
    with make(1) as executor:
        future = executor.submit(abs, -3)
        future.add_done_callback(lambda one: told.append(one.result()))
        future.add_done_callback(lambda one: 1 / 0)  # is logged
        future.add_done_callback(told.append)
        future.result(60)
    future.add_done_callback(told.append)
    assert told == [3, future, future]
    assert "exception calling callback" in caplog.text
    caplog.clear()  # the traceback in it keeps the executor


def test_asyncio(make):
    async def main(executor):
        loop = asyncio.get_running_loop()
        calls = [loop.run_in_executor(executor, abs, -x) for x in range(10)]
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(executor, operator.truediv, 1, 0)
        return await asyncio.gather(*calls)

    with make(2) as executor:
        assert asyncio.run(main(executor)) == list(range(10))


def test_shutdown(make):
    executor = make(1)
    future = executor.submit(abs, -1)
    executor.shutdown()
    assert future.result(0) == 1
    executor.shutdown()
    with pytest.raises(RuntimeError):
        executor.submit(abs, 1)
    with pytest.raises(RuntimeError), executor:
        executor.submit(abs, 1)
    make(1).shutdown(wait=False)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"max_workers": 0}, ValueError),
        ({"max_workers": -1}, ValueError),
        ({"initializer": 3}, TypeError),
        ({"max_workers": 1, "max_tasks_per_child": 0}, ValueError),
        ({"max_workers": 1, "max_tasks_per_child": "2"}, TypeError),
    ],
)
def test_bad_arguments(make, arguments, error):
    if make is not haz.Executor and "max_tasks_per_child" in arguments:
        pytest.skip("the standard one has it from Python 3.11 on")
    with pytest.raises(error):
        make(**arguments)


def _set_variable(value):
    os.environ["HAZ_TEST_EXECUTOR"] = value


def _fail():
    raise KeyError("not today")


def test_initializer(make):
    try:
        with make(2, initializer=_set_variable, initargs=("set",)) as executor:
            futures = [executor.submit(os.getenv, "HAZ_TEST_EXECUTOR") for _ in range(4)]
            assert [future.result(60) for future in futures] == ["set"] * 4
    finally:
        os.environ.pop("HAZ_TEST_EXECUTOR", None)


def test_an_initializer_that_fails_breaks_the_executor(make, capfd):
    with make(1, initializer=_fail) as executor:
        try:
            futures = [executor.submit(abs, -1) for _ in range(3)]
        except BrokenProcessPool:
            futures = []
        for future in futures:
            with pytest.raises(BrokenProcessPool):
                future.result(60)
        with pytest.raises(BrokenProcessPool):
            _submit_until_it_raises(executor)
    capfd.readouterr()


def _submit_until_it_raises(executor):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        executor.submit(abs, -1)
        time.sleep(0.01)


# ---- what the standard one does not have ----------------------------------------------------------


@pytest.fixture
def native():
    if not HAS_NATIVE:
        pytest.skip("the native engine is not built")
    haz.init(engine="native", num_cpus=2)


def test_lambdas_closures_and_calls_that_make_executors(engine):
    offset = 5

    def outer(count):
        with haz.Executor(2) as executor:
            return sum(executor.map(lambda x: x + offset, range(count)))

    with haz.Executor(2) as executor:
        assert list(executor.map(outer, [1, 2, 3])) == [5, 11, 18]


def test_what_is_around_a_function_is_as_at_the_call(engine):
    seen = []
    with haz.Executor(1) as executor:
        first = executor.submit(lambda: len(seen)).result(60)
        seen.append(1)
        second = executor.submit(lambda: len(seen)).result(60)
    assert (first, second) == (0, 1)


def test_buffersize_reads_endless_iterables_as_results_are_taken(engine):
    read = itertools.count()
    with haz.Executor(2) as executor:
        endless = (next(read) for _ in itertools.repeat(None))
        results = executor.map(abs, endless, buffersize=4)
        assert list(itertools.islice(results, 10)) == list(range(10))
        results.close()
        for bad in (0, -1):
            with pytest.raises(ValueError, match="buffersize"):
                executor.map(abs, [1], buffersize=bad)
        with pytest.raises(TypeError, match="buffersize"):
            executor.map(abs, [1], buffersize="4")
        chunks = executor.map(abs, range(-9, 0), chunksize=2, buffersize=3)
        assert list(chunks) == list(range(9, 0, -1))
    assert next(read) <= 15


def test_many_calls_of_many_threads(native):
    failures = []

    def submit_many(executor, start):
        futures = [executor.submit(operator.neg, x) for x in range(start, start + 500)]
        if [future.result(100) for future in futures] != [-x for x in range(start, start + 500)]:
            failures.append(start)

    with haz.Executor(2) as executor:
        threads = [threading.Thread(target=submit_many, args=(executor, n * 500)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures


def test_a_worker_that_dies_fails_only_its_call(native):
    with haz.Executor(2) as executor:
        good = [executor.submit(abs, -x) for x in range(50)]
        bad = executor.submit(os._exit, 7)
        more = [executor.submit(abs, -x) for x in range(50)]
        with pytest.raises(BrokenProcessPool, match="exit code 7") as caught:
            bad.result(60)
        assert caught.value.__cause__.exit_code == 7
        for futures in (good, more):
            assert [future.result(60) for future in futures] == list(range(50))


def test_idle_workers_may_be_killed(native):
    with haz.Executor(1) as executor:
        for _ in range(8):
            pid = executor.submit(os.getpid).result(60)
            os.kill(pid, 9)
            # Until then it might begin the next call.
            wait_until(lambda pid=pid: pid not in descendants(), "the end of the process")
            assert executor.submit(abs, -1).result(60) == 1


def test_workers_that_die_at_their_start_break_the_executor(native):
    with haz.Executor(1, initializer=os._exit, initargs=(3,)) as executor:
        with pytest.raises(BrokenProcessPool, match="die at their start"):
            executor.submit(abs, -1).result(100)
        with pytest.raises(BrokenProcessPool):
            executor.submit(abs, -1)


def test_a_killed_call_is_not_run_twice(native, tally):
    def die():
        tally.add()
        os.kill(os.getpid(), 9)

    with haz.Executor(1) as executor:
        future = executor.submit(die)
        with pytest.raises(BrokenProcessPool, match="SIGKILL"):
            future.result(60)
    assert tally.count() == 1


def test_cancel_of_what_waits(native, tmp_path):
    gate = tmp_path / "gate"
    told = []
    with haz.Executor(1) as executor:
        running = executor.submit(_wait_for, str(gate))
        waiting = [executor.submit(abs, -x) for x in range(5)]
        assert waiting[0].cancel()
        assert waiting[0].cancelled()
        waiting[1].add_done_callback(told.append)
        assert waiting[1].cancel()
        assert told == [waiting[1]]
        assert running.running() or not running.done()
        assert not running.cancel()
        with pytest.raises(TimeoutError if hasattr(asyncio, "Runner") else Exception):
            running.result(0.05)
        gate.touch()
        assert [future.result(60) for future in waiting[2:]] == [2, 3, 4]
        with pytest.raises(concurrent.futures.CancelledError):
            waiting[0].result()
        _, rest = wait(waiting, timeout=60)
        assert not rest


def test_shutdown_that_cancels(native, tmp_path):
    gate = tmp_path / "gate"
    executor = haz.Executor(1)
    running = executor.submit(_wait_for, str(gate))
    waiting = [executor.submit(abs, -x) for x in range(5)]
    executor.shutdown(wait=False, cancel_futures=True)
    assert wait(waiting, timeout=60).not_done == set()
    assert all(future.cancelled() for future in waiting)
    gate.touch()
    assert running.result(60)
    executor.shutdown()


def _wait_for(path):
    end = time.monotonic() + 90
    while not os.path.exists(path):
        assert time.monotonic() < end
        time.sleep(0.002)
    return True


def test_short_calls_do_not_wait_behind_one_that_turns_out_long(native, tmp_path):
    """Sent ahead as short ones are, calls behind the one that waits for them run elsewhere."""

    def step(number):
        if number == 3000:
            _wait_for(f"{tmp_path}/gate")
        elif number == 3500:
            open(f"{tmp_path}/gate", "w").close()
        return number

    with haz.Executor(2) as executor:
        for _ in range(3):
            futures = [executor.submit(step, number) for number in range(6000)]
            assert [future.result(100) for future in futures] == list(range(6000))
            os.unlink(f"{tmp_path}/gate")


def test_max_tasks_per_child(native):
    with haz.Executor(1, max_tasks_per_child=3) as executor:
        pids = [executor.submit(os.getpid).result(60) for _ in range(7)]
        many = [future.result(60) for future in [executor.submit(os.getpid) for _ in range(30)]]
    assert len(set(pids[:3])) == 1
    assert len(set(pids)) == 3
    assert all(many.count(pid) <= 3 for pid in many)


def test_an_executor_that_goes_lets_its_calls_end(native, tally):
    executor = haz.Executor(1)
    futures = [executor.submit(tally.add) for _ in range(20)]
    del executor
    gc.collect()
    assert [future.result(60) for future in futures] == list(range(1, 21))


def test_after_the_end_of_haz(native, tmp_path):
    executor = haz.Executor(1)
    running = executor.submit(_wait_for, str(tmp_path / "never"))
    haz.shutdown()
    with pytest.raises(haz.exceptions.ObjectLostError):
        running.result(60)
    with pytest.raises(RuntimeError, match="shut down"):
        executor.submit(abs, -1)
    executor.shutdown()


@pytest.mark.parametrize("length", [10, 1_000_000])
def test_arrays_are_writable_and_private(engine, length):
    numpy = pytest.importorskip("numpy")

    def change(array, parts):
        array += 1
        parts["inner"][0][:2] = 9
        return array, parts

    array, inner = numpy.arange(length), numpy.zeros((length // 5, 5))
    with haz.Executor(1) as executor:
        for _ in range(2):
            changed, parts = executor.submit(change, array, {"inner": [inner]}).result(60)
            assert (changed == array + 1).all()
            assert inner.sum() == 0
            assert parts["inner"][0].sum() == 90
            changed[:] = 0
            parts["inner"][0][:] = 1
        executor.submit(change, array, {"inner": [inner]}).result(60)
        assert parts["inner"][0].sum() == length


@pytest.mark.parametrize("many", [6, 300])
@pytest.mark.parametrize("pause_s", [0.0, 0.2])
def test_calls_that_were_sent_ahead_can_be_cancelled(native, many, pause_s):
    """Until they begin, though calls before them were so short that several were sent together."""
    executor = haz.Executor(2)
    for future in [executor.submit(abs, -1) for _ in range(500)]:
        future.result(60)
    futures = [executor.submit(time.sleep, 0.5) for _ in range(many)]
    time.sleep(pause_s)
    executor.shutdown(cancel_futures=True)
    ends = [future.cancelled() or future.result(0) is None for future in futures]
    assert all(ends)
    assert sum(future.cancelled() for future in futures) >= many - 4


def test_what_waits_behind_a_long_call_does_not_run(native):
    with haz.Executor(1) as executor:
        for future in [executor.submit(abs, -1) for _ in range(500)]:
            future.result(60)
        held = haz.multiprocessing.Event()
        futures = [executor.submit(held.wait, 60) for _ in range(20)]
        wait_until(lambda: sum(future.running() for future in futures) == 1)
        assert all(future.cancel() for future in futures[1:])
        held.set()
        assert futures[0].result(60)
