"""A session's standing as words for a person: what the card, the terminal and a status line say.

Pure: a `View` is made of what a session tells at one moment, and shown by others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from mcp_notebook.auth.sign_in import SignInState, Standing
from mcp_notebook.client.status import Status
from mcp_notebook.errors import MCPNotebookError, SignInDeniedError
from mcp_notebook.redaction import printable
from mcp_notebook.schema import names
from mcp_notebook.schema.signature import Parameters
from mcp_notebook.session.toolbox import namesakes

if TYPE_CHECKING:
    import mcp_types

    from mcp_notebook.results.blocks import Shown
    from mcp_notebook.session.session import Session

Mood = Literal["busy", "asking", "good", "bad", "quiet"]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a person is told about a session.

    Attributes:
        mood: How it stands, for a colour and a sign.
        name: The session's name.
        place: The server's host, or ``a program on this machine``.
        headline: One sentence.
        lines: Further sentences.
        asked: The permissions that are asked for, newly asked ones apart in `added`.
        added: What of it an earlier sign-in did not have.
        url: The link to open; in no repr.
        user_code: What to type on its page, in a device sign-in; in no repr.
        left: How long there still is, such as ``9 min left``.
        pastes: Whether the address the browser ended on can be pasted.
        replaceable: Whether another client may be registered, in case its page knows ours no more.
        retries: Whether it can be tried again.
        over: Whether nothing more will happen by itself.
        changes: What has changed in the server's tools, to be told once.
        link: A Python expression for the link, while somebody has to open it.
    """

    mood: Mood
    name: str
    place: str
    headline: str
    lines: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    url: str | None = field(default=None, repr=False)
    user_code: str | None = field(default=None, repr=False)
    left: str = ""
    pastes: bool = False
    replaceable: bool = False
    retries: bool = False
    over: bool = False
    changes: Shown | None = None
    link: str = ""

    @property
    def short(self) -> str:
        """One line for a front end without widgets, without the link: how to get at it.

        ipywidgets cuts it after 110 letters.
        """
        if not self.link:
            return self.plain.splitlines()[0]
        return f"→ {self.name}: the card has a link to sign in. No card here? print({self.link})"

    @property
    def plain(self) -> str:
        """The view as text without the link: it may be saved with a notebook."""
        sign = {"busy": "…", "asking": "→", "good": "✓", "bad": "✗", "quiet": "·"}[self.mood]
        lines = [f"{sign} {self.name} ({self.place}): {self.headline}", *self.lines]
        lines += self.changes.plain.splitlines() if self.changes is not None else []
        return "\n  ".join(lines)


def view_of(
    session: Session,
    *,
    variable: str = "",
    notice: str = "",
    changes: Shown | None = None,
    comparing: bool = False,
) -> View:
    """Returns how a session stands, in words.

    Args:
        session: The session.
        variable: The Python variable it is in, for what to type next.
        notice: What there is to say about the token store.
        changes: What there is to say about changed tools.
        comparing: Whether there may be more to say about them in a moment.
    """
    place = place_of(session.url)
    sign_in = session.connection.sign_in
    if session.status is Status.SIGNING_IN and sign_in is not None:
        path = f"{variable}.sign_in.url" if variable else ""
        return _signing_in(session.name, place, sign_in.standing(), path)
    if session.status is Status.CONNECTED:
        variable, connection = variable or session.name, session.connection
        summary = session.summary()
        lines = [next_step(variable, connection.tools)]
        lines += namesakes(connection.tools, connection.doubled, path=f"{variable}.tools")
        lines += [line for line in notice.splitlines() if line]
        return View(
            mood="good",
            name=session.name,
            place=place,
            headline=f"{summary[:1].upper()}{summary[1:]}.",
            lines=tuple(line for line in lines if line),
            over=not comparing,
            changes=changes,
        )
    failure = session.connection.failure
    if session.status is Status.FAILED and failure is not None:
        return View(
            mood="quiet" if _called_off(failure) else "bad",
            name=session.name,
            place=place,
            headline=failure.message,
            lines=tuple(line for line in (failure.hint,) if line),
            retries=True,
            over=True,
        )
    if session.status is Status.DISCONNECTED:
        again = f"Connect again with: %mcp connect {session.name}"
        return View(
            mood="quiet",
            name=session.name,
            place=place,
            headline="Disconnected.",
            lines=(again,),
            over=True,
        )
    held = f" as {variable}" if variable not in {"", session.name} else ""
    headline = f"Connecting{held} …"
    return View(mood="busy", name=session.name, place=place, headline=headline)


def _signing_in(name: str, place: str, standing: Standing, link: str) -> View:
    waiting = standing.state is SignInState.WAITING
    return View(
        mood="asking" if waiting else "busy",
        name=name,
        place=place,
        headline=standing.message,
        lines=standing.notes,
        asked=standing.scopes,
        added=standing.added,
        url=standing.url,
        user_code=standing.user_code,
        left=_left(standing.seconds_left),
        pastes=waiting and standing.user_code is None,
        replaceable=waiting and standing.replaceable,
        link=link,
    )


def _called_off(failure: MCPNotebookError) -> bool:
    """Tells whether it is what the person wanted."""
    return isinstance(failure, SignInDeniedError) and failure.code == "cancelled"


def place_of(url: str) -> str:
    """Returns the host of a server's address, with its port, for people."""
    if not url:
        return "a program on this machine"
    return printable(urlsplit(url).netloc.rpartition("@")[2], 120)


def next_step(variable: str, tools: Sequence[mcp_types.Tool]) -> str:
    """Returns a line to try: a tool that only reads and needs little, as a call."""
    if not tools:
        return "It offers no tools."
    tool = min(tools, key=_effort)
    attributes = names.identifiers(known.name for known in tools)
    own = next((word for word, name in attributes.items() if name == tool.name), None)
    path = f"{variable}.tools.{own}" if own else f"{variable}.tools[{printable(tool.name, 60)!r}]"
    needed = [
        parameter.identifier or parameter.name
        for parameter in Parameters.of(tool.name, tool.input_schema).all.values()
        if parameter.required
    ]
    return f"Try {path}({', '.join(f'{name}=…' for name in needed[:4])}), or {variable}.tools"


def _effort(tool: mcp_types.Tool) -> tuple[bool, int]:
    hints = tool.annotations
    reads_only = hints is not None and bool(hints.read_only_hint)
    required = tool.input_schema.get("required")
    return (not reads_only, len(required) if isinstance(required, list) else 0)


def _left(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds / 60:.0f} min left" if seconds >= 90 else f"{seconds:.0f} s left"
