"""Which engine runs a call of a load-balanced view, and when."""

from __future__ import annotations

import threading
import time
from collections import deque

from haz.exceptions import HazError
from haz.ipyparallel._messages import BalancedMessage, Message, _failed_call
from haz.ipyparallel.error import RemoteError, TaskAborted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from typing import Any

    from haz.ipyparallel._engine import Reply
    from haz.ipyparallel.cluster import EngineHandle

__all__ = ["Balancer"]

#: Calls that together take as long may be sent together, so that short ones cost less. One that takes
#: longer is sent alone when its engine is free: no call waits behind another while an engine is idle.
_SHORT_S = 0.0005
_MOST_TOGETHER = 16


class Balancer:
    """Gives calls to the engines that have the fewest. Thread-safe.

    A call waits until one engine that it may use has room; then the engine is sent the call. What
    ended on an engine makes room for the next. Calls with `after` wait for others' ends first.

    Parameters
    ----------
    engines
        Returns the engines that live, in the order of their numbers.
    find
        Returns the call of an id, or None.
    """

    def __init__(
        self,
        engines: Callable[[], list[EngineHandle]],
        find: Callable[[str], Message | None],
    ) -> None:
        self._engines = engines
        self._find = find
        self._lock = threading.RLock()
        self._waiting: deque[BalancedMessage] = deque()
        self._load: dict[int, int] = {}
        self._given: dict[int, int] = {}
        self._sent = 0
        self._together = 1
        self._most = 1
        self._is_full = False
        self._timed = 0
        self._mean_s = 1.0
        self._timer: threading.Timer | None = None

    def submit(self, message: BalancedMessage) -> None:
        """Run the call on an engine, some time."""
        if message.after and not self._await_others(message, message.after):
            return
        with self._lock:
            self._waiting.append(message)
            if message.deadline is not None:
                self._timed += 1
            if self._is_full:
                return  # the end of a call looks at what waits
        self._dispatch()

    def waiting(self) -> list[BalancedMessage]:
        """Calls that no engine has yet."""
        with self._lock:
            return list(self._waiting)

    def load(self, engine: EngineHandle) -> int:
        """How many calls the engine has from here."""
        return self._load.get(engine.id, 0)

    def _preference(self, engine: EngineHandle) -> tuple[int, int]:
        """Less is better: calls that it has, then how lately it was given one."""
        return self._load.get(engine.id, 0), self._given.get(engine.id, 0)

    def abort(self, message: BalancedMessage) -> None:
        """Let a call end that no engine has begun."""
        with self._lock:
            ref = message.ref
            if ref is None and message.status is None:
                try:
                    self._waiting.remove(message)
                except ValueError:
                    pass  # it waits for others
                error = TaskAborted(f"the call {message.msg_id} was aborted before it was sent")
            elif ref is not None:
                from haz._core.api import cancel

                message.retries = 0
                cancel(ref)
                return
            else:
                return
        message._fail(error)

    # ---- dependencies ---------------------------------------------------------------------

    def _await_others(self, message: BalancedMessage, after: Any) -> bool:
        """Watch what the call comes after; False where it was dealt with already."""
        others: list[Message] = []
        for msg_id in after.ids:
            other = self._find(msg_id)
            if other is None:
                message._fail(_invalid(message, msg_id))
                return False
            others.append(other)
        if after.is_met(others):
            return True
        state = threading.Lock()

        def look() -> None:
            with state:
                if message.status is not None or message.after is None:
                    return
                if after.is_met(others):
                    message.after = None
                elif after.is_impossible(others):
                    message.after = None
                    message._fail(_impossible(message))
                    return
                else:
                    return
            with self._lock:
                self._waiting.append(message)
                self._timed += message.deadline is not None
            self._dispatch()

        if message.deadline is not None:
            self._expire_later()
        for other in others:
            other.watch(look)
        return False

    # ---- dispatch -------------------------------------------------------------------------

    def _dispatch(self) -> None:
        failed: list[tuple[BalancedMessage, Exception]] = []
        with self._lock:
            self._is_full = False
            engines = self._engines() if self._waiting else []
            kept: list[BalancedMessage] = []
            while self._waiting:
                message = self._waiting.popleft()
                if message.status is not None:
                    continue
                fits = self._usable(message, engines)
                if isinstance(fits, Exception):
                    failed.append((message, fits))
                    continue
                engine = min(fits, key=self._preference, default=None)
                if engine is None or self.load(engine) >= self._most:
                    kept.append(message)
                    if not message.is_particular():
                        self._is_full = True
                        break  # those behind it find no room either
                    continue
                batch = [message]
                if not message.is_particular():
                    self._fill(batch, len(engines))
                try:
                    self._send(batch, engine)
                except HazError as error:
                    failed += [(each, error) for each in batch]
            self._waiting.extendleft(reversed(kept))
            if self._timed and self._waiting:
                self._expire_later()
        for message, reason in failed:
            message._fail(reason)

    def _fill(self, batch: list[BalancedMessage], engines: int) -> None:
        """Add calls that go along with the first one: while calls are short, and many wait."""
        most = min(self._together, len(self._waiting) // engines)
        while len(batch) < most and self._waiting and not self._waiting[0].is_particular():
            message = self._waiting.popleft()
            if message.status is None:
                batch.append(message)

    def _usable(
        self, message: BalancedMessage, engines: list[EngineHandle]
    ) -> list[EngineHandle] | Exception:
        """Engines that may run the call, or why none ever can."""
        if not message.is_particular():
            return engines or _nobody(message)
        fits = engines
        if message.targets:
            fits = [engine for engine in fits if engine.id in message.targets]
        if message.follow:
            others = [self._find(msg_id) for msg_id in message.follow.ids]
            if None in others:
                lost = message.follow.ids[others.index(None)]
                return _invalid(message, lost)
            allowed = message.follow.engines(others)
            if allowed is None:
                return []  # not yet known
            fits = [engine for engine in fits if engine.id in allowed]
            if not fits:
                return _impossible(message)
        if not fits:
            return _nobody(message)
        if message.avoid:
            left = [engine for engine in fits if engine.id not in message.avoid]
            if not left and message.deadline is None:
                error = message.outcome
                return error if isinstance(error, Exception) else _impossible(message)
            fits = left
        return fits

    def _send(self, batch: list[BalancedMessage], engine: EngineHandle) -> None:
        calls = []
        for message in batch:
            message._sent_to(engine)
            calls.append((message.method, message.function, message.args, message.kwargs))
        self._load[engine.id] = self._load.get(engine.id, 0) + 1
        self._sent += 1
        self._given[engine.id] = self._sent
        try:
            ref = engine.call("batch", calls) if len(batch) > 1 else engine.call(*calls[0])
            future = ref.future()
        except BaseException:
            self._load[engine.id] -= 1
            raise
        if len(batch) == 1:
            batch[0].ref = ref  # so that it can be aborted
        future.add_done_callback(lambda future: self._ended(batch, engine, future))

    def _ended(
        self, batch: list[BalancedMessage], engine: EngineHandle, future: Future[Any]
    ) -> None:
        error = future.exception()
        replies = [None] * len(batch)
        if error is None:
            replies = [future.result()] if len(batch) == 1 else future.result()
            self._note_duration(replies[-1][3] - replies[0][2], len(batch))  # type: ignore[index]
        with self._lock:
            self._load[engine.id] -= 1
        again: list[BalancedMessage] = []
        for message, reply in zip(batch, replies, strict=True):
            failure = self._outcome(message, reply, error)
            if failure is not None:
                message.outcome = failure  # the last word, if no other engine can run it
                message.ref = None
                message.avoid = (message.avoid or set()) | {engine.id}
                again.append(message)
        if again:
            with self._lock:
                self._waiting.extend(again)
        self._dispatch()

    def _outcome(
        self, message: BalancedMessage, reply: Reply | None, error: BaseException | None
    ) -> Exception | None:
        """End a call with its reply or an error; or return the failure after which it is retried."""
        if reply is not None:
            if reply[0] == "ok" or not self._may_retry(message, reply[0]):
                message._settle(reply)
                return None
            return RemoteError(**reply[1]) if reply[0] == "error" else _impossible(message)
        assert isinstance(error, Exception)
        failure = _failed_call(error, message)
        if isinstance(failure, RemoteError) and self._may_retry(message, "error"):
            return failure
        message._fail(failure)
        return None

    @staticmethod
    def _may_retry(message: BalancedMessage, status: str) -> bool:
        if status == "unmet":
            return True
        if message.retries <= 0:
            return False
        message.retries -= 1
        return True

    def _note_duration(self, seconds: float, calls: int) -> None:
        each = min(seconds / calls, 1.0)
        self._mean_s += min(0.1 * calls, 0.5) * (each - self._mean_s)
        self._together = max(1, min(_MOST_TOGETHER, int(_SHORT_S / max(self._mean_s, 1e-7))))
        self._most = 1 if self._together == 1 else 2

    # ---- timeouts -------------------------------------------------------------------------

    def _expire_later(self) -> None:
        with self._lock:
            if self._timer is not None:
                return
            self._timer = threading.Timer(0.05, self._expire)
            self._timer.daemon = True
            self._timer.start()

    def _expire(self) -> None:
        now = time.monotonic()
        with self._lock:
            self._timer = None
            late = [m for m in self._waiting if m.deadline is not None and m.deadline < now]
            for message in late:
                self._waiting.remove(message)
            self._timed = sum(message.deadline is not None for message in self._waiting)
            if self._timed:
                self._expire_later()
        for message in late:
            message._fail(
                RemoteError(
                    "TaskTimeout",
                    f"no engine could run the call {message.msg_id} within its timeout",
                    None,
                )
            )


def _named(name: str, text: str) -> RemoteError:
    return RemoteError(name, text, None)


def _invalid(message: Message, lost: str) -> RemoteError:
    return _named(
        "InvalidDependency", f"the call {message.msg_id} depends on {lost!r}, which is not known"
    )


def _impossible(message: Message) -> RemoteError:
    return _named(
        "ImpossibleDependency",
        f"what the call {message.msg_id} depends on can't be met by any engine",
    )


def _nobody(message: Message) -> RemoteError:
    return _named(
        "NoEnginesRegistered",
        f"there is no engine that may run the call {message.msg_id}: see client.ids",
    )
