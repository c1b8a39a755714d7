"""Long-lived nodes: started, shown and ended; programs join and leave."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import haz
import pytest
from haz._core import node_address
from haz.testing import wait_until

from tests.python.native.node_tools import runs, said

# ---- start and stop ----------------------------------------------------------------------------


def test_a_node_is_started_shown_and_ended(fresh_node):
    assert fresh_node.command("status", check=False).returncode == 1
    fresh_node.start("--resource", "crane=2", "--label", "place=desk")
    state = fresh_node.status()
    assert state["total"]["CPU"] == 2
    assert state["total"]["crane"] == 2
    assert json.loads(fresh_node.command("status", "--json").stdout)[0]["pid"] == state["pid"]
    assert f"process {state['pid']}" in fresh_node.command("status").stdout
    again = fresh_node.command("start", check=False)
    assert again.returncode == 1
    assert "haz stop" in again.stderr
    haz.init(address="auto")
    assert haz.nodes()[0]["Labels"] == {"place": "desk"}
    haz.shutdown()
    fresh_node.command("stop")
    assert not runs(state["pid"])
    assert not runs(state["zygote_pid"])
    assert not os.path.exists(fresh_node.path)
    missing = fresh_node.command("stop", check=False)
    assert missing.returncode == 1
    assert "haz start" in missing.stderr


@pytest.mark.parametrize(
    ("option", "problem"),
    [
        (("--resource", "CPU=4"), "num_cpus"),
        (("--resource", "memory=4"), "memory="),
        (("--resource", "crane=nan"), "0 or more"),
        (("--object-store-memory", "10"), "1000000 or more"),
        (("--num-cpus", "99999999999"), "at most"),
        (("--idle-timeout", "nan"), "seconds"),
        (("--idle-timeout", "inf"), "seconds"),
        (("--name", "../up"), "letters"),
    ],
)
def test_what_a_node_cannot_have_is_an_error_of_its_start(fresh_node, option, problem):
    done = fresh_node.command("start", *option, check=False)
    assert done.returncode == 1, done.stdout
    assert problem in done.stderr
    assert "Traceback" not in done.stderr
    assert fresh_node.command("status", check=False).returncode == 1


def test_the_environment_says_how_many_cpus_a_node_has(fresh_node):
    fresh_node.environ["HAZ_NUM_CPUS"] = "3"
    fresh_node.command("start")
    assert fresh_node.status()["total"]["CPU"] == 3


def test_nodes_have_names(fresh_node):
    fresh_node.command("start", "--name", "one", "--num-cpus", "1")
    fresh_node.command("start", "--name", "two", "--num-cpus", "2")
    haz.init(address="two")
    assert haz.cluster_resources()["CPU"] == 2
    haz.shutdown()
    haz.init(address=os.path.join(fresh_node.folder, "haz", "one.sock"))
    assert haz.cluster_resources()["CPU"] == 1
    haz.shutdown()
    assert "one, two" in fresh_node.command("stop", "--all").stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_server_in_the_terminal_says_so_and_ends_by_a_signal(fresh_node, number):
    server = subprocess.Popen(
        [sys.executable, "-m", "haz", "start", "--block", "--num-cpus", "1"],
        env=fresh_node.environ,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert f"process {server.pid}" in server.stdout.readline()
    state = fresh_node.status()
    assert state["pid"] == server.pid
    server.send_signal(number)
    server.communicate(timeout=60)
    assert server.returncode == 0
    wait_until(lambda: not runs(state["zygote_pid"]))


def test_of_starts_at_once_one_succeeds(fresh_node):
    starts = [
        subprocess.Popen(
            [sys.executable, "-m", "haz", "start", "--num-cpus", "1"],
            env=fresh_node.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    ends = [(one.communicate(timeout=120), one.returncode) for one in starts]
    assert sorted(code for _, code in ends) == [0, 1, 1, 1], ends
    assert all("haz stop" in err for (_, err), code in ends if code), ends
    assert fresh_node.is_empty()


def test_a_folder_that_is_not_ones_own_is_refused(fresh_node):
    elsewhere = os.path.join(fresh_node.folder, "elsewhere")
    os.mkdir(elsewhere, 0o700)
    os.symlink(elsewhere, os.path.join(fresh_node.folder, "haz"))
    done = fresh_node.command("start", check=False)
    assert done.returncode == 1
    assert "chmod 700" in done.stderr
    with pytest.raises(PermissionError, match="700"):
        haz.init(address="auto")
    assert os.listdir(elsewhere) == []


def test_what_lies_beside_is_not_run(fresh_node):
    beside = os.path.join(fresh_node.folder, "beside")
    os.mkdir(beside)
    with open(os.path.join(beside, "socket.py"), "w") as file:
        file.write("raise SystemExit('run')")
    code = "import sys; sys.path.remove(''); from haz.cli.main import main; main(['start'])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=beside,
        env=fresh_node.environ,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def test_a_server_that_was_killed_is_replaced(running):
    pid = running.status()["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not runs(pid))
    with pytest.raises(ConnectionError, match="haz start"):
        haz.init(address="auto")
    running.start()
    assert running.status()["pid"] != pid


def test_what_is_the_nodes_own_cannot_be_given(running):
    for option in ({"num_cpus": 3}, {"resources": {"a": 1}}, {"object_store_memory": 10**9}):
        with pytest.raises(ValueError, match="haz start"):
            haz.init(address="auto", **option)


@pytest.mark.parametrize("address", ["auto", "other", "/nowhere/at/all.sock"])
def test_no_node_is_an_error_that_says_what_to_do(fresh_node, address):
    with pytest.raises(ConnectionError, match="haz start"):
        haz.init(address=address)
    with pytest.raises(ConnectionError, match="name of a node"):
        haz.init(address="127.0.0.1:6379")
    with pytest.raises(ValueError, match="inline"):
        haz.init(address="auto", engine="inline")


def test_without_a_server_nothing_is_detached(fresh_node):
    class Thing:
        pass

    haz.init(num_cpus=1)
    with pytest.raises(ValueError, match="haz start"):
        haz.remote(Thing).options(lifetime="detached", name="t").remote()
    with pytest.raises(ValueError, match="haz start"):
        haz.util.placement_group([{"CPU": 1}], lifetime="detached")


def test_another_build_is_refused(running):
    with node_address.connect("auto") as connection:
        greeting = {"op": "join", **node_address.build_identity(), "build": "other"}
        node_address.send(connection, greeting)
        answer, fds = node_address.receive(connection, 1)
    assert "build" in answer["error"]
    assert not fds
    assert running.is_empty()


def test_a_node_has_the_options_of_its_programs_interpreter(running):
    code = "import haz; haz.init(); print(haz.get(haz.remote(lambda: __debug__).remote()))"
    environ = {**running.environ, "HAZ_ADDRESS": "auto"}
    run = [sys.executable, "-O", "-c", code]
    refused = subprocess.run(run, env=environ, capture_output=True, text=True, timeout=120)
    assert "interpreter options" in refused.stderr
    running.command("stop")
    start = [sys.executable, "-O", "-m", "haz", "start"]
    subprocess.run(start, env=running.environ, check=True, timeout=120, capture_output=True)
    done = subprocess.run(run, env=environ, capture_output=True, text=True, timeout=120)
    assert done.stdout == "False\n", done.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="needs a second user")
def test_another_user_is_refused(running):
    folder = os.path.dirname(running.path)
    os.chmod(running.folder, 0o755)
    os.chmod(folder, 0o755)
    os.chmod(running.path, 0o777)
    code = f"""
        import os, socket, sys
        os.setgid(65534); os.setuid(65534)
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        s.connect({running.path!r})
        try:
            s.send(b'{{"op": "status"}}')
        except BrokenPipeError:
            pass  # the other end does not read
        for _ in range(2):
            try:
                print(s.recv(1000).decode())
                break
            except ConnectionResetError:
                pass  # likewise, told once
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60
    )
    try:
        with pytest.raises(PermissionError, match="700"):
            node_address.runtime_folder()
    finally:
        os.chmod(folder, 0o700)
    assert "another user" in done.stdout, done.stderr
    assert running.is_empty()


def test_a_program_that_says_nonsense_is_dropped(running):
    for words in (b"\x80\x81", b"{}", b'{"op": "fly"}'):
        with node_address.connect("auto") as connection:
            connection.send(words)
            assert connection.recv(1000) == b""
    assert running.is_empty()


# ---- life


def test_a_server_without_work_ends_when_it_was_told_to(fresh_node):
    fresh_node.start("--idle-timeout", "3")  # time to join it on a busy machine
    pid = fresh_node.status()["pid"]
    haz.init(address="auto")
    time.sleep(3.5)
    assert runs(pid), "a program uses it"
    haz.shutdown()
    wait_until(lambda: not runs(pid))
    assert not os.path.exists(fresh_node.path)


def test_output_for_a_program_that_was_killed_does_not_keep_a_server(fresh_node):
    fresh_node.start("--idle-timeout", "3")
    pid = fresh_node.status()["pid"]
    program = fresh_node.driver(
        """
        import haz, os, sys, time

        class Unread:
            def write(self, text):
                time.sleep(1000)

        @haz.remote
        def speak():
            for i in range(1000):
                print(i, "x" * 500)

        haz.init()
        child = os.fork()  # keeps the connection
        if child == 0:
            time.sleep(1000)
        print(child, flush=True)
        sys.stdout = Unread()
        haz.get(speak.remote())
        print("done", file=sys.__stdout__, flush=True)
        time.sleep(1000)
        """
    )
    child = int(program.stdout.readline())
    try:
        said(program, "done")
        program.kill()
        wait_until(lambda: not runs(pid))
    finally:
        os.kill(child, signal.SIGKILL)


def test_workers_that_nothing_needs_end_but_for_one_each_slot(running):
    @haz.remote(num_cpus=0)
    def rest():
        time.sleep(0.5)
        return os.getpid()

    haz.init(address="auto")
    crowd = set(haz.get([rest.remote() for _ in range(8)]))
    assert len(crowd) > 2
    wait_until(lambda: sum(map(runs, crowd)) <= 2)
    wait_until(
        lambda: len(running.status()["worker_pids"]) <= 2
    )  # it hears of an end a little later
    assert haz.get(rest.remote())


def test_a_lost_terminal_and_a_full_log_do_not_end_it(running):
    pid = running.status()["pid"]
    os.kill(pid, signal.SIGHUP)
    os.unlink(os.path.join(running.folder, "haz", "default.log"))
    haz.init(address="auto")
    assert haz.get(haz.remote(lambda: 1).remote()) == 1
    haz.shutdown()
    assert running.status()["pid"] == pid


# ---- joining and leaving -----------------------------------------------------------------------


def test_tasks_find_what_their_program_has(running, tmp_path):
    (tmp_path / "beside.py").write_text("ANSWER = 42\n")
    out = running.run(
        f"""
        import os, sys
        os.chdir({str(tmp_path)!r})
        sys.path.insert(0, os.getcwd())
        import haz

        @haz.remote
        def look():
            import beside
            return os.getcwd(), os.environ.get("MINE"), beside.ANSWER, sys.argv

        print(haz.get(look.remote()) == (os.getcwd(), "yes", 42, sys.argv))
        print(haz.get_runtime_context().gcs_address)
        """,
        MINE="yes",
    )
    assert out.split() == ["True", running.path]


def test_workers_follow_the_warning_options_of_their_program(running):
    code = """
        import haz, warnings

        @haz.remote
        def look():
            try:
                warnings.warn("old", DeprecationWarning)
            except DeprecationWarning:
                return "raised"
            return "shown"

        print(haz.get(look.remote()))
    """
    assert running.run(code, PYTHONWARNINGS="error::DeprecationWarning").split() == ["raised"]
    assert running.run(code).split() == ["shown"]


def test_two_programs_share_a_node(running):
    code = """
        import haz, os, sys

        @haz.remote
        def who():
            return haz.get_runtime_context().get_job_id(), os.getpid()

        mine = haz.get_runtime_context().get_job_id()
        sys.stdin.readline()
        found = haz.get([who.remote() for _ in range(20)])
        assert {job for job, _ in found} == {mine}, (found, mine)
        print("job", mine, *sorted({pid for _, pid in found}), flush=True)
        sys.stdin.readline()
    """
    programs = [running.driver(code) for _ in range(2)]
    for program in programs:
        program.stdin.write("\n")
        program.stdin.flush()
    jobs = [program.stdout.readline().split() for program in programs]
    assert jobs[0][1] != jobs[1][1]
    assert not set(jobs[0][2:]) & set(jobs[1][2:]), "a process worked for both"
    state = running.status()
    assert {one["pid"] for one in state["drivers"]} == {program.pid for program in programs}
    # One too many may just have ended.
    wait_until(lambda: all(runs(pid) for pid in running.status()["worker_pids"]))
    for program in programs:
        program.communicate("\n", timeout=60)
    wait_until(running.is_empty)


def test_leaving_takes_everything_and_waits_for_it(running):
    @haz.remote
    def sleep():
        time.sleep(1000)

    @haz.remote
    class Holder:
        def pid(self):
            return os.getpid()

    haz.init(address="auto")
    holder = Holder.remote()
    pid = haz.get(holder.pid.remote())
    refs = [sleep.remote() for _ in range(5)] + [haz.put(b"x" * 1_000_000)]
    haz.shutdown()
    assert not runs(pid)
    assert running.is_empty(), running.status()
    del refs


def test_views_outlast_the_stay_in_a_node(fresh_node):
    fresh_node.start("--object-store-memory", "100000000")
    out = fresh_node.run(
        """
        import haz, numpy

        @haz.remote
        def overwritten(view):
            return bytes(view) == b"a" * len(view)

        def fill(letter):
            for size in (2_000, 20_000, 1_000_000, 10_000_000):
                yield haz.put(letter * size)

        haz.init()
        views = [memoryview(haz.get(haz.put(bytearray(b"a" * n)))) for n in (2_000, 40_000, 9_000_001)]
        views += haz.get([haz.put(memoryview(b"a" * n)) for n in (2_000, 40_000, 9_000_001)])
        with haz.Executor(1) as executor:  # private, and of one page only until the program leaves
            mine = executor.submit(numpy.full, 1_000_000, 7).result(60)
            mine[5] = 6
        for _ in range(2):
            haz.shutdown()
            assert all(view == b"a" * len(view) for view in views)
            haz.init()
            kept = [ref for _ in range(5) for ref in fill(b"b")]
            assert all(view == b"a" * len(view) for view in views)
            assert haz.get(overwritten.remote(views[-1]))
            assert mine.sum() == 7_000_000 - 1
            mine[7], mine[8] = 6, 8
        print("ok", views[-1].readonly)
        """
    )
    assert out.split() == ["ok", "True"]


def descriptors(node):
    return len(os.listdir(f"/proc/{node.status()['pid']}/fd"))


WAITS_IN_A_FULL_STORE = """
    import asyncio, threading, time
    import haz

    @haz.remote
    def make(size):
        return bytes(size)

    async def awaited(ref):
        return await ref

    haz.init()
    kept = [haz.put(bytes(50_000_000))]
    other = threading.Timer({after_s}, kept.clear)
    other.daemon = {is_daemon}
    other.start()
    began = time.monotonic()
    try:
        print(len({get}))
    except haz.exceptions.ObjectStoreFullError:
        print("full")
    print(time.monotonic() - began < {after_s})
"""
_AWAIT = "asyncio.run(awaited(make.remote(40_000_000)))"


@pytest.mark.parametrize(
    ("get", "after_s", "is_daemon", "said"),
    [
        ("haz.get(haz.put(bytes(40_000_000)))", 2.5, False, "40000000 False"),
        ("haz.get(haz.put(bytes(40_000_000)))", 2.5, True, "full True"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ("haz.get(make.remote(40_000_000))", 13, False, "40000000 False"),
                ("haz.get(make.remote(40_000_000))", 13, True, "full True"),
                (_AWAIT, 13, True, "40000000 False"),
            )
        ),
    ],
    ids=["put", "put-alone", "get", "get-alone", "await"],
)
def test_programs_wait_for_their_other_threads(fresh_node, get, after_s, is_daemon, said):
    fresh_node.start("--object-store-memory", "60000000")
    code = WAITS_IN_A_FULL_STORE.format(get=get, after_s=after_s, is_daemon=is_daemon)
    assert fresh_node.run(code).split() == said.split()


def resident_kib(pid):
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Private_Dirty"))


def check_rounds(node, round_trip, rounds):
    """Neither descriptors nor memory of the server grow with programs that come and go."""
    for _ in range(3):
        round_trip()
    state = node.status()
    before, memory = descriptors(node), resident_kib(state["pid"])
    for _ in range(rounds):
        round_trip()
    wait_until(node.is_empty)
    wait_until(lambda: descriptors(node) <= before + 1)
    assert node.status()["store_used_bytes"] < 2_000_000
    assert node.status()["pid"] == state["pid"]
    assert resident_kib(state["pid"]) < memory + 4096 + rounds


@pytest.mark.parametrize("rounds", [30, pytest.param(1000, marks=pytest.mark.slow)])
def test_joins_and_leaves_do_not_add_up(running, rounds):
    @haz.remote
    def one():
        return 1

    @haz.remote
    class Actor:
        def call(self):
            return haz.put(bytes(100_000))

    def round_trip():
        haz.init(address="auto")
        assert haz.get(one.remote()) == 1
        actor = Actor.options(name="actor").remote()
        assert len(haz.get(haz.get(actor.call.remote()))) == 100_000
        haz.shutdown()

    check_rounds(running, round_trip, rounds)


@pytest.mark.parametrize("rounds", [5, pytest.param(100, marks=pytest.mark.slow)])
def test_programs_that_come_and_go_do_not_add_up(running, rounds):
    code = """
        import haz, os

        @haz.remote
        def one():
            return haz.put(bytes(100_000))

        haz.get(haz.get(one.remote()))
        if os.environ.get("CRASHES"):
            os.kill(os.getpid(), 9)
    """

    def round_trip():
        running.run(code)
        crashed = running.driver(code, CRASHES="1")
        crashed.communicate(timeout=120)
        assert crashed.returncode == -9

    check_rounds(running, round_trip, rounds)
