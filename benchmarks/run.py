"""A finished run: what was measured, on what, and how it was judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.floors import Verdict
from benchmarks.gaussian import Kernel
from benchmarks.results import Results
from benchmarks.rows import ROWS, Row
from benchmarks.scaling import Curve


@dataclass(frozen=True)
class Run:
    """Everything that the report, the record and the picture show."""

    results: Results
    curves: Sequence[Curve]
    verdicts: Sequence[Verdict]
    rows: Sequence[Row]
    systems: Sequence[str]
    baseline: str  #: the system that the others are divided by
    kernel: Kernel | None  #: the Gaussian kernel; None: it was not asked for
    facts: Mapping[str, Any]  #: machine, versions and options

    def ratios(self) -> dict[str, dict[str, float]]:
        """Times slower than the baseline, by row and system."""
        found: dict[str, dict[str, float]] = {}
        for row, system in self.results.samples:
            own = self.results.median(row, self.baseline)
            value = self.results.median(row, system)
            if own and value and system != self.baseline and row in ROWS:
                found.setdefault(row, {})[system] = value / own
        return found
