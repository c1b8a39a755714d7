"""Pickling of functions and of what the native codec leaves over."""

from __future__ import annotations

import abc
import enum
import functools
import math
import os.path
import pickle
import subprocess
import sys
import textwrap
import threading
import typing
import xml.dom.minidom as minidom_alias

import cloudpickle
import pytest
from haz._core import serialize
from haz._core.serialize import (
    deregister_serializer,
    dump_function,
    dumps,
    explain_unpicklable,
    load_function,
    loads,
    register_serializer,
)
from haz.exceptions import SerializationError, TaskError

T = typing.TypeVar("T")


def copy(value):
    data, buffers = dumps(value)
    return loads(data, [memoryview(buffer).toreadonly() for buffer in buffers])


def copy_function(function):
    return load_function(dump_function(function))


def needs_cloudpickle(value) -> bool:
    return b"cloudpickle" in dump_function(value)


def in_main(source: str, name: str = "f"):
    """Define something as a script would: in a module that is ``__main__`` to it."""
    namespace = {"__name__": "__main__", "__file__": "/some/script.py"}
    exec(compile(textwrap.dedent(source), "/some/script.py", "exec"), namespace)
    return namespace[name]


def module_function(x):
    return x + 1


@functools.lru_cache
def cached_function(x):
    return x


class ModuleClass:
    def method(self):
        return 1


def run(code: str, *arguments: str) -> str:
    """Run `code` as the main module of a new process."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# ---- functions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [math.sqrt, os.path.join, len, print, int, dict.fromkeys])
def test_importable_functions_go_by_reference(function):
    assert copy_function(function) == function
    assert len(dump_function(function)) < 100


def test_functions_of_this_module():
    if getattr(sys.modules.get(__name__), "module_function", None) is module_function:
        assert copy_function(module_function) is module_function
        assert copy_function(cached_function) is cached_function
        assert copy_function(ModuleClass) is ModuleClass
        assert copy_function(ModuleClass.method) is ModuleClass.method


SOURCES = {
    "plain": "def f(x): return x + 1",
    "lambda": "f = lambda x: x * 2",
    "defaults": "def f(x, y=2, *, z=3): return (x, y, z)",
    "helper": "def g(x): return x * 3\ndef f(x): return g(x) + 1",
    "recursive": "def f(x): return 1 if x <= 0 else x * f(x - 1)",
    "mutual": """
        def even(n): return n == 0 or odd(n - 1)
        def odd(n): return n != 0 and even(n - 1)
        f = even
    """,
    "scalars": "A = 3\nB = 'text'\nC = [1, {'k': 2}]\ndef f(x): return (A, B, C, x)",
    "module": "import math\ndef f(x): return math.floor(x + 0.5)",
    "alias": "import os.path as p\ndef f(x): return p.join('a', str(x))",
    "submodule": "import xml.dom.minidom\ndef f(x): return xml.dom.minidom.Node.__name__, x",
    "from import": "from collections import OrderedDict\ndef f(x): return OrderedDict(a=x)",
    "inner import": "def f(x):\n    import json\n    return json.dumps(x)",
    "closure": """
        def make(n):
            def f(x):
                return x + n
            return f
        f = make(10)
    """,
    "closure that refers to itself": """
        def make():
            def f(x):
                return 0 if x == 0 else 1 + f(x - 1)
            return f
        f = make()
    """,
    "nested code": "K = 5\ndef f(x): return [K + i for i in range(x)] + [(lambda: K)()]",
    "generator": "def g(n):\n    yield from range(n)\ndef f(x): return list(g(x))",
    "decorated": """
        import functools
        def twice(g):
            @functools.wraps(g)
            def inner(*a, **k):
                return g(*a, **k), g(*a, **k)
            return inner
        @twice
        def f(x): return x
    """,
    "partial": "import functools\ndef g(a, b): return a - b\nf = functools.partial(g, 10)",
    "annotations": "def f(x: int, y: 'str' = '') -> list[int]: return [x]",
    "attributes": "def f(x): return f.factor * x\nf.factor = 3",
    "docs": "def f(x):\n    'What it does.'\n    return x",
    "globals that change": """
        count = 0
        def f(x):
            global count
            count += x
            return count
    """,
    "module's name": "def f(x): return (__name__, __file__, x)",
    "unused name": "import threading\nlock = threading.Lock()\ndef f(x): return x",
}


CACHED = """
    import functools
    @functools.lru_cache(maxsize=17)
    def f(x): return 1 if x < 2 else f(x - 1) + f(x - 2)
"""


@pytest.mark.parametrize("name", SOURCES)
def test_functions_of_main_as_with_cloudpickle(name):
    function = in_main(SOURCES[name])
    theirs = cloudpickle.loads(cloudpickle.dumps(function))
    ours = copy_function(function)
    assert not needs_cloudpickle(function)
    for argument in (0, 1, 4):
        assert ours(argument) == theirs(argument)
    for attribute in ("__module__", "__name__", "__qualname__", "__doc__", "__annotations__"):
        assert getattr(ours, attribute, None) == getattr(theirs, attribute, None)
    assert type(ours) is type(theirs)
    if hasattr(theirs, "__code__"):
        assert ours.__code__ == theirs.__code__
        assert ours.__defaults__ == theirs.__defaults__
        assert ours.__kwdefaults__ == theirs.__kwdefaults__
        assert ours.__dict__.keys() == theirs.__dict__.keys()
        assert theirs.__globals__.keys() <= ours.__globals__.keys()


def test_a_copy_can_be_copied():
    function = in_main(SOURCES["recursive"])
    assert copy_function(copy_function(function))(5) == 120


def test_functions_share_what_they_shared():
    first, second = copy(
        in_main(
            """
            def make():
                count = 0
                def increase():
                    nonlocal count
                    count += 1
                def read():
                    return count
                return increase, read
            f = make()
            """
        )
    )
    first()
    first()
    assert second() == 2


def test_functions_of_one_module_share_globals():
    setter, getter = copy(
        in_main(
            """
            state = 0
            def setter(x):
                global state
                state = x
            def getter():
                return state
            f = [setter, getter]
            """
        )
    )
    setter(7)
    assert getter() == 7
    assert setter.__globals__ is getter.__globals__


def test_the_original_is_not_touched():
    function = in_main(SOURCES["globals that change"])
    twin = copy_function(function)
    assert (twin(5), twin(5), function(1)) == (5, 10, 1)


def test_recursion_goes_to_the_copy():
    twin = copy_function(in_main(SOURCES["recursive"]))
    assert twin.__globals__["f"] is twin


def test_cached_recursion_goes_to_the_copy():
    function = in_main(CACHED)
    function(10)
    twin = copy_function(function)
    assert twin.cache_info().currsize == 0
    assert twin.cache_parameters() == {"maxsize": 17, "typed": False}
    assert twin(30) == 1346269
    assert twin.__wrapped__.__globals__["f"] is twin


def test_redefinitions_take_effect():
    namespace = {"__name__": "__main__"}
    exec("def f(): return 1\ndef g(): return f()", namespace)
    first = dump_function(namespace["g"])
    exec("def f(): return 2", namespace)
    assert load_function(first)() == 1
    assert copy_function(namespace["g"])() == 2


def test_shadowed_functions_of_modules_go_by_value(monkeypatch):
    old = textwrap.dedent
    monkeypatch.setattr(textwrap, "dedent", lambda text: "new")
    twin = copy_function(old)
    assert twin is not old
    assert twin(" a") == "a"


def test_methods_that_were_bound_by_hand():
    import types

    method = types.MethodType(lambda self, x: (self, x), 5)
    assert copy(method)(1) == (5, 1)
    assert copy([].append)(1) is None
    assert copy(pickle.Pickler.dump) is pickle.Pickler.dump


def test_empty_closures():
    def outer():
        def f():
            return late

        twin = copy_function(f)
        late = 1
        return f(), twin

    value, twin = outer()
    assert value == 1
    with pytest.raises(NameError):
        twin()


@pytest.mark.parametrize(
    "source",
    [
        "import abc\nclass f(abc.ABC): pass",
        "import dataclasses\n@dataclasses.dataclass\nclass f:\n    x: int = 1",
        "class f:\n    __slots__ = ('x',)",
        "import typing\nclass f(typing.NamedTuple):\n    x: int = 1",
        "class C:\n    def __init_subclass__(cls): pass\nclass f(C): pass",
        "import enum\nclass E(enum.Enum):\n    A = 1\ndef f(x): return E.A",
        "import typing\nT = typing.TypeVar('T')\ndef f(x): return T",
        "import types\nm = types.ModuleType('made_up')\nm.x = 1\ndef f(x): return m.x",
    ],
)
def test_what_is_left_to_cloudpickle(source):
    function = in_main(source)
    assert needs_cloudpickle(function)
    assert callable(copy_function(function))


# ---- classes of main ---------------------------------------------------------------------------

#: Sources that make a class `C`, and an expression on it.
CLASSES = {
    "attributes": ("class C:\n    'doc'\n    X = 1\n    y: int = 2", "(C.X, C.y, C.__doc__)"),
    "methods": ("class C:\n    def m(self, x): return x + 1", "C().m(1)"),
    "static": ("class C:\n    @staticmethod\n    def m(x): return x + 1", "C.m(1)"),
    "class method": ("class C:\n    @classmethod\n    def m(cls): return cls.__name__", "C.m()"),
    "property": (
        """
        class C:
            @property
            def p(self):
                'of p'
                return self.x
            @p.setter
            def p(self, x):
                self.x = x + 1
        def use(C):
            c = C()
            c.p = 1
            return c.p, C.p.__doc__
        """,
        "use(C)",
    ),
    "super": (
        """
        class B:
            def m(self): return 'B'
        class C(B):
            def m(self): return super().m() + 'C'
        """,
        "C().m()",
    ),
    "of the library": ("import collections\nclass C(collections.OrderedDict): pass", "C(a=1)['a']"),
    "exception": ("class C(ValueError):\n    def __str__(self): return 'text'", "str(C(1))"),
    "operators": (
        """
        class C:
            def __init__(self, x): self.x = x
            def __eq__(self, other): return self.x == other.x
            def __add__(self, other): return C(self.x + other.x)
            def __getattr__(self, name): return name
            def __call__(self): return self.x
        """,
        "(C(1) + C(2) == C(3), C(1).nothing, C(5)(), C.__hash__)",
    ),
    "new": (
        """
        class C:
            def __new__(cls, x):
                made = super().__new__(cls)
                made.x = x
                return made
        """,
        "C(3).x",
    ),
    "itself": ("class C:\n    def m(self): return C", "C().m() is C"),
    "a base that knows it": (
        """
        class B:
            def make(self): return C()
        class C(B): pass
        """,
        "type(C().make()) is C",
    ),
    "nested": ("class C:\n    class D:\n        X = 4", "C.D.X"),
    "closure": (
        "def make(n):\n    class C:\n        def m(self): return n\n    return C\nC = make(3)",
        "C().m()",
    ),
    "descriptor": (
        """
        class D:
            def __set_name__(self, owner, name): self.name = name
            def __get__(self, instance, owner): return self.name
        class C:
            d = D()
        """,
        "C().d",
    ),
    "global": ("LIMIT = 5\nclass C:\n    def m(self): return LIMIT", "C().m()"),
    "subscript": ("class C:\n    def __class_getitem__(cls, item): return item", "C[int]"),
    "abstract": (
        "import abc\nclass C(abc.ABC):\n    @abc.abstractmethod\n    def m(self): ...",
        "sorted(C.__abstractmethods__)",
    ),
    "dataclass": ("import dataclasses\n@dataclasses.dataclass\nclass C:\n    x: int = 1", "C().x"),
}


@pytest.mark.parametrize("name", CLASSES)
def test_classes_of_main_as_with_cloudpickle(name, tmp_path):
    """Copied into another process, and made there of both pickles."""
    source, expression = CLASSES[name]
    path = tmp_path / "classes"
    program = f"""
        import pickle, sys, cloudpickle
        from haz._core.serialize import dump_function
        exec({textwrap.dedent(source)!r})
        f = lambda: (C, {expression})
        pickle.dump([dump_function(f), cloudpickle.dumps(f)], open(sys.argv[1], "wb"))
    """
    run(program, str(path))
    shown = run(
        """
        import pickle, sys
        from haz._core.serialize import load_function
        ours, theirs = pickle.load(open(sys.argv[1], "rb"))
        (mine, value), (other, expected) = load_function(ours)(), pickle.loads(theirs)()
        assert value == expected, (value, expected)
        # cloudpickle leaves out what is equal to a base's.
        different = vars(mine).keys() ^ vars(other).keys()
        assert different <= {"__static_attributes__"}, different
        for name in ("__module__", "__name__", "__doc__"):
            assert getattr(mine, name) == getattr(other, name)
        assert [b.__name__ for b in mine.__mro__] == [b.__name__ for b in other.__mro__]
        print("same")
        """,
        str(path),
    )
    assert shown.strip() == "same"


def test_ordinary_classes_need_no_cloudpickle():
    for name, (source, _) in CLASSES.items():
        namespace = {"__name__": "__main__"}
        exec(textwrap.dedent(source), namespace)
        assert needs_cloudpickle(namespace["C"]) == (name in ("abstract", "dataclass")), name


def test_copies_keep_their_qualified_names(tmp_path):
    path = tmp_path / "class"
    run(
        """
        import sys
        from haz._core.serialize import dump_function
        class C:
            class D: pass
        open(sys.argv[1], "wb").write(dump_function(C.D))
        """,
        str(path),
    )
    load = "import sys; from haz._core.serialize import load_function as f"
    shown = run(f"{load}; print(f(open(sys.argv[1], 'rb').read()).__qualname__)", str(path))
    assert shown == "C.D"


def test_a_class_is_itself_where_it_comes_from():
    cls = in_main("class f:\n    X = 1")
    instance = copy(cls())
    assert type(instance) is cls
    assert copy(cls) is cls
    cls.X = 2
    assert copy(cls()).X == 2


def test_copies_of_a_class_are_one_class(tmp_path):
    path = tmp_path / "instances"
    run(
        """
        import pickle, sys, threading
        from haz._core.serialize import dumps
        class Point:
            def __init__(self, x): self.x = x
        class Odd:
            __slots__ = ("x",)
        plain = [dumps(Point(i))[0] for i in range(2)]
        mixed = dumps([Odd(), Point(2)])[0]  # by cloudpickle
        pickle.dump([*plain, mixed], open(sys.argv[1], "wb"))
        """,
        str(path),
    )
    shown = run(
        """
        import pickle, sys
        from haz._core.serialize import dumps, loads
        first, second, mixed = map(loads, pickle.load(open(sys.argv[1], "rb")))
        assert type(first) is type(second) is type(mixed[1])
        assert (first.x, second.x, mixed[1].x) == (0, 1, 2)
        assert loads(*dumps(first)).x == 0
        type(first).later = "set here"
        assert loads(*dumps(second)).later == "set here"
        print("one")
        """,
        str(path),
    )
    assert shown.strip() == "one"


def test_classes_are_forgotten():
    import gc

    from haz._core import serialize_classes

    gc.collect()
    before = len(serialize_classes._identities), len(serialize_classes._classes)
    cls = in_main("class f:\n    def m(self): return f")
    assert copy(cls) is cls
    assert len(serialize_classes._classes) == before[1] + 1
    del cls
    gc.collect()
    assert (len(serialize_classes._identities), len(serialize_classes._classes)) == before


def test_members_with_attributes_of_their_own():
    cls = in_main(
        """
        import functools
        def mark(member):
            member.mark = 7
            return member
        class C:
            @mark
            @staticmethod
            def s(): return 1
            @functools.cached_property
            def cached(self): return [1]
        f = C
        """
    )
    static = copy(cls.__dict__["s"])
    assert (static.mark, static.__func__()) == (7, 1)
    cached = copy(cls.__dict__["cached"])
    assert cached.attrname == "cached"
    assert cached.func(None) == [1]


def test_modules_registered_by_value():
    module = sys.modules["textwrap"]
    assert copy_function(textwrap.dedent) is textwrap.dedent
    cloudpickle.register_pickle_by_value(module)
    try:
        assert copy_function(textwrap.dedent) is not textwrap.dedent
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def test_submodules_are_loaded_on_the_other_side(tmp_path):
    path = tmp_path / "function"
    run(
        """
        import sys, xml.dom.minidom
        from haz._core.serialize import dump_function
        def f(): return xml.dom.minidom.parseString("<a/>").documentElement.tagName
        open(sys.argv[1], "wb").write(dump_function(f))
        """,
        str(path),
    )
    assert (
        run(
            """
            import sys
            from haz._core.serialize import load_function
            print(load_function(open(sys.argv[1], "rb").read())())
            """,
            str(path),
        )
        == "a"
    )


def test_plain_functions_import_nothing_big(tmp_path):
    path = tmp_path / "function"
    big = "print([m for m in ('cloudpickle', 'pickle', 'typing', 'inspect') if m in sys.modules])"
    wrote = run(
        f"""
        import sys, math
        from haz._core.serialize import dump_function
        LIMIT = 3
        def helper(x): return math.sqrt(x)
        def f(x, n=2): return helper(x) * n + LIMIT if x else f(4)
        open(sys.argv[1], "wb").write(dump_function(f))
        {big}
        """,
        str(path),
    )
    read = run(
        f"""
        import sys
        from haz._core.serialize import load_function
        assert load_function(open(sys.argv[1], "rb").read())(0) == 7.0
        {big}
        """,
        str(path),
    )
    assert (wrote, read) == ("[]", "[]")


# ---- values -------------------------------------------------------------------------------------


class Color(enum.Enum):
    RED = 1


class Base(abc.ABC):
    @abc.abstractmethod
    def run(self): ...


@pytest.mark.parametrize(
    "value",
    [
        {1, 2},
        1j,
        type(None),
        type(...),
        NotImplemented,
        ...,
        list[int],
        typing.Optional[int],  # noqa: UP045
        typing.List[int],  # noqa: UP006
        range(5),
        OSError(2, "no such file"),
        Color.RED,
        Color,
        Base,
        T,
        minidom_alias,
        functools.partial(int, base=2),
    ],
    ids=repr,
)
def test_values_come_back(value):
    result = copy(value)
    if isinstance(value, (Exception, functools.partial)):
        assert repr(result) == repr(value)
    else:
        assert result == value


def test_values_with_functions_inside():
    value = {"key": [lambda x: x + 1, in_main(SOURCES["recursive"])]}
    result = copy(value)
    assert result["key"][0](1) == 2
    assert result["key"][1](3) == 6


def test_instances_of_classes_of_main():
    point = in_main(
        """
        import dataclasses
        @dataclasses.dataclass
        class Point:
            x: int
        f = Point(3)
        """
    )
    result = copy([point, point])
    assert result[0] is result[1]
    assert result[0].x == 3


def test_what_only_cloudpickle_knows():
    assert list(copy({"a": 1}.keys())) == ["a"]
    assert copy(property(len)).fget is len


def test_cached_methods_of_classes_of_main():
    cls = in_main(
        """
        import functools
        class f:
            @functools.lru_cache
            def square(self, x): return x * x
        """
    )
    assert copy(cls)().square(3) == 9


def test_pickling_inside_of_pickling():
    class Nested:
        def __reduce__(self):
            return loads, (dumps({1, 2})[0],)

    assert copy([{3}, Nested(), {4}]) == [{3}, {1, 2}, {4}]


def test_a_failure_leaves_nothing_behind():
    class Failing:
        def __reduce__(self):
            raise RuntimeError("no")

    for _ in range(3):
        with pytest.raises(SerializationError, match="no"):
            dumps([b"x" * 10, Failing()])
        assert copy({1, 2}) == {1, 2}


def test_restarts_are_told():
    restarts = []
    dumps({1}, lambda: restarts.append(1))
    assert restarts == []
    dumps({"a": 1}.keys(), lambda: restarts.append(1))
    assert restarts == [1]


def test_threads_pickle_at_once():
    class Slow:
        def __init__(self, i):
            self.i = i

        def __getstate__(self):
            import time

            time.sleep(0.0005)
            return self.__dict__

    failures = []

    def work(i):
        for j in range(20):
            value = [Slow(i), {i, j}]
            result = copy(value)
            if result[0].i != i or result[1] != {i, j}:
                failures.append((i, j))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


# ---- what can't be pickled ----------------------------------------------------------------------


class Holder:
    def __init__(self, **attributes):
        self.__dict__.update(attributes)


class Slots:
    __slots__ = ("lock",)


def test_explanations():
    lock = threading.Lock()
    slots = Slots()
    slots.lock = lock

    def closure():
        return lock

    def default(x=lock):
        return x

    def keyword(*, x=lock):
        return x

    def outer():
        return closure()

    with_global = in_main("import threading\nlock = threading.Lock()\ndef f(): return lock")
    cases = {
        "_thread.lock": lock,
        "item 1 of a list: _thread.lock": [1, lock],
        "item 'a' of a dict, item 0 of a tuple: _thread.lock": {"a": (lock,)},
        "closure variable 'lock' of function": closure,
        "closure variable 'closure' of function": outer,
        "a default of function 'test_explanations.<locals>.default' (x=)": default,
        "a default of function 'test_explanations.<locals>.keyword' (x=)": keyword,
        "global variable 'lock' of function 'f': _thread.lock": with_global,
        "attribute 'gate' of": Holder(a=1, gate=lock),
        "attribute 'lock' of": slots,
        "item 'x' of a dict, attribute 'list' of": {"x": Holder(list=[lock])},
        "generator": (i for i in range(3)),
    }
    for expected, value in cases.items():
        explanation = explain_unpicklable(value)
        assert explanation.startswith(expected), explanation
        assert explanation.endswith(("_thread.lock", "generator"))


def test_errors_name_the_part():
    lock = threading.Lock()

    def f():
        return lock

    with pytest.raises(SerializationError, match="closure variable 'lock' of function") as caught:
        dump_function(f)
    assert isinstance(caught.value, TypeError)
    assert caught.value.__cause__ is not None
    with pytest.raises(SerializationError, match=r"attribute 'lock' of .*Holder: _thread\.lock"):
        dumps(Holder(lock=lock))


class OfTwo(Exception):
    def __init__(self, first, second):
        super().__init__(first)
        self.second = second

    def __str__(self):
        return self.second


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        *((ValueError, ("no",)), (TypeError, ("no",)), (OSError, (2, "no")), (OfTwo, ("a", "no"))),
        *(
            (StopIteration, ("no",)),
            (TaskError, ("no",)),
            (UnicodeDecodeError, ("utf8", b"a", 0, 1, "no")),
        ),
    ],
)
def test_errors_are_also_what_was_raised(kind, arguments):
    class Unsendable:
        def __reduce__(self):
            raise kind(*arguments)

    with pytest.raises(
        SerializationError, match=r"item 0 of a list: .*Unsendable \(.*no.*\)"
    ) as caught:
        dumps([Unsendable()])
    error = caught.value
    assert isinstance(error.__cause__, kind)
    assert isinstance(error, kind) == (kind not in (StopIteration, TaskError))
    back = copy(error)
    assert isinstance(back, SerializationError)
    assert isinstance(back, kind) == isinstance(error, kind)
    assert isinstance(back.__cause__, kind)
    assert str(back) == str(error)


def test_explanations_of_cycles():
    ring = [threading.Lock()]
    ring.insert(0, ring)
    assert explain_unpicklable(ring) == "item 1 of a list: _thread.lock"


# ---- the user's own serializers -----------------------------------------------------------------


def test_registered_serializers():
    class Gate:
        def __init__(self, name):
            self.name, self.lock = name, threading.Lock()

    with pytest.raises(SerializationError):
        dumps(Gate("a"))
    register_serializer(Gate, serializer=lambda gate: gate.name, deserializer=str.upper)
    try:
        assert copy(Gate("a")) == "A"
        assert copy([Gate("b"), {"a": 1}.keys()])[0] == "B"  # with cloudpickle too
        gates = [Gate("c")] * 2
        assert copy(gates) == ["C", "C"]
    finally:
        deregister_serializer(Gate)
    with pytest.raises(SerializationError):
        dumps(Gate("a"))
    deregister_serializer(Gate)


def test_register_serializer_checks_its_arguments():
    with pytest.raises(TypeError):
        register_serializer("Gate", serializer=str, deserializer=str)
    with pytest.raises(TypeError):
        register_serializer(int, serializer=None, deserializer=str)


def test_every_name_of_the_module_is_documented():
    for name in serialize.__all__:
        assert getattr(serialize, name).__doc__
