"""The standard library's ``multiprocessing``, with pools of haz.

``Pool`` is haz's own: see `haz.multiprocessing.pool`, and so are queues, which lie in shared memory. Locks,
pipes and shared values are the standard library's. All these travel: they can be arguments of calls.
``cpu_count`` knows what a task has. All else, as processes, shared memory and managers, is the standard
library's as it is.
"""

from multiprocessing import *  # what is below replaces some of it
from multiprocessing import __all__ as _names

from haz.multiprocessing.context import (  # type: ignore[assignment]
    Context,
    Pool,
    cpu_count,
    default_context,
    get_context,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multiprocessing import connection as connection
    from multiprocessing import managers as managers
    from multiprocessing import queues as queues
    from multiprocessing import shared_memory as shared_memory
    from multiprocessing import synchronize as synchronize

    from haz.multiprocessing import pool as pool
del TYPE_CHECKING  # no name of the module

__all__ = [*_names, "Context"]

Lock = default_context.Lock
RLock = default_context.RLock
Semaphore = default_context.Semaphore
BoundedSemaphore = default_context.BoundedSemaphore
Condition = default_context.Condition
Event = default_context.Event
Barrier = default_context.Barrier
Queue = default_context.Queue  # type: ignore[assignment, misc]
JoinableQueue = default_context.JoinableQueue  # type: ignore[assignment, misc]
SimpleQueue = default_context.SimpleQueue  # type: ignore[assignment, misc]
Pipe = default_context.Pipe
RawValue = default_context.RawValue
RawArray = default_context.RawArray
Value = default_context.Value
Array = default_context.Array

#: Submodules, imported when they are used.
_MODULES = (
    *("connection", "dummy", "forkserver", "heap", "managers", "pool", "popen_fork"),
    *("popen_forkserver", "popen_spawn_posix", "process", "queues", "reduction"),
    *("resource_sharer", "resource_tracker", "shared_memory", "sharedctypes", "spawn"),
    *("synchronize", "util"),
)


def __getattr__(name: str) -> object:
    if name in _MODULES:
        from importlib import import_module

        return import_module(f"haz.multiprocessing.{name}")
    raise AttributeError(f"module 'haz.multiprocessing' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
