"""Remote functions: what ``@haz.remote`` makes of a function."""

from __future__ import annotations

import os

from haz._core.checks import no_graphs, shown
from haz._core.options import check_task_options, make_task_options
from haz._core.runtime import runtime
from haz._core.signature import FunctionDescriptor, is_async, is_generator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, Literal, NoReturn, ParamSpec, TypeVar, overload

    from typing_extensions import Unpack

    from haz._core.actor import ActorClass
    from haz._core.generator import DynamicObjectRefGenerator, ObjectRefGenerator
    from haz._core.refs import ObjectRef
    from haz._core.remote_typing import (
        ActorDecorator,
        ActorKeywords,
        Class,
        Decorator,
        DecoratorTo,
        DecoratorToDynamic,
        DecoratorToStream,
        Keywords,
        Several,
        TypedRemote,
    )

    P = ParamSpec("P")
    R = TypeVar("R")
    T = TypeVar("T")
    Out = TypeVar("Out")
else:
    # See haz._core.refs: `typing` is not imported at run time.
    P = Out = None
    TypedRemote = {(P, Out): object}

__all__ = ["RemoteFunction", "remote"]

#: `.options` variants that a remote function keeps; calls in a loop then bind only once.
_VARIANTS_KEPT = 64


class RemoteFunction(TypedRemote[P, Out]):
    """A function whose calls run as tasks: ``f.remote(x)``. Made by ``@haz.remote``.

    It has the name, the documentation and the signature of the function, which is ``__wrapped__``.
    Thread-safe. It can be captured by other remote functions and passed to tasks.

    Attributes
    ----------
    remote
        Submits a task and returns at once: an ObjectRef of the result, a list of them with
        ``num_returns`` above 1, None with 0, an ObjectRefGenerator of a generator function. A
        positional or keyword argument that is an ObjectRef is replaced by its value before the
        task starts; refs inside of containers stay refs.

    Notes
    -----
    `remote` is a method that finds the engine and lets it bind the function. From then on an
    attribute of the instance, the callable that the engine returned, hides the method; the
    runtime takes the attribute away when the engine ends.
    """

    if not TYPE_CHECKING:
        __class_getitem__ = classmethod(type(list[int]))

        def remote(self, /, *args, **kwargs):
            return self._bind()(*args, **kwargs)

    def __init__(
        self, function: Callable[..., Any], checked: dict[str, Any], descriptor: FunctionDescriptor
    ) -> None:
        self._set(function, checked, descriptor)

    def _set(
        self, function: Callable[..., Any], checked: dict[str, Any], descriptor: FunctionDescriptor
    ) -> None:
        attributes = self.__dict__
        for name in ("__module__", "__name__", "__qualname__", "__doc__"):
            try:
                attributes[name] = getattr(function, name)
            except AttributeError:
                pass
        attributes.update(getattr(function, "__dict__", ()))
        attributes.pop("remote", None)
        attributes["__wrapped__"] = function
        self._function = function
        self._checked = checked
        self._options = make_task_options(checked)
        self._descriptor = descriptor
        self._variants: dict[Any, RemoteFunction[P, Any]] = {}

    def _bind(self) -> Callable[..., Any]:
        engine = runtime.ensure()
        self._descriptor.renew(runtime.cell)
        again = _Again(self._checked, self._descriptor)
        submit = engine.bind_task(self._function, self._options, self._descriptor, again)
        runtime.bind(self, engine, submit)
        return submit

    if not TYPE_CHECKING:  # so that checkers call `f()` an error

        def __call__(self, /, *args, **kwargs):
            name = self._descriptor.name
            raise TypeError(
                f"a remote function can't be called directly: use {name}.remote(...) for a task, "
                f"or {name}.__wrapped__(...) for a plain call here"
            )

    def bind(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        """Raise NotImplementedError: haz has no graphs of calls."""
        raise no_graphs(self._descriptor.name)

    def __repr__(self) -> str:
        module = getattr(self._function, "__module__", None)
        return f"<RemoteFunction {module}.{self._descriptor.name}>"

    if TYPE_CHECKING:

        @overload
        def options(
            self, *, num_returns: None = ..., **options: Unpack[Keywords]
        ) -> RemoteFunction[P, Out]: ...
        @overload
        def options(
            self, *, num_returns: Literal[0], **options: Unpack[Keywords]
        ) -> RemoteFunction[P, None]: ...
        @overload
        def options(
            self, *, num_returns: Literal[1], **options: Unpack[Keywords]
        ) -> RemoteFunction[P, ObjectRef[Any]]: ...
        @overload
        def options(
            self, *, num_returns: Several, **options: Unpack[Keywords]
        ) -> RemoteFunction[P, list[ObjectRef[Any]]]: ...
        @overload
        def options(
            self, *, num_returns: Literal["streaming"], **options: Unpack[Keywords]
        ) -> RemoteFunction[P, ObjectRefGenerator[Any]]: ...
        @overload
        def options(
            self, *, num_returns: Literal["dynamic"], **options: Unpack[Keywords]
        ) -> RemoteFunction[P, ObjectRef[DynamicObjectRefGenerator[Any]]]: ...
        @overload
        def options(
            self, *, num_returns: int | str, **options: Unpack[Keywords]
        ) -> RemoteFunction[P, Any]: ...

    def options(self, **options: Any) -> RemoteFunction[P, Any]:
        """Return this remote function with other options.

        Parameters
        ----------
        **options
            The same as ``@haz.remote`` takes, except ``max_calls``; what is not given stays.

        Examples
        --------
        >>> @haz.remote
        ... def f():
        ...     return 1, 2
        >>> a, b = f.options(num_returns=2, name="pair").remote()
        """
        try:
            key = tuple((name, type(value), value) for name, value in options.items())
            variant = self._variants.get(key)
        except TypeError:  # a value that can't be hashed, such as a dictionary
            key = None
            variant = None
        if variant is not None:
            return variant
        if "max_calls" in options:
            raise ValueError("max_calls belongs to @haz.remote(...), and can't be set by .options")
        checked = check_task_options(options, f"{self._descriptor.name}.options")
        variant = RemoteFunction(self._function, {**self._checked, **checked}, self._descriptor)
        if key is not None:
            if len(self._variants) >= _VARIANTS_KEPT:
                self._variants.clear()
            self._variants[key] = variant
        return variant

    def __reduce__(self) -> tuple[Any, ...]:
        # Blank first, so that a function which refers to itself finds itself while it is pickled.
        self._descriptor.renew(runtime.cell)
        state = (self._function, self._checked, self._descriptor.uid)
        return _blank_remote_function, (), state

    def __setstate__(self, state: tuple[Any, dict[str, Any], bytes]) -> None:
        function, checked, uid = state
        self._set(function, checked, FunctionDescriptor(function, uid))


def _blank_remote_function() -> RemoteFunction[..., Any]:
    return RemoteFunction.__new__(RemoteFunction)


class _Again:
    """See `haz.engines.base.Again`. Of a remote function.

    It does not hold the remote function, which holds what is bound: refs that the function has in
    its closure would not go with it then, but with the next collection of cycles.
    """

    __slots__ = ("_checked", "_descriptor")

    def __init__(self, checked: dict[str, Any], descriptor: FunctionDescriptor) -> None:
        self._checked = checked
        self._descriptor = descriptor

    def _function(self) -> RemoteFunction[..., Any]:
        descriptor = self._descriptor
        return RemoteFunction(descriptor._function, self._checked, descriptor)

    def __call__(self) -> Callable[..., Any]:
        return self._function().remote

    def reduced(self) -> tuple[Any, ...]:
        return getattr, (self._function(), "remote")


def _make(target: Any, options: dict[str, Any]) -> Any:
    """Make of `target` what the decorator returns."""
    if isinstance(target, type):
        from haz._core.actor import make_actor_class

        return make_actor_class(target, options)
    if isinstance(target, RemoteFunction) or hasattr(target, "__ray_actor_class__"):
        raise TypeError(f"{shown(target)} is remote already; use .options to change its options")
    if isinstance(target, (staticmethod, classmethod)):
        raise TypeError("@haz.remote goes below @staticmethod, and not on class methods")
    if not callable(target):
        raise TypeError(f"@haz.remote is for functions and classes, not for {shown(target)}")
    if is_async(target):
        raise ValueError(
            f"a task can't be an 'async def': wrap {getattr(target, '__name__', target)!r} in a "
            f"function that calls asyncio.run(...)"
        )
    checked = check_task_options(options, "@haz.remote")
    if is_generator(target):
        checked.setdefault("num_returns", "streaming")
    return RemoteFunction(target, checked, FunctionDescriptor(target, os.urandom(16)))


if TYPE_CHECKING:

    @overload
    def remote(  # type: ignore[overload-overlap]
        cls: Class[P, T], /
    ) -> ActorClass[P, T]: ...
    @overload
    def remote(cls: type[T], /) -> ActorClass[..., T]: ...  # type: ignore[overload-overlap]
    @overload
    def remote(  # type: ignore[overload-overlap]
        function: Callable[P, Iterator[T]], /
    ) -> RemoteFunction[P, ObjectRefGenerator[T]]: ...
    @overload
    def remote(function: Callable[P, R], /) -> RemoteFunction[P, ObjectRef[R]]: ...
    @overload
    def remote(
        *, num_returns: Literal[1] | None = ..., **options: Unpack[Keywords]
    ) -> Decorator: ...
    @overload
    def remote(**options: Unpack[ActorKeywords]) -> ActorDecorator: ...
    @overload
    def remote(*, num_returns: Literal[0], **options: Unpack[Keywords]) -> DecoratorTo[None]: ...
    @overload
    def remote(
        *, num_returns: Several, **options: Unpack[Keywords]
    ) -> DecoratorTo[list[ObjectRef[Any]]]: ...
    @overload
    def remote(
        *, num_returns: Literal["streaming"], **options: Unpack[Keywords]
    ) -> DecoratorToStream: ...
    @overload
    def remote(
        *, num_returns: Literal["dynamic"], **options: Unpack[Keywords]
    ) -> DecoratorToDynamic: ...
    @overload
    def remote(*, num_returns: int | str, **options: Unpack[Keywords]) -> DecoratorTo[Any]: ...


def remote(*args: Any, **options: Any) -> Any:
    """Make a function remote, or a class: ``function.remote(...)`` runs it as a task,
    ``Class.remote(...)`` starts an actor.

    Used as ``@haz.remote``, as ``@haz.remote(num_cpus=2)``, or called with a function or a class.

    Parameters
    ----------
    num_cpus : float
        CPU slots that a task takes while it runs; 0 and fractions are allowed. Default 1.
    num_gpus : float
        GPUs that it takes: whole ones, or a part of one, which tasks then share. Default 0. Their
        ids are in CUDA_VISIBLE_DEVICES while it runs, and ``haz.get_gpu_ids()`` returns them.
    memory : float
        Bytes of memory that it is counted with: it waits until so much of the node's is not
        promised to others. Nothing keeps it from using more. Default 0.
    resources : dict of str to float
        Custom resources that it takes.
    num_returns : int or str
        Number of results, each with a ref of its own. Default 1. ``"streaming"``, the default of a
        generator function: ``.remote()`` returns an ObjectRefGenerator, which gives the ref of each
        item as soon as it is yielded. ``"dynamic"``: the value is a generator of the refs of all.
    name : str
        Name in logs and errors. Default: the function's.
    max_retries : int
        How often a task is started again after its worker died; -1: without end. Default 3.
        Retries mean that a task may run more than once.
    retry_exceptions : bool or list of exception types
        Whether exceptions of the function, or which of them, are retried too. Default False.
    timeout_s : float
        Seconds that one attempt may run; then it is interrupted, and ``get`` raises
        TaskTimeoutError. Default: no limit.
    max_calls : int
        Number of calls after which the worker process is replaced. Default 0: never.
    runtime_env : dict
        ``env_vars``, ``working_dir``, ``py_modules``, ``pip``, ``worker_process_setup_hook``: the
        task runs in a worker process with these, which runs no tasks of other environments.
        Variables alone are set for the task in any worker.
    priority : int
        Of tasks that could start, those of greater priority do so first. Default 0.
    scheduling_strategy : str or object of haz.util.scheduling_strategies
        Where it runs: with the resources of a placement group, or, by "DEFAULT" or "SPREAD", with
        those of the node. Default: in the group of the caller, if that captures what it submits.
    placement_group, placement_group_bundle_index, placement_group_capture_child_tasks
        Ray's older way to say the same of a placement group.
    label_selector : dict of str to str
        Conditions on the node's labels, those of ``haz.init(labels=...)``: a value, ``"!value"``,
        ``"in(one,two)"`` or ``"!in(one,two)"``. The call raises InfeasibleResourcesError where one
        doesn't hold.
    fallback_strategy : list of dict
        ``{"label_selector": {...}}``, of which one has to hold where `label_selector` does not.
    **options
        Ray's other options are accepted and have no effect on one machine.

    Returns
    -------
    RemoteFunction or ActorClass
        Or, if only options were given, a decorator that makes one.

    Notes
    -----
    Options of classes, that is of actors, besides `resources`, `runtime_env` and those about
    placement groups:

    num_cpus : float
        CPU slots that the actor holds for as long as it lives. Default: it needs one to start,
        and holds none.
    num_gpus : float
        GPUs that it holds, as for tasks. Default 0.
    memory : float
        Bytes of memory that it is counted with for as long as it lives. Default 0.
    name, namespace : str
        A name for ``haz.get_actor``, and the namespace of that. Default: none; the caller's.
    get_if_exists : bool
        Take the actor of that name if there is one. Default False: that raises ValueError.
    max_restarts : int
        How often the actor is started again after its process died; -1: without end. Default 0.
    max_task_retries : int
        How often a call is repeated that the process's death has ended; -1: without end. Default 0.
    max_concurrency : int
        Calls that run at a time, in threads. Default 1. If the class has ``async def`` methods, all
        run in one event loop, and the default is 1000.
    concurrency_groups : dict of str to int
        Groups of methods, with a `max_concurrency` each, that don't wait for others.
    max_pending_calls : int
        Calls that may wait or run; one more raises PendingCallsLimitExceededError. Default -1: no
        limit.
    allow_out_of_order_execution : bool
        Whether a call may overtake earlier ones that wait for arguments. Default: only where
        several can run at a time.
    lifetime : str
        "non_detached", or "detached": the actor outlives the program and lives until ``haz.kill``
        or its own end, which needs a node that does (``haz start``). Default: "non_detached".

    Examples
    --------
    >>> @haz.remote
    ... def square(x: int) -> int:
    ...     return x * x
    >>> haz.get(square.remote(3))
    9
    >>> @haz.remote
    ... class Counter:
    ...     def __init__(self):
    ...         self.value = 0
    ...
    ...     def add(self, number: int) -> int:
    ...         self.value += number
    ...         return self.value
    >>> counter = Counter.remote()
    >>> haz.get([counter.add.remote(2), counter.add.remote(3)])
    [2, 5]
    """
    if not args:

        def decorator(target: Any) -> Any:
            return _make(target, options)

        return decorator
    if len(args) > 1 or options:
        raise TypeError(
            "use @haz.remote on a function, or @haz.remote(num_cpus=2, ...) with keywords only; "
            "the two can be combined as haz.remote(num_cpus=2)(function)"
        )
    return _make(args[0], {})
