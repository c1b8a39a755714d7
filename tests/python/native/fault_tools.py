"""What the fault scenarios use, inside the program that each of them is; see fault_program.py."""

from __future__ import annotations

import faulthandler
import gc
import os
import random
import signal
from contextlib import contextmanager

import haz
from haz import _native
from haz.testing import leak_check, wait_until

if not faulthandler.is_enabled():  # in pytest it shows crashes where nothing captures them
    faulthandler.enable()

SEED = int(os.environ.get("SCENARIO_SEED", "1"))
FOLDER = os.environ.get("SCENARIO_FOLDER", "")


def counts():
    """The node's snapshot."""
    return _native.snapshot()


def workers():
    """The pids of the worker processes."""
    return [pid for pid in counts()["worker_pids"] if pid]


def is_empty():
    """Whether no object and task is left, and no memory to speak of."""
    gc.collect()
    now = counts()
    # Workers keep the chunks that they fill; functions stay, each size in a chunk of its own.
    small = len(now["worker_pids"]) * (256 << 10) + (4 << 20)
    return now["objects"] == 0 and now["tasks"] == 0 and now["store_used_bytes"] <= small


@contextmanager
def world(empty=True, **options):
    """Run haz. At the end its store must be empty, and after its end nothing may be left."""
    random.seed(SEED)
    options.setdefault("num_cpus", 2)
    with leak_check():
        haz.init(**options)
        try:
            yield
            if empty:
                try:
                    wait_until(is_empty, deadline_s=20)
                except AssertionError:
                    raise AssertionError(f"the store is not empty: {counts()}") from None
        finally:
            haz.shutdown()


def zygote():
    """The pid of the zygote, as soon as there is one."""
    return wait_until(lambda: counts()["zygote_pid"])


def kill(pid, number=signal.SIGKILL):
    """Send a signal to a process that may have ended."""
    assert pid > 1
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def raised(call, *args, **kwargs):
    """Return the exception that the call raises."""
    try:
        call(*args, **kwargs)
    except BaseException as error:
        return error
    raise AssertionError(f"{call} raised nothing")


def touch(name):
    """Leave a mark, or one more, that other processes see."""
    with open(os.path.join(FOLDER, name), "a") as file:
        file.write("x")


def touched(name):
    """How many marks of that name there are."""
    try:
        return os.path.getsize(os.path.join(FOLDER, name))
    except FileNotFoundError:
        return 0
