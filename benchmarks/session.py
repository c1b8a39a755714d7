"""A system at work: its process, from start to shutdown, and the rows measured in it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.channel import Channel, ChildLostError
from benchmarks.limits import Limits
from benchmarks.machine import cores
from benchmarks.processes import Leftovers, ProcessTree
from benchmarks.rows import MILLION, Kind, Row

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
PATIENCE_S = 5.0


@dataclass(frozen=True)
class Surroundings:
    """What sessions and programs need from the harness."""

    tree: ProcessTree
    limits: Limits
    env: Mapping[str, str]
    workers: int
    quick: bool


@dataclass
class Ending:
    """How a session ended; filled in at its end."""

    stop_s: float = 0.0
    leftovers: Leftovers | None = None
    error: str = ""


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A short-named folder for one system's files (Ray's socket paths must stay short)."""
    folder = Path(tempfile.mkdtemp(prefix="hb-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def log_tail(log: Path, lines: int = 3) -> str:
    """Last lines of a log, for error messages."""
    with contextlib.suppress(OSError):
        return " | ".join(log.read_text(errors="replace").strip().splitlines()[-lines:])
    return ""


class Session:
    """A started system that carries out operations.

    Use `open_session`.
    """

    def __init__(
        self, system: str, channel: Channel, surroundings: Surroundings, scratch: Path
    ) -> None:
        self._system = system
        self._channel = channel
        self._surroundings = surroundings
        self._scratch = scratch
        self._operations: list[str] = []
        self._idle_bytes = 0.0

    def start(self) -> None:
        """Start the system in the child."""
        self._operations = self._channel.call(
            "start",
            START_TIMEOUT_S,
            workers=self._surroundings.workers,
            scratch=str(self._scratch),
        )
        self._idle_bytes = self._surroundings.tree.pss_bytes()

    def stop(self) -> float:
        """Shut the system down; the seconds that took."""
        return float(self._channel.call("stop", STOP_TIMEOUT_S))

    def supports(self, row: Row) -> bool:
        """Whether the system has the row's operation."""
        method = "queue_submit" if row.kind is Kind.QUEUE else row.method
        return method in self._operations

    def measure(
        self,
        row: Row,
        pair: Callable[[], None] | None = None,
        *,
        n: int | None = None,
        timeout_s: float = 60.0,
    ) -> list[float]:
        """Samples of an operation row, in seconds: per item where the row says so.

        Parameters
        ----------
        pair
            Called before each repeat, to alternate the system with the row's limit.
        n
            Number of items instead of the row's own.
        """
        n = n or row.size(self._system, self._surroundings.quick)
        arguments = dict(row.arguments)
        if row.sizes:
            arguments["n"] = n
        rounds = min(row.repeats, 3) if pair else 1
        samples: list[float] = []
        busy = self._surroundings.limits.busy_cores(cores())
        with busy if row.busy else contextlib.nullcontext():
            for index in range(rounds):
                if pair:
                    pair()
                samples += self._channel.call(
                    "sample",
                    timeout_s,
                    method=row.method,
                    arguments=arguments,
                    repeats=-(-row.repeats // rounds),
                    budget_s=row.budget_s,
                    warm_up=row.warm_up and index == 0,
                )
        return [sample / (n if row.per_item else 1) for sample in samples]

    def measure_queue(self, row: Row) -> dict[str, list[float]]:
        """Queue no-ops behind busy workers, then run them: seconds a task, and peak memory.

        The memory is that of all processes of the system when it had just started, its driver
        included, and the growth; with fewer tasks than a million that is extrapolated. What rows
        measured before have left warm does not count.
        """
        n = row.size(self._system, self._surroundings.quick)
        gate = str(self._scratch / "gate")
        tree = self._surroundings.tree
        before = tree.pss_bytes()
        submit_s = self._sample("queue_submit", n=n, workers=self._surroundings.workers, gate=gate)
        queued = tree.pss_bytes()
        drain_s = self._sample("queue_drain", n=n, gate=gate)
        drained = tree.pss_bytes()
        release_s = self._sample("queue_release")
        growth = max(queued, drained) - before
        return {
            "queued": [(submit_s + drain_s + release_s) / n],
            "queued-memory": [self._idle_bytes + growth * MILLION / n],
        }

    def _sample(self, method: str, **arguments: object) -> float:
        samples = self._channel.call(
            "sample",
            60.0,
            method=method,
            arguments=arguments,
            repeats=1,
            budget_s=0.0,
            warm_up=False,
        )
        return float(samples[0])


@contextlib.contextmanager
def open_session(system: str, surroundings: Surroundings, ending: Ending) -> Iterator[Session]:
    """Start a system in a process of its own; at the end shut it down and look for leftovers.

    Raises
    ------
    ChildError, ChildLostError
        The system does not start, or one of its operations does not come back.
    """
    with scratch_folder() as scratch:
        log = scratch / "child.log"
        try:
            with _child(system, surroundings, log) as (process, channel):
                session = Session(system, channel, surroundings, scratch)
                session.start()
                yield session
                ending.stop_s = session.stop()
                channel.close()
                process.wait(timeout=STOP_TIMEOUT_S)
        except (ChildLostError, subprocess.TimeoutExpired) as error:
            tail = log_tail(log)
            ending.error = f"{error} ({tail})" if tail else str(error)
            raise ChildLostError(ending.error) from None
        finally:
            ending.leftovers = surroundings.tree.wait_until_none(PATIENCE_S)


@contextlib.contextmanager
def _child(
    system: str, surroundings: Surroundings, log: Path
) -> Iterator[tuple[subprocess.Popen[bytes], Channel]]:
    request_read, request_write = os.pipe()
    reply_read, reply_write = os.pipe()
    command = [sys.executable, "-m", "benchmarks.child", system, str(request_read)]
    channel = Channel(reply_read, request_write)
    with surroundings.tree.started(
        [*command, str(reply_write)],
        log=log,
        env=surroundings.env,
        pass_fds=(request_read, reply_write),
    ) as process:
        os.close(request_read)
        os.close(reply_write)
        try:
            yield process, channel
        finally:
            channel.close()
            deadline = time.monotonic() + 2.0
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.005)
