"""Cancelling tasks that wait, run, or have just ended; time limits that must be enforced."""

from __future__ import annotations

import ctypes
import importlib
import signal
import time

import haz
import pytest
from haz import exceptions
from haz._core.runtime import runtime
from haz.testing import wait_until


@haz.remote
def one():
    return 1


@haz.remote
def opens_and_waits(mine, other):
    mine.open()
    return other.wait()


@haz.remote
def counts(tally, *_):
    tally.add()


def assert_cancelled(ref, kind=exceptions.TaskCancelledError):
    with pytest.raises(kind) as caught:
        haz.get(ref)
    return caught.value


def test_queued_task_never_runs(gate, tally):
    haz.init(engine="native", num_cpus=1)
    blocker = opens_and_waits.remote(gate("running"), gate("go"))
    queued = [counts.options(name=f"number {i}").remote(tally) for i in range(5)]
    gate("running").wait()
    for ref in queued[:3]:
        haz.cancel(ref)
    for number, ref in enumerate(queued[:3]):
        assert f"number {number}" in str(assert_cancelled(ref))
    gate("go").open()
    haz.get([blocker, *queued[3:]])
    haz.get([one.remote() for _ in range(5)])
    assert tally.count() == 2


def test_task_that_waits_for_its_arguments(node, gate, tally):
    blocker = opens_and_waits.remote(gate("running"), gate("go"))
    waiting = counts.remote(tally, blocker)
    after = counts.remote(tally, waiting)
    haz.cancel(waiting)
    assert_cancelled(waiting)
    assert_cancelled(after)
    gate("go").open()
    haz.get(blocker)
    haz.get([one.remote() for _ in range(5)])
    assert tally.count() == 0


def test_running_task_gets_keyboard_interrupt(node, gate):
    @haz.remote
    def f(running, interrupted):
        try:
            running.open()
            while True:
                time.sleep(0.01)
        except KeyboardInterrupt:
            interrupted.open()
            raise

    ref = f.remote(gate("running"), gate("interrupted"))
    gate("running").wait()
    haz.cancel(ref)
    assert_cancelled(ref)
    gate("interrupted").wait()
    assert haz.get(one.remote()) == 1


def torn_package(folder, gate):
    """A package whose first import stops half-way; as asyncio's, a whole one finds its parts."""
    package = folder / "halves"
    package.mkdir()
    (package / "first.py").write_text("__all__ = ['ONE']\nONE = 1\n")
    (package / "__init__.py").write_text(
        f"""
from .first import *
import os, time
if not os.path.exists({gate.path!r}):
    open({gate.path!r}, "w").close()
    time.sleep(600)
NAMES = first.__all__
"""
    )


class Importing:
    """Becomes the package where it is unpickled."""

    def __reduce__(self):
        return importlib.import_module, ("halves",)


@pytest.mark.parametrize("arguments", [(), (Importing(),)], ids=["in the task", "before it"])
def test_an_import_that_was_cut_spoils_no_later_one(gate, tmp_path, monkeypatch, arguments):
    monkeypatch.syspath_prepend(tmp_path)
    torn_package(tmp_path, gate())
    haz.init(engine="native", num_cpus=1)

    @haz.remote
    def use(*_):
        import halves

        return halves.NAMES

    ref = use.remote(*arguments)
    gate().wait()
    haz.cancel(ref)
    assert_cancelled(ref)
    assert haz.get([use.remote(*arguments) for _ in range(3)]) == [["ONE"]] * 3


def test_an_import_that_was_cut_is_made_again_in_an_actor(gate, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    torn_package(tmp_path, gate())
    haz.init(engine="native", num_cpus=1)

    @haz.remote
    class User:
        def use(self):
            import halves

            return halves.NAMES

    user = User.remote()
    with pytest.raises(exceptions.TaskTimeoutError):
        haz.get(user.use.options(timeout_s=3).remote())
    gate().wait()
    assert haz.get(user.use.remote()) == ["ONE"]


def test_sleeping_task_is_cancelled(node, gate):
    @haz.remote
    def f(running):
        running.open()
        time.sleep(600)

    ref = f.remote(gate())
    gate().wait()
    haz.cancel(ref)
    assert_cancelled(ref)


def test_an_interrupt_that_was_lost_is_sent_again(node, gate):
    # As one that comes just before a system call, which then sleeps all the same.
    @haz.remote
    def deaf_at_first(running):
        libc = ctypes.CDLL(None)
        libc.signal.restype, libc.signal.argtypes = ctypes.c_void_p, [ctypes.c_int, ctypes.c_void_p]
        handler = libc.signal(signal.SIGINT, int(signal.SIG_IGN))
        running.open()
        time.sleep(1)
        libc.signal(signal.SIGINT, handler)
        time.sleep(600)

    ref = deaf_at_first.remote(gate())
    gate().wait()
    haz.cancel(ref)
    assert_cancelled(ref)
    assert haz.get(one.remote()) == 1


def test_task_that_waits_in_get_is_cancelled(node, gate):
    @haz.remote
    def parent(running, never):
        running.open()
        return haz.get(opens_and_waits.remote(running, never))

    ref = parent.remote(gate("running"), gate("never"))
    gate("running").wait()
    haz.cancel(ref)
    assert_cancelled(ref)
    gate("never").open()
    assert haz.get(one.remote()) == 1


def test_force_kills(node, gate):
    @haz.remote
    def stubborn(running):
        while True:
            try:
                running.open()
                time.sleep(0.01)
            except KeyboardInterrupt:
                pass

    ref = stubborn.remote(gate())
    gate().wait()
    haz.cancel(ref, force=True)
    assert_cancelled(ref, (exceptions.TaskCancelledError, exceptions.WorkerCrashedError))
    assert haz.get([one.remote() for _ in range(10)]) == [1] * 10


def test_cancelled_task_is_not_retried(node, gate, tally):
    @haz.remote(max_retries=5, retry_exceptions=True)
    def f(tally, running):
        tally.add()
        running.open()
        time.sleep(600)

    for number, force in enumerate((False, True)):
        ref = f.remote(tally, gate(str(number)))
        gate(str(number)).wait()
        haz.cancel(ref, force=force)
        assert_cancelled(ref, (exceptions.TaskCancelledError, exceptions.WorkerCrashedError))
    assert haz.get(one.remote()) == 1
    assert tally.count() == 2


def test_recursive(node, gate, tally):
    @haz.remote
    def parent(running, tally):
        children = [counts.options(num_cpus=2).remote(tally) for _ in range(3)]
        running.open()
        time.sleep(600)  # not in get(), which would give the slots to the children
        return children

    # The parent's own slot keeps the children, which want both, from running.
    ref = parent.options(num_cpus=2).remote(gate("running"), tally)
    gate("running").wait()
    haz.cancel(ref)
    assert_cancelled(ref)
    haz.get([one.remote() for _ in range(5)])
    assert tally.count() == 0


def test_cancel_twice_and_when_ended(node):
    ref = one.remote()
    haz.wait([ref])
    haz.cancel(ref)
    haz.cancel(ref, force=True)
    assert haz.get(ref) == 1


def test_late_signal_does_not_hit_the_next_task(node):
    @haz.remote
    def quick(i):
        end = time.monotonic() + 0.0005
        while time.monotonic() < end:
            pass
        return i

    for round_number in range(60):
        first = quick.remote(-1)
        others = [quick.remote(i) for i in range(4)]
        time.sleep(0.0002 * (round_number % 10))
        haz.cancel(first)
        assert haz.get(others) == [0, 1, 2, 3]
        try:
            assert haz.get(first) == -1
        except exceptions.TaskCancelledError:
            pass


def test_cancel_from_a_task(node, gate):
    @haz.remote
    def canceller(refs, running):
        running.wait()
        haz.cancel(refs[0])

    ref = opens_and_waits.remote(gate("running"), gate("never"))
    haz.get(canceller.remote([ref], gate("running")))
    assert_cancelled(ref)


def test_timeout_of_a_sleep(node):
    @haz.remote(timeout_s=0.2, max_retries=0)
    def f():
        time.sleep(600)

    assert_cancelled(f.remote(), exceptions.TaskTimeoutError)
    assert haz.get(one.remote()) == 1


def test_timeout_of_a_task_that_ignores_interrupts(node):
    @haz.remote(timeout_s=0.2, max_retries=0)
    def f():
        while True:
            try:
                time.sleep(600)
            except KeyboardInterrupt:
                pass

    assert_cancelled(f.remote(), exceptions.TaskTimeoutError)
    assert haz.get([one.remote() for _ in range(10)]) == [1] * 10


def test_timeout_does_not_count_the_time_in_the_queue(gate):
    haz.init(engine="native", num_cpus=1)
    blocker = opens_and_waits.remote(gate("running"), gate("go"))
    quick = one.options(timeout_s=2).remote()  # time enough for it on a busy machine
    time.sleep(2.5)
    gate("go").open()
    assert haz.get([blocker, quick]) == [True, 1]


def test_a_time_limit_cancels_what_the_task_has_started(node, gate, tally):
    @haz.remote(num_cpus=0)
    def waits(name):
        gate(name).open()
        gate("never").wait()

    @haz.remote(num_cpus=0)
    def middle():
        haz.get(waits.remote("grandchild"))

    @haz.remote(timeout_s=0.5)
    def parent():
        refs = [waits.remote("child"), middle.remote()]
        queued = counts.options(resources={"crane": 1}).remote(tally, refs[0])
        haz.get([*refs, queued])

    ref = parent.remote()
    assert_cancelled(ref, exceptions.TaskTimeoutError)
    # Nothing goes on: else these would wait for ever.
    wait_until(lambda: haz.available_resources().get("CPU") == 2)
    wait_until(lambda: runtime.engine.snapshot()["tasks"] == 0)
    assert tally.count() == 0
