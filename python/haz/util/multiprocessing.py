"""`haz.multiprocessing.pool.Pool` with the two arguments that Ray's ``util.multiprocessing`` adds."""

from __future__ import annotations

from haz.multiprocessing import pool
from haz.multiprocessing.pool import AsyncResult, IMapIterator, TimeoutError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

__all__ = ["AsyncResult", "IMapIterator", "Pool", "TimeoutError"]


class Pool(pool.Pool):
    """A pool of processes, which are actors: see `haz.multiprocessing.pool.Pool`.

    Parameters
    ----------
    processes, initializer, initargs, maxtasksperchild, context
        As there.
    ray_address
        Without a meaning; accepted.
    ray_remote_args
        Options of the actors: ``{"num_cpus": 1}``. By default they hold no CPUs.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: object = None,
        ray_address: str | None = None,
        ray_remote_args: dict[str, Any] | None = None,
    ) -> None:
        self._start(processes, initializer, initargs, maxtasksperchild, ray_remote_args)
