"""Takes tokens back at sign-out (RFC 7009): within five seconds, and honest about what remains."""

from __future__ import annotations

import asyncio
import time

from mcp_notebook.auth.client import RegisteredClient
from mcp_notebook.auth.fetch import Fetch
from mcp_notebook.auth.record import TokenRecord
from mcp_notebook.auth.token_endpoint import ask
from mcp_notebook.config.servers import OAuthSettings
from mcp_notebook.config.urls import host_of
from mcp_notebook.errors import AuthorizationServerError, ServerConfigError

DEADLINE = 5.0
"""Seconds for both tokens together: signing out works offline as well."""


async def revoke(
    fetch: Fetch, record: TokenRecord, *, oauth: OAuthSettings | None = None
) -> list[str]:
    """Revokes the tokens of a record, the refresh token first, and never raises.

    The refresh token goes first because it lives longest, and because its end takes the access
    tokens along at many servers (RFC 7009 §2.1).

    Args:
        fetch: The errand's HTTP client.
        record: What is being signed out.
        oauth: Names the private key of a client that authenticates with one.

    Returns:
        One sentence for each token: that it was revoked, or that it remains valid, how long, and
        why.
    """
    held = [
        (name, token)
        for name, token in (
            ("refresh_token", record.refresh_token),
            ("access_token", record.access_token),
        )
        if token
    ]
    said: dict[str, str] = {}
    try:
        async with asyncio.timeout(DEADLINE):
            for name, token in held:
                said[name] = await _revoke_one(fetch, record, name, token, oauth)
    except TimeoutError:
        pass
    return [said.get(name) or _remains(record, name, "no answer in time") for name, _ in held]


async def _revoke_one(
    fetch: Fetch, record: TokenRecord, name: str, token: str, oauth: OAuthSettings | None
) -> str:
    if record.revocation_endpoint is None:
        return _remains(record, name, f"{host_of(record.issuer)} offers no revocation")
    try:
        await ask(
            fetch,
            RegisteredClient.of(record, oauth),
            record.revocation_endpoint,
            {"token": token, "token_type_hint": name},
            issuer=record.issuer,
            what=f"revocation of the {_plain(name)}",
            rfc="RFC 7009 §2.1",
        )
    except AuthorizationServerError as error:
        reason = error.code or (str(error.status) if error.status else "no connection")
        return _remains(record, name, f"{host_of(record.issuer)}: {reason}")
    except ServerConfigError:
        return _remains(record, name, "the client's private key is not there")
    return f"The {_plain(name)} was revoked."


def _remains(record: TokenRecord, name: str, why: str) -> str:
    if name == "refresh_token":
        until = f"until {host_of(record.issuer)} drops it; its account settings may list it"
    elif record.expires_at is None:
        until = "until it expires"
    else:
        minutes = max(0, round((record.expires_at - time.time()) / 60))
        until = f"for about {minutes} min" if minutes else "for less than a minute"
    return f"The {_plain(name)} was not revoked ({why}); it remains valid {until}."


def _plain(name: str) -> str:
    return name.replace("_", " ")
