"""The servers a person knows, by name. Never a token: those are in the token store.

`Server` and `OAuthSettings` are values; `ServerBook` is the file they are kept in. The file has
the ``mcpServers`` form that other clients read, with the settings of signing in under ``oauth``.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import quote

from mcp_notebook.config import rules
from mcp_notebook.config.places import home
from mcp_notebook.config.statefile import StateFile
from mcp_notebook.errors import ServerConfigError
from mcp_notebook.redaction import conceal, printable
from mcp_notebook.schema.names import nearest

Transport = Literal["http", "sse", "stdio"]
Grant = Literal[
    "authorization_code", "device_code", "client_credentials", "jwt_bearer", "enterprise"
]
ClientAuthMethod = Literal["none", "client_secret_basic", "client_secret_post", "private_key_jwt"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthSettings:
    """What a person chose about signing in to one server. Secrets only as names of where they are.

    A value named ``…_env`` is the name of an environment variable that holds the secret; the
    secret itself is read when it is needed and never written anywhere but the token store.
    """

    grant: Grant = "authorization_code"
    client_id: str | None = None
    client_secret_env: str | None = None
    client_name: str | None = None
    client_metadata_url: str | None = None
    initial_access_token_env: str | None = None
    private_key_env: str | None = None
    signing_algorithm: str = "ES256"
    assertion_env: str | None = None
    """For ``jwt_bearer``: the variable that holds the workload's own JWT (RFC 7523)."""
    idp_client_id: str | None = None
    idp_token_endpoint: str | None = None
    idp_id_token_env: str | None = None
    """For ``enterprise``: the identity provider's client, endpoint and ID token (SEP-990)."""
    auth_method: ClientAuthMethod | None = None
    scope: str | None = None
    authorize_params: Mapping[str, str] = field(default_factory=dict)
    callback_host: str = "127.0.0.1"
    callback_port: int | None = None
    callback_path: str = "/callback"
    resource: str | None = None
    """``None``: as the protected resource metadata says; ``"off"``: not sent; else this value."""
    issuer: str | None = None
    """The only authorization server to sign in with, as the server names it."""
    trusted_issuers: tuple[str, ...] = ()
    """Issuers accepted in metadata though they differ from the address they were found at."""
    assume_s256: bool = False
    """Go on where the metadata does not list S256 (Entra lists none but supports it)."""
    dpop: bool | None = None
    """RFC 9449; ``None``: where the metadata demands it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One server of the book.

    Attributes:
        name: What the person calls it; also the key of its tokens.
        url: The MCP endpoint, for ``http`` and ``sse``; its path and query may hold ``${NAME}``
            references, which `address_of` fills in. Shown and kept as it is here.
        command: The program and its arguments, for ``stdio``.
        env: Environment variables for the program; values may hold ``${NAME}`` references.
        cwd: The program's working directory.
        headers: Extra HTTP headers; values may hold ``${NAME}`` references, never a secret.
        insecure: Plain http to another machine was allowed by the person.
        oauth: What was chosen about signing in.
        account_of: The server's own name, where ``--as`` has given the account another.
    """

    name: str
    url: str = ""
    transport: Transport = "http"
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    insecure: bool = False
    oauth: OAuthSettings = field(default_factory=OAuthSettings)
    account_of: str = ""

    @property
    def added_as(self) -> str:
        """The name in the book, which ``%mcp add`` and ``%mcp trust`` take."""
        return self.account_of or self.name


def expand(text: str, environ: Mapping[str, str]) -> str:
    """Returns the text with ``${NAME}``, ``${env:NAME}`` and ``${NAME:-default}`` filled in.

    A variable that is set but empty counts as unset, as ``:-`` means in a shell.

    Raises:
        ServerConfigError: A variable is not set and has no default; only its name is told.
    """

    def value(match: re.Match[str]) -> str:
        found = environ.get(match["name"])
        if found:
            if rules.looks_secret(match["name"], found):
                conceal(found)
            return found
        if match["default"] is None:
            raise ServerConfigError(
                f"The environment variable {match['name']} is not set.",
                hint="Set it where Jupyter is started, or here without writing it into the "
                "notebook: import getpass, os; "
                f'os.environ["{match["name"]}"] = getpass.getpass()',
            )
        return match["default"]

    return rules.REFERENCE.sub(value, text)


def address_of(server: Server, environ: Mapping[str, str]) -> str:
    """Returns the server's address with its references filled in; never to be shown or kept.

    Raises:
        ServerConfigError: A variable is not set.
    """

    def value(match: re.Match[str]) -> str:
        found = expand(match[0], environ).strip()
        conceal(found)  # an HTTP client logs addresses
        return quote(found, safe="")

    return rules.REFERENCE.sub(value, server.url)


def is_keyed(server: Server) -> bool:
    """Tells whether a key in the path of its address stands for the sign-in to a server."""
    return rules.REFERENCE.search(server.url.partition("?")[0]) is not None


def variables_of(server: Server) -> tuple[str, ...]:
    """Returns the names of the variables whose values are sent to a server."""
    texts = (server.url, *server.headers.values())
    found = [match["name"] for text in texts for match in rules.REFERENCE.finditer(text)]
    return tuple(dict.fromkeys(found))


def request_headers(server: Server, environ: Mapping[str, str]) -> dict[str, str]:
    """Returns the server's extra headers, filled in and fit to be sent.

    Raises:
        ServerConfigError: A variable is not set, or holds what a header cannot carry. The value
            is not told: an HTTP client's own error would show it.
    """
    headers = {}
    for name, template in server.headers.items():
        value = expand(template, environ).strip()
        if not value.isascii() or not value.isprintable():
            raise ServerConfigError(
                f"The header {name} of {server.name!r} holds a line break or another character "
                "that a header cannot carry, once its variables are filled in.",
                hint="Look at the variables it names: "
                + ", ".join(match["name"] for match in rules.REFERENCE.finditer(template)),
            )
        headers[name] = value
    return headers


def check_server(server: Server) -> None:
    """Checks that a server can be written down: whole, sendable, and without a secret.

    Raises:
        ServerConfigError: The first thing that is wrong.
    """
    rules.check_name(server.name)
    if server.transport == "stdio":
        rules.check_command(server.command)
        for name, value in server.env.items():
            rules.check_variable(name, value)
        return
    rules.check_server_url(server.url, insecure=server.insecure)
    for name, value in server.headers.items():
        rules.check_header(name, value)
    _check_oauth(server.oauth)


def _check_oauth(oauth: OAuthSettings) -> None:
    for name in _OAUTH_FIELDS:
        value = getattr(oauth, name)
        if name.endswith("_env") and value is not None:
            rules.check_variable_name(f"--{name.replace('_', '-')}", value)
    if oauth.scope is not None:
        rules.check_scope(oauth.scope)
    if oauth.callback_port is not None and not 1 <= oauth.callback_port <= 65535:
        raise ServerConfigError(
            "The callback port is not a port.", hint="It looks like --callback-port 3118."
        )
    if not re.fullmatch(r"/[A-Za-z0-9._~/-]*", oauth.callback_path):
        raise ServerConfigError(
            "The callback path is not a path.", hint="It looks like --callback-path /callback."
        )
    named = (oauth.client_metadata_url, oauth.idp_token_endpoint, oauth.issuer)
    for address in (*named, *oauth.trusted_issuers):
        if address is not None:
            rules.check_web_url(address)
    if oauth.resource not in {None, "off"}:
        rules.check_web_url(oauth.resource or "")
    for name, value in oauth.authorize_params.items():
        rules.check_authorize_param(name, value)


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


_OAUTH_FIELDS = {item.name: item for item in dataclasses.fields(OAuthSettings)}


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
    chosen = {name: getattr(server.oauth, name) for name in _OAUTH_FIELDS}
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
    values = {name: value for name, value in chosen.items() if name in _OAUTH_FIELDS}
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
