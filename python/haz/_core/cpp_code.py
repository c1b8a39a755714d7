"""How the node knows methods and classes of C++: see src/api/function_code.h.

Programs of C++ and of Python write and read the same, so that each can call the other's actors.
"""

from __future__ import annotations

import sys

from haz._core.signature import CallDescriptor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from haz._core.method_table import Packed
    from haz.engines.base import ActorOptions, MethodOptions

__all__ = [
    "CONSTRUCTOR",
    "FUNCTION",
    "MARK",
    "METHOD",
    "PYTHON_MARK",
    "CppDescriptor",
    "pack_class",
    "plain_name",
    "unpack_class",
    "unpack_parts",
]

MARK = b"haz-cpp1"
#: Of a function of a Python module; without a module, of a method of a Python actor.
PYTHON_MARK = b"haz-pyt1"

#: Kinds of what a library registers.
FUNCTION, CONSTRUCTOR, METHOD = range(3)

_HEAD = len(MARK) + 4


def _pack(name: str, library: str, retried: bool, *more: str) -> bytes:
    parts = (name, library, "1", "retried" if retried else "", *more)
    threads = (0).to_bytes(4, sys.byteorder)
    return (
        MARK + threads + b"".join(part.encode(errors="surrogateescape") + b"\0" for part in parts)
    )


def unpack_parts(code: bytes) -> tuple[int, list[str]]:
    """Return the number of threads, and the texts that follow."""
    threads = int.from_bytes(code[len(MARK) : _HEAD], sys.byteorder)
    parts = code[_HEAD:].split(b"\0")[:-1]
    return threads, [part.decode(errors="surrogateescape") for part in parts]


class CppDescriptor(CallDescriptor):
    """Identity and signature of a method or constructor of a C++ class.

    Attributes
    ----------
    _function
        What it takes; the native submitter looks at it.
    """

    __slots__ = ("_full_name", "_function", "_is_in_python", "_library")

    def __init__(
        self, shown: str, function: Any, uid: bytes, library: str = "", is_in_python: bool = True
    ) -> None:
        super().__init__(shown, uid, function._haz_parameters)
        self._function = function
        self._full_name: str = function.__name__
        self._library = library
        self._is_in_python = is_in_python

    def check_call(self, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        """Raise TypeError or OverflowError where C++ can't be called so."""
        self._function._check(*args, **kwargs)

    def pack(self, options: MethodOptions) -> bytes:
        """Return a method's code, for the workers of either language."""
        retried = options.retry_exceptions
        more = []
        if not isinstance(retried, bool):
            if not self._is_in_python:
                raise ValueError(
                    f"{self.name}: retry_exceptions is True or False for an actor that a program "
                    f"of C++ has made, which has no exception types of Python"
                )
            from haz._core import plain_functions

            more = [plain_functions.dump(lambda: retried).hex()]
        if options.num_returns != 1 and not self._is_in_python:
            raise ValueError(
                f"{self.name}: num_returns is 1 for an actor that a program of C++ has made"
            )
        return _pack(self._full_name, self._library, bool(retried), *more)


def pack_class(name: str, library: str, methods: Sequence[Any], options: ActorOptions) -> bytes:
    """Return what handles of the actors of a C++ class need; `methods` are its functions.

    As C++ writes it (``actor_parts()`` of src/api/call_writer.cpp), with what Python adds.
    """
    own = ("python", str(options.max_task_retries), *options.concurrency_groups)
    more = ["limited" if options.max_pending_calls > 0 else "", "\1".join(own)]
    for method in methods:
        more += [method.__name__, method._signature, method._parameters]
    return _pack(name, library, False, *more)


def plain_name(name: str) -> str:
    """Return it without its scope, and without what tells it from others of the same name."""
    return name.rpartition("::")[2].partition("#")[0]


def unpack_class(packed: bytes) -> tuple[tuple[Any, ...], dict[str, CppDescriptor]]:
    """Return what `pack_table` of method_table has packed of a Python class, and the methods."""
    from haz import _native

    _, (full_name, library, _, _, limited, own, *methods) = unpack_parts(packed)
    is_in_python, retries, *groups = own.split("\1") if own else ("", "0")
    uid = b"\0".join((MARK, full_name.encode(), library.encode(errors="surrogateescape")))
    class_name = plain_name(full_name)
    table: dict[str, Packed] = {}
    descriptors = {}
    new_signature = _native.cpp_types()[2]
    for place in range(0, len(methods), 3):
        name, text, parameters = methods[place : place + 3]
        plain = plain_name(name)
        signature = new_signature(name, text, parameters, METHOD)
        descriptors[plain] = CppDescriptor(
            f"{class_name}.{plain}", signature, uid, library, bool(is_in_python)
        )
        table[plain] = (signature._haz_parameters, False, {})
    unpacked = (class_name, library or "a program of C++", uid, table, ())
    return (*unpacked, int(retries), tuple(groups), bool(limited)), descriptors
