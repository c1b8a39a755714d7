"""Runs the rounds: limits, then each system in turn, alone on the machine."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.channel import ChildError, ChildLostError
from benchmarks.life import run_life
from benchmarks.results import Results
from benchmarks.rows import Kind, Row
from benchmarks.session import Ending, Session, Surroundings, open_session
from benchmarks.systems import SYSTEMS

#: Systems whose start takes long: one life a round is enough.
SLOW_TO_START = ("ray", "dask")
LIVES_A_ROUND = 3
MAX_RESTARTS = 2
UNDER_TEST = "haz"


@dataclass(frozen=True)
class Plan:
    """What to run."""

    rows: Sequence[Row]
    systems: Sequence[str]
    rounds: int
    time_box_s: float  #: no round starts that would, by the last one's time, go beyond


class Runner:
    """Fills `Results` according to a plan."""

    def __init__(self, plan: Plan, surroundings: Surroundings) -> None:
        self._plan = plan
        self._surroundings = surroundings
        self._life_rows = {row.name for row in plan.rows if row.kind is Kind.LIFE}
        self._session_rows = _session_rows(plan.rows)
        self.results = Results()

    def run(self) -> Results:
        """All rounds, A B C A B C ..., as far as the time box allows; at least one."""
        start = time.monotonic()
        for round_number in range(self._plan.rounds):
            round_start = time.monotonic()
            self._run_round(round_number)
            self.results.rounds += 1
            now = time.monotonic()
            if now - start + (now - round_start) > self._plan.time_box_s:
                break
        return self.results

    def _run_round(self, round_number: int) -> None:
        self._step(round_number, "limits", self._run_limits)
        for system in self._plan.systems:
            if round_number == 0 or not SYSTEMS[system].is_brief:
                self._step(round_number, system, functools.partial(self._run_system, system))

    def _step(self, round_number: int, what: str, action: Callable[[int], None]) -> None:
        start = time.monotonic()
        print(f"round {round_number + 1}/{self._plan.rounds}  {what:<9}", end="", file=sys.stderr)
        sys.stderr.flush()
        action(round_number)
        print(f"{time.monotonic() - start:6.1f} s", file=sys.stderr)

    def _run_limits(self, round_number: int) -> None:
        probes = dict.fromkeys(name.split("/")[0] for row in self._plan.rows for name in row.limits)
        for probe in probes:
            self._measure_limit(probe, round_number)

    def _measure_limit(self, probe: str, round_number: int) -> None:
        self.results.add_limits(round_number, self._surroundings.limits.measure(probe))

    def _run_system(self, system: str, round_number: int) -> None:
        has_life = self._life_rows and SYSTEMS[system].has_life
        if has_life and ("startup", system) not in self.results.errors:
            self._run_lives(system, round_number)
        failed = {row for row, name in self.results.errors if name == system}
        todo = [row for row in self._session_rows if row.name not in failed]
        for _ in range(MAX_RESTARTS + 1):
            if todo:
                todo = self._run_session(system, round_number, todo)
        for row in todo:
            self.results.errors[row.name, system] = f"not run: lost {MAX_RESTARTS + 1} times before"

    def _run_lives(self, system: str, round_number: int) -> None:
        """Several start-ups; idle watching once for peers, in every round for haz."""
        watched = round_number == 0 or system == UNDER_TEST
        quick_rows = self._life_rows & {"startup", "shutdown"}
        lives = 1 if system in SLOW_TO_START or self._surroundings.quick else LIVES_A_ROUND
        for index in range(lives):
            rows = self._life_rows if watched and index == 0 else quick_rows
            if rows - {"memory-numpy"}:
                self._run_life(system, round_number, rows, with_numpy=False)
        if watched and "memory-numpy" in self._life_rows:
            self._run_life(system, round_number, self._life_rows, with_numpy=True)

    def _run_life(
        self, system: str, round_number: int, rows: set[str], *, with_numpy: bool
    ) -> None:
        try:
            values, leftovers = run_life(system, self._surroundings, rows, with_numpy=with_numpy)
        except ChildLostError as error:
            for row in {"memory-numpy"} & rows if with_numpy else rows - {"memory-numpy"}:
                self.results.errors[row, system] = str(error)
            return
        self.results.leftovers[system].append(leftovers)
        for row in rows & set(values):
            self.results.add(row, system, round_number, [values[row]])

    def _run_session(self, system: str, round_number: int, rows: Sequence[Row]) -> list[Row]:
        """Measure rows in one session; those still to do if the session was lost."""
        ending = Ending()
        todo = list(rows)
        started = False
        try:
            with open_session(system, self._surroundings, ending) as session:
                started = True
                while todo:
                    self._measure_row(session, todo[0], system, round_number)
                    todo.pop(0)
            self.results.stops_s[system].append(ending.stop_s)
        except (ChildError, ChildLostError) as error:
            lost = todo[:1] if started else todo
            for row in lost:
                self.results.errors[row.name, system] = str(error)
            if not lost:
                self.results.errors["shutdown", system] = str(error)
            todo = todo[len(lost) :]
        if ending.leftovers is not None:
            self.results.leftovers[system].append(ending.leftovers)
        return todo

    def _measure_row(self, session: Session, row: Row, system: str, round_number: int) -> None:
        """Record a row's samples; an operation that fails costs its row, not the session."""
        if not session.supports(row):
            return
        try:
            if row.kind is Kind.QUEUE:
                for name, values in session.measure_queue(row).items():
                    self.results.add(name, system, round_number, values)
                return
            pair = self._pair(row, round_number) if row.paired and system == UNDER_TEST else None
            self.results.add(row.name, system, round_number, session.measure(row, pair))
        except ChildError as error:
            self.results.errors[row.name, system] = str(error)

    def _pair(self, row: Row, round_number: int) -> Callable[[], None]:
        probe = row.limits[0].split("/")[0]
        return lambda: self._measure_limit(probe, round_number)


def _session_rows(rows: Sequence[Row]) -> list[Row]:
    """Rows in the order of the session; one queue row fills all rows of that kind."""
    chosen = [row for row in rows if row.kind is Kind.OPERATION]
    chosen += [row for row in rows if row.kind is Kind.QUEUE][:1]
    return sorted(chosen, key=lambda row: not row.first)
