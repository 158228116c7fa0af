"""What the tests of registration and grants begin with: a server, and who guards it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from mcp_notebook.auth.client import RegisteredClient
from mcp_notebook.auth.metadata import AuthorizationServer, Discovery, ProtectedResource
from mcp_notebook.auth.record import TokenRecord
from mcp_notebook.servers import OAuthSettings, Server

REDIRECT = "http://127.0.0.1:43117/callback"


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


def a_record(authority: Any, client: RegisteredClient, **values: Any) -> TokenRecord:
    return TokenRecord(
        server="notes",
        resource=f"{authority.url}/mcp",
        resource_parameter=f"{authority.url}/mcp",
        issuer=authority.issuer,
        token_endpoint=f"{authority.url}/token",
        revocation_endpoint=f"{authority.url}/revoke",
        **{
            "client_id": client.client_id,
            "client_secret": client.client_secret,
            "auth_method": client.auth_method,
            "registration": client.registration,
            "redirect_uri": client.redirect_uri,
            **values,
        },
    )


def soon(seconds: float) -> float:
    return time.time() + seconds
