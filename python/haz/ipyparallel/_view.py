"""What views have in common."""

from __future__ import annotations

from contextlib import contextmanager
from weakref import WeakSet

from haz.ipyparallel._executor import ViewExecutor
from haz.ipyparallel._messages import Message
from haz.ipyparallel._sequences import (
    check_sequences,
)
from haz.ipyparallel.asyncresult import AsyncMapResult, AsyncResult
from haz.ipyparallel.remotefunction import (
    ParallelFunction,
    RemoteFunction,
    parallel,
    remote,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from haz.ipyparallel._balanced_view import LazyMapIterator
    from haz.ipyparallel._messages import Message
    from haz.ipyparallel.client import Client

__all__ = ["View"]


class View:
    """What views have in common.

    Attributes
    ----------
    block : bool
        Whether calls wait for their results.
    targets
        A number of an engine, a list of them, "all", or None.
    track : bool
        ipyparallel's flag for its messages; accepted.
    label
        Kept in the metadata of calls.
    history : list of str
        Ids of the calls made by this view.
    client : Client
    executor : ViewExecutor
        A ``concurrent.futures.Executor`` on this view.
    """

    _flag_names: tuple[str, ...] = ("targets", "block", "track", "label")

    def __init__(self, client: Client, targets: Any = None, **flags: Any) -> None:
        self.client = client
        self.targets = targets
        self.block = client.block
        self.track = False
        self.label: Any = None
        self.history: list[str] = []
        self._outstanding_maps: WeakSet[LazyMapIterator] = WeakSet()
        self.executor = ViewExecutor(self)
        self.set_flags(**flags)

    def __repr__(self) -> str:
        targets = str(self.targets)
        if len(targets) > 16:
            targets = targets[:12] + "...]"
        return f"<{type(self).__name__} {targets}>"

    def __len__(self) -> int:
        if isinstance(self.targets, list):
            return len(self.targets)
        return 1 if isinstance(self.targets, int) else len(self.client)

    @property
    def outstanding(self) -> set[str]:
        """Ids of calls of this view that have not ended."""
        return self.client.outstanding.intersection(self.history)

    @property
    def results(self) -> Any:
        """The client's results."""
        return self.client.results

    def set_flags(self, **flags: Any) -> View:
        """Set flags of the view: targets, block, track, label, and more in subclasses.

        Raises
        ------
        KeyError
            For a name that is no flag.
        """
        for name in flags:
            if name not in self._flag_names:
                raise KeyError(
                    f"{name!r} is no flag of a {type(self).__name__}: {', '.join(self._flag_names)}"
                )
        for name, value in flags.items():
            setattr(self, name, value)
        return self

    @contextmanager
    def temp_flags(self, **flags: Any) -> Iterator[None]:
        """Set flags for the time of a ``with`` block."""
        saved = {name: getattr(self, name) for name in self._flag_names}
        self.set_flags(**flags)
        try:
            yield
        finally:
            self.set_flags(**saved)

    # ---- calls -------------------------------------------------------------------------------

    def apply(self, __ipp_f: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call ``f(*args, **kwargs)`` on the engines.

        Returns the result where the view blocks, else an AsyncResult: of one value for one
        engine, of a list of values for a list of engines.

        Raises
        ------
        RemoteError, CompositeError
            What the engines raised, where the view blocks.
        """
        return self._really_apply(__ipp_f, args, kwargs)

    def apply_async(self, __ipp_f: Any, /, *args: Any, **kwargs: Any) -> AsyncResult:
        """Call ``f(*args, **kwargs)`` on the engines, and return an AsyncResult at once."""
        result: AsyncResult = self._really_apply(__ipp_f, args, kwargs, block=False)
        return result

    def apply_sync(self, __ipp_f: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call ``f(*args, **kwargs)`` on the engines, and return the result."""
        return self._really_apply(__ipp_f, args, kwargs, block=True)

    def _really_apply(
        self, f: Any, args: Any = (), kwargs: Any = None, block: bool | None = None
    ) -> Any:
        raise NotImplementedError

    def _spread(
        self,
        function: ParallelFunction,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        is_map: bool,
    ) -> AsyncMapResult:
        raise NotImplementedError

    def map(self, f: Any, *sequences: Any, **options: Any) -> Any:
        """Call a function with the items of sequences; see the subclasses."""
        raise NotImplementedError

    def map_async(self, f: Any, *sequences: Any, **options: Any) -> AsyncMapResult:
        """The same as ``map(..., block=False)``."""
        if "block" in options:
            raise TypeError("map_async takes no argument 'block': it never waits")
        result: AsyncMapResult = self.map(f, *sequences, block=False, **options)
        return result

    def map_sync(self, f: Any, *sequences: Any, **options: Any) -> list[Any]:
        """The same as ``map(..., block=True)``."""
        if "block" in options:
            raise TypeError("map_sync takes no argument 'block': it always waits")
        result: list[Any] = self.map(f, *sequences, block=True, **options)
        return result

    def imap(
        self,
        f: Any,
        *sequences: Any,
        ordered: bool = True,
        max_outstanding: int | str = "auto",
        return_exceptions: bool = False,
    ) -> Iterator[Any]:
        """Iterate over ``f`` of the items of iterables, which may be endless.

        Parameters
        ----------
        ordered
            Whether the results come in the order of the items, or as they are there.
        max_outstanding
            The most calls at a time; "auto": one for each engine; 0: no limit.
        return_exceptions
            Return exceptions in the place of results.
        """
        check_sequences(sequences)
        return iter(self.map_async(f, *sequences, return_exceptions=return_exceptions))

    def remote(self, block: bool | None = None, **flags: Any) -> Callable[[Any], RemoteFunction]:
        """Decorator: a call of the function is ``apply`` of it."""
        return remote(self, block=self.block if block is None else block, **flags)

    def parallel(
        self, dist: str = "b", block: bool | None = None, **flags: Any
    ) -> Callable[[Any], ParallelFunction]:
        """Decorator: a call of the function cuts its sequences into parts for the engines."""
        return parallel(self, dist=dist, block=self.block if block is None else block, **flags)

    # ---- control ---------------------------------------------------------------------------

    def spin(self) -> None:
        """ipyparallel's name for looking at what has come; nothing has to be done."""
        self.client.spin()

    def wait(self, jobs: Any = None, timeout: float | None = -1) -> bool:
        """Wait for calls; None: for all of this view. Return whether they have ended."""
        return self.client.wait(self.history if jobs is None else jobs, timeout)

    def abort(self, jobs: Any = None, targets: Any = None, block: bool | None = None) -> None:
        """Abort calls that no engine has begun; None: all of this view."""
        self.client.abort(
            list(self.outstanding) if jobs is None else jobs,
            targets=self.targets if targets is None else targets,
            block=block,
        )

    def queue_status(self, targets: Any = None, verbose: bool = False) -> Any:
        """How many calls the engines of this view have; see `Client.queue_status`."""
        return self.client.queue_status(
            targets=self.targets if targets is None else targets, verbose=verbose
        )

    def purge_results(self, jobs: Any = (), targets: Any = ()) -> None:
        """Forget results; see `Client.purge_results`."""
        self.client.purge_results(jobs=jobs, targets=targets)

    def shutdown(
        self,
        targets: Any = None,
        restart: bool = False,
        hub: bool = False,
        block: bool | None = None,
    ) -> None:
        """End engines; see `Client.shutdown`."""
        targets = self.targets if targets in (None, "all") else targets
        self.client.shutdown(targets=targets, restart=restart, hub=hub, block=block)

    def get_result(
        self, indices_or_msg_ids: Any = None, block: bool | None = None, owner: bool = False
    ) -> AsyncResult:
        """The AsyncResult of calls, by their ids or their places in `history`."""
        wanted = -1 if indices_or_msg_ids is None else indices_or_msg_ids
        if isinstance(wanted, int):
            wanted = self.history[wanted]
        elif isinstance(wanted, (list, tuple, set)):
            wanted = [self.history[each] if isinstance(each, int) else each for each in wanted]
        return self.client.get_result(wanted, block=block, owner=owner)

    def _remember(self, messages: Iterable[Message]) -> None:
        ids = [message.msg_id for message in messages]
        self.history += ids
        self.client._remember(messages)
