"""Long work in a terminal: one line that is written over, log lines above it.

Written by the thread that waits, at its ticks; gone when the work is over.
"""

from __future__ import annotations

import shutil
import sys

from mcp_notebook.waiting.progress import Progress, Progressing

WIDTH = 20
"""Characters of the bar."""

_DIM, _END, _WIPE = "\x1b[2m", "\x1b[0m", "\r\x1b[K"


class ProgressLine:
    """The line of one piece of work."""

    def __init__(self) -> None:
        self._shown = ""
        self._told = 0

    def paint(self, progress: Progress) -> None:
        """Writes how far it is, where that has changed."""
        now = progress.look()
        came = now.dropped + len(now.lines)
        fresh = now.lines[-(came - self._told) :] if came > self._told else ()
        self._told = came
        text = line(now, shutil.get_terminal_size().columns)
        if fresh or text != self._shown:
            above = "".join(f"{_DIM}{said}{_END}\n" for said in fresh)
            self._write(f"{_WIPE}{above}{text}")
            self._shown = text

    def wipe(self) -> None:
        """Takes the line away: the work is over, or something else is to be written."""
        if self._shown:
            self._write(_WIPE)
            self._shown = ""

    @staticmethod
    def _write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()


def line(now: Progressing, columns: int) -> str:
    """Returns the line, cut to the terminal's width."""
    fraction = now.fraction
    bar = ""
    if fraction is not None:
        full = round(fraction * WIDTH)
        bar = f"{'█' * full}{'░' * (WIDTH - full)} {fraction:>4.0%}"
    text = "  ".join(part for part in (now.title, bar, now.count, now.clock, now.message) if part)
    return text if len(text) < columns else f"{text[: max(0, columns - 2)]}…"
