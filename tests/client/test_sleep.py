"""A machine that slept: connections that are gone, though nobody was told."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from types import SimpleNamespace

import httpx2
import pytest

from mcp_notebook.client import pools, sockets
from mcp_notebook.client.pools import Pool
from mcp_notebook.errors import ConnectionFailedError
from tests.connecting import connected, handshake, http, listened_to, toy
from tests.peers import serve_tools
from tests.peers.fault_proxy import serve_faults

pytestmark = pytest.mark.anyio

TCP_REPAIR = 19
"""linux/tcp.h: a socket in this mode is closed without a word to the other side."""


class Sleep:
    """Lets the wall clock, and nothing else, go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._seconds = 0.0
        clock = SimpleNamespace(monotonic=time.monotonic, time=lambda: time.time() + self._seconds)
        monkeypatch.setattr(pools, "time", clock)

    def __call__(self, seconds: float) -> None:
        self._seconds += seconds


@pytest.fixture
def sleep(monkeypatch) -> Sleep:
    return Sleep(monkeypatch)


@pytest.fixture
def tools():
    with serve_tools(unguarded=True) as tools:
        yield tools


async def test_a_call_after_a_sleep_takes_a_connection_of_its_own(tools, sleep):
    with serve_faults(tools.port) as proxy:
        async with connected(proxy.url) as connection:
            await listened_to(proxy)
            await connection.call_tool("add", {"a": 1, "b": 2})
            before = proxy.connections
            sleep(pools.KEEP_SECONDS / 2)
            await connection.call_tool("add", {"a": 1, "b": 2})
            assert proxy.connections == before  # kept, as ever
            for more in (1, 2):
                sleep(3600)
                await connection.call_tool("add", {"a": 1, "b": 2})
                await connection.call_tool("add", {"a": 1, "b": 2})
                assert proxy.connections == before + more


async def test_a_call_that_outlives_a_sleep_has_its_answer(tools, sleep):
    async with connected(tools.url) as connection:
        call = asyncio.create_task(connection.call_tool("slow", {"seconds": 0.5}))
        await asyncio.to_thread(tools.wait_for_tool, "slow")
        sleep(3600)
        await connection.call_tool("add", {"a": 1, "b": 2})
        assert not call.done()
        assert (await call).content[0].text == "done"


async def test_connections_from_before_a_sleep_are_closed_when_nobody_needs_them(tools, sleep):
    transport = Pool(tools.url)
    ping = httpx2.Request("GET", tools.url)
    responses = [await transport.handle_async_request(ping) for _ in range(2)]
    sleep(3600)
    with contextlib.suppress(httpx2.HTTPError):
        await (await transport.handle_async_request(ping)).aread()
    sockets = [_socket(response) for response in responses]
    assert all(one.fileno() >= 0 for one in sockets)  # somebody still reads
    for response in responses:
        await response.aclose()
    await (await transport.handle_async_request(ping)).aread()
    assert all(one.fileno() < 0 for one in sockets)
    await transport.aclose()


def _socket(response: httpx2.Response) -> socket.socket:
    return response.extensions["network_stream"].get_extra_info("socket")


async def test_a_connection_that_is_waited_on_is_probed(tools):
    transport = Pool(tools.url)
    response = await transport.handle_async_request(httpx2.Request("GET", tools.url))
    asked = _socket(response).getsockopt
    assert asked(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    names = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 60_000}
    for name, value in names.items():
        if hasattr(socket, name):
            assert asked(socket.IPPROTO_TCP, getattr(socket, name)) == value
    await response.aclose()
    await transport.aclose()


async def test_what_the_system_does_not_take_is_left_out(monkeypatch, tools):
    monkeypatch.setattr(socket, "TCP_USER_TIMEOUT", 12345, raising=False)
    sockets._probing.cache_clear()
    try:
        assert 12345 not in {option for _, option, _ in sockets._probing()}
        async with connected(tools.url) as connection:
            await connection.call_tool("add", {"a": 1, "b": 2})
    finally:
        sockets._probing.cache_clear()


async def test_a_call_whose_connection_is_gone_without_a_word_ends_soon(monkeypatch):
    with socket.socket() as tried:
        try:
            tried.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        except OSError:
            pytest.skip("only root on Linux can have a connection disappear")
    monkeypatch.setattr(sockets, "QUIET", 1)
    sockets._probing.cache_clear()

    async def handle(method, message, writer):
        if (greeting := handshake(message)) is not None:
            writer.write(greeting)
            return
        writer.write(http(b"{", Content_Length="9"))  # no more of it comes
        await writer.drain()
        gone = writer.transport.get_extra_info("socket")
        gone.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        writer.transport.abort()

    try:
        async with toy(handle) as url, connected(url) as connection:
            with pytest.raises(ConnectionFailedError, match="broke off") as caught:
                await connection.call_tool("t", {})
            assert caught.value.may_have_run
    finally:
        sockets._probing.cache_clear()
