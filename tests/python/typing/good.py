"""Programs that mypy must accept, with the types that it must find. Never run."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Generator, Iterator
from typing import Any

import haz
from haz import DynamicObjectRefGenerator, ObjectRef, ObjectRefGenerator
from haz.actor import ActorClass, ActorHandle, ActorMethod
from typing_extensions import assert_type


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
def three(a: list[int], b: float, c: bytes) -> dict[str, int]:
    return {}


@haz.remote
def star(x: int, *rest: int) -> bool:
    return True


@haz.remote
def keyword(x: int, *, k: int = 3) -> None:
    return None


@haz.remote
def nine(a: int, b: int, c: int, d: int, e: int, f: int, g: int, h: int, i: str) -> int:
    return 1


@haz.remote
def ten(a: int, b: int, c: int, d: int, e: int, f: int, g: int, h: int, i: int, j: str) -> int:
    return 1


@haz.remote
def untyped(x, y=1):  # type: ignore[no-untyped-def]
    return x


@haz.remote
def some_any(x: Any, y: int) -> str:
    return ""


@haz.remote(num_cpus=2, max_retries=0, retry_exceptions=[ValueError], timeout_s=1.5)
def with_options(x: int) -> str:
    return ""


@haz.remote(num_returns=2)
def pair(x: int) -> tuple[int, str]:
    return 1, ""


@haz.remote(num_returns=0)
def nothing(x: int) -> None: ...


@haz.remote(num_returns=1)
def just_one(x: int) -> str:
    return ""


@haz.remote
def numbers(n: int) -> Iterator[int]:
    yield from range(n)


@haz.remote
def texts(n: int, text: str) -> Generator[str, None, bool]:
    yield text
    return True


@haz.remote(num_cpus=1, _generator_backpressure_num_objects=3)
def limited() -> Iterator[float]:
    yield 1.5


@haz.remote(num_returns="streaming")
def streamed(n: int) -> Iterator[int]:
    return iter(range(n))


@haz.remote(num_returns="dynamic")
def dynamic(n: int) -> Iterator[int]:
    yield n


count = int("3")


@haz.remote(num_returns=count)
def some(x: int) -> list[int]:
    return []


ref_int: ObjectRef[int] = haz.put(1)
ref_str: ObjectRef[str] = haz.put("a")
ref_bool: ObjectRef[bool] = haz.put(True)

# Plain arguments: positional, defaults, keywords.
assert_type(none.remote(), ObjectRef[int])
assert_type(one.remote(1), ObjectRef[str])
assert_type(one.remote(x=1), ObjectRef[str])
assert_type(two.remote(1), ObjectRef[float])
assert_type(two.remote(1, "b"), ObjectRef[float])
assert_type(two.remote(1, y="b"), ObjectRef[float])
assert_type(three.remote([1], 1, b""), ObjectRef[dict[str, int]])
assert_type(star.remote(1), ObjectRef[bool])
assert_type(star.remote(1, 2, 3), ObjectRef[bool])
assert_type(keyword.remote(1, k=2), ObjectRef[None])
assert_type(nine.remote(1, 2, 3, 4, 5, 6, 7, 8, "9"), ObjectRef[int])
assert_type(ten.remote(1, 2, 3, 4, 5, 6, 7, 8, 9, "10"), ObjectRef[int])
assert_type(untyped.remote(1, y=2), Any)

# Refs in place of values, in any position.
assert_type(one.remote(ref_int), ObjectRef[str])
assert_type(one.remote(ref_bool), ObjectRef[str])
assert_type(one.remote(none.remote()), ObjectRef[str])
assert_type(two.remote(ref_int), ObjectRef[float])
assert_type(two.remote(ref_int, "b"), ObjectRef[float])
assert_type(two.remote(1, ref_str), ObjectRef[float])
assert_type(two.remote(ref_int, ref_str), ObjectRef[float])
assert_type(two.remote(ref_int, y="b"), ObjectRef[float])
assert_type(three.remote(haz.put([1]), ref_int, haz.put(b"")), ObjectRef[dict[str, int]])
assert_type(star.remote(1, ref_int, 3), ObjectRef[bool])
assert_type(nine.remote(1, 2, 3, 4, 5, 6, 7, ref_int, ref_str), ObjectRef[int])
assert_type(untyped.remote(ref_int, ref_str), Any)
assert_type(some_any.remote("x", 1), ObjectRef[str])
assert_type(some_any.remote(ref_int, ref_int), ObjectRef[str])

# Options.
assert_type(with_options.remote(1), ObjectRef[str])
assert_type(with_options.remote(ref_int), ObjectRef[str])
assert_type(one.options(num_cpus=2, name="n").remote(1), ObjectRef[str])
assert_type(one.options(num_returns=1).remote(1), ObjectRef[Any])
assert_type(pair.remote(1), list[ObjectRef[Any]])
assert_type(nothing.remote(1), None)
assert_type(just_one.remote(1), ObjectRef[str])
assert_type(some.remote(ref_int), Any)
assert_type(one.options(num_returns=2).remote(1), list[ObjectRef[Any]])
assert_type(one.options(num_returns=0).remote(1), None)
assert_type(one.options(num_returns=count).remote(1), Any)
first, second = pair.remote(1)
assert_type(haz.remote(num_cpus=1)(one.__wrapped__).remote(1), Any)

# Generators.
assert_type(numbers.remote(3), ObjectRefGenerator[int])
assert_type(numbers.remote(ref_int), ObjectRefGenerator[int])
assert_type(next(texts.remote(1, "a")), ObjectRef[str])
assert_type([haz.get(ref) for ref in numbers.remote(3)], list[int])
assert_type(numbers.remote(3).completed(), ObjectRef[int])
assert_type(limited.remote(), ObjectRefGenerator[float])
assert_type(streamed.remote(1), ObjectRefGenerator[int])
assert_type(haz.get(dynamic.remote(1)), DynamicObjectRefGenerator[int])
assert_type(numbers.options(num_returns="streaming").remote(1), ObjectRefGenerator[Any])
assert_type(
    numbers.options(num_returns="dynamic").remote(1), ObjectRef[DynamicObjectRefGenerator[Any]]
)
assert_type(numbers.options(num_returns=2).remote(1), list[ObjectRef[Any]])
assert_type(
    numbers.options(_generator_backpressure_num_objects=2).remote(1), ObjectRefGenerator[int]
)
done, left = haz.wait([numbers.remote(1), numbers.remote(2)])
assert_type(done, list[ObjectRefGenerator[int]])
haz.wait([numbers.remote(1), texts.remote(1, "a")])
haz.wait([numbers.remote(1), ref_int])
haz.cancel(numbers.remote(1))

# Lambdas, builtins, methods.
assert_type(haz.remote(len).remote([1]), ObjectRef[int])
assert_type(haz.get(haz.remote(lambda: 1).remote()), int)
assert_type(haz.remote("".join).remote(["a"]), ObjectRef[str])

# get, put, wait.
assert_type(haz.get(ref_int), int)
assert_type(haz.get([ref_int, ref_int]), list[int])
assert_type(haz.get((ref_int, ref_int), timeout=1), list[int])
assert_type(haz.get([one.remote(i) for i in range(3)]), list[str])
assert_type(haz.put([1]), ObjectRef[list[int]])
ready, rest = haz.wait([ref_int], num_returns=1, timeout=0.5)
assert_type(ready, list[ObjectRef[int]])
haz.cancel(ref_int, force=True)
with haz.init(num_cpus=1, engine="inline") as context:
    assert_type(context["node_id"], Any)
assert_type(haz.cluster_resources(), dict[str, float])
assert_type(haz.get_runtime_context().get_task_id(), str | None)


async def main() -> None:
    assert_type(await one.remote(1), str)
    async for ref in numbers.remote(3):
        assert_type(await ref, int)


assert_type(ref_int.future(), concurrent.futures.Future[int])
error: haz.exceptions.TaskError = haz.exceptions.RayTaskError("x")


def generic(refs: list[ObjectRef[str]]) -> list[str]:
    return haz.get(refs)


@haz.remote
def recursive(n: int) -> int:
    return 1 if n == 0 else haz.get(recursive.remote(n - 1)) * n


# Actors. A class decorator can't change the type of the class for mypy, so `haz.remote` is called.
class PlainCounter:
    def __init__(self, start: int = 0, *, step: int = 1) -> None:
        self.value = start

    def add(self, number: int) -> int:
        return number

    @haz.method(num_returns=2, retry_exceptions=[OSError], priority=1)
    def two(self, x: int) -> tuple[int, int]:
        return x, x


class Nothing:
    pass


Counter = haz.remote(PlainCounter)
counter = Counter.remote(3, step=2)
assert_type(counter, ActorHandle[PlainCounter])
assert_type(Counter.remote(), ActorHandle[PlainCounter])
assert_type(Counter.remote(ref_int), ActorHandle[PlainCounter])
assert_type(Counter.options(name="a", max_restarts=-1).remote(1), ActorHandle[PlainCounter])
assert_type(haz.remote(Nothing).remote(), ActorHandle[Nothing])
assert_type(haz.remote(num_cpus=1)(PlainCounter).remote(1), ActorHandle[PlainCounter])
assert_type(haz.remote(max_restarts=1, name="a")(PlainCounter).remote(1), ActorHandle[PlainCounter])
assert_type(PlainCounter().two(1), tuple[int, int])
method: ActorMethod[..., Any] = counter.add
number: ObjectRef[int] = counter.add.remote(1)
assert_type(counter.add.options(num_returns=2).remote(1), list[ObjectRef[Any]])
assert_type(haz.get_actor("a", namespace="b"), ActorHandle[Any])
haz.kill(counter, no_restart=False)
assert_type(haz.util.list_named_actors(), list[str])
assert_type(haz.util.list_named_actors(all_namespaces=True), list[dict[str, str]])
assert_type(haz.get_runtime_context().current_actor, ActorHandle[Any])


def make(cls: ActorClass[[int], PlainCounter]) -> ActorHandle[PlainCounter]:
    return cls.remote(1)
