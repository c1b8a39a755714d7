"""For tests of programs that use haz: a clean runtime, and checks that nothing is left behind.

>>> from haz.testing import clean_runtime
>>> with clean_runtime(engine="inline"):
...     ...  # haz runs; afterwards no process, descriptor or thread may be left

With pytest, ``pytest_plugins = ["haz.testing.fixtures"]`` in a conftest.py gives the fixtures
``haz_runtime`` and ``haz_inline``.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from haz._core.context import HazContext

__all__ = [
    "clean_runtime",
    "descendants",
    "leak_check",
    "open_descriptors",
    "running_threads",
    "wait_until",
]


def wait_until(condition: Callable[[], Any], what: str = "", deadline_s: float = 60.0) -> Any:
    """Return what `condition` returns as soon as it is true; AssertionError after the deadline.

    The deadline catches hangs; it says nothing about speed.
    """
    end = time.monotonic() + deadline_s
    pause = 0.001
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_s:g} s: {what or condition}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


def _parents() -> dict[int, tuple[int, str]]:
    """Process -> (its parent, its name), of all processes that are not zombies of others."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                text = file.read()
        except OSError:
            continue
        name = text[text.index("(") + 1 : text.rindex(")")]
        state, parent = text[text.rindex(")") + 2 :].split()[:2]
        found[int(entry)] = (int(parent), f"{name} ({state})")
    return found


def descendants(pid: int | None = None) -> dict[int, str]:
    """Return the processes below `pid` (default: this process), with their names; zombies too."""
    parents = _parents()
    inside = {os.getpid() if pid is None else pid}
    found: dict[int, str] = {}
    grew = True
    while grew:
        grew = False
        for child, (parent, name) in parents.items():
            if parent in inside and child not in inside:
                inside.add(child)
                found[child] = name
                grew = True
    return found


def open_descriptors() -> dict[int, str]:
    """Return the open file descriptors of this process, with what they lead to."""
    found = {}
    for entry in os.listdir("/proc/self/fd"):
        try:
            found[int(entry)] = os.readlink(f"/proc/self/fd/{entry}")
        except OSError:
            continue  # the one that listed the folder
    return found


def running_threads() -> dict[int, str]:
    """Return the threads of this process, native ones too, with their names."""
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    return {int(e): names.get(int(e), "native") for e in os.listdir("/proc/self/task")}


@contextmanager
def leak_check(deadline_s: float = 30.0) -> Iterator[None]:
    """Raise AssertionError if the block leaves processes, descriptors or threads behind.

    What was there before may go. What came gets `deadline_s` to end, and is named if it doesn't.
    """
    watched: list[tuple[str, Callable[[], dict[int, str]]]] = [
        ("processes", descendants),
        ("descriptors", open_descriptors),
        ("threads", running_threads),
    ]
    before = [look() for _, look in watched]
    yield
    for (kind, look), known in zip(watched, before, strict=True):
        end = time.monotonic() + deadline_s
        left = _new(look(), known)
        while left and time.monotonic() < end:
            time.sleep(0.01)
            left = _new(look(), known)
        assert not left, f"{kind} are left: {left}"


def _new(now: dict[int, str], known: dict[int, str]) -> dict[int, str]:
    return {number: name for number, name in now.items() if known.get(number) != name}


@contextmanager
def clean_runtime(**options: Any) -> Iterator[HazContext]:
    """Run haz for a block: ``init(**options)``, ``shutdown``, and a check that nothing is left."""
    import haz

    if haz.is_initialized():
        raise RuntimeError("haz runs already: clean_runtime wants to start and end it itself")
    with leak_check():
        try:
            yield haz.init(**options)
        finally:
            haz.shutdown()
