"""A run as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.floors import Verdict
from benchmarks.report import ratios
from benchmarks.results import Results
from benchmarks.rows import Row
from benchmarks.scaling import Curve


def write_record(
    path: Path,
    results: Results,
    rows: Sequence[Row],
    verdicts: Sequence[Verdict],
    curves: Sequence[Curve],
    about: dict[str, Any],
) -> None:
    """Write everything that was measured, in seconds, bytes and shares.

    Parameters
    ----------
    about
        Facts about the machine and the options of the run.
    """
    by_ratio = ratios(results, about["baseline"])
    record = {
        **about,
        "rows": {
            row.name: {
                "title": row.title,
                "printed_unit": row.unit,
                "systems": _systems(results, row, about),
                "times_slower_than_baseline": by_ratio.get(row.name, {}),
                "limit": results.row_limit(row),
            }
            for row in rows
        },
        "limits": {name: results.limit(name) for name in results.limit_samples},
        "floors": [
            {
                "row": verdict.floor.row,
                "rule": verdict.floor.rule.value,
                "factor": verdict.floor.factor,
                "peer": verdict.floor.peer,
                "is_aim": verdict.floor.is_aim,
                "measured": verdict.measured,
                "is_met": verdict.is_met,
            }
            for verdict in verdicts
        ],
        "scaling": [dataclasses.asdict(curve) for curve in curves],
        "left_behind": {
            system: [dataclasses.asdict(one) for one in found]
            for system, found in results.leftovers.items()
        },
        "loaded_stop_s": results.stops_s,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n")


def _systems(results: Results, row: Row, about: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for system in about["systems"]:
        samples = results.samples.get((row.name, system))
        if samples:
            found[system] = {
                "median": results.median(row.name, system),
                "samples_by_round": list(samples.values()),
                "n": row.size(system, about["quick"]),
            }
        elif (row.name, system) in results.errors:
            found[system] = {"error": results.errors[row.name, system]}
    return found
