"""Finds out who signs people in to a server (MCP authorization, "Authorization Server Discovery").

A server's protected resource metadata (RFC 9728) names its authorization servers; each describes
itself at a well-known address (RFC 8414 or OpenID Connect). Where there is trouble the search
stops with an error rather than trying something weaker: a server in trouble must not turn a
sign-in into one at an address of its own making. Only where every address says that there is
nothing does the 2025-03-26 revision apply, in which a server is its own authorization server.
"""

from __future__ import annotations

from mcp_notebook.auth.authorization_server import find_authorization_server, same_issuer
from mcp_notebook.auth.fetch import Fetch
from mcp_notebook.auth.metadata import (
    AuthorizationServer,
    Challenge,
    Discovery,
    ProtectedResource,
)
from mcp_notebook.auth.protected_resource import find_protected_resource
from mcp_notebook.config.servers import Server
from mcp_notebook.config.urls import canonical_resource, host_of, origin
from mcp_notebook.errors import AuthorizationServerError


async def discover(
    fetch: Fetch,
    server: Server,
    challenge: Challenge | None,
    *,
    prefer_issuer: str | None = None,
) -> Discovery:
    """Returns who protects a server, and what is known of the authorization server to use.

    Args:
        fetch: The errand's client; its steps tell afterwards what was asked.
        server: The server.
        challenge: Its Bearer challenge, where it sent one.
        prefer_issuer: The authorization server used before, which is tried first where the server
            still names it.

    Raises:
        AuthorizationServerError: None can be found or used; `passing` tells whether later may do.
    """
    found = await find_protected_resource(fetch, server, challenge)
    if found is None:
        return await _without_metadata(fetch, server)
    issuers = sorted(
        _permitted(server, found.resource.authorization_servers),
        key=lambda issuer: prefer_issuer is None or not same_issuer(issuer, prefer_issuer),
    )
    failed: list[AuthorizationServerError] = []
    for issuer in issuers:
        try:
            metadata = await find_authorization_server(fetch, server, issuer)
        except AuthorizationServerError as error:
            failed.append(error)
            continue
        if metadata is not None:
            skipped = tuple(f"Skipped: {error.message}" for error in failed)
            notes = found.notes + skipped + _warnings(metadata)
            return Discovery(resource=found.resource, authorization_server=metadata, notes=notes)
        failed.append(_nothing_at(issuer))
    raise _all_failed(failed)


async def _without_metadata(fetch: Fetch, server: Server) -> Discovery:
    """The 2025-03-26 revision: the server's own origin, with metadata or the default endpoints."""
    (base,) = _permitted(server, (origin(server.url),))
    resource = ProtectedResource(
        resource=canonical_resource(server.url), authorization_servers=(base,)
    )
    metadata = await find_authorization_server(fetch, server, base)
    if metadata is None:
        metadata = AuthorizationServer(
            issuer=base,
            authorization_endpoint=f"{base}/authorize",
            token_endpoint=f"{base}/token",
            registration_endpoint=f"{base}/register",
        )
    note = f"{host_of(base)} describes no authorization server; it is taken to be its own."
    return Discovery(resource=resource, authorization_server=metadata, notes=(note,))


def _permitted(server: Server, issuers: tuple[str, ...]) -> tuple[str, ...]:
    """Returns those that the person's own choice allows.

    A server that is taken over could name another authorization server and get the secret of a
    client that was registered elsewhere, before any sign-in has bound the two.
    """
    chosen = server.oauth.issuer
    kept = tuple(issuer for issuer in issuers if chosen is None or same_issuer(issuer, chosen))
    if issuers and not kept:
        named = ", ".join(map(host_of, issuers))
        raise AuthorizationServerError(
            f"{server.name} does not name the authorization server it was added with, "
            f"{host_of(chosen or '')}, but {named}. Nothing was sent there.",
            hint=f"If that is right: %mcp add {server.name} {server.url} --replace --issuer URL, "
            "and a client of the new one where it has one of its own.",
        )
    return kept


def _warnings(metadata: AuthorizationServer) -> tuple[str, ...]:
    hosts = {host_of(metadata.issuer), host_of(metadata.authorization_endpoint or "")}
    odd = sorted(host for host in hosts if "xn--" in host)
    return tuple(
        f"{host} is written in other letters than it may look like; look twice." for host in odd
    )


def _nothing_at(issuer: str) -> AuthorizationServerError:
    return AuthorizationServerError(
        f"The authorization server {host_of(issuer)} has no metadata at its well-known addresses.",
        hint="Ask who runs it; RFC 8414 metadata or OpenID Connect Discovery is needed.",
        status=404,
    )


def _all_failed(failed: list[AuthorizationServerError]) -> AuthorizationServerError:
    if len(failed) == 1:
        return failed[0]
    passing = [error for error in failed if error.passing]
    waits = [error.retry_after for error in passing if error.retry_after is not None]
    return AuthorizationServerError(
        "None of the authorization servers can be used. "
        + " ".join(error.message for error in failed),
        hint=(passing or failed)[0].hint,
        status=failed[0].status,
        retry_after=min(waits, default=None),
        passing=bool(passing),
    )
