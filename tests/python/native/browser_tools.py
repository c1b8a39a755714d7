"""A real browser for tests: Chromium without a window, spoken to in its DevTools protocol over pipes."""

from __future__ import annotations

import itertools
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

#: Descriptors 3 and 4 are what the browser reads and writes.
_EXEC = """
import os, sys
for fd, number in ((int(sys.argv[1]), 3), (int(sys.argv[2]), 4)):
    os.dup2(os.dup(fd) if fd in (3, 4) else fd, number)
os.execv(sys.argv[3], sys.argv[3:])
"""

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


class Page:
    """One page of a browser."""

    def __init__(self, browser, session):
        self._browser = browser
        self._session = session

    def run(self, script):
        """The value of JavaScript, which may be a promise."""
        said = self._browser.call(
            "Runtime.evaluate",
            self._session,
            expression=script,
            awaitPromise=True,
            returnByValue=True,
        )
        assert "exceptionDetails" not in said, said["exceptionDetails"]
        return said["result"].get("value")

    def type(self, selector, text):
        """Type into a field, in the place of what is there."""
        self.run(f"document.querySelector({selector!r}).select()")
        self._browser.call("Input.insertText", self._session, text=text)

    def click(self, selector):
        """Click in the middle of an element, with the mouse."""
        x, y = self.run(
            f"(() => {{ const box = document.querySelector({selector!r}).getBoundingClientRect();"
            "return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self._browser.call(
                "Input.dispatchMouseEvent",
                self._session,
                type=kind,
                x=x,
                y=y,
                button="left",
                clickCount=1,
            )


class Browser:
    """A Chromium, by its pipes: commands end with a zero byte, and so do replies."""

    def __init__(self, out_fd, in_fd):
        self._out = out_fd
        self._in = in_fd
        self._numbers = itertools.count(1)
        self._buffer = b""
        self._loaded = set()
        self.errors = []

    def call(self, method, session=None, **parameters):
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            said = self._take()
            if said.get("id") == number:
                assert "error" not in said, said["error"]
                return said["result"]

    def _take(self):
        said = self._read()
        if said.get("method") == "Runtime.exceptionThrown":
            self.errors.append(said["params"]["exceptionDetails"])
        if said.get("method") == "Page.loadEventFired":
            self._loaded.add(said["sessionId"])
        return said

    def _read(self):
        end = time.monotonic() + 100
        while b"\0" not in self._buffer:
            left = end - time.monotonic()
            assert left > 0, "the browser says nothing"
            if select.select([self._in], [], [], left)[0]:
                data = os.read(self._in, 1 << 16)
                assert data, "the browser has ended"
                self._buffer += data
        said, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(said)

    def open(self, url):
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Runtime.enable", session)
        self.call("Page.enable", session)
        self.call("Page.navigate", session, url=url)
        while session not in self._loaded:
            self._take()
        return Page(self, session)


@contextmanager
def chromium(folder):
    """Run a browser whose files are in `folder`; afterwards nothing of it is left."""
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()
    command = [
        CHROMIUM,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--remote-debugging-pipe",
        f"--user-data-dir={folder}/chromium",
    ]
    process = subprocess.Popen(
        [sys.executable, "-c", _EXEC, str(to_read), str(from_write), *command],
        pass_fds=(to_read, from_write),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": folder, "XDG_RUNTIME_DIR": folder},
        start_new_session=True,
    )
    os.close(to_read)
    os.close(from_write)
    try:
        yield Browser(to_write, from_read)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(to_write)
        os.close(from_read)
