"""A change that many may wait for."""

from __future__ import annotations

import asyncio
import contextlib


class Signal:
    """Wakes whoever waits for the next change. For one event loop."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def fire(self) -> None:
        """Wakes all who wait."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self) -> None:
        """Waits for the next `fire`."""
        await self._event.wait()


async def set_within(event: asyncio.Event, seconds: float) -> None:
    """Waits until the event is set, but for so many seconds at the most."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
