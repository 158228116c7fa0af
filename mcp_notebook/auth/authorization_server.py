"""What an authorization server says about itself: RFC 8414, or OpenID Connect Discovery."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import httpx2

from mcp_notebook.auth.fetch import Fetch, Reply
from mcp_notebook.auth.metadata import AuthorizationServer, scope_list, text_list
from mcp_notebook.config.servers import Server
from mcp_notebook.config.urls import host_of, origin, shown
from mcp_notebook.errors import AuthorizationServerError
from mcp_notebook.redaction import printable

_WHAT = "authorization server metadata"
_ENDPOINTS = tuple(
    item.name for item in fields(AuthorizationServer) if item.name.endswith("_endpoint")
)
_LISTS = (
    "code_challenge_methods_supported",
    "token_endpoint_auth_methods_supported",
    "grant_types_supported",
    "dpop_signing_alg_values_supported",
)
_FLAGS = (
    "client_id_metadata_document_supported",
    "authorization_response_iss_parameter_supported",
)


async def find_authorization_server(
    fetch: Fetch, server: Server, issuer: str
) -> AuthorizationServer | None:
    """Looks for the metadata of an issuer at its well-known addresses, in MCP's order.

    Args:
        fetch: The errand's client.
        server: On whose behalf; its settings say what may be odd.
        issuer: As the protected resource metadata names it.

    Returns:
        The metadata; None where every address says that there is none.

    Raises:
        AuthorizationServerError: There is metadata, but it cannot be had or used now.
    """
    unusable: AuthorizationServerError | None = None
    for address, rfc in well_known(issuer):
        reply = await fetch.document(address, what=_WHAT, rfc=rfc)
        if reply.absent:
            fetch.remark(found="none there")
            continue
        try:
            return await _read(fetch, server, issuer, reply)
        except AuthorizationServerError as error:
            fetch.remark(problem=error.message, fix=error.hint)
            unusable = unusable or error
    if unusable is not None:
        raise unusable
    return None


def well_known(issuer: str) -> list[tuple[str, str]]:
    """Returns where the metadata of an issuer may be, with the section that says so.

    Its path goes behind the well-known part (RFC 8414 §3.1), for OpenID providers also before it
    (OpenID Connect Discovery §4.1).
    """
    base = origin(issuer)
    path = httpx2.URL(issuer).raw_path.partition(b"?")[0].decode("ascii").rstrip("/")
    found = [
        (f"{base}/.well-known/oauth-authorization-server{path}", "RFC 8414 §3.1"),
        (f"{base}/.well-known/openid-configuration{path}", "RFC 8414 §5"),
    ]
    if path:
        found.append((f"{base}{path}/.well-known/openid-configuration", "OIDC Discovery §4"))
    return found


def same_issuer(one: str, other: str) -> bool:
    """Tells whether two issuers in metadata are one.

    Equal as text (RFC 8414 §3.3); only a bare host may differ by its trailing slash, as Google's
    metadata does. ``iss`` in an answer is another matter: RFC 9207 §2.4 knows no such leave.
    """
    bare = one.removesuffix("/")
    return one == other or (bare == other.removesuffix("/") and bare.count("/") == 2)


async def _read(fetch: Fetch, server: Server, issuer: str, reply: Reply) -> AuthorizationServer:
    host = host_of(issuer)
    if reply.passing:
        raise AuthorizationServerError(
            f"The authorization server {host} has trouble at present: it answered {reply.status}.",
            hint="Nothing was lost: try again in a while.",
            status=reply.status,
            retry_after=reply.retry_after,
            passing=True,
        )
    if reply.status != 200 or reply.document is None:
        problem = reply.problem if reply.status == 200 else f"answered {reply.status}"
        raise _unusable(host, f"it {problem}")
    _check_issuer(server, issuer, reply.document)
    metadata = _parse(host, reply)
    for name in _ENDPOINTS:
        if (endpoint := getattr(metadata, name)) is not None:
            await fetch.check(endpoint, what=name.replace("_", " "))
    check_usable(server, metadata)
    fetch.remark(found=f"issuer {shown(metadata.issuer)}")
    return metadata


def _unusable(host: str, problem: str, hint: str = "") -> AuthorizationServerError:
    return AuthorizationServerError(
        f"The metadata of the authorization server {host} cannot be used: {problem}.",
        hint=hint or "Ask who runs it to correct it.",
    )


def _check_issuer(server: Server, issuer: str, document: dict[str, Any]) -> None:
    named = document.get("issuer")
    if not isinstance(named, str) or not named:
        raise _unusable(host_of(issuer), "it names no issuer")
    if same_issuer(named, issuer) or named in server.oauth.trusted_issuers:
        return
    raise _unusable(
        host_of(issuer),
        f"it was found for {shown(issuer)} but calls itself {printable(named)} (RFC 8414 §3.3)",
        f"If you know that both are one: %mcp add {server.added_as} {server.url} --replace "
        f"--trusted-issuer {printable(named)}",
    )


def _parse(host: str, reply: Reply) -> AuthorizationServer:
    document = reply.document or {}
    values: dict[str, Any] = {name: _endpoint(host, document, name) for name in _ENDPOINTS}
    if values["token_endpoint"] is None:
        raise _unusable(host, "it names no token endpoint")
    for name in _LISTS:
        values[name] = text_list(document, name)
    for name in _FLAGS:
        values[name] = document.get(name) is True
    return AuthorizationServer(
        issuer=document["issuer"],
        scopes_supported=scope_list(document, "scopes_supported"),
        address=reply.address,
        **values,
    )


def _endpoint(host: str, document: dict[str, Any], name: str) -> str | None:
    value = document.get(name)
    if value is not None and not isinstance(value, str):
        raise _unusable(host, f"its {name} is not text")
    return value or None


def check_usable(server: Server, metadata: AuthorizationServer) -> None:
    """Checks that the way the person chose to sign in is open and safe there.

    Raises:
        AuthorizationServerError: It has no authorization endpoint, or does not say that it checks
            the PKCE proof (MCP: a client must not go on then).
    """
    if server.oauth.grant != "authorization_code":
        return
    host = host_of(metadata.issuer)
    if metadata.authorization_endpoint is None:
        raise _unusable(host, "it names no authorization endpoint")
    methods = metadata.code_challenge_methods_supported or ()
    if "S256" not in methods and not server.oauth.assume_s256:
        raise _unusable(
            host,
            "it does not say that it supports PKCE with S256, which MCP demands",
            f"Some providers support it without saying so (Microsoft Entra does). Then: "
            f"%mcp add {server.added_as} {server.url} --replace --assume-s256",
        )
