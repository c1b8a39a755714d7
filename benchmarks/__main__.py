"""``python -m benchmarks``: run, print, record. See README.md beside this file."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import machine, report
from benchmarks.floors import FLOORS, judge, machine_for
from benchmarks.limits import Limits
from benchmarks.plot import draw_ratios
from benchmarks.processes import ProcessTree
from benchmarks.record import write_record
from benchmarks.results import Results
from benchmarks.rows import ROWS
from benchmarks.runner import UNDER_TEST, Plan, Runner
from benchmarks.scaling import measure_scaling
from benchmarks.session import Surroundings, scratch_folder
from benchmarks.systems import SYSTEMS

_HERE = Path(__file__).parent
SCALING = "scaling"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    cores = machine.cores()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--row", default=",".join([*ROWS, SCALING]), help="names, with commas")
    parser.add_argument("--systems", default=",".join(SYSTEMS), help="names, with commas")
    parser.add_argument("--workers", type=int, default=4 if cores < 8 else cores)
    parser.add_argument("--rounds", type=int, default=0, help="3 unless --quick")
    parser.add_argument("--quick", action="store_true", help="1 round, a tenth of the tasks")
    parser.add_argument("--floors", choices=FLOORS, default=machine_for(cores))
    parser.add_argument("--out", type=Path, default=_HERE / "results" / "latest.json")
    parser.add_argument("--list", action="store_true", help="print the names of the rows")
    options = parser.parse_args(arguments)
    options.row = _names(parser, options.row, [*ROWS, SCALING])
    options.systems = _names(parser, options.systems, list(SYSTEMS))
    options.rounds = options.rounds or (1 if options.quick else 3)
    return options


def _names(parser: argparse.ArgumentParser, text: str, known: Sequence[str]) -> list[str]:
    """Split a list of names, in the order of ``known``; a part may end in ``*``."""
    chosen = set()
    for part in text.split(","):
        found = {n for n in known if n == part or (part[-1:] == "*" and n.startswith(part[:-1]))}
        if not found:
            parser.error(f"unknown name {part!r}; known: {', '.join(known)}")
        chosen |= found
    return [name for name in known if name in chosen]


def _environment() -> dict[str, str]:
    """Environment of all that is started: the repository importable, Ray quiet."""
    inherited = os.environ.get("PYTHONPATH", "")
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(_HERE.parent), inherited])),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark; 1 if something was left behind or went wrong."""
    options = parse(arguments)
    if options.list:
        print("\n".join([*(f"{row.name:<16} {row.title}" for row in ROWS.values()), SCALING]))
        return 0
    start = time.monotonic()
    about = {**machine.facts(), "workers": options.workers, "rounds": options.rounds}
    systems = [name for name in options.systems if machine.is_importable(SYSTEMS[name].package)]
    for name in set(options.systems) - set(systems):
        print(f"{SYSTEMS[name].title} is not installed: its column is left out", file=sys.stderr)
    if not systems:
        return 1
    baseline = UNDER_TEST if UNDER_TEST in systems else systems[0]
    rows = [ROWS[name] for name in options.row if name in ROWS]
    tree = ProcessTree()
    with scratch_folder() as scratch:
        limits = Limits(tree, _environment(), scratch, options.workers)
        surroundings = Surroundings(tree, limits, _environment(), options.workers, options.quick)
        results = Results()
        if rows:
            results = Runner(Plan(rows, systems, options.rounds), surroundings).run()
        # Long for a peer: only if it is asked for by name.
        scales = SCALING in options.row and (baseline == UNDER_TEST or not rows)
        curves = measure_scaling(baseline, surroundings) if scales else []
    verdicts = judge(results, options.floors, UNDER_TEST)
    print(f"Medians of {options.rounds} rounds, {options.workers} workers, "
          f"{about['cores']} cores ({about['cpu']}), Python {about['python']}, "
          f"load before {about['load_average_before']:.1f}")  # fmt: skip
    if rows:
        print("\n" + report.table(results, rows, systems, baseline))
    if results.limit_samples:
        print("\n" + report.limits_text(results))
    if curves:
        print("\n" + report.curves_text(curves))
    if verdicts:
        print("\n" + report.floors_text(verdicts, options.floors, options.workers))
    print("\n" + report.leftovers_text(results, systems))
    if results.errors:
        print("\n" + report.errors_text(results))
    elapsed_s = time.monotonic() - start
    about.update(
        baseline=baseline,
        systems=systems,
        quick=options.quick,
        elapsed_s=elapsed_s,
        load_average_after=os.getloadavg()[0],
    )
    write_record(options.out, results, rows, verdicts, curves, about)
    draw_ratios(report.ratios(results, baseline), baseline, options.out.with_suffix(".svg"))
    print(f"{elapsed_s:.0f} s; record and picture: {options.out}, .svg")
    left = any(one.killed for found in results.leftovers.values() for one in found)
    return 1 if left or results.errors else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
