"""A widget for notebooks in which clusters are seen, started and stopped. Needs anywidget."""

from __future__ import annotations

import pathlib

try:
    import anywidget
except ImportError as error:
    raise ImportError(
        "the widget of clusters needs anywidget: `pip install anywidget`, and reload the notebook's "
        "page; or run `haz cluster page` in a terminal, which needs nothing"
    ) from error

from haz.ipyparallel._cluster_requests import PANEL, answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["ClusterWidget"]


class ClusterWidget(anywidget.AnyWidget):  # type: ignore[misc]
    """Shows the clusters of this machine's ``haz cluster start``, and of this program.

    It starts clusters that outlive the notebook, as ``haz cluster start`` does, and stops any.

    >>> import haz.ipyparallel as ipp
    >>> ipp.ClusterWidget()  # doctest: +SKIP
    """

    _esm = pathlib.Path(PANEL)

    def __init__(self) -> None:
        super().__init__()
        self.on_msg(self._answer)

    def _answer(self, _widget: object, request: Any, _buffers: object) -> None:
        op = request.get("op") if isinstance(request, dict) else None
        self.send({**answer(request), "op": op})
