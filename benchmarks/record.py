"""A run as JSON."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from benchmarks.rows import Row
from benchmarks.run import Run


def write_record(path: Path, run: Run) -> None:
    """Write everything that was measured, in seconds, bytes and shares."""
    results = run.results
    by_ratio = run.ratios()
    record = {
        **run.facts,
        "systems": run.systems,
        "baseline": run.baseline,
        "rounds": results.rounds,
        "rows": {
            row.name: {
                "title": row.title,
                "printed_unit": row.unit,
                "systems": _systems(run, row),
                "times_slower_than_baseline": by_ratio.get(row.name, {}),
                "limit": results.row_limit(row),
            }
            for row in run.rows
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
            for verdict in run.verdicts
        ],
        "scaling": [dataclasses.asdict(curve) for curve in run.curves],
        "gaussian": dataclasses.asdict(run.kernel) if run.kernel else None,
        "left_behind": {
            system: [dataclasses.asdict(one) for one in found]
            for system, found in results.leftovers.items()
        },
        "loaded_stop_s": results.stops_s,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n")


def _systems(run: Run, row: Row) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for system in run.systems:
        samples = run.results.samples.get((row.name, system))
        if samples:
            found[system] = {
                "median": run.results.median(row.name, system),
                "samples_by_round": list(samples.values()),
                "n": row.size(system, run.facts["quick"]),
            }
        elif (row.name, system) in run.results.errors:
            found[system] = {"error": run.results.errors[row.name, system]}
    return found
