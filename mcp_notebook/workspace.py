"""The servers and sessions of this process: add, connect, disconnect, sign out, remove.

The book of servers is the user's and outlives the process; sessions are the process's own, one for
each name. Nothing here knows a notebook: whoever shows things is handed in as a `FrontEnd`.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mcp_notebook.auth.callback import Callback
from mcp_notebook.auth.credentials import Credentials
from mcp_notebook.auth.tokens import open_keeper
from mcp_notebook.background import background
from mcp_notebook.client.connection import Connection
from mcp_notebook.client.status import Status
from mcp_notebook.config import catalog
from mcp_notebook.config.accounts import AccountBook
from mcp_notebook.config.book import ServerBook
from mcp_notebook.config.servers import Server
from mcp_notebook.config.trust import TrustBook
from mcp_notebook.demo.launch import DemoServer, listens, start
from mcp_notebook.errors import MCPNotebookError, ServerConfigError, SignInError
from mcp_notebook.recording.player import Player
from mcp_notebook.recording.recorder import Recorder
from mcp_notebook.session.drift import Drift
from mcp_notebook.session.session import Session
from mcp_notebook.waiting.frontend import FrontEnd, script_front_end
from mcp_notebook.waiting.wait import Wait

if TYPE_CHECKING:
    from mcp_notebook.auth.tokens import TokenKeeper

DEMO = "demo"

RECORD_VARIABLE = "MCP_NOTEBOOK_RECORD"
REPLAY_VARIABLE = "MCP_NOTEBOOK_REPLAY"
"""A file from whose name a process begins to record or replay: a notebook need not be changed."""


class Workspace:
    """What one kernel, terminal or script has open.

    Attributes:
        front_end: Whoever shows things to the person.
        book: The servers the person knows.
        accounts: The further accounts the person has on them.
        trusted: The programs the person allowed to be started.
        keeper: Where the tokens are.
        sessions: The sessions by name; an account of ``--as`` has its own.
        recorder: Where every answer is recorded, or None.
        player: The recording that answers in place of the servers, or None.
    """

    def __init__(
        self,
        *,
        front_end: FrontEnd | None = None,
        book: ServerBook | None = None,
        trusted: TrustBook | None = None,
        keeper: TokenKeeper | None = None,
    ) -> None:
        self.front_end = front_end or script_front_end()
        self.book = book or ServerBook()
        self.accounts = AccountBook()
        self.trusted = trusted or TrustBook()
        self.keeper = keeper or open_keeper()
        self.sessions: dict[str, Session] = {}
        self.recorder: Recorder | None = None
        self.player: Player | None = None
        self._demo: DemoServer | None = None
        background().at_exit(self._close)

    def use(self, front_end: FrontEnd) -> None:
        """Has another front end show things from now on, also for sessions that are open."""
        self.front_end = front_end
        for session in self.sessions.values():
            session.front_end = front_end

    def server(self, name: str) -> Server:
        """Returns the server of that name: from the book, an account on one, or a well-known one.

        Raises:
            ServerConfigError: There is none; the hint names the nearest.
            NotRecordedError: It is not in the recording that is replayed.
        """
        if self.player is not None:
            return self.player.server(name)
        try:
            return self.book.get(name)
        except ServerConfigError:
            whose = self.accounts.server_of(name)
            if whose is not None and whose != name:
                return _account(self.server(whose), name)
            known = catalog.lookup(name)
            if known is not None:
                return known
            if name == DEMO:
                raise _no_demo() from None
            raise

    def connect(self, name: str, *, account: str | None = None) -> Session:
        """Returns the session with a server, opened if it is not; waits for nobody.

        Args:
            name: The server.
            account: A sign-in of its own beside the usual one; it names the session too.

        Raises:
            ServerConfigError: There is no such server, its program is not trusted, or it is the
                demo and has ended.
        """
        if self.player is not None:
            return self._opened(self.server(account or name))
        server = self.server(name)
        self.trusted.check(server)
        if name == DEMO and listens(server.url) is False:
            raise _no_demo()
        if catalog.lookup(name) == server:
            self.book.add(server)  # a well-known one is remembered once it is used
        if account is not None and account != name:
            self._check_account(account, server)
            server = _account(server, account)
            self.accounts.add(account, name)
        return self._opened(server)

    def _opened(self, server: Server) -> Session:
        session = self._session_with(server)
        if session.status in {Status.DISCONNECTED, Status.FAILED}:
            background().submit(_open(session.connection)).result(5)
        return session

    def know(self, name: str, url: str) -> None:
        """Remembers a server by its address, unless it is known there already, settings and all.

        Raises:
            ServerConfigError: It cannot be written down, or the name is another server's.
        """
        if self.player is not None:
            return
        if not any(known.name == name and known.url == url for known in self.book.all()):
            self.book.add(Server(name=name, url=url))

    def _check_account(self, account: str, server: Server) -> None:
        taken = {known.name for known in self.book.all()}
        other = self.accounts.server_of(account)
        if account in taken or (other is not None and other != server.name):
            raise ServerConfigError(
                f"{account!r} is the name of something else already.",
                hint="Choose another name after --as.",
            )

    def _session_with(self, server: Server) -> Session:
        """Returns the session with a server as the book describes it now."""
        session = self.sessions.get(server.name)
        if session is not None and session.connection.server != server:
            session.disconnect()
            session = None
        return session or self._new_session(server)

    def _new_session(self, server: Server) -> Session:
        making = _make(server, self.keeper, self.player, self.recorder)
        session = Session(background().submit(making).result(5), self.front_end)
        self.sessions[server.name] = session
        return session

    def session(self, name: str) -> Session:
        """Returns the session of that name, connected or not, without opening it."""
        found = self.sessions.get(name)
        return found if found is not None else self._new_session(self.server(name))

    def disconnect(self, name: str) -> Session:
        """Closes a session and keeps its sign-in."""
        session = self.session(name)
        session.disconnect()
        return session

    def sign_in(self, name: str, *, register_again: bool = False) -> Session:
        """Starts a new sign-in, for instance with another account; waits for nobody.

        Raises:
            SignInError: The server is a program on this machine.
        """
        session = self.session(name)
        if self.player is not None:
            return session
        if session.connection.credentials is None:
            raise SignInError(
                f"{name} is a program on this machine: there is no sign-in.",
                hint=f"Start it with: %mcp connect {name}",
            )
        background().submit(_sign_in(session.connection, register_again)).result(5)
        return session

    def sign_out(self, name: str) -> list[str]:
        """Revokes a server's tokens, forgets them and disconnects; tells what remains."""
        remains = self.session(name).sign_out()
        return remains if self.player is None else [f"Replayed: {name} itself stays as it is."]

    def remove(self, name: str) -> list[str]:
        """Signs out of a server with all its accounts, and forgets it; tells what remains."""
        if self.player is not None:
            return self.sign_out(name)
        if (whose := self.accounts.server_of(name)) is not None:
            remains = self._forget(name)
            return [*remains, f"The server {whose} and its other accounts stay."]
        try:
            self.book.get(name)
        except ServerConfigError:
            self.book.remove(name)  # raises the same where there is no such entry
            self.trusted.forget(name)
            return ["Its entry could not be understood, so no sign-in was revoked."]
        accounts = list(self.accounts.of(name))
        remains = [said for account in accounts for said in self._forget(account)]
        remains += [f"Its account {account} is forgotten too." for account in accounts]
        remains += self._forget(name)
        self.trusted.forget(name)
        self.book.remove(name)
        return remains

    def _forget(self, name: str) -> list[str]:
        remains = self.sign_out(name)
        Drift(self.server(name)).forget()
        self.sessions.pop(name, None)
        self.accounts.remove(name)
        return remains

    def demo(self) -> Server:
        """Starts the demo server, if none of this user's runs, and remembers it as ``demo``.

        One that another kernel has started is used too: two would push each other out of the book,
        and their sign-ins with them.

        Raises:
            ConnectionFailedError: It did not start.
        """
        if self.player is not None:
            return self.player.server(DEMO)
        if self._demo is None or not self._demo.running:
            elsewhere = next((known for known in self.book.all() if known.name == DEMO), None)
            if elsewhere is not None and listens(elsewhere.url):
                return elsewhere
            self._demo = start()
        server = Server(name=DEMO, url=self._demo.url)
        self.book.add(server, replace=True)
        known = self.sessions.get(DEMO)
        if known is not None and known.url != server.url:
            known.disconnect()
            del self.sessions[DEMO]
        return server

    # -- recording and replaying --------------------------------------------------------------

    def record(self, path: str | Path | None, *, replace: bool = False) -> Recorder | None:
        """Records every answer from now on, of sessions that are open as well.

        Args:
            path: The file; one that is there is gone on with. None ends the recording.
            replace: Whether what the file holds is dropped first.

        Returns:
            The recorder; with None the one that has ended, if there was one.

        Raises:
            MCPNotebookError: It cannot be written, it is no recording, or one is replayed.
        """
        if path is not None and self.player is not None:
            raise MCPNotebookError(
                f"{self.player.path.name} is being replayed; no server answers.",
                hint="End that first: %mcp replay off",
            )
        ended, recorder = self.recorder, None
        if path is not None:
            if ended is not None and ended.path == Path(path).expanduser() and not replace:
                return ended
            recorder = Recorder(path, replace=replace)
        self.recorder = recorder
        sessions = list(self.sessions.values())
        background().submit(_record(sessions, recorder)).result(5)
        if ended is not None:
            ended.close()
        return recorder or ended

    def replay(self, path: str | Path | None) -> Player | None:
        """Has a recording answer in place of all servers, which are not contacted any more.

        Sessions that are open are closed: who holds one connects again.

        Args:
            path: The recording. None ends the replay.

        Returns:
            The recording; with None the one that was replayed, if there was one.

        Raises:
            MCPNotebookError: There is no such recording, or one is being made.
        """
        if path is not None and self.recorder is not None:
            raise MCPNotebookError(
                f"{self.recorder.path.name} is being recorded.",
                hint="End that first: %mcp record off",
            )
        ended, player = self.player, Player(path) if path is not None else None
        if player is not None or ended is not None:
            background().submit(self._close()).result(5)
            self.sessions.clear()
        self.player = player
        if ended is not None:
            ended.close()
        return player or ended

    def keep_secret(self, server: Server, secret: str) -> None:
        """Keeps the secret of a client that was registered by hand, for the sign-in to come."""
        Wait(Credentials(server, self.keeper).keep_secret(secret)).result()

    @property
    def demo_is_ours(self) -> bool:
        """Whether the demo server that runs was started here, and ends with this process."""
        return self._demo is not None and self._demo.running

    def stop_demo(self) -> None:
        """Ends the demo server, if it runs."""
        if self._demo is not None:
            self._demo.stop()
            self._demo = None

    async def _close(self) -> None:
        closing = [session.connection.close() for session in self.sessions.values()]
        await asyncio.gather(*closing, Callback.delivered(), return_exceptions=True)


def _account(server: Server, name: str) -> Server:
    return replace(server, name=name, account_of=server.added_as)


def _no_demo() -> ServerConfigError:
    return ServerConfigError(
        "The demo server does not run.",
        hint="Start it with: %mcp demo (it ends with the kernel that started it)",
    )


async def _make(
    server: Server, keeper: TokenKeeper, player: Player | None, recorder: Recorder | None
) -> Connection:
    connection = Connection(server, keeper, player=player)
    connection.record(recorder)
    return connection


async def _record(sessions: list[Session], recorder: Recorder | None) -> None:
    for session in sessions:
        session.connection.record(recorder)


async def _open(connection: Connection) -> None:
    connection.open()


async def _sign_in(connection: Connection, register_again: bool) -> None:  # noqa: FBT001
    connection.start_sign_in(register_again=register_again)


_current: tuple[int, Workspace] | None = None


def workspace() -> Workspace:
    """Returns the process's own workspace, made on first use; a forked child has its own.

    ``MCP_NOTEBOOK_REPLAY`` and ``MCP_NOTEBOOK_RECORD`` name a file that it begins to replay, or to
    record to.
    """
    global _current
    if _current is None or _current[0] != os.getpid():
        space = Workspace()
        if path := os.environ.get(REPLAY_VARIABLE):
            space.replay(path)
        elif path := os.environ.get(RECORD_VARIABLE):
            space.record(path)
        _current = (os.getpid(), space)
    return _current[1]
