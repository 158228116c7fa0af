"""Starts the demo server beside this process, and ends it with it.

The server's standard input is a pipe that only this process holds: however this process ends, the
pipe closes and the server goes. It has a port of its own for every user, and keeps hashes of what
it issued, so that after a restart of the kernel the same address takes the same sign-in.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from typing import IO, Any
from urllib.parse import urlsplit

from mcp_notebook.config.places import home
from mcp_notebook.config.rules import is_loopback
from mcp_notebook.errors import ConnectionFailedError
from mcp_notebook.redaction import printable

START_SECONDS = 20.0
STOP_SECONDS = 5.0
FIRST_PORT, PORTS = 20_000, 12_000


class DemoServer:
    """A demo server that runs.

    Attributes:
        url: Its MCP endpoint.
    """

    def __init__(self, url: str, process: subprocess.Popen[bytes]) -> None:
        self.url = url
        self._process = process
        self._end = weakref.finalize(self, _end, process)

    def __repr__(self) -> str:
        return f"<DemoServer {self.url} {'running' if self.running else 'stopped'}>"

    @property
    def running(self) -> bool:
        """Whether it is still there."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Ends it; more than once does no harm. It also ends with this process."""
        self._end()


def start(*, port: int | None = None, token_lifetime: float = 3600) -> DemoServer:
    """Starts a demo server.

    Args:
        port: Where it listens; None for this user's own port, 0 for any. A port that is taken,
            as by another kernel's demo, is replaced by a free one, and nothing is kept then.
        token_lifetime: Seconds that access tokens are good for.

    Raises:
        ConnectionFailedError: It did not start within 20 seconds.
    """
    command = [
        # -P: a module in the notebook's folder must not stand in for a library
        *(sys.executable, "-P", "-m", "mcp_notebook.demo"),
        *("--port", str(own_port() if port is None else port)),
        *("--state", str(home() / "demo" / "state.json")),
        *("--token-lifetime", str(token_lifetime)),
    ]
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(  # noqa: S603 - this interpreter, this package
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            **_apart(),
        )
        try:
            url = _wait_for_url(process)
        except BaseException:  # Stop was pressed
            _end(process)
            raise
        if url:
            return DemoServer(url, process)
        _end(process)
        reason = _last_line(complaints)
    raise ConnectionFailedError(
        f"The demo server did not start{f': {reason}' if reason else '.'}",
        hint="Run `python -m mcp_notebook.demo --port 0` in a terminal to see what is wrong.",
    )


def listens(url: str) -> bool | None:
    """Tells whether something listens at an address on this machine.

    Returns:
        None for an address elsewhere, and where it cannot be told: the connection itself will.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if not is_loopback(host):
        return None
    try:
        socket.create_connection((host, parts.port or 80), timeout=1).close()
    except ConnectionRefusedError:
        return False
    except OSError:
        return None
    return True


def own_port() -> int:
    """Returns the port that this user's demo has, the same every time.

    It is below the ranges that systems hand out by themselves (from 32,768 up on Linux, from
    49,152 up elsewhere), so it is seldom taken; one that is costs a new sign-in, no more.
    """
    name = hashlib.sha256(str(home()).encode()).digest()
    return FIRST_PORT + int.from_bytes(name[:4], "big") % PORTS


def _apart() -> dict[str, Any]:
    """Keeps the signals of the notebook's Stop button from the server."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def _wait_for_url(process: subprocess.Popen[bytes]) -> str:
    lines: list[bytes] = []
    assert process.stdout is not None
    # A pipe has no read with a deadline on every platform; a thread that waits for it has one
    reader = threading.Thread(target=_read_line, args=(process.stdout, lines), daemon=True)
    reader.start()
    reader.join(START_SECONDS)
    try:
        return str(json.loads(lines[0])["url"])
    except (IndexError, ValueError, KeyError, TypeError):
        return ""


def _read_line(pipe: IO[bytes], lines: list[bytes]) -> None:
    with contextlib.suppress(OSError, ValueError):
        lines.append(pipe.readline(4096))


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_SECONDS)
    process.stdout.close()


def _last_line(complaints: IO[bytes]) -> str:
    complaints.seek(0)
    text = complaints.read(64 * 1024).decode("utf-8", "replace").strip()
    return printable(text.splitlines()[-1]) if text else ""
