"""Remote functions in a notebook: a real kernel runs the cells."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import haz
import pytest

from tests.e2e.programs import Program

CELLS = [
    """
    import haz
    haz.init(num_cpus=2, engine=ENGINE)
    factor = 2
    settings = {"plus": 0}
    def helper(x):
        return x * factor + settings["plus"]
    @haz.remote
    def inner(x):
        return helper(x)
    @haz.remote
    def outer(x):
        return haz.get(inner.remote(x)) + 1000
    @haz.remote
    class Actor:
        def call(self, x):
            return helper(x)
    def show():
        actor = Actor.remote()
        refs = [inner.remote(1), outer.remote(1), inner.options(name="n").remote(1)]
        print(*haz.get([*refs, actor.call.remote(1), old.call.remote(1)]))
    old = Actor.remote()
    show()
    """,
    "show()",
    "factor = 3",
    "show()",
    """
    def helper(x):
        return x * factor + settings["plus"] + 100
    show()
    """,
    "settings['plus'] = 20",
    "show()",
    """
    @haz.remote
    def inner(x):
        return -x
    show()
    """,
    """
    if ENGINE == "native":
        numbers = set(haz._core.runtime.runtime.engine._registered.values())
        print(len(numbers))
    """,
    "show()",
    """
    if ENGINE == "native":
        print(set(haz._core.runtime.runtime.engine._registered.values()) == numbers)
    haz.shutdown()
    """,
]

# What an actor that lives calls is what its class was when it was made; inline it is the same module.
NATIVE = """
2 1002 2 2 2
2 1002 2 2 2
3 1003 3 3 2
103 1103 103 103 2
123 1123 123 123 2
-1 999 -1 123 2
-1 999 -1 123 2
"""
INLINE = """
2 1002 2 2 2
2 1002 2 2 2
3 1003 3 3 3
103 1103 103 103 103
123 1123 123 123 123
-1 999 -1 123 123
-1 999 -1 123 123
"""


EXECUTE = """
import json, sys
import nbclient, nbformat

cells = [nbformat.v4.new_code_cell(cell) for cell in json.loads(sys.argv[1])]
notebook = nbformat.v4.new_notebook(cells=cells)
nbclient.NotebookClient(notebook, timeout=120).execute()
print(json.dumps([
    "".join(o.text for o in cell.outputs if o.output_type == "stream" and o.name == "stdout").strip()
    for cell in notebook.cells
]))
"""


@pytest.mark.parametrize(
    ("engine", "expected"), [("native", NATIVE), ("inline", INLINE)], ids=["native", "inline"]
)
def test_what_a_cell_redefines_takes_effect(tmp_path, engine, expected):
    program = tmp_path / "execute.py"
    program.write_text(EXECUTE)
    cells = [textwrap.dedent(cell) for cell in (f"ENGINE = {engine!r}", *CELLS)]
    # A program of its own: nbclient leaves an event loop behind.
    folders = ("JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR")
    finished = Program(
        [program, json.dumps(cells)],
        cwd=tmp_path,
        PYTHONPATH=str(Path(haz.__file__).parent.parent),
        **{name: str(tmp_path / name) for name in folders},
    ).finish()
    assert finished.code == 0, finished.stderr
    printed = json.loads(finished.lines[-1])
    shown = [text for text in printed if " " in text]
    assert shown == expected.strip().splitlines()
    if engine == "native":
        assert printed[-1] == "True"  # a cell that redefines nothing registers nothing
