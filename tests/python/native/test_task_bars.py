"""`haz.experimental.tqdm_ray`: progress bars of tasks, shown by the driver."""

from __future__ import annotations

import re

import pytest

PROGRAM = """
    import sys
    import haz
    from haz.experimental import tqdm_ray
    {before}

    @haz.remote
    def work(name, n):
        bar = tqdm_ray.tqdm(desc=name, total=n, flush_interval_s=0)
        for i in range(n):
            bar.update(1)
            if i == n // 2:
                print("half of", name)
                tqdm_ray.safe_print("more than half of", name)
        bar.close()
        bar.close()
        return bar.n

    @haz.remote
    class Actor:
        def items(self, n):
            return sum(tqdm_ray.tqdm(range(n), desc="items"))

    haz.init(num_cpus=2{more})
    actor = Actor.remote()
    refs = [work.remote("first", 40), work.remote("[second]", 20), actor.items.remote(10)]
    sys.stdout.write(f"results {{haz.get(refs)}}\\n")
    haz.shutdown()
"""


@pytest.mark.parametrize(
    "before",
    [
        pytest.param("", id="rich"),
        pytest.param("sys.modules['rich.progress'] = None", id="lines"),
    ],
)
def test_bars_of_tasks_and_actors(run_program, before):
    if not before:
        pytest.importorskip("rich")
    done = run_program(PROGRAM.format(before=before, more=""))
    assert done.returncode == 0, done.stderr
    out = re.sub(r"pid=\d+", "pid", done.stdout).splitlines()
    assert "results [40, 20, 45]" in out
    for name in ("first", "[second]"):
        assert f"(work pid) half of {name}" in out + done.stderr.splitlines()
        assert f"(work pid) more than half of {name}" in out + done.stderr.splitlines()
    assert re.search(r"first.*40/40", done.stderr)
    assert re.search(r"\[second\].*20/20", done.stderr)
    assert re.search(r"items.*10/10", done.stderr)
    assert "haz:bar" not in done.stdout + done.stderr
    assert "\x1e" not in done.stdout + done.stderr


def test_bars_are_not_shown_where_output_is_not(run_program):
    done = run_program(PROGRAM.format(before="", more=", log_to_driver=False"))
    assert done.stdout == "results [40, 20, 45]\n"
    assert done.stderr == ""


def test_bars_of_a_task_that_dies_or_raises(run_program):
    done = run_program(
        """
        import os
        import haz
        from haz.experimental import tqdm_ray

        @haz.remote(max_retries=0)
        def dies():
            bar = tqdm_ray.tqdm(total=9, desc="dying")
            bar.update(3)
            bar.refresh()
            os._exit(3)

        @haz.remote
        def fails():
            for i in tqdm_ray.tqdm(range(8), desc="failing"):
                1 / (2 - i)

        for task in (dies, fails):
            try:
                haz.get(task.remote())
            except haz.exceptions.HazError as error:
                print(type(error).__name__)
        haz.shutdown()
        """
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"dying.*3/9", done.stderr)
    assert re.search(r"failing.*2/8", done.stderr)
    assert "WorkerCrashedError" in done.stdout + done.stderr


def test_a_bar_in_the_driver_is_of_the_same_kind(run_program):
    done = run_program(
        """
        from haz.experimental.tqdm_ray import tqdm

        with tqdm(total=5, desc="mine", unit="files") as bar:
            bar.update(2)
            bar.set_description("renamed")
            bar.total = 4
            assert (bar.n, bar.total) == (2, 4)
        print(sum(tqdm(iter([1, 2, 3]), desc="unknown")))
        left_open = tqdm(total=3, desc="open")
        """
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"renamed.*2/4 files", done.stderr)
    assert re.search(r"unknown.* 3\b", done.stderr)
    assert "6" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({"total": "5"}, "total"), ({"total": True}, "total"), ({"flush_interval_s": -1}, "flush")],
)
def test_nonsense_is_an_error_at_the_call(arguments, words):
    from haz.experimental.tqdm_ray import tqdm

    with pytest.raises((TypeError, ValueError), match=words):
        tqdm(**arguments)
    with pytest.raises(ValueError, match="needs an iterable"):
        iter_of = tqdm()
        next(iter(iter_of))
    iter_of.close()
