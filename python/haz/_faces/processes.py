"""The processes of a group, for programs that look at them or end them: ``pool._pool`` and its like."""

from __future__ import annotations

import os
import signal
from time import monotonic, sleep

from haz._core.runtime import runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from haz._faces.call import Worker

__all__ = ["WorkerProcess", "processes_of"]

#: Time for the processes of workers to be there.
_START_S = 10.0
_POLL_S = 0.001


class WorkerProcess:
    """A process of a pool or an executor, with what ``multiprocessing.Process`` has of the same name.

    It is no child of the program, so that there is no exit code. Thread-safe.
    """

    daemon = True

    def __init__(self, pid: int, name: str) -> None:
        self.pid = pid
        self.name = name

    @property
    def ident(self) -> int:
        """Its process id."""
        return self.pid

    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._end(0)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> bool:
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended, or for `timeout` seconds."""
        end = None if timeout is None else monotonic() + timeout
        while self.is_alive() and (end is None or monotonic() < end):
            sleep(_POLL_S)

    def __repr__(self) -> str:
        state = "started" if self.is_alive() else "stopped"
        return f"<WorkerProcess name={self.name!r} pid={self.pid} {state} daemon>"


def processes_of(workers: Iterable[Worker], name: str) -> list[WorkerProcess]:
    """Return the processes of these workers, once they are there; those that have ended are left out."""
    wanted = {worker.actor._actor_id for worker in workers}
    engine = runtime.engine
    end = monotonic() + _START_S
    while wanted and engine is not None:
        actors, _ = engine.list_state("actors")
        living = [row for row in actors if row["actor_id"] in wanted and row["state"] != "DEAD"]
        if all(row["pid"] for row in living) or monotonic() >= end:
            living.sort(key=lambda row: row["actor_id"])
            pids = [row["pid"] for row in living if row["pid"]]
            return [WorkerProcess(pid, f"{name}-{at}") for at, pid in enumerate(pids, 1)]
        sleep(_POLL_S)
    return []
