"""The program of C++ that is measured: compiled against the haz that is imported."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

_HERE = Path(__file__).parent
_SOURCE = _HERE / "programs" / "tasks.cpp"
_COMPILE = ("g++", "-std=c++20", "-O2", "-pthread")


def run(*arguments: object) -> float:
    """Run it; the seconds that it prints."""
    command = [str(_program()), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip() or f"exit code {done.returncode}")
    return float(done.stdout)


def _program() -> Path:
    """Its path; it is compiled where it is not there yet."""
    include, library = _haz()
    digest = hashlib.sha256(" ".join([*_COMPILE, str(library)]).encode())
    for file in [_SOURCE, _HERE / "micro" / "probe.h", *sorted(include.rglob("*.h"))]:
        digest.update(file.read_bytes())
    program = _HERE / ".cache" / digest.hexdigest()[:16] / "tasks"
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        unfinished = program.with_suffix(".new")
        folder = library.parent
        link = (f"-L{folder}", "-lhaz", f"-Wl,-rpath,{folder}")
        command = [*_COMPILE, f"-I{include}", str(_SOURCE), "-o", str(unfinished), *link]
        subprocess.run(command, check=True, capture_output=True)
        unfinished.rename(program)
    return program


def _haz() -> tuple[Path, Path]:
    """Folder of the headers; the library, of the wheel or else of this checkout's build."""
    import haz

    include = Path(haz.get_include())
    places = (include.parent / "lib", *sorted((include.parent / "build").glob("cp*")))
    for folder in places:
        if (folder / "libhaz.so").exists():
            return include, folder / "libhaz.so"
    raise RuntimeError(f"there is no libhaz.so in any of {', '.join(map(str, places))}")
