"""The server of a long-lived node: a process that hosts the node for programs which join it.

``haz start`` runs it. One thread accepts programs and learns of their ends; the node itself, which
decides and moves everything, needs none of this code.
"""

from __future__ import annotations

import fcntl
import os
import select
import selectors
import signal
import socket
import sys
import time
from collections import deque
from threading import Lock

from haz import _native
from haz._core import node_address, zygote
from haz._core.gpus import gpu_names, gpu_resources
from haz._core.lifecycle import check_node_options, num_cpus_of_environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["NodeOptions", "NodeRuns", "serve"]

#: What must be equal, as people call it.
_SHOWN = {"version": "haz version", "python": "Python version"}

_PRELOADED_LATER = ("haz._core.serialize",)

#: A program that has connected and says nothing may hold its connection for so many seconds.
_GREETING_S = 10.0
#: Longest time without work after which a node ends, in seconds: 30 years.
_LONGEST_IDLE_S = 1e9
#: Longest message to a driver in bytes, and what is kept for one that does not read.
_MOST_MESSAGE = 48 * 1024
_MOST_WAITING = 16 * 1024 * 1024
#: Size of a log file at which it is put aside, in bytes.
_MOST_LOG = 8 * 1024 * 1024

_COUNTS = 3
_TOTAL = 1
_AVAILABLE = 2
_NAMED_ACTORS = 4


class NodeRuns(RuntimeError):
    """There is a node of that name already."""


class NodeOptions:
    """What ``haz start`` was asked for, validated; None: as ``haz.init`` decides."""

    def __init__(
        self,
        *,
        name: str = node_address.DEFAULT_NAME,
        num_cpus: int | None = None,
        num_gpus: int | None = None,
        resources: dict[str, float] | None = None,
        memory: int | None = None,
        object_store_memory: int | None = None,
        labels: dict[str, str] | None = None,
        idle_timeout_s: float | None = None,
    ) -> None:
        self.name = node_address.check_name(name)
        checked = check_node_options(
            num_cpus=num_cpus_of_environment() if num_cpus is None else num_cpus,
            num_gpus=num_gpus,
            resources=resources or {},
            memory=memory,
            object_store_memory=object_store_memory,
            labels=labels or {},
        )
        self.num_cpus: int | None = checked["num_cpus"]
        self.num_gpus: int | None = checked["num_gpus"]
        self.resources: dict[str, float] = checked["resources"]
        self.memory: int | None = checked["memory"]
        self.object_store_memory: int | None = checked["object_store_memory"]
        self.labels: dict[str, str] = checked["labels"]
        if idle_timeout_s is not None and not 0 <= idle_timeout_s < _LONGEST_IDLE_S:
            raise ValueError(
                f"the idle timeout is a number of seconds, {_LONGEST_IDLE_S:.0e} at most, and not "
                f"{idle_timeout_s:g}"
            )
        self.idle_timeout_s = idle_timeout_s


class _Log:
    """One file, put aside as ``.1`` when it is full. A full disk loses lines, and nothing else."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = Lock()
        self._size = 0
        self._fd = -1
        self._open()

    def _open(self) -> None:
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        # What the interpreter itself says, or a library, goes there too.
        for standard in (1, 2):
            os.dup2(fd, standard, inheritable=True)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fd
        self._size = os.fstat(fd).st_size

    def write(self, text: str) -> None:
        line = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n".encode(errors="backslashreplace")
        with self._lock:
            try:
                if self._size > _MOST_LOG:
                    os.replace(self._path, self._path + ".1")
                    self._open()
                self._size += os.write(self._fd, line)
            except OSError:
                pass


class _Driver:
    """One program that has connected."""

    def __init__(self, connection: socket.socket, pid: int) -> None:
        self.connection = connection
        self.pid = pid
        self.process = 0  #: Its number on the node; 0: it has not joined.
        self.since = time.time()
        self.deadline = time.monotonic() + _GREETING_S
        self.argv = ""
        self.is_ending = False
        self.is_over = False  #: Nothing of it runs any more.
        self.has_exited = False  #: Its process has, so that nobody reads.
        #: Messages, each with the number of its lines.
        self.waiting: deque[tuple[bytes, int]] = deque()
        self.waiting_bytes = 0
        self.lost_lines = 0  #: Since it was last told.
        self.is_cpp = False


def _packed(lines: list[tuple[bool, str]], for_cpp: bool) -> bytes:
    """Return lines as one message; read_lines() of src/api/node_joining.cpp reads those for C++."""
    if for_cpp:
        parts = []
        for is_stderr, text in lines:
            line = text.encode(errors="surrogateescape")
            parts.append(bytes([is_stderr]) + len(line).to_bytes(4, "little") + line)
        return b"".join(parts)
    import marshal

    return marshal.dumps(lines)


class Server:
    """See the module. Everything but `take_lines` and `on_over` is of the main thread."""

    def __init__(self, options: NodeOptions) -> None:
        self._options = options
        self._path = node_address.path_of(options.name, ".sock", create=True)
        self._lock_fd = self._claim()
        self.log = _Log(node_address.path_of(options.name, ".log"))
        self._selector = selectors.DefaultSelector()
        self._drivers: dict[int, _Driver] = {}  #: Those that have joined, by their numbers.
        self._greeted: set[_Driver] = set()  #: Those that have connected, and not joined.
        self._output_lock = Lock()  #: Guards what waits for drivers.
        #: Of programs that are drivers or have been, by their pids: their ends are waited for.
        self._pidfds: dict[int, int] = {}
        self._over: deque[int] = deque()
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._stopping = ""
        self._started = time.time()
        self._idle_since = time.monotonic()
        self._identity = node_address.build_identity()
        self._gpus: list[str] = []

    def _claim(self) -> int:
        fd = os.open(
            node_address.path_of(self._options.name, ".lock"),
            os.O_RDWR | os.O_CREAT | os.O_CLOEXEC,
            0o600,
        )
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise NodeRuns(
                f"there is a node {self._options.name!r} already: see `haz status`, end it by "
                f"`haz stop --name {self._options.name}`, or give this one another --name"
            ) from None
        return fd

    # ---- start and end ---------------------------------------------------------------------------

    def start(self) -> None:
        """Start the node, and listen."""
        options = self._options
        num_cpus = options.num_cpus if options.num_cpus is not None else _native.usable_cpus()
        resources = dict(options.resources)
        self._gpus = gpu_names(options.num_gpus)
        resources |= gpu_resources(self._gpus, resources)
        if options.memory is not None:
            resources["memory"] = float(options.memory)
        _native.serve_node(
            float(num_cpus),
            resources,
            options.object_store_memory or 0,
            zygote.command(),
            zygote.make_setup(_PRELOADED_LATER, None, (), self._facts()),
            self.take_lines,
            self.on_over,
        )
        try:
            os.unlink(self._path)  # of a server that was killed
        except FileNotFoundError:
            pass
        self._listener = socket.socket(
            socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        )
        mask = os.umask(0o177)
        try:
            self._listener.bind(self._path)
        finally:
            os.umask(mask)
        self._listener.listen(128)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._on_wake)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self.log.write(f"the node {options.name} listens at {self._path}, process {os.getpid()}")

    def _facts(self) -> dict[str, str]:
        """What workers know of the node; see `zygote.job`."""
        labels = self._options.labels.items()
        return {
            "gpus": ",".join(self._gpus),
            "labels": "\0".join(part for label in labels for part in label),
        }

    def run(self) -> None:
        """Serve until the node is to end."""
        while not self._stopping:
            for key, _ in self._selector.select(self._next_look()):
                try:
                    key.data()
                except Exception as error:  # of one program; the others go on
                    self.log.write(f"an error of the server: {error!r}")
                    time.sleep(0.05)
            self._drop_silent()
            self._look_whether_idle()

    def stop(self) -> None:
        """End the node, and everything that runs on it."""
        self.log.write(f"the node {self._options.name} ends: {self._stopping or 'by an error'}")
        try:
            os.unlink(self._path)
        except OSError:
            pass
        _native.stop_node()
        for driver in [*self._drivers.values(), *self._greeted]:
            driver.connection.close()
        os.close(self._lock_fd)

    def _on_signal(self, number: int, _frame: Any) -> None:
        self._stopping = f"signal {number}"
        self._wake()

    def _wake(self) -> None:
        try:
            os.write(self._wake_write, b"x")
        except BlockingIOError:
            pass

    def _next_look(self) -> float | None:
        looks = [driver.deadline - time.monotonic() for driver in self._greeted]
        if self._options.idle_timeout_s is not None:
            looks.append(min(max(self._options.idle_timeout_s / 4, 0.05), 60.0))
        return max(min(looks), 0.0) if looks else None

    def _look_whether_idle(self) -> None:
        limit = self._options.idle_timeout_s
        if limit is None:
            return
        now = time.monotonic()
        counts = _native.query(_COUNTS)
        if self._drivers or self._greeted or counts["actors"] or counts["tasks"]:
            self._idle_since = now
        elif now - self._idle_since >= limit:
            self._stopping = f"nobody has used it for {limit:g} seconds"

    # ---- connections -----------------------------------------------------------------------------

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError as error:
            if not isinstance(error, BlockingIOError):
                self.log.write(f"a program could not connect: {error}")
                time.sleep(0.05)  # out of descriptors, perhaps
            return
        connection.setblocking(False)
        pid, uid = node_address.peer_of(connection)
        driver = _Driver(connection, pid)
        if uid != os.geteuid():
            self.log.write(f"process {pid} of the user {uid} was refused")
            self._answer(driver, {"error": "it belongs to another user"})
            connection.close()
            return
        self._greeted.add(driver)
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._read(driver))

    def _drop_silent(self) -> None:
        now = time.monotonic()
        for driver in [one for one in self._greeted if one.deadline <= now]:
            self._close(driver)

    def _read(self, driver: _Driver) -> None:
        try:
            message, _ = node_address.receive(driver.connection)
        except BlockingIOError:
            self._flush(driver)
            return
        except (OSError, ValueError, RecursionError):  # it, or what it says, is broken
            message = {}
        op = message.get("op") if isinstance(message, dict) else None
        if driver.process:
            self._end(driver)  # a driver says nothing but that it ends
        elif op == "join":
            self._join(driver, message)
        else:
            if op == "status":
                self._answer(driver, self._status())
            elif op == "stop":
                self._stopping = f"process {driver.pid} has asked for it"
                self._answer(driver, {"pid": os.getpid()})
            self._close(driver)

    def _answer(
        self, driver: _Driver, message: dict[str, Any] | str, fds: tuple[int, ...] = ()
    ) -> bool:
        try:
            node_address.send(driver.connection, message, fds)
        except OSError:
            return False
        return True

    def _close(self, driver: _Driver) -> None:
        self._forget_descriptor(driver.connection)
        driver.connection.close()
        self._greeted.discard(driver)
        self._drivers.pop(driver.process, None)

    # ---- drivers ---------------------------------------------------------------------------------

    def _join(self, driver: _Driver, greeting: dict[str, Any]) -> None:
        driver.is_cpp = greeting.get("language") == "C++"
        problem = self._mismatch(driver, greeting)
        if problem:
            self._refuse(driver, problem)
            return
        self._watch_process(driver.pid)
        try:
            slot, driver.process = _native.admit_driver(
                driver.pid, greeting.get("fold_output") is not False
            )
        except RuntimeError as error:
            self._refuse(driver, str(error))
            return
        self._greeted.discard(driver)
        self._drivers[driver.process] = driver
        driver.argv = " ".join(str(part) for part in greeting.get("argv", ()))
        answer: dict[str, Any] | str = {
            "slot": slot,
            "process": driver.process,
            "address": self._path,
            "gpus": self._gpus,
            "labels": self._options.labels,
        }
        if driver.is_cpp:
            answer = f"joined {slot} {driver.process}"
        if not self._answer(driver, answer, (_native.arena_fd(),)):
            self._end(driver)
            return
        self.log.write(f"driver {driver.process} has joined: process {driver.pid} {driver.argv}")

    def _mismatch(self, driver: _Driver, greeting: dict[str, Any]) -> str:
        """Why the program can't share the node's memory; empty: it can."""
        if driver.is_cpp:
            mine = _native.build_id()
            if greeting.get("core") == mine:
                return ""
            return (
                f"it is of the build {mine} of haz, and this program is linked with "
                f"{greeting.get('core')}: link it with the library that the node's Python shows, "
                f"by haz.get_cmake_dir(), and start it again"
            )
        for what, mine in self._identity.items():
            if greeting.get(what) != mine:
                return (
                    f"it has the {_SHOWN.get(what, what)} {mine} and this program "
                    f"{greeting.get(what)}: they must be the same. Start a node with the Python "
                    f"of the program, by `python -m haz start --name ...`"
                )
        return ""

    def _refuse(self, driver: _Driver, problem: str) -> None:
        self._answer(driver, problem if driver.is_cpp else {"error": problem})
        self._close(driver)

    def _end(self, driver: _Driver) -> None:
        """The program has ended, or wants to leave."""
        if driver.is_ending:
            return
        driver.is_ending = True
        self.log.write(f"driver {driver.process} leaves: process {driver.pid}")
        # The connection is closed by _let_go(): the program may wait for that.
        self._forget_descriptor(driver.connection)
        self._flush(driver)
        _native.end_driver(driver.process)

    def _let_go(self, driver: _Driver) -> None:
        """Close the connection when nothing of the program runs and it has all of its output."""
        self._flush(driver)
        if driver.waiting and not driver.has_exited:
            if not driver.is_over:
                self._selector.register(
                    driver.connection, selectors.EVENT_WRITE, lambda: self._let_go(driver)
                )
            driver.is_over = True
            return
        self._close(driver)
        if driver.pid not in self._pidfds:
            _native.driver_process_ended(driver.pid)

    def _watch_process(self, pid: int) -> None:
        """Learn of the end of a process, whatever children of it keep."""
        known = self._pidfds.get(pid)
        if known is not None:
            look = select.poll()
            look.register(known, select.POLLIN)
            if not look.poll(0):
                return
            self._on_exit(pid)  # of another one, which had the number before
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            return  # an old kernel, or it is gone: the connection's end tells it
        self._pidfds[pid] = pidfd
        self._selector.register(pidfd, selectors.EVENT_READ, lambda: self._on_exit(pid))

    def _on_exit(self, pid: int) -> None:
        pidfd = self._pidfds.pop(pid, -1)
        if pidfd >= 0:
            self._forget_descriptor(pidfd)
            os.close(pidfd)
        for driver in list(self._drivers.values()):
            if driver.pid == pid:
                driver.has_exited = True
                self._end(driver)
                if driver.is_over:
                    self._let_go(driver)
        _native.driver_process_ended(pid)

    def _forget_descriptor(self, one: socket.socket | int) -> None:
        try:
            self._selector.unregister(one)
        except (KeyError, ValueError):
            pass

    def on_over(self, process: int) -> None:
        """Nothing of that driver runs any more. In the node's thread."""
        self._over.append(process)
        self._wake()

    def _on_wake(self) -> None:
        try:
            os.read(self._wake_read, 4096)
        except BlockingIOError:
            pass
        while self._over:
            driver = self._drivers.get(self._over.popleft())
            if driver is not None:
                self._let_go(driver)
        for driver in list(self._drivers.values()):
            if driver.waiting and not driver.is_ending:
                self._watch_for_room(driver)

    # ---- output ----------------------------------------------------------------------------------

    def take_lines(self, lines: list[tuple[int, bool, str]]) -> None:
        """Pass on what workers have written. In the node's thread."""
        groups: dict[int, list[tuple[bool, str]]] = {}
        for job, is_stderr, text in lines:
            if job in self._drivers:
                groups.setdefault(job, []).append((is_stderr, text))
            else:
                self.log.write(text)
        for job, group in groups.items():
            driver = self._drivers.get(job)
            if driver is not None:
                with self._output_lock:
                    self._queue(driver, group)
                    self._send_waiting(driver)
                if driver.waiting:
                    self._wake()

    def _queue(self, driver: _Driver, lines: list[tuple[bool, str]]) -> None:
        batch: list[tuple[bool, str]] = []
        size = 0
        for is_stderr, text in lines:
            for start in range(0, max(len(text), 1), _MOST_MESSAGE // 8):
                piece = text[start : start + _MOST_MESSAGE // 8]
                batch.append((is_stderr, piece))
                size += 16 + 4 * len(piece)
                if size > _MOST_MESSAGE // 2:
                    self._append(driver, batch)
                    batch, size = [], 0
        if batch:
            self._append(driver, batch)
        while driver.waiting_bytes > _MOST_WAITING:  # a program that does not read loses the oldest
            driver.lost_lines += driver.waiting[0][1]
            self._drop_first(driver)

    def _append(self, driver: _Driver, batch: list[tuple[bool, str]]) -> None:
        message = _packed(batch, driver.is_cpp)
        driver.waiting.append((message, len(batch)))
        driver.waiting_bytes += len(message)

    def _drop_first(self, driver: _Driver) -> None:
        driver.waiting_bytes -= len(driver.waiting.popleft()[0])

    def _send_waiting(self, driver: _Driver) -> None:
        try:
            while driver.waiting:
                if driver.lost_lines:
                    notice = (
                        f"(haz) {driver.lost_lines} lines that tasks have printed are lost: this "
                        f"program did not take them in time"
                    )
                    driver.connection.send(_packed([(True, notice)], driver.is_cpp))
                    driver.lost_lines = 0
                driver.connection.send(driver.waiting[0][0])
                self._drop_first(driver)
        except BlockingIOError:
            pass
        except OSError:
            driver.waiting.clear()
            driver.waiting_bytes = 0

    def _flush(self, driver: _Driver) -> None:
        with self._output_lock:
            self._send_waiting(driver)
        if not driver.waiting and not driver.is_ending:
            self._selector.modify(
                driver.connection, selectors.EVENT_READ, lambda: self._read(driver)
            )

    def _watch_for_room(self, driver: _Driver) -> None:
        self._selector.modify(
            driver.connection,
            selectors.EVENT_READ | selectors.EVENT_WRITE,
            lambda: self._read(driver),
        )

    # ---- status ----------------------------------------------------------------------------------

    def _status(self) -> dict[str, Any]:
        counts: dict[str, Any] = dict(_native.snapshot())
        return {
            "name": self._options.name,
            "address": self._path,
            "pid": os.getpid(),
            "zygote_pid": counts["zygote_pid"],
            "worker_pids": [pid for pid in counts["worker_pids"] if pid],  # drivers have none
            "started": self._started,
            **{key: self._identity[key] for key in ("version", "python")},
            "total": _native.query(_TOTAL),
            "available": _native.query(_AVAILABLE),
            "tasks": counts["tasks"],
            "objects": counts["objects"],
            "actors": _native.query(_COUNTS)["actors"],
            "named_actors": [named[:2] for named in _native.query(_NAMED_ACTORS)],
            "store_used_bytes": counts["store_used_bytes"],
            "store_limit_bytes": counts["store_limit_bytes"],
            "drivers": [
                {"pid": one.pid, "number": one.process, "argv": one.argv, "since": one.since}
                for one in self._drivers.values()
                if not one.is_ending
            ],
        }


def serve(
    options: dict[str, Any], ready_fd: int = -1, on_ready: Callable[[], None] | None = None
) -> int:
    """Be the server of a node until it ends; return the exit code.

    `options` are the arguments of `NodeOptions`.

    What came of the start is written to `ready_fd`, if that is not negative: an empty line when all
    is well, else an error; then it is closed. `on_ready` is called when programs can join.
    """
    zygote.fill_standard_descriptors()
    if ready_fd >= 0:
        os.set_inheritable(ready_fd, False)
    try:
        server = Server(NodeOptions(**options))
        server.start()
    except Exception as error:
        if ready_fd < 0:
            raise
        os.write(ready_fd, f"{type(error).__name__}: {error}".encode()[:4000] or b"?")
        return 1
    if ready_fd >= 0:
        os.write(ready_fd, b"\n")
        os.close(ready_fd)
    if on_ready is not None:
        on_ready()
    try:
        server.run()
    finally:
        server.stop()
    return 0


def main() -> int:
    """``python -m haz._core.server READY_FD OPTIONS``, as ``haz start`` runs it."""
    import json

    os.chdir("/")
    return serve(json.loads(sys.argv[2]), int(sys.argv[1]))


if __name__ == "__main__":
    raise SystemExit(main())
