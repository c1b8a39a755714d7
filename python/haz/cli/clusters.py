"""What ``haz cluster start``, ``list`` and ``stop`` do: clusters of engines that outlive programs."""

from __future__ import annotations

import os
import time

import click

import haz
from haz._core import node_address
from haz.cli import nodes
from haz.ipyparallel.cluster import (
    DEFAULT_ID,
    NODE_NAME,
    ClusterState,
    cluster_name,
    namespace_of,
    start_state,
)

__all__ = ["list_clusters", "start", "stop"]

_PREFIX = namespace_of("")


def _sizes() -> dict[str, int]:
    """How many engines each cluster has, by its name; empty where the node does not run."""
    try:
        state = node_address.ask(NODE_NAME, {"op": "status"})
    except ConnectionError:
        return {}
    found: dict[str, int] = {}
    for space, _ in state["named_actors"]:
        if space.startswith(_PREFIX):
            name = space[len(_PREFIX) :]
            found[name] = found.get(name, 0) + 1
    return found


def start(n: int | None, profile: str, cluster_id: str) -> int:
    """Start a cluster; return the exit code."""
    name = cluster_name(profile, cluster_id) or DEFAULT_ID
    if name in _sizes():
        raise RuntimeError(f"the cluster {name} runs already; end it by {_stop_command(name)}")
    if not nodes.is_running(NODE_NAME):
        nodes.start_server({"name": NODE_NAME})
    haz.init(address=NODE_NAME, log_to_driver=False)
    began = time.monotonic()
    state = start_state(n, name, is_shared=True)
    count = len(state.engines())
    seconds = time.monotonic() - began
    haz.shutdown()
    option = "" if name == DEFAULT_ID else f"profile={name!r}"
    click.echo(
        f"The cluster {name} runs: {count} engines, started in {seconds:.2f} s.\n"
        f"Use it:  import haz.ipyparallel as ipp; rc = ipp.Client({option})\n"
        f"End it:  {_stop_command(name)}"
    )
    return 0


def _stop_command(name: str) -> str:
    return "haz cluster stop" + ("" if name == DEFAULT_ID else f" --profile {name}")


def list_clusters() -> int:
    """Print the clusters that run; return the exit code."""
    sizes = _sizes()
    if not sizes:
        click.echo("No cluster runs. Start one by `haz cluster start -n 4`.")
        return 1
    width = max(map(len, sizes))
    for name, size in sorted(sizes.items()):
        click.echo(f"{name:<{width}}  {size} engines")
    return 0


def stop(profile: str, cluster_id: str, all_clusters: bool) -> int:
    """End a cluster, or all; return the exit code."""
    sizes = _sizes()
    name = cluster_name(profile, cluster_id) or DEFAULT_ID
    if not all_clusters and name not in sizes:
        raise RuntimeError(f"no cluster {name} runs; `haz cluster list` shows those that do")
    wanted = sorted(sizes) if all_clusters else [name]
    if set(wanted) == set(sizes):
        if sizes:
            nodes.end_server(NODE_NAME)
        click.echo(f"Ended: {', '.join(wanted)}." if wanted else "No cluster ran.")
        return 0
    haz.init(address=NODE_NAME, log_to_driver=False)
    for one in wanted:
        state = ClusterState(one, is_shared=True)
        state.attach()
        state.stop(f"`haz cluster stop` of process {os.getpid()}")
    haz.shutdown()
    click.echo(f"Ended: {', '.join(wanted)}.")
    return 0
