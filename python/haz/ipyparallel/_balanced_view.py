"""`LoadBalancedView`: calls that run on whichever engine is free."""

from __future__ import annotations

import time

from haz.ipyparallel._arguments import freeze
from haz.ipyparallel._messages import BalancedMessage
from haz.ipyparallel._sequences import (
    check_callable,
    check_sequences,
    cut_to_shortest,
    equal_sequences,
)
from haz.ipyparallel._view import View
from haz.ipyparallel.asyncresult import AsyncMapResult, AsyncResult
from haz.ipyparallel.dependency import Dependency
from haz.ipyparallel.partition import mappable
from haz.ipyparallel.remotefunction import (
    ParallelFunction,
    name_of,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from haz.ipyparallel.client import Client

__all__ = ["LazyMapIterator", "LoadBalancedView"]


class LoadBalancedView(View):
    """A view whose calls run on whichever engine is free.

    Attributes
    ----------
    after : Dependency
        Calls that must have ended before.
    follow : Dependency
        Calls on whose engine it must run.
    timeout : float or None
        Seconds within which an engine must be found.
    retries : int
        How many times a call that failed runs again, on another engine each time.
    """

    _flag_names = (*View._flag_names, "follow", "after", "timeout", "retries")

    def __init__(self, client: Client, targets: Any = None, **flags: Any) -> None:
        self.follow: Any = None
        self.after: Any = None
        self.timeout: float | None = None
        self.retries = 0
        #: The last call without arguments of a function that goes by its name.
        self._bare_call: tuple[Any, ...] | None = None
        super().__init__(client, targets, **flags)

    def set_flags(self, **flags: Any) -> View:
        """Set flags: targets, block, track, label, after, follow, timeout, retries."""
        timeout = flags.get("timeout")
        if timeout is not None and not (isinstance(timeout, (int, float)) and timeout >= 0):
            raise ValueError(f"a timeout is a number of seconds, 0 or more, and not {timeout!r}")
        return super().set_flags(**flags)

    def _message(self, call: tuple[Any, ...], is_alone: bool) -> BalancedMessage:
        message = BalancedMessage(self.client._new_id(), self.label, call)
        if is_alone:
            message.is_alone = True
        if self.targets is not None or self.after or self.follow or self.timeout or self.retries:
            self._restrict(message)
        return message

    def _restrict(self, message: BalancedMessage) -> None:
        if self.retries:
            if isinstance(self.retries, bool) or not isinstance(self.retries, int):
                raise TypeError(f"retries is an int, and not {self.retries!r}")
            message.retries = self.retries
        if self.targets is not None and self.targets != "all":
            message.targets = frozenset(
                engine.id for engine in self.client._engines_of(self.targets)
            )
        if self.after:
            message.after = _dependency(self.after)
            message.facts.after = list(message.after.ids)
        if self.follow:
            message.follow = _dependency(self.follow)
            message.facts.follow = list(message.follow.ids)
            if message.after is None:
                message.after = Dependency(message.follow.ids, all=message.follow.all, failure=True)
        if self.timeout:
            message.deadline = time.monotonic() + self.timeout
        message.is_particular = bool(message.targets or message.follow)

    def _really_apply(
        self, f: Any, args: Any = (), kwargs: Any = None, block: bool | None = None
    ) -> Any:
        check_callable(f)
        client = self.client
        canned_f = client._can(f, is_called=True)
        is_large = False
        if args or kwargs:
            positional, is_large = freeze(client._can(args)) if args else ((), False)
            named, is_also = freeze(client._can(kwargs)) if kwargs else ({}, False)
            is_large = is_large or is_also
            call: tuple[Any, ...] = ("apply", canned_f, positional, named)
        else:
            call = self._bare_call_of(canned_f)
        message = self._message(call, is_large)
        self.history.append(message.msg_id)
        client._remember_one(message)
        client._balancer.submit(message)
        result = AsyncResult(client, [message], name_of(f), None, True)
        return result.get() if (self.block if block is None else block) else result

    def _bare_call_of(self, canned_f: Any) -> tuple[Any, ...]:
        """A call without arguments; the same object as before where it is the same."""
        last = self._bare_call
        if type(canned_f) is not tuple:
            return "apply", canned_f, (), {}
        if last is None or last[1] != canned_f:
            last = self._bare_call = ("apply", canned_f, (), {})
        return last

    def _spread(
        self,
        function: ParallelFunction,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        is_map: bool,
    ) -> AsyncMapResult:
        sequences, length = (
            cut_to_shortest(list(args)) if is_map else equal_sequences(args, function)
        )
        size = function.chunksize
        if size is None:
            size = 1 if is_map else max(1, -(-length // max(1, len(self))))
        canned_f = self.client._can(function.func, is_called=True)
        canned_kwargs, is_large = freeze(self.client._can(kwargs)) if kwargs else ({}, False)
        messages: list[BalancedMessage] = []
        sizes: list[int] = []
        for low in range(0, length, size):
            part = [seq[low : low + size] if mappable(seq) or is_map else seq for seq in sequences]
            sizes.append(min(size, length - low))
            if is_map:
                # A part of a list is new, and its items only are as they were: a tuple says so.
                items = tuple(tuple(each) if type(each) is list else each for each in part)
                canned, is_alone = freeze(self.client._can(items))
                call: tuple[Any, ...] = ("map", canned_f, canned, function.return_exceptions)
            else:
                canned, is_alone = freeze(self.client._can(tuple(part)))
                call = ("apply", canned_f, canned, canned_kwargs)
            message = self._message(call, is_alone or is_large)
            messages.append(message)
        self._remember(messages)
        for message in messages:
            self.client._balancer.submit(message)
        return AsyncMapResult(
            self.client,
            messages,
            function.mapObject,
            function.__name__,
            None,
            function.ordered,
            function.return_exceptions,
            length if is_map else len(messages),
            sizes,
        )

    def map(
        self,
        f: Any,
        *sequences: Any,
        block: bool | None = None,
        chunksize: int = 1,
        ordered: bool = True,
        return_exceptions: bool = False,
        label: Any = None,
    ) -> Any:
        """Call a function with the items of sequences, on whichever engines are free.

        Parameters
        ----------
        *sequences
            Lists, arrays, or any iterables; the shortest one ends the map.
        block
            Whether to wait for the results. None: as the view says.
        chunksize
            Items that one call runs.
        ordered
            Whether iterating over the AsyncMapResult gives the items in order.
        return_exceptions
            Return exceptions in the place of results, instead of raising them.

        Returns
        -------
        list or AsyncMapResult
        """
        check_sequences(sequences)
        check_callable(f)
        function = ParallelFunction(
            self,
            f,
            block=self.block if block is None else block,
            chunksize=chunksize,
            ordered=ordered,
            return_exceptions=return_exceptions,
        )
        with self.temp_flags(label=self.label if label is None else label):
            return function.map(*sequences)

    def imap(
        self,
        f: Any,
        *sequences: Any,
        ordered: bool = True,
        max_outstanding: int | str = "auto",
        return_exceptions: bool = False,
    ) -> LazyMapIterator:
        """Iterate over ``f`` of the items of iterables, which may be endless; see `View.imap`."""
        check_sequences(sequences)
        check_callable(f)
        most = len(self) if max_outstanding == "auto" else max_outstanding
        if isinstance(most, bool) or not isinstance(most, int) or most < 0:
            raise ValueError(f"max_outstanding is 'auto', 0 or more, and not {max_outstanding!r}")
        return LazyMapIterator(self, f, sequences, ordered, most, return_exceptions)

    def register_joblib_backend(
        self, name: str = "ipyparallel", make_default: bool = False
    ) -> None:
        """Register this view as a backend of joblib."""
        from haz.ipyparallel._joblib import register

        register(self, name, make_default)


def _dependency(what: Any) -> Dependency:
    return what if isinstance(what, Dependency) else Dependency(what)


class LazyMapIterator:
    """The results of `LoadBalancedView.imap`, one by one."""

    def __init__(
        self,
        view: LoadBalancedView,
        f: Any,
        sequences: tuple[Any, ...],
        ordered: bool,
        most: int,
        return_exceptions: bool,
    ) -> None:
        self._view = view
        self._f = f
        self._items = zip(*sequences, strict=False)
        self._ordered = ordered
        self._most = most
        self._return_exceptions = return_exceptions
        self._running: list[AsyncResult] = []
        self._ended = False
        view._outstanding_maps.add(self)
        self._fill()

    def _fill(self) -> None:
        while not self._ended and (not self._most or len(self._running) < self._most):
            try:
                args = next(self._items)
            except StopIteration:
                self._end()
                return
            self._running.append(self._view.apply_async(self._f, *args))

    def _end(self) -> None:
        self._ended = True
        self._view._outstanding_maps.discard(self)

    def _submit_all(self) -> None:
        self._most = 0
        self._fill()

    def __iter__(self) -> LazyMapIterator:
        return self

    def __next__(self) -> Any:
        if not self._running:
            raise StopIteration
        result = self._running.pop(0 if self._ordered else self._first_ready())
        try:
            return result.get(return_exceptions=self._return_exceptions)
        finally:
            self._fill()

    def _first_ready(self) -> int:
        from haz.ipyparallel.asyncresult import wait_for_some

        wait_for_some([each._messages[0] for each in self._running], None, "FIRST_COMPLETED")
        return next(i for i, each in enumerate(self._running) if each.ready())

    def cancel(self) -> None:
        """Take no more items."""
        self._end()
