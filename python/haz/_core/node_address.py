"""Where the sockets of long-lived nodes are, and how programs greet their servers.

A node of the name NAME has these in a folder that only its user can enter: ``NAME.sock``, on which
its server listens; ``NAME.lock``, locked for as long as the server lives; ``NAME.log``.
"""

from __future__ import annotations

import os
import socket
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "DEFAULT_NAME",
    "SUFFIX",
    "ask",
    "build_identity",
    "check_name",
    "connect",
    "interpreter_flags",
    "is_name",
    "path_of",
    "runtime_folder",
    "socket_path",
]

#: Name of the node that ``haz start`` starts and ``address="auto"`` joins.
DEFAULT_NAME = "default"

#: Longest message in bytes.
MOST_BYTES = 64 * 1024

#: Of a server's socket.
SUFFIX = ".sock"
#: What fits into an address of a Unix socket.
_MOST_PATH_BYTES = 107


def runtime_folder(create: bool = False) -> str:
    """Return the folder of this user's nodes. Raises PermissionError if others can enter it."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    folder = os.path.join(base, "haz") if base else f"/tmp/haz-{os.getuid()}"
    if create:
        os.makedirs(folder, mode=0o700, exist_ok=True)
    try:
        found = os.lstat(folder)
    except FileNotFoundError:
        return folder
    private = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    if not private or stat.S_IMODE(found.st_mode) & 0o077:
        raise PermissionError(
            f"{folder} must be a folder that only this user can enter (chmod 700): sockets of "
            f"haz nodes are kept there. Set XDG_RUNTIME_DIR to use another one"
        )
    return folder


def is_name(name: str) -> bool:
    """Whether a node may have this name."""
    return bool(name) and name[0] != "." and all(one.isalnum() or one in "-_." for one in name)


def check_name(name: str) -> str:
    """Return the name of a node if it is one."""
    if not is_name(name):
        raise ValueError(
            f"the name of a node is made of letters, digits, '-', '_' and '.', and {name!r} is not"
        )
    return name


def path_of(name: str, suffix: str, create: bool = False) -> str:
    """Return the path of a file of the node `name`."""
    path = os.path.join(runtime_folder(create), check_name(name) + suffix)
    if len(os.fsencode(path)) > _MOST_PATH_BYTES:
        raise ValueError(
            f"the path {path} is too long for a socket: set XDG_RUNTIME_DIR to a shorter folder, "
            f"or take a shorter name"
        )
    return path


def socket_path(address: str) -> str:
    """Return the socket that `address` means: ``"auto"``, the name of a node, or a path."""
    if "/" in address:
        return os.path.abspath(address)
    return path_of(DEFAULT_NAME if address == "auto" else address, SUFFIX)


def connect(address: str, timeout_s: float = 10.0) -> socket.socket:
    """Connect to the server of a node. Raises ConnectionError that says what to do."""
    path = socket_path(address)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    try:
        connection.settimeout(timeout_s)
        connection.connect(path)
        owner = peer_of(connection)[1]
    except OSError as error:
        connection.close()
        start = "`haz start`"
        if "/" not in address and address not in ("auto", DEFAULT_NAME):
            start = f"`haz start --name {address}`"
        raise ConnectionError(
            f"there is no haz node at {path} ({error.strerror or error}): start one by {start}, "
            f"see `haz status`, or leave the address out to run without a server"
        ) from None
    if owner != os.getuid():
        connection.close()
        raise ConnectionError(f"the haz node at {path} belongs to the user {owner}, not to you")
    return connection


def peer_of(connection: socket.socket) -> tuple[int, int]:
    """Return the process and the user at the other end."""
    import struct

    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid, uid, _ = struct.unpack("iII", credentials)
    return pid, uid


def interpreter_flags() -> list[str]:
    """Return those options of this interpreter that all processes of a node must have."""
    import sys

    flags = ["-" + "O" * sys.flags.optimize] if sys.flags.optimize else []
    return flags + (["-X", "utf8"] if sys.flags.utf8_mode else [])


def build_identity() -> dict[str, Any]:
    """Return what must be equal in all processes of a node."""
    import sys
    import zlib

    import haz
    from haz import _native

    # The linker's own mark of a build stands at the beginning of the file, beside its names.
    with open(_native.__file__, "rb") as file:
        checksum = zlib.crc32(file.read(1 << 16), os.fstat(file.fileno()).st_size)
    return {
        "version": haz.__version__,
        "python": "{}.{}.{}".format(*sys.version_info[:3]),
        "build": f"{checksum:08x}",
        "interpreter options": " ".join(interpreter_flags()) or "none",
    }


def send(
    connection: socket.socket, message: dict[str, Any] | str, fds: tuple[int, ...] = ()
) -> None:
    """Send one message, with descriptors; text as it is, for programs of C++."""
    import json

    data = message.encode() if isinstance(message, str) else json.dumps(message).encode()
    if fds:
        socket.send_fds(connection, [data], list(fds))
    else:
        connection.send(data)


def receive(connection: socket.socket, most_fds: int = 0) -> tuple[dict[str, Any], list[int]]:
    """Receive one message, with descriptors; an empty one if the other end is gone."""
    import json

    for last_try in (False, True):
        try:
            data, fds, _, _ = socket.recv_fds(
                connection, MOST_BYTES, most_fds, socket.MSG_CMSG_CLOEXEC
            )
            break
        except ConnectionResetError:
            # Told once if the other end closed without reading all; what it has sent comes after.
            if last_try:
                return {}, []
    return (json.loads(data) if data else {}), list(fds)


def ask(address: str, question: dict[str, Any], timeout_s: float = 10.0) -> dict[str, Any]:
    """Ask the server of a node for something, and return its answer."""
    with connect(address, timeout_s) as connection:
        send(connection, question)
        answer, _ = receive(connection)
    if not answer:
        raise ConnectionError(f"the haz node at {socket_path(address)} has just ended")
    return answer
