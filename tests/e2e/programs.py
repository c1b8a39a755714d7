"""Programs of users, run as users run them: a script in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from haz.testing import wait_until

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "python"
DEADLINE_S = 100.0


@dataclass
class Finished:
    """How a program ended. `lines` and `times` belong together: a line, and when it came."""

    code: int
    lines: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    stderr: str = ""

    @property
    def stdout(self) -> str:
        return "".join(line + "\n" for line in self.lines)


class Program:
    """A running program. Every process that it starts carries a mark, by which it is found."""

    def __init__(
        self, arguments: Sequence[str | Path], *, cwd: Path | None = None, **environ: str
    ) -> None:
        self._mark = f"HAZ_TEST_MARK={uuid.uuid4().hex}"
        inherited = {name: text for name, text in os.environ.items() if not name.startswith("HAZ_")}
        name, _, value = self._mark.partition("=")
        self._process = subprocess.Popen(
            [sys.executable, "-u", *map(str, arguments)],
            cwd=cwd or ROOT,
            env={**inherited, **environ, name: value},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self._finished = Finished(-1)
        self._errors: list[str] = []
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._readers = [
            threading.Thread(target=self._read_stdout, args=(self._process.stdout,)),
            threading.Thread(target=self._read_stderr, args=(self._process.stderr,)),
        ]
        for reader in self._readers:
            reader.start()

    def _read_stdout(self, stream: IO[str]) -> None:
        for line in stream:
            self._finished.times.append(time.monotonic())
            self._finished.lines.append(line.rstrip("\n"))

    def _read_stderr(self, stream: IO[str]) -> None:
        self._errors.extend(stream)

    def finish(self, deadline_s: float = DEADLINE_S) -> Finished:
        """Wait for the end of the program, and until nothing of it is left."""
        try:
            code = self._process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
            self._errors.append(f"killed after {deadline_s:g} s\n")
        for reader in self._readers:
            reader.join()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
        wait_until(lambda: not self._processes_left(), "processes of the program to end", 30)
        self._finished.code = code
        self._finished.stderr = "".join(self._errors)
        return self._finished

    def stop(self) -> None:
        """Kill the program, if it still runs, and wait until nothing of it is left."""
        self._process.kill()
        self.finish()

    def _processes_left(self) -> list[int]:
        found = []
        for entry in os.listdir("/proc"):
            try:
                if (
                    entry.isdigit()
                    and self._mark.encode() in Path(f"/proc/{entry}/environ").read_bytes()
                ):
                    found.append(int(entry))
            except OSError:
                continue
        return found


def run_program(
    *arguments: str | Path, cwd: Path | None = None, deadline_s: float = DEADLINE_S, **environ: str
) -> Finished:
    """Run a program to its end; its exit code must be 0 and its stderr empty."""
    finished = Program(arguments, cwd=cwd, **environ).finish(deadline_s)
    assert finished.code == 0, f"exit code {finished.code}\n{finished.stdout}\n{finished.stderr}"
    assert finished.stderr == ""
    return finished
