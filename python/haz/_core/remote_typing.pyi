"""The types of ``@haz.remote`` and ``.remote()``, for type checkers; never imported at run time.

What they say: ``.remote()`` takes the parameters of the function, and wherever one is positional
also an ``ObjectRef`` of its type; it returns an ``ObjectRef`` of the function's result.

How: ``RemoteFunction[P, Out]`` has the function's parameters as ``P``, and a method ``_takes``
with them. `RemoteMethod` is a descriptor that matches this method against 9, 8, ... 1 positional
parameters to learn their types. `Call2`, for a function of two, then takes either exactly ``P``
(keywords, defaults and all), or a call with a ref in it: one overload for each place of the
first ref. So a wrong type is always an error; a missing argument is one unless the call has refs.
A ref given by keyword is not covered: pass it by position.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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

from haz._core.refs import ObjectRef
from haz._core.remote import RemoteFunction

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Out = TypeVar("Out")
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


class Keywords(TypedDict, total=False):
    """Options of ``@haz.remote`` and ``.options`` besides ``num_returns``."""

    num_cpus: float | None
    num_gpus: float | None
    resources: dict[str, float] | None
    name: str | None
    max_retries: int | None
    retry_exceptions: bool | Sequence[type[BaseException]] | None
    timeout_s: float | None
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


class Decorator(Protocol):
    """``@haz.remote(...)``: one result."""

    @overload
    def __call__(self, cls: type[T], /) -> Any: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> RemoteFunction[P, ObjectRef[R]]: ...


class DecoratorTo(Protocol[Out]):
    """``@haz.remote(num_returns=...)``: `Out` is what ``.remote()`` returns."""

    def __call__(self, function: Callable[P, Any], /) -> RemoteFunction[P, Out]: ...


#: Numbers of results that give a list of refs.
Several = Literal[2, 3, 4, 5, 6, 7, 8, 9, 10]


class Call0(Protocol[P, Out_co]):
    """``.remote`` of a function without positional parameters, or with more than nine."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Out_co: ...


class Takes1(Protocol[T0]):
    """Whatever can take 1 positional argument."""

    def _takes(self, a0: T0, /) -> None: ...


class Call1(Protocol[P, Out_co, T0]):
    """``.remote`` of a function of 1 positional parameter."""

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Out_co: ...
    @overload
    def __call__(self, a0: ObjectRef[T0], /, **kwargs: Any) -> Out_co: ...


class Takes2(Protocol[T0, T1]):
    """Whatever can take 2 positional arguments."""

    def _takes(self, a0: T0, a1: T1, /) -> None: ...


class Call2(Protocol[P, Out_co, T0, T1]):
    """``.remote`` of a function of 2 positional parameters."""

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Out_co: ...
    @overload
    def __call__(self, a0: ObjectRef[T0], a1: Arg[T1] = ..., /, **kwargs: Any) -> Out_co: ...
    @overload
    def __call__(self, a0: T0, a1: ObjectRef[T1], /, **kwargs: Any) -> Out_co: ...


class Takes3(Protocol[T0, T1, T2]):
    """Whatever can take 3 positional arguments."""

    def _takes(self, a0: T0, a1: T1, a2: T2, /) -> None: ...


class Call3(Protocol[P, Out_co, T0, T1, T2]):
    """``.remote`` of a function of 3 positional parameters."""

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Out_co: ...
    @overload
    def __call__(
        self, a0: ObjectRef[T0], a1: Arg[T1] = ..., a2: Arg[T2] = ..., /, **kwargs: Any
    ) -> Out_co: ...
    @overload
    def __call__(
        self, a0: T0, a1: ObjectRef[T1], a2: Arg[T2] = ..., /, **kwargs: Any
    ) -> Out_co: ...
    @overload
    def __call__(self, a0: T0, a1: T1, a2: ObjectRef[T2], /, **kwargs: Any) -> Out_co: ...


class Takes4(Protocol[T0, T1, T2, T3]):
    """Whatever can take 4 positional arguments."""

    def _takes(self, a0: T0, a1: T1, a2: T2, a3: T3, /) -> None: ...


class Call4(Protocol[P, Out_co, T0, T1, T2, T3]):
    """``.remote`` of a function of 4 positional parameters."""

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Out_co: ...
    @overload
    def __call__(
        self,
        a0: ObjectRef[T0],
        a1: Arg[T1] = ...,
        a2: Arg[T2] = ...,
        a3: Arg[T3] = ...,
        /,
        **kwargs: Any,
    ) -> Out_co: ...
    @overload
    def __call__(
        self, a0: T0, a1: ObjectRef[T1], a2: Arg[T2] = ..., a3: Arg[T3] = ..., /, **kwargs: Any
    ) -> Out_co: ...
    @overload
    def __call__(
        self, a0: T0, a1: T1, a2: ObjectRef[T2], a3: Arg[T3] = ..., /, **kwargs: Any
    ) -> Out_co: ...
    @overload
    def __call__(self, a0: T0, a1: T1, a2: T2, a3: ObjectRef[T3], /, **kwargs: Any) -> Out_co: ...


class Takes5(Protocol[T0, T1, T2, T3, T4]):
    """Whatever can take 5 positional arguments."""

    def _takes(self, a0: T0, a1: T1, a2: T2, a3: T3, a4: T4, /) -> None: ...


class Call5(Protocol[P, Out_co, T0, T1, T2, T3, T4]):
    """``.remote`` of a function of 5 positional parameters."""

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Out_co: ...
    @overload
    def __call__(
        self,
        a0: ObjectRef[T0],
        a1: Arg[T1] = ...,
        a2: Arg[T2] = ...,
        a3: Arg[T3] = ...,
        a4: Arg[T4] = ...,
        /,
        **kwargs: Any,
    ) -> Out_co: ...
    @overload
    def __call__(
        self,
        a0: T0,
        a1: ObjectRef[T1],
        a2: Arg[T2] = ...,
        a3: Arg[T3] = ...,
        a4: Arg[T4] = ...,
        /,
        **kwargs: Any,
    ) -> Out_co: ...
    @overload
    def __call__(
        self,
        a0: T0,
        a1: T1,
        a2: ObjectRef[T2],
        a3: Arg[T3] = ...,
        a4: Arg[T4] = ...,
        /,
        **kwargs: Any,
    ) -> Out_co: ...
    @overload
    def __call__(
        self, a0: T0, a1: T1, a2: T2, a3: ObjectRef[T3], a4: Arg[T4] = ..., /, **kwargs: Any
    ) -> Out_co: ...
    @overload
    def __call__(
        self, a0: T0, a1: T1, a2: T2, a3: T3, a4: ObjectRef[T4], /, **kwargs: Any
    ) -> Out_co: ...


class Takes6(Protocol[T0, T1, T2, T3, T4, T5]):
    """Whatever can take 6 positional arguments."""

    def _takes(self, a0: T0, a1: T1, a2: T2, a3: T3, a4: T4, a5: T5, /) -> None: ...


class Call6(Protocol[P, Out_co, T0, T1, T2, T3, T4, T5]):
    """``.remote`` of a function of 6 positional parameters."""

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Out_co: ...
    @overload
    def __call__(
        self,
        a0: ObjectRef[T0],
        a1: Arg[T1] = ...,
        a2: Arg[T2] = ...,
        a3: Arg[T3] = ...,
        a4: Arg[T4] = ...,
        a5: Arg[T5] = ...,
        /,
        **kwargs: Any,
    ) -> Out_co: ...
    @overload
    def __call__(
        self,
        a0: T0,
        a1: ObjectRef[T1],
        a2: Arg[T2] = ...,
        a3: Arg[T3] = ...,
        a4: Arg[T4] = ...,
        a5: Arg[T5] = ...,
        /,
        **kwargs: Any,
    ) -> Out_co: ...
    @overload
    def __call__(
        self,
        a0: T0,
        a1: T1,
        a2: ObjectRef[T2],
        a3: Arg[T3] = ...,
        a4: Arg[T4] = ...,
        a5: Arg[T5] = ...,
        /,
        **kwargs: Any,
    ) -> Out_co: ...
    @overload
    def __call__(
        self,
        a0: T0,
        a1: T1,
        a2: T2,
        a3: ObjectRef[T3],
        a4: Arg[T4] = ...,
        a5: Arg[T5] = ...,
        /,
        **kwargs: Any,
    ) -> Out_co: ...
    @overload
    def __call__(
        self, a0: T0, a1: T1, a2: T2, a3: T3, a4: ObjectRef[T4], a5: Arg[T5] = ..., /, **kwargs: Any
    ) -> Out_co: ...
    @overload
    def __call__(
        self, a0: T0, a1: T1, a2: T2, a3: T3, a4: T4, a5: ObjectRef[T5], /, **kwargs: Any
    ) -> Out_co: ...


class Takes7(Protocol[T0, T1, T2, T3, T4, T5, T6]):
    """Whatever can take 7 positional arguments."""

    def _takes(self, a0: T0, a1: T1, a2: T2, a3: T3, a4: T4, a5: T5, a6: T6, /) -> None: ...


class Call7(Protocol[P, Out_co, T0, T1, T2, T3, T4, T5, T6]):
    """``.remote`` of a function of 7 positional parameters."""

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Out_co: ...
    @overload
    def __call__(
        self,
        a0: ObjectRef[T0],
        a1: Arg[T1] = ...,
        a2: Arg[T2] = ...,
        a3: Arg[T3] = ...,
        a4: Arg[T4] = ...,
        a5: Arg[T5] = ...,
        a6: Arg[T6] = ...,
        /,
        **kwargs: Any,
    ) -> Out_co: ...
    @overload
    def __call__(
        self,
        a0: T0,
        a1: ObjectRef[T1],
        a2: Arg[T2] = ...,
        a3: Arg[T3] = ...,
        a4: Arg[T4] = ...,
        a5: Arg[T5] = ...,
        a6: Arg[T6] = ...,
        /,
        **kwargs: Any,
    ) -> Out_co: ...
    @overload
    def __call__(
        self,
        a0: T0,
        a1: T1,
        a2: ObjectRef[T2],
        a3: Arg[T3] = ...,
        a4: Arg[T4] = ...,
        a5: Arg[T5] = ...,
        a6: Arg[T6] = ...,
        /,
        **kwargs: Any,
    ) -> Out_co: ...
    @overload
    def __call__(
        self,
        a0: T0,
        a1: T1,
        a2: T2,
        a3: ObjectRef[T3],
        a4: Arg[T4] = ...,
        a5: Arg[T5] = ...,
        a6: Arg[T6] = ...,
        /,
        **kwargs: Any,
    ) -> Out_co: ...
    @overload
    def __call__(
        self,
        a0: T0,
        a1: T1,
        a2: T2,
        a3: T3,
        a4: ObjectRef[T4],
        a5: Arg[T5] = ...,
        a6: Arg[T6] = ...,
        /,
        **kwargs: Any,
    ) -> Out_co: ...
    @overload
    def __call__(
        self,
        a0: T0,
        a1: T1,
        a2: T2,
        a3: T3,
        a4: T4,
        a5: ObjectRef[T5],
        a6: Arg[T6] = ...,
        /,
        **kwargs: Any,
    ) -> Out_co: ...
    @overload
    def __call__(
        self, a0: T0, a1: T1, a2: T2, a3: T3, a4: T4, a5: T5, a6: ObjectRef[T6], /, **kwargs: Any
    ) -> Out_co: ...


class Takes8(Protocol[T0, T1, T2, T3, T4, T5, T6, T7]):
    """Whatever can take 8 positional arguments."""

    def _takes(self, a0: T0, a1: T1, a2: T2, a3: T3, a4: T4, a5: T5, a6: T6, a7: T7, /) -> None: ...


class Call8(Protocol[P, Out_co, T0, T1, T2, T3, T4, T5, T6, T7]):
    """``.remote`` of a function of 8 positional parameters."""

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Out_co: ...
    @overload
    def __call__(
        self,
        a0: ObjectRef[T0],
        a1: Arg[T1] = ...,
        a2: Arg[T2] = ...,
        a3: Arg[T3] = ...,
        a4: Arg[T4] = ...,
        a5: Arg[T5] = ...,
        a6: Arg[T6] = ...,
        a7: Arg[T7] = ...,
        /,
        **kwargs: Any,
    ) -> Out_co: ...
    @overload
    def __call__(
        self,
        a0: T0,
        a1: ObjectRef[T1],
        a2: Arg[T2] = ...,
        a3: Arg[T3] = ...,
        a4: Arg[T4] = ...,
        a5: Arg[T5] = ...,
        a6: Arg[T6] = ...,
        a7: Arg[T7] = ...,
        /,
        **kwargs: Any,
    ) -> Out_co: ...
    @overload
    def __call__(
        self,
        a0: T0,
        a1: T1,
        a2: ObjectRef[T2],
        a3: Arg[T3] = ...,
        a4: Arg[T4] = ...,
        a5: Arg[T5] = ...,
        a6: Arg[T6] = ...,
        a7: Arg[T7] = ...,
        /,
        **kwargs: Any,
    ) -> Out_co: ...
    @overload
    def __call__(
        self,
        a0: T0,
        a1: T1,
        a2: T2,
        a3: ObjectRef[T3],
        a4: Arg[T4] = ...,
        a5: Arg[T5] = ...,
        a6: Arg[T6] = ...,
        a7: Arg[T7] = ...,
        /,
        **kwargs: Any,
    ) -> Out_co: ...
    @overload
    def __call__(
        self,
        a0: T0,
        a1: T1,
        a2: T2,
        a3: T3,
        a4: ObjectRef[T4],
        a5: Arg[T5] = ...,
        a6: Arg[T6] = ...,
        a7: Arg[T7] = ...,
        /,
        **kwargs: Any,
    ) -> Out_co: ...
    @overload
    def __call__(
        self,
        a0: T0,
        a1: T1,
        a2: T2,
        a3: T3,
        a4: T4,
        a5: ObjectRef[T5],
        a6: Arg[T6] = ...,
        a7: Arg[T7] = ...,
        /,
        **kwargs: Any,
    ) -> Out_co: ...
    @overload
    def __call__(
        self,
        a0: T0,
        a1: T1,
        a2: T2,
        a3: T3,
        a4: T4,
        a5: T5,
        a6: ObjectRef[T6],
        a7: Arg[T7] = ...,
        /,
        **kwargs: Any,
    ) -> Out_co: ...
    @overload
    def __call__(
        self,
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
    ) -> Out_co: ...


class Takes9(Protocol[T0, T1, T2, T3, T4, T5, T6, T7, T8]):
    """Whatever can take 9 positional arguments."""

    def _takes(
        self, a0: T0, a1: T1, a2: T2, a3: T3, a4: T4, a5: T5, a6: T6, a7: T7, a8: T8, /
    ) -> None: ...


class Call9(Protocol[P, Out_co, T0, T1, T2, T3, T4, T5, T6, T7, T8]):
    """``.remote`` of a function of 9 positional parameters."""

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Out_co: ...
    @overload
    def __call__(
        self,
        a0: ObjectRef[T0],
        a1: Arg[T1] = ...,
        a2: Arg[T2] = ...,
        a3: Arg[T3] = ...,
        a4: Arg[T4] = ...,
        a5: Arg[T5] = ...,
        a6: Arg[T6] = ...,
        a7: Arg[T7] = ...,
        a8: Arg[T8] = ...,
        /,
        **kwargs: Any,
    ) -> Out_co: ...
    @overload
    def __call__(
        self,
        a0: T0,
        a1: ObjectRef[T1],
        a2: Arg[T2] = ...,
        a3: Arg[T3] = ...,
        a4: Arg[T4] = ...,
        a5: Arg[T5] = ...,
        a6: Arg[T6] = ...,
        a7: Arg[T7] = ...,
        a8: Arg[T8] = ...,
        /,
        **kwargs: Any,
    ) -> Out_co: ...
    @overload
    def __call__(
        self,
        a0: T0,
        a1: T1,
        a2: ObjectRef[T2],
        a3: Arg[T3] = ...,
        a4: Arg[T4] = ...,
        a5: Arg[T5] = ...,
        a6: Arg[T6] = ...,
        a7: Arg[T7] = ...,
        a8: Arg[T8] = ...,
        /,
        **kwargs: Any,
    ) -> Out_co: ...
    @overload
    def __call__(
        self,
        a0: T0,
        a1: T1,
        a2: T2,
        a3: ObjectRef[T3],
        a4: Arg[T4] = ...,
        a5: Arg[T5] = ...,
        a6: Arg[T6] = ...,
        a7: Arg[T7] = ...,
        a8: Arg[T8] = ...,
        /,
        **kwargs: Any,
    ) -> Out_co: ...
    @overload
    def __call__(
        self,
        a0: T0,
        a1: T1,
        a2: T2,
        a3: T3,
        a4: ObjectRef[T4],
        a5: Arg[T5] = ...,
        a6: Arg[T6] = ...,
        a7: Arg[T7] = ...,
        a8: Arg[T8] = ...,
        /,
        **kwargs: Any,
    ) -> Out_co: ...
    @overload
    def __call__(
        self,
        a0: T0,
        a1: T1,
        a2: T2,
        a3: T3,
        a4: T4,
        a5: ObjectRef[T5],
        a6: Arg[T6] = ...,
        a7: Arg[T7] = ...,
        a8: Arg[T8] = ...,
        /,
        **kwargs: Any,
    ) -> Out_co: ...
    @overload
    def __call__(
        self,
        a0: T0,
        a1: T1,
        a2: T2,
        a3: T3,
        a4: T4,
        a5: T5,
        a6: ObjectRef[T6],
        a7: Arg[T7] = ...,
        a8: Arg[T8] = ...,
        /,
        **kwargs: Any,
    ) -> Out_co: ...
    @overload
    def __call__(
        self,
        a0: T0,
        a1: T1,
        a2: T2,
        a3: T3,
        a4: T4,
        a5: T5,
        a6: T6,
        a7: ObjectRef[T7],
        a8: Arg[T8] = ...,
        /,
        **kwargs: Any,
    ) -> Out_co: ...
    @overload
    def __call__(
        self,
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
    ) -> Out_co: ...


class RemoteMethod(Generic[P, Out]):
    """The attribute ``remote`` of a RemoteFunction."""

    @overload
    def __get__(
        self, obj: Takes9[T0, T1, T2, T3, T4, T5, T6, T7, T8], owner: Any
    ) -> Call9[P, Out, T0, T1, T2, T3, T4, T5, T6, T7, T8]: ...
    @overload
    def __get__(
        self, obj: Takes8[T0, T1, T2, T3, T4, T5, T6, T7], owner: Any
    ) -> Call8[P, Out, T0, T1, T2, T3, T4, T5, T6, T7]: ...
    @overload
    def __get__(
        self, obj: Takes7[T0, T1, T2, T3, T4, T5, T6], owner: Any
    ) -> Call7[P, Out, T0, T1, T2, T3, T4, T5, T6]: ...
    @overload
    def __get__(
        self, obj: Takes6[T0, T1, T2, T3, T4, T5], owner: Any
    ) -> Call6[P, Out, T0, T1, T2, T3, T4, T5]: ...
    @overload
    def __get__(
        self, obj: Takes5[T0, T1, T2, T3, T4], owner: Any
    ) -> Call5[P, Out, T0, T1, T2, T3, T4]: ...
    @overload
    def __get__(self, obj: Takes4[T0, T1, T2, T3], owner: Any) -> Call4[P, Out, T0, T1, T2, T3]: ...
    @overload
    def __get__(self, obj: Takes3[T0, T1, T2], owner: Any) -> Call3[P, Out, T0, T1, T2]: ...
    @overload
    def __get__(self, obj: Takes2[T0, T1], owner: Any) -> Call2[P, Out, T0, T1]: ...
    @overload
    def __get__(self, obj: Takes1[T0], owner: Any) -> Call1[P, Out, T0]: ...
    @overload
    def __get__(self, obj: RemoteFunction[P, Any], owner: Any) -> Call0[P, Out]: ...
    def __get__(self, obj: Any, owner: Any) -> Any:
        raise NotImplementedError("for type checkers only")
