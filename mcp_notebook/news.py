"""What a server says by itself about its lists having changed, in both eras of the protocol.

Until 2025-11-25 such notifications just come. From 2026-07-28 they are asked for with
``subscriptions/listen``, a request whose answer goes on for ever, and which is made again when it
broke off; nothing is replayed then, so a new subscription counts as news itself.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from mcp import Client
from mcp.client.subscriptions import ListenNotSupportedError, ToolsListChanged
from mcp.shared.exceptions import MCPError
from mcp_types import METHOD_NOT_FOUND, ToolListChangedNotification
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

PAUSE = 0.3
"""Seconds between two listings at least."""

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
"""Seconds before a subscription that broke off is made again; doubled each time."""


def handler(tools_changed: Callable[[], None]) -> Callable[[Any], Awaitable[None]]:
    """Returns a message handler of `mcp.Client` that notices changed tools.

    Args:
        tools_changed: Called when the tools have changed; must not block.
    """

    async def handle(message: Any) -> None:
        if isinstance(message, ToolListChangedNotification):
            tools_changed()

    return handle


@asynccontextmanager
async def followed(
    client: Client, stale: asyncio.Event, list_again: Callable[[], Awaitable[None]]
) -> AsyncIterator[None]:
    """Keeps what is known of the tools fresh while the block runs.

    Args:
        client: The open client.
        stale: Set when the tools have changed.
        list_again: Lists them; must not raise.
    """

    async def keep() -> None:
        while True:
            await stale.wait()
            stale.clear()
            await list_again()
            await asyncio.sleep(PAUSE)  # a server may say so a thousand times a second

    tasks = [asyncio.create_task(listen(client, stale.set)), asyncio.create_task(keep())]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def listen(client: Client, tools_changed: Callable[[], None]) -> None:
    """Keeps a subscription to all lists the server tells changes of; returns if there is none.

    The lists of prompts and resources are subscribed to for the SDK's cache, which forgets what
    has changed.
    """
    offered = client.server_capabilities
    tools, prompts, resources = (
        bool(lists and lists.list_changed)
        for lists in (offered.tools, offered.prompts, offered.resources)
    )
    modern = client.protocol_version in MODERN_PROTOCOL_VERSIONS
    if not modern or not (tools or prompts or resources):
        return
    lost = 0
    while True:
        try:
            async with client.listen(
                tools_list_changed=tools,
                prompts_list_changed=prompts,
                resources_list_changed=resources,
            ) as subscription:
                if lost:
                    tools_changed()
                lost = 0
                async for event in subscription:
                    if isinstance(event, ToolsListChanged):
                        tools_changed()
        except ListenNotSupportedError:
            return
        except MCPError as error:
            if error.code == METHOD_NOT_FOUND:
                return
        except (RuntimeError, TimeoutError):  # SubscriptionLost, or nobody confirmed it
            pass
        lost += 1
        pause = min(FIRST_PAUSE * 2 ** (lost - 1), LONGEST_PAUSE)
        await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 -- no secret
