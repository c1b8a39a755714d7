"""The machine's C++ compiler: which one it is, how it is called, what its errors say."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from haz._core.include import get_include
from haz.cpp._errors import CompileError, CompilerNotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Compiler", "Options", "demangled", "find_compiler"]

#: Those of every kernel; a call's own flags come later, and win. Where nobody reads `errno` after a
#: call of exp() the compiler may keep what it knows over that call.
_FLAGS = (
    "-std=c++20",
    "-O3",
    "-march=native",
    "-fno-math-errno",
    "-fopenmp",
    "-fPIC",
    "-fvisibility=hidden",
)
#: With one of these in the linker's command, compilers add code to the library that makes the thread
#: which loads it compute without denormal numbers from then on, in NumPy too.
_NOT_FOR_LINKER = ("-ffast-math", "-Ofast", "-funsafe-math-optimizations")
_SHOWN_LINES = 60

_NO_COMPILER = """\
{what}. C++ functions are compiled on your machine. Install a compiler:
  Debian, Ubuntu:  apt-get install g++
  Fedora, RHEL:    dnf install gcc-c++
  conda:           conda install -c conda-forge cxx-compiler
or name one: haz.cpp.compile(source, compiler="/path/to/g++"), or the variable CXX."""


@dataclass(frozen=True)
class Options:
    """How one source is compiled; can be hashed and pickled."""

    flags: tuple[str, ...] = ()
    include_dirs: tuple[str, ...] = ()
    check_bounds: bool = False
    compiler: str | None = None


@dataclass(frozen=True)
class Compiler:
    """A compiler, and the words of its command line that come first."""

    words: tuple[str, ...]

    def identity(self) -> tuple[str, ...]:
        """What differs between two compilers, without running them."""
        path = os.path.realpath(shutil.which(self.words[0]) or self.words[0])
        state = os.stat(path)
        return (*self.words, path, str(state.st_size), str(state.st_mtime_ns))

    def flags(self, options: Options) -> list[str]:
        """Return the flags that decide what comes out."""
        found = [*_FLAGS, "-I", get_include()]
        for folder in options.include_dirs:
            found += ["-I", folder]
        if options.check_bounds:
            found.append("-DHAZ_CHECK_BOUNDS")
        return [*found, *options.flags]

    def preprocess(self, unit: Path, options: Options, shown: dict[str, str]) -> str:
        """Return the unit with all that it includes."""
        return self._run([*self.flags(options), "-E", str(unit)], shown)

    def build(self, unit: Path, library: Path, options: Options, shown: dict[str, str]) -> None:
        """Compile a unit into a shared library.

        `shown` says by which names errors show paths. Raises CompileError, with the compiler's words.
        """
        flags = self.flags(options)
        made = unit.with_suffix(".o")
        self._run(["-c", "-o", str(made), str(unit), *flags], shown)
        flags = [flag for flag in flags if flag not in _NOT_FOR_LINKER]
        # Libraries among a call's flags have to come after the unit.
        self._run(["-shared", "-o", str(library), str(made), *flags], shown)

    def _run(self, arguments: Sequence[str], shown: dict[str, str]) -> str:
        command = [*self.words, "-fdiagnostics-color=never", *arguments]
        # What was compiled is kept elsewhere already, and ccache may change the paths that errors name.
        environment = {**os.environ, "CCACHE_DISABLE": "1"}
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                errors="replace",
                stdin=subprocess.DEVNULL,
                env=environment,
            )
        except OSError as error:
            raise CompilerNotFoundError(
                _NO_COMPILER.format(what=f"{command[0]}: {error}")
            ) from None
        if done.returncode == 0:
            return done.stdout
        output = _readable(done.stderr, shown)
        lines = (_demands(output, shown) or output).splitlines()
        if len(lines) > _SHOWN_LINES:
            left_out = len(lines) - _SHOWN_LINES
            lines[_SHOWN_LINES:] = [f"... {left_out} more lines: see the attribute `output`"]
        if not lines:
            lines.append(f"(it ended with {done.returncode}, and said nothing)")
        if done.returncode < 0:
            lines.append(f"(the compiler was ended by signal {-done.returncode})")
        raise CompileError(
            f"{self.words[0]} can't compile this:\n" + "\n".join(lines) + _hint(output), output
        )


def demangled(symbol: str) -> str:
    """Return the name as C++ writes it, where the compiler's tools are there."""
    tool = shutil.which("c++filt")
    if tool is None:
        return symbol
    done = subprocess.run([tool, symbol], capture_output=True, text=True, errors="replace")
    return done.stdout.strip() or symbol


def _readable(output: str, shown: dict[str, str]) -> str:
    """The compiler's words with the user's own names, and without our files."""
    for path, name in shown.items():
        output = output.replace(path, name)
    lines = [
        line
        for line in output.splitlines()
        if not re.match(r"In file included from \S*haz_unit\.cpp", line)
    ]
    return "\n".join(lines)


#: What a header of haz demands of the user's types, as g++ and clang++ report it.
_DEMAND = re.compile(r"error: static assertion failed(?: due to requirement '.*?')?: (.*)")
_TYPE = re.compile(r"transfer<(.*)>['\u2019]")


def _demands(output: str, shown: dict[str, str]) -> str:
    """Where the headers refuse a type: that alone, in the line of the function. Else nothing."""
    (path, name), *_ = shown.items()
    place = re.compile(
        rf"^{re.escape(name)}:(\d+):\d+: +(?:required from here|note: in instantiation)"
    )
    found: dict[str, None] = {}
    lines = output.splitlines()
    for number, line in enumerate(lines):
        demand = _DEMAND.search(line)
        if demand is None or not line.startswith(get_include()):
            continue
        before = [place.match(one) for one in reversed(lines[:number])]
        after = [place.match(one) for one in lines[number:]]
        match = next(filter(None, before), None) or next(filter(None, after), None)
        if match is None:
            return ""
        given = next(filter(None, map(_TYPE.search, reversed(lines[:number]))), None)
        which = f", not {given.group(1)}" if given and "haz::array<T" in demand.group(1) else ""
        row = int(match.group(1))
        text = Path(path).read_text(encoding="utf-8").splitlines()[row - 1]
        found[f"{name}:{row}: error: {demand.group(1)}{which}\n{row:5} | {text}"] = None
    return "\n".join(found)


def _hint(output: str) -> str:
    if re.search(r"omp\.h.*not found|omp\.h: No such|-lomp|-lgomp|libgomp\.spec", output):
        return "\nOpenMP is missing: install libomp-dev for clang++ (g++ brings its own)."
    if re.search(r"unrecognized.*-std=c\+\+20|invalid value 'c\+\+20'", output):
        return "\nThis compiler is too old: g++ 10 and clang++ 13 know C++20."
    return ""


def find_compiler(wanted: str | None) -> Compiler:
    """Return the compiler `wanted`, or that of ``CXX``, or the first of g++, clang++ and c++.

    Raises CompilerNotFoundError, which says what to install.
    """
    named = wanted or os.environ.get("CXX")
    if named:
        words = tuple(shlex.split(named))
        if not words or shutil.which(words[0]) is None:
            raise CompilerNotFoundError(
                _NO_COMPILER.format(what=f"There is no compiler {named!r} on this machine")
            )
        return Compiler(words)
    for name in ("g++", "clang++", "c++"):
        if shutil.which(name) is not None:
            return Compiler((name,))
    raise CompilerNotFoundError(
        _NO_COMPILER.format(what="There is no C++ compiler on this machine (g++, clang++, c++)")
    )


@lru_cache(maxsize=1)
def processor_identity() -> str:
    """What ``-march=native`` depends on: a home folder may be shared by machines."""
    wanted = ("vendor_id", "cpu family", "model", "stepping", "flags", "Features", "CPU part")
    found: dict[str, str] = {}
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                name, _, value = line.partition(":")
                if not name.strip() and found:
                    break  # the next processor
                if name.strip() in wanted:
                    found.setdefault(name.strip(), value.strip())
    except OSError:
        pass
    return repr((os.uname().machine, sorted(found.items())))
