"""Programs of C++ on a long-lived node, beside programs of Python."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess

import haz
import numpy as np
import pytest
from haz._core import node_address
from haz.testing import leak_check

from tests.e2e.cpp_programs import BUILD_DEADLINE_S
from tests.nodes import Nodes

pytestmark = pytest.mark.timeout(BUILD_DEADLINE_S + 60)


@pytest.fixture
def address():
    nodes = Nodes()
    with leak_check():
        yield nodes.path(("--num-cpus", "2"))
        nodes.end()


@pytest.fixture
def joined(built, address):
    """Run the program in one of its ways; its output."""

    def run(way, code=0, program=built / "joined", cwd=None, **environ):
        done = subprocess.run(
            [program, way],
            env={**os.environ, "HAZ_ADDRESS": address, **environ},
            capture_output=True,
            text=True,
            timeout=100,
            stdin=subprocess.DEVNULL,
            cwd=cwd,
        )
        assert done.returncode == code, f"{way}: {done.stdout}\n{done.stderr}"
        return done

    return run


def test_tasks_run_in_workers_that_are_the_program(joined):
    # 2 * (0 + ... + 499), a task that submits another, static initialisers run in each worker.
    assert joined("tasks").stdout == "249500 41 1\n"


def test_one_call_makes_tasks_of_many_items(joined):
    done = joined("map", code=1)
    assert done.stdout.startswith("8997000 19\n")
    assert "was killed by signal 6 (SIGABRT)" in done.stdout


def test_arrays_lie_in_the_store_of_the_node(joined):
    assert joined("arrays").stdout == "1.5\n"


def test_output_comes_to_the_program_that_has_submitted_the_task(joined):
    done = joined("output")
    assert re.fullmatch(r"\(said pid=\d+\) told\n", done.stdout)
    assert re.fullmatch(r"\(said pid=\d+\) told again\n", done.stderr)


def test_workers_have_the_environment_and_the_folder_of_the_program(joined):
    assert joined("surroundings", JOINED_TEST="set").stdout == f"set {os.getcwd()}\n"


def test_several_programs_share_a_detached_actor(joined):
    assert [joined("add").stdout for _ in range(3)] == ["1\n", "2\n", "3\n"]
    # The program that has made it is gone: its process is started again all the same.
    assert joined("kill-process").stdout == "1\n"
    assert joined("add").stdout == "2\n"
    joined("kill")
    assert "there is no actor" in joined("kill", code=1).stdout


def test_crash_is_the_error_of_its_task(joined):
    assert "was killed by signal 6 (SIGABRT)" in joined("crash", code=1).stdout
    assert joined("tasks").stdout == "249500 41 1\n"


def test_python_programs_use_the_node_beside_it(joined, address):
    haz.init(address=address)
    try:
        square = haz.remote(lambda x: x * x)
        assert haz.get(square.remote(3)) == 9
        assert joined("tasks").stdout == "249500 41 1\n"
        assert haz.get([square.remote(i) for i in range(4)]) == [0, 1, 4, 9]
    finally:
        haz.shutdown()


@pytest.fixture
def python(address):
    """A Python program on the node, in the namespace of the C++ programs."""
    haz.init(address=address, namespace="tests")
    yield
    haz.shutdown()


def test_python_program_calls_an_actor_of_a_cpp_program(joined, python):
    joined("add")
    tally = haz.get_actor("tally")
    assert haz.get([tally.add.remote(10), tally.add.remote(amount=1)]) == [11, 12]
    assert joined("add").stdout == "13\n"
    with pytest.raises(TypeError, match=r"tally::add\(int amount\) -> int was called with \(str\)"):
        tally.add.remote("x")
    with pytest.raises(haz.exceptions.TaskError, match=r"argument 1: expected int, not .* str"):
        haz.get(tally.add.remote(haz.put("x")))
    with pytest.raises(AttributeError, match="no method 'nope'"):
        tally.nope
    with pytest.raises(ValueError, match="num_returns is 1"):
        tally.add.options(num_returns=2).remote(1)
    with pytest.raises(ValueError, match="retry_exceptions is True or False"):
        tally.add.options(retry_exceptions=[ValueError], max_task_retries=1).remote(1)
    with pytest.raises(haz.exceptions.HazError, match="runs functions of C"):
        haz.get(tally.__haz_ready__.remote())

    @haz.remote
    def add(handle, amount):
        return haz.get(handle.add.remote(amount))

    assert haz.get(add.remote(tally, 1)) == 14
    haz.kill(tally)
    with pytest.raises(haz.exceptions.ActorDiedError):
        haz.get(tally.add.remote(1))


def test_cpp_program_calls_an_actor_that_python_has_made_of_a_cpp_class(built, joined, python):
    ledger_class = haz.cpp_class(built / "libledger.so", "ledger")
    ledger = ledger_class.options(name="ledger").remote(sum=1)
    failed = joined("ledger", code=1).stdout
    assert failed.startswith("50001\n")
    assert "std::out_of_range: no such page" in failed
    assert haz.get(ledger.add.remote(np.ones(2))) == 50003.0


def test_cpp_program_calls_an_actor_of_a_python_class(joined, python):
    @haz.remote
    class Notes:
        def __init__(self):
            self.notes = []

        def add(self, text, times):
            self.notes += [text] * times
            return f"{text} x {times}"

        def count(self):
            return len(self.notes)

    notes = Notes.options(name="notes").remote()
    said = joined("python-actor", code=1).stdout
    assert said.startswith("from C++ x 3\n3\nexpected int, not a str")
    assert haz.get(notes.count.remote()) == 6


def test_actor_of_another_language_is_told(joined, python):
    ledger = haz.remote(type("Ledger", (), {})).options(name="ledger").remote()
    assert "haz::get_py_actor() finds it" in joined("ledger", code=1).stdout
    del ledger


def test_cpp_program_calls_functions_of_python(joined):
    assert joined("python").stdout == "5 7\n10\n"


def test_functions_of_python_see_what_the_program_sees(joined, tmp_path):
    # The module in its folder, and in PYTHONPATH, its environment, and the actors of its namespace.
    (tmp_path / "own_module.py").write_text(
        "import os\n"
        "import haz\n"
        "import other_module\n"
        "def add_to(name, amount):\n"
        "    return haz.get(haz.get_actor(name).add.remote(amount))\n"
        "def variable(name):\n"
        "    return other_module.prefix + os.environ.get(name, '')\n"
    )
    other = tmp_path / "other"
    other.mkdir()
    (other / "other_module.py").write_text("prefix = 'is '\n")
    joined("add")
    done = joined("own-module", cwd=tmp_path, PYTHONPATH=str(other), JOINED_TEST="set")
    assert done.stdout == "6\nis set\n"
    joined("kill")


def test_end_of_the_node_is_an_error_of_what_waits(built, address):
    program = subprocess.Popen(
        [built / "joined", "wait"],
        env={**os.environ, "HAZ_ADDRESS": address},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert program.stdout.readline() == "waiting\n"
    os.kill(node_address.ask(address, {"op": "status"})["pid"], signal.SIGKILL)
    output, _ = program.communicate(timeout=60)
    assert output.startswith("node died: the node that this program had joined has ended")
    assert program.returncode == 2


def test_no_node_is_an_error_that_says_what_to_do(built, tmp_path):
    done = subprocess.run(
        [built / "joined", "tasks"],
        env={**os.environ, "HAZ_ADDRESS": "nobody", "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "start one by `haz start --name nobody`" in done.stdout


def test_options_of_the_node_can_not_be_given(joined):
    assert "give them to `haz start`" in joined("own-options", code=1).stdout


def test_program_that_was_replaced_is_told(joined, built, tmp_path):
    program = tmp_path / "joined"
    shutil.copy(built / "joined", program)
    assert "was replaced since it has joined" in joined("replaced", 1, program).stdout
