"""The protocol between the public API and an engine.

An engine runs tasks and holds objects. The public API (``haz.remote``, ``haz.get`` ...) validates
its arguments, keeps the default engine, and calls nothing but this protocol; faces stand on the
public API only. One contract test suite (``tests/contract``) runs on every engine.

The module of an engine has a function ``create_engine(options: InitOptions) -> Engine``.

Nothing here imports ``typing`` or ``dataclasses`` at run time: this file is loaded at the start of
every program and every worker.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Protocol

    from haz._core.refs import ObjectRef
else:
    Protocol = object

__all__ = ["Descriptor", "Engine", "InitOptions", "TaskOptions"]


class Record:
    """Base of plain immutable-by-convention records: equality and repr by their slots."""

    __slots__: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, n) == getattr(other, n) for n in self.__slots__)

    def __hash__(self) -> int:
        return hash(tuple(repr(getattr(self, n)) for n in self.__slots__))

    def __repr__(self) -> str:
        fields = ", ".join(f"{n}={getattr(self, n)!r}" for n in self.__slots__)
        return f"{type(self).__name__}({fields})"


class InitOptions(Record):
    """What ``haz.init`` was asked for, validated.

    Attributes
    ----------
    num_cpus
        Number of CPU slots of the node; None: what the machine or its cgroup gives.
    num_gpus
        Number of GPUs; None: as found.
    resources
        Custom resources, name to amount.
    object_store_memory
        Limit of the object store in bytes; None: derived from the machine or its cgroup.
    namespace
        Namespace of named actors; None: a random one.
    log_to_driver
        Whether output of tasks is shown by the driver.
    logging_level
        Level of haz's own logger.
    preload
        Modules that the zygote imports before workers are forked; None: decide by itself.
    env_vars
        Environment variables for the workers (``runtime_env={"env_vars": ...}``).
    labels
        Labels of the node, shown by ``haz.nodes()``.
    """

    __slots__ = (
        "env_vars",
        "labels",
        "log_to_driver",
        "logging_level",
        "namespace",
        "num_cpus",
        "num_gpus",
        "object_store_memory",
        "preload",
        "resources",
    )

    def __init__(
        self,
        *,
        num_cpus: int | None = None,
        num_gpus: int | None = None,
        resources: dict[str, float] | None = None,
        object_store_memory: int | None = None,
        namespace: str | None = None,
        log_to_driver: bool = True,
        logging_level: int = 20,
        preload: tuple[str, ...] | None = None,
        env_vars: dict[str, str] | None = None,
        labels: dict[str, str] | None = None,
    ) -> None:
        self.num_cpus = num_cpus
        self.num_gpus = num_gpus
        self.resources: dict[str, float] = {} if resources is None else resources
        self.object_store_memory = object_store_memory
        self.namespace = namespace
        self.log_to_driver = log_to_driver
        self.logging_level = logging_level
        self.preload = preload
        self.env_vars: dict[str, str] = {} if env_vars is None else env_vars
        self.labels: dict[str, str] = {} if labels is None else labels


class TaskOptions(Record):
    """Options of one remote function, validated and merged (decorator, then ``.options``).

    Attributes
    ----------
    num_cpus
        CPU slots that the task takes while it runs; may be fractional or 0. Default 1.
    num_gpus
        GPUs that the task takes. Default 0.
    resources
        Custom resources that the task takes.
    num_returns
        Number of objects that a call returns; 0 gives None, 1 a ref, n a list of n refs.
    name
        Name shown in logs, errors and state; None: the function's qualified name.
    max_retries
        How often a task is started again after its worker died; -1: without end. Default 3.
    retry_exceptions
        False: exceptions of the function are final; True: any is retried; a tuple of exception
        types: those are. Such a retry counts against `max_retries` too.
    timeout_s
        Seconds that one attempt may run before it is interrupted; None: no limit.
    max_calls
        Number of calls of the function after which its worker process is replaced; 0: never.
    env_vars
        Environment variables that are set while the task runs.
    """

    __slots__ = (
        "env_vars",
        "max_calls",
        "max_retries",
        "name",
        "num_cpus",
        "num_gpus",
        "num_returns",
        "resources",
        "retry_exceptions",
        "timeout_s",
    )

    def __init__(
        self,
        *,
        num_cpus: float = 1.0,
        num_gpus: float = 0.0,
        resources: dict[str, float] | None = None,
        num_returns: int = 1,
        name: str | None = None,
        max_retries: int = 3,
        retry_exceptions: bool | tuple[type[BaseException], ...] = False,
        timeout_s: float | None = None,
        max_calls: int = 0,
        env_vars: dict[str, str] | None = None,
    ) -> None:
        self.num_cpus = num_cpus
        self.num_gpus = num_gpus
        self.resources: dict[str, float] = {} if resources is None else resources
        self.num_returns = num_returns
        self.name = name
        self.max_retries = max_retries
        self.retry_exceptions = retry_exceptions
        self.timeout_s = timeout_s
        self.max_calls = max_calls
        self.env_vars: dict[str, str] = {} if env_vars is None else env_vars


class Descriptor(Protocol):
    """Identity of a remote function; all its ``.options`` variants share one.

    Attributes
    ----------
    uid
        16 random bytes. Kept when the remote function is pickled, so that a worker that gets it
        by many ways registers it once; a redefinition has a new one.
    name
        The qualified name of the function: the default name of its tasks.
    min_args, max_args
        Number of positional arguments that the function accepts where no keyword is given;
        `max_args` is -1 for ``*args`` and where it is not known.
    """

    uid: bytes
    name: str
    min_args: int
    max_args: int

    def check_call(self, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        """Raise TypeError if the function can't be called so."""


class Engine(Protocol):
    """Runs tasks and keeps objects. Every method may be called from any thread.

    Refs are instances of :class:`haz._core.refs.ObjectRef` subclasses made by the engine. A ref of
    another engine (of a runtime that has ended) raises :class:`haz.exceptions.ObjectLostError`.
    A failure is stored as a dictionary made by :func:`haz._core.errors.pack_exception` (or one of
    the other kinds listed there) and is raised as ``haz._core.errors.unpack_error(info)``.
    """

    name: str

    def bind_task(
        self, function: Callable[..., Any], options: TaskOptions, descriptor: Descriptor
    ) -> Callable[..., Any]:
        """Return the callable that submits a task of `function` on each call.

        Called once per remote function (or ``.options`` variant) and engine, lazily at the first
        ``.remote()``. Raises at once if the resources can never be satisfied
        (:class:`haz.exceptions.InfeasibleResourcesError`) or the function can't be pickled.
        `descriptor` identifies the RemoteFunction, so that variants share one registration.

        The callable takes the user's arguments and returns a ref, a list of refs, or None, by
        ``options.num_returns``. It raises TypeError for a call that doesn't fit the signature:
        unless there are no keywords and ``min_args <= len(args) <= max_args`` (or `max_args` is
        -1) it calls ``descriptor.check_call(args, kwargs)``. After a shutdown of the engine it
        raises RuntimeError.
        """

    def put(self, value: Any) -> ObjectRef[Any]:
        """Store `value`; return a ref to it."""

    def get(self, refs: Sequence[ObjectRef[Any]], timeout_s: float | None) -> list[Any]:
        """Return the values of `refs` (a list or a tuple).

        Raises as soon as one of them has failed: the first in their order that has by then.

        Raises :class:`haz.exceptions.GetTimeoutError` after `timeout_s` seconds (0: does not
        block), and TypeError (``haz._core.checks.not_a_ref``) for an element that is not a ref.
        """

    def wait(
        self, refs: Sequence[ObjectRef[Any]], num_returns: int, timeout_s: float | None
    ) -> tuple[list[ObjectRef[Any]], list[ObjectRef[Any]]]:
        """Wait until `num_returns` of `refs` are ready or `timeout_s` is over.

        Returns (ready, not ready), both in the order of `refs`; at most `num_returns` are ready.
        Raises TypeError (``checks.not_a_ref_to_wait``) for an element that is not a ref and
        ValueError (``checks.duplicate_ref``) where two are equal. `num_returns` has been checked.
        """

    def cancel(self, ref: ObjectRef[Any], *, force: bool, recursive: bool) -> None:
        """Cancel the task that makes `ref`; without effect if it has finished."""

    def add_done_callback(self, ref: ObjectRef[Any], callback: Callable[[], None]) -> None:
        """Call `callback` once when `ref` is ready (or has failed).

        From an engine's thread, or at once in the caller's where the ref is ready already. The
        callback does not raise and does not block; it may call any method of the engine. When
        the engine ends it calls what is left, and ``get`` raises in them.
        """

    def free(self, refs: Sequence[ObjectRef[Any]]) -> None:
        """Drop the values of `refs` now; later ``get`` raises ObjectFreedError."""

    def cluster_resources(self) -> dict[str, float]:
        """Total resources of the node."""

    def available_resources(self) -> dict[str, float]:
        """Resources that no running task holds."""

    def nodes(self) -> list[dict[str, Any]]:
        """One dictionary per node, with Ray's keys where they have a meaning."""

    def context(self) -> dict[str, Any]:
        """What ``haz.get_runtime_context()`` shows, for the calling thread.

        Keys: ``job_id``, ``node_id``, ``worker_id``, ``namespace``, ``session_name`` (str) and, in
        a task, ``task_id``, ``task_name``, ``task_function_name`` (str), ``attempt`` (int, from 0),
        ``assigned_resources`` (dict); in an actor ``actor_id``, ``actor_name``. What has no
        value is None or absent.
        """

    def snapshot(self) -> dict[str, Any]:
        """State of the node now: workers, tasks by state, objects, memory."""

    def shutdown(self) -> None:
        """End the engine and all its processes. Idempotent. Views of objects stay valid."""
