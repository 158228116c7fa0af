"""A connection's bytes, on asyncio itself: a backend for `httpcore2`.

A call is a few hundred bytes each way, so what it costs is not the bytes but the steps. The head
and the body of a request leave together when the answer is asked for, reading is never switched
off and on, and that the server has hung up is known without asking the socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
from collections.abc import AsyncIterator, Iterable
from typing import Any, cast

import httpcore2

from mcp_notebook.config.urls import as_ip

HELD_BYTES = 64 * 1024
"""How much of a request is held back until the rest of it comes."""

BUFFERED_BYTES = 256 * 1024
"""How much is taken from the network before it is read; then the server has to wait."""

QUIET, PROBE_EVERY, PROBES = 30, 10, 3
"""TCP keep-alive (RFC 9293 §3.8.4): seconds until the first probe and between two, and how many
are lost before a connection is given up."""

SILENCE = QUIET + PROBES * PROBE_EVERY
"""Seconds after which a connection is broken whose other side says nothing, not even to probes."""

NEXT_ADDRESS = 2.0
"""Seconds after which the next address of a host is tried (an IPv6 address without a route)."""


class Backend(httpcore2.AsyncNetworkBackend):
    """Connects to hosts, and has the connections probed."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 -- httpcore's own signature
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> Stream:
        """Returns an open connection.

        Raises:
            httpcore2.ConnectError: The host is not known or does not answer.
            httpcore2.ConnectTimeout: It has not answered in so many seconds.
        """
        async with _connecting(timeout):
            transport, stream = await _connected(host, port)
        for option in _probing():
            transport.get_extra_info("socket").setsockopt(*option)
        return stream


class Stream(asyncio.Protocol, httpcore2.AsyncNetworkStream):
    """An open connection; one task at a time writes to it and reads from it."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._held = bytearray()
        self._came = bytearray()
        self._over = False
        self._fault: Exception | None = None
        self._reading: asyncio.Future[None] | None = None
        self._writing: asyncio.Future[None] | None = None

    # -- for httpcore -------------------------------------------------------------------------

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Sends bytes: at once where they are many, else with the next `read`.

        Raises:
            httpcore2.WriteError: The connection is over.
            httpcore2.WriteTimeout: They were not taken in so many seconds.
        """
        self._held += buffer
        if len(self._held) < HELD_BYTES:
            return
        self._send()
        if self._writing is not None:
            try:
                async with asyncio.timeout(timeout):
                    await asyncio.shield(self._writing)
            except TimeoutError:
                raise httpcore2.WriteTimeout from None

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        """Returns the next bytes, at least one; none where the server has ended.

        Raises:
            httpcore2.WriteError: The server had ended before what was held back could be sent.
            httpcore2.ReadError: The connection broke off.
            httpcore2.ReadTimeout: Nothing came in so many seconds.
        """
        if self._held:
            self._send()
        if not self._came and not self._over:
            self._reading = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(timeout):
                    await self._reading
            except TimeoutError:
                raise httpcore2.ReadTimeout from None
            finally:
                self._reading = None
        if not self._came and self._fault is not None:
            raise httpcore2.ReadError(str(self._fault)) from self._fault
        taken = bytes(self._came[:max_bytes])
        del self._came[:max_bytes]
        if not self._over and len(self._came) < BUFFERED_BYTES:
            self._transport.resume_reading()  # does nothing where it was not paused
        return taken

    def _send(self) -> None:
        held, self._held = self._held, bytearray()
        if not self._over:
            self._transport.write(held)
        elif not self._came:  # otherwise the server has said why
            raise httpcore2.WriteError("the server has closed the connection") from self._fault

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 -- httpcore's own signature
    ) -> Stream:
        """Returns the connection, encrypted.

        Raises:
            httpcore2.ConnectError: The server is not to be trusted, or broke off.
            httpcore2.ConnectTimeout: It was not done in so many seconds.
        """
        try:
            async with _connecting(timeout):
                encrypted = await asyncio.get_running_loop().start_tls(
                    self._transport, self, ssl_context, server_hostname=server_hostname
                )
        except BaseException:
            await self.aclose()
            raise
        assert encrypted is not None
        self._transport = encrypted
        return self

    async def aclose(self) -> None:
        """Closes the connection; what was not sent is not sent any more."""
        self._transport.abort()
        await asyncio.sleep(0)  # the socket is closed in the loop's next turn

    def get_extra_info(self, info: str) -> Any:
        """Returns what httpcore wants to know."""
        if info == "is_readable":  # of an idle connection: it is over, or the server babbles
            return self._over or bool(self._came)
        return self._transport.get_extra_info(_INFO.get(info, info))

    # -- for asyncio --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begins."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Keeps what came for `read`."""
        self._came += data
        if len(self._came) >= BUFFERED_BYTES:
            self._transport.pause_reading()
        _wake(self._reading)

    def eof_received(self) -> None:
        """Notes that the server has ended; asyncio closes the connection then."""
        self._over = True
        _wake(self._reading)

    def connection_lost(self, exc: Exception | None) -> None:
        """Notes the end, and why."""
        self._over, self._fault = True, exc
        _wake(self._reading)
        self.resume_writing()

    def pause_writing(self) -> None:
        """Has `write` wait: the network takes no more at present."""
        self._writing = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """Lets it go on."""
        _wake(self._writing)
        self._writing = None


_INFO = {"client_addr": "sockname", "server_addr": "peername"}


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


async def _connected(host: str, port: int) -> tuple[asyncio.Transport, Stream]:
    # One address after the other. asyncio would try them side by side, but loses the socket of the
    # one that answers in the moment in which nobody wants it any more (CPython's staggered_race).
    loop = asyncio.get_running_loop()
    found = [host]
    if as_ip(host) is None:
        rows = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        found = list(dict.fromkeys(str(row[4][0]) for row in rows))
    *others, last = found
    for address in others:
        with contextlib.suppress(OSError):
            async with asyncio.timeout(NEXT_ADDRESS):
                return await loop.create_connection(Stream, address, port)
    return await loop.create_connection(Stream, last, port)


@contextlib.asynccontextmanager
async def _connecting(seconds: float | None) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds) as clock:
            yield
    except TimeoutError as error:
        if clock.expired():
            raise httpcore2.ConnectTimeout from None
        raise httpcore2.ConnectError(str(error)) from error
    except OSError as error:
        raise httpcore2.ConnectError(str(error)) from error


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
