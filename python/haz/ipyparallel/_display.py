"""What engines printed and displayed, shown in a terminal or a notebook."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from haz.ipyparallel._messages import Message

__all__ = ["display_messages", "shell"]


def shell() -> Any:
    """The IPython shell of this process, or None."""
    core = sys.modules.get("IPython.core.getipython")
    return None if core is None else core.get_ipython()


def _write(text: str, engine: Any, kind: str, headed: bool) -> None:
    stream = sys.stdout if kind == "stdout" else sys.stderr
    if not text:
        return
    end = "" if text.endswith("\n") else "\n"
    head = f"[{kind}:{engine}] " if headed else ""
    between = "\n" if headed and "\n" in text.rstrip("\n") else ""
    stream.write(f"{head}{between}{text}{end}")
    stream.flush()


def _show(bundle: dict[str, Any], engine: Any, headed: bool, kind: str) -> None:
    data = bundle.get("data") or {}
    if shell() is None:
        text = data.get("text/plain", "")
        print(f"{kind}[{engine}]: {text}" if headed else text)
        return
    from IPython.display import publish_display_data

    if headed:
        publish_display_data({"text/plain": f"[output:{engine}]"})
    publish_display_data(data=data, metadata=bundle.get("metadata") or {})


def _show_printed(message: Message, headed: bool) -> None:
    metadata = message.metadata
    _write(metadata["stdout"], metadata["engine_id"], "stdout", headed)
    _write(metadata["stderr"], metadata["engine_id"], "stderr", headed)


def _show_displayed(message: Message, headed: bool) -> None:
    for output in message.metadata["outputs"]:
        _show(output, message.metadata["engine_id"], headed, "output")


def _show_value(message: Message, headed: bool) -> None:
    result = message.metadata["execute_result"]
    if result is None:
        return
    engine, count = message.metadata["engine_id"], getattr(message.outcome, "execution_count", 0)
    data = dict(result["data"])
    if "text/plain" in data:
        data["text/plain"] = f"Out[{engine}:{count}]: {data['text/plain']}"
    _show({"data": data, "metadata": result["metadata"]}, engine, False, "Out")


def display_messages(
    messages: Sequence[Message], single: bool, groupby: str, result_only: bool
) -> None:
    """Show the output of calls that have ended; see `AsyncResult.display_outputs`."""
    headed = not single
    if groupby == "engine" or single:
        for message in messages:
            if not result_only:
                _show_printed(message, headed)
                _show_displayed(message, headed)
            _show_value(message, headed)
        return
    if not result_only:
        for message in messages:
            _show_printed(message, headed)
        for message in messages:
            _show_displayed(message, headed)
    for message in messages:
        _show_value(message, headed)
