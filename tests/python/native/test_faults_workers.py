"""Workers that die, stop and misbehave: the driver goes on, and its errors say what happened."""

from __future__ import annotations

import ctypes
import gc
import os
import random
import signal
import subprocess
import sys
import threading
import time

import haz
import pytest
from haz.exceptions import TaskCancelledError, TaskError, TaskTimeoutError, WorkerCrashedError
from haz.testing import descendants, wait_until

from tests.python.native.fault_program import run_scenario
from tests.python.native.fault_tools import (
    counts,
    kill,
    raised,
    touch,
    touched,
    workers,
    world,
    zygote,
)

SEEDS = [int(seed) for seed in os.environ.get("SCENARIO_SEEDS", "1").split(",")]


# ---- killed ----------------------------------------------------------------------------------


def kill_under_load(rounds):
    @haz.remote(max_retries=-1, num_cpus=0.5)
    def retried(i):
        time.sleep(random.random() * 0.01)
        return i, os.urandom(2000)

    @haz.remote(max_retries=0, num_cpus=0.5)
    def once(i):
        time.sleep(random.random() * 0.01)
        return i

    @haz.remote(max_retries=-1)
    def parent(i):
        return sum(haz.get([child.remote(i + j) for j in range(4)]))

    @haz.remote(max_retries=-1)
    def child(i):
        time.sleep(random.random() * 0.005)
        return i

    @haz.remote(max_retries=-1)
    def big(i):
        ref = haz.put(bytes(3_000_000))
        return len(haz.get(ref)), bytes(2_000_000), [ref]

    with world():
        stop = threading.Event()
        killed = []
        # Not without end: a busy machine may take longer to start a worker than this to kill one.
        most = 0

        def killer():
            while not stop.wait(random.random() * 0.03):
                running = workers()
                if running and len(killed) < most:
                    killed.append(random.choice(running))
                    kill(killed[-1], random.choice([9, 9, 9, 6, 11, 15]))

        thread = threading.Thread(target=killer)
        thread.start()
        crashes = []
        for _ in range(rounds):
            most += 60
            lasting = [retried.remote(i) for i in range(40)]
            mortal = [once.remote(i) for i in range(40)]
            nested = [parent.remote(i) for i in range(10)]
            large = [big.remote(i) for i in range(10)]
            assert [value[0] for value in haz.get(lasting)] == list(range(40))
            assert haz.get(nested) == [4 * i + 6 for i in range(10)]
            assert [value[0] for value in haz.get(large)] == [3_000_000] * 10
            for i, ref in enumerate(mortal):
                try:
                    assert haz.get(ref) == i
                except WorkerCrashedError as error:
                    crashes.append(str(error))
        wait_until(lambda: killed)
        stop.set()
        thread.join()
        assert all("once" in text for text in crashes)
        del lasting, mortal, nested, large, ref
        print("killed", len(killed), "crashed", len(crashes))


@pytest.mark.parametrize("seed", SEEDS)
def test_retried_work_survives_random_kills(tmp_path, seed):
    run_scenario(kill_under_load, tmp_path, seed=seed, rounds=3)


def kill_starting_workers():
    "New ones are killed as soon as they are seen."

    @haz.remote(max_retries=-1, num_cpus=0)
    def task(i):
        return i

    with world():
        stop = threading.Event()
        seen = set()

        def killer():
            while not stop.is_set():
                for pid in workers():
                    # The first ones live, and so does every third.
                    if pid not in seen:
                        seen.add(pid)
                        if len(seen) % 3:
                            kill(pid)

        thread = threading.Thread(target=killer)
        thread.start()
        for _ in range(10):
            assert haz.get([task.remote(i) for i in range(20)]) == list(range(20))
            for pid in workers():
                kill(pid)
        stop.set()
        thread.join()


def test_workers_killed_while_they_start(tmp_path):
    run_scenario(kill_starting_workers, tmp_path)


def killed_in_each_state():
    @haz.remote(max_retries=0)
    def sleeps():
        print("about to sleep", file=sys.stderr)
        touch("sleeps")
        time.sleep(600)

    @haz.remote(max_retries=0)
    def blocks():
        ref = inner.remote()
        touch("blocks")
        haz.get(ref)

    @haz.remote(max_retries=3)
    def inner():
        time.sleep(0.2)
        return 1

    @haz.remote(max_retries=0)
    def puts():
        touch("puts")
        while True:
            haz.put(bytes(20_000_000))

    @haz.remote(max_retries=0, num_returns=3)
    def returns_refs():
        refs = [haz.put(bytes(500_000)) for _ in range(3)]
        touch("returns_refs")
        time.sleep(600)
        return refs

    @haz.remote
    def pid():
        return os.getpid()

    with world(num_cpus=1):
        for name, task in [
            ("sleeps", sleeps),
            ("blocks", blocks),
            ("puts", puts),
            ("returns_refs", returns_refs),
        ]:
            ref = task.remote()
            wait_until(lambda: touched(name))
            time.sleep(0.05)
            for one in workers():
                kill(one, signal.SIGKILL)
            error = raised(haz.get, ref)
            assert isinstance(error, WorkerCrashedError), repr(error)
            text = str(error)
            assert name in text, text
            assert "SIGKILL" in text, text
            if name == "sleeps":
                assert "about to sleep" in text, text
            # The node works on.
            haz.get(pid.remote())
        del ref, error


def test_killed_while_it_sleeps_blocks_puts(tmp_path):
    run_scenario(killed_in_each_state, tmp_path)


def stopped_worker():
    @haz.remote
    def task(i):
        time.sleep(0.002)
        return i

    @haz.remote
    def sleeps():
        touch("sleeps")
        time.sleep(600)

    with world():
        haz.get([task.remote(i) for i in range(4)])
        for _ in range(5):
            refs = [task.remote(i) for i in range(100)]
            pid = random.choice(workers())
            os.kill(pid, signal.SIGSTOP)
            haz.wait(refs, num_returns=50)
            os.kill(pid, signal.SIGCONT)
            assert haz.get(refs) == list(range(100))
        # A stopped one can be cancelled by force.
        ref = sleeps.remote()
        wait_until(lambda: touched("sleeps"))
        for pid in workers():
            kill(pid, signal.SIGSTOP)
        haz.cancel(ref, force=True)
        assert isinstance(raised(haz.get, ref), TaskCancelledError)
        del ref, refs
    # It went although all the workers were stopped.


def test_a_worker_is_stopped_and_goes_on(tmp_path):
    run_scenario(stopped_worker, tmp_path)


def zygote_killed():
    @haz.remote(max_retries=-1)
    def task(i):
        time.sleep(0.005)
        return i

    @haz.remote(max_retries=0)
    def mortal():
        touch("mortal")
        time.sleep(600)

    with world():
        for moment in (0, 0.002, 0.01, 0.03, 0.06, 0.1, 0.15):
            refs = [task.remote(i) for i in range(20)]
            pid = zygote()
            time.sleep(moment)
            kill(pid)
            assert haz.get(refs) == list(range(20))
            wait_until(lambda: haz.get(task.remote(1)) and counts()["zygote_pid"] not in (0, pid))
        ref = mortal.remote()
        wait_until(lambda: touched("mortal"))
        kill(zygote())
        error = raised(haz.get, ref)
        assert isinstance(error, WorkerCrashedError), repr(error)
        # While nothing runs.
        haz.get(task.remote(1))
        old = zygote()
        kill(old)
        wait_until(lambda: counts()["zygote_pid"] != old)
        assert haz.get(task.remote(1)) == 1
        del refs, ref, error
    # During start and end.
    refs = []
    for moment in (0, 0.001, 0.005, 0.02, 0.05):
        with world(empty=False):
            refs.append(task.remote(1))
            pid = zygote()
            time.sleep(moment)
            kill(pid)
    with world():
        kill(zygote())


def test_the_zygote_is_killed(tmp_path):
    run_scenario(zygote_killed, tmp_path)


def zygote_stopped():
    @haz.remote
    def task():
        return 1

    with world():
        haz.get(task.remote())
        os.kill(zygote(), signal.SIGSTOP)
        assert haz.get([task.remote() for _ in range(100)]) == [1] * 100
        # It goes on when a worker is needed.
        for pid in workers():
            kill(pid)
        assert haz.get(task.remote()) == 1
        os.kill(zygote(), signal.SIGSTOP)
    # The end does not wait for it for ever.


def test_the_zygote_is_stopped(tmp_path):
    run_scenario(zygote_stopped, tmp_path)


def children_of_workers(how):
    @haz.remote(max_retries=0)
    def starts_processes():
        children = [
            subprocess.Popen(["sh", "-c", "sleep 600 & sleep 600 & wait"]),
            subprocess.Popen(["sleep", "600"], process_group=0)
            if sys.version_info >= (3, 11)
            else subprocess.Popen(["sleep", "600"]),
            subprocess.Popen(["sleep", "600"], start_new_session=True),
        ]
        wait_until(lambda: len(descendants()) == 5)
        return os.getpid(), sorted(descendants()), children[2].pid

    @haz.remote
    def pid():
        return os.getpid()

    @haz.remote(max_calls=1)
    def last_call():
        return os.getpid()

    def alive(processes):
        return [one for one in processes if os.path.exists(f"/proc/{one}")]

    with world(num_cpus=1):
        worker, processes, daemon = haz.get(starts_processes.remote())
        assert haz.get(pid.remote()) == worker
        assert alive(processes) == processes  # they may outlive the task
        if how == "killed":
            kill(worker)
        if how == "replaced":
            assert haz.get(last_call.remote()) == worker
        if how == "zygote killed":
            kill(zygote())
        left = [] if how == "zygote killed" else [daemon]
        wait_until(lambda: alive(processes) == left, deadline_s=20)
        assert haz.get(pid.remote()) != worker
        time.sleep(0.2)
        assert alive(processes) == left
    assert not alive(processes)


@pytest.mark.parametrize("how", ["killed", "replaced", "zygote killed"])
def test_processes_that_a_worker_leaves(tmp_path, how):
    run_scenario(children_of_workers, tmp_path, how=how)


# ---- what tasks do to their process ------------------------------------------------------------


def task_ends_its_process():
    @haz.remote(max_retries=0)
    def ends(how):
        print("last words", file=sys.stderr)
        if how == "_exit":
            os._exit(7)
        if how == "_exit 0":
            os._exit(0)
        if how == "abort":
            os.abort()
        if how == "segfault":
            ctypes.string_at(0)
        if how == "exit":
            sys.exit(3)
        if how == "raise SystemExit":
            raise SystemExit("as text")
        if how == "SIGTERM":
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(600)
        if how == "thread _exit":
            threading.Thread(target=os._exit, args=(9,)).start()
            time.sleep(600)
        if how == "recursion":
            return ends_deep(1)
        if how == "C recursion":
            thing = []
            for _ in range(200_000):
                thing = [thing]
            return thing
        return None

    def ends_deep(n):
        return ends_deep(n + 1) + 1

    expected = {
        "_exit": "exit code 7",
        "_exit 0": "exit code 0",
        "abort": "SIGABRT",
        "segfault": "SIGSEGV",
        "SIGTERM": "SIGTERM",
        "thread _exit": "exit code 9",
    }
    with world():
        for how, text in expected.items():
            error = raised(haz.get, ends.remote(how))
            assert isinstance(error, WorkerCrashedError), (how, repr(error))
            assert text in str(error), (how, str(error))
            assert "last words" in str(error), (how, str(error))
            assert "ends" in str(error)
        for how in ("exit", "raise SystemExit"):
            error = raised(haz.get, ends.remote(how))
            assert isinstance(error, (TaskError, SystemExit)), (how, repr(error))
        error = raised(haz.get, ends.remote("recursion"))
        assert isinstance(error, RecursionError), repr(error)
        error = raised(haz.get, ends.remote("C recursion"))
        assert isinstance(error, (RecursionError, TaskError)), repr(error)[:500]
        assert len(str(error)) < 100_000
        del error


def test_a_task_ends_its_process(tmp_path):
    run_scenario(task_ends_its_process, tmp_path)


def task_changes_its_process():
    @haz.remote
    def change():
        os.environ["CHANGED"] = "1"
        os.environ.pop("HOME", None)
        os.environ["PATH"] = "/nowhere"
        os.chdir("/")
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, lambda *_: None)
        signal.signal(signal.SIGHUP, lambda *_: None)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        signal.setitimer(signal.ITIMER_REAL, 600)
        return os.getpid()

    @haz.remote
    def show():
        return (
            os.getpid(),
            os.environ.get("CHANGED"),
            os.environ.get("HOME"),
            os.environ.get("PATH"),
            os.getcwd(),
            [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)],
            signal.getsignal(signal.SIGCHLD),
            signal.pthread_sigmask(signal.SIG_BLOCK, ()),
            signal.getitimer(signal.ITIMER_REAL)[0],
        )

    @haz.remote
    def sleep():
        touch("sleeps")
        time.sleep(600)

    with world(num_cpus=1):
        before = haz.get(show.remote())
        assert haz.get(change.remote()) == before[0]
        after = haz.get(show.remote())
        assert after == before, f"{after}\n{before}"
        # SIGINT is ours again.
        ref = sleep.remote()
        wait_until(lambda: touched("sleeps"))
        haz.cancel(ref)
        assert isinstance(raised(haz.get, ref), TaskCancelledError)
        assert haz.get(show.remote())[0] == before[0]
        del ref


def test_a_task_changes_its_process(tmp_path):
    run_scenario(task_changes_its_process, tmp_path)


def task_blocks_signals():
    @haz.remote
    def deaf():
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        touch("deaf")
        time.sleep(600)

    @haz.remote(timeout_s=0.2)
    def deaf_for_a_time():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        touch("limited")
        time.sleep(600)

    @haz.remote(timeout_s=2)  # long enough to have begun on a busy machine
    def stubborn():
        while True:
            try:
                time.sleep(600)
            except KeyboardInterrupt:
                touch("stubborn")

    @haz.remote(timeout_s=0.2)
    def heeds():
        time.sleep(600)

    @haz.remote
    def pid():
        return os.getpid()

    with world():
        ref = deaf.remote()
        wait_until(lambda: touched("deaf"))
        haz.cancel(ref, force=True)
        assert isinstance(raised(haz.get, ref), TaskCancelledError)
        refs = [deaf_for_a_time.remote(), stubborn.remote()]
        ref = heeds.remote()
        for one in [*refs, ref]:
            assert isinstance(raised(haz.get, one), TaskTimeoutError), one
        assert touched("stubborn") == 1
        haz.get(pid.remote())
        del ref, refs, one


def test_a_task_is_deaf_to_signals(tmp_path):
    run_scenario(task_blocks_signals, tmp_path)


def task_closes_descriptors():
    @haz.remote
    def close(first):
        os.closerange(first, 1000)
        return bytes(5_000_000)

    @haz.remote
    def work(data):
        ref = haz.put(bytes(3_000_000))
        inner = work_inside.remote(ref)
        return len(haz.get(inner)), len(data), os.getpid()

    @haz.remote
    def work_inside(data):
        return bytes(data)

    with world():
        for first in (3, 1, 0):
            for _ in range(4):
                big = close.remote(first)
                assert len(haz.get(big)) == 5_000_000
                for ref in [work.remote(big) for _ in range(10)]:
                    assert haz.get(ref)[:2] == (3_000_000, 5_000_000)
        del big, ref


def test_a_task_closes_all_descriptors(tmp_path):
    run_scenario(task_closes_descriptors, tmp_path)


def task_forks():
    import multiprocessing

    @haz.remote
    def forks(how):
        data = haz.get(haz.put(b"kept" * 100_000))
        pid = os.fork()
        if pid == 0:
            if how == "exits":
                os._exit(0)
            if how == "raises":
                raise ValueError("in the child")
            if how == "uses haz":
                try:
                    haz.put(1)
                except RuntimeError as error:
                    touch("clear error" if "fork" in str(error) else "unclear")
                finally:
                    os._exit(0)
            if how == "reads":
                if bytes(data) == b"kept" * 100_000:
                    touch("read")
                os._exit(0)
            if how == "collects":
                del data
                gc.collect()
                os._exit(0)
            if how == "returns":
                return "child"
            if how == "exits by exit":
                sys.exit(0)
            if how == "double":
                os.setsid()
                if os.fork():
                    os._exit(0)
                touch("daemon")
                time.sleep(600)
            if how == "stays":
                touch("stays")
                time.sleep(600)
        if how not in ("double", "stays"):
            os.waitpid(pid, 0)
        if how == "double":
            os.waitpid(pid, 0)
        return "parent"

    @haz.remote
    def uses_multiprocessing(method):
        context = multiprocessing.get_context(method)
        with context.Pool(2) as pool:
            return pool.map(abs, range(-5, 0))

    @haz.remote
    def ping():
        return 1

    with world():
        for how in (
            "exits",
            "raises",
            "uses haz",
            "reads",
            "collects",
            "returns",
            "exits by exit",
            "double",
            "stays",
        ):
            assert haz.get(forks.remote(how)) == "parent", how
            assert haz.get([ping.remote() for _ in range(20)]) == [1] * 20
        assert touched("clear error") == 1
        assert touched("read") == 1
        wait_until(lambda: touched("daemon") and touched("stays"))
        assert haz.get(uses_multiprocessing.remote("fork")) == [5, 4, 3, 2, 1]
        assert haz.get(uses_multiprocessing.remote("spawn")) == [5, 4, 3, 2, 1]


def test_a_task_forks(tmp_path):
    run_scenario(task_forks, tmp_path)


def task_writes_much():
    @haz.remote
    def writes(stream):
        getattr(sys, stream).write("x" * 10_000_000)
        os.write(1, b"y" * 1_000_000)
        return 1

    @haz.remote
    def floods():
        touch("floods")
        while True:
            os.write(1, b"line\n" * 10_000)

    @haz.remote
    def ping():
        return 1

    @haz.remote
    def pid_of():
        return os.getpid()

    with world(log_to_driver=True):
        assert haz.get(writes.remote("stdout"), timeout=60) == 1
        assert haz.get(writes.remote("stderr"), timeout=60) == 1
        ref = floods.remote()
        wait_until(lambda: touched("floods"))
        time.sleep(0.3)
        assert haz.get([ping.remote() for _ in range(100)]) == [1] * 100
        # The end of another worker is noticed meanwhile.
        pid = haz.get(pid_of.remote())
        kill(pid)
        wait_until(lambda: pid not in workers())
        with open("/proc/self/status") as file:
            resident = next(line for line in file if line.startswith("VmRSS"))
        assert int(resident.split()[1]) < 300_000, resident
        haz.cancel(ref, force=True)
        assert isinstance(raised(haz.get, ref), TaskCancelledError)
        del ref


def test_a_task_writes_without_end(tmp_path):
    run_scenario(task_writes_much, tmp_path)
