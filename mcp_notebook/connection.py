"""One live client on the background loop: open it, keep it, reconnect it, close it.

One task owns the client from enter to exit, because anyio's cancel scopes must end in the task
they began in; everybody else sends it calls. A request that needs a person fails at once with its
cause. The connection then starts the server's one sign-in, or joins it, waits beside it, and
repeats the call once: no request ever waits for a person, and a sign-in that is declined ends the
calls that needed it and nothing else.

This is also the one place where foreign errors become ours. The SDK wraps what goes wrong in
exception groups and in `MCPError`; the leaf is picked here and the chain is cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import METHOD_NOT_FOUND, REQUEST_TIMEOUT, CallToolResult, Tool
from pydantic import ValidationError

from mcp_notebook.auth.bearer import Bearer
from mcp_notebook.auth.credentials import Credentials
from mcp_notebook.auth.sign_in import SignIn
from mcp_notebook.auth.tokens import TokenKeeper
from mcp_notebook.dialing import Line, dial
from mcp_notebook.errors import (
    ConnectionFailedError,
    MCPNotebookError,
    RequestTimeoutError,
    SignInError,
    SignInNeededError,
)
from mcp_notebook.redaction import printable
from mcp_notebook.servers import Server
from mcp_notebook.status import Status
from mcp_notebook.transport import Limits, SessionLostError

T = TypeVar("T")

PAGES = 100
"""Pages of a listing that are read at most; a server whose cursor never ends is cut off."""

LOSS_PAUSE = 0.2
"""Seconds before a client that broke is opened again; doubled each time."""

REPEATS = 3
"""Times one call is sent at most: for a sign-in, a step-up, and a session that was lost."""

STEP_UP_PAUSE = 600.0
"""Seconds in which the same operation is not offered the same permissions a second time."""


class Signal:
    """Wakes whoever waits for the next change."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def fire(self) -> None:
        """Wakes all who wait."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self) -> None:
        """Waits for the next `fire`."""
        await self._event.wait()


class Connection:
    """One server's client, with its sign-in. All methods but the constructor run on the loop.

    Attributes:
        tools: What the server offers, as its last listing says.
        failure: Why the connection failed, while `status` is ``failed``.
        sign_in: The sign-in under way or ended last, or None.
        requests: How many calls were made.
    """

    def __init__(
        self,
        server: Server,
        keeper: TokenKeeper,
        *,
        limits: Limits | None = None,
        **callbacks: Any,
    ) -> None:
        """Prepares a connection; `open` starts it.

        Args:
            server: Whom to connect to.
            keeper: Where its tokens are.
            limits: Bounds of size and time.
            callbacks: Handlers passed on to `mcp.Client`.
        """
        self.server = server
        self.tools: list[Tool] = []
        self.failure: MCPNotebookError | None = None
        self.sign_in: SignIn | None = None
        self.limits = limits or Limits()
        self.credentials = Credentials(server, keeper) if server.transport != "stdio" else None
        self._callbacks = callbacks
        self._phase = Status.DISCONNECTED
        self._line: Line | None = None
        self._owner: asyncio.Task[None] | None = None
        self._signing: asyncio.Task[Any] | None = None
        self._changed = Signal()
        self._leave = asyncio.Event()
        self._stepped_up: dict[tuple[str, frozenset[str]], float] = {}

    # -- how it stands ------------------------------------------------------------------------

    @property
    def status(self) -> Status:
        """How the connection stands; a sign-in under way counts before all else."""
        if self._signing is not None and not self._signing.done():
            return Status.SIGNING_IN
        return self._phase

    @property
    def client(self) -> Client | None:
        """The open client, or None."""
        return self._line.client if self._line is not None else None

    async def changed(self) -> None:
        """Waits until something about the connection changes."""
        await self._changed.wait()

    def _enter(self, phase: Status, failure: MCPNotebookError | None = None) -> None:
        self._phase, self.failure = phase, failure
        self._changed.fire()

    # -- opening and closing ------------------------------------------------------------------

    def open(self) -> None:
        """Starts connecting, unless that is under way; returns at once."""
        if self._owner is None or self._owner.done():
            self._leave = asyncio.Event()
            self._enter(Status.CONNECTING)
            self._owner = asyncio.get_running_loop().create_task(self._own())

    async def close(self) -> None:
        """Ends the sign-in and leaves the server; waits for that for two seconds at the most."""
        if self.sign_in is not None:
            self.sign_in.cancel()
        self._leave.set()
        if self._owner is not None and not self._owner.done():
            await asyncio.wait([self._owner], timeout=1.5)
            self._owner.cancel()
            await asyncio.wait([self._owner], timeout=0.5)
        self._enter(Status.DISCONNECTED)

    async def ready(self) -> Line:
        """Waits until the server is connected, the sign-in included.

        Raises:
            MCPNotebookError: Why it cannot be.
        """
        reopened = False
        while True:
            if self._phase is Status.CONNECTED and self._line is not None:
                return self._line
            if self._phase is Status.DISCONNECTED:
                raise ConnectionFailedError(
                    f"{self.server.name} is disconnected.",
                    hint=f"Connect again with: %mcp connect {self.server.name}",
                )
            if self._phase is Status.FAILED:
                assert self.failure is not None
                if reopened or not isinstance(self.failure, ConnectionFailedError):
                    raise _again(self.failure)
                # The network may be back: the next call finds out.
                reopened = True
                self.open()
            await self._changed.wait()

    async def _own(self) -> None:
        """The owner task: enters clients one after another until told to leave."""
        refused = losses = 0
        try:
            while not self._leave.is_set():
                try:
                    await self._hold()
                except SignInNeededError as need:
                    refused += 1
                    if refused > 1:
                        raise self._refused() from None
                    await self._signed_in(need)
                else:
                    refused = 0
                    losses += 1
                    if not self._leave.is_set():
                        await asyncio.sleep(min(LOSS_PAUSE * 2 ** (losses - 1), 30))
        except MCPNotebookError as error:
            self._enter(Status.FAILED, error)
        except asyncio.CancelledError:
            self._enter(Status.DISCONNECTED)

    async def _hold(self) -> None:
        """Enters one client, keeps it while it is wanted, and leaves it.

        Returns when told to leave or when the client broke after it had been opened.
        """
        auth = None
        if self.credentials is not None:
            auth = Bearer(self.credentials)
            # Renewed before the client opens: the SDK's first request has ten seconds only, and
            # a slow authorization server would make it fall back to the older protocol.
            await self.credentials.current()
        line: Line | None = None
        try:
            async with dial(self.server, auth, limits=self.limits, **self._callbacks) as line:
                self.tools = await self._list_tools(line)
                self._line = line
                self._enter(Status.CONNECTED)
                await self._leave.wait()
        except Exception as error:  # noqa: BLE001 -- the SDK raises groups of anything
            if self._line is None:
                raise self._translate(error, line) from None
        finally:
            self._line = None
        if not self._leave.is_set():
            self._enter(Status.CONNECTING)

    async def reconnect(self, line: Line) -> None:
        """Leaves the client of a session the server has forgotten, and enters a new one."""
        if self._line is not line:
            return
        owner = self._owner
        self._enter(Status.CONNECTING)
        self._leave.set()
        if owner is not None:
            await asyncio.wait([owner], timeout=5)
        self.open()

    async def _list_tools(self, line: Line) -> list[Tool]:
        if line.client.server_capabilities.tools is None:
            return []
        return await self.pages(
            lambda cursor: line.client.list_tools(cursor=cursor, cache_mode="refresh"), "tools"
        )

    async def pages(self, fetch: Callable[[str | None], Awaitable[Any]], member: str) -> list[Any]:
        """Reads a listing to its end.

        Args:
            fetch: Asks for one page, given its cursor.
            member: The member of a page that holds the items.
        """
        items: list[Any] = []
        seen: set[str | None] = set()
        cursor: str | None = None
        for _ in range(PAGES):
            page = await fetch(cursor)
            items += getattr(page, member)
            seen.add(cursor)
            cursor = page.next_cursor
            if cursor is None or cursor in seen:
                break
        return items

    # -- calls --------------------------------------------------------------------------------

    async def call_tool(
        self, name: str, arguments: dict[str, Any], *, repeatable: bool = False, **options: Any
    ) -> CallToolResult:
        """Calls a tool; a sign-in, a step-up or a lost session in between is seen to.

        Args:
            name: The tool.
            arguments: A JSON object.
            repeatable: Whether the server says that calling it twice does no harm.
            options: Passed on to `mcp.Client.call_tool`, such as ``progress_callback``.

        Raises:
            MCPNotebookError: What became of the call.
        """
        return await self.ask(
            lambda client: client.call_tool(
                name, arguments, read_timeout_seconds=self.limits.call_seconds, **options
            ),
            operation=name,
            repeatable=repeatable,
        )

    async def ask(
        self,
        request: Callable[[Client], Awaitable[T]],
        *,
        operation: str,
        repeatable: bool = True,
    ) -> T:
        """Makes one request of the server, and makes it again where that is right.

        It is sent again after a sign-in or step-up (the server refused it), in a new session when
        the old one is gone (the server did not know it), and after a lost connection if it surely
        did not run or is repeatable.
        """
        signed_in = False
        for attempt in range(REPEATS):
            line = await self.ready()
            try:
                return await request(line.client)
            except Exception as foreign:
                error = self._translate(foreign, line)
            if attempt == REPEATS - 1:
                raise error from None
            await self._mend(error, line, operation, repeatable=repeatable, signed_in=signed_in)
            signed_in = signed_in or isinstance(error, SignInNeededError)
        raise AssertionError("unreachable")

    async def _mend(
        self,
        error: MCPNotebookError,
        line: Line,
        operation: str,
        *,
        repeatable: bool,
        signed_in: bool,
    ) -> None:
        """Does what makes a second try worth while, or raises the error of the first."""
        if isinstance(error, SignInNeededError):
            if error.step_up:
                self._once_only(error, operation)
            elif signed_in:
                raise self._refused() from None
            await self._signed_in(error)
        elif isinstance(error, SessionLostError):
            await self.reconnect(line)
        elif isinstance(error, ConnectionFailedError) and (repeatable or not error.may_have_run):
            await self._pause(error)
        else:
            raise error from None

    async def _pause(self, error: ConnectionFailedError) -> None:
        wait = error.retry_after if error.retry_after is not None else 0.3
        if isinstance(error, RequestTimeoutError) or wait > self.limits.retry_after_seconds:
            raise error from None
        await asyncio.sleep(wait)

    def _once_only(self, need: SignInNeededError, operation: str) -> None:
        """Refuses to offer the same permissions for the same operation over and over."""
        challenge = need.challenge
        wanted = frozenset((getattr(challenge, "scope", None) or "").split())
        before = self._stepped_up.get((operation, wanted))
        if before is not None and time.monotonic() - before < STEP_UP_PAUSE:
            raise SignInError(
                f"{self.server.name} still refuses {operation} for want of permissions "
                f"({printable(' '.join(sorted(wanted)))}), though they were granted.",
                hint="The account may lack the right; ask whoever runs the server.",
            ) from None
        self._stepped_up[operation, wanted] = time.monotonic()

    # -- signing in ---------------------------------------------------------------------------

    async def _signed_in(self, need: SignInNeededError) -> None:
        """Starts the server's one sign-in or joins it, and waits for its end."""
        await asyncio.shield(self.start_sign_in(need))

    def start_sign_in(
        self, need: SignInNeededError | None = None, *, register_again: bool = False
    ) -> asyncio.Task[Any]:
        """Returns the task of the server's one sign-in, started if none is under way."""
        if self.credentials is None:
            raise need or SignInError(f"{self.server.name} is a local program: there is no sign-in.")
        if self._signing is None or self._signing.done():
            self.sign_in = SignIn(self.credentials, need=need, register_again=register_again)
            self._signing = asyncio.get_running_loop().create_task(self.sign_in.run())
            self._signing.add_done_callback(self._sign_in_ended)
            self._changed.fire()
        return self._signing

    def _sign_in_ended(self, task: asyncio.Task[Any]) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            task.exception()  # seen: those who wait for it get it, and nobody may wait any more
        self._changed.fire()

    def _refused(self) -> SignInError:
        return SignInError(
            f"{self.server.name} does not accept the sign-in it was just given.",
            hint=f"See what it answers with: %mcp doctor {self.server.name}",
        )

    # -- errors -------------------------------------------------------------------------------

    def _translate(self, error: BaseException, line: Line | None) -> MCPNotebookError:
        """Returns our error for whatever the SDK raised."""
        error = _leaf(error)
        if isinstance(error, MCPNotebookError):
            return error
        name = self.server.name
        if isinstance(error, MCPError):
            http = line.http if line is not None else None
            cause = http.cause(error) if http is not None else None
            return cause or self._server_error(error)
        if isinstance(error, ValidationError):
            return ConnectionFailedError(
                f"{name} sent an answer that does not follow the protocol.",
                hint="Tell whoever runs the server; the session goes on.",
                may_have_run=True,
            )
        if isinstance(error, FileNotFoundError) and self.server.transport == "stdio":
            return ConnectionFailedError(
                f"The program of {name} was not found: {self.server.command[0]}.",
                hint="Is it installed, and on the PATH of this kernel?",
            )
        return ConnectionFailedError(
            f"The connection to {name} broke: {type(error).__name__}.",
            hint=f"Look into it with: %mcp doctor {name}",
            may_have_run=True,
        )

    def _server_error(self, error: MCPError) -> MCPNotebookError:
        name, text = self.server.name, printable(error.message)
        if error.code == REQUEST_TIMEOUT:
            return RequestTimeoutError(
                f"{name} did not answer within {self.limits.call_seconds:g} s.",
                hint="The call may still run on the server.",
                may_have_run=True,
            )
        if error.code == METHOD_NOT_FOUND:
            return ConnectionFailedError(f"{name} does not offer this: {text}.")
        return ConnectionFailedError(f"{name} answered with an error: {text}", may_have_run=True)


def _leaf(error: BaseException) -> BaseException:
    """Picks the one exception that says what happened out of a group of them."""
    while isinstance(error, BaseExceptionGroup):
        ours = [item for item in error.exceptions if isinstance(item, MCPNotebookError)]
        error = ours[0] if ours else error.exceptions[0]
    return error


def _again(error: MCPNotebookError) -> MCPNotebookError:
    """Returns the error to be raised once more, without the traceback of the first time."""
    return error.with_traceback(None)
