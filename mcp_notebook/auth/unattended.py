"""Grants without a person: a client, a workload or a company's identity provider vouches.

None of them has a refresh token to speak of: a token that expires is asked for anew, by the same
grant, from what the record and the environment hold.
"""

from __future__ import annotations

from dataclasses import replace

from mcp_notebook.auth import grants
from mcp_notebook.auth.asking import (
    dpop_key,
    record_of,
    resource_parameter,
    scopes_to_ask,
    with_tokens,
    without_offline,
)
from mcp_notebook.auth.assertions import DpopKey
from mcp_notebook.auth.client import RegisteredClient
from mcp_notebook.auth.discovery import discover
from mcp_notebook.auth.environment import secret_from
from mcp_notebook.auth.fetch import Fetch
from mcp_notebook.auth.metadata import AuthorizationServer, Challenge
from mcp_notebook.auth.record import TokenRecord
from mcp_notebook.auth.registration import obtain_client
from mcp_notebook.auth.token_endpoint import Tokens
from mcp_notebook.config.servers import Server
from mcp_notebook.errors import ServerConfigError

UNATTENDED = frozenset({"client_credentials", "jwt_bearer", "enterprise"})
"""The grants no person takes part in."""


async def sign_in(
    fetch: Fetch, server: Server, *, known: TokenRecord | None, challenge: Challenge | None
) -> TokenRecord:
    """Signs the client in, from discovery to the record; the record is not stored.

    Args:
        fetch: The errand's HTTP client.
        server: The server, whose grant is one of `UNATTENDED`.
        known: What is stored of it.
        challenge: What it sent, if anything.

    Raises:
        ServerConfigError: Something the grant needs is not there.
        SignInError: It cannot be done.
        AuthorizationServerError: The authorization server refused or cannot be used.
    """
    prefer = known.issuer if known is not None else None
    discovery = await discover(fetch, server, challenge, prefer_issuer=prefer)
    client = await obtain_client(fetch, server, discovery, redirect_uri=None, known=known)
    scopes = scopes_to_ask(server, discovery, challenge)
    if not server.oauth.scope:
        # RFC 6749 §4.4.3: there is no refresh token to ask for, and some refuse the question.
        scopes = without_offline(scopes)
    resource = resource_parameter(server, discovery)
    key = dpop_key(server, discovery)
    there = discovery.authorization_server
    tokens = await _ask(fetch, server, client, there, " ".join(scopes), resource, key)
    return record_of(server, discovery, client, tokens, scopes=scopes, resource=resource, key=key)


async def renew(fetch: Fetch, server: Server, record: TokenRecord) -> TokenRecord:
    """Asks for the tokens of a record anew; nobody but its token endpoint is asked.

    Raises:
        ServerConfigError: Something the grant needs is not there.
        AuthorizationServerError: It was refused.
    """
    there = AuthorizationServer(
        issuer=record.issuer, authorization_endpoint=None, token_endpoint=record.token_endpoint
    )
    client = RegisteredClient.of(record, server.oauth)
    if server.oauth.client_secret_env:
        # A secret from the environment may have been rotated there.
        secret = secret_from(server.oauth.client_secret_env, "client secret")
        client = replace(client, client_secret=secret)
    key = DpopKey.from_jwk(record.dpop_key) if record.dpop_key else None
    tokens = await _ask(fetch, server, client, there, record.scope, record.resource_parameter, key)
    return with_tokens(record, tokens)


async def _ask(
    fetch: Fetch,
    server: Server,
    client: RegisteredClient,
    there: AuthorizationServer,
    scope: str | None,
    resource: str | None,
    key: DpopKey | None,
) -> Tokens:
    oauth, scope = server.oauth, scope or None
    if oauth.grant == "client_credentials":
        return await grants.client_credentials(
            fetch, client, there, scope=scope, resource=resource, dpop=key
        )
    if oauth.grant == "jwt_bearer":
        assertion = _vouched(oauth.assertion_env, "workload's assertion", "--assertion-env")
        return await grants.jwt_bearer(
            fetch, client, there, assertion=assertion, scope=scope, resource=resource, dpop=key
        )
    return await grants.enterprise(
        fetch,
        client,
        there,
        oauth=oauth,
        id_token=_vouched(oauth.idp_id_token_env, "ID token", "--idp-id-token-env"),
        resource=resource or server.url,
        scope=scope,
        dpop=key,
    )


def _vouched(variable: str | None, what: str, option: str) -> str:
    if variable is None:
        raise ServerConfigError(
            f"The {what} is needed, and no variable for it is named.",
            hint=f"Add the server again with {option} NAME.",
        )
    return secret_from(variable, what)
