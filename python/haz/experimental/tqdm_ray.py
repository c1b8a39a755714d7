"""Progress bars of tasks and actors, shown together by the driver: Ray's ``tqdm_ray``.

>>> import haz
>>> from haz.experimental import tqdm_ray
>>> @haz.remote
... def work(name, n):
...     for _ in tqdm_ray.tqdm(range(n), desc=name):
...         ...
>>> haz.get([work.remote("a", 1000), work.remote("b", 500)])
[None, None]

The bars of all processes stand under each other on standard error, or in the running cell of a
notebook, and what tasks print is above them. In the driver the same class shows a bar, too. They
need rich (``pip install haz[progress]``); without it each is one line of text when it ends.
``haz.init(log_to_driver=False)`` shows none of tasks.
"""

from __future__ import annotations

import builtins
import sys
from contextlib import suppress
from time import monotonic

from haz._core.runtime import runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType
    from typing import Any

__all__ = ["safe_print", "tqdm"]

_MOST_CHARS = 200


class tqdm:  # noqa: N801 (the name that programs import)
    """A progress bar: of an iterable, or moved by `update`.

    Parameters
    ----------
    iterable
        What is iterated over, where the bar is used in a ``for``.
    desc
        Text in front of it.
    total
        Number of steps; None: that of `iterable`, if it is known.
    unit
        Name of a step.
    position
        Accepted; the bars stand in the order in which they began.
    flush_interval_s
        Seconds at least between two states that the driver is told.

    May be used by one thread at a time.
    """

    _next_number = 0

    def __init__(
        self,
        iterable: Iterable[Any] | None = None,
        desc: str | None = None,
        total: int | None = None,
        *,
        unit: str = "it",
        position: int | None = None,
        flush_interval_s: float = 0.1,
    ) -> None:
        if total is None:
            with suppress(TypeError, ValueError):
                total = len(iterable)  # type: ignore[arg-type]
        if total is not None and (isinstance(total, bool) or not isinstance(total, int)):
            raise TypeError(f"total must be an integer or None, not {total!r}")
        if not flush_interval_s >= 0:
            raise ValueError(f"flush_interval_s must be 0 or more, not {flush_interval_s!r}")
        tqdm._next_number += 1
        self._number = tqdm._next_number
        self._iterable = iterable
        self._desc = "" if desc is None else str(desc)
        self._total = total
        self._unit = str(unit)
        self._done: int | float = 0
        self._pause_s = flush_interval_s
        self._next_s = 0.0
        self._closed = False
        self.refresh()

    def set_description(self, desc: str) -> None:
        """Set the text in front of the bar."""
        self._desc = str(desc)
        self._tell_sometimes()

    def update(self, n: int | float = 1) -> None:
        """Move by `n` steps."""
        self._done += n
        self._tell_sometimes()

    @property
    def n(self) -> int | float:
        """Steps that are done."""
        return self._done

    @property
    def total(self) -> int | None:
        """Number of steps; None: not known."""
        return self._total

    @total.setter
    def total(self, total: int | None) -> None:
        self._total = total
        self.refresh()

    def refresh(self) -> None:
        """Tell the driver how things are, now."""
        if not self._closed:
            self._tell(closed=False)

    def close(self) -> None:
        """End the bar; it stays on the screen as it is. Idempotent."""
        if not self._closed:
            self._closed = True
            self._tell(closed=True)

    def _tell_sometimes(self) -> None:
        if not self._closed and monotonic() >= self._next_s:
            self._tell(closed=False)

    def _tell(self, closed: bool) -> None:
        self._next_s = monotonic() + self._pause_s
        state = {
            "number": self._number,
            "text": self._desc[:_MOST_CHARS],
            "total": self._total,
            "done": self._done,
            "unit": self._unit[:_MOST_CHARS],
            "closed": closed,
        }
        if not runtime.is_worker:
            from haz._core import task_bars

            task_bars.show(0, state)
            return
        import json

        # Ensures ASCII, so that no byte of it is a newline or a marker.
        line = f"\x1ehaz:bar:{json.dumps(state)}\n"
        from haz._core.process_state import write_to_driver

        write_to_driver(line)

    def __iter__(self) -> Iterator[Any]:
        if self._iterable is None:
            raise ValueError("a bar that is iterated over needs an iterable: tqdm(range(10))")
        try:
            for item in self._iterable:
                yield item
                self.update(1)
        finally:
            self.close()

    def __enter__(self) -> tqdm:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        try:
            self.close()
        except BaseException:
            pass  # at the end of the process


def safe_print(*args: Any, **kwargs: Any) -> None:
    """Print, as ``print`` does: what is printed never mixes with bars."""
    builtins.print(*args, **kwargs)
    (kwargs.get("file") or sys.stdout).flush()
