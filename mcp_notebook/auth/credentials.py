"""The tokens of one server, kept fresh: what is attached to a request, and how it is renewed.

Everything a refresh needs is in the record, so a fresh process asks nobody but the token endpoint.
Within a process a refresh is made once however many calls wait for it; between processes the
cross-process lock is taken, the store is read again inside it, and a token that somebody else has
renewed meanwhile is adopted rather than spent a second time (rotation, RFC 9700 §4.14). The lock
covers the token request only, never a request to the server.
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import replace

from mcp_notebook.auth import grants, unattended
from mcp_notebook.auth.asking import with_tokens
from mcp_notebook.auth.assertions import DpopKey
from mcp_notebook.auth.discovery import discover
from mcp_notebook.auth.fetch import Fetch
from mcp_notebook.auth.record import TokenRecord
from mcp_notebook.auth.remedies import helped
from mcp_notebook.auth.revocation import revoke
from mcp_notebook.auth.tokens import StaleRecordError, TokenKeeper
from mcp_notebook.config.servers import Server
from mcp_notebook.config.urls import canonical_resource
from mcp_notebook.errors import AuthorizationServerError, MCPNotebookError, TokenStoreError

REFRESH_AHEAD = 60.0
"""Seconds before its expiry at which an access token is renewed."""

AHEAD_PAUSE = 30.0
"""Seconds between two renewals that are not yet due, so that neither a token that lives for less
than `REFRESH_AHEAD` nor an authorization server in trouble slows every request down."""

AHEAD_PATIENCE = 5.0
"""Seconds a call waits for a renewal that is not yet due; it goes on behind the call's back."""

_SPENT = frozenset({"invalid_grant", "invalid_client", "unauthorized_client"})
_GONE = frozenset({404, 405, 410})


class Credentials:
    """Reads, renews and forgets the tokens of one server."""

    def __init__(self, server: Server, keeper: TokenKeeper) -> None:
        self.server = server
        self.keeper = keeper
        self.resource = canonical_resource(server.url)
        self._renewing: asyncio.Task[TokenRecord | None] | None = None
        self._ahead_at = -math.inf

    def fetch(self) -> Fetch:
        """Returns a client for one errand to the authorization server."""
        oauth = self.server.oauth
        named = (oauth.idp_token_endpoint, *oauth.trusted_issuers)
        return Fetch(
            self.server.url,
            insecure=self.server.insecure,
            trusted=[address for address in named if address],
        )

    async def load(self, *, fresh: bool = False) -> TokenRecord | None:
        """Returns the kept record, or None; `fresh` reads the store rather than the memory."""
        return await self.keeper.load(self.server.name, resource=self.resource, fresh=fresh)

    async def current(self) -> TokenRecord | None:
        """Returns a record whose access token may be used now, or None where there is none.

        Raises:
            AuthorizationServerError: The token has expired and cannot be renewed at present.
            TokenStoreError: The store cannot be read.
        """
        record = await self.load()
        if record is None or record.access_token is None:
            return None
        if not record.expires_within(REFRESH_AHEAD) or not self._renewable(record):
            # Where it cannot be renewed, expiry is a hint (clocks differ): the 401 decides.
            return record
        if record.expires_within(0):
            return await self.renew(record.access_token)
        if time.monotonic() - self._ahead_at < AHEAD_PAUSE:
            return record
        self._ahead_at = time.monotonic()
        try:
            async with asyncio.timeout(AHEAD_PATIENCE):
                return await self.renew(record.access_token)
        except (AuthorizationServerError, TokenStoreError, TimeoutError):
            return record  # it is still good: neither trouble nor a busy lock is the call's affair

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
            self._renewing.add_done_callback(_seen)
        # Shielded: the caller who started it may be cancelled while a hundred others wait.
        return await asyncio.shield(self._renewing)

    async def sign_out(self) -> list[str]:
        """Revokes the tokens (RFC 7009, at most five seconds), and forgets them in any case.

        Returns:
            Sentences: what was revoked, and what remains valid; empty where nothing was kept.

        Raises:
            TokenStoreError: The store cannot delete the record.
        """
        record = await self.load(fresh=True)
        try:
            if record is None:
                return []
            async with self.fetch() as fetch:
                return await revoke(fetch, record, oauth=self.server.oauth)
        finally:
            await self.forget()

    async def keep_secret(self, secret: str) -> None:
        """Keeps the secret of the client that the person registered, for the sign-in to come.

        It is bound to the issuer of that sign-in, as every record is.

        Args:
            secret: As it was typed at a masked prompt.
        """
        assert self.server.oauth.client_id is not None
        await self.keeper.save(
            TokenRecord(
                server=self.server.name,
                resource=self.resource,
                issuer="",
                token_endpoint="",
                client_id=self.server.oauth.client_id,
                client_secret=secret,
                registration="preregistered",
            )
        )

    async def forget(self) -> None:
        """Deletes the record from the store and from memory."""
        await self.keeper.forget(self.server.name)

    def _renewable(self, record: TokenRecord) -> bool:
        return record.refresh_token is not None or self._unattended

    @property
    def _unattended(self) -> bool:
        return self.server.oauth.grant in unattended.UNATTENDED

    async def _renew(self, used: str) -> TokenRecord | None:
        async with self.keeper.refreshing(self.server.name):
            record = await self.load(fresh=True)
            if record is None or record.access_token is None:
                return None
            if record.access_token != used and not record.expires_within(0):
                return record
            if not self._renewable(record):
                return None
            try:
                async with self.fetch() as fetch:
                    renewed = await self._asked_anew(fetch, record)
            except AuthorizationServerError as error:
                helped(error, self.server)
                if error.code not in _SPENT or self._unattended:
                    raise
                return await self._given_up(record, error)
            except MCPNotebookError as error:
                helped(error, self.server)
                raise
            return await self._keep(renewed, after=record)

    async def _asked_anew(self, fetch: Fetch, record: TokenRecord) -> TokenRecord:
        try:
            return await self._asked_at(fetch, record)
        except AuthorizationServerError as gone:
            if gone.status not in _GONE or gone.code in _SPENT:
                raise
            moved = await self._moved(fetch, record)
            if moved is None:
                raise
        return await self._asked_at(fetch, moved)

    async def _moved(self, fetch: Fetch, record: TokenRecord) -> TokenRecord | None:
        """Returns the record with its issuer's endpoints of today, or None where nothing changed.

        A token endpoint that is gone may have moved. Only the metadata of the very issuer the
        tokens belong to may say where: nobody else gets the refresh token.
        """
        try:
            found = await discover(fetch, self.server, None, prefer_issuer=record.issuer)
        except AuthorizationServerError:
            return None
        there = found.authorization_server
        if there.issuer != record.issuer or there.token_endpoint == record.token_endpoint:
            return None
        return replace(
            record,
            authorization_endpoint=there.authorization_endpoint,
            token_endpoint=there.token_endpoint,
            revocation_endpoint=there.revocation_endpoint,
            registration_endpoint=there.registration_endpoint,
        )

    async def _asked_at(self, fetch: Fetch, record: TokenRecord) -> TokenRecord:
        if self._unattended:
            return await unattended.renew(fetch, self.server, record)
        key = DpopKey.from_jwk(record.dpop_key) if record.dpop_key else None
        tokens = await grants.refresh(fetch, record, dpop=key, oauth=self.server.oauth)
        return with_tokens(record, tokens)

    async def _given_up(
        self, record: TokenRecord, error: AuthorizationServerError
    ) -> TokenRecord | None:
        """Drops what the authorization server no longer takes (RFC 6749 §5.2).

        A spent refresh token leaves the client known. A client that it does not know is forgotten
        if we registered it; one that a person registered is theirs to mend, so they are told.
        """
        if error.code == "invalid_grant" or record.registration == "cimd":
            return await self._keep(record.without_tokens(), after=record)
        if record.registration == "preregistered":
            raise error
        await self.forget()
        return None

    async def _keep(self, record: TokenRecord, *, after: TokenRecord) -> TokenRecord | None:
        kept: TokenRecord | None
        try:
            kept = await self.keeper.replace(record, after=after.generation)
        except StaleRecordError as lost:
            # Somebody signed out or in meanwhile: theirs stands, ours is not written over it.
            kept = lost.current
        return kept if kept is not None and kept.access_token is not None else None


def _seen(task: asyncio.Task[TokenRecord | None]) -> None:
    """Looks at the outcome, as nobody may be left who waits for it."""
    if not task.cancelled():
        task.exception()
