"""Programs with haz.Executor: how they end."""

from __future__ import annotations


def test_without_a_guard_and_without_shutdown(run_program, tmp_path):
    """Calls that were made are done before the program ends, as in the standard library."""
    done = run_program(
        """
        import sys, time
        import haz

        def work(number):
            time.sleep(0.05)
            with open(f"{sys.argv[1]}/{number}", "w"):
                return number

        executor = haz.Executor(2)
        futures = [executor.submit(work, n) for n in range(6)]
        print(futures[0].result())
        """,
        str(tmp_path),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")
    assert sorted(path.name for path in tmp_path.glob("[0-9]")) == list("012345")


def test_the_import_is_the_only_change(run_program):
    """The program of a tutorial on pools, with one name replaced."""
    done = run_program(
        """
        import concurrent.futures, time
        import haz

        def task(seconds=0.1):
            time.sleep(seconds)
            return f"Sleep time {seconds}"

        with haz.Executor() as executor:
            tasks = [executor.submit(task, seconds) for seconds in (0.1, 0.2, 0.01)]
            print(sorted(future.result() for future in concurrent.futures.as_completed(tasks)))
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "['Sleep time 0.01', 'Sleep time 0.1', 'Sleep time 0.2']\n"


def test_arrays_where_the_programs_descriptors_were_replaced(run_program):
    """A file that was opened under the number of the store's descriptor is not taken for the store."""
    done = run_program(
        """
        import numpy, os, tempfile
        import haz

        file = tempfile.TemporaryFile()
        file.truncate(1 << 40)
        with haz.Executor(1) as executor:
            for _ in range(3):
                array = executor.submit(numpy.ones, 200_000).result(60)
                array += 1
                print(array.sum(), array.flags.writeable)
                for name in os.listdir("/proc/self/fd"):
                    try:
                        is_arena = "haz-arena" in os.readlink(f"/proc/self/fd/{name}")
                    except OSError:
                        continue
                    if is_arena:
                        os.dup2(file.fileno(), int(name))
        """
    )
    assert (done.returncode, done.stdout) == (0, "400000.0 True\n" * 3), done.stderr
