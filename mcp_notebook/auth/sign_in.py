"""One attempt of one person to sign in to one server.

A `SignIn` runs as a task on the background loop and is looked at from anywhere: `standing()` is an
immutable value, replaced as a whole, so a card, a terminal and a waiting cell read it without a
lock. It finds the authorization server, binds the callback before it registers (so that nobody
else can hold the port), shows the link, waits for the browser with a clock of its own, exchanges
the code and writes the record. Cancelling it harms nobody else.

Two kernels may ask for the same sign-in. While one waits it looks at the store now and then: when
another kernel's person was quicker, their sign-in is adopted and this one ends well.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypeVar

from mcp_notebook.auth import flows
from mcp_notebook.auth.asker import Offer, challenge_of
from mcp_notebook.auth.credentials import Credentials
from mcp_notebook.auth.record import TokenRecord
from mcp_notebook.auth.remedies import helped
from mcp_notebook.config.servers import Server
from mcp_notebook.errors import (
    MCPNotebookError,
    SignInDeniedError,
    SignInError,
    SignInExpiredError,
    SignInNeededError,
    TokenStoreError,
)
from mcp_notebook.frames import sealed

T = TypeVar("T")

DEADLINE = 600.0
"""Seconds a person has (RFC 8252 leaves it open; authorization servers give about as much)."""

LOOK_AT_STORE = 2.0
"""Seconds between two looks at whether another kernel has signed in meanwhile, and at the clock."""


class SignInState(StrEnum):
    """Where a sign-in stands; the last five are ends."""

    PREPARING = "preparing"
    WAITING = "waiting"
    FINISHING = "finishing"
    DONE = "done"
    DENIED = "denied"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self not in {SignInState.PREPARING, SignInState.WAITING, SignInState.FINISHING}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a sign-in stands at one moment.

    Attributes:
        state: The state.
        url: The link to open, while a person is waited for; not in the repr.
        host: The authorization server's host, once it is known.
        scopes: What is asked for.
        added: What of it is new, where permissions are added to an earlier sign-in.
        seconds_left: How long the person still has, while one is waited for.
        message: One sentence for the person.
        hint: What to do next, or ``""``.
        user_code: What to type on the page, in a device sign-in; not in the repr.
        notes: Further sentences.
        replaceable: Whether another client can be registered, in case this one is unknown there.
    """

    state: SignInState
    url: str | None = field(default=None, repr=False)
    host: str = ""
    scopes: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    seconds_left: float | None = None
    message: str = ""
    hint: str = ""
    user_code: str | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()
    replaceable: bool = False


class _Clock:
    """A deadline on two clocks: the monotonic one stands still while a laptop sleeps."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._monotonic = time.monotonic() + seconds
        self._wall = time.time() + seconds

    def left(self) -> float:
        return min(self._monotonic - time.monotonic(), self._wall - time.time())


class _AdoptedError(Exception):
    """Another kernel has signed in; not an error, but the way out of the waiting flow."""

    def __init__(self, record: TokenRecord) -> None:
        super().__init__("another kernel has signed in")
        self.record = record


class SignIn:
    """One attempt. `standing`, `answer` and `cancel` may be called from any thread.

    Attributes:
        server: The server to sign in to.
        credentials: Its tokens.
        need: Why, where a request was refused.
        register_again: The client that is known was refused where only the person could see it.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        need: SignInNeededError | None = None,
        register_again: bool = False,
    ) -> None:
        """Prepares the attempt; `run` makes it."""
        self.server: Server = credentials.server
        self.credentials = credentials
        self.need = need
        self.register_again = register_again
        self._standing = Standing(
            state=SignInState.PREPARING,
            message=f"Finding out how to sign in to {self.server.name} …",
        )
        self._offer: Offer | None = None
        self._clock = _Clock(DEADLINE)
        self._known: TokenRecord | None = None
        self._cancelled = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[TokenRecord] | None = None

    # -- from any thread ------------------------------------------------------------------------

    def __repr__(self) -> str:
        state = self.standing().state.value.replace("_", " ")
        link = "; .url is the link" if self.url else ""
        return f"<SignIn to {self.server.name}: {state}{link}>"

    @property
    def url(self) -> str | None:
        """The link to open, while a person is waited for."""
        return self._standing.url

    def standing(self) -> Standing:
        """Returns how it stands; the value never changes, a new one takes its place."""
        standing = self._standing
        if standing.state is not SignInState.WAITING:
            return standing
        return replace(standing, seconds_left=max(0.0, self._clock.left()))

    @sealed
    def answer(self, text: str) -> None:
        """Takes the address of the page the browser ended on, where that is another machine's.

        Args:
            text: The whole address. It holds a one-time code: do not keep it.

        Raises:
            SignInError: It is not the answer, and the sign-in goes on; or nothing is waited for.
        """
        offer = self._offer
        if offer is None:
            raise SignInError(
                f"The sign-in to {self.server.name} is not waiting for an address.",
                hint=self._standing.hint or f"Start it with: %mcp sign-in {self.server.name}",
            )
        if offer.paste is None:
            raise SignInError(
                "This sign-in ends by itself once the code has been typed on the page.",
                hint=f"Open the link to {offer.host} and type the code that is shown beside it.",
            )
        offer.paste(text)

    def cancel(self) -> None:
        """Ends the sign-in, if it has not ended; nobody else's tokens or sign-in is touched."""
        self._cancelled = True
        if self._loop is not None and self._task is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and nothing is left
                self._loop.call_soon_threadsafe(self._task.cancel)

    # -- the attempt ----------------------------------------------------------------------------

    async def run(self) -> TokenRecord:
        """Makes the attempt, on the loop, and returns the stored record.

        Raises:
            SignInDeniedError: The person or the authorization server said no.
            SignInExpiredError: Nobody answered in time.
            SignInError: It did not work for another reason.
            MCPNotebookError: Something it needs is not there: a variable, or the token store.
        """
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        name = self.server.name
        try:
            if self._cancelled:
                raise asyncio.CancelledError
            self._known = await self.credentials.load(fresh=True)
            record = await flows.sign_in(self)
        except _AdoptedError as adopted:
            record, note = adopted.record, "Another notebook has signed in; its sign-in is used."
            self._end(SignInState.DONE, f"Signed in to {name}.", notes=(note,))
        except MCPNotebookError as error:
            helped(error, self.server)
            self._end(_state_after(error), error.message, error.hint)
            raise
        except asyncio.CancelledError:
            called_off = SignInDeniedError(
                f"The sign-in to {name} was cancelled.",
                hint=f"Start it again with: %mcp sign-in {name}",
                code="cancelled",
            )
            self._end(SignInState.CANCELLED, called_off.message, called_off.hint)
            if not self._cancelled:  # not by the person: the loop is closing
                raise
            raise called_off from None
        except Exception as unforeseen:  # it may hold a secret: only its type goes on
            broken = SignInError(
                f"The sign-in to {name} broke: {type(unforeseen).__name__}.",
                hint=f"See each step with %mcp doctor {name}, and report it.",
            )
            self._end(SignInState.FAILED, broken.message, broken.hint)
            raise broken from None
        else:
            self._end(SignInState.DONE, f"Signed in to {name}.")
        return record

    def offer(self, offer: Offer) -> None:
        """Shows the person what to do; the time they have begins."""
        self._offer = offer
        self._clock = _Clock(min(DEADLINE, offer.seconds or DEADLINE))
        self._standing = Standing(
            state=SignInState.WAITING,
            url=offer.url,
            host=offer.host,
            scopes=offer.scopes,
            added=offer.added,
            message=_invitation(self.server, offer),
            hint="If the browser runs on another machine, paste the address of the page it ends on."
            if offer.paste is not None
            else "",
            user_code=offer.user_code,
            notes=offer.notes,
            replaceable=offer.replaceable,
        )

    async def wait(self, answer: Awaitable[T]) -> T:
        """Waits for the person, until the time is over or another kernel has signed in.

        Raises:
            SignInExpiredError: The time is over.
        """
        answering = asyncio.ensure_future(answer)
        looking = asyncio.ensure_future(self._sibling())
        try:
            while (left := self._clock.left()) > 0:
                # In short steps: only the wall clock knows how long a laptop has slept.
                await asyncio.wait(
                    {answering, looking},
                    timeout=min(left, LOOK_AT_STORE),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if answering.done():
                    return answering.result()
                if looking.done():
                    raise _AdoptedError(looking.result())
        finally:
            for task in (answering, looking):
                task.cancel()
            await asyncio.gather(answering, looking, return_exceptions=True)
        raise SignInExpiredError(
            f"Nobody finished the sign-in to {self.server.name} in time "
            f"({self._clock.seconds / 60:.0f} min).",
            hint=f"Start it again with: %mcp sign-in {self.server.name}",
        )

    def finishing(self) -> None:
        """Says that the person has done their part; the link is no longer shown."""
        self._offer = None
        self._standing = replace(
            self._standing,
            state=SignInState.FINISHING,
            url=None,
            user_code=None,
            message=f"Signing in to {self.server.name} …",
            hint="",
        )

    async def _sibling(self) -> TokenRecord:
        """Returns the record of another kernel's sign-in that serves this one's need as well."""
        while True:
            await asyncio.sleep(LOOK_AT_STORE)
            with contextlib.suppress(TokenStoreError):  # seen to by whoever saves
                record = await self.credentials.load()
                if record is not None and self._serves(record):
                    return record

    def _serves(self, record: TokenRecord) -> bool:
        if record.access_token is None or record.expires_within(0):
            return False
        if self._known is not None and self._known.access_token == record.access_token:
            return False
        challenge = challenge_of(self)
        wanted = set((challenge.scope or "").split()) if challenge is not None else set()
        return record.scope is None or wanted <= set(record.scope.split())

    def _end(
        self, state: SignInState, message: str, hint: str = "", *, notes: tuple[str, ...] = ()
    ) -> None:
        """Replaces the standing by the last one, which holds no link and no code."""
        self._offer = self._known = None
        before = self._standing
        self._standing = Standing(
            state=state,
            host=before.host,
            scopes=before.scopes,
            added=before.added,
            message=message,
            hint=hint,
            notes=(*before.notes, *notes),
        )


def _state_after(error: MCPNotebookError) -> SignInState:
    if isinstance(error, SignInExpiredError):
        return SignInState.EXPIRED
    return SignInState.DENIED if isinstance(error, SignInDeniedError) else SignInState.FAILED


def _invitation(server: Server, offer: Offer) -> str:
    if offer.user_code is not None:
        return f"Open the page at {offer.host} and type the code to sign in to {server.name}."
    if offer.added:
        return f"{server.name} asks for more permissions: open the link to allow them."
    return f"Open the link to sign in to {server.name} at {offer.host}."
