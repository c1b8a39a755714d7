"""Functions on actors: ``haz.get_actor``, ``kill``, ``exit_actor``."""

from __future__ import annotations

from haz._core.actor import ActorHandle, make_handle
from haz._core.checks import shown
from haz._core.options import check_bool, check_namespace, check_text
from haz._core.refs import ObjectRef
from haz._core.runtime import runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

__all__ = ["current_actor_handle", "exit_actor", "get_actor", "kill"]


def exit_actor() -> NoReturn:
    """End the actor whose method calls this, for good; the method does not go on.

    The call's ref, and those of calls that wait, raise ActorDiedError. It is not restarted.

    Raises
    ------
    TypeError
        If no actor runs the calling code.
    """
    engine = runtime.engine
    if engine is None or engine.current_actor() is None:
        raise TypeError("exit_actor() ends the actor that calls it, and this is no method of one")
    engine.exit_actor()
    raise AssertionError("the actor went on after its exit")


def current_actor_handle() -> ActorHandle[Any]:
    """The handle of the actor that runs the calling code; RuntimeError elsewhere."""
    found = runtime.ensure().current_actor()
    if found is None:
        raise RuntimeError("current_actor is there in methods of actors only, and this is none")
    return make_handle(*found)


def get_actor(name: str, namespace: str | None = None) -> ActorHandle[Any]:
    """Return a handle of the actor of that name.

    Parameters
    ----------
    name
        As given by ``.options(name=...)``.
    namespace
        Namespace of the name. Default: that of the caller.

    Raises
    ------
    ValueError
        If there is no such actor, or it has died.
    """
    if not check_text("name", name):
        raise ValueError("haz.get_actor() needs a name, and got an empty one")
    if namespace is not None:
        check_namespace(namespace)
    return make_handle(*runtime.ensure().get_actor(name, namespace))


def kill(actor: ActorHandle[Any], *, no_restart: bool = True) -> None:
    """End an actor at once, in the middle of what it does.

    Its calls that have not ended raise ActorDiedError. Nothing happens where it has died already.

    Parameters
    ----------
    actor
        A handle. For tasks and single calls there is ``haz.cancel``.
    no_restart
        False: as if its process had crashed, so ``max_restarts`` holds.
    """
    if not isinstance(actor, ActorHandle):
        raise ValueError(
            f"haz.kill() takes the handle of an actor, not {shown(actor)}"
            + ("; for a task or call use haz.cancel(ref)" if isinstance(actor, ObjectRef) else "")
        )
    no_restart = check_bool("no_restart", no_restart)
    engine = runtime.engine
    if engine is not None:
        engine.kill_actor(actor._haz_ref, no_restart)
