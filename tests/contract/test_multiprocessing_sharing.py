"""Locks, queues, pipes and shared values of haz.multiprocessing travel to the workers of pools."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from multiprocessing import resource_tracker

import haz
import haz.multiprocessing as mp
import pytest
from haz.testing import wait_until

from tests.engines import HAS_NATIVE

pytestmark = pytest.mark.skipif(not HAS_NATIVE, reason="needs processes")
WAIT_S = 60


@pytest.fixture
def pool():
    haz.init(num_cpus=2)
    with mp.Pool(2) as pool:
        yield pool


@pytest.fixture(autouse=True)
def _no_garbage():
    yield
    gc.collect()  # tracebacks that keep locks


class Point(ctypes.Structure):
    _fields_ = (("x", ctypes.c_int), ("y", ctypes.c_double))


def test_a_lock_excludes(pool):
    lock, count = mp.Lock(), mp.RawValue("i", 0)

    def add(lock, count, times):
        for _ in range(times):
            with lock:
                count.value += 1

    pool.starmap(add, [(lock, count, 2000)] * 4, chunksize=1)
    assert count.value == 8000
    with lock:
        assert pool.apply(lambda lock: lock.acquire(timeout=0.01), (lock,)) is False
    assert pool.apply(lambda lock: lock.acquire(), (lock,)) is True
    assert lock.acquire(False) is False


def test_an_rlock_is_of_its_owner(pool):
    lock = mp.RLock()

    def take_twice(lock):
        with lock, lock:
            pass
        try:
            lock.release()
        except AssertionError:
            return "not the owner"

    with lock, lock:
        assert pool.apply(lambda lock: lock.acquire(False), (lock,)) is False
    assert pool.apply(take_twice, (lock,)) == "not the owner"


def test_semaphores(pool):
    semaphore, bounded = mp.Semaphore(0), mp.BoundedSemaphore(2)
    pool.starmap(lambda one: one.release(), [(semaphore,)] * 3)
    assert semaphore.get_value() == 3
    with pytest.raises(ValueError):
        pool.apply(lambda one: one.release(), (bounded,))
    with pytest.raises(OSError):
        mp.Semaphore(-1)


def test_events_conditions_and_barriers(pool):
    begun, event, condition, barrier = mp.Event(), mp.Event(), mp.Condition(), mp.Barrier(3)

    def wait(begun, event, condition):
        with condition:
            begun.set()
            return condition.wait(WAIT_S) and event.is_set()

    result = pool.apply_async(wait, (begun, event, condition))
    assert begun.wait(WAIT_S)
    event.set()
    with condition:
        condition.notify_all()
    assert result.get(WAIT_S) is True
    places = [pool.apply_async(lambda one: one.wait(WAIT_S), (barrier,)) for _ in range(2)]
    assert {barrier.wait(WAIT_S), *(place.get(WAIT_S) for place in places)} == {0, 1, 2}


@pytest.mark.parametrize("kind", [mp.Queue, mp.SimpleQueue, mp.JoinableQueue])
def test_queues(pool, kind):
    there, back = kind(), kind()

    def square(there, back):
        while (item := there.get()) is not None:
            back.put(item * item)

    results = [pool.apply_async(square, (there, back)) for _ in range(2)]
    for item in [*range(100), None, None]:
        there.put(item)
    assert sorted(back.get() for _ in range(100)) == [item * item for item in range(100)]
    for result in results:
        result.get(WAIT_S)
    with contextlib.suppress(AttributeError):
        there.close(), there.join_thread()


def test_a_bounded_and_a_joinable_queue(pool):
    bounded, joinable = mp.Queue(1), mp.JoinableQueue()
    bounded.put(1)
    with pytest.raises(queue.Full):
        pool.apply(lambda one: one.put_nowait(2), (bounded,))
    joinable.put(1)
    assert pool.apply(lambda one: (one.get(), one.task_done()), (joinable,)) == (1, None)
    joinable.join()
    for one in (bounded, joinable):
        one.close()
        one.join_thread()


def test_what_a_task_puts_is_not_lost_with_its_process():
    haz.init(num_cpus=2)
    back = mp.Queue()
    with mp.Pool(2, maxtasksperchild=1) as pool:
        pool.map(back.put, range(50), chunksize=1)
        pool.close()
        pool.join()
    assert sorted(back.get(timeout=WAIT_S) for _ in range(50)) == list(range(50))


def test_pipes(pool):
    ours, theirs = mp.Pipe()

    def double(end):
        with end:
            while True:
                end.send(end.recv() * 2)

    def double_to_the_end(end):
        try:
            double(end)
        except EOFError:
            return "end"

    result = pool.apply_async(double_to_the_end, (theirs,))
    for item in (1, "ab", b"x" * 1_000_000):
        ours.send(item)
        assert ours.poll(WAIT_S)
        assert ours.recv() == item * 2
    ours.close()
    assert result.get(WAIT_S) == "end"
    theirs.close()
    with pytest.raises(OSError):
        ours.recv()


def test_an_end_whose_other_end_is_closed(pool):
    reader, writer = mp.Pipe(duplex=False)
    pool.apply(lambda end: (end.send("all"), end.close()), (writer,))
    writer.close()
    assert reader.recv() == "all"
    reader.close()


def test_an_end_of_a_socket_is_refused(pool):
    import multiprocessing

    one, other = multiprocessing.Pipe()
    with one, other, pytest.raises(Exception, match=r"haz\.multiprocessing\.Pipe"):
        pool.apply(print, (one,))


def test_values_and_arrays(pool):
    number, text, numbers, point = (
        *(mp.Value("d", 1.5), mp.Array("c", b"word"), mp.Array("i", [1, 2, 3])),
        mp.Value(Point, 1, 2.5),
    )
    large, raw = mp.RawArray("b", 100_000), mp.RawArray(Point, 3)

    def change(number, text, numbers, large, raw):
        with number.get_lock():
            number.value *= 2
        text[0] = b"W"
        numbers[1:] = [20, 30]
        large[99_999] = 7
        raw[2].y = 4.5
        return type(numbers).__name__

    name = pool.apply(change, (number, text, numbers, large, raw))
    assert name == "SynchronizedArray"
    assert (number.value, text.value, numbers[:]) == (3.0, b"Word", [1, 20, 30])
    assert (large[99_999], raw[2].y, point.y) == (7, 4.5, 2.5)


def test_they_come_back_and_go_on(pool):
    made = pool.apply(lambda: (mp.Lock(), mp.Queue(), mp.Value("i", 5)))
    lock, back, value = made
    with lock:
        pool.apply(lambda back, value: back.put(value.value), (back, value))
    assert back.get(timeout=WAIT_S) == 5
    again = pickle.loads(pickle.dumps(lock))
    with lock:
        assert again.acquire(False) is False


def test_thousands_of_locks_take_few_descriptors():
    before = len(os.listdir("/proc/self/fd"))
    locks = [mp.Lock() for _ in range(3000)]
    assert len(os.listdir("/proc/self/fd")) <= before + 2 * (1 + 3000 * 64 // 65536 + 1)
    assert all(lock.acquire(False) for lock in locks)


def test_a_place_is_used_again_only_if_nobody_else_knows_it():
    lock = mp.Lock()
    address = lock._block.address
    chunk = lock._block._chunk
    lock.acquire()
    del lock
    again = mp.Lock()
    assert again._block._chunk is chunk
    assert again._block.address == address
    assert again.acquire(False)
    pickle.dumps(again)
    address = again._block.address
    del again
    assert mp.Lock()._block.address != address


def test_processes_share_them_by_inheritance():
    lock, back, ends = mp.Lock(), mp.Queue(), mp.Pipe()
    value = mp.Value("i", 0)

    def run(times):
        for _ in range(times):
            with lock:
                value.value += 1
        back.put(os.getpid())
        ends[1].send("sent")

    processes = [mp.Process(target=run, args=(1000,)) for _ in range(3)]
    for process in processes:
        process.start()
    assert {back.get(timeout=WAIT_S) for _ in processes} == {one.pid for one in processes}
    for process in processes:
        process.join(WAIT_S)
        assert process.exitcode == 0
    assert value.value == 3000
    assert [ends[0].recv() for _ in processes] == ["sent"] * 3


def test_a_spawned_process_gets_them():
    context = mp.get_context("spawn")
    back, event, ends = context.SimpleQueue(), context.Event(), context.Pipe()
    process = context.Process(target=_say, args=(back, event, ends[1]))
    process.start()
    ends[1].close()
    assert back.get() == "here"
    ends[0].send("to")
    assert ends[0].recv() == "to and fro"
    event.set()
    process.join(WAIT_S)
    assert process.exitcode == 0
    resource_tracker._resource_tracker._stop()


def _say(back, event, end):
    back.put("here")
    end.send(end.recv() + " and fro")
    assert event.wait(WAIT_S)


PROGRAM = """
import os, signal, sys, time
{imports}

lock = None
calls = 0
LIMIT = 3

def init(given, count):
    global lock, counter
    lock, counter = given, count

def work(item):
    global calls
    calls += 1
    with lock:
        counter.value += item
    return calls

class Doubler:
    def __call__(self, item):
        return item * LIMIT, lock is not None

if __name__ == "__main__":
    count = multiprocessing.Value("i", 0)
    with multiprocessing.Pool(1, init, (multiprocessing.Lock(), count)) as pool:
        print(pool.map(work, range(10), chunksize=3), count.value)
        print([pool.apply(work, (1,)) for _ in range(3)])
        print(pool.map(Doubler(), [1, 2]))
"""


@pytest.mark.parametrize(
    "imports", ["import multiprocessing", "import haz.multiprocessing as multiprocessing"]
)
def test_what_an_initializer_sets_is_there_for_the_calls(tmp_path, imports):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(imports=imports))
    ran = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=120)
    assert ran.stderr == ""
    expected = "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10] 45\n[11, 12, 13]\n[(3, True), (6, True)]\n"
    assert ran.stdout == expected


def test_a_changed_global_of_the_program_reaches_the_calls(tmp_path):
    program = tmp_path / "program.py"
    program.write_text("""
import haz.multiprocessing as multiprocessing

factor = 2
seen = []

def work(item):
    seen.append(item)
    return item * factor, len(seen)

with multiprocessing.Pool(1) as pool:
    print(pool.apply(work, (1,)), pool.apply(work, (1,)))
    factor = 3
    print(pool.apply(work, (1,)))
""")
    ran = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=120)
    assert (ran.stdout, ran.stderr) == ("(2, 1) (2, 2)\n(3, 3)\n", "")


def test_nothing_is_left_of_a_killed_program(tmp_path):
    program = tmp_path / "program.py"
    program.write_text("""
import haz.multiprocessing as mp, os, signal
lock, back, value = mp.Lock(), mp.Queue(), mp.Array("d", 1000)
pool = mp.Pool(2)
print(*{pool.apply(lambda *args: os.getpid(), (lock, back, value)) for _ in range(2)}, flush=True)
def wait():
    os.close(1), os.close(2)
    back.get()

process = mp.Process(target=wait, daemon=True)
process.start()
print(process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
""")
    ran = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=120)
    assert ran.returncode == -signal.SIGKILL
    *pids, forked = [int(pid) for pid in ran.stdout.split()]
    assert pids
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids), "workers end")
    os.kill(forked, signal.SIGKILL)  # the standard library's own, which nobody ends


def test_locks_of_many_threads(pool):
    lock, count = mp.Lock(), mp.RawValue("i", 0)

    def add():
        for _ in range(500):
            with lock:
                count.value += 1

    threads = [threading.Thread(target=add) for _ in range(3)]
    for thread in threads:
        thread.start()
    pool.starmap(lambda lock, count: add_in_worker(lock, count), [(lock, count)] * 2, chunksize=1)
    for thread in threads:
        thread.join()
    assert count.value == 2500


def add_in_worker(lock, count):
    for _ in range(500):
        with lock:
            count.value += 1
