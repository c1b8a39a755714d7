"""Programs with haz.multiprocessing: those of a tutorial on pools, and how programs end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from haz.testing import descendants, wait_until


def test_the_pools_of_a_tutorial(run_program):
    """Without a guard; its last example waits for ever with the standard library."""
    done = run_program(
        """
        import warnings
        import haz.multiprocessing as multiprocessing
        from time import sleep

        def factorial(x):
            f = 1
            i = x
            while i > 0:
                f *= i
                i -= 1
            return f

        with multiprocessing.Pool(processes=2) as pool:
            results = pool.map(factorial, range(100, 200))
        print(len(results), results[0] == factorial(100))

        def f(x):
            sleep(0.2)
            return x**2

        with multiprocessing.Pool(2) as pool:
            v = pool.apply_async(f, (5,))
            print(v.get())

        warnings.simplefilter("ignore")
        with multiprocessing.Pool(2) as pool:
            v = pool.apply_async(sleep, (600,))
        try:
            print(v.get())
        except ValueError as error:
            print(error)
        """
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "100 True",
        "25",
        "the pool was terminated before this result was there",
    ]


def test_a_pool_that_is_left_open_does_not_keep_the_program(run_program):
    done = run_program(
        """
        import time
        import haz.multiprocessing

        pool = haz.multiprocessing.Pool(2)
        pool.apply_async(time.sleep, (600,))
        print(pool.apply(abs, (-1,)))
        """
    )
    assert (done.returncode, done.stdout) == (0, "1\n")
    assert "Traceback" not in done.stderr


POOL = """
import time
import haz.multiprocessing
with haz.multiprocessing.Pool(2) as pool:
    pool.apply(abs, (1,))
    print('ready', flush=True)
    pool.map(time.sleep, [600, 600])
"""
EXECUTOR = """
import time
import haz
with haz.Executor(2) as executor:
    executor.submit(abs, 1).result()
    waiting = [executor.submit(time.sleep, 600) for _ in range(4)]
    print('ready', flush=True)
    waiting[0].result()
"""
#: Without a block: what ends it is the end of the program.
BARE_POOL = """
import time
import haz.multiprocessing
pool = haz.multiprocessing.Pool(2)
pool.apply(abs, (1,))
print('ready', flush=True)
pool.map(time.sleep, [600, 600])
"""
BARE_EXECUTOR = """
import time
import haz
executor = haz.Executor(2)
executor.submit(abs, 1).result()
waiting = [executor.submit(time.sleep, 600) for _ in range(4)]
print('ready', flush=True)
waiting[0].result()
"""


@pytest.mark.parametrize("text", [POOL, BARE_POOL, EXECUTOR, BARE_EXECUTOR])
def test_one_interrupt_ends_all(tmp_path, text):
    program = tmp_path / "program.py"
    program.write_text(text)
    process = subprocess.Popen(
        [sys.executable, str(program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "HAZ_NUM_CPUS": "2", "HAZ_ENGINE": "native"},
    )
    try:
        assert process.stdout.readline() == "ready\n"
        wait_until(lambda: len(descendants(process.pid)) >= 3, "workers")
        children = descendants(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=100)
    finally:
        process.kill()
        process.communicate()
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert process.returncode == -signal.SIGINT
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in children), "their end")
