"""Opens an `mcp.Client` to a server: the one place that knows how each transport is dialled."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, Implementation

from mcp_notebook._version import VERSION
from mcp_notebook.servers import Server, expand
from mcp_notebook.transport import GuardedClient, Limits


@dataclass(frozen=True, slots=True)
class Line:
    """An open client and the HTTP client below it (None for stdio)."""

    client: Client
    http: GuardedClient | None


@asynccontextmanager
async def dial(
    server: Server, auth: httpx2.Auth | None, *, limits: Limits, **callbacks: Any
) -> AsyncIterator[Line]:
    """Opens a client to the server and closes it on leaving, in the same task.

    Args:
        server: What to open.
        auth: Puts credentials on HTTP requests; unused for stdio.
        limits: Size and time bounds.
        callbacks: Handlers of `mcp.Client`, such as ``elicitation_callback``.

    Raises:
        Exception: Whatever the SDK raises, exception groups included; `connection` translates.
    """
    async with AsyncExitStack() as stack:
        http = None
        if server.transport == "stdio":
            transport: Any = stdio_client(_program(server), errlog=stack.enter_context(_errlog()))
        else:
            headers = {name: expand(value, os.environ) for name, value in server.headers.items()}
            http = await stack.enter_async_context(
                GuardedClient(
                    server.url, auth=auth, headers=headers, limits=limits, insecure=server.insecure
                )
            )
            transport = _web_transport(server, http, limits)
        client = Client(
            transport,
            client_info=Implementation(name="mcp_notebook", version=VERSION),
            mode="auto",
            **callbacks,
        )
        if http is None:
            await stack.enter_async_context(client)
        else:
            with http.opening():
                await stack.enter_async_context(client)
        # The SDK would run the server's regular expressions on the server's data under the GIL,
        # where neither a timeout nor Stop reaches it. Results are taken as they are.
        client.session.validate_tool_result = _accept  # type: ignore[method-assign]
        yield Line(client, http)


async def _accept(name: str, result: CallToolResult) -> None:
    return None


def _web_transport(server: Server, http: GuardedClient, limits: Limits) -> Any:
    if server.transport == "sse":
        from mcp.client.sse import sse_client

        return sse_client(server.url, httpx_client_factory=lambda **_: http)
    return streamable_http_client(
        server.url, http_client=http, max_sse_event_size=limits.event_bytes
    )


def _program(server: Server) -> StdioServerParameters:
    return StdioServerParameters(
        command=server.command[0],
        args=list(server.command[1:]),
        env={name: expand(value, os.environ) for name, value in server.env.items()} or None,
        cwd=server.cwd,
    )


def _errlog() -> Any:
    # Jupyter's sys.stderr has no file descriptor, which a subprocess needs.
    return tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
