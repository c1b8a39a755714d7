"""The ipyparallel face: load-balanced views, engines that die, are interrupted, and are stopped."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import haz
import haz.ipyparallel as ipp
import numpy as np
import pytest
from haz.testing import wait_until


@pytest.fixture
def client():
    haz.init(engine="native", num_cpus=2)
    with ipp.Cluster(n=3) as client:
        yield client
    haz.shutdown()


def waits_for(path):
    """On an engine: say that this runs, and wait for the gate to be opened."""
    import os
    import time

    open(f"{path}.runs.{os.getpid()}", "w").close()
    while not os.path.exists(path):
        time.sleep(0.002)


def runs(path, n):
    """Wait until `waits_for` runs on `n` engines."""
    folder, name = os.path.split(path)
    wait_until(
        lambda: sum(each.startswith(f"{name}.runs.") for each in os.listdir(folder)) == n,
        "the calls run",
    )


def test_balanced_calls_use_all_engines(client):
    view = client.load_balanced_view()
    assert view.map_sync(lambda x: x * x, range(50)) == [x * x for x in range(50)]
    assert view.apply_sync(lambda: 5) == 5

    def slow(i):
        import os
        import time

        time.sleep(0.02)
        return os.getpid()

    assert len(set(view.map_sync(slow, range(12)))) == 3
    only = client.load_balanced_view(targets=[1])
    assert {only.apply_async(abs, 1).engine_id for _ in range(3)} <= {1, None}
    assert len(set(only.map_sync(slow, range(4)))) == 1


def test_short_calls_go_together_and_long_ones_alone(client, monkeypatch):
    view = client.load_balanced_view()
    sizes = []
    send = client._balancer._send

    def counting(batch, engine):
        sizes.append(len(batch))
        send(batch, engine)

    monkeypatch.setattr(client._balancer, "_send", counting)
    results = [view.apply_async(abs, -i) for i in range(3000)]
    assert [each.get() for each in results] == list(range(3000))
    assert max(sizes) > 1
    assert sum(sizes) == 3000
    view.map_sync(time.sleep, [0.05] * 3)
    sizes.clear()
    view.map_sync(time.sleep, [0.001] * 6)
    assert max(sizes) == 1
    sizes.clear()
    view.map_sync(lambda x: sizes is None, range(6))  # not known yet how long that takes
    assert max(sizes) == 1


def test_short_calls_do_not_wait_behind_long_ones(client, tmp_path):
    view = client.load_balanced_view()
    assert view.map_sync(abs, range(500)) == list(range(500))
    gate = str(tmp_path / "gate")
    ended = []
    long = [view.apply_async(waits_for, gate) for _ in range(2)]
    for i in range(50):
        view.apply_async(abs, i).add_done_callback(lambda each: ended.append(each.get()))
    wait_until(lambda: len(ended) == 50, "the short calls, for which nobody waits")
    runs(gate, 2)  # each on an engine of its own
    assert not any(each.ready() for each in long)
    open(gate, "w").close()
    assert [each.get() for each in long] == [None, None]


def test_arguments_are_what_they_were_at_the_call(client, tmp_path):
    gate = str(tmp_path / "gate")
    view = client.load_balanced_view()
    held = [view.apply_async(waits_for, gate) for _ in range(3)]
    runs(gate, 3)
    items, array, named = [0], np.zeros(3), {"x": [0]}
    later = []
    for i in range(5):
        items[0] = array[:] = named["x"][0] = i
        later.append(
            view.apply_async(lambda a, b, x: (a[0], int(b[0]), x[0]), items, array, **named)
        )
    mapped = view.map_async(lambda x: x[0], [items, items])
    items[0] = 100
    open(gate, "w").close()
    assert [each.get() for each in later] == [(i, i, i) for i in range(5)]
    assert mapped.get() == [4, 4]
    assert [each.get() for each in held] == [None] * 3


def test_arguments_that_cannot_be_pickled_are_an_error_at_the_call(client):
    view = client.load_balanced_view()
    results = [view.apply_async(abs, -i) for i in range(300)]
    with pytest.raises(haz.exceptions.SerializationError, match=r"the arguments.*item 0.*lock"):
        view.apply_async(abs, threading.Lock())
    with pytest.raises(haz.exceptions.SerializationError, match=r"the arguments.*lock"):
        view.map_async(abs, [1, threading.Lock()])
    # Large arguments are pickled when they are sent: those that can't be fail alone.
    large = [view.apply_async(len, [0] * 2000 + [threading.Lock()] * (i == 5)) for i in range(40)]
    results += [view.apply_async(abs, -i) for i in range(300)]
    assert [each.get() for each in results] == [*range(300), *range(300)]
    with pytest.raises(haz.exceptions.SerializationError, match="lock"):
        large.pop(5).get()
    assert [each.get() for each in large] == [2000] * 39


class _Broken(list):
    """Can be pickled, and not be loaded in process `pid`; in others it is a number."""

    def __init__(self, pid, items=()):
        super().__init__(items)
        self.pid = pid

    def __reduce__(self):
        return _load_elsewhere, (self.pid, list(self))


def _load_elsewhere(pid, items):
    if pid is None or pid == os.getpid():
        raise LookupError("not to be loaded here")
    return 7


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda pid: threading.Lock(), "can't pickle the result: _thread.lock"),
        (lambda pid: [1, (i for i in ())], "the result: item 1 of a list: generator"),
        (_Broken, "not to be loaded here"),
    ],
)
def test_a_result_that_cannot_be_sent_or_loaded_fails_alone(client, make, error):
    view = client.load_balanced_view()
    pid = os.getpid()
    view.map_sync(abs, range(300))

    def call(i):
        return make(pid) if i == 57 else [i, {"i": np.full(3, i)}]

    view.map_sync(call, range(50))  # from now on these are known to be short, and go together
    results = [view.apply_async(call, i) for i in range(100)]
    fails = pytest.raises((ipp.RemoteError, LookupError), match=error)
    with fails:
        results.pop(57).get()
    assert all(result.get()[1]["i"].tolist() == [result.get()[0]] * 3 for result in results)
    with fails:
        client[0].apply_sync(call, 57)


def test_arrays_of_results_that_go_together_are_not_copied(client):
    view = client.load_balanced_view()
    view.map_sync(abs, range(300))
    results = view.map_sync(lambda i: (i, np.full(100_000, i)), range(20))
    assert [(i, int(array.sum())) for i, array in results] == [(i, 100_000 * i) for i in range(20)]
    assert not any(array.flags.writeable or array.flags.owndata for _, array in results)


def test_large_arguments_that_cannot_be_loaded_fail_alone(client):
    view = client.load_balanced_view()
    view.map_sync(lambda i, items: i, range(300), [None] * 300)
    large = _Broken(None, range(5000))
    call = lambda i, items: i  # noqa: E731 - the same code each time
    results = [view.apply_async(call, i, large if i == 57 else [i]) for i in range(100)]
    failed = results.pop(57)
    with pytest.raises(ipp.RemoteError, match="not to be loaded here"):
        failed.get()
    assert [result.get() for result in results] == [i for i in range(100) if i != 57]
    again = client.resubmit(failed.msg_ids)
    others = [view.apply_async(call, i, [i]) for i in range(20)]
    with pytest.raises(ipp.RemoteError, match="not to be loaded here"):
        again.get()
    assert [result.get() for result in others] == list(range(20))


# An interrupt between open() and "with" leaves a file to the garbage collector, which says so.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_interrupts_in_the_midst_of_calls_lose_none(client):
    view = client.load_balanced_view()
    assert view.map_sync(abs, range(500)) == list(range(500))
    results = []
    is_over = threading.Event()
    is_armed = False
    interrupted = 0

    def interrupt(_number, _frame):
        nonlocal is_armed, interrupted
        if is_armed:
            is_armed = False
            interrupted += 1
            raise KeyboardInterrupt

    def send_signals():
        while not is_over.wait(0.003):
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, interrupt)
    thread = threading.Thread(target=send_signals)
    thread.start()
    for i in range(5000):
        try:
            is_armed = True
            results.append((view.apply_async(abs, -i), i))
            is_armed = False
        except KeyboardInterrupt:
            pass
    is_over.set()
    thread.join()
    signal.signal(signal.SIGINT, before)
    assert interrupted
    assert len(results) >= 5000 - interrupted
    for result, value in results:
        assert result.wait(60), "an interrupt lost a call"
        assert result.get(return_exceptions=True) == value or result.status == "aborted"
    assert view.map_sync(abs, range(500)) == list(range(500))


def test_clients_know_of_each_others_calls(client, tmp_path):
    gate = str(tmp_path / "gate")
    long = [client.load_balanced_view().apply_async(waits_for, gate) for _ in range(2)]
    runs(gate, 2)
    with ipp.Client() as other:
        view = other.load_balanced_view()
        assert [view.apply_sync(abs, -i) for i in range(6)] == list(range(6))
        assert other.queue_status()["unassigned"] == 0
    open(gate, "w").close()
    assert [each.get() for each in long] == [None, None]


def test_unordered_maps_give_what_is_there_first(client, tmp_path):
    view = client.load_balanced_view()
    gate = str(tmp_path / "gate")

    def first_waits(x):
        import os
        import time

        while x == 0 and not os.path.exists(gate):
            time.sleep(0.002)
        return x

    results = iter(view.map_async(first_waits, range(5), ordered=False))
    assert sorted(itertools.islice(results, 4)) == [1, 2, 3, 4]
    open(gate, "w").close()
    assert list(results) == [0]
    assert list(view.map_async(first_waits, range(5))) == list(range(5))
    assert view.map_sync(first_waits, range(5), chunksize=2) == list(range(5))


def test_imap_over_endless_iterables(client):
    view = client.load_balanced_view()
    taken = []

    def items():
        for i in itertools.count():
            taken.append(i)
            yield i

    results = view.imap(lambda x: x * 2, items(), max_outstanding=3)
    assert list(itertools.islice(results, 10)) == [2 * i for i in range(10)]
    results.cancel()
    assert len(taken) <= 13
    failing = view.imap(lambda x: 1 // x, [0, 1], return_exceptions=True)
    assert [type(each).__name__ for each in failing] == ["RemoteError", "int"]
    with view.executor as executor:
        late = executor.submit(time.sleep, 0.1)
        mapped = executor.map(lambda x: x + 1, range(10))
    assert late.done()
    assert list(mapped) == list(range(1, 11))
    with pytest.raises(TimeoutError):
        list(view.executor.map(time.sleep, [5], timeout=0.05))


def test_dependencies_on_calls(client):
    view = client.load_balanced_view()
    first = view.apply_async(time.sleep, 0.3)
    with view.temp_flags(after=first):
        second = view.apply_async(lambda: 1)
    second.get()
    assert second.started >= first.completed
    with view.temp_flags(follow=first):
        followers = [view.apply_async(abs, 1) for _ in range(5)]
    client.wait(followers)
    assert {each.engine_id for each in followers} == {first.engine_id}
    failed = view.apply_async(lambda: 1 / 0)
    failed.wait()
    with view.temp_flags(after=failed):
        with pytest.raises(ipp.RemoteError, match="ImpossibleDependency"):
            view.apply_sync(abs, 1)
    with view.temp_flags(after=ipp.Dependency(failed, success=True, failure=True)):
        assert view.apply_sync(abs, -1) == 1
    with view.temp_flags(after="nonsense"):
        with pytest.raises(ipp.RemoteError, match="InvalidDependency"):
            view.apply_sync(abs, 1)


def test_dependencies_on_engines(client):
    view = client.load_balanced_view()
    client[1]["here"] = True

    @ipp.depend(ipp.interactive(lambda: globals().get("here", False)))
    def where():
        import os

        return os.getpid()

    assert {view.apply_sync(where) for _ in range(4)} == {client[1].apply_sync(os.getpid)}

    @ipp.require("base64", helper=lambda x: x + 1)
    @ipp.interactive
    def uses():
        return base64.b64encode(b"a"), helper(1)  # noqa: F821

    assert view.apply_sync(uses) == (b"YQ==", 2)

    @ipp.require("no_such_module_at_all")
    def never():
        pass

    with pytest.raises(ipp.RemoteError):
        view.apply_sync(never)
    with pytest.raises(TypeError):
        ipp.require(5)


def test_retries_go_to_other_engines(client, tmp_path):
    view = client.load_balanced_view()
    mark = str(tmp_path / "mark")

    def fails_twice(mark):
        with open(mark, "a+") as file:
            file.write("x")
            file.flush()
            file.seek(0)
            if len(file.read()) < 3:
                raise ValueError("not yet")
        return "now"

    with view.temp_flags(retries=2):
        assert view.apply_sync(fails_twice, mark) == "now"
    with view.temp_flags(retries=9):
        with pytest.raises(ipp.RemoteError, match="ZeroDivisionError"):
            view.apply_sync(lambda: 1 / 0)
    with view.temp_flags(retries=9, timeout=0.2):
        with pytest.raises(ipp.RemoteError, match="TaskTimeout"):
            view.apply_sync(lambda: 1 / 0)


def test_aborted_calls_never_run(client, tmp_path):
    gate, mark = str(tmp_path / "gate"), tmp_path / "ran"
    view = client[0]
    running = view.apply_async(waits_for, gate)
    runs(gate, 1)
    waiting = view.apply_async(lambda path: open(path, "w").close(), str(mark))
    view.abort(waiting)
    with pytest.raises(ipp.TaskAborted):
        waiting.get()
    assert waiting.status == "aborted"
    others = client[1:].apply_async(waits_for, gate)
    runs(gate, 3)
    balanced = client.load_balanced_view()
    blocking = [balanced.apply_async(abs, 1) for _ in range(3)]
    queued = balanced.apply_async(lambda path: open(path, "w").close(), str(mark))
    queued.abort()
    with pytest.raises(ipp.TaskAborted):
        queued.get()
    blocking[0].abort()
    with pytest.raises(ipp.TaskAborted):
        blocking[0].get()
    open(gate, "w").close()
    assert client.wait([running, others, *blocking[1:]], 60)
    with pytest.raises(RuntimeError, match="ended already"):
        running.abort()
    assert not mark.exists()


def test_a_dead_engine_is_told_and_replaced(client, capfd, tmp_path):
    view = client[1:]
    gate = str(tmp_path / "gate")
    result = view.apply_async(waits_for, gate)
    runs(gate, 2)
    pid = {engine.id: engine.pid for engine in client._state.engines()}[1]
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ipp.RemoteError, match="Engine 1 died"):
        result.split()[0].get(60)
    wait_until(lambda: client.ids == [0, 2, 3], "another engine took its place")
    wait_until(lambda: "engine 3 took its place" in capfd.readouterr().err, "it is said")
    with pytest.raises(IndexError, match="engine 3 takes its place"):
        view.apply_sync(abs, 1)
    open(gate, "w").close()
    assert result.split()[1].get(60) is None
    assert client[:].apply_sync(abs, -1) == [1, 1, 1]


@pytest.mark.parametrize("end", [lambda: os._exit(3), lambda: os.kill(os.getpid(), 9)])
def test_a_call_that_ends_its_engine_fails_alone(client, end):
    view = client.load_balanced_view()
    results = [view.apply_async(abs, -i) for i in range(20)]
    dying = view.apply_async(end)
    results += [view.apply_async(abs, -i) for i in range(20, 60)]
    with pytest.raises(ipp.RemoteError, match="EngineError"):
        dying.get(60)
    values = [each.get(60, return_exceptions=True) for each in results]
    wrong = [i for i, value in enumerate(values) if value != i]
    # Short calls that were sent together with it share its fate, and say so.
    assert all("died while it ran or was to run" in str(values[i]) for i in wrong)
    wait_until(lambda: len(client.ids) == 3, "another engine took its place")


def test_interrupts_reach_what_runs(client, tmp_path):
    gate = str(tmp_path / "gate")
    view = client[:]
    result = view.apply_async(waits_for, gate)
    runs(gate, 3)
    client.send_signal("SIGINT").result()
    for error in result.get(60, return_exceptions=True):
        assert error.ename == "KeyboardInterrupt"
    # While nothing runs it harms nobody, but the next call if that begins before it is there.
    client.send_signal("SIGINT")
    for value in view.apply_async(abs, -1).get(60, return_exceptions=True):
        assert value == 1 or value.ename == "KeyboardInterrupt"
    assert view.apply_sync(abs, -1) == [1, 1, 1]


def test_engines_come_and_go(client):
    cluster = client.cluster
    cluster.start_engines_sync(1)
    assert client.ids == [0, 1, 2, 3]
    lazy = client.direct_view()
    assert lazy.apply_sync(abs, -1) == [1] * 4
    cluster.stop_engine_sync(0)
    assert client.ids == [1, 2, 3]
    pid = client[1].apply_sync(os.getpid)
    cluster.restart_engine_sync(1)
    assert pid not in client[:].apply_sync(os.getpid)
    client.shutdown(client.ids[0])
    assert len(client.ids) == 2
    client.wait_for_engines(2)
    with pytest.raises(TimeoutError):
        client.wait_for_engines(9, timeout=0.05)
    later = client.wait_for_engines(3, timeout=60, block=False)
    cluster.start_engines_sync(1)
    assert later.result(60) is None


def test_a_stopped_cluster_says_so(client):
    view = client[:]
    pending = view.apply_async(time.sleep, 60)
    waiting = client.load_balanced_view().map_async(time.sleep, [60] * 20)
    client.cluster.stop_cluster_sync()
    with pytest.raises(ipp.RemoteError, match="EngineError"):
        pending.get(60)
    errors = waiting.get(60, return_exceptions=True)
    assert {type(each).__name__ for each in errors} == {"RemoteError", "NoEnginesRegistered"}
    for call in (lambda: view.apply_sync(abs, 1), lambda: client.ids, lambda: client[:]):
        with pytest.raises(ipp.NoEnginesRegistered, match="was stopped"):
            call()
    balanced = ipp.LoadBalancedView(client)
    with pytest.raises(ipp.NoEnginesRegistered):
        balanced.apply_sync(abs, 1)
    client.close()
    with pytest.raises(OSError, match="closed"):
        client[0]


def test_a_client_starts_a_cluster_once(capfd):
    haz.init(engine="native", num_cpus=2)
    first = ipp.Client(n=2)
    assert "started one of 2 engines" in capfd.readouterr().err
    second = ipp.Client()
    assert second.ids == [0, 1]
    first[:]["a"] = 1
    first[:].pull("a", block=True)
    assert second[:]["a"] == [1, 1]
    haz.shutdown()
    with pytest.raises(ipp.NoEnginesRegistered):
        first[:].apply_sync(abs, 1)


def test_two_clusters_do_not_mix():
    haz.init(engine="native", num_cpus=2)
    with ipp.Cluster(n=1, cluster_id="one") as one, ipp.Cluster(n=2, cluster_id="two") as two:
        one[:]["a"] = 1
        assert (len(one), len(two)) == (1, 2)
        assert ipp.Client(cluster_id="one")[0]["a"] == 1
        with pytest.raises(ipp.RemoteError, match="NameError"):
            two[0].pull("a", block=True)
        with pytest.raises(RuntimeError, match="running already"):
            ipp.Cluster(n=1, cluster_id="one").start_cluster_sync()
    haz.shutdown()


def test_clusters_for_code_that_awaits():
    import asyncio

    async def main():
        async with ipp.Cluster(n=1) as client:
            return await client[0].apply_async(abs, -3)

    haz.init(engine="native", num_cpus=2)
    assert asyncio.run(main()) == 3
    haz.shutdown()


def test_threads_share_a_client(client):
    view = client[:]
    balanced = client.load_balanced_view()
    wrong = []

    def use(k):
        for i in range(30):
            if view.apply_sync(lambda x: x, i) != [i] * 3:
                wrong.append(("direct", k, i))
            if balanced.map_sync(lambda x: x + 1, range(5)) != [1, 2, 3, 4, 5]:
                wrong.append(("balanced", k, i))

    threads = [threading.Thread(target=use, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_nothing_of_large_results_stays(client):
    view = client[:]
    for _ in range(10):
        assert [part.nbytes for part in view.apply_sync(np.ones, 200_000)] == [1_600_000] * 3
    used = haz.cluster_resources()["object_store_memory"]
    assert used - haz.available_resources()["object_store_memory"] < 20e6


def test_joblib_runs_on_engines(client):
    joblib = pytest.importorskip("joblib")
    for register in (
        client.load_balanced_view().register_joblib_backend,
        ipp.register_joblib_backend,
    ):
        register()
        with joblib.parallel_config(backend="ipyparallel"):
            found = joblib.Parallel(n_jobs=3)(joblib.delayed(pow)(i, 2) for i in range(50))
        assert found == [i * i for i in range(50)]


_HAZ = [sys.executable, "-m", "haz"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of sockets of its own; what runs in it is ended."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="haz-test-", dir="/tmp") as path:
        monkeypatch.setenv("XDG_RUNTIME_DIR", path)
        yield path
        own = {**os.environ, "XDG_RUNTIME_DIR": path}
        subprocess.run([*_HAZ, "stop", "--all"], env=own, capture_output=True)


def _haz(*args, code=0):
    done = subprocess.run([*_HAZ, *args], capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


_PROGRAM = """
import os, sys
import haz.ipyparallel as ipp
client = ipp.Client({name})
view = client[:]
{code}
"""


def _program(code, name=""):
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(code=code, name=name)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_named_clusters_outlive_programs(folder):
    assert "2 engines" in _haz("cluster", "start", "-n", "2")
    assert "runs already" in _haz("cluster", "start", code=1)
    pids = _program("view.push({'a': 5}, block=True); print(*view.apply_sync(os.getpid))")
    assert _program("print(view.pull('a', block=True))") == "[5, 5]"
    assert _program("print(*view.apply_sync(os.getpid))") == pids
    _haz("cluster", "start", "-n", "1", "--profile", "other")
    assert _program("print(len(client))", "profile='other'") == "1"
    listed = _haz("cluster", "list")
    assert [line.split()[:2] for line in listed.splitlines()] == [["default", "2"], ["other", "1"]]
    # A client that is there when an engine dies puts another in its place; the next one sees it.
    killed = _program(
        "import time\n"
        "os.kill(view.apply_sync(os.getpid)[0], 9)\n"
        "while client.ids != [1, 2]: time.sleep(0.01)\n"
        "print(client.ids)"
    )
    assert killed == "[1, 2]"
    assert _program("print(client.ids)") == "[1, 2]"
    _haz("cluster", "stop")
    assert "no cluster default" in _haz("cluster", "stop", code=1).lower()
    _haz("cluster", "stop", "--all")
    assert "No cluster runs" in _haz("cluster", "list", code=1)
    assert "No node runs" in _haz("status", code=1)


@pytest.mark.slow
def test_the_node_of_clusters_ends_when_a_program_has_stopped_the_last(folder):
    start = "from haz.cli import clusters; clusters._IDLE_S = 3.0; clusters.start(1, '', '')"
    subprocess.run([sys.executable, "-c", start], check=True, capture_output=True)
    time.sleep(3.5)
    assert _program("print(client.ids)\nclient.shutdown(hub=True)") == "[0]"
    # To ask it would be a use of it.
    wait_until(lambda: not list(Path(folder).rglob("*.sock")), "the node's end")
    assert "No node runs" in _haz("status", code=1)
    assert _haz("cluster", "stop", "--all") == "No cluster ran.\n"


def test_an_engine_that_has_died_is_not_found_again(folder, monkeypatch):
    from haz._core import actor_api

    _haz("cluster", "start", "-n", "2")
    haz.shutdown()
    haz.init(address="ipyparallel")
    try:
        client = ipp.Client()
        state = client._state
        before, actor = state._named_actors(), state.known(0)._actor
        os.kill(state.known(0).pid, signal.SIGKILL)
        wait_until(lambda: client.ids == [1, 2])
        # As a node says it that has not heard of the death.
        with monkeypatch.context() as patch:
            patch.setattr(state, "_named_actors", lambda: before)
            patch.setattr(actor_api, "get_actor", lambda name, namespace: actor)
            assert 0 not in client.ids
            late = ipp.cluster.ClusterState("default", is_shared=True)
            patch.setattr(late, "_named_actors", lambda: before)
            late.attach()
            assert not late.known(0) or not late.known(0).is_alive()
    finally:
        haz.shutdown()


def test_an_engine_that_dies_as_haz_ends_does_not_start_it_again(monkeypatch, capfd):
    haz.init(engine="native", num_cpus=1)
    state = ipp.Cluster(n=1).start_and_connect_sync()._state
    haz.shutdown()
    looks = iter([True])  # haz was there yet when the thread that replaces looked
    monkeypatch.setattr(state, "_is_current", lambda: next(looks, False))
    state._replace(0, 1)
    assert not haz.is_initialized()
    assert "engine" not in capfd.readouterr().err


def test_an_engine_that_dies_while_it_is_looked_for_is_replaced(folder, monkeypatch):
    _haz("cluster", "start", "-n", "2")
    haz.shutdown()
    haz.init(address="ipyparallel")
    try:
        state = ipp.Client()._state
        engine = state.known(0)

        def named_once_the_node_knows():
            """The engine dies after its process was looked at, and before the node is asked."""
            os.kill(engine.pid, signal.SIGKILL)
            named = type(state)._named_actors
            wait_until(lambda: "engine-0-of-2" not in named(state))
            wait_until(lambda: not engine.is_alive())
            return named(state)

        with monkeypatch.context() as patch:
            patch.setattr(state, "_named_actors", named_once_the_node_knows)
            state.engines(now=True)
        wait_until(lambda: [each.id for each in state.engines(now=True)] == [1, 2])
    finally:
        haz.shutdown()


def test_balanced_calls_pass_by_engines_that_other_programs_keep_busy(folder, tmp_path):
    _haz("cluster", "start", "-n", "3")
    (started, over) = (tmp_path / "started", tmp_path / "over")
    code = _PROGRAM.format(
        name="",
        code=f"""
import pathlib, time
def wait(started, over):
    import pathlib, time
    pathlib.Path(started).touch()
    while not pathlib.Path(over).exists():
        time.sleep(0.01)
busy = client[[0, 2]].apply_async(wait, {str(started)!r}, {str(over)!r})
print("sent", flush=True)
busy.get()
""",
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "sent\n"
        haz.shutdown()
        haz.init(address="ipyparallel")
        wait_until(started.exists)
        balanced = ipp.Client().load_balanced_view()
        first = [balanced.apply_async(pow, 2, 3) for _ in range(6)]
        assert [result.get(timeout=60) for result in first] == [8] * 6
        engines = {result.engine_id for result in first}
        engines |= {balanced.apply_async(pow, 2, 3).get_dict(60).popitem()[0] for _ in range(6)}
        assert engines == {1}
    finally:
        over.touch()
        other.communicate(timeout=60)
        haz.shutdown()


def test_a_cluster_that_is_stopped_under_the_calls_of_a_program(folder):
    _haz("cluster", "start", "-n", "2")
    haz.shutdown()
    client = ipp.Client()
    view, balanced = client[:], client.load_balanced_view()
    direct = view.apply_async(time.sleep, 600)
    waiting = balanced.map_async(time.sleep, [600] * 40)
    wait_until(lambda: client.queue_status()[0]["queue"] == 1)
    try:
        _haz("cluster", "stop")
        for result in (direct, waiting):
            with pytest.raises(ipp.CompositeError, match=r"Engine 0 died .*: the node") as caught:
                result.get(timeout=100)
            assert len(caught.value.elist) == len(result.msg_ids)
        for call in (view.apply_sync, balanced.apply_sync):
            with pytest.raises(ipp.NoEnginesRegistered, match="'default' was stopped"):
                call(abs, -1)
        with pytest.raises(ipp.NoEnginesRegistered, match="'default' was stopped"):
            client.ids
        with pytest.raises(ipp.NoEnginesRegistered, match="there is no cluster 'other'"):
            ipp.Client(profile="other")
        _haz("cluster", "start", "-n", "1")
        assert ipp.Client()[:].apply_sync(abs, -1) == [1]
    finally:
        haz.shutdown()
