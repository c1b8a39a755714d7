"""What engines printed and displayed, shown in a terminal or a notebook."""

from __future__ import annotations

import contextvars
import sys
import threading

from haz.ipyparallel.error import RemoteError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from haz.ipyparallel._messages import Message

__all__ = ["LiveDisplay", "display_messages", "shell"]

#: Seconds for which calls have the time to end before output is shown: engine after engine, if they do.
_TIDY_S = 0.1


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
    metadata = dict(bundle.get("metadata") or {})
    if kind == "output":
        metadata["engine"] = engine
    publish_display_data(data=data, metadata=metadata)


def _show_printed(message: Message, headed: bool) -> None:
    metadata = message.metadata
    _write(metadata["stdout"], metadata["engine_id"], "stdout", headed)
    _write(metadata["stderr"], metadata["engine_id"], "stderr", headed)


def _show_displayed(message: Message, headed: bool) -> None:
    for number, output in enumerate(message.metadata["outputs"]):
        _show(output, message.metadata["engine_id"], headed and not number, "output")


def _show_displayed_in_turn(messages: Sequence[Message]) -> None:
    """Show what each engine has displayed first, then what each has displayed next."""
    lists = [(message.metadata["engine_id"], message.metadata["outputs"]) for message in messages]
    for turn in range(max(len(outputs) for _, outputs in lists)):
        for engine, outputs in lists:
            if turn < len(outputs):
                _show(outputs[turn], engine, True, "output")


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
        if groupby == "order":
            _show_displayed_in_turn(messages)
        else:
            for message in messages:
                _show_displayed(message, headed)
    for message in messages:
        _show_value(message, headed)


class _Shown:
    """What was shown of the output of one call."""

    def __init__(self, message: Message, headed: bool) -> None:
        self.message = message
        self._headed = headed
        self._texts = {"stdout": "", "stderr": ""}
        self._displays = 0
        self._has_error = False

    def show_more(self) -> None:
        """Show what is new: whole lines, as long as there may be more and other engines write."""
        is_ended = self.message.status is not None
        metadata = self.message.metadata
        engine = metadata["engine_id"]
        for kind, shown in self._texts.items():
            text: str = metadata[kind]
            if not text.startswith(shown):
                shown = ""  # it runs again, on another engine
            new = text[len(shown) :]
            if self._headed and not is_ended:
                new = new[: new.rfind("\n") + 1]
            self._texts[kind] = shown + new
            if self._headed or is_ended:
                _write(new, engine, kind, self._headed)
            elif new:
                stream = sys.stdout if kind == "stdout" else sys.stderr
                stream.write(new)
                stream.flush()
        displays = metadata["outputs"]
        if len(displays) < self._displays:
            self._displays = 0  # they were cleared
        for number, output in enumerate(displays[self._displays :]):
            _show(output, engine, self._headed and not number, "output")
        self._displays = len(displays)
        if self.message.status == "error" and not self._has_error:
            self._has_error = True
            error = self.message.outcome
            lines = error.render_traceback() if isinstance(error, RemoteError) else [str(error)]
            sys.stderr.write("\n".join(lines) + "\n")
            sys.stderr.flush()


class LiveDisplay:
    """A context in which a thread shows output of calls as it comes; see `AsyncResult.stream_output`."""

    def __init__(self, messages: Sequence[Message], single: bool) -> None:
        self._shown = [_Shown(message, not single) for message in messages]
        self._changed = threading.Event()
        self._over = threading.Event()
        run = contextvars.copy_context().run  # so that a notebook knows the cell
        self._thread = threading.Thread(
            target=run, args=(self._show_all,), name="haz-show-output", daemon=True
        )

    def __enter__(self) -> None:
        for each in self._shown:
            each.message.when_heard(self._changed.set)
            each.message.watch(self._changed.set)
        self._changed.set()
        self._thread.start()

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._changed.set()
        self._thread.join()
        for each in self._shown:
            each.message.unhear(self._changed.set)
            each.message.ready()
            each.show_more()
        for each in self._shown:
            if each.message.status is not None:
                _show_value(each.message, each._headed)

    def _show_all(self) -> None:
        self._over.wait(_TIDY_S)
        while not self._over.is_set():
            self._changed.wait()
            self._changed.clear()
            for each in self._shown:
                each.show_more()
