"""Signing in on another device (RFC 8628): for kernels no browser can reach.

A person types a short code on a page of the authorization server, on whatever device has a
browser, while the token endpoint is asked now and then, at its own pace, whether they did.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from mcp_notebook.auth.assertions import DpopKey
from mcp_notebook.auth.client import DEVICE_GRANT, RegisteredClient
from mcp_notebook.auth.fetch import Fetch
from mcp_notebook.auth.metadata import AuthorizationServer
from mcp_notebook.auth.reply import Reply
from mcp_notebook.auth.token_endpoint import Tokens, ask, ask_for_tokens
from mcp_notebook.auth.wire import is_visible, number_of
from mcp_notebook.config.servers import Server
from mcp_notebook.config.urls import check_web_address, host_of
from mcp_notebook.errors import (
    AuthorizationServerError,
    SignInDeniedError,
    SignInError,
    SignInExpiredError,
)

SHORTEST_INTERVAL = 1.0
SLOW_DOWN = 5.0
"""Seconds added to the interval on ``slow_down`` (RFC 8628 §3.5)."""

_LONGEST_WAIT = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class DeviceCode:
    """A sign-in that a person confirms on any device (RFC 8628 §3.2).

    Attributes:
        device_code: Our half, a secret.
        user_code: What the person types.
        verification_uri: Where they type it.
        verification_uri_complete: The same with the code in it, where the server offers that.
        deadline: The `time.monotonic` moment both codes expire.
        interval: Seconds between two polls.
    """

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str | None
    deadline: float
    interval: float

    def __repr__(self) -> str:
        return f"<DeviceCode at {host_of(self.verification_uri)}>"


async def start_device(
    fetch: Fetch,
    server: Server,
    client: RegisteredClient,
    there: AuthorizationServer,
    *,
    scope: str | None = None,
    resource: str | None = None,
) -> DeviceCode:
    """Asks for a device and a user code (RFC 8628 §3.1).

    Raises:
        SignInError: The authorization server offers no device sign-in.
        AuthorizationServerError: It refused, or its answer cannot be used.
    """
    if there.device_authorization_endpoint is None:
        raise SignInError(
            f"{host_of(there.issuer)} offers no sign-in by device code.",
            hint="Add the server again without --grant device_code; the link can be opened on "
            "any device, and the final address pasted.",
        )
    reply = await ask(
        fetch,
        client,
        there.device_authorization_endpoint,
        {"scope": scope, "resource": resource},
        issuer=there.issuer,
        what="device sign-in",
        rfc="RFC 8628 §3.1",
    )
    return _judged(reply, server)


def _judged(reply: Reply, server: Server) -> DeviceCode:
    document = reply.document or {}
    device_code, user_code = document.get("device_code"), document.get("user_code")
    # Google and others wrote the draft's name for it.
    address = document.get("verification_uri") or document.get("verification_url")
    complete = document.get("verification_uri_complete")
    if not (
        is_visible(device_code, 4096)
        and is_visible(user_code, 64, spaces=True)
        and isinstance(address, str)
    ):
        raise AuthorizationServerError(
            f"{host_of(reply.address)} began the device sign-in with an incomplete answer.",
            hint="Use the sign-in by link: add the server again without --grant device_code.",
            status=reply.status,
        )
    for shown in (address, complete):
        if isinstance(shown, str):
            check_web_address(
                shown, server_url=server.url, insecure=server.insecure, what="sign-in page"
            )
    lifetime = number_of(document.get("expires_in")) or 600.0
    interval = number_of(document.get("interval"))
    return DeviceCode(
        device_code=device_code,
        user_code=user_code,
        verification_uri=address,
        verification_uri_complete=complete if isinstance(complete, str) else None,
        deadline=time.monotonic() + min(max(lifetime, 0.0), _LONGEST_WAIT),
        # RFC 8628 §3.2: 5 s where nothing is said.
        interval=min(max(5.0 if interval is None else interval, SHORTEST_INTERVAL), 60.0),
    )


async def poll_device(
    fetch: Fetch,
    client: RegisteredClient,
    there: AuthorizationServer,
    device: DeviceCode,
    *,
    resource: str | None = None,
    dpop: DpopKey | None = None,
) -> Tokens:
    """Waits until the person has confirmed, asking at the server's pace (RFC 8628 §3.4, §3.5).

    The resource is named once more: MCP demands it in token requests of every kind.

    Raises:
        SignInExpiredError: Nobody confirmed before the code expired.
        SignInDeniedError: The person said no.
        AuthorizationServerError: The sign-in was refused for another reason.
    """
    interval = device.interval
    fields = {
        "grant_type": DEVICE_GRANT,
        "device_code": device.device_code,
        "resource": resource,
    }
    while time.monotonic() + interval < device.deadline:
        await asyncio.sleep(interval)
        try:
            return await ask_for_tokens(
                fetch,
                client,
                there.token_endpoint,
                fields,
                issuer=there.issuer,
                what="device token request",
                rfc="RFC 8628 §3.4",
                dpop=dpop,
            )
        except AuthorizationServerError as error:
            interval = _next_interval(error, interval)
    raise _too_late()


def _next_interval(error: AuthorizationServerError, interval: float) -> float:
    if error.code == "authorization_pending":
        return interval
    if error.code == "slow_down":
        return interval + SLOW_DOWN
    if error.code == "expired_token":
        raise _too_late() from None
    if error.code == "access_denied":
        raise SignInDeniedError(
            "The sign-in was declined.", hint="Start it again with %mcp sign-in NAME."
        ) from None
    if not error.passing:
        raise error
    # RFC 8628 §3.5: on trouble, poll less often.
    return max(2 * interval, error.retry_after or 0.0)


def _too_late() -> SignInExpiredError:
    return SignInExpiredError(
        "Nobody confirmed the sign-in before its code expired.",
        hint="Sign in again with %mcp sign-in NAME.",
    )
