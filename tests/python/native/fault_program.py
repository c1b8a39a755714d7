"""Runs a function as a program of its own, and checks that nothing of it is left.

Faults damage the process they happen in, so the tests of this folder write what happens as a
function, which becomes the ``__main__`` of a fresh interpreter. Its processes are known by a mark in
their environment, so that those are found too that have left their parents.
"""

from __future__ import annotations

import ast
import inspect
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import haz
from haz.testing import wait_until


class Finished:
    """What a program did."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


class Program:
    """A scenario that runs; see `run_scenario` for the simple case."""

    def __init__(self, scenario, folder: Path, seed: int = 1, **arguments) -> None:
        self.mark = f"SCENARIO_MARK={uuid.uuid4().hex}"
        self.folder = folder
        for name in ("tmp", "run", "files"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        text = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        script = folder / "scenario.py"
        script.write_text(
            f"{_imports_around(scenario)}\n\n\n{inspect.getsource(scenario)}\n\n"
            f"{scenario.__name__}({text})\n"
        )
        name, _, value = self.mark.partition("=")
        environ = dict(
            os.environ,
            **{name: value},
            SCENARIO_SEED=str(seed),
            SCENARIO_FOLDER=str(folder / "files"),
            PYTHONPATH=f"{Path(haz.__file__).parent.parent}:{Path(__file__).parents[3]}",
            PYTHONUNBUFFERED="1",
            TMPDIR=str(folder / "tmp"),
            XDG_RUNTIME_DIR=str(folder / "run"),
        )
        with open(folder / "out", "wb") as out, open(folder / "err", "wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, str(script)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=environ,
                cwd=folder,
                start_new_session=True,
            )

    def processes(self) -> dict[int, str]:
        """Pid -> command of every process that has inherited this program's environment."""
        found = {}
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            try:
                with open(f"/proc/{entry}/environ", "rb") as file:
                    if self.mark.encode() not in file.read():
                        continue
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    command = file.read().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            # A process that ends may still stand there, without memory.
            if command:
                found[int(entry)] = command
        return found

    def out(self) -> str:
        return (self.folder / "out").read_text(errors="replace")

    def err(self) -> str:
        return (self.folder / "err").read_text(errors="replace")

    def wait_for(self, text: str, deadline_s: float = 60) -> None:
        """Return when the program has written `text`."""

        def said() -> bool:
            if self.process.poll() is not None and text not in self.out():
                raise AssertionError(f"ended without {text!r}: {self.report()}")
            return text in self.out()

        wait_until(said, f"{text!r} in {self.out()!r}", deadline_s)

    def report(self) -> str:
        return (
            f"exit code {self.process.poll()}\n--- out ---\n{self.out()[-4000:]}\n"
            f"--- err ---\n{self.err()[-8000:]}"
        )

    def wait(self, timeout_s: float = 70) -> Finished:
        """Wait for the program's end, and check that nothing of it is left."""
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # faulthandler shows where it hangs
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            raise AssertionError(f"the program hangs: {self.report()}") from None
        finally:
            left = self._what_is_left()
        assert not left, f"{left} are left: {self.report()}"
        return Finished(self.process.returncode, self.out(), self.err())

    def _what_is_left(self) -> dict[str, object]:
        try:
            wait_until(lambda: not self.processes(), deadline_s=20)
        except AssertionError:
            pass
        processes = self.processes()
        left: dict[str, object] = {
            "processes": {pid: (command, _what_it_does(pid)) for pid, command in processes.items()}
        }
        for pid in processes:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        for name in ("tmp", "run"):
            left[name] = [str(path) for path in (self.folder / name).iterdir()]
        left["shared"] = _shared_files(self.process.pid)
        return {name: what for name, what in left.items() if what}


def _what_it_does(pid: int) -> list[str]:
    """Where in the kernel a process is, its signals, the CPU time it had, and its open files."""
    facts = []
    for name in ("wchan", "stack", "syscall", "schedstat", "status"):
        try:
            text = Path(f"/proc/{pid}/{name}").read_text()
        except OSError as error:
            text = str(error)
        told = ("State", "PPid", "Threads", "Sig", "Shd")
        if name == "status":
            text = "; ".join(line for line in text.splitlines() if line.startswith(told))
        facts.append(f"{name}: {text.strip()}")
    try:
        facts += [
            f"{file.name} -> {os.readlink(file)}" for file in Path(f"/proc/{pid}/fd").iterdir()
        ]
    except OSError as error:
        facts.append(str(error))
    return facts


def _imports_around(scenario) -> str:
    """The imports of the scenario's module, but for those that only tests need."""
    tree = ast.parse(Path(inspect.getfile(scenario)).read_text())
    lines = [
        ast.unparse(node) for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))
    ]
    return "\n".join(line for line in lines if "pytest" not in line and "fault_program" not in line)


def _shared_files(pid: int) -> list[str]:
    """Files of haz in folders that other programs use too; they carry the driver's pid."""
    found = []
    for folder in ("/dev/shm", "/tmp"):
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        found += [f"{folder}/{name}" for name in names if name.startswith(f"haz-{pid}-")]
    return found


def run_scenario(scenario, folder: Path, *, seed: int = 1, timeout_s: float = 70, **arguments):
    """Run `scenario(**arguments)` as a program; it must end well, and nothing may be left."""
    finished = Program(scenario, folder, seed, **arguments).wait(timeout_s)
    assert finished.code == 0, (
        f"seed {seed}, exit code {finished.code}\n--- out ---\n{finished.out[-4000:]}\n"
        f"--- err ---\n{finished.err[-8000:]}"
    )
    return finished
