"""``ref.future()`` and ``await ref``, on the engine's done callbacks."""

from __future__ import annotations

from _thread import get_ident
from collections import deque

from haz._core.runtime import runtime
from haz.exceptions import HazError, ObjectLostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Generator
    from concurrent.futures import Future
    from typing import Any, TypeVar

    from haz._core.refs import ObjectRef
    from haz.engines.base import Engine

    T = TypeVar("T")

__all__ = ["await_ref", "future_of", "until_ready", "value_of", "when_ready"]


def _engine_of(ref: ObjectRef[Any]) -> Engine:
    engine = runtime.engine
    if engine is None:
        raise ObjectLostError(f"{ref!r} is from a run of haz that was shut down")
    return engine


def value_of(engine: Engine, ref: ObjectRef[T]) -> T:
    """The value of a ref that is ready, or whose engine has ended."""
    try:
        values: list[T] = engine.get((ref,), 0)
    except RuntimeError as error:
        if runtime.engine is engine or isinstance(error, HazError):
            raise
        raise ObjectLostError(f"haz was shut down before {ref!r} was ready") from error
    return values[0]


def future_of(ref: ObjectRef[T]) -> Future[T]:
    """Return a future of `ref`'s value; its callbacks run in a thread of the engine."""
    from concurrent.futures import Future

    engine = _engine_of(ref)
    future: Future[T] = Future()

    def deliver() -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            value = value_of(engine, ref)
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(value)

    engine.add_done_callback(ref, deliver)
    return future


def when_ready(ref: ObjectRef[Any], callback: Callable[[], None]) -> None:
    """Call `callback` once, when `ref` is ready or haz ends; here and now if it is ready already.

    Otherwise it runs in a thread of the engine, and should be short. ObjectLostError if `ref` is of
    another run of haz.
    """
    _engine_of(ref).add_done_callback(ref, callback)


class _LoopBridge:
    """Wakes one event loop from engine threads: once for a batch of refs, not once for each."""

    __slots__ = ("__weakref__", "_ready", "_wake_is_due")

    def __init__(self) -> None:
        self._ready: deque[asyncio.Future[None]] = deque()
        self._wake_is_due = False

    def post(self, waiter: asyncio.Future[None]) -> None:
        """Let `waiter` be done soon. From any thread; never raises."""
        self._ready.append(waiter)
        # Two threads may both see False: one wake too many. One too few can't be, since `_drain`
        # sets False before it looks at the queue.
        if not self._wake_is_due:
            self._wake_is_due = True
            try:
                waiter.get_loop().call_soon_threadsafe(self._drain)
            except RuntimeError:
                self._ready.clear()  # the loop is closed, and nobody waits any more

    def _drain(self) -> None:
        self._wake_is_due = False
        while self._ready:
            waiter = self._ready.popleft()
            if not waiter.done():
                waiter.set_result(None)


def _bridge_to(loop: asyncio.AbstractEventLoop) -> _LoopBridge:
    bridges = runtime.loop_bridges
    if bridges is None:
        from weakref import WeakKeyDictionary

        bridges = runtime.loop_bridges = WeakKeyDictionary()
    bridge: _LoopBridge | None = bridges.get(loop)
    if bridge is None:
        bridge = bridges[loop] = _LoopBridge()
    return bridge


class _Notice:
    """The callback of one wait: wakes the loop, unless the ref is ready at once."""

    __slots__ = ("_at_once", "_bridge", "_thread", "_waiter")

    def __init__(self, bridge: _LoopBridge, waiter: asyncio.Future[None]) -> None:
        self._bridge = bridge
        self._waiter = waiter
        self._at_once = False
        self._thread = get_ident()

    def __call__(self) -> None:
        if get_ident() == self._thread:
            self._at_once = True
        else:
            self._bridge.post(self._waiter)

    def came_at_once(self) -> bool:
        """Whether it was called; if not, it will wake the loop. Once, by the thread that made it."""
        self._thread = 0
        return self._at_once


class until_ready:  # noqa: N801 - used like a function
    """``await until_ready(engine, ref)`` waits in the running event loop for `ref`."""

    __slots__ = ("_engine", "_ref")

    def __init__(self, engine: Engine, ref: ObjectRef[Any]) -> None:
        self._engine = engine
        self._ref = ref

    def __await__(self) -> Generator[Any, None, None]:
        import asyncio

        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        notice = _Notice(_bridge_to(loop), waiter)
        self._engine.add_done_callback(self._ref, notice)
        if not notice.came_at_once():
            yield from waiter.__await__()


def await_ref(ref: ObjectRef[T]) -> Generator[Any, None, T]:
    """Wait in the running event loop for `ref`; return its value or raise its error.

    If the waiting coroutine is cancelled, the task of `ref` goes on.
    """
    engine = _engine_of(ref)
    yield from until_ready(engine, ref).__await__()
    try:
        return value_of(engine, ref)
    except BaseException as error:
        from haz._core.errors import without_stop_iteration

        plain = without_stop_iteration(error)
        if plain is not error:
            raise plain from plain.__cause__
        raise
