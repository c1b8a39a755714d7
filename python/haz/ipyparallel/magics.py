"""Magics that run code on the engines of a view: ``%px``, ``%%px``, ``%pxresult``, ``%autopx``,
``%pxconfig``. A view's `activate` registers them; a `Client` in IPython does so by itself.
"""

from __future__ import annotations

import sys

from IPython.core import magic_arguments
from IPython.core.error import UsageError
from IPython.core.magic import Magics, no_var_expand

from haz.ipyparallel.asyncresult import AsyncResult
from haz.ipyparallel.error import AlreadyDisplayedError, RemoteError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from haz.ipyparallel.view import DirectView

__all__ = ["ParallelMagics"]


def _exec_args(function: Any) -> Any:
    """The options of a cell that runs on engines."""
    arguments = [
        magic_arguments.argument(
            "-b", "--block", action="store_const", const=True, dest="block", help="wait for the end"
        ),
        magic_arguments.argument(
            "-a", "--noblock", action="store_const", const=False, dest="block", help="do not wait"
        ),
        magic_arguments.argument(
            "--stream",
            action="store_const",
            const=True,
            dest="stream",
            help="show output as it comes: the default",
        ),
        magic_arguments.argument(
            "--no-stream",
            action="store_const",
            const=False,
            dest="stream",
            help="show it at the end",
        ),
        magic_arguments.argument(
            "-t",
            "--targets",
            type=str,
            help="engines: a number, a slice as 0:2, a list as 0,2, all",
        ),
        magic_arguments.argument(
            "--local", action="store_const", const=True, dest="local", help="run it here, too"
        ),
        magic_arguments.argument(
            "--remote", action="store_const", const=False, dest="local", help="do not run it here"
        ),
        magic_arguments.argument(
            "--progress-after",
            type=float,
            default=None,
            help="seconds after which the progress is shown; -1: never",
        ),
        magic_arguments.argument(
            "--signal-on-interrupt",
            type=str,
            default="SIGINT",
            help="what the engines get when this is interrupted; 0: nothing",
        ),
        magic_arguments.argument("--verbose", action="store_true", default=None, help="say more"),
        magic_arguments.argument(
            "--no-verbose", action="store_false", dest="verbose", default=None, help="say less"
        ),
    ]
    for argument in arguments:
        function = argument(function)
    return function


def _output_args(function: Any) -> Any:
    """The options of what is shown."""
    arguments = [
        magic_arguments.argument(
            "-r", action="store_true", dest="result_only", help="show values only, no output"
        ),
        magic_arguments.argument(
            "--group-outputs",
            type=str,
            choices=["engine", "order", "type"],
            default="type",
            dest="groupby",
            help="how output is sorted",
        ),
        magic_arguments.argument(
            "-e",
            action="store_const",
            dest="groupby",
            const="engine",
            default="type",
            help="sorted by engine",
        ),
        magic_arguments.argument(
            "-o", "--out", type=str, dest="save_name", help="a name for the AsyncResult"
        ),
    ]
    for argument in arguments:
        function = argument(function)
    return function


class ParallelMagics(Magics):  # type: ignore[misc]
    """The magics of one view."""

    registered = True
    magics: dict[str, dict[str, Any]]

    def __init__(self, shell: Any, view: DirectView, suffix: str = "") -> None:
        self.view = view
        self.suffix = suffix
        self.last_result: AsyncResult | None = None
        self.verbose = False
        self.stream_output = True
        self.progress_after = 2.0
        self._run_cell: Callable[..., Any] | None = None
        self.magics = {
            "line": {
                f"px{suffix}": self.px,
                f"pxresult{suffix}": self.result,
                f"result{suffix}": self.result,
                f"autopx{suffix}": self.autopx,
                f"pxconfig{suffix}": self.pxconfig,
            },
            "cell": {f"px{suffix}": self.cell_px},
        }
        super().__init__(shell=shell)

    # ---- running -------------------------------------------------------------------------------

    @no_var_expand  # type: ignore[untyped-decorator]
    def px(self, line: str = "") -> Any:
        """``%px code``: run a line on the engines, and show its output."""
        return self.parallel_execute(line, block=self.view.block)

    @magic_arguments.magic_arguments()  # type: ignore[untyped-decorator]
    @_exec_args
    @_output_args
    def cell_px(self, line: str = "", cell: str | None = None) -> Any:
        """``%%px [options]``: run a cell on the engines, and show its output."""
        options = magic_arguments.parse_argstring(self.cell_px, line)
        block = self.view.block if options.block is None else options.block
        if options.local:
            self.shell.run_cell(cell)
        with self.view.temp_flags(**self._targets(options.targets)):
            return self.parallel_execute(
                cell or "",
                block=block,
                groupby=options.groupby,
                result_only=options.result_only,
                save_name=options.save_name,
                progress_after=options.progress_after,
                on_interrupt=options.signal_on_interrupt,
                verbose=options.verbose,
                stream_output=options.stream,
            )

    def _targets(self, text: str | None) -> dict[str, Any]:
        if text is None:
            return {}
        try:
            targets = _parse_targets(text)
            return {"targets": targets if targets == "all" else self.view.client._targets(targets)}
        except (ValueError, IndexError, TypeError) as error:
            raise UsageError(f"--targets {text}: {error}") from None

    def parallel_execute(
        self,
        cell: str,
        block: bool | None = True,
        groupby: str = "type",
        result_only: bool = False,
        save_name: str | None = None,
        progress_after: float | None = None,
        on_interrupt: str = "SIGINT",
        verbose: bool | None = None,
        stream_output: bool | None = None,
    ) -> Any:
        """Run code on the engines of the view, and show its output."""
        if self.verbose if verbose is None else verbose:
            kind = "Parallel" if block else "Async parallel"
            print(f"{kind} execution on engine(s): {self.view.targets}")
        result = self.view.execute(cell, silent=False, block=False)
        result._fname = f"%px{self.suffix}"
        self.last_result = result
        if save_name:
            self.shell.user_ns[save_name] = result
        if not block:
            return result
        if stream_output is None:
            stream_output = self.stream_output
        if result_only or groupby != "type" or not stream_output:
            interrupted = self._wait(result, progress_after, on_interrupt)
            return self._shown(result, groupby, result_only, interrupted)
        with result.stream_output():
            interrupted = self._wait(result, progress_after, on_interrupt)
        if not result.ready():
            return result
        error = result.exception()
        if isinstance(error, RemoteError) and not interrupted:
            raise AlreadyDisplayedError(error)
        if error is not None and not interrupted:
            raise error
        return None

    def _wait(self, result: AsyncResult, progress_after: float | None, on_interrupt: str) -> bool:
        """Wait; an interrupt here interrupts the engines. Return whether there was one."""
        interrupted = False
        after = self.progress_after if progress_after is None else progress_after
        while True:
            try:
                if after < 0 or result.wait(after):
                    result.wait()
                else:
                    result.wait_interactive(interval=0.25)
                return interrupted
            except KeyboardInterrupt:
                interrupted = True
                print(
                    f"Received Keyboard Interrupt. Sending signal {on_interrupt} to engines...",
                    file=sys.stderr,
                )
                if on_interrupt in ("0", ""):
                    return interrupted
                name: Any = int(on_interrupt) if on_interrupt.isdigit() else on_interrupt
                self.view.client.abort(result)  # where it has not begun
                self.view.client.send_signal(name, targets=self.view.targets)

    def _shown(
        self, result: AsyncResult, groupby: str, result_only: bool, interrupted: bool = False
    ) -> Any:
        if not result.ready():
            return result
        result.display_outputs(groupby, result_only)
        error = result.exception()
        if error is not None and not interrupted:
            raise error
        if error is not None:
            print(error, file=sys.stderr)
        return None

    # ---- the others ----------------------------------------------------------------------------

    @magic_arguments.magic_arguments()  # type: ignore[untyped-decorator]
    @_output_args
    def result(self, line: str = "") -> Any:
        """``%pxresult``: show the output of what ran last."""
        options = magic_arguments.parse_argstring(self.result, line)
        if self.last_result is None:
            raise UsageError("%pxresult shows what ran last, and nothing did")
        self.last_result.wait()
        if options.save_name:
            self.shell.user_ns[options.save_name] = self.last_result
        return self._shown(self.last_result, options.groupby, options.result_only)

    @magic_arguments.magic_arguments()  # type: ignore[untyped-decorator]
    @_exec_args
    def pxconfig(self, line: str = "") -> None:
        """``%pxconfig [options]``: set what ``%px`` and ``%%px`` do without options."""
        options = magic_arguments.parse_argstring(self.pxconfig, line)
        if options.targets is not None:
            self.view.targets = self._targets(options.targets)["targets"]
        if options.block is not None:
            self.view.block = options.block
        if options.stream is not None:
            self.stream_output = options.stream
        if options.verbose is not None:
            self.verbose = options.verbose
        if options.progress_after is not None:
            self.progress_after = options.progress_after

    def autopx(self, line: str = "") -> None:
        """``%autopx``: run all that is typed on the engines, until the next ``%autopx``."""
        if self._run_cell is None:
            self._run_cell = self.shell.run_cell
            self.shell.run_cell = self._auto_cell
            print("%autopx enabled")
        else:
            self.shell.run_cell = self._run_cell
            self._run_cell = None
            print("%autopx disabled")

    def _auto_cell(self, raw_cell: str, *args: Any, **kwargs: Any) -> Any:
        assert self._run_cell is not None
        if raw_cell.strip().startswith((f"%autopx{self.suffix}", f"%px{self.suffix}", "%px")):
            return self._run_cell(raw_cell, *args, **kwargs)
        return self._run_cell(f"%%px{self.suffix}\n{raw_cell}", *args, **kwargs)


def _parse_targets(text: str) -> Any:
    """Engines, from text: "all", "1", "0:2", "0,2"."""
    if text == "all":
        return "all"
    if ":" in text:
        return slice(*(int(part) if part else None for part in text.split(":")))
    if "," in text:
        return [int(part) for part in text.split(",")]
    return int(text)
