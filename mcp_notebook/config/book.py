"""The file of the servers a person knows, shared by all kernels.

It has the ``mcpServers`` form that other clients read, with the settings of signing in under
``oauth``. What is read is checked anew: people edit the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from mcp_notebook.config import rules
from mcp_notebook.config.places import home
from mcp_notebook.config.servers import (
    OAUTH_FIELDS,
    ClientAuthMethod,
    Grant,
    OAuthSettings,
    Server,
    Transport,
    check_server,
)
from mcp_notebook.config.statefile import StateFile
from mcp_notebook.errors import ServerConfigError
from mcp_notebook.redaction import printable
from mcp_notebook.schema.names import nearest


class ServerBook:
    """The file of servers, shared by all kernels of this user.

    What other programs or a newer version wrote into the file stays there: a change touches the
    one server it is about.

    Args:
        path: The file; ``servers.json`` in `home` unless told.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._file = StateFile(path or home() / "servers.json", "the list of servers")

    def get(self, name: str) -> Server:
        """Returns the server of that name.

        Raises:
            ServerConfigError: There is none, or its entry cannot be used.
        """
        entries = self._entries()
        if name in entries:
            return _from_json(name, entries[name])
        if "://" in name:
            raise ServerConfigError(
                "A server is opened by its name, not by its address.",
                hint="Give it one with %mcp add NAME URL; in Python: connect(NAME, URL)",
            )
        near = nearest(name, entries)
        shown = "that name" if rules.looks_secret("", name) else repr(printable(name, 60))
        raise ServerConfigError(
            f"No server is called {shown}" + (f"; did you mean {near!r}?" if near else "."),
            hint=self._file.problem() or "%mcp lists the servers; %mcp add NAME URL adds one.",
        )

    def all(self) -> list[Server]:
        """Returns every server that can be used, in the order they were added."""
        return [server for _, server in self._readable() if isinstance(server, Server)]

    def problems(self) -> list[str]:
        """Returns what a person should be told: a damaged file, entries that cannot be used."""
        found = [self._file.problem()]
        for name, error in self._readable():
            if isinstance(error, ServerConfigError):
                found.append(f"{printable(name, 60)}: {error.message}")
        return [problem for problem in found if problem]

    def add(self, server: Server, *, replace: bool = False) -> Literal["added", "changed", "same"]:
        """Writes a server down. Nothing is contacted and nothing is started.

        A server of the same name at the same address may get other settings; one at another
        address is only replaced on request, because calls would go somewhere else.

        Raises:
            ServerConfigError: The server cannot be written down, or its name is taken.
        """
        check_server(server)
        entry = _to_json(server)
        with self._file.changing() as document:
            entries = document.setdefault("mcpServers", {})
            if not isinstance(entries, dict):
                entries = document["mcpServers"] = {}
            known = entries.get(server.name)
            if known == entry:
                return "same"
            if known is not None and not replace and not _same_place(server.name, known, server):
                raise ServerConfigError(
                    f"{server.name!r} is another server already: {_place(known)}",
                    hint=f"Choose another name, or %mcp remove {server.name} first.",
                )
            entries[server.name] = entry
        return "added" if known is None else "changed"

    def remove(self, name: str) -> None:
        """Strikes a server out.

        Raises:
            ServerConfigError: There is none of that name.
        """
        with self._file.changing() as document:
            entries = document.get("mcpServers")
            if isinstance(entries, dict) and entries.pop(name, None) is not None:
                return
        self.get(name)

    def _entries(self) -> dict[str, Any]:
        entries = self._file.read().get("mcpServers")
        return entries if isinstance(entries, dict) else {}

    def _readable(self) -> Iterator[tuple[str, Server | ServerConfigError]]:
        for name, entry in self._entries().items():
            try:
                yield name, _from_json(name, entry)
            except ServerConfigError as error:
                yield name, error


def _same_place(name: str, known: Any, server: Server) -> bool:
    try:
        old = _from_json(name, known)
    except ServerConfigError:
        return True
    return (old.url, old.command) == (server.url, server.command)


def _place(entry: Any) -> str:
    entry = entry if isinstance(entry, dict) else {}
    return printable(str(entry.get("url") or entry.get("command") or "(unreadable)"), 120)


def _to_json(server: Server) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": server.transport}
    if server.transport == "stdio":
        entry |= {"command": server.command[0], "args": list(server.command[1:])}
        entry |= {"env": dict(server.env)} if server.env else {}
        entry |= {"cwd": server.cwd} if server.cwd else {}
        return entry
    entry["url"] = server.url
    entry |= {"headers": dict(server.headers)} if server.headers else {}
    entry |= {"insecure": True} if server.insecure else {}
    usual = OAuthSettings()
    chosen = {name: getattr(server.oauth, name) for name in OAUTH_FIELDS}
    chosen = {name: value for name, value in chosen.items() if value != getattr(usual, name)}
    for name, value in chosen.items():
        chosen[name] = list(value) if isinstance(value, tuple) else value
        chosen[name] = dict(value) if isinstance(value, Mapping) else chosen[name]
    return entry | ({"oauth": chosen} if chosen else {})


def _from_json(name: str, entry: Any) -> Server:
    """Returns the server an entry describes; it is checked anew, as people edit the file."""
    wrong = ServerConfigError(
        f"The entry of {printable(name, 60)!r} in the list of servers cannot be understood.",
        hint=f"Take it out and add it again: %mcp remove {printable(name, 60)}",
    )
    if not isinstance(entry, dict):
        raise wrong
    transport = entry.get("type", "http" if "url" in entry else "stdio")
    arguments = entry.get("args", [])
    if transport not in get_args(Transport) or not _is_words(arguments):
        raise wrong
    values: dict[str, Any] = {"name": name, "transport": transport}
    values["env"], values["headers"] = entry.get("env", {}), entry.get("headers", {})
    values["insecure"] = entry.get("insecure") is True
    place = entry.get("command" if transport == "stdio" else "url")
    if not isinstance(place, str) or not (_is_map(values["env"]) and _is_map(values["headers"])):
        raise wrong
    if transport == "stdio":
        values |= {"command": (place, *arguments), "cwd": entry.get("cwd")}
    else:
        values |= {"url": place, "oauth": _read_oauth(entry.get("oauth", {}), wrong)}
    if not isinstance(values.get("cwd"), str | None):
        raise wrong
    server = Server(**values)
    check_server(server)
    return server


def _read_oauth(chosen: Any, wrong: ServerConfigError) -> OAuthSettings:
    if not isinstance(chosen, dict):
        raise wrong
    values = {name: value for name, value in chosen.items() if name in OAUTH_FIELDS}
    if not all(_fits(name, value) for name, value in values.items()):
        raise wrong
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return OAuthSettings(**values)


def _fits(name: str, value: Any) -> bool:
    usual = getattr(OAuthSettings(), name)
    choices: dict[str, tuple[str, ...]] = {
        "grant": get_args(Grant),
        "auth_method": get_args(ClientAuthMethod),
    }
    if name in choices:
        return value in choices[name]
    if name == "callback_port":
        return isinstance(value, int) and not isinstance(value, bool)
    if name == "dpop" or isinstance(usual, bool):
        return isinstance(value, bool)
    if isinstance(usual, tuple):
        return _is_words(value)
    return _is_map(value) if isinstance(usual, Mapping) else isinstance(value, str)


def _is_words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)


def _is_map(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())
