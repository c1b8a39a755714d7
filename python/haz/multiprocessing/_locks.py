"""Locks, semaphores, conditions, events and barriers of ``multiprocessing`` that travel in pickles.

They are the standard library's, around semaphores that lie in a `Block`.
"""

from __future__ import annotations

import _multiprocessing  # type: ignore[import-not-found]
import ctypes
import errno
import struct
from multiprocessing import synchronize, util

from haz.multiprocessing._blocks import Block

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = [
    "Barrier",
    "BoundedSemaphore",
    "Condition",
    "Event",
    "Lock",
    "RLock",
    "Semaphore",
]

standard: Any = synchronize

#: More than a semaphore of any C library takes.
_SEMAPHORE_BYTES = 64
_library: Any = None


def _semaphore_at(address: int, value: int) -> None:
    global _library
    if _library is None:
        _library = ctypes.CDLL(None, use_errno=True)
    if _library.sem_init(ctypes.c_void_p(address), 1, ctypes.c_uint(value)) != 0:
        raise OSError(ctypes.get_errno(), "sem_init")


class _Travelling:
    """What the semaphores of this module have instead of a name."""

    _semlock: Any
    _is_fork_ctx = False

    def _make(self, kind: int, value: int, maxvalue: int) -> None:
        if not 0 <= value <= maxvalue:
            raise OSError(errno.EINVAL, f"a semaphore's value is from 0 to {maxvalue}, not {value}")
        block = Block(_SEMAPHORE_BYTES)
        _semaphore_at(block.address, value)
        self._set(kind, maxvalue, block)

    def _set(self, kind: int, maxvalue: int, block: Block) -> None:
        self._block = block
        self._semlock = _multiprocessing.SemLock._rebuild(block.address, kind, maxvalue, None)
        self._make_methods()  # type: ignore[attr-defined]
        util.register_after_fork(self, _after_fork)

    def __getstate__(self) -> tuple[Any, ...]:
        return self._semlock.kind, self._semlock.maxvalue, self._block

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._set(*state)


def _after_fork(lock: Any) -> None:
    lock._semlock._after_fork()


class Lock(_Travelling, synchronize.Lock):
    """A lock between processes."""

    def __init__(self, *, ctx: object = None) -> None:
        self._make(standard.SEMAPHORE, 1, 1)


class RLock(_Travelling, synchronize.RLock):
    """A lock between processes that its owner can take again."""

    def __init__(self, *, ctx: object = None) -> None:
        self._make(standard.RECURSIVE_MUTEX, 1, 1)


class Semaphore(_Travelling, synchronize.Semaphore):
    """A semaphore between processes."""

    def __init__(self, value: int = 1, *, ctx: object = None) -> None:
        self._make(standard.SEMAPHORE, value, standard.SEM_VALUE_MAX)


class BoundedSemaphore(_Travelling, synchronize.BoundedSemaphore):
    """A semaphore that raises ValueError when it is released more often than acquired."""

    def __init__(self, value: int = 1, *, ctx: object = None) -> None:
        self._make(standard.SEMAPHORE, value, value)


class Condition(synchronize.Condition):
    """A condition variable between processes; its lock is one of this module."""

    def __getstate__(self) -> tuple[Any, ...]:
        own: Any = self
        return own._lock, own._sleeping_count, own._woken_count, own._wait_semaphore


class Event(synchronize.Event):
    """An event between processes."""


class Barrier(synchronize.Barrier):
    """A barrier between processes."""

    def __init__(
        self,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
        *,
        ctx: Any,
    ) -> None:
        memory = Block(struct.calcsize("i") * 2)  # zero: a barrier where nobody waits
        self.__setstate__((parties, action, timeout, ctx.Condition(), memory))  # type: ignore[attr-defined]
