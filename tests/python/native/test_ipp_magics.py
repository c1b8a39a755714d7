"""The ipyparallel face in IPython: magics, rich results, notebooks."""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import haz
import haz.ipyparallel as ipp
import pytest
from haz.testing import wait_until

pytest.importorskip("IPython")


@pytest.fixture
def shell(tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    config = Config()
    config.HistoryManager.enabled = False
    shell = InteractiveShell.instance(config=config)
    with shell.builtin_trap:
        yield shell
    atexit.unregister(shell.atexit_operations)
    shell.atexit_operations()
    InteractiveShell.clear_instance()


@pytest.fixture
def client(shell):
    haz.init(engine="native", num_cpus=2)
    with ipp.Cluster(n=2) as client:
        yield client
    haz.shutdown()


def run(shell, code):
    result = shell.run_cell(code)
    result.raise_error()
    return result.result


def test_a_client_in_ipython_has_magics(client, shell, capsys):
    run(shell, "%px a = 5")
    assert client[:].pull("a", block=True) == [5, 5]
    run(shell, "%%px\nprint(a)\na + 1")
    shown = capsys.readouterr().out
    assert "[stdout:0] 5\n" in shown
    assert "[stdout:1] 5\n" in shown
    assert "Out[0:" in shown
    assert ": 6" in shown
    shell.user_ns["x"] = "client"
    client[:]["x"] = "engine"
    run(shell, '%px y = f"{x}"')
    assert client[:].pull("y", block=True) == ["engine"] * 2
    run(shell, "%%px -t 0 -o kept\n1 + 1")
    assert shell.user_ns["kept"].get().text == "2"
    assert len(shell.user_ns["kept"]) == 1
    run(shell, "%%px --noblock\nz = 1")
    assert client[:].pull("z", block=True) == [1, 1]
    capsys.readouterr()
    run(shell, "%pxresult")
    with pytest.raises(ipp.AlreadyDisplayedError):
        run(shell, "%px 1 / 0")
    assert "ZeroDivisionError" in capsys.readouterr().err
    view = client[:]
    view.block = False
    view.activate("_later")
    run(shell, "%autopx_later")
    run(shell, "late = 5")
    run(shell, "%autopx_later")
    assert client[:].pull("late", block=True) == [5, 5]
    assert "late" not in shell.user_ns
    with pytest.raises(Exception, match="targets"):
        shell.run_cell_magic("px", "-t 7", "1")


def test_a_cluster_that_is_activated_has_magics_that_wait(shell, capsys):
    haz.init(engine="native", num_cpus=2)
    cluster = ipp.Cluster(n=2)
    cluster.start_and_connect_sync(activate=True)
    run(shell, "%px print('said')")
    shown = capsys.readouterr().out.splitlines()
    assert sorted(shown) == ["[stdout:0] said", "[stdout:1] said"]
    cluster.stop_cluster_sync()


def test_magics_of_a_view(client, shell, capsys):
    view = client[1]
    view.block = True
    view.activate("_one")
    run(shell, "%px_one only = 1")
    assert client[1]["only"] == 1
    with pytest.raises(ipp.RemoteError, match="NameError"):
        client[0].pull("only", block=True)
    run(shell, "%pxconfig_one -t : --noblock --verbose")
    assert view.targets == [0, 1]
    assert view.block is False
    run(shell, "%px_one only = 2")
    assert "Async parallel execution on engine(s): [0, 1]" in capsys.readouterr().out
    view.block = True
    run(shell, "%autopx_one")
    shell.run_cell("here = 3\nhere")
    shell.run_cell("%autopx_one")
    assert client[:].pull("here", block=True) == [3, 3]
    assert "here" not in shell.user_ns
    shell.run_cell("here = 4")
    assert shell.user_ns["here"] == 4


def test_code_behind_code_that_fails_is_aborted(client, shell, tmp_path):
    gate = tmp_path / "gate"
    view = client[:]
    view.activate("_on")
    run(shell, "%px_on import os, time")
    run(shell, "%pxconfig_on --noblock")
    client[:].push({"ran": 0, "gate": str(gate)}, block=True)
    run(shell, "%autopx_on")
    failed, behind = (
        shell.run_cell(code).result
        for code in ("while not os.path.exists(gate): time.sleep(0.001)\n1 / 0", "ran = 2")
    )
    run(shell, "%autopx_on")
    applied = view.apply_async(int, ipp.Reference("ran"))
    gate.touch()
    with pytest.raises(ipp.CompositeError, match="ZeroDivisionError"):
        failed.get()
    with pytest.raises(ipp.TaskAborted, match="engine 0 was not run"):
        behind.get()
    assert behind.status == ["aborted", "aborted"]
    assert applied.get() == [0, 0]  # calls go on
    view.execute("ran = 3", silent=False).get()
    assert client[:].pull("ran", block=True) == [3, 3]

    failed = view.execute("time.sleep(0.05); 1 / 0")  # which is no cell
    view.execute("ran = 4").get()
    assert client[:].pull("ran", block=True) == [4, 4]
    with pytest.raises(ipp.CompositeError, match="ZeroDivisionError"):
        failed.get()


def test_rich_results(client, shell):
    view = client[0]
    view.block = True
    code = "from IPython.display import HTML, display\ndisplay('shown')\nHTML('<b>bold</b>')"
    reply = view.execute(code, silent=False).get()
    assert reply._repr_html_() == "<b>bold</b>"
    assert [each["data"] for each in reply.outputs] == [{"text/plain": "'shown'"}]
    view.execute("a = 5")
    listed = view.execute("%whos").stdout
    assert ["a", "int", "5"] in [line.split() for line in listed.splitlines()]

    @ipp.interactive
    def shows():
        for i in range(3):
            display(i)  # noqa: F821

    result = view.apply_async(shows)
    result.get()
    assert [each["data"]["text/plain"] for each in result.outputs] == ["0", "1", "2"]
    raised = view.execute
    with pytest.raises(ipp.RemoteError, match="ZeroDivisionError") as caught:
        raised("1 / 0")
    assert "1 / 0" in "\n".join(caught.value.render_traceback())


def test_an_interrupt_here_interrupts_the_engines(client, shell, capsys, tmp_path):
    def interrupt():
        wait_until(lambda: len(list(tmp_path.glob("runs-*"))) == 2, "the cell runs")
        os.kill(os.getpid(), signal.SIGINT)

    client[:].push({"folder": str(tmp_path)}, block=True)
    thread = threading.Thread(target=interrupt)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    began = time.monotonic()
    thread.start()
    try:
        run(
            shell,
            "%%px\nimport os, time\nopen(f'{folder}/runs-{os.getpid()}', 'w').close()\n"
            "time.sleep(600)",
        )
    finally:
        thread.join()
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - began < 500
    shown = capsys.readouterr().err
    assert "Sending signal SIGINT to engines" in shown
    assert shown.count("----> 3 time.sleep(600)") == 2
    assert "haz/ipyparallel" not in shown  # the handler of the interrupt is no affair of theirs
    assert client[:].apply_sync(abs, -1) == [1, 1]


_RUN = """
import json, sys
import nbclient, nbformat
notebook = nbformat.read(sys.argv[1], 4)
nbclient.NotebookClient(notebook, timeout=100, kernel_name="python3").execute()
json.dump(notebook, sys.stdout)
"""


def _texts(notebook):
    """What each cell shows: the lines of streams in any order, as they come, and all else."""

    def text(output):
        found = output.get("text") or output["data"]["text/plain"]
        return found if isinstance(found, str) else "".join(found)

    def texts(outputs):
        streams = "".join(text(each) for each in outputs if each["output_type"] == "stream")
        return sorted(streams.splitlines()), [
            text(each) for each in outputs if each["output_type"] != "stream"
        ]

    return [texts(cell["outputs"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_the_notebook_of_the_course_runs():
    pytest.importorskip("nbclient")
    path = Path(__file__).parents[3] / "examples" / "notebooks" / "engines.ipynb"
    done = subprocess.run([sys.executable, "-c", _RUN, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert _texts(json.loads(done.stdout)) == _texts(json.loads(path.read_text()))
