"""Mistakes with actors that mypy must find with haz's plugin. Never run."""

from __future__ import annotations

import haz
from haz import ObjectRef


@haz.remote
class Counter:
    LIMIT = 3

    def __init__(self, start: int, *, step: int = 1) -> None:
        self.value = start

    def add(self, number: int) -> int:
        return number

    def plain(self) -> str:
        return ""

    @property
    def shown(self) -> int:
        return self.value


@haz.remote(max_restarts=2)
class Other:
    def get(self) -> int:
        return 1


ref_str: ObjectRef[str] = haz.put("a")
counter = Counter.remote(1)

# Constructors.
Counter.remote()  # E: call-arg
Counter.remote("a")  # E: arg-type
Counter.remote(1, steps=2)  # E: call-arg
Counter.remote(ref_str)  # E: arg-type
Counter.options(name="a").remote("a")  # E: call-overload
Counter.options(max_restart=1)  # E: call-arg
Other.remote(1)  # E: call-arg

# Methods.
counter.add.remote("a")  # E: call-overload
counter.add.remote()  # E: call-overload
counter.add.remote(ref_str)  # E: arg-type
counter.plain.remote(1)  # E: call-arg
counter.add(1)  # E: operator
counter.added.remote(1)  # E: attr-defined
counter.shown.remote()  # E: attr-defined
counter.LIMIT  # E: attr-defined
text: str = haz.get(counter.add.remote(1))  # E: assignment
Other.remote().add.remote(1)  # E: attr-defined
