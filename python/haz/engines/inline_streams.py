"""Streams of the inline engine: a generator goes on when somebody wants its next item.

It runs in the thread that takes the item, up to the next ``yield``: breakpoints in it are hit there.
Other engines let it run ahead; here nothing ever waits to be taken, except where the end is asked
for (``generator.completed()``) before the items. ``cancel`` closes it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from weakref import ref

from haz._core.errors import through_task
from haz._core.generator import ObjectRefGenerator
from haz.engines.inline_calls import Arguments
from haz.engines.inline_interrupts import Expired
from haz.engines.inline_objects import Entry, InlineRef
from haz.engines.inline_running import Running
from haz.exceptions import ObjectStoreFullError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from haz.engines.inline import InlineEngine
    from haz.engines.inline_calls import BoundCall

__all__ = ["InlineStream", "StreamEntry", "start_stream"]

#: What the generator gives when it has come to its end.
_END = object()


def start_stream(
    engine: InlineEngine, task: BoundCall, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> ObjectRefGenerator[Any]:
    """Call a streaming function; nothing of it runs yet."""
    arguments = Arguments(engine, task.descriptor, args, kwargs)
    stream = InlineStream(engine, task, arguments)
    entry = StreamEntry(engine, stream)
    stream.reader = ref(entry)
    error = task.refusal() or stream.refusal
    if error is None and arguments.error is not None:
        error = through_task(arguments.error, task.name)
    if error is not None:
        stream.fail(error)
    return ObjectRefGenerator(engine.ref_to(entry, engine.new_number()))


class StreamEntry(Entry):
    """What consumers refer to."""

    __slots__ = ("stream",)

    def __init__(self, engine: InlineEngine, stream: InlineStream) -> None:
        super().__init__(engine)
        self.stream = stream
        self.is_of_actor = stream.task.actor is not None

    def settle(self) -> None:
        """Let there be an item to take, or the end."""
        self.stream.advance()

    def cancel(self) -> None:
        """End the task."""
        self.stream.cancel()


class _EndEntry(Entry):
    """The number of items, or the error: there when the stream has been run to its end."""

    __slots__ = ("_stream",)

    def __init__(self, engine: InlineEngine, stream: InlineStream) -> None:
        super().__init__(engine)
        self._stream = stream
        self.is_of_actor = stream.task.actor is not None

    def settle(self) -> None:
        self._stream.run_to_the_end()
        if self.data is None and self.error is None:
            count, self.error = self._stream.outcome
            self.data = self.engine.dump(count).data

    def cancel(self) -> None:
        self._stream.cancel()


class InlineStream:
    """One streaming call: its generator, and what it has yielded that nobody has taken."""

    def __init__(self, engine: InlineEngine, task: BoundCall, arguments: Arguments) -> None:
        self.task = task
        #: The entry that consumers refer to: without it items are dropped.
        self.reader: ref[StreamEntry] | None = None
        #: The error of a task that can't run where it is to.
        self.refusal: dict[str, Any] | None
        self._engine = engine
        self._arguments: Arguments | None = arguments
        place, self.refusal = task.find_place()
        self._running = Running(task, engine.new_number(), place)
        self._iterator: Any = None
        self._items: deque[Entry] = deque()
        self._yielded = 0
        self._repeated = 0  # items of this attempt that an earlier one has yielded
        self._left_s = task.timeout_s
        self._ended = False
        self._error: dict[str, Any] | None = None
        self._end: ref[_EndEntry] | None = None
        self._end_number = engine.new_number()
        self._turn = threading.RLock()

    @property
    def outcome(self) -> tuple[int, dict[str, Any] | None]:
        """The number of items, and the error of a failed one; once it has ended."""
        assert self._ended
        return self._yielded, self._error

    # ---- taking --------------------------------------------------------------------------------

    def take(self) -> InlineRef:
        """Take the next item; StopIteration at the end."""
        with self._turn:
            self.advance()
            if not self._items:
                raise StopIteration
            return self._engine.ref_to(self._items.popleft(), self._engine.new_number())

    def has_item(self) -> bool | None:
        """See ``has_item`` of :class:`haz.engines.base.Engine`."""
        with self._turn:
            self.advance()
            return True if self._items else None

    def end(self) -> InlineRef:
        """The ref of the end."""
        with self._turn:
            entry = self._end() if self._end is not None else None
            if entry is None:
                entry = _EndEntry(self._engine, self)
                self._end = ref(entry)
            return self._engine.ref_to(entry, self._end_number)

    # ---- running -------------------------------------------------------------------------------

    def advance(self) -> None:
        """Let the generator go on until there is an item to take, or it has ended."""
        with self._turn:
            while not self._items and not self._ended:
                self._go_on()

    def run_to_the_end(self) -> None:
        """Let the generator go on to its end."""
        with self._turn:
            while not self._ended:
                self._go_on()

    def _go_on(self) -> None:
        place = self._running.place
        if place is not None and place.group.is_removed:
            self.fail({"kind": "group_removed", "task_name": self.task.name})
            return
        began = time.monotonic()
        try:
            with self._engine.inside(self._running, self._left_s):
                item = self.task.resume(self._step)
            if item is _END:
                self._finish(None)
            else:
                self._add(item)
        except Expired as expired:
            if expired.owner is not self._running:
                self.fail(self.task.failure(expired))
                raise
            timeout_s = self.task.timeout_s
            name = self.task.name
            self.fail({"kind": "timeout", "task_name": name, "timeout_s": timeout_s})
        except ObjectStoreFullError as full:
            self.fail({"kind": "object_store_full", "message": str(full)})
        except BaseException as exc:
            if self._engine.is_the_users(exc):
                self.fail(self.task.failure(exc))
                raise
            if not self.task.may_retry(exc, self._running.attempt):
                self.fail(self.task.failure(exc))
                return
            self._running.attempt += 1
            self._start_again()
            return
        if self._left_s is not None:
            self._left_s = max(self._left_s - (time.monotonic() - began), 1e-6)

    def _step(self) -> Any:
        """The next item, or an awaitable of it, or _END."""
        iterator = self._iterator
        if iterator is None:
            assert self._arguments is not None
            args, kwargs = self._arguments.load()
            iterator = self._iterator = self.task.stream(args, kwargs)
        if hasattr(type(iterator), "__anext__"):
            return _next_of(iterator)
        return next(iterator, _END)

    def _start_again(self) -> None:
        self._iterator = None
        self._repeated = 0
        self._left_s = self.task.timeout_s

    def _add(self, item: Any) -> None:
        if self._ended:
            return  # cancelled from within
        if self._repeated < self._yielded:
            self._repeated += 1
            return
        entry = self._engine.store(item)
        self._yielded += 1
        self._repeated += 1
        self._append(entry)

    def _append(self, entry: Entry) -> None:
        if self.reader is not None and self.reader() is not None:
            entry.is_of_actor = self.task.actor is not None
            self._items.append(entry)

    def _finish(self, error: dict[str, Any] | None) -> None:
        if self._ended:
            return
        self._ended = True
        self._error = error
        self._arguments = None
        running = self._running
        self._engine.note_end(running.task, running.id, running.began_s, error)
        if error is not None:
            self._append(self._engine.error_entry(error))

    def fail(self, error: dict[str, Any]) -> None:
        """End with an error, which is the last item."""
        self._finish(error)
        self._close()

    def cancel(self) -> None:
        """Close the generator; without effect when it has ended."""
        with self._turn:
            if not self._ended:
                name = self.task.name
                self.fail({"kind": "cancelled", "task_name": name, "task_id": self._running.id})

    def _close(self) -> None:
        iterator, self._iterator = self._iterator, None
        close = getattr(iterator, "close", None)
        if close is None:
            return
        try:
            with self._engine.inside(self._running, None):
                close()
        except ValueError:
            self._iterator = iterator  # it runs, and has cancelled itself
        except Exception:
            import sys

            sys.excepthook(*sys.exc_info())  # as Python does with what a generator's end raises


async def _next_of(iterator: Any) -> Any:
    try:
        return await iterator.__anext__()
    except StopAsyncIteration:
        return _END
