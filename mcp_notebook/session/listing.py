"""What a server lists beside its tools: fetched in the background, then only looked at.

Once a connection stands, and whenever the server says that a list has changed, it is fetched by
the way: nobody waits for that, and a server that refuses is left in peace. So showing, completing
and copying what was listed asks the server nothing. Whoever needs a list for certain awaits it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from mcp_notebook.background import background
from mcp_notebook.client.news import PAUSE, Topic
from mcp_notebook.client.pages import pages
from mcp_notebook.client.status import Status
from mcp_notebook.errors import ServerError

if TYPE_CHECKING:
    from mcp import Client

    from mcp_notebook.client.connection import Connection

D = TypeVar("D")

logger = logging.getLogger(__name__)

GLANCE = 1.0
"""Seconds that showing or completing waits for a list that is on its way."""

_METHOD_NOT_FOUND = -32601  # JSON-RPC 2.0 §5.1


class Listing(Generic[D]):
    """One list of one server.

    Attributes:
        known: Whether it has been fetched; an empty one is known as well.
        whole: Whether there is no more than `items`.
    """

    def __init__(
        self,
        connection: Connection,
        topic: Topic,
        member: str,
        fetch: Callable[[Client, str | None], Awaitable[Any]],
        *,
        first_page: bool = False,
    ) -> None:
        """Prepares a list; it is fetched once the connection stands.

        Args:
            connection: Whom to ask.
            topic: The capability it belongs to.
            member: The member of a page that holds the items.
            fetch: Asks for one page, given the client and the page's cursor.
            first_page: Whether no more than that is fetched unasked: it may be a long list.
        """
        self.known = self.whole = False
        self._connection = connection
        self._topic = topic
        self._member = member
        self._fetch = fetch
        self._first_page = first_page
        self._items: list[D] = []
        self._version = 0
        self._task: asyncio.Task[None] | None = None
        self._settled = threading.Event()
        connection.news.listings.append(self._begin)

    @property
    def items(self) -> list[D]:
        """What the last listing said; waits a moment for one that is on its way."""
        if self._connection.status is Status.CONNECTED and not background().inside():
            self._settled.wait(GLANCE)
        return self._items

    async def needed(self) -> list[D]:
        """Returns the whole list, fetched if it is not known or has changed; on the loop.

        Raises:
            MCPNotebookError: Why it cannot be fetched.
        """
        await self._connection.ready()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=GLANCE)
        if self.whole and self._version == self._now():
            return self._items
        return await self.fresh()

    async def fresh(self) -> list[D]:
        """Fetches the whole list and returns it; on the loop.

        Raises:
            MCPNotebookError: Why it cannot be fetched.
        """
        await self._connection.ready()
        version = self._now()
        items = await pages(self._asked, self._member)
        self._take(items, version, whole=True)
        return self._items

    def _take(self, items: list[D], version: int, *, whole: bool) -> None:
        if version < self._version:
            return  # overtaken by a newer one
        # Replaced in one step: other threads look at it.
        self._items, self._version = items, version
        self.known, self.whole = True, whole

    def _now(self) -> int:
        return self._connection.news.changes[self._topic]

    # -- by the way ---------------------------------------------------------------------------

    def _begin(self) -> None:
        """Has the list fetched in the background, as often as it changes; on the loop."""
        if self._task is None or self._task.done():
            self._settled.clear()
            self._task = asyncio.create_task(self._keep())
            self._task.add_done_callback(lambda _: self._settled.set())

    async def _keep(self) -> None:
        version = -1
        while version != self._now():
            if version >= 0:
                await asyncio.sleep(PAUSE)
            version = self._now()
            client = self._connection.client
            if client is None:
                return
            try:
                await self._glean(client, version)
            except Exception as error:
                # Not worth a sign-in or a second try: whoever needs the list asks for it.
                logger.info("the %s were not listed: %s", self._member, type(error).__name__)
            self._settled.set()

    async def _glean(self, client: Client, version: int) -> None:
        if self._first_page:
            page = await self._page(client, None)
            self._take(getattr(page, self._member), version, whole=page.next_cursor is None)
        else:
            items = await pages(lambda cursor: self._page(client, cursor), self._member)
            self._take(items, version, whole=True)

    # -- pages --------------------------------------------------------------------------------

    async def _page(self, client: Client, cursor: str | None) -> Any:
        if getattr(client.server_capabilities, self._topic) is None:
            return _Page(self._member)
        return await self._fetch(client, cursor)

    async def _asked(self, cursor: str | None) -> Any:
        try:
            return await self._connection.ask(
                lambda client: self._page(client, cursor), operation=f"{self._topic}/list"
            )
        except ServerError as error:
            if error.code == _METHOD_NOT_FOUND:  # such as resources without templates
                return _Page(self._member)
            raise


class _Page:
    """A last page with nothing on it."""

    next_cursor: str | None = None

    def __init__(self, member: str) -> None:
        setattr(self, member, [])


async def within(seconds: float, work: Awaitable[D], otherwise: D) -> D:
    """Returns what the work comes to, or something else where it fails or takes too long."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(seconds):
            return await work
    return otherwise
