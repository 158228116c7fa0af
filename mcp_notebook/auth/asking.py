"""What is asked for, the same for every grant: the resource, the scope, the key; and the record.

Pure functions between discovery, which says what there is, and a grant, which asks for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from mcp_notebook.auth.assertions import DpopKey
from mcp_notebook.auth.client import RegisteredClient
from mcp_notebook.auth.metadata import Challenge, Discovery
from mcp_notebook.auth.record import TokenRecord
from mcp_notebook.auth.token_endpoint import Tokens
from mcp_notebook.config.servers import Server
from mcp_notebook.config.urls import canonical_resource

OFFLINE = "offline_access"
"""OpenID Connect Core §11: the scope that asks for a refresh token."""

_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,256}")  # RFC 6749 §3.3, scope-token
_SCOPES = 100


def resource_parameter(server: Server, discovery: Discovery) -> str | None:
    """Returns the ``resource`` to send (RFC 8707), or None where the person switched it off.

    It is what the server's own metadata says, to the letter: authorization servers compare it.
    """
    chosen = server.oauth.resource
    if chosen is None:
        return discovery.resource.resource
    return None if chosen == "off" else chosen


def scopes_to_ask(
    server: Server,
    discovery: Discovery,
    challenge: Challenge | None,
    *,
    granted: str | None = None,
) -> tuple[str, ...]:
    """Returns the scopes to ask for; none leaves them to the authorization server.

    The person's choice comes first, then what the server's challenge asks for, then what its
    metadata lists; never the authorization server's whole list (MCP, "Scope Selection Strategy").

    Args:
        server: The server, with what the person chose.
        discovery: What its metadata says.
        challenge: What it sent, if anything.
        granted: For a step-up: what was granted so far. The answer is both together, because a
            new token replaces the old one.
    """
    wanted = _words(challenge.scope if challenge is not None else None)
    chosen = _words(server.oauth.scope)
    if granted is not None:
        return _once([*_words(granted), *chosen, *wanted])
    listed = discovery.resource.scopes_supported or ()
    asked = chosen or wanted or _words(" ".join(listed))
    offered = discovery.authorization_server.scopes_supported
    if not chosen and offered is not None and OFFLINE not in offered:
        asked = without_offline(asked)
    return _once(asked)


def offers_offline(server: Server, discovery: Discovery, scopes: tuple[str, ...]) -> bool:
    """Tells whether `OFFLINE` may be added: it is offered, and there is a list to add it to.

    Alone it would take the place of the authorization server's defaults, and where the person
    has chosen the scopes nothing is added to them.
    """
    offered = discovery.authorization_server.scopes_supported or ()
    return bool(scopes) and not server.oauth.scope and OFFLINE in offered


def with_offline(server: Server, discovery: Discovery, scopes: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the scopes with `OFFLINE` as their last, where it is offered or asked for."""
    if OFFLINE not in scopes and not offers_offline(server, discovery, scopes):
        return scopes
    return (*without_offline(scopes), OFFLINE)


def without_offline(scopes: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the scopes but `OFFLINE`."""
    return tuple(word for word in scopes if word != OFFLINE)


def dpop_key(server: Server, discovery: Discovery) -> DpopKey | None:
    """Returns a fresh key to bind the tokens to (RFC 9449), where that is wanted."""
    wanted = server.oauth.dpop
    if wanted is None:
        wanted = discovery.resource.dpop_bound
    return DpopKey.generate() if wanted else None


def record_of(
    server: Server,
    discovery: Discovery,
    client: RegisteredClient,
    tokens: Tokens | None,
    *,
    scopes: tuple[str, ...] = (),
    resource: str | None = None,
    key: DpopKey | None = None,
) -> TokenRecord:
    """Returns the record of a sign-in, or of a client that has none yet (`tokens` is None)."""
    there = discovery.authorization_server
    record = TokenRecord(
        server=server.name,
        resource=canonical_resource(server.url),
        resource_parameter=resource,
        issuer=there.issuer,
        authorization_endpoint=there.authorization_endpoint,
        token_endpoint=there.token_endpoint,
        revocation_endpoint=there.revocation_endpoint,
        registration_endpoint=there.registration_endpoint,
        client_id=client.client_id,
        client_secret=client.client_secret,
        client_secret_expires_at=client.client_secret_expires_at,
        registration=client.registration,
        auth_method=client.auth_method,
        redirect_uri=client.redirect_uri,
        scope=" ".join(scopes) or None,
        dpop_key=key.to_jwk() if key is not None else None,
    )
    return record.without_tokens() if tokens is None else with_tokens(record, tokens)


def with_tokens(record: TokenRecord, tokens: Tokens) -> TokenRecord:
    """Returns the record with new tokens; an absent refresh token or scope keeps the old one.

    RFC 6749 §6: a refresh need not answer with a new refresh token; §5.1: an omitted scope is the
    one that was asked for.
    """
    return replace(
        record,
        access_token=tokens.access_token,
        refresh_token=tokens.refresh_token or record.refresh_token,
        expires_at=tokens.expires_at,
        scope=tokens.scope or record.scope,
    )


def _words(scope: str | None) -> tuple[str, ...]:
    """The scopes in a text from outside; what is no scope is left out (RFC 6749 §3.3)."""
    return tuple(word for word in (scope or "").split() if _SCOPE.fullmatch(word))[:_SCOPES]


def _once(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))
