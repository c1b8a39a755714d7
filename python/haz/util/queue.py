"""A first-in, first-out queue that tasks and actors share."""

from __future__ import annotations

import asyncio
import queue
import sys

import haz
from haz._core.checks import check_timeout
from haz._core.options import check_int
from haz._core.runtime import runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from haz.actor import ActorHandle

__all__ = ["Empty", "Full", "Queue"]


class Empty(queue.Empty):
    """There is nothing to get."""


class Full(queue.Full):
    """There is no room to put."""


class _Items(asyncio.Queue):  # type: ignore[type-arg]
    """A queue that takes back what nobody has received."""

    _getters: Any

    def put_back(self, item: Any) -> None:
        """Let `item` be the oldest again, and who has waited for longest go on."""
        self._queue.appendleft(item)  # type: ignore[attr-defined]
        self._wakeup_next(self._getters)  # type: ignore[attr-defined]


class _Holder:
    """The queue itself, in an actor. Answers say whether it worked: errors have no traceback."""

    def __init__(self, maxsize: int) -> None:
        self.maxsize = maxsize
        self.queue = _Items(maxsize)

    def qsize(self) -> int:
        return self.queue.qsize()

    async def put(self, item: Any, timeout: float | None) -> bool:
        try:
            await asyncio.wait_for(self.queue.put(item), timeout)
        except asyncio.TimeoutError:
            return False
        return True

    async def get(self, timeout: float | None) -> tuple[Any, ...]:
        if not self.queue.empty():
            return (self.queue.get_nowait(),)
        try:
            item = await asyncio.wait_for(self.queue.get(), timeout)
        except asyncio.TimeoutError:
            return ()
        engine = runtime.engine
        if engine is None or engine.is_wanted():
            return (item,)
        self.queue.put_back(item)  # the process that has waited for it has ended
        return ()

    def put_nowait(self, items: list[Any]) -> int:
        """Put all of them or none; return how many there are where they have no room, else -1."""
        size = self.queue.qsize()
        if 0 < self.maxsize < size + len(items):
            return size
        for item in items:
            self.queue.put_nowait(item)
        return -1

    def put_one_nowait(self, item: Any) -> bool:
        return self.put_nowait([item]) == -1

    def get_nowait(self, count: int) -> list[Any] | int:
        """Return so many items, or how many there are if that is less."""
        size = self.queue.qsize()
        if size < count:
            return size
        return [self.queue.get_nowait() for _ in range(count)]


_HolderActor = haz.remote(_Holder)

#: Every `get` that waits is a call that runs.
_MOST_WAITING = 1_000_000


class Queue:
    """A first-in, first-out queue. It can be passed to tasks and actors, which then share it.

    Parameters
    ----------
    maxsize
        The most items that it holds. 0: no limit.
    actor_options
        Options of the actor that holds the items. By default it takes no CPU.

    Attributes
    ----------
    actor
        The handle of that actor; None after `shutdown`.

    Notes
    -----
    A ref that is put is replaced by its value, as any argument of a call.
    """

    def __init__(self, maxsize: int = 0, actor_options: dict[str, Any] | None = None) -> None:
        options = {"num_cpus": 0, "max_concurrency": _MOST_WAITING, **(actor_options or {})}
        self.maxsize = min(check_int("maxsize", maxsize, -sys.maxsize), sys.maxsize)
        self.actor: ActorHandle[Any] | None = _HolderActor.options(**options).remote(self.maxsize)

    def _holder(self) -> ActorHandle[Any]:
        if self.actor is None:
            raise RuntimeError("the queue was shut down")
        return self.actor

    def __len__(self) -> int:
        return self.size()

    def size(self) -> int:
        """Return the number of items."""
        size: int = haz.get(self._holder().qsize.remote())
        return size

    def qsize(self) -> int:
        """Return the number of items."""
        return self.size()

    def empty(self) -> bool:
        """Whether there are no items."""
        return self.size() == 0

    def full(self) -> bool:
        """Whether there is no room."""
        return 0 < self.maxsize <= self.size()

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Add an item.

        Parameters
        ----------
        item
            Anything that can be pickled.
        block
            Wait for room. False: raise Full if there is none.
        timeout
            Seconds to wait for room; then Full is raised. None: as long as it takes.
        """
        if not block:
            self.put_nowait(item)
        elif not haz.get(self._holder().put.remote(item, _seconds(timeout))):
            raise Full(f"no room within {timeout} s")

    async def put_async(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Add an item, as `put` does, in a coroutine."""
        if not block:
            if not await self._holder().put_one_nowait.remote(item):
                raise Full(f"the queue is full, it has {self.maxsize} items")
        elif not await self._holder().put.remote(item, _seconds(timeout)):
            raise Full(f"no room within {timeout} s")

    def put_nowait(self, item: Any) -> None:
        """Add an item; raise Full if there is no room."""
        if not haz.get(self._holder().put_one_nowait.remote(item)):
            raise Full(f"the queue is full, it has {self.maxsize} items")

    def put_nowait_batch(self, items: Iterable[Any]) -> None:
        """Add several items in order; raise Full, and add none, if there is no room for all."""
        try:
            batch = list(items)
        except TypeError:
            raise TypeError(f"put_nowait_batch takes an iterable of items, not {items!r}") from None
        size = haz.get(self._holder().put_nowait.remote(batch))
        if size != -1:
            raise Full(
                f"no room for {len(batch)} items: there are {size}, and maxsize is {self.maxsize}"
            )

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the oldest item out and return it.

        Parameters
        ----------
        block
            Wait for an item. False: raise Empty if there is none.
        timeout
            Seconds to wait for an item; then Empty is raised. None: as long as it takes.
        """
        if not block:
            return self.get_nowait()
        found = haz.get(self._holder().get.remote(_seconds(timeout)))
        if not found:
            raise Empty(f"no item within {timeout} s")
        return found[0]

    async def get_async(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the oldest item out, as `get` does, in a coroutine."""
        if not block:
            found = await self._holder().get_nowait.remote(1)
            if isinstance(found, int):
                raise Empty("the queue is empty")
        else:
            found = await self._holder().get.remote(_seconds(timeout))
            if not found:
                raise Empty(f"no item within {timeout} s")
        return found[0]

    def get_nowait(self) -> Any:
        """Take the oldest item out; raise Empty if there is none."""
        found = haz.get(self._holder().get_nowait.remote(1))
        if isinstance(found, int):
            raise Empty("the queue is empty")
        return found[0]

    def get_nowait_batch(self, num_items: int) -> list[Any]:
        """Take several items out; raise Empty, and take none, if there are not so many."""
        if isinstance(num_items, bool) or not isinstance(num_items, int):
            raise TypeError(f"num_items must be an integer, not {num_items!r}")
        if num_items < 0:
            raise ValueError(f"num_items must be 0 or more, not {num_items}")
        found = haz.get(self._holder().get_nowait.remote(num_items))
        if isinstance(found, int):
            raise Empty(f"no {num_items} items: there are {found}")
        return list(found)

    def shutdown(self, force: bool = False, grace_period_s: float = 5) -> None:
        """End the actor that holds the items, which are lost.

        Parameters
        ----------
        force
            Kill it at once. False: calls that are there are done first.
        grace_period_s
            Seconds after which it is killed all the same.
        """
        actor, self.actor = self.actor, None
        if actor is None:
            return
        if not force:
            ended = actor.__ray_terminate__.remote()
            if haz.wait([ended], timeout=grace_period_s)[0]:
                return
        haz.kill(actor, no_restart=True)

    def __repr__(self) -> str:
        return f"<Queue maxsize={self.maxsize} actor={self.actor!r}>"


def _seconds(timeout: float | None) -> float | None:
    return None if timeout is None else check_timeout(timeout)
