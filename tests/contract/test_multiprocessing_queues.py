"""Queues of haz.multiprocessing: in shared memory, between processes of all kinds, whoever is killed."""

from __future__ import annotations

import dataclasses
import gc
import multiprocessing
import os
import pickle
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, forkserver, resource_tracker

import haz
import haz.multiprocessing as mp
import numpy as np
import pytest
from haz.testing import wait_until

from tests.engines import HAS_NATIVE

pytestmark = pytest.mark.skipif(not HAS_NATIVE, reason="needs processes")
WAIT_S = 60


@pytest.fixture(autouse=True)
def _no_garbage():
    yield
    gc.collect()


def start(target, *args):
    process = mp.Process(target=target, args=args)
    process.start()
    return process


@pytest.mark.parametrize("kind", [mp.Queue, mp.JoinableQueue, mp.SimpleQueue])
def test_they_are_of_the_standard_types(kind):
    one = kind()
    standard = getattr(multiprocessing.queues, type(one).__name__)
    assert isinstance(one, standard)
    assert one.empty()
    one.put(None)
    assert not one.empty()
    assert one.get() is None


@pytest.mark.parametrize(
    "item",
    [
        *(None, True, -(2**80), 1.5, "", "é" * 3000, b"x" * 300_000, (1, [2, {"a": {3}}])),
        *(frozenset({1}), bytearray(b"ab"), ValueError("a", 2), range(5), queue.Empty, os.getcwd),
    ],
    ids=repr,
)
def test_items_come_as_they_went(item):
    one = mp.Queue()
    one.put(item)
    got = one.get()
    assert type(got) is type(item)
    assert got.args == item.args if isinstance(item, ValueError) else got == item


def test_what_is_put_does_not_change_any_more():
    one, item = mp.Queue(), [1]
    one.put(item)
    item.append(2)
    assert one.get() == [1]


@pytest.mark.parametrize("size", [0, 1, 100, 5000, 1_000_000])
def test_arrays_are_writable_and_ones_own(size):
    one = mp.Queue()
    array = np.arange(size, dtype="f8")
    for item in (array, array.astype("M8[s]"), np.asfortranarray(array.reshape(-1, 1)), [array]):
        one.put(item)
        got = one.get()
        inner = got[0] if isinstance(got, list) else got
        assert inner.flags.writeable
        assert inner.flags.aligned
        assert np.array_equal(inner, item[0] if isinstance(item, list) else item)
        inner[...] = np.ones(1).astype(inner.dtype)
    assert np.array_equal(array, np.arange(size))


def test_arrays_in_other_things_are_writable_too():
    one, array = mp.Queue(), np.arange(10_000)
    array.flags.writeable = False
    one.put({"a": np.ones(3), "b": array.view(np.recarray)})
    assert one.get()["a"].flags.writeable


def test_limits_and_timeouts():
    one = mp.Queue(2)
    assert (one.qsize(), one.full(), one.empty()) == (0, False, True)
    with pytest.raises(queue.Empty):
        one.get_nowait()
    begun = time.monotonic()
    with pytest.raises(queue.Empty):
        one.get(timeout=0.05)
    one.put(1, timeout=-1)
    one.put(2, False)
    with pytest.raises(queue.Full):
        one.put_nowait(3)
    with pytest.raises(queue.Full):
        one.put(3, timeout=0.05)
    assert time.monotonic() - begun >= 0.1
    assert (one.qsize(), one.full(), one.empty()) == (2, True, False)
    assert [one.get(), one.get(timeout=0)] == [1, 2]
    with pytest.raises(TypeError):
        one.get(timeout="soon")
    with pytest.raises(TypeError):
        mp.Queue("many")


def test_a_closed_queue_raises_here_only():
    one = mp.Queue()
    one.put(1)
    with pytest.raises(AssertionError):
        one.join_thread()
    one.cancel_join_thread()
    other = pickle.loads(pickle.dumps(one))
    one.close()
    one.join_thread()
    for use in (one.get, lambda: one.put(1)):
        with pytest.raises(ValueError, match="closed"):
            use()
    assert other.get() == 1
    simple = mp.SimpleQueue()
    simple.close()
    for use in (simple.get, simple.empty, lambda: simple.put(1)):
        with pytest.raises(OSError, match="closed"):
            use()


def test_what_can_not_be_pickled_is_an_error_of_put():
    one = mp.Queue(1)
    with pytest.raises(haz.exceptions.SerializationError, match="lock"):
        one.put({"a": threading.Lock()})
    one.put(1, timeout=0)  # it has taken no place


class Rude:
    def __reduce__(self):
        return rudely, ()


def rudely():
    raise ZeroDivisionError


def test_what_can_not_be_unpickled_is_an_error_of_its_get():
    one = mp.Queue()
    one.put(Rude())
    one.put(2)
    with pytest.raises(ZeroDivisionError):
        one.get()
    assert one.get() == 2


def test_sockets_and_pipes_travel_as_before():
    one = mp.Queue()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        one.put(theirs)
        with one.get() as received:
            received.sendall(b"x")
            assert ours.recv(1) == b"x"
    multiprocessing.resource_sharer.stop()


def test_a_joinable_queue_joins():
    one = mp.JoinableQueue()
    one.join()
    with pytest.raises(ValueError, match="too many"):
        one.task_done()

    def work(one, times):
        for _ in range(times):
            one.get()
            one.task_done()

    process = start(work, one, 50)
    for item in range(50):
        one.put(item)
    one.join()
    assert one.empty()
    process.join(WAIT_S)
    with pytest.raises(ValueError, match="too many"):
        one.task_done()


def test_producers_and_consumers_lose_nothing():
    there, back = mp.Queue(16), mp.Queue()

    def produce(there, first, count):
        for item in range(first, first + count):
            there.put(item)

    def consume(there, back):
        seen = []
        while (item := there.get()) is not None:
            seen.append(item)
        back.put(seen)

    consumers = [start(consume, there, back) for _ in range(2)]
    producers = [start(produce, there, 1000 * n, 1000) for n in range(2)]
    for process in producers:
        process.join(WAIT_S)
    for _ in consumers:
        there.put(None)
    seen = [back.get(timeout=WAIT_S) for _ in consumers]
    assert sorted(seen[0] + seen[1]) == list(range(2000))
    for one in seen:  # in the order of each producer
        assert sorted(one, key=lambda item: item // 1000) == [
            *[item for item in one if item < 1000],
            *[item for item in one if item >= 1000],
        ]
    for process in consumers:
        process.join(WAIT_S)


def test_tasks_actors_pools_and_processes_share_one():
    haz.init(num_cpus=2)
    there, back = mp.Queue(), mp.Queue()

    @haz.remote
    def task(back):
        back.put(("task", os.getpid()))

    @haz.remote
    class Actor:
        def __init__(self, there, back):
            self.there, self.back = there, back

        def pass_on(self):
            self.back.put(self.there.get(timeout=WAIT_S))

    actor = Actor.remote(there, back)
    there.put("actor")
    with mp.Pool(1) as pool:
        haz.get([task.remote(back), actor.pass_on.remote()])
        pool.apply(back.put, ("pool",))
        process = start(lambda: back.put("process"))
        got = [back.get(timeout=WAIT_S) for _ in range(4)]
        process.join(WAIT_S)
    assert {item if isinstance(item, str) else item[0] for item in got} == {
        *("task", "actor", "pool", "process"),
    }
    with pytest.warns(RuntimeWarning, match="kept until"):
        back.put(haz.put(5))
    assert haz.get(back.get()) == 5


def test_a_long_backlog_and_its_end():
    one = mp.Queue()
    for item in range(30_000):
        one.put(item)
    assert one.qsize() == 30_000
    assert [one.get() for _ in range(30_000)] == list(range(30_000))


PROGRAM = """
import dataclasses, sys
import haz.multiprocessing as mp

class Task:
    def __init__(self, number):
        self.number = number

@dataclasses.dataclass
class Point:
    x: int

calls = []

def note(value):
    calls.append(value)
    return len(calls)

def work(there, back):
    while (item := there.get()) is not None:
        if item is note:
            back.put((note(1), len(calls)))
        else:
            back.put((isinstance(item, (Task, Point)), item, lambda: item))

if __name__ == "__main__":
    there, back = mp.Queue(), mp.Queue()
    process = mp.get_context(sys.argv[1]).Process(target=work, args=(there, back))
    process.start()
    for item in (Task(1), Point(2)):
        there.put(item)
        known, item, function = back.get(timeout=60)
        print(known, type(item) in (Task, Point), function() is item or type(function()).__name__)
    there.put(note)
    there.put(note)
    print(back.get(), back.get(), calls)
    there.put(None)
    process.join()
    with mp.Pool(1) as pool:
        there.put(Point(3))
        there.put(None)
        pool.apply(lambda there, back: back.put([one.x for one in iter(there.get, None)]), (there, back))
        print(back.get(timeout=60))
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_classes_and_functions_of_the_main_program_stay_what_they_are(tmp_path, method):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    ran = subprocess.run(
        [sys.executable, program, method], capture_output=True, text=True, timeout=120
    )
    assert ran.stderr == ""
    first, second, third, fourth = ran.stdout.splitlines()
    assert first.startswith("True True")
    assert second.startswith("True True")
    assert third == "(1, 1) (2, 2) []"
    assert fourth == "[3]"


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_a_process_killed_in_the_middle_holds_nobody_up(size):
    one = mp.Queue()

    def put_for_ever(one, size):
        number = 0
        while True:
            one.put((number, bytes(size)))
            number += 1

    def get_for_ever(one):
        while True:
            one.get()

    for round_number in range(6):
        process = start(put_for_ever, one, size)
        assert one.get(timeout=WAIT_S)[0] == 0
        time.sleep(0.003 * round_number)
        os.kill(process.pid, signal.SIGKILL)
        process.join(WAIT_S)
        one.put("end")
        expected = 1
        while (item := one.get(timeout=WAIT_S)) != "end":
            assert item == (expected, bytes(size))  # whole, and none is missing
            expected += 1
        for number in range(20):
            one.put(number)
        process = start(get_for_ever, one)
        time.sleep(0.002 * round_number)
        os.kill(process.pid, signal.SIGKILL)
        process.join(WAIT_S)
        left = [one.get(timeout=WAIT_S) for _ in range(one.qsize())]
        assert left == list(range(20))[20 - len(left) :]


def test_a_stopped_process_can_be_interrupted(tmp_path):
    program = tmp_path / "program.py"
    program.write_text("""
import haz.multiprocessing as mp, queue
one = mp.Queue()
print("waits", flush=True)
try:
    one.get()
except KeyboardInterrupt:
    print("interrupted", flush=True)
one.put(1)
print(one.get())
""")
    with subprocess.Popen(
        [sys.executable, program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "waits\n"
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=WAIT_S) == ("interrupted\n1\n", "")


def test_threads_share_one():
    one, total = mp.Queue(8), []

    def produce():
        for item in range(500):
            one.put(item)

    def consume():
        total.append(sum(iter(one.get, None)))

    threads = [threading.Thread(target=produce) for _ in range(3)]
    consumers = [threading.Thread(target=consume) for _ in range(2)]
    for thread in (*threads, *consumers):
        thread.start()
    for thread in threads:
        thread.join()
    for _ in consumers:
        one.put(None)
    for thread in consumers:
        thread.join()
    assert sum(total) == 3 * sum(range(500))


def test_nothing_is_left_of_them():
    descriptors = len(os.listdir("/proc/self/fd"))

    def memory():
        with open("/proc/self/maps") as maps:
            return sum("haz-queue" in line for line in maps)

    before = memory()
    queues = [mp.Queue() for _ in range(50)]
    for one in queues:
        one.put(np.ones(100_000))
        one.get()
    assert len(os.listdir("/proc/self/fd")) == descriptors + 50
    del queues, one
    wait_until(lambda: len(os.listdir("/proc/self/fd")) == descriptors, "descriptors are closed")
    assert memory() == before


@pytest.mark.slow
def test_large_items_both_ways():
    there, back = mp.Queue(), mp.Queue()

    def work(there, back):
        while (item := there.get()) is not None:
            item += 1
            back.put(item)

    process = start(work, there, back)
    for _ in range(3):
        there.put(np.zeros(12_500_000))
        assert back.get(timeout=WAIT_S).sum() == 12_500_000
    there.put(None)
    process.join(WAIT_S)
    with open(f"/proc/self/fd/{there._shared.fileno()}", "rb") as file:
        assert os.fstat(file.fileno()).st_blocks * 512 <= 80_000_000


def test_dataclasses_of_this_module_are_the_same_class():
    one = mp.Queue()
    one.put(Item(3))
    assert one.get() == Item(3)


@dataclasses.dataclass
class Item:
    number: int


# ---- what programs do that know the standard library's queues -----------------------------------


def _square(value):
    return value * value


@pytest.mark.parametrize("maxsize", ["a", None, 1.5])
def test_what_is_no_size_is_told(maxsize):
    with pytest.raises(TypeError, match="object cannot be interpreted as an integer"):
        mp.Queue(maxsize)


def test_sizes_may_be_of_any_length():
    for maxsize in (2**70, -(2**70)):
        one = mp.Queue(maxsize)
        one.put(1)
        assert not one.full()


@pytest.mark.parametrize("method", [None, "fork", "spawn", "forkserver"])
def test_the_standard_executor_works_with_a_context(method):
    context = mp.get_context(method)
    assert isinstance(context, multiprocessing.context.BaseContext)
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        assert list(executor.map(_square, range(20), timeout=WAIT_S)) == [n * n for n in range(20)]
        killed = executor.submit(os._exit, 3)
        with pytest.raises(BrokenProcessPool):
            killed.result(WAIT_S)
    forkserver._forkserver._stop()
    resource_tracker._resource_tracker._stop()


def test_a_context_is_what_the_standard_librarys_is():
    for method in ("fork", "spawn"):
        ours, standard = mp.get_context(method), multiprocessing.get_context(method)
        assert ours.get_start_method() == method
        assert ours.Process is standard.Process
        assert ours.reducer is standard.reducer
        missing = {name for name in dir(standard) if not hasattr(ours, name)}
        assert missing == set()
    assert mp.get_context("spawn").get_context().get_start_method() == "spawn"


@pytest.mark.parametrize("kind", [mp.Queue, mp.SimpleQueue])
def test_readers_are_ready_while_there_are_items(kind):
    first, second = kind(), kind()
    readers = [first._reader, second._reader]
    assert first._reader is readers[0]
    assert connection.wait(readers, 0.05) == []
    assert not readers[0].poll()
    second.put(1)
    second.put(2)
    for value in (1, 2):
        assert connection.wait(readers, WAIT_S) == [readers[1]]
        assert readers[1].recv() == value if value == 1 else second.get() == value
    assert connection.wait(readers, 0.05) == []
    process = start(first.put, 3)
    assert connection.wait(readers, WAIT_S) == [readers[0]]
    assert readers[0].poll(WAIT_S)
    assert first.get() == 3
    process.join()
    first.close()
    assert readers[0].closed
    with pytest.raises(OSError, match="closed"):
        readers[0].fileno()


def test_an_item_that_another_process_takes_is_told_of_once_only():
    one = mp.Queue()
    reader = one._reader
    one.put(1)
    assert connection.wait([reader], WAIT_S)
    process = start(one.get)
    process.join()
    wait_until(lambda: not connection.wait([reader], 0))
    with pytest.raises(queue.Empty):
        one.get_nowait()
    one.put(2)
    assert connection.wait([reader], WAIT_S)
    assert reader.recv() == 2


def _answer_what_comes(ready, answers):
    one = mp.Queue()
    ready.put(one)
    connection.wait([one._reader], WAIT_S)
    answers.put(one.get())


def test_readers_watch_beside_others_that_wait_and_in_forks():
    ready, answers = mp.Queue(), mp.Queue()
    _ = ready._reader  # a fork has one of its own
    process = start(_answer_what_comes, ready, answers)
    asked = ready.get(timeout=WAIT_S)
    reader = asked._reader
    taken = []
    thread = threading.Thread(target=lambda: taken.append(asked.get(timeout=WAIT_S)))
    thread.start()
    for value in range(2):
        asked.put(value)
    thread.join()
    assert sorted([*taken, answers.get(timeout=WAIT_S)]) == [0, 1]
    process.join()
    assert not reader.poll()


def test_a_program_with_a_reader_ends_at_once():
    program = (
        "import haz.multiprocessing as mp, time; q = mp.Queue(); r = q._reader; q.put(1); r.poll(9)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=WAIT_S)
    assert (done.returncode, done.stderr) == (0, b"")
