"""Names of functions and arguments are found in C++ as people write it."""

from __future__ import annotations

import pytest
from haz.cpp._source import Function, find_functions


def names(source):
    return [function.name for function in find_functions(source)]


def test_names_parameters_and_lines():
    found = find_functions(
        "\n\ndouble f(double x, haz::array<const double, 2> y) { return x; }\n\n"
        "void\ng(int n = 2) {}\n"
    )
    assert found == [Function("f", ("x", "y"), 3), Function("g", ("n",), 5)]


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ("", ()),
        ("void", ()),
        ("int", ("",)),
        ("unsigned long", ("",)),
        ("haz::array<double>", ("",)),
        ("const haz::array<double>& x", ("x",)),
        ("std::complex<double> z, bool flag = (1 < 2)", ("z", "flag")),
        ("haz::array<const std::int64_t, 4, haz::contiguous> a, float b", ("a", "b")),
        ("int a /* the first, */, // and\n int b", ("a", "b")),
        ("[[maybe_unused]] int a", ("a",)),
        ("std::pair<int, int> p = {1, 2}, double q", ("p", "q")),
    ],
)
def test_names_of_parameters(text, parameters):
    assert find_functions(f"void f({text}) {{}}")[0].parameters == parameters


@pytest.mark.parametrize(
    "helper",
    [
        "static int h() { return 1; }",
        "inline int h() { return 1; }",
        "constexpr int h() { return 1; }",
        "template <class T> T h(T x) { return x; }",
        "namespace { int h() { return 1; } }",
        "namespace a::b { int h() { return 1; } int i() { return 2; } }",
        "struct S { int h() { return 1; } };",
        "struct S; int S::h() { return 1; }",
        "enum class E { h, i };",
        "S operator+(S a, S b) { return a; }",
        "auto h = [](int x) { return x; };",
        "int h(int);",
        "int h[] = {1, 2};",
        "// int h() { }\n",
        "/* int h() { } */",
        "#define H int h() { return 1; }\n#define G \\\n int g() {}\n",
        'const char* text = "int h() { }";',
        'const char* text = R"x(int h() { )" })x";',
        "int main() { return 0; }",
    ],
)
def test_helpers_are_no_functions(helper):
    assert names(f"{helper}\nint f() {{ return 1; }}") == ["f"]


@pytest.mark.parametrize(
    "function",
    [
        "auto f(int x) -> double { return x; }",
        "decltype(1 + 2.0) f(int x) { return x; }",
        "[[nodiscard]] int f(int x) noexcept { return x; }",
        "__attribute__((noinline)) int f(int x) { return x; }",
        'extern "C" int f(int x) { return x; }',
        'extern "C" { int f(int x) { return x; } }',
        "std::tuple<int, double> f(int x) { if (x) { return {}; } return {}; }",
        "int f(int x) { auto h = [&](int y) { return y; }; return h(x) + '{' + 1'000; }",
        'int f(int x) { const char* t = "}"; /* } */ // }\n return x; }',
        "haz::owned_array<double> f(int x)\n{\n}",
    ],
)
def test_functions_in_many_forms(function):
    assert names(f"{function}\nint g() {{ return 1; }}") == ["f", "g"]
    assert find_functions(function)[0].parameters == ("x",)


def test_nonsense_ends():
    for source in ("", "}}}}", "{{{{", "f(", "int f(int x) {", "'", '"', 'R"(', "/*", "#", "\\"):
        find_functions(source)
