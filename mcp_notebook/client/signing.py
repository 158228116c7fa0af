"""The one sign-in of one connection: started, joined, waited for, and not offered for ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from mcp_notebook.auth.credentials import Credentials
from mcp_notebook.auth.sign_in import SignIn
from mcp_notebook.config.servers import Server
from mcp_notebook.errors import SignInError, SignInNeededError
from mcp_notebook.redaction import printable

STEP_UP_PAUSE = 600.0
"""Seconds in which the same operation is not offered the same permissions a second time."""


class Signing:
    """Runs at most one `SignIn` at a time. All methods run on the loop.

    Attributes:
        current: The sign-in under way or ended last, or None.
        times: How many ended well.
    """

    def __init__(
        self, server: Server, credentials: Credentials | None, changed: Callable[[], None]
    ) -> None:
        """Prepares for sign-ins.

        Args:
            server: Whom to sign in to.
            credentials: Its tokens; None for a local program.
            changed: Called when a sign-in begins or ends.
        """
        self.current: SignIn | None = None
        self.times = 0
        self._server = server
        self._credentials = credentials
        self._changed = changed
        self._task: asyncio.Task[Any] | None = None
        self._stepped_up: dict[tuple[str, frozenset[str]], float] = {}
        self._lacking: SignInNeededError | None = None

    @property
    def under_way(self) -> bool:
        """Whether somebody is signing in."""
        return self._task is not None and not self._task.done()

    def start(
        self, need: SignInNeededError | None = None, *, register_again: bool = False
    ) -> asyncio.Task[Any]:
        """Returns the task of the sign-in under way, or of a new one.

        Args:
            need: Why, where a request was refused; None where the person asks for it. Then
                permissions that were lacking and not given yet are asked for as well.
            register_again: The client that is known is refused; another is registered.

        Raises:
            SignInError: The server is a local program.
        """
        need = need or self._lacking
        if self._credentials is None:
            name = self._server.name
            raise need or SignInError(
                f"{name} is a program on this machine: there is no sign-in.",
                hint=f"Start it with: %mcp connect {name}",
            )
        if self._task is None or self._task.done():
            self.current = SignIn(self._credentials, need=need, register_again=register_again)
            self._task = asyncio.get_running_loop().create_task(self.current.run())
            self._task.add_done_callback(self._ended)
            self._changed()
        return self._task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        # `exception` marks it as seen: those who wait for it get it, and nobody may wait any more.
        if not task.cancelled() and task.exception() is None:
            self.times += 1
            self._lacking = None
        self._changed()

    async def done(self, need: SignInNeededError, seen: int) -> None:
        """Starts the sign-in or joins it, and waits for its end.

        Args:
            need: Why.
            seen: What `times` was when the request was sent: if a sign-in has ended well since,
                the request was only late, and nobody is asked again.

        Raises:
            SignInError: It did not end well.
        """
        if self.times != seen:
            return
        task = self.start(need)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.cancelled():
                raise
            raise SignInError(
                f"The sign-in to {self._server.name} was cancelled.",
                hint=f"Start it again with: %mcp sign-in {self._server.name}",
            ) from None

    def cancel(self) -> None:
        """Calls off the sign-in under way, if there is one."""
        if self.current is not None:
            self.current.cancel()

    def check(self, need: SignInNeededError, operation: str, seen: int, *, refused: bool) -> None:
        """Raises where asking a person would be in vain.

        Args:
            need: Why they would be asked.
            operation: What the request was for.
            seen: What `times` was when it was sent.
            refused: Whether it was refused for want of a sign-in before.

        Raises:
            SignInError: They were asked already, and it did not help.
        """
        if self._credentials is None:
            return  # nobody is asked here: `done` raises the need itself
        if need.step_up:
            self.step_up(need, operation, seen)
        elif refused:
            raise self.refused(need) from None

    def step_up(self, need: SignInNeededError, operation: str, seen: int) -> None:
        """Notes that permissions are asked for on behalf of an operation.

        Args:
            need: With what the server refused it.
            operation: What was refused.
            seen: What `times` was when the request was sent. Where somebody signs in right now, or
                has since, this request is one of several that were refused together.

        Raises:
            SignInError: They were asked for a short while ago already, and in vain.
        """
        if self.under_way or self.times != seen:
            return
        wanted = _wanted(need)
        before = self._stepped_up.get((operation, wanted))
        if before is not None and time.monotonic() - before < STEP_UP_PAUSE:
            raise self._in_vain(operation, wanted) from None
        self._stepped_up[operation, wanted] = time.monotonic()
        self._lacking = need

    def _in_vain(self, operation: str, wanted: frozenset[str]) -> SignInError:
        return SignInError(
            f"{self._server.name} still refuses {operation} for want of permissions "
            f"({printable(' '.join(sorted(wanted)))}), though they were asked for.",
            hint=f"Ask for them once more: %mcp sign-in {self._server.name}. If that was done, the "
            "account may lack the right; ask whoever runs the server.",
        )

    def refused(self, need: SignInNeededError) -> SignInError:
        """Returns the error for a sign-in that ended well and is not accepted.

        Args:
            need: With what the server refused it.
        """
        if need.step_up:
            return self._in_vain("every request", _wanted(need))
        return SignInError(
            f"{self._server.name} does not accept the sign-in it was just given.",
            hint=f"See what it answers with: %mcp doctor {self._server.name}",
        )


def _wanted(need: SignInNeededError) -> frozenset[str]:
    return frozenset((getattr(need.challenge, "scope", None) or "").split())
