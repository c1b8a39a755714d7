"""haz.map: on every engine."""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time

import haz
import pytest
from haz.exceptions import SerializationError, TaskTimeoutError, WorkerCrashedError


def test_results_in_order(engine):
    assert list(haz.map(abs, range(-500, 0))) == list(range(500, 0, -1))
    assert list(haz.map(pow, [2, 3, 4], itertools.count())) == [1, 3, 16]
    assert list(haz.map(lambda x: x + 1, [])) == []
    assert list(haz.map(haz.remote(abs), [-1, 2], batch_size=2)) == [1, 2]


def test_results_as_they_come(engine):
    assert sorted(haz.map(abs, range(-500, 0), ordered=False)) == list(range(1, 501))


def test_endless_iterables_are_read_as_results_are(engine):
    read = itertools.count()
    for ordered in (True, False):
        results = haz.map(abs, (next(read) for _ in itertools.repeat(None)), ordered=ordered)
        assert len(list(itertools.islice(results, 2000))) == 2000
        results.close()
    assert next(read) < 40_000


def test_errors_in_their_place(engine):
    def divide(x):
        return 6 // x

    results = haz.map(divide, [3, 0, 2], batch_size=2)
    assert next(results) == 2
    with pytest.raises(ZeroDivisionError) as caught:
        next(results)
    assert isinstance(caught.value, haz.exceptions.TaskError)
    assert "in divide" in caught.value.traceback_str
    with pytest.raises(StopIteration):
        next(results)
    found = list(haz.map(divide, [3, 0, 2, 0], on_error="return", batch_size=3))
    assert [found[0], found[2]] == [2, 3]
    assert isinstance(found[1], ZeroDivisionError)
    assert isinstance(found[3], ZeroDivisionError)
    assert list(haz.map(divide, [3, 0, 2, 0], on_error="skip")) == [2, 3]


def test_stop_iteration_is_an_error_as_any(engine):
    def stop(x):
        raise StopIteration(x)

    with pytest.raises(haz.exceptions.TaskError, match="StopIteration"):
        list(haz.map(stop, [1]))


def test_an_iterable_that_fails(engine):
    def items():
        yield from range(10)
        raise KeyError("no more")

    results = haz.map(abs, items(), batch_size=4)
    assert [next(results) for _ in range(10)] == list(range(10))
    with pytest.raises(KeyError, match="no more"):
        next(results)


def test_what_cannot_be_pickled_fails_alone(engine):
    lock = threading.Lock()
    found = list(haz.map(str, [1, lock, 3], batch_size=3, on_error="return"))
    assert [found[0], found[2]] == ["1", "3"]
    assert isinstance(found[1], SerializationError)
    results = haz.map(
        lambda x: threading.Lock() if x == 1 else x, range(4), batch_size=4, on_error="skip"
    )
    assert list(results) == [0, 2, 3]
    with pytest.raises(SerializationError, match="closure variable 'lock'"):
        haz.map(lambda x: lock, [1])


def test_progress(engine, capsys):
    told = []
    results = haz.map(
        lambda x: 1 // x,
        [1, 0, 1],
        on_error="skip",
        progress=lambda *numbers: told.append(numbers),
    )
    assert list(results) == [1, 1]
    assert told == [(1, 3, 0), (2, 3, 1), (3, 3, 1)]
    assert sum(haz.map(abs, iter([-1, 2]), progress=True)) == 3
    assert sum(haz.map(abs, [-1, 2], progress="numbers")) == 3
    output = capsys.readouterr()
    assert output.out == ""
    assert "numbers" in output.err
    assert "2/2" in output.err


def test_progress_without_rich(engine, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert list(haz.map(lambda x: 1 // x, [1, 0], on_error="skip", progress="numbers")) == [1]
    assert "numbers: 2/2 (100%)" in capsys.readouterr().err
    monkeypatch.setattr("sys.stderr.isatty", lambda: False)
    assert list(haz.map(abs, [1], progress="numbers")) == [1]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((3, [1]), TypeError),
        ((abs,), TypeError),
        ((abs, 3), TypeError),
    ],
)
def test_bad_arguments(engine, arguments, error):
    with pytest.raises(error):
        haz.map(*arguments)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"batch_size": 0}, ValueError),
        ({"batch_size": 1.5}, TypeError),
        ({"on_error": "ignore"}, ValueError),
        ({"progress": 3}, TypeError),
        ({"timeout_s": 1, "batch_size": 2}, ValueError),
        ({"timeout_s": -1}, ValueError),
        ({"num_returns": 2}, TypeError),
        ({"nonsense": 2}, TypeError),
    ],
)
def test_bad_options(engine, options, error):
    with pytest.raises(error):
        haz.map(abs, [1], **options)


@pytest.fixture
def native(engine):
    if engine != "native":
        pytest.skip("needs processes")


def test_a_process_that_dies_fails_its_item_only(native):
    def work(x):
        if x == 5:
            os._exit(3)
        return x

    found = list(haz.map(work, range(12), batch_size=4, on_error="return", max_retries=0))
    assert isinstance(found.pop(5), WorkerCrashedError)
    assert found == [x for x in range(12) if x != 5]


def test_timeouts_are_of_items(native):
    def nap(seconds):
        time.sleep(seconds)
        return seconds

    # Long enough for the short ones on a busy machine.
    found = list(haz.map(nap, [0, 600, 0.01], timeout_s=2, on_error="return"))
    assert isinstance(found.pop(1), TaskTimeoutError)
    assert found == [0, 0.01]


def test_short_items_run_in_batches(native):
    """The tasks of fewer pids than items; the numbers of calls grow with what is measured."""

    def count(_):
        import haz

        return haz.get_runtime_context().get_task_id()

    tasks = list(haz.map(count, range(3000)))
    assert len(set(tasks)) < 1500


def test_what_is_not_taken_is_cancelled(native, tmp_path):
    def work(x):
        if x:
            time.sleep(600)
        return x

    results = haz.map(work, range(8))
    assert next(results) == 0
    results.close()
    assert list(haz.map(abs, [-1, -2])) == [1, 2]  # there are CPUs for it
