"""The processes of a group, for programs that look at them or end them: ``pool._pool`` and its like."""

from __future__ import annotations

import os
from time import monotonic, sleep

from haz._core.runtime import runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Iterable
    from typing import Any

    from haz._faces.call import Worker
else:
    import _signal  # `signal` costs milliseconds, and wraps these

__all__ = ["WorkerProcess", "join_all", "processes_of"]

_POLL_S = 0.001


class WorkerProcess:
    """A process of a pool or an executor, with what ``multiprocessing.Process`` has of the same name.

    It is no child of the program, so that there is no exit code. Thread-safe.

    Raises
    ------
    ProcessLookupError
        It has ended.
    OSError
        There are no descriptors left.
    """

    daemon = True

    def __init__(self, pid: int, name: str) -> None:
        self.pid = pid
        self.name = name
        #: Readable once it has ended. Its pid may be another's by then.
        self._pidfd = os.pidfd_open(pid)

    # Kept as a default, since it may run at the interpreter's end.
    def __del__(self, close: Any = os.close) -> None:
        pidfd = self.__dict__.pop("_pidfd", None)
        if pidfd is not None:
            close(pidfd)

    @property
    def ident(self) -> int:
        """Its process id."""
        return self.pid

    @property
    def sentinel(self) -> int:
        """A descriptor that becomes ready when it ends: for ``multiprocessing.connection.wait``."""
        return self._pidfd

    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return not self._wait(0.0)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._send(_signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self._send(_signal.SIGKILL)

    def _send(self, number: int) -> None:
        try:
            _signal.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            pass

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended, or for `timeout` seconds."""
        self._wait(timeout)

    def _wait(self, timeout: float | None) -> bool:
        from select import POLLIN, poll

        poller = poll()
        poller.register(self._pidfd, POLLIN)
        return bool(poller.poll(None if timeout is None else max(timeout, 0.0) * 1000))

    def __repr__(self) -> str:
        state = "started" if self.is_alive() else "stopped"
        return f"<WorkerProcess name={self.name!r} pid={self.pid} {state} daemon>"


def processes_of(workers: Iterable[Worker], name: str, within_s: float) -> list[WorkerProcess]:
    """Return the processes of these workers; those that have ended are left out.

    For `within_s` seconds it waits until they are there, also those that take the place of others.
    """
    ids = [worker.actor._haz_ref.hex() for worker in workers]
    engine = runtime.engine
    if not ids or engine is None:
        return []
    end = monotonic() + within_s
    while True:
        pids = engine.actor_pids()
        living = [pids[actor] for actor in ids if actor in pids]
        found = [_process(pid, f"{name}-{number}") for number, pid in enumerate(living, 1)]
        if all(found) or monotonic() >= end:
            return [process for process in found if process is not None]
        sleep(_POLL_S)


def _process(pid: int | None, name: str) -> WorkerProcess | None:
    """Return the process; None: there is none yet, or none any more."""
    if pid is None:
        return None
    try:
        process = WorkerProcess(pid, name)
    except ProcessLookupError:
        return None
    return process if process.is_alive() else None


def join_all(processes: Iterable[WorkerProcess], timeout_s: float) -> None:
    """Wait until all have ended, for `timeout_s` seconds at most."""
    end = monotonic() + timeout_s
    for process in processes:
        process.join(end - monotonic())
