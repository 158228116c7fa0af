"""Between a flow and whoever it signs in for: what is offered, who is asked, what both need."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from mcp_notebook.auth.asking import record_of
from mcp_notebook.auth.client import RegisteredClient
from mcp_notebook.auth.credentials import Credentials
from mcp_notebook.auth.discovery import discover
from mcp_notebook.auth.metadata import AuthorizationServer, Challenge, Discovery
from mcp_notebook.auth.record import TokenRecord
from mcp_notebook.config.servers import Server
from mcp_notebook.errors import AuthorizationServerError, SignInNeededError, TokenStoreError

T = TypeVar("T")

_CLIENT_REFUSED = frozenset({"invalid_client", "unauthorized_client"})
_DOCUMENT_REFUSED = _CLIENT_REFUSED | {
    "invalid_client_metadata",
    "invalid_redirect_uri",
    "invalid_request",
}
"""A client ID metadata document is refused in more words: its callback may have another port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a person is asked to do.

    Attributes:
        url: The link to open; holds `state`, so it is not in the repr.
        host: The authorization server's host, for the person to recognise.
        scopes: What is asked for.
        added: What of it is new, where permissions are added to a sign-in.
        user_code: What to type on the page, in a device sign-in.
        seconds: How long the authorization server waits, where it says so.
        notes: Sentences about the way here.
        replaceable: Whether another client can be registered in the place of this one, which its
            authorization server may have forgotten since or may not take.
        paste: Takes the address of the page the browser ended on; raises `SignInError`.
    """

    url: str = field(repr=False)
    host: str
    scopes: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    user_code: str | None = field(default=None, repr=False)
    seconds: float | None = None
    notes: tuple[str, ...] = ()
    replaceable: bool = False
    paste: Callable[[str], None] | None = field(default=None, repr=False)


class Asker(Protocol):
    """Whoever a flow works for.

    Attributes:
        server: The server to sign in to.
        credentials: Its tokens.
        need: Why, where a request was refused.
        register_again: The client that is known was refused where we could not see it.
    """

    server: Server
    credentials: Credentials
    need: SignInNeededError | None
    register_again: bool

    def offer(self, offer: Offer) -> None:
        """Shows the person what to do."""
        ...

    async def wait(self, answer: Awaitable[T]) -> T:
        """Waits for what the person does, as long as that makes sense."""
        ...

    def finishing(self) -> None:
        """Says that the person has done their part."""
        ...


async def discovered(asker: Asker, known: TokenRecord | None) -> Discovery:
    """Finds the authorization server; the one of the last sign-in is tried first."""
    prefer = known.issuer if known is not None else None
    async with asker.credentials.fetch() as fetch:
        return await discover(fetch, asker.server, challenge_of(asker), prefer_issuer=prefer)


def challenge_of(asker: Asker) -> Challenge | None:
    """Returns what the server sent with its refusal, where that is why we are here."""
    challenge = asker.need.challenge if asker.need is not None else None
    return challenge if isinstance(challenge, Challenge) else None


def granted_so_far(asker: Asker, known: TokenRecord | None) -> str | None:
    """Returns what was granted so far where more is asked for now, else None."""
    step_up = asker.need is not None and asker.need.step_up
    return (known.scope or "") if step_up and known is not None else None


def newly_asked(scopes: tuple[str, ...], granted: str | None) -> tuple[str, ...]:
    """Returns the scopes that go beyond what was granted so far; none outside a step-up."""
    if granted is None:
        return ()
    return tuple(word for word in scopes if word not in granted.split())


def is_unknown(
    client: RegisteredClient, there: AuthorizationServer, error: AuthorizationServerError
) -> bool:
    """Tells whether another client of our own making may be taken where this one was refused.

    A client that a person registered is theirs to mend; in the place of a metadata document a
    client can be registered where registration is open.
    """
    match client.registration:
        case "dcr":
            return error.code in _CLIENT_REFUSED
        case "cimd":
            return error.code in _DOCUMENT_REFUSED and there.registration_endpoint is not None
        case _:
            return False


async def remember(
    credentials: Credentials, discovery: Discovery, client: RegisteredClient
) -> None:
    """Keeps a client that has just been registered, so that a restart does not make another.

    Never in the place of tokens, and not at the price of the sign-in.
    """
    if client.registration != "dcr":
        return
    with contextlib.suppress(TokenStoreError):
        current = await credentials.load()
        if current is None or (
            current.access_token is None and current.client_id != client.client_id
        ):
            await credentials.keeper.save(record_of(credentials.server, discovery, client, None))


async def forgotten(credentials: Credentials, client: RegisteredClient) -> None:
    """Forgets a registration, and its tokens, that are no longer good for anything."""
    current = await credentials.load(fresh=True)
    if current is not None and current.client_id == client.client_id:
        await credentials.forget()
