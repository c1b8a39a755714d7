"""Workers and drivers that die: named errors, retries, nothing left, never a hang."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import subprocess
import sys
import textwrap
import time

import haz
import pytest
from haz import exceptions
from haz.testing import descendants, wait_until


@haz.remote
def one():
    return 1


def caught(ref, kind=exceptions.WorkerCrashedError):
    with pytest.raises(kind) as info:
        haz.get(ref)
    return info.value


@haz.remote(max_retries=0)
def die(how):
    if how == "exit":
        print("the last words", file=sys.stderr, flush=True)
        os._exit(7)
    elif how == "segv":
        ctypes.string_at(0)
    else:
        os.kill(os.getpid(), getattr(signal, how))
        time.sleep(60)


def test_exit_code(node):
    error = caught(die.remote("exit"))
    assert error.exit_code == 7
    assert error.signal is None
    assert error.task_name.endswith("die")
    assert error.pid > 0
    assert error.pid != os.getpid()
    assert error.attempts == 1
    assert "the last words" in error.stderr
    text = str(error)
    for word in ("die", "exit code 7", "the last words", str(error.pid)):
        assert word in text
    assert haz.get(one.remote()) == 1


@pytest.mark.parametrize(
    ("how", "number"), [("segv", 11), ("SIGKILL", 9), ("SIGTERM", 15), ("SIGABRT", 6)]
)
def test_signal(node, how, number):
    error = caught(die.remote(how))
    assert error.signal == number
    assert signal.Signals(number).name in str(error)
    assert haz.get(one.remote()) == 1


def test_a_long_line_of_stderr_makes_no_long_message():
    @haz.remote(max_retries=0)
    def talks():
        print("x" * 5_000_000, "\nthe last words", file=sys.stderr, flush=True)
        os._exit(3)

    error = caught(talks.remote())
    assert "the last words" in error.stderr
    assert len(str(error)) < 5000


def test_stderr_of_earlier_tasks_is_not_in_the_report():
    haz.init(engine="native", num_cpus=1)

    @haz.remote(max_retries=0)
    def writes(text, dies):
        print(f"{text} in full", file=sys.stderr)
        print(f"{text} without an end", end="", file=sys.stderr, flush=True)
        if dies:
            os.write(2, b"\nfrom C code\n")
            os._exit(1)
        return os.getpid()

    haz.get([writes.remote(f"early {i}", False) for i in range(30)])
    # Not later than the others, as the driver sees it.
    refs = [writes.remote("early", False), writes.remote("last", True)]
    with pytest.raises(haz.exceptions.WorkerCrashedError) as raised:
        haz.get(refs)
    lines = ["last in full", "last without an end", "from C code"]
    assert raised.value.stderr.splitlines() == lines


def test_name_of_the_task(node):
    assert "special" in str(caught(die.options(name="special").remote("SIGKILL")))


def test_retries(node, tally):
    @haz.remote(max_retries=3)
    def third_time(tally):
        tally.add()
        if tally.count() < 3:
            os._exit(1)
        return haz.get_runtime_context().get_attempt_number()

    assert haz.get(third_time.remote(tally)) == 2
    assert tally.count() == 3


@pytest.mark.parametrize("retries", [0, 2])
def test_retries_are_used_up(node, tally, retries):
    @haz.remote(max_retries=retries)
    def always(tally):
        tally.add()
        os._exit(1)

    error = caught(always.remote(tally))
    assert tally.count() == retries + 1
    assert error.attempts == retries + 1


def test_crash_passes_through_dependent_tasks(node):
    echo = haz.remote(lambda x: x)
    error = caught(echo.remote(echo.remote(die.remote("exit"))))
    assert error.exit_code == 7
    assert error.task_name.endswith("die")


def test_crash_in_all_results(node):
    @haz.remote(num_returns=3, max_retries=0)
    def f():
        os._exit(1)

    for ref in f.remote():
        caught(ref)


def test_crash_of_a_child_is_an_error_of_get_in_the_parent(node):
    @haz.remote
    def parent():
        try:
            haz.get(die.remote("exit"))
        except exceptions.WorkerCrashedError as error:
            return error.exit_code

    assert haz.get(parent.remote()) == 7


def test_children_of_a_task_that_died_and_their_objects(node, gate):
    @haz.remote(max_retries=0)
    def parent(gate):
        refs = [one.remote(), haz.put("x" * 1000)]
        haz.get(refs)
        gate.open()
        os._exit(1)

    caught(parent.remote(gate()))
    assert gate().is_open()
    assert haz.get([one.remote() for _ in range(10)]) == [1] * 10


def test_exceptions_are_not_retried_as_crashes_are(node, tally):
    @haz.remote(max_retries=5)
    def f(tally):
        tally.add()
        raise ValueError

    caught(f.remote(tally), ValueError)
    assert tally.count() == 1


def test_stack_overflow_in_c(node):
    @haz.remote(max_retries=0)
    def f():
        sys.setrecursionlimit(10**6)

        class Endless:
            def __repr__(self):
                return repr(self)

        return repr(Endless())

    with pytest.raises((exceptions.WorkerCrashedError, RecursionError)):
        haz.get(f.remote())
    assert haz.get(one.remote()) == 1


# ---- tasks that misbehave --------------------------------------------------------------------


def test_task_that_closes_all_descriptors(node):
    @haz.remote(max_retries=0)
    def f():
        os.closerange(0, 1000)
        return "closed"

    try:
        assert haz.get(f.remote()) == "closed"
    except exceptions.WorkerCrashedError:
        pass
    assert haz.get([one.remote() for _ in range(20)]) == [1] * 20


def test_task_that_blocks_signals(node, gate):
    @haz.remote(max_retries=0)
    def f(gate):
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 64))
        gate.open()
        while True:
            time.sleep(1)

    ref = f.remote(gate())
    gate().wait()
    haz.cancel(ref, force=True)
    with pytest.raises((exceptions.TaskCancelledError, exceptions.WorkerCrashedError)):
        haz.get(ref)
    assert haz.get(one.remote()) == 1


def test_blocked_signals_are_put_back(node):
    @haz.remote(num_cpus=2)
    def block():
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})

    @haz.remote(num_cpus=2)
    def blocked():
        return signal.SIGUSR1 in signal.pthread_sigmask(signal.SIG_BLOCK, [])

    haz.get(block.remote())
    assert haz.get(blocked.remote()) is False


def test_task_that_forks(node):
    @haz.remote
    def f():
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                haz.put(1)
                text = "it worked"
            except RuntimeError as error:
                text = str(error)
            os.write(writer, text.encode())
            os._exit(0)
        os.close(writer)
        with open(reader) as file:
            text = file.read()
        os.waitpid(child, 0)
        return text, haz.get(one.remote())

    text, value = haz.get(f.remote())
    assert "forked" in text
    assert value == 1


def test_forked_child_that_returns_from_the_task(node):
    @haz.remote
    def f():
        if os.fork() == 0:
            return "child"
        time.sleep(0.2)
        return "parent"

    assert haz.get(f.remote()) == "parent"
    assert haz.get([one.remote() for _ in range(20)]) == [1] * 20


def test_processes_that_a_task_leaves_end_with_the_node(node):
    @haz.remote
    def f():
        plain = subprocess.Popen(["sleep", "600"])
        own_session = subprocess.Popen(["sleep", "600"], start_new_session=True)
        return [plain.pid, own_session.pid]

    pids = haz.get(f.remote())
    assert all(_exists(pid) for pid in pids)
    haz.shutdown()
    wait_until(lambda: not any(_exists(pid) for pid in pids), "the processes go")


def test_daemon_that_a_task_makes_ends_with_the_node(node, gate):
    @haz.remote
    def f(path):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                with open(path, "w") as file:
                    file.write(str(os.getpid()))
                os.rename(path, path + ".done")
                time.sleep(600)
            os._exit(0)
        os.wait()

    haz.get(f.remote(gate("daemon").path))
    gate("daemon.done").wait()
    with open(gate("daemon.done").path) as file:
        pid = int(file.read())
    haz.shutdown()
    wait_until(lambda: not _exists(pid), "the daemon goes")


def _exists(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# ---- under load ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_kills_under_load(node, seed):
    chooser = random.Random(seed)

    @haz.remote(max_retries=-1)
    def work(i):
        time.sleep(0.002)
        return os.getpid(), i

    refs = [work.remote(i) for i in range(400)]
    for _ in range(8):
        ready, _ = haz.wait(refs, num_returns=chooser.randrange(1, 300))
        pid, _ = haz.get(chooser.choice(ready))
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    assert [i for _, i in haz.get(refs)] == list(range(400))


def test_kills_without_retries_give_errors_and_results(node):
    @haz.remote(max_retries=0)
    def work(i):
        if i % 10 == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return i

    refs = [work.remote(i) for i in range(100)]
    for i, ref in enumerate(refs):
        if i % 10 == 3:
            assert caught(ref).signal == 9
        else:
            assert haz.get(ref) == i


# ---- the driver ------------------------------------------------------------------------------

DRIVER = """
    import os, subprocess, sys, time
    import haz

    haz.init(engine="native", num_cpus=2)

    @haz.remote
    def busy(path):
        children = [subprocess.Popen(["sleep", "600"]), subprocess.Popen(["sleep", "600"], start_new_session=True)]
        with open(path + ".part", "w") as file:
            print(os.getpid(), *[child.pid for child in children], file=file)
        os.rename(path + ".part", path)
        time.sleep(600)

    state = sys.argv[1]
    refs = [busy.remote(sys.argv[2] + str(i)) for i in range(2)]
    print("started", flush=True)
    if state == "get":
        haz.get(refs)
    elif state == "busy":
        while True:
            pass
    elif state == "put":
        while True:
            haz.put(b"x" * 10_000_000)
    elif state == "submit":
        while True:
            busy.options(num_cpus=0).remote(sys.argv[2] + "more")
            time.sleep(0.01)
    else:
        time.sleep(600)
"""


@pytest.mark.parametrize("state", ["get", "busy", "put", "sleep", "submit"])
def test_killed_driver_takes_everything_along(tmp_path, gate, state):
    program = tmp_path / "driver.py"
    program.write_text(textwrap.dedent(DRIVER))
    driver = subprocess.Popen([sys.executable, str(program), state, str(tmp_path / "pids")])
    try:
        gate("pids0").wait()
        gate("pids1").wait()
        below = set(descendants(driver.pid))
        for name in ("pids0", "pids1"):
            with open(gate(name).path) as file:
                below.update(map(int, file.read().split()))
        assert len(below) >= 7  # the zygote, two workers, four that the tasks started
    finally:
        driver.kill()
        driver.wait()
    wait_until(lambda: not any(_exists(pid) for pid in below), "all go with the driver")


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("pass", 0),
        ("sys.exit(5)", 5),
        ("raise ValueError('top')", 1),
        ("os.kill(os.getpid(), signal.SIGTERM)", -15),
        ("haz.shutdown()", 0),
        ("haz.shutdown(); haz.init(num_cpus=1); haz.get(f.remote(0))", 0),
        ("os._exit(6)", 6),
    ],
)
def test_end_of_the_program(run_program, tmp_path, ending, code):
    done = run_program(
        f"""
        import os, signal, sys, time
        import haz

        @haz.remote
        def f(seconds):
            time.sleep(seconds)
            return os.getpid(), os.getppid()

        print(*haz.get(f.remote(0)), flush=True)
        unfinished = [f.remote(600) for _ in range(10)]
        {ending}
        """
    )
    assert done.returncode == code, done.stderr
    pids = [int(word) for word in done.stdout.split()]
    assert len(pids) == 2
    wait_until(lambda: not any(_exists(pid) for pid in pids), "workers and zygote go")
    if code == 0:
        assert done.stderr == ""


def test_threads_of_the_program_at_its_end(run_program):
    done = run_program(
        """
        import threading, time
        import haz

        def work():
            f = haz.remote(lambda: 1)
            while True:
                haz.get([f.remote() for _ in range(10)])

        threading.Thread(target=work, daemon=True).start()
        time.sleep(0.3)
        print("end")
        """
    )
    assert done.stdout == "end\n"
    assert done.returncode == 0


def test_workers_that_can_not_start(run_program, tmp_path):
    (tmp_path / "unlicensed.py").write_text(
        textwrap.dedent(
            """
            import os, sys

            def leave():
                print("no licence for this process", file=sys.stderr, flush=True)
                os._exit(3)

            os.register_at_fork(after_in_child=leave)
            """
        )
    )
    finished = run_program(
        """
        import os, sys
        sys.path.insert(0, os.path.dirname(__file__))
        import haz
        haz.init(num_cpus=2, preload=["unlicensed"])

        @haz.remote
        def f():
            return 1

        try:
            haz.get(f.remote())
        except haz.exceptions.NodeDiedError as error:
            print(error)
        """
    )
    assert finished.returncode == 0, finished.stderr
    assert "no worker process could be started" in finished.stdout
    assert "exited with code 3" in finished.stdout
    assert "no licence for this process" in finished.stdout
