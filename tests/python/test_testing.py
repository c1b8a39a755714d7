"""haz.testing: the leak check finds what is left, and the fixtures work."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import haz
import pytest
from haz.testing import clean_runtime, descendants, leak_check, wait_until


def test_nothing_is_left():
    with leak_check(), open("/dev/null"):
        pass


def test_descriptor_is_found():
    reader, writer = os.pipe()
    try:
        with pytest.raises(AssertionError, match=r"descriptors are left.*pipe"):
            with leak_check(deadline_s=0):
                extra = os.dup(reader)
    finally:
        for descriptor in (reader, writer, extra):
            os.close(descriptor)


def test_thread_is_found():
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, name="forgotten")
    with pytest.raises(AssertionError, match=r"threads are left.*forgotten"):
        with leak_check(deadline_s=0):
            thread.start()
    stop.set()
    thread.join()


def test_process_is_found():
    with pytest.raises(AssertionError, match=r"processes are left.*sleep"):
        with leak_check(deadline_s=0):
            process = subprocess.Popen(["sleep", "600"])
            wait_until(lambda: "sleep" in str(descendants().get(process.pid)))
    process.kill()
    process.wait()


def test_leak_has_time_to_go():
    thread = threading.Thread(target=threading.Event().wait, args=(0.2,))
    with leak_check():
        thread.start()


def test_error_of_the_block_passes():
    with pytest.raises(KeyError):
        with leak_check():
            raise KeyError


def test_grandchildren_are_descendants():
    code = "import subprocess, sys; p = subprocess.Popen(['sleep', '600']); print(p.pid, flush=1); p.wait()"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    grandchild = int(process.stdout.readline())
    assert {process.pid, grandchild} <= set(descendants())
    assert grandchild in descendants(process.pid)
    os.kill(grandchild, 9)
    process.wait()
    process.stdout.close()


def test_wait_until():
    values = iter([0, None, "yes"])
    assert wait_until(lambda: next(values)) == "yes"
    with pytest.raises(AssertionError, match="never so"):
        wait_until(lambda: False, "never so", deadline_s=0)


def test_clean_runtime():
    with clean_runtime(engine="inline", num_cpus=3) as context:
        assert context["engine"] == "inline"
        assert haz.cluster_resources()["CPU"] == 3
        with pytest.raises(RuntimeError, match="runs already"):
            with clean_runtime():
                pass
    assert not haz.is_initialized()


def test_fixtures(tmp_path):
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["haz.testing.fixtures"]\n')
    (tmp_path / "test_it.py").write_text(
        "import haz\n"
        "def test_it(haz_inline):\n"
        "    assert haz.get(haz.remote(lambda: 1).remote()) == 1\n"
        "    assert haz_inline['engine'] == 'inline'\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr
