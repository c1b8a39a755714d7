"""How many threads OpenMP's loops have in a task: as many as it takes CPUs.

A worker begins with one, as its ``OMP_NUM_THREADS`` says. For a task with ``num_cpus=4`` that variable
and what loaded OpenMP libraries were told become 4, and 1 again after it. Whoever has set the
variable, for the program or for the task, is obeyed.
"""

from __future__ import annotations

import os

from haz import _native
from haz._core import zygote
from haz._core.signature import is_generator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

__all__ = ["VARIABLE", "threads_for", "with_threads"]

VARIABLE = "OMP_NUM_THREADS"


def threads_for(resources: Mapping[str, float], env_vars: Mapping[str, str]) -> int:
    """Return the threads that loops of a task or an actor have; 1: as the worker has anyway."""
    given = env_vars.get(VARIABLE, "").partition(",")[0].strip()
    if given:
        return int(given) if given.isdigit() else 1
    if "openmp" in zygote.job:  # the program has said it for all
        return 1
    return max(int(resources.get("CPU", 1)), 1)


def with_threads(function: Callable[..., Any], threads: int) -> Callable[..., Any]:
    """Wrap the function of a task whose loops have so many threads."""

    def enter() -> None:
        os.environ[VARIABLE] = str(threads)  # for libraries that this task loads
        _native.set_openmp_threads(threads)

    if is_generator(function):

        def generator(*args: Any, **kwargs: Any) -> Iterator[Any]:
            enter()
            try:
                yield from function(*args, **kwargs)
            finally:
                _native.set_openmp_threads(1)

        return generator

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        enter()
        try:
            return function(*args, **kwargs)
        finally:
            _native.set_openmp_threads(1)

    return wrapper
