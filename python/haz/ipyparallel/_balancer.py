"""Which engine runs a call of a load-balanced view, and when."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from queue import SimpleQueue
from types import BuiltinFunctionType, FunctionType
from weakref import ref

from haz._core.api import wait
from haz._core.futures import value_of, when_ready
from haz._core.runtime import runtime
from haz.exceptions import HazError
from haz.ipyparallel._canning import Canned
from haz.ipyparallel._messages import BalancedMessage, Message, _failed_call
from haz.ipyparallel.error import RemoteError, TaskAborted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from haz._core.refs import ObjectRef
    from haz.ipyparallel._engine import Reply
    from haz.ipyparallel.cluster import EngineHandle

__all__ = ["Balancer", "Flight"]

#: Calls that together take as long may be sent together, so that short ones cost less. One that takes
#: longer, or of a function that is not known yet, is sent alone when its engine is free: no call waits
#: behind another while an engine is idle.
_SHORT_S = 0.0005
#: An engine has at most this weight: that of two flights of short calls, or of one other call.
_ROOM = 2
#: How old what is known of other programs' calls may be, in seconds: asking costs a round trip.
_OTHERS_S = 0.002
#: After so many seconds it is asked for again while calls wait.
_LOOK_AGAIN_S = 0.01
#: As many functions are known.
_MOST_FUNCTIONS = 200
_MOST_TOGETHER = 128
#: A thread that makes many calls lets another one look for ends and send what waits, once in as many:
#: else that would wait for the interpreter's lock meanwhile, and the engines with it.
_LOOK_EVERY = 256
#: Seconds that it waits for that at most: callbacks of the user's may run meanwhile.
_MOST_WAIT_S = 0.02


class Flight:
    """Calls that were sent to an engine together."""

    __slots__ = ("engine", "has_landed", "messages", "ref", "weight")

    def __init__(
        self, messages: list[BalancedMessage], engine: EngineHandle, ref: Any, weight: int
    ) -> None:
        self.messages = messages
        self.engine = engine
        self.ref: ObjectRef[Any] = ref
        self.weight = weight
        self.has_landed = False


class _Sender:
    """The thread that sends what waits for many calls: one in a process, for one run of haz.

    An interrupt comes to the main thread only, and so never in the midst of what this one does.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._run: Any = None
        self._due: SimpleQueue[tuple[Balancer, threading.Lock | None] | None] = SimpleQueue()
        self.thread: threading.Thread | None = None

    def post(self, balancer: Balancer, done: threading.Lock | None = None) -> None:
        """Let `balancer` look and send soon; `done` is released when it has."""
        if self._run is not runtime.engine:
            self._start()
        self._due.put((balancer, done))

    def _start(self) -> None:
        with self._lock:
            if self._run is runtime.engine:
                return
            due: SimpleQueue[tuple[Balancer, threading.Lock | None] | None] = SimpleQueue()
            thread = self.thread = threading.Thread(
                target=self._work, args=(due,), name="haz-balancers", daemon=True
            )
            thread.start()

            def end() -> None:
                due.put(None)
                thread.join()

            runtime.at_stop(end)
            self._due = due
            self._run = runtime.engine

    @staticmethod
    def _work(due: SimpleQueue[tuple[Balancer, threading.Lock | None] | None]) -> None:
        while (posted := due.get()) is not None:
            balancer, done = posted
            try:
                balancer.look_and_send()
            except HazError:
                pass  # haz is ending: whoever waits for the calls is told by that
            except Exception:
                sys.excepthook(*sys.exc_info())  # of a callback: other calls wait for their turn
            if done is not None:
                done.release()
            del posted, balancer, done


_sender = _Sender()


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
    pending
        Returns how many calls each engine has, whoever has sent them, by their numbers. None: no
        other program sends any.
    """

    def __init__(
        self,
        engines: Callable[[], list[EngineHandle]],
        find: Callable[[str], Message | None],
        pending: Callable[[], dict[int, int]] | None = None,
    ) -> None:
        self._engines = engines
        self._find = find
        self._pending = pending
        #: What engines have from other programs, as it was when it was asked for.
        self._others: dict[int, int] = {}
        self._asked = 0.0
        self._lock = threading.RLock()
        self._waiting: deque[BalancedMessage] = deque()
        self._given: dict[int, int] = {}
        self._sent = 0
        self._flights: set[Flight] = set()
        #: The weights of its flights, by the numbers of engines.
        self._loads: dict[int, int] = {}
        self._look_at = _LOOK_EVERY
        self._is_full = False
        self._timed = 0
        self._durations: dict[Any, float] = {}
        self._timer: threading.Timer | None = None
        self._later: threading.Timer | None = None
        self._is_due = False
        #: While it is told of the end of what it sends, which may be there already.
        self._is_sending = False

    def submit(self, message: BalancedMessage) -> None:
        """Run the call on an engine, some time."""
        if message.after and not self._await_others(message, message.after):
            return
        look = None
        with self._lock:
            if message.deadline is not None:
                self._timed += 1
            engine = None
            if not self._flights and not self._waiting and not message.is_particular:
                self._look_at_others()
                engine = min(self._engines(), key=self._preference, default=None)
            if engine is not None:
                self._send([message], engine)
                return
            # An interrupt comes between any two steps, and must lose no call but this one.
            if not self._is_full and not self._is_due:
                _sender.post(self)
                self._is_due = True
            self._waiting.append(message)
            if len(self._waiting) >= self._look_at:
                self._look_at = len(self._waiting) + _LOOK_EVERY
                look = threading.Lock()
                look.acquire()
                _sender.post(self, look)
        if look is not None and threading.current_thread() is not _sender.thread:
            look.acquire(timeout=_MOST_WAIT_S)  # an interrupt can't break it, as it can an Event

    def look_and_send(self) -> None:
        """End the calls that engines have ended, and send what waits as far as there is room."""
        with self._lock:
            self._is_due = False
            by_ref = {flight.ref: flight for flight in self._flights}
        run = runtime.engine
        if by_ref:
            for landed in wait(list(by_ref), num_returns=len(by_ref), timeout=0)[0]:
                self._land(by_ref[landed], run)
        self._dispatch()

    def waiting(self) -> list[BalancedMessage]:
        """Calls that no engine has yet."""
        with self._lock:
            return list(self._waiting)

    def _preference(self, engine: EngineHandle) -> tuple[int, int]:
        """Less is better: what it has, then how lately it was given one from here."""
        load = self._loads.get(engine.id, 0)
        others = self._others.get(engine.id, 0)
        if others:
            # How long those take is not known: rather wait for an engine that has calls from here.
            load += 1 + _ROOM * others
        return load, self._given.get(engine.id, 0)

    def _look_at_others(self) -> None:
        """Learn what engines have from other programs, unless that was done lately."""
        if self._pending is None or time.monotonic() - self._asked < _OTHERS_S:
            return
        others = self._pending()
        for flight in self._flights:
            if flight.engine.id in others:
                others[flight.engine.id] -= 1
        self._others = {number: calls for number, calls in others.items() if calls > 0}
        self._asked = time.monotonic()

    def abort(self, message: BalancedMessage) -> None:
        """Let a call end that no engine has begun."""
        with self._lock:
            flight = message.flight
            if flight is None and message.status is None:
                try:
                    self._waiting.remove(message)
                except ValueError:
                    pass  # it waits for others
                error = TaskAborted(f"the call {message.msg_id} was aborted before it was sent")
            else:
                if flight is not None and len(flight.messages) == 1:
                    from haz._core.api import cancel

                    message.retries = 0
                    cancel(flight.ref)
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
                _sender.post(self)
                self._waiting.append(message)
                self._timed += message.deadline is not None

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
            engines: list[EngineHandle] = []
            if self._waiting:
                try:
                    engines = self._engines()
                    self._look_at_others()
                except Exception as stopped:  # the cluster, its node, or haz itself
                    failed += [(message, stopped) for message in self._waiting]
                    self._waiting.clear()
            kept: list[BalancedMessage] = []
            share = -(-len(self._waiting) // max(1, len(engines)))
            while self._waiting:
                message = self._waiting.popleft()
                if message.status is not None:
                    continue
                fits = self._usable(message, engines)
                if isinstance(fits, Exception):
                    failed.append((message, fits))
                    continue
                engine = min(fits, key=self._preference, default=None)
                if engine is None or self._loads.get(engine.id, 0) + self._weight(message) > _ROOM:
                    kept.append(message)
                    if not message.is_particular:
                        self._is_full = True
                        break  # those behind it find no room either
                    continue
                batch = [message]
                if not message.is_particular:
                    self._fill(batch, share)
                try:
                    self._send(batch, engine)
                except Exception as error:
                    if len(batch) == 1:
                        failed.append((message, error))
                    else:  # one of them can't be pickled, or none can be sent
                        for each in batch:
                            each.is_alone = True
                        self._waiting.extendleft(reversed(batch))
            self._waiting.extendleft(reversed(kept))
            self._look_at = len(self._waiting) + _LOOK_EVERY
            if self._timed and self._waiting:
                self._expire_later()
            if self._others and self._waiting:
                self._look_later()
        for message, reason in failed:
            message._fail(reason)

    def _fill(self, batch: list[BalancedMessage], share: int) -> None:
        """Add calls that go along with the first one: short ones, as long as all engines get some."""
        first = batch[0]
        most = 1 if first.is_alone else min(share, _MOST_TOGETHER)
        call, seconds = first.call, self._duration(first)
        left = _SHORT_S - seconds
        waiting = self._waiting
        while len(batch) < most and waiting:
            message = waiting[0]
            if message.is_particular or message.is_alone:
                break
            if message.call is not call:  # calls without arguments of one function share it
                call, seconds = message.call, self._duration(message)
            left -= seconds
            if left < 0:
                break
            waiting.popleft()
            if message.status is None:
                batch.append(message)

    def _usable(
        self, message: BalancedMessage, engines: list[EngineHandle]
    ) -> list[EngineHandle] | Exception:
        """Engines that may run the call, or why none ever can."""
        if not message.is_particular:
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
        self._sent += 1
        self._given[engine.id] = self._sent
        for message in batch:
            message._sent_to(engine)
        if len(batch) == 1:
            method, *arguments = batch[0].call  # type: ignore[misc]
            ref = engine.call(method, batch[0].msg_id, *arguments)
        else:
            ref = engine.call("batch", [(message.msg_id, message.call) for message in batch])
        flight = Flight(batch, engine, ref, self._weight(batch[0]))
        for message in batch:
            message.flight = flight
        self._flights.add(flight)
        self._loads[engine.id] = self._loads.get(engine.id, 0) + flight.weight
        run = runtime.engine
        self._is_sending = True
        try:
            when_ready(ref, lambda: self._land(flight, run))
        finally:
            self._is_sending = False

    def _land(self, flight: Flight, run: Any) -> None:
        """What was sent has come back, in the run of haz that it was sent in; or will never."""
        if run is runtime.engine and (
            self._is_sending or threading.current_thread() is threading.main_thread()
        ):
            # There no interrupt comes; and calls that end at once don't stand on top of each other.
            _sender.post(self)
            return
        with self._lock:
            if flight.has_landed:
                return  # two threads looked
            flight.has_landed = True
            self._flights.discard(flight)
            self._loads[flight.engine.id] -= flight.weight
        replies: list[Reply | None] = [None] * len(flight.messages)
        error: Exception | None = None
        try:
            value = value_of(run, flight.ref)
        except Exception as failure:
            error = failure
        else:
            replies = [value] if len(flight.messages) == 1 else value
            self._note_durations(flight.messages, replies)  # type: ignore[arg-type]
        self._unload(flight, replies, error)

    def _unload(self, flight: Flight, replies: list[Reply | None], error: Exception | None) -> None:
        """End the calls of a flight, or let them wait again."""
        received = time.time()
        for message, reply in zip(flight.messages, replies, strict=True):
            if reply is not None and reply[0] in ("ok", "plain"):
                message._settle(reply, received)
                continue
            failure = self._outcome(message, reply, error)
            if failure is None:
                continue
            message.outcome = failure  # the last word, if no other engine can run it
            message.avoid = (message.avoid or set()) | {flight.engine.id}
            message.is_particular = True
            with self._lock:
                message.flight = None
                self._waiting.append(message)
        self._dispatch()

    def _outcome(
        self, message: BalancedMessage, reply: Reply | None, error: Exception | None
    ) -> Exception | None:
        """End a call that failed; or return the failure after which it is retried."""
        if reply is not None:
            if not self._may_retry(message, reply[0]):
                message._settle(reply, time.time())
                return None
            return RemoteError(**reply[1]) if reply[0] == "error" else _impossible(message)
        assert error is not None
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

    # ---- how long calls take ----------------------------------------------------------------

    def _weight(self, message: BalancedMessage) -> int:
        return 1 if self._duration(message) < _SHORT_S / 2 else _ROOM

    def _duration(self, message: BalancedMessage) -> float:
        """Seconds that the call will take, as calls of its function did; many if none is known."""
        call = message.call
        return 1.0 if call is None else self._durations.get(_function_of(call), 1.0)

    def _note_durations(self, messages: list[BalancedMessage], replies: list[Reply]) -> None:
        first, last = messages[0].call, messages[-1].call
        if first is None or last is None:
            return
        if first[1] is last[1] or (type(first[1]) is tuple and first[1] == last[1]):
            self._note_duration(first, replies[-1][3] - replies[0][2], len(replies))
            return
        for message, reply in zip(messages, replies, strict=True):
            if message.call is not None:
                self._note_duration(message.call, reply[3] - reply[2], 1)

    def _note_duration(self, call: tuple[Any, ...], seconds: float, calls: int) -> None:
        function = _function_of(call)
        if function is None:
            return
        known = self._durations.get(function)
        each = min(max(seconds, 0.0) / calls, 1.0)
        if known is not None:
            each = known + min(0.1 * calls, 0.5) * (each - known)
        elif len(self._durations) >= _MOST_FUNCTIONS:
            self._durations.clear()
        self._durations[function] = each

    def _look_later(self) -> None:
        """Look again soon: nobody tells of the ends of others' calls."""
        if self._later is None:
            self._later = threading.Timer(_LOOK_AGAIN_S, self._look_again)
            self._later.daemon = True
            self._later.start()

    def _look_again(self) -> None:
        with self._lock:
            self._later = None
            if self._waiting and not self._is_due and runtime.engine is not None:
                self._is_due = True
                _sender.post(self)

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


def _function_of(call: tuple[Any, ...]) -> Any:
    """What tells the function of a call from others; None where nothing does."""
    function = call[1]
    kind = type(function)
    if kind in (FunctionType, BuiltinFunctionType, bytes, tuple):
        return function
    return ref(function) if kind is Canned else None


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
