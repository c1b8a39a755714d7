"""The command ``haz``: starts, shows and ends long-lived nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

import haz
from haz.cli import nodes

__all__ = ["main"]


@click.group()
@click.version_option(haz.__version__, prog_name="haz")
def main() -> None:
    """Parallel Python on one machine. Programs need none of these commands: haz.init() starts what
    it needs. A node that `haz start` starts outlives the programs that join it by
    haz.init(address="auto")."""


def _amounts(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> object:
    amounts: dict[str, float] = {}
    for value in values:
        name, equals, amount = value.partition("=")
        try:
            amounts[name] = float(amount)
        except ValueError:
            equals = ""
        if not name or not equals:
            raise click.BadParameter(f"{value!r} is not NAME=AMOUNT")
    return amounts


def _labels(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> object:
    labels: dict[str, str] = {}
    for value in values:
        name, equals, label = value.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"{value!r} is not NAME=LABEL")
        labels[name] = label
    return labels


@main.command()
@click.option("--name", default="default", show_default=True, help="Name of the node.")
@click.option("--num-cpus", type=click.IntRange(min=0), help="CPU slots. Default: the machine's.")
@click.option("--num-gpus", type=click.IntRange(min=0), help="GPUs. Default: as found.")
@click.option(
    "--resource", "resources", multiple=True, callback=_amounts, help="NAME=AMOUNT, repeatable."
)
@click.option("--memory", type=click.IntRange(min=1), help="Bytes that tasks may ask for.")
@click.option(
    "--object-store-memory", type=click.IntRange(min=1), help="Limit of the object store in bytes."
)
@click.option("--label", "labels", multiple=True, callback=_labels, help="NAME=LABEL, repeatable.")
@click.option(
    "--idle-timeout",
    "idle_timeout_s",
    type=click.FloatRange(min=0),
    help="End after so many seconds without programs, actors and tasks. Default: never.",
)
@click.option("--block", is_flag=True, help="Be the server, instead of starting one.")
def start(block: bool, **options: object) -> None:
    """Start a node that programs join by haz.init(address=...)."""
    _run(lambda: nodes.start(options, block))


@main.command()
@click.option("--name", default=None, help="Only this node.")
@click.option("--json", "as_json", is_flag=True, help="Everything, for programs.")
def status(name: str | None, as_json: bool) -> None:
    """Show the nodes of this user that run. Exit code 1: there are none."""
    _run(lambda: nodes.status(name, as_json))


@main.command()
@click.option("--name", default=None, help="Name of the node. Default: the default one.")
@click.option("--all", "all_nodes", is_flag=True, help="All nodes of this user.")
def stop(name: str | None, all_nodes: bool) -> None:
    """End a node with all that runs on it. Programs that have joined it get NodeDiedError."""
    _run(lambda: nodes.stop(name, all_nodes))


@main.group()
def cluster() -> None:
    """Clusters of engines for haz.ipyparallel that outlive the programs which use them."""


_PROFILE = click.option("--profile", default="default", show_default=True, help="Its name.")
_CLUSTER_ID = click.option("--cluster-id", default="", help="Appended to the name.")


@cluster.command("start")
@click.option("-n", "--n", type=click.IntRange(min=1), help="Engines. Default: one for each CPU.")
@_PROFILE
@_CLUSTER_ID
@click.option("--daemonize/--no-daemonize", default=True, help="ipcluster's option; accepted.")
def cluster_start(n: int | None, profile: str, cluster_id: str, daemonize: bool) -> None:
    """Start a cluster; it runs until it is stopped."""
    _run_cluster(lambda clusters: clusters.start(n, profile, cluster_id))


@cluster.command("stop")
@_PROFILE
@_CLUSTER_ID
@click.option("--all", "all_clusters", is_flag=True, help="All clusters of this user.")
def cluster_stop(profile: str, cluster_id: str, all_clusters: bool) -> None:
    """Stop a cluster."""
    _run_cluster(lambda clusters: clusters.stop(profile, cluster_id, all_clusters))


@cluster.command("list")
def cluster_list() -> None:
    """Show the clusters of this user that run. Exit code 1: there are none."""
    _run_cluster(lambda clusters: clusters.list_clusters())


@cluster.command("page")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Default: a free one.")
@click.option("--open/--no-open", "open_browser", default=False, help="Open it in the browser.")
def cluster_page(port: int, open_browser: bool) -> None:
    """Serve a page on which clusters are seen, started and stopped."""
    _run_cluster(lambda clusters: clusters.serve_page(port, open_browser))


def _run_cluster(command: Callable[[Any], int]) -> None:
    def run() -> int:
        from haz.cli import clusters

        return command(clusters)

    _run(run)


def _run(command: nodes.Command) -> None:
    try:
        code = command()
    except (ConnectionError, PermissionError, ValueError, RuntimeError) as error:
        raise click.ClickException(str(error)) from None
    raise SystemExit(code)
