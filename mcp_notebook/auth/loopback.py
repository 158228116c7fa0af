"""Sockets of this machine alone, for one program alone.

The listener is bound first and the redirect URI is made of the port it got, so that nobody else
can hold that port (RFC 8252 §7.3, §8.3).
"""

from __future__ import annotations

import errno
import socket
import sys

LOOPBACK = {"127.0.0.1": ("127.0.0.1",), "::1": ("::1",), "localhost": ("127.0.0.1", "::1")}
"""The hosts a redirect URI may have, and the addresses each of them may mean."""


class PortTakenError(Exception):
    """The port cannot be bound; most likely another program has it."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.port = port


def bound(host: str, port: int | None) -> list[socket.socket]:
    """Binds one address, or both of ``localhost``, to one port.

    ``localhost`` may mean either address family: whoever held the other one would get the code.
    """
    addresses = LOOPBACK[host]
    for _ in range(1 if port is not None or len(addresses) == 1 else 20):
        sockets: list[socket.socket] = []
        try:
            for address in addresses:
                sockets += _listener(address, sockets[0].getsockname()[1] if sockets else port or 0)
        except OSError:
            for taken in sockets:
                taken.close()
        else:
            return sockets
    raise PortTakenError(port or 0)


def _listener(address: str, port: int) -> list[socket.socket]:
    """Binds one address; nothing where the machine lacks that address family.

    Neither SO_REUSEADDR nor SO_REUSEPORT: with them a second program can hold the same port.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError:
        return []
    try:
        if sys.platform == "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        listener.bind((address, port))
    except OSError as error:
        listener.close()
        if family == socket.AF_INET6 and error.errno == errno.EADDRNOTAVAIL:
            return []
        raise
    listener.setblocking(False)  # noqa: FBT003 -- the name of a socket call
    return [listener]
