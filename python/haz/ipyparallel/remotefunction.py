"""Decorators whose functions run on the engines of a view: ``remote`` and ``parallel``."""

from __future__ import annotations

import functools
from types import FunctionType

from haz.ipyparallel._canning import Reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from haz.ipyparallel.view import DirectView, LoadBalancedView

__all__ = ["ParallelFunction", "RemoteFunction", "name_of", "parallel", "remote"]


def name_of(function: Any) -> str:
    """How a function is called in messages."""
    if type(function) is FunctionType:
        return function.__name__
    if isinstance(function, Reference):
        return function.name
    if isinstance(function, functools.partial):
        return name_of(function.func)
    return str(getattr(function, "__name__", type(function).__name__))


def remote(
    view: Any, block: bool | None = None, **flags: Any
) -> Callable[[Callable[..., Any]], RemoteFunction]:
    """Decorator: a call of the function is ``view.apply`` of it."""

    def decorate(function: Callable[..., Any]) -> RemoteFunction:
        return RemoteFunction(view, function, block=block, **flags)

    return decorate


def parallel(
    view: Any,
    dist: str = "b",
    block: bool | None = None,
    ordered: bool = True,
    **flags: Any,
) -> Callable[[Callable[..., Any]], ParallelFunction]:
    """Decorator: a call of the function cuts its sequences into parts, one for each engine."""

    def decorate(function: Callable[..., Any]) -> ParallelFunction:
        return ParallelFunction(view, function, dist=dist, block=block, ordered=ordered, **flags)

    return decorate


class RemoteFunction:
    """A function that runs on the engines of a view when it is called.

    Parameters
    ----------
    view
        A DirectView or a LoadBalancedView.
    f
        The function.
    block
        Whether a call waits for the results. None: as the view says.
    **flags
        Flags of the view, for these calls.
    """

    def __init__(
        self,
        view: DirectView | LoadBalancedView,
        f: Callable[..., Any],
        block: bool | None = None,
        **flags: Any,
    ) -> None:
        self.view = view
        self.func = f
        self.block = block
        self.flags = flags
        self.__name__ = name_of(f)
        self.__doc__ = (
            f"{type(self).__name__} of {self.__name__}: {getattr(f, '__doc__', None) or ''}"
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.__name__} on {self.view!r}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        block = self.view.block if self.block is None else self.block
        with self.view.temp_flags(block=block, **self.flags):
            return self.view.apply(self.func, *args, **kwargs)


class ParallelFunction(RemoteFunction):
    """A function that is called with parts of its sequences, one call for each engine.

    On a LoadBalancedView the parts have `chunksize` items. Arguments that are no sequences are
    passed to each call as they are. `map` calls the function with each item instead.

    Parameters
    ----------
    dist
        "b": the parts lie one behind the other. "r": each has every n-th item.
    chunksize
        Items in a part; None: so many parts as there are engines.
    ordered
        Whether iterating over the result of `map` gives the items in order.
    return_exceptions
        Return exceptions in the place of results.
    """

    def __init__(
        self,
        view: DirectView | LoadBalancedView,
        f: Callable[..., Any],
        dist: str = "b",
        block: bool | None = None,
        chunksize: int | None = None,
        ordered: bool = True,
        return_exceptions: bool = False,
        **flags: Any,
    ) -> None:
        super().__init__(view, f, block=block, **flags)
        from haz.ipyparallel.partition import dist_maps

        if dist not in dist_maps:
            raise ValueError(f"dist is one of {sorted(dist_maps)}, and not {dist!r}")
        if chunksize is not None and (isinstance(chunksize, bool) or not chunksize > 0):
            raise ValueError(f"chunksize is 1 or more, and not {chunksize!r}")
        self.chunksize = chunksize
        self.ordered = ordered
        self.return_exceptions = return_exceptions
        self.mapObject = dist_maps[dist]()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._spread(args, kwargs, is_map=False)

    def map(self, *sequences: Any) -> Any:
        """Call the function with the items of the sequences; the shortest one ends it."""
        return self._spread(sequences, {}, is_map=True)

    def _spread(self, args: tuple[Any, ...], kwargs: dict[str, Any], is_map: bool) -> Any:
        block = self.view.block if self.block is None else self.block
        with self.view.temp_flags(**self.flags):
            result = self.view._spread(self, args, kwargs, is_map)
        return result.get() if block else result
