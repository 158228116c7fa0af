"""How fast a server is called: as fast as it likes, and slower as soon as it says so.

One `Throttle` belongs to one session and is shared by all its batches, so that two of them do not
do together what each alone avoids. It is additive increase, multiplicative decrease, as in TCP
(RFC 5681): a refusal halves the number of calls under way and makes all of them pause, for as
long as ``Retry-After`` says or for a growing, jittered while; every answer gives a little back.
"""

from __future__ import annotations

import asyncio
import math
import random
import re
import time
from collections import deque

from mcp_notebook.errors import ToolError

PAUSE = 0.5
"""Seconds of the first pause where the server names none; doubled at each refusal in a row."""

LONGEST_PAUSE = 30.0

_UNITS = {"s": 1.0, "sec": 1.0, "second": 1.0, "m": 60.0, "min": 60.0, "minute": 60.0}
_UNITS |= {"h": 3600.0, "hour": 3600.0, "d": 86400.0, "day": 86400.0}
_RATE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:/|per)\s*([a-z]+)\s*", re.IGNORECASE)


class Throttle:
    """How many calls of a session's batches may be under way at once. Lives on the loop.

    Attributes:
        limit: That number; infinite until the server refuses a call, if none is given.
    """

    def __init__(self, limit: float = math.inf) -> None:
        self.limit = limit
        self._under_way = 0
        self._until = -math.inf
        self._set_back_at = -math.inf
        self._in_a_row = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> float:
        """Waits for a turn to call; `leave` gives it back.

        Returns:
            When the turn was had (`time.monotonic`), for `passed` and `set_back`.
        """
        while True:
            pause = self._until - time.monotonic()
            if pause > 0:
                await asyncio.sleep(pause)
            elif self._room() > 0:
                self._under_way += 1
                return time.monotonic()
            else:
                await self._woken()

    def take(self, most: int) -> int:
        """Takes further turns, as many as are free right now; `leave` gives each back.

        Returns:
            How many they are.
        """
        taken = int(max(0, min(most, self._room())))
        self._under_way += taken
        return taken

    async def _woken(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._wake()  # the turn was ours and is not taken: somebody else may have it
            raise

    def leave(self) -> None:
        """Gives a turn back."""
        self._under_way -= 1
        if self._waiting:
            self._wake()

    def _wake(self) -> None:
        free = self._room()
        while self._waiting and free > 0:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                free -= 1

    def _room(self) -> float:
        return (math.floor(self.limit) if self._limited else math.inf) - self._under_way

    def passed(self, began: float) -> None:
        """Notes that a call was answered, whatever the answer."""
        if self._limited and began >= self._set_back_at:
            self._in_a_row = 0
            self.limit += 1 / self.limit
            self._wake()

    def set_back(self, began: float, retry_after: float | None) -> None:
        """Notes that the server refused a call, or was not there.

        Args:
            began: When the call had its turn. Calls that were under way together are refused
                together, and that is one refusal.
            retry_after: The seconds the server asks to wait, if it does.
        """
        now = time.monotonic()
        if began >= self._set_back_at:
            self._set_back_at = now
            self._in_a_row += 1
            self.limit = max(1.0, min(self.limit, float(self._under_way + 1)) / 2)
            if retry_after is None:
                longest = min(LONGEST_PAUSE, PAUSE * 2 ** (self._in_a_row - 1))
                # Jitter, so that several kernels do not come back in step.
                retry_after = longest * random.uniform(0.5, 1)  # noqa: S311 -- no secret
        if retry_after is not None:
            self._until = max(self._until, now + retry_after)

    def note(self) -> str:
        """Returns in a few words how calls are held back, or ``""``."""
        pause = self._until - time.monotonic()
        if pause > 1:
            return f"the server asks for a pause, {pause:.0f} s"
        return f"slowed down to {math.floor(self.limit)} at a time" if self._limited else ""

    @property
    def _limited(self) -> bool:
        return self.limit != math.inf


class Rate:
    """Spaces calls out evenly, so many in a time.

    Attributes:
        interval: The seconds between two of them.
    """

    def __init__(self, per_second: float) -> None:
        self.interval = 1 / per_second
        self._next = -math.inf

    @classmethod
    def of(cls, rate: str | float) -> Rate:
        """Reads ``"5/s"``, ``"100/min"``, ``"1000/hour"`` or a number of calls a second.

        Raises:
            ToolError: It cannot be read.
        """
        if isinstance(rate, str):
            match = _RATE.fullmatch(rate)
            unit = match[2].lower() if match else ""
            seconds = _UNITS.get(unit) or _UNITS.get(unit.removesuffix("s"))
            per_second = float(match[1]) / seconds if match and seconds else 0.0
        else:
            per_second = float(rate)
        if not 0 < per_second < math.inf:
            raise ToolError(
                f"A rate of {rate!r} cannot be read.", hint='Write it as rate="5/s" or "100/min".'
            )
        return cls(per_second)

    async def turn(self, calls: int = 1) -> None:
        """Waits for the next place in the row, and takes as many places as there are calls."""
        now = time.monotonic()
        at = max(now, self._next)
        self._next = at + calls * self.interval
        if at > now:
            await asyncio.sleep(at - now)
