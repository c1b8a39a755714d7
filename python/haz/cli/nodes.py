"""What ``haz start``, ``haz status`` and ``haz stop`` do."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO, TypeAlias

import click

from haz._core import node_address

__all__ = ["Command", "start", "status", "stop"]

Command: TypeAlias = Callable[[], int]

#: How long the start and the end of a server may take, in seconds.
_START_S = 60.0
_STOP_S = 30.0


def start(options: dict[str, Any], block: bool) -> int:
    """Start a node, or with `block` be its server; return the exit code."""
    name = node_address.check_name(options["name"])
    if block:
        from haz._core import server

        os.chdir("/")
        log = node_address.path_of(name, ".log", create=True)
        # The server's own output goes to its log.
        with _own_output() as terminal:
            return server.serve(
                options, on_ready=lambda: _tell_started(name, os.getpid(), log, terminal)
            )
    pid, log = start_server(options)
    _tell_started(name, pid, log)
    return 0


def _own_output() -> TextIO:
    try:
        return open(os.dup(1), "w")
    except OSError:  # there is none
        return open(os.devnull, "w")


def _tell_started(name: str, pid: int, log: str, to: TextIO | None = None) -> None:
    address = "auto" if name == node_address.DEFAULT_NAME else name
    click.echo(
        f"The node {name} runs (process {pid}, log in {log}).\n"
        f"Join it:  haz.init(address={address!r})\n"
        f"End it:   haz stop" + ("" if address == "auto" else f" --name {name}"),
        file=to,
    )


def start_server(options: dict[str, Any]) -> tuple[int, str]:
    """Start the server of a node; return its process and its log.

    Raises
    ------
    RuntimeError
        If it did not start.
    """
    name = node_address.check_name(options["name"])
    read_end, write_end = os.pipe()
    log = node_address.path_of(name, ".log", create=True)
    environ = dict(os.environ)
    if environ.get("PYTHONPATH"):
        folders = environ["PYTHONPATH"].split(os.pathsep)
        environ["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, folders))
    with open(log, "ab") as output, open(read_end, "rb") as ready:
        child = subprocess.Popen(
            [
                sys.executable,
                *node_address.interpreter_flags(),
                *("-m", "haz._core.server", str(write_end), json.dumps(options)),
            ],
            cwd="/",  # where -m looks for modules first
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(write_end,),
            start_new_session=True,
        )
        os.close(write_end)
        said = ready.read().decode(errors="replace")
    if said != "\n":
        child.wait(_START_S)
        _kind, _, reason = said.partition(": ")
        raise RuntimeError(reason or f"the server ended while it started: see {log}")
    child.returncode = 0  # it lives on; nobody here waits for it
    return child.pid, log


def is_running(name: str) -> bool:
    """Whether the server of a node answers."""
    try:
        node_address.ask(name, {"op": "status"})
    except ConnectionError:
        return False
    return True


def names() -> list[str]:
    """Return the names of what may be nodes, those whose server was killed too."""
    try:
        entries = os.listdir(node_address.runtime_folder())
    except FileNotFoundError:
        return []
    found = (
        entry[: -len(node_address.SUFFIX)]
        for entry in entries
        if entry.endswith(node_address.SUFFIX)
    )
    return sorted(filter(node_address.is_name, found))


def states(name: str | None) -> list[dict[str, Any]]:
    """Return what the servers say of their nodes."""
    found = []
    for one in names() if name is None else [name]:
        try:
            found.append(node_address.ask(one, {"op": "status"}))
        except ConnectionError:
            if name is not None:
                raise
    return found


def status(name: str | None, as_json: bool) -> int:
    """Print what runs; return the exit code."""
    found = states(name)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    elif not found:
        click.echo("No node runs. Start one by `haz start`.")
    else:
        click.echo("\n\n".join(map(_described, found)))
    return 0 if found else 1


def _described(state: dict[str, Any]) -> str:
    total, free = state["total"], state["available"]
    used = [
        f"{total[name] - free.get(name, 0):g} of {total[name]:g} {name}"
        for name in total
        if total[name] and name not in ("memory", "object_store_memory")
    ]
    lines = [
        f"{state['name']}: process {state['pid']}, up {_duration(time.time() - state['started'])}, "
        f"haz {state['version']}, Python {state['python']}",
        f"  address    {state['address']}",
        f"  in use     {', '.join(used)}; {state['store_used_bytes'] / 1e6:.0f} of "
        f"{state['store_limit_bytes'] / 1e6:.0f} MB of the object store",
        f"  tasks      {state['tasks']}, in {len(state['worker_pids'])} processes; "
        f"{state['objects']} objects",
        f"  actors     {state['actors']}"
        + "".join(f"\n    {space}/{name}" for space, name in state["named_actors"]),
        f"  programs   {len(state['drivers'])}",
    ]
    lines += [
        f"    {one['pid']}  {one['argv'] or '(interactive)'}, "
        f"since {_duration(time.time() - one['since'])}"
        for one in state["drivers"]
    ]
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def stop(name: str | None, all_nodes: bool) -> int:
    """End a node, or all; return the exit code."""
    if all_nodes:
        stopped = [one for one in names() if end_server(one, must_run=False)]
        click.echo(f"Ended: {', '.join(stopped)}." if stopped else "No node ran.")
        return 0
    end_server(name or node_address.DEFAULT_NAME)
    click.echo(f"Ended: {name or node_address.DEFAULT_NAME}.")
    return 0


def end_server(name: str, must_run: bool = True) -> bool:
    """End the server of a node; return whether there was one."""
    try:
        connection = node_address.connect(name)
    except ConnectionError:
        if must_run:
            raise
        return False
    with connection:
        pid = node_address.peer_of(connection)[0]
        try:
            process = os.pidfd_open(pid)
        except ProcessLookupError:
            return True  # it was about to end
        try:
            node_address.send(connection, {"op": "stop"})
            node_address.receive(connection)
        except OSError:
            pass  # likewise
    with open(process, "rb") as ended:
        if not select.select([ended], [], [], _STOP_S)[0]:
            raise RuntimeError(
                f"the node {name} (process {pid}) has not ended within {_STOP_S:g} s"
            )
    return True
