"""The Gaussian kernel: a parallel loop in several tools, in a program of its own."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_PROGRAM = Path(__file__).parent / "programs" / "gaussian.py"
_TIMEOUT_S = 240.0

THREADS = (1, 2, 4, 8)
OURS = "haz"
#: Not among the others: the bound, and what has flags that the others have not.
_NO_PEERS = (OURS, "haz-fast-math", "bound")
_BYTES_PER_ITEM = 3 * 8


@dataclass
class Kernel:
    """Seconds by tool and number of threads, one for each round."""

    size: int
    samples: dict[str, dict[int, list[float]]] = field(default_factory=dict)
    error: str = ""

    def median(self, tool: str, threads: int) -> float | None:
        """Seconds, or None where that was not measured."""
        found = self.samples.get(tool, {}).get(threads)
        return statistics.median(found) if found else None

    def best_of_others_over_ours(self, threads: int) -> float | None:
        """Above 1: ours is faster than all of them."""
        ours = self.median(OURS, threads)
        others = [self.median(tool, threads) for tool in self.samples if tool not in _NO_PEERS]
        known = [seconds for seconds in others if seconds is not None]
        return min(known) / ours if ours and known else None

    def speedup(self, threads: int) -> float | None:
        """Of ours, against one thread."""
        one, several = self.median(OURS, 1), self.median(OURS, threads)
        return one / several if one and several else None

    def bound_bytes_per_s(self, threads: int) -> float | None:
        """What the bound reads and writes in a second."""
        seconds = self.median("bound", threads)
        return self.size * _BYTES_PER_ITEM / seconds if seconds else None


def measure(env: Mapping[str, str], quick: bool) -> Kernel:
    """Run the program; an error is in the result."""
    size, rounds = (1_000_000, 2) if quick else (10_000_000, 9)
    command = [sys.executable, str(_PROGRAM), str(size), str(rounds)]
    try:
        done = subprocess.run(
            command, env=dict(env), capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
        )
    except subprocess.CalledProcessError as error:
        return Kernel(size, error=(error.stderr.strip().splitlines() or ["no output"])[-1])
    except subprocess.TimeoutExpired:
        return Kernel(size, error=f"no end after {_TIMEOUT_S:g} s")
    found = json.loads(done.stdout.splitlines()[-1])
    samples = {
        tool: {int(threads): seconds for threads, seconds in by_threads.items()}
        for tool, by_threads in found["samples"].items()
    }
    return Kernel(found["size"], samples)
