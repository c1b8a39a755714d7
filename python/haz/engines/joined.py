"""The native engine of a driver that has joined a long-lived node, which ``haz start`` started."""

from __future__ import annotations

import os
import sys

from haz import _native
from haz._core import node_address, zygote
from haz.engines.native import NativeEngine, joined, show_output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from haz.engines.base import InitOptions

__all__ = ["JoinedEngine"]

#: How long leaving may take, in seconds: the node then goes on by itself.
_LEAVE_S = 5.0

#: Options that are the node's own: who joins it can't give them.
_OF_THE_NODE = ("num_cpus", "num_gpus", "resources", "memory", "object_store_memory", "labels")


class JoinedEngine(NativeEngine):
    """See :class:`haz.engines.base.Engine`."""

    can_detach = True

    def __init__(self, options: InitOptions) -> None:
        super().__init__(options)
        self._node: dict[str, Any] = {}

    def start(self) -> None:
        """Join the node. Raises ConnectionError where that can't be done."""
        options = self._options
        assert options is not None
        assert options.address is not None
        for name in _OF_THE_NODE:
            if getattr(options, name):
                shown = "_memory" if name == "memory" else name
                raise ValueError(
                    f"haz.init(address=...) joins a node that runs, so {shown}= can't be given: "
                    f"give it to `haz start`"
                )
        zygote.fill_standard_descriptors()
        connection = node_address.connect(options.address)
        with connection:
            node_address.send(
                connection,
                {
                    "op": "join",
                    "argv": sys.argv[:1],
                    "fold_output": os.environ.get("HAZ_DEDUP_LOGS") != "0",
                    **node_address.build_identity(),
                },
            )
            self._node, fds = node_address.receive(connection, 1)
            problem = self._node.get("error") or (
                None if fds else "it has just ended; see `haz status`, or start one by `haz start`"
            )
            if problem is not None:
                path = node_address.socket_path(options.address)
                raise ConnectionError(f"the haz node at {path} can't be joined: {problem}")
            connection.setblocking(True)
            shows = options.log_to_driver
            _native.join_node(
                connection.detach(),
                fds[0],
                self._node["slot"],
                self._node["process"],
                _show if shows else _ignore,
            )
        self._session = _native.session()
        self._namespace = options.namespace or os.urandom(16).hex()
        self._gpus = self._node["gpus"]
        self._labels = self._node["labels"]
        self._become_program(options)

    def _become_program(self, options: InitOptions) -> None:
        """Let workers be what this program is."""
        environ = None
        if options.env_vars:
            environ = dict(os.environb)
            for name, value in options.env_vars.items():
                environ[os.fsencode(name)] = os.fsencode(value)
        self._job_id = f"{self._node['process']:08x}"
        job = {"namespace": self._namespace, "job_id": self._job_id}
        if options.env_vars:
            job["env_vars"] = joined(options.env_vars)
        as_ray = sys.modules.get("haz.as_ray")
        if as_ray is not None and as_ray.is_installed():
            job["as_ray"] = "1"
        preload = tuple(options.preload or ())
        self.environment["program"] = zygote.make_setup((), environ, preload, job)

    def context(self) -> dict[str, Any]:
        shown = super().context()
        shown["address"] = self._node["address"]
        return shown

    def shutdown(self) -> None:
        self._callbacks.stop()
        _native.leave_node(self._session, _LEAVE_S)
        self._callbacks.close()


def _show(message: bytes) -> None:
    import marshal

    show_output(marshal.loads(message))


def _ignore(_message: bytes) -> None:
    pass
