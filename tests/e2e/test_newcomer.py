"""What somebody new to haz ran into: odd values, odd surroundings."""

from __future__ import annotations

import subprocess
import sys
from typing import NamedTuple

import haz
import pytest

from tests.engines import ENGINES

PROGRAM = """
import haz, sys
@haz.remote
def shout():
    print("out"); print("err", file=sys.stderr); return 5
with open(sys.argv[1], "w") as file:
    file.write(str(haz.get(shout.remote())))
haz.shutdown()
"""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_standard_descriptors_may_be_closed(closed, tmp_path):
    answer = tmp_path / "answer"
    command = f'exec "$0" -c "$1" "$2" {closed}'
    subprocess.run(["sh", "-c", command, sys.executable, PROGRAM, answer], check=True, timeout=60)
    assert answer.read_text() == "5"


@pytest.fixture
def engine():
    haz.init(num_cpus=2)
    yield
    haz.shutdown()


@haz.remote
def same(x):
    return x


def test_classes_with_slots_come_back_from_tasks(engine):
    class Base:
        __slots__ = ("__hidden", "shown")

        def __init__(self):
            self.__hidden = 1
            self.shown = 2

        def hidden(self):
            return self.__hidden

    class Derived(Base):
        __slots__ = "more"

    class Pair(NamedTuple):
        a: int
        b: int = 2

    derived = Derived()
    derived.more = 3
    back = haz.get(same.remote(derived))
    assert type(back) is Derived
    assert (back.hidden(), back.shown, back.more) == (1, 2, 3)
    assert haz.get(same.remote([Pair(1)])) == [(1, 2)]
    assert not haz.get(haz.remote(lambda kind: hasattr(kind(), "__dict__")).remote(Derived))


def test_numbers_and_names_beyond_what_the_core_can_hold(engine):
    assert haz.get(same.options(max_retries=sys.maxsize).remote(1)) == 1
    with pytest.raises(ValueError, match="at most"):
        same.options(num_returns=2**40)
    with pytest.raises(ValueError, match="half a character"):
        same.options(name="\ud800")


def test_memory_error_is_caught_as_one(engine):
    class Greedy(MemoryError):
        pass

    @haz.remote
    def take(kind):
        raise kind("too much")

    for kind in (MemoryError, Greedy):
        with pytest.raises(kind, match="too much") as caught:
            haz.get(take.remote(kind))
        assert isinstance(caught.value, haz.exceptions.TaskError)


HANDLERS_AT_THE_END = """
import atexit, sys

def use(when):
    for call in (lambda: haz.get(double.remote(2)), lambda: haz.get(kept), lambda: haz.put(1),
                 lambda: haz.get(actor.add.remote(1))):
        try:
            call()
            print(when, "works")
        except (RuntimeError, haz.exceptions.HazError) as error:
            print(when, error)

atexit.register(use, "before the import:")
import haz
atexit.register(use, "after the import:")

@haz.remote
def double(x):
    return 2 * x

@haz.remote
class Actor:
    def add(self, x):
        return x

haz.init(engine=sys.argv[1], num_cpus=2)
atexit.register(use, "after init:")
actor = Actor.remote()
kept = haz.put("kept")
"""


@pytest.mark.parametrize("engine", ENGINES)
def test_handlers_of_atexit(tmp_path, engine):
    program = tmp_path / "handlers.py"
    program.write_text(HANDLERS_AT_THE_END)
    ended = subprocess.run(
        [sys.executable, str(program), engine],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ended.stderr == ""
    lines = ended.stdout.splitlines()
    assert lines[:8] == ["after init: works"] * 4 + ["after the import: works"] * 4
    assert len(lines) == 12
    for line in lines[8:]:
        assert line.startswith("before the import: "), line
        assert "registered after `import haz`" in line, line
