"""The address the browser comes back to: one loopback listener that reads one answer.

The listener is bound first and the redirect URI is made of the port it got, so that nobody else
can hold that port (RFC 8252 §7.3, §8.3). It knows nothing of tokens. It compares `state` as bytes
before it looks at anything else, and an answer that does not belong here never ends the sign-in:
any program on the machine and any page in the browser can knock. The right one is taken once and
the browser is sent to an address without parameters, whose page is held back until it is known
what became of the answer: it never says "signed in" before that is true.

Requests are read by hand, because only a `GET` without a body is welcome and every other byte is
refused. Nothing is logged: the request line holds the code, and the headers hold the cookies of
the Jupyter server (browsers share them between ports).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import ClassVar

from mcp_notebook.auth import pages
from mcp_notebook.auth.answer import (
    AuthorizationResponse,
    UnusableAnswerError,
    read_answer,
    read_pasted,
)
from mcp_notebook.auth.loopback import LOOPBACK, bound
from mcp_notebook.auth.pages import Page
from mcp_notebook.auth.request_head import HEAD_LIMIT, RefusedError, target_of
from mcp_notebook.errors import SignInError
from mcp_notebook.redaction import printable

HEAD_SECONDS = 3.0
"""Seconds a request has to arrive in."""

CONNECTIONS = 8
"""Connections that are served at a time; a ninth takes the place of the one idle for longest."""

HOLD_SECONDS = 10.0
"""Seconds the last page waits for the outcome before it refers to the notebook."""

LINGER_SECONDS = 5.0
"""Seconds the listener stays for the browser to fetch the last page once the outcome is known."""

CLOSE_SECONDS = 1.0
"""Seconds the peer has to close; it should be first, or the port stays in TIME_WAIT with us."""

WRONG_STATES = 50
"""Answers with a wrong state that get a page; whoever sends more is not worth a reply."""


@dataclass(eq=False)
class _Round:
    """One question put to the person: its state, its answer, the page that tells the outcome."""

    state: bytes = field(repr=False)
    answer: asyncio.Future[AuthorizationResponse]
    page: asyncio.Future[Page]
    shown: asyncio.Event
    pasted: bool = False
    shown_page: Page | None = None

    @classmethod
    def begin(cls, state: str) -> _Round:
        loop = asyncio.get_running_loop()
        return cls(state.encode(), loop.create_future(), loop.create_future(), asyncio.Event())


class Callback:
    """The bound listener of one sign-in. Everything but `paste` runs on the loop it was bound on.

    Attributes:
        redirect_uri: The address to register and to send in the authorization request.
        port: The port it got.
    """

    _lingering: ClassVar[dict[int, Callback]] = {}

    def __init__(self, sockets: list[socket.socket], *, host: str, path: str, server: str) -> None:
        """Takes over bound sockets; use `bind`."""
        self.port: int = sockets[0].getsockname()[1]
        shown_host = f"[{host}]" if ":" in host else host
        self._authority = f"{shown_host}:{self.port}"
        self._path = path
        self._done_path = path.rstrip("/") + "/done"
        self.redirect_uri = f"http://{self._authority}{path}"
        self._server_name = server
        self._sockets = sockets
        self._servers: list[asyncio.Server] = []
        self._connections: dict[asyncio.StreamWriter, bool] = {}  # whether it has spoken
        self._loop = asyncio.get_running_loop()
        self._round: _Round | None = None
        self._answered: _Round | None = None
        self._wrong_states = 0
        self._linger: asyncio.Task[None] | None = None

    @classmethod
    async def bind(
        cls, *, server: str, host: str = "127.0.0.1", port: int | None = None, path: str
    ) -> Callback:
        """Binds the listener.

        Args:
            server: The server's name, for the pages.
            host: ``127.0.0.1``, ``::1``, or ``localhost`` where a registration demands it.
            port: The port to have, or None for any.
            path: The path of the redirect URI.

        Raises:
            PortTakenError: The port cannot be had.
            SignInError: The host is not this machine.
        """
        if host not in LOOPBACK:
            raise SignInError(
                f"The callback host {printable(host, 60)!r} is not this machine.",
                hint="Use 127.0.0.1, ::1 or localhost (RFC 8252 §7.3).",
            )
        if port is not None and port in cls._lingering:
            cls._lingering[port].close()
            await asyncio.sleep(0)  # its connections are closed in the loop's next turn
        callback = cls(bound(host, port), host=host, path=path, server=server)
        for listener in callback._sockets:
            callback._servers.append(
                await asyncio.start_server(callback._serve, sock=listener, limit=HEAD_LIMIT)
            )
        return callback

    # -- what the flow does ---------------------------------------------------------------------

    def expect(self, state: str, *, onward: str | None = None) -> None:
        """Begins to wait for the answer that carries this state.

        Args:
            state: The state of the authorization request; an earlier one is no longer known.
            onward: Where to send the browser that brought the answer before this one, if any: the
                new authorization request.
        """
        if self._answered is not None and onward is not None:
            page = Page(HTTPStatus.SEE_OTHER, "One more step", "", location=onward)
            _settle(self._answered.page, page)
        self._round = _Round.begin(state)

    async def answer(self) -> AuthorizationResponse:
        """Waits for the answer, without a deadline."""
        assert self._round is not None
        return await asyncio.shield(self._round.answer)

    def paste(self, text: str) -> None:
        """Takes the answer from the address a person copied from the browser; from any thread.

        Args:
            text: The whole address, or its query with code and state.

        Raises:
            SignInError: It is not the answer; the listener goes on waiting.
        """
        waiting = self._round
        if waiting is None or waiting.answer.done():
            raise SignInError("The answer is already there.", hint="Nothing more is needed.")
        try:
            response = read_pasted(text, self.redirect_uri, waiting.state)
        except UnusableAnswerError as refused:
            raise SignInError(
                f"What was pasted is not the answer. {refused}",
                hint="Copy the whole address of the page the browser ended on, and paste it once "
                f"more. It begins with {self.redirect_uri}?",
            ) from None
        waiting.pasted = True
        with contextlib.suppress(RuntimeError):  # the loop is gone, and the sign-in with it
            self._loop.call_soon_threadsafe(self._take, waiting, response)

    def conclude(self, page: Page) -> None:
        """Says what became of the sign-in; the listener closes once the browser has been told."""
        answered = self._answered
        if answered is None or answered.pasted or answered.shown.is_set() or not self._servers:
            self.close()
            return
        self._round = None
        _settle(answered.page, page)
        self._lingering[self.port] = self
        self._linger = self._loop.create_task(self._linger_for(answered))

    def close(self) -> None:
        """Closes the listener and every connection at once."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        for writer in list(self._connections):
            writer.transport.abort()
        if self._lingering.get(self.port) is self:
            del self._lingering[self.port]
        self._round = None
        if self._linger is not None:
            self._linger.cancel()

    @classmethod
    async def delivered(cls) -> None:
        """Waits until every browser has its last page: a script may end as soon as it can go on."""
        lingering = [callback._linger for callback in cls._lingering.values() if callback._linger]
        await asyncio.gather(*lingering, return_exceptions=True)

    async def _linger_for(self, answered: _Round) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(answered.shown.wait(), LINGER_SECONDS)
        self._linger = None
        self.close()

    def _take(self, asked: _Round, response: AuthorizationResponse) -> None:
        if asked is self._round and not asked.answer.done():
            asked.answer.set_result(response)
            self._answered = asked

    # -- what the browser sees ------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._make_room()
        self._connections[writer] = False
        _reset_on_abort(writer)
        page = None
        with contextlib.suppress(OSError, EOFError, TimeoutError):
            page = await self._page(reader, writer)
            if page is not None:
                writer.write(page.message(self._server_name))
                await writer.drain()
                async with asyncio.timeout(CLOSE_SECONDS):
                    while await reader.read(HEAD_LIMIT):
                        pass
        if self._answered is not None and page is self._answered.shown_page is not None:
            self._answered.shown.set()
        del self._connections[writer]
        writer.transport.abort()

    def _make_room(self) -> None:
        """Gives up the connection that has been silent for longest when there are too many."""
        if len(self._connections) >= CONNECTIONS:
            idle = [writer for writer, heard in self._connections.items() if not heard]
            for writer in idle[:1] or list(self._connections)[:1]:
                writer.transport.abort()

    async def _page(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Page | None:
        """Returns what to answer; None is no answer at all."""
        try:
            async with asyncio.timeout(HEAD_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
            self._connections[writer] = True
            path, query = target_of(head, self._authority)
        except asyncio.LimitOverrunError:
            return pages.refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        except RefusedError as refused:
            return pages.refusal(refused.status)
        if path == self._path:
            return self._judge(query)
        if path == self._done_path and not query and self._answered is not None:
            return await self._last_page(self._answered)
        return pages.refusal(HTTPStatus.NOT_FOUND)

    def _judge(self, query: str) -> Page | None:
        asked = self._round
        if asked is None:
            return pages.ANSWERED
        try:
            response = read_answer(query, asked.state)
        except UnusableAnswerError as refused:
            self._wrong_states += refused.wrong_state
            if self._wrong_states > WRONG_STATES:
                return None
            return pages.refusal(HTTPStatus.BAD_REQUEST, str(refused))
        if asked.answer.done():
            return pages.ANSWERED
        self._take(asked, response)
        # The code leaves the address bar and the history (RFC 9700 §4.2.4).
        return Page(HTTPStatus.SEE_OTHER, "Back to your notebook", "", location=self._done_path)

    async def _last_page(self, answered: _Round) -> Page:
        try:
            page = await asyncio.wait_for(asyncio.shield(answered.page), HOLD_SECONDS)
        except TimeoutError:
            page = pages.UNDECIDED
        answered.shown_page = page
        return page


def _reset_on_abort(writer: asyncio.StreamWriter) -> None:
    """Makes a connection that is given up leave no TIME_WAIT on the port.

    The peer should close first. Where it does not, a port in TIME_WAIT could not be bound again
    for a minute without SO_REUSEADDR.
    """
    linger = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


def _settle(future: asyncio.Future[Page], page: Page) -> None:
    if not future.done():
        future.set_result(page)
