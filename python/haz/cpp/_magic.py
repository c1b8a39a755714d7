"""The cell magic ``%%haz_cpp``."""

from __future__ import annotations

import shlex

from haz.cpp._errors import CompileError, CompilerNotFoundError
from haz.cpp._module import compile as compile_source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["register"]

_USAGE = """\
%%haz_cpp [--check-bounds] [--compiler COMMAND] [--module NAME] [FLAG ...]

Compile the cell as C++, and put its functions into the notebook's namespace; with --module, put one
object of that name there which has them. FLAG is one of the compiler's: -ffast-math, -I, -l."""


class _UsageError(ValueError):
    pass


def _parse(line: str) -> tuple[dict[str, Any], str | None]:
    options: dict[str, Any] = {"flags": []}
    module = None
    words = iter(shlex.split(line))
    for word in words:
        if word in ("--check-bounds", "--check"):
            options["check_bounds"] = True
        elif word in ("--compiler", "--module"):
            value = next(words, None)
            if value is None:
                raise _UsageError(f"{word} needs a value")
            if word == "--module":
                module = value
            else:
                options["compiler"] = value
        elif word.startswith("-") and not word.startswith("--"):
            options["flags"].append(word)
        else:
            raise _UsageError(f"what is {word!r}?\n\n{_USAGE}")
    if module is not None and not module.isidentifier():
        raise _UsageError(f"--module {module}: not a name")
    return options, module


def register(shell: Any) -> None:
    """Add the magic to an IPython shell."""
    from IPython.core.error import UsageError

    def haz_cpp(line: str, cell: str) -> None:
        try:
            options, module_name = _parse(line)
            # The magic's own line is the first one of the cell that the user sees.
            module = compile_source("\n" + cell, name="cell", **options)
        except (CompileError, CompilerNotFoundError, _UsageError) as error:
            # IPython shows the text alone: what the traceback leads to is not the user's code.
            raise UsageError(str(error)) from None
        if module_name is not None:
            shell.push({module_name: module})
        else:
            shell.push(dict(module._functions))

    haz_cpp.__doc__ = _USAGE
    shell.register_magic_function(haz_cpp, "cell", "haz_cpp")
