"""How far calls are, on one line that is written again and again."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from haz.ipyparallel._messages import Message

__all__ = ["show_progress"]


_CELLS = 20
_EIGHTHS = " ▏▎▍▌▋▊▉"


def _bar(done: int, total: int) -> str:
    """How much is done, as a bar and in numbers."""
    eighths = 8 * _CELLS * done // max(total, 1)
    cells = "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
    return f"{100 * done // max(total, 1):3}% |{cells:<{_CELLS}}| {done}/{total}"


def show_progress(
    messages: Sequence[Message],
    name: str,
    interval: float,
    timeout: float | None,
    return_when: str = ALL_COMPLETED,
) -> None:
    """Wait for calls for `timeout` seconds at most; on standard error, say how many have ended."""
    begin = time.monotonic()
    deadline = None if timeout is None else begin + timeout
    total = len(messages)
    shown = 0
    while True:
        left = [message for message in messages if not message.ready()]
        now = time.monotonic()
        line = f"{name}: {_bar(total - len(left), total)} calls, {now - begin:.1f} s"
        sys.stderr.write(f"\r{line}{' ' * max(0, shown - len(line))}")
        sys.stderr.flush()
        shown = len(line)
        ended = [message for message in messages if message.status is not None]
        some = (return_when == FIRST_COMPLETED and bool(ended)) or (
            return_when == FIRST_EXCEPTION and any(message.status != "ok" for message in ended)
        )
        if not left or some or (deadline is not None and now >= deadline):
            break
        pause = interval if deadline is None else min(interval, deadline - now)
        left[0].wait(pause)
    sys.stderr.write("\n")
    sys.stderr.flush()
