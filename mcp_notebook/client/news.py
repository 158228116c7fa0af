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
from typing import Any, Literal

from mcp import Client
from mcp.client.subscriptions import (
    ListenNotSupportedError,
)
from mcp.shared.exceptions import MCPError
from mcp_types import (
    METHOD_NOT_FOUND,
    PromptListChangedNotification,
    ResourceListChangedNotification,
    ResourceUpdatedNotification,
    Tool,
    ToolListChangedNotification,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

Topic = Literal["prompts", "resources"]

PAUSE = 0.3
"""Seconds between two listings at least."""

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
"""Seconds before a subscription that broke off is made again; doubled each time."""


class News:
    """What one server said has changed, for whoever keeps what it listed. On the loop.

    Attributes:
        tools: Set when the tools have changed, until they are listed again.
        changes: How often each of the other lists has changed.
        readers: Called with the tools when they have been listed; must not block.
        listings: Called when one of the other lists has changed; must not block.
        watchers: Called with the address of a resource that has changed, until 2025-11-25, and what
            each of them watches; must not block.
        subscribing: Held while a subscription is made or ended, until 2025-11-25: requests that
            are under way at once may arrive in either order.
    """

    def __init__(self) -> None:
        self.tools = asyncio.Event()
        self.changes: dict[Topic, int] = {"prompts": 0, "resources": 0}
        self.readers: list[Callable[[list[Tool]], None]] = []
        self.listings: list[Callable[[], None]] = []
        self.watchers: dict[Callable[[str], None], str] = {}
        self.subscribing = asyncio.Lock()

    async def handle(self, message: Any) -> None:
        """The ``message_handler`` of `mcp.Client`."""
        match message:
            case ToolListChangedNotification():
                self.tools.set()
            case PromptListChangedNotification():
                self._changed("prompts")
            case ResourceListChangedNotification():
                self._changed("resources")
            case ResourceUpdatedNotification():
                for watcher in list(self.watchers):
                    watcher(message.params.uri)

    def listed(self, tools: list[Tool]) -> None:
        """Tells the readers what the tools are now."""
        for reader in self.readers:
            reader(tools)

    def begin(self) -> None:
        """Takes the other lists for changed: this is a new connection."""
        self._changed(*self.changes)

    def missed(self) -> None:
        """Takes everything for changed: nobody listened for a while."""
        self.tools.set()
        self.begin()

    def _changed(self, *topics: Topic) -> None:
        for topic in topics:
            self.changes[topic] += 1
        for listing in self.listings:
            listing()


@asynccontextmanager
async def followed(
    client: Client, news: News, list_again: Callable[[], Awaitable[None]]
) -> AsyncIterator[None]:
    """Keeps what is known of the tools fresh while the block runs.

    Args:
        client: The open client.
        news: Where what has changed is noted.
        list_again: Lists them; must not raise.
    """

    async def keep() -> None:
        while True:
            await news.tools.wait()
            news.tools.clear()
            await list_again()
            await asyncio.sleep(PAUSE)  # a server may say so a thousand times a second

    news.begin()
    tasks = [asyncio.create_task(listen(client, news)), asyncio.create_task(keep())]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def listen(client: Client, news: News) -> None:
    """Keeps a subscription to all lists the server tells changes of; returns if there is none."""
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
                    news.missed()
                lost = 0
                async for _ in subscription:
                    pass  # every event comes to `News.handle` as a notification too
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
