"""Connections to one server, in small pools.

For every request a pool looks at each of its connections, their sockets included. With a hundred
calls under way that costs more than the calls, so there are many pools of a few connections, and
the first that has room takes the request. That also keeps a person's one call at a time on one
connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2

from mcp_notebook.auth.route import proxy_for, ssl_context

POOLS = 32
CONNECTIONS = 8
"""Connections of one pool; further requests wait for one that is free."""

KEEP_SECONDS = 20.0
"""How long an idle connection is kept: a person thinks longer than an HTTP client's usual 5 s."""


class Pools(httpx2.AsyncBaseTransport):
    """The transport of one server's client: direct, or through the proxy the environment names."""

    def __init__(self, url: str) -> None:
        self._proxy = proxy_for(httpx2.URL(url))
        self._pools: list[httpx2.AsyncHTTPTransport] = []
        self._busy: list[int] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Sends one request."""
        number = self._with_room()
        self._busy[number] += 1
        try:
            response = await self._pools[number].handle_async_request(request)
        except BaseException:
            self._busy[number] -= 1
            raise
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _Counted(response.stream, self._busy, number)
        return response

    def _with_room(self) -> int:
        for number, busy in enumerate(self._busy):
            if busy < CONNECTIONS:
                return number
        if len(self._pools) < POOLS:
            self._pools.append(self._new())
            self._busy.append(0)
            return len(self._pools) - 1
        return self._busy.index(min(self._busy))

    def _new(self) -> httpx2.AsyncHTTPTransport:
        limits = httpx2.Limits(
            max_connections=CONNECTIONS,
            max_keepalive_connections=CONNECTIONS,
            keepalive_expiry=KEEP_SECONDS,
        )
        return httpx2.AsyncHTTPTransport(verify=ssl_context(), limits=limits, proxy=self._proxy)

    async def aclose(self) -> None:
        """Closes every connection."""
        for pool in self._pools:
            await pool.aclose()


class _Counted(httpx2.AsyncByteStream):
    """The body of an answer, which tells its pool when it is closed."""

    def __init__(self, stream: httpx2.AsyncByteStream, busy: list[int], number: int) -> None:
        self._stream = stream
        self._busy = busy
        self._number = number
        self._open = True

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._stream.__aiter__()

    async def aclose(self) -> None:
        if self._open:
            self._open = False
            self._busy[self._number] -= 1
        await self._stream.aclose()
