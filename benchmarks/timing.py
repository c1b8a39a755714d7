"""What the systems share to time and to verify: a stopwatch, a latency loop, a check."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any


class WrongResultError(Exception):
    """A system returned something else than it was asked for."""


def check(condition: bool, what: str) -> None:
    """Raise `WrongResultError` unless ``condition`` holds.

    Unlike ``assert`` it also works under ``python -O``.
    """
    if not condition:
        raise WrongResultError(what)


class Stopwatch:
    """Adds up the seconds spent inside its ``with`` blocks."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._start = 0.0

    def __enter__(self) -> Stopwatch:
        self._start = time.perf_counter()
        return self

    def __exit__(self, *exception: object) -> None:
        self.seconds += time.perf_counter() - self._start


def median_call_s(call: Callable[[], Any], n: int, pause_s: float, budget_s: float) -> float:
    """Median seconds of a synchronous call that returns None.

    Parameters
    ----------
    call
        Makes one call and returns its result.
    n
        Number of calls, at most.
    pause_s
        Sleep before each call; 0 is back to back.
    budget_s
        Stop after about this many seconds, however many calls were made.
    """
    for _ in range(3):
        check(call() is None, "a no-op returned something")
    seconds: list[float] = []
    end = time.perf_counter() + budget_s
    while len(seconds) < n:
        if pause_s:
            time.sleep(pause_s)
        start = time.perf_counter()
        result = call()
        now = time.perf_counter()
        seconds.append(now - start)
        check(result is None, "a no-op returned something")
        if now > end:
            break
    return statistics.median(seconds)
