"""Odd circumstances: what is around a driver, and what happens in the middle of its calls."""

from __future__ import annotations

import concurrent.futures
import gc
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import haz
import pytest
from haz.exceptions import (
    GetTimeoutError,
    HazError,
    NodeDiedError,
    TaskCancelledError,
    TaskTimeoutError,
)
from haz.testing import leak_check, wait_until

from tests.python.native.fault_program import run_scenario
from tests.python.native.fault_tools import (
    counts,
    is_empty,
    kill,
    raised,
    touch,
    touched,
    world,
)

# ---- signals ---------------------------------------------------------------------------------------


def handlers_use_haz():
    @haz.remote(num_cpus=0)
    def ping(i):
        return i

    @haz.remote(num_cpus=0)
    def waits(name):
        touch("waits")
        wait_until(lambda: touched(name))
        return name

    handled = []
    alarms = 0  # how many more are wanted

    def handler(_number, _frame):
        nonlocal alarms
        handled.append(haz.get(ping.remote(len(handled)), timeout=30))
        ready, _ = haz.wait([ping.remote(1), ping.remote(2)], num_returns=2)
        handled.append(len(haz.get(haz.put(bytes(200_000)))))
        handled.append(len(ready))
        touch("handled")
        # The next one is set here: on a busy machine those of a timer that repeats itself come
        # faster than they are handled, each inside of the one before it.
        if alarms:
            alarms -= 1
            signal.setitimer(signal.ITIMER_REAL, 0.003)

    with world():
        signal.signal(signal.SIGALRM, handler)
        haz.get([ping.remote(i) for i in range(10)])
        ref = waits.remote("go")
        wait_until(lambda: touched("waits"))

        # In the middle of a get, a wait, and one of each in another thread.
        for call in (lambda: haz.get(ref), lambda: haz.get([ref] * 20), lambda: haz.wait([ref])):
            before = touched("handled")
            others = [threading.Thread(target=haz.get, args=(ref,)) for _ in range(2)]
            for thread in others:
                thread.start()
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            threading.Timer(0.2, touch, ("go",)).start()
            assert call() is not None
            for thread in others:
                thread.join()
            assert touched("handled") == before + 1
            os.unlink(os.path.join(os.environ["SCENARIO_FOLDER"], "go"))
            ref = waits.remote("go")
        alarms = 50
        signal.setitimer(signal.ITIMER_REAL, 0.003)
        for _ in range(20):
            assert haz.get([ping.remote(i) for i in range(200)]) == list(range(200))
        alarms = 0
        signal.setitimer(signal.ITIMER_REAL, 0)
        # The thread that leads the others.
        before = touched("handled")
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert isinstance(raised(haz.get, ref, timeout=0.3), GetTimeoutError)
        assert touched("handled") == before + 1
        touch("go")
        haz.get(ref)
        ref = call = others = thread = None
    # One that ends everything.
    signal.signal(signal.SIGALRM, lambda *_: haz.shutdown())
    for again in range(3):
        with world(empty=False):
            ref = waits.remote("never")
            wait_until(lambda again=again: touched("waits") == 5 + again)
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            assert isinstance(raised(haz.get, ref), NodeDiedError)
            assert not haz.is_initialized()


def test_signal_handlers_use_haz(tmp_path):
    run_scenario(handlers_use_haz, tmp_path)


def handlers_in_a_task():
    @haz.remote(num_cpus=0)
    def ping(i):
        return i

    @haz.remote
    def works():
        handled = []

        def handler(_number, _frame):
            handled.append(haz.get(ping.remote(1)))
            if len(handled) < 20:
                signal.setitimer(signal.ITIMER_REAL, 0.003)  # one at a time

        haz.get(ping.remote(1))  # imports what it needs
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.003)
        while len(handled) < 20:
            assert haz.get([ping.remote(i) for i in range(50)]) == list(range(50))
        return len(handled)

    with world():
        assert haz.get([works.remote() for _ in range(4)]) == [20] * 4
        haz.get([ping.remote(i) for i in range(100)])


def test_signal_handlers_of_a_task_use_haz(tmp_path):
    run_scenario(handlers_in_a_task, tmp_path)


def children_are_reaped(how):
    if how == "ignored":
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    else:

        def reap(_number, _frame):
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                pass

        signal.signal(signal.SIGCHLD, reap)

    @haz.remote(max_retries=-1)
    def one():
        return 1

    for _ in range(3):
        with world():
            assert haz.get([one.remote() for _ in range(10)]) == [1] * 10
            kill(counts()["zygote_pid"])
            assert haz.get([one.remote() for _ in range(10)]) == [1] * 10


@pytest.mark.parametrize("how", ["ignored", "reaped"])
def test_the_driver_takes_all_children_from_us(tmp_path, how):
    run_scenario(children_are_reaped, tmp_path, how=how)


# ---- destructors -----------------------------------------------------------------------------------


def destructors_use_haz():
    @haz.remote
    def one():
        return 1

    class Late:
        def __init__(self, times):
            self.times = times

        def __del__(self):
            for _ in range(self.times):
                haz.get([one.remote(), haz.put(bytes(3000))])
                haz.wait([one.remote() for _ in range(3)])

    class Circle(Late):
        def __init__(self, times):
            super().__init__(times)
            self.me = self

    @haz.remote
    def makes(n):
        return [Late(1) for _ in range(n)]

    @haz.remote(num_returns=2)
    def makes_two():
        return Late(2), Circle(1)

    @haz.remote
    def takes(items, *more):
        return len(items) + len(more)

    @haz.remote
    def collects():
        gc.set_threshold(5)
        for _ in range(20):
            Circle(1)
        return True

    @haz.remote
    class Keeper:
        def get(self):
            return Late(1)

        async def wait(self):
            return Late(1)

    def use(_):
        keeper = Keeper.remote()
        for _ in range(10):
            assert len(haz.get(makes.remote(3))) == 3
            assert len(haz.get(makes_two.remote())) == 2
            assert haz.get(takes.remote([Late(1)], Late(1))) == 2
            assert haz.get(collects.remote())
            haz.get([keeper.get.remote(), keeper.wait.remote()])

    with world():
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            list(pool.map(use, range(3)))
        gc.collect()


def test_destructors_use_haz(tmp_path):
    run_scenario(destructors_use_haz, tmp_path)


# ---- surroundings ----------------------------------------------------------------------------------


def surroundings():
    @haz.remote
    def one():
        return 1

    @haz.remote
    def inherited():
        child = subprocess.run(
            ["sh", "-c", "ls -l /proc/self/fd"], close_fds=False, capture_output=True, text=True
        )
        return child.stdout

    # The working directory is gone.
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    shutil.rmtree(folder)
    with world():
        assert haz.get(one.remote()) == 1
    os.chdir("/")

    # The thread that started it has ended.
    with leak_check():
        thread = threading.Thread(target=haz.init, kwargs={"num_cpus": 2})
        thread.start()
        thread.join()
        assert haz.get([one.remote() for _ in range(20)]) == [1] * 20
        # No descriptor goes to other programs.
        text = haz.get(inherited.remote())
        assert "haz" not in text, text
        assert "socket" not in text, text
        text = subprocess.run(
            ["sh", "-c", "ls -l /proc/self/fd"], close_fds=False, capture_output=True, text=True
        ).stdout
        assert "haz" not in text, text
        assert "socket" not in text, text
        haz.shutdown()

    # Standard streams are closed. What stands in for them stays, lest a file take their place.
    for fd in (0, 1):
        os.close(fd)
    haz.init(num_cpus=2)
    haz.shutdown()
    with world():
        assert haz.get([one.remote() for _ in range(20)]) == [1] * 20


def test_surroundings_of_the_driver(tmp_path):
    run_scenario(surroundings, tmp_path)


def driver_without_its_rights():
    @haz.remote(num_cpus=0)
    def sleeps():
        touch("marks")
        time.sleep(600)

    def cancel(force):
        before = os.fstat(marks).st_size
        ref = sleeps.remote()
        wait_until(lambda: os.fstat(marks).st_size > before)
        haz.cancel(ref, force=force)
        assert isinstance(raised(haz.get, ref, timeout=60), TaskCancelledError)

    haz.init(num_cpus=2)
    touch("marks")
    marks = os.open(os.path.join(os.environ["SCENARIO_FOLDER"], "marks"), os.O_RDONLY)
    for uid in (0, 65534):
        os.setresuid(uid, uid, uid)  # at first nothing: what is needed later is imported meanwhile
        cancel(force=False)
        cancel(force=True)
        limited = sleeps.options(timeout_s=0.2).remote()
        assert isinstance(raised(haz.get, limited, timeout=60), TaskTimeoutError)
    haz.shutdown()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to give up")
def test_the_driver_gives_up_its_rights(tmp_path):
    run_scenario(driver_without_its_rights, tmp_path)


def drivers_in_tasks():
    program = (
        "import haz\n"
        "one = haz.remote(lambda: 1)\n"
        "sleep = haz.remote(lambda: __import__('time').sleep(600))\n"
        "haz.init(num_cpus=2)\n"
        "assert haz.get([one.remote() for _ in range(5)]) == [1] * 5\n"
        "print('worked', flush=True)\n"
        "haz.get(sleep.remote())\n"
    )

    @haz.remote
    def starts_driver():
        child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
        line = child.stdout.readline()
        return line.strip(), child.pid

    with world():
        (first, _), (second, pid) = haz.get([starts_driver.remote() for _ in range(2)])
        assert first == second == b"worked"
        kill(pid)
        # Its own zygote ends its workers; the other driver goes with this node.


def test_drivers_inside_of_tasks(tmp_path):
    run_scenario(drivers_in_tasks, tmp_path)


# ---- errors in the middle ---------------------------------------------------------------------------


def errors_in_the_middle():
    class Unpicklable:
        def __reduce__(self):
            raise ZeroDivisionError("on purpose")

    class Unloadable:
        def __reduce__(self):
            return int, ("not a number",)

    @haz.remote
    def takes(*args):
        return len(args)

    @haz.remote(num_returns=3)
    def returns(*values):
        return values

    @haz.remote(num_returns=3)
    def returns_unpicklable(size):
        return bytes(size), [haz.put(bytes(size))], Unpicklable()

    @haz.remote
    def fails(size):
        error = ValueError("on purpose")
        error.data = bytes(size)
        raise error

    with world():
        for size in (10, 5000, 300_000):
            for _ in range(5):
                assert isinstance(
                    raised(takes.remote, bytes(size), [haz.put(1)], Unpicklable()), Exception
                )
                assert isinstance(raised(haz.put, [bytes(size), Unpicklable()]), Exception)
                for ref in returns_unpicklable.remote(size):
                    assert isinstance(raised(haz.get, ref), Exception)
                good = haz.put(bytes(size))
                bad = haz.put(Unloadable())
                failed = fails.remote(size)
                for refs in ([good, bad], [good, failed], [bad, good, failed, good]):
                    assert isinstance(raised(haz.get, refs), Exception)
                    assert isinstance(raised(haz.get, takes.remote(*refs)), Exception)
                late = takes.remote(good, failed, good)
                assert isinstance(raised(haz.get, late), ValueError)
                for timeout in (0, 0.001):
                    raised(haz.get, [good, good, bad], timeout=timeout)
                haz.free([good])
                assert isinstance(raised(haz.get, good), HazError)
                del ref, refs, good, bad, failed, late
        wait_until(is_empty)
        # A call that is interrupted between its parts, at most once, and nothing but the call.
        stop = threading.Event()
        armed = False

        def interrupted(signum, frame):
            nonlocal armed
            if armed:
                armed = False
                raise KeyboardInterrupt

        def interrupt():
            while not stop.wait(random.random() * 0.003):
                os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        signal.signal(signal.SIGINT, interrupted)
        interruptions = 0
        thread.start()
        while interruptions < 50:
            try:
                armed = True
                haz.get(takes.remote(bytes(50_000), haz.put(bytes(5000)), [haz.put(1)]))
                armed = False
            except KeyboardInterrupt:
                interruptions += 1
        stop.set()
        thread.join()


def test_errors_in_the_middle_of_calls(tmp_path):
    run_scenario(errors_in_the_middle, tmp_path)


def started_and_ended_by_threads(seconds):
    @haz.remote
    def one(i):
        return i

    errors = []
    end = time.monotonic() + seconds

    def use(seed):
        rng = random.Random(seed)
        while time.monotonic() < end:
            try:
                kind = rng.randrange(8)
                if kind == 0:
                    haz.shutdown()
                elif kind == 1:
                    haz.init(num_cpus=2, ignore_reinit_error=True)
                elif kind == 2:
                    assert len(haz.get(haz.put(bytes(100_000)))) == 100_000
                elif kind == 3:
                    refs = [one.remote(i) for i in range(20)]
                    haz.wait(refs, num_returns=10)
                    haz.cancel(refs[-1])
                else:
                    assert haz.get([one.remote(i) for i in range(20)]) == list(range(20))
            except (HazError, RuntimeError) as error:
                if not isinstance(error, (HazError, RuntimeError)):
                    raise
            except BaseException as error:
                errors.append(error)
                raise

    with leak_check():
        threads = [threading.Thread(target=use, args=(seed,)) for seed in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        haz.shutdown()
        assert not errors, errors


def test_threads_start_and_end_haz(tmp_path):
    run_scenario(started_and_ended_by_threads, tmp_path, seconds=3)


def limits_of_nested_tasks():
    @haz.remote
    def sleeps(name="sleeps"):
        touch(name)
        time.sleep(600)

    @haz.remote
    def parent(n):
        if n:
            return haz.get(parent.remote(n - 1))
        ref = sleeps.options(timeout_s=0.3).remote()
        return type(raised(haz.get, ref)).__name__

    @haz.remote(max_retries=0)
    def limited():
        return haz.get(sleeps.remote("goes on"))

    with world(empty=False):
        # So many that all run on top of others.
        refs = [parent.remote(30) for _ in range(3)]
        for name in haz.get(refs):
            assert "TaskTimeoutError" in name, name
        ref = limited.options(timeout_s=2).remote()
        assert isinstance(raised(haz.get, ref), TaskTimeoutError)
        assert haz.get(parent.remote(2)) in ("TaskTimeoutError",)
        del refs, ref
        # What `limited` waited for had begun.
        assert touched("goes on") == 1


def test_time_limits_of_nested_tasks(tmp_path):
    run_scenario(limits_of_nested_tasks, tmp_path)
