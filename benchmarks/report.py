"""A run as text: the table, the limits, the floors, what was left behind."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.floors import Verdict
from benchmarks.gaussian import OURS, THREADS, Kernel
from benchmarks.limits import MEANINGS
from benchmarks.results import Results
from benchmarks.rows import UNITS, Row
from benchmarks.run import Run
from benchmarks.scaling import Curve
from benchmarks.systems import SYSTEMS
from benchmarks.text import align, number


def run_text(run: Run) -> str:
    """The whole report."""
    facts = run.facts
    parts = [
        f"Medians of {run.results.rounds} rounds, {facts['workers']} workers, "
        f"{facts['cores']} cores ({facts['cpu']}), Python {facts['python']}, load "
        f"{facts['load_average_before']:.1f} before, {facts['elapsed_s']:.0f} s"
    ]
    if run.rows:
        parts.append(table(run))
    if run.results.limit_samples:
        parts.append(limits_text(run.results))
    if run.curves:
        parts.append(curves_text(run.curves))
    if run.kernel:
        parts.append(kernel_text(run.kernel))
    if run.verdicts:
        parts.append(floors_text(run.verdicts, facts["floors_of"], facts["workers"]))
    if run.results.leftovers:
        parts.append(leftovers_text(run.results, run.systems))
    if run.results.errors:
        parts.append(errors_text(run.results))
    return "\n\n".join(parts)


def table(run: Run) -> str:
    """Medians, and in brackets how many times slower (x) than the baseline."""
    lines = [["row", "unit", "limit", *(SYSTEMS[system].title for system in run.systems)]]
    for row in run.rows:
        limit = run.results.row_limit(row)
        cells = [f"{row.title} [{row.name}]", row.unit]
        cells.append(number(limit[1] * UNITS[row.unit]) if limit else "-")
        cells += [_cell(run.results, row, system, run.baseline) for system in run.systems]
        lines.append(cells)
    return align(lines)


def _cell(results: Results, row: Row, system: str, baseline: str) -> str:
    value = results.median(row.name, system)
    if value is None:
        return "ERROR" if (row.name, system) in results.errors else "-"
    text = number(value * UNITS[row.unit])
    own = results.median(row.name, baseline)
    if system != baseline and own:
        text += f" ({number(value / own)}x)"
    return text


def limits_text(results: Results) -> str:
    """Every limit that was measured."""
    lines = [("limit", "measured", "unit", "what")]
    for name in results.limit_samples:
        value = results.limit(name) or 0.0
        unit = "MB" if name.endswith("_bytes") else ("ms" if value >= 1e-3 else "us")
        meaning = MEANINGS.get(name) or _pingpong_meaning(name)
        lines.append((name, number(value * UNITS[unit]), unit, meaning))
    width = max(len(line[3]) for line in lines)
    return align([(*line[:3], line[3].ljust(width)) for line in lines])


def _pingpong_meaning(name: str) -> str:
    probe, kind = name.split("/")
    _, pause_us, load = probe.split("-")
    pause = f"pauses of {int(pause_us) / 1000:g} ms" if int(pause_us) else "back to back"
    return f"round trip between two processes by {kind}, {pause}, {load}"


def floors_text(verdicts: Sequence[Verdict], machine: str, workers: int) -> str:
    """Each floor, met or not."""
    words = {True: "met", False: "NOT MET", None: "unknown"}
    lines = [("row", "floor", "verdict")]
    for verdict in verdicts:
        name = verdict.floor.row + (" (aim)" if verdict.floor.is_aim else "")
        lines.append((name, verdict.text(), words[verdict.is_met]))
    demanded = [verdict for verdict in verdicts if not verdict.floor.is_aim]
    met = sum(verdict.is_met is True for verdict in demanded)
    return (
        f"Floors of the {machine}-core machine ({workers} workers here): "
        f"{met} of {len(demanded)} met\n{align(lines)}"
    )


def leftovers_text(results: Results, systems: Sequence[str]) -> str:
    """What each system had left when its main process ended."""
    lines = [("left behind", "runs", "alive at exit", "gone after ms", "killed", "loaded stop ms")]
    for system in systems:
        found = results.leftovers.get(system, [])
        stops_s = sorted(results.stops_s.get(system, []))
        lines.append(
            (
                SYSTEMS[system].title,
                str(len(found)),
                str(max((one.at_once for one in found), default=0)),
                number(1e3 * max((one.gone_after_s for one in found), default=0.0)),
                " ".join(name for one in found for name in one.killed) or "nothing",
                number(1e3 * stops_s[len(stops_s) // 2]) if stops_s else "-",
            )
        )
    return align(lines)


def kernel_text(kernel: Kernel) -> str:
    """The Gaussian kernel by tool and number of threads, beside what memory allows."""
    head = f"Gaussian kernel of {kernel.size:,} doubles, ms, by threads"
    if kernel.error:
        return f"{head}\nERROR: {kernel.error}"
    lines = [("tool", *map(str, THREADS))]
    for tool in kernel.samples:
        lines.append((tool, *(_ms(kernel.median(tool, threads)) for threads in THREADS)))
    ratios = [kernel.best_of_others_over_ours(threads) for threads in THREADS]
    lines.append(
        (f"best of the others / {OURS}", *(number(ratio) if ratio else "-" for ratio in ratios))
    )
    speedups = [kernel.speedup(threads) for threads in THREADS]
    lines.append((f"speed-up of {OURS}", *(number(one) if one else "-" for one in speedups)))
    rates = [kernel.bound_bytes_per_s(threads) for threads in THREADS]
    lines.append(("bound, GB/s", *(number(rate / 1e9) if rate else "-" for rate in rates)))
    return f"{head}; bound: the same traffic with an addition only\n{align(lines)}"


def _ms(seconds: float | None) -> str:
    return number(seconds * 1e3) if seconds else "-"


def curves_text(curves: Sequence[Curve]) -> str:
    """How the cost of a task grows."""
    texts = []
    for curve in curves:
        lines = [(curve.varied, "us a task", "of the first")]
        first = next(iter(curve.points.values()), 0.0)
        for x, seconds in curve.points.items():
            growth = f"{seconds / first:.2f}x" if first else "-"
            lines.append((f"{x:,}".replace(",", " "), number(seconds * 1e6), growth))
        title = f"Scaling of {SYSTEMS[curve.system].title}: {curve.title}"
        texts.append(title + "\n" + align(lines) + (f"\n{curve.error}" if curve.error else ""))
    return "\n\n".join(texts)


def errors_text(results: Results) -> str:
    """What went wrong, by row and system."""
    return "\n".join(
        f"ERROR {system}, {row}: {text}" for (row, system), text in results.errors.items()
    )
