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
    from typing import Any, Protocol, TypedDict

    from haz._core.refs import ObjectRef

    #: Ref of a placement group or None: in none; its bundle, -1 for any; whether what the task
    #: submits runs there too.
    Place = tuple[ObjectRef[Any] | None, int, bool]

    class GroupInfo(TypedDict):
        """State of a placement group; ``state`` is "PENDING", "CREATED" or "REMOVED"."""

        ref: ObjectRef[Any]
        name: str
        namespace: str
        strategy: str
        state: str
        bundles: list[dict[str, float]]

else:
    Protocol = object

__all__ = [
    "ActorOptions",
    "Again",
    "Descriptor",
    "Engine",
    "InitOptions",
    "MethodOptions",
    "TaskOptions",
    "place_of",
]


class Record:
    """Base of plain immutable-by-convention records: equality and repr by their slots."""

    __slots__: tuple[str, ...] = ()
    #: Of them those that are told to the engine at each call, and not when it is bound.
    _OF_CALLS: tuple[str, ...] = ()

    def registered(self) -> Record:
        """Return a record of what an engine has to register: equal if nothing else differs."""
        copy: Record = object.__new__(type(self))
        for name in self.__slots__:
            setattr(copy, name, None if name in self._OF_CALLS else getattr(self, name))
        return copy

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
    memory
        Bytes that tasks and actors may ask for; None: what the machine or its cgroup has free.
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
    env_vars, environment
        Of ``runtime_env``: variables for the workers, and the rest (see `haz._core.environment`).
    labels
        Labels of the node, shown by ``haz.nodes()``.
    address
        Of the long-lived node to join: ``"auto"``, a name or a path; None: a node of its own.
    """

    __slots__ = (
        "address",
        "env_vars",
        "environment",
        "labels",
        "log_to_driver",
        "logging_level",
        "memory",
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
        memory: int | None = None,
        object_store_memory: int | None = None,
        namespace: str | None = None,
        log_to_driver: bool = True,
        logging_level: int = 20,
        preload: tuple[str, ...] | None = None,
        env_vars: dict[str, str] | None = None,
        environment: bytes = b"",
        labels: dict[str, str] | None = None,
        address: str | None = None,
    ) -> None:
        self.address = address
        self.num_cpus = num_cpus
        self.num_gpus = num_gpus
        self.resources: dict[str, float] = {} if resources is None else resources
        self.memory = memory
        self.object_store_memory = object_store_memory
        self.namespace = namespace
        self.log_to_driver = log_to_driver
        self.logging_level = logging_level
        self.preload = preload
        self.env_vars: dict[str, str] = {} if env_vars is None else env_vars
        self.environment = environment
        self.labels: dict[str, str] = {} if labels is None else labels


class TaskOptions(Record):
    """Options of one remote function, validated and merged (decorator, then ``.options``).

    Attributes
    ----------
    num_cpus
        CPU slots that the task takes while it runs; may be fractional or 0. Default 1.
    num_gpus
        GPUs that the task takes: whole ones, or a part of one. Default 0.
    memory
        Bytes that the task is counted with; nothing keeps it from using more. Default 0.
    resources
        Custom resources that the task takes.
    num_returns
        Number of objects that a call returns; 0 gives None, 1 a ref, n a list of n refs.
        "streaming": what the function yields comes one by one, from an ObjectRefGenerator.
        "dynamic": one object, a DynamicObjectRefGenerator of the refs of all that it yields.
    items_ahead
        Of a streaming function: how many items may wait to be taken while it goes on. 0: any number.
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
    env_vars, environment
        Of ``runtime_env``: variables that are set while the task runs, and the rest, packed (see
        `haz._core.environment`).
    placement
        Where it runs, as ``haz._core.placement`` made it of the user's options; None: in the
        placement group of the caller if that captures, else anywhere.
    priority
        Of tasks that could start, those of greater priority do so first. Default 0.
    """

    _OF_CALLS = ("placement",)

    __slots__ = (
        "env_vars",
        "environment",
        "items_ahead",
        "max_calls",
        "max_retries",
        "memory",
        "name",
        "num_cpus",
        "num_gpus",
        "num_returns",
        "placement",
        "priority",
        "resources",
        "retry_exceptions",
        "timeout_s",
    )

    def __init__(
        self,
        *,
        num_cpus: float = 1.0,
        num_gpus: float = 0.0,
        memory: float = 0.0,
        resources: dict[str, float] | None = None,
        num_returns: int | str = 1,
        items_ahead: int = 0,
        name: str | None = None,
        max_retries: int = 3,
        retry_exceptions: bool | tuple[type[BaseException], ...] = False,
        timeout_s: float | None = None,
        max_calls: int = 0,
        env_vars: dict[str, str] | None = None,
        environment: bytes = b"",
        placement: Any = None,
        priority: int = 0,
    ) -> None:
        self.placement = placement
        self.num_cpus = num_cpus
        self.num_gpus = num_gpus
        self.memory = memory
        self.resources: dict[str, float] = {} if resources is None else resources
        self.num_returns = num_returns
        self.items_ahead = items_ahead
        self.name = name
        self.max_retries = max_retries
        self.retry_exceptions = retry_exceptions
        self.timeout_s = timeout_s
        self.max_calls = max_calls
        self.env_vars: dict[str, str] = {} if env_vars is None else env_vars
        self.environment = environment
        self.priority = priority


class ActorOptions(Record):
    """Options of an actor, validated and merged (decorator, then ``.options``).

    Attributes
    ----------
    num_cpus_to_place
        CPU slots that must be free while the constructor runs. Default 1.
    num_cpus
        CPU slots that the actor holds for as long as it lives. Default 0, as in Ray; where the user
        gives ``num_cpus`` both are that.
    num_gpus, memory, resources
        GPUs, bytes of memory and custom resources that it holds.
    name
        Name under which ``get_actor`` finds it; None: none.
    namespace
        Namespace of the name; None: the caller's.
    get_if_exists
        Take the actor of that name if there is one, instead of raising.
    detached
        Whether it outlives the driver, which needs a long-lived node.
    max_restarts
        How often it is started again after its process died; -1: without end. Default 0.
    max_task_retries
        How often a call is repeated that had started when the process died; -1: without end.
        Default 0. Methods may have their own.
    max_concurrency
        Calls that run at a time; None: 1, or 1000 where a method is an ``async def``.
    concurrency_groups
        Name to `max_concurrency` of groups of methods that do not wait for each other.
    max_pending_calls
        Calls that may wait or run; one more raises
        :class:`haz.exceptions.PendingCallsLimitExceededError`. -1: no limit.
    allow_out_of_order
        Whether a call may overtake earlier ones of its caller that wait for arguments.
    env_vars, environment
        Of ``runtime_env``: variables of its process, and the rest, packed (see
        `haz._core.environment`).
    is_async
        Whether a method is an ``async def``: all methods then run on one event loop.
    placement
        As in `TaskOptions`.
    """

    _OF_CALLS = ("detached", "get_if_exists", "name", "namespace", "placement")

    __slots__ = (
        "allow_out_of_order",
        "concurrency_groups",
        "detached",
        "env_vars",
        "environment",
        "get_if_exists",
        "is_async",
        "max_concurrency",
        "max_pending_calls",
        "max_restarts",
        "max_task_retries",
        "memory",
        "name",
        "namespace",
        "num_cpus",
        "num_cpus_to_place",
        "num_gpus",
        "placement",
        "resources",
    )

    def __init__(
        self,
        *,
        num_cpus_to_place: float = 1.0,
        num_cpus: float = 0.0,
        num_gpus: float = 0.0,
        memory: float = 0.0,
        resources: dict[str, float] | None = None,
        name: str | None = None,
        namespace: str | None = None,
        get_if_exists: bool = False,
        detached: bool = False,
        max_restarts: int = 0,
        max_task_retries: int = 0,
        max_concurrency: int | None = None,
        concurrency_groups: dict[str, int] | None = None,
        max_pending_calls: int = -1,
        allow_out_of_order: bool = False,
        env_vars: dict[str, str] | None = None,
        environment: bytes = b"",
        is_async: bool = False,
        placement: Any = None,
    ) -> None:
        self.placement = placement
        self.num_cpus_to_place = num_cpus_to_place
        self.num_cpus = num_cpus
        self.num_gpus = num_gpus
        self.memory = memory
        self.resources: dict[str, float] = {} if resources is None else resources
        self.name = name
        self.namespace = namespace
        self.get_if_exists = get_if_exists
        self.detached = detached
        self.max_restarts = max_restarts
        self.max_task_retries = max_task_retries
        self.max_concurrency = max_concurrency
        self.concurrency_groups: dict[str, int] = (
            {} if concurrency_groups is None else concurrency_groups
        )
        self.max_pending_calls = max_pending_calls
        self.allow_out_of_order = allow_out_of_order
        self.env_vars: dict[str, str] = {} if env_vars is None else env_vars
        self.environment = environment
        self.is_async = is_async


class MethodOptions(Record):
    """Options of one method of an actor, validated and merged.

    Attributes
    ----------
    name
        Name shown in logs, errors and state; None: ``Class.method``.
    num_returns, items_ahead
        As in `TaskOptions`.
    max_task_retries
        How often a call is repeated that had started when the actor's process died, or that raised
        one of `retry_exceptions`; -1: without end.
    retry_exceptions, timeout_s, priority
        As in `TaskOptions`; calls of one caller keep their order among equal priorities.
    concurrency_group
        Group of the actor in which the method runs; None: the default one.
    """

    __slots__ = (
        "concurrency_group",
        "items_ahead",
        "max_task_retries",
        "name",
        "num_returns",
        "priority",
        "retry_exceptions",
        "timeout_s",
    )

    def __init__(
        self,
        *,
        name: str | None = None,
        num_returns: int | str = 1,
        items_ahead: int = 0,
        max_task_retries: int = 0,
        retry_exceptions: bool | tuple[type[BaseException], ...] = False,
        timeout_s: float | None = None,
        concurrency_group: str | None = None,
        priority: int = 0,
    ) -> None:
        self.name = name
        self.num_returns = num_returns
        self.items_ahead = items_ahead
        self.max_task_retries = max_task_retries
        self.retry_exceptions = retry_exceptions
        self.timeout_s = timeout_s
        self.concurrency_group = concurrency_group
        self.priority = priority


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

    def error_in_argument(self, error: Exception, index: int, keyword: str | None) -> Exception:
        """Return `error` with the name of the argument that can't be pickled."""


class Again(Protocol):
    """Makes what a `remote` is, for one that its user has kept for longer than the run it is bound to."""

    def __call__(self) -> Callable[..., Any]:
        """Return a callable that takes the same calls, for the engine that there is then."""

    def reduced(self) -> tuple[Any, ...]:
        """Return what ``__reduce__`` of the callable returns."""


class Engine(Protocol):
    """Runs tasks and keeps objects. Every method may be called from any thread.

    Refs are instances of :class:`haz._core.refs.ObjectRef` subclasses made by the engine. A ref of
    another engine (of a runtime that has ended) raises :class:`haz.exceptions.ObjectLostError`.
    A failure is stored as a dictionary made by :func:`haz._core.errors.pack_exception` (or one of
    the other kinds listed there) and is raised as ``haz._core.errors.unpack_error(info)``.
    """

    name: str

    def bind_task(
        self,
        function: Callable[..., Any],
        options: TaskOptions,
        descriptor: Descriptor,
        again: Again,
    ) -> Callable[..., Any]:
        """Return the callable that submits a task of `function` on each call.

        Called once per remote function (or ``.options`` variant) and engine, lazily at the first
        ``.remote()``. Raises at once if the resources can never be satisfied
        (:class:`haz.exceptions.InfeasibleResourcesError`) or the function can't be pickled.
        `descriptor` identifies the RemoteFunction, so that variants share one registration.

        The callable takes the user's arguments and returns a ref, a list of refs, None, or an
        ObjectRefGenerator of the ref of the stream, by ``options.num_returns``. It raises TypeError for a call that doesn't fit the signature:
        unless there are no keywords and ``min_args <= len(args) <= max_args`` (or `max_args` is
        -1) it calls ``descriptor.check_call(args, kwargs)``. After a shutdown of the engine it
        passes the call on to what `again` returns. It is pickled as `again` says.
        """

    # ---- actors. An actor is named by the ref of its creation: an ObjectRef that becomes ready when
    # the constructor has returned, holds an error when the actor can't be made or has died, and
    # counts as a handle. When the last such ref goes, in whatever process, the actor ends as soon
    # as the calls that were made before have.

    def create_actor(
        self,
        cls: type,
        options: ActorOptions,
        descriptor: Descriptor,
        meta: bytes,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> tuple[ObjectRef[Any], bytes]:
        """Start an actor of `cls`; return its ref and `meta`.

        `descriptor` is that of the constructor; its uid names the class, so that it is registered
        once. `meta` is kept with the actor for `get_actor`. Where ``options.get_if_exists`` finds
        an actor of the name, that one's ref and meta are returned.

        Raises TypeError for arguments that the constructor doesn't take,
        :class:`haz.exceptions.InfeasibleResourcesError` for resources that the node can never
        give, :class:`haz.exceptions.ActorAlreadyExistsError` (a ValueError) for a name in use.
        Exceptions of the constructor come with the calls:
        :class:`haz.exceptions.ActorDiedError`, whose cause is the constructor's.
        """

    def bind_method(
        self,
        actor: ObjectRef[Any],
        method: str,
        options: MethodOptions,
        descriptor: Descriptor,
        again: Again,
        is_limited: bool = False,
    ) -> Callable[..., Any]:
        """Return the callable that submits a call of `method` of `actor`, as `bind_task` does.

        `descriptor` is that of the method without its first parameter. The callable holds `actor`
        for as long as it lives. `is_limited`: the actor has `max_pending_calls`, and a call beyond
        them raises. Calls of an actor that has died return refs that hold
        :class:`haz.exceptions.ActorDiedError`.
        """

    def get_actor(self, name: str, namespace: str | None) -> tuple[ObjectRef[Any], bytes]:
        """Return ref and meta of the actor of that name; ValueError if there is none.

        `namespace` is the caller's if None. An actor that is known to have died has no name.
        """

    def current_actor(self) -> tuple[ObjectRef[Any], bytes] | None:
        """Return ref and meta of the actor whose method calls this; None elsewhere.

        The ref does not count as a handle while the actor itself keeps it.
        """

    def list_named_actors(self, all_namespaces: bool) -> list[tuple[str, str]]:
        """Return (namespace, name) of the actors that have a name and have not died."""

    def named_actors(self, namespace: str) -> dict[str, tuple[int, int]]:
        """Return, by their names, what is known of the actors of a namespace.

        That is: how many calls of it have not ended; its process, or 0 while it has none that
        takes calls.
        """

    def kill_actor(self, actor: ObjectRef[Any], no_restart: bool) -> None:
        """End the actor's process at once. Unless `no_restart`, it counts as a death like others."""

    def exit_actor(self) -> None:
        """End the actor whose method calls this, for good: never returns, unwinds the method.

        That call's ref, and those of calls that wait, hold :class:`haz.exceptions.ActorDiedError`.
        """

    # ---- streams. A stream is named by an ObjectRef that counts as a consumer. It is ready, for
    # `wait` and `add_done_callback`, while there is an item to take, and when it has ended; it has
    # no value. When the last such ref goes, the items that nobody took are dropped. The task then
    # ends at its next item, unless somebody holds the ref of `end_of_stream`.

    def next_item(self, stream: ObjectRef[Any], timeout_s: float | None) -> ObjectRef[Any] | None:
        """Take the next item; return its ref, or None when `timeout_s` seconds are over.

        The last item of a task that has failed holds the error. Raises StopIteration when the task
        has ended and all items were taken. 0: does not block.
        """

    def has_item(self, stream: ObjectRef[Any]) -> bool | None:
        """Whether there is an item to take now; None: there never will be one again."""

    def end_of_stream(self, stream: ObjectRef[Any]) -> ObjectRef[int]:
        """Return the ref that is ready when the task has ended: the number of items, or the error."""

    def share_stream(self, stream: ObjectRef[Any]) -> None:
        """Do what has to be done before other processes get `stream` from this one."""

    # ---- placement groups. A group is named by an ObjectRef that becomes ready when all its bundles
    # are reserved, and holds :class:`haz.exceptions.PlacementGroupRemovedError` when it is removed.
    # Such refs do not keep a group: it lives until then, or the end of the actor that made it.

    def create_placement_group(
        self,
        bundles: list[dict[str, float]],
        strategy: str,
        name: str,
        detached: bool,
    ) -> ObjectRef[Any]:
        """Make a placement group; return its ref, whose value is its ``PlacementGroup``.

        `detached`: it lives until it is removed, longer than its creator.

        Raises :class:`haz.exceptions.InfeasibleResourcesError` for bundles that the node can never
        give, and ValueError for a name that is in use in the caller's namespace ("" is no name), or
        for a detached one where the node ends with the program.
        """

    def remove_placement_group(self, group: ObjectRef[Any]) -> None:
        """Remove a group: its tasks and actors end, and what it has reserved is free again."""

    def placement_groups(self, group: ObjectRef[Any] | None) -> list[GroupInfo]:
        """Return the state of `group`, or of all, removed ones too while there are refs."""

    def current_placement_group(self) -> tuple[ObjectRef[Any], bool] | None:
        """Return the group in which the calling task or actor runs, and whether it captures."""

    def put(self, value: Any) -> ObjectRef[Any]:
        """Store `value`; return a ref to it."""

    def put_error(self, info: dict[str, Any]) -> ObjectRef[Any]:
        """Store a failure; return a ref whose ``get`` raises it."""

    def get_one(self, ref: Any) -> Any:
        """Return the value of a ref, however long it takes; NotImplemented for what is no ref.

        As `get` otherwise: it is what most calls of that are, and takes less time.
        """

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

        Keys: ``job_id``, ``node_id``, ``worker_id``, ``namespace``, ``session_name`` (str),
        and, in a task, ``task_id``, ``task_name``, ``task_function_name`` (str), ``attempt`` (int, from 0),
        ``assigned_resources`` (dict); in an actor ``actor_id``, ``actor_name`` (str) and
        ``actor_restarted`` (bool). What has no value is None or absent.
        """

    def is_cancelled(self) -> bool:
        """Whether the task that calls this was cancelled."""

    def is_wanted(self) -> bool:
        """Whether anybody has a ref of the first result of the task that calls this."""

    def runtime_env(self) -> dict[str, Any]:
        """The runtime environment of the calling code, as users give it."""

    def task_of(self, ref: ObjectRef[Any]) -> str | None:
        """Return the id of the task that makes a value, or made it; None: it is not known."""

    def list_state(self, kind: str) -> tuple[list[dict[str, Any]], int]:
        """Return what there is and what has ended lately, and how many entries that would be.

        `kind`: "actors", "tasks", "objects" or "workers". Each is a dictionary of the fields of
        `haz.util.state.ActorState` and so on; those that exist come first.
        """

    def actor_pids(self) -> dict[str, int | None]:
        """Return the process of each actor that lives, by id; None: it is not there yet.

        An engine that runs them in the program's own process has none to tell of.
        """

    def snapshot(self) -> dict[str, Any]:
        """State of the node now: workers, tasks by state, objects, memory."""

    def shutdown(self) -> None:
        """End the engine and all its processes. Idempotent. Views of objects stay valid."""


def place_of(
    engine: Engine, options: TaskOptions | ActorOptions, resources: dict[str, float], who: str
) -> Place | None:
    """Return where the options say that a task or actor runs; None: they don't.

    Raises InfeasibleResourcesError if it can never run there.
    """
    if options.placement is None:
        return None
    from haz._core.placement import resolve

    return resolve(engine, options.placement, resources, who)
