"""The servers a person knows, by name. Never a token: those are in the token store.

`Server` and `OAuthSettings` are values; `ServerBook` is the file they are kept in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

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
        url: The MCP endpoint, for ``http`` and ``sse``.
        command: The program and its arguments, for ``stdio``.
        env: Environment variables for the program; values may hold ``${NAME}`` references.
        cwd: The program's working directory.
        headers: Extra HTTP headers; values may hold ``${NAME}`` references, never a secret.
        insecure: Plain http to another machine was allowed by the person.
        oauth: What was chosen about signing in.
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
