"""The floors that haz must meet, and the aims beyond them, judged by one run's own figures.

Only factors and absolute bounds are written here: every comparison is between two things that
were measured side by side in the run that is judged.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from benchmarks.results import Results
from benchmarks.rows import ROWS, UNITS
from benchmarks.text import number


class Rule(Enum):
    """What a floor demands."""

    FASTER = "times faster than a peer"
    NEAR_LIMIT = "times the row's limit, at most"
    NEAR_ROW = "times another row of the same system, at most"
    AT_MOST = "an absolute bound"


@dataclass(frozen=True)
class Floor:
    """One demand on one row."""

    row: str
    rule: Rule
    factor: float  #: for AT_MOST in seconds, bytes or a share
    peer: str = ""  #: a system, for NEAR_ROW a row
    is_aim: bool = False  #: wished for, not demanded


@dataclass(frozen=True)
class Verdict:
    """A floor held against a run."""

    floor: Floor
    measured: float | None  #: the ratio, or the value; None where a figure is missing

    @property
    def is_met(self) -> bool | None:
        """Whether the floor is met; None if that is unknown."""
        if self.measured is None:
            return None
        if self.floor.rule is Rule.FASTER:
            return self.measured >= self.floor.factor
        return self.measured <= self.floor.factor

    def text(self) -> str:
        """Demand and measurement in words."""
        floor = self.floor
        unit, scale = "x", 1.0
        if floor.rule is Rule.FASTER:
            demand = f"{number(floor.factor)}x {floor.peer}"
        elif floor.rule is Rule.NEAR_LIMIT:
            demand = f"{number(floor.factor)}x the limit"
        elif floor.rule is Rule.NEAR_ROW:
            demand = f"at most {number(floor.factor)}x the row {floor.peer}"
        else:
            unit = " " + ROWS[floor.row].unit
            scale = UNITS[ROWS[floor.row].unit]
            demand = f"at most {number(floor.factor * scale)}{unit}"
        if self.measured is None:
            return f"{demand}: not measured"
        return f"{demand}: {number(self.measured * scale)}{unit}"


def _faster(row: str, **factors: float) -> Iterable[Floor]:
    return (Floor(row, Rule.FASTER, factor, peer) for peer, factor in factors.items())


def _shared() -> Iterable[Floor]:
    """Floors that are the same on both machines."""
    for row in ("sleep", "sleep-nested"):
        yield Floor(row, Rule.NEAR_LIMIT, 1.15)
    for pause_us, factor in ((0, 500.0), (200, 100.0), (5000, 40.0)):
        yield from _faster(f"sync-{pause_us}-idle", ray=factor)
        yield from _faster(f"sync-{pause_us}-busy", pool=1.0)
    yield Floor("sync-0-idle", Rule.AT_MOST, 2e-6, is_aim=True)
    yield Floor("idle-cpu", Rule.AT_MOST, 0.01)
    for row in ("put-cold", "put-warm"):
        yield Floor(row, Rule.NEAR_LIMIT, 1 / 0.8)
    yield Floor("queued", Rule.AT_MOST, 5e-6)
    yield Floor("queued-memory", Rule.AT_MOST, 1e9)
    yield Floor("generator", Rule.AT_MOST, 5e-6, is_aim=True)
    yield Floor("cpp-sync", Rule.NEAR_LIMIT, 1.2)
    yield Floor("cpp-map", Rule.AT_MOST, 0.3e-6)
    yield Floor("cpp-async", Rule.AT_MOST, 0.3e-6, is_aim=True)
    # Unlike a no-op of Python, one of C++ lets go of the GIL and takes it again.
    for row, python_row in (("py-cpp-sync", "sync-0-idle"), ("py-cpp-async", "async")):
        yield Floor(row, Rule.NEAR_ROW, 1.1, python_row)
        yield Floor(row, Rule.NEAR_ROW, 1.0, python_row, is_aim=True)
    yield from _faster("shutdown", ray=20.0)
    yield from _faster("actor-create", ray=50.0)
    yield from _faster("placement-group", ray=100.0)
    yield Floor("attach", Rule.AT_MOST, 0.030)
    yield from _faster("engines-start", ipyparallel=20.0)
    yield from _faster("engines-memory", ipyparallel=4.0)
    yield from _faster("engine-sync", ipyparallel=50.0)
    yield from _faster("engine-balanced", ipyparallel=200.0)
    yield from _faster("engine-map", ipyparallel=20.0)
    yield from _faster("engine-push", ipyparallel=10.0)
    yield from _faster("pool-calls", pool=20.0)
    yield from _faster("pool-map", pool=1.0)
    yield from _faster("pool-start", pool=1.0)
    yield from _faster("pool-argument", pool=10.0)
    yield from _faster("queue-items", pool=5.0)
    yield from _faster("queue-round-trip", pool=1.0)
    yield from _faster("executor-calls", executor=40.0)
    yield from _faster("joblib-calls", joblib=1.0)
    yield from _faster("joblib-cold", joblib=5.0)
    yield from _faster("nested-blas", pool=0.95)
    yield from _faster("dask-graph", dask=3.0)


def _actor_calls(sync: float, one: float, others: float) -> Iterable[Floor]:
    yield from _faster("actor-sync", ray=sync)
    yield from _faster("actor-async", ray=one)
    for row in (
        *("actor-1-n", "actor-n-n", "actor-argument"),
        *("asyncio-actor", "asyncio-actor-1-n", "asyncio-actor-n-n"),
    ):
        yield from _faster(row, ray=others)


def _small_machine() -> Iterable[Floor]:
    """2 cores, 4 workers."""
    yield from _faster("startup", ray=100.0, pool=1.0)
    yield Floor("startup", Rule.AT_MOST, 0.060, is_aim=True)
    yield from _faster("async", ray=300.0, pool=25.0)
    yield Floor("async", Rule.AT_MOST, 1e-6, is_aim=True)
    yield from _faster("get", ray=80.0)
    yield from _faster("put-int", ray=500.0)
    yield from _faster("wait", ray=150.0)
    for row in ("ref-args", "returns", "get-many", "queued", "generator"):
        yield from _faster(row, ray=50.0)
    yield from _actor_calls(sync=500.0, one=200.0, others=80.0)
    yield Floor("memory", Rule.AT_MOST, 40e6)
    yield Floor("memory-numpy", Rule.AT_MOST, 55e6)


def _large_machine() -> Iterable[Floor]:
    """16 cores, 16 workers."""
    yield from _faster("startup", ray=100.0)
    yield from _faster("async", ray=75.0, pool=30.0)
    yield from _faster("get", ray=10.0)
    yield from _faster("put-int", ray=150.0)
    yield from _faster("wait", ray=40.0)
    for row in ("ref-args", "returns", "get-many", "queued"):
        yield from _faster(row, ray=20.0)
    yield from _actor_calls(sync=300.0, one=60.0, others=40.0)
    yield from _faster("generator", ray=30.0)
    yield Floor("submitters", Rule.AT_MOST, 1e-6)
    yield Floor("memory", Rule.AT_MOST, 120e6)


#: By the machine's name, which is its number of cores.
FLOORS: dict[str, tuple[Floor, ...]] = {
    "2": (*_shared(), *_small_machine()),
    "16": (*_shared(), *_large_machine()),
}


def machine_for(cores: int) -> str:
    """Which machine's floors hold on a machine with so many cores."""
    return "2" if cores < 8 else "16"


def judge(results: Results, machine: str, system: str) -> list[Verdict]:
    """Hold every floor of the measured rows against a run, in the order of the table."""
    verdicts = [
        Verdict(floor, _measured(results, floor, system))
        for floor in FLOORS[machine]
        if (floor.row, system) in results.samples or (floor.row, system) in results.errors
    ]
    order = list(ROWS)
    return sorted(verdicts, key=lambda verdict: order.index(verdict.floor.row))


def _measured(results: Results, floor: Floor, system: str) -> float | None:
    own = results.median(floor.row, system)
    if not own:
        return own
    if floor.rule is Rule.FASTER:
        peer = results.median(floor.row, floor.peer)
        return None if peer is None else peer / own
    if floor.rule is Rule.NEAR_ROW:
        other = results.median(floor.peer, system)
        return None if not other else own / other
    if floor.rule is Rule.NEAR_LIMIT:
        limit = results.row_limit(ROWS[floor.row])
        return None if limit is None else own / limit[1]
    return own
