"""``haz.util.list_named_actors``."""

from __future__ import annotations

from haz._core.runtime import runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal, overload

__all__ = ["list_named_actors"]


if TYPE_CHECKING:

    @overload
    def list_named_actors(all_namespaces: Literal[False] = ...) -> list[str]: ...
    @overload
    def list_named_actors(all_namespaces: Literal[True]) -> list[dict[str, str]]: ...


def list_named_actors(all_namespaces: bool = False) -> Any:
    """Return the names of the actors that have one and have not died.

    Parameters
    ----------
    all_namespaces
        False: names in the caller's namespace. True: all, each as
        ``{"name": ..., "namespace": ...}``.
    """
    found = runtime.ensure().list_named_actors(bool(all_namespaces))
    if not all_namespaces:
        return [name for _, name in found]
    return [{"name": name, "namespace": namespace} for namespace, name in found]
