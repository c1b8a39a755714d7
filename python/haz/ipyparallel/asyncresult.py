"""Results of calls that may not have ended yet: `AsyncResult` and `AsyncMapResult`."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION, Future
from datetime import datetime, timezone

from haz.ipyparallel._messages import Facts, Message, wait_for_all
from haz.ipyparallel.error import CompositeError, RemoteError, TaskAborted, TimeoutError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from contextlib import AbstractContextManager
    from typing import Any

    from haz.ipyparallel.client import Client
    from haz.ipyparallel.partition import Map

__all__ = ["AsyncHubResult", "AsyncMapResult", "AsyncResult"]

_METADATA = frozenset(Facts("", None).metadata())
#: Items of a part of a map from which on its reply is long.
_LONG = 200
#: Held while a result becomes a future that is told of its end.
_watching = threading.RLock()


def seconds_of(timeout: float | None) -> float | None:
    """A timeout as ipyparallel gives it: None or less than 0 is without end.

    Raises
    ------
    TypeError
        If it is no number.
    """
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"a timeout is a number of seconds or None, and not {timeout!r}")
    return None if timeout < 0 else timeout


class AsyncResult(Future):  # type: ignore[type-arg]
    """The results of one call, on one engine or on several; a ``concurrent.futures.Future``, too.

    What is known of the calls are its attributes and items: ``ar.stdout``, ``ar["engine_id"]``,
    ``started``, ``completed`` and so on (see `Metadata`): one value where the view has one
    engine, else a list of them.
    """

    owner = True
    #: Whether replies are worth to be taken one by one.
    _has_long_replies = False
    _parts: tuple[AsyncResult, ...] | None = None

    def __init__(
        self,
        client: Client,
        messages: Sequence[Message],
        fname: str = "unknown",
        targets: Any = None,
        single: bool = False,
        return_exceptions: bool = False,
    ) -> None:
        self._client = client
        self._messages = messages if type(messages) is list else list(messages)
        self._fname = fname
        self._targets = targets
        self._single_result = single
        self._return_exceptions = return_exceptions

    @property
    def msg_ids(self) -> list[str]:
        """The ids of the calls."""
        return [message.msg_id for message in self._messages]

    # The standard library's functions on futures look at the condition first: from then on this
    # future is told when its calls have ended. Nobody pays for that who only calls get().
    @property
    def _condition(self) -> threading.Condition:
        condition: threading.Condition | None = self.__dict__.get("_own_condition")
        if condition is not None:
            return condition
        with _watching:
            is_first = "_own_condition" not in self.__dict__
            if is_first:
                super().__init__()
                self._own_condition = self._new_condition
        if is_first:
            self._watch()
        return self._own_condition

    @_condition.setter
    def _condition(self, condition: threading.Condition) -> None:
        self._new_condition = condition  # by the base's __init__, which sets more after it

    def _watch(self) -> None:
        left = len(self._messages)
        lock = threading.Lock()
        if not left:
            self._deliver()

        def one_ended() -> None:
            nonlocal left
            with lock:
                left -= 1
                if left:
                    return
            self._deliver()

        for message in self._messages:
            message.watch(one_ended)

    def _deliver(self) -> None:
        try:
            value = self._collect(self._return_exceptions)
        except Exception as error:
            self.set_exception(error)
        else:
            self.set_result(value)

    def __repr__(self) -> str:
        state = "pending"
        if self.ready():
            state = "failed" if self._has_failed() else "finished"
        return f"<{type(self).__name__}({self._fname}): {state}>"

    # ---- as in multiprocessing -------------------------------------------------------------

    def get(
        self,
        timeout: float | None = None,
        return_exceptions: bool | None = None,
        return_when: str | None = None,
    ) -> Any:
        """Return the result when it is there.

        Parameters
        ----------
        timeout
            Seconds to wait for it. None or less than 0: as long as it takes.
        return_exceptions
            Return exceptions of engines in the place of their results, instead of raising them.
        return_when
            ALL_COMPLETED (the default), or FIRST_EXCEPTION: raise the first one as it comes.

        Raises
        ------
        TimeoutError
            If it is not there in time.
        RemoteError
            If the engine raised an exception, where it is the result of one engine.
        CompositeError
            If some engines did, where it is a list of results.
        TaskAborted
            If it was aborted.
        """
        if self._single_result and timeout is None and return_when is None:
            message = self._messages[0]
            if message.wait(None) and message.status == "ok":
                return message.outcome
        if return_when == FIRST_COMPLETED:
            raise ValueError("get() returns all results; wait(return_when=FIRST_COMPLETED) one")
        if return_when == FIRST_EXCEPTION:
            wait_for_some(self._messages, seconds_of(timeout), FIRST_EXCEPTION)
            for message in self._messages:
                if message.status not in (None, "ok"):
                    raise message.outcome
        if not self.wait(timeout if return_when is None else 0):
            raise TimeoutError(f"the result of {self._fname} was not there within {timeout} s")
        if return_exceptions is None:
            return_exceptions = self._return_exceptions
        return self._collect(return_exceptions)

    def _has_failed(self) -> bool:
        return any(message.status not in (None, "ok") for message in self._messages)

    def _collect(self, return_exceptions: bool) -> Any:
        if self._single_result and self._messages[0].status == "ok":
            return self._reconstruct([self._messages[0].outcome])
        values = [message.outcome for message in self._messages]
        failed = [m.outcome for m in self._messages if m.status != "ok"]
        if failed and not return_exceptions:
            if self._single_result:
                raise failed[0]
            raise_all(failed, self._fname)
        return self._reconstruct(values)

    def _reconstruct(self, values: list[Any]) -> Any:
        return values[0] if self._single_result else values

    def ready(self) -> bool:
        """Whether all calls have ended."""
        return all(message.ready() for message in self._messages)

    def wait(self, timeout: float | None = -1, return_when: str | None = None) -> Any:
        """Wait until all calls have ended.

        Parameters
        ----------
        timeout
            Seconds to wait. None or less than 0: as long as it takes.
        return_when
            ALL_COMPLETED (the default), FIRST_COMPLETED or FIRST_EXCEPTION.

        Returns
        -------
        bool or (set, set)
            Whether all have ended. With FIRST_COMPLETED and FIRST_EXCEPTION: those that have and
            those that have not, one AsyncResult for each call.
        """
        seconds = seconds_of(timeout)
        if return_when is None or return_when == ALL_COMPLETED:
            return wait_for_all(self._messages, seconds, self._has_long_replies)
        if return_when not in (FIRST_COMPLETED, FIRST_EXCEPTION):
            raise ValueError(
                f"return_when is ALL_COMPLETED, FIRST_COMPLETED or FIRST_EXCEPTION, "
                f"and not {return_when!r}"
            )
        wait_for_some(self._messages, seconds, return_when)
        each = self.split()
        done = {result for result in each if result.ready()}
        return done, set(each) - done

    def successful(self) -> bool:
        """Whether no call has raised an exception.

        Raises
        ------
        RuntimeError
            If they have not all ended.
        """
        if not self.ready():
            raise RuntimeError(f"{self!r} is not ready yet: wait() first")
        return not self._has_failed()

    # ---- as in concurrent.futures ----------------------------------------------------------

    def result(self, timeout: float | None = None) -> Any:
        """The same as `get`."""
        return self.get(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the end, and return the exception or None."""
        if not self.wait(-1 if timeout is None else timeout):
            raise TimeoutError(f"{self._fname} was not ready within {timeout} s")
        try:
            self._collect(False)
        except Exception as error:
            return error
        return None

    def done(self) -> bool:
        """The same as `ready`."""
        return self.ready()

    def running(self) -> bool:
        """Whether it has not ended."""
        return not self.ready()

    def cancel(self) -> bool:
        """Abort what has not begun; return whether that was all of it."""
        if self.ready():
            return False
        self.abort()
        wait_for_all(self._messages, 0)
        return bool(self._messages) and all(m.status == "aborted" for m in self._messages)

    def cancelled(self) -> bool:
        """Whether it was aborted."""
        return bool(self._messages) and all(m.status == "aborted" for m in self._messages)

    def __await__(self) -> Generator[Any, None, Any]:
        import asyncio

        return asyncio.wrap_future(self).__await__()

    # ---- more --------------------------------------------------------------------------------

    @property
    def r(self) -> Any:
        """The result; the same as ``get()``."""
        return self.get()

    def get_dict(self, timeout: float | None = -1) -> dict[int, Any]:
        """Return the results by the numbers of their engines.

        Raises
        ------
        ValueError
            If an engine ran several of the calls.
        """
        results = self.get(timeout)
        if self._single_result:
            return {self._messages[0].metadata["engine_id"]: results}
        engines = [message.metadata["engine_id"] for message in self._messages]
        if len(set(engines)) != len(engines):
            raise ValueError("get_dict() is for calls on different engines; one ran several here")
        return dict(zip(engines, self._by_message(results), strict=True))

    def _by_message(self, results: Any) -> Any:
        return results

    @property
    def result_dict(self) -> dict[int, Any]:
        """The same as ``get_dict()``."""
        return self.get_dict()

    def abort(self) -> None:
        """Abort the calls that no engine has begun.

        Raises
        ------
        RuntimeError
            If all have ended.
        """
        if self.ready():
            raise RuntimeError(f"can't abort {self!r}: it has ended already")
        self._client.abort(self.msg_ids, targets=self._targets, block=True)

    def split(self) -> tuple[AsyncResult, ...]:
        """One AsyncResult for each call."""
        if len(self._messages) == 1:
            return (self,)
        if self._parts is None:
            single = not isinstance(self, AsyncMapResult)
            self._parts = tuple(
                AsyncResult(self._client, [message], self._fname, self._targets, single)
                for message in self._messages
            )
        return self._parts

    @classmethod
    def join(cls, *async_results: AsyncResult) -> AsyncResult:
        """One AsyncResult of several.

        Raises
        ------
        ValueError
            If there is none.
        """
        if not async_results:
            raise ValueError("join() takes one AsyncResult at least")
        first = async_results[0]
        messages = [message for ar in async_results for message in ar._messages]
        if all(isinstance(ar, AsyncMapResult) for ar in async_results):
            assert isinstance(first, AsyncMapResult)
            return AsyncMapResult(
                first._client,
                messages,
                first._map,
                fname=first._fname,
                ordered=first.ordered,
                return_exceptions=first._return_exceptions,
            )
        return AsyncResult(first._client, messages, first._fname, first._targets)

    def __len__(self) -> int:
        return len(self._messages)

    def __iter__(self) -> Iterator[Any]:
        for message in self._messages:
            message.wait(None)
            if message.status != "ok" and not self._return_exceptions:
                if self._single_result:
                    raise message.outcome
                raise_all([message.outcome], self._fname)
            yield message.outcome

    # ---- what is known of the calls ----------------------------------------------------------

    @property
    def metadata(self) -> Any:
        """What is known of the calls: a `Metadata`, or a list of them."""
        self.ready()
        if self._single_result:
            return self._messages[0].metadata
        return [message.metadata for message in self._messages]

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, int):
            return collect_one([list(self)[key]], self._fname)[0]
        if isinstance(key, slice):
            return list(self)[key]
        if isinstance(key, str):
            if key not in _METADATA:
                raise KeyError(key)
            self.ready()
            each = [message.metadata[key] for message in self._messages]
            return each[0] if self._single_result else each
        raise TypeError(f"an item is known by a number, a slice or a name, and not by {key!r}")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in _METADATA:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return self[name]

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *_METADATA})

    @property
    def sent(self) -> bool:
        """Whether the calls were sent; they are, when this is there."""
        return True

    def wait_for_send(self, timeout: float | None = -1) -> bool:
        """Whether the calls were sent; they are, when this is there."""
        return True

    def wait_for_output(self, timeout: float | None = -1) -> bool:
        """Wait for all output of the calls, which is there with their results."""
        return wait_for_all(self._messages, seconds_of(timeout))

    @property
    def progress(self) -> int:
        """How many calls have ended."""
        return sum(message.ready() for message in self._messages)

    @property
    def elapsed(self) -> float:
        """Seconds since the first call was made; when all have ended, until they had."""
        if self.ready():
            return self.wall_time
        return (_now() - min(self._times("submitted"))).total_seconds()

    @property
    def serial_time(self) -> float:
        """Seconds that the calls took together.

        Raises
        ------
        TimeoutError
            If they have not all ended.
        """
        self._must_have_ended("serial_time")
        times = zip(self._times("started"), self._times("completed"), strict=True)
        return sum((end - start).total_seconds() for start, end in times)

    @property
    def wall_time(self) -> float:
        """Seconds from when the first call was made until the last result was here."""
        self._must_have_ended("wall_time")
        return self.timedelta(self._times("submitted"), self._times("received"))

    @property
    def speedup(self) -> float:
        """How many times faster it was than one call after the other."""
        return self.serial_time / self.wall_time

    def _must_have_ended(self, what: str) -> None:
        if not self.ready():
            raise TimeoutError(f"{what} is known when all calls have ended")

    def _times(self, key: str) -> list[datetime]:
        return [m.metadata[key] for m in self._messages if m.metadata[key] is not None]

    def timedelta(
        self,
        start: Any,
        end: Any,
        start_key: Callable[[Any], Any] = min,
        end_key: Callable[[Any], Any] = max,
    ) -> float:
        """Seconds between two times; of lists of times, between the first and the last."""
        first = start if isinstance(start, datetime) else start_key(start)
        last = end if isinstance(end, datetime) else end_key(end)
        return (last - first).total_seconds()

    # ---- shown to the user -------------------------------------------------------------------

    def wait_interactive(
        self,
        interval: float = 0.1,
        timeout: float | None = -1,
        widget: object = None,
        return_when: str = ALL_COMPLETED,
    ) -> None:
        """Wait, and show how many calls have ended, every `interval` seconds at most.

        Raises
        ------
        TimeoutError
            If not all have ended within `timeout` seconds.
        """
        from haz.ipyparallel._progress import show_progress

        seconds = seconds_of(timeout)
        show_progress(self._progress_items(), self._fname, interval, seconds, return_when)
        if not self.ready() and return_when == ALL_COMPLETED:
            raise TimeoutError(f"{self._fname} was not ready within {timeout} s")

    def _progress_items(self) -> list[Message]:
        return self._messages

    def stream_output(self) -> AbstractContextManager[None]:
        """A context in which output of the calls is shown as it comes.

        So are the tracebacks of those that fail. At its end the rest is shown, and the values of
        code, of calls that have ended.
        """
        from haz.ipyparallel._display import LiveDisplay

        return LiveDisplay(self._messages, self._single_result)

    def display_outputs(self, groupby: str = "type", result_only: bool = False) -> None:
        """Show what the calls printed and displayed, and the values of code.

        Parameters
        ----------
        groupby
            "type": first all that was printed, then what was displayed. "engine": one engine
            after the other. "order": as "type", but what each has displayed first, then what
            each has displayed next, and so on: the same figure of all engines together.
        result_only
            Only the values.
        """
        if groupby not in ("type", "engine", "order"):
            raise ValueError(f"groupby is 'type', 'engine' or 'order', and not {groupby!r}")
        self.wait()
        from haz.ipyparallel._display import display_messages

        display_messages(self._messages, self._single_result, groupby, result_only)


class AsyncHubResult(AsyncResult):
    """The result of a call that another client made."""


class AsyncMapResult(AsyncResult):
    """The results of a function on the items of sequences, as one list.

    Iterating gives the items as they come: in order, or with ``ordered=False`` as they are there.
    """

    def __init__(
        self,
        client: Client,
        messages: Sequence[Message],
        map_object: Map,
        fname: str = "",
        targets: Any = None,
        ordered: bool = True,
        return_exceptions: bool = False,
        length: int | None = None,
        sizes: Sequence[int] | None = None,
    ) -> None:
        super().__init__(
            client, messages, fname, targets, single=False, return_exceptions=return_exceptions
        )
        self._map = map_object
        self._has_long_replies = sizes is not None and max(sizes, default=0) >= _LONG
        self.ordered = ordered
        self._length = length
        self._sizes = sizes

    def _reconstruct(self, values: list[Any]) -> Any:
        parts = [
            [value] * (self._sizes[i] if self._sizes else 1)
            if isinstance(value, Exception)
            else value
            for i, value in enumerate(values)
        ]
        return self._map.join_partitions(parts)

    def _by_message(self, results: Any) -> Any:
        return [message.outcome for message in self._messages]

    def __len__(self) -> int:
        return len(self._messages) if self._length is None else self._length

    @property
    def progress(self) -> int:
        """How many items have their results."""
        if self._sizes is None:
            return sum(message.ready() for message in self._messages)
        sizes = zip(self._messages, self._sizes, strict=True)
        return sum(size for message, size in sizes if message.ready())

    def __iter__(self) -> Iterator[Any]:
        return self._ordered_items() if self.ordered else self._items_as_they_come()

    def _items_of(self, message: Message, number: int) -> list[Any]:
        if message.status != "ok":
            if not self._return_exceptions:
                raise_all([message.outcome], self._fname)
            return [message.outcome] * (self._sizes[number] if self._sizes else 1)
        return list(message.outcome)

    def _ordered_items(self) -> Iterator[Any]:
        for number, message in enumerate(self._messages):
            message.wait(None)
            yield from self._items_of(message, number)

    def _items_as_they_come(self) -> Iterator[Any]:
        left = dict(enumerate(self._messages))
        while left:
            wait_for_some(list(left.values()), None, FIRST_COMPLETED)
            for number, message in list(left.items()):
                if message.ready():
                    del left[number]
                    yield from self._items_of(message, number)


def raise_all(failed: Sequence[Exception], method: str) -> None:
    """Raise what engines raised together, unless all of it is that calls were aborted."""
    if all(isinstance(error, TaskAborted) for error in failed):
        raise failed[0]
    elist = [
        error
        if isinstance(error, RemoteError)
        else RemoteError(type(error).__name__, str(error), None)
        for error in failed
    ]
    raise CompositeError(f"one or more exceptions raised in: {method}", elist)


def collect_one(values: list[Any], method: str) -> list[Any]:
    """`values`, or the exceptions among them raised."""
    failed = [value for value in values if isinstance(value, RemoteError)]
    if failed:
        raise_all(failed, method)
    return values


def wait_for_some(messages: Sequence[Message], timeout: float | None, when: str) -> None:
    """Wait for the first end, or the first failure, among calls."""
    changed = threading.Event()

    def enough() -> bool:
        done = [message for message in messages if message.status is not None]
        if len(done) == len(messages):
            return True
        if when == FIRST_COMPLETED:
            return bool(done)
        return any(message.status != "ok" for message in done)

    for message in messages:
        if not message.ready():
            message.watch(changed.set)
            if when == FIRST_COMPLETED and message.status is not None:
                return
    deadline = None if timeout is None else time.monotonic() + timeout
    while not enough():
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            return
        changed.wait(left)
        changed.clear()
        for message in messages:
            message.ready()


def _now() -> datetime:
    return datetime.now(timezone.utc)
