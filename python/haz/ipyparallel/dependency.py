"""What a call of a load-balanced view may depend on: other calls, or what an engine has."""

from __future__ import annotations

import functools

from haz.ipyparallel._canning import can, uncan, user_namespace
from haz.ipyparallel.error import UnmetDependency

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from haz.ipyparallel._messages import Message

__all__ = ["Dependency", "depend", "dependent", "require"]


class Dependency(set):  # type: ignore[type-arg]
    """Calls that must have ended before another begins.

    Parameters
    ----------
    dependencies
        Ids of calls, or AsyncResults.
    all
        Whether all of them must have ended, or any.
    success, failure
        Whether a call that succeeded, or failed, counts as ended.
    """

    def __init__(
        self,
        dependencies: Any = (),
        all: bool = True,
        success: bool = True,
        failure: bool = False,
    ) -> None:
        if not (success or failure):
            raise ValueError("a Dependency must let success or failure count, or both")
        if isinstance(dependencies, str) or hasattr(dependencies, "msg_ids"):
            dependencies = [dependencies]
        ids: list[str] = []
        for item in dependencies:
            if isinstance(item, str):
                ids.append(item)
            elif hasattr(item, "msg_ids"):
                ids += item.msg_ids
            else:
                raise TypeError(
                    f"a call depends on ids or AsyncResults of others, and {item!r} is neither"
                )
        super().__init__(ids)
        self.ids = ids
        self.all = all
        self.success = success
        self.failure = failure

    def is_met(self, messages: Iterable[Message]) -> bool:
        """Whether enough of the calls have ended as they should."""
        return self._enough(
            message.ready() and (self.success if message.status == "ok" else self.failure)
            for message in messages
        )

    def is_impossible(self, messages: Iterable[Message]) -> bool:
        """Whether it can't be met any more."""
        wrong = [
            message.ready() and not (self.success if message.status == "ok" else self.failure)
            for message in messages
        ]
        return any(wrong) if self.all else all(wrong) and bool(wrong)

    def engines(self, messages: Iterable[Any]) -> set[int] | None:
        """Engines on which a call runs where the calls ran; None while they are not known."""
        known = [message.engine.id if message.engine is not None else None for message in messages]
        if not known:
            return None
        found = {engine for engine in known if engine is not None}
        if not self.all:
            return found or None
        if None in known:
            return None
        return found if len(found) == 1 else set()

    def _enough(self, each: Iterable[bool]) -> bool:
        return all(each) if self.all else any(each)


class dependent:  # noqa: N801 - ipyparallel's name
    """A function that runs only on engines where a test returns True; see `depend`."""

    def __init__(self, function: Any, test: Any, args: Any = (), kwargs: Any = None) -> None:
        self.f = function
        self.df = test
        self.dargs = tuple(args)
        self.dkwargs = dict(kwargs or {})
        self.__name__ = getattr(function, "__name__", "f")
        self.__doc__ = getattr(function, "__doc__", None)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.df(*self.dargs, **self.dkwargs) is False:
            raise UnmetDependency
        return self.f(*args, **kwargs)

    def _haz_can(self) -> _CannedDependent:
        return _CannedDependent(can((self.f, self.df, self.dargs, self.dkwargs)))


class _CannedDependent:
    __slots__ = ("parts",)

    def __init__(self, parts: Any) -> None:
        self.parts = parts

    def __reduce__(self) -> tuple[Any, ...]:
        return _CannedDependent, (self.parts,)

    def _haz_uncan(self) -> dependent:
        return dependent(*uncan(self.parts))


def depend(_test: Callable[..., Any], *args: Any, **kwargs: Any) -> Callable[[Any], dependent]:
    """Let a function run only on engines where ``test(*args, **kwargs)`` does not return False."""

    def decorate(function: Any) -> dependent:
        return dependent(function, _test, args, kwargs)

    return decorate


def _require(modules: Any, names: dict[str, Any]) -> None:
    """Import what a function needs into the engine's namespace.

    Raises
    ------
    UnmetDependency
        Where that fails.
    """
    namespace = user_namespace()
    for name in modules:
        try:
            namespace[name] = __import__(name)
        except ImportError as error:
            raise UnmetDependency(str(error)) from error
    namespace.update(names)


def require(*objects: Any, **mapping: Any) -> Callable[[Any], dependent]:
    """Let a function run only where modules can be imported, and import them there.

    Parameters
    ----------
    *objects
        Names of modules, modules, or functions (sent along under their names).
    **mapping
        Things to be sent along, by name.

    Raises
    ------
    TypeError
        For anything else.
    """
    names: list[str] = []
    for thing in objects:
        if isinstance(thing, str):
            names.append(thing)
        elif hasattr(thing, "__spec__"):
            names.append(thing.__name__)
        elif callable(thing) and hasattr(thing, "__name__"):
            mapping[thing.__name__] = thing
        else:
            raise TypeError(f"require takes modules, their names and functions, and not {thing!r}")
    return functools.partial(_decorate_require, names, mapping)


def _decorate_require(names: list[str], mapping: dict[str, Any], function: Any) -> dependent:
    return dependent(function, _require, (names, mapping))
