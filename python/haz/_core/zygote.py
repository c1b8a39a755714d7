"""The zygote: the interpreter that worker processes are forked from.

A young driver's first zygote is a copy of it (:mod:`haz._core.zygote_copy`). Else the driver runs
:func:`command` with :func:`make_setup`; the new interpreter runs :func:`main`, which becomes what the
driver is, as far as user code can see: ``sys.path``, ``sys.argv``, ``sys.prefix``, the working
directory, the environment. It imports little, since everything here is paid before the first task.

What differs in workers of a new interpreter: ``site`` is not imported (the driver's ``sys.path``
already is the outcome of all that), though ``sys.flags`` is the driver's. In all workers ``OMP_NUM_THREADS`` and its like for BLAS, and joblib's
number of CPUs, are 1 unless the user has said otherwise: there is one worker for each core already.
For a task that takes more CPUs see :mod:`haz._core.threads`.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, NoReturn

#: The zygote finds its socket here (kFirstInheritedFd in src/os/process.h).
SOCKET_FD = 3

#: In a worker: facts of the program that it works for.
job: "dict[str, str]" = {}

_BLAS_LIMITS = (b"OPENBLAS_NUM_THREADS", b"MKL_NUM_THREADS", b"BLIS_NUM_THREADS")
#: joblib takes the last one for the number of CPUs.
THREAD_LIMITS = (b"OMP_NUM_THREADS", *_BLAS_LIMITS, b"LOKY_MAX_CPU_COUNT")

#: The variable by which the processes of a node are found when their zygote was killed.
NODE_MARK = b"HAZ_NODE"

#: Facts of the driver's interpreter that workers show too.
_COPIED = (
    "argv",
    "executable",
    "prefix",
    "exec_prefix",
    "base_prefix",
    "base_exec_prefix",
    "_base_executable",
    "pycache_prefix",
    "dont_write_bytecode",
)

#: Only the environment can say these, so with one of them set it is not ignored.
_STARTUP_VARIABLES = ("PYTHONHASHSEED", "PYTHONHOME", "PYTHONMALLOC", "PYTHONPLATLIBDIR")

#: Options of `python -X` that are about one process' own start or end.
_OWN_X_OPTIONS = ("importtime", "showrefcount", "showalloccount", "presite")

#: Modules with a generator that a fork copies, and what gives it a state of its own; that of
#: `random` has one after any fork.
_SEEDED = (("numpy.random", "seed"), ("torch", "seed"))


# ---- in the driver ---------------------------------------------------------------------------
def find_executable() -> str:
    """Return the path of an interpreter that is the same as this process' own.

    ``sys.executable`` may be empty, a wrapper, another Python that stands first in the PATH, or the
    program that embeds Python. The running program itself is best, if it is a Python (without
    ``site`` it need not be the virtual environment's); then the one beside the standard library.
    """
    import os

    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    try:
        running = os.readlink("/proc/self/exe")
    except OSError:
        running = ""
    prefixes = dict.fromkeys((sys.base_exec_prefix, sys.base_prefix, sys.exec_prefix))
    named = [
        running,
        *(f"{prefix}/bin/python{version}" for prefix in prefixes),
        getattr(sys, "_base_executable", None) or "",
        sys.executable or "",
        *(f"{prefix}/bin/python3" for prefix in prefixes),
    ]
    candidates = [path for path in named if os.path.basename(path).startswith("python")]
    for path in candidates:
        if os.path.isabs(path) and os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise RuntimeError(
        f"haz can't find the Python {version} interpreter that its workers need. "
        f"Tried: {', '.join(dict.fromkeys(candidates))}."
    )


def interpreter_flags() -> list[str]:
    """Return the command line options that make another interpreter behave as this one."""
    import os

    flags = ["-I", "-S", "-E"]
    uses_environment = not sys.flags.ignore_environment
    if uses_environment and any(os.environ.get(name) for name in _STARTUP_VARIABLES):
        flags = ["-s", "-S"]
    flags += ["-" + "O" * sys.flags.optimize] if sys.flags.optimize else []
    flags += ["-" + "b" * sys.flags.bytes_warning] if sys.flags.bytes_warning else []
    flags += ["-B"] if sys.dont_write_bytecode else []
    options: Mapping[str, str | bool] = sys._xoptions
    if sys.flags.utf8_mode and "utf8" not in options:
        flags += ["-X", "utf8"]
    if sys.flags.dev_mode and "dev" not in options:
        flags += ["-X", "dev"]
    for name, value in options.items():
        if name not in _OWN_X_OPTIONS:
            flags += ["-X", name if value is True else f"{name}={value}"]
    for option in sys.warnoptions:
        flags += ["-W", option]
    return flags


def command() -> list[str]:
    """Return the program and arguments of a zygote, for ``ZygoteOptions.argv``."""
    import os

    import haz
    from haz import _native

    package = os.path.dirname(os.path.abspath(haz.__file__))
    module = os.path.abspath(_native.__file__)
    # No names: the code runs in the workers' __main__.
    code = f"__import__('sys').path.insert(0, {os.path.dirname(package)!r})\n"
    if os.path.dirname(module) != package:  # an editable installation
        code += (
            "__import__('_frozen_importlib')._load(__import__('_frozen_importlib_external')"
            f".spec_from_file_location('haz._native', {module!r}))\n"
        )
    code += f"__import__('haz._core.zygote', fromlist=['main']).main({SOCKET_FD})"
    return [find_executable(), *interpreter_flags(), "-c", code]


def make_setup(
    preload: "Iterable[str]" = (),
    environ: "Mapping[bytes, bytes] | None" = None,
    preload_first: "Iterable[str]" = (),
    job: "Mapping[str, str] | None" = None,
    preload_when_quiet: "Iterable[str]" = (),
    copied: bool = False,
) -> bytes:
    """Return what makes a zygote resemble this process, for ``ZygoteOptions.setup``.

    ``preload`` are modules to import while nothing else is to do, ``preload_first`` those to import
    before the first worker is forked, ``preload_when_quiet`` those for which no worker shall wait;
    ``environ`` is the environment of the workers, by default that of this process; ``job`` what
    workers find in the variable of this name; ``copied`` says that the zygote is a copy of this
    process, which has its import hooks.
    """
    import gc
    import marshal
    import os

    variables = dict(os.environb if environ is None else environ)
    variables.pop(NODE_MARK, None)
    # A library without a setting of its own follows OMP_NUM_THREADS.
    facts = dict(job or {})

    def is_set(name: bytes) -> bool:
        return bool(variables.get(name, b"").strip())  # an empty one says nothing

    if is_set(b"OMP_NUM_THREADS"):
        facts["openmp"] = "set by the user"
    else:
        if any(is_set(name) for name in _BLAS_LIMITS):
            facts["blas"] = "set by the user"
        limits = [name for name in THREAD_LIMITS if not is_set(name)]
        facts["thread_limits"] = b" ".join(limits).decode()
        variables.update(dict.fromkeys(limits, b"1"))
    try:
        cwd = os.getcwdb()
    except OSError:
        cwd = None
    return marshal.dumps(
        {
            "path": [
                os.fspath(entry) for entry in sys.path if isinstance(entry, str | os.PathLike)
            ],
            "flags": tuple(sys.flags),
            "sys": {name: getattr(sys, name) for name in _COPIED if hasattr(sys, name)},
            "recursion_limit": sys.getrecursionlimit(),
            "gc": gc.isenabled(),
            "warnings": list(sys.warnoptions),
            "cwd": cwd,
            "environ": variables,
            "hooks": [] if copied else _import_hook_lines(),
            "preload": list(preload),
            "preload_first": list(preload_first),
            "preload_when_quiet": list(preload_when_quiet),
            "job": facts,
        }
    )


def import_hook_owners() -> "set[str]":
    """Return the packages, other than Python's own, whose finders take part in imports."""
    owners = set()
    for finder in sys.meta_path:
        owner = finder.__module__ if isinstance(finder, type) else type(finder).__module__
        if not owner.startswith(("_frozen_importlib", "importlib.")):
            owners.add(owner.partition(".")[0])
    return owners


def _import_hook_lines() -> list[str]:
    """Return the lines of .pth files that installed import hooks, as editable packages do."""
    owners = import_hook_owners()
    if not owners:
        return []
    import os

    lines = []
    for folder in sys.path:
        try:
            names = sorted(name for name in os.listdir(folder or ".") if name.endswith(".pth"))
        except (OSError, TypeError):
            continue
        for name in names:
            try:
                with open(os.path.join(folder, name), encoding="utf-8-sig") as file:
                    text = file.read()
            except (OSError, UnicodeDecodeError):
                continue
            lines += [
                line
                for line in text.splitlines()
                if line.startswith(("import ", "import\t")) and any(one in line for one in owners)
            ]
    return lines


# ---- in the zygote and its workers -----------------------------------------------------------
def main(socket_fd: int) -> "NoReturn":
    """Be a zygote; in each forked worker, run ``haz._core.worker_main.run``."""
    import faulthandler
    import gc

    from haz._native import zygote_run, zygote_setup

    gc.disable()
    _open_standard_streams()
    setup, driver_pid = _receive(zygote_setup, socket_fd)
    _resemble(setup)
    faulthandler.enable()
    if "as_ray" in job:
        from haz import as_ray

        as_ray.install()
    from haz._core import worker_main

    import_first = _importer(setup["preload_first"])
    while import_first is not None and import_first():
        pass
    worker_main.prepare()
    gc.freeze()
    slot, process_id, arena_fd = zygote_run(
        socket_fd, driver_pid, _importer(setup["preload"]), _importer(setup["preload_when_quiet"])
    )
    if setup["gc"]:
        gc.enable()
    reseed()
    worker_main.end(worker_main.run(slot, process_id, arena_fd))


def fill_standard_descriptors() -> None:
    """Open /dev/null where descriptor 0, 1 or 2 is closed."""
    import os

    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _open_standard_streams() -> None:
    """Open what the driver has closed, or has used for a file that is closed on exec."""
    fill_standard_descriptors()
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def _receive(
    zygote_setup: "Callable[[int], tuple[bytes, int]]", socket_fd: int
) -> "tuple[dict[str, Any], int]":
    import marshal

    data, driver_pid = zygote_setup(socket_fd)
    return marshal.loads(data), driver_pid


def _resemble(setup: "dict[str, Any]") -> None:
    import os

    environ = os.environb
    for name, value in setup["environ"].items():
        if environ.get(name) != value:
            environ[name] = value
    if setup["cwd"] is not None:
        try:
            os.chdir(setup["cwd"])
        except OSError:
            pass  # gone since
    sys.path[:] = setup["path"]
    for name, value in setup["sys"].items():
        setattr(sys, name, value)
    _show_flags(setup["flags"])
    sys.setrecursionlimit(setup["recursion_limit"])
    _add_site_builtins()
    for stream in (sys.stdout, sys.stderr):
        # Pipes to the driver, which passes the bytes on line by line.
        stream.reconfigure(  # type: ignore[union-attr]
            encoding="utf-8", errors="backslashreplace", line_buffering=True
        )
    job.update(setup["job"])
    for line in setup["hooks"]:
        try:
            exec(line, {})
        except Exception as error:
            print(f"haz: workers miss an import hook: {line!r}: {error!r}", file=sys.stderr)


def _show_flags(values: "tuple[Any, ...]") -> None:
    """Let ``sys.flags`` be the driver's: interpreters that user code starts get their options from it."""
    own = sys.flags
    if tuple(own) == values:
        return
    from _operator import itemgetter

    names = type(own).__match_args__
    members: dict[str, Any] = {name: property(itemgetter(at)) for at, name in enumerate(names)}
    members.update(
        __module__="sys",
        __slots__=(),
        __match_args__=names,
        __getattr__=lambda _, name: getattr(own, name),
        __repr__=lambda self: f"sys.flags({', '.join(f'{n}={getattr(self, n)!r}' for n in names)})",
    )
    # Their own type can't be instantiated.
    sys.flags = type("flags", (tuple,), members)(values)


def become_program(packed: bytes) -> None:
    """In a worker of a long-lived node: become what the driver is that has joined it."""
    import marshal
    import os

    setup = marshal.loads(packed)
    environ = os.environb
    for name in environ.keys() - setup["environ"].keys() - {NODE_MARK}:
        del environ[name]
    _resemble(setup)
    if setup["warnings"]:
        import warnings

        sys.warnoptions[:] = setup["warnings"]
        warnings._processoptions(setup["warnings"])  # type: ignore[attr-defined]
    if "as_ray" in job:
        from haz import as_ray

        as_ray.install()
    for name in setup["preload_first"]:
        __import__(name)


def _add_site_builtins() -> None:
    import _sitebuiltins
    import builtins

    for name in ("exit", "quit"):
        setattr(builtins, name, _sitebuiltins.Quitter(name, "Ctrl-D (i.e. EOF)"))
    builtins.help = _sitebuiltins._Helper()


def _importer(names: "list[str]") -> "Callable[[], bool] | None":
    """Return a function that imports one of ``names`` a call, and says whether more are left."""
    if not names:
        return None
    import gc

    from haz._core.worker_main import note_import

    left = names[::-1]

    def import_one() -> bool:
        name = left.pop()
        try:
            __import__(name)
        except BaseException as error:
            print(f"haz: can't preload {name}: {error!r}", file=sys.stderr)
        # What is buffered at a fork would be written once by each worker.
        sys.stdout.flush()
        sys.stderr.flush()
        note_import(is_last=not left)
        gc.freeze()
        return bool(left)

    return import_one


def reseed() -> None:
    """Give this process random numbers of its own, after a fork.

    Only imported modules need it: a generator that is imported later seeds itself from the system.
    Generator objects that preloaded modules made are copies in every worker.
    """
    for module, seed in _SEEDED:
        if module in sys.modules:
            getattr(sys.modules[module], seed)()
