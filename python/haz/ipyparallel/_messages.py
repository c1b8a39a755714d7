"""One call to one engine: where it stands, its outcome, and what is known of it."""

from __future__ import annotations

import sys
import threading
import time
from datetime import datetime, timezone

from haz._core.api import get, wait
from haz.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    GetTimeoutError,
    HazError,
    NodeDiedError,
    SerializationError,
    TaskCancelledError,
    TaskError,
)
from haz.ipyparallel._canning import uncan
from haz.ipyparallel.error import RemoteError, TaskAborted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from haz._core.refs import ObjectRef
    from haz.ipyparallel._balancer import Flight
    from haz.ipyparallel._engine import Reply
    from haz.ipyparallel.cluster import EngineHandle
    from haz.ipyparallel.dependency import Dependency

__all__ = [
    "LOST",
    "BalancedMessage",
    "DirectMessage",
    "EndedMessage",
    "ExecuteReply",
    "Facts",
    "Message",
    "Metadata",
    "unreachable",
]


#: What haz calls the value of a `Reply`.
_OF_A_REPLY = "item 1 of a tuple"
#: Text that comes in parts is joined to pieces of about as many characters.
_PIECE = 1 << 16
#: Stands for a value that is not kept.
LOST: Any = object()
#: A value of about as many bytes is kept as long as what else is known of its call, and a list or
#: dict that takes as much has at most so many items.
_KEPT_BYTES = 4096
_KEPT_ITEMS = 64


def _utc(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)


class Metadata(dict):  # type: ignore[type-arg]
    """What is known of one call; its keys are attributes, too.

    submitted, started, completed, received are times (datetime, UTC), None before; status is "ok",
    "error", "aborted" or None; stdout and stderr are texts; outputs what was displayed; data what
    was published.
    """

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self:
            raise AttributeError(name)
        self[name] = value


class Facts:
    """What is known of one call, as it comes. Times are seconds since 1970.

    Kept apart from `Metadata`, which is made of it when somebody asks: most never do. What has not
    come is as the class says, so that one of many calls costs little.
    """

    label: Any = None
    started: float | None = None
    completed: float | None = None
    received: float | None = None
    engine_id: int | None = None
    engine_uuid: str | None = None
    status: str | None = None
    error: Exception | None = None
    #: The value, where it is small enough to be kept, else `LOST`.
    value: Any = None
    output: dict[str, Any] | None = None
    #: What came of its output before its reply.
    heard: list[tuple[str, Any]] | None = None
    execute_result: Any = None
    after: list[str] | None = None
    follow: list[str] | None = None
    #: What is needed to make the call again: (method, function, args, kwargs).
    call: tuple[Any, ...] | None = None
    _metadata: Metadata | None = None

    def __init__(self, msg_id: str, label: Any) -> None:
        self.msg_id = msg_id
        self.submitted = time.time()
        if label is not None:
            self.label = label

    def metadata(self) -> Metadata:
        """All of it; the same object each time, as things stand now."""
        metadata = self._metadata
        if metadata is None:
            metadata = self._metadata = Metadata()
        output = self.output or _joined(self.heard or ())
        metadata.update(
            msg_id=self.msg_id,
            submitted=_utc(self.submitted),
            started=_utc(self.started),
            completed=_utc(self.completed),
            received=_utc(self.received),
            engine_uuid=self.engine_uuid,
            engine_id=self.engine_id,
            follow=self.follow,
            after=self.after,
            status=self.status,
            execute_input=None,
            execute_result=self.execute_result,
            error=self.error,
            stdout=output.get("stdout", ""),
            stderr=output.get("stderr", ""),
            outputs=output.get("outputs", []),
            data=output.get("data", {}),
            outputs_ready=self.received is not None,
            label=self.label,
        )
        return metadata


def _left(value: Any, left: int) -> int:
    """How many of the bytes `left` are left beside `value`; less than 0 where it does not fit."""
    kind = type(value)
    if kind in (int, float, str, bytes, bool, complex, type(None)):
        return left - sys.getsizeof(value)
    if kind is ExecuteReply:
        return left  # what it shows is known of the call anyway
    if kind in (list, tuple, dict):
        if len(value) > _KEPT_ITEMS:
            return -1
        for item in value:
            left = _left(item, left)
            if left >= 0 and kind is dict:
                left = _left(value[item], left)
            if left < 0:
                break
        return left
    size = getattr(value, "nbytes", None)
    return left - size if type(size) is int else -1


def _kept(value: Any) -> Any:
    return value if _left(value, _KEPT_BYTES) >= 0 else LOST


def _joined(parts: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Parts of output as a reply has them: {stdout, stderr, outputs, data}."""
    texts: dict[str, list[str]] = {"stdout": [], "stderr": []}
    outputs: list[Any] = []
    data: dict[str, Any] = {}
    for kind, what in list(parts):
        if kind in texts:
            texts[kind].append(what)
        elif kind == "display":
            outputs.append(what)
        elif kind == "clear":
            outputs.clear()
        else:
            data.update(what)
    joined = {kind: "".join(pieces) for kind, pieces in texts.items()}
    return {**joined, "outputs": outputs, "data": data}


class ExecuteReply:
    """What running code on one engine gave: its last value, in all its formats, and its output."""

    def __init__(self, msg_id: str, count: int, result: Any, facts: Facts) -> None:
        self.msg_id = msg_id
        self.execution_count = count
        self.execute_result = result
        self._facts = facts

    @property
    def metadata(self) -> Metadata:
        """What is known of the call."""
        return self._facts.metadata()

    def __getitem__(self, key: str) -> Any:
        return self.metadata[key]

    def __getattr__(self, key: str) -> Any:
        if key.startswith("_") or key not in self.metadata:
            raise AttributeError(key)
        return self.metadata[key]

    @property
    def text(self) -> str:
        """The value as text."""
        return "" if self.execute_result is None else str(self._format("text/plain"))

    def __repr__(self) -> str:
        text = self.text
        if len(text) > 32:
            text = text[:29] + "..."
        return f"<ExecuteReply[{self.execution_count}]: {text}>"

    def _format(self, kind: str) -> Any:
        if self.execute_result is None:
            return None
        return self.execute_result["data"].get(kind)

    def _with_metadata(self, kind: str) -> Any:
        data = self._format(kind)
        if data is None:
            return None
        about = self.execute_result["metadata"].get(kind)
        return (data, about) if about else data

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        engine = self.metadata["engine_id"]
        printer.text(f"Out[{engine}:{self.execution_count}]: {self.text}" if self.text else "")

    def _repr_html_(self) -> Any:
        return self._with_metadata("text/html")

    def _repr_latex_(self) -> Any:
        return self._with_metadata("text/latex")

    def _repr_json_(self) -> Any:
        return self._with_metadata("application/json")

    def _repr_javascript_(self) -> Any:
        return self._with_metadata("application/javascript")

    def _repr_png_(self) -> Any:
        return self._with_metadata("image/png")

    def _repr_jpeg_(self) -> Any:
        return self._with_metadata("image/jpeg")

    def _repr_svg_(self) -> Any:
        return self._with_metadata("image/svg+xml")


def _about(engine: EngineHandle, method: str) -> dict[str, Any]:
    """What an error tells of the engine that it is from."""
    return {"engine_id": engine.id, "engine_uuid": engine.uuid, "method": method}


def unreachable(engine: EngineHandle, message: Message, reason: str) -> RemoteError:
    """The error of a call whose engine is gone."""
    return RemoteError(
        "EngineError",
        f"Engine {engine.id} died while it ran or was to run call {message.msg_id}: {reason}",
        None,
        _about(engine, message.method),
    )


def _failed_call(error: Exception, message: Message) -> Exception:
    """What a client sees for an error of haz itself."""
    engine = message.engine
    assert engine is not None
    if isinstance(error, NodeDiedError):
        return unreachable(engine, message, "the node of the cluster's engines has ended")
    if isinstance(error, (ActorDiedError, ActorUnavailableError)):
        engine.died(str(error))
        told = engine.reason if engine.was_ended and engine.reason else str(error)
        return unreachable(engine, message, told.splitlines()[0])
    if isinstance(error, TaskCancelledError):
        return TaskAborted(
            f"the call {message.msg_id} was aborted before engine {engine.id} began it"
        )
    if isinstance(error, TaskError):
        cause = error.__cause__ if error.__cause__ is not None else error
        text = str(cause)
        if isinstance(cause, SerializationError):
            text = text.replace(f"{_OF_A_REPLY},", "the result:", 1)
            text = text.replace(_OF_A_REPLY, "the result", 1)
        return RemoteError(type(cause).__name__, text, str(error), _about(engine, message.method))
    return error


class Message:
    """A call, from when it was made. Thread-safe."""

    engine: EngineHandle | None = None
    has_execute = False
    #: Its value, or the exception to be raised; to be read where `status` is not None.
    outcome: Any = None
    status: str | None = None
    #: What the engine is to do.
    method = "apply"
    _hearers: tuple[Callable[[], None], ...] = ()

    def __init__(self, msg_id: str, label: Any) -> None:
        self.msg_id = msg_id
        self.facts = Facts(msg_id, label)

    @property
    def metadata(self) -> Metadata:
        """What is known of it, as things stand now."""
        return self.facts.metadata()

    def ready(self) -> bool:
        """Whether it has ended."""
        raise NotImplementedError

    def wait(self, timeout: float | None) -> bool:
        """Wait for its end, `timeout` seconds at most; return whether it has ended."""
        raise NotImplementedError

    def watch(self, callback: Callable[[], None]) -> None:
        """Call `callback` at its end, in some thread; at once where it has ended."""
        raise NotImplementedError

    def abort(self) -> None:
        """Let it end before an engine begins it, where that is still possible."""
        raise NotImplementedError

    def hear(self, uuid: str, part: tuple[str, Any]) -> None:
        """Take a part of its output from an engine, before its reply."""
        facts = self.facts
        if facts.started is not None or facts.engine_uuid != uuid:
            return  # its reply has all, or it is of an earlier try
        if facts.heard is None:
            facts.heard = []
        kind, what = part
        last = facts.heard[-1] if facts.heard else ("", "")
        if kind == last[0] and isinstance(what, str) and len(last[1]) < _PIECE:
            facts.heard[-1] = (kind, last[1] + what)
        else:
            facts.heard.append(part)
        for call in self._hearers:
            call()

    def when_heard(self, callback: Callable[[], None]) -> None:
        """Call `callback`, in some thread, when there is more output before its reply."""
        self._hearers = (*self._hearers, callback)

    def unhear(self, callback: Callable[[], None]) -> None:
        """Call it no more."""
        self._hearers = tuple(each for each in self._hearers if each != callback)

    def _settle(self, reply: Reply, received: float) -> None:
        facts = self.facts
        facts.received = received
        status, outcome, facts.started, facts.completed, output = reply
        if output is not None:
            facts.output = output
        if facts.heard is not None:
            facts.heard = None
        if status == "plain":
            status = "ok"
        elif outcome is not None or status != "ok":
            status, outcome = self._understood(status, outcome)
        self._end(status, outcome)

    def _understood(self, status: str, value: Any) -> tuple[str, Any]:
        """What a reply of an engine means: "ok" and a value, or "error" and the exception."""
        if status == "ok":
            try:
                return "ok", self._executed(uncan(value)) if self.has_execute else uncan(value)
            except Exception as error:
                text = str(error)
                return "error", RemoteError(type(error).__name__, text, None, self._about())
        if status == "unmet":
            text = value or "the engine lacks what the call depends on"
            return "error", RemoteError("UnmetDependency", text, None, self._about())
        if status == "aborted":
            engine = "" if self.engine is None else f" of engine {self.engine.id}"
            text = f"the code {self.msg_id}{engine} was not run, since code before it has failed"
            return "aborted", TaskAborted(text)
        return "error", RemoteError(**value)

    def _executed(self, value: dict[str, Any]) -> ExecuteReply:
        result = self.facts.execute_result = value["result"]
        return ExecuteReply(self.msg_id, value["execution_count"], result, self.facts)

    def _about(self) -> dict[str, Any]:
        return {} if self.engine is None else _about(self.engine, self.method)

    def _fail(self, error: Exception) -> None:
        self.facts.received = self.facts.completed = time.time()
        self._end("aborted" if isinstance(error, TaskAborted) else "error", error)

    def _end(self, status: str, outcome: Any) -> None:
        self.outcome = outcome
        facts = self.facts
        facts.status = status
        if status != "ok":
            facts.error = outcome
        elif outcome is not None:
            facts.value = _kept(outcome)
        self.status = status

    def _sent_to(self, engine: EngineHandle) -> None:
        self.engine = engine
        self.facts.engine_id = engine.id
        self.facts.engine_uuid = engine.uuid
        if self.facts.heard is not None:
            self.facts.heard = None


class EndedMessage(Message):
    """A call that has ended, of which nobody holds the result: made of what is known of it."""

    def __init__(self, facts: Facts) -> None:
        self.msg_id = facts.msg_id
        self.facts = facts
        self.status = facts.status
        self.outcome = facts.value if facts.status == "ok" else facts.error

    def ready(self) -> bool:
        return True

    def wait(self, timeout: float | None) -> bool:
        return True

    def watch(self, callback: Callable[[], None]) -> None:
        callback()

    def abort(self) -> None:
        pass


class DirectMessage(Message):
    """A call of one engine; `ref` is its reply, from when it was sent until that came."""

    ref: ObjectRef[Reply] | None = None

    def __init__(self, msg_id: str, label: Any, engine: EngineHandle) -> None:
        self.msg_id = msg_id
        facts = self.facts = Facts(msg_id, label)
        self._lock = threading.Lock()
        self.engine = engine
        facts.engine_id = engine.id
        facts.engine_uuid = engine.uuid

    def ready(self) -> bool:
        return self.status is not None or self.wait(0)

    def wait(self, timeout: float | None) -> bool:
        ref = self.ref
        if self.status is not None or ref is None:
            return True
        try:
            reply = get(ref, timeout=timeout)
        except GetTimeoutError:
            return False
        except HazError as error:
            with self._lock:
                if self.status is None:
                    self._fail(_failed_call(error, self))
        else:
            with self._lock:
                if self.status is None:
                    self._settle(reply, time.time())
        self.ref = None
        return True

    def watch(self, callback: Callable[[], None]) -> None:
        ref = self.ref
        if self.status is not None or ref is None:
            callback()
            return

        def done(_future: object) -> None:
            self.wait(None)
            callback()

        ref.future().add_done_callback(done)

    def abort(self) -> None:
        ref = self.ref
        if ref is not None:
            from haz._core.api import cancel

            cancel(ref)

    def _end(self, status: str, outcome: Any) -> None:
        super()._end(status, outcome)
        assert self.engine is not None
        self.engine.forget(self)


class BalancedMessage(Message):
    """A call whose engine is chosen when one is free; see `Balancer`."""

    #: (method, function, args, kwargs); None once it has ended.
    call: tuple[Any, ...] | None
    #: What has been sent and has not come back, with this call in it.
    flight: Flight | None = None
    retries = 0
    #: Whether it must be sent without others, as they may fail together.
    is_alone = False
    targets: frozenset[int] | None = None
    after: Dependency | None = None
    follow: Dependency | None = None
    avoid: set[int] | None = None
    #: Whether not every engine may run it, by one of these.
    is_particular = False
    deadline: float | None = None
    _callbacks: list[Callable[[], None]] | None = None

    def __init__(self, msg_id: str, label: Any, call: tuple[Any, ...]) -> None:
        self.msg_id = msg_id
        facts = self.facts = Facts(msg_id, label)
        self.call = facts.call = call

    def ready(self) -> bool:
        return self.status is not None

    def wait(self, timeout: float | None) -> bool:
        if self.status is not None:
            return True
        # A lock, since an interrupt can break an Event, whose set() would then raise elsewhere.
        end = threading.Lock()
        end.acquire()
        self.watch(end.release)
        seconds = -1 if timeout is None else min(max(timeout, 0), threading.TIMEOUT_MAX)
        if end.acquire(timeout=seconds):
            return True
        self._take_back(end.release)
        return self.status is not None

    def watch(self, callback: Callable[[], None]) -> None:
        if self.status is None:
            # First the callback and then a look at the status, which `_end` does the other way
            # round: whoever takes it out of the list calls it.
            self.__dict__.setdefault("_callbacks", []).append(callback)
            if not self.ready() or not self._take_back(callback):
                return
        callback()

    def _take_back(self, callback: Callable[[], None]) -> bool:
        """Take a callback out; False where it is called at the end, or was."""
        try:
            self.__dict__["_callbacks"].remove(callback)
        except ValueError:
            return False
        return True

    def _end(self, status: str, outcome: Any) -> None:
        super()._end(status, outcome)
        self.call = self.flight = None
        if self._callbacks is not None:
            self._call_back(self._callbacks)

    @staticmethod
    def _call_back(callbacks: list[Callable[[], None]]) -> None:
        while True:
            try:
                callback = callbacks.pop(0)
            except IndexError:
                return  # it was the last, or the one who gave it has taken it back
            try:
                callback()
            except Exception:
                sys.excepthook(*sys.exc_info())  # other calls end all the same


def wait_for_all(messages: list[Message], timeout: float | None, one_by_one: bool = False) -> bool:
    """Wait for the end of all, `timeout` seconds at most; return whether they have ended.

    Parameters
    ----------
    one_by_one
        Take each reply while others still run, which is worth waking up for where replies are
        long.
    """
    if len(messages) == 1:
        return messages[0].wait(timeout)
    deadline = None if timeout is None else time.monotonic() + timeout
    refs = (
        []
        if one_by_one
        else [
            message.ref
            for message in messages
            if isinstance(message, DirectMessage) and message.ref is not None
        ]
    )
    if len(refs) > 1:
        try:
            wait(refs, num_returns=len(refs), timeout=timeout)
        except NodeDiedError:
            pass  # each of them tells of it
    for message in messages:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not message.wait(left):
            return False
    return True
