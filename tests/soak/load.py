"""What a kernel does all the time of a soak; run in it as a cell."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from typing import Any


class Load:
    """Calls of every kind on some sessions, and what came of them.

    Attributes:
        right: Calls that were answered rightly.
        wrong: What was answered wrongly, to be looked at.
        failed: Why calls failed that may be repeated; none should.
        lost: Writes that failed and may have been carried out.
        refused: Writes that failed and were surely not carried out.
        written: Writes that were answered.
    """

    def __init__(self, name: str, sessions: list[Any]) -> None:
        self.name = name
        self.sessions = sessions
        self.random = random.Random(name)
        self.number = 0
        self.right = 0
        self.wrong: list[str] = []
        self.failed: Counter[str] = Counter()
        self.lost: list[str] = []
        self.refused: list[str] = []
        self.written: list[str] = []

    async def run(self, seconds: float) -> None:
        """Goes on for so many seconds."""
        end = time.monotonic() + seconds
        kinds = [self.read, self.read, self.write, self.burst, self.batch]
        while time.monotonic() < end:
            session = self.random.choice(self.sessions)
            await self.random.choice(kinds)(session)

    async def read(self, session: Any) -> None:
        a = self.random.randrange(1000)
        try:
            self.judge(session.tools.add(a=a, b=1).data, a + 1)
        except Exception as error:
            self.note(error)

    async def burst(self, session: Any) -> None:
        numbers = range(self.random.randrange(1, 20))
        calls = [session.tools.add.aio(a=n, b=self.number) for n in numbers]
        for n, answer in zip(
            numbers, await asyncio.gather(*calls, return_exceptions=True), strict=True
        ):
            if isinstance(answer, Exception):
                self.note(answer)
            else:
                self.judge(answer.data, n + self.number)

    async def batch(self, session: Any) -> None:
        texts = [f"{self.name} {n}" for n in range(self.random.randrange(1, 20))]
        batch = await session.tools.echo.map(texts, concurrency=4, wait=False)
        for text, result in zip(texts, batch.results, strict=True):
            if result is not None:
                self.judge(result.text, text)
        for error in batch.errors.values():
            self.note(error)

    async def write(self, session: Any) -> None:
        """A call that must not be repeated: it is told apart by its text."""
        self.number += 1
        text = f"{self.name} {session.name} {self.number}"
        try:
            self.judge(session.tools.write(text=text).data, text)
            self.written.append(text)
        except ConnectionError as error:
            (self.lost if error.may_have_run else self.refused).append(text)

    def judge(self, answer: Any, expected: Any) -> None:
        if answer == expected:
            self.right += 1
        else:
            self.wrong.append(f"{answer!r} in place of {expected!r}")

    def note(self, error: Exception) -> None:
        self.failed[f"{type(error).__name__}: {error}"] += 1

    def report(self) -> dict[str, Any]:
        """Returns all that is counted, as JSON carries it."""
        return {
            key: value for key, value in vars(self).items() if key not in {"sessions", "random"}
        }
