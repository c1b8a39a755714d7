"""Functions on refs and on the node: ``haz.get``, ``put``, ``wait``, ``cancel`` and so on."""

from __future__ import annotations

from haz._core.checks import actor_hint, check_timeout, no_get_of, not_a_ref_to_wait, shown
from haz._core.options import check_bool, check_int
from haz._core.refs import ObjectRef
from haz._core.runtime import runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, TypeVar, overload

    from typing_extensions import Unpack

    from haz._core.context import RuntimeContext
    from haz._core.generator import ObjectRefGenerator
    from haz._core.remote_typing import MethodKeywords
    from haz.engines.base import Engine

    T = TypeVar("T")
    F = TypeVar("F", bound=Callable[..., Any])
    #: What ``haz.wait`` takes where refs and generators are mixed.
    Waitable = ObjectRef[Any] | ObjectRefGenerator[Any]

__all__ = [
    "available_resources",
    "cancel",
    "cluster_resources",
    "free",
    "get",
    "get_gpu_ids",
    "get_runtime_context",
    "method",
    "nodes",
    "put",
    "wait",
]


def _engine_of(refs: Sequence[object]) -> Engine:
    """The engine that made `refs`."""
    engine = runtime.engine
    if engine is not None:
        return engine
    try:
        from haz.exceptions import ObjectLostError
    except ImportError:  # as in a __del__ that the end of the interpreter calls
        raise RuntimeError("haz has ended, and the interpreter is ending") from None
    for ref in refs:
        if not isinstance(ref, ObjectRef) and not _is_generator(ref):
            raise not_a_ref_to_wait(ref)
    raise ObjectLostError(
        f"{refs[0]!r} is from a run that is over ({runtime.why_ended()}): get values before "
        f"haz.shutdown()"
    )


def _is_generator(value: object) -> bool:
    from haz._core.generator import ObjectRefGenerator

    return isinstance(value, ObjectRefGenerator)


if TYPE_CHECKING:

    @overload
    def get(object_refs: ObjectRef[T], *, timeout: float | None = None) -> T: ...
    @overload
    def get(object_refs: Sequence[ObjectRef[T]], *, timeout: float | None = None) -> list[T]: ...


def get(object_refs: Any, *, timeout: float | None = None) -> Any:
    """Return the value of a ref, or the values of a list of refs; wait until they are there.

    Parameters
    ----------
    object_refs
        An ObjectRef, or a list or tuple of them.
    timeout
        Seconds to wait; 0: don't wait. None: as long as it takes.

    Raises
    ------
    TaskError
        If a task raised: an instance of the user's own exception type too.
    GetTimeoutError
        If `timeout` is over.

    Notes
    -----
    Arrays are views of shared memory and read-only: copy one to change it. In a task, a waiting
    ``get`` gives the CPU slot to another task.
    """
    if timeout is not None:
        timeout = check_timeout(timeout)
    elif (engine := runtime.engine) is not None:
        value = engine.get_one(object_refs)
        if value is not NotImplemented:
            return value
    if isinstance(object_refs, ObjectRef):
        return _engine_of((object_refs,)).get((object_refs,), timeout)[0]
    if type(object_refs) is list or isinstance(object_refs, (list, tuple)):
        if not object_refs:
            return []
        return _engine_of(object_refs).get(object_refs, timeout)
    raise no_get_of(object_refs)


def _check_owner(owner: Any) -> None:
    from haz._core.actor import ActorHandle

    if not isinstance(owner, ActorHandle):
        raise TypeError(f"_owner must be the handle of an actor, not {shown(owner)}")


def put(value: T, *, _owner: Any = None) -> ObjectRef[T]:
    """Store a value once, for tasks and other processes to share; return a ref to it.

    Raises
    ------
    TypeError
        If `value` is an ObjectRef, or something in it can't be pickled (it is named).
    ObjectStoreFullError
        If it is larger than the object store, or no room comes.
    """
    if isinstance(value, ObjectRef):
        raise TypeError(
            "haz.put() of an ObjectRef is not allowed, the value is stored already; if a ref to "
            "a ref is meant, put a list with it"
        )
    if _owner is not None:
        _check_owner(_owner)
    engine = runtime.engine
    if engine is None:
        engine = runtime.ensure()
    try:
        return engine.put(value)
    except TypeError as error:
        from haz._core.unpicklable import in_part

        raise in_part(error, "the value given to haz.put") from error.__cause__


if TYPE_CHECKING:

    @overload
    def wait(
        ray_waitables: Sequence[ObjectRef[T]],
        *,
        num_returns: int = 1,
        timeout: float | None = None,
        fetch_local: bool = True,
    ) -> tuple[list[ObjectRef[T]], list[ObjectRef[T]]]: ...
    @overload
    def wait(
        ray_waitables: Sequence[ObjectRefGenerator[T]],
        *,
        num_returns: int = 1,
        timeout: float | None = None,
        fetch_local: bool = True,
    ) -> tuple[list[ObjectRefGenerator[T]], list[ObjectRefGenerator[T]]]: ...
    @overload
    def wait(
        ray_waitables: Sequence[Waitable],
        *,
        num_returns: int = 1,
        timeout: float | None = None,
        fetch_local: bool = True,
    ) -> tuple[list[Waitable], list[Waitable]]: ...


def wait(
    ray_waitables: Sequence[Any],
    *,
    num_returns: int = 1,
    timeout: float | None = None,
    fetch_local: bool = True,
) -> tuple[list[Any], list[Any]]:
    """Wait until some of the refs are ready; return (ready, not ready).

    Parameters
    ----------
    ray_waitables
        A list of ObjectRefs and ObjectRefGenerators, each once. A generator is ready when ``next``
        would not wait: there is an item, or it has ended.
    num_returns
        How many must be ready before it returns; at most so many are in the first list.
    timeout
        Seconds after which it returns what is ready; 0: don't wait. None: as long as it takes.
    fetch_local
        Ray's argument; values are always local.

    Returns
    -------
    ready, not_ready
        Two lists, in the order of the argument. A failed task is ready.
    """
    engine = runtime.engine
    if (
        engine is None
        or timeout is not None
        or type(num_returns) is not int
        or type(ray_waitables) is not list
        or not 0 < num_returns <= len(ray_waitables)
        or fetch_local is not True
    ):
        check_bool("fetch_local", fetch_local)
        num_returns = _check_wait(ray_waitables, num_returns)
        if timeout is not None:
            timeout = check_timeout(timeout)
        if not ray_waitables:
            return [], []
        engine = _engine_of(ray_waitables)
    try:
        return engine.wait(ray_waitables, num_returns, timeout)
    except TypeError:
        from haz._core.generator import wait_for_any

        found = wait_for_any(engine, ray_waitables, num_returns, timeout)
        if found is None:
            raise
        return found


def _check_wait(waitables: Any, num_returns: Any) -> int:
    """Check the arguments of `wait`, but for the items of its list; `num_returns` as an int."""
    if isinstance(waitables, ObjectRef):
        raise TypeError(
            f"haz.wait() takes a list of ObjectRefs: write haz.wait([{shown(waitables)}])"
        )
    if not isinstance(waitables, (list, tuple)):
        raise TypeError(
            f"haz.wait() takes a list of ObjectRefs, not {type(waitables).__name__}"
            + actor_hint(waitables)
        )
    if type(num_returns) is not int or (num_returns < 1 and waitables):
        num_returns = check_int("num_returns", num_returns, 1)
    if num_returns > len(waitables) > 0:
        raise ValueError(f"num_returns is {num_returns}, and only {len(waitables)} refs were given")
    count: int = num_returns
    return count


def cancel(
    ray_waitable: ObjectRef[Any] | ObjectRefGenerator[Any],
    *,
    force: bool = False,
    recursive: bool = True,
) -> None:
    """Cancel the task or call that makes a ref; ``get`` of it then raises TaskCancelledError.

    A task that has not started never runs. In a running one KeyboardInterrupt is raised. Without
    effect on a task that has finished. A running call of an actor goes on, unless it is of an
    ``async def`` method: its asyncio task is cancelled.

    Parameters
    ----------
    ray_waitable
        A ref that the task returned, or its generator.
    force
        Kill the worker process of a running task. ValueError for the call of an actor.
    recursive
        Cancel also the tasks that the task has started.
    """
    if not isinstance(ray_waitable, ObjectRef):
        if not _is_generator(ray_waitable):
            raise TypeError(
                f"haz.cancel() takes the ObjectRef of a task, not {type(ray_waitable).__name__}"
                + ("; haz.kill(handle) ends an actor" if actor_hint(ray_waitable) else "")
            )
        ray_waitable = ray_waitable._stream
    force, recursive = check_bool("force", force), check_bool("recursive", recursive)
    _engine_of((ray_waitable,)).cancel(ray_waitable, force=force, recursive=recursive)


def free(object_refs: ObjectRef[Any] | Sequence[ObjectRef[Any]], local_only: bool = False) -> None:
    """Drop values from the store now, though refs to them exist; their ``get`` then raises.

    Raised is ObjectFreedError. Values go by themselves when their last ref does: this is for
    programs that know better.
    """
    check_bool("local_only", local_only)
    refs: Sequence[Any]
    if isinstance(object_refs, ObjectRef):
        refs = [object_refs]
    elif isinstance(object_refs, (str, bytes, dict)) or not hasattr(object_refs, "__iter__"):
        raise TypeError(f"haz.free() takes ObjectRefs, not {type(object_refs).__name__}")
    else:
        refs = list(object_refs)
    for ref in refs:
        if not isinstance(ref, ObjectRef):
            raise TypeError(f"haz.free() takes ObjectRefs, not {type(ref).__name__}")
    if refs:
        _engine_of(refs).free(refs)


def get_runtime_context() -> RuntimeContext:
    """Return where the calling code runs: ids of the job, the node, the worker and the task."""
    from haz._core.context import RuntimeContext

    return RuntimeContext(runtime.ensure())


def get_gpu_ids() -> list[Any]:
    """Return the ids of the GPUs that the running task holds."""
    return list(runtime.ensure().context().get("gpu_ids") or ())


def cluster_resources() -> dict[str, float]:
    """Return the total resources of the node: ``{"CPU": 4.0, ...}``."""
    return runtime.ensure().cluster_resources()


def available_resources() -> dict[str, float]:
    """Return the resources that no running task holds; a resource that is used up is left out."""
    return runtime.ensure().available_resources()


def nodes() -> list[dict[str, Any]]:
    """Return one dictionary per node, with Ray's keys where they have a meaning."""
    return runtime.ensure().nodes()


if TYPE_CHECKING:

    @overload
    def method(function: F, /) -> F: ...
    @overload
    def method(
        *, num_returns: int | str | None = ..., **options: Unpack[MethodKeywords]
    ) -> Callable[[F], F]: ...


def method(*args: Any, **options: Any) -> Any:
    """Give options to a method of an actor class: ``@haz.method(num_returns=2)``.

    Parameters
    ----------
    num_returns : int or str
        Number of results of a call. Default 1. ``"streaming"``, the default of generator methods,
        and ``"dynamic"``: as for tasks.
    max_task_retries : int
        How often a call is repeated that the end of the actor's process has ended; -1: without
        end. Default: that of the actor.
    retry_exceptions : bool or list of exception types
        Whether exceptions of the method, or which of them, are retried too, up to
        `max_task_retries` times. Default False.
    concurrency_group : str
        Group of the actor's `concurrency_groups` that the method belongs to.
    timeout_s : float
        Seconds that a call may run; then it is interrupted. Default: no limit.
    priority : int
        Of calls that wait, those of greater priority run first. Default 0.
    """
    from haz._core.actor_options import check_method_options

    if len(args) == 1 and callable(args[0]) and not options:
        return args[0]
    if args or not options:
        raise TypeError("use @haz.method(num_returns=2, ...), with keywords only")
    checked = check_method_options(options, "@haz.method")

    def decorator(function: F) -> F:
        function.__haz_method_options__ = checked  # type: ignore[attr-defined]
        return function

    return decorator
