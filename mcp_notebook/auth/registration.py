"""Who we are to an authorization server: a client you registered, a document, or a fresh one.

The order is the MCP specification's: a pre-registered client, then a client ID metadata document
(CIMD), then dynamic registration (RFC 7591). A client belongs to the issuer it was made at. One
that we registered ourselves is made anew elsewhere; one that a person registered is never shown
to another issuer, because its secret would go along.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any
from urllib.parse import unquote, urlsplit

from mcp_notebook.auth.client import DEVICE_GRANT, RegisteredClient, with_key
from mcp_notebook.auth.environment import secret_from
from mcp_notebook.auth.fetch import Fetch
from mcp_notebook.auth.metadata import AuthorizationServer, Discovery
from mcp_notebook.auth.record import TokenRecord
from mcp_notebook.auth.refusals import is_refusal, refusal
from mcp_notebook.auth.reply import Reply
from mcp_notebook.auth.wire import is_visible, number_of
from mcp_notebook.config.rules import is_loopback
from mcp_notebook.config.servers import OAuthSettings, Server
from mcp_notebook.config.urls import host_of
from mcp_notebook.errors import AuthorizationServerError, ServerConfigError, SignInError
from mcp_notebook.redaction import printable

SECRET_MARGIN = 300.0
"""Seconds a client secret must still live for a sign-in to begin with it."""

_WITH_SECRET = ("client_secret_basic", "client_secret_post")


async def obtain_client(
    fetch: Fetch,
    server: Server,
    discovery: Discovery,
    *,
    redirect_uri: str | None,
    known: TokenRecord | None,
    secret: str | None = None,
    register_again: bool = False,
) -> RegisteredClient:
    """Returns the client to sign in with, registering one only where none fits.

    Args:
        fetch: The errand's HTTP client.
        server: The server, with what the person chose.
        discovery: Whose client it has to be.
        redirect_uri: The callback that is bound already; None for grants without a browser.
        known: What is stored of the last sign-in, tokens or not.
        secret: The secret of a pre-registered client, where a person has just typed it.
        register_again: The client known so far was refused: pass over it, and over the metadata
            document where registration is open.

    Raises:
        ServerConfigError: A variable that holds a secret is not set, or the options contradict
            each other.
        SignInError: No client can be had, or the pre-registered one belongs to another issuer.
        AuthorizationServerError: The registration was refused or its answer cannot be used.
    """
    there = discovery.authorization_server
    if server.oauth.client_id:
        return _preregistered(server, there, redirect_uri, known, secret)
    if server.oauth.grant in {"client_credentials", "jwt_bearer", "enterprise"}:
        raise SignInError(
            f"The grant {server.oauth.grant} needs a client that is registered already.",
            hint=f"Register one with {host_of(there.issuer)}, then: "
            f"{_add_line(server)} --grant {server.oauth.grant}",
        )
    if known is not None and not register_again and _fits(known, server, there, redirect_uri):
        # Also where a document is offered: it was refused then, and would be again.
        return RegisteredClient.of(known)
    document = server.oauth.client_metadata_url
    passed_over = register_again and there.registration_endpoint is not None
    if document and there.client_id_metadata_document_supported and not passed_over:
        return _from_document(document, server.oauth, redirect_uri)
    if there.registration_endpoint is None:
        raise _closed(server, there)
    return await _register(fetch, server, there, there.registration_endpoint, redirect_uri)


def _preregistered(
    server: Server,
    there: AuthorizationServer,
    redirect_uri: str | None,
    known: TokenRecord | None,
    secret: str | None,
) -> RegisteredClient:
    oauth = server.oauth
    assert oauth.client_id is not None
    ours = known is not None and known.client_id == oauth.client_id
    # A secret that was typed before the first sign-in belongs to no issuer yet.
    if known is not None and ours and known.issuer and known.issuer != there.issuer:
        raise SignInError(
            f"{server.name} now names another authorization server, {host_of(there.issuer)}; the "
            f"client {printable(oauth.client_id, 60)} belongs to {host_of(known.issuer)}. Nothing "
            "was sent.",
            hint=f"If the move is expected: %mcp sign-out {server.name}, then add the server again "
            "with a client of the new authorization server.",
        )
    if oauth.client_secret_env and secret is None:
        secret = secret_from(oauth.client_secret_env, "client secret")
    if secret is None and known is not None and ours:
        secret = known.client_secret
    method = oauth.auth_method or _own_method(oauth, there, has_secret=bool(secret))
    if method in _WITH_SECRET and not secret:
        raise SignInError(
            f"The client {printable(oauth.client_id, 60)} authenticates with a secret, and there "
            "is none.",
            hint=f"{_add_line(server)} asks for it, masked; or name a variable with "
            "--client-secret-env.",
        )
    client = RegisteredClient(
        client_id=oauth.client_id,
        client_secret=secret if method in _WITH_SECRET else None,
        auth_method=method,
        registration="preregistered",
        redirect_uri=redirect_uri,
    )
    return with_key(client, oauth) if method == "private_key_jwt" else client


def _own_method(oauth: OAuthSettings, there: AuthorizationServer, *, has_secret: bool) -> str:
    """The method of a client that a person registered, where they named none."""
    if oauth.private_key_env:
        return "private_key_jwt"
    if not has_secret:
        return "none"
    # RFC 8414 §2: what is not listed means basic; HubSpot lists post alone.
    listed = there.token_endpoint_auth_methods_supported or ("client_secret_basic",)
    post_alone = "client_secret_post" in listed and "client_secret_basic" not in listed
    return "client_secret_post" if post_alone else "client_secret_basic"


def _from_document(url: str, oauth: OAuthSettings, redirect_uri: str | None) -> RegisteredClient:
    parts = urlsplit(url)
    dotted = {".", ".."}.intersection(unquote(parts.path).split("/"))
    # draft-ietf-oauth-client-id-metadata-document §3: compared to the letter, so in one form only.
    if parts.scheme != "https" or parts.path in {"", "/"} or parts.fragment or dotted:
        raise ServerConfigError(
            "The client metadata document needs an https address with a path.",
            hint="It looks like --client-metadata-url https://you.example/notebook.json.",
        )
    client = RegisteredClient(client_id=url, registration="cimd", redirect_uri=redirect_uri)
    if oauth.auth_method == "private_key_jwt" or (oauth.private_key_env and not oauth.auth_method):
        return with_key(replace(client, auth_method="private_key_jwt"), oauth)
    return client


def _fits(
    known: TokenRecord, server: Server, there: AuthorizationServer, redirect_uri: str | None
) -> bool:
    expiry = known.client_secret_expires_at
    return (
        known.registration == "dcr"
        and known.issuer == there.issuer
        and known.redirect_uri == redirect_uri
        and (expiry is None or expiry - time.time() > SECRET_MARGIN)
        and server.oauth.auth_method in {None, known.auth_method}
    )


async def _register(
    fetch: Fetch,
    server: Server,
    there: AuthorizationServer,
    endpoint: str,
    redirect_uri: str | None,
) -> RegisteredClient:
    method = _method_to_ask(server.oauth, there)
    wish = _wish(server.oauth, method, redirect_uri)
    headers, secrets = {}, []
    if variable := server.oauth.initial_access_token_env:
        secrets = [secret_from(variable, "initial access token")]
        headers = {"Authorization": f"Bearer {secrets[0]}"}
    reply = await _post(fetch, endpoint, wish, headers)
    error = _refused(reply, server, secrets)
    if error is not None and error.code in {"invalid_redirect_uri", "invalid_client_metadata"}:
        # The MCP specification: some servers take loopback redirects from "web" clients only.
        reply = await _post(fetch, endpoint, {**wish, "application_type": "web"}, headers)
        error = _refused(reply, server, secrets)
    try:
        if error is not None:
            raise error
        client = _judged(reply, there, asked=method, redirect_uri=redirect_uri)
    except AuthorizationServerError as problem:
        fetch.remark(problem=problem.message, fix=problem.hint)
        raise
    fetch.remark(found=f"a client ({client.auth_method})")
    return client


async def _post(
    fetch: Fetch, endpoint: str, wish: dict[str, Any], headers: dict[str, str]
) -> Reply:
    return await fetch.post_json(
        endpoint, wish, headers=headers, what="client registration", rfc="RFC 7591 §3.1"
    )


def _method_to_ask(oauth: OAuthSettings, there: AuthorizationServer) -> str:
    """A public client wherever that is allowed: no secret to keep, and no method to get wrong."""
    # RFC 8414 §2: where nothing is listed, it is basic.
    listed = there.token_endpoint_auth_methods_supported or ("client_secret_basic",)
    wanted = (oauth.auth_method,) if oauth.auth_method else ("none", *_WITH_SECRET)
    for method in wanted:
        if method in {"none", *_WITH_SECRET} and (oauth.auth_method or method in listed):
            return method
    raise SignInError(
        f"{host_of(there.issuer)} registers only clients that authenticate with "
        f"{printable(', '.join(wanted if oauth.auth_method else listed), 100)}.",
        hint="Register a client there by hand, then add the server again with --client-id and "
        "--private-key-env or --client-secret.",
    )


def _wish(oauth: OAuthSettings, method: str, redirect_uri: str | None) -> dict[str, Any]:
    """The client metadata to register (RFC 7591 §2)."""
    wish: dict[str, Any] = {
        "client_name": oauth.client_name or "mcp_notebook",
        "token_endpoint_auth_method": method,
        "application_type": "native",
    }
    if redirect_uri is None:
        wish["grant_types"] = [DEVICE_GRANT, "refresh_token"]
    else:
        wish["redirect_uris"] = [redirect_uri]
        wish["grant_types"] = ["authorization_code", "refresh_token"]
        wish["response_types"] = ["code"]
    if oauth.scope:
        # Only on request: Keycloak takes a given scope for the whole of what the client may have.
        wish["scope"] = oauth.scope
    return wish


def _refused(reply: Reply, server: Server, secrets: list[str]) -> AuthorizationServerError | None:
    if not is_refusal(reply):
        return None
    return refusal(
        reply, "client registration", secrets=secrets, hint=_registration_hint(reply, server)
    )


def _registration_hint(reply: Reply, server: Server) -> str:
    code = (reply.document or {}).get("error")
    if code == "invalid_redirect_uri":
        return (
            "It does not take this callback address; the one it wants is set with --callback-host, "
            "--callback-port and --callback-path."
        )
    if code in {"invalid_client_metadata", "invalid_software_statement"}:
        return (
            "It does not take this client as described; --client-name, --scope and --auth-method "
            f"change that. Or register one by hand: {_add_line(server)}"
        )
    if reply.status == 401:
        return (
            "Registration needs a token of its administrator: --initial-access-token-env NAME. "
            f"Or register a client by hand: {_add_line(server)}"
        )
    if reply.status in {403, 404, 405, 501}:
        # Figma lets in a list of client names, and answers the rest with a bare "Forbidden".
        return (
            "It registers only clients it has approved. Register one with its operator, then: "
            f"{_add_line(server)}. If the operator approved a name: --client-name."
        )
    return ""


def _judged(
    reply: Reply, there: AuthorizationServer, *, asked: str, redirect_uri: str | None
) -> RegisteredClient:
    """The registered client, if it is one we can be (RFC 7591 §3.2.1: a server may change it)."""
    document = reply.document or {}
    client_id = document.get("client_id")
    secret = document.get("client_secret") or None
    if not is_visible(client_id, 2048, spaces=True):
        raise _unusable(reply, "no client_id")
    if secret is not None and not is_visible(secret, 4096, spaces=True):
        raise _unusable(reply, "a client_secret that cannot be sent")
    if redirect_uri is not None and not _keeps(document.get("redirect_uris"), redirect_uri):
        raise _unusable(reply, "other redirect_uris than the one asked for")
    grants = document.get("grant_types")
    needed = DEVICE_GRANT if redirect_uri is None else "authorization_code"
    if isinstance(grants, list) and grants and needed not in grants:
        raise _unusable(reply, "a client that may not sign anybody in (grant_types)")
    method = _answered_method(document, there, asked=asked, has_secret=secret is not None)
    if method is None:
        raise _unusable(reply, "a client whose authentication we cannot do")
    kept = secret if method in _WITH_SECRET else None
    expiry = number_of(document.get("client_secret_expires_at"))
    return RegisteredClient(
        client_id=str(client_id),
        client_secret=kept,
        # RFC 7591 §3.2.1: 0 is never.
        client_secret_expires_at=expiry if kept and expiry and expiry > 0 else None,
        auth_method=method,
        registration="dcr",
        redirect_uri=redirect_uri,
    )


def _answered_method(
    document: dict[str, Any], there: AuthorizationServer, *, asked: str, has_secret: bool
) -> str | None:
    """The one method to use from now on, or None where there is no way.

    What the server answered wins over what we asked, but for one: a secret that was asked for
    and comes with ``none`` is used as asked, because Figma answers so and then refuses whoever
    leaves the secret out. A secret that nobody asked for is not used. Without a secret the client
    is public, whatever method is echoed, unless the server's metadata rules public clients out.
    """
    method = document.get("token_endpoint_auth_method", asked)
    if method == "none":
        return asked if has_secret else "none"
    if method not in _WITH_SECRET:
        return None
    if has_secret:
        return str(method)
    listed = there.token_endpoint_auth_methods_supported
    return "none" if asked == "none" or listed is None or "none" in listed else None


def _keeps(answered: object, redirect_uri: str) -> bool:
    """Tells whether a registration still has our callback; RFC 8252 §7.3 lets the port differ."""
    if not isinstance(answered, list) or not answered:
        return True
    ours = urlsplit(redirect_uri)
    for uri in answered:
        if uri == redirect_uri:
            return True
        if isinstance(uri, str) and is_loopback(ours.hostname or ""):
            theirs = urlsplit(uri)
            same_host = theirs.hostname == ours.hostname and theirs.netloc.find("@") < 0
            if same_host and (theirs.scheme, theirs.path) == (ours.scheme, ours.path):
                return theirs.port is None
    return False


def _unusable(reply: Reply, found: str) -> AuthorizationServerError:
    return AuthorizationServerError(
        f"{host_of(reply.address)} answered the registration with {found}.",
        hint="Register a client there by hand and add the server again with --client-id. "
        "%mcp doctor NAME shows each step.",
        status=reply.status,
    )


def _closed(server: Server, there: AuthorizationServer) -> SignInError:
    return SignInError(
        f"{host_of(there.issuer)} lets no client register itself.",
        hint=f"Register an application with its operator, then: {_add_line(server)} "
        "(without --client-secret if it has none).",
    )


def _add_line(server: Server) -> str:
    return f"%mcp add {server.added_as} {server.url} --client-id ID --client-secret"
