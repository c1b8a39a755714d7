"""The page and the widget of clusters: in a real browser, and what they ask for."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import urllib.parse

import haz
import haz.ipyparallel as ipp
import pytest
from haz.ipyparallel._cluster_requests import answer
from haz.ipyparallel.cluster import shared_engines
from haz.ipyparallel.cluster_page import ClusterPage
from haz.testing import wait_until

from tests.python.native.browser_tools import CHROMIUM, chromium

_HAZ = [sys.executable, "-m", "haz"]


@pytest.fixture
def folder(monkeypatch):
    """A folder of sockets of its own; what runs in it is ended."""
    with tempfile.TemporaryDirectory(prefix="haz-test-", dir="/tmp") as path:
        monkeypatch.setenv("XDG_RUNTIME_DIR", path)
        yield path
        subprocess.run([*_HAZ, "stop", "--all"], capture_output=True)


@pytest.fixture
def page(folder):
    """The page, as the command serves it."""
    command = subprocess.Popen(
        [*_HAZ, "cluster", "page"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield command.stdout.readline().split()[-1]
    finally:
        command.terminate()
        command.communicate()


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium")
def test_clusters_are_started_and_stopped_in_a_browser(page, tmp_path):
    rows = "[...document.querySelectorAll('tbody tr')].map(row => row.innerText)"
    status = "document.querySelector('[role=status]')?.textContent"
    with chromium(str(tmp_path)) as browser:
        view = browser.open(page)
        wait_until(lambda: "No cluster runs." in view.run("document.body.innerText"), "the page")
        assert view.run("document.querySelector('[name=n]').value") == str(
            len(os.sched_getaffinity(0))
        )
        view.type("[name=name]", "lesson")
        view.type("[name=n]", "2")
        view.click("[type=submit]")
        found = wait_until(lambda: view.run(rows), "the cluster")
        assert found == ["lesson\t2 (0, 1)\tthis machine\tStop"]
        wait_until(lambda: "profile='lesson'" in (view.run(status) or ""), "what to do next")
        assert shared_engines() == {"lesson": [0, 1]}

        view.click("[type=submit]")
        wait_until(lambda: "runs already" in (view.run(status) or ""), "the error")

        # What happens elsewhere is seen.
        subprocess.run([*_HAZ, "cluster", "start", "-n", "1"], check=True, capture_output=True)
        wait_until(lambda: len(view.run(rows)) == 2, "the other cluster")

        view.click("[aria-label='Stop lesson']")
        wait_until(lambda: len(view.run(rows)) == 1, "the cluster's end")
        assert shared_engines() == {"default": [0]}
        assert not browser.errors

        stranger = browser.open(page.partition("#")[0] + "#wrong")
        wait_until(lambda: "The key is wrong" in (stranger.run(status) or ""), "the refusal")


def test_requests_are_checked(folder):
    for request in (
        None,
        [],
        {},
        {"op": "destroy"},
        {"op": "start"},
        {"op": "start", "name": "x; rm -rf", "n": 1},
        {"op": "start", "name": "--all", "n": 1},
        {"op": "start", "name": "x", "n": 0},
        {"op": "start", "name": "x", "n": True},
        {"op": "start", "name": "x", "n": "4"},
        {"op": "stop", "name": "x"},
        {"op": "stop", "name": "x", "where": "program"},
    ):
        reply = answer(request)
        assert reply["error"], request
        assert reply["clusters"] == []
    assert answer({"op": "list"})["error"] is None


def test_clusters_of_the_program_are_seen_and_stopped(folder):
    haz.init(engine="native", num_cpus=1)
    cluster = ipp.Cluster(n=2, cluster_id="mine").start_cluster_sync()
    assert answer({"op": "list"})["clusters"] == [
        {"name": "mine", "where": "program", "engines": [0, 1]}
    ]
    reply = answer({"op": "stop", "name": "mine", "where": "program"})
    assert (reply["clusters"], reply["error"]) == ([], None)
    with pytest.raises(ipp.NoEnginesRegistered):
        cluster.connect_client_sync()


def _asked(page, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", urllib.parse.urlsplit(page.url).port)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_the_page_answers_only_who_knows_its_address(folder):
    with ClusterPage() as page:
        serving = threading.Thread(target=page.serve)
        serving.start()
        key = {"Authorization": f"Bearer {urllib.parse.urlsplit(page.url).fragment}"}
        body = json.dumps({"op": "list"})
        assert _asked(page, "POST", "/request", body)[0] == 403
        assert _asked(page, "POST", "/request", body, {"Authorization": "Bearer é"})[0] == 403
        assert _asked(page, "POST", "/request", "nonsense", key)[0] == 400
        assert _asked(page, "POST", "/request", "x" * 100_000, key)[0] == 400
        assert _asked(page, "GET", "/../cluster.py")[0] == 404
        status, said = _asked(page, "POST", "/request", body, key)
        assert (status, json.loads(said)["clusters"]) == (200, [])
        page.close()
        serving.join()


def test_the_widget_asks_for_the_same(folder, monkeypatch):
    pytest.importorskip("anywidget")
    widget = ipp.ClusterWidget()
    said = []
    monkeypatch.setattr(widget, "send", said.append)
    widget._handle_custom_msg({"op": "list"}, [])
    widget._handle_custom_msg({"op": "start", "name": "?", "n": 1}, [])
    assert [(each["op"], each["error"] is None) for each in said] == [
        ("list", True),
        ("start", False),
    ]
    assert "render" in str(widget._esm)
    widget.close()


def test_without_anywidget_the_widget_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    monkeypatch.delitem(sys.modules, "haz.ipyparallel.cluster_widget", raising=False)
    with pytest.raises(ImportError, match="pip install anywidget"):
        ipp.ClusterWidget
