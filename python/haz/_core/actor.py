"""Actors: what ``@haz.remote`` makes of a class, and handles of its instances."""

from __future__ import annotations

import os
from types import FunctionType

from haz._core.actor_options import check_actor_options, check_method_options, make_actor_options
from haz._core.checks import no_graphs
from haz._core.cpp_code import CppDescriptor
from haz._core.method_table import (
    MethodTable,
    constructor_parameters,
    has_async_methods,
    is_static,
    pack_table,
)
from haz._core.runtime import runtime
from haz._core.signature import CallDescriptor, Identified, is_async

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Generic, Literal, NoReturn, ParamSpec, TypeVar, overload

    from typing_extensions import Unpack

    from haz._core.generator import DynamicObjectRefGenerator, ObjectRefGenerator
    from haz._core.refs import ObjectRef
    from haz._core.remote_typing import (
        ActorKeywords,
        MethodKeywords,
        Several,
        TypedActorClass,
        TypedRemote,
    )
    from haz.engines.base import ActorOptions

    P = ParamSpec("P")
    Out = TypeVar("Out")
    T = TypeVar("T")
    T_co = TypeVar("T_co", covariant=True)
else:
    # See haz._core.refs: `typing` is not imported at run time.
    P = Out = T = T_co = None
    Generic = {T_co: object}
    TypedActorClass = TypedRemote = {(P, Out): object}

__all__ = ["ActorClass", "ActorHandle", "ActorMethod", "make_actor_class", "make_handle"]

#: `.options` variants that a method keeps; calls in a loop then bind only once.
_VARIANTS_KEPT = 64


class _ClassInfo(Identified):
    """What the ``.options`` variants of an actor class share."""

    __slots__ = ("_constructor", "_is_async", "cls", "name")

    def __init__(self, cls: type, uid: bytes, name: str) -> None:
        super().__init__(uid)
        self.cls = cls
        self.name = name
        self._is_async: bool | None = None
        self._constructor: CallDescriptor | None = None

    def _identified(self) -> Any:
        return self.cls

    def _forget(self) -> None:
        self._constructor = None

    # Looked at late: while a class is being unpickled it may have no methods yet.

    @property
    def is_async(self) -> bool:
        if self._is_async is None:
            self._is_async = has_async_methods(self.cls)
        return self._is_async

    @property
    def constructor(self) -> CallDescriptor:
        if self._constructor is None:
            name = f"{self.name}.__init__"
            cpp = self.cls.__dict__.get("__haz_cpp_class__")
            if cpp is not None:
                self._constructor = CppDescriptor(name, cpp[2], self.uid)
            else:
                parameters = constructor_parameters(self.cls)
                self._constructor = CallDescriptor(name, self.uid, parameters)
        return self._constructor


class ActorClass(TypedActorClass[P, T]):
    """A class whose instances are actors: ``Counter.remote(...)``. Made by ``@haz.remote``.

    It has the name, the documentation and the signature of the class, which is ``__wrapped__``;
    attributes and static methods of the class can be used on it. Thread-safe. It can be captured
    by remote functions and passed to tasks.
    """

    if not TYPE_CHECKING:
        __class_getitem__ = classmethod(type(list[int]))

        def remote(self, /, *args, **kwargs):
            """Start an actor and return its handle, at once. Arguments are the constructor's.

            Raises
            ------
            TypeError
                If the constructor doesn't take such arguments.
            InfeasibleResourcesError
                If the node can never give what the actor asks for.
            ActorAlreadyExistsError
                If the name is in use.

            Notes
            -----
            An exception of the constructor comes with the calls, as an ActorDiedError.
            """
            info = self._info
            options = self._actor_options()
            engine = runtime.ensure()
            info.renew(runtime.cell)
            uid, packed = self._packed
            if uid != info.uid:
                packed = pack_table(info.cls, info.uid, options)
                self._packed = info.uid, packed
            ref, meta = engine.create_actor(
                info.cls, options, info.constructor, packed, args, kwargs
            )
            return make_handle(ref, meta)

    def __init__(self, info: _ClassInfo, checked: dict[str, Any], names: dict[str, Any]) -> None:
        self._set(info, checked, names)

    def _set(self, info: _ClassInfo, checked: dict[str, Any], names: dict[str, Any]) -> None:
        self._info = info
        self._checked = checked
        self._options: ActorOptions | None = None
        #: The table of methods, and the uid of the class that it is of.
        self._packed = b"", b""
        self._names = names
        self.__dict__.update(names)
        self.__dict__["__wrapped__"] = self.__dict__["__ray_actor_class__"] = info.cls

    def _actor_options(self) -> ActorOptions:
        """The options, checked against each other and the class."""
        if self._options is None:
            is_async = self._info.is_async
            self._options = make_actor_options(
                self._checked, is_async=is_async, where=f"actor class {self._info.name}"
            )
        return self._options

    if TYPE_CHECKING:

        def options(self, **options: Unpack[ActorKeywords]) -> ActorClass[P, T]: ...

    else:

        def options(self, **options: Any) -> ActorClass[P, T]:
            """Return this actor class with other options.

            Parameters
            ----------
            **options
                The same as ``@haz.remote`` takes for classes; what is not given stays.

            Examples
            --------
            >>> @haz.remote
            ... class Counter: ...
            >>> counter = Counter.options(name="hits", get_if_exists=True).remote()
            """
            info = self._info
            checked = check_actor_options(options, f"{info.name}.options")
            variant = ActorClass(info, {**self._checked, **checked}, self._names)
            variant._actor_options()
            return variant

    if not TYPE_CHECKING:  # so that checkers call `Counter()` an error

        def __call__(self, /, *args, **kwargs):
            name = self._info.name
            raise TypeError(
                f"an actor class can't be instantiated directly: use {name}.remote(...) for an "
                f"actor, or {name}.__wrapped__(...) for a plain object here"
            )

        def __mro_entries__(self, bases):
            name = self._info.name
            raise TypeError(
                f"{name} is an actor class, and a class can't be derived from that: derive from "
                f"the plain class ({name}.__wrapped__, or undecorated) and use @haz.remote on "
                f"the derived one"
            )

        def __getattr__(self, name):
            # Of the class itself: constants, static methods. Not methods of instances: picklers
            # would then take the class' functions for those of an importable class.
            if name.startswith("__") or "_info" not in self.__dict__:
                raise AttributeError(f"'ActorClass' object has no attribute {name!r}")
            info = self._info
            value = getattr(info.cls, name)
            if isinstance(value, FunctionType) and not is_static(info.cls, name):
                raise AttributeError(
                    f"{info.name}.{name} is a method of actors: use {info.name}.remote(...) to "
                    f"make one, or {info.name}.__wrapped__ for the plain class"
                )
            return value

    def bind(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        """Raise NotImplementedError: haz has no graphs of calls."""
        raise no_graphs(self._info.name)

    def __repr__(self) -> str:
        return f"<ActorClass {self.__dict__.get('__module__')}.{self._info.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        # Blank first, so that a class whose methods refer to it finds itself while it is pickled.
        info = self._info
        info.renew(runtime.cell)
        state = (info.cls, info.uid, info.name, self._checked, self._names)
        return _blank_actor_class, (), state

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        cls, uid, name, checked, names = state
        self._set(_ClassInfo(cls, uid, name), checked, names)


def _blank_actor_class() -> ActorClass[..., Any]:
    return ActorClass.__new__(ActorClass)


def make_actor_class(cls: type, options: Mapping[str, Any]) -> ActorClass[..., Any]:
    """Make an actor class of `cls`, with options as the user gave them."""
    name = cls.__name__
    if is_async(cls.__init__):  # type: ignore[misc]
        raise TypeError(
            f"the constructor of actor class {name} can't be an 'async def': await in a method "
            f"that is called once, first"
        )
    checked = check_actor_options(options, f"@haz.remote on class {name}")
    names = {n: getattr(cls, n) for n in ("__module__", "__name__", "__qualname__", "__doc__")}
    made: ActorClass[..., Any] = ActorClass(_ClassInfo(cls, os.urandom(16), name), checked, names)
    # So that what is wrong is said here, and not at the first `.remote()`.
    pack_table(cls, made._info.uid, made._actor_options())
    return made


class ActorHandle(Generic[T_co]):
    """An actor, as its users see it: ``handle.method.remote(...)`` calls it.

    Handles are equal if they are of the same actor, and hashable. They can be passed to tasks and
    other actors, and stored in objects. When the last handle is gone, the actor ends as soon as
    the calls that were made before have. Thread-safe.
    """

    # Names of the user's methods are attributes too, so there are few of its own.
    _haz_ref: ObjectRef[Any]
    _haz_table: MethodTable

    if not TYPE_CHECKING:
        __class_getitem__ = classmethod(type(list[int]))

    def __init__(self, ref: ObjectRef[Any], table: MethodTable) -> None:
        self._haz_ref = ref
        self._haz_table = table

    def __getattr__(self, name: str) -> ActorMethod[..., Any]:
        # Only for names that are not there yet: a method, once made, is an attribute.
        attributes = self.__dict__
        table = attributes.get("_haz_table")
        if table is None or not table.has(name):
            raise AttributeError(name) if table is None else table.unknown(name)
        # It holds the ref, not the handle: no cycle, so that the actor ends with its last handle.
        method: ActorMethod[..., Any] = ActorMethod(self._haz_ref, table, name, {})
        attributes[name] = method
        return method

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *self._haz_table.names})

    @property
    def _actor_id(self) -> ActorID:
        return ActorID(self._haz_ref.hex())

    _ray_actor_id = _actor_id

    def __repr__(self) -> str:
        return f"Actor({self._haz_table.class_name}, {self._haz_ref.hex()})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActorHandle) and bool(other._haz_ref == self._haz_ref)

    def __hash__(self) -> int:
        return hash(self._haz_ref)

    def __copy__(self) -> ActorHandle[T_co]:
        return self

    def __deepcopy__(self, _memo: object) -> ActorHandle[T_co]:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return make_handle, (self._haz_ref, self._haz_table.packed)


def make_handle(ref: ObjectRef[Any], packed_table: bytes) -> ActorHandle[Any]:
    """Return a handle of the actor of `ref`, with the methods that `pack_table` has packed."""
    return ActorHandle(ref, MethodTable.of(packed_table))


class ActorID(str):
    """The id of an actor: hexadecimal text, with Ray's methods."""

    __slots__ = ()

    def hex(self) -> str:
        """Return it as 32 hexadecimal digits."""
        return str(self)

    def binary(self) -> bytes:
        """Return it as 16 bytes."""
        return bytes.fromhex(self)


class ActorMethod(TypedRemote[P, Out]):
    """A method of an actor: ``handle.method``.

    Attributes
    ----------
    remote
        Submits a call and returns at once: an ObjectRef of the result, a list of them with
        ``num_returns`` above 1, None with 0, an ObjectRefGenerator of a generator method.
        Arguments that are ObjectRefs are replaced by their values, as for tasks. Calls of one
        caller run in their order.

    Notes
    -----
    As in RemoteFunction, an attribute of the instance hides the method `remote` once it is bound.
    """

    if not TYPE_CHECKING:
        __class_getitem__ = classmethod(type(list[int]))

        def remote(self, /, *args, **kwargs):
            return self._bind()(*args, **kwargs)

    def __init__(
        self, ref: ObjectRef[Any], table: MethodTable, name: str, checked: dict[str, Any]
    ) -> None:
        self._ref = ref
        self._table = table
        self._name = name
        self._checked = checked
        self._variants: dict[Any, ActorMethod[P, Any]] | None = None

    def _bind(self) -> Callable[..., Any]:
        from haz.exceptions import ActorHandleNotFoundError, ObjectLostError

        table, name = self._table, self._name
        engine = runtime.engine
        if engine is not None:
            options = table.options(name, self._checked)
            try:
                submit = engine.bind_method(
                    self._ref,
                    table.engine_name(name),
                    options,
                    table.descriptor(name),
                    _Again(self._ref, table, name, self._checked),
                    table.is_limited,
                )
            except ObjectLostError:
                pass  # the ref is of another engine
            else:
                runtime.bind(self, engine, submit)
                return submit
        raise ActorHandleNotFoundError(
            f"{table.shown(name)}: the handle is of a run that is over ({runtime.why_ended()}), "
            f"and its actor ended with that"
        )

    if not TYPE_CHECKING:  # so that checkers call `handle.method()` an error

        def __call__(self, /, *args, **kwargs):
            raise TypeError(
                f"a method of an actor can't be called directly: use "
                f"handle.{self._name}.remote(...), which returns a ref"
            )

    def bind(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        """Raise NotImplementedError: haz has no graphs of calls."""
        raise no_graphs(f"handle.{self._name}")

    def __repr__(self) -> str:
        return f"<ActorMethod {self._table.shown(self._name)}>"

    if TYPE_CHECKING:

        @overload
        def options(
            self, *, num_returns: None = ..., **options: Unpack[MethodKeywords]
        ) -> ActorMethod[P, Out]: ...
        @overload
        def options(
            self, *, num_returns: Literal[0], **options: Unpack[MethodKeywords]
        ) -> ActorMethod[P, None]: ...
        @overload
        def options(
            self, *, num_returns: Literal[1], **options: Unpack[MethodKeywords]
        ) -> ActorMethod[P, ObjectRef[Any]]: ...
        @overload
        def options(
            self, *, num_returns: Several, **options: Unpack[MethodKeywords]
        ) -> ActorMethod[P, list[ObjectRef[Any]]]: ...
        @overload
        def options(
            self, *, num_returns: Literal["streaming"], **options: Unpack[MethodKeywords]
        ) -> ActorMethod[P, ObjectRefGenerator[Any]]: ...
        @overload
        def options(
            self, *, num_returns: Literal["dynamic"], **options: Unpack[MethodKeywords]
        ) -> ActorMethod[P, ObjectRef[DynamicObjectRefGenerator[Any]]]: ...
        @overload
        def options(
            self, *, num_returns: int | str, **options: Unpack[MethodKeywords]
        ) -> ActorMethod[P, Any]: ...

    def options(self, **options: Any) -> ActorMethod[P, Any]:
        """Return this method with other options.

        Parameters
        ----------
        **options
            The same as ``@haz.method`` takes, and ``name``; what is not given stays.

        Examples
        --------
        >>> first, second = handle.split.options(num_returns=2).remote()
        """
        variants = self._variants
        if variants is None:
            variants = self._variants = {}
        try:
            key = tuple((name, type(value), value) for name, value in options.items())
            variant = variants.get(key)
        except TypeError:  # a value that can't be hashed, such as a list
            key = None
            variant = None
        if variant is not None:
            return variant
        where = f"{self._table.shown(self._name)}.options"
        checked = {**self._checked, **check_method_options(options, where)}
        self._table.options(self._name, checked)
        variant = ActorMethod(self._ref, self._table, self._name, checked)
        if key is not None:
            if len(variants) >= _VARIANTS_KEPT:
                variants.clear()
            variants[key] = variant
        return variant

    def __reduce__(self) -> tuple[Any, ...]:
        return _make_method, (self._ref, self._table.packed, self._name, self._checked)


def _make_method(
    ref: ObjectRef[Any], packed_table: bytes, name: str, checked: dict[str, Any]
) -> ActorMethod[..., Any]:
    return ActorMethod(ref, MethodTable.of(packed_table), name, checked)


class _Again:
    """See `haz.engines.base.Again`. Of a method; not of the object, which holds what is bound."""

    __slots__ = ("_parts",)

    def __init__(
        self, ref: ObjectRef[Any], table: MethodTable, name: str, checked: dict[str, Any]
    ) -> None:
        self._parts = ref, table, name, checked

    def __call__(self) -> Callable[..., Any]:
        return ActorMethod(*self._parts).remote

    def reduced(self) -> tuple[Any, ...]:
        return getattr, (ActorMethod(*self._parts), "remote")
