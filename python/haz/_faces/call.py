"""A call, and a worker as its group sees it: the data of a `WorkerGroup`."""

from __future__ import annotations

import sys
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from haz._faces.batch import Pages, Sent

    class PoolCall:
        """Data of a call of which there are thousands: in native memory, with defaults."""

        code: Any
        args: Any
        kwargs: dict[str, Any] | None
        alone: bool
        _value: Any
        _error: BaseException | None
        _event: Any
        _callback: Callable[[Any], object] | None
        _error_callback: Callable[[BaseException], object] | None
        _is_done: bool

else:
    from haz._native import PoolCall

__all__ = ["Call", "PoolCall", "Worker"]


class Call:
    """One call of a function by a worker. Subclasses say what becomes of its outcome.

    Attributes
    ----------
    code
        Of the function, as `haz._faces.functions.code_of` returns it.
    args, kwargs
        Arguments; `kwargs` is None where there are none.
    """

    if TYPE_CHECKING:
        code: Any
        args: Any
        kwargs: dict[str, Any] | None

    #: Never in a batch: its arguments were not understood with those of others.
    alone: bool = False

    #: Says whether it should run; called before it is sent, with the group's lock. None: it should.
    begin: Callable[[], bool] | None = None
    #: The same of several calls of that class; returns those that should run.
    begin_each: Callable[[list[Any]], list[Any]] | None = None

    #: Called when it waits again, as the worker that had it has not begun it. None: it is all the same.
    rest: Callable[[], None] | None = None

    def deliver(self, value: Any, error: BaseException | None) -> None:
        """Take the outcome; called once, in the group's thread or that of `terminate`."""
        raise NotImplementedError

    @staticmethod
    def deliver_each(calls: list[Call], values: Sequence[Any]) -> None:
        """Deliver what the first of these calls returned."""
        for call, value in zip(calls, values, strict=False):
            try:
                call.deliver(value, None)
            except BaseException:
                sys.excepthook(*sys.exc_info())  # of a callback; the others wait for theirs


class Worker:
    """One process of a group, as the group sees it."""

    __slots__ = (
        *("actor", "head", "in_flight", "is_apart", "is_started", "is_stuck", "left", "load"),
        *("method", "method_each", "pages", "since"),
    )

    def __init__(self, actor: Any, left: float) -> None:
        self.actor = actor
        #: Its method `remote` is replaced when it is first used.
        self.method = actor.call
        self.method_each = actor.call_each
        #: What it has, in the order in which it was sent, and the number of calls in that.
        self.in_flight: deque[Sent] = deque()
        self.load = 0
        #: For batches: None: it was sent none yet; False: it can't be.
        self.pages: Pages | None | bool = None
        #: How many more it may get.
        self.left = left
        #: Whether its process is known to be there; and whether it gets no calls until then, in this
        #: order (see `_recall_from_starting`).
        self.is_started = False
        self.is_apart = False
        #: When it began with what it has.
        self.since = 0.0
        #: What was first in line at the last tick, and how far it was.
        self.head: tuple[Sent, int] | None = None
        #: Whether it was no further at that tick than at the one before.
        self.is_stuck = False
