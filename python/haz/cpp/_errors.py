"""What can go wrong before a kernel runs."""

from __future__ import annotations

from haz.exceptions import HazError

__all__ = ["CompileError", "CompilerNotFoundError"]


class CompileError(HazError):
    """The C++ source can't be compiled, or is nothing that Python can call.

    Attributes
    ----------
    output : str
        All that the compiler said; empty if it was not asked.
    """

    def __init__(self, message: str, output: str = "") -> None:
        super().__init__(message, output)
        self.output = output

    def __str__(self) -> str:
        return str(self.args[0])


class CompilerNotFoundError(HazError):
    """There is no C++ compiler; the text says what to install."""
