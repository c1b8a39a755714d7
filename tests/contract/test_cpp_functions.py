"""Functions and classes of C++ libraries, called from Python."""

from __future__ import annotations

import inspect
import os
import pickle
import re
import subprocess
import sys
import time
from pathlib import Path

import haz
import numpy as np
import pytest
from haz._core.cpp_library import _libhaz_path
from haz.cpp._compiler import find_compiler

from tests.once import made_once

SOURCE = Path(__file__).parent / "cpp" / "functions.cpp"

pytestmark = pytest.mark.timeout(300)  # a busy machine compiles slowly


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    name = "libfunctions.so"
    libhaz = _libhaz_path()

    def compile_it(folder):
        subprocess.run(
            [
                *(*find_compiler(None).words, "-std=c++20", "-O0", "-fPIC", "-shared", "-fopenmp"),
                *(f"-I{haz.get_include()}", str(SOURCE), "-o", str(folder / name)),
                *(f"-L{os.path.dirname(libhaz)}", "-lhaz"),
            ],
            check=True,
        )

    return str(made_once(tmp_path_factory, "cpp-functions", compile_it) / name)


@pytest.fixture
def function(engine, library):
    return lambda name: haz.cpp_function(library, name)


@pytest.fixture
def counter_class(engine, library):
    return haz.cpp_class(library, "Counter")


def _engine():
    from haz._core.runtime import runtime

    return runtime.engine.name


# ---- values --------------------------------------------------------------------------------------


def test_numbers(function):
    assert haz.get(function("add").remote(3, 4)) == 7
    assert haz.get(function("nothing").remote()) is None
    assert haz.get(function("weighted").remote(np.ones(3), 2)) == 6.0  # an int where a double is


def test_arrays_of_all_sizes(function):
    weighted = function("weighted")
    for size in (0, 1, 127, 128, 129, 100_000):
        x = np.arange(float(size))
        assert haz.get(weighted.remote(x, 0.5)) == x.sum() * 0.5
        assert haz.get(weighted.remote(haz.put(x), 0.5)) == x.sum() * 0.5


def test_arrays_with_gaps_and_in_fortran_order(function):
    x = np.arange(1000.0)
    assert haz.get(function("weighted").remote(x[::-3], 1.0)) == x[::-3].sum()
    m = np.arange(600, dtype=np.float32).reshape(20, 30)
    for given in (m, m.T, m[::2, 1:], np.asfortranarray(m), m[:1], m[:0]):
        result = haz.get(function("scaled").remote(given, 2.0))
        assert result.dtype == np.float32
        assert (result == 2 * given).all()
        assert result.shape == given.shape


def test_array_in_the_store_is_not_copied(function):
    if _engine() == "inline":
        pytest.skip("the inline engine copies")
    x = haz.put(np.ones(100_000))
    place, pid = function("place"), function("pid")
    by_process = {}
    for _ in range(20):
        where, who = haz.get([place.remote(x), pid.remote()])
        by_process.setdefault(who, set()).add(where)
    copy = haz.get(place.remote(haz.put(np.ones(100_000))))
    assert len(set().union(*by_process.values())) <= len(by_process)
    assert copy not in set().union(*by_process.values())


def test_all_kinds_of_values(function):
    values = ("ä\0b", ["x", ""], {"a": 1.0}, None, True, (1, 2.5), np.arange(3.0), -(2**63))
    text, items, mapping, maybe, flag, pair, numbers, large = haz.get(
        function("echo").remote(*values)
    )
    assert (text, items, mapping, maybe, flag, pair, large) == (*values[:6], values[7])
    assert numbers.tolist() == [0, 1, 2]
    again = haz.get(function("echo").remote("", (), {}, 5, False, [3, 4], [1, 2.5], np.int64(9)))
    assert again[:6] == ("", [], {}, 5, False, (3, 4.0))
    assert again[6].tolist() == [1, 2.5]
    assert again[7] == 9


def test_own_types_are_tuples(function):
    assert haz.get(function("geometry::flipped").remote((1, 2.5))) == (2.5, 1.0)


def test_refs_as_arguments_and_results(function):
    add = function("add")
    assert haz.get(add.remote(add.remote(1, 2), haz.put(3))) == 6
    if _engine() == "inline":
        return  # C++ has no engine there to use
    ref = haz.get(function("stored").remote(17))
    assert haz.get(ref) == 17
    assert haz.get(function("sum_of").remote([ref, haz.put(3)])) == 20


@pytest.mark.parametrize("text", ["", "long" * 2000])
def test_cpp_maps_over_items_in_workers_of_python(function, text):
    if _engine() == "inline":
        return  # C++ has no engine there to use
    for chunksize in (0, 1, 7):
        told = haz.get(function("mapped").remote(30, chunksize, text))
        assert told == [f"{text}{i}" if i % 5 == 3 else f"{i}{text}" for i in range(30)]


def test_cpp_passes_what_it_was_given_to_python(function):
    @haz.remote
    def doubled(x):
        return 2 * x

    assert haz.get(doubled.remote(function("add").remote(1, 2))) == 6


# ---- what does not fit ---------------------------------------------------------------------------

SIGNATURE = r"add\(int, int\) -> int was called with "


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (("a", 1), TypeError, SIGNATURE + r"\(str, int\): argument 1 must be int, not str"),
        ((1, 1.5), TypeError, SIGNATURE + r"\(int, float\): argument 2 must be int, not float"),
        ((True, 1), TypeError, r"\(bool, int\): argument 1 must be int, not bool"),
        ((None, 1), TypeError, r"argument 1 must be int, not NoneType"),
        (({1}, 1), TypeError, r"argument 1 must be int, not set"),
        ((object(), 1), TypeError, r"argument 1 must be int, not object"),
        ((2**31, 1), OverflowError, r"argument 1 does not fit into int"),
        ((-(2**31) - 1, 1), OverflowError, r"argument 1 does not fit into int"),
        ((2**70, 1), OverflowError, r"argument 1 does not fit into int"),
        ((np.ones(3), 1), TypeError, r"\(1-D array of float64, int\): argument 1 must be int"),
        ((1,), TypeError, SIGNATURE + r"\(int\): it takes 2 arguments"),
        ((1, 2, 3), TypeError, SIGNATURE + r"\(int, int, int\): it takes 2 arguments"),
    ],
)
def test_wrong_arguments_are_refused_at_the_call(function, arguments, kind, message):
    with pytest.raises(kind, match=message):
        function("add").remote(*arguments)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (np.ones(3, np.float32), r"1-D array of float32 \(convert it: .astype\(\"float64\"\)\)"),
        (np.ones((2, 2)), "argument 1 must be haz::view<double>, not 2-D array of float64"),
        ([1.0], "not list"),
        (np.array(["a"]), "elements that C\\+\\+ has no word for"),
        (np.array([1.0], dtype=">f8"), "no word for"),
        (3, "not int"),
    ],
)
def test_wrong_arrays_are_refused_at_the_call(function, argument, message):
    with pytest.raises(TypeError, match=message):
        function("weighted").remote(argument, 1.0)


def test_arguments_by_name(function):
    power = function("power")
    ways = (power.remote(2.0, exponent=10), power.remote(exponent=10, base=2))
    assert haz.get(list(ways)) == [1024.0] * 2
    assert haz.get(power.remote(base=haz.put(3.0), exponent=haz.put(2))) == 9.0
    assert str(inspect.signature(power.__wrapped__)) == "(base, exponent)"
    assert power.__wrapped__(exponent=3, base=2.0) == 8.0


NAMED = r"power\(double base, int exponent\) -> double was called with "


@pytest.mark.parametrize(
    ("arguments", "names", "message"),
    [
        ((2.0,), {"exponnent": 1}, r"\(float, exponnent=int\): it has no parameter 'exponnent'"),
        ((2.0, 1), {"base": 1}, r"\(float, int, base=int\): argument 'base' is given twice"),
        ((2.0, 1, 3), {"base": 1}, r"\(.*\): it takes 2 arguments"),
        ((), {"base": 1}, r"\(base=int\): argument 'exponent' is missing"),
        ((2.0,), {"exponent": "x"}, r"\(float, str\): argument 2 'exponent' must be int, not str"),
    ],
)
def test_wrong_arguments_by_name(function, arguments, names, message):
    with pytest.raises(TypeError, match=NAMED + message):
        function("power").remote(*arguments, **names)


def test_parameters_without_names(function):
    with pytest.raises(
        TypeError,
        match=SIGNATURE + r"\(a=int, b=int\): its parameters have no names for Python. Give "
        r"arguments by position, or .*HAZ_REMOTE\(add, name, ...\)",
    ):
        function("add").remote(a=1, b=2)


def test_wrong_value_of_a_ref_is_the_tasks_error(function):
    with pytest.raises(haz.exceptions.TaskError) as caught:
        haz.get(function("weighted").remote(haz.put("text"), 1.0))
    assert isinstance(caught.value, TypeError)
    text = str(caught.value)
    assert re.search(r"weighted\(haz::view<double>, double\) -> double was .* \((a )?str, ", text)
    assert re.search(r"argument 1.* haz::view<double>, not (a )?str", text)


def test_what_is_not_there(engine, library):
    with pytest.raises(
        AttributeError, match=r"no function 'nope' with HAZ_REMOTE: it has nothing, a"
    ):
        haz.cpp_function(library, "nope")
    with pytest.raises(AttributeError, match=r"no class 'nope' with HAZ_ACTOR: it has .*Counter"):
        haz.cpp_class(library, "nope")
    with pytest.raises(OSError, match="cannot open shared object file"):
        haz.cpp_function("/nowhere/libwork.so", "add")
    with pytest.raises(OSError, match="can't load"):
        haz.cpp_function(__file__, "add")
    with pytest.raises(ValueError, match="no path"):
        haz.cpp_function("", "add")
    with pytest.raises(TypeError, match="name is a str"):
        haz.cpp_function(library, 3)


# ---- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "nearest", "type_name", "message"),
    [
        ("invalid", ValueError, "std::invalid_argument", "bad value"),
        ("range", IndexError, "std::out_of_range", "too far"),
        ("runtime", RuntimeError, "std::runtime_error", "sad"),
        ("int", RuntimeError, "int", "no std::exception"),
        ("memory", (MemoryError, IndexError), "std::", ""),
        ("long", RuntimeError, "std::runtime_error", "xxx"),
    ],
)
def test_exceptions_of_cpp(function, how, nearest, type_name, message):
    with pytest.raises(haz.exceptions.TaskError) as caught:
        haz.get(function("fail").remote(how))
    error = caught.value
    assert isinstance(error, nearest)
    assert error.type_name.startswith(type_name)
    assert message in str(error)
    assert message in str(error.__cause__)
    assert error.task_name == "fail"


@pytest.mark.parametrize(("how", "end"), [("abort", "SIGABRT"), ("segv", "SIGSEGV"), ("exit", "3")])
def test_death_of_a_function_is_told_and_other_work_goes_on(function, how, end):
    if _engine() == "inline":
        pytest.skip("it would be this process")
    add = function("add")
    others = [add.remote(i, i) for i in range(20)]
    with pytest.raises(haz.exceptions.WorkerCrashedError, match=end):
        haz.get(function("fail").options(max_retries=0).remote(how))
    assert haz.get(others) == [2 * i for i in range(20)]
    assert haz.get(add.remote(1, 1)) == 2


@pytest.mark.parametrize("how", ["sleep", "heed"])
def test_function_that_never_returns(function, how):
    if _engine() == "inline":
        pytest.skip("nobody could end it")
    began = time.monotonic()
    with pytest.raises(haz.exceptions.TaskTimeoutError):
        haz.get(function("fail").options(timeout_s=0.1, max_retries=0).remote(how))
    assert time.monotonic() - began > 0.1
    assert haz.get(function("add").remote(1, 1)) == 2


@pytest.mark.parametrize(
    ("retried", "how", "tries"),
    [
        (None, "invalid", 1),
        (False, "invalid", 1),
        (True, "invalid", 3),
        (True, "int", 3),
        ([ValueError], "invalid", 3),
        ([ValueError], "range", 1),
        ([LookupError, KeyError], "range", 3),
        ([haz.exceptions.TaskError], "runtime", 3),
    ],
)
def test_retry_exceptions_are_those_that_get_raises(function, tmp_path, retried, how, tries):
    options = {} if retried is None else {"retry_exceptions": retried}
    file = tmp_path / "tries"
    fail = function("fail_again").options(max_retries=2, **options)
    with pytest.raises(haz.exceptions.TaskError):
        haz.get(fail.remote(str(file), how))
    assert len(file.read_text()) == tries


def test_cancel(function):
    if _engine() == "inline":
        pytest.skip("nothing runs there that could be cancelled")
    for how, force in (("heed", False), ("sleep", True)):
        ref = function("fail").remote(how)
        haz.get(function("nothing").remote())
        haz.cancel(ref, force=force)
        with pytest.raises(haz.exceptions.HazError):
            haz.get(ref)


# ---- what C++ does with haz ----------------------------------------------------------------------


def test_tasks_inside_of_tasks(function):
    if _engine() == "inline":
        pytest.skip("C++ has no engine there")
    assert haz.get([function("depth").remote(12) for _ in range(3)]) == [12] * 3


def test_python_called_by_cpp_called_by_python(function):
    if _engine() == "inline":
        pytest.skip("C++ has no engine there")
    assert haz.get(function("hypotenuse").remote(3, 4)) == 5.0


def test_coroutine_in_a_worker_of_python(function):
    if _engine() == "inline":
        pytest.skip("C++ has no engine there")
    assert haz.get(function("awaited").remote(a=7, b=9)) == 4.0


def test_loops_have_the_threads_of_the_task(function):
    if _engine() == "inline" or os.environ.get("OMP_NUM_THREADS"):
        pytest.skip("the program says it")
    num_threads = function("num_threads")
    assert haz.get([num_threads.remote(), num_threads.options(num_cpus=2).remote()]) == [1, 2]
    assert haz.get(num_threads.remote()) == 1


def test_array_in_the_store_with_options(function):
    x = np.arange(10_000.0)
    assert haz.get(function("weighted").options(num_cpus=2).remote(haz.put(x), 1.0)) == x.sum()
    first, second = function("geometry::flipped").options(num_returns=2).remote((1.0, 2.0))
    assert haz.get([first, second]) == [2.0, 1.0]


def test_what_is_printed(engine_name, library):
    if engine_name == "inline":
        pytest.skip("it is the program's own output")
    code = (
        "import haz, sys\n"
        "say = haz.cpp_function(sys.argv[1], 'say')\n"
        "haz.init(num_cpus=1)\n"
        "@haz.remote\n"
        "def python():\n"
        "    print('of python')\n"
        "haz.get([f for _ in range(2) for f in (python.remote(), say.remote('hello'))])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, library],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    lines = [line.split(" ", 2) for line in done.stdout.splitlines()]
    shown = sorted((line[0], line[2]) for line in lines)
    assert shown == sorted(
        [("(python", "of python")] * 2
        + [("(say", "hello by cout"), ("(say", "hello by printf")] * 2
    )


# ---- functions as values -------------------------------------------------------------------------


def test_functions_travel(function):
    add = function("add")

    @haz.remote
    def outer(captured, x):
        return haz.get(captured.remote(x, 1)) + haz.get(add.remote(x, 2))

    assert haz.get(outer.remote(add, 10)) == 23
    plain = pickle.loads(pickle.dumps(add.__wrapped__))
    assert plain(2, 3) == 5
    assert list(haz.map(plain, range(4), range(4))) == [0, 2, 4, 6]


def test_function_looks_like_one(function):
    add = function("add")
    assert add.__name__ == "add"
    assert "add(int, int) -> int" in add.__doc__
    assert len(inspect.signature(add.__wrapped__).parameters) == 2
    with pytest.raises(TypeError, match=r"use add.remote"):
        add(1, 2)


# ---- actors --------------------------------------------------------------------------------------


def test_actor(counter_class):
    counter = counter_class.remote(10)
    assert haz.get([counter.add.remote(1) for _ in range(20)]) == list(range(11, 31))
    with pytest.raises(haz.exceptions.TaskError) as caught:
        haz.get(counter.fail.remote())
    assert caught.value.type_name == "std::logic_error"
    assert haz.get(counter.add.remote(0)) == 30
    assert haz.get(counter.zeros.remote(5000)).shape == (5000,)


def test_actor_keeps_a_view(counter_class):
    counter = counter_class.remote(0)
    x = np.arange(100_000.0)
    assert haz.get(counter.keep.remote(x)) == 0.0
    del x
    haz.get([haz.put(np.ones(100_000)) for _ in range(4)])
    assert haz.get(counter.kept.remote()) == 99_999.0


def test_wrong_calls_of_an_actor(counter_class):
    counter = counter_class.remote(1)
    was = r"Counter::add\(int amount\) -> int was called with "
    with pytest.raises(TypeError, match=was + r"\(\): it takes 1 arguments"):
        counter.add.remote()
    with pytest.raises(AttributeError, match="nope"):
        counter.nope
    with pytest.raises(TypeError, match=was + r"\(str\): argument 1 'amount' must be int"):
        counter.add.remote("x")
    with pytest.raises(OverflowError, match="'amount' does not fit into int"):
        counter.add.options(timeout_s=60).remote(2**31)
    with pytest.raises(TypeError, match=was + r"\(by=int\): it has no parameter 'by'"):
        counter.add.remote(by=1)
    with pytest.raises(TypeError, match=r"HAZ_PARAMETERS\(Counter::zeros, name, ...\)"):
        counter.zeros.remote(size=1)
    with pytest.raises(TypeError, match=r"keep\(haz::view<double>\).* not 1-D array of float32"):
        counter.keep.remote(np.ones(3, np.float32))
    with pytest.raises(TypeError, match=r"Counter\(int start\) was called with \(str\)"):
        counter_class.remote("many")
    with pytest.raises(haz.exceptions.TaskError, match=r"Counter::add\(int amount\)"):
        haz.get(counter.add.remote(haz.put("x")))
    assert haz.get(counter.add.remote(amount=1)) == 2


def test_arguments_of_actors(counter_class):
    counter = counter_class.remote(start=3)
    assert haz.get(counter.add.remote(amount=haz.put(2))) == 5
    assert haz.get(counter.keep.remote(np.arange(10.0)[::-2])) == 9.0  # a copy without gaps
    assert haz.get(counter.kept.remote()) == 1.0
    assert counter.add.options(num_returns=0).remote(1) is None
    assert haz.get(counter.__haz_ready__.remote())
    assert haz.get(counter.add.options(name="other").remote(1)) == 7
    plain = counter_class.__wrapped__(start=1)
    assert plain.add(amount=2) == 3


def test_class_derived_from_one_of_cpp(counter_class):
    class Twice(counter_class.__wrapped__):
        def add_twice(self, amount):
            self.add(amount)
            return self.add(amount=amount)

    actor = haz.remote(Twice).remote(1)
    assert haz.get([actor.add_twice.remote(5), actor.add.remote(1)]) == [11, 12]


def test_retries_of_methods(counter_class):
    counter = counter_class.options(max_task_retries=2).remote(0)
    fail = counter.fail.options(retry_exceptions=[RuntimeError])
    with pytest.raises(haz.exceptions.TaskError, match="std::logic_error"):
        haz.get(fail.remote())


def test_constructor_that_throws(counter_class):
    failed = counter_class.remote(-1)
    with pytest.raises(haz.exceptions.ActorDiedError, match=r"std::invalid_argument: negative"):
        haz.get(failed.add.remote(1))


def test_named_and_restarted_actor(counter_class):
    if _engine() == "inline":
        pytest.skip("there it would die with this process")
    counter = counter_class.options(name="cpp-counter", max_restarts=1).remote(5)
    assert haz.get(counter.add.remote(1)) == 6
    with pytest.raises(haz.exceptions.HazError):
        haz.get(counter.die.remote())
    again = haz.get_actor("cpp-counter")
    assert haz.get(again.add.remote(1)) == 6
    with pytest.raises(haz.exceptions.HazError):
        haz.get(counter.die.remote())
    with pytest.raises(haz.exceptions.ActorDiedError, match="SIGABRT"):
        haz.get(again.add.remote(1))


def test_named_actors_of_either_language(counter_class, function):
    if _engine() == "inline":
        pytest.skip("C++ has no engine there")
    of_python = counter_class.options(name="made-by-python").remote(10)
    assert haz.get(function("add_by_name").remote("made-by-python", 5)) == 15
    assert haz.get(of_python.add.remote(1)) == 16
    kept = function("named_counter").remote("made-by-cpp")
    haz.wait([kept])
    of_cpp = haz.get_actor("made-by-cpp")
    assert haz.get(of_cpp.add.remote(amount=1)) == 101
    assert haz.get(function("add_by_name").remote("made-by-cpp", 1)) == 102
    with pytest.raises(TypeError, match=r"Counter::add\(int amount\) -> int was called with"):
        of_cpp.add.remote("x")
    with pytest.raises(haz.exceptions.TaskError, match="there is no actor"):
        haz.get(function("add_by_name").remote("nobody", 1))


def test_cpp_calls_an_actor_of_a_python_class(engine, function):
    if _engine() == "inline":
        pytest.skip("C++ has no engine there")

    @haz.remote
    class Hits:
        count = 1

        def add(self, n):
            self.count += n
            return self.count

        def join(self, *words):
            return "-".join(map(str, words))

    hits = Hits.options(name="hits").remote()
    assert haz.get(function("use_python_actor").remote("hits")) == "6 a-6"
    assert haz.get(hits.add.remote(0)) == 6
    with pytest.raises(haz.exceptions.TaskError, match="a class of Python: haz::get_py_actor"):
        haz.get(function("add_by_name").remote("hits", 1))


HOW_TO_FIND_AN_ACTOR = (
    r"A handle can't leave Python: give the actor a name.*haz::get_py_actor\(name\)"
)


@pytest.mark.parametrize("call", ["direct", "options", "here"])
def test_handles_do_not_leave_python(engine, function, counter_class, call):
    """Refused where they are an argument, and in any container, at the call."""

    @haz.remote
    class Hits:
        def add(self, n):
            return n

    def called(name, *args):
        remote = function(name)
        if call == "here":
            return remote.__wrapped__(*args)
        return (remote if call == "direct" else remote.options(name="named")).remote(*args)

    hits = Hits.remote()
    with pytest.raises(
        TypeError, match="1 must be std::string, not ActorHandle. " + HOW_TO_FIND_AN_ACTOR
    ):
        called("fail", hits)
    with pytest.raises(
        TypeError, match="1 is ActorHandle, .* no word for. " + HOW_TO_FIND_AN_ACTOR
    ):
        called("take_handle", hits)
    for held in ([hits], (hits,), [[1], {"x": (2, hits)}]):
        with pytest.raises(
            TypeError,
            match=r"count_handles\(std::vector<haz::py_actor>\).* was called with \(.*\): "
            "argument 1 holds ActorHandle, .*" + HOW_TO_FIND_AN_ACTOR,
        ):
            called("count_handles", held)
    with pytest.raises(TypeError, match="argument 2 'more' holds ActorHandle"):
        called("count_words", [], {"a": "b", "c": hits})
    with pytest.raises(TypeError, match="argument 2 'more' holds ActorHandle"):
        called("count_words", [], {hits: "b"})
    of_cpp = counter_class.remote(0)
    with pytest.raises(
        TypeError, match=r"haz::get_actor<Class>\(name\) where its class is one of C"
    ):
        called("count_handles", [of_cpp])
    with pytest.raises(TypeError, match=r"add_all.* holds ActorHandle"):
        of_cpp.add_all.remote([1, of_cpp])
    with pytest.raises(TypeError, match=r"add_all.* holds ActorHandle"):
        of_cpp.add_all.options(name="named").remote([1, of_cpp])
    assert haz.get(of_cpp.add_all.remote([1, 2])) == 3


def test_values_that_cpp_can_not_read_are_refused_at_the_call(function):
    class Text(str):
        pass

    count = function("count_words")
    deep = "x"
    for _ in range(200):
        deep = [deep]
    itself: list = []
    itself.append((itself,))
    for held, why in [
        (Text("x"), "holds Text, which C.. has no word for"),
        ("\ud800", "holds a str with surrogates"),
        (np.arange(9.0)[::2], "holds an array with gaps, .*ascontiguousarray"),
        (np.array([None]), "holds an array with gaps, or with elements that C.. has no word for"),
        (2**70, None),
        (deep, "holds a list that is nested too deeply"),
        ({1}, "holds set, which"),
    ]:
        if why is None:  # C++ says so itself
            with pytest.raises(haz.exceptions.TaskError, match="count_words"):
                haz.get(count.remote([[held]], {}))
            continue
        with pytest.raises(TypeError, match=f"argument 1 'lists' {why}"):
            count.remote([["a", held]], {})
        with pytest.raises(TypeError, match=f"argument 1 'lists' {why}"):
            count.remote(more={}, lists=[["a"], [held, 1]])
    with pytest.raises(
        haz.exceptions.TaskError, match=r"a list of 1, a dict\): argument 1: expected"
    ):
        haz.get(count.remote(itself, {}))
    assert haz.get(count.remote([["a", "b"], ("c",)], {"d": "e"})) == 4


def test_functions_of_the_same_name(function, library):
    assert haz.get(function("same_name").remote()) == 1
    assert haz.get(function("same_name#2").remote()) == 2
    actors = [haz.cpp_class(library, name).remote(5) for name in ("Same", "Same#2")]
    assert haz.get([actor.get.remote() for actor in actors]) == [5, 15]
    if _engine() != "inline":
        assert haz.get(function("both_of_a_name").remote()) == 21


def test_values_that_hold_their_own_kind(function):
    total = function("total")
    leaf = (1, [])
    pair = (0, [leaf, leaf])
    assert haz.get(total.remote((5, [pair, pair, (3, [])]))) == 12
    with pytest.raises(
        TypeError, match=r"total\(\(int, std::vector<...>\)\) -> int was called with"
    ):
        total.remote("x")
    with pytest.raises(
        haz.exceptions.TaskError, match=r"given \(a tuple of 2\): argument 1: expected int"
    ):
        haz.get(total.remote((1, [("x", [])])))
    with pytest.raises(haz.exceptions.TaskError) as caught:  # without the interpreter's own frames
        haz.get(function("fail").remote("runtime"))
    assert "Py" not in str(caught.value)
    children: list = []
    children.append((1, children))
    with pytest.raises(haz.exceptions.TaskError, match="a value contains itself"):
        haz.get(total.remote((1, children)))
    assert haz.get(function("path").remote(50))[1][0][0] == 0
    with pytest.raises(haz.exceptions.HazError, match="nested deeper than 128 levels"):
        haz.get(function("path").remote(100))


def test_wrong_value_that_shares_much_is_described_at_once(function):
    value: object = "x"
    for _ in range(60):  # 2**60 of them, where each is read anew
        value = [value, value]
    with pytest.raises(haz.exceptions.TaskError, match=r"\(a list of 2, a dict\)"):
        haz.get(function("count_words").remote(value, {}))


def test_handle_in_a_task(counter_class):
    counter = counter_class.remote(0)

    @haz.remote
    def use(handle):
        return haz.get([handle.add.remote(1) for _ in range(5)])[-1]

    assert haz.get(use.remote(counter)) == 5
    assert haz.get(counter.add.remote(0)) == 5


def test_actor_with_threads(counter_class):
    if _engine() == "inline":
        pytest.skip("one thread only")
    counter = counter_class.options(max_concurrency=4).remote(3)
    haz.get(counter.add.remote(0))
    began = time.monotonic()
    assert haz.get([counter.slow.remote() for _ in range(4)]) == [3] * 4
    assert time.monotonic() - began >= 0.1
