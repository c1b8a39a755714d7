"""An engine: a process with a namespace, that runs what views send it. The class is an actor."""

from __future__ import annotations

import os
import signal
import sys
import time
from types import FunctionType, ModuleType

from haz._core.api import get_runtime_context
from haz._native import all_scalars
from haz.ipyparallel._arguments import unsendable
from haz.ipyparallel._canning import (
    can,
    kept_apart,
    set_user_namespace,
    uncan,
    uncan_callable,
)
from haz.ipyparallel._output import Output
from haz.ipyparallel._sequences import tuples_as_ranges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    #: (status, value, started, completed, output): status "ok", "plain" (ok, and nothing in the value
    #: is canned), "error", "unmet", "aborted"; times in seconds since 1970; output None or what
    #: `Output.take` returns.
    Reply: TypeAlias = tuple[str, Any, float, float, Any]

__all__ = ["Engine"]


def _looks_plain(code: str) -> bool:
    """Whether `code` is Python that needs nothing of IPython."""
    if "IPython" in sys.modules or "display" in code or "IPython" in code or "pylab" in code:
        return False
    try:
        compile(code, "<code>", "exec")
    except (SyntaxError, ValueError):
        return False
    return True


class Engine:
    """One engine. Its methods are called by views; none of them raises what the user's code does.

    Parameters
    ----------
    engine_id
        Its number in the cluster.
    environment
        Environment variables to set.
    """

    def __init__(self, engine_id: int, environment: dict[str, str] | None = None):
        self._id = engine_id
        self._uuid = str(get_runtime_context().get_actor_id())
        os.environ.update(environment or {})
        main = ModuleType("__main__")
        main.__dict__["__builtins__"] = __builtins__
        sys.modules["__main__"] = main
        self._main = main
        self._namespace = vars(main)
        set_user_namespace(self._namespace)
        self._count = 0
        #: When code last failed; what was to be run then is not.
        self._failed_at = 0.0
        self._shell: Any = None
        self._busy = False
        #: Whether nothing in the value of the last map is canned.
        self._is_plain = False
        self._output = Output(self._uuid)
        self._output.install()
        self._fresh = dict(self._namespace)
        signal.signal(signal.SIGINT, self._interrupted)
        _current.append(self)

    def _interrupted(self, number: int, frame: Any) -> None:
        if self._busy:
            raise KeyboardInterrupt

    def hello(self) -> int:
        """Its process."""
        return os.getpid()

    # ---- calls ----------------------------------------------------------------------------

    def _run(self, call_id: str, method: str, call: Callable[..., Any], *args: Any) -> Reply:
        started = time.time()
        status: str = "ok"
        self._output.begin(call_id)
        try:
            try:
                self._busy = True
                value = call(*args)
            finally:
                self._busy = False
        except BaseException as error:
            hide_handler(error)
            if type(error).__name__ == "UnmetDependency":
                status, value = "unmet", str(error)
            else:
                status, value = "error", self._describe(error, method)
        if sys.stdout is not self._output.stdout or sys.stderr is not self._output.stderr:
            self._output.install()
        return status, value, started, time.time(), self._output.take()

    def _describe(self, error: BaseException, method: str) -> dict[str, Any]:
        import traceback

        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
            trace = trace.tb_next  # what is haz's own
        try:
            message = str(error)
        except Exception:
            message = "<its message can't be made>"
        return {
            "ename": type(error).__name__,
            "evalue": message,
            "traceback": "".join(traceback.format_exception(type(error), error, trace)),
            "engine_info": {
                "engine_id": self._id,
                "engine_uuid": self._uuid,
                "method": method,
            },
        }

    def apply(self, call_id: str, function: Any, args: Any, kwargs: Any) -> Reply:
        """Call a function; args and kwargs are canned."""
        return self._run(call_id, "apply", _apply, function, args, kwargs)

    def map(
        self,
        call_id: str,
        function: Any,
        sequences: Any,
        return_exceptions: bool,
        ranges: tuple[int, ...] = (),
    ) -> Reply:
        """Call a function with the items of a part of the sequences; see `ranges_as_tuples`."""
        self._is_plain = False
        reply = self._run(call_id, "map", self._map, function, sequences, return_exceptions, ranges)
        return ("plain", *reply[1:]) if self._is_plain and reply[0] == "ok" else reply

    def _map(
        self, function: Any, sequences: Any, return_exceptions: bool, ranges: tuple[int, ...]
    ) -> Any:
        f = uncan_callable(function)
        if ranges and len(ranges) == len(sequences):
            parts = [range(*part) for part in sequences]
        else:
            parts = tuples_as_ranges(uncan(sequences), ranges)
        if return_exceptions:
            return self._map_all(f, parts)
        # A loop costs less than `map` does, which would end at a StopIteration of f.
        if len(parts) == 1:
            found = [f(item) for item in parts[0]]
        else:
            found = [f(*items) for items in zip(*parts, strict=False)]
        if all_scalars(found):
            self._is_plain = True
            return found
        return can(found)

    def _map_all(self, f: Any, parts: list[Any]) -> Any:
        """The results, with what was raised in the place of some."""
        results = []
        for items in zip(*parts, strict=False):
            try:
                results.append(f(*items))
            except Exception as error:
                results.append(_Failed(self._describe(error, "map")))
        return can(results)

    def batch(self, calls: list[tuple[str, tuple[Any, ...]]]) -> list[Reply]:
        """Run short calls, one after the other: their ids, methods and arguments of these."""
        replies = []
        for call_id, (method, *parts) in calls:
            run = self.apply if method == "apply" else getattr(self, method)
            reply = run(call_id, *parts)
            if reply[0] == "ok" and reply[1] is not None:
                reply = self._apart(reply, method)
            replies.append(reply)
        return replies

    def _apart(self, reply: Reply, method: str) -> Reply:
        """A reply that goes with others, which must not fail with it."""
        try:
            return ("ok", kept_apart(reply[1]), *reply[2:])
        except Exception as error:
            return ("error", self._describe(unsendable(error, reply[1]), method), *reply[2:])

    def push(self, call_id: str, namespace: Any) -> Reply:
        """Set names; a dotted one sets an attribute."""

        def call() -> None:
            for name, value in uncan(namespace).items():
                if "." in name or "[" in name:
                    self._namespace["_haz_pushed"] = value
                    try:
                        exec(f"{name} = _haz_pushed", self._namespace)
                    finally:
                        del self._namespace["_haz_pushed"]
                else:
                    self._namespace[name] = value

        return self._run(call_id, "push", call)

    def pull(self, call_id: str, names: Any) -> Reply:
        """The values of names, or of one."""

        def call() -> Any:
            if isinstance(names, str):
                return can(eval(names, self._namespace))
            return [can(eval(name, self._namespace)) for name in names]

        return self._run(call_id, "pull", call)

    def clear(self, call_id: str) -> Reply:
        """Forget all names."""

        def call() -> None:
            self._namespace.clear()
            self._namespace.update(self._fresh)
            if self._shell is not None:
                self._shell.reset(new_session=False)

        return self._run(call_id, "clear", call)

    def execute(
        self, call_id: str, code: str, silent: bool, in_notebook: bool, asked: float
    ) -> Reply:
        """Run code as a cell of a notebook; the value is {execution_count, result}.

        After a cell that fails, those that were asked for before it did (by `time.monotonic`, which
        is that of all processes) are aborted, as by Jupyter's kernels.
        """
        if asked <= self._failed_at:
            now = time.time()
            return "aborted", None, now, now, None
        reply = self._execute(call_id, code, silent, in_notebook)
        if reply[0] == "error" and not silent:
            self._failed_at = time.monotonic()
        return reply

    def _execute(self, call_id: str, code: str, silent: bool, in_notebook: bool) -> Reply:
        if not silent:
            self._count += 1
        if self._shell is None and (in_notebook or not _looks_plain(code)):
            self._make_shell()
        if self._shell is not None:
            return self._execute_in_shell(call_id, code, silent)

        def call() -> Any:
            import ast

            tree = ast.parse(code, "<ipython>")
            last: Any = None
            has_value = tree.body and isinstance(tree.body[-1], ast.Expr)
            if not silent and has_value and not _ends_quietly(code):
                last = tree.body.pop()
            _keep_lines(code)
            exec(compile(tree, "<ipython>", "exec"), self._namespace)
            result = None
            if last is not None:
                expression = ast.Expression(last.value)
                value = eval(compile(expression, "<ipython>", "eval"), self._namespace)
                if value is not None:
                    self._namespace["_"] = value
                    result = {"data": {"text/plain": repr(value)}, "metadata": {}}
            return {"execution_count": self._count, "result": result}

        return self._run(call_id, "execute", call)

    def _make_shell(self) -> None:
        try:
            from haz.ipyparallel._shell import make_shell
        except ImportError:
            return  # no IPython here: magics fail as a SyntaxError, and displays are printed
        self._shell = make_shell(self._main, self._output)
        self._output.install()

    def _execute_in_shell(self, call_id: str, code: str, silent: bool) -> Reply:
        result: Any = None

        def call() -> Any:
            nonlocal result
            self._shell.begin_cell(self._count)
            result = self._shell.run_cell(code, silent=silent, store_history=False)
            result.raise_error()
            value = None if _ends_quietly(code) else self._shell.take_result()
            return {"execution_count": self._count, "result": value}

        status, value, started, ended, output = self._run(call_id, "execute", call)
        if status == "error" and result is not None:
            value["traceback"] = self._shell.last_traceback() or value["traceback"]
        return status, value, started, ended, output


def hide_handler(error: BaseException | None) -> None:
    """Take the handler of interrupts out of tracebacks, which end where the user's code was."""
    code = Engine._interrupted.__code__
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        trace = error.__traceback__
        while trace is not None:
            if trace.tb_next is not None and trace.tb_next.tb_frame.f_code is code:
                trace.tb_next = None
            trace = trace.tb_next
        seen.add(id(error))
        error = error.__cause__ or error.__context__


def _apply(function: Any, args: Any, kwargs: Any) -> Any:
    f = function if type(function) is FunctionType else uncan_callable(function)
    if args:
        args = uncan(args)
    value = f(*args, **uncan(kwargs)) if kwargs else f(*args)
    return None if value is None else can(value)


class _Failed:
    """An exception in the place of a result."""

    __slots__ = ("content",)

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content

    def __reduce__(self) -> tuple[Any, ...]:
        return _Failed, (self.content,)

    def _haz_uncan(self) -> Any:
        from haz.ipyparallel.error import RemoteError

        return RemoteError(**self.content)


def _ends_quietly(code: str) -> bool:
    """Whether a semicolon at the end of a cell says that its value is not shown."""
    if ";" not in code:
        return False
    import io
    import tokenize

    unwritten = (tokenize.ENDMARKER, tokenize.NL, tokenize.NEWLINE, tokenize.COMMENT)
    last = ""
    try:
        for token in tokenize.generate_tokens(io.StringIO(code).readline):
            if token.type not in unwritten:
                last = token.string
    except (tokenize.TokenError, SyntaxError):
        pass  # magics: what is known is what comes before them
    return last == ";"


def _keep_lines(code: str) -> None:
    """Let tracebacks show the lines of `code`."""
    import linecache

    lines = [line + "\n" for line in code.splitlines()]
    linecache.cache["<ipython>"] = (len(code), None, lines, "<ipython>")


#: The engine of this process.
_current: list[Engine] = []


def current_engine() -> Engine:
    """The engine of this process.

    Raises
    ------
    RuntimeError
        Where this process is none.
    """
    if not _current:
        raise RuntimeError("this runs on engines only: send it there by view.apply or %px")
    return _current[0]


def publish(data: dict[str, Any]) -> None:
    """Add to the data which the running call publishes; the client sees it as ``ar.data``."""
    current_engine()._output.publish(data)
