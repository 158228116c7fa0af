"""The way to a host: a checked address, or the proxy that the environment names.

A name is resolved once, its addresses are judged, and the connection goes to one that passed; the
TLS server name and the ``Host`` header stay the name's. So a name that answers differently a
moment later (DNS rebinding) leads nowhere else. Through a proxy only the proxy resolves names;
what it may reach is its own affair.
"""

from __future__ import annotations

import functools
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterable
from typing import Any
from urllib.request import getproxies, proxy_bypass

import anyio
import httpcore2
import httpx2

from mcp_notebook.config.rules import is_loopback
from mcp_notebook.config.urls import (
    Address,
    Reach,
    as_ip,
    host_of,
    may_reach,
    not_reached,
    reach,
    refused,
)
from mcp_notebook.errors import AuthorizationServerError

_NEXT_ADDRESS = 2.0
"""Seconds after which the next address of a host is tried (an IPv6 address without a route)."""


def ssl_context() -> ssl.SSLContext:
    """Returns the TLS settings all OAuth requests share: making one takes some 20 ms.

    ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` are honoured, else the system's own certificates.
    """
    return _ssl_context(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@functools.lru_cache(maxsize=4)
def _ssl_context(_file: str | None, _folder: str | None) -> ssl.SSLContext:
    return httpx2.create_ssl_context()


def proxy_for(url: httpx2.URL) -> str | None:
    """Returns the proxy of the environment or the system for an address; none on this machine."""
    if is_loopback(url.host) or proxy_bypass(url.host):
        return None
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


async def addresses(host: str, port: int) -> list[Address]:
    """Returns the IP addresses of a host, best first.

    Raises:
        AuthorizationServerError: The name is not known, or there is no network.
    """
    literal = as_ip(host)
    if literal is not None:
        return [literal]
    if is_loopback(host):
        # RFC 6761 §6.3: never asked of the network; an own hosts file may lack or bend it.
        return [addr for addr in map(as_ip, ("127.0.0.1", "::1")) if addr is not None]
    try:
        rows = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise AuthorizationServerError(
            f"The host {host} cannot be found.",
            hint="Is this machine online, and the name spelled rightly? Nothing was lost: "
            "try again when it answers.",
            passing=True,
        ) from None
    found = [as_ip(str(row[4][0]).partition("%")[0]) for row in rows]
    return list(dict.fromkeys(addr for addr in found if addr is not None))


class Guard:
    """Judges where connections may lead on behalf of one MCP server.

    Args:
        server_url: The MCP server.
        trusted: Addresses whose hosts a person has named, and which may be private ones.
    """

    def __init__(self, server_url: str, trusted: Iterable[str] = ()) -> None:
        self._server = httpx2.URL(server_url)
        self._trusted = {host_of(address) for address in trusted if address}
        self._reach: Reach | None = None

    async def check_literal(self, url: str, *, what: str) -> None:
        """Checks an address whose host is written as an IP address or is this machine.

        Raises:
            AuthorizationServerError: The server may not send us there.
        """
        host = httpx2.URL(url).host
        if as_ip(host) is not None or is_loopback(host):
            await self.permitted(url, await addresses(host, 0), what=what)

    async def permitted(self, url: str, found: list[Address], *, what: str) -> list[Address]:
        """Returns those of a host's addresses that may be connected to.

        Raises:
            AuthorizationServerError: There is none.
        """
        server = await self._server_reach()
        trusted = host_of(url) in self._trusted
        kept = [
            address
            for address in found
            if may_reach(reach(address), server=server)
            or (trusted and reach(address) != "forbidden")
        ]
        if kept or not found:
            return kept
        raise refused(
            host_of(url),
            what,
            not_reached(reach(found[0])),
            hint="If that is right, allow it by name: %mcp add … --replace --trusted-issuer URL",
        )

    async def _server_reach(self) -> Reach:
        if self._reach is None:
            host = self._server.host
            # Through a proxy the name need not be known here: then nothing private is opened.
            if as_ip(host) is None and proxy_for(self._server):
                self._reach = "public"
            else:
                found = [reach(addr) for addr in await addresses(host, self._server.port or 443)]
                self._reach = "public" if "public" in found else found[0]
        return self._reach


class _CheckedBackend(httpcore2.AsyncNetworkBackend):
    """Connects to checked addresses only."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._backend = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the backend's own signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        found = await addresses(host, port)
        url = f"//[{host}]:{port}" if ":" in host else f"//{host}:{port}"
        kept = await self._guard.permitted(url, found, what="address")
        for number, address in enumerate(kept, start=1):
            last = number == len(kept)
            try:
                return await self._backend.connect_tcp(
                    str(address),
                    port,
                    timeout=timeout if last else min(timeout or _NEXT_ADDRESS, _NEXT_ADDRESS),
                    local_address=local_address,
                    socket_options=socket_options,
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                if last:
                    raise
        raise httpcore2.ConnectError(f"{host} has no address")


def raw(request: httpx2.Request) -> httpcore2.Request:
    """Returns a request of httpx as httpcore sends it."""
    return httpcore2.Request(
        method=request.method,
        url=httpcore2.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        ),
        headers=request.headers.raw,
        content=request.stream,
        extensions=request.extensions,
    )


class Route(httpx2.AsyncBaseTransport):
    """The transport of `Fetch`: direct to checked addresses, or through a proxy."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=ssl_context(), network_backend=_CheckedBackend(guard)
        )
        self._proxied: dict[str, httpx2.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Sends one request."""
        proxy = proxy_for(request.url)
        if proxy is not None:
            await self._guard.check_literal(str(request.url), what="address")
            if proxy not in self._proxied:
                self._proxied[proxy] = httpx2.AsyncHTTPTransport(verify=ssl_context(), proxy=proxy)
            return await self._proxied[proxy].handle_async_request(request)
        answer = await self._pool.handle_async_request(raw(request))
        return httpx2.Response(answer.status, headers=answer.headers, stream=_Body(answer))

    async def aclose(self) -> None:
        """Closes every connection."""
        await self._pool.aclose()
        for transport in self._proxied.values():
            await transport.aclose()


class _Body(httpx2.AsyncByteStream):
    def __init__(self, answer: httpcore2.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._answer.aiter_stream():
            yield piece

    async def aclose(self) -> None:
        await self._answer.aclose()
