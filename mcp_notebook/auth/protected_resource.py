"""Who protects a server: its protected resource metadata (RFC 9728)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx2

from mcp_notebook.auth.fetch import Fetch, Reply
from mcp_notebook.auth.metadata import Challenge, ProtectedResource, scope_list, text_list
from mcp_notebook.config.servers import Server
from mcp_notebook.config.urls import canonical_resource, host_of, origin, shown
from mcp_notebook.errors import AuthorizationServerError
from mcp_notebook.redaction import printable

MAX_AUTHORIZATION_SERVERS = 10
"""How many authorization servers of a list are looked at."""

_RFC = "RFC 9728"
_WHAT = "protected resource metadata"


@dataclass(frozen=True, slots=True)
class Found:
    """The metadata, and what a person should know of it."""

    resource: ProtectedResource
    notes: tuple[str, ...] = ()


async def find_protected_resource(
    fetch: Fetch, server: Server, challenge: Challenge | None
) -> Found | None:
    """Looks for a server's metadata where its challenge says, else at the well-known addresses.

    Returns:
        What was found; None where every address says that there is nothing, as servers of the
        2025-03-26 revision do.

    Raises:
        AuthorizationServerError: There is metadata, but it cannot be had or used now.
    """
    notes: list[str] = []
    unusable: AuthorizationServerError | None = None
    for address, rfc in (await _addresses(fetch, server.url, challenge, notes)).items():
        reply = await fetch.document(address, what=_WHAT, rfc=rfc)
        if reply.absent:
            fetch.remark(found="none there")
            continue
        problem = _no_document(reply)
        if problem is None:
            return await _read(fetch, server, reply, address, notes)
        fetch.remark(problem=problem.message, fix=problem.hint)
        if reply.passing:
            raise problem
        unusable = unusable or problem
    if unusable is not None:
        raise unusable
    return None


async def _addresses(
    fetch: Fetch, server_url: str, challenge: Challenge | None, notes: list[str]
) -> dict[str, str]:
    """Returns where the metadata may be, best first, with the section that says so."""
    found: dict[str, str] = {}
    if challenge is not None and challenge.resource_metadata:
        try:
            await fetch.check(challenge.resource_metadata, what=_WHAT)
            found[challenge.resource_metadata] = f"{_RFC} §5.1"
        except AuthorizationServerError as error:
            # A server behind a proxy that ends TLS may name itself with http.
            notes.append(error.message)
    base = origin(server_url)
    path = httpx2.URL(server_url).raw_path.partition(b"?")[0].decode("ascii").rstrip("/")
    well_known = f"{base}/.well-known/oauth-protected-resource"
    found.setdefault(well_known + path, f"{_RFC} §3.1")
    found.setdefault(well_known, f"{_RFC} §3.1")
    return found


def _no_document(reply: Reply) -> AuthorizationServerError | None:
    host = host_of(reply.address)
    if reply.passing:
        return AuthorizationServerError(
            f"{host} has trouble at present: its {_WHAT} answered {reply.status}.",
            hint="Nothing was lost: try again in a while.",
            status=reply.status,
            retry_after=reply.retry_after,
            passing=True,
        )
    if reply.status != 200:
        return _unusable(host, f"answered {reply.status}")
    if reply.document is None:
        return _unusable(host, reply.problem)
    return None


def _unusable(host: str, problem: str) -> AuthorizationServerError:
    return AuthorizationServerError(
        f"The {_WHAT} of {host} cannot be used: it {problem}.",
        hint="Ask who runs the server to correct it. A server that takes a key rather than a "
        "sign-in gets it by --header X-Api-Key='${NAME}'.",
    )


async def _read(fetch: Fetch, server: Server, reply: Reply, named: str, notes: list[str]) -> Found:
    document = reply.document or {}
    problem = _resource_problem(document.get("resource"), server.url, named, notes)
    if problem:
        error = _unusable(host_of(reply.address), problem)
        fetch.remark(problem=error.message, fix=error.hint)
        raise error
    issuers = await _issuers(fetch, document, notes)
    if not issuers:
        # MCP demands one; without it the server's own origin must have metadata to go on.
        issuers = (origin(server.url),)
        notes.append(f"{host_of(server.url)} names no authorization server; it is asked itself.")
    fetch.remark(found=f"authorization servers: {', '.join(shown(item) for item in issuers)}")
    resource = ProtectedResource(
        resource=document["resource"],
        authorization_servers=issuers,
        scopes_supported=scope_list(document, "scopes_supported"),
        dpop_bound=document.get("dpop_bound_access_tokens_required") is True,
        address=reply.address,
    )
    return Found(resource, tuple(notes))


def _resource_problem(resource: Any, server_url: str, named: str, notes: list[str]) -> str:
    """Checks that the metadata is about this server (RFC 9728 §3.3)."""
    if not isinstance(resource, str) or not resource:
        return "names no resource"
    try:
        theirs = canonical_resource(resource).rstrip("/")
        same_origin = origin(resource) == origin(server_url)
    except (httpx2.InvalidURL, ValueError):
        return "names a resource that is no address"
    ours = canonical_resource(server_url).rstrip("/")
    elsewhere = origin(named) != origin(server_url)
    if elsewhere:
        notes.append(f"The metadata of {host_of(server_url)} is kept on {host_of(named)}.")
    if theirs == ours:
        return ""
    # A parent path on the same host is what many servers name (the whole host); what another host
    # keeps has to be about this very server.
    if same_origin and not elsewhere and f"{ours}/".startswith(f"{theirs}/"):
        notes.append(f"The sign-in counts for all of {shown(resource)}.")
        return ""
    return f"is about another server, {shown(printable(resource))}"


async def _issuers(fetch: Fetch, document: dict[str, Any], notes: list[str]) -> tuple[str, ...]:
    kept: list[str] = []
    listed = dict.fromkeys(text_list(document, "authorization_servers") or ())
    for issuer in list(listed)[:MAX_AUTHORIZATION_SERVERS]:
        try:
            await fetch.check(issuer, what="authorization server")
        except AuthorizationServerError as error:
            if len(listed) == 1:
                fetch.remark(problem=error.message, fix=error.hint)
                raise
            notes.append(error.message)
        else:
            kept.append(issuer)
    if listed and not kept:
        raise AuthorizationServerError(
            "None of the authorization servers that the server names may be used.",
            hint=notes[-1],
        )
    return tuple(kept)
