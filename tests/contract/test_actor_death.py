"""How actors end: constructors that fail, kill, exit, dropped handles; and what calls say then."""

from __future__ import annotations

import gc
import os
import pickle
import sys
import threading

import haz
import pytest
from haz import exceptions
from haz.testing import wait_until
from haz.util import list_named_actors


class Bad(Exception):
    def __init__(self, code, text):
        super().__init__(f"{code}: {text}")
        self.code = code


@haz.remote
class Plain:
    def __init__(self, value=0):
        self.value = value

    def get(self):
        return self.value

    def exit(self):
        haz.actor.exit_actor()

    def exit_in_try(self):
        try:
            haz.actor.exit_actor()
        except Exception:
            return "caught"
        finally:
            self.value = "unwound"

    def sys_exit(self, code=None):
        sys.exit(code)

    def kill_me(self):
        haz.kill(haz.get_runtime_context().current_actor)


@haz.remote
class Broken:
    def __init__(self, kind, *args):
        raise kind(*args)

    def get(self):
        return 1


def died(ref, reason=None):
    """The ActorDiedError that `ref` holds."""
    with pytest.raises(exceptions.ActorDiedError) as caught:
        haz.get(ref)
    if reason is not None:
        assert caught.value.reason == reason
    return caught.value


# ---- constructors ------------------------------------------------------------------------------


def test_constructor_that_raises(engine):
    broken = Broken.remote(Bad, 3, "colour")
    error = died(broken.get.remote(), "constructor")
    assert error.actor_init_failed
    assert not error.preempted
    assert error.class_name == "Broken"
    assert error.task_name == "Broken.get"
    assert error.actor_id == broken._actor_id.hex()
    assert "Broken.__init__" in str(error)
    assert "3: colour" in str(error)
    cause = error.__cause__
    assert isinstance(cause, Bad)
    assert cause.code == 3
    assert "raise kind(*args)" in str(cause)
    assert isinstance(error, exceptions.RayActorError)
    died(broken.get.remote(), "constructor")
    died(broken.__ray_ready__.remote(), "constructor")


def test_constructor_whose_argument_failed(engine):
    @haz.remote
    def fail():
        raise KeyError("argument")

    plain = Plain.remote(fail.remote())
    error = died(plain.get.remote(), "constructor")
    assert isinstance(error.__cause__, KeyError)


def test_constructor_that_exits(engine):
    @haz.remote
    class Leaves:
        def __init__(self):
            haz.actor.exit_actor()

        def get(self):
            return 1

    died(Leaves.remote().get.remote(), "exited")


def test_constructor_with_an_error_that_can_not_be_pickled(engine):
    @haz.remote
    class Odd:
        def __init__(self):
            error = ValueError("odd")
            error.lock = threading.Lock()
            raise error

        def get(self):
            return 1

    error = died(Odd.remote().get.remote(), "constructor")
    assert isinstance(error.__cause__, ValueError)


def test_calls_made_before_the_constructor_failed(engine):
    broken = Broken.remote(ValueError, "no")
    refs = [broken.get.remote() for _ in range(100)]
    ready, rest = haz.wait(refs, num_returns=100)
    assert (len(ready), len(rest)) == (100, 0)
    for ref in refs:
        died(ref, "constructor")


def test_error_can_be_pickled_and_passed_on(engine):
    broken = Broken.remote(ValueError, "no")
    error = died(broken.get.remote())
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert (again.reason, again.actor_id) == (error.reason, error.actor_id)

    @haz.remote
    def use(x):
        return x

    with pytest.raises(exceptions.ActorDiedError, match="use"):
        haz.get(use.remote(broken.get.remote()))

    @haz.remote
    def call(handle):
        return haz.get(handle.get.remote())

    with pytest.raises(exceptions.ActorDiedError):
        haz.get(call.remote(broken))


# ---- kill --------------------------------------------------------------------------------------


def test_kill(engine):
    plain = Plain.remote(1)
    before = plain.get.remote()
    assert haz.get(before) == 1
    haz.kill(plain)
    error = died(plain.get.remote(), "killed")
    assert "haz.kill" in str(error)
    assert haz.get(before) == 1
    haz.kill(plain)  # once more does nothing


def test_kill_by_another_handle(engine):
    plain = Plain.options(name="plain").remote()
    haz.get(plain.get.remote())

    @haz.remote
    def kill(handle):
        haz.kill(handle)

    haz.get(kill.remote(haz.get_actor("plain")))
    died(plain.get.remote(), "killed")


def test_kill_itself(engine):
    plain = Plain.remote()
    died(plain.kill_me.remote(), "killed")
    died(plain.get.remote(), "killed")


def test_kill_at_once(engine):
    plain = Plain.remote()
    haz.kill(plain)
    died(plain.get.remote(), "killed")


@pytest.mark.parametrize("wrong", [None, 1, "Plain", Plain])
def test_kill_of_something_else(engine, wrong):
    with pytest.raises(ValueError, match="handle of an actor"):
        haz.kill(wrong)


def test_kill_of_a_ref(engine):
    with pytest.raises(ValueError, match=r"haz\.cancel"):
        haz.kill(haz.put(1))


def test_kill_with_a_restart(engine, tally):
    @haz.remote(max_restarts=1)
    class Phoenix:
        def __init__(self, value):
            tally.add()
            self.value = value

        def add(self):
            self.value += 1
            return self.value, haz.get_runtime_context().was_current_actor_reconstructed

    phoenix = Phoenix.remote([haz.put(5)][0])
    assert haz.get(phoenix.add.remote()) == (6, False)
    haz.kill(phoenix, no_restart=False)

    def restarted():
        try:
            return haz.get(phoenix.add.remote())
        except (exceptions.ActorUnavailableError, exceptions.ActorDiedError):
            return None

    assert wait_until(restarted) == (6, True)
    assert tally.count() == 2
    haz.kill(phoenix, no_restart=False)
    wait_until(lambda: restarted() is None)
    error = died(phoenix.add.remote())
    assert error.restarts == 1
    assert tally.count() == 2


def test_kill_without_a_restart(engine):
    plain = Plain.options(max_restarts=-1).remote()
    haz.get(plain.get.remote())
    haz.kill(plain)
    died(plain.get.remote(), "killed")


# ---- exit --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["exit", "exit_in_try"])
def test_exit_actor(engine, method):
    plain = Plain.options(max_restarts=5).remote()
    error = died(getattr(plain, method).remote(), "exited")
    assert "exit_actor" in str(error)
    died(plain.get.remote(), "exited")
    assert list_named_actors() == []


def test_sys_exit(engine):
    plain = Plain.remote()
    died(plain.sys_exit.remote(), "exited")
    died(plain.get.remote(), "exited")


def test_sys_exit_with_a_code(engine):
    plain = Plain.remote()
    error = died(plain.sys_exit.remote(3), "exit_code")
    assert error.exit_code == 3
    assert "exit code 3" in str(error)
    died(plain.get.remote())


def test_terminate(engine):
    plain = Plain.remote(4)
    before = plain.get.remote()
    ending = plain.__ray_terminate__.remote()
    after = plain.get.remote()
    assert haz.get(before) == 4
    died(ending, "exited")
    died(after, "exited")
    other = Plain.remote()
    died(other.__haz_terminate__.remote(), "exited")


def test_exit_in_a_call_of_a_function(engine):
    plain = Plain.remote()
    died(plain.__ray_call__.remote(lambda self: haz.actor.exit_actor()), "exited")


def test_exit_elsewhere(engine):
    @haz.remote
    def leave():
        haz.actor.exit_actor()

    with pytest.raises(TypeError, match="no method of one"):
        haz.get(leave.remote())
    with pytest.raises(TypeError, match="no method of one"):
        haz.actor.exit_actor()


# ---- the last handle ---------------------------------------------------------------------------


def alive():
    return len(list_named_actors())


def test_ends_with_its_last_handle(engine):
    plain = Plain.options(name="plain").remote()
    haz.get(plain.get.remote())
    same = haz.get(haz.put(plain))
    del plain
    assert haz.get(same.get.remote()) == 0
    assert alive() == 1
    del same
    wait_until(lambda: alive() == 0)


def test_calls_made_before_are_done(engine, tally):
    @haz.remote
    class Works:
        def work(self):
            tally.add()
            return tally.count()

    works = Works.options(name="works").remote()
    refs = [works.work.remote() for _ in range(20)]
    del works
    assert haz.get(refs) == list(range(1, 21))
    wait_until(lambda: alive() == 0)


def test_a_method_keeps_the_actor(engine):
    get = Plain.options(name="plain").remote(2).get
    assert haz.get(get.remote()) == 2
    assert alive() == 1
    del get
    wait_until(lambda: alive() == 0)


def test_methods_that_were_used_do_not_keep_it(engine):
    gc.collect()
    gc.disable()  # no cycles, so that the end does not wait for the collector
    try:
        plain = Plain.options(name="plain").remote()
        refs = [plain.get.remote(), plain.get.options(name="n").remote()]
        assert haz.get(refs) == [0, 0]
        del plain
        wait_until(lambda: alive() == 0)
    finally:
        gc.enable()


def test_an_object_keeps_the_actor(engine):
    ref = haz.put([Plain.options(name="plain").remote(7)])
    assert alive() == 1
    outer = haz.put({"inner": ref})
    del ref
    assert haz.get(haz.get(haz.get(outer)["inner"])[0].get.remote()) == 7
    del outer
    wait_until(lambda: alive() == 0)


def test_an_actor_keeps_an_actor(engine):
    holder = Plain.options(name="holder").remote(Plain.options(name="held").remote(1))
    wait_until(lambda: alive() == 2)
    held = haz.get(holder.get.remote())
    assert haz.get(held.get.remote()) == 1
    del held
    assert haz.get(haz.get_actor("held").get.remote()) == 1
    del holder
    wait_until(lambda: alive() == 0)


def test_an_actor_that_keeps_itself(engine):
    @haz.remote
    class Narcissus:
        def __init__(self):
            self.me = haz.get_runtime_context().current_actor

        def get(self):
            return self.me

    narcissus = Narcissus.options(name="narcissus").remote()
    assert haz.get(narcissus.get.remote()) == narcissus
    del narcissus

    def gone():
        gc.collect()
        return alive() == 0

    wait_until(gone)


def test_running_task_keeps_the_actor(engine):
    @haz.remote
    def use(handle):
        return [haz.get(handle.get.remote()) for _ in range(5)]

    ref = use.remote(Plain.options(name="plain").remote(3))
    assert haz.get(ref) == [3] * 5
    del ref
    wait_until(lambda: alive() == 0)


# ---- many, and afterwards ----------------------------------------------------------------------


def test_many_calls_to_a_dead_actor(engine):
    plain = Plain.remote()
    haz.get(plain.get.remote())
    haz.kill(plain)
    refs = [plain.get.remote() for _ in range(1000)]
    ready, rest = haz.wait(refs, num_returns=1000)
    assert (len(ready), len(rest)) == (1000, 0)
    for ref in refs:
        died(ref, "killed")


def test_wrong_calls_of_a_dead_actor(engine):
    plain = Plain.remote()
    haz.kill(plain)
    with pytest.raises(TypeError, match="too many"):
        plain.get.remote(1)


def test_handle_after_shutdown(engine, engine_name):
    plain = Plain.remote(1)
    used, unused = plain.get, plain.exit
    haz.get(used.remote())
    haz.shutdown()
    for method in (used, unused, used.options(name="n")):
        with pytest.raises(exceptions.ActorHandleNotFoundError, match="was shut down"):
            method.remote()
    haz.init(engine=engine_name, num_cpus=1)
    for method in (used, unused, used.options(name="m"), plain.kill_me):
        with pytest.raises(exceptions.ActorHandleNotFoundError, match="was shut down"):
            method.remote()
    assert repr(plain).startswith("Actor(Plain, ")
    assert haz.get(Plain.remote(2).get.remote()) == 2
    with pytest.raises((exceptions.ObjectLostError, exceptions.ActorHandleNotFoundError)):
        haz.kill(plain)


def test_kill_after_shutdown(engine):
    plain = Plain.remote()
    haz.shutdown()
    haz.kill(plain)
    assert not haz.is_initialized()


def test_actor_class_works_in_the_next_run(engine, engine_name):
    assert haz.get(Plain.remote(1).get.remote()) == 1
    haz.shutdown()
    haz.init(engine=engine_name, num_cpus=1)
    assert haz.get(Plain.remote(2).get.remote()) == 2


def test_forked_child(engine):
    plain = Plain.remote()
    haz.get(plain.get.remote())
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            for call in (plain.get, plain.exit):
                try:
                    call.remote()
                except RuntimeError as error:
                    code = 0 if "forked" in str(error) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert haz.get(plain.get.remote()) == 0


def test_cyclic_handles(engine):
    @haz.remote
    class Peer:
        def __init__(self):
            self.other = None

        def set(self, other):
            self.other = other

        def ask(self):
            return haz.get(self.other.answer.remote())

        def answer(self):
            return 42

    first, second = Peer.remote(), Peer.remote()
    haz.get([first.set.remote(second), second.set.remote(first)])
    # One after the other: two that wait for each other would wait for ever.
    assert haz.get(first.ask.remote()) == 42
    assert haz.get(second.ask.remote()) == 42
