"""Calls on the inline engine: what is bound to its options, and the arguments of one call."""

from __future__ import annotations

import os

from haz._core import serialize
from haz._core.errors import pack_exception
from haz._core.refs import ObjectRef
from haz.exceptions import RuntimeEnvSetupError, SerializationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from haz.engines.base import ActorOptions, Again, Descriptor, MethodOptions, Place, TaskOptions
    from haz.engines.inline import InlineEngine
    from haz.engines.inline_actors import InlineActor
    from haz.engines.inline_objects import Entry
    from haz.engines.inline_running import PlaceInGroup

__all__ = ["Arguments", "BoundCall", "BoundTask", "resources_of", "undecodable"]

#: Values of these types can be shared: nobody can change them, and they hold nothing else.
_IMMUTABLE = frozenset((type(None), bool, int, float, complex, str, bytes))


class BoundCall:
    """Something that can be called on an engine, with its options."""

    #: The actor whose method it is.
    actor: InlineActor | None = None
    #: What `haz.util.state` calls it.
    kind = "NORMAL_TASK"

    def __init__(
        self,
        engine: InlineEngine,
        options: TaskOptions | MethodOptions,
        descriptor: Descriptor,
        *,
        resources: dict[str, float],
        env_vars: dict[str, str],
        environment: bytes,
        again: Again | None = None,
    ) -> None:
        self.engine = engine
        self.descriptor = descriptor
        #: None where no user gets hold of it.
        self._again = again
        self.name = options.name or descriptor.name
        #: Of C++: the descriptor looks at types, too.
        self._has_types = hasattr(type(getattr(descriptor, "_function", None)), "_check")
        self.num_returns = options.num_returns
        #: Objects that a call makes, where it is no stream.
        self.num_results = options.num_returns if isinstance(options.num_returns, int) else 1
        self.timeout_s = options.timeout_s
        self.resources = resources
        self.env_vars = env_vars
        self.environment = environment
        self._retried = options.retry_exceptions

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Submit a call: ``.remote`` is bound to the object."""
        if self.engine.ended and self._again is not None:
            return self._again()(*args, **kwargs)
        descriptor = self.descriptor
        if (
            kwargs
            or len(args) < descriptor.min_args
            or (len(args) > descriptor.max_args and descriptor.max_args != -1)
            or self._has_types
        ):
            descriptor.check_call(args, kwargs)
        if self.num_returns == "streaming":
            from haz.engines.inline_streams import start_stream

            return start_stream(self.engine, self, args, kwargs)
        refs = self.engine.run(self, args, kwargs)
        if self.num_results == 1:
            return refs[0]
        return refs or None

    def __reduce__(self) -> tuple[Any, ...]:
        if self._again is None:
            raise TypeError("it is not to be copied")
        return self._again.reduced()

    def refusal(self) -> dict[str, Any] | None:
        """The error of a call that can't even begin."""
        return None

    def find_place(self) -> tuple[PlaceInGroup | None, dict[str, Any] | None]:
        """Its bundle in a placement group, None for no group; or the error if it can't run."""
        return None, None

    def call(self, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Do the work."""
        raise NotImplementedError

    def stream(self, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Do the work of a streaming function: return its generator."""
        from haz._core.generator import as_iterator

        return as_iterator(self.call(args, kwargs), "streaming")

    def resume(self, step: Callable[[], Any]) -> Any:
        """Return what `step` does, a part of the work of a streaming function."""
        return step()

    def failure(self, exc: BaseException) -> dict[str, Any]:
        """The error of a call that has raised `exc`."""
        if isinstance(exc, RuntimeEnvSetupError):
            from haz._core.environment_setup import SetupFailed

            if type(exc) is SetupFailed:
                return {"kind": "runtime_env", "message": str(exc), "task_name": self.name}
        return pack_exception(
            exc, task_name=self.name, pid=os.getpid(), function=self.descriptor.name
        )

    def retries(self) -> int:
        """How many retries there are; -1: without end."""
        raise NotImplementedError

    def may_retry(self, exc: BaseException, attempt: int) -> bool:
        """Whether `exc` is one to retry and a retry is left."""
        left = self.retries() == -1 or attempt < self.retries()
        return left and self.is_retried(exc)

    def prepared(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, or what stores its items where ``num_returns="dynamic"`` asks for that."""
        if self.num_returns != "dynamic":
            return function
        from haz._core.generator import collecting

        return collecting(function, lambda exc: None if self.is_retried(exc) else self.failure(exc))

    def is_retried(self, exc: BaseException) -> bool:
        """Whether `exc` is one to retry."""
        wanted = self._retried
        return bool(wanted) and isinstance(exc, Exception if isinstance(wanted, bool) else wanted)


class BoundTask(BoundCall):
    """A remote function."""

    #: Where it is to run; None: where its caller says.
    placement: Place | None = None

    def __init__(
        self,
        engine: InlineEngine,
        function: Callable[..., Any],
        options: TaskOptions,
        descriptor: Descriptor,
        again: Again,
    ) -> None:
        resources = resources_of(options)
        super().__init__(
            engine,
            options,
            descriptor,
            resources=resources,
            env_vars=options.env_vars,
            environment=options.environment,
            again=again,
        )
        self._function = self.prepared(function)
        self._retries = options.max_retries

    def find_place(self) -> tuple[PlaceInGroup | None, dict[str, Any] | None]:
        return self.engine.find_place(self.placement, self.resources, self.name)

    def call(self, args: list[Any], kwargs: dict[str, Any]) -> Any:
        return self._function(*args, **kwargs)

    def retries(self) -> int:
        return self._retries


class Arguments:
    """Arguments of a call, pickled where that matters; refs among them give their values."""

    def __init__(
        self,
        engine: InlineEngine,
        descriptor: Descriptor,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self._args = args
        self._kwargs = kwargs
        self._name = descriptor.name
        self._entries: dict[int, Entry] = {}
        #: The error of the first ref that failed: the task can't run.
        self.error: dict[str, Any] | None = None
        #: Pickled one by one, as every engine does: what two arguments share is two objects then.
        self._others: dict[int, Entry] = {}
        for place, value in enumerate((*args, *kwargs.values())):
            if isinstance(value, ObjectRef):
                entry = self._entries[place] = engine.ready_entry(value)
                self.error = self.error or entry.error
            elif type(value) not in _IMMUTABLE:
                try:
                    self._others[place] = engine.dump(value)
                except SerializationError as error:
                    keyword = [*[None] * len(args), *kwargs][place]
                    raise descriptor.error_in_argument(error, place, keyword) from error.__cause__

    def load(self) -> tuple[list[Any], dict[str, Any]]:
        """Fresh copies for one attempt."""
        values = [*self._args, *self._kwargs.values()]
        for place, entry in (*self._entries.items(), *self._others.items()):
            try:
                values[place] = serialize.loads(entry.data, entry.buffers)
            except Exception as error:
                where: int | str = [*range(len(self._args)), *self._kwargs][place]
                ref = values[place]
                ref = ref if isinstance(ref, ObjectRef) else None
                named = undecodable(error, ref, where, self._name)
                raise named from named.__cause__
        positional = len(self._args)
        return values[:positional], dict(zip(self._kwargs, values[positional:], strict=True))


def undecodable(
    error: Exception, ref: ObjectRef[Any] | None, argument: int | str | None, task_name: str
) -> Exception:
    """Return the error that names the value; see `deserialization_error`."""
    from haz._core.unpickling import deserialization_error

    return deserialization_error(error, ref, argument, task_name)


def resources_of(options: TaskOptions | ActorOptions) -> dict[str, float]:
    """Return what a task takes or an actor holds, name to amount."""
    return {
        "CPU": options.num_cpus,
        "GPU": options.num_gpus,
        "memory": options.memory,
        **options.resources,
    }
