"""How far long work is: what a server reports in the middle of a call, kept small.

A server may report a hundred thousand times a second, and a megabyte each time. Reports overwrite
one another and log lines push each other out, so `Progress` has one size whatever comes; nothing
is shown from here. Whoever shows it looks now and then and gets a `Progressing`.
"""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from mcp_notebook.redaction import printable, redact

if TYPE_CHECKING:
    from mcp_types import LoggingMessageNotificationParams

PATIENCE = 1.0
"""Seconds after which work that reports nothing is shown too."""

LINES = 20
"""Log lines of one call that are kept."""

_MAX_LINE = 200
_MAX_PARTS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Progressing:
    """How far something is at one moment.

    Attributes:
        title: What it is, such as ``figma · export``.
        done: How much is done, in the units of `total`; None while nothing was reported.
        total: How much there is, or None where that is not known.
        message: What is being done, made harmless; may be empty.
        elapsed: Seconds since it began.
        lines: The last log lines, made harmless, oldest first.
        dropped: Log lines that came and are not kept.
        over: Whether it has ended.
        failed: Whether it ended without a result.
    """

    title: str
    done: float | None = None
    total: float | None = None
    message: str = ""
    elapsed: float = 0.0
    lines: tuple[str, ...] = ()
    dropped: int = 0
    over: bool = False
    failed: bool = False

    @property
    def fraction(self) -> float | None:
        """How much of it is done, from 0 to 1; None where that cannot be told."""
        if self.done is None or not self.total:
            return None
        return min(1.0, max(0.0, self.done / self.total))

    @property
    def count(self) -> str:
        """``3 of 12``, ``3``, or ``""``."""
        if self.done is None:
            return ""
        done = f"{self.done:,.6g}"
        return f"{done} of {self.total:,.6g}" if self.total else done

    @property
    def clock(self) -> str:
        """The elapsed time, such as ``7 s`` or ``3:05 min``."""
        seconds = int(self.elapsed)
        return f"{seconds} s" if seconds < 60 else f"{seconds // 60}:{seconds % 60:02d} min"


class Progress:
    """The progress of one piece of work: written on the background loop, looked at by anybody.

    Attributes:
        title: What it is.
        held: Whether it waits for the person's answer to a question.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self.held = False
        self._held_since = 0.0
        self._began: float | None = None
        self._ended: float | None = None
        self._failed = False
        self._report: tuple[float, float | None, str] | None = None
        self._lines: deque[str] = deque(maxlen=LINES)
        self._logged = 0

    def begin(self) -> None:
        """Starts the clock; until then there is nothing to show."""
        self._began = self._began or time.monotonic()

    def hold(self) -> None:
        """Stops the clock: a person is thinking, not the server working."""
        self.held, self._held_since = True, time.monotonic()

    def release(self) -> None:
        """Lets the clock go on from where it was held."""
        self.held = False
        if self._began is not None:
            self._began += time.monotonic() - max(self._began, self._held_since)

    def restart(self) -> None:
        """Starts the clock anew: what it ran for so far was a person's time, not the work's."""
        if self._began is not None:
            self._began = time.monotonic()

    def report(self, done: float, total: float | None = None, message: str | None = None) -> None:
        """Takes a report; it takes the place of the one before."""
        if math.isfinite(done) and (total is None or math.isfinite(total)):
            self._report = (done, total, message[: _MAX_LINE * 2] if message else "")

    async def reported(self, done: float, total: float | None, message: str | None) -> None:
        """The ``progress_callback`` of the SDK."""
        self.report(done, total, message)

    def log(self, params: LoggingMessageNotificationParams) -> None:
        """Takes a log line of the server."""
        self._logged += 1
        level = "" if params.level in {"debug", "info", "notice"} else f"{params.level}: "
        self._lines.append(level + _words(params.data)[: _MAX_LINE * 2])

    def end(self, *, failed: bool = False) -> None:
        """Stops the clock."""
        if self._ended is None:
            self._ended, self._failed = time.monotonic(), failed

    @property
    def worth_showing(self) -> bool:
        """Whether it goes on and was reported or lasts, and does not wait for the person."""
        if self._began is None or self._ended is not None or self.held:
            return False
        return self._report is not None or time.monotonic() - self._began >= PATIENCE

    def look(self) -> Progressing:
        """Returns how far it is now; from any thread."""
        # Words are made harmless here: most of what a flood brings is never looked at.
        done, total, message = self._report or (None, None, "")
        lines = tuple(filter(None, map(_harmless, self._lines.copy())))
        now = self._ended or time.monotonic()
        return Progressing(
            title=self.title,
            done=done,
            total=total,
            message=_harmless(message),
            elapsed=max(0.0, now - (self._began or now)),
            lines=lines,
            dropped=self._logged - len(lines),
            over=self._ended is not None,
            failed=self._failed,
        )


def _harmless(text: str) -> str:
    return printable(redact(text), _MAX_LINE)


def _words(data: Any) -> str:
    """Returns the data of a log message in words: its text, or its first members."""
    if isinstance(data, str):
        return data[: _MAX_LINE * 2]
    if isinstance(data, dict):
        pairs = islice(data.items(), _MAX_PARTS)
        return " ".join(f"{name[:40]}={_scalar(value)}" for name, value in pairs)
    return _scalar(data)


def _scalar(value: Any) -> str:
    if isinstance(value, dict | list):
        return "…"
    return str(value[:_MAX_LINE] if isinstance(value, str) else value)
