"""What a server lists beside its tools, fetched once somebody looks for it.

Most sessions never ask for resources or prompts, so connecting does not list them. Touching
``session.prompts`` does, in the background; from then on showing, completing and copying only
read what came. A listing is fetched again in a new connection and after the server said that it
has changed.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from mcp_notebook.background import background
from mcp_notebook.errors import MCPNotebookError, ServerError
from mcp_notebook.pages import pages
from mcp_notebook.status import Status

if TYPE_CHECKING:
    from mcp import Client

    from mcp_notebook.connection import Connection

D = TypeVar("D")

logger = logging.getLogger(__name__)

GLANCE = 1.0
"""Seconds that showing or completing waits for a listing that is on its way."""

_METHOD_NOT_FOUND = -32601  # JSON-RPC 2.0 §5.1

Topic = Literal["prompts", "resources"]


class Listing(Generic[D]):
    """One listing of one server.

    Attributes:
        topic: The capability it belongs to.
        known: Whether it has been fetched; an empty one is known as well.
    """

    def __init__(
        self,
        connection: Connection,
        topic: Topic,
        member: str,
        fetch: Callable[[Client, str | None], Awaitable[Any]],
    ) -> None:
        """Prepares a listing; nothing is asked yet.

        Args:
            connection: Whom to ask.
            topic: The capability it belongs to.
            member: The member of a page that holds the items.
            fetch: Asks for one page, given the client and the page's cursor.
        """
        self.topic = topic
        self.known = False
        self._connection = connection
        self._member = member
        self._fetch = fetch
        self._items: list[D] = []
        self._version = 0
        self._coming: concurrent.futures.Future[list[D]] | None = None

    @property
    def items(self) -> list[D]:
        """What the last listing said; waits a moment for one that is on its way."""
        coming = self._coming
        if coming is not None and not coming.done() and not background().inside():
            with contextlib.suppress(Exception):
                coming.result(GLANCE)
        return self._items

    def begin(self) -> None:
        """Has the listing fetched in the background, unless it is known or not the time for it."""
        connection = self._connection
        under_way = self._coming is not None and not self._coming.done()
        fresh = self.known and self._version == self._now()
        if connection.status is Status.CONNECTED and not under_way and not fresh:
            self._coming = background().submit(self._quietly())

    async def _quietly(self) -> list[D]:
        try:
            return await self.fresh()
        except MCPNotebookError as error:
            logger.info("a server's %s were not listed: %s", self._member, type(error).__name__)
            return self._items

    async def needed(self) -> list[D]:
        """Returns the listing, fetched if it is not known or has changed; on the loop.

        Raises:
            MCPNotebookError: Why it cannot be fetched.
        """
        await self._connection.ready()
        if self.known and self._version == self._now():
            return self._items
        return await self.fresh()

    async def fresh(self) -> list[D]:
        """Fetches the listing and returns it; on the loop.

        Raises:
            MCPNotebookError: Why it cannot be fetched.
        """
        await self._connection.ready()
        version = self._now()
        # Replaced in one step: other threads look at it.
        self._items = await pages(self._page, self._member)
        self.known, self._version = True, version
        return self._items

    async def _page(self, cursor: str | None) -> Any:
        try:
            return await self._connection.ask(
                lambda client: self._offered(client, cursor), operation=f"{self.topic}/list"
            )
        except ServerError as error:
            if error.code == _METHOD_NOT_FOUND:  # such as resources without templates
                return _Page(self._member)
            raise

    async def _offered(self, client: Client, cursor: str | None) -> Any:
        if getattr(client.server_capabilities, self.topic) is None:
            return _Page(self._member)
        return await self._fetch(client, cursor)

    def _now(self) -> int:
        return self._connection.news.changes[self.topic]


class _Page:
    """A last page with nothing on it."""

    next_cursor: str | None = None

    def __init__(self, member: str) -> None:
        setattr(self, member, [])


async def within(seconds: float, work: Awaitable[D], otherwise: D) -> D:
    """Returns what the work comes to, or something else where it fails or takes too long."""
    try:
        async with asyncio.timeout(seconds):
            return await work
    except Exception as error:
        logger.info("a server made no suggestions: %s", type(error).__name__)
        return otherwise
