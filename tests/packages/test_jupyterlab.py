"""The widget of clusters in JupyterLab, in a real browser: a cell makes it, the mouse uses it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from haz.ipyparallel.cluster import shared_engines
from haz.testing import wait_until

from tests.python.native.browser_tools import CHROMIUM, chromium

pytest.importorskip("jupyterlab")
pytest.importorskip("anywidget")

#: So that nothing lies over the notebook.
_NO_NEWS = {"fetchNews": "false", "checkForUpdates": False}


@pytest.fixture
def folder(monkeypatch):
    """A folder of all files and sockets; what runs in it is ended."""
    with tempfile.TemporaryDirectory(
        prefix="haz-lab-", dir="/tmp", ignore_cleanup_errors=True
    ) as path:
        monkeypatch.setenv("XDG_RUNTIME_DIR", path)
        yield Path(path)
        subprocess.run([sys.executable, "-m", "haz", "stop", "--all"], capture_output=True)


@contextmanager
def jupyterlab(folder):
    """Serve `folder`, and give the address of the server with its key."""
    settings = folder / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(_NO_NEWS))
    places = {
        "HOME": "home",
        "IPYTHONDIR": "ipython",
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
    }
    environ = {**os.environ, **{name: str(folder / place) for name, place in places.items()}}
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
        *("--expose-app-in-browser", f"--ServerApp.root_dir={folder}", "--ServerApp.ip=127.0.0.1"),
        *("--ServerApp.port=0", "--IdentityProvider.token=key"),
    ]
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen(
            command, env=environ, cwd=folder, stdout=log, stderr=log, start_new_session=True
        )
    try:
        [about] = wait_until(
            lambda: list((folder / "runtime").glob("jpserver-*.json")), "the server of JupyterLab"
        )
        yield wait_until(lambda: json.loads(about.read_text() or "{}"), "its address")["url"]
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium")
def test_clusters_are_started_and_stopped_in_jupyterlab(folder):
    import nbformat

    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("import haz.ipyparallel as ipp\nipp.ClusterWidget()")],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    nbformat.write(notebook, folder / "clusters.ipynb")
    kernel = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel"
    row = "document.querySelector('.haz-clusters tbody tr')?.innerText"
    with jupyterlab(folder) as address, chromium(str(folder)) as browser:
        view = browser.open(f"{address}lab/tree/clusters.ipynb?token=key&reset")
        wait_until(lambda: view.run(f"{kernel}?.connectionStatus") == "connected", "the kernel")
        view.run("jupyterapp.commands.execute('notebook:run-all-cells'); 0")
        none = "document.querySelector('.haz-clusters .none')?.textContent"
        wait_until(lambda: view.run(none) == "No cluster runs.", "the widget")
        view.type(".haz-clusters [name=name]", "lesson")
        view.type(".haz-clusters [name=n]", "2")
        view.click(".haz-clusters [type=submit]")
        assert wait_until(lambda: view.run(row), "the cluster") == (
            "lesson\t2 (0, 1)\tthis machine\tStop"
        )
        assert shared_engines() == {"lesson": [0, 1]}
        view.click("[aria-label='Stop lesson']")
        wait_until(lambda: not view.run(row), "the cluster's end")
        assert shared_engines() == {}
        assert not browser.errors
