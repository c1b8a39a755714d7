"""Each public name of the C++ headers has a Doxygen comment."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

STRING = re.compile(r'"(?:\\.|[^"\\\n])*"|(?<![0-9A-Za-z_])\'(?:\\.|[^\'\\\n])+\'')
COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", re.MULTILINE)
ATTRIBUTE = re.compile(r"\[\[.*?\]\]|\bHAZ_API\b|\balignas\([^)]*\)")
MACRO = re.compile(r"^#define (HAZ_(?!DETAIL)\w+)")
TYPE = re.compile(r"^(?:class|struct|union|enum(?: class| struct)?) (\w+)")
NAMESPACE = re.compile(r"^(?:inline )?namespace\s*([\w:]*)$")
ACCESS = re.compile(r"^\s*(public|protected|private)\s*:(?!:)")
OPERATOR = re.compile(r"\b(operator\s*(?:\(\s*\)|\[\s*\]|[^\s\w(]+|[\w:&]+))")
CALLED = re.compile(r"([~\w]+)\s*\(")


@dataclass
class Scope:
    """What a brace has opened: 'names' holds declarations, 'values' enumerators, 'code' neither."""

    kind: str
    name: str = ""
    hidden: bool = False
    documented: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Declaration:
    name: str
    first: int
    last: int


def blanked(text: str) -> str:
    """`text` without comments, literals and directives; each line and column stays where it is."""

    def blank(match):
        return re.sub(r"[^\n]", " ", match.group())

    # A literal may hold what looks like a comment, and the other way round: whichever begins first.
    either = re.compile(f"(?P<literal>{STRING.pattern})|{COMMENT.pattern}", re.DOTALL)
    text = either.sub(blank, text)
    return DIRECTIVE.sub(blank, text)


def _without_angles(statement: str) -> str:
    """Without template parameters, arguments and requirements in angle brackets."""
    before = None
    while before != statement:
        before = statement
        statement = re.sub(r"(?<!operator)(?<!operator<)<[^<>]*>", " ", statement)
    return statement


def _name(statement: str, scope: Scope, opens: bool) -> str | None:
    """What the statement declares; None where a comment would say nothing. `opens`: a brace follows."""
    plain = _without_angles(ATTRIBUTE.sub(" ", statement))
    plain = re.sub(r"^\s*template\b", "", plain)
    plain = " ".join(plain.split())
    if not plain or re.match(r"(friend|namespace|static_assert|using namespace)\b", plain):
        return None
    if re.search(r"= (default|delete)$|\boverride\b", plain):
        return None  # as of every class, or of the base class
    alias = re.match(r"using (\w+) =", plain)
    if alias:
        return alias.group(1)
    if plain.startswith("using "):
        return None  # constructors of the base class
    kind = TYPE.match(plain)
    if kind:
        return kind.group(1) if opens else None  # else only named ahead
    operator = OPERATOR.search(plain)
    if operator:
        assigns = re.search(rf"operator=\((const )?{scope.name} ?&&? ?\w*\)", plain)
        return None if assigns else operator.group(1)
    if re.match(r"(explicit )?\w+ ?\(.*\) ?->", plain):
        return None  # a deduction guide
    called = CALLED.search(re.sub(r"\b(?:requires|explicit|noexcept|decltype)\s*\(", " ", plain))
    if called:
        own = called.group(1)
        if own.startswith("~"):
            return None
        # Copies and moves.
        if own == scope.name and re.search(rf"\((const )?{own} ?&&? ?\w*\)", plain):
            return None
        return own
    variable = re.search(r"(\w+)\s*(?:\[[^\]]*\])?\s*(?:=.*)?$", plain)
    return variable.group(1) if variable else None


def _declarations(text: str) -> Iterator[tuple[Scope, Declaration]]:
    """The public declarations of a header, each with the scope that it stands in."""
    scopes = [Scope("names", hidden=True)]  # outside of namespace haz
    statement, first, line, nested = "", 0, 1, 0
    for letter in blanked(text):
        if letter == "\n":
            line += 1
        scope = scopes[-1]
        if not statement.strip() and not letter.isspace():
            first, statement = line, ""
        if scope.kind == "code":
            if letter == "{":
                scopes.append(Scope("code"))
            elif letter == "}":
                scopes.pop()
                statement = ""
            continue
        nested += (letter in "([") - (letter in ")]")
        if nested or letter not in "{};,:":
            statement += letter
            continue
        plain = statement.strip()
        if scope.kind == "values":
            if letter in ",}" and plain and not scope.hidden:
                yield scope, Declaration(re.split(r"\W", plain)[0], first, line)
            if letter == ":":
                statement += letter
                continue
            statement = ""
            if letter == "}":
                scopes.pop()
            continue
        if letter in ",:":
            statement += letter
            access = ACCESS.match(statement) if letter == ":" else None
            if access and not plain.startswith(("template", "class", "struct")):
                scope.hidden = access.group(1) != "public"
                statement = ""
            continue
        if letter == "}":
            scopes.pop()
            statement = ""
            continue
        if plain and not scope.hidden:
            name = _name(plain, scope, letter == "{")
            if name is not None:
                yield scope, Declaration(name, first, line)
        if letter == "{":
            scopes.append(_opened(plain, scope))
        statement = ""


def _opened(plain: str, scope: Scope) -> Scope:
    bare = " ".join(ATTRIBUTE.sub(" ", plain).split())
    namespace = NAMESPACE.match(bare)
    if namespace:
        name = namespace.group(1)
        public = name == "haz" or (not scope.hidden and name not in ("", "detail"))
        return Scope("names", hidden=not public)
    bare = re.sub(r"^template ?", "", _without_angles(bare)).strip()
    kind = re.match(r"(class|struct|union|enum)\b(?: class| struct)? ?(\w*)", bare)
    if kind is None or "(" in bare.split(":")[0]:
        return Scope("code")
    if kind.group(1) == "enum":
        return Scope("values", kind.group(2), scope.hidden)
    hidden = scope.hidden
    result = Scope("names", kind.group(2), hidden or kind.group(1) == "class")
    if hidden:
        result.kind = "code"  # nothing inside of it is public
    return result


def _undocumented(name: str, text: str) -> Iterator[str]:
    lines = text.splitlines()
    if not text.startswith("/// @file\n"):
        yield f"{name}:1: begins with /// @file and what it is for"
    for number, line in enumerate(lines):
        macro = MACRO.match(line)
        if macro and not lines[number - 1].startswith("///"):
            yield f"{name}:{number + 1}: {macro.group(1)}"
    for scope, found in _declarations(text):
        above = lines[found.first - 2].strip() if found.first > 1 else ""
        own = lines[found.first - 1 : found.last]
        if above.startswith("///") or any("///<" in line for line in own):
            scope.documented.add(found.name)
        elif found.name not in scope.documented:  # an overload is told of with the first
            yield f"{name}:{found.first}: {found.name}"


def test_each_public_name_has_a_comment(cpp_sources):
    wrong = [
        problem
        for source in cpp_sources
        if source.name.startswith("include/") and source.name.endswith(".h")
        for problem in _undocumented(source.name, source.text)
    ]
    assert not wrong, "say what it is, its unit, who owns it, what it throws:\n" + "\n".join(wrong)


SAMPLE = """\
/// @file
/// A header.
#include <vector>
#define HAZ_DETAIL_X 1
#define HAZ_X 1
namespace haz {
namespace detail { int hidden(); struct also_hidden { int x; }; }
/// Known; and a brace in a string.
inline const char* known() { return "} // /*"; }
inline const char* known(int x);
int unknown(std::vector<int> x = {1, 2});
class forward;
template <class T, class = std::enable_if_t<(sizeof(T) > 1)>>
[[nodiscard]] T pattern(const T& x) requires(sizeof(T) == 4) {
  if (x) { return x; }
  return {};
}
/// A class.
class [[nodiscard]] HAZ_API thing : public base {
 public:
  using base::base;
  using value = int;
  thing() = default;
  thing(const thing& other) : a_(other.a_), b_{other.b_} {}
  explicit thing(int x);
  ~thing();
  thing& operator=(thing&& other) noexcept { return *this; }
  bool operator()(int x) const;
  const char* what() const override;
  int after;  ///< Known.
  std::vector<int> member{};
 protected:
  int hidden();
 private:
  int b_{0};
};
enum class color : int {
  red,
  green = 2,  ///< Known.
  blue
};
inline constexpr int limit = 7;
}  // namespace haz
"""


def test_the_check_finds_what_is_missing():
    found = [problem.split(": ", 1)[1] for problem in _undocumented("x.h", SAMPLE)]
    assert found == [
        "HAZ_X",
        "unknown",
        "pattern",
        "value",
        "thing",
        "operator()",
        "member",
        "color",
        "red",
        "blue",
        "limit",
    ]


@pytest.mark.parametrize("text", ["#pragma once\n", "// a header\n"])
def test_a_header_says_what_it_is_for(text):
    assert any("@file" in problem for problem in _undocumented("x.h", text))


def test_the_headers_say_the_version_of_the_project(root):
    project = re.search(r'^version = "(.*)"$', (root / "pyproject.toml").read_text(), re.MULTILINE)
    header = re.search(
        r'^#define HAZ_VERSION "(.*)"$', (root / "include/haz/version.h").read_text(), re.MULTILINE
    )
    assert project
    assert header
    assert header.group(1) == project.group(1)
