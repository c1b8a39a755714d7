"""What surrounds a task that runs on the inline engine: its stack, environment and GPUs."""

from __future__ import annotations

import os
import threading
import time

from haz._core.gpus import VISIBLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from haz._core.environment_setup import Environment
    from haz.engines.inline import InlineEngine
    from haz.engines.inline_calls import BoundCall
    from haz.engines.inline_groups import InlineBundle, InlineGroup
    from haz.engines.inline_interrupts import _Watch

__all__ = ["InlineGpus", "Inside", "PlaceInGroup", "Running"]

_EPSILON = 1e-9


class PlaceInGroup:
    """A bundle of a placement group, and whether what runs there captures its children."""

    __slots__ = ("bundle", "captures", "group")

    def __init__(self, group: InlineGroup, bundle: InlineBundle, captures: bool) -> None:
        self.group = group
        self.bundle = bundle
        self.captures = captures


class Running:
    """A task that runs now, in one thread."""

    __slots__ = ("attempt", "base", "began_s", "gpus", "id", "place", "task")

    def __init__(self, task: BoundCall, number: int, place: PlaceInGroup | None) -> None:
        self.task = task
        #: Where it runs, if it runs in a placement group and is no call of an actor.
        self.place = place
        self.id = number
        #: The environment that its own adds to: that of who has submitted it.
        self.base = task.engine.base_environment() if task.actor is None else task.actor.base
        self.attempt: int = 0
        self.began_s: float = time.time()
        #: Names of the GPUs that it has now.
        self.gpus: list[str] = []


class Inside:
    """Code of a task runs: it is on its thread's stack, with its environment and its time limit."""

    def __init__(
        self, engine: InlineEngine, stack: list[Running], running: Running, watch: _Watch
    ) -> None:
        self._engine = engine
        self._stack = stack
        self._running = running
        self._watch = watch
        self._environment = _Environment({}, None)

    def __enter__(self) -> None:
        self._stack.append(self._running)
        try:
            self._environment = self._make_environment()
            self._environment.__enter__()
            self._watch.__enter__()
        except BaseException:
            self._leave()
            raise

    def _make_environment(self) -> _Environment:
        running, engine = self._running, self._engine
        task = running.task
        variables = dict(engine.options.env_vars)
        running.gpus = self._gpu_table().take(task.resources.get("GPU", 0.0))
        gpus = running.gpus if task.actor is None else task.actor.gpus
        if gpus:
            variables[VISIBLE] = ",".join(gpus)
        return _Environment(variables, engine.environment_of(running))

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: Any
    ) -> None:
        try:
            self._watch.__exit__(kind, exc, traceback)
        finally:
            self._leave()

    def _leave(self) -> None:
        self._environment.__exit__()
        running = self._running
        self._gpu_table().give_back(running.gpus, running.task.resources.get("GPU", 0.0))
        running.gpus = []
        self._stack.pop()

    def _gpu_table(self) -> InlineGpus:
        place = self._running.place
        return self._engine.gpus if place is None else place.bundle.gpus


class _Environment:
    """Sets environment variables, and what else a runtime environment says, for a while."""

    def __init__(self, variables: dict[str, str], rest: Environment | None) -> None:
        self._variables = variables
        self._rest = rest
        self._undo: list[Callable[[], object]] = []
        self._before: dict[str, str | None] = {}

    def __enter__(self) -> None:
        for name, value in self._variables.items():
            self._before[name] = os.environ.get(name)
            os.environ[name] = value
        if self._rest is not None:
            self._rest.enter(self._undo)

    def __exit__(self, *_exc: object) -> None:
        while self._undo:
            self._undo.pop()()
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class InlineGpus:
    """The GPUs by name, and how much of each is taken. Thread-safe.

    Every task runs at once, also one that would have to wait elsewhere: it then gets GPUs that
    others have.
    """

    def __init__(self, names: list[str]) -> None:
        self._taken = dict.fromkeys(names, 0.0)
        self._lock = threading.Lock()

    def take(self, amount: float) -> list[str]:
        """Return the names of `amount` GPUs, whole ones, or one that others have parts of."""
        if not amount:
            return []
        each = min(amount, 1.0)
        with self._lock:
            # Those that it fits on first; a part beside other parts.
            names = sorted(
                self._taken,
                key=lambda n: (self._taken[n] + each > 1 + _EPSILON, -self._taken[n]),
            )[: max(int(amount), 1)]
            for name in names:
                self._taken[name] += each
        return names

    def give_back(self, names: list[str], amount: float) -> None:
        """Let go of what `take` returned for `amount`."""
        with self._lock:
            for name in names:
                self._taken[name] -= min(amount, 1.0)
