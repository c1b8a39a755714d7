"""What get() raises when a task did."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import gc
import pickle
import sys
import traceback
import warnings

import haz
import pytest
from haz import exceptions
from haz.testing import wait_until


class TwoArguments(Exception):
    def __init__(self, code, text):
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text

    @property
    def both(self):
        return (self.code, self.text)

    def method(self):
        return self.text * 2


class KeywordOnly(Exception):
    def __init__(self, *, reason):
        super().__init__()
        self.reason = reason

    def __str__(self):
        return f"because {self.reason}"


class Slotted(Exception):
    __slots__ = ("place",)

    def __init__(self, place):
        self.place = place


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    code: int


class OwnNew(Exception):
    def __new__(cls, a, b):
        self = super().__new__(cls, a)
        self.b = b
        return self

    def __init__(self, a, b):
        super().__init__(a)


class OwnReduce(Exception):
    def __init__(self, a, b):
        super().__init__(a)
        self.b = b

    def __reduce__(self):
        return OwnReduce, (self.args[0], self.b)


class BrokenStr(Exception):
    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


class UnpicklesBadly(Exception):
    def __reduce__(self):
        return _explode, ("boom in loads",)


def _explode(text):
    raise RuntimeError(text)


class Base(BaseException):
    pass


class Meta(type):
    pass


class WithMeta(Exception, metaclass=Meta):
    pass


class NoSubclasses(Exception):
    def __init_subclass__(cls):
        raise TypeError("final")


@haz.remote
def fail(error):
    raise error


KINDS = {
    kind.__name__: kind
    for kind in (
        TwoArguments,
        KeywordOnly,
        Slotted,
        Frozen,
        OwnNew,
        OwnReduce,
        BrokenStr,
        UnpicklesBadly,
        Base,
        WithMeta,
        NoSubclasses,
        ValueError,
        OSError,
    )
}


@haz.remote
def fail_by_name(name, *args, **kwargs):
    raise KINDS[name](*args, **kwargs)


@haz.remote
def echo(x):
    return x


def caught(ref, kind=BaseException):
    with pytest.raises(kind) as info:
        haz.get(ref)
    return info.value


def test_is_the_users_type_and_a_task_error(engine):
    @haz.remote
    def divide(a, b):
        return a / b

    error = caught(divide.remote(1, 0))
    assert isinstance(error, ZeroDivisionError)
    assert isinstance(error, exceptions.TaskError)
    assert isinstance(error, exceptions.RayTaskError)
    assert isinstance(error, exceptions.RayError)
    assert isinstance(error.cause, ZeroDivisionError)
    assert not isinstance(error.cause, exceptions.TaskError)
    assert error.__cause__ is error.cause
    assert error.args == ("division by zero",)
    assert error.task_name.endswith("divide")
    assert error.pid > 0


def test_text_shows_the_remote_traceback(engine):
    def inner(x):
        raise ValueError(f"bad value {x}")

    @haz.remote
    def outer(x):
        return inner(x)

    error = caught(outer.remote(7))
    text = str(error)
    assert "outer" in text.splitlines()[0]
    assert f"pid {error.pid}" in text
    assert "ValueError: bad value 7" in text
    assert "Traceback (most recent call last)" in text
    assert "in inner" in text
    assert __file__ in text
    # haz's own frames are left out.
    assert "/haz/_core/" not in text
    assert "/haz/engines/" not in text
    assert error.traceback_str.splitlines()[-1] == "ValueError: bad value 7"
    shown = "".join(traceback.format_exception(error))
    assert "haz.exceptions.TaskError(ValueError)" in shown
    assert "in inner" in shown
    assert repr(error) == "TaskError(ValueError('bad value 7'))"


def test_name_of_the_task_is_in_the_text(engine):
    assert "special" in str(caught(fail.options(name="special").remote(ValueError("x"))))


def test_class_is_made_once(engine):
    first = caught(fail.remote(ValueError(1)))
    assert type(caught(fail.remote(ValueError(2)))) is type(first)
    assert type(caught(fail.remote(KeyError(2)))) is not type(first)


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "attributes"),
    [
        ("TwoArguments", (3, "t"), {}, {"code": 3, "text": "t", "both": (3, "t")}),
        ("KeywordOnly", (), {"reason": "r"}, {"reason": "r"}),
        ("Slotted", ("here",), {}, {"place": "here"}),
        ("Frozen", (4,), {}, {"code": 4}),
        ("OwnNew", (1, 2), {}, {"b": 2}),
        ("OwnReduce", (1, 2), {}, {"b": 2}),
        ("WithMeta", (), {}, {}),
    ],
)
def test_classes_of_all_kinds(engine, name, args, kwargs, attributes):
    error = caught(fail_by_name.remote(name, *args, **kwargs))
    kind = KINDS[name]
    assert isinstance(error, kind)
    assert isinstance(error, exceptions.TaskError)
    assert type(error.cause) is kind
    for attribute, value in attributes.items():
        assert getattr(error, attribute) == value
        assert getattr(error.cause, attribute) == value
    assert not hasattr(error, "what_is_not_there")


def test_methods_of_the_users_class(engine):
    assert caught(fail_by_name.remote("TwoArguments", 1, "ab")).method() == "abab"


def test_class_of_a_task_is_local(engine):
    @haz.remote
    def f():
        class Local(ValueError):
            def __init__(self, a, b):
                super().__init__(a)
                self.b = b

        raise Local(1, 2)

    error = caught(f.remote())
    assert isinstance(error, ValueError)
    assert type(error.cause).__name__ == "Local"
    assert error.b == 2


def test_local_class_is_the_same_class_in_get(engine):
    class Local(Exception):
        pass

    @haz.remote
    def f():
        raise Local("x")

    assert isinstance(caught(f.remote()), Local)


def test_os_error_keeps_its_fields(engine):
    @haz.remote
    def f():
        open("/nowhere/at/all")

    error = caught(f.remote())
    assert isinstance(error, FileNotFoundError)
    assert error.errno == 2
    assert error.filename == "/nowhere/at/all"
    assert error.cause.strerror == error.strerror == "No such file or directory"


def test_unicode_error_keeps_its_fields(engine):
    error = caught(haz.remote(lambda: b"\xff".decode("utf-8")).remote())
    assert isinstance(error, UnicodeDecodeError)
    assert (error.encoding, error.object, error.start) == ("utf-8", b"\xff", 0)


def test_import_and_attribute_errors_keep_their_fields(engine):
    error = caught(haz.remote(lambda: __import__("no_such_module")).remote())
    assert isinstance(error, ModuleNotFoundError)
    assert error.name == "no_such_module"
    assert caught(haz.remote(lambda: (1).nothing).remote(), AttributeError).name == "nothing"


def test_key_error_is_not_quoted_twice(engine):
    assert "KeyError: 'k'" in str(caught(fail.remote(KeyError("k"))))


def test_what_cannot_be_pickled_in_an_exception_is_left_out(engine):
    @haz.remote
    def f():
        import threading

        error = ValueError("text", threading.Lock())
        error.lock = threading.Lock()
        error.number = 5
        raise error

    error = caught(f.remote())
    assert isinstance(error, ValueError)
    assert error.args[0] == "text"
    assert "lock" in error.args[1]
    assert error.number == 5
    assert not hasattr(error, "lock")


def test_exception_whose_unpickling_fails_keeps_its_text(engine):
    error = caught(fail_by_name.remote("UnpicklesBadly", "the text"))
    assert type(error) is exceptions.TaskError
    assert error.cause is None
    assert "UnpicklesBadly: the text" in str(error)
    assert "boom in loads" in str(error)
    assert haz.get(echo.remote(1)) == 1


class UnpicklesNowhere:
    def __reduce__(self):
        return int, ("no number",)


@haz.remote
def make_unpicklable():
    return UnpicklesNowhere()


@haz.remote
def take(value, key=None):
    return value


def test_value_that_cannot_be_unpickled_is_named(engine):
    made, put = make_unpicklable.remote(), haz.put(UnpicklesNowhere())
    for ref, task_name in ((made, "make_unpicklable"), (put, "")):
        with pytest.raises(ValueError, match="no number") as caught:
            haz.get(ref)
        error = caught.value
        assert isinstance(error, exceptions.DeserializationError)
        assert isinstance(error, exceptions.RaySystemError)  # what Ray raises
        assert type(error.__cause__) is ValueError
        assert (error.object_id, error.task_name) == (ref.hex(), task_name)
        assert repr(ref) in str(error)
        assert task_name in str(error)
        assert "importable" in str(error)
        if sys.version_info >= (3, 11):
            told = "".join(traceback.format_exception(error))
            assert "while haz unpickled an object" in told
        with pytest.raises(ValueError, match="no number"):
            haz.get([haz.put(1), ref])
    assert haz.get(echo.remote(1)) == 1


def test_argument_that_cannot_be_unpickled_is_named(engine):
    made = make_unpicklable.remote()
    for ref, *told in (
        (take.remote(UnpicklesNowhere()), "argument 1 of take can't"),
        (take.remote(1, key=UnpicklesNowhere()), "argument 'key' of take can't"),
        (take.remote(made), "argument 1 of take", repr(made), "make_unpicklable"),
    ):
        error = caught(ref)
        assert isinstance(error, exceptions.TaskError)
        assert isinstance(error, exceptions.DeserializationError)
        assert isinstance(error, ValueError)
        assert error.task_name == "take"
        assert all(part in str(error) for part in told)
        again = pickle.loads(pickle.dumps(error))
        assert isinstance(again, ValueError)
        assert isinstance(again, exceptions.DeserializationError)
        assert str(again) == str(error)
    assert haz.get(echo.remote(1)) == 1


class UnpicklesWithCause:
    def __reduce__(self):
        return exec, ("raise SystemError('deep') from KeyError('deeper')",)


def test_causes_of_failed_unpickling_are_kept(engine):
    error = caught(haz.put(UnpicklesWithCause()))
    assert isinstance(error, SystemError)
    assert type(error.__cause__.__cause__) is KeyError


def test_exception_without_text(engine):
    error = caught(fail_by_name.remote("BrokenStr"))
    assert isinstance(error, BrokenStr)
    assert "BrokenStr" in str(error)
    assert "BrokenStr" in repr(error)


def test_class_that_cannot_be_derived_from(engine):
    error = caught(fail_by_name.remote("NoSubclasses", "final"))
    assert type(error) is exceptions.TaskError
    assert isinstance(error.cause, NoSubclasses)
    assert "final" in str(error)


def test_cause_and_context_are_kept(engine):
    @haz.remote
    def explicit():
        try:
            {}["missing"]
        except KeyError as error:
            raise ValueError("wrapped") from error

    error = caught(explicit.remote())
    assert isinstance(error.cause.__cause__, KeyError)
    assert "direct cause" in str(error)

    @haz.remote
    def implicit():
        try:
            {}["missing"]
        except KeyError:
            raise ValueError("during")

    error = caught(implicit.remote())
    assert isinstance(error.cause.__context__, KeyError)
    assert "During handling" in str(error)

    @haz.remote
    def hidden():
        try:
            {}["missing"]
        except KeyError:
            raise ValueError("alone") from None

    assert "missing" not in str(caught(hidden.remote())).replace("{}[", "")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="notes are new in Python 3.11")
def test_notes_are_kept(engine):
    @haz.remote
    def f():
        error = ValueError("x")
        error.add_note("look here")
        raise error

    error = caught(f.remote())
    assert error.cause.__notes__ == ["look here"]
    assert "look here" in str(error)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="groups are new in Python 3.11")
def test_groups(engine):
    @haz.remote
    def f():
        raise ExceptionGroup("many", [ValueError(1), TwoArguments(2, "t")])  # noqa: F821

    error = caught(f.remote())
    assert isinstance(error, ExceptionGroup)  # noqa: F821
    assert isinstance(error, exceptions.TaskError)
    assert error.message == "many"
    assert [type(e) for e in error.exceptions] == [ValueError, TwoArguments]
    assert error.exceptions[1].code == 2
    matched, rest = error.split(ValueError)
    assert len(matched.exceptions) == len(rest.exceptions) == 1
    assert "TwoArguments" in str(error)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="groups are new in Python 3.11")
def test_group_of_base_exceptions(engine):
    @haz.remote
    def f():
        raise BaseExceptionGroup("many", [KeyboardInterrupt(), ValueError(1)])  # noqa: F821

    error = caught(f.remote())
    assert isinstance(error, exceptions.TaskError)
    assert isinstance(error.cause, BaseExceptionGroup)  # noqa: F821


def test_base_exception(engine):
    error = caught(fail_by_name.remote("Base", "b"))
    assert isinstance(error, Base)
    assert isinstance(error, exceptions.TaskError)
    assert haz.get(echo.remote(1)) == 1


@pytest.mark.parametrize("error", [SystemExit(3), GeneratorExit("g"), asyncio.CancelledError("c")])
def test_what_would_end_the_caller_does_not(engine, error):
    got = caught(fail.remote(error))
    assert type(got) is exceptions.TaskError
    assert type(got.cause) is type(error)
    assert got.cause.args == error.args
    assert haz.get(echo.remote(1)) == 1


def test_keyboard_interrupt_of_a_task_is_a_cancellation(engine):
    got = caught(fail.remote(KeyboardInterrupt("by itself")))
    assert isinstance(got, exceptions.TaskError)
    assert isinstance(got, exceptions.TaskCancelledError)
    assert not isinstance(got, KeyboardInterrupt)
    assert haz.get(echo.remote(1)) == 1


def test_stop_iteration(engine):
    got = caught(fail.remote(StopIteration(5)))
    assert isinstance(got, StopIteration)
    assert got.value == 5


def test_recursion_error(engine):
    @haz.remote
    def endless(n):
        return endless.__wrapped__(n + 1) + 1

    error = caught(endless.remote(0))
    assert isinstance(error, RecursionError)
    assert len(str(error)) < 200_000


def test_huge_message(engine):
    error = caught(fail.remote(ValueError("x" * 1_000_000)))
    assert len(error.args[0]) == 1_000_000
    assert len(str(error)) < 1_200_000


def test_exception_as_a_result_is_a_value(engine):
    value = haz.get(echo.remote(ValueError("just a value")))
    assert type(value) is ValueError


# ---- through other tasks ---------------------------------------------------------------------


def test_through_dependent_tasks(engine, tally):
    @haz.remote
    def first():
        raise TwoArguments(1, "root")

    @haz.remote
    def second(x, tally):
        tally.add()

    ref = second.options(name="third").remote(second.remote(first.remote(), tally), tally)
    error = caught(ref)
    assert isinstance(error, TwoArguments)
    assert error.code == 1
    assert error.task_name.endswith("first")
    assert [name.rpartition(".")[2] for name in error.through] == ["second", "third"]
    text = str(error)
    assert "third" in text
    assert "root" in text
    assert tally.count() == 0


def test_through_a_keyword_argument(engine):
    @haz.remote
    def f(*, x):
        return x

    assert isinstance(caught(f.remote(x=fail.remote(ValueError("v")))), ValueError)


def test_ref_in_a_container_does_not_fail_the_task(engine):
    @haz.remote
    def f(refs):
        try:
            haz.get(refs[0])
        except ValueError as error:
            return str(error)

    assert "inner" in haz.get(f.remote([fail.remote(ValueError("inner"))]))


def test_through_get_in_a_task(engine):
    @haz.remote
    def outer():
        return haz.get(fail_by_name.options(name="inner task").remote("TwoArguments", 9, "deep"))

    error = caught(outer.remote())
    assert isinstance(error, TwoArguments)
    assert type(error.cause) is TwoArguments
    assert error.code == 9
    assert error.task_name.endswith("outer")
    text = str(error)
    assert "inner task" in text
    assert "in outer" in text
    assert "in fail_by_name" in text
    assert "/haz/" not in text.replace("haz.", "")


def test_errors_of_haz_pass_through_get_in_a_task(engine):
    @haz.remote
    def outer():
        raise exceptions.GetTimeoutError("too late")

    error = caught(outer.remote())
    assert isinstance(error, exceptions.GetTimeoutError)
    assert isinstance(error, exceptions.TaskError)
    assert isinstance(error, TimeoutError)


# ---- the error object ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call", [("ValueError", "v"), ("TwoArguments", 1, "t"), ("OSError", 2, "no")]
)
def test_error_can_be_pickled_and_copied(engine, call):
    got = caught(fail_by_name.remote(*call))
    for again in (pickle.loads(pickle.dumps(got)), copy.copy(got), copy.deepcopy(got)):
        assert type(again) is type(got)
        assert str(again) == str(got)
        assert again.args == got.args
        assert type(again.cause) is type(got.cause)
        assert again.task_name == got.task_name


def test_error_can_be_put_and_raised_again(engine):
    got = caught(fail_by_name.remote("TwoArguments", 1, "t"))
    stored = haz.get(haz.put(got))
    assert isinstance(stored, TwoArguments)
    again = caught(fail.remote(stored))
    assert isinstance(again, TwoArguments)
    assert again.code == 1


def test_each_get_raises_an_error_of_its_own(engine):
    ref = fail.remote(ValueError("v"))
    first, second = caught(ref), caught(ref)
    assert first is not second
    assert first.cause is not second.cause


# ---- refs in exceptions ----------------------------------------------------------------------


def number_of_objects():
    gc.collect()
    return haz._core.runtime.runtime.ensure().snapshot()["objects"]


@haz.remote
def raise_with_ref(ref, how):
    if how == "argument":
        raise ValueError("see", ref[0])
    if how == "attribute":
        error = ValueError("see")
        error.where = {"ref": ref[0]}
        raise error
    if how == "cause":
        raise ValueError("see") from KeyError(ref[0])
    if how == "own":
        raise ValueError("see", haz.put([1, 2, 3]))
    return haz.get(raise_with_ref.remote(ref, "argument"))


def ref_in(error, how):
    if how == "attribute":
        return error.where["ref"]
    return error.cause.__cause__.args[0] if how == "cause" else error.args[1]


@pytest.mark.parametrize("how", ["argument", "attribute", "cause", "own", "passed on"])
@pytest.mark.parametrize("times", [1, 3])
def test_ref_in_an_exception_counts_while_the_error_exists(engine, how, times):
    before = number_of_objects()
    ref = haz.put([1, 2, 3])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        failed = raise_with_ref.remote([ref], how)
        for _ in range(times - 1):  # through dependent tasks
            failed = echo.remote(failed)
        error = caught(failed)
    del ref
    gc.collect()
    assert haz.get(ref_in(error, how)) == [1, 2, 3]
    again = caught(failed)
    del error, failed
    assert haz.get(ref_in(again, how)) == [1, 2, 3]
    del again
    wait_until(lambda: number_of_objects() == before)


def test_error_for_which_there_is_no_room(engine_name):
    haz.init(engine=engine_name, num_cpus=1, object_store_memory=80_000_000)
    error = caught(fail_with_size.remote(90_000_000))
    text = str(error)
    assert len(text) < 200_000
    assert "the beginning" in text
    assert "in fail_with_size" in text
    assert "ValueError" in text
    if engine_name == "native":
        assert "no room" in text
        assert error.cause is None


@haz.remote
def fail_with_size(size):
    raise ValueError("the beginning" + "x" * size)
