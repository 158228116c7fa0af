"""The authorization code flow: a link, a browser, a code (RFC 6749 §4.1, RFC 7636, RFC 8252).

A client that the authorization server no longer knows is registered anew and the person asked
again, once; so is a request whose ``offline_access`` was refused. The browser that brought the
refusal is sent straight on to the new request.
"""

from __future__ import annotations

import contextlib
import re
import secrets
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import urlsplit

from mcp_notebook.auth import grants, pages
from mcp_notebook.auth.answer import AuthorizationResponse
from mcp_notebook.auth.asker import (
    Asker,
    Offer,
    challenge_of,
    discovered,
    forgotten,
    granted_so_far,
    is_unknown,
    newly_asked,
    remember,
)
from mcp_notebook.auth.asking import (
    OFFLINE,
    dpop_key,
    record_of,
    resource_parameter,
    scopes_to_ask,
    with_offline,
    without_offline,
)
from mcp_notebook.auth.assertions import DpopKey
from mcp_notebook.auth.authorization import Pkce, authorization_url
from mcp_notebook.auth.callback import Callback
from mcp_notebook.auth.client import RegisteredClient
from mcp_notebook.auth.loopback import PortTakenError
from mcp_notebook.auth.metadata import AuthorizationServer, Discovery
from mcp_notebook.auth.pages import Page
from mcp_notebook.auth.record import TokenRecord
from mcp_notebook.auth.registration import obtain_client
from mcp_notebook.config.servers import Server
from mcp_notebook.config.urls import host_of
from mcp_notebook.errors import (
    AuthorizationServerError,
    MCPNotebookError,
    SignInDeniedError,
    SignInError,
)
from mcp_notebook.redaction import printable

_CODE = re.compile(r"[A-Za-z0-9_.:/-]{1,80}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """One authorization request: all that its answer has to be judged with."""

    client: RegisteredClient
    there: AuthorizationServer
    scopes: tuple[str, ...]
    resource: str | None
    pkce: Pkce
    state: str = field(repr=False)
    key: DpopKey | None = field(repr=False)
    url: str = field(repr=False)


async def authorization_code(asker: Asker) -> TokenRecord:
    """Signs in with a browser (RFC 6749 §4.1, RFC 7636, RFC 8252)."""
    known = await asker.credentials.load(fresh=True)
    discovery = await discovered(asker, known)
    callback = await _bound(asker.server, discovery, known)
    try:
        record = await _in_browser(asker, discovery, known, callback)
    except MCPNotebookError as error:
        title = f"Signing in to {asker.server.name} did not work"
        callback.conclude(Page(HTTPStatus.OK, title, f"{error.message} {pages.BACK}", "bad"))
        raise
    except BaseException:
        callback.close()
        raise
    title = f"Signed in to {asker.server.name}"
    callback.conclude(Page(HTTPStatus.OK, title, pages.BACK, "good"))
    return record


async def _in_browser(
    asker: Asker, discovery: Discovery, known: TokenRecord | None, callback: Callback
) -> TokenRecord:
    offline, register_again = True, asker.register_again
    client: RegisteredClient | None = None
    onward = False
    while True:
        if client is None:
            async with asker.credentials.fetch() as fetch:
                client = await obtain_client(
                    fetch,
                    asker.server,
                    discovery,
                    redirect_uri=callback.redirect_uri,
                    known=known,
                    register_again=register_again,
                )
        request = _request(asker, discovery, client, known, offline=offline)
        callback.expect(request.state, onward=request.url if onward else None)
        asker.offer(_offer(asker, discovery, request, known, callback))
        await remember(asker.credentials, discovery, client)
        try:
            return await _answered(asker, discovery, request, callback)
        except AuthorizationServerError as error:
            onward = True
            if error.code == "invalid_scope" and offline and OFFLINE in request.scopes:
                offline = False
            elif is_unknown(client, request.there, error) and not register_again:
                await forgotten(asker.credentials, client)
                client, register_again = None, True
            else:
                raise


def _request(
    asker: Asker,
    discovery: Discovery,
    client: RegisteredClient,
    known: TokenRecord | None,
    *,
    offline: bool,
) -> _Request:
    server, there = asker.server, discovery.authorization_server
    if there.authorization_endpoint is None:
        raise SignInError(
            f"{host_of(there.issuer)} offers no sign-in in a browser.",
            hint="Add the server again with --grant device_code or --grant client_credentials.",
        )
    scopes = scopes_to_ask(
        server, discovery, challenge_of(asker), granted=granted_so_far(asker, known)
    )
    extra = dict(server.oauth.authorize_params)
    scopes = with_offline(server, discovery, scopes) if offline else without_offline(scopes)
    if OFFLINE in scopes:
        # OpenID Connect Core §11: without consent the scope is ignored.
        extra.setdefault("prompt", "consent")
    resource = resource_parameter(server, discovery)
    pkce, state = Pkce.create(), secrets.token_urlsafe(32)
    url = authorization_url(
        there.authorization_endpoint,
        client_id=client.client_id,
        redirect_uri=client.redirect_uri or "",
        scope=" ".join(scopes) or None,
        state=state,
        challenge=pkce.challenge,
        resource=resource,
        extra=extra,
    )
    return _Request(
        client=client,
        there=there,
        scopes=scopes,
        resource=resource,
        pkce=pkce,
        state=state,
        key=dpop_key(server, discovery),
        url=url,
    )


def _offer(
    asker: Asker,
    discovery: Discovery,
    request: _Request,
    known: TokenRecord | None,
    callback: Callback,
) -> Offer:
    granted = granted_so_far(asker, known)
    return Offer(
        url=request.url,
        host=host_of(request.url),
        scopes=request.scopes,
        added=newly_asked(request.scopes, granted),
        notes=discovery.notes,
        replaceable=_replaceable(request, known),
        paste=callback.paste,
    )


def _replaceable(request: _Request, known: TokenRecord | None) -> bool:
    """Tells whether registering again makes sense: not for a client that is new, or a person's."""
    client = request.client
    if request.there.registration_endpoint is None:
        return False
    is_old = known is not None and known.client_id == client.client_id
    return client.registration == "cimd" or (client.registration == "dcr" and is_old)


async def _answered(
    asker: Asker, discovery: Discovery, request: _Request, callback: Callback
) -> TokenRecord:
    """Waits for the answer to a request, and exchanges its code."""
    response = await asker.wait(callback.answer())
    asker.finishing()
    code = _judged(response, asker.server, request.there)
    async with asker.credentials.fetch() as fetch:
        tokens = await grants.exchange_code(
            fetch,
            request.client,
            request.there,
            code=code,
            code_verifier=request.pkce.verifier,
            redirect_uri=callback.redirect_uri,
            resource=request.resource,
            dpop=request.key,
        )
    record = record_of(
        asker.server,
        discovery,
        request.client,
        tokens,
        scopes=request.scopes,
        resource=request.resource,
        key=request.key,
    )
    return await asker.credentials.keeper.save(record)


def _judged(response: AuthorizationResponse, server: Server, there: AuthorizationServer) -> str:
    """Returns the code of a response that came from the authorization server that was asked.

    Raises:
        SignInDeniedError: The person said no.
        AuthorizationServerError: It comes from another one (RFC 9207 §2.4; then nothing of it is
            used or shown, its error neither), or tells an error.
    """
    promised = there.authorization_response_iss_parameter_supported
    # Compared to the letter: a normalised one may be another authorization server's.
    if response.iss != there.issuer if response.iss is not None else promised:
        raise AuthorizationServerError(
            f"The answer does not come from {host_of(there.issuer)}, where you were sent (its iss "
            f"is {'missing' if response.iss is None else 'another'}). Nothing was sent on.",
            hint="Do not sign in by links from elsewhere. If it happens again with "
            f"%mcp sign-in {server.name}, tell whoever runs the server.",
            code="iss_mismatch",
        )
    if response.code is not None:
        return response.code
    said = printable(response.error_description or "", 200, ascii_only=True)
    reason = f": {said}" if said else "."
    if response.error == "access_denied":
        raise SignInDeniedError(
            f"{host_of(there.issuer)} reports that the sign-in to {server.name} was "
            f"declined{reason}",
            hint=f"If that was not meant, start again with: %mcp sign-in {server.name}",
        )
    code = response.error if _CODE.fullmatch(response.error or "") else ""
    raise AuthorizationServerError(
        f"{host_of(there.issuer)} refused the sign-in to {server.name} "
        f"({code or 'unknown error'}){reason}",
        hint=_REFUSED.get(code or "", f"See each step with %mcp doctor {server.name}."),
        code=code or "",
        passing=code in {"server_error", "temporarily_unavailable"},
    )


_REFUSED = {
    "invalid_scope": 'Ask for less, or for what the server offers, with --scope "…".',
    "invalid_target": "It does not know the server as a resource; --resource off leaves it out.",
    "server_error": "It has trouble; try again in a while.",
    "temporarily_unavailable": "It has trouble; try again in a while.",
}


async def _bound(server: Server, discovery: Discovery, known: TokenRecord | None) -> Callback:
    """Binds the callback, at the port of the client that is known wherever that is free.

    The port belongs to the redirect URI, and that to the client: many authorization servers
    compare it, though RFC 8252 §7.3 tells them to let it differ.
    """
    oauth = server.oauth
    issuer = discovery.authorization_server.issuer
    port = oauth.callback_port or _port_of(known, server, issuer)
    for wanted in (port, None):
        with contextlib.suppress(PortTakenError):
            return await Callback.bind(
                server=server.name,
                host=oauth.callback_host,
                port=wanted,
                path=oauth.callback_path,
            )
        if oauth.callback_port is not None:
            raise SignInError(
                f"The callback port {oauth.callback_port} of {server.name} is taken by another "
                "program.",
                hint="Close it (another notebook or MCP client that is signing in, perhaps) and "
                f"try again: %mcp sign-in {server.name}. Another port needs a client that is "
                "registered with it.",
            )
    raise SignInError(
        "No port of this machine can be bound for the sign-in.",
        hint="Does a sandbox or a firewall forbid it? --grant device_code needs no port.",
    )


def _port_of(known: TokenRecord | None, server: Server, issuer: str) -> int | None:
    if known is None or known.redirect_uri is None or known.issuer != issuer:
        return None
    parts = urlsplit(known.redirect_uri)
    same = (parts.hostname, parts.path) == (server.oauth.callback_host, server.oauth.callback_path)
    return parts.port if same else None
