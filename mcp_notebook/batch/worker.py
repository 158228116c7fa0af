"""The far side of a batch that is spread over processes: takes a chunk of calls and makes them.

A process has one connection per session, opened by the first chunk and closed when none came for
a while, or at exit; see `client.lending`. Each call is made once; whether again, and when, is
decided where the batch is. A chunk ends early when its time is over or the server wants a pause,
so that it neither holds up Stop nor presses a server that is busy.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from mcp_notebook._version import VERSION
from mcp_notebook.background import Background, background
from mcp_notebook.batch.chunks import Chunk, Reply
from mcp_notebook.batch.pacing import Rate
from mcp_notebook.client import faults
from mcp_notebook.client.connection import Connection
from mcp_notebook.client.lending import Access, Borrowed
from mcp_notebook.client.tasks import send_call
from mcp_notebook.errors import (
    ConnectionFailedError,
    ExecutorError,
    MCPNotebookError,
    SignInError,
)

IDLE_SECONDS = 30.0
"""How long a connection is kept that no chunk uses."""


def work_off(chunk: Chunk) -> Reply:
    """Makes the calls of a chunk. What an executor runs in its worker."""
    leave_stop_to_the_parent()
    if chunk.version != VERSION:
        return Reply(
            trouble=ExecutorError(
                f"The workers have mcp_notebook {VERSION}, and the batch is of {chunk.version}.",
                hint="Install the same version everywhere.",
            )
        )
    if background().inside():
        return Reply(
            trouble=ExecutorError(
                "The executor runs its work in the thread that hands it out.",
                hint="Give one with workers of its own, such as a ProcessPoolExecutor.",
            )
        )
    return background().submit(_Shift(chunk).run()).result()


def leave_stop_to_the_parent() -> None:
    """Has a worker process outlive Stop: Jupyter interrupts the kernel's children as well.

    The parent ends the work by itself, and a pool that loses a worker is broken for good. Does
    nothing in the process of whoever made the pool, nor in another thread than the main one.
    """
    child = multiprocessing.parent_process() is not None
    if child and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


class _Shift:
    """One chunk being worked off. Lives on the loop."""

    def __init__(self, chunk: Chunk) -> None:
        self._chunk = chunk
        self._left = iter(enumerate(chunk.calls))
        self._rate = Rate(1 / chunk.interval) if chunk.interval else None
        self._end = 0.0
        self._begun = self._over = False
        self._reply = Reply()

    async def run(self) -> Reply:
        async with _links().in_use(self._chunk.access) as connection:
            try:
                await connection.ready()
            except MCPNotebookError as error:
                if isinstance(error, ConnectionFailedError):
                    error.may_have_run = False  # the opening failed: no call was sent
                return Reply(trouble=error)
            began = time.monotonic()
            self._end = began + self._chunk.seconds
            await asyncio.gather(*(self._lane(connection) for _ in range(self._chunk.lanes)))
            self._reply.seconds = time.monotonic() - began
        return self._reply

    async def _lane(self, connection: Connection) -> None:
        for number, arguments in self._left:  # shared by the lanes
            if self._rate is not None:
                await self._rate.turn()
            if self._over or (self._begun and time.monotonic() >= self._end):
                return
            self._begun = True
            await self._make(connection, number, arguments)

    async def _make(self, connection: Connection, number: int, arguments: dict[str, Any]) -> None:
        chunk = self._chunk
        try:
            raw = await send_call(
                connection, chunk.tool, arguments, as_task=chunk.as_task, patient=False
            )
        except MCPNotebookError as error:
            self._reply.outcomes[number] = error
            self._over = self._over or chunk.until_failure or _ends(error)
        else:
            self._reply.outcomes[number] = raw.model_dump_json(by_alias=True, exclude_none=True)
            self._over = self._over or (chunk.until_failure and bool(raw.is_error))


def _ends(error: MCPNotebookError) -> bool:
    """Tells whether the calls after one that failed like this would fail likewise."""
    return isinstance(error, SignInError) or faults.passes(error)


# -- connections ------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class _Link:
    connection: Borrowed
    users: int = 0
    closing: asyncio.TimerHandle | None = None


class _Links:
    """The connections of this process, by the session they are of. Lives on the loop."""

    def __init__(self) -> None:
        self._all: dict[str, _Link] = {}
        self._closing: set[asyncio.Task[None]] = set()
        background().at_exit(self._close)

    @asynccontextmanager
    async def in_use(self, access: Access) -> AsyncIterator[Connection]:
        """Keeps a session's connection open for the block, with the access it was given."""
        link = self._all.get(access.key)
        if link is None:
            link = self._all[access.key] = _Link(Borrowed(access))
        if link.closing is not None:
            link.closing.cancel()
        link.users += 1
        try:
            link.connection.take(access)
            yield link.connection
        finally:
            link.users -= 1
            if not link.users:
                loop = asyncio.get_running_loop()
                link.closing = loop.call_later(IDLE_SECONDS, self._leave, access.key)

    def _leave(self, key: str) -> None:
        connection = self._all.pop(key).connection
        closing = asyncio.get_running_loop().create_task(connection.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _close(self) -> None:
        links = list(self._all.values())
        self._all.clear()
        await asyncio.gather(*(link.connection.close() for link in links))


_current: tuple[Background, _Links] | None = None


def _links() -> _Links:
    """Returns the connections on this process's loop: a forked child has none yet."""
    global _current
    here = background()
    if _current is None or _current[0] is not here:
        _current = here, _Links()
    return _current[1]
