"""``haz.cpp.compile``: from a source to functions."""

from __future__ import annotations

import hashlib
import json
import keyword
import os
import re
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock

from haz import _native
from haz._core.include import get_include
from haz.cpp._cache import find_or_build
from haz.cpp._compiler import (
    Compiler,
    Options,
    demangled,
    find_compiler,
    processor_identity,
)
from haz.cpp._errors import CompileError
from haz.cpp._source import Function, find_functions, unclosed_brace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from inspect import Signature
    from typing import Any

    from haz._core.signature import Parameters

__all__ = ["KernelModule", "compile"]

#: What kernels may use without including it.
_PROLOGUE = """\
#include <cmath>
#include <cstddef>
#include <cstdint>
#include "haz/array.h"
#include "haz/detail/kernel.h"
#include "haz/parallel.h"
"""
#: Files of the user's, whose content decides too.
_OWN_INCLUDE = re.compile(r'^\s*#\s*include\s*"(?!haz/)', re.MULTILINE)
_UNIT = "haz_unit.cpp"


@dataclass(frozen=True)
class _Spec:
    """All that a module is made of: can be hashed and pickled."""

    source: str
    name: str
    functions: tuple[str, ...] | None
    options: Options


class KernelModule:
    """Compiled C++ functions, as attributes. Made by `haz.cpp.compile`.

    Functions check their arguments, let go of the GIL, and can be called from several threads at a
    time. They, and the module, can be pickled and passed to tasks: the source travels, and who
    receives it finds the library in the cache, or compiles.
    """

    def __init__(self, spec: _Spec, library: Path) -> None:
        self._spec = spec
        self._functions: dict[str, Callable[..., Any]] = _native.load_kernels(str(library), self)
        self.__dict__.update(self._functions)
        self.__name__ = spec.name

    def __getattr__(self, name: str) -> Any:
        # Only for what is not there; without names while pickle makes one.
        names = ", ".join(self.__dict__.get("_functions", ()))
        raise AttributeError(f"the C++ source has no function {name!r} for Python (it has {names})")

    def __dir__(self) -> list[str]:
        return sorted(self._functions)

    def __repr__(self) -> str:
        return f"<C++ functions of {self._spec.name}: {', '.join(self._functions)}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _load, (self._spec,)

    def _signature_of(self, kernel: Any) -> Signature:
        from inspect import Parameter, Signature

        names = kernel._parameters
        is_named = _are_keywords(names)
        kind = Parameter.POSITIONAL_OR_KEYWORD if is_named else Parameter.POSITIONAL_ONLY
        arguments, results, required = kernel._types
        parameters = [
            Parameter(
                name if is_named else f"argument_{place + 1}",
                kind,
                default=Parameter.empty if place < required else ...,
                annotation=text,
            )
            for place, (name, (_, _, text)) in enumerate(zip(names, arguments, strict=True))
        ]
        returned = ", ".join(text for _, _, text in results) or None
        return Signature(parameters, return_annotation=returned)

    def _parameters_of(self, kernel: Any) -> Parameters:
        names = kernel._parameters
        positional_only = 0 if _are_keywords(names) else len(names)
        return positional_only, names, len(names) - kernel._types[2], (), (), False, False

    def _doc_of(self, kernel: Any) -> str:
        arguments, results, required = kernel._types
        lines = [f"A function of {self._spec.name}, compiled from C++. It takes"]
        for place, (name, (_, _, text)) in enumerate(
            zip(kernel._parameters, arguments, strict=True)
        ):
            optional = "" if place < required else ", optional"
            lines.append(f"- {name or f'argument {place + 1}'}: {text}{optional}")
        if not arguments:
            lines[0] = lines[0].replace("takes", "takes nothing")
        lines.append("It returns " + (", ".join(text for _, _, text in results) or "None"))
        return "\n".join(lines)


def _are_keywords(names: tuple[str, ...]) -> bool:
    """Whether Python can name arguments so."""
    return len(set(names)) == len(names) and all(
        name.isidentifier() and not keyword.iskeyword(name) for name in names
    )


_modules: dict[_Spec, KernelModule] = {}
_modules_lock = Lock()


def compile(
    source: str | os.PathLike[str],
    *,
    functions: Iterable[str] | None = None,
    flags: Iterable[str] = (),
    include_dirs: Iterable[str | os.PathLike[str]] = (),
    check_bounds: bool = False,
    compiler: str | None = None,
    name: str | None = None,
) -> KernelModule:
    """Compile C++ functions; return an object that has them as attributes.

    A function that Python shall call is a plain one outside of namespaces; ``static`` and ``inline``
    ones, templates and what is in namespaces are helpers. Arguments are numbers, ``bool`` and
    ``haz::array<T, N>``, results the same numbers, ``haz::owned_array<T, N>``, or a tuple of these.
    Default arguments count. ``haz/array.h``, ``haz/parallel.h`` and ``<cmath>`` are included.

    The second time the library comes from a cache in the user's cache folder, see `cache_folder`.

    Parameters
    ----------
    source
        C++ text, or the path of a file (as ``pathlib.Path``).
    functions
        Names of the functions to have, where not all that are found.
    flags
        For the compiler, after ``-O3 -march=native -fopenmp``: ``["-ffast-math"]``.
    include_dirs
        Folders of your headers. That of a source file is searched too.
    check_bounds
        Whether each index is checked: a wrong one raises IndexError. Default False: a wrong one
        reads or destroys other memory, as in C++.
    compiler
        Its command; by default the variable ``CXX``, or g++, clang++ or c++.
    name
        How errors call the source. Default: "source", or the path.

    Returns
    -------
    KernelModule

    Raises
    ------
    CompileError
        Shows the lines at fault.
    CompilerNotFoundError
        Says what to install.

    Examples
    --------
    >>> kernels = haz.cpp.compile('''
    ... void scale(haz::array<double> x, double factor) {
    ...   haz::parallel_for(x.size(), [&](auto i) { x[i] *= factor; });
    ... }
    ... ''')
    >>> x = numpy.arange(3.0)
    >>> kernels.scale(x, factor=2.0)
    >>> x
    array([0., 2., 4.])
    """
    folders = [_folder(folder) for folder in include_dirs]
    if isinstance(source, os.PathLike):
        path = Path(source).absolute()
        text = path.read_text(encoding="utf-8")
        folders.append(str(path.parent))
        name = name or str(source)
    elif isinstance(source, str):
        text = source
    else:
        raise TypeError(f"source must be a C++ text or a path, not {type(source).__name__}")
    options = Options(
        flags=_strings("flags", flags),
        include_dirs=tuple(folders),
        check_bounds=bool(check_bounds),
        compiler=compiler,
    )
    wanted = None if functions is None else _strings("functions", functions)
    return _load(_Spec(text, name or "source", wanted, options))


def _folder(folder: str | os.PathLike[str]) -> str:
    path = Path(folder).absolute()
    if not path.is_dir():
        raise NotADirectoryError(f"include_dirs: there is no folder {str(folder)!r}")
    return str(path)


def _strings(name: str, values: Iterable[str]) -> tuple[str, ...]:
    found = (values,) if isinstance(values, str) else tuple(values)
    for value in found:
        if not isinstance(value, str):
            raise TypeError(f"{name} must be strings, not {type(value).__name__}")
    return found


def _load(spec: _Spec) -> KernelModule:
    """Return the module of a spec: from this process, from the cache, or compiled now."""
    with _modules_lock:  # also so that threads do not compile the same at a time
        module = _modules.get(spec)
        if module is None:
            module = _modules[spec] = _build(spec)
        return module


def _build(spec: _Spec) -> KernelModule:
    if "\0" in spec.source:
        raise CompileError("the C++ source has a zero byte in it")
    unit = _make_unit(spec, _chosen_functions(spec))
    compiler = find_compiler(spec.options.compiler)

    def build(folder: Path) -> Path:
        _write(folder, spec, unit)
        library = folder / "kernel.so"
        try:
            compiler.build(folder / _UNIT, library, spec.options, _shown(folder, spec))
        except CompileError as error:
            line = unclosed_brace(spec.source)
            if line is None:
                raise
            problem = f"{spec.name}:{line}: error: this '{{' has no '}}'"
            raise CompileError(f"{problem}\n{error}", error.output) from None
        return library

    key = _key(spec, unit, compiler)
    library = find_or_build(key, build)
    try:
        return KernelModule(spec, library)
    except ImportError as error:
        if library.exists():
            raise _not_loaded(spec, error) from None
        return KernelModule(spec, find_or_build(key, build))  # another process has pruned it


def _not_loaded(spec: _Spec, error: ImportError) -> Exception:
    """Return what to raise where the library can't be loaded."""
    symbol = re.search(r"undefined symbol: (\w+)", str(error))
    if symbol is None:
        return error
    return CompileError(
        f"{spec.name} uses {demangled(symbol[1])}, which is defined nowhere: define it, or name the "
        f'library that has it, flags=["-lname"]',
        str(error),
    )


def _chosen_functions(spec: _Spec) -> list[Function]:
    found = find_functions(spec.source)
    if spec.functions is not None:
        known = {function.name for function in found}
        for name in spec.functions:
            if name not in known:
                raise CompileError(f"{spec.name} has no plain function {name!r} for Python")
        found = [function for function in found if function.name in spec.functions]
    if not found:
        raise CompileError(
            f"{spec.name} has no function for Python: one that stands outside of namespaces, "
            f"classes and templates, and is neither static nor inline"
        )
    lines: dict[str, int] = {}
    for function in found:
        if function.name in lines:
            raise CompileError(
                f"{spec.name}:{function.line}: {function.name}() is there twice, before in line "
                f"{lines[function.name]}: Python can't tell overloads apart; rename one of them, or "
                f"make one static"
            )
        lines[function.name] = function.line
    return found


def _make_unit(spec: _Spec, functions: list[Function]) -> str:
    """The text that is compiled; a problem of a function's type is one of the function's own line."""
    file = json.dumps(_file_name(spec))
    lines = [_PROLOGUE, f"#include {file}"]
    for function in functions:
        lines += [f"#line {function.line} {file}", f"HAZ_KERNEL_CALL({function.name})"]
    lines.append("static constexpr haz::detail::kernel_function haz_kernel_functions[] = {")
    for function in functions:
        names = ",".join(function.parameters)
        lines.append(f"#line {function.line} {file}")
        lines.append(f'HAZ_KERNEL_ENTRY({function.name}, "{names}"),')
    lines += ["};", "HAZ_KERNEL_TABLE(haz_kernel_functions)", ""]
    return "\n".join(lines)


def _file_name(spec: _Spec) -> str:
    """Name of the file that holds the source while it is compiled."""
    return re.sub(r"[^\w.-]", "_", os.path.basename(spec.name))[:64] + ".haz.cpp"


def _shown(folder: Path, spec: _Spec) -> dict[str, str]:
    name = _file_name(spec)
    return {str(folder / name): spec.name, name: spec.name, f"{folder}/": ""}


def _write(folder: Path, spec: _Spec, unit: str) -> None:
    (folder / _file_name(spec)).write_text(spec.source, encoding="utf-8")
    (folder / _UNIT).write_text(unit, encoding="utf-8")


@lru_cache(maxsize=1)
def _headers_digest() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(get_include()).rglob("*.h")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _key(spec: _Spec, unit: str, compiler: Compiler) -> str:
    content = spec.source
    if spec.options.include_dirs or _OWN_INCLUDE.search(spec.source):
        content = _preprocessed(spec, unit, compiler)
    parts = [
        content,
        unit,
        asdict(spec.options),
        compiler.identity(),
        compiler.flags(spec.options),
        _headers_digest(),
        processor_identity(),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:40]


def _preprocessed(spec: _Spec, unit: str, compiler: Compiler) -> str:
    import tempfile

    with tempfile.TemporaryDirectory(prefix="cpp-kernel-") as name:
        folder = Path(name)
        _write(folder, spec, unit)
        text = compiler.preprocess(folder / _UNIT, spec.options, _shown(folder, spec))
        return text.replace(str(folder), "")
