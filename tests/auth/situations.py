"""What the tests of registration and grants begin with: a server, and who guards it."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

from mcp_notebook.auth.client import RegisteredClient
from mcp_notebook.auth.fetch import Fetch
from mcp_notebook.auth.grants import exchange_code
from mcp_notebook.auth.metadata import AuthorizationServer, Discovery, ProtectedResource
from mcp_notebook.auth.record import TokenRecord
from mcp_notebook.auth.registration import obtain_client
from mcp_notebook.auth.token_endpoint import Tokens
from mcp_notebook.config.servers import OAuthSettings, Server
from tests.peers.authority import Grant, Refresh
from tests.peers.web import Seen

REDIRECT = "http://127.0.0.1:43117/callback"
RESOURCE = "https://mcp.example/mcp"
CODE = "c0de-of-the-person"
VERIFIER = "v3rifier-" * 6

ME = RegisteredClient(client_id="me")
"""A public client; the fixture `fetch` makes it known to the authority."""


def a_server(authority: Any, **oauth: Any) -> Server:
    return Server(name="notes", url=f"{authority.url}/mcp", oauth=OAuthSettings(**oauth))


def guardian(authority: Any, **changes: Any) -> AuthorizationServer:
    """The authority's metadata, as discovery would find it."""
    there = AuthorizationServer(
        issuer=authority.issuer,
        authorization_endpoint=f"{authority.url}/authorize",
        token_endpoint=f"{authority.url}/token",
        registration_endpoint=f"{authority.url}/register",
        revocation_endpoint=f"{authority.url}/revoke",
        device_authorization_endpoint=f"{authority.url}/device_authorization",
        token_endpoint_auth_methods_supported=authority.knobs.auth_methods,
        client_id_metadata_document_supported=bool(authority.knobs.cimd),
    )
    return replace(there, **changes)


def found(authority: Any, **changes: Any) -> Discovery:
    there = guardian(authority, **changes)
    resource = ProtectedResource(
        resource=f"{authority.url}/mcp", authorization_servers=(there.issuer,)
    )
    return Discovery(resource=resource, authorization_server=there)


async def obtain(
    authority: Any,
    *,
    known: TokenRecord | None = None,
    secret: str | None = None,
    again: bool = False,
    changes: Any = None,
    **oauth: Any,
) -> RegisteredClient:
    """Gets a client of the authority; `changes` are laid over its metadata."""
    server = a_server(authority, **oauth)
    redirect = (
        None if oauth.get("grant", "authorization_code") != "authorization_code" else REDIRECT
    )
    async with Fetch(server.url) as fetch:
        return await obtain_client(
            fetch,
            server,
            found(authority, **(changes or {})),
            redirect_uri=redirect,
            known=known,
            secret=secret,
            register_again=again,
        )


def a_record(authority: Any, client: RegisteredClient, **values: Any) -> TokenRecord:
    known = {
        "server": "notes",
        "resource": f"{authority.url}/mcp",
        "resource_parameter": f"{authority.url}/mcp",
        "issuer": authority.issuer,
        "token_endpoint": f"{authority.url}/token",
        "revocation_endpoint": f"{authority.url}/revoke",
        "client_id": client.client_id,
        "client_secret": client.client_secret,
        "auth_method": client.auth_method,
        "registration": client.registration,
        "redirect_uri": client.redirect_uri,
    }
    return TokenRecord(**{**known, **values})


def refreshable(authority: Any, token: str = "refr3sh-token", **values: Any) -> TokenRecord:
    """A record of the client `ME` whose refresh token the authority knows."""
    resource = f"{authority.url}/mcp"
    grant = Grant(
        client_id=ME.client_id, scope="tools", resource=resource, jkt=values.pop("jkt", None)
    )
    authority.refresh[token] = Refresh(grant=grant)
    return a_record(authority, ME, refresh_token=token, access_token="old-access", **values)


def asked(authority: Any, path: str = "/token") -> list[Seen]:
    return [seen for seen in authority.seen if seen.path == path]


def answer(authority: Any, document: Any, status: int = 200, **more: Any) -> None:
    """The next answer of the token endpoint, whatever is asked."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    authority.fail_next(status=status, path="/token", body=body, **more)


def good(**changes: Any) -> dict[str, Any]:
    return {"access_token": "acc3ss", "token_type": "Bearer", **changes}


async def exchange(
    fetch: Fetch, authority: Any, client: RegisteredClient | None = None, **options: Any
) -> Tokens:
    """Exchanges a code that the authority never gave: for answers made by `answer`."""
    return await exchange_code(
        fetch,
        client or ME,
        guardian(authority),
        code=CODE,
        code_verifier=VERIFIER,
        redirect_uri=REDIRECT,
        resource=RESOURCE,
        **options,
    )


def soon(seconds: float) -> float:
    return time.time() + seconds
