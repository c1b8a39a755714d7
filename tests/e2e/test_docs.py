"""Every block of code in the documentation runs, and prints what the page says.

The Python blocks of one section (from one heading to the next) are one program, run as a script. A
`text` block after a Python block is what that prints; `...` there stands for anything. A `sh` block
may only name commands that exist. A `cpp` block is a file that compiles, or, if it begins with the magic
`%%haz_cpp`, a cell that does.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.e2e.programs import ROOT, Program

PAGES = [
    "README.md",
    "docs/tutorial.md",
    "docs/guide.md",
    "docs/ipyparallel.md",
    "docs/troubleshooting.md",
    "docs/cpp.md",
    "docs/threads.md",
]
FENCE = re.compile(r"^```(\w*)$")


@dataclass
class Section:
    """One program of a page, with the empty lines that keep its line numbers those of the page."""

    page: str
    title: str
    code: list[str] = field(default_factory=list)
    printed: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.page.rpartition('/')[2]}: {self.title}"


@dataclass
class Page:
    sections: list[Section]
    shell: list[str]
    languages: set[str]
    cpp: list[str]


def read_page(name: str) -> Page:
    page = Page([Section(name, "top")], [], set(), [])
    language = None  # of the block that the line is in
    for number, line in enumerate((ROOT / name).read_text(encoding="utf-8").splitlines()):
        fence = FENCE.match(line)
        section = page.sections[-1]
        if fence and language is None:
            language = fence.group(1)
            page.languages.add(language)
            if language == "cpp":
                page.cpp.append("")
        elif fence:
            language = None
        elif language == "python":
            section.code += [""] * (number - len(section.code))
            section.code.append(line)
        elif language == "text":
            section.printed.append(line)
        elif language == "cpp":
            page.cpp[-1] += line + "\n"
        elif language == "sh":
            page.shell.append(line)
        elif line.startswith("#"):
            page.sections.append(Section(name, line.lstrip("# ")))
    assert language is None, f"{name}: a block without an end"
    return page


def _programs() -> Iterator[Section]:
    for name in PAGES:
        for section in read_page(name).sections:
            if section.code:
                yield section
            else:
                assert not section.printed, f"{section.name}: printed by what?"


@pytest.mark.parametrize("section", _programs(), ids=lambda section: section.name)
def test_code_of_a_section(section, tmp_path):
    program = tmp_path / (re.sub(r"\W+", "_", section.name) + ".py")
    program.write_text("\n".join(section.code) + "\n", encoding="utf-8")
    # From Python 3.12 on, a fork in a process with threads is warned of.
    quiet = "ignore:This process:DeprecationWarning"
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environ = {"HAZ_NUM_CPUS": "4", "PYTHONWARNINGS": quiet, "TMPDIR": str(temporary)}
    environ["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    finished = Program([program], cwd=tmp_path, **environ).finish()
    assert not list(temporary.iterdir()), "the code leaves temporary files behind"
    assert finished.code == 0, finished.stderr
    # Some of the tasks write there.
    assert all(line.startswith("(") for line in finished.stderr.splitlines()), finished.stderr
    if section.printed:
        wanted = re.escape("\n".join(section.printed)).replace(r"\.\.\.", ".*")
        assert re.fullmatch(wanted, "\n".join(finished.lines)), (
            f"{section.name} prints\n{finished.stdout}"
        )


def _cpp_blocks() -> Iterator[tuple[str, str]]:
    for name in PAGES:
        for source in read_page(name).cpp:
            yield name, source


@pytest.mark.parametrize(("name", "source"), _cpp_blocks())
def test_cpp_blocks_compile(name, source, tmp_path, monkeypatch):
    import haz.cpp

    monkeypatch.setenv("HAZ_CPP_CACHE", str(tmp_path / "cache"))
    if source.startswith("%%haz_cpp"):
        haz.cpp.compile(source.partition("\n")[2])
        return
    file = tmp_path / "block.cpp"
    file.write_text(source)
    command = ["g++", "-std=c++20", "-fopenmp", "-fsyntax-only", "-Wall", "-Werror"]
    subprocess.run([*command, f"-I{haz.get_include()}", str(file)], check=True)


@pytest.mark.parametrize("name", PAGES)
def test_blocks_say_what_they_are(name):
    assert read_page(name).languages <= {"python", "text", "sh", "ini", "cpp"}


@pytest.mark.parametrize("name", PAGES)
def test_commands_exist(name):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for line in read_page(name).shell:
        command = re.sub(r"\s+#.*", "", line).strip()
        command = re.sub(r"^([A-Z_]+=\S* +)*", "", command)
        target = re.match(r"make ([a-z-]+)", command)
        if target:
            assert re.search(rf"^[a-z -]*\b{target.group(1)}\b[a-z -]*:", makefile, re.MULTILINE)
            continue
        assert re.match(
            r"(pip install|python|haz (start|status|stop)|\.venv/bin/python|kill|$)", command
        ), line
        for path in re.findall(r"\S+/\S+\.py", command):
            assert (ROOT / path).is_file(), line
