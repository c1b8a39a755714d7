"""Shows the progress bars of `haz.experimental.tqdm_ray`, in the driver. Thread-safe."""

from __future__ import annotations

import atexit
import sys
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["MARKER", "end", "show", "take"]

#: Begins a line of a worker's output that is the state of a bar (src/node/log_lines.h): pid, a
#: space, and JSON; nothing after the space: the worker has ended.
MARKER = "\x1ehaz:bar:"

_lock = threading.RLock()
_bars: dict[tuple[int, int], int] = {}
_display: Any = None
_ends_at_exit = False
_is_over = False


def take(line: str) -> None:
    """Show what a worker has told in a line that begins with `MARKER`. Never raises."""
    pid, _, state = line[len(MARKER) :].partition(" ")
    try:
        if not state:
            end(int(pid))
            return
        import json

        show(int(pid), json.loads(state))
    except (ValueError, KeyError, TypeError):
        pass  # a task has written something that looks like it


def show(pid: int, state: dict[str, Any]) -> None:
    """Show a bar of a process (0: this one) as it is now."""
    with _lock:
        if _is_over:
            return
        display = _display if _display is not None else _open()
        key = (pid, int(state["number"]))
        bar = _bars.get(key)
        if bar is None:
            if state["closed"] and not state["done"]:
                return
            bar = _bars[key] = display.add()
        display.update(bar, state)
        if state["closed"]:
            del _bars[key]
            display.close(bar)
        if not _bars:
            _close()


def end(pid: int | None = None) -> None:
    """End the bars of a process, or of all, as they are."""
    with _lock:
        if _display is None:
            return
        for key in [key for key in _bars if pid is None or key[0] == pid]:
            _display.close(_bars.pop(key))
        if not _bars:
            _close()


def _end_for_good() -> None:
    """The program ends: a bar that goes after this must not start threads."""
    global _is_over
    end()
    _is_over = True


def _open() -> Any:
    global _display, _ends_at_exit
    if not _ends_at_exit:
        _ends_at_exit = True
        atexit.register(_end_for_good)  # or the terminal's cursor would stay hidden
    try:
        import rich.progress  # noqa: F401
    except ImportError:
        _display = _Lines()
    else:
        _display = _Bars()
    return _display


def _close() -> None:
    global _display
    display, _display = _display, None
    display.stop()


class _Bars:
    """Bars of rich under each other. What is printed meanwhile comes above them."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns: list[Any] = [TextColumn("{task.description}"), BarColumn()]
        columns += [TextColumn("{task.fields[count]}"), TimeRemainingColumn()]
        self._progress = Progress(*columns, console=Console(stderr=True))
        self._progress.start()

    def add(self) -> int:
        return int(self._progress.add_task("", total=None, count=""))

    def update(self, bar: int, state: dict[str, Any]) -> None:
        from rich.markup import escape

        task: Any = bar
        self._progress.update(
            task,
            description=escape(str(state["text"])),
            total=state["total"],
            completed=state["done"],
            count=escape(_count(state)),
        )

    def close(self, bar: int) -> None:
        task: Any = bar
        self._progress.stop_task(task)

    def stop(self) -> None:
        self._progress.stop()


class _Lines:
    """A line of text for each bar, when it ends."""

    def __init__(self) -> None:
        self._states: list[dict[str, Any]] = []

    def add(self) -> int:
        self._states.append({})
        return len(self._states) - 1

    def update(self, bar: int, state: dict[str, Any]) -> None:
        self._states[bar] = state

    def close(self, bar: int) -> None:
        state = self._states[bar]
        if sys.stderr is not None:
            text = f"{state['text']}: " if state["text"] else ""
            print(f"{text}{_count(state)}", file=sys.stderr, flush=True)

    def stop(self) -> None:
        pass


def _count(state: dict[str, Any]) -> str:
    of = "" if state["total"] is None else f"/{state['total']}"
    unit = "" if state["unit"] == "it" else f" {state['unit']}"
    return f"{state['done']}{of}{unit}"
