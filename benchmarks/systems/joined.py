"""haz on a long-lived node, which a server process hosts and this program joins."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

from benchmarks.systems.haz import Haz
from benchmarks.timing import Stopwatch, check

#: Operations of haz that show what the server's hop costs.
_OPERATIONS = (
    "async_noop",
    "async_identity",
    "sync_call",
    "put_large",
    "get_large",
    "put_int",
    "get_many",
    "wait_one_by_one",
    "submit_from_workers",
    "sync_actor_call",
    "async_actor_calls",
)

#: A program that joins, says how long that took, and waits for each step.
_DRIVER = """
import sys, time
import haz
start = time.perf_counter()
haz.init()
print(time.perf_counter() - start, flush=True)
from benchmarks import tasks
noop = haz.remote(tasks.noop)
haz.get([noop.remote() for _ in range(100)])
print("warm", flush=True)
for line in sys.stdin:
    print(len(haz.get([noop.remote() for _ in range(int(line))])), flush=True)
"""


class Joined:
    """haz as a driver beside others."""

    def __init__(self) -> None:
        self._haz = Haz()
        for name in _OPERATIONS:
            setattr(self, name, getattr(self._haz, name))

    def start(self, workers: int, scratch: str) -> None:
        """Start a node and join it."""
        os.environ["XDG_RUNTIME_DIR"] = scratch
        self._command("start", "--num-cpus", str(workers))
        os.environ["HAZ_ADDRESS"] = "auto"
        self._haz._api.init()
        self._haz.start_workers(workers)

    def stop(self) -> None:
        """Leave the node and end it."""
        self._haz.stop()
        self._command("stop")

    def attach(self, n: int) -> float:
        """Median of what ``haz.init`` takes in new programs."""
        samples = []
        for _ in range(n):
            driver = self._driver()
            samples.append(float(self._line(driver)))
            driver.communicate()
        return statistics.median(samples)

    def submit_from_drivers(self, n: int, drivers: int) -> float:
        """No-ops submitted by several programs at once, each of which waits for its own."""
        each = n // drivers
        programs = [self._driver() for _ in range(drivers)]
        for program in programs:
            self._line(program)
            check(self._line(program) == "warm", "a driver's first tasks")
        with Stopwatch() as watch:
            for program in programs:
                assert program.stdin is not None
                program.stdin.write(f"{each}\n")
                program.stdin.flush()
            counts = [int(self._line(program)) for program in programs]
        check(counts == [each] * drivers, "tasks submitted from drivers")
        for program in programs:
            program.communicate()
        return watch.seconds

    @staticmethod
    def _command(*words: str) -> None:
        subprocess.run([sys.executable, "-m", "haz", *words], check=True, stdout=subprocess.DEVNULL)

    @staticmethod
    def _driver() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", _DRIVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @staticmethod
    def _line(driver: subprocess.Popen[str]) -> str:
        assert driver.stdout is not None
        return driver.stdout.readline().strip()
