"""Long-lived nodes: programs join and leave one, and are killed, as the server is."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time

import haz
import pytest
from haz._core import node_address
from haz.exceptions import ActorDiedError, NodeDiedError, OwnerDiedError
from haz.testing import leak_check, wait_until


class Node:
    """A server, and what is asked of it."""

    def __init__(self, folder):
        self.folder = folder
        self.environ = {**os.environ, "XDG_RUNTIME_DIR": folder}
        self.environ.pop("HAZ_ADDRESS", None)
        self.drivers = []

    def command(self, *args, check=True):
        done = subprocess.run(
            [sys.executable, "-m", "haz", *args],
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=120,
        )
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    def start(self, *args):
        self.command("start", "--num-cpus", "2", *args)
        return self

    @property
    def path(self):
        return os.path.join(self.folder, "haz", "default.sock")

    def status(self):
        return node_address.ask(self.path, {"op": "status"})

    def driver(self, code, **environ):
        """Start a program that joins the node."""
        program = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code)],
            env={**self.environ, "HAZ_ADDRESS": "auto", **environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.drivers.append(program)
        return program

    def run(self, code, **environ):
        """Run a program that joins the node; return what it printed."""
        program = self.driver(code, **environ)
        out, err = program.communicate(timeout=120)
        assert program.returncode == 0, out + err
        return out

    def is_empty(self):
        """Whether nothing of any program is left; unused workers may wait for the next."""
        state = self.status()
        left = state["drivers"] or state["objects"] or state["tasks"] or state["actors"]
        return not left and len(state["worker_pids"]) <= state["total"]["CPU"]


def runs(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def said(program, text):
    """Wait until a program has printed the line."""
    for line in program.stdout:
        if line.strip() == text:
            return
    raise AssertionError(f"the program ended: {program.stderr.read()}")


@pytest.fixture
def node(monkeypatch):
    folder = tempfile.mkdtemp(prefix="haz-", dir="/tmp")
    os.chmod(folder, 0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
    monkeypatch.delenv("HAZ_ADDRESS", raising=False)
    one = Node(folder)
    try:
        with leak_check():
            yield one
            haz.shutdown()
            for program in one.drivers:
                program.kill()
                program.communicate()
    finally:
        one.command("stop", "--all", check=False)
        shutil.rmtree(folder)


@pytest.fixture
def running(node):
    return node.start()


# ---- start and stop ----------------------------------------------------------------------------


def test_a_node_is_started_shown_and_ended(node):
    assert node.command("status", check=False).returncode == 1
    node.start("--resource", "crane=2", "--label", "place=desk")
    state = node.status()
    assert state["total"]["CPU"] == 2
    assert state["total"]["crane"] == 2
    assert json.loads(node.command("status", "--json").stdout)[0]["pid"] == state["pid"]
    assert f"process {state['pid']}" in node.command("status").stdout
    again = node.command("start", check=False)
    assert again.returncode == 1
    assert "haz stop" in again.stderr
    haz.init(address="auto")
    assert haz.nodes()[0]["Labels"] == {"place": "desk"}
    haz.shutdown()
    node.command("stop")
    assert not runs(state["pid"])
    assert not runs(state["zygote_pid"])
    assert not os.path.exists(node.path)
    missing = node.command("stop", check=False)
    assert missing.returncode == 1
    assert "haz start" in missing.stderr


def test_nodes_have_names(node):
    node.command("start", "--name", "one", "--num-cpus", "1")
    node.command("start", "--name", "two", "--num-cpus", "2")
    haz.init(address="two")
    assert haz.cluster_resources()["CPU"] == 2
    haz.shutdown()
    haz.init(address=os.path.join(node.folder, "haz", "one.sock"))
    assert haz.cluster_resources()["CPU"] == 1
    haz.shutdown()
    assert "one, two" in node.command("stop", "--all").stdout


def test_of_starts_at_once_one_succeeds(node):
    starts = [
        subprocess.Popen(
            [sys.executable, "-m", "haz", "start", "--num-cpus", "1"],
            env=node.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    ends = [(one.communicate(timeout=120), one.returncode) for one in starts]
    assert sorted(code for _, code in ends) == [0, 1, 1, 1], ends
    assert all("haz stop" in err for (_, err), code in ends if code), ends
    assert node.is_empty()


def test_a_folder_that_is_not_ones_own_is_refused(node):
    elsewhere = os.path.join(node.folder, "elsewhere")
    os.mkdir(elsewhere, 0o700)
    os.symlink(elsewhere, os.path.join(node.folder, "haz"))
    done = node.command("start", check=False)
    assert done.returncode == 1
    assert "chmod 700" in done.stderr
    with pytest.raises(PermissionError, match="700"):
        haz.init(address="auto")
    assert os.listdir(elsewhere) == []


def test_what_lies_beside_is_not_run(node):
    beside = os.path.join(node.folder, "beside")
    os.mkdir(beside)
    with open(os.path.join(beside, "socket.py"), "w") as file:
        file.write("raise SystemExit('run')")
    code = "import sys; sys.path.remove(''); from haz.cli.main import main; main(['start'])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=beside,
        env=node.environ,
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
def test_no_node_is_an_error_that_says_what_to_do(node, address):
    with pytest.raises(ConnectionError, match="haz start"):
        haz.init(address=address)
    with pytest.raises(ConnectionError, match="name of a node"):
        haz.init(address="127.0.0.1:6379")
    with pytest.raises(ValueError, match="inline"):
        haz.init(address="auto", engine="inline")


def test_without_a_server_nothing_is_detached(node):
    class Thing:
        pass

    haz.init(num_cpus=1)
    with pytest.raises(ValueError, match="haz start"):
        haz.remote(Thing).options(lifetime="detached", name="t").remote()


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
    assert len(running.status()["drivers"]) == 2
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


STATES = {
    "idle": "haz.init()",
    "computing": "haz.init(); print('ready', flush=True)\nwhile True: pass",
    "getting": "haz.get(sleep.remote())",
    "submitting": "while True: quick.remote()",
    "putting": "while True: refs = [haz.put(bytes(200_000)) for _ in range(50)]",
    "calling": "a = Actor.remote()\nwhile True: haz.get(a.call.remote())",
    "nesting": "haz.get(parent.remote())",
    "streaming": "for ref in stream.remote(): haz.get(ref)",
}


@pytest.mark.parametrize("state", STATES)
def test_a_killed_program_leaves_nothing(running, state):
    code = """
import haz, threading, time, sys

@haz.remote
def sleep(): time.sleep(1000)

@haz.remote
def quick(): pass

@haz.remote
def parent(): return haz.get([sleep.remote() for _ in range(3)])

@haz.remote
def stream():
    n = 0
    while True:
        yield n
        n += 1

@haz.remote
class Actor:
    def call(self): return 1

haz.init()
threading.Timer(0.3, lambda: print("ready", flush=True)).start()
"""
    program = running.driver(code + STATES[state] + "\ntime.sleep(1000)\n")
    said(program, "ready")
    program.kill()
    wait_until(running.is_empty)
    assert running.run("import haz; f = haz.remote(lambda: 7); print(haz.get(f.remote()))") == "7\n"


def test_a_forked_child_does_not_keep_its_parents_work(running):
    program = running.driver(
        """
        import haz, os, sys, time
        haz.init()
        held = haz.put(bytes(1_000_000))
        if os.fork() == 0:
            sys.stdin.read()  # until the test lets it go
            os._exit(0)
        print("ready", flush=True)
        time.sleep(1000)
        """
    )
    said(program, "ready")
    program.kill()
    wait_until(running.is_empty)


def test_joins_and_leaves_do_not_add_up(running):
    @haz.remote
    def one():
        return 1

    def round_trip():
        haz.init(address="auto")
        assert haz.get(one.remote()) == 1
        haz.shutdown()

    def descriptors():
        return len(os.listdir(f"/proc/{running.status()['pid']}/fd"))

    round_trip()
    before = descriptors()
    for _ in range(30):
        round_trip()
    assert running.is_empty()
    assert descriptors() <= before + 1
    assert running.status()["store_used_bytes"] < 2_000_000


# ---- between programs --------------------------------------------------------------------------


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
    assert not runs(pid)


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


def test_output_goes_to_the_program_whose_task_it_is(running):
    code = """
        import haz

        @haz.remote
        def speak(word):
            print("says", word)

        haz.get([speak.remote({word!r}) for _ in range(3)])
    """
    programs = [running.driver(code.format(word=word)) for word in ("alpha", "beta")]
    outputs = [program.communicate(timeout=120)[0] for program in programs]
    assert outputs[0].count("says alpha") == 3
    assert outputs[1].count("says beta") == 3
    assert "beta" not in outputs[0]
    assert "alpha" not in outputs[1]


# ---- the server's end --------------------------------------------------------------------------


def died(call):
    with pytest.raises(NodeDiedError):
        call()


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_the_servers_end_ends_every_wait(running, how):
    import threading

    @haz.remote
    def sleep():
        time.sleep(1000)

    @haz.remote
    def stream():
        yield 1
        time.sleep(1000)

    @haz.remote
    class Actor:
        def sleep(self):
            time.sleep(1000)

    haz.init(address="auto")
    ref = sleep.remote()
    call = Actor.remote().sleep.remote()
    items = stream.remote()
    assert haz.get(next(items)) == 1
    value = haz.put(bytes(1_000_000))
    view = haz.get(value)

    async def awaited():
        return await ref

    ended = []

    def expect(wait):
        try:
            wait()
            ended.append("no error")
        except NodeDiedError:
            ended.append("died")
        except BaseException as error:
            ended.append(repr(error))

    waits = [
        lambda: haz.get(ref),
        lambda: haz.get([call]),
        lambda: haz.wait([ref]),
        lambda: next(items),
        lambda: asyncio.run(awaited()),
        lambda: ref.future().result(),
    ]
    threads = [threading.Thread(target=expect, args=(wait,)) for wait in waits]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    state = running.status()
    if how == "kill":
        os.kill(state["pid"], signal.SIGKILL)
    else:
        running.command("stop")
    for thread in threads:
        thread.join(60)
    assert ended == ["died"] * len(waits)
    for pid in (state["pid"], state["zygote_pid"], *state["worker_pids"]):
        wait_until(lambda pid=pid: not runs(pid))
    died(lambda: haz.get(ref))
    died(lambda: haz.put(1))
    died(lambda: haz.put(bytes(10_000_000)))
    died(sleep.remote)
    died(Actor.remote)
    died(haz.cluster_resources)
    assert view == bytes(1_000_000), "what was got stays"
    haz.shutdown()
    haz.init(num_cpus=1)
    assert haz.get(haz.remote(lambda: 5).remote()) == 5


def test_a_program_that_floods_a_dying_server_ends(running):
    program = running.driver(
        """
        import haz
        @haz.remote
        def quick(): pass
        haz.get(quick.remote())
        print("ready", flush=True)
        try:
            while True:
                refs = [quick.remote() for _ in range(1000)]
        except haz.exceptions.NodeDiedError:
            print("died", flush=True)
        """
    )
    said(program, "ready")
    os.kill(running.status()["pid"], signal.SIGKILL)
    said(program, "died")
    program.communicate(timeout=60)


def test_a_server_without_work_ends_when_it_was_told_to(node):
    node.start("--idle-timeout", "0.5")
    pid = node.status()["pid"]
    haz.init(address="auto")
    time.sleep(1)
    assert runs(pid), "a program uses it"
    haz.shutdown()
    wait_until(lambda: not runs(pid))
    assert not os.path.exists(node.path)


def test_a_lost_terminal_and_a_full_log_do_not_end_it(running):
    pid = running.status()["pid"]
    os.kill(pid, signal.SIGHUP)
    os.unlink(os.path.join(running.folder, "haz", "default.log"))
    haz.init(address="auto")
    assert haz.get(haz.remote(lambda: 1).remote()) == 1
    haz.shutdown()
    assert running.status()["pid"] == pid
