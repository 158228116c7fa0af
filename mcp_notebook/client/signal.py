"""A change that many may wait for."""

from __future__ import annotations

import asyncio


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
