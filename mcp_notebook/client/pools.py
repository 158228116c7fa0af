"""Connections to one server, in small pools.

For every request a pool looks at each of its connections, their sockets included. With a hundred
calls under way that costs more than the calls, so there are many pools of a few connections, and
the first that has room takes the request. That also keeps a person's one call at a time on one
connection.

A laptop that sleeps, or a router that forgets, ends a connection without a word: nothing arrives
any more, and what is sent is lost. Connections that somebody waits on are therefore probed, so that
they break within `SILENCE`; idle ones from before a sleep are not used again. A call has no
deadline on the wall clock: a server on the same machine slept as well, and where the connection
outlived the sleep its answer is still good.
"""

from __future__ import annotations

import functools
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx2

from mcp_notebook.auth.route import proxy_for, ssl_context

POOLS = 32
CONNECTIONS = 8
"""Connections of one pool; further requests wait for one that is free."""

KEEP_SECONDS = 20.0
"""How long an idle connection is kept: a person thinks longer than an HTTP client's usual 5 s."""

QUIET, PROBE_EVERY, PROBES = 30, 10, 3
"""TCP keep-alive (RFC 9293 §3.8.4): seconds until the first probe and between two, and how many
are lost before a connection is given up."""

SILENCE = QUIET + PROBES * PROBE_EVERY
"""Seconds after which a connection is broken whose other side says nothing, not even to probes."""


class Pools(httpx2.AsyncBaseTransport):
    """The transport of one server's client: direct, or through the proxy the environment names."""

    def __init__(self, url: str) -> None:
        self._proxy = proxy_for(httpx2.URL(url))
        self._pools: list[_Pool] = []
        self._lag = _lag()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Sends one request."""
        await self._leave_what_slept()
        pool = self._with_room()
        pool.busy += 1
        try:
            response = await pool.transport.handle_async_request(request)
        except BaseException:
            pool.busy -= 1
            raise
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _Counted(response.stream, pool)
        return response

    async def _leave_what_slept(self) -> None:
        """Uses no connection again that the machine has slept over."""
        before, self._lag = self._lag, _lag()
        if self._lag - before >= KEEP_SECONDS:
            for pool in self._pools:
                pool.left = True
        over = [pool for pool in self._pools if pool.left and not pool.busy]
        for pool in over:
            self._pools.remove(pool)
        for pool in over:
            await pool.transport.aclose()

    def _with_room(self) -> _Pool:
        pools = [pool for pool in self._pools if not pool.left]
        for pool in pools:
            if pool.busy < CONNECTIONS:
                return pool
        if len(pools) < POOLS:
            self._pools.append(_Pool(self._new()))
            return self._pools[-1]
        return min(pools, key=lambda pool: pool.busy)

    def _new(self) -> httpx2.AsyncHTTPTransport:
        limits = httpx2.Limits(
            max_connections=CONNECTIONS,
            max_keepalive_connections=CONNECTIONS,
            keepalive_expiry=KEEP_SECONDS,
        )
        return httpx2.AsyncHTTPTransport(
            verify=ssl_context(), limits=limits, proxy=self._proxy, socket_options=_probing()
        )

    async def aclose(self) -> None:
        """Closes every connection."""
        for pool in self._pools:
            await pool.transport.aclose()


@dataclass(slots=True, eq=False)
class _Pool:
    """A few connections.

    Attributes:
        transport: What holds them.
        busy: Requests under way.
        left: No further request may use it.
    """

    transport: httpx2.AsyncHTTPTransport
    busy: int = 0
    left: bool = False


class _Counted(httpx2.AsyncByteStream):
    """The body of an answer, which tells its pool when it is closed."""

    def __init__(self, stream: httpx2.AsyncByteStream, pool: _Pool) -> None:
        self._stream = stream
        self._pool = pool
        self._open = True

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._stream.__aiter__()

    async def aclose(self) -> None:
        if self._open:
            self._open = False
            self._pool.busy -= 1
        await self._stream.aclose()


def _lag() -> float:
    """Returns what grows with the time the machine sleeps.

    The monotonic clock of Linux and macOS stands still then, on which a pool judges what is idle.
    A clock that is set has the same effect, and costs no more than new connections.
    """
    return time.time() - time.monotonic()


@functools.cache
def _probing() -> tuple[tuple[int, int, int], ...]:
    """Returns the socket options for probes, as far as the platform has them."""
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for name, value in (
        ("TCP_KEEPIDLE", QUIET),
        ("TCP_KEEPALIVE", QUIET),  # macOS's name for it
        ("TCP_KEEPINTVL", PROBE_EVERY),
        ("TCP_KEEPCNT", PROBES),
        # What nobody acknowledges is not probed but sent again, for a quarter of an hour.
        ("TCP_USER_TIMEOUT", SILENCE * 1000),
    ):
        if hasattr(socket, name):
            options.append((socket.IPPROTO_TCP, getattr(socket, name), value))
    return tuple(filter(_is_taken, options))


def _is_taken(option: tuple[int, int, int]) -> bool:
    """Tells whether the system takes an option; emulated ones lack some that Python knows."""
    with socket.socket() as tried:
        try:
            tried.setsockopt(*option)
        except OSError:
            return False
    return True
