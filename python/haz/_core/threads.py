"""How many threads OpenMP's loops, BLAS, Numba and PyTorch have in a task: as many as it takes CPUs.

A worker begins with one, as its ``OMP_NUM_THREADS`` and the like say. For a task with ``num_cpus=4``
these variables and what loaded libraries were told become 4, and 1 again after it. Whoever has set
a variable, for the program or for the task, is obeyed.
"""

from __future__ import annotations

import os
import sys

from haz import _native
from haz._core import zygote
from haz._core.numba_threads import set_numba_threads
from haz._core.signature import is_generator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

__all__ = ["VARIABLE", "set_threads", "threads_for", "with_threads"]

VARIABLE = "OMP_NUM_THREADS"


def threads_for(resources: Mapping[str, float], env_vars: Mapping[str, str]) -> int:
    """Return the threads that loops of a task or an actor have; 1: as the worker has anyway."""
    given = env_vars.get(VARIABLE, "").partition(",")[0].strip()
    if given:
        return int(given) if given.isdigit() else 1
    if "openmp" in zygote.job:  # the program has said it for all
        return 1
    return max(int(resources.get("CPU", 1)), 1)


def set_threads(threads: int) -> None:
    """Give the libraries of this process so many threads, also those that are loaded later."""
    for name in zygote.job.get("thread_limits", VARIABLE).split():
        os.environ[name] = str(threads)
    _set_loaded(threads)


def _set_loaded(threads: int) -> None:
    if "numba" in sys.modules:
        set_numba_threads(threads)
    # It may hold a BLAS of its own that nobody else can tell: MKL.
    set_torch = getattr(sys.modules.get("torch"), "set_num_threads", None)
    if set_torch is not None and "MKL_NUM_THREADS" in zygote.job.get("thread_limits", "").split():
        set_torch(threads)
    _native.set_library_threads(threads, "blas" not in zygote.job)


def with_threads(function: Callable[..., Any], threads: int) -> Callable[..., Any]:
    """Wrap the function of a task whose loops have so many threads."""

    if is_generator(function):

        def generator(*args: Any, **kwargs: Any) -> Iterator[Any]:
            set_threads(threads)
            try:
                yield from function(*args, **kwargs)
            finally:
                _set_loaded(1)

        return generator

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        set_threads(threads)
        try:
            return function(*args, **kwargs)
        finally:
            _set_loaded(1)

    return wrapper
