"""What tests of connections share: a connection for the block, and odd servers of a few lines."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from mcp_notebook.auth.stores import MemoryStore, TokenStore
from mcp_notebook.auth.tokens import TokenKeeper
from mcp_notebook.client.connection import Connection
from mcp_notebook.client.status import Status
from mcp_notebook.client.transport import Limits
from mcp_notebook.config.servers import Server
from tests.peers import visit
from tests.peers.fault_proxy import FaultProxy


@contextlib.asynccontextmanager
async def connection_to(
    url: str = "", *, store: TokenStore | None = None, **options: Any
) -> AsyncIterator[Connection]:
    """A connection that has been opened, but is not waited for; closed with the block."""
    ours = ("transport", "command", "env", "headers")
    settings = {key: options.pop(key) for key in ours if key in options}
    server = Server(name="peer", url=url, **settings)
    connection = Connection(server, TokenKeeper(store or MemoryStore()), **options)
    connection.open()
    try:
        yield connection
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def connected(url: str = "", **options: Any) -> AsyncIterator[Connection]:
    """The same, connected."""
    limits = options.pop("limits", None) or Limits(call_seconds=10)
    async with connection_to(url, limits=limits, **options) as connection:
        await connection.ready()
        yield connection


async def until(connection: Connection, condition: Callable[[], bool]) -> None:
    """Waits until the condition holds; it is looked at after each change of the connection."""
    async with asyncio.timeout(30):
        while not condition():
            await connection.changed()


async def listened_to(proxy: FaultProxy) -> None:
    """Waits until the client listens for news, which keeps a connection of its own busy."""
    listens = "subscriptions/listen"
    await asyncio.to_thread(proxy.wait_until, lambda: any(r.rpc == listens for r in proxy.seen))


async def link(connection: Connection) -> str:
    """Waits for the link of the sign-in that is under way."""
    async with asyncio.timeout(30):
        # A sign-in is looked at; it calls nobody.
        while connection.status is not Status.SIGNING_IN or not connection.sign_in.url:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    return connection.sign_in.url


async def person(connection: Connection, decision: Any = "approve") -> None:
    """Waits for the link and clicks."""
    await asyncio.to_thread(visit, await link(connection), decision)


Handler = Callable[[str, dict[str, Any], asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def toy(handle: Handler) -> AsyncIterator[str]:
    """A server that does what `handle(method, message, writer)` does, one request a connection.

    What has ``moved`` in its address is redirected to it.
    """
    serving: set[Any] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            _, _, length = head.partition("content-length:")
            body = await reader.readexactly(int(length.split()[0]) if length else 0)
            method, target, _ = head.split(" ", 2)
            if "moved" in target:
                writer.write(http(b"", status=307, Location="/mcp"))
            else:
                await handle(method.upper(), json.loads(body) if body else {}, writer)
            await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"
    finally:
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


def http(body: bytes, kind: str = "application/json", status: int = 200, **headers: str) -> bytes:
    """A whole HTTP answer, which ends with its connection."""
    lines = [f"HTTP/1.1 {status} Toy", f"Content-Type: {kind}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def result(message: dict[str, Any], **members: Any) -> bytes:
    """The JSON-RPC answer to a message."""
    return json.dumps({"jsonrpc": "2.0", "id": message.get("id"), "result": members}).encode()


def handshake(message: dict[str, Any]) -> bytes | None:
    """What a server of 2025-11-25 answers until it has one tool, `t`; None: that is past."""
    match message.get("method"):
        case "server/discover":
            return http(b"", status=404)
        case "initialize":
            info = {"name": "toy", "version": "1"}
            members = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}}
            return http(result(message, serverInfo=info, **members))
        case "tools/list":
            return http(result(message, tools=[{"name": "t", "inputSchema": {"type": "object"}}]))
        case "tools/call":
            return None
    return http(b"", status=202)
