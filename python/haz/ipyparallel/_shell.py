"""IPython in an engine: magics, ``display``, rich results. Loaded when code first needs it."""

from __future__ import annotations

from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from traitlets import Type

from haz.ipyparallel._engine import hide_handler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from haz.ipyparallel._output import Output

__all__ = ["make_shell"]


class _Publisher(DisplayPublisher):  # type: ignore[misc]
    """Gives what is displayed to the output of the call."""

    output: Output

    def publish(
        self,
        data: dict[str, Any],
        metadata: dict[str, Any] | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        self.output.add(
            "display",
            {
                "output_type": "display_data",
                "data": _readable(data),
                "metadata": metadata or {},
            },
        )

    def clear_output(self, wait: bool = False) -> None:
        self.output.clear_displays()


class _Hook(DisplayHook):  # type: ignore[misc]
    """Keeps the value of a cell's last expression, in all its formats."""

    result: dict[str, Any] | None = None

    def start_displayhook(self) -> None:
        pass

    def write_output_prompt(self) -> None:
        pass

    def write_format_data(self, format_dict: Any, md_dict: Any = None) -> None:
        self.result = {"data": _readable(format_dict), "metadata": md_dict or {}}

    def finish_displayhook(self) -> None:
        pass

    def log_output(self, format_dict: Any) -> None:
        pass


def _readable(data: dict[str, Any]) -> dict[str, Any]:
    """Pictures as text, as notebooks keep them."""
    import base64

    return {
        kind: base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else value
        for kind, value in data.items()
    }


class _EngineShell(InteractiveShell):  # type: ignore[misc]
    """The shell of an engine: nothing is asked, and tracebacks are kept instead of printed."""

    displayhook_class = Type(_Hook)
    display_pub_class = Type(_Publisher)
    _trace: list[str]

    def init_readline(self) -> None:
        pass

    def enable_gui(self, gui: Any = None) -> None:
        pass

    def ask_exit(self) -> None:
        pass

    def init_io(self) -> None:
        pass

    def _get_exc_info(self, exc_tuple: Any = None) -> Any:
        found = super()._get_exc_info(exc_tuple)
        hide_handler(found[1])
        return found

    def _showtraceback(self, etype: Any, evalue: Any, stb: Any) -> None:
        self._trace = list(stb)

    def last_traceback(self) -> str:
        """The traceback of the last cell that failed."""
        return "\n".join(self._trace)

    def begin_cell(self, count: int) -> None:
        self._trace = []
        self.execution_count = count
        self.displayhook.result = None

    def take_result(self) -> Any:
        """The value of the cell's last expression as {data, metadata}, or None."""
        return self.displayhook.result


def make_shell(main: ModuleType, output: Output) -> _EngineShell:
    """Make the process' shell, whose namespace is that of `main`."""
    from traitlets.config import Config

    config = Config()
    config.InteractiveShell.colors = "NoColor"
    config.HistoryManager.enabled = False
    others = getattr(InteractiveShell, "_instance", None)
    if others is not None:
        type(
            others
        ).clear_instance()  # a shell that the user's code has made: it would forbid this one
    shell: _EngineShell = _EngineShell.instance(config=config, user_module=main, user_ns=vars(main))
    shell.display_pub.output = output
    shell.begin_cell(0)
    return shell
