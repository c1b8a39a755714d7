"""``get_context``: contexts of the standard library with haz's pools, and locks and queues that travel."""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import BaseContext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from multiprocessing import queues, synchronize
    from typing import Any

    from haz.multiprocessing import pool

__all__ = ["Context", "Pool", "cpu_count", "default_context", "get_context"]


def Pool(  # noqa: N802 - the standard library's name
    processes: int | None = None,
    initializer: Callable[..., object] | None = None,
    initargs: Iterable[Any] = (),
    maxtasksperchild: int | None = None,
) -> pool.Pool:
    """Return a pool of processes: see `haz.multiprocessing.pool.Pool`."""
    from haz.multiprocessing import pool

    return pool.Pool(processes, initializer, initargs, maxtasksperchild)


def cpu_count() -> int:
    """Return the number of CPUs of the machine; in a task or an actor, of those that it has.

    A process of a pool has one, as OpenMP and BLAS have one thread there.
    """
    from haz._core.api import get_runtime_context
    from haz._core.runtime import runtime

    if runtime.engine is not None and not runtime.forked:
        context = get_runtime_context()
        if runtime.is_worker or context.get_task_id() is not None:
            return max(int(context.get_assigned_resources().get("CPU", 1)), 1)
    return multiprocessing.cpu_count()


class Context(BaseContext):
    """A context of the standard library, with haz's pools, and with locks and queues that travel.

    These can be arguments of a pool's initializer and calls, of haz's tasks and actors, and of
    `Process`, and be part of results. They are of one machine.
    """

    def __init__(self, standard: Any) -> None:
        self._standard = standard

    Pool = staticmethod(Pool)  # type: ignore[assignment]
    cpu_count = staticmethod(cpu_count)

    def Lock(self) -> synchronize.Lock:  # noqa: N802 - all these names are the standard library's
        """Return a lock between processes."""
        from haz.multiprocessing import _locks

        return _locks.Lock()

    def RLock(self) -> synchronize.RLock:  # noqa: N802
        """Return a lock between processes that its owner can take again."""
        from haz.multiprocessing import _locks

        return _locks.RLock()

    def Semaphore(self, value: int = 1) -> synchronize.Semaphore:  # noqa: N802
        """Return a semaphore between processes."""
        from haz.multiprocessing import _locks

        return _locks.Semaphore(value)

    def BoundedSemaphore(self, value: int = 1) -> synchronize.BoundedSemaphore:  # noqa: N802
        """Return a semaphore that can't be released more often than acquired."""
        from haz.multiprocessing import _locks

        return _locks.BoundedSemaphore(value)

    def Condition(self, lock: Any = None) -> synchronize.Condition:  # noqa: N802
        """Return a condition variable between processes."""
        from haz.multiprocessing import _locks

        return _locks.Condition(lock, ctx=self)

    def Event(self) -> synchronize.Event:  # noqa: N802
        """Return an event between processes."""
        from haz.multiprocessing import _locks

        return _locks.Event(ctx=self)

    def Barrier(  # noqa: N802
        self, parties: int, action: Callable[[], object] | None = None, timeout: float | None = None
    ) -> synchronize.Barrier:
        """Return a barrier between processes."""
        from haz.multiprocessing import _locks

        return _locks.Barrier(parties, action, timeout, ctx=self)

    def Queue(self, maxsize: int = 0) -> queues.Queue[Any]:  # noqa: N802
        """Return a queue between processes."""
        from haz.multiprocessing import _queues

        return _queues.Queue(maxsize, ctx=self)

    def JoinableQueue(self, maxsize: int = 0) -> queues.JoinableQueue[Any]:  # noqa: N802
        """Return a queue that can wait until all that was put is done."""
        from haz.multiprocessing import _queues

        return _queues.JoinableQueue(maxsize, ctx=self)

    def SimpleQueue(self) -> queues.SimpleQueue[Any]:  # noqa: N802
        """Return a queue that only puts and gets."""
        from haz.multiprocessing import _queues

        return _queues.SimpleQueue(ctx=self)

    def Pipe(self, duplex: bool = True) -> tuple[Any, Any]:  # noqa: N802
        """Return two connections: what is sent to one is received from the other."""
        from haz.multiprocessing import _pipes

        return _pipes.Pipe(duplex)

    def RawValue(self, typecode_or_type: Any, *args: Any) -> Any:  # noqa: N802
        """Return an object of ctypes in shared memory."""
        from haz.multiprocessing import _values

        return _values.RawValue(typecode_or_type, *args)

    def RawArray(self, typecode_or_type: Any, size_or_initializer: Any) -> Any:  # noqa: N802
        """Return an array of ctypes in shared memory."""
        from haz.multiprocessing import _values

        return _values.RawArray(typecode_or_type, size_or_initializer)

    def Value(self, typecode_or_type: Any, *args: Any, lock: Any = True) -> Any:  # noqa: N802
        """Return an object of ctypes in shared memory, with a lock."""
        from haz.multiprocessing import _values

        return _values.Value(typecode_or_type, *args, lock=lock, ctx=self)

    def Array(  # noqa: N802
        self, typecode_or_type: Any, size_or_initializer: Any, *, lock: Any = True
    ) -> Any:
        """Return an array of ctypes in shared memory, with a lock."""
        from haz.multiprocessing import _values

        return _values.Array(typecode_or_type, size_or_initializer, lock=lock, ctx=self)

    def get_context(self, method: str | None = None) -> Context:  # type: ignore[override]
        """Return the context of a start method; None: this one."""
        return self if method is None else get_context(method)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_standard"], name)

    def __repr__(self) -> str:
        return f"<haz.multiprocessing.Context of {self._standard!r}>"


def _forward(name: str) -> None:
    setattr(Context, name, property(lambda self: getattr(self._standard, name)))


for _name in vars(BaseContext).keys() - vars(Context).keys():
    if not _name.startswith("__"):
        _forward(_name)


def get_context(method: str | None = None) -> Context:
    """Return a context with the start method, for its `Process`; ValueError if there is no such."""
    return Context(multiprocessing.get_context(method))


def __getattr__(name: str) -> Any:
    """Return what else the standard library's ``multiprocessing.context`` has."""
    return getattr(multiprocessing.context, name)


#: What the functions of `haz.multiprocessing` are methods of.
default_context = Context(multiprocessing.context._default_context)
