"""The stages of a program's life; the harness watches them through stdout and stdin.

The programs of this folder are ordinary scripts, one a system, each started in a fresh interpreter:
``PROGRAM WORKERS numpy|plain SCRATCH_FOLDER``. They import little, because their start-up time and
their memory are measured.
"""

import os
import sys
import time
from collections.abc import Callable, Iterable

WORKERS = int(sys.argv[1]) if len(sys.argv) == 4 else 1
WITH_NUMPY = sys.argv[2] == "numpy" if len(sys.argv) == 4 else False
SCRATCH = sys.argv[3] if len(sys.argv) == 4 else ""


def use_worker(with_numpy: bool) -> int:
    """Task: occupy a worker for a moment, with numpy imported if asked; its pid."""
    if with_numpy:
        import numpy  # noqa: F401
    time.sleep(0.05)
    return os.getpid()


def live(
    first: Callable[[], object],
    use: Callable[[], Iterable[int]],
    stop: Callable[[], object],
) -> None:
    """Run the stages; at ``first`` and ``used`` wait for a line from the harness.

    Parameters
    ----------
    first
        Starts the system and makes the first call, which returns None.
    use
        Runs `use_worker` once for each worker, at the same time; called until all were seen.
    stop
        Shuts down.
    """
    if first() is not None:
        raise SystemExit("the first call returned something")
    _announce("first")
    seen: set[int] = set()
    deadline = time.monotonic() + 20.0
    while len(seen) < WORKERS and time.monotonic() < deadline:
        seen.update(use())
    _announce(f"used {len(seen)}")
    start = time.perf_counter()
    stop()
    print(f"down {time.perf_counter() - start}", flush=True)


def _announce(stage: str) -> None:
    print(stage, flush=True)
    sys.stdin.readline()
