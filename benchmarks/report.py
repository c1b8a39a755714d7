"""A run as text: the table, the limits, the floors, what was left behind."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.floors import Verdict
from benchmarks.limits import MEANINGS
from benchmarks.results import Results
from benchmarks.rows import ROWS, UNITS, Row
from benchmarks.scaling import Curve
from benchmarks.systems import SYSTEMS
from benchmarks.text import align, number


def table(results: Results, rows: Iterable[Row], systems: Sequence[str], baseline: str) -> str:
    """Medians, and in brackets how many times slower (x) than the baseline."""
    header = ["row", "unit", "limit", *(SYSTEMS[system].title for system in systems)]
    lines = [header]
    for row in rows:
        limit = results.row_limit(row)
        cells = [f"{row.title} [{row.name}]", row.unit]
        cells.append(number(limit[1] * UNITS[row.unit]) if limit else "-")
        cells += [_cell(results, row, system, baseline) for system in systems]
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


def ratios(results: Results, baseline: str) -> dict[str, dict[str, float]]:
    """Times slower than the baseline, by row and system."""
    found: dict[str, dict[str, float]] = {}
    for row, system in results.samples:
        own, value = results.median(row, baseline), results.median(row, system)
        if own and value is not None and system != baseline and row in ROWS:
            found.setdefault(row, {})[system] = value / own
    return found
