"""Programs with actors that mypy must accept with haz's plugin. Never run."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import AsyncIterator, Iterator
from typing import Any, Generic, TypeVar

import haz
from haz import ObjectRef, ObjectRefGenerator
from haz.actor import ActorClass, ActorHandle
from typing_extensions import assert_type

T = TypeVar("T")


class Base:
    def __init__(self, start: int = 0, *, step: int = 1) -> None:
        self.value = start

    def inherited(self, x: int) -> str:
        return str(x)


@haz.remote
class Counter(Base):
    def add(self, number: int, unit: str = "") -> float:
        return number

    async def later(self, x: int) -> list[int]:
        return [x]

    def items(self) -> Iterator[int]:
        yield 1

    async def async_items(self) -> AsyncIterator[str]:
        yield "a"

    @haz.method(num_returns=2, priority=1)
    def two(self) -> tuple[int, int]:
        return 1, 2

    @haz.method(num_returns=0)
    def nothing(self) -> int:
        return 1

    @haz.method(num_returns="dynamic")
    def dynamic(self) -> Iterator[int]:
        yield 1

    @haz.method(timeout_s=1)
    def limited(self) -> int:
        return 1

    @staticmethod
    def static(x: int) -> bytes:
        return b""

    @classmethod
    def of_class(cls, x: int) -> bytes:
        return b""

    def untyped(self, x):  # type: ignore[no-untyped-def]
        return x

    def me(self) -> ActorHandle[Counter]:
        return haz.get_runtime_context().current_actor


@haz.remote(max_restarts=1, name="data")
@dataclasses.dataclass
class Data:
    x: int
    y: str = ""

    def get(self) -> int:
        return self.x


@haz.remote
class Empty:
    pass


class Box(Generic[T]):
    def __init__(self, item: T) -> None:
        self.item = item

    def get(self) -> T:
        return self.item


class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self) -> float: ...


@haz.remote
class Square(Shape):
    def __init__(self, side: float) -> None:
        self.side = side

    def area(self) -> float:
        return self.side**2


ref_int: ObjectRef[int] = haz.put(1)

counter = Counter.remote(3, step=2)
assert_type(counter, ActorHandle[Counter])
assert_type(Counter.remote(), ActorHandle[Counter])
assert_type(Counter.remote(ref_int, step=ref_int), ActorHandle[Counter])
assert_type(Counter.options(name="a").remote(1), ActorHandle[Counter])
assert_type(Empty.remote(), ActorHandle[Empty])
assert_type(Square.remote(2.5).area.remote(), ObjectRef[float])

assert_type(counter.add.remote(1), ObjectRef[float])
assert_type(counter.add.remote(1, unit="b"), ObjectRef[float])
assert_type(counter.add.remote(ref_int), ObjectRef[float])
assert_type(haz.get(counter.add.remote(1)), float)
assert_type(counter.inherited.remote(1), ObjectRef[str])
assert_type(counter.later.remote(1), ObjectRef[list[int]])
assert_type(counter.items.remote(), ObjectRefGenerator[int])
assert_type(counter.async_items.remote(), ObjectRefGenerator[str])
assert_type(counter.two.remote(), list[ObjectRef[Any]])
assert_type(counter.dynamic.remote(), Any)
assert_type(counter.limited.remote(), ObjectRef[int])
assert_type(counter.static.remote(1), ObjectRef[bytes])
assert_type(counter.of_class.remote(1), ObjectRef[bytes])
assert_type(counter.untyped.remote(1), Any)
assert_type(counter.me.remote(), ObjectRef[ActorHandle[Counter]])
assert_type(haz.get(counter.me.remote()).add.remote(1), ObjectRef[float])
assert_type(counter.__ray_ready__.remote(), Any)
assert_type(counter.add.options(num_returns=2).remote(1), list[ObjectRef[Any]])
assert_type(counter.add.options(name="a").remote(1), ObjectRef[float])
counter.nothing.remote()

data = Data.remote(1, y="a")
assert_type(data.get.remote(), ObjectRef[int])

box = haz.remote(Box[int]).remote(1)
assert_type(box.get.remote(), ObjectRef[int])
assert_type(haz.remote(Box).remote("a").get.remote(), ObjectRef[str])
untyped: ActorHandle[Any] = haz.get_actor("a")
assert_type(untyped.anything.remote(1), Any)


def make(cls: ActorClass[[int], Base]) -> ObjectRef[str]:
    return cls.remote(1).inherited.remote(2)
