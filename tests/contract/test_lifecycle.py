"""Start and end: init, shutdown, a second time, in tasks, in forked children."""

from __future__ import annotations

import os
import threading

import haz
import pytest
from haz import exceptions


@haz.remote
def one():
    return 1


def test_init_returns_a_context(engine_name):
    context = haz.init(engine=engine_name, num_cpus=1)
    assert haz.is_initialized()
    assert context["node_id"] == context.address_info["node_id"] == haz.nodes()[0]["NodeID"]
    assert context["node_ip_address"] == "127.0.0.1"
    assert set(dict(context)) == set(context)
    assert context.dashboard_url == ""
    assert context.python_version.startswith("3.")
    assert engine_name in repr(context)
    with pytest.raises(KeyError):
        context["nothing"]


def test_init_as_a_context_manager(engine_name):
    with haz.init(engine=engine_name, num_cpus=1) as context:
        assert haz.get(one.remote()) == 1
        assert context["node_id"]
    assert not haz.is_initialized()


def test_second_init(engine):
    with pytest.raises(RuntimeError, match="ignore_reinit_error"):
        haz.init()
    again = haz.init(ignore_reinit_error=True, num_cpus=7)
    assert again["node_id"] == haz.nodes()[0]["NodeID"]
    assert haz.cluster_resources()["CPU"] == 2


def test_unknown_argument(engine_name):
    with pytest.raises(TypeError, match="did you mean 'num_cpus'"):
        haz.init(engine=engine_name, num_cpu=2)
    assert not haz.is_initialized()


@pytest.mark.parametrize("first", ["remote", "put"])
def test_first_use_starts_haz(engine_name, monkeypatch, first):
    monkeypatch.setenv("HAZ_ENGINE", engine_name)
    monkeypatch.setenv("HAZ_NUM_CPUS", "3")
    ref = one.remote() if first == "remote" else haz.put(1)
    assert haz.is_initialized()
    assert haz.get(ref) == 1
    assert haz.cluster_resources()["CPU"] == 3
    with pytest.raises(RuntimeError):
        haz.init()


def test_first_use_from_many_threads_starts_one(engine_name, monkeypatch):
    monkeypatch.setenv("HAZ_ENGINE", engine_name)
    monkeypatch.setenv("HAZ_NUM_CPUS", "2")
    barrier = threading.Barrier(8)
    nodes = []

    def use():
        barrier.wait()
        assert haz.get(one.remote()) == 1
        nodes.append(haz.nodes()[0]["NodeID"])

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(nodes) == 8
    assert len(set(nodes)) == 1


def test_shutdown_can_be_repeated(engine):
    haz.shutdown()
    haz.shutdown()
    assert not haz.is_initialized()


def test_again_and_again(engine_name):
    for number in range(5):
        haz.init(engine=engine_name, num_cpus=1)
        # Bound to the engine before; must find the new one.
        assert haz.get(one.remote()) == 1
        assert haz.get(haz.put(number)) == number
        haz.shutdown()


def test_variant_finds_the_new_engine_too(engine_name):
    variant = one.options(name="variant")
    for _ in range(2):
        haz.init(engine=engine_name, num_cpus=1)
        assert haz.get(variant.remote()) == 1
        haz.shutdown()


def test_remote_that_was_kept_before_shutdown(engine):
    kept = [one.remote, one.options(name="kept").remote]
    haz.get([submit() for submit in kept])
    kept += [one.remote, one.options(name="kept").remote]
    for _ in range(2):
        haz.shutdown()
        haz.init(engine=engine, num_cpus=1)
        assert haz.get([submit() for submit in kept]) == [1, 1, 1, 1]


def test_method_that_was_kept_before_shutdown(engine):
    @haz.remote
    class Actor:
        def one(self):
            return 1

    actor = Actor.remote()
    haz.get(actor.one.remote())
    submit = actor.one.remote
    haz.shutdown()
    haz.init(engine=engine, num_cpus=1)
    with pytest.raises(exceptions.ActorHandleNotFoundError, match="a run that is over"):
        submit()


def test_after_shutdown(engine):
    ref = one.remote()
    haz.shutdown()
    with pytest.raises(exceptions.ObjectLostError, match="shut down"):
        haz.get(ref)
    assert haz.get([]) == []


def test_init_in_a_task_joins_the_node(engine):
    @haz.remote
    def f():
        return haz.init(num_cpus=1)["node_id"], haz.is_initialized()

    if engine == "inline":  # the task is in the driver's own process
        with pytest.raises(RuntimeError, match="initialized already"):
            haz.get(f.remote())
        return
    assert haz.get(f.remote()) == (haz.nodes()[0]["NodeID"], True)


def test_init_with_ignore_reinit_error_in_a_task(engine):
    @haz.remote
    def f():
        return haz.init(ignore_reinit_error=True)["node_id"]

    assert haz.get(f.remote()) == haz.nodes()[0]["NodeID"]


def _in_forked_child(action):
    """What `action` does in a forked child: "ExceptionType: text", or its result as text."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            text = f"{action()}"
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        os.write(writer, text.encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        text = file.read().decode()
    os.waitpid(child, 0)
    return text


@pytest.mark.parametrize(
    "name", ["remote", "put", "get", "wait", "cancel", "init", "resources", "context", "future"]
)
def test_forked_child(engine, name):
    ref = one.remote()
    haz.get(ref)
    actions = {
        "remote": lambda: one.remote(),
        "put": lambda: haz.put(1),
        "get": lambda: haz.get(ref),
        "wait": lambda: haz.wait([ref]),
        "cancel": lambda: haz.cancel(ref),
        "init": lambda: haz.init(ignore_reinit_error=True),
        "resources": lambda: haz.cluster_resources(),
        "context": lambda: haz.get_runtime_context().get_node_id(),
        "future": lambda: ref.future(),
    }
    text = _in_forked_child(actions[name])
    assert text.startswith("RuntimeError:")
    assert "forked" in text
    assert haz.get(one.remote()) == 1


def test_forked_child_may_look(engine):
    numpy = pytest.importorskip("numpy")
    ref = haz.put(numpy.arange(1000_000))
    array = haz.get(ref)
    assert _in_forked_child(lambda: haz.is_initialized()) == "False"
    assert _in_forked_child(lambda: haz.shutdown()) == "None"
    assert _in_forked_child(lambda: repr(ref)) == repr(ref)
    assert _in_forked_child(lambda: array.sum()) == "499999500000"
    assert haz.get(one.remote()) == 1


def test_fork_before_the_first_use(engine_name):
    def action():
        haz.init(engine=engine_name, num_cpus=1)
        result = haz.get(one.remote())
        haz.shutdown()
        return result

    assert _in_forked_child(action) == "1"


def test_multiprocessing_fork(engine):
    import multiprocessing

    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()

    def child():
        try:
            haz.put(1)
        except RuntimeError as error:
            queue.put(str(error))

    process = context.Process(target=child)
    process.start()
    assert "forked" in queue.get()
    process.join()
    queue.close()
    assert haz.get(one.remote()) == 1
