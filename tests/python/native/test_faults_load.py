"""More than fits: rings, processes, call trees, references. Nothing is lost, nothing hangs."""

from __future__ import annotations

import itertools
import os
import random
import signal
import sys
import threading
import time

import haz
import pytest
from haz.exceptions import TaskCancelledError, WorkerCrashedError
from haz.testing import descendants, wait_until

from tests.python.native.fault_program import run_scenario
from tests.python.native.fault_tools import (
    is_empty,
    kill,
    raised,
    touch,
    touched,
    workers,
    world,
)

# ---- full rings ----------------------------------------------------------------------------------


def many_submissions(number):
    @haz.remote(num_cpus=0.1)
    def add(i):
        return i + 1

    @haz.remote
    def parent(n):
        refs = [add.remote(i) for i in range(n)]
        return sum(haz.get(refs)), sum(haz.get(refs[: n // 10]))

    @haz.remote
    def forgets(n):
        for i in range(n):
            add.remote(i)
        return n

    with world():
        total = number * (number + 1) // 2
        tenth = number // 10 * (number // 10 + 1) // 2
        assert haz.get(parent.remote(number)) == (total, tenth)
        # Several at once, with a driver that looks elsewhere.
        refs = [parent.remote(number // 10) for _ in range(4)]
        time.sleep(0.2)
        tenth = number // 10 * (number // 10 + 1) // 2
        assert [value[0] for value in haz.get(refs)] == [tenth] * 4
        assert haz.get(forgets.remote(number // 2)) == number // 2
        del refs


def test_a_worker_submits_very_many(tmp_path):
    run_scenario(many_submissions, tmp_path, number=100_000)


def many_values():
    @haz.remote(num_returns=3000)
    def returns(size):
        return [bytes([i % 251]) * size for i in range(3000)]

    @haz.remote
    def takes(*args):
        return len(args), sum(args)

    @haz.remote
    def takes_container(refs):
        return sum(haz.get(refs))

    @haz.remote
    def makes_container(n):
        return [haz.put(i) for i in range(n)]

    @haz.remote
    def lengths(*args):
        return sum(map(len, args))

    @haz.remote
    def does_all():
        got = haz.get(returns.remote(350))
        assert [value[0] for value in got] == [i % 251 for i in range(3000)]
        refs = [haz.put(i) for i in range(10_000)]
        assert haz.get(takes.remote(*refs)) == (10_000, 49_995_000)
        assert haz.get(takes_container.remote(refs)) == 49_995_000
        return refs

    with world():
        for size in (1, 350, 5000):
            got = haz.get(returns.remote(size))
            assert got == [bytes([i % 251]) * size for i in range(3000)]
            del got
        refs = [haz.put(i) for i in range(10_000)]
        assert haz.get(takes.remote(*refs)) == (10_000, 49_995_000)
        assert haz.get(takes_container.remote(refs)) == 49_995_000
        assert haz.get(haz.get(makes_container.remote(10_000))) == list(range(10_000))
        held = makes_container.remote(10_000)
        assert haz.get(takes_container.remote(held)) == 49_995_000
        assert sum(haz.get(haz.get(does_all.remote()))) == 49_995_000
        # Greater ones among the arguments.
        refs = [haz.put(b"x" * 900) for _ in range(3000)]
        assert haz.get(lengths.remote(*refs)) == 2_700_000
        del held, refs


def test_many_values_in_one_message(tmp_path):
    run_scenario(many_values, tmp_path)


def pushed_back():
    @haz.remote(num_cpus=0)
    def puts(n):
        refs = [haz.put(bytes(700)) for _ in range(n)]
        return len(refs)

    @haz.remote
    def value():
        return bytes(1000)

    @haz.remote
    def gets(refs):
        results = []
        # Replies of 64 kB come one after the other into a ring of that size.
        threads = [
            threading.Thread(target=lambda: results.append(len(haz.get(refs)))) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        sum(i * i for i in range(1_000_000))
        for thread in threads:
            thread.join()
        return sum(results)

    with world():
        refs = [puts.remote(3000) for _ in range(8)]
        # Holds the GIL, and so the driver's main thread.
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            sum(range(100_000))
        assert haz.get(refs) == [3000] * 8
        refs = [value.remote() for _ in range(500)]
        assert haz.get([gets.remote(refs) for _ in range(2)]) == [4000] * 2
        del refs


def test_rings_push_back(tmp_path):
    run_scenario(pushed_back, tmp_path)


def replies_that_wait():
    @haz.remote(num_cpus=0)
    def waits(refs, number):
        ready = []

        def use():
            touch("waits")
            ready.append(len(haz.wait(refs, num_returns=len(refs))[0]))
            ready.append(sum(haz.get(refs[:200])))

        threads = [threading.Thread(target=use) for _ in range(number)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return os.getpid(), sum(ready)

    @haz.remote(num_cpus=0)
    def opens():
        wait_until(lambda: touched("open"))
        return 1

    @haz.remote(num_cpus=0)
    def one(gate):
        return gate

    with world():
        # Each reply takes a fifth of the ring, and the worker is stopped while they are sent.
        gate = opens.remote()
        refs = [one.remote(gate) for _ in range(400)]
        result = waits.remote(refs, 12)
        wait_until(lambda: touched("waits") == 12)
        time.sleep(0.1)
        stopped = workers()
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        touch("open")
        for pid in stopped:
            # One after the other: only the last one's replies are all sent before it goes on.
            time.sleep(0.1)
            os.kill(pid, signal.SIGCONT)
        assert haz.get(result)[1] == 12 * 600
        # It is woken as ever.
        assert haz.get([one.remote(i) for i in range(200)]) == list(range(200))
        del gate, refs, result


def test_replies_wait_for_room(tmp_path):
    run_scenario(replies_that_wait, tmp_path)


# ---- call trees ----------------------------------------------------------------------------------


def many_parents(number, cpus, driver_cpus):
    @haz.remote
    def child(i):
        return i

    @haz.remote
    def parent(i):
        return haz.get(child.options(num_cpus=cpus).remote(i))

    @haz.remote
    def grandparent(i):
        a = child.options(num_cpus=cpus).remote(i)
        b = parent.options(num_cpus=cpus).remote(a)
        return sum(haz.get([b, parent.options(num_cpus=cpus).remote(b)]))

    with world(num_cpus=driver_cpus):
        most = 0
        stop = threading.Event()

        def watch():
            nonlocal most
            while not stop.wait(0.01):
                most = max(most, len(descendants()))

        thread = threading.Thread(target=watch)
        thread.start()
        refs = [parent.options(num_cpus=cpus).remote(i) for i in range(number)]
        assert haz.get(refs) == list(range(number))
        refs = [grandparent.options(num_cpus=cpus).remote(i) for i in range(number // 10)]
        assert haz.get(refs) == [2 * i for i in range(number // 10)]
        stop.set()
        thread.join()
        assert most <= 34, f"{most} processes"
        del refs


@pytest.mark.parametrize("cpus", [1, 0, 0.01])
def test_many_parents_wait_for_children(tmp_path, cpus):
    run_scenario(
        many_parents, tmp_path, number=10_000 if cpus == 1 else 4000, cpus=cpus, driver_cpus=2
    )


def deep_recursion(depth, cpus):
    @haz.remote
    def down(n):
        if n == 0:
            return 0
        return haz.get(down.options(num_cpus=cpus).remote(n - 1)) + 1

    @haz.remote
    def tree(n):
        if n == 0:
            return 1
        return sum(haz.get([tree.options(num_cpus=cpus).remote(n - 1) for _ in range(2)]))

    with world():
        assert haz.get(down.options(num_cpus=cpus).remote(depth)) == depth
        refs = [down.options(num_cpus=cpus).remote(depth // 4) for _ in range(8)]
        assert haz.get(refs) == [depth // 4] * 8
        assert haz.get([tree.options(num_cpus=cpus).remote(7) for _ in range(4)]) == [128] * 4
        # Some more than the cap, but far from one for each of the tasks that wait.
        assert len(descendants()) < 34 + depth // 4
        del refs


@pytest.mark.parametrize("cpus", [1, 0])
def test_deep_recursion(tmp_path, cpus):
    run_scenario(deep_recursion, tmp_path, depth=200, cpus=cpus)


def cancelled_trees():
    @haz.remote(max_retries=0)
    def down(n):
        if n == 0:
            touch("bottom")
            time.sleep(600)
        return haz.get(down.remote(n - 1))

    @haz.remote(max_retries=0)
    def good(n):
        return n if n == 0 else haz.get(good.remote(n - 1)) + 1

    with world():
        for depth in (3, 50, 80):
            before = touched("bottom")
            ref = down.remote(depth)
            wait_until(lambda before=before: touched("bottom") > before)
            haz.cancel(ref)
            assert isinstance(raised(haz.get, ref), TaskCancelledError)
            assert haz.get([good.remote(5) for _ in range(10)]) == [5] * 10
        # By force, while the others go on.
        for depth in (3, 50):
            before = touched("bottom")
            ref = down.remote(depth)
            wait_until(lambda before=before: touched("bottom") > before)
            others = [good.options(max_retries=-1).remote(20) for _ in range(3)]
            haz.cancel(ref, force=True)
            assert isinstance(raised(haz.get, ref), TaskCancelledError)
            for other in others:
                # A level of it may have run on top of one that was killed, and is not tried again.
                try:
                    assert haz.get(other) == 20
                except WorkerCrashedError:
                    pass
        # The root of one whose leaves are killed.
        before = touched("bottom")
        ref = down.remote(40)
        wait_until(lambda: touched("bottom") > before)
        for pid in workers():
            kill(pid)
        assert isinstance(raised(haz.get, ref), WorkerCrashedError)
        assert haz.get(good.remote(5)) == 5
        del ref, others, other


def test_call_trees_are_cancelled(tmp_path):
    run_scenario(cancelled_trees, tmp_path)


# ---- references ----------------------------------------------------------------------------------


def refs_in_every_order():
    @haz.remote
    def makes(size):
        return bytes(size)

    @haz.remote
    def slow(value, seconds):
        time.sleep(seconds)
        return value

    @haz.remote
    def inside(container):
        return container

    @haz.remote
    def gets_inside(container):
        return [haz.get(ref) for ref in container["refs"]]

    @haz.remote(num_returns=2)
    def two(value):
        return [value, [haz.put(value)]]

    @haz.remote
    def keeps(container):
        sys.kept = container
        return len(container)

    @haz.remote
    def forgets():
        sys.kept = None

    def open_box(box):
        return box[1]

    class Box:
        def __init__(self, size):
            self.size = size

        def __reduce__(self):
            return list, ((["padding"] * 1000, haz.put(bytes(self.size))),)

    @haz.remote
    def boxes(size, number=1):
        made = [Box(size) for _ in range(number)]
        return made if number > 1 else made[0]

    @haz.remote
    def opens(box):
        return len(haz.get(box[1]))

    with world():
        for size in (10, 10_000, 1_000_000):
            # Before the start, during the run, after it.
            ref = slow.remote(makes.remote(size), 0.05)
            del ref
            argument = haz.put(bytes(size))
            ref = slow.remote(argument, 0.02)
            del argument
            assert len(haz.get(ref)) == size
            inner = makes.remote(size)
            ref = inside.remote([inner, {"deeper": (inner,)}])
            del inner
            got = haz.get(ref)
            del ref
            assert len(haz.get(got[0])) == size
            assert got[0] == got[1]["deeper"][0]
            last = got.pop(0)
            del got
            assert len(haz.get(last)) == size
            # Returned, passed on, returned again.
            a, b = two.remote(bytes(size))
            del a
            (c,) = haz.get(inside.remote(haz.get(b)))
            del b
            assert len(haz.get(c)) == size
            # A container in a container in the store.
            nested = haz.put([haz.put([haz.put(bytes(size))])])
            middle = haz.get(nested)[0]
            del nested
            leaf = haz.get(middle)[0]
            del middle
            assert len(haz.get(leaf)) == size
            # Held only by a task that waits.
            gate = slow.remote(0.01, 0.05)
            ref = slow.remote([haz.put(bytes(size))], gate)
            del gate
            assert len(haz.get(haz.get(ref)[0])) == size
            ref = gets_inside.remote({"refs": [haz.put(bytes(size)), makes.remote(size)]})
            assert list(map(len, haz.get(ref))) == [size, size]
            # A cycle of Python objects around refs.
            cycle = [haz.put(bytes(size))]
            cycle.append(cycle)
            del cycle
            del ref, c, leaf, last
        wait_until(is_empty)

        # A ref that exists only while its holder is pickled.
        for size in (10, 10_000, 1_000_000):
            assert len(haz.get(open_box(haz.get(haz.put(Box(size)))))) == size
            assert len(haz.get(open_box(haz.get(inside.remote(Box(size)))))) == size
            assert len(haz.get(open_box(haz.get(boxes.remote(size))))) == size
            assert haz.get(opens.remote(Box(size))) == size
            assert haz.get(opens.remote(haz.put(Box(size)))) == size
            made = boxes.options(num_returns=2).remote(size, 2)
            assert [haz.get(opens.remote(box)) for box in made] == [size] * 2
        del made

        # All orders in which three handles of a chain can go.
        for order in itertools.permutations(range(3)):
            chain = [makes.remote(5000)]
            chain.append(inside.remote([chain[0]]))
            chain.append(inside.remote([chain[1]]))
            for i in order:
                chain[i] = None
            del chain
        # A task's own state keeps refs until it lets go of them.
        refs = [haz.put(bytes(2000)) for _ in range(10)]
        haz.get(keeps.remote(refs))
        del refs
        time.sleep(0.1)
        pids = workers()
        haz.get([forgets.remote() for _ in range(20)])
        for pid in pids:
            kill(pid)


def test_refs_are_dropped_in_every_order(tmp_path):
    run_scenario(refs_in_every_order, tmp_path)


def random_refs(steps):
    "A random program over refs, compared with what plain Python would hold."

    @haz.remote
    def wrap(*values):
        return list(values)

    @haz.remote
    def pick(container, i):
        return container[i % len(container)] if container else 0

    @haz.remote
    def sleep(value):
        time.sleep(0.001)
        return value

    @haz.remote
    def leaf(size):
        return [haz.put(bytes(size)), bytes(size)]

    with world():
        held = []
        for step in range(steps):
            kind = random.randrange(9)
            if kind == 0 or not held:
                held.append(haz.put([bytes(random.choice((5, 3000, 400_000)))]))
            elif kind == 1:
                held.append(wrap.remote(random.choices(held, k=random.randrange(1, 5))))
            elif kind == 2:
                held.append(wrap.remote(*random.choices(held, k=random.randrange(1, 4))))
            elif kind == 3:
                held.append(sleep.remote(random.choice(held)))
            elif kind == 4:
                held.append(leaf.remote(random.choice((5, 3000, 400_000))))
            elif kind == 5:
                value = haz.get(random.choice(held))
                refs = (
                    [one for one in value if isinstance(one, haz.ObjectRef)]
                    if isinstance(value, list)
                    else []
                )
                held.extend(refs)
                del value, refs
            elif kind == 6:
                held.append(haz.put(random.choices(held, k=3)))
            else:
                del held[random.randrange(len(held)) :: 3]
            if step % 50 == 49 and random.random() < 0.3:
                pids = workers()
                if pids:
                    kill(random.choice(pids))
            del held[: max(0, len(held) - 60)]
        for ref in held:
            haz.get(ref)
        held.clear()
        del ref


@pytest.mark.parametrize("seed", range(1, 4))
def test_random_programs_over_refs(tmp_path, seed):
    run_scenario(random_refs, tmp_path, seed=seed, steps=500)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 110))
def test_long_random_programs_over_refs(tmp_path, seed):
    run_scenario(random_refs, tmp_path, seed=seed, steps=4000)
