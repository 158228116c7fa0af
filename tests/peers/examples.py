"""The protocol's own example servers: written elsewhere, in another language, run by Node.

`tests.conformance.install` has their versions. A machine without npm skips what needs them.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from tests.conformance import install

PLACES = {"streamableHttp": "mcp", "sse": "sse"}
"""The transports of `serve_everything`, and the path each is found at."""


def program(name: str) -> list[str]:
    """Returns the command of one of the servers; over stdio it is told what to serve.

    Args:
        name: Such as ``server-everything``.
    """
    try:
        return [str(install.node()), str(install.server(name))]
    except install.MissingError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))


@contextmanager
def serve_everything(transport: str) -> Iterator[str]:
    """Runs ``server-everything`` on a port of its own and gives its address.

    Args:
        transport: One of `PLACES`.
    """
    child = subprocess.Popen(
        [*program("server-everything"), transport],
        env={**os.environ, "PORT": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert child.stdout is not None
    with child.stdout:
        try:
            while "on port" not in (line := child.stdout.readline()):
                assert line, "the server ended"
            [port] = _ports(child.pid)  # it says "on port 0"
            yield f"http://127.0.0.1:{port}/{PLACES[transport]}"
        finally:
            child.kill()
            child.wait()


def _ports(pid: int) -> list[int]:
    sockets = psutil.Process(pid).net_connections("tcp")
    return [socket.laddr.port for socket in sockets if socket.status == psutil.CONN_LISTEN]
