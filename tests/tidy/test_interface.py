"""What separately compiled parts share changes together with the number that tells them apart.

``interface.txt`` holds the layouts and the exported functions that each number stands for.
``python -m tests.tidy.test_interface`` writes it anew.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.tidy.conftest import ROOT
from tests.tidy.test_headers import blanked

RECORD = Path(__file__).with_name("interface.txt")


@dataclass(frozen=True)
class Interface:
    """Declarations in `files`, of which the number in `where` changes with all that is shared."""

    number: str
    where: str
    pattern: str
    files: tuple[str, ...]


INTERFACES = (
    Interface(
        "abi_version",
        "include/haz/detail/abi.h",
        r"abi_version = (\d+);",
        (
            *("error.h", "runtime.h", "task_error.h", "task_options.h", "version.h", "actor.h"),
            *("detail/abi.h", "detail/actor.h", "detail/await_loop.h", "detail/call.h"),
            *("detail/engine.h", "detail/reader.h", "detail/registry.h", "detail/writer.h"),
        ),
    ),
    Interface(
        "kernel_abi_version",
        "include/haz/detail/kernel_abi.h",
        r"kernel_abi_version = (\d+);",
        ("detail/kernel_abi.h",),
    ),
    Interface(
        "the last number of kLibraryHostVersion",
        "src/api/library_host.h",
        r"kLibraryHostVersion =[^;]*\| (\d+)U;",
        ("../../src/api/library_host.h", "../../src/api/task_call.h"),
    ),
)

HEAD = re.compile(
    r"(?P<template>\btemplate\s*<[^;{}]*>\s*)?\b(?P<kind>class|struct|union|enum(?:\s+class)?)\s+"
    r"(?:\[\[\w+\]\]\s*)?(?P<exported>HAZ_API\s+)?(?P<name>\w+)(?P<bases>[^;{}()<>]*(?:<[^;{}()]*>)?)\{"
)
FUNCTION = re.compile(r"(?:^|(?<=[;{}]))[^;{}]*\bHAZ_API\b(?P<declared>[^;{}]*\([^;{}]*)(?=;)")


def _end_of_block(text: str, begin: int) -> int:
    """Where the block ends whose content begins at `begin`: its brace."""
    depth = 1
    for place in range(begin, len(text)):
        depth += (text[place] == "{") - (text[place] == "}")
        if depth == 0:
            return place
    raise AssertionError("braces don't match")


def _statements(body: str) -> Iterator[tuple[str, bool]]:
    """The statements of a class, without initialisers and bodies, and whether one has a body."""
    place = begin = 0
    statement = ""
    while place < len(body):
        letter = body[place]
        if letter == "{":
            end = _end_of_block(body, place + 1)
            statement += body[begin:place]
            behind = body[end + 1 :].lstrip()
            is_type = re.match(r"\s*(struct|class|union|enum)\b", statement)
            if is_type:
                statement += body[place : end + 1]
            place = begin = end + 1
            if behind[:1] not in ";,=" and not is_type:  # the body of a function
                yield statement, True
                statement = ""
            continue
        if letter == ";":
            yield statement + body[begin:place], False
            statement, begin = "", place + 1
        place += 1


def _normal(text: str) -> str:
    text = re.sub(r"\[\[\w+\]\]|\bHAZ_API\b|\bexplicit\b", " ", text)
    text = " ".join(text.split())
    return re.sub(r" ?([(){}<>,;&*=\[\]:|]) ?", r"\1", text)


def _members(body: str, is_exported: bool) -> tuple[list[str], list[str]]:
    """What makes up the layout, and the exported functions."""
    layout, functions = [], []
    body = re.sub(r"\b(public|protected|private)\s*:(?!:)", "", body)
    for statement, has_body in _statements(body):
        plain = " ".join(statement.split())
        if re.match(r"(using|friend|static_assert|template|typedef)\b", plain) or not plain:
            continue
        bare = re.sub(r"\balignas\([^)]*\)|operator=", "", plain)
        is_function = "(" in bare.split("=")[0] and "(*" not in bare
        if re.search(r"\bvirtual\b|\boverride\b", plain):
            layout.append(_normal(re.sub(r"= 0$", "", plain)))
        elif not is_function:
            is_constant = "static constexpr" in plain  # sizes are made of it
            layout.append(_normal(plain if is_constant else re.sub(r"=.*$", "", plain)))
        elif is_exported and not has_body and not re.search(r"= (default|delete)$", plain):
            functions.append(_normal(plain))
    return layout, functions


def _shared(name: str, text: str) -> Iterator[str]:
    text = blanked(text)
    for head in HEAD.finditer(text):
        if head["template"] or re.search(r">\s*$", text[: head.start()]):
            continue
        body = text[head.end() : _end_of_block(text, head.end())]
        kind = " ".join(head["kind"].split())
        label = f"{name}: {kind} {head['name']}{_normal(head['bases'])}"
        if kind.startswith("enum"):
            yield f"{label} {{{_normal(body)}}}"
            continue
        layout, functions = _members(body, bool(head["exported"]))
        yield f"{label} {{{' '.join(f'{member};' for member in layout)}}}"
        for function in functions:
            yield f"{name}: {head['name']}::{function}"
    for found in FUNCTION.finditer(text):
        if not re.match(r"\s*\w+[^()]*\{", found["declared"]):
            yield f"{name}: {_normal(found['declared'])}"


def _described(interface: Interface) -> list[str]:
    number = re.search(interface.pattern, (ROOT / interface.where).read_text())
    assert number, f"{interface.where} has no {interface.number}"
    lines = [f"{interface.number} {number[1]}"]
    for name in interface.files:
        path = (ROOT / "include/haz" / name).resolve()
        lines += _shared(path.relative_to(ROOT).as_posix(), path.read_text())
    return lines


def _recorded() -> dict[str, list[str]]:
    """The lines by the name of the interface's number."""
    parts = [part.splitlines() for part in RECORD.read_text().split("\n\n")]
    return {part[0].rpartition(" ")[0]: part for part in parts}


@pytest.mark.parametrize("interface", INTERFACES, ids=lambda one: one.where.split("/")[-1])
def test_what_is_shared_changes_with_its_number(interface):
    now = _described(interface)
    recorded = _recorded()[interface.number]
    gone = [line for line in recorded[1:] if line not in now]
    assert now[0] != recorded[0] or not gone, (
        f"programs share this with a libhaz that was compiled before: bump {interface.number} in "
        f"{interface.where}, then write tests/tidy/interface.txt anew "
        f"(python -m tests.tidy.test_interface):\n"
        + "\n".join(difflib.unified_diff(recorded, now, "recorded", "now", lineterm="", n=0))
    )
    assert sorted(now) == sorted(recorded), (
        "something new is shared: write tests/tidy/interface.txt anew "
        "(python -m tests.tidy.test_interface)"
    )


SAMPLE = """
namespace haz {
/// A comment; with { a brace.
class HAZ_API thing : public base {
 public:
  explicit thing(int x);
  ~thing();
  int next(const value& x);
  int inlined() const { return x_; }
  virtual bool call(int x) noexcept = 0;
 private:
  struct state;
  static constexpr int size = 3;
  int x_ = 0;  ///< Known.
  alignas(8) std::byte bytes_[3 * size]{};
  thing& operator=(const thing&) = delete;
  bool (*called_)(int x) = nullptr;
};
enum class color : int { red, green = 2 };
template <class T>
struct generic { T value; };
HAZ_API std::string named(std::string_view text, int x = 0);
void hidden();
}
"""
FOUND = [
    "x.h: class thing:public base {virtual bool call(int x)noexcept; struct state; "
    "static constexpr int size=3; int x_; alignas(8)std::byte bytes_[3*size]; bool(*called_)(int x);}",
    "x.h: thing::thing(int x)",
    "x.h: thing::~thing()",
    "x.h: thing::int next(const value&x)",
    "x.h: enum class color:int {red,green=2}",
    "x.h: std::string named(std::string_view text,int x=0)",
]


def test_the_description_has_what_is_shared():
    assert list(_shared("x.h", SAMPLE)) == FOUND


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ("/// A comment", "/// Another comment", False),
        ("return x_;", "return x_ + 1;", False),
        ("int inlined() const", "int renamed() const", False),
        ("int x_ = 0;", "int x_ = 1;", False),
        ("void hidden();", "void hidden(); int more();", False),
        ("int x_ = 0;", "long x_ = 0;", True),
        ("int x_ = 0;", "int x_ = 0; int y_ = 0;", True),
        ("virtual bool call", "virtual bool more(); virtual bool call", True),
        ("size = 3;", "size = 4;", True),
        ("red, green", "blue, red, green", True),
        ("next(const value& x)", "next(const value& x, int y)", True),
        ("named(std::string_view text", "named(std::string text", True),
    ],
)
def test_only_what_is_shared_counts(old, new, changes):
    assert old in SAMPLE
    assert (list(_shared("x.h", SAMPLE.replace(old, new))) != FOUND) == changes


if __name__ == "__main__":
    RECORD.write_text("\n\n".join("\n".join(_described(one)) for one in INTERFACES) + "\n")
