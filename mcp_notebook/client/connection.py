"""One live client on the background loop: open it, keep it, reconnect it, close it.

One task owns the client from enter to exit, because anyio's cancel scopes must end in the task
they began in; everybody else sends it calls. A request that needs a person fails at once with its
cause. The connection then starts the server's one sign-in, or joins it, waits beside it, and
repeats the call once: no request ever waits for a person, and a sign-in that is declined ends the
calls that needed it and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from mcp import Client
from mcp_types import CallToolResult, Tool

from mcp_notebook.auth.bearer import TokenSource
from mcp_notebook.auth.credentials import Credentials
from mcp_notebook.auth.sign_in import SignIn
from mcp_notebook.auth.tokens import TokenKeeper
from mcp_notebook.client import faults
from mcp_notebook.client.dialing import Line, dial
from mcp_notebook.client.losses import Losses
from mcp_notebook.client.news import News, followed
from mcp_notebook.client.offer import each_once, list_tools
from mcp_notebook.client.signal import Signal, set_within
from mcp_notebook.client.signing import Signing
from mcp_notebook.client.status import Status
from mcp_notebook.client.translating import hung_up, translated
from mcp_notebook.client.transport import Limits, SessionLostError
from mcp_notebook.config.servers import Server
from mcp_notebook.errors import ConnectionFailedError, MCPNotebookError, SignInNeededError
from mcp_notebook.recording.player import Player
from mcp_notebook.recording.recorder import Recorder

T = TypeVar("T")

logger = logging.getLogger(__name__)

REPEATS = 3
"""Times one call is sent at most: after faults, a sign-in, a step-up; a lost session adds one."""

OPENINGS = 3
"""Times a client is opened in a row when the server is not there for the moment."""

FAREWELL = 1.0
"""Seconds in which the other calls of a lost session learn for themselves that they did not run."""


class Connection:
    """One server's client, with its sign-in. All methods but the constructor run on the loop.

    Attributes:
        tools: What the server offers, as its last listing says; of two by one name the first.
        doubled: The names by which it lists several that differ.
        failure: Why the connection failed, while `status` is ``failed``.
        news: What the server said has changed.
        player: The recording that answers in place of the server, or None.
        recorder: Where answers are recorded, or None; see `record`.
    """

    def __init__(
        self,
        server: Server,
        keeper: TokenKeeper | None,
        *,
        limits: Limits | None = None,
        player: Player | None = None,
    ) -> None:
        """Prepares a connection; `open` starts it.

        Args:
            server: Whom to connect to.
            keeper: Where its tokens are; None where nobody can sign in.
            limits: Bounds of size and time.
            player: A recording that answers in place of the server.
        """
        self.server = server
        self.player = player
        self.tools: list[Tool] = []
        self.doubled: list[str] = []
        self.failure: MCPNotebookError | None = None
        self.limits = limits or Limits()
        signs_in = server.transport != "stdio" and player is None
        self.credentials = Credentials(server, keeper) if signs_in and keeper else None
        self._tokens: TokenSource | None = self.credentials
        self._environ: Mapping[str, str] | None = None
        self.news = News()
        self._callbacks: dict[str, Any] = {"message_handler": self.news.handle}
        self._phase = Status.DISCONNECTED
        self._greeted = False  # whether the server has greeted the client that is being entered
        self._line: Line | None = None
        self.recorder: Recorder | None = None
        self._owner: asyncio.Task[None] | None = None
        self._changed, self._leaving = Signal(), asyncio.Event()
        self._signing = Signing(server, self.credentials, self._changed.fire)

    def handle(self, **callbacks: Any) -> None:
        """Names further handlers of `mcp.Client`, for the clients to come."""
        self._callbacks |= callbacks

    def record(self, recorder: Recorder | None) -> None:
        """Has what the server answers from now on recorded, or no more."""
        self.recorder = recorder
        if self._line is not None:
            self._line.record(recorder, self.server)
        if self._line is not None and recorder is not None:
            recorder.begin(self.server, self._line.live, self.tools)
            self.news.missed()  # all lists are to be in the recording

    # -- how it stands ------------------------------------------------------------------------

    @property
    def status(self) -> Status:
        """How the connection stands; a sign-in under way counts before all else."""
        return Status.SIGNING_IN if self._signing.under_way else self._phase

    @property
    def sign_in(self) -> SignIn | None:
        """The sign-in under way or ended last, or None."""
        return self._signing.current

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
        if self._owner is None or self._owner.done() or self._leaving.is_set():
            self._leaving = asyncio.Event()
            self._enter(Status.CONNECTING)
            self._owner = asyncio.get_running_loop().create_task(self._own(self._leaving))

    async def close(self) -> None:
        """Ends the sign-in and leaves the server; waits for that for two seconds at the most."""
        self._signing.cancel()
        self._leaving.set()
        owner, line = self._owner, self._line
        self._line = None
        if line is not None:
            line.over.set()
        if owner is not None and not owner.done():
            # An open client says goodbye to the server; anything else is dropped at once.
            if line is not None:
                await asyncio.wait([owner], timeout=1.5)
            owner.cancel()
            await asyncio.wait([owner], timeout=0.5)
        self._enter(Status.DISCONNECTED)

    async def ready(self) -> Line:
        """Waits until the server is connected, the sign-in included.

        Raises:
            MCPNotebookError: Why it cannot be.
        """
        may_reopen = True
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
                if not may_reopen or not faults.passes(self.failure):
                    raise self.failure.with_traceback(None)
                self.open()  # it may be back: the call finds out
            may_reopen = False
            await self._changed.wait()

    # -- the owner task -----------------------------------------------------------------------

    async def _own(self, leaving: asyncio.Event) -> None:
        """The owner task: what it ends with is the state of the connection."""
        failure: MCPNotebookError | None = None
        try:
            await self._stay(leaving)
        except asyncio.CancelledError:
            pass
        except Exception as error:
            failure = self._translated(error, None)
        if not leaving.is_set():  # else it was closed, and may be open again already
            self._enter(Status.FAILED if failure else Status.DISCONNECTED, failure)

    async def _stay(self, leaving: asyncio.Event) -> None:
        """Enters clients one after another until told to leave or there is no hope."""
        refused: set[bool] = set()
        failures, losses = 0, Losses(self.server.name)
        while not leaving.is_set():
            began, seen = time.monotonic(), self._signing.times
            try:
                served = await self._hold(leaving)
            except SignInNeededError as need:
                # Once for the greeting and once for the listing: a token that was good for the
                # one may be void by the other (SEP-2352: the authorization server has changed).
                if self._greeted in refused:
                    raise self._signing.refused(need) from None
                refused.add(self._greeted)
                await self._signing.done(need, seen)
            except ConnectionFailedError as error:
                failures += 1
                if failures >= OPENINGS or not faults.passes(error):
                    raise
                longest = self.limits.retry_after_seconds
                await set_within(leaving, faults.pause(error, failures, longest))
            else:
                refused, failures = set(), 0
                pause = losses.add(lived=time.monotonic() - began, served=served)
                await set_within(leaving, pause)

    async def _hold(self, leaving: asyncio.Event) -> bool:
        """Enters one client, keeps it while it is any good, and leaves it.

        Returns when told to leave or when the client broke after it had been opened; tells
        whether it has answered a call.
        """
        line: Line | None = None
        opened = self._greeted = False
        try:
            async with dial(
                self.server,
                self._tokens,
                limits=self.limits,
                environ=self._environ,
                player=self.player,
                **self._callbacks,
            ) as line:
                self._greeted = True
                line.record(self.recorder, self.server)
                self._take(await list_tools(line.client))
                if leaving.is_set():
                    return False
                opened = True
                self._line = line
                self._enter(Status.CONNECTED)
                async with followed(line.client, self.news, lambda: self._list_again(line)):
                    await line.over.wait()
                if not leaving.is_set():
                    await line.idle(FAREWELL)
        except Exception as error:
            if not opened:
                raise self._translated(error, line, opening=not self._greeted) from None
        finally:
            if self._line is line:
                self._line = None
        if not leaving.is_set():
            self._enter(Status.CONNECTING)
        return line is not None and line.served

    async def _list_again(self, line: Line) -> None:
        try:
            self._take(await list_tools(line.client))
        except Exception as error:
            logger.info("the tools were not listed again: %s", type(error).__name__)
        self._changed.fire()

    def _take(self, tools: list[Tool]) -> None:
        self.tools, self.doubled = each_once(tools)
        if self.player is None:  # what a recording has is no news
            self.news.listed(self.tools)

    def _lose(self, line: Line) -> None:
        """Has the owner leave a client that is no longer any good, and enter a new one."""
        line.over.set()
        if self._line is line:
            self._line = None
            self._enter(Status.CONNECTING)

    # -- calls --------------------------------------------------------------------------------

    async def call_tool(
        self,
        name: str,
        arguments: dict[str, Any],
        *,
        repeatable: bool = False,
        patient: bool = True,
        **options: Any,
    ) -> CallToolResult:
        """Calls a tool; a sign-in, a step-up or a lost session in between is seen to.

        Args:
            name: The tool.
            arguments: A JSON object.
            repeatable: Whether the server says that calling it twice does no harm.
            patient: Whether what may pass in a moment is waited out here, see `ask`.
            options: Passed on to `mcp.Client.call_tool`, such as ``progress_callback``.

        Raises:
            MCPNotebookError: What became of the call.
        """
        return await self.ask(
            lambda client: client.call_tool(name, arguments, **options),
            operation=name,
            repeatable=repeatable,
            patient=patient,
        )

    async def ask(
        self,
        request: Callable[[Client], Awaitable[T]],
        *,
        operation: str,
        repeatable: bool = True,
        patient: bool = True,
    ) -> T:
        """Makes one request of the server, and makes it again where that is right.

        It is sent again after a sign-in or step-up (the server refused it), in a new session when
        the old one is gone (the server did not know it), and after a lost connection if it surely
        did not run or is repeatable.

        Args:
            request: Sends it, given the client.
            operation: What it is, for telling one step-up from another.
            repeatable: Whether it may run twice.
            patient: Whether a busy server or a lost connection is waited out here. A batch does
                that for all its calls together.

        Raises:
            MCPNotebookError: What became of it.
        """
        refused = lost = False
        attempt = 0
        while True:
            line = await self.ready()
            seen = self._signing.times
            try:
                with line.in_use() as client:
                    return await request(client)
            except Exception as foreign:
                error = self._translated(foreign, line)
                if hung_up(foreign) or isinstance(error, SessionLostError):
                    self._lose(line)
            if isinstance(error, SessionLostError) and not lost:
                lost = True  # not counted: a server that restarts has cost attempts before
                continue
            attempt += 1
            if isinstance(error, SignInNeededError):
                self._signing.check(error, operation, seen, refused=refused)
                refused = refused or not error.step_up
            again = isinstance(error, SignInNeededError | SessionLostError)
            if attempt == REPEATS or not (patient or again):
                raise error from None
            if isinstance(error, SignInNeededError):
                await self._signing.done(error, seen)
            elif not isinstance(error, SessionLostError):
                await self._pause(error, attempt, repeatable=repeatable)

    async def _pause(self, error: MCPNotebookError, attempt: int, *, repeatable: bool) -> None:
        """Waits before a call is sent again, or raises its error where it must not be."""
        if not isinstance(error, ConnectionFailedError) or not faults.passes(error):
            raise error from None
        if error.may_have_run and not repeatable:
            raise error from None
        await asyncio.sleep(faults.pause(error, attempt, self.limits.retry_after_seconds))

    def _translated(
        self, error: BaseException, line: Line | None, *, opening: bool = False
    ) -> MCPNotebookError:
        http = line.http if line is not None else None
        return translated(error, self.server, http, self.limits, opening=opening)

    # -- signing in ---------------------------------------------------------------------------

    def start_sign_in(self, *, register_again: bool = False) -> None:
        """Starts a sign-in, unless one is under way, and connects when it has ended well.

        Args:
            register_again: The client that is known is refused; another is registered.

        Raises:
            SignInError: The server is a local program.
        """
        self._signing.start(register_again=register_again).add_done_callback(self._signed_in)

    def _signed_in(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and task.exception() is None:
            self.news.missed()  # another account may have other tools
            self.open()

    async def sign_out(self) -> list[str]:
        """Closes the connection, revokes the tokens (RFC 7009) and forgets them.

        Returns:
            Sentences: what was revoked and what remains.
        """
        await self.close()
        return [] if self.credentials is None else await self.credentials.sign_out()
