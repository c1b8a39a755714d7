"""Actors beside each other: processes, order of calls, places, limits."""

from __future__ import annotations

import os
import threading

import haz
import pytest
from haz import exceptions
from haz.testing import descendants, wait_until

from tests.engines import native_has_actors

pytestmark = pytest.mark.skipif(not native_has_actors(), reason="no actors in this engine")


@haz.remote
class Worker:
    def __init__(self):
        self.log = []

    def pid(self):
        return os.getpid()

    def thread(self):
        return threading.current_thread() is threading.main_thread()

    def add(self, x):
        self.log.append(x)
        return x

    def all(self):
        return self.log

    def meet(self, mine, other):
        mine.open()
        return other.wait()

    def wait_for(self, gate):
        return gate.wait()


@haz.remote
def wait_for(gate):
    return gate.wait()


@haz.remote
def meet(mine, other):
    mine.open()
    return other.wait()


def is_ready(ref, timeout=0):
    return bool(haz.wait([ref], timeout=timeout)[0])


# ---- processes ---------------------------------------------------------------------------------


def test_each_actor_has_its_process(node):
    workers = [Worker.remote() for _ in range(3)]
    pids = haz.get([worker.pid.remote() for worker in workers])
    assert len({os.getpid(), *pids}) == 4
    assert haz.get([worker.pid.remote() for worker in workers]) == pids
    assert set(pids) <= set(descendants())


def test_runs_on_the_main_thread(node):
    assert haz.get(Worker.remote().thread.remote())


def test_actors_run_in_parallel(node, gate):
    first, second = Worker.remote(), Worker.remote()
    refs = [
        first.meet.remote(gate("first"), gate("second")),
        second.meet.remote(gate("second"), gate("first")),
    ]
    assert haz.get(refs) == [True, True]


def test_actors_and_tasks_run_in_parallel(node, gate):
    worker = Worker.remote()
    ref = worker.meet.remote(gate("actor"), gate("task"))

    @haz.remote
    def task(mine, other):
        mine.open()
        return other.wait()

    assert haz.get([ref, task.remote(gate("task"), gate("actor"))]) == [True, True]


def test_more_actors_than_slots_run_at_once(node, gate):
    workers = [Worker.remote() for _ in range(8)]
    refs = [worker.meet.remote(gate(str(i)), gate("go")) for i, worker in enumerate(workers)]
    for i in range(8):
        gate(str(i)).wait()
    gate("go").open()
    assert haz.get(refs) == [True] * 8


def test_many_actors(node):
    workers = [Worker.remote() for _ in range(40)]
    assert haz.get([worker.add.remote(i) for i, worker in enumerate(workers)]) == list(range(40))
    assert len(set(haz.get([worker.pid.remote() for worker in workers]))) == 40


def test_process_ends_with_the_last_handle(node):
    worker = Worker.remote()
    pid = haz.get(worker.pid.remote())
    assert pid in descendants()
    del worker
    wait_until(lambda: pid not in descendants(), "the actor's process ends")


def test_process_ends_after_kill(node, gate):
    worker = Worker.remote()
    pid = haz.get(worker.pid.remote())
    running = worker.wait_for.remote(gate("never"))
    haz.kill(worker)
    wait_until(lambda: pid not in descendants(), "the actor's process ends")
    with pytest.raises(exceptions.ActorDiedError):
        haz.get(running)


def test_actors_of_actors_end_too(node):
    @haz.remote
    class Parent:
        def __init__(self):
            self.child = Worker.remote()

        def pids(self):
            return os.getpid(), haz.get(self.child.pid.remote())

    parent = Parent.remote()
    pids = set(haz.get(parent.pids.remote()))
    assert pids <= set(descendants())
    del parent
    wait_until(lambda: not pids & set(descendants()), "both processes end")


def test_program_that_ends_without_shutdown(run_program):
    done = run_program(
        """
        import os, haz

        @haz.remote
        class Worker:
            def pid(self):
                return os.getpid()

        worker = Worker.remote()
        print(haz.get(worker.pid.remote()))
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert not os.path.exists(f"/proc/{int(done.stdout)}")


def test_output_is_shown_with_the_name(run_program):
    done = run_program(
        """
        import haz

        @haz.remote
        class Talks:
            def __init__(self):
                print("made")
            def say(self, text):
                print(text)

        talks = Talks.remote()
        haz.get(talks.say.remote("hello"))
        haz.shutdown()
        """
    )
    lines = done.stdout.splitlines()
    assert any("Talks" in line and line.endswith("made") for line in lines), lines
    assert any("Talks" in line and line.endswith("hello") for line in lines), lines


# ---- order -------------------------------------------------------------------------------------


def test_calls_of_one_caller_wait_for_earlier_ones(node, gate):
    worker = Worker.remote()
    late = wait_for.remote(gate())
    refs = [worker.add.remote(late), worker.add.remote("second"), worker.add.remote("third")]
    assert not is_ready(refs[1], 0.1)
    gate().open()
    assert haz.get(refs) == [True, "second", "third"]
    assert haz.get(worker.all.remote()) == [True, "second", "third"]


def test_other_callers_do_not_wait(node, gate):
    worker = Worker.remote()
    mine = worker.add.remote(wait_for.remote(gate()))

    @haz.remote(num_cpus=0)
    def other(worker):
        return haz.get(worker.add.remote("other"))

    assert haz.get(other.remote(worker)) == "other"
    assert not is_ready(mine)
    gate().open()
    assert haz.get(mine) is True
    assert haz.get(worker.all.remote()) == ["other", True]


def test_out_of_order(node, gate):
    worker = Worker.options(allow_out_of_order_execution=True).remote()
    late = worker.add.remote(wait_for.remote(gate()))
    assert haz.get(worker.add.remote("overtakes")) == "overtakes"
    assert not is_ready(late)
    gate().open()
    assert haz.get(late) is True


def test_each_caller_keeps_its_order(node):
    worker = Worker.remote()

    @haz.remote(num_cpus=0)
    def call(worker, name):
        for i in range(100):
            ref = worker.add.remote((name, i))
        return haz.get(ref)

    haz.get([call.remote(worker, name) for name in "abc"])
    log = haz.get(worker.all.remote())
    assert len(log) == 300
    for name in "abc":
        assert [i for caller, i in log if caller == name] == list(range(100))


def test_failed_argument_does_not_block_later_calls(node):
    @haz.remote
    def fail():
        raise KeyError("argument")

    worker = Worker.remote()
    failed = worker.add.remote(fail.remote())
    assert haz.get(worker.add.remote(1)) == 1
    with pytest.raises(KeyError):
        haz.get(failed)
    assert haz.get(worker.all.remote()) == [1]


def test_priority_of_calls(node, gate):
    worker = Worker.remote()
    running = worker.meet.remote(gate("running"), gate("go"))
    gate("running").wait()
    low = [worker.add.options(priority=-1).remote(f"low {i}") for i in range(2)]
    plain = [worker.add.remote(f"plain {i}") for i in range(2)]
    high = [worker.add.options(priority=5).remote(f"high {i}") for i in range(2)]
    gate("go").open()
    haz.get([running, *low, *plain, *high])
    assert haz.get(worker.all.remote()) == [
        *("high 0", "high 1", "plain 0", "plain 1", "low 0", "low 1"),
    ]


def test_priority_of_tasks(gate, tally):
    haz.init(engine="native", num_cpus=1)

    @haz.remote
    def note(tally, text):
        tally.add(text)

    blocker = wait_for.remote(gate())
    refs = [note.options(priority=p).remote(tally, f"p{p}") for p in (0, 1, -1, 2)]
    gate().open()
    haz.get([blocker, *refs])
    assert tally.lines() == ["p2", "p1", "p0", "p-1"]


# ---- places ------------------------------------------------------------------------------------


def test_a_place_is_needed_to_start(node, gate):
    blockers = [meet.remote(gate(f"runs {i}"), gate()) for i in range(2)]
    for i in range(2):
        gate(f"runs {i}").wait()  # tasks and new actors take turns, so both must run before
    worker = Worker.remote()
    ready = worker.__ray_ready__.remote()
    assert not is_ready(ready, 0.2)
    gate().open()
    assert haz.get([*blockers, ready]) == [True] * 3


def test_no_place_is_needed_with_num_cpus_0(node, gate):
    blockers = [wait_for.remote(gate()) for _ in range(2)]
    worker = Worker.options(num_cpus=0).remote()
    assert haz.get(worker.add.remote(1)) == 1
    gate().open()
    haz.get(blockers)


def test_held_cpus(node, gate):
    first, second = (Worker.options(num_cpus=1).remote() for _ in range(2))
    haz.get([first.pid.remote(), second.pid.remote()])
    third = Worker.options(num_cpus=1).remote()
    ready = third.add.remote(3)
    task = wait_for.remote(gate())
    gate().open()
    assert not is_ready(ready, 0.2)
    assert not is_ready(task)
    haz.kill(first)
    assert haz.get(ready) == 3
    del second
    assert haz.get(task) is True


def test_tasks_have_slots_beside_idle_actors(node, gate):
    workers = [Worker.remote() for _ in range(4)]
    haz.get([worker.pid.remote() for worker in workers])
    refs = [meet.remote(gate("a"), gate("b")), meet.remote(gate("b"), gate("a"))]
    assert haz.get(refs) == [True, True]


def test_all_slots_wait_for_an_actor_that_needs_tasks(node):
    @haz.remote
    def leaf(x):
        return x + 1

    @haz.remote
    class Server:
        def serve(self, x):
            return haz.get(leaf.remote(x))

    server = Server.remote()

    @haz.remote
    def client(x):
        return haz.get(server.serve.remote(x))

    assert haz.get([client.remote(i) for i in range(10)]) == list(range(1, 11))


def test_call_of_itself_waits_for_its_turn(node):
    @haz.remote
    class Selfish:
        def __init__(self):
            self.log = []

        def outer(self):
            me = haz.get_runtime_context().current_actor
            ref = me.inner.remote()
            self.log.append("outer")
            return [ref]

        def inner(self):
            self.log.append("inner")
            return self.log

    (ref,) = haz.get(Selfish.remote().outer.remote())
    assert haz.get(ref) == ["outer", "inner"]


# ---- limits ------------------------------------------------------------------------------------


def test_max_pending_calls(node, gate):
    worker = Worker.options(max_pending_calls=3).remote()
    haz.get(worker.pid.remote())
    refs = [
        worker.meet.remote(gate("running"), gate("go")),
        *(worker.add.remote(i) for i in (1, 2)),
    ]
    with pytest.raises(exceptions.PendingCallsLimitExceededError, match="3"):
        worker.add.remote(3)
    gate("go").open()
    assert haz.get(refs) == [True, 1, 2]
    assert haz.get(worker.add.remote(4)) == 4
    assert haz.get(worker.all.remote()) == [1, 2, 4]


def test_many_pending_calls(node, gate):
    worker = Worker.remote()
    blocker = worker.meet.remote(gate("running"), gate("go"))
    refs = [worker.add.remote(i) for i in range(20_000)]
    gate("go").open()
    assert haz.get(refs) == list(range(20_000))
    assert haz.get(blocker)


@haz.remote(max_concurrency=3)
class Threaded:
    def __init__(self):
        self.barrier = threading.Barrier(3)
        self.lock = threading.Lock()
        self.inside = 0
        self.most = 0

    def meet(self):
        self.barrier.wait(60)
        return threading.get_ident()

    def enter(self, seconds):
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        threading.Event().wait(seconds)
        with self.lock:
            self.inside -= 1

    def get_most(self):
        return self.most

    def fail(self):
        raise LookupError("thread")

    def facts(self):
        context = haz.get_runtime_context()
        return context.get_task_name(), context.current_actor

    def nested(self, x):
        return haz.get(haz.remote(lambda y: y + 1).remote(x))


def test_threads_run_side_by_side(node):
    threaded = Threaded.remote()
    idents = haz.get([threaded.meet.remote() for _ in range(3)])
    assert len(set(idents)) == 3


def test_no_more_threads_than_max_concurrency(node):
    threaded = Threaded.remote()
    haz.get([threaded.enter.remote(0.01) for _ in range(30)])
    assert 1 <= haz.get(threaded.get_most.remote()) <= 3


def test_threads_have_their_own_context(node):
    threaded = Threaded.remote()
    refs = [threaded.facts.options(name=f"call {i}").remote() for i in range(12)]
    assert haz.get(refs) == [(f"call {i}", threaded) for i in range(12)]
    with pytest.raises(LookupError) as caught:
        haz.get(threaded.fail.remote())
    assert caught.value.task_name == "Threaded.fail"
    assert haz.get([threaded.nested.remote(i) for i in range(12)]) == list(range(1, 13))


def test_concurrency_groups_of_threads(node, gate):
    @haz.remote(concurrency_groups={"io": 2, "health": 1})
    class Grouped:
        def __init__(self):
            self.barrier = threading.Barrier(2)

        def work(self, running, go):
            running.open()
            return go.wait()

        @haz.method(concurrency_group="io")
        def read(self):
            return self.barrier.wait(60)

        @haz.method(concurrency_group="health")
        def health(self):
            return "fine"

    grouped = Grouped.remote()
    working = grouped.work.remote(gate("running"), gate("go"))
    queued = grouped.work.remote(gate("second"), gate("go"))
    gate("running").wait()
    assert haz.get(grouped.health.remote()) == "fine"
    assert sorted(haz.get([grouped.read.remote(), grouped.read.remote()])) == [0, 1]
    assert haz.get(grouped.work.options(concurrency_group="health").remote(gate("h"), gate("h")))
    assert not gate("second").is_open()
    gate("go").open()
    assert haz.get([working, queued]) == [True, True]
