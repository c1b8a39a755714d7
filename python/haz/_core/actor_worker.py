"""The process of an actor: makes the instance, and runs its calls in threads or on an event loop.

Calls that run one after the other need nothing of this: the worker's native loop runs them.
"""

from __future__ import annotations

import os

from haz import _native
from haz._core import plain_functions
from haz._core.gpus import VISIBLE
from haz._core.method_table import MethodTable
from haz._core.process_state import name_output
from haz._core.runtime import runtime
from haz._core.threads import set_threads, threads_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncGenerator, Callable, Iterator
    from typing import Any

    from haz.engines.native import NativeEngine

__all__ = ["ActorHost", "constructor_of", "function_name", "load"]

_MAIN_THREAD = 0
_THREADS = 1
_EVENT_LOOP = 2


class ActorHost:
    """The actor of this process.

    Attributes
    ----------
    id
        Number of its ref within the node.
    name
        Its name, empty if it has none; None: it was not asked for yet.
    meta
        What the engine's `current_actor` returns of it.
    resources
        What it holds.
    gpus
        Names of the GPUs among that.
    restarted
        Whether the constructor ran before, in a process that has died.
    """

    __slots__ = ("gpus", "id", "instance", "meta", "name", "resources", "restarted")

    def __init__(
        self,
        number: int,
        meta: bytes,
        resources: dict[str, float],
        gpus: list[str],
        restarted: bool,
    ) -> None:
        self.id = number
        self.name: str | None = None
        self.meta = meta
        self.resources = resources
        self.gpus = gpus
        self.restarted = restarted
        self.instance: Any = None


def load(
    engine: NativeEngine, parts: tuple[Any, ...]
) -> tuple[Callable[..., Any] | str, bool | tuple[type[BaseException], ...]]:
    """Make of a constructor's or a method's code what the native loop calls.

    Parameters
    ----------
    parts
        What ``_pack_class`` or ``_pack_method`` of the native engine has packed.

    Returns
    -------
    callable
        Or the name of a method of the instance.
    retried
        Exceptions with which a call is repeated, as in ``TaskOptions``.
    """
    if parts[0] == "class":
        return _constructor(engine, *parts[1:-1]), False
    _, method, retried, kinds, is_dynamic = parts
    if retried is None:
        retried = plain_functions.load(kinds)()
    special = _SPECIAL.get(method)
    if special is not None:
        return special(engine), retried
    if is_dynamic:
        from haz._core.worker_main import collecting_items, retry_test

        return collecting_items(_by_name(engine, method), retry_test(retried)), retried
    return method, retried


def function_name(engine: NativeEngine, parts: tuple[Any, ...]) -> str:
    """Return ``Class.method``, whatever the call's name is; `parts` as for `load`."""
    if parts[0] == "class":
        meta, method = parts[-2], "__init__"
    else:
        assert engine.actor is not None
        meta, method = engine.actor.meta, parts[1]
    return f"{MethodTable.of(meta).class_name}.{method}"


def _by_name(engine: NativeEngine, method: str) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        assert engine.actor is not None
        return getattr(engine.actor.instance, method)(*args, **kwargs)

    return call


def _constructor(
    engine: NativeEngine,
    code: Any,
    concurrency: int,
    is_async: bool,
    resources: dict[str, float],
    meta: bytes,
) -> Callable[..., Any]:
    threads = threads_for(resources, engine.environment.get("env_vars", {}))
    if threads > 1:
        set_threads(threads)
    return constructor_of(
        engine, plain_functions.load(code), concurrency, is_async, resources, meta
    )


def constructor_of(
    engine: NativeEngine,
    cls: type,
    concurrency: int,
    is_async: bool,
    resources: dict[str, float],
    meta: bytes,
) -> Callable[..., Any]:
    """Return what makes an object of the class the actor of this process."""

    def construct(*args: Any, **kwargs: Any) -> None:
        running = _native.running_task()
        assert running is not None
        gpus = engine.granted_gpus()
        if gpus:
            os.environ[VISIBLE] = ",".join(gpus)
        host = engine.actor = ActorHost(running[0], meta, resources, gpus, running[1] > 1)
        try:
            if is_async:
                _construct_on_loop(host, cls, args, kwargs, concurrency)
                return
            host.instance = cls(*args, **kwargs)
        except BaseException:
            engine.actor = None
            raise
        name_output(host.instance)
        if concurrency == 1:
            _native.become_actor(host.instance, _MAIN_THREAD, 1, _run_nothing)
        else:
            _native.become_actor(
                host.instance, _THREADS, concurrency, lambda: _run_threads(concurrency)
            )

    return construct


def _run_nothing() -> None:
    pass


# ---- threads -----------------------------------------------------------------------------------


def _run_threads(count: int) -> None:
    """Run calls in this thread and in others, which are started as they are needed."""
    import threading

    for _ in range(count - 1):
        threading.Thread(target=_native.run_thread, daemon=True).start()
    _native.run_thread()


# ---- the event loop ----------------------------------------------------------------------------


def _construct_on_loop(
    host: ActorHost,
    cls: type,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    concurrency: int,
) -> None:
    """Make the instance inside of the loop that will run its methods."""
    import asyncio

    selector = _selector_class()()
    loop = asyncio.SelectorEventLoop(selector)
    asyncio.set_event_loop(loop)

    async def construct() -> None:
        host.instance = cls(*args, **kwargs)

    loop.run_until_complete(construct())
    name_output(host.instance)
    _native.become_actor(
        host.instance, _EVENT_LOOP, concurrency, lambda: _run_loop(loop, selector), loop
    )


def _run_loop(loop: asyncio.AbstractEventLoop, selector: Any) -> None:
    loop.add_reader(_native.calls_fd(), _native.drain_calls)
    selector.start(loop)
    while True:
        try:
            loop.run_forever()
            return
        except KeyboardInterrupt:
            pass  # a call has raised it, and has it as its result


class _Demand:
    """What `until_ready` needs to wait for the consumers of a stream. No thread waits for them."""

    def add_done_callback(self, sender: _native.ItemSender, callback: Callable[[], None]) -> None:
        engine: Any = runtime.engine
        engine.when_demanded(sender, callback)


async def _steps(iterator: Iterator[Any]) -> AsyncGenerator[Any, None]:
    """A plain iterator as an async generator. What it does itself still stops the loop."""
    try:
        for item in iterator:
            yield item
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()


async def stream_items(
    generator: AsyncGenerator[Any, None] | Iterator[Any], sender: _native.ItemSender
) -> int:
    """Send what a generator yields, an async or a plain one; return the number of items."""
    from haz._core.futures import until_ready

    if not hasattr(generator, "__anext__"):
        generator = _steps(generator)
    demand: Any = _Demand()
    waiter: Any = sender
    try:
        while not sender.is_closed:
            if sender.needs_demand:
                await until_ready(demand, waiter)
                sender.note_demand()
                continue
            try:
                item = await generator.__anext__()
            except StopAsyncIteration:
                break
            sender.send(item)
    finally:
        aclose = getattr(generator, "aclose", None)
        if aclose is not None:
            await aclose()
    return sender.count


def _selector_class() -> type:
    """Make the class of selectors; `selectors` is imported for actors with an event loop only."""
    import selectors

    class CallSelector(selectors.DefaultSelector):
        """Starts calls of the actor between the steps of its event loop, and waits for them."""

        _loop: asyncio.AbstractEventLoop | None = None

        def start(self, loop: asyncio.AbstractEventLoop) -> None:
            """Begin to take calls."""
            self._loop = loop

        def select(self, timeout: float | None = None) -> Any:
            loop = self._loop
            if loop is None:
                return super().select(timeout)
            # A step that is due must not wait; nor one that a call begins with.
            if timeout is None or timeout > 0:
                if _native.await_calls(True):
                    timeout = 0
                else:
                    events = super().select(timeout)
                    self._take(loop)
                    return events
            self._take(loop)
            return super().select(timeout)

        @staticmethod
        def _take(loop: asyncio.AbstractEventLoop) -> None:
            if not _native.start_calls():
                loop.stop()

    return CallSelector


# ---- methods of every actor --------------------------------------------------------------------


def _call(engine: NativeEngine) -> Callable[..., Any]:
    def call(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        assert engine.actor is not None
        return function(engine.actor.instance, *args, **kwargs)

    return call


def _ready(_engine: NativeEngine) -> Callable[..., Any]:
    return lambda: True


def _terminate(engine: NativeEngine) -> Callable[..., Any]:
    return engine.exit_actor


_SPECIAL: dict[str, Callable[[NativeEngine], Callable[..., Any]]] = {
    "__ray_call__": _call,
    "__ray_ready__": _ready,
    "__ray_terminate__": _terminate,
}
