"""A worker of a C++ program that has become an interpreter, for functions that C++ calls by name.

The program's own worker replaces itself by ``python -c "...main(...)"`` when its first task is one of
Python: see src/api/python_worker.h. All else is as in any worker.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["main"]


def main(slot: int, process_id: int, arena_fd: int) -> NoReturn:
    """Be a worker of the node that the C++ program had joined before."""
    import faulthandler
    import os

    from haz._core import worker_main, zygote

    os.set_inheritable(arena_fd, False)
    limits = [name for name in zygote.THREAD_LIMITS if not os.environb.get(name, b"").strip()]
    if b"OMP_NUM_THREADS" not in limits:
        zygote.job["openmp"] = "set by the user"
    else:
        zygote.job["thread_limits"] = b" ".join(limits).decode()
        os.environb.update(dict.fromkeys(limits, b"1"))
    faulthandler.enable()
    worker_main.end(worker_main.run(slot, process_id, arena_fd, True))
