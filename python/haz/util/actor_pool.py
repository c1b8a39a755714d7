"""A fixed number of actors that share work: ``ActorPool``."""

from __future__ import annotations

from collections import deque

from haz._core.api import get, wait
from haz._core.refs import ObjectRef

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any, TypeAlias, TypeVar

    from haz._core.actor import ActorHandle

    V = TypeVar("V")
    Refs: TypeAlias = ObjectRef[Any] | list[ObjectRef[Any]]

__all__ = ["ActorPool"]


class _Running:
    """A call that an actor works on."""

    __slots__ = ("actor", "index", "refs")

    def __init__(self, actor: ActorHandle[Any], index: int, refs: Refs) -> None:
        self.actor = actor
        self.index = index
        self.refs = refs

    @property
    def last_ref(self) -> ObjectRef[Any]:
        """When this one is ready the actor is free: a call's refs become ready together."""
        return self.refs[-1] if isinstance(self.refs, list) else self.refs


def _checked_refs(refs: Any) -> Refs:
    for ref in refs if isinstance(refs, list) and refs else [refs]:
        if not isinstance(ref, ObjectRef):
            raise TypeError(
                f"the function must return the ref of a call, as actor.method.remote(value) does, "
                f"and it returned {refs!r}"
            )
    checked: Refs = refs
    return checked


class ActorPool:
    """Hands calls to whichever of its actors is free. Not thread-safe.

    Parameters
    ----------
    actors
        Handles of actors. There is one call at a time for each.

    Examples
    --------
    >>> pool = ActorPool([Worker.remote() for _ in range(4)])
    >>> list(pool.map(lambda actor, value: actor.double.remote(value), [1, 2, 3]))
    [2, 4, 6]
    """

    def __init__(self, actors: Iterable[ActorHandle[Any]]) -> None:
        self._idle: list[ActorHandle[Any]] = list(actors)
        self._running: dict[ObjectRef[Any], _Running] = {}
        #: The calls whose results were not taken, by their number.
        self._by_index: dict[int, _Running] = {}
        self._waiting: deque[tuple[Callable[[ActorHandle[Any], Any], Refs], Any]] = deque()
        self._next_index = 0
        self._next_result = 0

    def submit(self, fn: Callable[[ActorHandle[Any], V], Refs], value: V) -> None:
        """Call ``fn(actor, value)`` as soon as an actor is free; it returns the call's ref.

        The result is for `get_next` or `get_next_unordered`.
        """
        if not self._idle:
            self._waiting.append((fn, value))
            return
        actor = self._idle.pop()
        try:
            running = _Running(actor, self._next_index, _checked_refs(fn(actor, value)))
            self._running[running.last_ref] = running
        except BaseException:
            self._idle.append(actor)
            raise
        self._by_index[self._next_index] = running
        self._next_index += 1

    def has_next(self) -> bool:
        """Whether there are results that were not taken."""
        return bool(self._by_index)

    def get_next(self, timeout: float | None = None, ignore_if_timedout: bool = False) -> Any:
        """Return the next result, in the order in which the calls were submitted.

        Parameters
        ----------
        timeout
            Seconds to wait; then TimeoutError is raised. None: as long as it takes.
        ignore_if_timedout
            Forget the call whose result did not come in time, instead of keeping it for later.

        Raises
        ------
        StopIteration
            If there are no results that were not taken.
        """
        self._check_next()
        while self._next_result not in self._by_index:
            self._next_result += 1  # taken by get_next_unordered
        running = self._by_index[self._next_result]
        return self._take([running.last_ref], timeout, ignore_if_timedout)

    def get_next_unordered(
        self, timeout: float | None = None, ignore_if_timedout: bool = False
    ) -> Any:
        """Return any of the results that are ready, or the first that will be; see `get_next`."""
        self._check_next()
        refs = [running.last_ref for running in self._by_index.values()]
        return self._take(refs, timeout, ignore_if_timedout)

    def _check_next(self) -> None:
        if not self.has_next():
            raise StopIteration("no more results")

    def _take(
        self, candidates: Sequence[ObjectRef[Any]], timeout: float | None, forget: bool
    ) -> Any:
        ready, _ = wait(candidates, timeout=timeout)
        if ready or forget:
            running = self._running.pop(ready[0] if ready else candidates[0])
            del self._by_index[running.index]
            if ready:
                self._give_back(running.actor)
                return get(running.refs)
            # The actor is still busy, and takes the next call after this one.
            self._give_back(running.actor)
        raise TimeoutError(f"no result within {timeout:g} s")

    def _give_back(self, actor: ActorHandle[Any]) -> None:
        self._idle.append(actor)
        if self._waiting:
            self.submit(*self._waiting.popleft())

    def map(self, fn: Callable[[ActorHandle[Any], V], Refs], values: Iterable[V]) -> Iterator[Any]:
        """Submit a call for each value; return an iterator of the results, in their order.

        Results of earlier calls that were not taken are forgotten.
        """
        self._submit_all(fn, values)
        return self._results(self.get_next)

    def map_unordered(
        self, fn: Callable[[ActorHandle[Any], V], Refs], values: Iterable[V]
    ) -> Iterator[Any]:
        """Submit a call for each value; return an iterator of the results as they come.

        Results of earlier calls that were not taken are forgotten.
        """
        self._submit_all(fn, values)
        return self._results(self.get_next_unordered)

    def _submit_all(self, fn: Callable[[ActorHandle[Any], V], Refs], values: Iterable[V]) -> None:
        if not self._idle and not self._running:
            raise ValueError("the pool has no actors")
        while self.has_next():
            try:
                self.get_next(timeout=0, ignore_if_timedout=True)
            except Exception:  # a result too late, or an error: nobody wants it any more
                pass
        for value in values:
            self.submit(fn, value)

    def _results(self, take: Callable[[], Any]) -> Iterator[Any]:
        while self.has_next():
            yield take()

    def has_free(self) -> bool:
        """Whether an actor is idle and no call waits for it."""
        return bool(self._idle) and not self._waiting

    def pop_idle(self) -> ActorHandle[Any] | None:
        """Take an idle actor out of the pool and return it; None if there is none."""
        return self._idle.pop() if self.has_free() else None

    def push(self, actor: ActorHandle[Any]) -> None:
        """Add an actor. Raises ValueError if it is in the pool already."""
        busy = [running.actor for running in self._running.values()]
        if actor in self._idle or actor in busy:
            raise ValueError(f"{actor!r} is in the pool already")
        self._give_back(actor)
