"""Modin: data frames in parallel by Ray's core API, on a table of a million rows."""

from __future__ import annotations

import haz
import numpy as np
import pytest

ROWS = 1_000_000


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    import pandas

    rng = np.random.default_rng(1)
    path = tmp_path_factory.mktemp("modin") / "table.csv"
    pandas.DataFrame(
        {
            "key": rng.integers(0, 100, ROWS),
            "value": rng.random(ROWS),
            "count": rng.integers(0, 1000, ROWS),
            "name": rng.choice(["one", "two", "three"], ROWS),
        }
    ).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def frames(table):
    """The same table as pandas and as Modin read it."""
    import os

    os.environ.update(MODIN_ENGINE="ray", MODIN_CPUS="2")
    import modin.pandas as modin
    import pandas

    yield pandas.read_csv(table), modin.read_csv(table)
    haz.shutdown()


def test_it_runs_on_haz(frames):
    from modin.config import Engine

    assert Engine.get() == "Ray"
    assert haz.is_initialized()
    assert haz.get_runtime_context().get_node_id()


def test_read_csv(frames):
    expected, got = frames
    assert got.shape == expected.shape == (ROWS, 4)
    assert got.head(1000)._to_pandas().equals(expected.head(1000))


def test_groupby(frames):
    expected, got = frames
    for how in ("sum", "mean", "max"):
        wanted = getattr(expected.groupby("key")[["value", "count"]], how)()
        made = getattr(got.groupby("key")[["value", "count"]], how)()._to_pandas()
        assert (made.index == wanted.index).all()
        assert np.allclose(made.to_numpy(), wanted.to_numpy())


def test_apply(frames):
    expected, got = frames
    wanted = expected["value"].apply(lambda x: 2 * x + 1)
    made = got["value"].apply(lambda x: 2 * x + 1)._to_pandas()
    assert made.equals(wanted)


def test_filter_sort_merge(frames):
    expected, got = frames

    def top(frame):
        return frame[frame["count"] > 990].sort_values(["count", "value"]).head(50)

    assert top(got)._to_pandas().reset_index(drop=True).equals(top(expected).reset_index(drop=True))
    names = expected.groupby("name", as_index=False)["value"].mean()
    small = got.head(1000).merge(type(got)(names), on="name")._to_pandas()
    assert small.equals(expected.head(1000).merge(names, on="name"))
