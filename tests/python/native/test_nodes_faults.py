"""Long-lived nodes: programs are killed, stopped and write nonsense, and so is the server."""

from __future__ import annotations

import asyncio
import os
import pathlib
import random
import signal
import subprocess
import sys
import textwrap
import time

import haz
import pytest
from haz._core import node_address
from haz.exceptions import NodeDiedError
from haz.testing import wait_until

from tests.python.native.node_tools import runs, said
from tests.python.native.scribbling import WAYS

# ---- programs ----------------------------------------------------------------------------------


PROGRAM = """
import haz, threading, time, sys

@haz.remote
def sleep(): time.sleep(1000)

@haz.remote
def quick(i=0): return i

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

#: What a program does when it is killed, or its server is.
STATES = {
    "idle": "time.sleep(1000)",
    "computing": "while True: pass",
    "getting": "haz.get(sleep.remote())",
    "waiting": "haz.wait([sleep.remote() for _ in range(3)], num_returns=3)",
    "submitting": "while True: quick.remote()",
    "putting": "while True: refs = [haz.put(bytes(200_000)) for _ in range(50)]",
    "putting much": "while True: haz.put(bytes(50_000_000))",
    "calling": "a = Actor.remote()\nwhile True: haz.get(a.call.remote())",
    "making actors": "while True: haz.get(Actor.remote().call.remote())",
    "nesting": "haz.get(parent.remote())",
    "streaming": "for ref in stream.remote(): haz.get(ref)",
    "joining": "while True:\n    haz.shutdown()\n    haz.init()",
}


def serves_others(node):
    return node.run("import haz; f = haz.remote(lambda: 7); print(haz.get(f.remote()))") == "7\n"


@pytest.mark.parametrize("state", STATES)
def test_a_killed_program_leaves_nothing(running, state):
    program = running.driver(PROGRAM + STATES[state])
    said(program, "ready")
    program.kill()
    wait_until(running.is_empty)
    assert serves_others(running)


@pytest.mark.parametrize("state", sorted(STATES.keys() - {"idle", "computing", "joining"}))
def test_a_killed_server_ends_what_a_program_does(running, state):
    work = textwrap.indent(STATES[state], "    ")
    program = running.driver(
        f"{PROGRAM}\ntry:\n{work}\nexcept haz.exceptions.NodeDiedError: print('died', flush=True)"
    )
    said(program, "ready")
    state = running.status()
    os.kill(state["pid"], signal.SIGKILL)
    said(program, "died")
    _, err = program.communicate(timeout=120)
    assert program.returncode == 0, err
    for pid in (state["pid"], state["zygote_pid"], *state["worker_pids"]):
        wait_until(lambda pid=pid: not runs(pid))


def test_what_is_suspended_goes_on(running):
    program = running.driver(
        PROGRAM
        + """
a = Actor.remote()
told = threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), told.set()), daemon=True).start()

def work(rounds):
    for i in range(rounds):
        assert haz.get([quick.remote(i), a.call.remote()]) == [i, 1]
        time.sleep(0.003)

while not told.is_set():
    work(1)
work(100)
print("done", flush=True)
"""
    )
    said(program, "ready")
    state = running.status()
    pids = [program.pid, *filter(None, state["worker_pids"]), state["zygote_pid"], state["pid"]]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(1)
    for pid in random.Random(1).sample(pids, len(pids)):
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.02)
    program.stdin.write("\n")
    program.stdin.flush()
    said(program, "done")
    program.communicate(timeout=60)
    wait_until(running.is_empty)


SCRIBBLER = """
import random
from tests.python.native.scribbling import scribble, writable

kept = [haz.put(bytes(100_000)), haz.put(bytes(5000))]
haz.get([quick.remote(i) for i in range(10)])
assert writable()
print("begins", flush=True)
threading.Thread(target=lambda: [haz.get(quick.remote(1)) for _ in range(1000)], daemon=True).start()
for i in range(100):
    scribble(random.Random(i), how)
    time.sleep(0.002)
print("scribbled", flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize("how", WAYS)
def test_a_program_that_scribbles_over_its_memory_breaks_only_itself(running, how):
    @haz.remote
    def echo(i, data):
        return i, len(data), len(haz.get(haz.put(bytes(20_000))))

    haz.init(address="auto")
    whole = haz.put(bytes(range(256)) * 4000)
    program = running.driver(PROGRAM + f"how = {how!r}\n" + SCRIBBLER)
    said(program, "begins")
    for _ in range(10):
        results = haz.get([echo.remote(i, whole) for i in range(20)])
        assert results == [(i, 1_024_000, 20_000) for i in range(20)]
    program.kill()
    assert haz.get(echo.remote(1, whole)) == (1, 1_024_000, 20_000)
    assert haz.get(whole) == bytes(range(256)) * 4000
    del whole
    haz.shutdown()
    wait_until(running.is_empty)


@pytest.mark.parametrize("words", [b"\x80\x81", b'{"op": "join"}', b"[" * 60_000, b"x" * 60_000])
def test_a_program_that_sends_nonsense_after_joining_has_left(running, words):
    with node_address.connect("auto") as connection:
        greeting = {"op": "join", **node_address.build_identity()}
        node_address.send(connection, greeting)
        answer, fds = node_address.receive(connection, 1)
        assert answer["process"]
        os.close(fds[0])
        connection.send(words)
        assert connection.recv(1000) == b""
    wait_until(running.is_empty)
    assert serves_others(running)


def test_a_full_disk_loses_lines_of_the_log_and_nothing_else(fresh_node):
    os.mkdir(os.path.join(fresh_node.folder, "haz"), 0o700)
    os.symlink("/dev/full", os.path.join(fresh_node.folder, "haz", "default.log"))
    fresh_node.start()
    out = fresh_node.run(
        """
        import haz
        haz.init(namespace="ours")

        @haz.remote
        class Speaker:
            def speak(self): print("heard")

        speaker = Speaker.options(name="speaker", lifetime="detached").remote()
        haz.get(speaker.speak.remote())
        """
    )
    haz.init(address="auto", namespace="ours")
    haz.get(haz.get_actor("speaker").speak.remote())
    haz.kill(haz.get_actor("speaker"))
    haz.shutdown()
    wait_until(fresh_node.is_empty)
    assert out in ("", "heard\n")


def test_a_log_that_is_full_is_put_aside_once(fresh_node):
    path = os.path.join(fresh_node.folder, "a.log")
    code = f"""
from haz._core import server
server._MOST_LOG = 2000
log = server._Log({path!r})
for i in range(100): log.write(f"line {{i}} " + "x" * 70)
print("said by the interpreter", flush=True)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    names = sorted(name for name in os.listdir(fresh_node.folder) if name.startswith("a.log"))
    assert names == ["a.log", "a.log.1"]
    texts = [pathlib.Path(fresh_node.folder, name).read_text() for name in names]
    assert all(len(text) < 2200 for text in texts)
    assert texts[0].endswith("said by the interpreter\n")
    assert "line 99 " in texts[0]


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
