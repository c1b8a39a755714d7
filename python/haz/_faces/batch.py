"""What a group sends to a worker: one call, or a batch of short ones in one message: `Sent`.

The calls of a batch stay calls of their own. The worker claims one after the other in pages of memory
that it shares with the group, and notes there what each has returned. So those that have not begun can
be taken back while one before them runs for long, and when the process dies, only the one dies with it
that it ran. A worker ends a batch early with a result that has no place in the pages, or an exception.
"""

from __future__ import annotations

import marshal

from haz import _native
from haz._core.descriptors import send_descriptor
from haz._core.futures import when_ready

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from haz._core.refs import ObjectRef
    from haz._faces.call import Call, Worker

__all__ = ["Pages", "Sent", "parts_of"]


def parts_of(calls: list[Call]) -> tuple[list[Any], list[Any], list[Any]]:
    """Return the codes, arguments and keyword arguments of calls."""
    parts = _native.parts_of_calls(calls)
    if parts is not None:
        return parts
    return (
        [call.code for call in calls],
        [call.args for call in calls],
        [call.kwargs for call in calls],
    )


class Sent:
    """Calls that a worker got in one message, in their order.

    Attributes
    ----------
    number
        Of the batch among those of the worker; 0: this is one call, and no batch.
    ref
        Of what the worker returns; None after the group was terminated.
    worker
        Who has it; None: it was recalled, or has ended.
    recalled
        Whether it was cancelled, so that its calls may wait again.
    """

    __slots__ = ("_pages", "_taken", "calls", "number", "recalled", "ref", "worker")

    def __init__(self, calls: list[Call], worker: Worker, number: int = 0) -> None:
        self.calls = calls
        self.number = number
        self._pages: Any = worker.pages
        #: Calls of the batch whose results were taken before its end.
        self._taken = 0
        self.ref: ObjectRef[Any] | None = None
        self.worker: Worker | None = worker
        self.recalled = False

    def send_batch(self) -> None:
        """Send the calls in one message; an error is that of pickling one of their arguments."""
        calls, worker = self.calls, self.worker
        assert worker is not None
        codes, args, kwargs = parts_of(calls)
        code = codes[0]
        self.ref = worker.method_each.remote(
            self.number,
            code if codes.count(code) == len(codes) else codes,
            args,
            kwargs if any(kwargs) else None,
        )

    def begun(self) -> int:
        """How many calls of a batch have begun, as far as is known."""
        begun: int = self._pages.begun(self.number) if self.number else 0
        return begun

    def take_back(self) -> list[Call]:
        """Take the calls out of a batch that the worker has not begun, and will not begin."""
        place = self._pages.take_back(self.number) if self.number else None
        if place is None:
            return []
        place -= self._taken
        taken = self.calls[place:]
        del self.calls[place:]
        return taken

    def take_recorded(self) -> tuple[list[Call], list[Any]]:
        """Take the calls out of a batch under way that have returned, with their results."""
        progress = self.progress() if self.number else None
        values = progress[1] if progress is not None else []
        taken = self.calls[: len(values)]
        del self.calls[: len(values)]
        self._taken += len(values)
        return taken, values

    def rest_of(self, values: list[Any]) -> list[Any]:
        """Of what the batch has returned, what was not taken before."""
        return values[self._taken :]

    def progress(self) -> tuple[int, list[Any]] | None:
        """Of the calls of a batch: how many have begun, and what the first of them returned.

        None: the worker has not begun it.
        """
        found = self._pages.progress(self.number)
        if found is None:
            return None
        begun, values = found
        return begun - self._taken, self.rest_of(values)

    def give_back(self) -> None:
        """Let the place of a batch be used again, of whose end all is known."""
        if self.number:
            self._pages.give_back(self.number)


class Pages:
    """The pages that a group shares with one worker, and which of them are in use.

    Raises
    ------
    RuntimeError, OSError
        If the system gives no memory or descriptor for them.
    """

    __slots__ = ("_free", "_made", "_pages")

    def __init__(self) -> None:
        self._pages = _native.CallPages()
        self._free = list(range(_native.CallPages.count))
        self._made = 0

    def share_with(self, actor: Any) -> None:
        """Have the worker map them, too."""
        opened = actor.open_pages.remote(send_descriptor(self._pages.fileno()))
        when_ready(opened, self._pages.close)

    def are_free(self) -> bool:
        """Whether the worker can get one more batch."""
        return bool(self._free)

    def take_number(self) -> int:
        """Return a number for a batch; 0: the worker has as many as there are pages."""
        if not self._free:
            return 0
        self._made += 1
        return self._made * _native.CallPages.count + self._free.pop()

    def give_back(self, number: int) -> None:
        """Take the number of a batch of whose end all is known."""
        self._free.append(number % _native.CallPages.count)

    def take_back(self, number: int) -> int | None:
        """End the batch before its first call that has not begun; return the place of that."""
        place: int | None = self._pages.take_back(number)
        return place

    def begun(self, number: int) -> int:
        """How many calls of the batch have begun."""
        begun: int = self._pages.begun(number)
        return begun

    def progress(self, number: int) -> tuple[int, list[Any]] | None:
        """How many calls have begun, and what the first of them returned; None: it never began."""
        found = self._pages.progress(number)
        if found is None:
            return None
        begun, values = found
        return begun, [marshal.loads(value) for value in values[:begun]]
