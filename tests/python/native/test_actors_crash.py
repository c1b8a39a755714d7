"""Actors whose processes die: what their calls say, restarts, repeated calls; never a hang."""

from __future__ import annotations

import ctypes
import gzip
import os
import random
import signal
import sys
import time

import haz
import pytest
from haz import exceptions
from haz.testing import descendants, wait_until
from haz.util import list_named_actors

from tests.engines import native_has_actors

pytestmark = pytest.mark.skipif(not native_has_actors(), reason="no actors in this engine")


@haz.remote
class Mortal:
    def __init__(self, tally=None, on_start=None):
        self.value = 0
        if tally is not None:
            tally.add("made")
        if on_start is not None:
            on_start()

    def add(self):
        self.value += 1
        return self.value

    def pid(self):
        return os.getpid()

    def die(self, how="SIGKILL"):
        if how == "exit":
            print("the last words", file=sys.stderr, flush=True)
            os._exit(7)
        elif how == "segv":
            ctypes.string_at(0)
        else:
            os.kill(os.getpid(), getattr(signal, how))
            time.sleep(60)

    def die_until(self, tally, count):
        tally.add()
        if tally.count() < count:
            os.kill(os.getpid(), signal.SIGKILL)
        return tally.count(), haz.get_runtime_context().get_attempt_number()

    def wait(self, running, go):
        running.open()
        go.wait()
        return "went on"

    def keep(self, refs):
        self.kept = refs

    def restarted(self):
        return haz.get_runtime_context().was_current_actor_reconstructed


def died(ref, kind=exceptions.ActorDiedError):
    with pytest.raises(kind) as caught:
        haz.get(ref)
    return caught.value


def lost(ref):
    """The error of a call that was lost at a restart."""
    return died(ref, exceptions.ActorError)


# ---- without restarts --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "number"), [("segv", 11), ("SIGKILL", 9), ("SIGTERM", 15), ("SIGABRT", 6)]
)
def test_signal(node, how, number):
    mortal = Mortal.remote()
    pid = haz.get(mortal.pid.remote())
    error = died(mortal.die.remote(how))
    assert (error.reason, error.signal, error.pid) == ("signal", number, pid)
    assert error.actor_id == mortal._actor_id.hex()
    assert error.class_name == "Mortal"
    assert error.task_name == "Mortal.die"
    for word in ("Mortal", signal.Signals(number).name, str(pid)):
        assert word in str(error)
    later = died(mortal.add.remote())
    assert (later.reason, later.signal, later.task_name) == ("signal", number, "Mortal.add")


def test_exit_code(node):
    mortal = Mortal.remote()
    error = died(mortal.die.remote("exit"))
    assert (error.reason, error.exit_code, error.signal) == ("exit_code", 7, None)
    assert "the last words" in error.stderr
    assert "the last words" in str(error)


def test_calls_that_wait_fail_too(node, gate):
    mortal = Mortal.remote()
    pid = haz.get(mortal.pid.remote())
    running = mortal.wait.remote(gate("running"), gate("never"))
    queued = [mortal.add.remote() for _ in range(50)]
    gate("running").wait()
    os.kill(pid, signal.SIGKILL)
    for ref in (running, *queued):
        error = died(ref)
        assert (error.signal, error.pid) == (9, pid)


def test_killed_while_idle(node):
    mortal = Mortal.options(name="mortal").remote()
    pid = haz.get(mortal.pid.remote())
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: list_named_actors() == [], "the death is noticed")
    assert died(mortal.add.remote()).pid == pid


def test_killed_in_the_constructor(node, tally):
    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    mortal = Mortal.remote(tally, die)
    error = died(mortal.add.remote())
    assert error.signal == 9
    assert tally.count() == 1


def test_resources_come_back(node):
    mortal = Mortal.options(num_cpus=2, resources={"crane": 1}).remote()
    died(mortal.die.remote())

    def free():
        resources = haz.available_resources()
        return resources["CPU"], resources["crane"]

    total = haz.cluster_resources()
    wait_until(lambda: free() == (total["CPU"], total["crane"]))
    other = Mortal.options(num_cpus=2).remote()
    assert haz.get(other.add.remote()) == 1


def test_what_it_held_is_freed(gate):
    haz.init(engine="native", num_cpus=2, object_store_memory=30_000_000)
    mortal = Mortal.remote()
    haz.get(mortal.keep.remote([haz.put(bytes(20_000_000))]))

    def put():
        try:
            return haz.put(bytes(20_000_000))
        except exceptions.ObjectStoreFullError:
            return None

    assert put() is None
    died(mortal.die.remote())
    assert wait_until(put)


def test_an_actor_that_it_held_ends(node):
    child = Mortal.options(name="child").remote()
    parent = Mortal.remote()
    haz.get(parent.keep.remote(child))
    del child
    assert haz.get(haz.get_actor("child").add.remote()) == 1
    died(parent.die.remote())
    wait_until(lambda: list_named_actors() == [], "the child ends too")


def test_many_pending_calls_to_a_dead_actor(node, gate):
    mortal = Mortal.remote()
    running = mortal.wait.remote(gate("running"), gate("never"))
    refs = [mortal.add.remote() for _ in range(10_000)]
    gate("running").wait()
    haz.kill(mortal)
    ready, rest = haz.wait([running, *refs], num_returns=10_001, timeout=100)
    assert (len(ready), rest) == (10_001, [])
    for ref in (running, *refs[::97]):
        assert died(ref).reason == "killed"
    assert died(mortal.add.remote()).reason == "killed"


def test_handle_in_a_task_after_the_death(node):
    mortal = Mortal.remote()
    died(mortal.die.remote())

    @haz.remote
    def use(mortal):
        return haz.get(mortal.add.remote())

    assert died(use.remote(mortal)).reason == "signal"


def test_caller_dies(node, gate):
    """Calls of a task whose worker dies run or not, and the actor goes on."""
    mortal = Mortal.remote()

    @haz.remote(max_retries=0)
    def caller(mortal):
        refs = [mortal.add.remote() for _ in range(100)]
        os.kill(os.getpid(), signal.SIGKILL)
        return refs

    died(caller.remote(mortal), exceptions.WorkerCrashedError)
    assert 1 <= haz.get(mortal.add.remote()) <= 101


# ---- kill --------------------------------------------------------------------------------------


def test_kill_in_the_middle_of_a_call(node, gate):
    mortal = Mortal.options(max_restarts=3, max_task_retries=3).remote()
    running = mortal.wait.remote(gate("running"), gate("never"))
    queued = mortal.add.remote()
    gate("running").wait()
    haz.kill(mortal)
    for ref in (running, queued):
        assert died(ref).reason == "killed"


def test_kill_in_the_constructor(node, gate):
    mortal = Mortal.remote(None, gate("never").wait)
    ref = mortal.add.remote()
    assert haz.wait([ref], timeout=0.2)[0] == []
    haz.kill(mortal)
    assert died(ref).reason == "killed"


def test_kill_before_it_has_a_place(node, gate):
    @haz.remote
    def block(gate):
        return gate.wait()

    blockers = [block.remote(gate()) for _ in range(2)]
    mortal = Mortal.remote()
    ref = mortal.add.remote()
    haz.kill(mortal)
    assert died(ref).reason == "killed"
    gate().open()
    assert haz.get(blockers) == [True, True]


def test_kill_while_an_argument_of_the_constructor_is_awaited(node, gate):
    @haz.remote
    def late(gate):
        gate.wait()

    mortal = Mortal.remote(late.remote(gate()))
    ref = mortal.add.remote()
    haz.kill(mortal)
    assert died(ref).reason == "killed"
    gate().open()


def test_kill_with_restart_in_the_middle_of_a_call(node, gate):
    mortal = Mortal.options(max_restarts=1, max_task_retries=1).remote()
    ref = mortal.wait.remote(gate("running"), gate("go"))
    gate("running").wait()
    haz.kill(mortal, no_restart=False)
    gate("go").open()
    assert haz.get(ref) == "went on"
    assert haz.get(mortal.restarted.remote()) is True


def test_stubborn_method(node, gate):
    @haz.remote
    class Stubborn:
        def run(self, running):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            while True:
                try:
                    running.open()
                    time.sleep(0.01)
                except BaseException:
                    pass

        def pid(self):
            return os.getpid()

    stubborn = Stubborn.remote()
    pid = haz.get(stubborn.pid.remote())
    ref = stubborn.run.remote(gate())
    gate().wait()
    haz.kill(stubborn)
    assert died(ref).reason == "killed"
    wait_until(lambda: pid not in descendants())


# ---- exit --------------------------------------------------------------------------------------


def test_exit_drops_calls_that_wait(node, gate):
    @haz.remote(max_restarts=5, max_task_retries=5)
    class Leaves:
        def leave(self, gate):
            gate.wait()
            haz.actor.exit_actor()

        def get(self):
            return 1

    leaves = Leaves.remote()
    refs = [leaves.leave.remote(gate()), *(leaves.get.remote() for _ in range(20))]
    gate().open()
    for ref in refs:
        assert died(ref).reason == "exited"


def test_exit_from_a_method_in_a_thread(node):
    @haz.remote(max_concurrency=2)
    class Leaves:
        def leave(self):
            haz.actor.exit_actor()

        def sleep(self):
            time.sleep(600)

    leaves = Leaves.remote()
    sleeping = leaves.sleep.remote()
    assert died(leaves.leave.remote()).reason == "exited"
    assert died(sleeping).reason == "exited"


def test_exit_runs_atexit_handlers(node, gate):
    @haz.remote
    class Tidy:
        def __init__(self, gate):
            import atexit

            atexit.register(gate.open)

        def get(self):
            return 1

    tidy = Tidy.remote(gate())
    assert haz.get(tidy.get.remote()) == 1
    died(tidy.__ray_terminate__.remote())
    assert gate().wait()


@pytest.mark.parametrize("how", ["handle", "terminate"])
def test_the_end_of_an_actor_is_that_of_an_interpreter(node, gate, tally, tmp_path, how):
    """Nothing that it has begun to write is lost."""

    @haz.remote
    class Writer:
        def __init__(self, tally, folder):
            import gzip
            import threading

            self.tally = tally
            self.text = open(f"{folder}/text", "w")
            self.text.write("written")
            self.cycle = [self]
            globals()["_packed"] = gzip.open(f"{folder}/packed", "wt")
            _packed.write("packed")  # noqa: F821
            self.thread = threading.Thread(target=self.work, args=(tally,))
            self.thread.start()

        @staticmethod
        def work(tally):
            time.sleep(0.2)
            tally.add("thread")

        def __del__(self):
            self.tally.add("instance")

        def pid(self):
            return os.getpid()

    writer = Writer.remote(tally, tmp_path)
    pid = haz.get(writer.pid.remote())
    if how == "terminate":
        died(writer.__ray_terminate__.remote())
    del writer
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"), "its process has ended")
    assert sorted(tally.lines()) == ["instance", "thread"]
    assert (tmp_path / "text").read_text() == "written"
    with gzip.open(tmp_path / "packed", "rt") as packed:
        assert packed.read() == "packed"


def test_an_atexit_function_that_fails(node, gate, capfd):
    @haz.remote
    class Untidy:
        def __init__(self, gate):
            import atexit

            atexit.register(gate.open)
            atexit.register(lambda: 1 // 0)

        def get(self):
            return 1

    untidy = Untidy.remote(gate())
    assert haz.get(untidy.get.remote()) == 1
    died(untidy.__ray_terminate__.remote())
    assert gate().wait()
    wait_until(lambda: "ZeroDivisionError" in capfd.readouterr().err, "the failure is shown")


# ---- restarts ----------------------------------------------------------------------------------


def test_restart(node, tally):
    mortal = Mortal.options(max_restarts=1).remote(tally)
    pid = haz.get(mortal.pid.remote())
    assert haz.get([mortal.add.remote(), mortal.restarted.remote()]) == [1, False]
    lost(mortal.die.remote())
    wait_until(lambda: tally.count() == 2, "the constructor runs again")
    assert _eventually(mortal.add) == 1
    assert haz.get(mortal.restarted.remote()) is True
    assert haz.get(mortal.pid.remote()) != pid
    died(mortal.die.remote())
    error = died(mortal.add.remote())
    assert error.restarts == 1
    assert "again 1 time" in str(error)
    assert tally.count() == 2


def _eventually(method):
    """The result of a call, tried again for as long as the actor is being started again."""

    def call():
        try:
            return [haz.get(method.remote())]
        except exceptions.ActorUnavailableError:
            return None

    return wait_until(call)[0]


def test_restart_while_idle(node, tally):
    mortal = Mortal.options(max_restarts=-1).remote(tally)
    for made in range(2, 5):
        os.kill(_eventually(mortal.pid), signal.SIGKILL)
        wait_until(lambda made=made: tally.count() == made, "the constructor runs again")
    assert _eventually(mortal.add) == 1


def test_arguments_of_the_constructor_are_kept(node, tally):
    @haz.remote(max_restarts=-1, max_task_retries=-1)
    class Keeper:
        def __init__(self, value, boxed):
            self.value = value, haz.get(boxed[0])

        def get(self):
            return self.value

        def die(self, tally):
            tally.add()
            if tally.count() == 1:
                os._exit(1)

    value = haz.put("x" * 100_000)
    boxed = haz.put("y" * 100_000)
    keeper = Keeper.remote(value, [boxed])
    del value, boxed
    haz.get(keeper.die.remote(tally))
    assert [len(part) for part in haz.get(keeper.get.remote())] == [100_000, 100_000]


def test_constructor_that_fails_at_the_restart(node, tally):
    @haz.remote(max_restarts=3)
    class Once:
        def __init__(self, tally):
            tally.add()
            if tally.count() > 1:
                raise ValueError("only once")

        def die(self):
            os._exit(1)

        def get(self):
            return 1

    once = Once.remote(tally)
    assert haz.get(once.get.remote()) == 1
    lost(once.die.remote())

    def end():
        try:
            haz.get(once.get.remote())
        except exceptions.ActorUnavailableError:
            return None
        except exceptions.ActorDiedError as error:
            return error
        return None

    error = wait_until(end)
    assert error.reason == "constructor"
    assert isinstance(error.__cause__, ValueError)
    assert tally.count() == 2


def test_constructor_that_dies_is_restarted(node, tally):
    @haz.remote(max_restarts=2)
    class Third:
        def __init__(self, tally):
            tally.add()
            if tally.count() < 3:
                os._exit(1)

        def get(self):
            return "made at last"

    assert _eventually(Third.remote(tally).get) == "made at last"
    assert tally.count() == 3


def test_calls_that_wait_survive_a_restart(node, gate):
    mortal = Mortal.options(max_restarts=1, max_task_retries=1).remote()
    running = mortal.wait.remote(gate("running"), gate("go"))
    queued = [mortal.add.remote() for _ in range(20)]
    gate("running").wait()
    haz.kill(mortal, no_restart=False)
    gate("go").open()
    assert haz.get(running) == "went on"
    assert haz.get(queued) == list(range(1, 21))


def test_calls_that_did_not_start_take_no_retry(node, gate):
    mortal = Mortal.options(max_restarts=1, max_task_retries=0).remote()
    running = mortal.wait.remote(gate("running"), gate("never"))
    queued = [mortal.add.remote() for _ in range(5)]
    gate("running").wait()
    haz.kill(mortal, no_restart=False)
    lost(running)
    assert haz.get(queued) == [1, 2, 3, 4, 5]


def test_repeated_call(node, tally):
    mortal = Mortal.options(max_restarts=-1, max_task_retries=-1).remote()
    assert haz.get(mortal.die_until.remote(tally, 4)) == (4, 3)


@pytest.mark.parametrize("retries", [0, 2])
def test_retries_are_used_up(node, tally, retries):
    mortal = Mortal.options(max_restarts=-1).remote()
    lost(mortal.die_until.options(max_task_retries=retries).remote(tally, 100))
    assert tally.count() == retries + 1
    assert _eventually(mortal.add) == 1


def test_restarts_are_used_up_before_the_retries(node, tally):
    mortal = Mortal.options(max_restarts=2, max_task_retries=-1).remote()
    error = died(mortal.die_until.remote(tally, 100))
    assert tally.count() == 3
    assert error.restarts == 2


def test_order_after_a_restart(node, gate):
    @haz.remote(max_restarts=1, max_task_retries=1)
    class Log:
        def __init__(self):
            self.seen = []

        def wait(self, running, go):
            running.open()
            go.wait()
            self.seen.append("waited")

        def add(self, x):
            self.seen.append(x)

        def all(self):
            return self.seen

    log = Log.remote()
    log.wait.remote(gate("running"), gate("go"))
    for i in range(50):
        log.add.remote(i)
    gate("running").wait()
    haz.kill(log, no_restart=False)
    for i in range(50, 60):
        log.add.remote(i)
    gate("go").open()
    assert haz.get(log.all.remote()) == ["waited", *range(60)]


def test_a_restart_needs_its_resources_again(node):
    mortal = Mortal.options(max_restarts=-1, max_task_retries=-1, num_cpus=2).remote()
    pid = haz.get(mortal.pid.remote())
    assert haz.available_resources().get("CPU", 0) == 0
    os.kill(pid, signal.SIGKILL)
    assert haz.get(mortal.add.remote()) == 1
    assert haz.available_resources().get("CPU", 0) == 0


def test_restart_storm(node, tally):
    """Actors that die all the time, and calls that are repeated for as long as it takes."""
    actors = [Mortal.options(max_restarts=-1, max_task_retries=-1).remote() for _ in range(3)]
    refs = [actor.die_until.remote(tally, 20) for actor in actors]
    counts = haz.get(refs)
    assert all(count >= 20 for count, _ in counts)
    assert sum(attempt for _, attempt in counts) + 3 <= tally.count()


def test_name_stays_over_a_restart(node, tally):
    mortal = Mortal.options(name="phoenix", max_restarts=1).remote(tally)
    lost(mortal.die.remote())
    assert haz.get_actor("phoenix") == mortal
    assert _eventually(haz.get_actor("phoenix").add) == 1


# ---- cancel and time limits --------------------------------------------------------------------


def test_cancel_a_queued_call(node, gate, tally):
    mortal = Mortal.remote()
    running = mortal.wait.remote(gate("running"), gate("go"))
    refs = [mortal.die_until.options(name=f"n{i}").remote(tally, 0) for i in range(5)]
    gate("running").wait()
    for ref in refs[:3]:
        haz.cancel(ref)
        with pytest.raises(exceptions.TaskCancelledError):
            haz.get(ref)
    gate("go").open()
    assert haz.get(running) == "went on"
    haz.get(refs[3:])
    assert tally.count() == 2


def test_cancel_a_call_that_waits_for_an_argument(node, gate, tally):
    @haz.remote
    def late(gate):
        gate.wait()
        return tally

    mortal = Mortal.remote()
    ref = mortal.die_until.remote(late.remote(gate()), 0)
    after = mortal.add.remote()
    haz.cancel(ref)
    with pytest.raises(exceptions.TaskCancelledError):
        haz.get(ref)
    assert haz.get(after) == 1
    gate().open()
    assert tally.count() == 0


def test_cancel_a_running_call_of_a_sync_actor(node, gate):
    mortal = Mortal.remote()
    ref = mortal.wait.remote(gate("running"), gate("go"))
    gate("running").wait()
    haz.cancel(ref)  # an interrupt would leave the actor's state half changed
    gate("go").open()
    assert haz.get(ref) == "went on"
    assert haz.get(mortal.add.remote()) == 1  # the actor and its state stay
    with pytest.raises(ValueError, match=r"haz\.kill"):
        haz.cancel(mortal.add.remote(), force=True)


def test_a_running_call_that_was_cancelled_tells_how_it_ended(node, gate):
    @haz.remote(max_restarts=1, max_task_retries=3)
    class Ends:
        def end(self, how, running, go):
            running.open()
            go.wait()
            if how == "raises":
                raise LookupError("its own")
            os._exit(3)

    ends = Ends.remote()
    for how, kind in (("raises", LookupError), ("dies", exceptions.ActorUnavailableError)):
        ref = ends.end.remote(how, gate(f"{how} runs"), gate(f"{how} goes"))
        gate(f"{how} runs").wait()
        haz.cancel(ref)
        gate(f"{how} goes").open()
        with pytest.raises(kind):
            haz.get(ref)


def test_time_limit_of_a_call(node):
    @haz.remote
    class Slow:
        def __init__(self):
            self.made = os.urandom(8)

        @haz.method(timeout_s=0.2)
        def sleep(self, seconds):
            time.sleep(seconds)
            return self.made

    slow = Slow.remote()
    made = haz.get(slow.sleep.options(timeout_s=60).remote(0))
    with pytest.raises(exceptions.TaskTimeoutError, match=r"Slow\.sleep"):
        haz.get(slow.sleep.remote(600))
    assert haz.get(slow.sleep.options(timeout_s=60).remote(0)) == made


class Stubborn:
    """Heeds no interrupt."""

    @haz.method(timeout_s=1.5)  # long enough to have begun on a busy machine
    def spin(self):
        while True:
            try:
                time.sleep(60)
            except BaseException:
                pass

    def wait(self, running, go):
        running.open()
        go.wait()

    def add(self):
        return 1


def test_a_time_limit_that_is_not_heeded_is_why_the_actor_died(node):
    actor = haz.remote(Stubborn).options(name="mule").remote()
    overran = actor.spin.remote()
    waiting = actor.add.remote()
    with pytest.raises(exceptions.TaskTimeoutError, match=r"Stubborn\.spin"):
        haz.get(overran)
    for ref in (waiting, actor.add.remote()):
        with pytest.raises(exceptions.ActorDiedError) as caught:
            haz.get(ref)
        told = str(caught.value)
        assert "actor Stubborn 'mule'" in told
        assert "haz killed process" in told
        assert "Stubborn.spin overran its limit of 1.5 s" in told
        assert "kernel" not in told
        assert caught.value.why_killed.startswith("Stubborn.spin overran")
        assert caught.value.actor_name == "mule"


def test_other_calls_of_the_process_are_told_why_too(node, gate):
    actor = haz.remote(Stubborn).options(max_restarts=1, max_concurrency=2).remote()
    running = actor.wait.remote(gate("other"), gate("never"))
    gate("other").wait()
    overran = actor.spin.remote()
    with pytest.raises(exceptions.TaskTimeoutError):
        haz.get(overran)
    with pytest.raises(exceptions.ActorUnavailableError, match=r"overran its limit of 1\.5 s"):
        haz.get(running)
    assert haz.get(actor.add.remote()) == 1


def test_a_call_may_ask_whether_it_was_cancelled(node, gate):
    @haz.remote
    class Polite:
        def run(self, running):
            running.open()
            while not haz.get_runtime_context().is_canceled():
                time.sleep(0.005)
            return "ended by itself"

    polite = Polite.remote()
    ref = polite.run.remote(gate("running"))
    gate("running").wait()
    haz.cancel(ref)
    assert haz.get(ref) == "ended by itself"
    assert not haz.get_runtime_context().is_canceled()


def test_an_actor_that_always_dies_is_started_less_and_less_often(node, tally):
    @haz.remote(max_restarts=-1)
    class Doomed:
        def __init__(self):
            tally.add()
            os._exit(3)

        def add(self):
            return 1

    begin = time.monotonic()
    doomed = Doomed.remote()
    ref = doomed.add.remote()
    wait_until(lambda: tally.count() >= 6)
    time.sleep(1)
    starts, passed = tally.count(), time.monotonic() - begin
    pauses = [0, 0, *(min(0.02 * 2**n, 4) for n in range(100))]  # before each start
    assert starts <= next(n for n in range(len(pauses)) if sum(pauses[: n + 1]) > passed)
    haz.kill(doomed)
    with pytest.raises(exceptions.ActorDiedError, match="ended it"):
        haz.get(ref)


def test_the_user_is_told_of_an_actor_that_always_dies(run_program):
    done = run_program("""
        import os, time
        import haz

        haz.init()

        @haz.remote(max_restarts=-1)
        class Doomed:
            def __init__(self, path):
                with open(path, "a") as file:
                    file.write("x")
                os._exit(3)

        path = __file__ + ".count"
        doomed = Doomed.options(name="lemming").remote(path)
        while not os.path.exists(path) or os.path.getsize(path) < 8:
            time.sleep(0.01)
        haz.kill(doomed)
        haz.shutdown()
    """)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("actor Doomed 'lemming' has died 5 times in a row") == 1
    assert "exited with code 3" in done.stderr


def test_an_async_actor_that_is_killed_before_it_is_there_comes_up_at_last(node):
    @haz.remote(max_restarts=-1)
    class Async:
        async def pid(self):
            return os.getpid()

    actor = Async.remote()
    for _ in range(200):
        haz.kill(actor, no_restart=False)
        time.sleep(0.002)
    assert haz.get(actor.pid.remote()) != os.getpid()


# ---- long --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_kills_at_random_points(node, tally):
    """Every ref ends with a value or an error, whatever dies when."""
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    actors = [Mortal.options(max_restarts=-1, max_task_retries=2).remote() for _ in range(3)]

    @haz.remote(max_retries=2)
    def work(deadly):
        if deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return haz.get(rng.choice(actors).add.remote())

    pids = {}
    end = time.monotonic() + 60
    while time.monotonic() < end:
        refs = []
        for _ in range(rng.randrange(1, 300)):
            if rng.random() < 0.2:
                refs.append(work.remote(rng.random() < 0.05))
            else:
                refs.append(rng.choice(actors).add.remote())
        asked = {actor: actor.pid.remote() for actor in actors}
        if pids and rng.random() < 0.7:
            try:
                os.kill(rng.choice(list(pids.values())), signal.SIGKILL)
            except ProcessLookupError:
                pass
        for ref in refs:
            try:
                haz.get(ref, timeout=100)
            except (exceptions.ActorError, exceptions.WorkerCrashedError):
                pass
        pids = {}
        for actor, ref in asked.items():
            try:
                pids[actor] = haz.get(ref, timeout=100)
            except exceptions.ActorError:
                pass
    assert sorted(_eventually(actor.add) > 0 for actor in actors) == [True] * 3
