"""The grants: what a token is asked for with.

A code is spent once and never sent again, because the first request may have arrived. A refresh is
repeated while the authorization server has trouble, because a signed-in person should not be sent
to a browser for a hiccup. The grants of machines are asked for once and have no fallback.
"""

from __future__ import annotations

import asyncio
import random

from mcp_notebook.auth.assertions import DpopKey, assertion_audiences
from mcp_notebook.auth.client import RegisteredClient
from mcp_notebook.auth.fetch import Fetch
from mcp_notebook.auth.metadata import AuthorizationServer
from mcp_notebook.auth.record import TokenRecord
from mcp_notebook.auth.reply import Reply
from mcp_notebook.auth.token_endpoint import Tokens, ask, ask_for_tokens
from mcp_notebook.auth.wire import is_visible
from mcp_notebook.config.servers import OAuthSettings
from mcp_notebook.config.urls import host_of, origin
from mcp_notebook.errors import (
    AuthorizationServerError,
    ServerConfigError,
    SignInError,
)

REFRESH_ATTEMPTS = 3
REFRESH_WAITING = 30.0
"""Seconds that one refresh may wait in all between its attempts."""

BACKOFF = 0.5
"""Seconds before the second attempt; doubled each time, and spread by a half."""

_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105
_ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105
_ID_JAG = "urn:ietf:params:oauth:token-type:id-jag"


async def exchange_code(
    fetch: Fetch,
    client: RegisteredClient,
    there: AuthorizationServer,
    *,
    code: str,
    code_verifier: str,
    redirect_uri: str,
    resource: str | None = None,
    dpop: DpopKey | None = None,
) -> Tokens:
    """Exchanges an authorization code (RFC 6749 §4.1.3, RFC 7636 §4.5); sent once, whatever comes.

    Args:
        fetch: The errand's HTTP client.
        client: Who asked for the code.
        there: Whom it came from.
        code: The code.
        code_verifier: `Pkce.verifier`.
        redirect_uri: As in the authorization request.
        resource: As in the authorization request (RFC 8707).
        dpop: The key to bind the tokens to.

    Raises:
        AuthorizationServerError: It was refused, or the answer was lost or cannot be used.
    """
    fields = {
        "grant_type": "authorization_code",
        "code": code,
        "code_verifier": code_verifier,
        "redirect_uri": redirect_uri,
        "resource": resource,
    }
    return await ask_for_tokens(
        fetch,
        client,
        there.token_endpoint,
        fields,
        issuer=there.issuer,
        what="code exchange",
        rfc="RFC 6749 §4.1.3",
        dpop=dpop,
    )


async def refresh(
    fetch: Fetch,
    record: TokenRecord,
    *,
    dpop: DpopKey | None = None,
    oauth: OAuthSettings | None = None,
) -> Tokens:
    """Renews the tokens of a record at its own token endpoint (RFC 6749 §6).

    Trouble that may pass (no connection, 429, 5xx) is met with up to three attempts, as long as
    the server asks for no more than 30 s of patience in all.

    Args:
        fetch: The errand's HTTP client.
        record: A record with a refresh token.
        dpop: The key the tokens are bound to.
        oauth: Names the private key of a client that authenticates with one.

    Raises:
        AuthorizationServerError: ``passing`` if the tokens may still be good; otherwise ``code``
            says why not (``invalid_grant``: the refresh token is spent).
        ServerConfigError: The client's private key is not there.
    """
    client = RegisteredClient.of(record, oauth)
    fields = {
        "grant_type": "refresh_token",
        "refresh_token": record.refresh_token,
        "resource": record.resource_parameter,
    }
    patience = REFRESH_WAITING
    for attempt in range(1, REFRESH_ATTEMPTS + 1):
        try:
            return await ask_for_tokens(
                fetch,
                client,
                record.token_endpoint,
                fields,
                issuer=record.issuer,
                what="token renewal",
                rfc="RFC 6749 §6",
                dpop=dpop,
            )
        except AuthorizationServerError as error:
            pause = _pause(error, attempt)
            if not error.passing or attempt == REFRESH_ATTEMPTS or pause > patience:
                raise
            patience -= pause
        await asyncio.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def _pause(error: AuthorizationServerError, attempt: int) -> float:
    if error.retry_after is not None:
        return max(0.0, error.retry_after)
    return BACKOFF * 2.0 ** (attempt - 1) * random.uniform(0.75, 1.25)  # noqa: S311 - no secret


async def client_credentials(
    fetch: Fetch,
    client: RegisteredClient,
    there: AuthorizationServer,
    *,
    scope: str | None = None,
    resource: str | None = None,
    dpop: DpopKey | None = None,
) -> Tokens:
    """Asks for a token of the client itself (RFC 6749 §4.4), for unattended runs.

    Raises:
        SignInError: The client cannot authenticate; nothing was sent.
        AuthorizationServerError: It was refused.
    """
    if client.auth_method == "none":
        # RFC 6749 §4.4: the grant is for confidential clients only.
        raise SignInError(
            "The grant client_credentials needs a client that authenticates.",
            hint="Add the server again with --client-secret-env or --private-key-env.",
        )
    fields = {"grant_type": "client_credentials", "scope": scope, "resource": resource}
    return await ask_for_tokens(
        fetch,
        client,
        there.token_endpoint,
        fields,
        issuer=there.issuer,
        what="client's sign-in",
        rfc="RFC 6749 §4.4.2",
        dpop=dpop,
    )


async def jwt_bearer(
    fetch: Fetch,
    client: RegisteredClient,
    there: AuthorizationServer,
    *,
    assertion: str,
    scope: str | None = None,
    resource: str | None = None,
    dpop: DpopKey | None = None,
) -> Tokens:
    """Exchanges a workload's own JWT for a token (RFC 7523 §2.1); asked once, without fallback.

    Args:
        fetch: The errand's HTTP client.
        client: Who asks.
        there: Whom.
        assertion: The JWT that the workload's platform issued.
        scope: What to ask for.
        resource: The server the token is for (RFC 8707).
        dpop: The key to bind the tokens to.

    Raises:
        SignInError: The JWT was made for somebody else, who could be impersonated with it; nothing
            was sent.
        ServerConfigError: It is no JWT.
        AuthorizationServerError: It was refused.
    """
    _check_audience(assertion, there)
    fields = {
        "grant_type": _JWT_BEARER,
        "assertion": assertion,
        "scope": scope,
        "resource": resource,
    }
    return await ask_for_tokens(
        fetch,
        client,
        there.token_endpoint,
        fields,
        issuer=there.issuer,
        what="assertion exchange",
        rfc="RFC 7523 §2.1",
        dpop=dpop,
        hint="Renew the assertion where it was issued; it may have expired, or be made out to "
        "another audience.",
    )


def _check_audience(assertion: str, there: AuthorizationServer) -> None:
    """Refuses to hand a JWT to an authorization server it was not made for.

    The MCP server chooses the authorization server: one of bad faith could use the JWT where it
    belongs. Only audiences that are web addresses can be compared.
    """
    origins = {
        origin(audience)
        for audience in assertion_audiences(assertion)
        if audience.startswith(("https://", "http://"))
    }
    if origins and origins.isdisjoint({origin(there.issuer), origin(there.token_endpoint)}):
        raise SignInError(
            f"The assertion was not made for {host_of(there.issuer)}; nothing was sent.",
            hint="Have it issued with the audience "
            f"{there.issuer if is_visible(there.issuer, 200) else 'that %mcp doctor shows'}.",
        )


async def enterprise(
    fetch: Fetch,
    client: RegisteredClient,
    there: AuthorizationServer,
    *,
    oauth: OAuthSettings,
    id_token: str,
    resource: str,
    scope: str | None = None,
    dpop: DpopKey | None = None,
) -> Tokens:
    """Signs in through the company's identity provider (MCP, enterprise-managed authorization).

    The provider exchanges the person's ID token for an identity assertion made out to this
    authorization server and this resource (RFC 8693, ID-JAG), and that is exchanged for a token.

    Args:
        fetch: The errand's HTTP client.
        client: Who asks at the authorization server.
        there: The authorization server of the MCP server.
        oauth: Names the identity provider's token endpoint and the client there.
        id_token: The ID token the person got from the identity provider.
        resource: The MCP server's resource identifier.
        scope: What to ask for.
        dpop: The key to bind the tokens to.

    Raises:
        ServerConfigError: The identity provider is not described.
        AuthorizationServerError: One of the two refused.
    """
    if not oauth.idp_token_endpoint or not oauth.idp_client_id:
        raise ServerConfigError(
            "The identity provider is not described.",
            hint="Add the server again with --idp-token-endpoint and --idp-client-id.",
        )
    fields = {
        "grant_type": _TOKEN_EXCHANGE,
        "requested_token_type": _ID_JAG,
        "subject_token": id_token,
        "subject_token_type": _ID_TOKEN,
        "audience": there.issuer,
        "resource": resource,
        "scope": scope,
    }
    reply = await ask(
        fetch,
        RegisteredClient(client_id=oauth.idp_client_id, registration="preregistered"),
        oauth.idp_token_endpoint,
        fields,
        issuer=oauth.idp_token_endpoint,
        what="ID token exchange",
        rfc="RFC 8693 §2.1",
        hint="Renew the ID token, or ask your identity provider's administrator to allow this "
        "server.",
    )
    fields = {
        "grant_type": _JWT_BEARER,
        "assertion": _id_jag(reply),
        "scope": scope,
        "resource": resource,
    }
    return await ask_for_tokens(
        fetch,
        client,
        there.token_endpoint,
        fields,
        issuer=there.issuer,
        what="identity assertion exchange",
        rfc="RFC 7523 §2.1",
        dpop=dpop,
        hint="The authorization server has to trust the identity provider for this server.",
    )


def _id_jag(reply: Reply) -> str:
    """The identity assertion of a token exchange: its token_type is N_A (RFC 8693 §2.2.1)."""
    document = reply.document or {}
    token = document.get("access_token")
    if document.get("issued_token_type") != _ID_JAG or not is_visible(token, 16 * 1024):
        raise AuthorizationServerError(
            f"{host_of(reply.address)} answered the token exchange without an identity assertion.",
            hint="The identity provider has to support cross-app access (ID-JAG).",
            status=reply.status,
        )
    return token
