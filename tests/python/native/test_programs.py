"""Whole programs: scripts without a guard, ``python -c``, modules, paths, tracebacks."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest


def test_script_without_a_guard_runs_once(run_program):
    done = run_program(
        """
        print("top level")
        import dataclasses
        import haz

        @dataclasses.dataclass
        class Point:
            x: int

            def doubled(self):
                return Point(self.x * 2)

        class Mine(Exception):
            def __init__(self, a, b):
                super().__init__(a)
                self.b = b

        OFFSET = 10

        def helper(point):
            return Point(point.x + OFFSET)

        @haz.remote
        def move(point):
            return helper(point.doubled())

        @haz.remote
        def fail():
            raise Mine(1, 2)

        result = haz.get(move.remote(Point(1)))
        print(type(result) is Point, result)
        try:
            haz.get(fail.remote())
        except Mine as error:
            print("Mine", error.b, type(error.cause) is Mine)
        """
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["top level", "True Point(x=12)", "Mine 2 True"]


def test_functions_that_cannot_be_unpickled_are_named(run_program):
    done = run_program(
        """
        import haz

        class Fickle:
            def __reduce__(self):
                return int, ("x",)

        fickle = Fickle()

        @haz.remote
        def uses_it():
            return fickle

        @haz.remote
        class Holder:
            def __init__(self):
                self.held = fickle

            def get(self):
                return self.held

        for ref in uses_it.remote(), Holder.remote().get.remote():
            try:
                haz.get(ref)
            except haz.exceptions.HazError as error:
                print(isinstance(error, ValueError))
                print(error)
        """
    )
    assert done.stdout.count("can't be unpickled in process") >= 2
    assert "what uses_it runs can't be unpickled" in done.stdout
    assert "what Holder.__init__ runs can't be unpickled" in done.stdout
    assert "make what can't in the function itself" in done.stdout
    assert done.stdout.startswith("True\n")


def test_driver_needs_no_pickle_for_plain_tasks(run_program):
    done = run_program(
        """
        import sys
        import haz

        @haz.remote
        def double(x):
            return 2 * x

        heavy = ("_pickle", "haz._core.serialize", "typing", "threading", "logging")
        print(haz.get(double.remote(4)), [name for name in heavy if name in sys.modules])
        """
    )
    assert done.stderr == ""
    assert done.stdout == "8 []\n"


@pytest.mark.parametrize("how", ["-c", "stdin"])
def test_program_without_a_file(how):
    source = "import haz\nf = haz.remote(lambda x: x + 1)\nprint(haz.get(f.remote(1)))\n"
    command = [sys.executable, "-c", source] if how == "-c" else [sys.executable]
    done = subprocess.run(
        command, input=None if how == "-c" else source, capture_output=True, text=True, timeout=100
    )
    assert (done.stdout, done.stderr, done.returncode) == ("2\n", "", 0)


def test_module_of_the_program(run_program, tmp_path):
    (tmp_path / "mylib.py").write_text(
        "import haz\n"
        "STATE = []\n"
        "def plain(x):\n    return x + 1\n"
        "@haz.remote\ndef remote(x):\n    return plain(x) * 10\n"
        "class Kind:\n    pass\n"
    )
    done = run_program(
        """
        import haz, mylib

        print(haz.get(mylib.remote.remote(1)))
        print(haz.get(haz.remote(mylib.plain).remote(1)))
        print(type(haz.get(haz.put(mylib.Kind()))) is mylib.Kind)
        """
    )
    assert (done.stdout, done.stderr) == ("20\n2\nTrue\n", "")


def test_driver_with_other_packages_on_its_path(run_program, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "only_here.py").write_text("VALUE = 5\n")
    done = run_program(
        f"""
        import sys
        sys.path.insert(0, {str(tmp_path / "elsewhere")!r})
        import haz

        @haz.remote
        def f():
            import only_here
            return only_here.VALUE

        print(haz.get(f.remote()))
        sys.path.append("/added/later")

        @haz.remote
        def g():
            return "/added/later" in sys.path

        print(haz.get(g.remote()))
        """
    )
    assert done.stdout.splitlines()[0] == "5", done.stderr


def test_traceback_of_an_error_nobody_catches(run_program):
    done = run_program(
        """
        import haz

        def inner():
            return 1 / 0

        @haz.remote
        def f():
            return inner()

        haz.get(f.remote())
        """
    )
    assert done.returncode == 1
    assert "TaskError(ZeroDivisionError)" in done.stderr
    assert "return 1 / 0" in done.stderr
    assert "haz.get(f.remote())" in done.stderr


def test_classes_of_the_main_program(run_program):
    """They are themselves when they come back, and cost no import of cloudpickle."""
    done = run_program(
        """
        import sys
        import haz

        class Bad(Exception):
            def __init__(self, code, text):
                super().__init__(text)
                self.code = code

        class Point:
            def __init__(self, x):
                self.x = x
            def moved(self):
                return Point(self.x + 1)

        @haz.remote
        def move(point):
            assert type(point) is Point
            return point.moved(), "cloudpickle" in sys.modules

        @haz.remote
        def fail():
            raise Bad(3, "no")

        point, imported = haz.get(move.remote(Point(1)))
        print(type(point) is Point, point.x, imported, "cloudpickle" in sys.modules)
        print(type(haz.get(move.remote(point))[0]) is Point)
        try:
            haz.get(fail.remote())
        except Bad as error:
            print(error.code, type(error.cause) is Bad)
        """
    )
    assert done.stdout.splitlines() == ["True 2 False False", "True", "3 True"], done.stderr


def test_program_that_runpy_runs(run_program, tmp_path):
    # Its module is called "<run_path>", a name that no worker can import.
    (tmp_path / "inner.py").write_text(
        "import haz\n"
        "class Kind:\n"
        "    x = 1\n"
        "def helper(kind):\n    return kind.x + 1\n"
        "@haz.remote\ndef use(kind):\n    return helper(kind), Kind()\n"
        "number, kind = haz.get(use.remote(Kind()))\n"
        "print(number, type(kind) is Kind)\n"
    )
    done = run_program(f"import runpy; runpy.run_path({str(tmp_path / 'inner.py')!r})")
    assert (done.stdout, done.stderr) == ("2 True\n", "")


def test_subinterpreter_is_refused_and_does_no_harm(run_program):
    done = run_program(
        """
        import sys, haz

        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters

        one = haz.remote(lambda: 1)
        source = (
            f"import sys; sys.path[:] = {sys.path}\\n"
            "try:\\n    import haz; haz.init()\\n"
            "except ImportError as error: print(error, flush=True)"
        )
        for again in range(2):
            inner = interpreters.create()
            interpreters.run_string(inner, source)
            interpreters.destroy(inner)
            print(haz.get(one.remote()), flush=True)
        """
    )
    assert done.stderr == ""
    first, one, second, again = done.stdout.splitlines()
    assert "interpreter" in first
    assert second == first
    assert (one, again) == ("1", "1")


def test_destructors_at_the_very_end(run_program):
    # After the handlers of atexit: imports do not work any more.
    done = run_program(
        """
        import haz
        from haz import get, put

        one = haz.remote(lambda: 1)

        class Late:
            def __init__(self):
                self.ref = haz.put(1)

            def __del__(self):
                for use in (lambda: one.remote(), lambda: get(self.ref), lambda: put(1)):
                    try:
                        use()
                    except RuntimeError as error:
                        print("RuntimeError:", error)

        late = Late()
        """
    )
    assert done.stderr == ""
    assert done.stdout.count("RuntimeError: haz ") == 3
    assert done.stdout.count("the interpreter is ending") == 3


def test_no_threads_to_be_had(tmp_path):
    # A new thread's stack is as large as the limit for stacks, and there is no room for that.
    stack, space = 64 << 30, 16 << 30
    if resource.getrlimit(resource.RLIMIT_STACK)[1] != resource.RLIM_INFINITY:
        pytest.skip("needs a stack without a hard limit")

    def limit():
        resource.setrlimit(resource.RLIMIT_STACK, (stack, resource.RLIM_INFINITY))
        resource.setrlimit(resource.RLIMIT_AS, (space, space))

    program = tmp_path / "program.py"
    program.write_text(
        "import haz\n"
        "for again in range(2):\n"
        "    try:\n        haz.init(num_cpus=1)\n"
        "    except RuntimeError as error:\n        print(error)\n"
        "print(haz.is_initialized())\n"
    )
    done = subprocess.run(
        [sys.executable, str(program)], preexec_fn=limit, capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    first, second, initialized = done.stdout.splitlines()
    assert first.startswith("cannot start a thread (ulimit -u")
    assert (second, initialized) == (first, "False")


def test_first_use_in_many_threads_at_once(run_program):
    # Each imports what it needs, and finds modules that another one is in the middle of importing.
    done = run_program(
        """
        import threading
        import haz

        sizes = [1, 2, 3]

        @haz.remote
        class Counter:
            def __init__(self, n):
                self.n = n + len(sizes)

            def get(self):
                return self.n

        def use(i, results=[]):
            start.wait()
            local = haz.remote(lambda: (i, sizes))
            results.append((haz.get(Counter.remote(i).get.remote()), haz.get(local.remote())))
            if len(results) == 8:
                print(sorted(results)[0])

        haz.init(num_cpus=2)
        start = threading.Barrier(8)
        threads = [threading.Thread(target=use, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        """
    )
    assert (done.stderr, done.stdout) == ("", "(3, (0, [1, 2, 3]))\n")


def test_destructor_at_the_very_end_of_the_interpreter(run_program):
    done = run_program(
        """
        import haz

        class Owner:
            def __init__(self):
                self.ref = haz.put(1)

            def __del__(self):
                haz.shutdown()
                print(haz.is_initialized())
                try:
                    haz.get(self.ref)
                except RuntimeError as error:
                    print(error)

        owner = Owner()
        """
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "False",
        "haz.get: haz has ended, since the interpreter is ending",
    ]
