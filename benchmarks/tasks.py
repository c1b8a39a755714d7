"""The functions that workers run: the same for every system.

Workers import this module by name, so it imports nothing heavy.
"""

from __future__ import annotations

import functools
import importlib
import os
import time
from collections.abc import Iterator
from typing import Any


def noop() -> None:
    """Do nothing."""


def identity(value: Any) -> Any:
    """Give the argument back, so that the caller can check results and their order."""
    return value


def last_item(array: Any) -> int:
    """Read one item of an array."""
    return int(array[-1])


def matrix_product(side: int) -> int:
    """Multiply two matrices of ones by BLAS; an item of what comes out."""
    import numpy as np

    ones = np.ones((side, side))
    return int((ones @ ones)[-1, -1])


def limit_blas(threads: int) -> None:
    """Set the threads of BLAS in this process, as one does by hand."""
    import numpy  # noqa: F401 - which loads it
    from threadpoolctl import threadpool_limits

    threadpool_limits(threads)


def nap(seconds: float) -> int:
    """Sleep, and return 1 so that the caller can count what ran."""
    time.sleep(seconds)
    return 1


def worker_pid(seconds: float) -> int:
    """Occupy a worker for a moment and tell which one it is."""
    time.sleep(seconds)
    return os.getpid()


def hold_until(path: str) -> int:
    """Occupy a worker until a file exists."""
    while not os.path.exists(path):
        time.sleep(0.002)
    return 1


def add_all(*values: int) -> int:
    """Sum the arguments."""
    return sum(values)


def count_up(count: int) -> tuple[int, ...]:
    """Return ``count`` separate values, 0 to ``count - 1``."""
    return tuple(range(count))


def count_on(count: int) -> Iterator[int]:
    """Yield ``count`` separate values, 0 to ``count - 1``."""
    for i in range(count):  # noqa: UP028 - Ray fails with `yield from range(count)`
        yield i


class Echo:
    """An actor that does nothing."""

    def noop(self) -> None:
        """Do nothing."""

    def echo(self, value: Any) -> Any:
        """Give the argument back."""
        return value

    def pid(self) -> int:
        """Tell which process this is."""
        return os.getpid()


class AsyncEcho:
    """An actor with an event loop that does nothing."""

    async def noop(self) -> None:
        """Do nothing."""


def call_batch(api_name: str, actors: list[Any], count: int) -> int:
    """Call actors in turn from inside a task, wait for the results, and count them."""
    api = importlib.import_module(api_name)
    results = api.get([actors[i % len(actors)].noop.remote() for i in range(count)])
    return sum(result is None for result in results)


@functools.cache
def remote_of(api_name: str, function_name: str) -> Any:
    """Remote version of a function of this module, made once in each process."""
    api = importlib.import_module(api_name)
    return api.remote(globals()[function_name])


def nap_batch(api_name: str, count: int, seconds: float) -> list[Any]:
    """Submit naps from inside a task and return their refs without waiting."""
    remote_nap = remote_of(api_name, "nap")
    return [remote_nap.remote(seconds) for _ in range(count)]


def take_all(api_name: str, count: int) -> int:
    """Take and get all items of a generator task, inside of a task; sum them."""
    get = importlib.import_module(api_name).get
    return sum(get(ref) for ref in remote_of(api_name, "count_on").remote(count))


def noop_batch(api_name: str, count: int) -> int:
    """Submit no-ops from inside a task, wait for them, and count the results."""
    api = importlib.import_module(api_name)
    remote_noop = remote_of(api_name, "noop")
    results = api.get([remote_noop.remote() for _ in range(count)])
    return sum(result is None for result in results)


def add_items(items: Any, answers: Any, n: int) -> None:
    """Get n numbers from a queue, and put their sum into the other."""
    answers.put("ready")
    answers.put(sum(items.get() for _ in range(n)))


def answer_items(items: Any, answers: Any) -> None:
    """Put back what comes, until that is None."""
    answers.put("ready")
    while (item := items.get()) is not None:
        answers.put(item)
