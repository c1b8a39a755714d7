"""The rows that need a fresh program: start-up, idle memory and CPU use, shutdown."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.channel import ChildLostError
from benchmarks.processes import Leftovers
from benchmarks.session import PATIENCE_S, Surroundings, log_tail, scratch_folder

_PROGRAMS = Path(__file__).parent / "programs"
STAGE_TIMEOUT_S = 60.0
SETTLE_S = 0.5
IDLE_S = 3.0


class Program:
    """A running program of the folder ``programs``, seen through its stages.

    Parameters
    ----------
    process
        The program, with stdin and stdout piped.
    started_s
        ``time.perf_counter()`` before the process was made.
    """

    def __init__(self, process: subprocess.Popen[bytes], started_s: float) -> None:
        self._process = process
        self._started_s = started_s
        self._buffer = b""

    def reach(self, stage: str) -> tuple[float, str]:
        """Wait for a stage; the seconds since the start, and the text behind the stage's name."""
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        deadline = time.monotonic() + STAGE_TIMEOUT_S
        while True:
            while b"\n" in self._buffer:
                line, self._buffer = self._buffer.split(b"\n", 1)
                name, _, rest = line.decode(errors="replace").partition(" ")
                if name == stage:
                    return time.perf_counter() - self._started_s, rest
            left = max(0.0, deadline - time.monotonic())
            if not select.select([fd], [], [], left)[0]:
                raise ChildLostError(f"stage {stage} not reached in {STAGE_TIMEOUT_S:.0f} s")
            data = os.read(fd, 4096)
            if not data:
                raise ChildLostError(f"ended before stage {stage}")
            self._buffer += data

    def go_on(self) -> None:
        """Let the program leave its stage."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(b"\n")
            self._process.stdin.flush()

    def finish(self) -> None:
        """Wait for the end."""
        try:
            code = self._process.wait(timeout=STAGE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise ChildLostError("does not end after its shutdown") from None
        if code != 0:
            raise ChildLostError(f"exit code {code}")


def run_life(
    system: str, surroundings: Surroundings, rows: set[str], *, with_numpy: bool = False
) -> tuple[dict[str, float], Leftovers]:
    """One life of a system's program.

    Parameters
    ----------
    rows
        Names of the rows to fill; idle CPU use is only watched, and the memory only read, if asked.
    with_numpy
        Import numpy in the program before the system, and in every worker: only for
        ``memory-numpy``.

    Returns
    -------
    tuple
        Values by row, and what was left behind.
    """
    with scratch_folder() as scratch:
        log = scratch / "program.log"
        mode = "numpy" if with_numpy else "plain"
        program_path = _PROGRAMS / f"life_{system}.py"
        command = [sys.executable, str(program_path), str(surroundings.workers), mode]
        try:
            started_s = time.perf_counter()
            with surroundings.tree.started(
                [*command, str(scratch)], log=log, env=surroundings.env, piped=True
            ) as process:
                values = _live(Program(process, started_s), surroundings, rows, with_numpy)
        except ChildLostError as error:
            raise ChildLostError(f"{error} ({log_tail(log)})") from None
        finally:
            leftovers = surroundings.tree.wait_until_none(PATIENCE_S)
        return values, leftovers


def _live(
    program: Program, surroundings: Surroundings, rows: set[str], with_numpy: bool
) -> dict[str, float]:
    tree = surroundings.tree
    startup_s, _ = program.reach("first")
    program.go_on()
    _, workers = program.reach("used")
    if int(workers) != surroundings.workers:
        raise ChildLostError(f"{workers} of {surroundings.workers} workers took a task")
    values = {}
    if not with_numpy and rows & {"idle-cpu", "memory"}:
        time.sleep(SETTLE_S)
    if "idle-cpu" in rows and not with_numpy:
        values["idle-cpu"] = tree.busy_share(IDLE_S)
    if rows & {"memory", "memory-numpy"}:
        values["memory-numpy" if with_numpy else "memory"] = float(tree.pss_bytes())
    program.go_on()
    _, seconds = program.reach("down")
    program.finish()
    if not with_numpy:
        values.update({"startup": startup_s, "shutdown": float(seconds)})
    return values
