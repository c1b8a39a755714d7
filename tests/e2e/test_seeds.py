"""The programs of the texts that this project began with, as they are but for the import line.

`tareas.py` is of the Spanish text, `sleep_times.py`, `sleep_executor.py` and `matrices.py` of the
English one, `fonctions.py` of the French one (without its actors), and `paralelismo.py` the processes
and pools of the other Spanish one. Their outputs are what the texts show.
The programs sleep, so they run side by side. What must be shorter than something is compared with the
time that it would take one after the other, which also a busy machine does not reach.
"""

from __future__ import annotations

import itertools
import os
import re
import time
from pathlib import Path

import pytest

from tests.e2e.programs import Program, run_program

SEEDS = Path(__file__).parent / "seeds"
COUNTED = r"\(incrementer pid=\d+\) id= (?P<id>[12]) : count = (?P<count>\d+)"
REF = re.compile(r"ObjectRef\([0-9a-f]{32}\)")


@pytest.fixture(scope="module")
def started():
    """The sleeping programs, running."""
    names = ("tareas.py", "sleep_times.py", "fonctions.py", "paralelismo.py", "sleep_executor.py")
    # The English text leaves the number of CPUs to the runtime: the others have 4.
    programs = {name: Program([SEEDS / name], HAZ_NUM_CPUS="4") for name in names}
    yield programs
    for program in programs.values():
        program.stop()


@pytest.fixture
def finish(started):
    """Wait for the end of one of them."""

    def wait(name, fails=False):
        finished = started[name].finish()
        if not fails:
            assert (finished.code, finished.stderr) == (0, "")
        return finished

    return wait


def test_each_seed_has_only_another_import_line():
    imports = {
        "paralelismo.py": "import haz.multiprocessing as multiprocessing\n",
        "sleep_executor.py": "from haz import Executor\n",
    }
    for path in SEEDS.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        line = imports.get(path.name, "import haz as ray\n")
        assert text.count(line) == 1
        assert "haz" not in text.replace(line, "")


def _raw_sleeps_s(number):
    start = time.perf_counter()
    for _ in range(number):
        time.sleep(0.0001)
    return time.perf_counter() - start


def test_tareas(finish):
    lines = finish("tareas.py").lines
    times = [float(line.split("=")[1]) for line in lines if line.startswith("duracion = ")]
    results = [line.split("=")[1].strip() for line in lines if line.startswith("resultados = ")]
    plain, submitted, one_by_one, small, in_bigger_ones = times
    assert plain >= 4
    assert results[0] == "[0, 1, 2, 3]"
    # The calls return at once, with refs: waiting for one of the tasks takes a second.
    assert submitted < 1
    assert len(set(REF.findall(results[1]))) == 4
    # A `get` after each call leaves nothing to run in parallel.
    assert one_by_one >= 4
    assert results[2] == "[0, 1, 2, 3]"
    # 20,000 naps on four workers.
    serial = 20 * _raw_sleeps_s(1000)
    assert 20_000 * 0.0001 / 4 <= small < serial
    # Only the refs are waited for; they come with the end of the twenty submitting tasks.
    assert in_bigger_ones < serial
    name, _, overhead_ms = lines[-1].partition(" = ")
    assert name == "Sobregarga por tarea (ms)"
    assert 0 < float(overhead_ms) < 0.87  # what the text measured


def test_sleep_times(finish):
    first, last = finish("sleep_times.py").lines
    assert re.fullmatch(r"Total time of sleep: 9\.9\d* for 16 tasks", first)
    seconds = float(re.fullmatch(r"Finished in (\d+\.\d\d)", last).group(1))
    assert 9.9 / 4 <= seconds < 9.9


def test_sleep_executor(finish):
    first, last = finish("sleep_executor.py").lines
    assert re.fullmatch(r"Total time of sleep: 9\.9\d* for 16 tasks", first)
    seconds = float(re.fullmatch(r"Finished in (\d+\.\d\d)", last).group(1))
    assert 9.9 / 4 <= seconds < 9.9


def test_paralelismo(finish):
    finished = finish("paralelismo.py", fails=True)
    lines = [line for line in finished.lines if line]
    # What calls print is the program's output as it is, and nothing of it is left out.
    assert sorted(lines[:2]) == ["Process 1", "Process 2"]
    assert 5 <= _seconds(lines[2]) < 10
    assert (
        len({re.fullmatch(r"Proceso [12], PID: (\d+)", line).group(1) for line in lines[5:7]}) == 2
    )
    assert lines[7].startswith("Proceso general, PID: ")
    cpus = os.cpu_count()
    assert [re.sub(r": .*", "", line) for line in lines[8:11]] == [
        "Tiempo en dos procesos",
        f"Tiempo en {cpus} procesos",
        f"Tiempo en {2 * cpus} procesos",
    ]
    # What pools' calls print comes by another way than what the program does, maybe a moment later.
    rest = lines[11:]
    one_by_one, together = (_seconds(line) for line in rest if line.startswith("Tiempo"))
    assert 3 <= one_by_one
    assert 1.5 <= together < 3
    assert rest.count("Tarea 2") == 2
    assert 1 <= rest.count("Tarea 1") <= 2
    calls = [found for line in rest if (found := re.fullmatch(r"([12]), (\d+)", line))]
    waited = {found.groups() for found in calls[-2:]}
    assert {number for number, _ in waited} == {"1", "2"}
    assert len({process for _, process in waited}) == 2
    results = [line for line in rest if line.startswith("<haz.multiprocessing.results.AsyncResult")]
    assert (len(results), rest.count("25"), rest[-1]) == (2, 2, results[-1])
    # The last example of the text waits for ever with the standard library.
    assert finished.code == 1
    errors = finished.stderr.splitlines()
    assert errors[-1] == "ValueError: the pool was terminated before this result was there"
    assert "2 results are lost" in finished.stderr


def _seconds(line):
    return float(re.search(r": ([0-9.]+) s$", line).group(1))


def test_fonctions(finish):
    finished = finish("fonctions.py")
    lines, times = finished.lines, finished.times
    assert lines[0] == "1 2"
    serial = float(lines[1])
    assert serial >= 6
    assert REF.fullmatch(lines[2])
    assert lines[3:5] == ["1 2", "[1, 2]"]
    assert 3 <= float(lines[5]) < serial
    assert lines[6:9] == ["[3, 5, 7, 9]", "[3, 5, 7, 9]", "[1, 101, 2, 102, 3, 103]"]
    counted = [re.fullmatch(COUNTED, line) for line in lines[9:19]]
    assert sorted(int(found["count"]) for found in counted) == list(range(1, 11))
    assert [found["id"] for found in counted if found["id"] == "1"] == ["1"] * 5
    # Both start with what the other has not counted yet: they share one actor, in turns.
    assert {found["id"] for found in counted[1:4]} == {"1", "2"}
    assert lines[19:] == ["[3, 2]", "[5]", "[0, 1, 2, 3]"]
    # When the lines came; half a second for what happens in between.
    took = [after - before for before, after in itertools.pairwise(times)]
    after_dependencies, after_nested, after_two_actors = took[5:8]
    assert 1.5 <= after_dependencies < 8
    assert 0.5 <= after_nested < 8
    assert 2.5 <= after_two_actors < 6
    after_two, after_third, after_put = took[18:]
    assert 2.5 <= after_two < 1 + 3 + 5  # the last second of a task, then three
    assert 1.5 <= after_third
    assert 0.5 <= after_put < 4


def test_matrices(tmp_path):
    text = (SEEDS / "matrices.py").read_text(encoding="utf-8")
    program = tmp_path / "matrices.py"
    program.write_text(
        text + "print(MM.shape, MM.std())\n"
        "print(np.array_equal(MM, np.add(*ray.get([m12, m34]))), MM.flags.writeable)\n",
        encoding="utf-8",
    )
    finished_in, values, same = run_program(program, HAZ_NUM_CPUS="4").lines
    assert re.fullmatch(r"Finished in \d+\.\d\d", finished_in)
    shape, _, deviation = values.rpartition(" ")
    assert shape == "(1000, 1000)"
    # The sum of two products of independent matrices. Were they equal in two workers: 63.
    assert 43 < float(deviation) < 47
    assert same == "True False"
