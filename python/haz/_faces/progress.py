"""Progress of long calls: a bar in terminals and notebooks, or a function of the user's."""

from __future__ import annotations

import sys
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Protocol

    class Shown(Protocol):
        """Somebody who is shown progress."""

        def update(self, done: int, failed: int) -> None:
            """Tell how many items have ended, and how many of these have failed."""

        def close(self) -> None:
            """Tell that there will be no more."""


__all__ = ["check_progress", "show_progress", "total_of"]

_PAUSE_S = 0.1


def check_progress(progress: object) -> None:
    """Raise TypeError for what `show_progress` does not take."""
    if not isinstance(progress, (bool, str)) and not callable(progress):
        raise TypeError(f"progress must be True, False, a text or a function, not {progress!r}")


def total_of(iterables: tuple[Iterable[Any], ...]) -> int | None:
    """Return how many items there are in all of them, if that is known."""
    try:
        return min(len(items) for items in iterables)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


def show_progress(
    progress: bool | str | Callable[[int, int | None, int], object], name: str, total: int | None
) -> Shown | None:
    """Return who is to be told of progress; None for ``progress=False``.

    Parameters
    ----------
    progress
        True: a bar. A string: a bar with that text. A function: it is called with the number of items
        that have ended, the total or None, and the number that failed.
    name
        Text of the bar where there is no other.
    total
        Number of items, if that is known.
    """
    if progress is False:
        return None
    if callable(progress):
        return _Told(progress, total)
    text = progress if isinstance(progress, str) else name
    try:
        import rich.progress  # noqa: F401
    except ImportError:
        return _Line(text, total)
    return _Bar(text, total)


class _Told:
    def __init__(self, function: Callable[[int, int | None, int], object], total: int | None):
        self._function = function
        self._total = total

    def update(self, done: int, failed: int) -> None:
        self._function(done, self._total, failed)

    def close(self) -> None:
        pass


class _Bar:
    """A bar of rich: count, rate, time that is left, failures."""

    def __init__(self, text: str, total: int | None) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        columns: list[Any] = [SpinnerColumn(), TextColumn("{task.description}"), BarColumn()]
        columns += [MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn()]
        columns += [TextColumn("[red]{task.fields[failures]}")]
        self._progress = Progress(*columns, console=Console(stderr=True))
        self._task = self._progress.add_task(text, total=total, rate="", failures="")
        self._rate = _Rate()
        self._next = 0.0
        self._last = (0, 0)
        self._progress.start()

    def update(self, done: int, failed: int) -> None:
        self._last = (done, failed)
        now = monotonic()
        if now >= self._next:
            self._next = now + _PAUSE_S
            self._show()

    def _show(self) -> None:
        done, failed = self._last
        failures = f"{failed} failed" if failed else ""
        rate = self._rate.text(done)
        self._progress.update(self._task, completed=done, rate=rate, failures=failures)

    def close(self) -> None:
        self._show()
        self._progress.stop()


class _Line:
    """One line of plain text, where rich is not installed; nothing where nobody would see it."""

    def __init__(self, text: str, total: int | None) -> None:
        self._text = text
        self._total = total
        self._rate = _Rate()
        self._next = 0.0
        self._last = (0, 0)
        self._is_shown = sys.stderr is not None and sys.stderr.isatty()

    def update(self, done: int, failed: int) -> None:
        self._last = (done, failed)
        now = monotonic()
        if now >= self._next:
            self._next = now + _PAUSE_S
            self._show("\r")

    def _show(self, begin: str) -> None:
        if not self._is_shown:
            return
        done, failed = self._last
        of = f"/{self._total} ({100 * done // max(self._total, 1)}%)" if self._total else ""
        left = self._rate.left_s(done, self._total)
        ends = "" if left is None else f", {left:.0f} s left"
        failures = f", {failed} failed" if failed else ""
        print(
            f"{begin}{self._text}: {done}{of} {self._rate.text(done)}{ends}{failures}\x1b[K",
            end="",
            file=sys.stderr,
            flush=True,
        )

    def close(self) -> None:
        self._show("\r")
        if self._is_shown:
            print(file=sys.stderr)


class _Rate:
    def __init__(self) -> None:
        self._begin = monotonic()

    def _per_s(self, done: int) -> float:
        return done / max(monotonic() - self._begin, 1e-9)

    def text(self, done: int) -> str:
        rate = self._per_s(done)
        return f"{rate:.0f}/s" if rate >= 10 else f"{rate:.2g}/s"

    def left_s(self, done: int, total: int | None) -> float | None:
        rate = self._per_s(done)
        return None if total is None or not rate else (total - done) / rate
