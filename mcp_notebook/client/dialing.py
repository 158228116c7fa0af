"""Opens an `mcp.Client` to a server: the one place that knows how each transport is dialled."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from contextvars import Context
from dataclasses import dataclass, field
from functools import partial
from typing import IO, Any, Self

import httpx2
from mcp import Client
from mcp.client import stdio
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import SessionMessage
from mcp_types import CallToolResult, Implementation, JSONRPCResponse

from mcp_notebook._version import VERSION
from mcp_notebook.auth.bearer import Bearer, TokenSource
from mcp_notebook.client.faults import ProgramError
from mcp_notebook.client.logs import tame
from mcp_notebook.client.sse import sse_transport
from mcp_notebook.client.translating import is_answer
from mcp_notebook.client.transport import GuardedClient, Limits
from mcp_notebook.config.servers import Server, address_of, expand, request_headers
from mcp_notebook.recording.player import Player
from mcp_notebook.recording.recorder import Recorder
from mcp_notebook.redaction import clean_lines, redact

GRACE = 0.8
"""Seconds a program has to end by itself once its input is closed, before it is terminated."""

LAST_GRACE = 0.4
"""Seconds it then has before it is killed."""

# The SDK gives it two and two, which is more than a kernel has to end: the program would outlive
# it. So would one that ignores SIGTERM, as the SDK's patience ends with the task (`task.cancel`).
stdio.PROCESS_TERMINATION_TIMEOUT = GRACE
stdio.FORCE_KILL_TIMEOUT = LAST_GRACE

tame()

TAIL = 2000
"""Characters of a program's last words that are shown."""


@dataclass(slots=True, eq=False)
class Line:
    """An open client and the HTTP client below it (None for stdio).

    Attributes:
        live: The client as it was opened.
        client: The one to ask: the same, or one that records what it answers.
        over: Set when the line is no longer any good: the program ended, the session is lost.
        served: Whether a call was answered.
    """

    live: Client
    http: GuardedClient | None
    over: asyncio.Event
    client: Client = field(init=False)
    served: bool = False
    _calls: int = 0
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.client = self.live

    def record(self, recorder: Recorder | None, server: Server) -> None:
        """Has what the server answers from now on recorded, or no more."""
        if recorder is None:
            self.client = self.live
        else:
            self.client = recorder.client(server, self.live, partial(is_answer, http=self.http))

    @contextmanager
    def in_use(self) -> Iterator[Client]:
        """Counts the block as one call."""
        self._calls += 1
        self._idle.clear()
        try:
            yield self.client
            self.served = True
        finally:
            self._calls -= 1
            if not self._calls:
                self._idle.set()

    async def idle(self, seconds: float) -> None:
        """Waits until no call is under way, for so many seconds at the most."""
        if self._calls:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), seconds)


@asynccontextmanager
async def dial(
    server: Server,
    tokens: TokenSource | None,
    *,
    limits: Limits,
    environ: Mapping[str, str] | None = None,
    player: Player | None = None,
    **callbacks: Any,
) -> AsyncIterator[Line]:
    """Opens a client to the server and closes it on leaving, in the same task.

    Args:
        server: What to open.
        tokens: Where the token of a request comes from; None for stdio.
        limits: Size and time bounds.
        environ: Where the variables are that the server names; this process's by default.
        player: A recording that answers in place of the server, which is not contacted then.
        callbacks: Handlers of `mcp.Client`, such as ``elicitation_callback``.

    Raises:
        Exception: Whatever the SDK raises, exception groups included; `translating` sorts it out.
    """
    over = asyncio.Event()
    environ = os.environ if environ is None else environ
    if player is not None:
        yield Line(player.client(server.name), None, over)
        return
    async with AsyncExitStack() as stack:
        if server.transport == "stdio":
            http = None
            errlog = stack.enter_context(_errlog())
            client = _client(_Watched(_stdio(server, environ, errlog), over), limits, callbacks)
            await _start(stack, client, server, errlog, over, limits.open_seconds)
        else:
            auth = None
            if tokens is not None:
                auth = Bearer(tokens)
                # Renewed before the client opens: the SDK's first request has ten seconds only, and
                # a slow authorization server would make it fall back to the older protocol.
                await tokens.current()
            http = await stack.enter_async_context(_http(server, auth, environ, limits))
            with http.opening():
                client = _client(_web_transport(server, http, environ, over), limits, callbacks)
                async with asyncio.timeout(limits.open_seconds):
                    await stack.enter_async_context(client)
        # The SDK would run the server's regular expressions on the server's data under the GIL,
        # where neither a timeout nor Stop reaches it. Results are taken as they are.
        client.session.validate_tool_result = _accept  # type: ignore[method-assign]
        yield Line(client, http, over)


def _client(transport: Any, limits: Limits, callbacks: dict[str, Any]) -> Client:
    return Client(
        transport,
        client_info=Implementation(name="mcp_notebook", version=VERSION),
        mode="auto",
        read_timeout_seconds=limits.call_seconds,
        **callbacks,
    )


async def _accept(name: str, result: CallToolResult) -> None:  # noqa: ARG001 -- the SDK's names
    return None


def _http(
    server: Server, auth: httpx2.Auth | None, environ: Mapping[str, str], limits: Limits
) -> GuardedClient:
    return GuardedClient(
        server.url,
        auth=auth,
        headers=request_headers(server, environ),
        limits=limits,
        insecure=server.insecure,
        name=server.name,
        answers_elsewhere=server.transport == "sse",
    )


def _web_transport(
    server: Server, http: GuardedClient, environ: Mapping[str, str], over: asyncio.Event
) -> Any:
    url = address_of(server, environ)
    if server.transport == "sse":
        return _Watched(sse_transport(url, http), over)
    transport = streamable_http_client(
        url, http_client=http, max_sse_event_size=http.bounds.event_bytes
    )
    return _Watched(transport, over)


# -- programs on this machine -----------------------------------------------------------------


def _stdio(server: Server, environ: Mapping[str, str], errlog: IO[str]) -> Any:
    return stdio.stdio_client(
        stdio.StdioServerParameters(
            command=server.command[0],
            args=list(server.command[1:]),
            env={name: expand(value, environ) for name, value in server.env.items()} or None,
            cwd=server.cwd,
        ),
        errlog=errlog,  # type: ignore[arg-type]
    )


async def _start(
    stack: AsyncExitStack,
    client: Client,
    server: Server,
    errlog: IO[str],
    over: asyncio.Event,
    seconds: float,
) -> None:
    """Starts a program and opens the client to it, and tells what it said if it ends at once."""
    try:
        async with asyncio.timeout(seconds):
            await stack.enter_async_context(client)
    except Exception:
        if over.is_set():
            raise _ended(server, errlog) from None
        raise


def _ended(server: Server, errlog: IO[str]) -> ProgramError:
    size = errlog.seek(0, os.SEEK_END)
    errlog.seek(max(0, size - 4 * TAIL))
    words = clean_lines(redact(errlog.read()))[-TAIL:].strip()
    return ProgramError(
        f"The program of {server.name} ended before it answered.",
        hint=f"Its last words: {words}" if words else "It said nothing. Does it start in a shell?",
    )


def _errlog() -> IO[str]:
    # Jupyter's sys.stderr has no file descriptor, which a subprocess needs.
    return tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")


class _Watched:
    """A transport that tells when what it reads has come to its end, and reads leniently."""

    def __init__(self, transport: AbstractAsyncContextManager[Any], over: asyncio.Event) -> None:
        self._transport = transport
        self._over = over

    async def __aenter__(self) -> tuple[Any, Any]:
        read, write = await self._transport.__aenter__()
        return _WatchedStream(read, self._over), write

    async def __aexit__(self, *raised: Any) -> bool | None:
        return await self._transport.__aexit__(*raised)


class _WatchedStream:
    def __init__(self, stream: Any, over: asyncio.Event) -> None:
        self._stream = stream
        self._over = over

    @property
    def last_context(self) -> Context | None:
        # Where the SDK finds the context a message was sent in, for its handlers.
        return getattr(self._stream, "last_context", None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            item = await self._stream.__anext__()
        except Exception:  # its end, or closed under the reader
            self._over.set()
            raise
        return _with_result_type(item)

    async def receive(self) -> Any:
        return _with_result_type(await self._stream.receive())

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: Any) -> None:
        await self.aclose()


def _with_result_type(item: SessionMessage | Exception) -> SessionMessage | Exception:
    """Fills in what an absent ``resultType`` means (MCP 2026-07-28, "Result Type").

    Servers of that revision forget it, and the SDK would refuse their answer. It would also refuse
    a task as the answer to ``tools/call`` (MCP 2025-11-25, tasks), for want of content.
    """
    if isinstance(item, SessionMessage) and isinstance(item.message, JSONRPCResponse):
        item.message.result.setdefault("resultType", "complete")
        if isinstance(item.message.result.get("task"), dict):
            item.message.result.setdefault("content", [])
    return item
