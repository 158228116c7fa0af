"""Streams of events that end and are opened again: how often, and how quietly."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator

import httpx2

RESUMES = 100
"""Times one answer is resumed at most (MCP 2025-11-25, transports, "Resumability")."""

FIRST_GAP = 0.25
LONGEST_GAP = 60.0
LONGEST_RESUMING_GAP = 2.0
"""Seconds between two openings; doubled from the first to the longest."""

STEADY = 30.0
"""Seconds a stream has to live for the next to be opened at once."""


class Pace:
    """How often one task may open a stream.

    Attributes:
        resumes: Whether the streams resume one answer, which ends after `RESUMES`.
    """

    def __init__(self, *, resumes: bool = False) -> None:
        self.resumes = resumes
        self._longest = LONGEST_RESUMING_GAP if resumes else LONGEST_GAP
        self._opened = 0
        self._gap = 0.0
        self._last = 0.0

    async def wait(self) -> bool:
        """Waits for the next turn; returns False when there is none.

        The gap doubles while streams end soon, and is never the same twice: thousands of
        notebooks must not come back to a restarted server in one moment.
        """
        if self.resumes and self._opened >= RESUMES:
            return False
        lived = time.monotonic() - self._last
        if self._opened and lived < STEADY:
            self._gap = min(max(self._gap * 2, FIRST_GAP), self._longest)
            spread = random.uniform(0.75, 1.25)  # noqa: S311 -- no secret
            await asyncio.sleep(max(0.0, self._gap * spread - lived))
        else:
            self._gap = 0.0
        self._opened += 1
        self._last = time.monotonic()
        return True


class QuietStream(httpx2.AsyncByteStream):
    """The body of a listening stream, where breaking off is an ordinary end.

    The SDK gives the stream up for good after two errors; an idle hour must not cost a session
    its news.
    """

    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._stream:
                yield chunk
        except httpx2.HTTPError:
            return

    async def aclose(self) -> None:
        """Closes the connection's side of the stream."""
        await self._stream.aclose()
