"""`AfterImport`: what is done to a module as soon as somebody has imported it."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

__all__ = ["AfterImport"]


class AfterImport:
    """A finder for ``sys.meta_path``: has `change` called with the module of that name, once."""

    def __init__(self, name: str, change: Callable[[Any], object]) -> None:
        self._name = name
        self._change = change

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Of that module, and of nothing else."""
        if name != self._name:
            return None
        sys.meta_path.remove(self)
        found = (finder.find_spec(name, path, target) for finder in sys.meta_path)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None:
            self._change_after(spec.loader)
        return spec

    def _change_after(self, loader: Any) -> None:
        execute, change = loader.exec_module, self._change

        def exec_module(module: Any) -> None:
            execute(module)
            change(module)

        loader.exec_module = exec_module
