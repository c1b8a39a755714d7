"""Prints in the driver what tasks have printed, whatever the user's streams are."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

__all__ = ["show"]

#: Streams that could not be written to, so that each is told of once. Two: output and errors.
_failed: list[Any] = []
_MOST_FAILED = 2


def show(lines: Iterable[tuple[bool, str]]) -> None:
    """Write lines, each with whether it is of stderr, to the streams that ``sys`` has now.

    In a notebook they go to the running cell. A stream that fails loses its lines and is reported
    once, unless it is a pipe that nobody reads; the other stream gets its own.
    """
    for is_stderr, text in lines:
        if text.startswith("\x1ehaz:bar:"):
            from haz._core import task_bars

            task_bars.take(text)
            continue
        stream = sys.stderr if is_stderr else sys.stdout
        if stream is not None:
            try:
                _write(stream, text + "\n")
            except BaseException as error:
                _report(stream, error)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            try:
                stream.flush()
            except BaseException as error:
                _report(stream, error)


def _write(stream: Any, text: str) -> None:
    try:
        stream.write(text)
    except UnicodeEncodeError:
        encoding = getattr(stream, "encoding", None) or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))


def _report(stream: Any, error: BaseException) -> None:
    if any(stream is one for one in _failed):
        return
    _failed.append(stream)
    del _failed[:-_MOST_FAILED]
    if isinstance(error, BrokenPipeError):
        return
    try:
        name = type(stream).__qualname__
        print(f"haz: output of tasks is lost, {name} fails: {error!r}", file=sys.__stderr__)
    except Exception:
        pass  # there is nowhere left to say it
