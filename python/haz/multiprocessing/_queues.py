"""Queues of ``multiprocessing`` that travel in pickles: the standard library's, around such parts."""

from __future__ import annotations

from multiprocessing import queues as standard

import haz.multiprocessing._pipes  # noqa: F401 - so that the ends of their pipes travel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["JoinableQueue", "Queue", "SimpleQueue"]


class Queue(standard.Queue):  # type: ignore[type-arg]
    """A queue between processes, which a thread of each writes to."""

    def __getstate__(self) -> tuple[Any, ...]:
        own: Any = self
        return (
            *(own._ignore_epipe, own._maxsize, own._reader, own._writer),
            *(own._rlock, own._wlock, own._sem, own._opid),
        )


class JoinableQueue(standard.JoinableQueue):  # type: ignore[type-arg]
    """A queue that counts what was put and not marked as done."""

    def __getstate__(self) -> tuple[Any, ...]:
        own: Any = self
        return (*Queue.__getstate__(own), own._cond, own._unfinished_tasks)


class SimpleQueue(standard.SimpleQueue):  # type: ignore[type-arg]
    """A pipe with locks."""

    def __getstate__(self) -> tuple[Any, ...]:
        own: Any = self
        return own._reader, own._writer, own._rlock, own._wlock
