"""The walk through the code names what is there, and happens as it is told."""

from __future__ import annotations

import ast
import re

import pytest
from haz.cli import walk

from tests.e2e.programs import EXAMPLES, ROOT, Program, run_program

TOURS = {"walk": walk.WALK, **{name: stops for name, (stops, _) in walk.TRIPS.items()}}


def _in_python(text: str, symbol: str) -> bool:
    """Whether the source defines `symbol`: a function, or a method as Class.method."""
    owner, _, name = symbol.rpartition(".")
    scopes = [ast.parse(text)]
    if owner:
        scopes = [n for n in ast.walk(scopes[0]) if isinstance(n, ast.ClassDef) and n.name == owner]
    return any(
        isinstance(node, ast.FunctionDef) and node.name == name
        for scope in scopes
        for node in ast.walk(scope)
    )


def _in_cpp(text: str, symbol: str) -> bool:
    """Whether the source defines `symbol`: a function, or a member as Class::member."""
    owner, _, name = symbol.rpartition("::")
    if not owner:
        return re.search(rf"^[\w:<>*&,\[\] ]+[ *&]{name}\(", text, re.MULTILINE) is not None
    if re.search(rf"\b{owner}::{name}\(", text):
        return True
    inside = re.search(rf"^(?:class|struct) {owner}\b", text, re.MULTILINE)
    return inside is not None and re.search(rf"\b{name}\(", text[inside.end() :]) is not None


def _is_there(stop: walk.Stop) -> bool:
    path = ROOT / stop.file
    if not path.is_file():
        return False
    look = _in_python if path.suffix == ".py" else _in_cpp
    return look(path.read_text(encoding="utf-8"), stop.symbol)


@pytest.mark.parametrize("tour", TOURS)
def test_every_file_and_symbol_is_there(tour):
    gone = [f"{stop.file}: {stop.symbol}" for stop in TOURS[tour] if not _is_there(stop)]
    assert not gone, "the walk names what is not there any more:\n" + "\n".join(gone)


@pytest.mark.parametrize(
    ("file", "symbol"),
    [
        ("src/node/node.cpp", "Node::submit_nothing"),
        ("src/node/node.cpp", "Scheduler::submit"),
        ("bindings/submitter.cpp", "submit_nothing"),
        ("python/haz/_core/remote.py", "RemoteFunction.nothing"),
        ("python/haz/_core/remote.py", "nothing"),
        ("src/node/nothing.cpp", "Node::submit"),
    ],
)
def test_what_is_gone_is_noticed(file, symbol):
    assert not _is_there(walk.Stop("driver", file, symbol, ""))


@pytest.mark.parametrize("tour", TOURS)
def test_the_page_tells_the_same(tour):
    page = (ROOT / "docs" / "walk.md").read_text(encoding="utf-8")
    rows = [
        f"| {i} | {s.process} | `{s.file}` | `{s.symbol}` |" for i, s in enumerate(TOURS[tour], 1)
    ]
    assert [row for row in rows if row not in page] == []


def test_events_are_those_of_the_story():
    header = (ROOT / "src" / "sched" / "story.h").read_text(encoding="utf-8")
    body = re.search(r"enum class StoryEvent[^{]*\{([^}]*)\}", header).group(1)
    assert tuple(re.findall(r"\bk(\w+)", body)) == walk.EVENTS
    assert "kTaskSubmitted = 1," in body
    told = {stop.event for stops in TOURS.values() for stop in stops}
    assert told - {""} <= set(walk.EVENTS)


def _happened(lines: list[str]) -> list[str]:
    return [line.split()[1] for line in lines if line.strip().startswith("* ")]


@pytest.mark.parametrize("tour", TOURS)
def test_every_stop_happens(tour, tmp_path):
    target = [EXAMPLES / "hello.py"] if tour == "walk" else ["--trip", tour]
    lines = run_program("-m", "haz.cli.walk", *target, cwd=tmp_path).lines
    assert _happened(lines) == [stop.event for stop in TOURS[tour] if stop.event]
    story = [part.split()[0] for part in lines[-1].removeprefix("The story: ").split(", ")]
    assert story.index("TaskSubmitted" if tour != "last-ref" else "ObjectPut") == 0
    assert story[-1] == "ObjectFreed"


def test_the_walk_shows_what_the_program_prints(tmp_path):
    lines = run_program("-m", "haz.cli.walk", EXAMPLES / "hello.py", cwd=tmp_path).lines
    assert lines[1] == "hello, world"
    shown = [line for line in lines if re.match(r" *\d+ (driver|worker|zygote) ", line)]
    assert len(shown) == len(walk.WALK)


def test_an_event_that_does_not_happen_fails(tmp_path):
    program = tmp_path / "cancelled.py"
    program.write_text(
        "import haz, time\n"
        "haz.init(num_cpus=1)\n"
        "first = haz.remote(time.sleep).remote(60)\n"
        "ref = haz.remote(time.sleep).remote(60)\n"
        "haz.cancel(ref)\n"
    )
    finished = Program(["-m", "haz.cli.walk", program]).finish()
    assert finished.code == 1
    assert "! TaskFinished did not happen" in finished.stdout


def test_make_walk_runs_the_walk():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = makefile.partition("\nwalk:")[2].partition("\n\n")[0]
    assert "-m haz.cli.walk examples/python/hello.py" in recipe
