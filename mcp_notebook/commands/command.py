"""What a ``%mcp`` line asks for, as frozen values; `parsing` makes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mcp_notebook.config.servers import Server

StoreKind = Literal["keyring", "file", "memory"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Add:
    """Remember a server.

    Attributes:
        server: What to write down.
        replace: Whether it may take the place of another server of this name.
        ask_secret: Whether the client secret is to be asked for with a masked prompt.
    """

    server: Server
    replace: bool = False
    ask_secret: bool = False


@dataclass(frozen=True, slots=True)
class AddMany:
    """Remember the servers of a pasted ``mcpServers`` document.

    Attributes:
        servers: What to write down.
        replace: Whether they may take the place of others of their names.
        notes: What was read differently from how it was written, for the person.
    """

    servers: tuple[Server, ...]
    replace: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Import:
    """Show, or take, the servers of another client's file.

    Attributes:
        source: The client's name, or the path of a file.
        names: Which servers to take; none and not `everything`: only show them.
        everything: Take all.
        replace: Whether they may take the place of others of their names.
    """

    source: str
    names: tuple[str, ...] = ()
    everything: bool = False
    replace: bool = False


@dataclass(frozen=True, slots=True)
class List:
    """Show the servers."""


@dataclass(frozen=True, slots=True)
class Trust:
    """Allow a server's program to be started."""

    name: str


@dataclass(frozen=True, slots=True)
class Remove:
    """Forget a server and sign out of it."""

    name: str


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a server as a variable.

    Attributes:
        name: The server.
        variable: The Python variable the session goes into.
        account: What ``--as`` said: a sign-in of its own under that name; ``None`` without it.
    """

    name: str
    variable: str
    account: str | None = None


@dataclass(frozen=True, slots=True)
class Tools:
    """Show a server's tools, or those of them that all `words` are about."""

    name: str
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Use one tool.

    Attributes:
        name: The server, or a connected variable's name.
        tool: The tool.
        pairs: ``key=value`` as typed, in their order; the schema gives the values their types.
        body: The JSON object of the cell, or ``None`` without one.
        out: The variable for the result, or ``None`` to show it.
    """

    name: str
    tool: str
    pairs: tuple[tuple[str, str], ...] = ()
    body: Mapping[str, Any] | None = None
    out: str | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """Keep every answer in a file; with neither `path` nor `off` tell how that stands.

    Attributes:
        path: The file, or None.
        off: Whether to end it.
        replace: Whether what the file holds is dropped first.
    """

    path: str | None = None
    off: bool = False
    replace: bool = False


@dataclass(frozen=True, slots=True)
class Replay:
    """Answer from a file; with neither `path` nor `off` tell what is in it."""

    path: str | None = None
    off: bool = False


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Close the connection and keep the sign-in."""

    name: str


@dataclass(frozen=True, slots=True)
class SignIn:
    """Sign in anew, with a client registered again where `register_again`.

    With `paste`, finish the sign-in under way by the address a browser elsewhere ended on.
    """

    name: str
    register_again: bool = False
    paste: bool = False


@dataclass(frozen=True, slots=True)
class SignOut:
    """Revoke the tokens and forget them."""

    name: str


@dataclass(frozen=True, slots=True)
class Store:
    """Show where sign-ins are kept, or keep them in `place` from now on."""

    place: StoreKind | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """Show connections, sign-ins and the token store."""


@dataclass(frozen=True, slots=True)
class Doctor:
    """Go through discovery and sign-in step by step."""

    name: str


@dataclass(frozen=True, slots=True)
class Demo:
    """Start the demo server, or stop it."""

    stop: bool = False


@dataclass(frozen=True, slots=True)
class Help:
    """Show the help, of one command where `topic` names it."""

    topic: str | None = None


Command = (
    Add | AddMany | Import | List | Trust | Remove | Connect | Tools | Call | Record | Replay
    | Disconnect | SignIn | SignOut | Store | Status | Doctor | Demo | Help
)  # fmt: skip
