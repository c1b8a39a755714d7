"""Drivers that die, end, are interrupted and fork: nothing is left, and what lives on works."""

from __future__ import annotations

import _thread
import asyncio
import gc
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time

import haz
import pytest
from haz.exceptions import HazError, TaskCancelledError
from haz.testing import leak_check, open_descriptors, running_threads, wait_until

from tests.python.native.fault_program import Program, run_scenario
from tests.python.native.fault_tools import (
    FOLDER,
    SEED,
    kill,
    raised,
    touch,
    touched,
    workers,
    world,
    zygote,
)

# ---- the driver is killed ----------------------------------------------------------------------


def driver_to_kill(state):
    def daemonise(name, ignore_signals=False):
        if os.fork() == 0:
            os.setsid()
            if os.fork():
                os._exit(0)
            os.closerange(0, 100)
            if ignore_signals:
                for number in signal.valid_signals() - {9, 19}:
                    signal.signal(number, signal.SIG_IGN)
            os.chdir("/")
            touch(name)
            time.sleep(600)
            os._exit(0)

    @haz.remote(num_cpus=0)
    def task(how):
        if how == "sleeps":
            touch("ready")
            time.sleep(600)
        if how == "spins":
            touch("ready")
            while True:
                pass
        if how == "blocks":
            ref = task.remote("sleeps")
            haz.get(ref)
        if how == "daemons":
            for _ in range(3):
                daemonise("ready")
            daemonise("ready", ignore_signals=True)
            time.sleep(600)
        if how == "left daemons":
            daemonise("ready")
            daemonise("ready", ignore_signals=True)
        if how == "subprocess":
            subprocess.Popen(["sleep", "600"], start_new_session=True)
            subprocess.Popen(["sh", "-c", "sleep 600 & sleep 600"])
            touch("ready")
            time.sleep(600)
        if how == "fork bomb":
            touch("ready")
            while True:
                if len(os.listdir("/proc")) < 600:
                    subprocess.Popen(["sh", "-c", "sleep 600 & sleep 600 & wait"])
                time.sleep(0.001)
        if how == "puts":
            touch("ready")
            while True:
                haz.put(bytes(10_000_000))

    if state == "importing":
        with open(os.path.join(FOLDER, "slow_module.py"), "w") as file:
            file.write("import time\nprint('importing', flush=True)\ntime.sleep(600)\n")
        sys.path.append(FOLDER)
        haz.init(num_cpus=2, preload=["slow_module"])
        ref = task.remote("nothing")
        wait_until(lambda: haz.wait([ref], timeout=0.5) == ([], [ref]))
        print("ready")
        time.sleep(600)
    haz.init(num_cpus=2, object_store_memory=300_000_000)
    if state == "starting":
        print("ready")
        refs = [task.remote("sleeps") for _ in range(8)]
        time.sleep(600)
    if state == "idle":
        haz.get(task.remote("nothing"))
        print("ready")
        time.sleep(600)
    if state == "submitting":
        print("ready")
        while True:
            haz.get([task.remote("nothing") for _ in range(1000)])
    if state == "holding":
        refs = [haz.put(bytes(50_000_000)) for _ in range(4)]
        print("ready")
        time.sleep(600)
    if state == "left daemons":
        haz.get(task.remote(state))
        wait_until(lambda: touched("ready") == 2)
        print("ready")
        time.sleep(600)
    if state == "stopped workers":
        refs = [task.remote("sleeps") for _ in range(2)]
        wait_until(lambda: touched("ready") == 2)
        for pid in workers():
            os.kill(pid, signal.SIGSTOP)
        print("ready")
        time.sleep(600)
    if state == "stopped zygote":
        refs = [task.remote("subprocess") for _ in range(2)]
        wait_until(lambda: touched("ready") == 2)
        os.kill(zygote(), signal.SIGSTOP)
        print("ready")
        time.sleep(600)
    if state == "forked":
        # A child of the driver itself holds copies of its descriptors. It is not ours to kill.
        haz.get(task.remote("nothing"))
        child = subprocess.Popen(["sleep", "3"])
        if os.fork() == 0:
            time.sleep(3)
            os._exit(0)
        print("ready", child.pid)
        time.sleep(600)
    refs = [task.remote(state) for _ in range(2)]
    wanted = {"daemons": 8}.get(state, 1)
    wait_until(lambda: touched("ready") >= wanted)
    print("ready")
    haz.get(refs)


STATES = [
    "starting",
    "importing",
    "stopped zygote",
    "idle",
    "submitting",
    "holding",
    "sleeps",
    "spins",
    "blocks",
    "daemons",
    "left daemons",
    "subprocess",
    "fork bomb",
    "puts",
    "stopped workers",
    "forked",
]


@pytest.mark.parametrize("state", STATES)
def test_the_driver_is_killed(tmp_path, state):
    program = Program(driver_to_kill, tmp_path, state=state)
    try:
        program.wait_for("ready")
    finally:
        program.process.kill()
    program.wait()


def driver_that_starts():
    haz.init(num_cpus=2)
    print("ready")
    time.sleep(600)


def test_the_driver_is_killed_while_it_starts(tmp_path):
    for step in range(12):
        program = Program(driver_that_starts, tmp_path / str(step))
        time.sleep(0.04 + 0.015 * step)
        program.process.kill()
        program.wait()


def driver_that_has_a_copy():
    with open(os.path.join(FOLDER, "slow_module.py"), "w") as file:
        file.write("import time\nprint('importing', flush=True)\ntime.sleep(600)\n")
    sys.path.append(FOLDER)
    haz.init(num_cpus=2, preload=["slow_module"])
    copy = os.fork()
    if copy == 0:
        time.sleep(600)
        os._exit(0)
    print("ready", copy, zygote(), flush=True)
    time.sleep(600)


def test_the_driver_is_killed_while_a_copy_of_it_lives_and_its_zygote_imports(tmp_path):
    program = Program(driver_that_has_a_copy, tmp_path)
    copy = 0
    try:
        program.wait_for("importing")
        words = wait_until(lambda: re.search(r"ready (\d+) (\d+)\n", program.out()))
        copy, started = int(words[1]), int(words[2])
        program.process.kill()
        wait_until(lambda: started not in program.processes(), "the zygote ends")
        assert copy in program.processes()
    finally:
        program.process.kill()
        if copy:
            kill(copy)
    program.wait()


# ---- starts and ends ---------------------------------------------------------------------------


def many_cycles(cycles, warm_up):
    def resident_kb():
        with open("/proc/self/status") as file:
            line = next(line for line in file if line.startswith("VmRSS"))
        return int(line.split()[1])

    @haz.remote
    def work(i):
        return bytes(100_000), haz.put(i)

    @haz.remote
    def items(n):
        for i in range(n):
            print("item", i)
            yield bytes(2000)

    @haz.remote
    class Keeper:
        def __init__(self, kept):
            self.kept = kept

        async def get(self, i):
            return self.kept, i

    async def ask(keeper):
        return await asyncio.gather(*[keeper.get.remote(i) for i in range(3)])

    before = None
    for cycle in range(cycles):
        haz.init(num_cpus=2)
        if cycle % 5 == 0:
            haz.get([work.remote(i) for i in range(5)])
        elif cycle % 5 == 1:
            refs = [work.remote(i) for i in range(5)]
            view = haz.get(haz.put(bytearray(1_000_000)))
            del refs, view
        elif cycle % 5 == 2:
            keeper = Keeper.remote(bytes(200_000))
            asyncio.run(ask(keeper))
            if cycle % 2:
                del keeper
        elif cycle % 5 == 3:
            assert [len(haz.get(ref)) for ref in items.remote(5)] == [2000] * 5
            stream = items.remote(1000)
            next(stream)
            if cycle % 2:
                del stream
        haz.shutdown()
        if cycle == warm_up:
            gc.collect()
            before = (open_descriptors(), running_threads(), resident_kb())
    gc.collect()
    assert open_descriptors() == before[0]
    assert running_threads() == before[1]
    grown = resident_kb() - before[2]
    assert grown < 40 * (cycles - warm_up) + 3000, f"{grown} kB in {cycles - warm_up} cycles"


def test_many_inits_and_shutdowns(tmp_path):
    run_scenario(many_cycles, tmp_path, cycles=60, warm_up=20)


@pytest.mark.slow
def test_very_many_inits_and_shutdowns(tmp_path):
    run_scenario(many_cycles, tmp_path, cycles=220, warm_up=20)


def ends_at_once():
    for _ in range(20):
        haz.init(num_cpus=2)
        haz.shutdown()
    with leak_check():
        haz.init(num_cpus=2)
        haz.shutdown()


def test_an_end_right_after_the_start(tmp_path):
    run_scenario(ends_at_once, tmp_path)


def shutdown_in_each_state():
    @haz.remote
    def sleeps():
        time.sleep(600)

    @haz.remote
    def ignores():
        while True:
            try:
                time.sleep(600)
            except BaseException:
                pass

    @haz.remote
    def blocks(depth=2):
        haz.get(blocks.remote(depth - 1) if depth else sleeps.remote())

    @haz.remote
    def quick(i):
        return i

    @haz.remote
    def floods():
        while True:
            print("x" * 10_000)

    for name, submit in {
        "sleep": lambda: [sleeps.remote() for _ in range(4)],
        "ignore": lambda: [ignores.remote() for _ in range(4)],
        "block": lambda: [blocks.remote() for _ in range(4)],
        "queue": lambda: [quick.remote(i) for i in range(50_000)],
        "depend": lambda: [quick.remote(ref) for ref in [sleeps.remote() for _ in range(4)]],
        "flood": lambda: [floods.remote() for _ in range(2)],
    }.items():
        for pause in (0, 0.1):
            print(name, pause, file=sys.stderr)
            with world(empty=False, log_to_driver=False):
                refs = submit()
                time.sleep(pause)
            assert isinstance(raised(haz.get, refs[0]), HazError)
            del refs


def test_shutdown_while_tasks_run(tmp_path):
    run_scenario(shutdown_in_each_state, tmp_path)


def shutdown_during_an_import():
    with open(os.path.join(FOLDER, "slow_module.py"), "w") as file:
        file.write("import time\ntime.sleep(600)\n")
    sys.path.append(FOLDER)

    @haz.remote
    def task():
        return 1

    for pause in (0, 0.01, 0.05, 0.3):
        with world(empty=False, preload=["slow_module"]):
            ref = task.remote()
            time.sleep(pause)
    del ref


def test_shutdown_does_not_wait_for_an_import(tmp_path):
    run_scenario(shutdown_during_an_import, tmp_path)


def shutdown_in_another_thread():
    @haz.remote
    def sleeps():
        time.sleep(600)

    async def wait():
        return await sleeps.remote()

    def use(kind, ended, errors):
        refs = [sleeps.remote()]
        try:
            if kind == "get":
                haz.get(refs)
            if kind == "get many":
                haz.get([sleeps.remote() for _ in range(100)])
            if kind == "wait":
                haz.wait(refs)
            if kind == "asyncio":
                asyncio.run(wait())
            # These may start a node of their own, as the first call does.
            while not ended.is_set():
                if kind == "submit":
                    refs.append(sleeps.remote())
                if kind == "put":
                    haz.put(bytes(100_000))
                if kind == "full":
                    refs.append(haz.put(bytes(10_000_000)))
        except (HazError, RuntimeError) as error:
            errors.append(repr(error))

    for kind in ("get", "get many", "wait", "asyncio", "submit", "put", "full"):
        print(kind, file=sys.stderr)
        with world(empty=False, object_store_memory=50_000_000, log_to_driver=False):
            errors = []
            ended = threading.Event()
            threads = [threading.Thread(target=use, args=(kind, ended, errors)) for _ in range(3)]
            for thread in threads:
                thread.start()
            time.sleep(0.1)
            haz.shutdown()
            ended.set()
            for thread in threads:
                thread.join()
            if kind in ("get", "get many", "wait", "asyncio"):
                assert len(errors) == 3
                assert all("shut down" in error for error in errors), errors
            haz.shutdown()


def test_shutdown_while_other_threads_use_haz(tmp_path):
    run_scenario(shutdown_in_another_thread, tmp_path)


def ends_without_shutdown(how):
    @haz.remote
    def task(i):
        return bytes(200_000) if i else 1

    @haz.remote
    def sleeps():
        time.sleep(600)

    haz.init(num_cpus=2)
    global kept
    kept = [haz.get(task.remote(1)), task.remote(1), haz.put(bytearray(1_000_000)), sleeps.remote()]
    kept.append(haz.get(kept[2]))
    kept.append(kept)

    class Late:
        def __del__(self):
            self.ref = None
            try:
                haz.put(1)
                haz.get(kept[1])
            except BaseException as error:
                print("late", type(error).__name__)

    Late.instance = Late()
    Late.ref = kept[1]
    if how == "raises":
        raise KeyError("on purpose")
    if how == "sys.exit":
        sys.exit(3)
    if how == "_exit":
        os._exit(3)
    if how == "thread":
        thread = threading.Thread(target=haz.get, args=(kept[3],), daemon=True)
        thread.start()
        time.sleep(0.1)
    if how == "busy thread":

        def use():
            while True:
                haz.get([task.remote(1), haz.put(2)])

        for _ in range(3):
            threading.Thread(target=use, daemon=True).start()
        _thread.start_new_thread(use, ())
        time.sleep(0.1)
    if how == "atexit":
        import atexit

        @atexit.register
        def at_exit():
            assert haz.get(task.remote(0)) == 1
            raise ValueError("at exit")

    if how == "SIGTERM":
        os.kill(os.getpid(), signal.SIGTERM)
    if how == "callbacks":
        done = kept[1].future()
        assert len(done.result()) == 200_000
        kept[3].future()
    if how == "gc":
        gc.disable()
        kept.append(Late)


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("end", 0),
        ("raises", 1),
        ("sys.exit", 3),
        ("_exit", 3),
        ("thread", 0),
        ("busy thread", 0),
        ("atexit", 0),
        ("SIGTERM", -15),
        ("callbacks", 0),
        ("gc", 0),
    ],
)
def test_end_without_shutdown(tmp_path, how, code):
    finished = Program(ends_without_shutdown, tmp_path, how=how).wait()
    assert finished.code == code, finished.err
    if how == "raises":
        assert "on purpose" in finished.err
    assert "Fatal" not in finished.err, finished.err
    if how not in ("raises", "atexit"):
        assert "Traceback" not in finished.err, finished.err


def driver_closes_descriptors():
    @haz.remote
    def one():
        return 1

    with leak_check():
        haz.init(num_cpus=2)
        assert haz.get(one.remote()) == 1
        os.closerange(3, 1000)
        message = ""  # the worker that is there goes on until it has noticed
        while "has closed the file descriptors of haz" not in message:
            try:
                haz.get(one.remote())
            except HazError as error:
                message = str(error)
        assert len(haz.get(haz.put(bytes(10_000_000)))) == 10_000_000
        haz.shutdown()
        assert haz.get(one.remote()) == 1
        haz.shutdown()


def test_driver_closes_descriptors(tmp_path):
    run_scenario(driver_closes_descriptors, tmp_path)


# ---- Ctrl-C --------------------------------------------------------------------------------------


def interrupted():
    @haz.remote(max_retries=0)
    def waits(name):
        touch("waits")
        wait_until(lambda: touched(name))
        return os.getpid()

    @haz.remote(max_retries=0)
    def pid():
        return os.getpid()

    def interrupted_in(call):
        timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
        try:
            timer.start()  # where the machine is busy its time may be over before this returns
            while True:
                call()
        except KeyboardInterrupt:
            timer.join()

    with world(object_store_memory=60_000_000):
        haz.get([pid.remote() for _ in range(10)])
        ref = waits.remote("first")
        wait_until(lambda: touched("waits") == 1)
        for call in (
            lambda: haz.get(ref),
            lambda: haz.get([ref] * 20),
            lambda: haz.wait([ref]),
            lambda: haz.get(ref, timeout=60),
        ):
            interrupted_in(call)
            # The worker has not noticed.
            assert haz.wait([ref], timeout=0) == ([], [ref])
        touch("first")
        assert haz.get(ref) in workers()
        interrupted_in(lambda: haz.get(pid.remote()))
        interrupted_in(lambda: haz.get([pid.remote() for _ in range(100)]))
        interrupted_in(lambda: haz.put(bytes(1_000_000)))
        interrupted_in(lambda: haz.put(list(range(1000))))
        # While it waits for room.
        held = [haz.put(bytes(10_000_000)) for _ in range(5)]
        ref = waits.remote("second")
        interrupted_in(lambda: haz.put(bytes(20_000_000)))
        assert haz.wait([ref], timeout=0) == ([], [ref])
        del held
        touch("second")
        assert haz.get(ref) in workers()
        assert haz.get(pid.remote()) in workers()
        ref = None


def test_ctrl_c_in_each_call(tmp_path):
    run_scenario(interrupted, tmp_path)


def interrupted_init():
    @haz.remote
    def one():
        return 1

    def usable():
        if not haz.is_initialized():
            haz.init(num_cpus=2)
        assert haz.get(one.remote()) == 1
        haz.shutdown()

    haz.init(num_cpus=2)
    begin = time.monotonic()
    haz.shutdown()
    haz.init(num_cpus=2)
    lasts = time.monotonic() - begin
    haz.shutdown()
    with leak_check():
        for _ in range(60):
            timer = threading.Timer(random.random() * 2 * lasts, os.kill, (os.getpid(), 2))
            try:
                timer.start()
                haz.init(num_cpus=2)
                timer.join()
            except KeyboardInterrupt:
                pass
            try:
                timer.join()
            except KeyboardInterrupt:
                timer.join()
            usable()


def test_ctrl_c_during_init(tmp_path):
    run_scenario(interrupted_init, tmp_path)


def interrupted_program():
    @haz.remote
    def sleeps():
        touch("sleeps")
        time.sleep(600)

    haz.init(num_cpus=2)
    refs = [sleeps.remote() for _ in range(2)]
    wait_until(lambda: touched("sleeps") == 2)
    print("ready")
    haz.get(refs)


def test_ctrl_c_ends_the_program(tmp_path):
    program = Program(interrupted_program, tmp_path)
    program.wait_for("ready")
    # As a terminal does: to the whole group.
    os.killpg(program.process.pid, signal.SIGINT)
    finished = program.wait()
    assert finished.code == -signal.SIGINT
    assert finished.err.count("KeyboardInterrupt") == 1, finished.err


def cancel_stress(rounds):
    @haz.remote(max_retries=0)
    def sleeps():
        time.sleep(0.002)
        return 1

    @haz.remote(max_retries=0)
    def innocent(i):
        # Something that an interrupt would hit.
        total = 0
        for _ in range(200):
            total += 1
        time.sleep(0)
        return i, total

    with world():
        for _ in range(rounds):
            victims = [sleeps.remote() for _ in range(6)]
            others = [innocent.remote(i) for i in range(20)]
            time.sleep(random.random() * 0.004)
            for ref in victims:
                haz.cancel(ref)
                time.sleep(random.random() * 0.001)
            assert haz.get(others) == [(i, 200) for i in range(20)]
            for ref in victims:
                try:
                    assert haz.get(ref) == 1
                except TaskCancelledError:
                    pass
        del victims, others, ref


def test_a_late_interrupt_never_hits_the_next_task(tmp_path):
    run_scenario(cancel_stress, tmp_path, rounds=120)


# ---- forks, threads, asyncio ---------------------------------------------------------------------


def driver_forks():
    import multiprocessing

    @haz.remote
    def one():
        return 1

    def in_child(body):
        pid = os.fork()
        if pid == 0:
            try:
                body()
            except BaseException as error:
                print(repr(error), file=sys.stderr)
                os._exit(9)
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    with world():
        ref = one.remote()
        view = memoryview(haz.get(haz.put(bytearray(b"kept" * 100_000))))

        def uses():
            for call in (
                lambda: haz.put(1),
                lambda: haz.get(ref),
                one.remote,
                lambda: haz.wait([ref]),
                lambda: haz.cancel(ref),
                haz.init,
                haz.nodes,
            ):
                error = raised(call)
                assert isinstance(error, RuntimeError), repr(error)
                assert "fork" in str(error), error

        def drops():
            nonlocal ref, view
            assert bytes(view[:8]) == b"keptkept"
            ref = view = None
            gc.collect()

        def exits():
            haz.shutdown()
            os.close(0)

        for body in (uses, drops, exits):
            assert in_child(body) == 0, body
            assert haz.get([one.remote() for _ in range(20)]) == [1] * 20
            assert haz.get(ref) == 1

        # While other threads are in the middle of calls.
        stop = threading.Event()

        def busy():
            while not stop.is_set():
                haz.get([one.remote() for _ in range(10)])

        threads = [threading.Thread(target=busy) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(20):
            assert in_child(uses) == 0
        stop.set()
        for thread in threads:
            thread.join()

        # A child that ends as a program does.
        process = multiprocessing.get_context("fork").Process(target=uses)
        process.start()
        process.join()
        assert process.exitcode == 0
        process.close()
        pid = os.fork()
        if pid == 0:
            sys.exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert haz.get(one.remote()) == 1
        assert bytes(view[-4:]) == b"kept"
        ref = view = None


def test_the_driver_forks(tmp_path):
    finished = run_scenario(driver_forks, tmp_path)
    assert "Traceback" not in finished.err, finished.err


def views_outlive():
    import numpy

    haz.init(num_cpus=2)
    array = numpy.arange(100_000)
    ref = haz.put(array)
    got = haz.get(ref)
    part = got[10:20]
    haz.shutdown()
    assert (got == array).all()
    assert raised(lambda: got.__setitem__(0, 1))
    ref = got = None
    gc.collect()
    haz.init(num_cpus=2)
    others = [haz.put(numpy.zeros(100_000)) for _ in range(5)]
    assert (part == array[10:20]).all()
    pid = os.fork()
    if pid == 0:
        os._exit(0 if (part == array[10:20]).all() else 1)
    assert os.waitpid(pid, 0)[1] == 0
    haz.shutdown()
    pid = os.fork()
    if pid == 0:
        os._exit(0 if (part == array[10:20]).all() else 1)
    assert os.waitpid(pid, 0)[1] == 0
    del others


def test_views_outlive_shutdown_and_forks(tmp_path):
    run_scenario(views_outlive, tmp_path)


def many_threads(rounds):
    @haz.remote
    def add(a, b):
        return a + b

    @haz.remote
    def nested(n):
        return sum(haz.get([add.remote(i, 1) for i in range(n)]))

    with world():
        errors = []

        def use(seed):
            rng = random.Random(seed)
            try:
                for _ in range(rounds):
                    kind = rng.randrange(5)
                    if kind == 0:
                        assert haz.get([add.remote(i, seed) for i in range(50)]) == [
                            i + seed for i in range(50)
                        ]
                    elif kind == 1:
                        refs = [add.remote(i, 0) for i in range(20)]
                        while refs:
                            ready, refs = haz.wait(refs, num_returns=min(3, len(refs)))
                            haz.get(ready)
                    elif kind == 2:
                        ref = haz.put(bytes(rng.randrange(200_000)))
                        assert haz.get(add.remote(ref, b"x"))[-1:] == b"x"
                    elif kind == 3:
                        assert haz.get(nested.remote(10)) == 55
                    else:
                        refs = [add.remote(i, 0) for i in range(20)]
                        haz.cancel(refs[-1])
                        assert haz.get(refs[:10]) == list(range(10))
                        haz.wait(refs, num_returns=20, timeout=0.001)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=use, args=(SEED * 100 + i,)) for i in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors, errors


def test_many_threads(tmp_path):
    run_scenario(many_threads, tmp_path, rounds=15)


def many_awaits(number):
    @haz.remote
    def add(i):
        return i + 1

    @haz.remote
    def fails():
        raise KeyError("on purpose")

    async def use():
        assert await asyncio.gather(*[add.remote(i) for i in range(number)]) == list(
            range(1, number + 1)
        )
        for i in range(20):
            assert await add.remote(i) == i + 1
        ref = add.remote(1)
        await asyncio.wait([asyncio.wrap_future(ref.future())])
        assert await ref == 2
        assert await ref == 2
        with pytest_raises(KeyError):
            await fails.remote()
        task = asyncio.ensure_future(wait_for(haz.put(3)))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def wait_for(ref):
        return await ref

    class pytest_raises:
        def __init__(self, kind):
            self.kind = kind

        def __enter__(self):
            pass

        def __exit__(self, kind, *_):
            return issubclass(kind, self.kind)

    with world():
        asyncio.run(use())
        # Many descriptors: select() could not take ours.
        files = [open(os.devnull) for _ in range(1100)] if number > 100 else []
        for file in files:
            file.close()
    with world():
        asyncio.run(use())


def test_many_awaits(tmp_path):
    run_scenario(many_awaits, tmp_path, number=1000)


def awaits_in_a_task():
    @haz.remote
    def add(i):
        return i + 1

    @haz.remote
    def awaits(number):
        async def gather():
            return sum(await asyncio.gather(*[add.remote(i) for i in range(number)]))

        return asyncio.run(gather()), threading.active_count()

    with world():
        total, _threads = haz.get(awaits.remote(300))
        assert total == 300 * 301 // 2


def test_awaits_in_a_task(tmp_path):
    run_scenario(awaits_in_a_task, tmp_path)


def threads_in_a_task():
    @haz.remote
    def add(i):
        return i + 1

    @haz.remote
    def uses_threads():
        sums = []

        def use(i):
            sums.append(sum(haz.get([add.remote(i + j) for j in range(20)])))
            sums.append(len(haz.get(haz.put(bytes(100_000)))))

        threads = [threading.Thread(target=use, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(sums)

    @haz.remote
    def leaves_thread():
        def use():
            for i in range(50):
                haz.get(add.remote(i))
                time.sleep(0.001)
            touch("left")

        threading.Thread(target=use, daemon=True).start()
        return os.getpid()

    with world():
        expected = sum(i + j + 1 for i in range(8) for j in range(20)) + 8 * 100_000
        assert haz.get([uses_threads.remote() for _ in range(4)]) == [expected] * 4
        haz.get([leaves_thread.remote() for _ in range(2)])
        for i in range(300):
            assert haz.get(add.remote(i)) == i + 1
        wait_until(lambda: touched("left") == 2)


def test_threads_in_a_task_use_haz(tmp_path):
    run_scenario(threads_in_a_task, tmp_path)
