"""Puts the access token on requests (RFC 6750), and says what a 401 or 403 means.

A request that needs a person fails at once with `SignInNeededError`; nobody is waited for in here.
A 401 on a token is answered by one renewal and one repetition; a 403 ``insufficient_scope`` is a
step-up. The token goes to the origin it was issued for and nowhere else.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

import httpx2

from mcp_notebook.auth.assertions import DpopKey
from mcp_notebook.auth.challenge import bearer_challenge
from mcp_notebook.auth.record import TokenRecord
from mcp_notebook.config.servers import Server, is_keyed
from mcp_notebook.config.urls import origin
from mcp_notebook.errors import SignInError, SignInNeededError
from mcp_notebook.redaction import printable


class TokenSource(Protocol):
    """Where the token of a request comes from, such as `Credentials`."""

    @property
    def server(self) -> Server:
        """Whom it is for."""

    async def current(self) -> TokenRecord | None:
        """Returns a record whose access token may be used now, or None."""

    async def renew(self, used: str) -> TokenRecord | None:
        """Returns a record with another access token than the one that was refused, or None."""


class Bearer(httpx2.Auth):
    """The `httpx2.Auth` of one server; holds no token itself."""

    def __init__(self, credentials: TokenSource) -> None:
        self._credentials = credentials
        self._origin = origin(credentials.server.url)
        self._keyed = is_keyed(credentials.server)
        self._nonce: str | None = None

    async def async_auth_flow(
        self, request: httpx2.Request
    ) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """Sends the request with the current token; once more with a renewed one after a 401."""
        if origin(request.url) != self._origin:
            yield request
            return
        if self._keyed or "Authorization" in request.headers:  # the person's own, see `Server`
            self._judge_own((yield request))
            return
        record = await self._credentials.current()
        self._attach(request, record)
        response = yield request
        if self._take_nonce(response, record):
            self._attach(request, record)
            response = yield request
            self._take_nonce(response, record)
        if response.status_code == 401:
            renewed = await self._renewed(record)
            if renewed is not None:
                record = renewed
                self._attach(request, record)
                response = yield request
                self._take_nonce(response, record)
        self._judge(response, had_token=record is not None)

    async def _renewed(self, record: TokenRecord | None) -> TokenRecord | None:
        """Returns another token than the one that was refused, or None."""
        if record is None or record.access_token is None:
            return await self._credentials.current()  # another kernel may have signed in just now
        renewed = await self._credentials.renew(record.access_token)
        return renewed if renewed and renewed.access_token != record.access_token else None

    def _attach(self, request: httpx2.Request, record: TokenRecord | None) -> None:
        request.headers.pop("DPoP", None)
        if record is None or record.access_token is None:
            return
        if record.dpop_key is None:
            request.headers["Authorization"] = f"Bearer {record.access_token}"
            return
        # RFC 9449 §7.1: a fresh proof for every request, bound to the token by its hash.
        key = DpopKey.from_jwk(record.dpop_key)
        request.headers["Authorization"] = f"DPoP {record.access_token}"
        request.headers["DPoP"] = key.proof(
            request.method, str(request.url), access_token=record.access_token, nonce=self._nonce
        )

    def _take_nonce(self, response: httpx2.Response, record: TokenRecord | None) -> bool:
        """Remembers a DPoP nonce; tells whether the request is refused for want of it.

        RFC 9449 §8.2, §9: any answer may bring the next nonce.
        """
        nonce = response.headers.get("DPoP-Nonce")
        if record is None or record.dpop_key is None or not nonce:
            return False
        self._nonce = nonce
        challenge = bearer_challenge(response.headers)
        return (
            response.status_code == 401
            and challenge is not None
            and challenge.error == "use_dpop_nonce"
        )

    def _judge_own(self, response: httpx2.Response) -> None:
        if response.status_code == 401:
            own = "address" if self._keyed else "Authorization header"
            raise SignInError(
                f"{self._credentials.server.name} does not accept the {own} it was added with.",
                hint="Renew what the variable in it holds; or add the server without it, to sign "
                "in.",
            )

    def _judge(self, response: httpx2.Response, *, had_token: bool) -> None:
        if response.status_code not in {401, 403}:
            return
        name = self._credentials.server.name
        challenge = bearer_challenge(response.headers)
        if response.status_code == 401:
            asks = "no longer accepts the sign-in" if had_token else "asks for a sign-in"
            raise SignInNeededError(
                f"{name} {asks}.", hint=f"Sign in with: %mcp connect {name}", challenge=challenge
            )
        if challenge is None or challenge.error != "insufficient_scope" or not challenge.scope:
            return  # a plain refusal: no sign-in would change it
        raise SignInNeededError(
            f"{name} asks for more permissions: {printable(challenge.scope)}.",
            hint=f"Allow them with: %mcp sign-in {name}",
            challenge=challenge,
            step_up=True,
        )
