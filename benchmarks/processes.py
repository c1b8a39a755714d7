"""Processes of the systems: start, watch, weigh, and make sure that none is left."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Leftovers:
    """What a system left behind after its main process had ended."""

    at_once: int  #: processes still there when the main process had ended
    gone_after_s: float  #: until no process remained, or until the patience ended
    killed: tuple[str, ...]  #: those that were still there then, and were killed


class ProcessTree:
    """All that this process starts, directly or not.

    Building one makes this process a child subreaper: what a system orphans becomes a child of
    this process, so that "every descendant" is "everything that the running system started".
    """

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
        self._this = psutil.Process()
        self._started: list[subprocess.Popen[bytes]] = []

    @contextlib.contextmanager
    def started(
        self,
        command: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str],
        pass_fds: Sequence[int] = (),
        piped: bool = False,
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Run a command in its own session; at the end kill what it still has below it.

        Parameters
        ----------
        log
            File that takes stderr, and stdout too unless ``piped``.
        piped
            Make stdin and stdout pipes.
        """
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
                stdout=subprocess.PIPE if piped else output,
                stderr=output,
                pass_fds=pass_fds,
                start_new_session=True,
                env=dict(env),
            )
        self._started.append(process)
        try:
            yield process
        finally:
            if process.poll() is None:
                self._kill(psutil.Process(process.pid).children(recursive=True))
                process.kill()
                process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()
            self._started.remove(process)

    def descendants(self) -> list[psutil.Process]:
        """Living descendants; adopted zombies are reaped on the way."""
        found = []
        for process in self._this.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.status() == psutil.STATUS_ZOMBIE:
                    self._reap_adopted(process)
                else:
                    found.append(process)
        return found

    def wait_until_none(self, patience_s: float) -> Leftovers:
        """Wait until no descendant remains; kill those that outlive ``patience_s``."""
        start = time.monotonic()
        found = self.descendants()
        at_once = len(found)
        while found and time.monotonic() - start < patience_s:
            time.sleep(0.002)
            found = self.descendants()
        gone_after_s = time.monotonic() - start
        return Leftovers(at_once, gone_after_s, tuple(self.kill_all()))

    def kill_all(self) -> list[str]:
        """Kill every descendant, repeatedly until none remain; their names."""
        names: dict[str, None] = {}
        for _ in range(100):
            found = self.descendants()
            if not found:
                break
            names.update(dict.fromkeys(self._kill(found)))
            time.sleep(0.02)
        return list(names)

    def pss_bytes(self) -> int:
        """Memory of all descendants; a page counts divided by the number of its sharers."""
        total = 0
        for process in self.descendants():
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1]) * 1024
        return total

    def cpu_ns(self) -> dict[tuple[int, int], int]:
        """CPU time used so far, by process and thread, of all descendants."""
        found = {}
        for process in self.descendants():
            for task in Path(f"/proc/{process.pid}/task").glob("*"):
                with contextlib.suppress(OSError):
                    used = (task / "schedstat").read_text().split()[0]
                    found[process.pid, int(task.name)] = int(used)
        return found

    def busy_share(self, watched_s: float) -> float:
        """CPU time of all descendants while watched, as a share of one core.

        A thread that ends meanwhile is not counted, one that starts is.
        """
        before, start = self.cpu_ns(), time.monotonic()
        time.sleep(watched_s)
        after, elapsed_s = self.cpu_ns(), time.monotonic() - start
        used_ns = sum(used - before.get(thread, 0) for thread, used in after.items())
        return used_ns / 1e9 / elapsed_s

    @staticmethod
    def _kill(processes: Sequence[psutil.Process]) -> list[str]:
        names = []
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                names.append(f"{process.name()}[{process.pid}]")
                process.kill()
        return names

    def _reap_adopted(self, process: psutil.Process) -> None:
        """Reap a zombie that no Popen waits for."""
        for popen in self._started:
            if popen.pid == process.pid:
                popen.poll()
                return
        with contextlib.suppress(ChildProcessError, psutil.NoSuchProcess):
            if process.ppid() == os.getpid():
                os.waitpid(process.pid, os.WNOHANG)
