"""Results in the order in which they come: ``as_completed``, ``map_unordered``."""

from __future__ import annotations

from itertools import islice

from haz._core.api import get, wait
from haz._core.checks import check_waitables
from haz._core.options import check_int

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any, Literal, Protocol, TypeVar, overload

    from haz._core.refs import ObjectRef

    T = TypeVar("T")

    class Remote(Protocol):
        """A remote function, or a method of an actor."""

        @property
        def remote(self) -> Any: ...


__all__ = ["as_completed", "map_unordered"]

if TYPE_CHECKING:

    @overload
    def as_completed(
        refs: Sequence[ObjectRef[T]],
        *,
        chunk_size: int = ...,
        yield_obj_refs: Literal[False] = ...,
        timeout: float | None = ...,
        fetch_local: bool = ...,
    ) -> Iterator[T]: ...
    @overload
    def as_completed(
        refs: Sequence[ObjectRef[T]],
        *,
        chunk_size: int = ...,
        yield_obj_refs: Literal[True],
        timeout: float | None = ...,
        fetch_local: bool = ...,
    ) -> Iterator[ObjectRef[T]]: ...


def as_completed(
    refs: Sequence[ObjectRef[Any]],
    *,
    chunk_size: int = 10,
    yield_obj_refs: bool = False,
    timeout: float | None = None,
    fetch_local: bool = True,
) -> Iterator[Any]:
    """Yield the values of refs as they become ready.

    Parameters
    ----------
    refs
        A list of ObjectRefs, each once.
    chunk_size
        The most refs that are taken out of a wait at a time. It never waits for more than one.
    yield_obj_refs
        Yield the refs instead of their values.
    timeout
        Seconds to wait for the next one; then GetTimeoutError is raised. None: as long as it takes.
    fetch_local
        Ray's argument; values are always local.

    Raises
    ------
    TaskError
        Where the turn of a task comes that failed, and likewise other errors of refs.
    """
    check_int("chunk_size", chunk_size, 1)
    if not isinstance(refs, (list, tuple)):
        refs = list(refs)
    check_waitables(refs)
    return _as_completed(refs, chunk_size, yield_obj_refs, timeout)


def _as_completed(
    refs: Sequence[ObjectRef[Any]], chunk_size: int, yield_refs: bool, timeout: float | None
) -> Iterator[Any]:
    left = list(refs)
    while left:
        ready, left = _take_ready(left, chunk_size, timeout)
        while ready:
            # Popped: this must not keep values that the user is done with.
            ref = ready.pop()
            yield ref if yield_refs else get(ref)
            del ref


def _take_ready(
    refs: list[ObjectRef[Any]], chunk_size: int, timeout: float | None
) -> tuple[list[ObjectRef[Any]], list[ObjectRef[Any]]]:
    """Wait for one; return (those that are ready, in reversed order; the others)."""
    ready, left = wait(refs, timeout=timeout)
    if not ready:
        from haz.exceptions import GetTimeoutError

        raise GetTimeoutError(f"none of {len(refs)} refs was ready within {timeout:g} s")
    more = min(chunk_size - 1, len(left))
    if more > 0:
        also, left = wait(left, num_returns=more, timeout=0)
        ready = [*ready, *also]
    ready.reverse()
    return ready, left


def map_unordered(
    fn: Remote,
    items: Iterable[Any],
    *,
    backpressure_size: int | None = 100,
    chunk_size: int = 10,
    yield_obj_refs: bool = False,
    timeout: float | None = None,
    fetch_local: bool = True,
) -> Iterator[Any]:
    """Call a remote function with each item; yield the results as they come.

    Parameters
    ----------
    fn
        A remote function of one argument, or a method of an actor.
    items
        Any iterable; it is read as far as there are tasks for its items.
    backpressure_size
        The most tasks at a time whose results were not yielded. None: no limit.
    chunk_size, yield_obj_refs, timeout, fetch_local
        As in `as_completed`.
    """
    if not callable(getattr(fn, "remote", None)):
        raise TypeError(
            f"map_unordered takes a remote function, and {fn!r} has no .remote: use @haz.remote"
        )
    check_int("chunk_size", chunk_size, 1)
    if backpressure_size is not None:
        check_int("backpressure_size", backpressure_size, 1)
    return _map_unordered(fn, iter(items), backpressure_size, chunk_size, yield_obj_refs, timeout)


def _map_unordered(
    fn: Remote,
    items: Iterator[Any],
    most: int | None,
    chunk_size: int,
    yield_refs: bool,
    timeout: float | None,
) -> Iterator[Any]:
    running: list[ObjectRef[Any]] = []
    while True:
        room = None if most is None else most - len(running)
        running += [fn.remote(item) for item in islice(items, room)]
        if not running:
            return
        ready, running = _take_ready(running, chunk_size, timeout)
        while ready:
            ref = ready.pop()
            yield ref if yield_refs else get(ref)
            del ref
