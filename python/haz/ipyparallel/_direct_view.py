"""`DirectView`: engines that are named, each of which runs what is sent."""

from __future__ import annotations

import builtins
import sys
import time
import warnings
from contextlib import contextmanager

from haz._core.api import put
from haz._core.checks import shown
from haz.exceptions import SerializationError
from haz.ipyparallel._arguments import is_large, unsent
from haz.ipyparallel._messages import DirectMessage
from haz.ipyparallel._sequences import (
    check_callable,
    check_sequences,
    cut_to_shortest,
    equal_sequences,
    ranges_as_tuples,
)
from haz.ipyparallel._view import View
from haz.ipyparallel.asyncresult import AsyncMapResult, AsyncResult
from haz.ipyparallel.partition import Map, dist_maps, mappable
from haz.ipyparallel.remotefunction import name_of
from haz.ipyparallel.util import interactive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from haz.ipyparallel.cluster import EngineHandle
    from haz.ipyparallel.remotefunction import ParallelFunction

__all__ = ["BroadcastView", "DirectView"]


class DirectView(View):
    """A view of one engine, or of some or all of them; each runs what is sent.

    ``view["a"] = 5`` sets a name on the engines, ``view["a"]`` gets it.
    """

    def _engines(self, targets: Any = None) -> tuple[list[Any], bool]:
        """The engines of targets, and whether it is one of them and no list."""
        targets = self.targets if targets is None else targets
        return self.client._engines_of(targets), isinstance(targets, int)

    def _send(
        self,
        method: str,
        *args: Any,
        fname: str,
        targets: Any = None,
        label: Any = None,
        has_execute: bool = False,
    ) -> AsyncResult:
        engines, single = self._engines(targets)
        if len(engines) > 1 and any(map(is_large, args)):
            try:
                args = tuple(put(arg) if is_large(arg) else arg for arg in args)
            except SerializationError as error:
                raise unsent(error, method, args, engines[0].id) from error.__cause__
        label = self.label if label is None else label
        messages: list[DirectMessage] = []
        for engine in engines:
            message = self._call(engine, label, method, *args)
            message.has_execute = has_execute
            messages.append(message)
        self._remember(messages)
        return AsyncResult(
            self.client, messages, fname, self.targets if targets is None else targets, single
        )

    def _call(self, engine: EngineHandle, label: Any, method: str, *args: Any) -> DirectMessage:
        message = DirectMessage(self.client._new_id(), label, engine)
        if method != message.method:
            message.method = method
        self.client._state.messages.add(message)  # before there can be output of it
        try:
            message.ref = engine.call(method, message.msg_id, *args)
        except SerializationError as error:
            raise unsent(error, method, args, engine.id) from error.__cause__
        return message

    def _returned(self, result: AsyncResult, block: bool | None) -> Any:
        block = self.block if block is None else block
        return result.get() if block else result

    def _really_apply(
        self, f: Any, args: Any = (), kwargs: Any = None, block: bool | None = None
    ) -> Any:
        check_callable(f)
        result = self._send(
            "apply",
            self.client._can(f, is_called=True),
            self.client._can(args) if args else (),
            self.client._can(kwargs) if kwargs else {},
            fname=name_of(f),
        )
        return self._returned(result, block)

    def _spread(
        self,
        function: ParallelFunction,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        is_map: bool,
    ) -> AsyncMapResult:
        if is_map:
            return self._send_map(
                function.func,
                list(args),
                function.mapObject,
                function.ordered,
                function.return_exceptions,
                self.label,
            )
        engines, _ = self._engines()
        args, length = equal_sequences(args, function)
        parts = min(len(engines), length)
        canned_f, canned_kwargs = (
            self.client._can(function.func, is_called=True),
            self.client._can(kwargs),
        )
        messages: list[DirectMessage] = []
        for p in range(parts):
            part = tuple(
                function.mapObject.get_partition(arg, p, parts, length) if mappable(arg) else arg
                for arg in args
            )
            canned = self.client._can(part)
            messages.append(
                self._call(engines[p], self.label, "apply", canned_f, canned, canned_kwargs)
            )
        self._remember(messages)
        return AsyncMapResult(
            self.client,
            messages,
            function.mapObject,
            function.__name__,
            self.targets,
            function.ordered,
            function.return_exceptions,
        )

    def _send_map(
        self,
        f: Any,
        sequences: list[Any],
        cut: Map,
        ordered: bool,
        return_exceptions: bool,
        label: Any,
    ) -> AsyncMapResult:
        engines, _ = self._engines()
        sequences, length = cut_to_shortest(sequences)
        count = min(len(engines), length)
        canned_f = self.client._can(f, is_called=True)
        messages: list[DirectMessage] = []
        sizes: list[int] = []
        for p in range(count):
            parts = [cut.get_partition(seq, p, count, length) for seq in sequences]
            sizes.append(len(parts[0]))
            ranges = ranges_as_tuples(parts)
            if len(ranges) < len(parts):
                parts = self.client._can(parts)
            messages.append(
                self._call(engines[p], label, "map", canned_f, parts, return_exceptions, ranges)
            )
        self._remember(messages)
        return AsyncMapResult(
            self.client,
            messages,
            cut,
            name_of(f),
            self.targets,
            ordered,
            return_exceptions,
            length,
            sizes,
        )

    def map(
        self,
        f: Any,
        *sequences: Any,
        block: bool | None = None,
        track: bool = False,
        return_exceptions: bool = False,
        label: Any = None,
    ) -> Any:
        """Call a function with the items of sequences; each engine gets one part of them.

        Parameters
        ----------
        *sequences
            Lists, arrays, or any iterables; the shortest one ends the map.
        block
            Whether to wait for the results. None: as the view says.
        return_exceptions
            Return exceptions in the place of results, instead of raising them.

        Returns
        -------
        list or AsyncMapResult
        """
        check_sequences(sequences)
        check_callable(f)
        label = self.label if label is None else label
        result = self._send_map(f, list(sequences), Map(), True, return_exceptions, label)
        return self._returned(result, block)

    # ---- code --------------------------------------------------------------------------------

    def execute(
        self,
        code: str,
        silent: bool = True,
        targets: Any = None,
        block: bool | None = None,
        label: Any = None,
    ) -> AsyncResult:
        """Run code on the engines, as a cell of a notebook.

        Parameters
        ----------
        silent
            Whether the value of the last expression is dropped; False: it is an `ExecuteReply`, and
            where the code fails, an engine aborts all code that waits for it then.

        Returns
        -------
        AsyncResult
            Where the view blocks, one that has ended; what the engines raised is raised then.
        """
        if not isinstance(code, str):
            raise TypeError(f"execute takes code as a str, and not {type(code).__name__}")
        from haz.ipyparallel._display import shell

        result = self._send(
            "execute",
            code,
            silent,
            shell() is not None,
            time.monotonic(),
            fname="execute",
            targets=targets,
            label=label,
            has_execute=True,
        )
        if self.block if block is None else block:
            try:
                result.get()
            except KeyboardInterrupt:
                pass
        return result

    def run(
        self,
        filename: str,
        targets: Any = None,
        block: bool | None = None,
        label: Any = None,
    ) -> AsyncResult:
        """Run the code of a file on the engines.

        Raises
        ------
        OSError
            If the file can't be read.
        """
        with open(filename, encoding="utf-8") as file:
            code = file.read()
        return self.execute(code + "\n", targets=targets, block=block, label=label)

    # ---- data --------------------------------------------------------------------------------

    def update(self, ns: dict[str, Any]) -> Any:
        """Set names on the engines; the same as `push`."""
        return self.push(ns, block=self.block, track=self.track)

    def push(
        self,
        ns: dict[str, Any],
        targets: Any = None,
        block: bool | None = None,
        track: bool | None = None,
    ) -> Any:
        """Set names on the engines. Large arrays are copied once, and read-only there.

        Parameters
        ----------
        ns
            Values by names.

        Raises
        ------
        TypeError
            If it is no dict, or a name is no str.
        """
        if not isinstance(ns, dict):
            raise TypeError(f"push takes a dict of names and values, and not {type(ns).__name__}")
        for name in ns:
            if not isinstance(name, str):
                raise TypeError(f"push takes names as str, and not {name!r}")
        result = self._send("push", self.client._can(ns), fname="push", targets=targets)
        return self._returned(result, block)

    def get(self, key_s: Any) -> Any:
        """The values of names; the same as ``pull(key_s, block=True)``."""
        return self.pull(key_s, block=True)

    def pull(self, names: Any, targets: Any = None, block: bool | None = None) -> Any:
        """Get the values of names from the engines.

        Parameters
        ----------
        names
            A name, which gives its value, or a list of names, which gives a list of values.

        Raises
        ------
        TypeError
            If a name is no str.
        """
        if not isinstance(names, str):
            names = list(names) if hasattr(type(names), "__iter__") else [names]
            for name in names:
                if not isinstance(name, str):
                    raise TypeError(f"pull takes names as str, and not {shown(name)}")
        return self._returned(self._send("pull", names, fname="pull", targets=targets), block)

    def scatter(
        self,
        key: str,
        seq: Any,
        dist: str = "b",
        flatten: bool = False,
        targets: Any = None,
        block: bool | None = None,
        track: bool | None = None,
    ) -> Any:
        """Cut a sequence into parts, and set a name on each engine to its part.

        Parameters
        ----------
        dist
            "b": the parts lie one behind the other. "r": each has every n-th item.
        flatten
            Set the name to the item itself where a part has one only.

        Returns
        -------
        AsyncResult or None
            None where it waited.
        """
        if not isinstance(key, str):
            raise TypeError(f"scatter takes a name as str, and not {key!r}")
        if isinstance(seq, dict) or not hasattr(type(seq), "__iter__"):
            raise TypeError(f"scatter cuts lists, arrays and other sequences, and not {shown(seq)}")
        if not hasattr(type(seq), "__len__"):
            seq = list(seq)
        engines, single = self._engines(targets)
        cut = dist_maps[dist]()
        messages: list[DirectMessage] = []
        for p, engine in enumerate(engines):
            part = cut.get_partition(seq, p, len(engines))
            if flatten and len(part) == 1:
                part = part[0]
            messages.append(self._call(engine, self.label, "push", self.client._can({key: part})))
        self._remember(messages)
        result = AsyncResult(
            self.client, messages, "scatter", self.targets if targets is None else targets, single
        )
        if not (self.block if block is None else block):
            return result
        result.get()
        return None

    def gather(
        self, key: str, dist: str = "b", targets: Any = None, block: bool | None = None
    ) -> Any:
        """Join the parts of a sequence that the engines have under a name."""
        engines, _ = self._engines(targets)
        messages = [self._call(engine, self.label, "pull", str(key)) for engine in engines]
        self._remember(messages)
        result = AsyncMapResult(
            self.client,
            messages,
            dist_maps[dist](),
            "gather",
            self.targets if targets is None else targets,
        )
        return self._returned(result, block)

    def clear(self, targets: Any = None, block: bool | None = None) -> Any:
        """Forget all names on the engines."""
        return self.client.clear(
            targets=self.targets if targets is None else targets,
            block=self.block if block is None else block,
        )

    def __getitem__(self, key: Any) -> Any:
        return self.get(key)

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def use_cloudpickle(self) -> Any:
        """Send functions with the values of their global names here, from now on."""
        self.client._is_canning = False
        return self.apply_async(_nothing)

    def use_dill(self) -> Any:
        """The same as `use_cloudpickle`."""
        return self.use_cloudpickle()

    def use_pickle(self) -> Any:
        """Send functions so that their global names are looked up on the engines: the default."""
        self.client._is_canning = True
        return self.apply_async(_nothing)

    # ---- imports and magics ------------------------------------------------------------------

    @property
    def importer(self) -> Any:
        """``sync_imports(local=True)``."""
        return self.sync_imports(True)

    @contextmanager
    def sync_imports(self, local: bool = True, quiet: bool = False) -> Iterator[None]:
        """Let imports in a ``with`` block happen on the engines, too.

        ``import x as y`` sets the name ``x`` there.

        Parameters
        ----------
        local
            Whether they happen here, too.
        quiet
            Say nothing of them.
        """
        real_import = builtins.__import__
        block = sys._getframe(2)  # of the caller: past this generator's __enter__
        seen: set[Any] = set()
        results: list[AsyncResult] = []

        def view_import(
            name: str,
            globals: Any = None,
            locals: Any = None,
            fromlist: Any = (),
            level: int = 0,
        ) -> Any:
            is_the_blocks = sys._getframe(1) is block
            if is_the_blocks and (name, tuple(fromlist or ()), level) not in seen:
                seen.add((name, tuple(fromlist or ()), level))
                if not quiet:
                    what = f"{','.join(fromlist)} from {name}" if fromlist else name
                    print(f"importing {what} on engine(s)")
                builtins.__import__ = real_import
                try:
                    results.append(
                        self.apply_async(_remote_import, name, tuple(fromlist or ()), level)
                    )
                finally:
                    builtins.__import__ = view_import
            if local or not is_the_blocks:
                return real_import(name, globals, locals, fromlist, level)
            return _Nothing(name)

        builtins.__import__ = view_import
        try:
            yield
        finally:
            builtins.__import__ = real_import
        for result in results:
            result.get()

    def activate(self, suffix: str = "") -> None:
        """Let the magics ``%px``, ``%%px``, ``%autopx`` and ``%pxresult`` use this view.

        Parameters
        ----------
        suffix
            Appended to their names.
        """
        from haz.ipyparallel._display import shell
        from haz.ipyparallel.magics import ParallelMagics

        here = shell()
        if here is None:
            warnings.warn("there is no IPython here, and so no magics", stacklevel=2)
            return
        here.register_magics(ParallelMagics(here, self, suffix))


class BroadcastView(DirectView):
    """A DirectView of all engines; arguments lie in the store once, however many engines read them."""

    is_coalescing = False


@interactive
def _remote_import(name: str, fromlist: tuple[str, ...], level: int) -> None:
    import sys

    module = __import__(name, fromlist=fromlist, level=level)
    if fromlist:
        for key in fromlist:
            globals()[key] = getattr(module, key)
    else:
        globals()[name.partition(".")[0]] = sys.modules[name.partition(".")[0]]


@interactive
def _nothing() -> None:
    pass


class _Nothing:
    """Stands for a module that is imported on engines only."""

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return None
