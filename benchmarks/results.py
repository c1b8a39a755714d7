"""What a run has measured so far: samples by row and system, limits, errors, leftovers."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from benchmarks.processes import Leftovers
from benchmarks.rows import Row

Samples = dict[int, list[float]]


@dataclass
class Results:
    """Samples are kept by round, so that a median weighs every round alike."""

    rounds: int = 0  #: completed
    samples: dict[tuple[str, str], Samples] = field(default_factory=dict)  #: by (row, system)
    limit_samples: dict[str, Samples] = field(default_factory=dict)
    errors: dict[tuple[str, str], str] = field(default_factory=dict)  #: by (row, system)
    stops_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    leftovers: dict[str, list[Leftovers]] = field(default_factory=lambda: defaultdict(list))

    def add(self, row: str, system: str, round_number: int, values: Iterable[float]) -> None:
        """Record samples of a row."""
        self.samples.setdefault((row, system), {}).setdefault(round_number, []).extend(values)

    def add_limits(self, round_number: int, metrics: dict[str, float]) -> None:
        """Record one run of a probe."""
        for name, value in metrics.items():
            self.limit_samples.setdefault(name, {}).setdefault(round_number, []).append(value)

    def median(self, row: str, system: str) -> float | None:
        """Median over the rounds of each round's median; None where nothing was measured."""
        return _median(self.samples.get((row, system)))

    def limit(self, name: str) -> float | None:
        """Median of a limit."""
        return _median(self.limit_samples.get(name))

    def row_limit(self, row: Row) -> tuple[str, float] | None:
        """The tightest of a row's limits: its name and value."""
        found = [(value, name) for name in row.limits if (value := self.limit(name)) is not None]
        return (min(found)[1], min(found)[0]) if found else None


def _median(samples: Samples | None) -> float | None:
    if not samples:
        return None
    return statistics.median(statistics.median(values) for values in samples.values())
