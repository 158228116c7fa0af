"""Connections to one server: the one used last takes the next request, and no other is looked at.

The pool of an HTTP library looks at each of its connections for every request, their sockets
included. With a hundred calls under way that costs more than the calls. Here idle connections are
a stack: one is taken off it and comes back to it, and what has lain at its bottom for too long is
closed. That also keeps a person's one call at a time on one connection.

A laptop that sleeps, or a router that forgets, ends a connection without a word: nothing arrives
any more, and what is sent is lost. Connections that somebody waits on are therefore probed
(`sockets`), so that they break within a minute; idle ones from before a sleep are not used again.
A call has no deadline on the wall clock: a server on the same machine slept as well, and where the
connection outlived the sleep its answer is still good.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator

import httpcore2
import httpx2

from mcp_notebook.auth.route import proxy_for, raw, ssl_context
from mcp_notebook.client.sockets import Backend

CONNECTIONS = 256
"""Connections at the most; further requests wait for one that is free."""

KEEP_SECONDS = 20.0
"""How long an idle connection is kept: a person thinks longer than an HTTP client's usual 5 s."""

_FAULTS = (
    httpcore2.TimeoutException,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.ProxyError,
    httpcore2.UnsupportedProtocol,
)


class Pool(httpx2.AsyncBaseTransport):
    """The transport of one server's client: direct, or through the proxy the environment names."""

    def __init__(self, url: str) -> None:
        # It makes connections, and is asked for nothing else.
        self._maker = httpcore2.AsyncConnectionPool(
            ssl_context=ssl_context(),
            proxy=_proxy(url),
            keepalive_expiry=KEEP_SECONDS,
            network_backend=Backend(),
        )
        self._idle: deque[httpcore2.AsyncConnectionInterface] = deque()
        self._busy: dict[httpcore2.AsyncConnectionInterface, int] = {}
        self._room = asyncio.Semaphore(CONNECTIONS)
        self._lag = _lag()
        self._sleeps = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Sends one request."""
        asked = raw(request)
        with _faults():
            connection = await self._taken(asked)
            try:
                answer = await connection.handle_async_request(asked)
            except BaseException:
                await self.put_back(connection)
                raise
        return httpx2.Response(
            answer.status,
            headers=answer.headers,
            stream=_Body(answer, connection, self),
            extensions=answer.extensions,
        )

    async def _taken(self, request: httpcore2.Request) -> httpcore2.AsyncConnectionInterface:
        """Returns the connection that was used last, or a new one, once there is room."""
        seconds = request.extensions.get("timeout", {}).get("pool")
        try:
            async with asyncio.timeout(seconds if self._room.locked() else None):
                await self._room.acquire()
        except TimeoutError:
            raise httpcore2.PoolTimeout from None
        try:
            connection = await self._usable(request.url.origin)
        except BaseException:
            self._room.release()
            raise
        self._busy[connection] = self._sleeps
        return connection

    async def _usable(self, origin: httpcore2.Origin) -> httpcore2.AsyncConnectionInterface:
        before, self._lag = self._lag, _lag()
        slept = self._lag - before >= KEEP_SECONDS
        self._sleeps += slept
        while self._idle and (slept or self._idle[0].has_expired()):
            await self._idle.popleft().aclose()
        while self._idle:
            connection = self._idle.pop()
            if connection.can_handle_request(origin) and not connection.has_expired():
                return connection
            await connection.aclose()
        return self._maker.create_connection(origin)

    async def put_back(self, connection: httpcore2.AsyncConnectionInterface) -> None:
        """Takes a connection back whose answer is at its end, or that has failed."""
        sleeps = self._busy.pop(connection, None)
        if sleeps is None:
            return
        self._room.release()
        if connection.is_available() and sleeps == self._sleeps:
            self._idle.append(connection)
        else:
            await connection.aclose()

    async def aclose(self) -> None:
        """Closes every connection."""
        connections = [*self._idle, *self._busy]
        self._idle.clear()
        for connection in connections:
            await connection.aclose()


class _Body(httpx2.AsyncByteStream):
    """The body of an answer; its connection is free when it is closed."""

    def __init__(
        self,
        answer: httpcore2.Response,
        connection: httpcore2.AsyncConnectionInterface,
        pool: Pool,
    ) -> None:
        self._answer = answer
        self._connection = connection
        self._pool = pool

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _faults():
            async for piece in self._answer.aiter_stream():
                yield piece

    async def aclose(self) -> None:
        try:
            await self._answer.aclose()
        finally:
            await self._pool.put_back(self._connection)


@contextlib.contextmanager
def _faults() -> Iterator[None]:
    """Makes httpx's errors of httpcore's, which have the same names."""
    try:
        yield
    except _FAULTS as error:
        raise getattr(httpx2, type(error).__name__)(str(error)) from error


def _proxy(url: str) -> httpcore2.Proxy | None:
    found = proxy_for(httpx2.URL(url))
    if found is None:
        return None
    proxy = httpx2.Proxy(found)
    return httpcore2.Proxy(
        httpcore2.URL(
            scheme=proxy.url.raw_scheme,
            host=proxy.url.raw_host,
            port=proxy.url.port,
            target=proxy.url.raw_path,
        ),
        auth=proxy.raw_auth,
        headers=proxy.headers.raw,
    )


def _lag() -> float:
    """Returns what grows with the time the machine sleeps.

    The monotonic clock of Linux and macOS stands still then, on which an idle connection is judged.
    A clock that is set has the same effect, and costs no more than new connections.
    """
    return time.time() - time.monotonic()
