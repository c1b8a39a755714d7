"""haz.util where no engine is needed: metrics, serialization."""

from __future__ import annotations

import io
import pickle
import threading

import haz
import pytest
from haz.util import inspect_serializability, metrics


@pytest.fixture(autouse=True)
def _no_metrics_from_before():
    metrics._recorded.clear()


# ---- metrics -----------------------------------------------------------------------------------


def values(name):
    return metrics.snapshot()[name]["values"]


def test_counter():
    counter = metrics.Counter("hits", description="Requests.", tag_keys=("path", "code"))
    assert values("hits") == []
    counter.set_default_tags({"code": "200"})
    counter.inc(tags={"path": "/"})
    counter.inc(2.5, tags={"path": "/"})
    counter.inc(tags={"path": "/", "code": "404"})
    assert values("hits") == [
        {"tags": {"path": "/", "code": "200"}, "value": 3.5},
        {"tags": {"path": "/", "code": "404"}, "value": 1.0},
    ]
    assert metrics.snapshot()["hits"]["kind"] == "counter"
    assert metrics.snapshot()["hits"]["description"] == "Requests."
    assert counter.info == {
        "name": "hits",
        "description": "Requests.",
        "tag_keys": ("path", "code"),
        "default_tags": {"code": "200"},
    }


def test_gauge():
    gauge = metrics.Gauge("load")
    gauge.set(4)
    gauge.set(-1.5)
    gauge.set(None)
    assert values("load") == [{"tags": {}, "value": -1.5}]


def test_histogram():
    histogram = metrics.Histogram("latency", boundaries=[0.1, 1, 10], tag_keys=("kind",))
    histogram.set_default_tags({"kind": "a"})
    for value in (0.05, 0.1, 0.5, 20, 0):
        histogram.observe(value)
    (found,) = values("latency")
    assert found["buckets"] == [(0.1, 3), (1.0, 1), (10.0, 0), (float("inf"), 1)]
    assert (found["count"], found["sum"]) == (5, 20.65)
    assert histogram.info["boundaries"] == [0.1, 1, 10]


def test_metrics_of_one_name_record_together():
    metrics.Counter("hits").inc()
    metrics.Counter("hits").inc()
    assert values("hits") == [{"tags": {}, "value": 2.0}]
    for other in (
        lambda: metrics.Gauge("hits"),
        lambda: metrics.Counter("hits", tag_keys=("a",)),
        lambda: metrics.Histogram("hits", boundaries=[1]),
    ):
        with pytest.raises(ValueError, match="already"):
            other()


def test_pickled_metrics():
    counter = metrics.Counter("hits", tag_keys=("a",)).set_default_tags({"a": "b"})
    pickle.loads(pickle.dumps(counter)).inc()
    assert values("hits") == [{"tags": {"a": "b"}, "value": 1.0}]
    histogram = metrics.Histogram("latency", boundaries=[1.0])
    assert pickle.loads(pickle.dumps(histogram)).info == histogram.info


def test_metrics_in_threads():
    counter = metrics.Counter("hits")
    threads = [
        threading.Thread(target=lambda: [counter.inc() for _ in range(1000)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values("hits") == [{"tags": {}, "value": 4000.0}]


@pytest.mark.parametrize(
    ("use", "error", "words"),
    [
        (lambda: metrics.Metric("a"), TypeError, "base"),
        (lambda: metrics.Counter(""), ValueError, "empty"),
        (lambda: metrics.Counter(1), TypeError, "string"),
        (lambda: metrics.Counter("a", tag_keys="abc"), TypeError, "tuple"),
        (lambda: metrics.Counter("a", tag_keys=(1,)), TypeError, "strings"),
        (lambda: metrics.Counter("a").inc(0), ValueError, "more than 0"),
        (lambda: metrics.Counter("a").inc(-1), ValueError, "more than 0"),
        (lambda: metrics.Counter("a").inc("1"), TypeError, "number"),
        (lambda: metrics.Counter("a").inc(tags={"x": "y"}), ValueError, "no tag 'x'"),
        (lambda: metrics.Counter("a", tag_keys=("k",)).inc(), ValueError, r"tags \['k'\]"),
        (lambda: metrics.Counter("a", tag_keys=("k",)).inc(tags={"k": 1}), TypeError, "strings"),
        (lambda: metrics.Counter("a").set_default_tags({"x": "y"}), ValueError, "no tag"),
        (lambda: metrics.Gauge("a").set("1"), TypeError, "number"),
        (lambda: metrics.Histogram("a"), ValueError, "needs boundaries"),
        (lambda: metrics.Histogram("a", boundaries=[0, 1]), ValueError, "more than 0"),
        (lambda: metrics.Histogram("a", boundaries=[2, 1]), ValueError, "grow"),
    ],
)
def test_wrong_use_of_metrics(use, error, words):
    with pytest.raises(error, match=words):
        use()


# ---- inspect_serializability -------------------------------------------------------------------


def test_what_can_be_pickled():
    out = io.StringIO()
    assert inspect_serializability([1, "a"], name="a list", print_file=out) == (True, set())
    assert "a list" in out.getvalue()


def test_what_can_not_be_pickled(capsys):
    lock = threading.Lock()

    def function():
        return lock

    fine, failures = inspect_serializability(function)
    assert not fine
    (failure,) = failures
    assert failure.obj is lock
    assert failure.parent is function
    assert "'lock'" in failure.name
    assert "FailTuple" in repr(failure)
    assert "lock" in capsys.readouterr().out


def test_several_parts_and_depth():
    first, second = threading.Lock(), threading.Event()
    value = {"first": [first], "second": {"event": second}, "fine": 1}
    fine, failures = inspect_serializability(value, depth=2, print_file=io.StringIO())
    assert not fine
    assert {type(failure.obj).__name__ for failure in failures} == {"lock", "Event"}
    _, failures = inspect_serializability(value, depth=1, print_file=io.StringIO())
    assert [type(failure.obj) for failure in failures].count(list) == 1
    _, failures = inspect_serializability(value, depth=10, print_file=io.StringIO())
    assert {type(failure.obj).__name__ for failure in failures} >= {"lock"}


def test_cycle():
    value = [threading.Lock()]
    value.append(value)
    fine, failures = inspect_serializability(value, depth=50, print_file=io.StringIO())
    assert not fine
    assert [failure.obj for failure in failures] == [value[0]]


def test_actor_class_that_can_not_be_pickled():
    lock = threading.Lock()

    @haz.remote
    class Holds:
        def get(self):
            return lock

    fine, failures = inspect_serializability(Holds, depth=5, print_file=io.StringIO())
    assert not fine
    assert [failure.obj for failure in failures] == [lock]


# ---- serializers -------------------------------------------------------------------------------


class Gate:
    def __init__(self, name):
        self.name = name
        self.lock = threading.Lock()


def test_register_serializer():
    haz.init(engine="inline")
    try:
        haz.util.register_serializer(Gate, serializer=lambda gate: gate.name, deserializer=Gate)
        assert haz.get(haz.put(Gate("a"))).name == "a"
        haz.util.deregister_serializer(Gate)
        with pytest.raises(TypeError, match="lock"):
            haz.put(Gate("a"))
    finally:
        haz.util.deregister_serializer(Gate)
        haz.shutdown()


def test_names():
    for name in haz.util.__all__:
        assert name in dir(haz.util)
        assert getattr(haz.util, name)
    for name in ("queue", "actor_pool", "actor_group", "metrics", "check_serialize"):
        assert getattr(haz.util, name).__name__ == f"haz.util.{name}"
    with pytest.raises(AttributeError, match="nothing"):
        haz.util.nothing
