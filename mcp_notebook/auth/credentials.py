"""The tokens of one server, kept fresh: what is attached to a request, and how it is renewed.

Everything a refresh needs is in the record, so a fresh process asks nobody but the token endpoint.
Within a process a refresh is made once however many calls wait for it; between processes the
cross-process lock is taken, the store is read again inside it, and a token that somebody else has
renewed meanwhile is adopted rather than spent a second time (rotation, RFC 9700 §4.14). The lock
covers the token request only, never a request to the server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from mcp_notebook.auth import grants
from mcp_notebook.auth.assertions import DpopKey
from mcp_notebook.auth.fetch import Fetch
from mcp_notebook.auth.record import TokenRecord
from mcp_notebook.auth.tokens import StaleRecordError, TokenKeeper
from mcp_notebook.auth.urls import canonical_resource
from mcp_notebook.errors import AuthorizationServerError
from mcp_notebook.servers import Server

REFRESH_AHEAD = 60.0
"""Seconds before its expiry at which an access token is renewed."""


def with_tokens(record: TokenRecord, tokens: grants.Tokens) -> TokenRecord:
    """Returns the record with new tokens; an absent refresh token or scope keeps the old one.

    RFC 6749 §6: a refresh need not answer with a new refresh token; §5.1: an omitted scope is the
    one that was asked for.
    """
    return replace(
        record,
        access_token=tokens.access_token,
        refresh_token=tokens.refresh_token or record.refresh_token,
        expires_at=tokens.expires_at,
        scope=tokens.scope or record.scope,
    )


class Credentials:
    """Reads, renews and forgets the tokens of one server."""

    def __init__(self, server: Server, keeper: TokenKeeper) -> None:
        self.server = server
        self.keeper = keeper
        self.resource = canonical_resource(server.url)
        self._renewing: asyncio.Task[TokenRecord | None] | None = None
        self._changed: list[Callable[[], None]] = []

    def fetch(self) -> Fetch:
        """Returns a client for one errand to the authorization server."""
        oauth = self.server.oauth
        trusted = [*oauth.trusted_issuers, oauth.idp_token_endpoint or ""]
        return Fetch(self.server.url, insecure=self.server.insecure, trusted=trusted)

    async def load(self, *, fresh: bool = False) -> TokenRecord | None:
        """Returns the kept record, or None; `fresh` reads the store rather than the memory."""
        return await self.keeper.load(self.server.name, resource=self.resource, fresh=fresh)

    async def current(self) -> TokenRecord | None:
        """Returns a record whose access token may be used now, or None where there is none.

        Raises:
            AuthorizationServerError: The token has expired and cannot be renewed at present.
        """
        record = await self.load()
        if record is None or record.access_token is None:
            return None
        if not record.expires_within(REFRESH_AHEAD):
            return record
        if record.refresh_token is None:
            # Expiry is a hint (clocks differ): the server's 401 decides.
            return record
        try:
            return await self.renew(record.access_token)
        except AuthorizationServerError:
            if record.expires_within(0):
                raise
            return record

    async def renew(self, used: str) -> TokenRecord | None:
        """Returns a record with another access token than the one that was used.

        Args:
            used: The access token the server refused, or that is about to expire.

        Returns:
            The renewed record, or None where only a person can help.

        Raises:
            AuthorizationServerError: The authorization server cannot be reached or answers
                wrongly; the tokens are kept.
            TokenStoreError: The lock between processes could not be had.
        """
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.get_running_loop().create_task(self._renew(used))
        # Shielded: the caller who started it may be cancelled while a hundred others wait.
        return await asyncio.shield(self._renewing)

    async def _renew(self, used: str) -> TokenRecord | None:
        async with self.keeper.refreshing(self.server.name):
            record = await self.load(fresh=True)
            if record is None or record.access_token is None:
                return None
            if record.access_token != used and not record.expires_within(0):
                return record
            if record.refresh_token is None:
                return None
            return await self._spend(record)

    async def _spend(self, record: TokenRecord) -> TokenRecord | None:
        key = DpopKey.from_jwk(record.dpop_key) if record.dpop_key else None
        async with self.fetch() as fetch:
            try:
                tokens = await grants.refresh(fetch, record, dpop=key)
            except AuthorizationServerError as error:
                if error.code not in {"invalid_grant", "invalid_client", "unauthorized_client"}:
                    raise
                # RFC 6749 §5.2: this refresh token is spent. The client stays known unless it
                # is the client that was refused.
                kept = record.without_tokens()
                if error.code != "invalid_grant":
                    await self.forget()
                    return None
                await self._keep(kept, after=record)
                return None
        return await self._keep(with_tokens(record, tokens), after=record)

    async def _keep(self, record: TokenRecord, *, after: TokenRecord) -> TokenRecord | None:
        try:
            return await self.keeper.replace(record, after=after.generation)
        except StaleRecordError as lost:
            # Somebody signed out or in meanwhile: theirs stands, ours is not written over it.
            current = lost.current
            return current if current is not None and current.access_token else None

    async def forget(self) -> None:
        """Deletes the record from the store and from memory."""
        await self.keeper.forget(self.server.name)
