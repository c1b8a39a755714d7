"""What tasks print and log reaches the driver's terminal, with task name and pid."""

from __future__ import annotations

import re

PROGRAM = """
    import logging, os, sys
    import haz

    haz.init(num_cpus=2 {more})

    @haz.remote
    def talk(n):
        print("plain", n)
        print("two\\nlines")
        print("to stderr", file=sys.stderr)
        logging.getLogger("mine").warning("logged %d", n)
        sys.stdout.write("no newline at the end")
        os.write(1, b"raw bytes\\n")
        return os.getpid()

    pid = haz.get(talk.options(name="talker").remote(5))
    print("pid", pid)
    haz.shutdown()
"""


def test_output_of_tasks(run_program):
    done = run_program(PROGRAM.format(more=""))
    assert done.returncode == 0, done.stderr
    pid = re.search(r"^pid (\d+)$", done.stdout, re.MULTILINE)[1]
    prefix = f"(talker pid={pid}) "
    out = done.stdout.splitlines()
    for text in ("plain 5", "two", "lines"):
        assert prefix + text in out
    assert any(line.startswith(prefix) and "no newline at the end" in line for line in out)
    assert any(line.startswith(prefix) and "raw bytes" in line for line in out)
    err = done.stderr.splitlines()
    assert prefix + "to stderr" in err
    assert any(line.startswith(prefix) and "logged 5" in line for line in err)


def test_output_can_be_turned_off(run_program):
    done = run_program(PROGRAM.format(more=", log_to_driver=False"))
    assert done.returncode == 0
    assert re.fullmatch(r"pid \d+\n", done.stdout)
    assert done.stderr == ""


def test_output_of_a_task_that_dies(run_program):
    done = run_program(
        """
        import os, sys
        import haz

        @haz.remote(max_retries=0)
        def f():
            print("before the end", flush=True)
            print("last words", file=sys.stderr, flush=True)
            os._exit(3)

        try:
            haz.get(f.remote())
        except haz.exceptions.WorkerCrashedError as error:
            print("caught", error.exit_code, "last words" in error.stderr)
        """
    )
    assert "before the end" in done.stdout
    assert "caught 3 True" in done.stdout
    assert "last words" in done.stderr


def test_output_that_is_long(run_program):
    done = run_program(
        """
        import haz

        @haz.remote
        def f():
            for number in range(5000):
                print("line", number)

        haz.get([f.remote(), f.remote()])
        """
    )
    numbers = re.findall(r"\) line (\d+)$", done.stdout, re.MULTILINE)
    assert sorted(map(int, numbers)) == sorted([*range(5000), *range(5000)])


def test_output_is_there_before_the_program_ends(run_program):
    done = run_program(
        """
        import haz

        haz.get(haz.remote(lambda: print("said")).remote())
        """
    )
    assert "said" in done.stdout
