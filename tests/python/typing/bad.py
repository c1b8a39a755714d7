"""Mistakes that mypy must find: each line with ``# E:`` says with which error. Never run."""

# ruff: noqa: F841

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import haz
from haz import ObjectRef


@haz.remote
def none() -> int:
    return 1


@haz.remote
def one(x: int) -> str:
    return str(x)


@haz.remote
def two(x: int, y: str = "a") -> float:
    return 1.0


@haz.remote
def keyword(x: int, *, k: int) -> None:
    return None


@haz.remote(num_returns=2)
def pair() -> tuple[int, str]:
    return 1, ""


@haz.remote
def some_any(x: Any, y: int) -> str:
    return ""


@haz.remote(num_returns=2)
def pair_of(x: int) -> tuple[int, str]:
    return 1, ""


@haz.remote
def three(x: int, y: int, z: int) -> int:
    return 1


ref_int: ObjectRef[int] = haz.put(1)
ref_str: ObjectRef[str] = haz.put("a")


@haz.remote
def count_up(n: int) -> Iterator[int]:
    yield from range(n)


# Generators.
count_up.remote("a")  # E: call-overload
haz.get(count_up.remote(1))  # E: call-overload
word: str = haz.get(next(count_up.remote(1)))  # E: assignment
count_up.options(_generator_backpressure_num_objects="2")  # E: call-overload

# Wrong types of plain arguments.
one.remote("a")  # E: call-overload
one.remote(1.5)  # E: call-overload
two.remote(1, 2)  # E: call-overload
two.remote("a", "b")  # E: call-overload
one.remote(x="a")  # E: call-overload
two.remote(1, y=2)  # E: call-overload
keyword.remote(1, k="a")  # E: arg-type

some_any.remote("x", "a")  # E: call-overload
pair_of.remote("a")  # E: call-overload

# Wrong types of refs.
some_any.remote("x", ref_str)  # E: arg-type
pair_of.remote(ref_str)  # E: arg-type
three.remote(1, ref_str, 1)  # E: arg-type
three.remote(ref_int, 1, "a")  # E: call-overload
one.remote(ref_str)  # E: arg-type
two.remote(ref_str)  # E: arg-type
two.remote(1, ref_int)  # E: arg-type
two.remote(ref_int, ref_int)  # E: arg-type
one.remote([ref_int])  # E: call-overload

# Wrong numbers and names of arguments.
none.remote(1)  # E: call-arg
one.remote()  # E: call-overload
one.remote(1, 2)  # E: call-overload
one.remote(ref_int, ref_int)  # E: call-overload
one.remote(zz=1)  # E: call-overload
keyword.remote(1)  # E: call-arg

three.remote(1, 2)  # E: call-overload
three.remote(ref_int, 2)  # E: call-overload

# Options.
haz.remote(num_cpu=1)  # E: call-overload
haz.remote(num_cpus="1")  # E: call-overload
one.options(num_cpu=1)  # E: call-overload
one.options(timeout_s="1")  # E: call-overload
one.options(num_cpus=2).remote("a")  # E: call-overload
haz.remote(1)  # E: call-overload
haz.init(num_cpus="2")  # E: arg-type

# Results.
text: int = haz.get(one.remote(1))  # E: assignment
numbers: list[int] = haz.get([one.remote(1)])  # E: list-item
a, b, c = haz.wait([ref_int])  # E: misc
pair.remote().hex()  # E: attr-defined
haz.get(5)  # E: call-overload
haz.put(1).nothing()  # E: attr-defined
one(1)  # E: operator


# Actors.
class PlainCounter:
    def __init__(self, start: int, *, step: int = 1) -> None: ...

    def add(self, number: int) -> int:
        return number


Counter = haz.remote(PlainCounter)
counter = Counter.remote(1)
Counter()  # E: operator
Counter.remote()  # E: call-overload
Counter.remote("a")  # E: call-overload
Counter.remote(1, step="a")  # E: call-overload
Counter.remote(ref_str)  # E: arg-type
Counter.options(max_restart=1)  # E: call-arg
Counter.options(max_restarts="1")  # E: arg-type
haz.remote(max_restart=1)(PlainCounter)  # E: call-overload
haz.remote(max_restarts=1, num_returns=2)(PlainCounter)  # E: call-overload
counter.add(1)  # E: operator
counter.add.options(num_return=2)  # E: call-overload
haz.method(num_return=2)  # E: call-overload
haz.kill(ref_int)  # E: arg-type


async def main() -> None:
    number: int = await one.remote(1)  # E: assignment
