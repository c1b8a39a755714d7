"""All exceptions of haz. Ray's names are aliases of these.

What can be done about an error decides its type: the user's function failed (`TaskError`), the
worker died (`WorkerCrashedError`), it took too long (`GetTimeoutError`, `TaskTimeoutError`), it was
cancelled, there is no room, the object is gone. All can be pickled.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class HazError(Exception):
    """Base of all exceptions of haz."""


class HazSystemError(HazError):
    """Not a task's function failed, but what is done around it."""


# ---- tasks -----------------------------------------------------------------------------------


class TaskError(HazError):
    """A task raised an exception.

    ``haz.get`` raises an instance of a class that derives from this one and from the type of the
    user's own exception, so that ``except ValueError`` works; attributes of the user's exception
    can be read from it. ``str()`` shows the traceback in the task.

    Attributes
    ----------
    cause : BaseException or None
        The user's exception, also as ``__cause__``. None if it could not be pickled.
    task_name : str
        Name of the task that raised.
    function_name : str
        Qualified name of its function.
    type_name : str
        Name of the exception's type, with its module; of a function of C++, as C++ calls it.
    pid : int
        Process that ran it.
    traceback_str : str
        The remote traceback, ending with the exception.
    through : tuple of str
        Names of the tasks that did not run since this one failed, the nearest first.
    """

    # Set by haz._core.errors, which makes the instances.
    cause: BaseException | None = None
    task_name: str = ""
    function_name: str = ""
    type_name: str = ""
    pid: int = 0
    traceback_str: str = ""
    through: tuple[str, ...] = ()
    _info: dict[str, Any] | None = None

    def __str__(self) -> str:
        info = self._info
        if info is None:
            return Exception.__str__(self)
        from haz._core.errors import describe_task_error

        return describe_task_error(info)

    def __repr__(self) -> str:
        if self._info is None:
            return Exception.__repr__(self)
        shown = self._info["type_name"] if self.cause is None else _safe_repr(self.cause)
        return f"TaskError({shown})"

    def __reduce__(self) -> str | tuple[Any, ...]:
        if self._info is None:
            return super().__reduce__()
        from haz._core.errors import unpack_error

        return unpack_error, (self._info,)

    def as_instanceof_cause(self) -> TaskError:
        """Return the error itself: it is an instance of the user's type already."""
        return self


class TaskCancelledError(HazError):
    """The task was cancelled.

    Attributes
    ----------
    task_name : str
        Name of the task.
    task_id : str or None
        Its id in hexadecimal.
    """

    task_name: str = ""
    task_id: str | None = None

    def __init__(
        self, message: str = "", *, task_name: str = "", task_id: str | None = None
    ) -> None:
        super().__init__(message or f"task {task_name or task_id or ''} was cancelled")
        self.task_name = task_name
        self.task_id = task_id


class TaskTimeoutError(HazError, TimeoutError):
    """The task ran longer than its ``timeout_s``."""

    def __init__(
        self, message: str = "", *, task_name: str = "", timeout_s: float | None = None
    ) -> None:
        if not message:
            limit = "" if timeout_s is None else f" of {timeout_s:g} s"
            message = f"task {task_name} ran longer than its timeout{limit}"
        super().__init__(message)
        self.task_name = task_name
        self.timeout_s = timeout_s


class WorkerCrashedError(HazError):
    """The worker process died while it ran the task.

    Attributes
    ----------
    task_name : str
        Name of the task.
    pid : int
        The process that died.
    signal : int or None
        The signal that killed it.
    exit_code : int or None
        The exit code, if it ended without a signal.
    stderr : str
        The last lines that it wrote to its stderr.
    attempts : int
        How many times the task was tried.
    why_killed : str
        Where haz itself killed the process: why.
    """

    def __init__(
        self,
        message: str = "",
        *,
        task_name: str = "",
        pid: int = 0,
        signal: int | None = None,
        exit_code: int | None = None,
        stderr: str = "",
        attempts: int = 1,
        why_killed: str = "",
    ) -> None:
        signal = signal or None
        death = _death(pid, signal, exit_code, why_killed)
        super().__init__(message or _crash_message(task_name, death, attempts, stderr))
        self.task_name = task_name
        self.pid = pid
        self.signal = signal
        self.exit_code = exit_code
        self.stderr = stderr
        self.attempts = attempts
        self.why_killed = why_killed


class InfeasibleResourcesError(HazError, ValueError):
    """The node can never satisfy the resources that a task or actor asks for."""


class SerializationError(HazError, TypeError):
    """A function, an argument or a result can't be pickled; the message names the part.

    It is also an instance of the type that pickling has raised, which is its ``__cause__``.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        from haz._core.derived_errors import reduce_error

        return reduce_error(self, SerializationError)


class DeserializationError(HazSystemError):
    """A value can't be unpickled in the process that needs it: in ``get``, or for a task.

    It is also an instance of the type that unpickling has raised, so that ``except ImportError``
    works; what was raised is its ``__cause__``.

    Attributes
    ----------
    object_id : str or None
        The value's ref in hexadecimal; None of an argument that was given as it is.
    task_name : str
        Of the task whose argument it is, or whose result; empty if there is none.
    """

    def __init__(
        self, message: str = "", *, object_id: str | None = None, task_name: str = ""
    ) -> None:
        super().__init__(message)
        self.object_id = object_id
        self.task_name = task_name

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""

    def __reduce__(self) -> tuple[Any, ...]:
        from haz._core.derived_errors import reduce_error

        return reduce_error(self, DeserializationError)


class RuntimeEnvSetupError(HazError):
    """The runtime environment of a task could not be set up."""


class PendingCallsLimitExceededError(HazError):
    """More calls wait than the limit allows."""


# ---- waiting and objects ---------------------------------------------------------------------


class GetTimeoutError(HazError, TimeoutError):
    """``haz.get`` took longer than its ``timeout``."""


class ObjectStoreFullError(HazError):
    """The object store has no room for the object, and none will come."""


class OutOfDiskError(HazError):
    """The disk has no room for objects that should be moved there."""


class OutOfMemoryError(HazError):
    """A worker was stopped since memory ran short."""


class ObjectLostError(HazError):
    """The object is gone: its process died, or its run of haz has ended."""


class ObjectFreedError(ObjectLostError):
    """The object was dropped by ``haz.free``."""


class OwnerDiedError(ObjectLostError):
    """The process that made the object died before the object was safe."""


class ObjectReconstructionFailedError(ObjectLostError):
    """The object was lost and could not be made again."""


# ---- node and actors -------------------------------------------------------------------------


class NodeDiedError(HazError):
    """The node ended."""


class InternalError(HazSystemError):
    """A bug of haz."""


class ActorError(HazError):
    """An actor can't run a call.

    Attributes
    ----------
    actor_id : str or None
        Id of the actor.
    class_name : str
        Name of its class.
    actor_name : str
        Its own name; empty if it has none.
    task_name : str
        Name of the call.
    """

    def __init__(
        self,
        message: str = "the actor died",
        *,
        actor_id: str | None = None,
        class_name: str = "",
        actor_name: str = "",
        task_name: str = "",
    ) -> None:
        super().__init__(message)
        self.actor_id = actor_id
        self.class_name = class_name
        self.actor_name = actor_name
        self.task_name = task_name

    @property
    def actor_init_failed(self) -> bool:
        """Whether the actor died since its constructor raised."""
        return getattr(self, "reason", "") == "constructor"

    @property
    def preempted(self) -> bool:
        """False: nobody takes a node away from the actors on it."""
        return False


class ActorDiedError(ActorError):
    """The actor died and will not be started again; or its call was lost when it was.

    Attributes
    ----------
    reason : str
        "constructor" (``__cause__`` is what it raised), "exited" (``exit_actor``), "killed"
        (``haz.kill``), "signal", "exit_code", "out_of_scope", "never_placed",
        "group_removed" (its placement group), "node", "driver" (whose it was), or empty.
    pid : int
        The process that died.
    signal : int or None
        The signal that killed it.
    exit_code : int or None
        The exit code, if it ended without a signal.
    stderr : str
        The last lines that it wrote to its stderr.
    restarts : int
        How often the actor was started again before.
    why_killed : str
        Where haz itself killed its process: why, for example which call overran its ``timeout_s``.
    """

    def __init__(
        self,
        message: str = "",
        *,
        actor_id: str | None = None,
        class_name: str = "",
        actor_name: str = "",
        task_name: str = "",
        reason: str = "",
        pid: int = 0,
        signal: int | None = None,
        exit_code: int | None = None,
        stderr: str = "",
        restarts: int = 0,
        why_killed: str = "",
    ) -> None:
        signal = signal or None
        if not message:
            from haz._core.errors import describe_actor_death

            told = {
                "actor_id": actor_id,
                "class_name": class_name,
                "actor_name": actor_name,
                "task_name": task_name,
                "reason": reason,
                "restarts": restarts,
            }
            death = "it will not be started again"
            if signal is not None or exit_code is not None:
                death = _death(pid, signal, exit_code, why_killed)
            message = describe_actor_death(told, death) + _last_lines(stderr)
        super().__init__(
            message,
            actor_id=actor_id,
            class_name=class_name,
            actor_name=actor_name,
            task_name=task_name,
        )
        self.reason = reason
        self.pid = pid
        self.signal = signal
        self.exit_code = exit_code
        self.stderr = stderr
        self.restarts = restarts
        self.why_killed = why_killed


class ActorSetupError(ActorDiedError, RuntimeEnvSetupError):
    """The actor died since its runtime environment could not be set up."""


class ActorUnavailableError(ActorError):
    """The actor can't be reached now; a later call may succeed.

    Attributes
    ----------
    pid : int
        The process that died while it ran the call; 0 where none did.
    signal : int or None
        The signal that killed it.
    exit_code : int or None
        The exit code, if it ended without a signal.
    stderr : str
        The last lines that it wrote to its stderr.
    """

    def __init__(
        self,
        message: str = "",
        *,
        actor_id: str | None = None,
        class_name: str = "",
        actor_name: str = "",
        task_name: str = "",
        pid: int = 0,
        signal: int | None = None,
        exit_code: int | None = None,
        stderr: str = "",
        why_killed: str = "",
    ) -> None:
        signal = signal or None
        if not message and pid:
            shown = f"{class_name or actor_id or ''}{f' {actor_name!r}' if actor_name else ''}"
            message = (
                f"the call {task_name or '?'} has no result: "
                f"{_death(pid, signal, exit_code, why_killed)}; actor {shown} is being started "
                f"again, and a later call may succeed" + _last_lines(stderr)
            )
        message = message or "the actor can't be reached now, a later call may succeed"
        super().__init__(
            message,
            actor_id=actor_id,
            class_name=class_name,
            actor_name=actor_name,
            task_name=task_name,
        )
        self.pid = pid
        self.signal = signal
        self.exit_code = exit_code
        self.stderr = stderr
        self.why_killed = why_killed


class ActorAlreadyExistsError(HazError, ValueError):
    """There is an actor of that name already."""


class PlacementGroupRemovedError(HazError):
    """The placement group was removed, and its tasks with it.

    Attributes
    ----------
    task_name : str
        Name of the task; empty where the group itself was waited for.
    """

    def __init__(self, message: str = "", *, task_name: str = "") -> None:
        who = f"task {task_name} has no result: its" if task_name else "the"
        super().__init__(message or f"{who} placement group was removed")
        self.task_name = task_name


class ActorHandleNotFoundError(HazError, ValueError):
    """The handle of an actor is of another run of haz."""


# ---- Ray's names -----------------------------------------------------------------------------

RayError = HazError
RayTaskError = TaskError
RayActorError = ActorError
RaySystemError = HazSystemError
# What haz never raises is here for programs that name it in an except clause.
ActorPlacementGroupRemoved = ActorDiedError
ActorUnschedulableError = InfeasibleResourcesError
AsyncioActorExit = ActorDiedError
AuthenticationError = InternalError
CrossLanguageError = InternalError
LocalRayletDiedError = NodeDiedError
ObjectFetchTimedOutError = ObjectLostError
ObjectReconstructionFailedLineageEvictedError = ObjectReconstructionFailedError
ObjectReconstructionFailedMaxAttemptsExceededError = ObjectReconstructionFailedError
ObjectRefStreamEndOfStreamError = InternalError
OufOfBandObjectRefSerializationException = SerializationError
PlasmaObjectNotAvailable = ObjectLostError
RayCgraphCapacityExceeded = InternalError
RayChannelError = InternalError
RayChannelTimeoutError = InternalError
RayDirectTransportError = InternalError
RpcError = InternalError
StreamingGeneratorReplayInconsistentError = InternalError
PendingCallsLimitExceeded = PendingCallsLimitExceededError
ReferenceCountingAssertionError = ObjectLostError
TaskPlacementGroupRemoved = PlacementGroupRemovedError
TaskUnschedulableError = InfeasibleResourcesError
UnserializableException = SerializationError
UserCodeException = TaskError


def _safe_repr(value: object) -> str:
    try:
        return repr(value)
    except Exception:
        return f"<{type(value).__name__}>"


def _signal_name(number: int) -> str:
    import signal

    try:
        return f"{signal.Signals(number).name} (signal {number})"
    except ValueError:
        return f"signal {number}"


def _death(pid: int, signal: int | None, exit_code: int | None, why_killed: str = "") -> str:
    """How a worker died, in words."""
    process = f"process {pid}" if pid else "its process"
    if why_killed:
        return f"haz killed {process}: {why_killed}"
    if signal is None:
        return f"{process} ended with exit code {exit_code}"
    hint = ""
    if signal == 9:
        hint = ", as the kernel does when memory runs out"
    return f"{process} was killed by {_signal_name(signal)}{hint}"


def _crash_message(task_name: str, death: str, attempts: int, stderr: str) -> str:
    text = f"the worker of task {task_name or '?'} died: {death}"
    if attempts > 1:
        text += f"; this was attempt {attempts}, the last"
    return text + _last_lines(stderr)


def _last_lines(stderr: str) -> str:
    lines = stderr.strip("\n").split("\n")
    return "\nThe last lines of its stderr:\n  " + "\n  ".join(lines) if any(lines) else ""
