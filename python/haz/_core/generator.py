"""Generators of refs: what a task with ``num_returns="streaming"`` or ``"dynamic"`` gives."""

from __future__ import annotations

from collections import deque

from haz._core.refs import ObjectRef
from haz._core.runtime import runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any, Generic, TypeVar

    from haz.engines.base import Engine

    T = TypeVar("T")
else:
    # See haz._core.refs: `typing` is not imported at run time.
    T = None
    Generic = {T: object}

__all__ = ["DynamicObjectRefGenerator", "ObjectRefGenerator", "collecting", "wait_for_any"]


class ObjectRefGenerator(Generic[T]):
    """Gives the refs of what a generator task yields, one by one, while the task runs.

    Made by ``.remote()`` of a generator function, never by hand. ``next(generator)`` waits until the
    task has yielded the next item, and returns its ref; ``async for`` waits in the event loop. If
    the task fails, one more ref holds the error, and is the last.

    Whoever takes an item first has it: a generator may be used by several threads, and passed to
    tasks. When no process has it any more, the items that nobody took are dropped, and the task
    ends at its next ``yield``, as if ``close()`` was called there.

    Notes
    -----
    The task does not wait for its consumer, unless ``_generator_backpressure_num_objects`` limits
    how far it may be ahead.
    """

    __slots__ = ("__weakref__", "_stream")

    if not TYPE_CHECKING:
        __class_getitem__ = classmethod(type(list[int]))

    def __init__(self, stream: ObjectRef[Any]) -> None:
        self._stream = stream

    def _engine(self) -> Engine:
        engine = runtime.engine
        if engine is None:
            from haz.exceptions import ObjectLostError

            raise ObjectLostError(f"{self!r} is from a run of haz that was shut down")
        return engine

    def __iter__(self) -> Iterator[ObjectRef[T]]:
        return self

    def __next__(self) -> ObjectRef[T]:
        """Wait for the next item; return its ref.

        Raises
        ------
        StopIteration
            If the task has ended and all of its items were taken.
        """
        engine = runtime.engine
        if engine is None:
            engine = self._engine()
        return engine.next_item(self._stream, None)  # type: ignore[return-value]

    def __aiter__(self) -> ObjectRefGenerator[T]:
        return self

    async def __anext__(self) -> ObjectRef[T]:
        """Wait for the next item in the running event loop; return its ref."""
        from haz._core.futures import until_ready

        engine = self._engine()
        while True:
            try:
                ref = engine.next_item(self._stream, 0)
            except StopIteration:
                raise StopAsyncIteration from None
            if ref is not None:
                return ref
            await until_ready(engine, self._stream)

    def completed(self) -> ObjectRef[int]:
        """Return a ref that is ready when the task has ended.

        Its value is the number of items. If the task has failed, ``get`` of it raises the error.
        While only this ref is kept, and no generator, the task goes on, and its items are dropped.
        """
        return self._engine().end_of_stream(self._stream)

    def next_ready(self) -> bool:
        """Return whether there is an item that ``next`` would return at once."""
        return self._engine().has_item(self._stream) is True

    def is_finished(self) -> bool:
        """Return whether the task has ended and all of its items were taken."""
        return self._engine().has_item(self._stream) is None

    def _next_sync(self, timeout_s: float | None = None) -> ObjectRef[T]:
        """Like ``next``; when `timeout_s` (-1, None: no limit) is over, return the nil ref."""
        if timeout_s is not None and timeout_s < 0:
            timeout_s = None
        ref = self._engine().next_item(self._stream, timeout_s)
        return NIL if ref is None else ref

    def send(self, _value: object) -> ObjectRef[T]:
        """Not supported: the generator runs ahead, in another process."""
        raise _unsupported("send")

    def throw(self, *_error: object) -> ObjectRef[T]:
        """Not supported; see haz.cancel."""
        raise _unsupported("throw")

    def close(self) -> None:
        """Not supported; see haz.cancel."""
        raise _unsupported("close")

    async def asend(self, _value: object) -> ObjectRef[T]:
        """Not supported: the generator runs ahead, in another process."""
        raise _unsupported("asend")

    async def athrow(self, *_error: object) -> ObjectRef[T]:
        """Not supported; see haz.cancel."""
        raise _unsupported("athrow")

    async def aclose(self) -> None:
        """Not supported; see haz.cancel."""
        raise _unsupported("aclose")

    def __repr__(self) -> str:
        return f"ObjectRefGenerator({self._stream.hex()})"

    def __reduce__(self) -> tuple[Any, ...]:
        self._engine().share_stream(self._stream)
        return ObjectRefGenerator, (self._stream,)


def _unsupported(name: str) -> NotImplementedError:
    return NotImplementedError(
        f"an ObjectRefGenerator has no {name}(): its function runs in another process, ahead of the "
        f"caller. haz.cancel(generator) stops it, and so does dropping the last reference to it"
    )


class _NilRef(ObjectRef["Any"]):
    """The ref of nothing, which Ray's `_next_sync` returns when the time is over."""

    __slots__ = ()

    def hex(self) -> str:
        return "f" * 32

    def is_nil(self) -> bool:
        return True


NIL = _NilRef()


class DynamicObjectRefGenerator(Generic[T]):
    """Gives the refs of what a task with ``num_returns="dynamic"`` has yielded; each once.

    If the task's function raised, the last ref holds the error. ``len()`` is how many are left.
    """

    __slots__ = ("_refs",)

    if not TYPE_CHECKING:
        __class_getitem__ = classmethod(type(list[int]))

    def __init__(self, refs: Iterable[ObjectRef[T]]) -> None:
        self._refs = deque(refs)

    def __iter__(self) -> Iterator[ObjectRef[T]]:
        return self

    def __next__(self) -> ObjectRef[T]:
        if not self._refs:
            raise StopIteration
        return self._refs.popleft()

    def __len__(self) -> int:
        return len(self._refs)

    def __reduce__(self) -> tuple[Any, ...]:
        return DynamicObjectRefGenerator, (list(self._refs),)


def collecting(
    function: Callable[..., Any], pack_error: Callable[[BaseException], dict[str, Any] | None]
) -> Callable[..., DynamicObjectRefGenerator[Any]]:
    """Return `function` for ``num_returns="dynamic"``: it stores what `function` yields.

    `pack_error` makes the data of an error, or returns None where the task is to fail with it.
    """

    def collect(*args: Any, **kwargs: Any) -> DynamicObjectRefGenerator[Any]:
        engine = runtime.engine
        assert engine is not None
        refs: list[ObjectRef[Any]] = []
        try:
            for item in as_iterator(function(*args, **kwargs), "dynamic"):
                refs.append(engine.put(item))
        except Exception as error:
            info = pack_error(error)
            if info is None:
                raise
            refs.append(engine.put_error(info))
        return DynamicObjectRefGenerator(refs)

    return collect


def as_iterator(value: Any, num_returns: str) -> Iterator[Any]:
    """Return what a function has returned that should be a generator; TypeError if it is none."""
    if not hasattr(type(value), "__next__"):
        raise TypeError(
            f'the task has num_returns="{num_returns}" and returned one value of type '
            f"{type(value).__name__} instead of a generator or another iterator"
        )
    iterator: Iterator[Any] = value
    return iterator


def wait_for_any(
    engine: Engine, waitables: Sequence[Any], num_returns: int, timeout_s: float | None
) -> tuple[list[Any], list[Any]] | None:
    """``haz.wait`` with generators among the refs; None if there are none."""
    refs = [w._stream if isinstance(w, ObjectRefGenerator) else w for w in waitables]
    if all(ref is waitable for ref, waitable in zip(refs, waitables, strict=True)):
        return None
    while True:
        ready, _ = engine.wait(refs, num_returns, timeout_s)
        # Another consumer may have taken the item that made a generator ready.
        if len(ready) >= num_returns or timeout_s is not None:
            break
    found = set(ready)
    done = [w for ref, w in zip(refs, waitables, strict=True) if ref in found]
    rest = [w for ref, w in zip(refs, waitables, strict=True) if ref not in found]
    return done, rest
