"""The ends of a group's processes, which its `join` waits for, as the standard library's do."""

from __future__ import annotations

import os
from time import monotonic

from haz._core.runtime import runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from haz._faces.call import Worker

__all__ = ["Ends"]


class Ends:
    """Processes of workers that are about to end. One thread at a time."""

    def __init__(self) -> None:
        self._fds: list[int] = []

    def watch(self, workers: Iterable[Worker]) -> None:
        """Be able to tell the end of these workers' processes, as far as they are there."""
        wanted = {worker.actor._actor_id for worker in workers}
        engine = runtime.engine
        if not wanted or engine is None:
            return
        try:
            rows, _ = engine.list_state("workers")
        except Exception:
            return  # haz was shut down, and its processes with it
        for row in rows:
            if row["actor_id"] in wanted and row["pid"] and row["pid"] != os.getpid():
                try:
                    self._fds.append(os.pidfd_open(row["pid"]))
                except OSError:
                    pass  # it has ended, or there are no descriptors left

    def wait(self, timeout_s: float) -> None:
        """Wait until they have ended."""
        fds, self._fds = self._fds, []
        if not fds:
            return
        from select import POLLIN, poll

        end = monotonic() + timeout_s
        poller = poll()
        for fd in fds:
            poller.register(fd, POLLIN)
        left = len(fds)
        try:
            while left and (rest_s := end - monotonic()) > 0:
                for fd, _ in poller.poll(rest_s * 1000):
                    poller.unregister(fd)
                    left -= 1
        finally:
            for fd in fds:
                os.close(fd)
