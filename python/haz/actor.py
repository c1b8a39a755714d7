"""Actors: the types of what ``@haz.remote`` makes of a class, and `exit_actor`."""

from haz._core.actor import ActorClass as ActorClass
from haz._core.actor import ActorHandle as ActorHandle
from haz._core.actor import ActorMethod as ActorMethod
from haz._core.actor_api import exit_actor as exit_actor

__all__ = ["ActorClass", "ActorHandle", "ActorMethod", "exit_actor"]
