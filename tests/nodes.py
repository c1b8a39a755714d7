"""Long-lived nodes for the contract suite: programs that join one must notice no difference."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager

import haz
from haz._core import node_address
from haz.testing import wait_until

#: Options of haz.init that are the node's own, and those of `haz start`.
_OF_THE_NODE = {
    "num_cpus": "--num-cpus",
    "num_gpus": "--num-gpus",
    "object_store_memory": "--object-store-memory",
    "_memory": "--memory",
}
_LISTS = {"resources": "--resource", "labels": "--label"}


class Nodes:
    """One node for each set of options, started when it is first asked for."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="haz-", dir="/tmp")
        self._names: dict[tuple[str, ...], str] = {}  #: By options, and what GPUs are seen.

    def _run(self, *args: str) -> None:
        environ = {**os.environ, "XDG_RUNTIME_DIR": self._folder}
        done = subprocess.run(
            [sys.executable, "-m", "haz", *args], env=environ, capture_output=True, text=True
        )
        if done.returncode != 0:
            raise ValueError(done.stdout + done.stderr)

    def path(self, args: tuple[str, ...]) -> str:
        """Return the socket of the node that was started with `args`."""
        key = (*args, os.environ.get("CUDA_VISIBLE_DEVICES", "all"))
        if key not in self._names:
            name = "n" + hashlib.sha256(repr(key).encode()).hexdigest()[:8]
            # A fork of this process may have started it.
            if not os.path.exists(f"{self._folder}/haz/{name}.sock"):
                self._run("start", "--name", name, "--idle-timeout", "300", *args)
            self._names[key] = name
        return f"{self._folder}/haz/{self._names[key]}.sock"

    def check_empty(self) -> None:
        """Raise AssertionError unless nothing of any program is left."""
        for name in self._names.values():
            path = f"{self._folder}/haz/{name}.sock"

            def is_empty(path: str = path) -> bool:
                state = node_address.ask(path, {"op": "status"})
                return not any(state[key] for key in ("drivers", "objects", "tasks", "actors"))

            wait_until(is_empty, f"the node {name} is empty")

    def end(self) -> None:
        self._run("stop", "--all")
        shutil.rmtree(self._folder)


@contextmanager
def joining(nodes: Nodes):
    """Let haz.init join one of `nodes` that has what it is asked for."""
    own_init = haz.init

    def init(**given):
        if haz.is_initialized():
            return own_init(**given)
        args: list[str] = []
        for name, option in _OF_THE_NODE.items():
            if given.get(name) is not None:
                args += [option, str(given.pop(name))]
        for name, option in _LISTS.items():
            for key, amount in (given.pop(name, None) or {}).items():
                args += [option, f"{key}={amount}"]
        return own_init(address=nodes.path(tuple(args)), **given)

    haz.init = init
    try:
        yield
        haz.shutdown()
        nodes.check_empty()
    finally:
        haz.init = own_init
