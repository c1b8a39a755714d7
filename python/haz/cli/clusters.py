"""What ``haz cluster start``, ``list`` and ``stop`` do: clusters of engines that outlive programs."""

from __future__ import annotations

import os
import time

import click

import haz
from haz.cli import nodes
from haz.ipyparallel.cluster import (
    DEFAULT_ID,
    NODE_NAME,
    ClusterState,
    cluster_name,
    shared_engines,
    start_state,
)

__all__ = ["list_clusters", "serve_page", "start", "stop"]

#: Seconds after which the node of clusters ends that has none and that no program uses: programs
#: stop clusters, too, and can't end the node that they are on.
_IDLE_S = 10.0


def start(n: int | None, profile: str, cluster_id: str) -> int:
    """Start a cluster; return the exit code."""
    name = cluster_name(profile, cluster_id) or DEFAULT_ID
    if name in shared_engines():
        raise RuntimeError(f"the cluster {name} runs already; end it by {_stop_command(name)}")
    if not nodes.is_running(NODE_NAME):
        nodes.start_server({"name": NODE_NAME, "idle_timeout_s": _IDLE_S})
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
    clusters = shared_engines()
    if not clusters:
        click.echo("No cluster runs. Start one by `haz cluster start -n 4`.")
        return 1
    width = max(map(len, clusters))
    for name, engines in sorted(clusters.items()):
        click.echo(f"{name:<{width}}  {len(engines)} engines")
    return 0


def stop(profile: str, cluster_id: str, all_clusters: bool) -> int:
    """End a cluster, or all; return the exit code."""
    clusters = shared_engines()
    name = cluster_name(profile, cluster_id) or DEFAULT_ID
    if not all_clusters and name not in clusters:
        raise RuntimeError(f"no cluster {name} runs; `haz cluster list` shows those that do")
    wanted = sorted(clusters) if all_clusters else [name]
    if set(wanted) == set(clusters):
        nodes.end_server(NODE_NAME, must_run=False)
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


def serve_page(port: int, open_browser: bool) -> int:
    """Serve the page of clusters until an interrupt; return the exit code."""
    from haz.ipyparallel.cluster_page import ClusterPage

    with ClusterPage(port) as page:
        click.echo(f"Clusters are on this page until Ctrl-C: {page.url}")
        if open_browser:
            import webbrowser

            webbrowser.open(page.url)
        try:
            page.serve()
        except KeyboardInterrupt:
            pass
    return 0
