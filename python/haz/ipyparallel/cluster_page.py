"""A page of this machine's own on which clusters are seen, started and stopped: ``haz cluster page``."""

from __future__ import annotations

import hmac
import json
import secrets
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from haz.ipyparallel._cluster_requests import PANEL, answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["ClusterPage"]

_MOST_BYTES = 1 << 16

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>haz: clusters</title>
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<style>body { margin: 2em; font-family: system-ui, sans-serif; } h1 { font-size: 1.3em; }</style>
</head><body><h1>Clusters of engines</h1><main></main>
<script type="module">
const key = location.hash.slice(1);
const listeners = new Set();
const model = {
  on: (_name, listener) => listeners.add(listener),
  off: (_name, listener) => listeners.delete(listener),
  async send(request) {
    let reply;
    try {
      const response = await fetch("request", {
        method: "POST",
        headers: { "Content-Type": "application/json", "Authorization": `Bearer ${key}` },
        body: JSON.stringify(request),
      });
      reply = response.ok ? await response.json() : { error: await response.text() };
    } catch {
      reply = { error: "The page's program has ended: run `haz cluster page` again." };
    }
    for (const listener of listeners) listener({ ...reply, op: request.op });
  },
};
const { default: panel } = await import("./panel.js");
panel.render({ model, el: document.querySelector("main") });
</script></body></html>
"""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        if self.path == "/":
            self._reply(HTTPStatus.OK, "text/html", _PAGE.encode())
        elif self.path == "/panel.js":
            with open(PANEL, "rb") as file:
                self._reply(HTTPStatus.OK, "text/javascript", file.read())
        else:
            self._reply(HTTPStatus.NOT_FOUND, "text/plain", b"There is nothing here.")

    def do_POST(self) -> None:
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        try:
            length = int(self.headers.get("Content-Length", ""))
        except ValueError:
            length = -1
        if not 0 <= length <= _MOST_BYTES:
            self.close_connection = True
            self._reply(HTTPStatus.BAD_REQUEST, "text/plain", b"The request has no proper length.")
            return
        body = self.rfile.read(length)
        if not hmac.compare_digest(given.encode(), self.server.key.encode()):
            said = b"The key is wrong: open the address that `haz cluster page` printed."
            self._reply(HTTPStatus.FORBIDDEN, "text/plain", said)
            return
        try:
            request = json.loads(body)
        except ValueError:
            self._reply(HTTPStatus.BAD_REQUEST, "text/plain", b"The request is no JSON.")
            return
        with self.server.lock:
            reply = answer(request)
        self._reply(HTTPStatus.OK, "application/json", json.dumps(reply).encode())

    def _reply(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.key = secrets.token_urlsafe(24)
        self.lock = threading.Lock()


class ClusterPage:
    """Serves the page, for this machine only and for who knows its address.

    Parameters
    ----------
    port
        Of 127.0.0.1; 0: a free one.

    Attributes
    ----------
    url : str
        What to open in a browser. The part after "#" is the key, which no server's log shows.

    Raises
    ------
    OSError
        If the port is taken.
    """

    def __init__(self, port: int = 0) -> None:
        self._server = _Server(port)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/#{self._server.key}"

    def serve(self) -> None:
        """Serve until `close` is called in another thread, or an interrupt."""
        self._server.serve_forever(poll_interval=0.1)

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()

    def __enter__(self) -> ClusterPage:
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.server_close()
