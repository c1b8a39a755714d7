"""What only the inline engine does: it runs in the caller's thread, and says when things go."""

from __future__ import annotations

import bdb
import gc
import os
import signal
import sys
import threading
import time

import haz
import pytest
from haz._core.runtime import runtime


@pytest.fixture(autouse=True)
def _inline():
    haz.init(engine="inline", num_cpus=2)
    yield
    haz.shutdown()


def objects():
    return runtime.engine.snapshot()["objects"]


def test_runs_in_the_thread_of_the_caller():
    @haz.remote
    def f():
        return os.getpid(), threading.get_ident()

    assert haz.get(f.remote()) == (os.getpid(), threading.get_ident())


def test_has_run_when_remote_returns():
    seen = []
    f = haz.remote(lambda: os.environ.__setitem__("HAZ_TEST_SEEN", "yes"))
    try:
        f.remote()
        assert os.environ["HAZ_TEST_SEEN"] == "yes"
    finally:
        del os.environ["HAZ_TEST_SEEN"]
    assert seen == []


def test_mocks_work(monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "fetch", lambda: "mocked")
    assert haz.get(haz.remote(use_fetch).remote()) == "mocked"


def fetch():
    return "real"


def use_fetch():
    return fetch()


def test_objects_go_with_their_last_ref():
    before = objects()
    ref = haz.put(b"x" * 1000)
    assert objects()["count"] == before["count"] + 1
    assert objects()["bytes"] >= before["bytes"] + 1000
    outer = haz.put([ref])
    del ref
    assert objects()["count"] == before["count"] + 2
    inner = haz.get(outer)[0]
    del outer
    assert objects()["count"] == before["count"] + 1
    assert haz.get(inner) == b"x" * 1000
    del inner
    gc.collect()
    assert objects() == before


def test_arguments_go_with_the_task():
    f = haz.remote(lambda x: None)
    before = objects()
    kept = f.remote([haz.put(b"x" * 1000)])
    gc.collect()
    assert objects()["count"] == before["count"] + 1
    del kept
    assert objects()["count"] == before["count"]


def test_ref_captured_by_a_function_is_not_pinned():
    before = objects()["count"]
    ref = haz.put(1)
    f = haz.remote(lambda: haz.get(ref))
    assert haz.get(f.remote()) == 1
    f = ref = None
    gc.collect()
    assert objects()["count"] == before


def test_ctrl_c_reaches_the_caller():
    @haz.remote(max_retries=5, retry_exceptions=True)
    def f():
        signal.raise_signal(signal.SIGINT)
        time.sleep(60)

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            f.remote()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert haz.get(haz.remote(lambda: 1).remote()) == 1


def test_ctrl_c_in_a_nested_task():
    @haz.remote
    def inner():
        signal.raise_signal(signal.SIGINT)

    @haz.remote
    def outer():
        return haz.get(inner.remote())

    with pytest.raises(KeyboardInterrupt):
        outer.remote()


def test_quitting_the_debugger_reaches_the_caller():
    @haz.remote
    def f():
        raise bdb.BdbQuit

    with pytest.raises(bdb.BdbQuit):
        f.remote()


def test_a_handler_of_the_program_stays():
    def handler(number, frame):
        pass

    before = signal.signal(signal.SIGINT, handler)
    try:
        haz.get(haz.remote(lambda: 1).remote())
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


@haz.remote(timeout_s=0.1)
def sleeps(seconds):
    time.sleep(seconds)
    return "slept"


def test_timeout_interrupts_a_sleep():
    start = time.monotonic()
    with pytest.raises(haz.exceptions.TaskTimeoutError):
        haz.get(sleeps.remote(600))
    assert time.monotonic() - start >= 0.1
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.parametrize("seconds", [1e300, float("inf"), 2**62])
def test_timeout_beyond_what_an_alarm_can_hold(seconds):
    for _ in range(2):
        assert haz.get(sleeps.options(timeout_s=seconds).remote(0)) == "slept"
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_timeouts_of_nested_tasks():
    @haz.remote(timeout_s=60)
    def patient(seconds, limit_s):
        try:
            return haz.get(sleeps.options(timeout_s=limit_s).remote(seconds))
        except haz.exceptions.TaskTimeoutError:
            return "inner was late"

    @haz.remote(timeout_s=0.1)
    def hasty():
        return haz.get(sleeps.options(timeout_s=60).remote(600))

    assert haz.get(patient.remote(600, 0.1)) == "inner was late"
    assert haz.get(patient.remote(0, 30)) == "slept"
    with pytest.raises(haz.exceptions.TaskTimeoutError, match="hasty"):
        haz.get(hasty.remote())


def test_timeout_in_another_thread_is_seen_afterwards():
    caught = []

    def work():
        try:
            haz.get(sleeps.remote(0.3))
        except haz.exceptions.TaskTimeoutError as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(caught) == 1


def test_no_timeout_under_a_debugger():
    sys.settrace(lambda *_: None)
    try:
        ref = sleeps.remote(0.3)
    finally:
        sys.settrace(None)
    assert haz.get(ref) == "slept"


def test_alarm_of_the_program_stays():
    def handler(number, frame):
        pass

    before = signal.signal(signal.SIGALRM, handler)
    try:
        with pytest.raises(haz.exceptions.TaskTimeoutError):
            haz.get(sleeps.remote(0.3))
        assert signal.getsignal(signal.SIGALRM) is handler
    finally:
        signal.signal(signal.SIGALRM, before)


def test_shutdown_in_a_task_ends_the_engine_of_the_driver():
    @haz.remote
    def f():
        haz.shutdown()
        return 1

    ref = f.remote()
    assert not haz.is_initialized()
    with pytest.raises(haz.exceptions.ObjectLostError):
        haz.get(ref)
