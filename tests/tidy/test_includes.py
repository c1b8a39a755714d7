"""A folder's rank is a promise: the core includes only downwards, and sched stays pure."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

RANKS = {
    "base": 0,
    "os": 1,
    "shm": 2,
    "queue": 3,
    "wire": 4,
    "store": 5,
    "sched": 5,
    "node": 6,
    "client": 7,
    "api": 8,
    "bin": 9,
}

# (file, header): why this one step upwards or sideways is right. Better: move the code.
EXCEPTIONS: dict[tuple[str, str], str] = {}

QUOTED = re.compile(r'^\s*#\s*include\s*"([^"]+)"')
ANGLED = re.compile(r"^\s*#\s*include\s*<([^>]+)>")

# What a pure state machine has no use for: clocks, threads, input and output, the system.
IMPURE = re.compile(
    r"^(thread|mutex|shared_mutex|condition_variable|semaphore|latch|barrier|future|stop_token"
    r"|atomic|chrono|ctime|time\.h|iostream|fstream|ostream|istream|cstdio|stdio\.h|filesystem"
    r"|random|csignal|signal\.h|unistd\.h|fcntl\.h|poll\.h|pthread\.h|sched\.h|sys/.*|linux/.*"
    r"|asm/.*)$"
)


def _includes(source, pattern):
    for number, line in enumerate(source.lines, 1):
        match = pattern.match(line)
        if match:
            yield number, match.group(1)


def _folder(path: str) -> str:
    return PurePosixPath(path).parts[0]


def test_every_folder_has_a_rank(cpp_sources):
    folders = {
        PurePosixPath(source.name).parts[1]
        for source in cpp_sources
        if source.name.startswith("src/")
    }
    assert folders <= RANKS.keys(), "give the new folder a rank here and in STYLE.md"


def test_includes_go_down(cpp_sources, root):
    wrong = []
    used = set()
    for source in cpp_sources:
        if not source.name.startswith("src/"):
            continue
        own = PurePosixPath(source.name).parts[1]
        for number, header in _includes(source, QUOTED):
            where = f"{source.name}:{number}: {header}"
            if (source.name, header) in EXCEPTIONS:
                used.add((source.name, header))
            elif header.startswith("haz/"):  # the public API, whose bodies are in api
                if RANKS[own] < RANKS["api"]:
                    wrong.append(f"{where}: only api and above use the public headers")
            elif not (root / "src" / header).is_file():
                wrong.append(f"{where}: write the path from src/")
            elif _folder(header) != own and RANKS[_folder(header)] >= RANKS[own]:
                wrong.append(
                    f"{where}: {own} has rank {RANKS[own]}, "
                    f"{_folder(header)} has {RANKS[_folder(header)]}"
                )
    assert not wrong, "\n".join(wrong)
    assert used == EXCEPTIONS.keys(), f"exceptions no longer needed: {EXCEPTIONS.keys() - used}"


def test_public_headers_include_only_public_headers(cpp_sources):
    wrong = [
        f"{source.name}:{number}: {header}"
        for source in cpp_sources
        if source.name.startswith("include/")
        for number, header in _includes(source, QUOTED)
        if not header.startswith("haz/")
    ]
    assert not wrong, "\n".join(wrong)


def test_sched_is_pure(cpp_sources):
    wrong = [
        f"{source.name}:{number}: <{header}>"
        for source in cpp_sources
        if source.name.startswith("src/sched/")
        for number, header in _includes(source, ANGLED)
        if IMPURE.match(header)
    ]
    # The lower folders that sched may use hold such things too.
    wrong += [
        f"{source.name}:{number}: {header}"
        for source in cpp_sources
        if source.name.startswith("src/sched/")
        for number, header in _includes(source, QUOTED)
        if _folder(header) in ("os", "shm", "queue")
    ]
    assert not wrong, "sched decides and does nothing else:\n" + "\n".join(wrong)
