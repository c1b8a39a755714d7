"""The process that runs one system: ``python -m benchmarks.child SYSTEM READ_FD WRITE_FD``.

Carries out requests until the harness closes the pipe. Start-up and shutdown are requests too.
"""

from __future__ import annotations

import contextlib
import sys
import time
import traceback
from typing import Any

from benchmarks.channel import Channel
from benchmarks.systems import SYSTEMS, System


class Server:
    """Carries out the harness's requests on a system."""

    def __init__(self, system: System) -> None:
        self._system = system

    def start(self, **arguments: Any) -> list[str]:
        """Start the system; the names of its operations."""
        self._system.start(**arguments)
        return [name for name in dir(self._system) if not name.startswith("_")]

    def stop(self) -> float:
        """Shut the system down; the seconds that took."""
        start = time.perf_counter()
        self._system.stop()
        return time.perf_counter() - start

    def sample(
        self, method: str, arguments: dict[str, Any], repeats: int, budget_s: float, warm_up: bool
    ) -> list[float]:
        """Run an operation repeatedly, at least once, until ``budget_s`` is spent."""
        operation = getattr(self._system, method)
        if warm_up:
            operation(**arguments)
        samples: list[float] = []
        end = time.monotonic() + budget_s
        while len(samples) < repeats and (not samples or time.monotonic() < end):
            samples.append(operation(**arguments))
        return samples


def main(system_name: str, read_fd: int, write_fd: int) -> None:
    """Serve requests until the pipe closes."""
    channel = Channel(read_fd, write_fd)
    server = Server(SYSTEMS[system_name].create())
    with contextlib.suppress(EOFError):
        while True:
            request = channel.receive()
            try:
                value = getattr(server, request["call"])(**request["arguments"])
            except Exception as error:
                traceback.print_exc()
                channel.send({"error": f"{type(error).__name__}: {error}"[:300]})
            else:
                channel.send({"value": value})


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
