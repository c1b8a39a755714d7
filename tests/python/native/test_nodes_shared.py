"""Long-lived nodes: what programs share, and what they do not."""

from __future__ import annotations

import asyncio
import os
import signal
import threading

import haz
import pytest
from haz.exceptions import (
    ActorDiedError,
    NodeDiedError,
    OwnerDiedError,
    PendingCallsLimitExceededError,
)
from haz.testing import wait_until

from tests.python.native.node_tools import is_suspended, runs, said

# ---- actors and refs --------------------------------------------------------------------------


COUNTER = """
import haz, os, sys, time

@haz.remote
class Counter:
    def __init__(self): self.n = 0; self.kept = []
    def add(self, by=1): self.n += by; return self.n
    def keep(self, refs): self.kept = refs
    def give(self): return self.kept
    def pid(self): return os.getpid()
"""


def test_a_detached_actor_outlives_its_program(running):
    running.run(
        COUNTER
        + """
haz.init(namespace="ours")
c = Counter.options(name="counter", lifetime="detached").remote()
haz.get([c.add.remote(), c.add.remote()])
"""
    )
    wait_until(lambda: not running.status()["drivers"])
    assert running.status()["named_actors"] == [["ours", "counter"]]
    haz.init(address="auto", namespace="ours")
    counter = haz.get_actor("counter")
    assert haz.get(counter.add.remote()) == 3
    assert haz.util.list_named_actors() == ["counter"]
    pid = haz.get(counter.pid.remote())
    haz.shutdown()
    assert runs(pid)
    haz.init(address="auto")
    with pytest.raises(ValueError, match="no actor"):
        haz.get_actor("counter")
    counter = haz.get_actor("counter", namespace="ours")
    haz.kill(counter)
    with pytest.raises(ActorDiedError):
        haz.get(counter.add.remote())
    del counter
    haz.shutdown()
    wait_until(running.is_empty)
    wait_until(lambda: not runs(pid))


def test_a_detached_placement_group_outlives_its_program(running):
    running.run(
        """
import haz
haz.init(namespace="ours")
group = haz.util.placement_group([{"CPU": 1}], name="reserved", lifetime="detached")
assert group.wait(60)
haz.util.placement_group([{"CPU": 1}], name="short", lifetime="non_detached").wait(60)
"""
    )
    wait_until(lambda: not running.status()["drivers"])
    haz.init(address="auto", namespace="ours")
    total = haz.cluster_resources()["CPU"]
    wait_until(lambda: haz.available_resources()["CPU"] == total - 1)
    with pytest.raises(ValueError, match="short"):
        haz.util.get_placement_group("short")
    group = haz.util.get_placement_group("reserved")

    @haz.remote(num_cpus=1)
    def where():
        return haz.util.get_current_placement_group()

    assert haz.get(where.options(placement_group=group).remote()) == group
    haz.util.remove_placement_group(group)
    wait_until(lambda: haz.available_resources()["CPU"] == total)
    haz.shutdown()
    wait_until(running.is_empty)


def test_get_if_exists_finds_the_actor_of_another_program(running):
    code = (
        COUNTER
        + """
haz.init(namespace="ours")
options = dict(name="counter", lifetime="detached", get_if_exists=True)
print(haz.get(Counter.options(**options).remote().add.remote()))
"""
    )
    assert [running.run(code) for _ in range(3)] == ["1\n", "2\n", "3\n"]


def test_a_detached_actor_is_started_again(running):
    running.run(
        COUNTER
        + """
haz.init(namespace="ours")
c = Counter.options(name="counter", lifetime="detached", max_restarts=-1).remote()
haz.get(c.add.remote())
"""
    )
    haz.init(address="auto", namespace="ours")
    counter = haz.get_actor("counter")
    pid = haz.get(counter.pid.remote())
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not runs(pid))

    def answers():
        try:
            return haz.get(counter.pid.remote()) != pid
        except haz.exceptions.ActorUnavailableError:
            return False

    assert wait_until(answers)
    haz.kill(counter)


def test_an_actor_that_is_not_detached_ends_with_its_program(running):
    program = running.driver(
        COUNTER
        + """
haz.init(namespace="ours")
c = Counter.options(name="counter").remote()
haz.get(c.add.remote())
print("ready", flush=True)
sys.stdin.readline()
"""
    )
    said(program, "ready")
    haz.init(address="auto", namespace="ours")
    counter = haz.get_actor("counter")
    assert haz.get(counter.add.remote()) == 2
    program.communicate("\n", timeout=60)
    with pytest.raises(ActorDiedError, match="program ended"):
        haz.get(counter.add.remote())


def test_refs_of_another_program_are_valid_while_somebody_holds_them(running):
    running.run(
        COUNTER
        + """
haz.init(namespace="ours")
c = Counter.options(name="counter", lifetime="detached").remote()
haz.get(c.keep.remote([haz.put(b"a" * 1_000_000), haz.put("small")]))
"""
    )
    wait_until(lambda: not running.status()["drivers"])
    haz.init(address="auto", namespace="ours")
    counter = haz.get_actor("counter")
    big, small = haz.get(counter.give.remote())
    assert haz.get(small) == "small"
    haz.get(counter.keep.remote([]))
    haz.kill(counter)
    assert haz.get(big) == b"a" * 1_000_000
    del big, small, counter
    haz.shutdown()
    wait_until(running.is_empty)


def test_a_task_of_a_program_that_has_ended_is_an_error_to_others(running):
    program = running.driver(
        COUNTER
        + """
haz.init(namespace="ours")
@haz.remote
def sleep(): time.sleep(1000)
c = Counter.options(name="counter", lifetime="detached").remote()
haz.get(c.keep.remote([sleep.remote()]))
print("ready", flush=True)
sys.stdin.readline()
"""
    )
    said(program, "ready")
    haz.init(address="auto", namespace="ours")
    counter = haz.get_actor("counter")
    [ref] = haz.get(counter.give.remote())
    program.kill()
    with pytest.raises(OwnerDiedError, match="sleep"):
        haz.get(ref)
    haz.kill(counter)


def test_a_call_beyond_the_limit_is_refused_at_the_call(running):
    @haz.remote
    class Gate:
        def __init__(self):
            self.is_open = asyncio.Event()

        async def pass_(self):
            await self.is_open.wait()
            return 1

        async def open(self):
            self.is_open.set()

    @haz.remote
    def call_again(gate):
        try:
            gate.pass_.remote()
        except PendingCallsLimitExceededError as error:
            return str(error)
        return "taken"

    haz.init(address="auto")
    gate = Gate.options(max_pending_calls=3).remote()
    refs = [gate.pass_.remote() for _ in range(2)]
    assert "taken" in haz.get(call_again.remote(gate))  # it counts until it has ended
    store = running.status()["store_used_bytes"]
    for refused in (gate.pass_.remote, gate.pass_.options(num_returns=2).remote):
        with pytest.raises(PendingCallsLimitExceededError, match="3 calls"):
            refused()
    assert "3 calls" in haz.get(call_again.remote(gate))
    with pytest.raises(PendingCallsLimitExceededError):
        gate.__ray_call__.remote(lambda self, data: len(data), bytes(3_000_000))
    wait_until(lambda: running.status()["store_used_bytes"] <= store)
    haz.kill(gate)
    with pytest.raises(ActorDiedError):
        haz.get(refs)
    with pytest.raises(ActorDiedError):
        haz.get(gate.pass_.remote())


def test_a_call_of_a_limited_actor_ends_with_the_server(running):
    @haz.remote
    class Actor:
        def call(self):
            return 1

    haz.init(address="auto")
    actor = Actor.options(max_pending_calls=5).remote()
    assert haz.get(actor.call.remote()) == 1
    pid = running.status()["pid"]
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: is_suspended(pid))
    ends = threading.Timer(0.5, os.kill, (pid, signal.SIGKILL))
    ends.start()
    with pytest.raises(NodeDiedError):
        actor.call.remote()  # waits for the answer
    ends.join()


def test_output_goes_to_the_program_whose_task_it_is(running):
    code = """
        import haz

        @haz.remote
        def speak(word, i):
            print("says", word, i)

        haz.get([speak.remote({word!r}, i) for i in range(3)])
    """
    programs = [running.driver(code.format(word=word)) for word in ("alpha", "beta")]
    outputs = [program.communicate(timeout=120)[0] for program in programs]
    assert outputs[0].count("says alpha") == 3
    assert outputs[1].count("says beta") == 3
    assert "beta" not in outputs[0]
    assert "alpha" not in outputs[1]


def test_floods_of_equal_lines_are_folded_for_each_program(running):
    code = """
        import haz

        @haz.remote
        def speak(i):
            for _ in range(100):
                print("the same line")

        haz.get([speak.remote(i) for i in range(4)])
    """
    programs = [running.driver(code) for _ in range(2)]
    for program in programs:
        out, err = program.communicate(timeout=120)
        assert program.returncode == 0, err
        assert 0 < out.count("the same line") < 60, out
        assert "[repeated" in out
    whole = running.run(code, HAZ_DEDUP_LOGS="0")
    assert whole.count("the same line") == 400


@pytest.mark.parametrize("ends_by", ["haz.shutdown()", "sys.exit()"])
def test_a_program_that_reads_late_has_all_output_when_it_has_left(running, ends_by):
    code = f"""
        import atexit, os, sys, time

        lines = []
        atexit.register(lambda: print(len(lines), file=sys.__stdout__))  # behind haz' own
        import haz

        pids = []

        class LateReader:
            def write(self, text):
                while not pids or any(os.path.exists(f"/proc/{{pid}}") for pid in pids):
                    time.sleep(0.01)
                if not lines:
                    time.sleep(0.3)  # the server hears of their ends, too
                lines.append(text)

            def flush(self):
                pass

        sys.stdout = LateReader()

        @haz.remote
        def speak():
            for i in range(500):
                print(i, "x" * 500)
            return os.getpid()

        haz.init()
        pids += haz.get([speak.remote() for _ in range(2)])
        {ends_by}
    """
    assert running.run(code) == "1000\n"


def test_a_program_is_told_how_many_lines_it_did_not_take(running):
    code = """
        import haz, sys, threading

        reads = threading.Event()

        class LateReader:
            def __init__(self): self.lines = []
            def write(self, text): reads.wait(); self.lines.append(text)
            def flush(self): pass

        sys.stdout, sys.stderr = LateReader(), LateReader()

        @haz.remote
        def speak():
            for i in range(5000):
                print(i, "x" * 5000)

        haz.get(speak.remote())
        reads.set()
        haz.shutdown()
        lost = [int(notice.split()[1]) for notice in sys.stderr.lines]
        last = int(sys.stdout.lines[-1].split()[2])
        print(len(sys.stdout.lines), sum(lost), last, file=sys.__stdout__)
    """
    shown, lost, last = map(int, running.run(code).split())
    assert lost > 0
    assert shown + lost == 5000
    assert last == 4999


def test_eight_programs_work_at_once(running):
    code = """
        import haz, sys

        @haz.remote
        def square(i, data=None):
            return i * i

        haz.init()
        print("ready", flush=True)
        sys.stdin.readline()
        big = haz.put(bytes(300_000))
        for start in range(0, 2000, 500):
            refs = [square.remote(i, big) for i in range(start, start + 500)]
            assert haz.get(refs) == [i * i for i in range(start, start + 500)]
        print("done", flush=True)
    """
    programs = [running.driver(code) for _ in range(8)]
    for program in programs:
        said(program, "ready")
    assert len(running.status()["drivers"]) == 8
    for program in programs:
        program.stdin.write("\n")
        program.stdin.flush()
    for program in programs:
        said(program, "done")
        assert program.wait(120) == 0
    wait_until(running.is_empty)


def test_programs_that_follow_each_other_at_once_do_not_meet(running):
    code = (
        "import haz; f = haz.remote(lambda i: i); print(haz.get([f.remote(i) for i in range(3)]))"
    )
    for _ in range(15):
        programs = [running.driver(code) for _ in range(3)]
        for program in programs:
            out, err = program.communicate(timeout=120)
            assert out == "[0, 1, 2]\n", err


def test_a_program_that_has_left_and_lives_keeps_its_place(running):
    waits = """
        import haz, sys
        haz.init()
        haz.get(haz.remote(lambda: 1).remote())
        haz.shutdown()
        print("left", flush=True)
        sys.stdin.readline()
        haz.init()
        print("second", haz.get(haz.remote(lambda: 2).remote()), flush=True)
    """
    program = running.driver(waits)
    said(program, "left")
    for _ in range(3):
        assert running.run("import haz; print(haz.get(haz.remote(lambda: 7).remote()))") == "7\n"
    program.stdin.write("\n")
    program.stdin.flush()
    said(program, "second 2")
    program.communicate(timeout=120)
    wait_until(running.is_empty)
