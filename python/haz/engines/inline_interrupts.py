"""Ctrl-C and time limits of tasks that run in the caller's own thread: for the inline engine."""

from __future__ import annotations

import signal
import sys
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

__all__ = ["Expired", "Interrupts"]


#: The alarm may come early, and comes again; the system takes no more than some number of seconds.
_LONGEST_ALARM_S = 1e8


class Expired(KeyboardInterrupt):
    """Raised in a task whose time is over; `owner` is the task, maybe one further out."""

    def __init__(self, owner: object) -> None:
        super().__init__()
        self.owner = owner


class Interrupts:
    """Watches the tasks of one engine.

    Signals reach the main thread only, and only where nobody else handles them; elsewhere a time
    limit is checked when the task has ended. Under a debugger there are no limits.
    """

    def __init__(self) -> None:
        #: The tasks with a limit in the main thread: (time when it is over, task).
        self._limits: list[tuple[float, object]] = []
        self._depth = 0
        self._ctrl_c = False

    def watch(self, owner: object, timeout_s: float | None) -> _Watch:
        """Return a context manager for one attempt of the task `owner`."""
        return _Watch(self, owner, timeout_s)

    def is_the_users(self, exc: BaseException) -> bool:
        """Whether `exc` comes from the user at the keyboard, and is not the task's own."""
        if isinstance(exc, KeyboardInterrupt) and self._ctrl_c:
            return True
        return isinstance(exc, Expired) or type(exc).__module__ == "bdb"

    def enter_main(self) -> bool:
        """Take SIGINT, at the outermost task, to learn of Ctrl-C. True: it was taken."""
        self._depth += 1
        if self._depth > 1 or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            return False
        self._ctrl_c = False
        signal.signal(signal.SIGINT, self._on_sigint)
        return True

    def leave_main(self, taken: bool) -> None:
        """Undo `enter_main`."""
        self._depth -= 1
        if taken and signal.getsignal(signal.SIGINT) == self._on_sigint:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _on_sigint(self, number: int, frame: FrameType | None) -> None:
        self._ctrl_c = True
        raise KeyboardInterrupt

    def push_limit(self, owner: object, timeout_s: float) -> bool:
        """Set the alarm for a task. False where the alarm belongs to somebody else."""
        if not self._limits:
            if signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL:
                return False
            signal.signal(signal.SIGALRM, self._on_alarm)
        self._limits.append((time.monotonic() + timeout_s, owner))
        self._set_alarm()
        return True

    def pop_limit(self) -> None:
        """Take the innermost limit away."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._limits.pop()
        if self._limits:
            self._set_alarm()
        else:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)

    def _set_alarm(self) -> None:
        first, _owner = min(self._limits, key=lambda limit: limit[0])
        # Repeated, since the exception may be swallowed: by a __del__, or an `except:`.
        seconds = min(max(first - time.monotonic(), 1e-6), _LONGEST_ALARM_S)
        signal.setitimer(signal.ITIMER_REAL, seconds, 0.1)

    def _on_alarm(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        for over, owner in self._limits:
            if over <= now:
                raise Expired(owner)


class _Watch:
    """One attempt of one task under `Interrupts`."""

    __slots__ = (
        "_has_limit",
        "_in_main",
        "_interrupts",
        "_owner",
        "_start",
        "_taken",
        "_timeout_s",
    )

    def __init__(self, interrupts: Interrupts, owner: object, timeout_s: float | None) -> None:
        self._interrupts = interrupts
        self._owner = owner
        self._timeout_s = None if _is_debugged() else timeout_s
        self._in_main = threading.current_thread() is threading.main_thread()
        self._taken = False
        self._has_limit = False
        self._start = 0.0

    def __enter__(self) -> None:
        if self._in_main:
            self._taken = self._interrupts.enter_main()
        if self._timeout_s is not None:
            self._start = time.monotonic()
            if self._in_main:
                self._has_limit = self._interrupts.push_limit(self._owner, self._timeout_s)

    def __exit__(self, kind: object, exc: BaseException | None, traceback: object) -> None:
        if self._has_limit:
            self._interrupts.pop_limit()
        if self._in_main:
            self._interrupts.leave_main(self._taken)
        if self._timeout_s is None or isinstance(exc, Expired):
            return
        if time.monotonic() - self._start > self._timeout_s:
            raise Expired(self._owner) from exc


def _is_debugged() -> bool:
    if sys.gettrace() is not None:
        return True
    monitoring = getattr(sys, "monitoring", None)
    return monitoring is not None and monitoring.get_tool(monitoring.DEBUGGER_ID) is not None
