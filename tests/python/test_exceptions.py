"""haz.exceptions and the packing of errors, without an engine."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref

import pytest
from haz import exceptions
from haz._core import errors

RAYS_NAMES = [
    "ActorDiedError",
    "ActorUnavailableError",
    "ActorUnschedulableError",
    "GetTimeoutError",
    "LocalRayletDiedError",
    "NodeDiedError",
    "ObjectFetchTimedOutError",
    "ObjectFreedError",
    "ObjectLostError",
    "ObjectReconstructionFailedError",
    "ObjectStoreFullError",
    "OutOfDiskError",
    "OutOfMemoryError",
    "OwnerDiedError",
    "PendingCallsLimitExceeded",
    "RayActorError",
    "RayError",
    "RaySystemError",
    "RayTaskError",
    "ReferenceCountingAssertionError",
    "RuntimeEnvSetupError",
    "TaskCancelledError",
    "TaskUnschedulableError",
    "UnserializableException",
    "UserCodeException",
    "WorkerCrashedError",
]


@pytest.mark.parametrize("name", RAYS_NAMES)
def test_rays_names(name):
    assert issubclass(getattr(exceptions, name), exceptions.HazError)


def all_exceptions():
    found = {
        value
        for value in vars(exceptions).values()
        if isinstance(value, type) and issubclass(value, BaseException)
    }
    return sorted(found, key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", all_exceptions(), ids=lambda kind: kind.__name__)
def test_all_can_be_raised_pickled_and_copied(kind):
    error = kind("the message")
    error.extra = 5
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(again) is kind
        assert str(again) == str(error)
        assert "the message" in str(again)
        assert again.extra == 5
    assert issubclass(kind, exceptions.HazError)


@pytest.mark.parametrize(
    ("kind", "also"),
    [
        (exceptions.GetTimeoutError, TimeoutError),
        (exceptions.TaskTimeoutError, TimeoutError),
        (exceptions.SerializationError, TypeError),
        (exceptions.InfeasibleResourcesError, ValueError),
        (exceptions.ObjectFreedError, exceptions.ObjectLostError),
        (exceptions.ActorDiedError, exceptions.ActorError),
        (exceptions.ActorAlreadyExistsError, ValueError),
    ],
)
def test_are_also(kind, also):
    assert issubclass(kind, also)


def pack(exc, **changes):
    given = {"task_name": "work", "pid": 42, "function": "module.work", **changes}
    try:
        raise exc
    except BaseException as error:
        return errors.pack_exception(error, **given)


def scalars_only(value):
    if isinstance(value, dict):
        return all(type(k) is str and scalars_only(v) for k, v in value.items())
    if type(value) is list:
        return all(map(scalars_only, value))
    return type(value) in (str, bytes, int, float, bool, type(None))


class Two(Exception):
    def __init__(self, a, b):
        super().__init__(a)
        self.b = b


@pytest.mark.parametrize(
    "exc",
    [ValueError("v"), Two(1, 2), OSError(2, "no", "file"), KeyboardInterrupt(), SystemExit(2)],
)
def test_packed_is_plain_data(exc):
    info = pack(exc)
    assert scalars_only(info)
    assert info["kind"] == "task_error"
    assert info["task_name"] == "work"
    assert info["pid"] == 42
    assert info["function"] == "module.work"
    assert info["message"] == str(exc)
    assert type(info["pickled"]) is bytes
    error = errors.unpack_error(info)
    assert isinstance(error, exceptions.TaskError)
    assert type(error.cause) is type(exc)
    assert error.cause.args == exc.args
    assert scalars_only(error._info)


def test_type_names():
    assert pack(ValueError())["type_name"] == "ValueError"
    assert pack(Two(1, 2))["type_name"] == f"{__name__}.Two"


def test_causes_are_listed():
    error = ValueError("outer")
    error.__cause__ = KeyError("middle")
    error.__cause__.__cause__ = OSError("root")
    assert pack(error)["causes"] == ["KeyError: 'middle'", "OSError: root"]
    loop = ValueError("loop")
    loop.__cause__ = KeyError("back")
    loop.__cause__.__cause__ = loop
    assert pack(loop)["causes"] == ["KeyError: 'back'"]
    assert isinstance(errors.unpack_error(pack(loop)), ValueError)


def test_exception_without_a_traceback():
    info = errors.pack_exception(ValueError("never raised"), task_name="t", pid=1, function="f")
    assert info["traceback"] == "ValueError: never raised"


def test_message_that_cannot_be_had():
    class Silent(Exception):
        def __str__(self):
            raise RuntimeError

    info = pack(Silent())
    assert "RuntimeError" in info["message"]
    assert str(errors.unpack_error(info))


class WithOtherArgs(Exception):
    args = property(lambda self: 5)


class Ends(Exception):
    def __reduce__(self):
        raise SystemExit(3)


def test_exceptions_that_defy_pickling_keep_what_they_say():
    error = errors.unpack_error(pack(WithOtherArgs("a", 1)))
    assert isinstance(error, WithOtherArgs)
    assert str(error.cause) == "('a', 1)"
    error = errors.unpack_error(pack(Ends("told")))
    assert error.cause is None
    assert "Ends: told" in str(error)


def test_long_traceback_loses_its_middle():
    text = pack(ValueError("a" * 200_000 + "END"))["traceback"]
    assert len(text) < 70_000
    assert "left out" in text
    assert text.endswith("END")


def test_pickled_data_that_is_broken():
    info = {**pack(ValueError("v")), "pickled": b"not a pickle"}
    error = errors.unpack_error(info)
    assert type(error) is exceptions.TaskError
    assert "can't be unpickled here" in str(error)
    assert "ValueError: v" in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)


def test_nothing_pickled():
    error = errors.unpack_error({**pack(ValueError("v")), "pickled": None})
    assert error.cause is None
    assert error.__cause__ is None
    assert "can't be pickled" in str(error)


def test_data_with_holes():
    error = errors.unpack_error({"kind": "task_error"})
    assert type(error) is exceptions.TaskError
    assert str(error)
    assert type(errors.unpack_error({})) is exceptions.InternalError
    assert "unheard_of" in str(errors.unpack_error({"kind": "unheard_of"}))


@pytest.mark.parametrize(
    ("info", "kind", "words"),
    [
        (
            {"kind": "cancelled", "task_name": "t", "task_id": "ab"},
            "TaskCancelledError",
            ["t", "cancel"],
        ),
        (
            {"kind": "timeout", "task_name": "t", "timeout_s": 1.5},
            "TaskTimeoutError",
            ["t", "1.5 s"],
        ),
        ({"kind": "object_store_full", "message": "no room"}, "ObjectStoreFullError", ["no room"]),
        ({"kind": "object_lost"}, "ObjectLostError", ["gone"]),
        ({"kind": "object_lost", "message": "why"}, "ObjectLostError", ["why"]),
        ({"kind": "freed"}, "ObjectFreedError", ["haz.free"]),
        ({"kind": "node_died", "message": "ended"}, "NodeDiedError", ["ended"]),
        ({"kind": "serialization", "message": "lock"}, "SerializationError", ["lock"]),
        ({"kind": "infeasible", "message": "9 CPU"}, "InfeasibleResourcesError", ["9 CPU"]),
        ({"kind": "out_of_memory", "message": "m"}, "OutOfMemoryError", ["m"]),
        ({"kind": "get_timeout", "message": "m"}, "GetTimeoutError", ["m"]),
        ({"kind": "actor_died", "message": "m", "actor_id": "7"}, "ActorDiedError", ["m"]),
    ],
)
def test_other_kinds(info, kind, words):
    error = errors.unpack_error(info)
    assert type(error).__name__ == kind
    for word in words:
        assert word in str(error)
    for name, value in info.items():
        if name not in ("kind", "message"):
            assert getattr(error, name) == value
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_worker_crashed():
    error = errors.unpack_error(
        {
            "kind": "worker_crashed",
            "task_name": "work",
            "pid": 77,
            "signal": 11,
            "exit_code": None,
            "stderr": "line one\nline two\n",
            "attempts": 4,
        }
    )
    assert type(error) is exceptions.WorkerCrashedError
    text = str(error)
    for word in ("work", "77", "SIGSEGV", "signal 11", "line one", "line two", "attempt 4"):
        assert word in text
    assert (error.signal, error.exit_code, error.attempts) == (11, None, 4)
    assert pickle.loads(pickle.dumps(error)).stderr == error.stderr
    killed = exceptions.WorkerCrashedError(task_name="t", pid=1, signal=9)
    assert "SIGKILL" in str(killed)
    assert "memory" in str(killed)
    ended = exceptions.WorkerCrashedError(task_name="t", pid=1, signal=0, exit_code=3)
    assert ended.signal is None
    assert "exit code 3" in str(ended)
    assert "attempt" not in str(ended)
    assert "signal 99" in str(exceptions.WorkerCrashedError(signal=99))


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ({"reason": "killed"}, ["haz.kill()"]),
        ({"reason": "exited"}, ["exit_actor()"]),
        ({"reason": "out_of_scope"}, ["last handle"]),
        ({"reason": "never_placed"}, ["no process could be started"]),
        ({"reason": "node"}, ["node ended"]),
        ({"reason": "signal", "pid": 77, "signal": 11}, ["77", "SIGSEGV"]),
        ({"reason": "exit_code", "pid": 77, "exit_code": 3}, ["77", "exit code 3"]),
        ({"reason": "exit_code", "exit_code": 3, "stderr": "one\ntwo\n"}, ["\n  one\n  two"]),
        ({"reason": "signal", "signal": 9, "restarts": 2}, ["SIGKILL", "again 2 times"]),
        ({"reason": "killed", "task_name": "Counter.add"}, ["the call Counter.add has no result"]),
        ({}, ["will not be started again"]),
    ],
)
def test_actor_died(info, words):
    error = errors.unpack_error(
        {"kind": "actor_died", "class_name": "Counter", "actor_id": "a7", **info}
    )
    assert type(error) is exceptions.ActorDiedError
    for word in ("Counter", "a7", *words):
        assert word in str(error)
    for name, value in info.items():
        assert getattr(error, name) == value
    assert error.__cause__ is None
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.__dict__) == (str(error), error.__dict__)


def test_actor_died_in_its_constructor():
    packed = pack(Two(1, 2), task_name="Counter.__init__")
    info = {"kind": "actor_died", "class_name": "Counter", "reason": "constructor"}
    error = errors.unpack_error({**info, "cause": packed, "task_name": "Counter.add"})
    assert isinstance(error.__cause__, Two)
    assert error.__cause__.b == 2
    assert "Counter.add" in str(error)
    assert "its constructor failed: task Counter.__init__" in str(error)
    crash = {"kind": "worker_crashed", "task_name": "a", "pid": 1, "signal": 9}
    error = errors.unpack_error({**info, "cause": crash})
    assert type(error.__cause__) is exceptions.WorkerCrashedError
    native = pytest.importorskip("haz._native")
    error = errors.unpack_error({**info, "cause": native.encode(packed)})
    assert isinstance(error.__cause__, Two)


def test_actor_unavailable():
    info = {"kind": "actor_unavailable", "actor_id": "a7", "class_name": "Counter"}
    error = errors.unpack_error(info)
    assert type(error) is exceptions.ActorUnavailableError
    assert (error.actor_id, error.class_name) == ("a7", "Counter")
    assert "Counter is being started again" in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_through():
    info = pack(ValueError("v"))
    once = errors.through_task(info, "second")
    twice = errors.through_task(once, "third")
    assert info["through"] == []
    error = errors.unpack_error(twice)
    assert error.through == ("second", "third")
    assert "second, third" in str(error)
    crash = {"kind": "worker_crashed", "task_name": "a", "pid": 1, "signal": 9}
    error = errors.unpack_error(errors.through_task(crash, "second"))
    assert type(error) is exceptions.WorkerCrashedError
    assert "second" in str(error)


def test_classes_go_with_their_last_error():
    class Local(Exception):
        pass

    weak = weakref.ref(Local)
    assert isinstance(errors.unpack_error(pack(Local())), Local)
    del Local
    gc.collect()
    gc.collect()
    import cloudpickle

    # cloudpickle itself keeps track of local classes, weakly.
    assert cloudpickle
    assert weak() is None


def test_nested_task_error_keeps_the_innermost_type():
    inner = errors.unpack_error(pack(Two(1, 2), task_name="inner"))
    info = pack(inner, task_name="outer")
    error = errors.unpack_error(info)
    assert type(error.cause) is Two
    assert error.b == 2
    assert error.task_name == "outer"
    assert "inner" in str(error)
    assert info["message"] == "1"


def test_without_stop_iteration():
    error = errors.unpack_error(pack(StopIteration(4)))
    assert isinstance(error, StopIteration)
    plain = errors.without_stop_iteration(error)
    assert type(plain) is exceptions.TaskError
    assert str(plain) == str(error)
    assert plain.cause is error.cause
    other = ValueError()
    assert errors.without_stop_iteration(other) is other


def test_task_error_made_by_hand():
    error = exceptions.TaskError("by hand")
    assert str(error) == "by hand"
    assert repr(error) == "TaskError('by hand')"
    assert error.as_instanceof_cause() is error
    assert isinstance(errors.unpack_error(pack(error)), exceptions.TaskError)
