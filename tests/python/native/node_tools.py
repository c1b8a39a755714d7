"""What tests of long-lived nodes use."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

from haz._core import node_address


class Node:
    """A server, and what is asked of it."""

    def __init__(self, folder):
        self.folder = folder
        self.environ = {**os.environ, "XDG_RUNTIME_DIR": folder}
        self.environ.pop("HAZ_ADDRESS", None)
        self.drivers = []

    def command(self, *args, check=True):
        done = subprocess.run(
            [sys.executable, "-m", "haz", *args],
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=120,
        )
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    def start(self, *args):
        self.command("start", "--num-cpus", "2", *args)
        return self

    @property
    def path(self):
        return os.path.join(self.folder, "haz", "default.sock")

    def status(self):
        return node_address.ask(self.path, {"op": "status"})

    def driver(self, code, **environ):
        """Start a program that joins the node."""
        program = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code)],
            env={**self.environ, "HAZ_ADDRESS": "auto", **environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.drivers.append(program)
        return program

    def run(self, code, **environ):
        """Run a program that joins the node; return what it printed."""
        program = self.driver(code, **environ)
        out, err = program.communicate(timeout=120)
        assert program.returncode == 0, out + err
        return out

    def is_empty(self):
        """Whether nothing of any program is left; unused workers may wait for the next."""
        state = self.status()
        left = state["drivers"] or state["objects"] or state["tasks"] or state["actors"]
        return not left and len(state["worker_pids"]) <= state["total"]["CPU"]


def runs(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def is_suspended(pid):
    """Whether all threads of a process have stopped, and not only been told to."""
    states = []
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/stat") as file:
            states.append(file.read().rpartition(")")[2].split()[0])
    return set(states) == {"T"}


def said(program, text):
    """Wait until a program has printed the line."""
    for line in program.stdout:
        if line.strip() == text:
            return
    raise AssertionError(f"the program ended: {program.stderr.read()}")
