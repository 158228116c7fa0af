"""What carries chunks to workers: a chunk goes out, and its reply comes back."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from mcp_notebook.background import background
from mcp_notebook.batch.chunks import Chunk, Reply


class Flight(Protocol):
    """A chunk that is out."""

    async def landed(self) -> None:
        """Waits until it is back, or lost."""

    def withdraw(self) -> bool:
        """Calls it back if that can be; tells whether it surely was not begun."""

    async def reply(self) -> Reply:
        """Returns what became of it, once it has landed.

        Raises:
            Exception: The worker could not run it, or there are no more workers.
        """


class Pool(Protocol):
    """Workers."""

    async def size(self) -> int:
        """Returns how many chunks are worked off at once."""

    def send(self, chunk: Chunk) -> Flight:
        """Has a worker begin a chunk as soon as one is free; on the loop, returns at once.

        Raises:
            Exception: There are no workers any more.
        """


class Landing:
    """A future of whatever kind, waited for on the loop. It lives on the loop it was made on."""

    def __init__(self, future: Any) -> None:
        self._future = future
        self._landed = asyncio.Event()
        here = background()
        future.add_done_callback(lambda _: here.post(self._landed.set))

    async def landed(self) -> None:
        """Waits until the future is done."""
        await self._landed.wait()
