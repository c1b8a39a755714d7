"""What tasks print and log reaches the driver's terminal, with task name and pid."""

from __future__ import annotations

import re
import subprocess
import sys

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
    sys.stdout.write(f"pid {{pid}}\\n")  # at once: lines of tasks come between
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


def test_a_line_without_an_end_is_shown_when_its_task_has_ended(run_program):
    done = run_program(
        """
        import sys, threading
        import haz

        class Watched:
            def __init__(self, stream):
                self.stream, self.shown = stream, threading.Event()

            def write(self, text):
                written = self.stream.write(text)
                if "half a line" in text:
                    self.shown.set()
                return written

            def flush(self):
                self.stream.flush()

        sys.stdout = Watched(sys.stdout)

        @haz.remote
        def talk():
            print("half a line", end="")

        haz.get(talk.remote())
        print(sys.stdout.shown.wait(60))  # the worker lives on
        """
    )
    assert re.fullmatch(r"\(talk pid=\d+\) half a line\nTrue\n", done.stdout), done.stdout


def test_a_name_of_several_lines_is_shown_on_one(run_program):
    done = run_program(
        """
        import haz

        @haz.remote
        def talk():
            print("text")

        @haz.remote
        class Actor:
            def __repr__(self):
                return "Actor(\\n  3,\\r\\n)"

            def talk(self):
                print("more")

        haz.get(talk.options(name="two\\nlines").remote())
        actor = Actor.remote()
        haz.get(actor.talk.remote())
        haz.shutdown()
        """
    )
    out = [re.sub(r"pid=\d+", "pid=1", line) for line in done.stdout.splitlines()]
    assert sorted(out) == ["(Actor( 3, ) pid=1) more", "(two lines pid=1) text"]


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


def test_output_to_streams_that_fail(run_program):
    done = run_program(
        """
        import io, sys
        import haz

        class Fails:
            def write(self, text):
                raise ZeroDivisionError

            def flush(self):
                raise ZeroDivisionError

        class Ends(Fails):
            def write(self, text):
                sys.exit(5)

        closed = io.StringIO()
        closed.close()

        @haz.remote
        def talk():
            print("lost")
            print("kept", file=sys.stderr)

        for stream in (Fails(), Ends(), closed, object(), None):
            haz.init(num_cpus=1)
            sys.stdout = stream
            haz.get([talk.remote() for _ in range(3)])
            haz.shutdown()
        """
    )
    assert done.returncode == 0
    err = done.stderr.splitlines()
    assert sum(line.startswith("haz: output of tasks is lost") for line in err) == 4
    assert sum(line.endswith(") kept") for line in err) == 15
    assert len(err) == 19


def test_output_that_the_driver_can_not_encode(run_program):
    done = run_program(
        """
        import haz

        haz.get(haz.remote(lambda: print("caf\\xe9\\ntea")).remote())
        """,
        environment={"PYTHONIOENCODING": "ascii"},
    )
    assert done.stderr == ""
    assert [line.partition(") ")[2] for line in done.stdout.splitlines()] == ["caf\\xe9", "tea"]


def test_output_that_nobody_reads(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import haz\n"
        "talk = haz.remote(lambda n: print('line', n))\n"
        "haz.get([talk.remote(n) for n in range(3000)])\n"
    )
    with subprocess.Popen(
        [sys.executable, str(program)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert "line" in process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
    assert process.returncode == 0
    assert "Traceback" not in errors


def test_an_actor_with_a_repr_is_called_that(run_program):
    done = run_program(
        """
        import asyncio, sys
        import haz

        class Named:
            def __init__(self, index):
                self.index = index
                print("constructed", index)

            def __repr__(self):
                return f"Named(\\n  index={self.index})"

            def say(self):
                print("said", self.index)
                print("complained", self.index, file=sys.stderr)

            def rename(self):
                self.index = "other"

        class Async(Named):
            async def wait(self):
                print("waited", self.index)

        class Fails:
            def __repr__(self):
                raise ValueError

            def say(self):
                print("said too")

        one, other = haz.remote(Named).remote(1), haz.remote(Async).remote(2)
        third = haz.remote(max_concurrency=2)(Named).remote(3)
        haz.get([one.rename.remote(), one.say.remote(), other.wait.remote(), third.say.remote()])
        haz.get(haz.remote(Fails).remote().say.remote())
        haz.get(haz.remote(lambda: print("of a task")).options(name="task").remote())
        """
    )
    out = re.sub(r"pid=\d+", "pid", done.stdout).splitlines()
    assert sorted(out) == sorted(
        [
            *(f"(Named.__init__ pid) constructed {index}" for index in (1, 3)),
            "(Async.__init__ pid) constructed 2",
            "(Named( index=1) pid) said other",
            "(Named( index=2) pid) waited 2",
            "(Named( index=3) pid) said 3",
            "(Fails.say pid) said too",
            "(task pid) of a task",
        ]
    )
    assert "(Named( index=1) pid" in done.stderr


def test_an_actor_that_ends_itself_says_nothing(run_program):
    done = run_program(
        """
        import haz

        @haz.remote
        class Ends:
            def __init__(self, at_once):
                if at_once:
                    haz.actor.exit_actor()

            def end(self):
                try:
                    haz.actor.exit_actor()
                finally:
                    raise ValueError("on the way out")

            async def end_later(self):
                haz.actor.exit_actor()

        for make in (
            lambda: Ends.remote(True).end.remote(),
            lambda: Ends.remote(False).end.remote(),
            lambda: Ends.remote(False).end_later.remote(),
        ):
            try:
                haz.get(make())
            except haz.exceptions.ActorDiedError as error:
                print(error.reason)
        """
    )
    assert done.stdout == "exited\n" * 3
    assert done.stderr == ""
