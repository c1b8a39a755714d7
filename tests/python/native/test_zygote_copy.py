"""A young driver's zygote is a copy of it; workers must not be able to tell (haz._core.zygote_copy)."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

#: Runs `before` at the start of a program and prints what `see` returns in a worker, and whether that
#: worker descends from a copy (a program's worker has not imported site).
PROGRAM = """
import sys
import haz
{before}

@haz.remote
def see():
    import sys
    shown = None
{see}
    return shown, "site" in sys.modules

haz.init(num_cpus=1)
shown, is_copy = haz.get(see.remote())
print(repr((is_copy, shown)))
{after}
"""


@pytest.fixture
def see(run_program):
    def run(before="", see="pass", after="", environment=None):
        source = PROGRAM.format(
            before=textwrap.dedent(before),
            see=textwrap.indent(textwrap.dedent(see), "    "),
            after=textwrap.dedent(after),
        )
        done = run_program(source, environment=environment)
        assert done.returncode == 0, done.stderr
        assert not done.stderr
        return eval(done.stdout.splitlines()[-1])

    return run


def test_a_plain_program_is_copied(see):
    assert see() == (True, None)


def test_imports_of_the_standard_library_do_not_matter(see):
    assert see("import json, re, datetime, random, collections, dataclasses, typing")[0]


@pytest.mark.parametrize("before", ["", "import asyncio"])
def test_interpreters_that_a_worker_starts_are_as_those_of_the_driver(see, before):
    """The standard library gives them options by ``sys.flags``: without ``site`` they lack packages."""
    is_copy, (shown, options, names) = see(
        before,
        """
        import subprocess
        options = subprocess._args_from_interpreter_flags()
        names = str(sys.flags).count("="), sys.flags.isolated, sys.flags[0], len(sys.flags)
        found = [sys.executable, *options, "-c", "import pytest; print(pytest.__name__)"]
        shown = subprocess.run(found, capture_output=True, text=True).stdout, options, names
        """,
    )
    assert is_copy == (not before)
    assert shown == "pytest\n"
    assert options == subprocess._args_from_interpreter_flags()
    assert names == (len(type(sys.flags).__match_args__), 0, 0, len(sys.flags))


@pytest.mark.parametrize(
    "before",
    [
        "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()",
        "import signal; signal.signal(signal.SIGUSR1, print)",
        "import atexit; atexit.register(int)",
        "import asyncio",
        "import logging",
        "import ctypes",
        "import decimal",
        "import warnings; warnings.simplefilter('error')",
        "import locale; locale.setlocale(locale.LC_NUMERIC, 'C.UTF-8')",
        "import builtins; builtins.print = lambda *_: sys.stdout.write(repr((False, None)))",
        "sys.settrace(lambda *_: None)",
        "import gc; gc.callbacks.append(lambda *_: None)",
        "sys.meta_path.insert(0, type('Finder', (), {'find_spec': lambda *_: None})())",
        "sys.path_hooks.append(int)",
        "import types; sys.modules['odd'] = types.ModuleType('odd')",
        "ballast = bytearray(60_000_000)",
        "haz.init(num_cpus=1); haz.shutdown()",
    ],
    ids=lambda text: text.partition(";")[0][:30],
)
def test_a_program_with_a_state_of_its_own_is_not_copied(see, before):
    assert see(before)[0] is False


def test_options_of_the_interpreter_are_for_an_interpreter(see):
    assert see(environment={"PYTHONWARNINGS": "ignore::ResourceWarning"})[0] is False


def test_nothing_of_the_program_is_in_workers(see, tmp_path):
    (tmp_path / "mine.py").write_text("state = []\n")
    is_copy, shown = see(
        f"""
        sys.path.insert(0, {str(tmp_path)!r})
        import colorsys
        __import__("mine").state.append(1)
        sys.excepthook = sys.displayhook = print
        a_name = 1
        """,
        """
        main = sys.modules["__main__"]
        modules = {"colorsys", "mine"} & set(sys.modules)
        shown = [
            hasattr(main, "a_name"),
            modules,
            __import__("mine").state,
            sys.excepthook is sys.__excepthook__ and sys.displayhook is sys.__displayhook__,
        ]
        """,
    )
    assert is_copy
    assert shown == [False, set(), [], True]


def test_the_drivers_buffers_and_files_are_its_own(see, tmp_path):
    path = tmp_path / "file"
    is_copy, _ = see(
        f"""
        file = open({str(path)!r}, "w")
        file.write("once")
        class Ending:
            def __del__(self, append=open):
                with append({str(path) + ".ended"!r}, "a") as ended:
                    ended.write("x")
        cycle = [Ending()]
        cycle.append(cycle)
        del cycle
        """,
        "import gc; gc.collect()",
        "import gc; gc.collect()",
    )
    assert is_copy
    assert path.read_text() == "once"
    assert (tmp_path / "file.ended").read_text() == "x"


def test_a_worker_that_ends_finalizes_nothing_of_the_driver(run_program, tmp_path):
    done = run_program(
        f"""
        import os
        import sys
        import haz

        file = open({str(tmp_path / "file")!r}, "w")
        file.write("once")

        @haz.remote(max_calls=1)
        def pid():
            import atexit
            atexit.register(print, "ended", flush=True)
            return os.getpid(), "site" not in sys.modules

        first, second = haz.get(pid.remote()), haz.get(pid.remote())
        assert first[0] != second[0]
        assert not first[1]
        """
    )
    assert done.returncode == 0, done.stderr
    assert "ended" in done.stdout
    assert (tmp_path / "file").read_text() == "once"


def test_pipes_of_the_driver_end_with_it(run_program):
    done = run_program(
        """
        import os
        import haz

        read, write = os.pipe()
        os.set_inheritable(write, True)
        haz.init(num_cpus=1)
        haz.get(haz.remote(lambda: 1).remote())
        os.close(write)
        assert os.read(read, 1) == b""  # nobody else holds the far end
        """
    )
    assert done.returncode == 0, done.stderr


def test_ignored_signals_and_blocked_ones_are_the_drivers(see):
    is_copy, shown = see(
        """
        import signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
        """,
        """
        import signal
        shown = (
            signal.getsignal(signal.SIGTERM) == signal.SIG_DFL,
            signal.pthread_sigmask(signal.SIG_BLOCK, []),
        )
        """,
    )
    assert is_copy
    assert shown == (True, set())


def test_the_environment_is_whole(see):
    is_copy, shown = see(
        "import os; os.environ['HAZ_TEST_MINE'] = 'x'; os.environ['TZ'] = 'UTC-5'",
        """
        import os, subprocess, time
        told = subprocess.run("echo $HAZ_TEST_MINE $HOME", shell=True, capture_output=True, text=True)
        shown = told.stdout.split(), os.environ["HOME"], time.timezone
        """,
        environment={"HOME": "/nowhere"},
    )
    assert is_copy
    assert shown == (["x", "/nowhere"], "/nowhere", -5 * 3600)


def test_in_a_tiny_environment_an_interpreter_is_started(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM.format(before="", see="    pass", after=""))
    done = subprocess.run(
        [sys.executable, str(path)], env={}, capture_output=True, text=True, timeout=100
    )
    assert done.stdout.split() == ["(False,", "None)"], done.stderr


def test_init_in_the_import_of_a_module(run_program, tmp_path):
    (tmp_path / "starts.py").write_text("import haz\nhaz.init(num_cpus=1)\n")
    done = run_program(
        """
        import starts
        import haz

        @haz.remote
        def see():
            import starts
            return starts.__name__

        print(haz.get(see.remote()))
        """
    )
    assert done.stdout.split() == ["starts"], done.stderr


def test_a_dead_copy_is_replaced(run_program):
    done = run_program(
        """
        import os
        import signal
        import sys
        import haz

        @haz.remote(max_retries=3)
        def see():
            return os.getppid(), "site" in sys.modules

        copy, is_copy = haz.get(see.remote())
        os.kill(copy, signal.SIGKILL)
        while True:
            zygote, is_still = haz.get(see.remote())
            if zygote != copy:
                break
        print(is_copy, is_still)
        """
    )
    assert done.stdout.split() == ["True", "False"], done.stderr


def test_all_that_workers_started_ends_with_a_killed_driver(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(
        textwrap.dedent(
            """
            import os
            import sys
            import time
            import haz

            @haz.remote
            def leave_a_daemon():
                if os.fork() == 0:
                    os.setsid()
                    if os.fork():
                        os._exit(0)
                    with open(sys.argv[1], "w") as file:
                        file.write(f"{os.getpid()} {int('site' not in sys.modules)}\\n")
                    time.sleep(1000)
                time.sleep(1000)

            ref = leave_a_daemon.remote()
            haz.get(ref)
            """
        )
    )
    told = tmp_path / "told"
    driver = subprocess.Popen([sys.executable, str(path), str(told)])
    try:
        until(lambda: told.exists() and told.read_text().endswith("\n"))
        daemon, no_site = map(int, told.read_text().split())
        assert no_site == 0
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    until(lambda: not os.path.exists(f"/proc/{daemon}"))


def until(condition, deadline_s=60):
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
