"""How many threads a parallel loop should have here."""

from __future__ import annotations

import os

__all__ = ["max_threads"]


def max_threads() -> int:
    """Return how many threads a parallel loop has that does not say, as OpenMP counts them.

    In a task or an actor: its ``num_cpus``, at least 1. Elsewhere: the first number in
    ``OMP_NUM_THREADS``, or else the CPUs that this process may use. For libraries that ask neither
    haz nor OpenMP: ``numba.set_num_threads(haz.cpp.max_threads())``.
    """
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if first.isdigit() and int(first) > 0:
        return int(first)
    return len(os.sched_getaffinity(0))
