"""matplotlib on engines: figures are shown in the notebook, and by `display_outputs`."""

from __future__ import annotations

import base64

import haz
import haz.ipyparallel as ipp
import pytest

pytest.importorskip("matplotlib")
nbformat = pytest.importorskip("nbformat")
NotebookClient = pytest.importorskip("nbclient").NotebookClient

_PNG = b"\x89PNG\r\n"

_CELLS = (
    "import haz.ipyparallel as ipp\nclient = ipp.Cluster(n=2).start_and_connect_sync()",
    "%%px\nimport matplotlib.pyplot as plt\nplt.plot([1, 2, 3]);",
    "%%px\nplt.plot([1, 2, 3])\nplt.show()\nprint('drawn')",
    "%px %matplotlib inline",
    "%%px -t 0\nfigure, axes = plt.subplots()\naxes.hist([1, 1, 2])\nplt.close()",
    "%%px -t 0\nfigure",
    "def draw(n):\n    import matplotlib.pyplot as plt\n    plt.plot(range(n))\n    plt.show()\n"
    "    return n\n"
    "result = client[:].apply_async(draw, 4)\nprint(result.get())\nresult.display_outputs()",
    "%%px -t 1\n%config InlineBackend.figure_format = 'svg'\nplt.plot([1]);",
    "client.close()\nimport haz\nhaz.shutdown()",
)


@pytest.fixture
def outputs(tmp_path, monkeypatch):
    """What each cell of a notebook shows."""
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "MPLCONFIGDIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.delenv("MPLBACKEND", raising=False)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in _CELLS])
    NotebookClient(notebook, timeout=100, kernel_name="python3").execute()
    return [cell.outputs for cell in notebook.cells]


def pictures(outputs, kind="image/png"):
    return [output.data[kind] for output in outputs if kind in output.get("data", {})]


def texts(outputs):
    return "".join(output.text for output in outputs if output.output_type == "stream")


def test_figures_are_shown_in_a_notebook(outputs):
    _, first, shown, _, closed, value, drawn, vector, _ = outputs
    for each in (first, shown, drawn):
        assert len(pictures(each)) == 2
        assert all(base64.b64decode(picture).startswith(_PNG) for picture in pictures(each))
        engines = [
            output.metadata["engine"] for output in each if "engine" in output.get("metadata", {})
        ]
        assert sorted(engines) == [0, 1]
    assert "Line2D" not in str(first)  # its semicolon
    assert texts(shown).count("drawn") == 2
    assert not pictures(closed)
    assert len(pictures(value)) == 1
    assert [picture[:5] for picture in pictures(vector, "image/svg+xml")] == ["<?xml"]
    assert "[4, 4]" in texts(drawn)


def test_figures_are_results_of_code():
    haz.init(num_cpus=2)
    try:
        with ipp.Cluster(n=1) as client:
            view = client[0]
            view.execute("%matplotlib inline\nimport matplotlib.pyplot as plt").get()
            drawn = view.execute("plt.plot([1, 2])\nplt.show()")
            drawn.get()
            [output] = drawn.outputs
            assert base64.b64decode(output["data"]["image/png"]).startswith(_PNG)
            reply = view.execute("plt.subplots()[0]", silent=False).get()
            assert base64.b64decode(reply._repr_png_()).startswith(_PNG)
    finally:
        haz.shutdown()
