"""The types of ``@haz.remote`` and ``.remote()``, for type checkers; never imported at run time.

What they say: ``.remote()`` takes the parameters of the function, and wherever one is positional
also an ``ObjectRef`` of its type; it returns an ``ObjectRef`` of the function's result. A function
whose result is an iterator is taken for a generator function, and gives an ``ObjectRefGenerator``.
Where the result's type is not known, it may be either, so that ``.remote()`` returns ``Any``.

How: ``RemoteFunction[P, Out]`` has the parameters of the function as ``P``, and a method `_takes`
with them. ``.remote()`` is either exactly ``P``, keywords and defaults and all; or a call with a
ref in it, with one overload for each number of positional arguments that the function can take
(`Takes3` matches what can take three, and learns their types) and each place of the first ref.

A ref given by keyword is not covered: pass it by position.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import (
    Any,
    Generic,
    Literal,
    ParamSpec,
    Protocol,
    TypeAlias,
    TypedDict,
    TypeVar,
    overload,
)

from haz._core.actor import ActorClass, ActorHandle
from haz._core.generator import DynamicObjectRefGenerator, ObjectRefGenerator
from haz._core.refs import ObjectRef
from haz._core.remote import RemoteFunction

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Out = TypeVar("Out")
T_co = TypeVar("T_co", covariant=True)
Out_co = TypeVar("Out_co", covariant=True)
T0 = TypeVar("T0", contravariant=True)
T1 = TypeVar("T1", contravariant=True)
T2 = TypeVar("T2", contravariant=True)
T3 = TypeVar("T3", contravariant=True)
T4 = TypeVar("T4", contravariant=True)
T5 = TypeVar("T5", contravariant=True)
T6 = TypeVar("T6", contravariant=True)
T7 = TypeVar("T7", contravariant=True)
T8 = TypeVar("T8", contravariant=True)

#: An argument in a call that has refs in it.
Arg: TypeAlias = T | ObjectRef[T]
#: Numbers of results that give a list of refs.
Several: TypeAlias = Literal[2, 3, 4, 5, 6, 7, 8, 9, 10]

class Keywords(TypedDict, total=False):
    """Options of ``@haz.remote`` and ``.options`` besides ``num_returns``."""

    num_cpus: float | None
    num_gpus: float | None
    resources: dict[str, float] | None
    name: str | None
    max_retries: int | None
    retry_exceptions: bool | Sequence[type[BaseException]] | None
    timeout_s: float | None
    priority: int | None
    max_calls: int | None
    memory: float | None
    accelerator_type: str | None
    label_selector: dict[str, str] | None
    fallback_strategy: list[dict[str, Any]] | None
    scheduling_strategy: Any
    placement_group: Any
    placement_group_bundle_index: int
    placement_group_capture_child_tasks: bool | None
    runtime_env: Any
    enable_task_events: bool
    _generator_backpressure_num_objects: int | None

class ActorKeywords(TypedDict, total=False):
    """Options of ``@haz.remote`` and ``.options`` for classes."""

    num_cpus: float | None
    num_gpus: float | None
    resources: dict[str, float] | None
    name: str | None
    namespace: str | None
    get_if_exists: bool | None
    lifetime: Literal["detached", "non_detached"] | None
    max_restarts: int | None
    max_task_retries: int | None
    max_concurrency: int | None
    concurrency_groups: dict[str, int] | None
    max_pending_calls: int | None
    allow_out_of_order_execution: bool | None
    memory: float | None
    object_store_memory: float | None
    accelerator_type: str | None
    label_selector: dict[str, str] | None
    fallback_strategy: list[dict[str, Any]] | None
    scheduling_strategy: Any
    placement_group: Any
    placement_group_bundle_index: int
    placement_group_capture_child_tasks: bool | None
    runtime_env: Any
    enable_task_events: bool

class MethodKeywords(TypedDict, total=False):
    """Options of ``@haz.method`` and of a method's ``.options`` besides ``num_returns``."""

    name: str | None
    max_task_retries: int | None
    retry_exceptions: bool | Sequence[type[BaseException]] | None
    timeout_s: float | None
    concurrency_group: str | None
    priority: int | None
    enable_task_events: bool
    _generator_backpressure_num_objects: int | None

class Class(Protocol[P, T_co]):
    """A class, with the parameters of its constructor."""

    @property
    def __mro__(self) -> tuple[type, ...]: ...
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T_co: ...

class ActorDecorator(Protocol):
    """``@haz.remote(...)`` with options that only actors have."""

    @overload
    def __call__(self, cls: Class[P, T], /) -> ActorClass[P, T]: ...
    # What other decorators return is for mypy a class without a known constructor.
    @overload
    def __call__(self, cls: type[T], /) -> ActorClass[..., T]: ...

class Decorator(Protocol):
    """``@haz.remote(...)``: one result."""

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, cls: Class[P, T], /
    ) -> ActorClass[P, T]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, cls: type[T], /
    ) -> ActorClass[..., T]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[P, Iterator[T]], /
    ) -> RemoteFunction[P, ObjectRefGenerator[T]]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> RemoteFunction[P, ObjectRef[R]]: ...

class DecoratorToStream(Protocol):
    """``@haz.remote(num_returns="streaming")``."""

    def __call__(
        self, function: Callable[P, Iterable[T]], /
    ) -> RemoteFunction[P, ObjectRefGenerator[T]]: ...

class DecoratorToDynamic(Protocol):
    """``@haz.remote(num_returns="dynamic")``."""

    def __call__(
        self, function: Callable[P, Iterable[T]], /
    ) -> RemoteFunction[P, ObjectRef[DynamicObjectRefGenerator[T]]]: ...

class DecoratorTo(Protocol[Out]):
    """``@haz.remote(num_returns=...)``: `Out` is what ``.remote()`` returns."""

    def __call__(self, function: Callable[P, Any], /) -> RemoteFunction[P, Out]: ...

class Takes1(Protocol[T0, Out_co]):
    def _takes(self, a0: T0, /) -> Out_co: ...

class Takes2(Protocol[T0, T1, Out_co]):
    def _takes(self, a0: T0, a1: T1, /) -> Out_co: ...

class Takes3(Protocol[T0, T1, T2, Out_co]):
    def _takes(self, a0: T0, a1: T1, a2: T2, /) -> Out_co: ...

class Takes4(Protocol[T0, T1, T2, T3, Out_co]):
    def _takes(self, a0: T0, a1: T1, a2: T2, a3: T3, /) -> Out_co: ...

class Takes5(Protocol[T0, T1, T2, T3, T4, Out_co]):
    def _takes(self, a0: T0, a1: T1, a2: T2, a3: T3, a4: T4, /) -> Out_co: ...

class Takes6(Protocol[T0, T1, T2, T3, T4, T5, Out_co]):
    def _takes(self, a0: T0, a1: T1, a2: T2, a3: T3, a4: T4, a5: T5, /) -> Out_co: ...

class Takes7(Protocol[T0, T1, T2, T3, T4, T5, T6, Out_co]):
    def _takes(self, a0: T0, a1: T1, a2: T2, a3: T3, a4: T4, a5: T5, a6: T6, /) -> Out_co: ...

class Takes8(Protocol[T0, T1, T2, T3, T4, T5, T6, T7, Out_co]):
    def _takes(
        self, a0: T0, a1: T1, a2: T2, a3: T3, a4: T4, a5: T5, a6: T6, a7: T7, /
    ) -> Out_co: ...

class Takes9(Protocol[T0, T1, T2, T3, T4, T5, T6, T7, T8, Out_co]):
    def _takes(
        self, a0: T0, a1: T1, a2: T2, a3: T3, a4: T4, a5: T5, a6: T6, a7: T7, a8: T8, /
    ) -> Out_co: ...

class TypedRemote(Generic[P, Out]):
    """Base of RemoteFunction in the eyes of type checkers."""

    __wrapped__: Callable[P, Any]

    def _takes(self, *args: P.args, **kwargs: P.kwargs) -> Out: ...
    @overload
    def remote(self, *args: P.args, **kwargs: P.kwargs) -> Out: ...
    @overload
    def remote(self: Takes1[T0, Out], a0: ObjectRef[T0], /, **kwargs: Any) -> Out: ...
    @overload
    def remote(
        self: Takes2[T0, T1, Out], a0: ObjectRef[T0], a1: Arg[T1], /, **kwargs: Any
    ) -> Out: ...
    @overload
    def remote(self: Takes2[T0, T1, Out], a0: T0, a1: ObjectRef[T1], /, **kwargs: Any) -> Out: ...
    @overload
    def remote(
        self: Takes3[T0, T1, T2, Out], a0: ObjectRef[T0], a1: Arg[T1], a2: Arg[T2], /, **kwargs: Any
    ) -> Out: ...
    @overload
    def remote(
        self: Takes3[T0, T1, T2, Out], a0: T0, a1: ObjectRef[T1], a2: Arg[T2], /, **kwargs: Any
    ) -> Out: ...
    @overload
    def remote(
        self: Takes3[T0, T1, T2, Out], a0: T0, a1: T1, a2: ObjectRef[T2], /, **kwargs: Any
    ) -> Out: ...
    @overload
    def remote(
        self: Takes4[T0, T1, T2, T3, Out],
        a0: ObjectRef[T0],
        a1: Arg[T1],
        a2: Arg[T2],
        a3: Arg[T3],
        /,
        **kwargs: Any,
    ) -> Out: ...
    @overload
    def remote(
        self: Takes4[T0, T1, T2, T3, Out],
        a0: T0,
        a1: ObjectRef[T1],
        a2: Arg[T2],
        a3: Arg[T3],
        /,
        **kwargs: Any,
    ) -> Out: ...
    @overload
    def remote(
        self: Takes4[T0, T1, T2, T3, Out],
        a0: T0,
        a1: T1,
        a2: ObjectRef[T2],
        a3: Arg[T3],
        /,
        **kwargs: Any,
    ) -> Out: ...
    @overload
    def remote(
        self: Takes4[T0, T1, T2, T3, Out],
        a0: T0,
        a1: T1,
        a2: T2,
        a3: ObjectRef[T3],
        /,
        **kwargs: Any,
    ) -> Out: ...
    @overload
    def remote(
        self: Takes5[T0, T1, T2, T3, T4, Out],
        a0: ObjectRef[T0],
        a1: Arg[T1],
        a2: Arg[T2],
        a3: Arg[T3],
        a4: Arg[T4],
        /,
        **kwargs: Any,
    ) -> Out: ...
    @overload
    def remote(
        self: Takes5[T0, T1, T2, T3, T4, Out],
        a0: T0,
        a1: ObjectRef[T1],
        a2: Arg[T2],
        a3: Arg[T3],
        a4: Arg[T4],
        /,
        **kwargs: Any,
    ) -> Out: ...
    @overload
    def remote(
        self: Takes5[T0, T1, T2, T3, T4, Out],
        a0: T0,
        a1: T1,
        a2: ObjectRef[T2],
        a3: Arg[T3],
        a4: Arg[T4],
        /,
        **kwargs: Any,
    ) -> Out: ...
    @overload
    def remote(
        self: Takes5[T0, T1, T2, T3, T4, Out],
        a0: T0,
        a1: T1,
        a2: T2,
        a3: ObjectRef[T3],
        a4: Arg[T4],
        /,
        **kwargs: Any,
    ) -> Out: ...
    @overload
    def remote(
        self: Takes5[T0, T1, T2, T3, T4, Out],
        a0: T0,
        a1: T1,
        a2: T2,
        a3: T3,
        a4: ObjectRef[T4],
        /,
        **kwargs: Any,
    ) -> Out: ...
    @overload
    def remote(
        self: Takes6[T0, T1, T2, T3, T4, T5, Out],
        a0: ObjectRef[T0],
        a1: Arg[T1],
        a2: Arg[T2],
        a3: Arg[T3],
        a4: Arg[T4],
        a5: Arg[T5],
        /,
        **kwargs: Any,
    ) -> Out: ...
    @overload
    def remote(
        self: Takes6[T0, T1, T2, T3, T4, T5, Out],
        a0: T0,
        a1: ObjectRef[T1],
        a2: Arg[T2],
        a3: Arg[T3],
        a4: Arg[T4],
        a5: Arg[T5],
        /,
        **kwargs: Any,
    ) -> Out: ...
    @overload
    def remote(
        self: Takes6[T0, T1, T2, T3, T4, T5, Out],
        a0: T0,
        a1: T1,
        a2: ObjectRef[T2],
        a3: Arg[T3],
        a4: Arg[T4],
        a5: Arg[T5],
        /,
        **kwargs: Any,
    ) -> Out: ...
    @overload
    def remote(
        self: Takes6[T0, T1, T2, T3, T4, T5, Out],
        a0: T0,
        a1: T1,
        a2: T2,
        a3: ObjectRef[T3],
        a4: Arg[T4],
        a5: Arg[T5],
        /,
        **kwargs: Any,
    ) -> Out: ...
    @overload
    def remote(
        self: Takes6[T0, T1, T2, T3, T4, T5, Out],
        a0: T0,
        a1: T1,
        a2: T2,
        a3: T3,
        a4: ObjectRef[T4],
        a5: Arg[T5],
        /,
        **kwargs: Any,
    ) -> Out: ...
    @overload
    def remote(
        self: Takes6[T0, T1, T2, T3, T4, T5, Out],
        a0: T0,
        a1: T1,
        a2: T2,
        a3: T3,
        a4: T4,
        a5: ObjectRef[T5],
        /,
        **kwargs: Any,
    ) -> Out: ...
    @overload
    def remote(
        self: Takes7[T0, T1, T2, T3, T4, T5, T6, Out],
        a0: ObjectRef[T0],
        a1: Arg[T1],
        a2: Arg[T2],
        a3: Arg[T3],
        a4: Arg[T4],
        a5: Arg[T5],
        a6: Arg[T6],
        /,
        **kwargs: Any,
    ) -> Out: ...
    @overload
    def remote(
        self: Takes7[T0, T1, T2, T3, T4, T5, T6, Out],
        a0: T0,
        a1: ObjectRef[T1],
        a2: Arg[T2],
        a3: Arg[T3],
        a4: Arg[T4],
        a5: Arg[T5],
        a6: Arg[T6],
        /,
        **kwargs: Any,
    ) -> Out: ...
    @overload
    def remote(
        self: Takes7[T0, T1, T2, T3, T4, T5, T6, Out],
        a0: T0,
        a1: T1,
        a2: ObjectRef[T2],
        a3: Arg[T3],
        a4: Arg[T4],
        a5: Arg[T5],
        a6: Arg[T6],
        /,
        **kwargs: Any,
    ) -> Out: ...
    @overload
    def remote(
        self: Takes7[T0, T1, T2, T3, T4, T5, T6, Out],
        a0: T0,
        a1: T1,
        a2: T2,
        a3: ObjectRef[T3],
        a4: Arg[T4],
        a5: Arg[T5],
        a6: Arg[T6],
        /,
        **kwargs: Any,
    ) -> Out: ...
    @overload
    def remote(
        self: Takes7[T0, T1, T2, T3, T4, T5, T6, Out],
        a0: T0,
        a1: T1,
        a2: T2,
        a3: T3,
        a4: ObjectRef[T4],
        a5: Arg[T5],
        a6: Arg[T6],
        /,
        **kwargs: Any,
    ) -> Out: ...
    @overload
    def remote(
        self: Takes7[T0, T1, T2, T3, T4, T5, T6, Out],
        a0: T0,
        a1: T1,
        a2: T2,
        a3: T3,
        a4: T4,
        a5: ObjectRef[T5],
        a6: Arg[T6],
        /,
        **kwargs: Any,
    ) -> Out: ...
    @overload
    def remote(
        self: Takes7[T0, T1, T2, T3, T4, T5, T6, Out],
        a0: T0,
        a1: T1,
        a2: T2,
        a3: T3,
        a4: T4,
        a5: T5,
        a6: ObjectRef[T6],
        /,
        **kwargs: Any,
    ) -> Out: ...
    @overload
    def remote(
        self: Takes8[T0, T1, T2, T3, T4, T5, T6, T7, Out],
        a0: ObjectRef[T0],
        a1: Arg[T1],
        a2: Arg[T2],
        a3: Arg[T3],
        a4: Arg[T4],
        a5: Arg[T5],
        a6: Arg[T6],
        a7: Arg[T7],
        /,
        **kwargs: Any,
    ) -> Out: ...
    @overload
    def remote(
        self: Takes8[T0, T1, T2, T3, T4, T5, T6, T7, Out],
        a0: T0,
        a1: ObjectRef[T1],
        a2: Arg[T2],
        a3: Arg[T3],
        a4: Arg[T4],
        a5: Arg[T5],
        a6: Arg[T6],
        a7: Arg[T7],
        /,
        **kwargs: Any,
    ) -> Out: ...
    @overload
    def remote(
        self: Takes8[T0, T1, T2, T3, T4, T5, T6, T7, Out],
        a0: T0,
        a1: T1,
        a2: ObjectRef[T2],
        a3: Arg[T3],
        a4: Arg[T4],
        a5: Arg[T5],
        a6: Arg[T6],
        a7: Arg[T7],
        /,
        **kwargs: Any,
    ) -> Out: ...
    @overload
    def remote(
        self: Takes8[T0, T1, T2, T3, T4, T5, T6, T7, Out],
        a0: T0,
        a1: T1,
        a2: T2,
        a3: ObjectRef[T3],
        a4: Arg[T4],
        a5: Arg[T5],
        a6: Arg[T6],
        a7: Arg[T7],
        /,
        **kwargs: Any,
    ) -> Out: ...
    @overload
    def remote(
        self: Takes8[T0, T1, T2, T3, T4, T5, T6, T7, Out],
        a0: T0,
        a1: T1,
        a2: T2,
        a3: T3,
        a4: ObjectRef[T4],
        a5: Arg[T5],
        a6: Arg[T6],
        a7: Arg[T7],
        /,
        **kwargs: Any,
    ) -> Out: ...
    @overload
    def remote(
        self: Takes8[T0, T1, T2, T3, T4, T5, T6, T7, Out],
        a0: T0,
        a1: T1,
        a2: T2,
        a3: T3,
        a4: T4,
        a5: ObjectRef[T5],
        a6: Arg[T6],
        a7: Arg[T7],
        /,
        **kwargs: Any,
    ) -> Out: ...
    @overload
    def remote(
        self: Takes8[T0, T1, T2, T3, T4, T5, T6, T7, Out],
        a0: T0,
        a1: T1,
        a2: T2,
        a3: T3,
        a4: T4,
        a5: T5,
        a6: ObjectRef[T6],
        a7: Arg[T7],
        /,
        **kwargs: Any,
    ) -> Out: ...
    @overload
    def remote(
        self: Takes8[T0, T1, T2, T3, T4, T5, T6, T7, Out],
        a0: T0,
        a1: T1,
        a2: T2,
        a3: T3,
        a4: T4,
        a5: T5,
        a6: T6,
        a7: ObjectRef[T7],
        /,
        **kwargs: Any,
    ) -> Out: ...
    @overload
    def remote(
        self: Takes9[T0, T1, T2, T3, T4, T5, T6, T7, T8, Out],
        a0: ObjectRef[T0],
        a1: Arg[T1],
        a2: Arg[T2],
        a3: Arg[T3],
        a4: Arg[T4],
        a5: Arg[T5],
        a6: Arg[T6],
        a7: Arg[T7],
        a8: Arg[T8],
        /,
        **kwargs: Any,
    ) -> Out: ...
    @overload
    def remote(
        self: Takes9[T0, T1, T2, T3, T4, T5, T6, T7, T8, Out],
        a0: T0,
        a1: ObjectRef[T1],
        a2: Arg[T2],
        a3: Arg[T3],
        a4: Arg[T4],
        a5: Arg[T5],
        a6: Arg[T6],
        a7: Arg[T7],
        a8: Arg[T8],
        /,
        **kwargs: Any,
    ) -> Out: ...
    @overload
    def remote(
        self: Takes9[T0, T1, T2, T3, T4, T5, T6, T7, T8, Out],
        a0: T0,
        a1: T1,
        a2: ObjectRef[T2],
        a3: Arg[T3],
        a4: Arg[T4],
        a5: Arg[T5],
        a6: Arg[T6],
        a7: Arg[T7],
        a8: Arg[T8],
        /,
        **kwargs: Any,
    ) -> Out: ...
    @overload
    def remote(
        self: Takes9[T0, T1, T2, T3, T4, T5, T6, T7, T8, Out],
        a0: T0,
        a1: T1,
        a2: T2,
        a3: ObjectRef[T3],
        a4: Arg[T4],
        a5: Arg[T5],
        a6: Arg[T6],
        a7: Arg[T7],
        a8: Arg[T8],
        /,
        **kwargs: Any,
    ) -> Out: ...
    @overload
    def remote(
        self: Takes9[T0, T1, T2, T3, T4, T5, T6, T7, T8, Out],
        a0: T0,
        a1: T1,
        a2: T2,
        a3: T3,
        a4: ObjectRef[T4],
        a5: Arg[T5],
        a6: Arg[T6],
        a7: Arg[T7],
        a8: Arg[T8],
        /,
        **kwargs: Any,
    ) -> Out: ...
    @overload
    def remote(
        self: Takes9[T0, T1, T2, T3, T4, T5, T6, T7, T8, Out],
        a0: T0,
        a1: T1,
        a2: T2,
        a3: T3,
        a4: T4,
        a5: ObjectRef[T5],
        a6: Arg[T6],
        a7: Arg[T7],
        a8: Arg[T8],
        /,
        **kwargs: Any,
    ) -> Out: ...
    @overload
    def remote(
        self: Takes9[T0, T1, T2, T3, T4, T5, T6, T7, T8, Out],
        a0: T0,
        a1: T1,
        a2: T2,
        a3: T3,
        a4: T4,
        a5: T5,
        a6: ObjectRef[T6],
        a7: Arg[T7],
        a8: Arg[T8],
        /,
        **kwargs: Any,
    ) -> Out: ...
    @overload
    def remote(
        self: Takes9[T0, T1, T2, T3, T4, T5, T6, T7, T8, Out],
        a0: T0,
        a1: T1,
        a2: T2,
        a3: T3,
        a4: T4,
        a5: T5,
        a6: T6,
        a7: ObjectRef[T7],
        a8: Arg[T8],
        /,
        **kwargs: Any,
    ) -> Out: ...
    @overload
    def remote(
        self: Takes9[T0, T1, T2, T3, T4, T5, T6, T7, T8, Out],
        a0: T0,
        a1: T1,
        a2: T2,
        a3: T3,
        a4: T4,
        a5: T5,
        a6: T6,
        a7: T7,
        a8: ObjectRef[T8],
        /,
        **kwargs: Any,
    ) -> Out: ...

class TypedActorClass(TypedRemote[P, ActorHandle[T]], Generic[P, T]):
    """Base of ActorClass in the eyes of type checkers."""
