"""The repository as these tests see it: what git tracks, or would on `git add .`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Source:
    """One text file, by its path from the root."""

    name: str
    text: str

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()


# Folders that a plain walk leaves out, where there is no git to ask.
IGNORED = re.compile(r"^(\.git|\.venv.*|\..*cache|\.hypothesis|__pycache__|build|dist|shared|out)$")


def _names() -> list[str]:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        return sorted(_walk())
    listed = subprocess.run(
        [git, "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return sorted(set(listed.stdout.splitlines()))


def _walk() -> Iterator[str]:
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if not IGNORED.match(name)]
        for name in files:
            if not name.startswith("_native") and not name.endswith(".tmp"):
                yield (Path(folder) / name).relative_to(ROOT).as_posix()


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def tracked() -> list[Source]:
    """Every text file of the repository. Binary files and deleted ones are left out."""
    found = []
    for name in _names():
        path = ROOT / name
        if not path.is_file():
            continue
        try:
            found.append(Source(name, path.read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            continue
    return found


@pytest.fixture(scope="session")
def cpp_sources(tracked: list[Source]) -> list[Source]:
    """The C++ core: src/ and include/."""
    return [
        source
        for source in tracked
        if source.name.startswith(("src/", "include/")) and source.name.endswith((".h", ".cpp"))
    ]
