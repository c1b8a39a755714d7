"""``get_context``: contexts of the standard library whose pools are haz's."""

from __future__ import annotations

import multiprocessing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from haz.multiprocessing import pool

__all__ = ["Context", "Pool", "get_context"]


def Pool(  # noqa: N802 - the standard library's name
    processes: int | None = None,
    initializer: Callable[..., object] | None = None,
    initargs: Iterable[Any] = (),
    maxtasksperchild: int | None = None,
) -> pool.Pool:
    """Return a pool of processes: see `haz.multiprocessing.pool.Pool`."""
    from haz.multiprocessing import pool

    return pool.Pool(processes, initializer, initargs, maxtasksperchild)


class Context:
    """A context of the standard library, for all but pools, which start in haz's own way."""

    def __init__(self, standard: Any) -> None:
        self._standard = standard

    Pool = staticmethod(Pool)

    def get_context(self, method: str | None = None) -> Context:
        """Return the context of a start method; None: this one."""
        return self if method is None else get_context(method)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_standard"], name)

    def __repr__(self) -> str:
        return f"<haz.multiprocessing.Context of {self._standard!r}>"


def get_context(method: str | None = None) -> Context:
    """Return a context with the start method, for its `Process`; ValueError if there is no such."""
    return Context(multiprocessing.get_context(method))
