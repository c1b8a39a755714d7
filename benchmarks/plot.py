"""The ratios of a run as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks.rows import ROWS
from benchmarks.systems import SYSTEMS

#: Distinguishable by lightness too, and by marker.
_COLOURS = {
    "haz": "#000000",
    "joined": "#56b4e9",
    "ray": "#0072b2",
    "pool": "#d55e00",
    "executor": "#e69f00",
    "joblib": "#009e73",
    "dask": "#cc79a7",
    "ipyparallel": "#8c6d31",
}
_MARKERS = {
    "haz": "|",
    "joined": "x",
    "ray": "o",
    "pool": "s",
    "executor": "D",
    "joblib": "^",
    "dask": "v",
    "ipyparallel": "P",
}


def draw_ratios(ratios: Mapping[str, Mapping[str, float]], baseline: str, path: Path) -> None:
    """One line a row, one mark a peer, on a logarithmic axis: how many times slower it is.

    Parameters
    ----------
    ratios
        Times slower than the baseline, by row and system.
    path
        The picture; its ending decides the format.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = [name for name in ROWS if name in ratios]
    if not names:
        return
    figure, axes = pyplot.subplots(figsize=(10, 0.32 * len(names) + 1.6))
    heights = {name: len(names) - index for index, name in enumerate(names)}
    for system in SYSTEMS:
        points = [(ratios[name][system], heights[name]) for name in names if system in ratios[name]]
        if points:
            axes.scatter(
                [x for x, _ in points],
                [y for _, y in points],
                label=SYSTEMS[system].title,
                color=_COLOURS[system],
                marker=_MARKERS[system],
                zorder=3,
            )
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_yticks(list(heights.values()), [ROWS[name].title for name in heights])
    axes.set_xlabel(
        f"times the time (or memory) of {SYSTEMS[baseline].title}; right of the line it is slower"
    )
    axes.grid(axis="both", color="#dddddd", zorder=0)
    axes.legend(loc="upper center", bbox_to_anchor=(0.3, 1.0 + 0.9 / len(names)), ncols=6,
                frameon=False)  # fmt: skip
    figure.savefig(path, bbox_inches="tight")
    pyplot.close(figure)
