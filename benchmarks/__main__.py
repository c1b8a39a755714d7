"""``python -m benchmarks``: run, print, record. See README.md beside this file."""

from __future__ import annotations

import argparse
import compileall
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import gaussian, machine, report
from benchmarks.floors import FLOORS, judge, machine_for
from benchmarks.limits import Limits
from benchmarks.plot import draw_ratios
from benchmarks.processes import ProcessTree
from benchmarks.record import write_record
from benchmarks.results import Results
from benchmarks.rows import ROWS, Row
from benchmarks.run import Run
from benchmarks.runner import UNDER_TEST, Plan, Runner
from benchmarks.scaling import Curve, measure_scaling
from benchmarks.session import Surroundings, scratch_folder
from benchmarks.systems import SYSTEMS

_HERE = Path(__file__).parent
SCALING = "scaling"
GAUSSIAN = "gaussian"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    cores = machine.cores()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--row", default=",".join([*ROWS, SCALING, GAUSSIAN]), help="names, with commas"
    )
    parser.add_argument("--systems", default=",".join(SYSTEMS), help="names, with commas")
    parser.add_argument("--workers", type=int, default=4 if cores < 8 else cores)
    parser.add_argument("--rounds", type=int, default=0, help="3 unless --quick")
    parser.add_argument("--time-box", type=float, default=600.0, help="seconds for the rounds")
    parser.add_argument("--quick", action="store_true", help="1 round, a tenth of the tasks")
    parser.add_argument("--floors", choices=FLOORS, default=machine_for(cores))
    parser.add_argument("--out", type=Path, default=_HERE / "results" / "latest.json")
    parser.add_argument("--list", action="store_true", help="print the names of the rows")
    options = parser.parse_args(arguments)
    options.row = _names(parser, options.row, [*ROWS, SCALING, GAUSSIAN])
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


def _measure(options: argparse.Namespace, systems: Sequence[str]) -> tuple[Results, list[Curve]]:
    """Run the rounds, then the scaling section."""
    rows = _rows(options)
    tree = ProcessTree()
    with scratch_folder() as scratch:
        limits = Limits(tree, _environment(), scratch, options.workers)
        surroundings = Surroundings(tree, limits, _environment(), options.workers, options.quick)
        results = Results()
        if rows:
            plan = Plan(rows, systems, options.rounds, options.time_box)
            results = Runner(plan, surroundings).run()
        # Long for a peer: only if it is asked for by name.
        baseline = _baseline(systems)
        scales = SCALING in options.row and (baseline == UNDER_TEST or not rows)
        return results, measure_scaling(baseline, surroundings) if scales else []


def _rows(options: argparse.Namespace) -> list[Row]:
    return [ROWS[name] for name in options.row if name in ROWS]


def _baseline(systems: Sequence[str]) -> str:
    """What the others are divided by: haz, or the first system where haz is not there."""
    return UNDER_TEST if UNDER_TEST in systems else systems[0]


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark; 1 if something was left behind or went wrong."""
    options = parse(arguments)
    if options.list:
        print(
            "\n".join(
                [*(f"{row.name:<16} {row.title}" for row in ROWS.values()), SCALING, GAUSSIAN]
            )
        )
        return 0
    systems = [name for name in options.systems if machine.is_importable(SYSTEMS[name].package)]
    for name in set(options.systems) - set(systems):
        print(f"{SYSTEMS[name].title} is not installed: its column is left out", file=sys.stderr)
    if not systems:
        return 1
    # Where PYTHONDONTWRITEBYTECODE is set, each new worker would compile the tasks' module again;
    # forks of a program that has imported it would not.
    compileall.compile_dir(_HERE, quiet=2)
    start = time.monotonic()
    facts = machine.facts()
    results, curves = _measure(options, systems)
    kernel = None
    if GAUSSIAN in options.row and UNDER_TEST in systems:
        kernel = gaussian.measure(_environment(), options.quick)
    run = Run(
        results=results,
        curves=curves,
        verdicts=judge(results, options.floors, UNDER_TEST),
        rows=_rows(options),
        systems=systems,
        baseline=_baseline(systems),
        kernel=kernel,
        facts={
            **facts,
            "load_average_after": os.getloadavg()[0],
            "workers": options.workers,
            "floors_of": options.floors,
            "quick": options.quick,
            "elapsed_s": time.monotonic() - start,
        },
    )
    write_record(options.out, run)
    draw_ratios(run.ratios(), run.baseline, options.out.with_suffix(".svg"))
    print(report.run_text(run))
    print(f"Record and picture: {options.out}, .svg")
    left = any(one.killed for found in results.leftovers.values() for one in found)
    failed = kernel is not None and bool(kernel.error)
    return 1 if left or results.errors or failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
