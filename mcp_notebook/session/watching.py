"""A resource that is watched: the server tells when it changes, in both eras of the protocol.

Until 2025-11-25 a subscription is a request (``resources/subscribe``) and changes come as
notifications; from 2026-07-28 it is an answer that goes on (``subscriptions/listen``). Either is
made again in a new connection, and counts as a change then: nothing is replayed. Nobody is called
back: a `Watch` counts, and whoever holds it looks, or waits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from mcp.shared.subscriptions import ResourceUpdated
from mcp_types import (
    EmptyResult,
    SubscribeRequest,
    SubscribeRequestParams,
    UnsubscribeRequest,
    UnsubscribeRequestParams,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from mcp_notebook.background import background
from mcp_notebook.client import faults
from mcp_notebook.client.signal import Signal
from mcp_notebook.client.translating import translated
from mcp_notebook.errors import (
    ConnectionFailedError,
    MCPNotebookError,
    RequestTimeoutError,
    ServerError,
)
from mcp_notebook.redaction import printable
from mcp_notebook.results import html

if TYPE_CHECKING:
    from mcp import Client

    from mcp_notebook.client.dialing import Line
    from mcp_notebook.results.contents import ResourceResult
    from mcp_notebook.session.resources import Resources

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
"""Seconds before a subscription that ended is made again; doubled each time."""

GOODBYE = 1.0
"""Seconds that closing waits for the server to hear of it."""


class Watch:
    """One watched resource. As a context manager it is closed on leaving.

    Attributes:
        uri: The resource's address.
        changes: How often it has changed, as far as the server told.
        failure: Why it is not watched any more, or None.
    """

    def __init__(self, resources: Resources, uri: str) -> None:
        self.uri = uri
        self.changes = 0
        self.failure: MCPNotebookError | None = None
        self._resources = resources
        self._connection = resources._session.connection
        self._signal = Signal()
        self._read_at = 0
        self._last: float | None = None
        self._begun = False
        self._task = background().submit(self._keep())

    def wait(self, timeout: float | None = None) -> ResourceResult:
        """Waits for a change that has not been waited for yet, and reads the resource.

        Args:
            timeout: The longest time to wait, in seconds.

        Raises:
            RequestTimeoutError: It did not change in that time; it is watched on.
            MCPNotebookError: It is not watched, or cannot be read.
        """
        return self._resources._session.wait_for(self._changed(timeout)).result()

    async def aio(self, timeout: float | None = None) -> ResourceResult:  # noqa: ASYNC109 - ours
        """Does the same for ``await``: other tasks go on meanwhile."""
        return await self._resources._session.wait_for(self._changed(timeout))

    def __iter__(self) -> Iterator[ResourceResult]:
        """Yields the resource after each change, until the watch is closed."""
        while not self._task.done():
            try:
                changed = self.wait()
            except MCPNotebookError:
                if self._task.cancelled():  # closed while it was waited for
                    return
                raise
            yield changed

    def close(self) -> None:
        """Ends the watch."""
        self._task.cancel()

    @property
    def is_open(self) -> bool:
        """Whether the server is, or is about to be, listened to."""
        return not self._task.done()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- on the loop --------------------------------------------------------------------------

    async def _changed(self, seconds: float | None) -> ResourceResult:
        try:
            async with asyncio.timeout(seconds):
                await self._newer()
        except TimeoutError:
            raise RequestTimeoutError(
                f"{printable(self.uri, 100)} did not change within {seconds:g} s.",
                hint="It is watched on; wait again.",
            ) from None
        self._read_at = self.changes
        return await self._resources._read(self.uri)

    async def _newer(self) -> None:
        while self.changes == self._read_at:
            if self.failure is not None:
                raise self.failure
            if self._task.done():
                raise MCPNotebookError(
                    f"{printable(self.uri, 100)} is not watched any more.",
                    hint="Watch it again: resources.watch(address)",
                )
            await self._signal.wait()

    async def _keep(self) -> None:
        lost = 0
        try:
            while True:
                line = await self._connection.ready()
                began = time.monotonic()
                try:
                    await self._follow(line)
                except ConnectionFailedError as error:
                    if not faults.passes(error):
                        raise
                lost = lost + 1 if time.monotonic() - began < LONGEST_PAUSE else 0
                if lost > 1:
                    await asyncio.sleep(min(FIRST_PAUSE * 2 ** (lost - 2), LONGEST_PAUSE))
                self._note()  # it may have changed meanwhile
        except MCPNotebookError as error:
            self.failure = error.with_traceback(None)
        finally:
            self._signal.fire()

    async def _follow(self, line: Line) -> None:
        """Listens until the subscription or the connection ends."""
        client = line.client
        offered = client.server_capabilities.resources
        if offered is None or not offered.subscribe:
            raise ServerError(
                f"{self._resources._session.name} does not tell when a resource changes.",
                hint="Read it again when you need it: resources.read(address)",
            )
        listen = client.protocol_version in MODERN_PROTOCOL_VERSIONS
        try:
            await (self._until_over(line) if listen else self._subscribe(line))
        except Exception as error:
            connection = self._connection
            raise translated(error, connection.server, line.http, connection.limits) from None
        finally:
            self._begun = False

    async def _until_over(self, line: Line) -> None:
        # A client is left quickly only when nobody listens on it any more.
        tasks = [
            asyncio.create_task(self._listen(line.client)),
            asyncio.create_task(line.over.wait()),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _subscribe(self, line: Line) -> None:
        request = SubscribeRequest(params=SubscribeRequestParams(uri=self.uri))
        news = self._connection.news
        news.watchers[self._told] = self.uri
        try:
            async with news.subscribing:
                await line.client.session.send_request(request, EmptyResult)
            self._begin()
            await line.over.wait()
        except asyncio.CancelledError:
            if self._begun:
                with suppress(Exception):
                    await asyncio.wait_for(self._unsubscribe(line.client), GOODBYE)
            raise
        finally:
            news.watchers.pop(self._told, None)

    async def _unsubscribe(self, client: Client) -> None:
        # The server knows one subscription per session and address; another watch may need it.
        news = self._connection.news
        news.watchers.pop(self._told, None)
        async with news.subscribing:
            if self.uri not in news.watchers.values():
                request = UnsubscribeRequest(params=UnsubscribeRequestParams(uri=self.uri))
                await client.session.send_request(request, EmptyResult)

    async def _listen(self, client: Client) -> None:
        with suppress(RuntimeError, TimeoutError):  # SubscriptionLost: it is made again
            async with client.listen(resource_subscriptions=[self.uri]) as subscription:
                self._begin()
                # `News` hears of every event as well, but once for each that listens.
                async for event in subscription:
                    if isinstance(event, ResourceUpdated):
                        self._told(event.uri)

    def _begin(self) -> None:
        self._begun = True
        self._signal.fire()

    def _told(self, uri: str) -> None:
        # What changed may be a part of what is watched (MCP, "Subscriptions").
        if uri == self.uri or uri.startswith(self.uri):
            self._note()

    def _note(self) -> None:
        self.changes += 1
        self._last = time.time()
        self._signal.fire()

    # -- being shown --------------------------------------------------------------------------

    def __repr__(self) -> str:
        return self._line()

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": self._line(), "text/html": html.output(html.remark(self._line()))}

    def _line(self) -> str:
        name = f"{self._resources._session.name} · {printable(self.uri, 200)}"
        if self.failure is not None:
            return f"{name}: not watched. {self.failure.message}"
        if not self.is_open:
            return f"{name}: not watched any more"
        if not self._begun:
            return f"{name}: about to be watched"
        if self._last is None:
            return f"{name}: watched, no change yet"
        clock = time.strftime("%H:%M:%S", time.localtime(self._last))
        times = f"{self.changes:,} change{'s' * (self.changes != 1)}"
        return f"{name}: watched, {times}, the last at {clock}"

    def __reduce_ex__(self, protocol: object) -> Any:
        raise TypeError("a Watch is live and is not pickled")
