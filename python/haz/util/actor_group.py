"""Several actors of one class that are called together: ``ActorGroup``."""

from __future__ import annotations

import os
import socket

import haz

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from haz.actor import ActorClass, ActorHandle

__all__ = ["ActorGroup", "ActorGroupMethod", "ActorMetadata"]


class ActorMetadata:
    """Where an actor runs.

    Attributes
    ----------
    node_id, node_ip, hostname
        Of its node.
    gpu_ids
        Ids of its GPUs, or None.
    pid
        Its process.
    """

    def __init__(
        self, node_id: str, node_ip: str, hostname: str, gpu_ids: list[str] | None, pid: int
    ) -> None:
        self.node_id = node_id
        self.node_ip = node_ip
        self.hostname = hostname
        self.gpu_ids = gpu_ids
        self.pid = pid

    def __repr__(self) -> str:
        return f"ActorMetadata(hostname={self.hostname!r}, pid={self.pid})"


def _metadata(_actor: Any) -> ActorMetadata:
    context = haz.get_runtime_context()
    gpus = context.get_accelerator_ids()["GPU"]
    hostname = socket.gethostname()
    return ActorMetadata(context.get_node_id(), "127.0.0.1", hostname, gpus or None, os.getpid())


class ActorGroupMethod:
    """A method of all actors of a group."""

    def __init__(self, group: ActorGroup, name: str) -> None:
        self._group = group
        self._name = name

    def remote(self, *args: Any, **kwargs: Any) -> list[Any]:
        """Call the method of each actor with the same arguments; return the refs."""
        return [getattr(actor, self._name).remote(*args, **kwargs) for actor in self._group]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            f"a method of actors can't be called directly: use group.{self._name}.remote(...)"
        )


class ActorGroup:
    """Actors of one class, which are started, called and ended together.

    Parameters
    ----------
    actor_cls
        A class; or an actor class, as made by ``@haz.remote``.
    num_actors
        How many.
    num_cpus_per_actor, num_gpus_per_actor, resources_per_actor
        What each of them holds.
    init_args, init_kwargs
        Arguments of the constructors.

    Examples
    --------
    >>> group = ActorGroup(Worker, num_actors=2)
    >>> haz.get(group.work.remote())
    """

    def __init__(
        self,
        actor_cls: type | ActorClass[..., Any],
        num_actors: int = 1,
        num_cpus_per_actor: float = 1,
        num_gpus_per_actor: float = 0,
        resources_per_actor: dict[str, float] | None = None,
        init_args: Sequence[Any] | None = None,
        init_kwargs: dict[str, Any] | None = None,
    ) -> None:
        self._actors: list[ActorHandle[Any]] = []
        self._is_started = False
        if num_actors <= 0:
            raise ValueError(f"num_actors must be 1 or more, not {num_actors}")
        for name, amount in (
            ("num_cpus_per_actor", num_cpus_per_actor),
            ("num_gpus_per_actor", num_gpus_per_actor),
        ):
            if amount < 0:
                raise ValueError(f"{name} must be 0 or more, not {amount}")
        made: Any = (
            actor_cls if isinstance(actor_cls, haz.actor.ActorClass) else haz.remote(actor_cls)
        )
        options: dict[str, Any] = {
            "num_cpus": num_cpus_per_actor,
            "num_gpus": num_gpus_per_actor,
        }
        if resources_per_actor is not None:
            options["resources"] = resources_per_actor
        arguments, keywords = tuple(init_args or ()), dict(init_kwargs or {})
        actor_class = made.options(**options)
        self._make: Callable[[], ActorHandle[Any]] = lambda: actor_class.remote(
            *arguments, **keywords
        )
        self._num_actors = num_actors
        self.start()

    def start(self) -> None:
        """Start the actors; a new group has done so. RuntimeError if they run."""
        if self._is_started:
            raise RuntimeError("the actors of this group run already; shutdown() ends them")
        self._is_started = True
        self.add_actors(self._num_actors)

    def shutdown(self, patience_s: float = 5) -> None:
        """End the actors.

        Parameters
        ----------
        patience_s
            Seconds for calls that are there; afterwards the actors are killed. 0: at once.
        """
        self._end(self._actors, patience_s)
        self._actors = []
        self._is_started = False

    def _end(self, actors: Sequence[ActorHandle[Any]], patience_s: float) -> None:
        if not actors:
            return
        left = list(actors)
        if patience_s > 0:
            ended = {actor.__ray_terminate__.remote(): actor for actor in actors}
            _, rest = haz.wait(list(ended), num_returns=len(ended), timeout=patience_s)
            left = [ended[ref] for ref in rest]
        for actor in left:
            haz.kill(actor)

    def add_actors(self, num_actors: int) -> None:
        """Start more actors."""
        if num_actors <= 0:
            raise ValueError(f"num_actors must be 1 or more, not {num_actors}")
        self._actors += [self._make() for _ in range(num_actors)]

    def remove_actors(self, actor_indexes: Sequence[int]) -> None:
        """Kill the actors at these places of `actors`, and take them out."""
        leaving = {range(len(self._actors))[index] for index in actor_indexes}
        self._end([self._actors[index] for index in leaving], 0)
        self._actors = [actor for i, actor in enumerate(self._actors) if i not in leaving]

    def __getattr__(self, name: str) -> ActorGroupMethod:
        actors = self.__dict__.get("_actors")
        if name.startswith("__") or actors is None:
            raise AttributeError(f"'ActorGroup' object has no attribute {name!r}")
        if not actors:
            raise RuntimeError("the group has no actors: it was shut down")
        getattr(actors[0], name)  # raises where there is no such method
        return ActorGroupMethod(self, name)

    def __len__(self) -> int:
        return len(self._actors)

    def __getitem__(self, index: int) -> ActorHandle[Any]:
        return self._actors[index]

    def __iter__(self) -> Iterator[ActorHandle[Any]]:
        return iter(self._actors)

    @property
    def actors(self) -> list[ActorHandle[Any]]:
        """The handles."""
        return list(self._actors)

    @property
    def actor_metadata(self) -> list[ActorMetadata]:
        """Where each of them runs; waits until they do."""
        refs = [actor.__ray_call__.remote(_metadata) for actor in self._actors]
        found: list[ActorMetadata] = haz.get(refs)
        return found
