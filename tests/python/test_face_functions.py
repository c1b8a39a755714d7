"""How faces send functions: a copy is used again as long as nothing around it has changed."""

from __future__ import annotations

import os
import types

import haz
import pytest
from haz._faces.functions import code_of, function_of


@pytest.fixture(autouse=True)
def _engine():
    haz.init(engine="inline")
    yield
    haz.shutdown()


def functions_of(source, **names):
    """Run code as if it were the main program's; return its names."""
    module = types.ModuleType("__main__")
    module.__dict__.update(names)
    exec(source, module.__dict__)
    return module.__dict__


def test_a_copy_is_made_once():
    names = functions_of("""
import os
factor = 3
def helper(x): return x * factor
def function(x): return helper(x) + len(os.sep)
def make(n): return lambda x: x + n
""")
    code = code_of(names["function"])
    assert code_of(names["function"]) is code
    assert function_of(code)(2) == 6 + len(os.sep)
    closure = names["make"](4)
    assert code_of(closure) is code_of(closure)
    assert code_of(names["make"](5)) != code_of(closure)


@pytest.mark.parametrize(
    "change",
    [
        "factor = 5",
        "def helper(x): return x * 5",
        "helper.__code__ = (lambda x: x * 5).__code__",
        "function.__defaults__ = (5, 5)",
        "values[0] = 5",
        "place.at = 5",
        "def len(x): return 5",
        "function.mark = 5",
        "keyword.__kwdefaults__ = {'n': 5}",
        "set_cell(5)",
    ],
)
def test_a_change_is_seen(change):
    names = functions_of("""
factor = 3
values = [3]
class place: at = 3
def helper(x): return x * factor
def keyword(*, n=3): return n
def function(x, y=3):
    mark = getattr(function, "mark", 3)
    return helper(x), y, values[0], place.at, len("abc"), mark, keyword()
def make():
    n = 3
    def set_cell(value):
        nonlocal n
        n = value
    return (lambda x: n), set_cell
closure, set_cell = make()
""")

    def all_results():
        simple = names["function"], names["helper"], names["closure"]
        copies = [function_of(code_of(one))(1) for one in simple]
        return copies, function_of(code_of(names["keyword"]))()

    before = all_results()
    assert all_results() == before
    exec(change, names)
    after = all_results()
    assert after != before
    simple = names["function"], names["helper"], names["closure"]
    assert after == ([one(1) for one in simple], names["keyword"]())
