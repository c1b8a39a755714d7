"""What belongs to a worker process is put back after a task that has changed it."""

from __future__ import annotations

import decimal
import gc
import io
import os
import resource
import sys
import textwrap
import warnings

import haz
import pytest

from tests.python.native.fault_program import run_scenario
from tests.python.native.fault_tools import world


def task_spoils_the_interpreter():
    @haz.remote
    def show():
        return {
            "pid": os.getpid(),
            "streams": [type(stream).__name__ for stream in (sys.stdin, sys.stdout, sys.stderr)],
            "path": list(sys.path),
            "argv": list(sys.argv),
            "recursion": sys.getrecursionlimit(),
            "gc": gc.isenabled(),
            "warnings": list(warnings.filters),
            "locale": __import__("_locale").setlocale(__import__("_locale").LC_ALL),
            "traced": [sys.gettrace(), sys.getprofile()],
            "umask": os.umask(0o22),
            "processors": os.sched_getaffinity(0),
            "limit": resource.getrlimit(resource.RLIMIT_CORE),
            "decimal": decimal.getcontext().prec,
        }

    @haz.remote
    def spoil(how):
        if how == "streams":
            sys.stdin = sys.stdout = io.StringIO()
            sys.stderr = None
        if how == "no streams":
            del sys.stdout, sys.stderr
        if how == "path":
            sys.path = []
        if how == "path in place":
            sys.path[:] = ["/nowhere", *sys.path[1:]]
        if how == "path appended":
            sys.path.append("/nowhere")
        if how == "argv":
            sys.argv[:] = ["other"]
        if how == "recursion":
            sys.setrecursionlimit(100)
        if how == "gc":
            gc.disable()
        if how == "warnings":
            warnings.simplefilter("error")
        if how == "warnings replaced":
            warnings.catch_warnings().__enter__()
        if how == "locale":
            module = __import__("_locale")
            module.setlocale(module.LC_NUMERIC, "C.UTF-8")
        if how == "traced":
            sys.settrace(lambda *_: None)
            sys.setprofile(lambda *_: None)
        if how == "umask":
            os.umask(0o777)
        if how == "processors":
            os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
        if how == "limit":
            resource.setrlimit(resource.RLIMIT_CORE, (0, resource.RLIM_INFINITY))
        if how == "decimal":
            decimal.getcontext().prec = 3
        return os.getpid()

    kinds = ["streams", "no streams", "path", "path in place", "path appended", "argv", "recursion"]
    kinds += ["gc", "warnings", "warnings replaced", "locale", "traced", "umask", "processors"]
    kinds += ["limit", "decimal"]
    resource.setrlimit(resource.RLIMIT_CORE, (4096, resource.RLIM_INFINITY))
    with world(num_cpus=1):
        haz.get(show.remote())
        before = haz.get(show.remote())
        for how in kinds:
            assert haz.get(spoil.remote(how)) == before["pid"]
            after = haz.get(show.remote())
            for name in before:
                assert after[name] == before[name], (how, name, after[name], before[name])


def test_what_a_task_leaves_behind(tmp_path):
    run_scenario(task_spoils_the_interpreter, tmp_path)


def task_breaks_its_streams():
    @haz.remote
    def breaks(how):
        if how == "closes":
            sys.stdout.close()
            sys.stderr.close()
        if how == "wraps":
            sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8")
            print("wrapped")
        if how == "detaches":
            sys.stdout = io.TextIOWrapper(sys.stdout.detach(), encoding="utf-8")
            print("detached")
        if how == "holds":
            sys.stdout.writelines(["a line\n"])
        return os.getpid()

    @haz.remote
    def prints(text):
        gc.collect()
        print(text, flush=True)
        print(text, file=sys.stderr)
        return os.getpid()

    with world(num_cpus=1):
        pid = haz.get(prints.remote("first"))
        for how in ("closes", "wraps", "detaches", "holds"):
            assert haz.get(breaks.remote(how)) == pid
            assert haz.get(prints.remote(f"after {how}")) == pid
    print("end")


def test_streams_that_a_task_breaks(tmp_path):
    finished = run_scenario(task_breaks_its_streams, tmp_path)
    for text in ("first", "after closes", "after wraps", "after detaches", "after holds"):
        assert f") {text}\n" in finished.out, finished.out
        assert f") {text}\n" in finished.err, finished.err
    for text in ("wrapped", "detached", "a line"):
        assert f") {text}\n" in finished.out, finished.out


def task_breaks_its_descriptors():
    @haz.remote
    def breaks(how):
        pid = os.getpid()
        null = os.open(os.devnull, os.O_WRONLY)
        own = os.dup(1)
        if how == "closes":
            os.close(1), os.close(2)
        if how == "closes all":
            os.closerange(0, 4096)
        if how in ("replaces", "replaces and restores"):
            os.dup2(null, 1)
        if how == "replaces and restores":
            os.dup2(own, 1)
        if how == "is nice":
            os.nice(1)
        return pid

    @haz.remote
    def prints(text):
        print(text, flush=True)
        print(text, file=sys.stderr)
        return os.getpid(), os.getpriority(os.PRIO_PROCESS, 0)

    class Polite:
        def __init__(self):
            os.nice(1)

        def pid(self):
            return os.getpid()

    with world(num_cpus=1):
        _, nice = haz.get(prints.remote("first"))
        for how in ("closes", "closes all", "replaces", "is nice"):
            pid = haz.get(breaks.remote(how))
            assert haz.get(prints.remote(f"after one that {how}")) != (pid, nice)
            assert haz.get(prints.remote("once more"))[1] == nice
        pid = haz.get(breaks.remote("replaces and restores"))
        assert haz.get(prints.remote("after all")) == (pid, nice)
        polite = haz.remote(Polite).remote()  # it is the actor's own process
        assert haz.get(polite.pid.remote()) == haz.get(polite.pid.remote())
        del polite
    print("end")


def test_descriptors_that_a_task_breaks(tmp_path):
    finished = run_scenario(task_breaks_its_descriptors, tmp_path)
    for how in ("closes", "closes all", "replaces", "is nice"):
        assert f") after one that {how}\n" in finished.out, finished.out
        assert f") after one that {how}\n" in finished.err, finished.err
    assert ") after all\n" in finished.out


def modules_set_up_the_process(place):
    @haz.remote
    def uses_a_module():
        import sets_up

        return sets_up.answer()

    @haz.remote
    def show():
        return sys.getrecursionlimit(), decimal.getcontext().prec, sys.path[-1]

    sys.path.append(place)
    with world(num_cpus=1):
        haz.get(show.remote())
        for _ in range(3):
            assert haz.get(uses_a_module.remote()) == "from an import to come"
            assert haz.get(show.remote()) == (5000, 50, f"{place}/more")


def test_what_modules_set_up_stays(tmp_path):
    folder = tmp_path / "modules"
    (folder / "more").mkdir(parents=True)
    (folder / "sets_up.py").write_text(
        textwrap.dedent(
            """
            import decimal, os, sys
            sys.path.append(os.path.join(os.path.dirname(__file__), "more"))
            sys.setrecursionlimit(5000)
            decimal.getcontext().prec = 50
            def answer():
                import imported_late
                return imported_late.ANSWER
            """
        )
    )
    (folder / "more" / "imported_late.py").write_text("ANSWER = 'from an import to come'")
    run_scenario(modules_set_up_the_process, tmp_path, place=str(folder))


def test_what_a_zygote_imports_late_is_part_of_the_state(run_program):
    """As the zygote does it that has prepared its workers: it imports more before it forks one."""
    done = run_program(
        """
        import os
        import sys
        import warnings

        from haz._core import worker_main

        worker_main.prepare()
        state = worker_main._prepared.state
        sys.path.append("/by/an/import")
        warnings.simplefilter("error")
        filters = list(warnings.filters)
        worker_main.note_import(is_last=False)
        print(worker_main._prepared.is_old)
        worker_main.note_import(is_last=True)
        print(worker_main._prepared.is_old)
        os.umask(os.umask(0o77))
        sys.path.append("/by/a/task")
        warnings.simplefilter("ignore")
        state.put_back(imported=False)
        print(sys.path[-1], warnings.filters == filters)
        """
    )
    assert done.stdout.splitlines() == ["True", "False", "/by/an/import True"], done.stderr


def user_of_tasks():
    @haz.remote(num_cpus=2)
    def who():
        return os.getpid(), os.getresuid(), os.getresgid(), os.getgroups()

    @haz.remote(num_cpus=2)
    def become(give_up):
        os.setgroups([4])
        os.setresgid(65534, 65534, -1)
        os.setresuid(65534, 65534, 65534 if give_up else -1)
        return os.getpid()

    @haz.remote(num_cpus=2)
    def to_another_root():
        os.chroot("/")
        return os.getpid()

    with world():
        before = haz.get(who.remote())[1:]
        for ends, change in (
            (False, lambda: become.remote(False)),
            (True, lambda: become.remote(True)),
            (True, lambda: to_another_root.remote()),
        ):
            changed = haz.get(change())
            found = haz.get([who.remote() for _ in range(10)])
            assert all(one[1:] == before for one in found), found
            assert not ends or changed not in [one[0] for one in found]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_task_gives_up_its_user(tmp_path):
    run_scenario(user_of_tasks, tmp_path)


def tasks_inside_of_tasks(place):
    home = os.getcwd()

    def seen():
        return os.getcwd(), os.environ.get("LEVEL"), decimal.getcontext().prec, os.umask(0o22)

    @haz.remote
    def level(n):
        expected = home, None, 28, 0o22
        assert seen() == expected, (n, seen())
        assert type(sys.stdout).__name__ != "StringIO", n
        own = os.path.join(place, str(n))
        os.mkdir(own)
        os.chdir(own)
        os.environ["LEVEL"] = str(n)
        decimal.getcontext().prec = n + 1
        sys.stdout = io.StringIO()
        print("level", n)
        os.umask(0o77)
        below = haz.get(level.remote(n - 1)) if n else 0
        os.umask(0o77)
        assert seen()[:3] == (own, str(n), n + 1), (n, seen())
        assert sys.stdout.getvalue() == f"level {n}\n", n
        return below + 1

    os.umask(0o22)
    # So deep that there are more levels than processes, and some run on top of others.
    with world(num_cpus=1):
        assert haz.get(level.remote(60)) == 61


def test_state_of_tasks_inside_of_tasks(tmp_path):
    run_scenario(tasks_inside_of_tasks, tmp_path, place=str(tmp_path / "files"))
