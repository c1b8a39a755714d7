"""The ipyparallel face: output of calls while they run."""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
import threading

import haz
import haz.ipyparallel as ipp
import pytest
from haz.ipyparallel import _output_channel
from haz.testing import wait_until


@pytest.fixture
def client():
    haz.init(engine="native", num_cpus=2)
    with ipp.Cluster(n=2) as client:
        yield client
    haz.shutdown()


def talks(gate):
    """On an engine: print, publish and display, and end when the gate is opened."""
    import os
    import sys
    import time

    from haz.ipyparallel.datapub import publish_data

    print("first")
    print("half", end="")
    print("trouble", file=sys.stderr)
    publish_data({"step": 1})
    while not os.path.exists(gate):
        time.sleep(0.002)
    print(" and half")
    publish_data({"step": 2})
    return 5


@pytest.mark.parametrize("kind", ["direct", "balanced"])
def test_output_is_there_while_a_call_runs(client, tmp_path, kind):
    gate = str(tmp_path / "gate")
    view = client[0] if kind == "direct" else client.load_balanced_view()
    result = view.apply_async(talks, gate)
    wait_until(lambda: result.data == {"step": 1}, "published data")
    assert not result.ready()
    assert result.stdout == "first\nhalf"
    assert result.stderr == "trouble\n"
    open(gate, "w").close()
    assert result.get() == 5
    assert (result.stdout, result.data) == ("first\nhalf and half\n", {"step": 2})


def test_displays_are_there_while_a_call_runs(client, tmp_path):
    pytest.importorskip("IPython")
    gate = str(tmp_path / "gate")
    code = f"""
    import os, time
    from IPython.display import clear_output, display
    display("gone")
    clear_output()
    display("seen")
    while not os.path.exists({gate!r}):
        time.sleep(0.002)
    display("late")
    """
    result = client[:].execute(code)

    def texts():
        return [[each["data"]["text/plain"] for each in outputs] for outputs in result.outputs]

    wait_until(lambda: texts() == [["'seen'"]] * 2, "displays")
    assert not result.ready()
    open(gate, "w").close()
    result.get()
    assert texts() == [["'seen'", "'late'"]] * 2


def test_output_is_shown_as_it_comes(client, tmp_path, capfd):
    gate = str(tmp_path / "gate")
    result = client[:].apply_async(talks, gate)
    seen = ""
    with result.stream_output():

        def both():
            nonlocal seen
            seen += capfd.readouterr().out
            return "[stdout:0] first\n" in seen and "[stdout:1] first\n" in seen

        wait_until(both, "the first lines")
        assert not result.ready()
        assert "half" not in seen  # a line is shown when it is whole
        open(gate, "w").close()
        result.wait()
    seen += capfd.readouterr().out
    assert sorted(seen.splitlines()) == sorted(
        f"[stdout:{i}] {line}" for i in range(2) for line in ("first", "half and half")
    )


def test_much_output_arrives_whole(client):
    def prints():
        for i in range(30_000):
            print(i)
        print("é" * 300_000)

    result = client[:].apply_async(prints)
    result.get()
    expected = "".join(f"{i}\n" for i in range(30_000)) + "é" * 300_000 + "\n"
    assert result.stdout == [expected] * 2


def test_each_client_gets_the_output_of_its_calls(client, tmp_path):
    gate = str(tmp_path / "gate")
    with ipp.Client() as other:
        results = [client[0].apply_async(talks, gate), other[1].apply_async(talks, gate)]
        wait_until(lambda: [each.data for each in results] == [{"step": 1}] * 2, "both")
        open(gate, "w").close()
        assert [each.get() for each in results] == [5, 5]


def test_last_words_of_an_engine_are_kept(client):
    def dies():
        import os
        import time

        print("last words")
        time.sleep(1)
        os._exit(3)

    result = client[0].apply_async(dies)
    wait_until(lambda: result.stdout, "output")
    with pytest.raises(ipp.RemoteError, match="Engine 0"):
        result.get()
    assert result.stdout == "last words\n"


def test_output_that_comes_no_other_way_comes_with_the_end(monkeypatch):
    class NoSocket(_output_channel.OutputListener):
        def __init__(self):
            raise OSError("no such sockets here")

    monkeypatch.setattr(_output_channel, "OutputListener", NoSocket)
    haz.init(engine="native", num_cpus=1)
    with ipp.Cluster(n=1) as client:
        result = client[0].execute("print(5)")
        result.get()
        assert result.stdout == "5\n"


def test_nonsense_on_the_socket_does_no_harm(client, tmp_path):
    address = _output_channel._address(_output_channel._current.token)
    for data in (b"x" * 100, b"\5\0\0\0\0\0\0\0hello", b"\xff" * 8):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stranger:
            stranger.connect(address)
            stranger.sendall(data)
    gate = str(tmp_path / "gate")
    result = client[0].apply_async(talks, gate)
    wait_until(lambda: result.data == {"step": 1}, "published data")
    open(gate, "w").close()
    assert result.get() == 5


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_other_users_are_not_listened_to(client):
    address = _output_channel._address(_output_channel._current.token)
    program = f"""
import os, socket
os.setuid(65534)
with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stranger:
    stranger.connect({address!r})
    print(stranger.recv(1))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "b''\n", done.stderr


def test_px_shows_output_as_it_comes(client, tmp_path, monkeypatch, capfd):
    pytest.importorskip("IPython")
    from haz.ipyparallel.magics import ParallelMagics
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    config = Config()
    config.HistoryManager.enabled = False  # or else IPython 8 keeps its file open
    shell = InteractiveShell(config=config)
    gate = tmp_path / "gate"
    view = client[:]
    view.block = True
    magics = ParallelMagics(shell, view)
    seen = ""

    def opens():
        nonlocal seen

        def both():
            nonlocal seen
            seen += capfd.readouterr().out
            return "[stdout:0] begin\n" in seen and "[stdout:1] begin\n" in seen

        wait_until(both, "the engines' first lines")
        gate.touch()

    watching = threading.Thread(target=opens)
    watching.start()
    code = f"import os, time\nprint('begin')\nwhile not os.path.exists({str(gate)!r}):\n"
    magics.cell_px("", code + "    time.sleep(0.002)\nprint('end')\n6")
    watching.join()
    seen += capfd.readouterr().out
    assert seen.count("begin") == seen.count("end") == 2
    assert seen.count("Out[") == 2
    failing = "import os\nprint('end')\nraise ValueError('mine')"
    with pytest.raises(ipp.AlreadyDisplayedError, match="mine") as caught:
        magics.cell_px("", failing)
    shown = capfd.readouterr()
    assert shown.out.count("end") == 2
    assert shown.err.count("ValueError: mine") == 2
    assert caught.value.render_traceback() == ["2 errors"]
    with pytest.raises(ipp.CompositeError):
        magics.cell_px("--no-stream", failing)
    assert "mine" not in capfd.readouterr().err
    magics.pxconfig("--no-stream")
    magics.cell_px("", "print('begin')")
    assert capfd.readouterr().out.endswith("[stdout:0] begin\n[stdout:1] begin\n")
    atexit.unregister(shell.atexit_operations)
    shell.atexit_operations()
