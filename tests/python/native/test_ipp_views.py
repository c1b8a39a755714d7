"""The ipyparallel face: views of engines, what they run, and what they return."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import gc
import os
import platform
import sys
import tempfile
import threading
import time

import haz
import haz.ipyparallel as ipp
import numpy as np
import pytest
from haz.ipyparallel._messages import BalancedMessage
from haz.ipyparallel._progress import _bar
from haz.ipyparallel.cluster import EngineHandle
from haz.testing import wait_until


@pytest.fixture
def client():
    haz.init(engine="native", num_cpus=2)
    with ipp.Cluster(n=3) as client:
        yield client
    haz.shutdown()


def raised_on_engine(name, call, *args, **kwargs):
    with pytest.raises(ipp.RemoteError) as caught:
        call(*args, **kwargs)
    error = caught.value
    names = {each.ename for each in getattr(error, "elist", [error])}
    assert names == {name}, error
    return error


@ipp.interactive
def get_a():
    return a  # noqa: F821


@ipp.interactive
def set_b(value):
    global b
    b = value
    return b


def test_a_view_of_one_returns_a_value_and_of_several_a_list(client):
    assert client.ids == [0, 1, 2]
    assert client[0].apply_sync(lambda: 42) == 42
    assert client[-1].targets == 2
    assert client[[1]].apply_sync(lambda: 42) == [42]
    assert client[:2].apply_sync(lambda x, y: x + y, 1, y=2) == [3, 3]
    assert client[[0, 2]].targets == [0, 2]
    assert len(client[:]) == len(client) == 3
    assert [view.targets for view in client] == client.ids
    result = client[:].apply_async(lambda: 5)
    assert result.get() == [5, 5, 5]
    assert result.get_dict() == {0: 5, 1: 5, 2: 5}
    view = client.direct_view("all")
    view.block = True
    assert len(set(view.apply(os.getpid))) == 3


def test_functions_see_what_is_pushed(client):
    view = client[:]
    raised_on_engine("NameError", view.apply_sync, get_a)
    view.push({"a": 7}, block=True)
    assert view.apply_sync(get_a) == [7, 7, 7]
    view["a"] = 8
    assert view["a"] == [8, 8, 8]
    assert view.pull(["a", "a"], targets=[0], block=True) == [[8, 8]]
    assert client[1].apply_sync(set_b, 3) == 3
    assert client[1]["b"] == 3
    raised_on_engine("NameError", client[0].pull, "b", block=True)
    client.clear(block=True)
    raised_on_engine("NameError", view.pull, "a", block=True)


def test_names_with_dots_set_attributes(client):
    view = client[0]
    view.execute("class A: pass\nx = A()\nx.y = 1\nz = [0, 0]", block=True)
    assert view["x.y"] == 1
    view["x.y"] = 2
    view["z[1]"] = 5
    assert (view["x.y"], view["z"]) == (2, [0, 5])


def test_references_mean_the_engines_values(client):
    view = client[:]
    view.scatter("rank", client.ids, flatten=True, block=True)
    assert view.apply_sync(lambda x: x, ipp.Reference("rank")) == [0, 1, 2]
    assert view.apply_sync(lambda x: x, {"in": [ipp.Reference("rank + 1")]}) == [
        {"in": [1]},
        {"in": [2]},
        {"in": [3]},
    ]
    view.execute("f = lambda x: x * rank", block=True)
    assert view.apply_sync(ipp.Reference("f"), 10) == [0, 10, 20]
    raised_on_engine("NameError", view.apply_sync, lambda x: x, ipp.Reference("nothing"))


def test_what_functions_carry_along(client):
    view = client[0]
    factor = 3

    def fact(n):
        return 1 if n < 2 else n * fact(n - 1)

    def with_default(x, f=fact, *, more=1):
        """Its text."""
        return f(x) + more

    assert view.apply_sync(lambda x: x * factor, 5) == 15
    assert view.apply_sync(fact, 5) == 120
    assert view.apply_sync(with_default, 4, more=2) == 26
    assert view.apply_sync(functools.partial(with_default, more=0), 3) == 6
    view["f"] = with_default
    assert view["f"](3) == 7
    assert view["f"].__doc__ == "Its text."
    assert view.apply_sync(len, [1, 2]) == 2
    factor = 4
    assert view.apply_sync(lambda x: x * factor, 5) == 20


def test_classes_of_the_program_travel(client):
    class Point:
        def __init__(self, x):
            self.x = x

        def doubled(self):
            return Point(2 * self.x)

    assert client[0].apply_sync(lambda p: p.doubled().x, Point(4)) == 8


def test_cloudpickle_carries_globals_of_the_client(client):
    import __main__

    view = client[:]
    view["_here"] = "engine"
    look = ipp.interactive(lambda: _here)  # noqa: F821
    assert view.apply_sync(look) == ["engine"] * 3
    __main__._here = "client"
    try:
        view.use_cloudpickle()
        assert view.apply_sync(look) == ["client"] * 3
        view.use_pickle()
        assert view.apply_sync(look) == ["engine"] * 3
    finally:
        del __main__._here


def test_scatter_and_gather(client):
    view = client[:]
    view.scatter("x", list(range(7)), block=True)
    assert view["x"] == [[0, 1, 2], [3, 4], [5, 6]]
    assert view.gather("x", block=True) == list(range(7))
    view.scatter("x", iter(range(7)), dist="r", block=True)
    assert view["x"] == [[0, 3, 6], [1, 4], [2, 5]]
    assert view.gather("x", dist="r", block=True) == list(range(7))
    array = np.arange(20.0).reshape(10, 2)
    view.scatter("x", array, block=True)
    assert [part.shape for part in view["x"]] == [(4, 2), (3, 2), (3, 2)]
    assert (view.gather("x", block=True) == array).all()
    view.scatter("one", [5, 6, 7], flatten=True, block=True)
    assert view["one"] == [5, 6, 7]
    with pytest.raises(ipp.NoEnginesRegistered):
        client[5:]


def test_large_arrays_are_shared_and_read_only(client):
    view = client[:]
    array = np.arange(1_000_000.0)
    view.push({"big": array}, block=True)
    assert view.apply_sync(ipp.interactive(lambda: big.flags.writeable)) == [False] * 3
    assert view.apply_sync(ipp.interactive(lambda: big.sum())) == [array.sum()] * 3
    assert view.apply_sync(lambda: float(array[5])) == [5.0] * 3

    @ipp.interactive
    def change():
        global big
        big = big.copy()
        big[0] = 9
        return float(big[0])

    assert view.apply_sync(change) == [9.0] * 3
    assert array[0] == 0


def test_map_of_direct_views(client):
    view = client[:]
    assert view.map_sync(lambda x: x * x, range(101)) == [x * x for x in range(101)]
    assert view.map_sync(lambda x, y: x + y, range(5), iter(range(100))) == [0, 2, 4, 6, 8]
    assert view.map_sync(lambda x: x, []) == []
    assert client[0].map_sync(abs, (-1, 2)) == [1, 2]
    assert view.map_sync(len, ["a", "bb"]) == [1, 2]
    result = view.map_async(lambda x: 1 / (x - 2), range(5))
    assert len(result) == 5
    raised_on_engine("ZeroDivisionError", result.get)
    raised_on_engine("ZeroDivisionError", list, result)
    values = view.map_sync(lambda x: 1 / (x - 2), range(5), return_exceptions=True)
    assert [type(value).__name__ for value in values] == [
        "float",
        "float",
        "RemoteError",
        "float",
        "float",
    ]
    array = np.arange(10)
    assert view.map_sync(lambda x: int(x) + 1, array) == list(range(1, 11))


def test_decorators(client):
    view = client[:]

    @view.remote(block=True)
    def pid():
        return os.getpid()

    assert len(set(pid())) == 3

    @view.parallel(block=True)
    def same(x):
        return x

    assert same(range(7)) == [range(3), range(3, 5), range(5, 7)]
    assert same.map([1, 2, 3]) == [1, 2, 3]
    a = np.random.default_rng(1).random((100, 100))

    @view.parallel(block=True)
    def product(x, y, factor):
        return x * y * factor

    assert (product(a, a, 2) == a * a * 2).all()
    with pytest.raises(ValueError, match="same length"):
        product(a, a[:50], 1)
    balanced = client.load_balanced_view()

    @balanced.parallel(block=True, chunksize=2)
    def sums(part):
        return [sum(part)]

    assert sums([1, 2, 3, 4, 5]) == [3, 7, 5]


def test_imports_on_engines(client, capsys):
    view = client[:]
    with view.sync_imports():
        import base64  # noqa: F401
        from os import path  # noqa: F401
    said = capsys.readouterr().out
    assert said.splitlines() == [
        "importing base64 on engine(s)",
        "importing path from os on engine(s)",
    ]
    names = ipp.interactive(lambda: ("base64" in globals(), "path" in globals()))
    assert view.apply_sync(names) == [(True, True)] * 3
    with view.sync_imports(local=False, quiet=True):
        import json.decoder as decoder
    assert capsys.readouterr().out == ""
    assert decoder is None
    assert view.apply_sync(ipp.interactive(lambda: "json" in globals())) == [True] * 3


def test_flags(client):
    view = client[:]
    assert (view.block, view.targets) == (False, [0, 1, 2])
    with view.temp_flags(block=True, targets=[1]):
        assert view.apply(lambda: 1) == [1]
    assert (view.block, view.targets) == (False, [0, 1, 2])
    assert view.set_flags(label="mine") is view
    assert view.apply_async(lambda: 1).metadata[0].label == "mine"
    with pytest.raises(KeyError, match="no flag"):
        view.set_flags(nonsense=1)
    with pytest.raises(KeyError):
        client.load_balanced_view().set_flags(blok=True)


def test_results(client, tmp_path):
    gate = str(tmp_path / "gate")

    def waits(gate):
        import os
        import time

        while not os.path.exists(gate):
            time.sleep(0.002)
        time.sleep(0.2)

    result = client[:].apply_async(waits, gate)
    assert not result.ready()
    assert result.completed == [None] * 3
    with pytest.raises(TimeoutError):
        result.get(0.01)
    with pytest.raises(TimeoutError):
        _ = result.wall_time
    with pytest.raises(RuntimeError, match="not ready"):
        result.successful()
    open(gate, "w").close()
    assert result.wait(60) is True
    assert result.successful()
    assert result.serial_time >= 0.6
    assert 0.2 <= result.wall_time == result.elapsed
    assert result.speedup > 0
    assert result.engine_id == [0, 1, 2] == result["engine_id"]
    assert "stdout" in dir(result)
    for wrong in ("nothing", "_nothing"):
        assert not hasattr(result, wrong)
    with pytest.raises(KeyError):
        result["nothing"]
    parts = result.split()
    assert [part.get() for part in parts] == [None] * 3
    assert ipp.AsyncResult.join(*parts).get() == [None] * 3
    assert result.progress == len(result) == 3


def test_results_are_futures(client):
    view = client.load_balanced_view()
    results = [view.apply_async(lambda x: x * 2, i) for i in range(20)]
    done, left = concurrent.futures.wait(results, timeout=60)
    assert not left
    assert sorted(each.result() for each in done) == [2 * i for i in range(20)]
    seen = []
    view.apply_async(lambda: 5).add_done_callback(lambda each: seen.append(each.result()))
    wait_until(lambda: seen == [5], "the callback was called")
    failed = view.apply_async(lambda: 1 / 0)
    assert isinstance(failed.exception(), ipp.RemoteError)

    async def main():
        assert await client[:].apply_async(lambda: 3) == [3, 3, 3]
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(view.executor, lambda: 4) == 4

    asyncio.run(main())


def test_wait_for_some(client):
    view = client[:]
    view.scatter("rank", client.ids, flatten=True, block=True)

    def first_fails(rank):
        import time

        if rank == 0:
            raise ValueError("at once")
        time.sleep(1)
        return rank

    result = view.apply_async(first_fails, ipp.Reference("rank"))
    done, pending = result.wait(60, return_when=ipp.FIRST_EXCEPTION)
    assert {part.msg_ids[0] for part in done} >= {result.msg_ids[0]}
    assert len(done) + len(pending) == 3
    raised_on_engine("ValueError", result.get, return_when=ipp.FIRST_EXCEPTION)
    values = result.get(return_exceptions=True)
    assert [type(value).__name__ for value in values] == ["RemoteError", "int", "int"]


def test_errors_of_several_engines(client):
    view = client[:]

    def fails():
        raise ValueError("on purpose")

    error = raised_on_engine("ValueError", view.apply_sync, fails)
    assert isinstance(error, ipp.CompositeError)
    assert [each.engine_info["engine_id"] for each in error.elist] == [0, 1, 2]
    assert str(error).count("on purpose") == 3
    text = "\n".join(error.render_traceback())
    assert text.count('raise ValueError("on purpose")') == 3
    assert "[0:apply]:" in text
    with pytest.raises(ipp.RemoteError, match="on purpose"):
        error.raise_exception(1)
    name, value, _trace, info = error.elist[2]
    assert (name, value, info["engine_id"]) == ("ValueError", "on purpose", 2)
    many = client.get_result([view.apply_async(fails) for _ in range(3)])
    error = raised_on_engine("ValueError", many.get)
    assert error.render_traceback()[-1] == "... 5 more exceptions ..."


def test_engines_survive_what_users_raise_or_return(client):
    view = client[0]
    pid = view.apply_sync(os.getpid)

    def raises(error):
        raise error

    class Odd(Exception):
        def __str__(self):
            return 1 / 0

    for call in (
        lambda: sys.exit("bye"),
        lambda: raises(KeyboardInterrupt()),
        lambda: raises(Odd()),
        lambda: open("/"),
        lambda: sys.modules,
    ):
        with pytest.raises(ipp.RemoteError):
            view.apply_sync(call)
        assert view.apply_sync(os.getpid) == pid


def test_output_is_kept(client, capfd):
    view = client[:]
    result = view.execute("import sys\nprint('to out')\nprint('to err', file=sys.stderr)")
    result.get()
    assert result.stdout == ["to out\n"] * 3
    assert result.stderr == ["to err\n"] * 3
    assert client[0].apply_async(print, "hello").wait(60)
    capfd.readouterr()
    result.display_outputs()
    shown = capfd.readouterr()
    assert shown.out == "".join(f"[stdout:{i}] to out\n" for i in range(3))
    assert shown.err == "".join(f"[stderr:{i}] to err\n" for i in range(3))
    one = client[1].execute("print(5)\n1/0")
    one.wait(60)
    one.display_outputs()
    assert capfd.readouterr().out == "5\n"


def test_displayed_output_is_grouped(client, capfd):
    """By engine, or the first of all engines, then the second of all."""
    view = client[:]
    view.scatter("rank", range(3), flatten=True, block=True)
    result = view.execute("from IPython.display import display\nfor i in range(rank): display(i)")
    result.get()
    capfd.readouterr()
    result.display_outputs("type")
    assert capfd.readouterr().out == "output[1]: 0\noutput[2]: 0\n1\n"
    result.display_outputs("order")
    assert capfd.readouterr().out == "output[1]: 0\noutput[2]: 0\noutput[2]: 1\n"


def test_code_has_values(client):
    view = client[:]
    view.block = True
    result = view.execute("x = 5\nx + 1", silent=False)
    assert [each["data"] for each in result.execute_result] == [{"text/plain": "6"}] * 3
    assert view["x"] == [5, 5, 5]
    assert view.execute("x").execute_result == [None] * 3
    reply = client[0].execute("'a' * 3", silent=False).get()
    assert str(reply) == f"<ExecuteReply[{reply.execution_count}]: 'aaa'>"
    error = raised_on_engine("ZeroDivisionError", client[0].execute("1 / 0\n").get)
    assert "1 / 0" in "\n".join(error.render_traceback())
    assert error.engine_info["method"] == "execute"
    raised_on_engine("SyntaxError", client[0].execute("1 +").get)
    # A shell that the user's code has made does not keep the engine from having its own.
    made = "from IPython.core.interactiveshell import InteractiveShell as S; S.instance()"
    assert client[1].execute(made).get() is not None
    assert client[1].execute("%timeit -n1 -r1 1").wait(60)
    assert "loop" in client[1].execute("%timeit -n1 -r1 1").get().stdout


def test_files_run(client, tmp_path):
    path = tmp_path / "code.py"
    path.write_text("def g():\n    return 5")
    client[:].run(str(path), block=True)
    assert client[:].apply_sync(lambda f: f(), ipp.Reference("g")) == [5, 5, 5]
    with pytest.raises(FileNotFoundError):
        client[:].run(str(tmp_path / "none.py"))


def test_progress_is_shown(client, capsys):
    result = client[:].apply_async(time.sleep, 0.05)
    result.wait_interactive(interval=0.01)
    assert "100% |████████████████████| 3/3 calls" in capsys.readouterr().err
    assert _bar(0, 3) == "  0% |                    | 0/3"
    assert _bar(1, 3) == " 33% |██████▋             | 1/3"
    client.wait_interactive()
    assert client.outstanding == set()


def test_history_and_records(client):
    view = client[:]
    result = view.apply_async(lambda: 1)
    result.get()
    assert view.history == result.msg_ids
    assert client.get_result(result.msg_ids).get() == [1, 1, 1]
    assert client.get_result(-1).get() == 1
    other = ipp.Client(cluster=client.cluster)
    assert other.get_result(result.msg_ids[0]).get() == 1
    balanced = client.load_balanced_view()
    random = balanced.apply_async(lambda: __import__("random").random())
    assert client.resubmit(random.msg_ids).get() != [random.get()]
    assert client.hub_history()[:3] == result.msg_ids
    found = client.db_query({"engine_id": 1, "completed": {"$ne": None}}, keys="engine_id")
    assert {each["engine_id"] for each in found} == {1}
    status = client.queue_status()
    assert status["unassigned"] == 0
    assert sorted(key for key in status if key != "unassigned") == [0, 1, 2]
    assert client.result_status(result.msg_ids)["pending"] == []
    with pytest.raises(KeyError):
        client.get_result("nonsense")
    with pytest.raises(ValueError, match="no test"):
        client.db_query({"engine_id": {"$like": 1}})
    client.purge_everything()
    assert client.history == client.hub_history() == []


def test_results_that_nobody_holds(client):
    view, balanced = client[:], client.load_balanced_view()
    other = ipp.Client(cluster=client.cluster)
    value = {"a": [1, "b", None, np.arange(3).sum()], (2,): 3.5}

    def fails():
        raise ValueError("of a call")

    calls = [
        view.apply_async(lambda: value),
        balanced.apply_async(lambda: "text"),
        view.push({"a": 1}),
        view.execute("print(5)\n6", silent=False),
        view.apply_async(fails),
        balanced.apply_async(fails),
    ]
    client.wait()
    ids = [call.msg_ids for call in calls]
    del calls
    gc.collect()
    for each in (client, other):
        results = [each.get_result(of_a_call) for of_a_call in ids]
        assert [result.msg_ids for result in results] == ids
        assert all(result.ready() for result in results)
        assert results[0].get() == [value] * 3
        assert [repr(result).split()[-1] for result in results[3:5]] == ["finished>", "failed>"]
        assert results[1].get() == ["text"]
        assert results[2].get() == [None] * 3
        assert [reply.text for reply in results[3].get()] == ["6"] * 3
        assert results[3].stdout == ["5\n"] * 3
        for result in results[4:]:
            with pytest.raises(ipp.CompositeError, match="of a call"):
                result.get()
        found = each.result_status(ids[1] + ids[4], status_only=False)
        assert (found["pending"], found["completed"]) == ([], ids[1] + ids[4])
        assert found[ids[1][0]] == "text"
    assert client.metadata[ids[1][0]]["status"] == "ok"
    assert client.metadata[ids[4][0]]["status"] == "error"
    client.purge_results(ids[0])
    with pytest.raises(KeyError, match="calls of other programs"):
        client.get_result(ids[0])


def test_nothing_is_sent_to_no_engine(client):
    view = client[:]
    for send in (
        lambda: view.scatter("a", [1, 2], targets=[]),
        lambda: view.push({"a": 1}, targets=[]),
        lambda: view.execute("a = 1", targets=[]),
    ):
        with pytest.raises(ipp.NoEnginesRegistered, match="view of no engines"):
            send()


def test_large_results_are_kept_by_whoever_holds_them(client):
    class Own:
        pass

    for large in (lambda: "x" * 5000, lambda: list(range(100)), lambda: [{"a": Own()}]):
        result = client[:].apply_async(large)
        ids = result.msg_ids
        assert len(client.get_result(ids).get()) == 3
        del result
        gc.collect()
        with pytest.raises(KeyError, match=f"the result of '{ids[0]}' is not kept"):
            client.get_result(ids)


def test_data_is_published(client):
    from haz.ipyparallel import datapub

    def publishes():
        from haz.ipyparallel.datapub import publish_data

        for i in range(3):
            publish_data({"i": i})

    result = client[:].apply_async(publishes)
    result.get()
    assert result.data == [{"i": 2}] * 3
    with pytest.raises(RuntimeError, match="on engines only"):
        datapub.publish_data({"i": 1})


NONSENSE = [
    (lambda c: c[9], IndexError),
    (lambda c: c[-9], IndexError),
    (lambda c: c["0"], TypeError),
    (lambda c: c[None], TypeError),
    (lambda c: c[[0, "1"]], TypeError),
    (lambda c: c[[]], ipp.NoEnginesRegistered),
    (lambda c: c[True], TypeError),
    (lambda c: c[:].push([1]), TypeError),
    (lambda c: c[:].push({1: 2}), TypeError),
    (lambda c: c[:].pull([1]), TypeError),
    (lambda c: c[:].apply(5), TypeError),
    (lambda c: c[:].map(abs), ValueError),
    (lambda c: c[:].map(5, [1]), TypeError),
    (lambda c: c[:].execute(5), TypeError),
    (lambda c: c[:].scatter(5, [1]), TypeError),
    (lambda c: c[:].scatter("a", 5), TypeError),
    (lambda c: c[:].scatter("a", [1], dist="z"), KeyError),
    (lambda c: c[:].push({"a": sys._getframe()}), Exception),
    (lambda c: c[:].apply_async(abs, 1).get("soon"), TypeError),
    (lambda c: c[:].apply_async(abs, 1).display_outputs("colour"), ValueError),
    (lambda c: c[:].apply_async(abs, 1).wait(1, return_when="later"), ValueError),
    (lambda c: c.load_balanced_view().map(abs, [1], chunksize=0), ValueError),
    (lambda c: c.load_balanced_view().imap(abs, [1], max_outstanding=-1), ValueError),
    (lambda c: c.load_balanced_view().set_flags(timeout=-1), ValueError),
    (lambda c: c.load_balanced_view(retries="x").apply(abs, 1), TypeError),
    (lambda c: c.load_balanced_view(after=5).apply(abs, 1), TypeError),
    (lambda c: c.send_signal("SIGNONE"), ValueError),
    (lambda c: ipp.Reference(5), TypeError),
    (lambda c: ipp.Cluster(n=0), ValueError),
    (lambda c: ipp.Cluster(n="4"), TypeError),
    (lambda c: ipp.Client(profile="none"), ipp.NoEnginesRegistered),
    (lambda c: ipp.Cluster.from_file(profile="none"), FileNotFoundError),
]


def test_nonsense_is_an_error_at_the_call(client):
    for number, (call, error) in enumerate(NONSENSE):
        with pytest.raises(error) as caught:
            call(client)
        assert str(caught.value), number
        assert client[:].apply_sync(lambda: 1) == [1, 1, 1]


def test_what_cannot_be_pickled_is_named_with_its_call_and_engine(client):
    view, lock = client[:], threading.Lock()
    large = [lock] * 2000
    told = [
        (lambda: view.push({"a": 1, "b": lock}), "the values of push for engine 0: item 'b'"),
        (lambda: view.push({"a": large}), "the values of push for engine 0: item 'a'"),
        (lambda: client[1].apply(len, lock), "the arguments of apply for engine 1: item 0"),
        (lambda: client[1].apply(dict, a=lock), "the keyword arguments of apply for engine 1: "),
        (lambda: view.map(str, [1, 2, lock]), "the sequences of map for engine 2: "),
        (lambda: view.scatter("a", [1, 2, lock]), "the values of push for engine 2: item 'a'"),
        (lambda: view.apply(lambda: lock), "the function: closure variable 'lock'"),
        (lambda: view.apply(len, lambda: lock), "engines: item 0 of a tuple, closure variable"),
        (lambda: client.load_balanced_view().apply(lambda: lock), "the function: closure variable"),
    ]
    for call, text in told:
        with pytest.raises(haz.exceptions.SerializationError, match=f"can't pickle.*{text}.*lock"):
            call()
    with pytest.raises(ipp.RemoteError, match=r"can't pickle the result: _thread.lock"):
        client[0].apply_sync(threading.Lock)
    assert view.apply_sync(abs, -1) == [1] * len(view)


def test_what_is_no_sequence_is_named_in_the_error(client):
    view = client[:]
    for call, what in (
        (lambda: view.pull(5), "names as str, and not 5"),
        (lambda: view.scatter("a", 5), "and not 5"),
        (lambda: view.scatter("a", {1: 2}), "and not {1: 2}"),
        (lambda: view.map_sync(abs, 5), "come from 5"),
        (lambda: client.load_balanced_view().map_sync(pow, [1], 7), "argument 1 .* come from 7"),
    ):
        with pytest.raises(TypeError, match=what):
            call()
    view.scatter("a", {1}, block=True)
    assert view.gather("a", block=True) == [1]


def test_calls_of_an_engine_are_bound_once(client):
    client[0].apply_sync(abs, 1)
    engine = client._state.known(0)
    bound = vars(engine._methods["apply"])["remote"]
    client[0].apply_sync(abs, 1)
    client[:].apply_sync(abs, 1)
    assert vars(engine._methods["apply"])["remote"] is bound


def test_results_of_a_map_are_what_the_engines_made(client):
    made = client[:].map_sync(lambda i: [1, 2.5, "x", b"y", None, (1, [2]), range(3)][i], range(7))
    assert made == [1, 2.5, "x", b"y", None, (1, [2]), range(3)]
    functions = client[:].map_sync(lambda i: lambda: i, range(4))
    assert [function() for function in functions] == [0, 1, 2, 3]
    with pytest.raises(ipp.RemoteError, match="ZeroDivisionError"):
        client[:].map_sync(lambda i: 1 // (i - 2), range(3))


def test_sequences_of_a_map_arrive_as_they_were(client):
    view = client[:]
    assert view.map_sync(
        lambda *items: items, range(9, 0, -2), "abcde", (1, (2,), [3], "4", 5)
    ) == [*((9, "a", 1), (7, "b", (2,)), (5, "c", [3]), (3, "d", "4"), (1, "e", 5))]
    large = range(1 << 80, (1 << 80) + 3)
    assert view.map_sync(int, large) == list(large)
    # Three numbers in a tuple are three items.
    assert client[0].map_sync(int, (0, 3, 1)) == [0, 3, 1]
    balanced = client.load_balanced_view()
    assert balanced.map_sync(int, (0, 3, 1), chunksize=3) == [0, 3, 1]
    assert balanced.map_sync(int, range(7), chunksize=3) == list(range(7))
    result = view.map_async(lambda i: i, range(1000))
    assert [len(part.get()[0]) for part in result.split()] == [334, 333, 333]
    assert result.get() == list(range(1000))


def test_functions_of_modules_go_by_name(client, tmp_path, monkeypatch):
    (tmp_path / "haz_test_named.py").write_text(
        "class Tools:\n    @staticmethod\n    def twice(x):\n        return 2 * x\n"
        "def once(x):\n    return x\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import haz_test_named as named

    path = f"import sys; sys.path.insert(0, {str(tmp_path)!r})"
    client[:].execute(path).get()
    assert client[:].apply_sync(named.Tools.twice, 4) == [8, 8, 8]
    assert client[:].map_sync(named.once, range(4)) == [0, 1, 2, 3]
    # What the module there is now is what is called.
    changed = "import haz_test_named; haz_test_named.once = lambda x: -x"
    client[:].execute(changed).get()
    assert client[:].map_sync(named.once, range(3)) == [0, -1, -2]
    client[0].execute("del haz_test_named.once").get()
    raised_on_engine("AttributeError", client[0].apply_sync, named.once, 1)
    client[0].execute("sys.modules['haz_test_named'] = None").get()
    raised_on_engine("ModuleNotFoundError", client[0].apply_sync, named.Tools.twice, 1)
    assert client[0].apply_sync(abs, -1) == 1


def test_one_of_several_that_fails_is_a_composite_error(client):
    view = client[:]
    view.execute("here = 1").get()
    client[1].execute("here = 0").get()

    def fails(x):
        return 1 / x

    result = view.apply_async(fails, ipp.Reference("here"))
    for ask in (result.get, lambda: list(result), lambda: result[1]):
        with pytest.raises(ipp.CompositeError, match=r"in: fails\n\[1:apply\] ZeroDivisionError: "):
            ask()
    assert repr(result.exception()) == "CompositeError(1)"
    (name, message, trace, engine), *others = result.exception().elist
    assert (name, message, engine["engine_id"], others) == (
        "ZeroDivisionError",
        "division by zero",
        1,
        [],
    )
    assert "return 1 / x" in trace
    assert result.get(return_exceptions=True)[::2] == [1, 1]
    with pytest.raises(ipp.CompositeError):
        list(view.map_async(lambda i: 1 / (i - 2), range(5)))
    with pytest.raises(ipp.CompositeError):
        client.load_balanced_view().map_sync(lambda i: 1 / (i - 2), range(5))
    with pytest.raises(
        ipp.RemoteError, match=r"^\[1:execute\] NameError: name 'nothing'"
    ) as caught:
        client[1].execute("nothing").get()
    assert type(caught.value) is ipp.RemoteError
    assert caught.value.render_traceback()[0] == "[1:execute]"


def test_calls_whose_results_nobody_holds_are_waited_for(client, tmp_path):
    gate = str(tmp_path / "gate")

    def waits(gate):
        import os
        import time

        while not os.path.exists(gate):
            time.sleep(0.002)

    view = client[:2]
    view.apply_async(waits, gate)
    assert len(client.outstanding) == len(view.outstanding) == 2
    assert client.queue_status()[0]["queue"] == client.queue_status(1)["queue"] == 1
    assert client.wait(timeout=0.01) is view.wait(timeout=0.01) is False
    open(gate, "w").close()
    assert client.wait(timeout=100) is True
    assert not client.outstanding
    assert client.queue_status(0) == {"queue": 0, "completed": 1, "tasks": 0}
    held = client._state.messages._running
    client[:].push({"a": bytes(100)}, block=True)
    assert not held
    for _ in range(3000):
        client[0].apply_async(int)
    assert client.wait(timeout=100) is True
    assert not held
    assert not client.outstanding


def test_calls_that_end_at_once_do_not_pile_up(client, monkeypatch):
    from haz.ipyparallel import _balancer

    def ready_at_once(ref, callback):
        haz.wait([ref])
        callback()

    monkeypatch.setattr(_balancer, "when_ready", ready_at_once)
    balanced = client.load_balanced_view()
    calls = [balanced.apply_async(functools.partial(abs), -i) for i in range(1500)]
    assert [call.get(timeout=100) for call in calls] == list(range(1500))


def test_calls_of_one_function_are_known_as_such(client):
    balanced = client.load_balanced_view()
    balancer = client._state.balancer
    calls = [balanced.apply_async(os.path.basename, f"a/{i}") for i in range(300)]
    assert [call.get(timeout=100) for call in calls] == [str(i) for i in range(300)]
    assert list(balancer._durations) == [("posixpath", "basename")]


def test_calls_without_arguments_of_many_functions_keep_apart(client, monkeypatch):
    balanced = client.load_balanced_view()
    functions = [platform.python_version, platform.machine, tempfile.gettempprefix, lambda: "here"]
    expected = [function() for function in functions]
    calls = [balanced.apply_async(each) for _ in range(100) for each in functions]
    assert [call.get(timeout=100) for call in calls] == expected * 100
    monkeypatch.setattr(platform, "machine", lambda: "another")  # it goes by that name no more
    calls = [balanced.apply_async(each) for each in (*functions, platform.machine) * 2]
    assert [call.get(timeout=100) for call in calls] == [*expected, "another"] * 2
    again = client.resubmit([call.msg_ids[0] for call in calls[:5]])
    assert again.get(timeout=100) == [*expected, "another"]


def test_balanced_calls_that_can_not_be_sent_fail(client, monkeypatch):
    really = EngineHandle.call

    def call(engine, method, *args):
        if threading.current_thread() is threading.main_thread():
            return really(engine, method, *args)
        raise RuntimeError("haz is not initialized")

    monkeypatch.setattr(EngineHandle, "call", call)
    calls = [client.load_balanced_view().apply_async(time.sleep, 0.05) for _ in range(20)]
    errors = [each.exception(timeout=100) for each in calls]
    assert {type(error) for error in errors} == {type(None), RuntimeError}


def test_what_watches_a_call_is_told_of_its_end_once():
    messages = [BalancedMessage(str(number), None, ()) for number in range(3000)]
    told = [[] for _ in messages]

    def end_all():
        for message in messages:
            message._settle(("ok", None, 0.0, 0.0, None), 0.0)

    ending = threading.Thread(target=end_all)
    ending.start()
    for message, times in zip(messages, told, strict=True):
        for _ in range(3):
            message.watch(functools.partial(times.append, None))
    ending.join()
    assert {len(times) for times in told} == {3}
    assert all(message.wait(0) for message in messages)


def test_a_map_does_not_end_at_a_stop_iteration_of_its_function(client):
    def first(items):
        return next(iter(items))

    assert client[:].map_sync(first, [[1], [2], [3]] * 2) == [1, 2, 3] * 2
    raised_on_engine("StopIteration", client[:].map_sync, first, [[1], [], [3]] * 2)
    raised_on_engine(
        "StopIteration", client[:].map_sync, lambda a, b: next(iter(b)), "ab", ["c", ""]
    )


def test_what_an_engine_lacks_is_named(client):
    @ipp.require("haz_no_such_module")
    def needs():
        pass

    with pytest.raises(ipp.RemoteError, match=r"UnmetDependency.*haz_no_such_module"):
        client[0].apply_sync(needs)


def test_parts_and_clear_that_are_waited_for_return_nothing(client):
    view = client[:]
    assert view.scatter("part", range(7), block=True) is None
    assert view.scatter("part", range(7), block=False).get() == [None] * 3
    assert view["part"] == [range(3), range(3, 5), range(5, 7)]
    assert view.clear(block=True) is client.clear(block=True) is None
    assert view.clear(block=False).get() == [None] * 3


def test_a_semicolon_hides_the_value_of_code(client):
    view = client[0]
    for code in ("1;", "1;  # a comment\n\n", "a = 1\na;\n"):
        assert view.execute(code, silent=False).get().execute_result is None, code
    for code in ("1; 2", "';'", "'a;'  # b;", "1 # ;"):
        assert view.execute(code, silent=False).get().execute_result is not None, code
    view.execute("import IPython").get()
    assert view.execute("1;", silent=False).get().execute_result is None
    assert view.execute("1; 2", silent=False).get().text == "2"
