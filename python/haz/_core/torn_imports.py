"""Imports that an interrupt has cut in the middle.

Python takes a module out of ``sys.modules`` when its import fails, but leaves there the parts of a
package that were complete by then. The next import of the package finds those, does not set them as
attributes of the new package, and fails with a NameError or AttributeError (``base_events`` in
``asyncio``, for one) for as long as the process lives.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["forget_torn"]

#: Errors that are looked at: one raised while another was handled may go round in a circle.
_MOST_ERRORS = 32


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    for _ in range(_MOST_ERRORS):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__


def forget_torn(error: BaseException) -> bool:
    """Forget the parts of packages whose import ended with `error`, an interrupt or due to one.

    Returns
    -------
    bool
        Whether there were some. They can be imported again, but for those with compiled parts that
        can be loaded only once.
    """
    errors = list(_chain(error))
    if not any(isinstance(one, KeyboardInterrupt) for one in errors):
        return False
    torn = set()
    for one in errors:
        step = one.__traceback__
        while step is not None:
            frame = step.tb_frame
            name = frame.f_globals.get("__name__")
            if frame.f_code.co_name == "<module>" and name not in sys.modules:
                torn.add(f"{name}.")
            step = step.tb_next
    parts = [name for name in list(sys.modules) if any(name.startswith(one) for one in torn)]
    for name in parts:
        sys.modules.pop(name, None)
    return bool(parts)
