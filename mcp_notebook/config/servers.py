"""One server as a person described it: a value, never a token. `book` keeps them.

What is secret about a server is named by environment variables. It is filled in here, for a
request, and by nobody who shows or keeps something.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote

from mcp_notebook.config import rules
from mcp_notebook.errors import ServerConfigError
from mcp_notebook.redaction import conceal

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


OAUTH_FIELDS = tuple(item.name for item in dataclasses.fields(OAuthSettings))
"""The names of the settings, as the file of servers has them."""


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
    for name in OAUTH_FIELDS:
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
