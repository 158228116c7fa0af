"""A session's sign-in as a card in the output: it offers the link and finishes itself.

The only door to ipywidgets. The card looks at the session from the background loop and sets its
widgets from there and nowhere else (a kernel that is busy still shows what changes); its handlers
only hand a wish to that loop, because nobody can say when or in which thread they run (ipykernel
7.4 runs them after the cell). The link is set after the card is shown and taken away when the
sign-in ends: neither the saved output nor its text/plain form ever holds it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ipywidgets

from mcp_notebook.background import background
from mcp_notebook.errors import MCPNotebookError
from mcp_notebook.ipython.page import typed
from mcp_notebook.ipython.view import View
from mcp_notebook.results.html import Html, tag

if TYPE_CHECKING:
    from mcp_notebook.session.session import Session

LOOK_SECONDS = 0.25

STYLE = """\
.mcpnb-card{border:1px solid var(--jp-border-color2,#80808050);border-left:3px solid \
var(--mcpnb-mood,#808080);border-radius:4px;padding:.7em 1em;margin:2px 0 4px;max-width:46em;\
background:var(--jp-layout-color1,transparent)}
.mcpnb-card-busy{--mcpnb-mood:var(--jp-border-color1,#a0a0a0)}
.mcpnb-card-asking{--mcpnb-mood:var(--jp-brand-color1,#1976d2)}
.mcpnb-card-good{--mcpnb-mood:var(--jp-success-color1,#388e3c)}
.mcpnb-card-bad{--mcpnb-mood:var(--jp-error-color1,#d32f2f)}
.mcpnb-face{line-height:1.5;font-size:var(--jp-ui-font-size1,13px);\
color:var(--jp-ui-font-color1,inherit);white-space:normal;overflow-wrap:anywhere}
.mcpnb-face b{font-weight:600}
.mcpnb-face a.mcpnb-go{display:inline-block;padding:0 1.2em;margin-right:.8em;\
line-height:var(--jp-widgets-inline-height,28px);border-radius:2px;\
background:var(--jp-brand-color1,#1976d2);color:var(--jp-ui-inverse-font-color0,#fff);\
text-decoration:none;font-weight:600}
.mcpnb-face a.mcpnb-go:hover{filter:brightness(1.08)}
.mcpnb-face a.mcpnb-go:focus-visible{outline:2px solid var(--jp-brand-color1,#1976d2);\
outline-offset:2px}
.mcpnb-dim{color:color-mix(in srgb,currentColor 65%,transparent)}
.mcpnb-face code,.mcpnb-code{font-family:var(--jp-code-font-family,ui-monospace,monospace);\
font-size:.95em}
.mcpnb-code{font-size:1.5em;letter-spacing:.12em;user-select:all}
.mcpnb-left{margin-right:.4em}
.mcpnb-scope{display:inline-block;border:1px solid var(--jp-border-color2,#80808050);\
border-radius:9px;padding:0 .6em;margin:0 .3em .2em 0;font-size:.92em}
.mcpnb-changes{margin-top:.5em}
.mcpnb-changes summary{cursor:pointer}
.mcpnb-new{border-color:var(--jp-brand-color1,#1976d2)}
.mcpnb-wrong{color:var(--jp-error-color1,#d32f2f);margin-top:.5em}
.mcpnb-misfit input,.mcpnb-misfit textarea,.mcpnb-misfit button{\
border:1px solid var(--jp-error-color1,#d32f2f)!important}
.mcpnb-field .widget-label{position:absolute;width:1px;height:1px;margin:0;padding:0;\
overflow:hidden;clip-path:inset(50%)}
"""


class Card(ipywidgets.VBox):
    """One session's card; shown any number of times, alive until the session is settled."""

    def __init__(
        self, session: Session, view: Callable[[], View], *, again: Callable[[], None]
    ) -> None:
        """Makes an empty card; `follow` fills it.

        Args:
            session: Whose sign-in it shows.
            view: Tells how the session stands now.
            again: Starts another attempt; called on the background loop.
        """
        self._session = session
        self._view = view
        self._again = again
        self._last: View | None = None
        self._complaint = ""
        self._following: asyncio.Task[None] | None = None
        self._registering: asyncio.Task[None] | None = None
        self._face, self._link, self._wrong = (_Face(layout={"margin": "0"}) for _ in range(3))
        self._paste = ipywidgets.Text(
            placeholder="Browser elsewhere? Paste the address it ended on",
            description="The address of the page that the browser ended on",
            continuous_update=False,
            layout={"flex": "1 1 20em", "max_width": "25em", "margin": "0"},
        )
        self._paste.add_class("mcpnb-field")  # the description is for screen readers
        self._paste.observe(self._pasted, "value")
        self._cancel = self._button("Cancel", "End this sign-in", self._cancel_sign_in)
        self._retry = self._button("Try again", "Connect and sign in again", again)
        self._anew = self._button(
            "Register again",
            "For an error page that says the client is unknown: register a new one",
            self._register_again,
        )
        self._row = ipywidgets.HBox(
            [],
            layout={
                "flex_flow": "row wrap",
                "grid_gap": ".4em",
                "margin": ".5em 0 0",
                "display": "none",
            },
        )
        super().__init__([self._face, self._row, self._wrong])
        self.add_class("mcpnb-card")

    def __repr__(self) -> str:
        return self._view().short

    @property
    def inputs(self) -> list[Any]:
        """The widgets that a person fills in."""
        return [self._paste]

    # -- from the background loop ---------------------------------------------------------------

    def follow(self) -> None:
        """Keeps the card true until nothing more happens by itself; runs on the loop."""
        if self._following is None or self._following.done():
            self._following = asyncio.get_running_loop().create_task(self._follow())

    async def _follow(self) -> None:
        while True:
            view = self._view()
            self._paint(view)
            if view.over:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._session.connection.changed()

    def _paint(self, view: View) -> None:
        if self._last is not None and view.mood != self._last.mood:
            self._complaint = ""
        self._wrong.value = _wrong(self._complaint)
        if view == self._last:
            return
        self._last = view
        # At once: without its mood for a moment, the card would flicker.
        self._dom_classes = ("mcpnb-card", f"mcpnb-card-{view.mood}")
        self._face.value, self._link.value = _face(view), _link(view)
        row: list[Any] = []
        if view.url:
            row += [self._link]
        if view.pastes:
            row += [self._paste]
        if view.mood in {"busy", "asking"}:
            row += [self._cancel]
        if view.replaceable:
            row += [self._anew]
        if view.retries:
            row += [self._retry]
        if list(self._row.children) != row:
            self._row.children = row
            self._row.layout.display = "flex" if row else "none"

    # -- from the person ------------------------------------------------------------------------

    def _button(self, label: str, about: str, wish: Callable[[], None]) -> Any:
        button = ipywidgets.Button(
            description=label, tooltip=about, layout={"width": "auto", "margin": "0"}
        )
        button.on_click(lambda _: background().post(self._grant, wish))
        return button

    def _grant(self, wish: Callable[[], None]) -> None:
        try:
            wish()
        except MCPNotebookError as error:
            self._complaint = error.message
        self.follow()

    def _cancel_sign_in(self) -> None:
        sign_in = self._session.connection.sign_in
        if sign_in is not None:
            sign_in.cancel()

    def _register_again(self) -> None:
        self._cancel_sign_in()
        self._registering = asyncio.get_running_loop().create_task(self._after_the_old_one())

    async def _after_the_old_one(self) -> None:
        while self._session.sign_in is not None:
            await self._session.connection.changed()
        self._session.connection.start_sign_in(register_again=True)
        self.follow()

    def _pasted(self, change: dict[str, Any]) -> None:
        text = change["new"].strip()
        if text:
            background().post(self._take, text)

    def _take(self, text: str) -> None:
        # The address holds a one-time code: it leaves the widget before anything else happens.
        self._paste.value = ""
        sign_in = self._session.sign_in
        if sign_in is None:
            return
        try:
            sign_in.answer(text)
            self._complaint = ""
        except MCPNotebookError as error:
            self._complaint = f"{error.message} {error.hint}"
        self.follow()


class _Face(ipywidgets.HTML):
    def __repr__(self) -> str:
        return "<a part of the card>"


def _face(view: View) -> str:
    parts = [
        tag("div", tag("b", view.name), " ", tag("span", view.place, class_="mcpnb-dim")),
        tag("div", view.headline),
    ]
    if view.asked:
        parts.append(_scopes(view))
    parts += [tag("div", typed(line, view.name), class_="mcpnb-dim") for line in view.lines]
    if view.user_code:
        parts.append(tag("div", view.user_code, class_="mcpnb-code"))
    if view.changes is not None:
        parts.append(tag("div", view.changes.markup, class_="mcpnb-changes"))
    body = tag("div", *parts, class_="mcpnb-face", role="status")
    return f"<style>{STYLE}</style>{body}"


def _link(view: View) -> str:
    if not view.url:
        return ""
    link = tag(
        "a",
        "Open the page" if view.user_code else "Sign in",
        href=view.url,
        target="_blank",
        rel="noopener noreferrer",
        class_="mcpnb-go",
    )
    return tag(
        "div", link, tag("span", view.left, class_="mcpnb-dim mcpnb-left"), class_="mcpnb-face"
    )


def _wrong(complaint: str) -> str:
    if not complaint:
        return ""
    return tag("div", complaint, class_="mcpnb-face mcpnb-wrong", role="alert")


def _scopes(view: View) -> Html:
    new = set(view.added)
    chips = [
        tag("span", scope, class_="mcpnb-scope mcpnb-new" if scope in new else "mcpnb-scope")
        for scope in view.asked[:20]
    ]
    label = "Asks for "
    if view.added:
        label = "Newly asked for: " if new == set(view.asked) else "Asks for (new ones marked) "
    return tag("div", tag("span", label, class_="mcpnb-dim"), *chips)
