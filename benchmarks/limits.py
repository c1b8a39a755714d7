"""The physical limits: what the machine itself can do, measured in the same run.

A limit is named ``probe/metric``. The C++ probes (``micro``) are compiled on first use into a
folder named after their sources, so that a changed probe is compiled again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.machine import cores
from benchmarks.processes import ProcessTree
from benchmarks.rows import LARGE_BYTES, NAP_S

_HERE = Path(__file__).parent
_COMPILE = ("g++", "-std=c++20", "-O3", "-pthread")

#: Every probe and what its metrics mean, for the report.
MEANINGS = {
    "interpreter/bare": "start of `python -I -S -E -c pass`",
    "interpreter/plain": "start of `python -c pass`",
    "ring/per_task": "128-byte command and 64-byte answer through shared rings",
    "sleep_loop/per_sleep": "raw loop of sleep(0.0001) in as many forked processes",
    "python/call": "call of a Python no-op",
    "python/dumps_int": "pickle.dumps of an int",
    "python/loads_int": "pickle.loads of an int",
    "python/loads_view": "pickle.loads of 100 MB as a view",
    "python/sleep_100us": "real time of sleep(0.0001)",
    "copy/warm_memcpy_1": "100 MB into warm shared memory, 1 thread",
    "copy/warm_memcpy_2": "the same, 2 threads",
    "copy/warm_nt_1": "the same, non-temporal stores, 1 thread",
    "copy/warm_nt_2": "the same, non-temporal stores, 2 threads",
    "copy/cold_memcpy_1": "100 MB into fresh shared memory, 1 thread",
    "copy/cold_memcpy_2": "the same, 2 threads",
    "copy/cold_nt_2": "the same, non-temporal stores, 2 threads",
    "copy/cold_allocated_2": "the same after fallocate, which is timed, 2 threads",
    "copy/cold_write_1": "100 MB into a fresh memfd with pwrite, 1 thread",
    "copy/cold_write_2": "the same, 2 threads",
    "copy/touch_1": "first touch of each page of 100 MB",
    "forks/plain_bytes": "memory of a bare interpreter and a fork for each worker",
    "forks/numpy_bytes": "the same with numpy imported before the forks",
    "forks/down": "kill and reap of the forks",
}


class Limits:
    """Compiles and runs the probes.

    Parameters
    ----------
    tree
        Owner of the processes.
    env
        Environment of the probes.
    scratch
        Folder for logs.
    workers
        Number of processes where a probe needs as many as there are workers.
    """

    def __init__(
        self, tree: ProcessTree, env: Mapping[str, str], scratch: Path, workers: int
    ) -> None:
        self._tree = tree
        self._env = env
        self._scratch = scratch
        self._workers = workers
        self._programs: dict[str, Path] = {}

    def measure(self, probe: str) -> dict[str, float]:
        """Run one probe; its metrics in seconds or bytes, by ``probe/metric``."""
        if probe.startswith("pingpong-"):
            _, pause_us, load = probe.split("-")
            metrics = self._pingpong(int(pause_us), load == "busy")
        else:
            metrics = getattr(self, f"_{probe}")()
        return {f"{probe}/{name}": value for name, value in metrics.items()}

    @contextlib.contextmanager
    def busy_cores(self, count: int) -> Iterator[None]:
        """Keep that many cores busy."""
        command = [str(self._program("burn")), str(count)]
        with self._tree.started(command, log=self._scratch / "probes.log", env=self._env):
            time.sleep(0.05)
            yield

    def _interpreter(self) -> dict[str, float]:
        def start_s(*flags: str) -> float:
            samples = []
            for _ in range(7):
                start = time.perf_counter()
                self._output([sys.executable, *flags, "-c", "pass"])
                samples.append(time.perf_counter() - start)
            return statistics.median(samples)

        return {"bare": start_s("-I", "-S", "-E"), "plain": start_s()}

    def _ring(self) -> dict[str, float]:
        return self._json("ring", str(self._workers), "500000")

    def _copy(self) -> dict[str, float]:
        return self._json("copy", str(LARGE_BYTES), "3")

    def _pingpong(self, pause_us: int, busy: bool) -> dict[str, float]:
        with self.busy_cores(cores()) if busy else contextlib.nullcontext():
            return {
                kind: self._json("pingpong", kind, str(pause_us), "1000000", "0.3")["p50"]
                for kind in ("spin", "futex", "pipe")
            }

    def _sleep_loop(self) -> dict[str, float]:
        count = 20_000
        program = str(_HERE / "probes" / "sleep_loop.py")
        command = [sys.executable, program, str(self._workers), str(count), str(NAP_S)]
        return {"per_sleep": float(self._output(command)) / count}

    def _python(self) -> dict[str, float]:
        program = str(_HERE / "probes" / "python_costs.py")
        return dict(json.loads(self._output([sys.executable, program])))

    def _forks(self) -> dict[str, float]:
        plain_bytes, down_s = self._bare_forks("-I", "-S", "-E", mode="plain")
        numpy_bytes, _ = self._bare_forks(mode="numpy")
        return {"plain_bytes": plain_bytes, "numpy_bytes": numpy_bytes, "down": down_s}

    def _bare_forks(self, *flags: str, mode: str) -> tuple[float, float]:
        """Memory of the forks, and the seconds to end them."""
        program = str(_HERE / "probes" / "bare_forks.py")
        command = [sys.executable, *flags, program, str(self._workers), mode]
        log = self._scratch / "probes.log"
        with self._tree.started(command, log=log, env=self._env, piped=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.1)
            used_bytes = float(self._tree.pss_bytes())
            process.stdin.write(b"\n")
            process.stdin.flush()
            return used_bytes, float(process.stdout.readline().split()[1])

    def _json(self, program: str, *arguments: str) -> dict[str, float]:
        return dict(json.loads(self._output([str(self._program(program)), *arguments])))

    def _output(self, command: list[str]) -> str:
        done = subprocess.run(
            command, env=dict(self._env), stdout=subprocess.PIPE, check=True, timeout=60, text=True
        )
        return done.stdout

    def _program(self, name: str) -> Path:
        """Path of a compiled probe; compiles it if its source is new."""
        if name not in self._programs:
            sources = [_HERE / "micro" / "probe.h", _HERE / "micro" / f"{name}.cpp"]
            content = b"".join(source.read_bytes() for source in sources)
            digest = hashlib.sha256(content + " ".join(_COMPILE).encode()).hexdigest()[:16]
            program = _HERE / ".cache" / digest / name
            if not program.exists():
                program.parent.mkdir(parents=True, exist_ok=True)
                unfinished = program.with_suffix(".new")
                subprocess.run([*_COMPILE, str(sources[1]), "-o", str(unfinished)], check=True)
                unfinished.rename(program)
            self._programs[name] = program
        return self._programs[name]
