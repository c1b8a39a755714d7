"""Functions that cross processes without pickle: they must be what pickling would make of them."""

from __future__ import annotations

import collections.abc
import functools
import marshal
import math
import os.path
import sys
import textwrap
import types
import xml.dom.minidom

import cloudpickle
import pytest
from haz._core import plain_functions, serialize


def in_main(source: str):
    """Define `f` as a script would: in a module that is ``__main__`` to it."""
    namespace = {"__name__": "__main__", "__package__": None, "__file__": "/some/script.py"}
    code = compile(textwrap.dedent(source), "/some/script.py", "exec", dont_inherit=True)
    exec(code, namespace)
    return namespace["f"]


def send(function):
    """What another process gets, or None."""
    packed = plain_functions.pack(function)
    return None if packed is None else plain_functions.unpack(marshal.loads(marshal.dumps(packed)))


PLAIN = {
    "no-op": "def f(x): pass",
    "lambda": "f = lambda x: x * 2",
    "defaults": "def f(x, y=2, *more, z=3, w=(1, 'a'), **rest): return x, y, z, w",
    "all kinds of arguments": "def f(x, /, y=None, *, z=b''): return x, y, z",
    "constants": "A, B = 3, (1.5, ('text', None, ...))\ndef f(x): return A, B, x",
    "strange text": "A = '\\ud800\\x00'\ndef f(x): return A, '\\udfff'",
    "module": "import math\ndef f(x): return math.floor(x + 0.5)",
    "alias": "import os.path as p\ndef f(x): return p.join('a', str(x))",
    "package": "import xml\ndef f(x): return xml.__name__",
    "builtins": "number, kind = int, ValueError\ndef f(x): return number('7'), kind",
    "inner import": "def f(x):\n    import json\n    return json.dumps(x)",
    "nested code": "K = 5\ndef f(x): return [K + i for i in range(x)] + [(lambda: K)()]",
    "generator": "def f(x):\n    yield x",
    "annotations": "def f(x: int, y: 'str' = '', *z: float) -> None: return [x]",
    "deferred annotations": """
        from __future__ import annotations
        def f(x: some.thing) -> list[int]: return x
    """,
    "docs": "def f(x):\n    'What it does.'\n    return x",
    "state": "n = 1\ndef f(x):\n    global n\n    n += x\n    return n",
    "module's name": "def f(x): return __name__, __file__, __package__, x",
    "name that is missing": "def f(x): return missing if x == 77 else x",
    "name of an attribute": "import math\nreal = 4\ndef f(x): return x.real, math.pi.real",
    "unused": "import threading\nlock = threading.Lock()\ndef f(x): return x",
    "set": "f = lambda x: x in {1, 2, 3}",
    "big": "f = lambda x: " + "+".join(f"({i} + x)" for i in range(500)),
}

if sys.version_info < (3, 14):
    PLAIN_HERE = PLAIN
else:  # annotations are functions there, and left to cloudpickle
    PLAIN_HERE = {name: text for name, text in PLAIN.items() if "annotations" not in name}


@pytest.mark.parametrize("name", PLAIN_HERE)
def test_plain_function_is_what_pickling_makes_of_it(name):
    function = in_main(PLAIN[name])
    sent = send(function)
    pickled = serialize.load_function(serialize.dump_function(function))
    assert sent is not None
    for attribute in ("__name__", "__module__", *plain_functions.FUNCTION_SLOTS):
        assert getattr(sent, attribute) == getattr(pickled, attribute)
    assert sent.__code__ == pickled.__code__ == function.__code__
    assert sent.__dict__ == pickled.__dict__ == {}
    assert sent.__closure__ is pickled.__closure__ is None
    assert sent.__globals__ == pickled.__globals__
    for argument in (0, 1, 4):
        ours, theirs = sent(argument), pickled(argument)
        assert list(ours) == list(theirs) if name == "generator" else ours == theirs
    assert "__builtins__" in sent.__globals__


@pytest.mark.parametrize(
    "source",
    [
        "def g(x): return x\ndef f(x): return g(x)",
        "def f(x): return f(x - 1) if x else 0",
        "A = [1]\ndef f(x): return A",
        "A = {}\ndef f(x): return A",
        "def f(x, y=[]): return y",
        "def f(x, *, y={1: 2}): return y",
        "def f(x): return x\nf.factor = 3",
        "def make(n):\n    return lambda x: x + n\nf = make(1)",
        "class Number(int): pass\nA = Number(1)\ndef f(x): return A",
        "class Mine: pass\ndef f(x): return Mine",
        "class Mine: pass\ndef f(x, y=Mine): return x",
        "from collections import OrderedDict\ndef f(x): return OrderedDict",
        "def f(x: list[int]): return x" if sys.version_info < (3, 14) else "f = print",
        "import xml.dom.minidom\ndef f(x): return xml.dom.minidom.Node",
        "import types\nm = types.ModuleType('made_up')\ndef f(x): return m",
        "import sys\nme = sys.modules['__main__']\ndef f(x): return me",
        "import functools\nf = functools.partial(print, 1)",
        "class A:\n    def __call__(self, x): return x\nf = A()",
        "class A:\n    def m(self, x): return x\nf = A().m",
        "class A: pass\nf = A",
    ],
)
def test_what_is_left_to_pickle(source):
    assert plain_functions.pack(in_main(source)) is None


@pytest.mark.parametrize("function", [textwrap.dedent, os.path.join, cloudpickle.dumps])
def test_importable_functions_go_by_name(function):
    assert plain_functions.pack(function) == (function.__module__, function.__qualname__)
    assert send(function) is function


def test_importable_classes_go_by_name():
    for cls in (collections.Counter, dict, textwrap.TextWrapper):
        assert plain_functions.pack(cls) == (cls.__module__, cls.__qualname__)
        assert send(cls) is cls


def test_classes_that_pickle_may_take_apart_are_left_to_it():
    assert plain_functions.pack(collections.abc.Mapping) is None  # of a metaclass


def test_methods_of_classes_go_by_name():
    assert send(collections.Counter.most_common) is collections.Counter.most_common


def test_other_callables_are_left_to_pickle():
    for value in (math.sqrt, len, functools.partial(len), xml.dom.minidom, None, "f"):
        assert plain_functions.pack(value) is None


def test_modules_registered_by_value_are_left_to_pickle():
    function = in_main("import textwrap\ndef f(x): return textwrap.dedent(x)")
    cloudpickle.register_pickle_by_value(textwrap)
    try:
        assert plain_functions.pack(function) is None
        packed = plain_functions.pack(textwrap.dedent)
        assert packed is None or len(packed) > 2
    finally:
        cloudpickle.unregister_pickle_by_value(textwrap)


def test_shadowed_functions_of_modules_go_by_value(monkeypatch):
    original = textwrap.indent
    monkeypatch.setattr(textwrap, "indent", lambda *_: "shadowed")
    sent = send(original)
    if sent is not None:
        assert sent("a", "-") == "-a"


def test_package_can_be_named_only_where_it_is_installed():
    packed = plain_functions.pack(textwrap.dedent)
    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        plain_functions.unpack(("nowhere", packed[1]))
    with pytest.raises(AttributeError, match="no_such_function"):
        plain_functions.unpack(("textwrap", "no_such_function"))


def test_code_that_marshal_cannot_write_is_left_to_pickle():
    function = in_main("def f(x): return 1")
    function.__code__ = function.__code__.replace(co_consts=(None, object()))
    assert plain_functions.pack(function) is None


def test_modules_that_another_thread_is_importing(monkeypatch):
    for name in ("haz._core.serialize", "cloudpickle"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    packed = plain_functions.dump(lambda x: len(x) + 1)
    assert plain_functions.load(packed)("ab") == 3
