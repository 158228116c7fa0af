"""Long work as a bar in the output: there while it goes on, one quiet line or nothing afterwards.

Like the card: displayed in the thread that waits, then updated from the background loop only, a
few times a second whatever the server reports.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import ipywidgets

from mcp_notebook.background import background
from mcp_notebook.results import html
from mcp_notebook.results.html import Html, tag
from mcp_notebook.waiting.progress import Progress, Progressing

LOOK_SECONDS = 0.2

SHOWN_LINES = 5
"""Log lines under the bar."""

QUIET_SECONDS = 10.0
"""Work that took so long leaves a line; what was shorter leaves nothing."""


class Bar(ipywidgets.VBox):
    """A place in the output, for one piece of work after another."""

    def __init__(self, title: str) -> None:
        """Makes an empty one.

        Args:
            title: What it is displayed for; all that text shows of it.
        """
        self._title = title
        self._task: asyncio.Task[None] | None = None
        super().__init__()

    def __repr__(self) -> str:
        return f"… {self._title}"

    def follow(self, progress: Progress, emptied: Callable[[Bar], object]) -> None:
        """Shows a piece of work until it is over; called in the thread that waits for it.

        Args:
            progress: How far it is.
            emptied: Called on the background loop when nothing is left of it and the place can
                be used again. A line that stays keeps the place for itself.
        """
        parts = _Parts()
        self.children, self.layout.display = [parts.row], None
        background().post(self._start, progress, parts, emptied)

    def _start(self, progress: Progress, parts: _Parts, emptied: Callable[[Bar], object]) -> None:
        self._task = asyncio.get_running_loop().create_task(self._keep(progress, parts, emptied))

    async def _keep(
        self, progress: Progress, parts: _Parts, emptied: Callable[[Bar], object]
    ) -> None:
        while not (now := progress.look()).over:
            parts.paint(now)
            if now.lines and len(self.children) == 1:
                self.children = [parts.row, parts.lines]
            await asyncio.sleep(LOOK_SECONDS)
        if now.elapsed >= QUIET_SECONDS and not now.failed:
            parts.words.value = _line(f"{now.title}: {now.clock}")
            self.children = [parts.words]
            parts.close(parts.bar, parts.row, parts.lines)
        else:
            self.children, self.layout.display = [], "none"
            parts.close(parts.bar, parts.row, parts.lines, parts.words)
            emptied(self)


class _Parts:
    """What a bar consists of while there is work."""

    def __init__(self) -> None:
        self.bar = ipywidgets.FloatProgress(
            min=0, max=1, layout={"width": "16em", "height": ".9em", "margin": "0 .8em 0 0"}
        )
        self.words = _Words(layout={"margin": "0"})
        self.lines = _Words(layout={"margin": "0"})
        self.row = ipywidgets.HBox(
            [self.bar, self.words], layout={"align_items": "center", "flex_flow": "row wrap"}
        )

    def paint(self, now: Progressing) -> None:
        fraction = now.fraction
        self.bar.value = fraction or 0.0
        self.bar.layout.visibility = "hidden" if fraction is None else "visible"
        if fraction is None and self.bar.layout.width != "0":
            self.bar.layout.width = "0"
        elif fraction is not None and self.bar.layout.width == "0":
            self.bar.layout.width = "16em"
        self.words.value = _line(describe(now), now.message)
        if now.lines:
            self.lines.value = _log(now)

    @staticmethod
    def close(*parts: ipywidgets.DOMWidget) -> None:
        """Closes parts, each with its layout and style, which are widgets of their own.

        ipywidgets holds whatever is open for the life of the kernel.
        """
        for part in parts:
            for widget in (part, part.layout, getattr(part, "style", None)):
                if widget is not None:
                    widget.close()


class _Words(ipywidgets.HTML):
    def __repr__(self) -> str:
        return "<how far it is>"


def describe(now: Progressing) -> str:
    """Returns in a few words how far something is: what, how much, how long."""
    return " · ".join(part for part in (now.title, now.count, now.clock) if part)


def _line(text: str, message: str = "") -> Html:
    words = " · ".join(part for part in (text, message) if part)
    return tag("div", words, style=_STYLE, role="status")


def _log(now: Progressing) -> Html:
    shown = now.lines[-SHOWN_LINES:]
    left_out = len(now.lines) - len(shown) + now.dropped
    before = [f"… {left_out:,} earlier lines"] if left_out else []
    return tag("div", html.join([*before, *shown], "\n"), style=f"{_STYLE};white-space:pre-wrap")


_STYLE = (
    "color:color-mix(in srgb,currentColor 65%,transparent);"
    "font-size:var(--jp-ui-font-size1,13px);font-variant-numeric:tabular-nums;"
    "line-height:1.5;overflow-wrap:anywhere"
)
