"""The transport of 2024-11-05, HTTP with SSE: one stream of events carries every answer.

The SDK's own limits an event to 1 MiB and loses a request whose POST fails for ever, because its
answer would come on the stream. Here the guard's answer to such a POST is put where the server's
would have come.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import httpx2
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter
from pydantic import ValidationError

from mcp_notebook.client.transport import GuardedClient
from mcp_notebook.config.urls import origin
from mcp_notebook.errors import ConnectionFailedError
from mcp_notebook.redaction import printable

_Streams = tuple[
    MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]
]


@asynccontextmanager
async def sse_transport(url: str, http: GuardedClient) -> AsyncIterator[_Streams]:
    """Opens the stream and yields what `mcp.Client` reads from and writes to.

    Args:
        url: Where the stream of events is.
        http: The client; made with ``answers_elsewhere``.

    Raises:
        ConnectionFailedError: There is no such stream, or it names no endpoint on its own origin.
    """
    incoming, read = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    write, outgoing = anyio.create_memory_object_stream[SessionMessage](0)
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
    async with (
        incoming,
        read,
        write,
        outgoing,
        http.stream("GET", url, headers=headers) as response,
    ):
        await http.check_stream(response)
        events = aiter(httpx2.EventSource(response, max_event_size=http.bounds.event_bytes))
        endpoint = await _endpoint(url, events, http.name)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_receive, events, incoming)
            tasks.start_soon(_deliver, endpoint, http, outgoing, incoming)
            yield read, write
            tasks.cancel_scope.cancel()


async def _endpoint(url: str, events: Any, name: str) -> str:
    async for event in events:
        if event.event == "endpoint":
            endpoint = str(httpx2.URL(url).join(event.data))
            if origin(endpoint) == origin(url):
                return endpoint
            break
    raise ConnectionFailedError(
        f"{name} names no endpoint of its own for messages.",
        hint="Is this its address for HTTP+SSE? Newer servers speak streamable HTTP.",
    )


async def _receive(events: Any, incoming: MemoryObjectSendStream[Any]) -> None:
    async with incoming:
        with suppress(httpx2.HTTPError):  # the end of the stream says it all
            async for event in events:
                if event.event != "message" or not event.data:
                    continue
                try:
                    message = jsonrpc_message_adapter.validate_json(event.data, by_name=False)
                except ValidationError:
                    problem = printable(event.data, 80)
                    await incoming.send(ValueError(f"not a JSON-RPC message: {problem}"))
                else:
                    await incoming.send(SessionMessage(message))


async def _deliver(
    endpoint: str,
    http: GuardedClient,
    outgoing: MemoryObjectReceiveStream[SessionMessage],
    incoming: MemoryObjectSendStream[Any],
) -> None:
    async def post(message: dict[str, Any]) -> None:
        response = await http.post(endpoint, json=message)
        if http.answered(response):
            answer = jsonrpc_message_adapter.validate_json(response.content, by_name=False)
            with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                await incoming.send(SessionMessage(answer))

    async with anyio.create_task_group() as tasks:
        async for item in outgoing:
            message = item.message.model_dump(by_alias=True, mode="json", exclude_unset=True)
            if "id" in message:
                tasks.start_soon(post, message)
            else:
                await post(message)
