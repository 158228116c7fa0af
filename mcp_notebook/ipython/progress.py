"""Long work as a bar in the output: there while it goes on, one quiet line or nothing afterwards.

Like the card: displayed in the thread that waits, then updated from the background loop only, a
few times a second whatever the server reports.
"""

from __future__ import annotations

import asyncio

import ipywidgets

from mcp_notebook import html
from mcp_notebook.background import background
from mcp_notebook.html import Html, tag
from mcp_notebook.progress import Progress, Progressing

LOOK_SECONDS = 0.2

SHOWN_LINES = 5
"""Log lines under the bar."""

QUIET_SECONDS = 10.0
"""Work that took so long leaves a line; what was shorter leaves nothing."""


class Bar(ipywidgets.VBox):
    """One piece of work."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bar = ipywidgets.FloatProgress(
            min=0, max=1, layout={"width": "16em", "height": ".9em", "margin": "0 .8em 0 0"}
        )
        self._words = _Words(layout={"margin": "0"})
        self._lines = _Words(layout={"margin": "0"})
        self._row = ipywidgets.HBox(
            [self._bar, self._words], layout={"align_items": "center", "flex_flow": "row wrap"}
        )
        super().__init__([self._row])
        self._has_lines = False
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"… {self._progress.title}"

    def show(self) -> None:
        """Begins to follow the work; from any thread."""
        background().post(self._start)

    def _start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._follow())

    async def _follow(self) -> None:
        while True:
            now = self._progress.look()
            if now.over:
                self._finish(now)
                return
            self._paint(now)
            await asyncio.sleep(LOOK_SECONDS)

    def _paint(self, now: Progressing) -> None:
        fraction = now.fraction
        self._bar.value = fraction or 0.0
        self._bar.layout.visibility = "hidden" if fraction is None else "visible"
        if fraction is None and self._bar.layout.width != "0":
            self._bar.layout.width = "0"
        elif fraction is not None and self._bar.layout.width == "0":
            self._bar.layout.width = "16em"
        self._words.value = _line(describe(now), now.message)
        if now.lines:
            self._lines.value = _log(now)
            if not self._has_lines:
                self._has_lines, self.children = True, [self._row, self._lines]

    def _finish(self, now: Progressing) -> None:
        for part in (self._bar, self._row):
            part.close()
        if now.elapsed >= QUIET_SECONDS and not now.failed:
            self._words.value = _line(f"{now.title}: {now.clock}")
            self._words.layout.margin = "0"
            self.children = [self._words]
        else:
            self.children = []
            self.layout.display = "none"


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
    "color:var(--jp-ui-font-color2,#808080);font-size:var(--jp-ui-font-size1,13px);"
    "line-height:1.5;overflow-wrap:anywhere"
)
