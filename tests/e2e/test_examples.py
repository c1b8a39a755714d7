"""Every example runs, as its README says, from any folder."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest

from tests.e2e.programs import EXAMPLES, ROOT, run_program

#: What a line of each example's output must be, in this order.
EXPECTED = {
    "hello.py": [r"ObjectRef\([0-9a-f]{32}\)", "hello, world"],
    "tree_reduction.py": [
        r"chain: 36, after the time of \d+\.\d additions",
        r"tree: 36, after the time of \d+\.\d additions",
    ],
    "matrices.py": [r"\(1000, 1000\) after .* writeable: False", "same as here: True"],
    "gaussian.py": [r"NumPy +\d", r"C\+\+, \d+ threads", "the same: True", "the same sum: True"],
    "cpp_library.py": [
        r"total: 500000\.0",
        r"total: 2500000\.0",
        r"energy\(haz::view<double> signal, double scale\) -> double was called with .*'signal'",
    ],
    "threads.py": [
        r"milliseconds +one by one +2 threads +2 processes",
        r"waiting +\d+ +\d+ +\d+",
        *(rf"Collatz steps in {code} +\d+ +\d+ +\d+" for code in ("Python", r"C\+\+")),
        r"SHA-256 of 8 x 4 MB +\d+ +\d+ +\d+",
    ],
    "monte_carlo.py": [r"10 of 40 tasks: pi is about 3\.1", r"40 of 40 tasks: pi is about 3\.1"],
    "parameter_server.py": [
        r"step  50: [6-9]\d\.\d% of the test images are right",
        r"step 300: (8[5-9]|9\d)\.\d% of the test images are right",
    ],
    "hyperparameters.py": [
        r" 0 of 12  trial +\d, round 1: \d+\.\d%  goes on",
        r"12 of 12  trial",
        r"best: 9\d\.\d% with \{'alpha'",
    ],
    "analyze_stdlib.py": [
        r"  120 files, [\d,]+ lines, [\d,]+ bytes",
        r"  with haz +[\d.]+ s",
        r"  plain Python .* same result",
        r"  init +[\d.]+ ms",
        r"  a task +[\d.]+ us, measured with .* 120 of files, 3 of batches",
    ],
}
ARGUMENTS = {"analyze_stdlib.py": ["--limit", "120", "--num-cpus", "3"], "threads.py": ["--quick"]}
LONGEST = {
    "threads.py": 100,
    "analyze_stdlib.py": 270,
    "parameter_server.py": 70,
    "hyperparameters.py": 80,
}


def _check(lines, patterns):
    rest = iter(lines)
    for pattern in patterns:
        assert any(re.match(pattern, line) for line in rest), f"no {pattern!r} in {lines}"


def test_every_example_is_known():
    assert {path.name for path in EXAMPLES.glob("*.py")} == EXPECTED.keys()
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert [name for name in EXPECTED if f"`{name}`" not in readme] == []


@pytest.mark.parametrize("name", EXPECTED)
def test_examples_are_short(name):
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    assert text.count("\n") < LONGEST.get(name, 60)


@pytest.mark.parametrize("engine", ["native", "inline"])
@pytest.mark.parametrize("name", EXPECTED)
def test_example(name, engine, tmp_path):
    finished = run_program(
        EXAMPLES / name,
        *ARGUMENTS.get(name, ()),
        cwd=tmp_path,
        HAZ_ENGINE=engine,
        XDG_CACHE_HOME=str(tmp_path / "cache"),
    )
    _check(finished.lines, EXPECTED[name])


def test_tree_takes_fewer_steps_than_the_chain(tmp_path):
    finished = run_program(EXAMPLES / "tree_reduction.py", cwd=tmp_path)
    chain, tree = (float(line.split()[-2]) for line in finished.lines)
    assert chain >= 7
    assert 3 <= tree < chain


def test_demo_shows_a_bar_on_a_terminal():
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, EXAMPLES / "analyze_stdlib.py", "--limit", "60"],
        stdout=theirs,
        stdin=subprocess.DEVNULL,
    )
    os.close(theirs)
    output = b""
    try:
        while piece := os.read(ours, 65536):
            output += piece
    except OSError:  # the other end is closed
        pass
    finally:
        os.close(ours)
    assert process.wait(60) == 0
    assert b"\r  [" in output
    assert b"[" + b"#" * 40 + b"]    60 of 60 files" in output


def test_demo_explains_its_options(tmp_path):
    text = run_program(EXAMPLES / "analyze_stdlib.py", "--help", cwd=tmp_path).stdout
    assert "--num-cpus" in text
    assert "--limit" in text


def test_make_demo_runs_the_demo():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = makefile.partition("\ndemo:")[2].partition("\n\n")[0]
    assert "examples/python/analyze_stdlib.py" in recipe
