"""How the cost of a task grows with the number of tasks and of workers; flat is the goal."""

from __future__ import annotations

import dataclasses
import statistics
from dataclasses import dataclass, field

from benchmarks.channel import ChildError, ChildLostError
from benchmarks.rows import ROWS
from benchmarks.session import Ending, Session, Surroundings, open_session

TASKS = (1_000, 10_000, 100_000, 1_000_000)
WORKERS = (1, 2, 4, 8, 16)
TASKS_PER_WORKER_STEP = 20_000
TIME_BOX_S = 40.0


@dataclass
class Curve:
    """Seconds a task against one varied number."""

    system: str
    title: str
    varied: str
    points: dict[int, float] = field(default_factory=dict)
    error: str = ""


def measure_scaling(system: str, surroundings: Surroundings) -> list[Curve]:
    """Both curves of one system; a step that would leave the time box is left out."""
    return [_over_tasks(system, surroundings), _over_workers(system, surroundings)]


def _over_tasks(system: str, surroundings: Surroundings) -> Curve:
    curve = Curve(system, f"no-op tasks, {surroundings.workers} workers", "tasks")
    ending = Ending()
    try:
        with open_session(system, surroundings, ending) as session:
            per_task_s = 0.0
            for tasks in TASKS[:-1] if surroundings.quick else TASKS:
                if per_task_s * tasks > TIME_BOX_S / 2:
                    curve.error = f"{tasks} tasks left out: too long"
                    break
                curve.points[tasks] = per_task_s = _per_task_s(session, tasks)
    except (ChildError, ChildLostError) as error:
        curve.error = str(error)
    return _with_leftovers(curve, ending)


def _over_workers(system: str, surroundings: Surroundings) -> Curve:
    curve = Curve(system, f"{TASKS_PER_WORKER_STEP} no-op tasks", "workers")
    ending = Ending()
    for workers in WORKERS:
        try:
            with open_session(
                system, dataclasses.replace(surroundings, workers=workers), ending
            ) as session:
                curve.points[workers] = _per_task_s(session, TASKS_PER_WORKER_STEP)
        except (ChildError, ChildLostError) as error:
            curve.error = f"{workers} workers: {error}"
            break
        curve = _with_leftovers(curve, ending)
    return curve


def _with_leftovers(curve: Curve, ending: Ending) -> Curve:
    """Say in the curve what the system left behind, if it did."""
    if ending.leftovers and ending.leftovers.killed:
        curve.error += f" left behind: {' '.join(ending.leftovers.killed)}"
    return curve


def _per_task_s(session: Session, tasks: int) -> float:
    """Median over a few repeats; one where there are many tasks."""
    repeats = 5 if tasks <= 10_000 else 3
    row = dataclasses.replace(
        ROWS["async"], repeats=repeats, budget_s=5.0, warm_up=tasks <= 100_000
    )
    return statistics.median(session.measure(row, n=tasks, timeout_s=TIME_BOX_S * 3))
