"""Which functions a C++ source has for Python: their names, and those of their arguments.

Only names are read here; types come from the compiler. A function counts that stands outside of
namespaces and classes and is no template, ``static``, ``inline`` or ``constexpr``: those are helpers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Function", "find_functions", "unclosed_brace"]

#: What is no code: comments, literals, and lines of the preprocessor with their continuations.
_NO_CODE = re.compile(
    r"""
    //(?:[^\n\\]|\\.|\\\n)* | /\*.*?\*/
    | \b(?:u8|[uUL])?R"(?P<mark>[^()\\\s]{0,16})\(.*?\)(?P=mark)"
    | "(?:[^"\\\n]|\\.)*" | (?<![0-9a-fA-F])'(?:[^'\\\n]|\\.)+'
    | ^[ \t]*\#(?:[^\n\\]|\\.|\\\n)*
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
_ATTRIBUTE = re.compile(r"\[\[.*?\]\]", re.DOTALL)
_HELPERS = frozenset(("template", "static", "inline", "constexpr", "consteval", "operator"))
_NO_FUNCTIONS = frozenset(("namespace", "class", "struct", "union", "enum", "concept"))
#: Words before a parenthesis that are no name of a function.
_BEFORE_PARENTHESES = frozenset(("__attribute__", "alignas", "decltype", "noexcept", "requires"))
_TYPE_WORDS = frozenset(
    [
        "bool",
        "char",
        "const",
        "double",
        "float",
        "int",
        "long",
        "short",
        "signed",
        "unsigned",
        "void",
        "volatile",
        "auto",
    ]
)
_OPENING, _CLOSING = "([{<", ")]}>"


@dataclass(frozen=True)
class Function:
    """A function that Python can call.

    Attributes
    ----------
    name
        As in the source.
    parameters
        Names of its arguments; one without a name is empty.
    line
        Where it begins, counted from 1.
    """

    name: str
    parameters: tuple[str, ...]
    line: int


def find_functions(source: str) -> list[Function]:
    """Return the functions that `source` defines for Python, in its order."""
    return [found for head, line in _heads(_code_of(source)) if (found := _function(head, line))]


def unclosed_brace(source: str) -> int | None:
    """Return the line of the first brace that opens and does not close, as far as can be told."""
    code = _code_of(source)
    opened: list[int] = []
    for match in re.finditer(r"[{}]", code):
        if match.group() == "{":
            opened.append(match.start())
        elif opened:
            opened.pop()
    return code.count("\n", 0, opened[0]) + 1 if opened else None


def _code_of(source: str) -> str:
    """Blank out what is no code; lines stay where they are."""

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", match.group())

    return _NO_CODE.sub(blank, source)


def _heads(code: str) -> Iterator[tuple[str, int]]:
    """What stands before each brace that opens outside of all others, and its line."""
    depth = 0
    parentheses = 0  # outside of braces: a default argument may have braces of its own
    begin = 0
    for match in re.finditer(r"[{}();]", code):
        char = match.group()
        if char in "()":
            if depth == 0:
                parentheses = max(parentheses + (1 if char == "(" else -1), 0)
            continue
        if parentheses > 0:
            continue
        if char == "{":
            if depth == 0:
                head = code[begin : match.start()]
                if head.split() == ["extern"]:  # extern "C" {: what is inside counts
                    begin = match.end()
                    continue
                stripped = len(head) - len(head.lstrip())
                yield head, code.count("\n", 0, begin + stripped) + 1
            depth += 1
        elif char == "}":
            depth = max(depth - 1, 0)
        if depth == 0:
            begin = match.end()


def _function(head: str, line: int) -> Function | None:
    head = _ATTRIBUTE.sub(" ", head)
    found = _name_and_parameters(head)
    if found is None:
        return None
    before, name, parameters = found
    words = set(_IDENTIFIER.findall(before))
    if words & _HELPERS or words & _NO_FUNCTIONS or name == "main" or not words:
        return None
    if "=" in before or before.rstrip().endswith("::"):
        return None
    return Function(name, _parameter_names(parameters), line)


def _name_and_parameters(head: str) -> tuple[str, str, str] | None:
    """Split a head into what stands before the name, the name, and the list of parameters."""
    place = 0
    while (opening := head.find("(", place)) >= 0:
        closing = _end_of_group(head, opening)
        name = re.search(r"([A-Za-z_]\w*)\s*$", head[:opening])
        if name is None or closing < 0:
            return None
        if name.group(1) not in _BEFORE_PARENTHESES:
            return head[: name.start()], name.group(1), head[opening + 1 : closing]
        place = closing + 1
    return None


def _end_of_group(text: str, opening: int) -> int:
    depth = 0
    for place in range(opening, len(text)):
        depth += (text[place] == "(") - (text[place] == ")")
        if depth == 0:
            return place
    return -1


def _parameter_names(text: str) -> tuple[str, ...]:
    parts = _split(text)
    if [part.strip() for part in parts] in ([""], ["void"]):
        return ()
    return tuple(_parameter_name(part) for part in parts)


def _split(text: str) -> list[str]:
    """Split at the commas that stand in no brackets."""
    parts = [""]
    depth = 0
    for char in text:
        if char == "," and depth == 0:
            parts.append("")
            continue
        depth += (char in _OPENING) - (char in _CLOSING)
        parts[-1] += char
    return parts


def _parameter_name(part: str) -> str:
    declared = part.partition("=")[0].rstrip()
    name = re.search(r"([A-Za-z_]\w*)$", declared)
    if name is None or name.group(1) in _TYPE_WORDS:
        return ""
    # A single word, or one after `::`, is a type.
    before = declared[: name.start()].rstrip()
    is_type = not before or before.endswith("::") or before in ("const", "volatile")
    return "" if is_type else name.group(1)
