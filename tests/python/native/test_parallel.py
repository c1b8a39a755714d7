"""Tasks run side by side, in processes of their own, within their resources."""

from __future__ import annotations

import linecache
import os
import random
import signal
import sys
import threading
import time

import haz
import pytest
from haz import exceptions
from haz.testing import wait_until


@haz.remote
def one():
    return 1


@haz.remote
def opens_and_waits(mine, other):
    mine.open()
    return other.wait()


def test_two_tasks_meet(node, gate):
    a, b = gate("a"), gate("b")
    assert haz.get([opens_and_waits.remote(a, b), opens_and_waits.remote(b, a)]) == [True, True]


def test_remote_returns_before_the_task_ends(node, gate):
    ref = opens_and_waits.remote(gate("running"), gate("go"))
    gate("running").wait()
    with pytest.raises(exceptions.GetTimeoutError):
        haz.get(ref, timeout=0)
    gate("go").open()
    assert haz.get(ref) is True


def test_tasks_are_in_other_processes(node):
    f = haz.remote(os.getpid)
    pids = set(haz.get([f.remote() for _ in range(50)]))
    assert os.getpid() not in pids
    assert 1 <= len(pids) <= 8


def test_random_numbers_differ_between_workers(node, gate):
    numpy = pytest.importorskip("numpy")

    @haz.remote
    def draw(mine, other):
        mine.open()
        other.wait()
        return os.getpid(), random.random(), float(numpy.random.rand())

    a, b = gate("a"), gate("b")
    first, second = haz.get([draw.remote(a, b), draw.remote(b, a)])
    assert first[0] != second[0]
    assert first[1] != second[1]
    assert first[2] != second[2]


def test_driver_can_hold_the_lock_of_python(node, gate):
    refs = [opens_and_waits.remote(gate(f"r{i}"), gate("go")) for i in range(2)]
    gate("go").open()
    end = time.monotonic() + 0.3
    while time.monotonic() < end:  # busy, and never lets go by itself
        pass
    assert haz.get(refs) == [True, True]


# ---- get and wait with time limits -----------------------------------------------------------


def test_get_timeout(node, gate):
    ref = opens_and_waits.remote(gate("running"), gate("go"))
    start = time.monotonic()
    with pytest.raises(exceptions.GetTimeoutError, match="is not ready yet") as caught:
        haz.get(ref, timeout=0.2)
    assert time.monotonic() - start >= 0.2
    assert isinstance(caught.value, TimeoutError)
    assert repr(ref) in str(caught.value)
    with pytest.raises(exceptions.GetTimeoutError, match="2 of 4 objects are not") as caught:
        haz.get([haz.put(1), ref, haz.put(2), ref], timeout=0.05)
    assert repr(ref) in str(caught.value)

    @haz.remote
    def asks(refs):
        with pytest.raises(exceptions.GetTimeoutError) as caught:
            haz.get(refs, timeout=0.01)
        return str(caught.value)

    assert f"1 of 2 objects are not ready yet, the first is {ref!r}" in haz.get(
        asks.remote([haz.put(1), ref])
    )
    gate("go").open()
    assert haz.get(ref, timeout=60) is True


def test_wait_timeout(node, gate):
    slow = opens_and_waits.remote(gate("running"), gate("go"))
    fast = haz.put(1)
    assert haz.wait([slow, fast], num_returns=2, timeout=0.1) == ([fast], [slow])
    assert haz.wait([slow, fast], num_returns=2, timeout=0) == ([fast], [slow])
    assert haz.wait([slow], timeout=0) == ([], [slow])
    gate("go").open()
    assert haz.wait([slow, fast], num_returns=2) == ([slow, fast], [])


def test_wait_gives_what_is_ready_in_the_order_of_the_list(node, gate):
    refs = [opens_and_waits.remote(gate(f"r{i}"), gate(f"go{i}")) for i in range(2)]
    gate("go1").open()
    assert haz.wait(refs) == ([refs[1]], [refs[0]])
    gate("go0").open()
    assert haz.wait(refs, num_returns=2) == (refs, [])


def test_wait_far_down_the_list(node, gate):
    slow = opens_and_waits.remote(gate("running"), gate("go"))
    pending = [opens_and_waits.remote(gate("never"), gate("go")) for _ in range(40)]
    fast = [haz.put(i) for i in range(3)]
    refs = [slow, *pending, *fast]
    assert haz.wait(refs) == ([fast[0]], [slow, *pending, *fast[1:]])
    assert haz.wait(refs, num_returns=3) == (fast, [slow, *pending])
    assert haz.wait(refs, num_returns=4, timeout=0) == (fast, [slow, *pending])
    gate("go").open()
    assert len(haz.wait(refs, num_returns=len(refs))[0]) == len(refs)


def test_list_changes_while_it_is_waited_for(node, gate):
    slow = opens_and_waits.remote(gate("running"), gate("go"))
    refs = [slow]
    main = threading.get_ident()

    def is_in_native_call():
        frame = sys._current_frames()[main]
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
        return frame.f_code is haz.wait.__code__ and "engine.wait(" in line

    def change():
        # When this thread gets to run in the middle of that call, the list has been read.
        wait_until(is_in_native_call)
        refs.clear()
        gate("go").open()

    threading.Thread(target=change).start()
    ready, rest = haz.wait(refs)
    assert (ready, rest, refs) == ([slow], [], [])


def test_ctrl_c_in_get(node, gate):
    ref = opens_and_waits.remote(gate("running"), gate("go"))
    gate("running").wait()
    for call in (lambda: haz.get(ref), lambda: haz.wait([ref])):
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):  # maybe before `call` has begun
            timer.start()
            call()
        timer.join()
    gate("go").open()
    assert haz.get(ref) is True
    assert haz.get(one.remote()) == 1


def test_other_threads_run_while_get_waits(node, gate):
    ref = opens_and_waits.remote(gate("running"), gate("go"))
    threading.Timer(0.1, gate("go").open).start()
    assert haz.get(ref) is True


def test_await_what_is_not_ready(node, gate):
    import asyncio

    async def main():
        ref = opens_and_waits.remote(gate("running"), gate("go"))
        task = asyncio.ensure_future(_awaiting(ref))
        other = asyncio.ensure_future(_awaiting(ref))
        while not gate("running").is_open():
            await asyncio.sleep(0.001)
        other.cancel()
        assert not task.done()
        gate("go").open()
        return await task

    assert asyncio.run(main()) is True


def test_future_of_what_is_not_ready(node, gate):
    future = opens_and_waits.remote(gate("running"), gate("go")).future()
    assert not future.done()
    gate("go").open()
    assert future.result(90) is True


def test_await_at_shutdown(node, gate):
    import asyncio

    async def main():
        task = asyncio.ensure_future(
            _awaiting(opens_and_waits.remote(gate("running"), gate("never")))
        )
        while not gate("running").is_open():
            await asyncio.sleep(0.001)
        await asyncio.to_thread(haz.shutdown)
        with pytest.raises(exceptions.HazError):
            await task

    asyncio.run(main())


async def _awaiting(ref):
    return await ref


def test_get_in_a_thread_at_shutdown(node, gate):
    ref = opens_and_waits.remote(gate("running"), gate("never"))
    gate("running").wait()
    raised = []

    def work():
        try:
            haz.get(ref)
        except exceptions.HazError as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.05)
    haz.shutdown()
    thread.join(60)
    assert not thread.is_alive()
    assert len(raised) == 1


# ---- resources -------------------------------------------------------------------------------


class Alone:
    """Fails if two are inside at a time."""

    def __init__(self, path):
        self.path = str(path)

    def __enter__(self):
        os.close(os.open(self.path, os.O_CREAT | os.O_EXCL))

    def __exit__(self, *_):
        os.unlink(self.path)


@pytest.mark.parametrize("options", [{"num_cpus": 2}, {"num_cpus": 0, "resources": {"crane": 1}}])
def test_resources_keep_tasks_apart(node, tmp_path, options):
    @haz.remote
    def alone(guard):
        with guard:
            time.sleep(0.005)

    guard = Alone(tmp_path / "guard")
    haz.get([alone.options(**options).remote(guard) for _ in range(10)])


def test_fractions_share_a_slot(node, gate):
    quarter = opens_and_waits.options(num_cpus=0.5)
    refs = [
        quarter.remote(gate(str(i)), gate(str((i + 1) % 4)))
        for i in range(4)  # only all four together can end
    ]
    assert haz.get(refs) == [True] * 4


def test_a_running_task_holds_its_resources(node, gate):
    ref = opens_and_waits.options(resources={"crane": 1}).remote(gate("running"), gate("go"))
    gate("running").wait()
    available = haz.available_resources()
    assert available["CPU"] == 1
    assert "crane" not in available
    gate("go").open()
    haz.get(ref)
    wait_until(lambda: haz.available_resources().get("crane") == 1)


# ---- blocking --------------------------------------------------------------------------------


@haz.remote
def depth(n):
    return 0 if n == 0 else 1 + haz.get(depth.remote(n - 1))


def test_deep_nesting_on_one_cpu():
    haz.init(engine="native", num_cpus=1)
    assert haz.get(depth.remote(30)) == 30


def test_many_parents_blocked_on_children(node):
    @haz.remote
    def parent(i):
        return haz.get(child.remote(i)) + 1

    @haz.remote
    def child(i):
        return 2 * i

    assert haz.get([parent.remote(i) for i in range(300)]) == [2 * i + 1 for i in range(300)]
    assert len(haz.testing.descendants()) < 200


@pytest.mark.slow
def test_ten_thousand_parents(node):
    @haz.remote
    def parent(i):
        return haz.get(one.remote()) + i

    assert haz.get([parent.remote(i) for i in range(10_000)]) == [i + 1 for i in range(10_000)]


def test_tree(node):
    @haz.remote
    def total(low, high):
        if high - low <= 4:
            return sum(range(low, high))
        middle = (low + high) // 2
        return sum(haz.get([total.remote(low, middle), total.remote(middle, high)]))

    assert haz.get(total.remote(0, 200)) == sum(range(200))


def test_parent_waits_with_wait(node):
    @haz.remote
    def parent():
        left, results = [one.remote() for _ in range(10)], []
        while left:
            ready, left = haz.wait(left)
            results += haz.get(ready)
        return sum(results)

    assert haz.get([parent.remote() for _ in range(5)]) == [10] * 5


# ---- what a task leaves behind in its worker -------------------------------------------------


def test_state_of_a_worker_is_put_back(node, tmp_path):
    @haz.remote(num_cpus=2)
    def spoil(folder):
        os.chdir(folder)
        os.environ["HAZ_TEST_SPOILT"] = "yes"
        os.environ.pop("PATH", None)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        return os.getpid()

    @haz.remote(num_cpus=2)
    def look():
        return (
            os.getcwd(),
            os.environ.get("HAZ_TEST_SPOILT"),
            "PATH" in os.environ,
            signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL,
        )

    for _ in range(3):
        haz.get(spoil.remote(str(tmp_path)))
        assert haz.get(look.remote()) == (os.getcwd(), None, True, True)


def test_max_calls_replaces_the_worker(node):
    f = haz.remote(max_calls=1, num_cpus=2)(os.getpid)
    pids = [haz.get(f.remote()) for _ in range(4)]
    assert len(set(pids)) == 4


def test_worker_ids(node, gate):
    @haz.remote
    def f(mine, other):
        mine.open()
        other.wait()
        return haz.get_runtime_context().get_worker_id()

    a, b = gate("a"), gate("b")
    ids = haz.get([f.remote(a, b), f.remote(b, a)])
    assert len({*ids, haz.get_runtime_context().get_worker_id()}) == 3


def test_preloaded_modules():
    haz.init(engine="native", num_cpus=1, preload=["colorsys"])

    @haz.remote(max_calls=1)
    def f():
        import sys

        return "colorsys" in sys.modules

    # The first workers may have been forked before the import was done.
    wait_until(lambda: haz.get(f.remote()))


def test_what_the_program_has_imported_is_preloaded():
    import dataclasses  # noqa: F401

    haz.init(engine="native", num_cpus=1)

    @haz.remote(max_calls=1)
    def f():
        import sys

        return {"haz._core.actor_worker", "dataclasses"} <= set(sys.modules)

    wait_until(lambda: haz.get(f.remote()))


def test_a_module_that_hides_one_of_the_library_is_not_preloaded(run_program, tmp_path):
    (tmp_path / "queue.py").write_text("import os\nprint('imported in', os.getpid())\n")
    done = run_program(
        """
        import os
        import queue
        import time

        import haz

        haz.init()

        @haz.remote(max_calls=1)
        def f():
            import sys

            return "haz._core.actor_worker" in sys.modules and "queue" in sys.modules

        while not haz.get(haz.remote(max_calls=1)(lambda: "haz._core.actor_worker" in
                                                  __import__("sys").modules).remote()):
            time.sleep(0.01)
        time.sleep(0.3)
        assert not haz.get(f.remote())
        haz.shutdown()
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("imported in") == 1


# ---- many ------------------------------------------------------------------------------------


def test_many_small_tasks(node):
    echo = haz.remote(lambda x: x)
    assert haz.get([echo.remote(i) for i in range(20_000)]) == list(range(20_000))


def test_many_refs_as_arguments(node):
    refs = [haz.put(i) for i in range(10_000)]
    assert haz.get(haz.remote(lambda *args: sum(args)).remote(*refs)) == sum(range(10_000))
    boxed = haz.remote(lambda refs: sum(haz.get(refs)))
    assert haz.get(boxed.remote(refs)) == sum(range(10_000))


def test_many_returns(node):
    refs = haz.remote(num_returns=3000)(lambda: range(3000)).remote()
    assert haz.get(refs) == list(range(3000))


def test_submitting_from_many_workers(node):
    @haz.remote
    def spread(n):
        return [one.remote() for _ in range(n)]

    lists = haz.get([spread.remote(500) for _ in range(8)])
    assert sum(sum(haz.get(refs)) for refs in lists) == 4000


@pytest.mark.slow
def test_a_million_queued_tasks(node):
    refs = [one.remote() for _ in range(1_000_000)]
    assert sum(haz.get(refs)) == 1_000_000
