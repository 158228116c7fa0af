"""What a person holds: one server, connected or about to be.

A `Session` is like a future. It exists at once, also while somebody still has to sign in, and
whoever needs its answer waits then: visibly, with Stop working, without holding up anything else.
It keeps no state of its own; the `Connection` on the background loop does, and is only looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import Callable, Coroutine, Generator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from mcp_notebook.background import background
from mcp_notebook.batch.cache import drop_answers
from mcp_notebook.batch.pacing import Throttle
from mcp_notebook.client.connection import Connection
from mcp_notebook.client.status import Status
from mcp_notebook.errors import (
    AnswerUseError,
    ConnectionFailedError,
    RequestTimeoutError,
    UnknownNameError,
)
from mcp_notebook.redaction import printable
from mcp_notebook.schema.names import nearest
from mcp_notebook.session.drift import Changes, Drift
from mcp_notebook.session.prompts import Prompts
from mcp_notebook.session.resources import Resources
from mcp_notebook.session.suggestions import Suggestions
from mcp_notebook.session.tools import Tools
from mcp_notebook.waiting.calls import Call, Calls
from mcp_notebook.waiting.elicitation import PreparedAnswer, Questions
from mcp_notebook.waiting.frontend import FrontEnd
from mcp_notebook.waiting.wait import Wait

if TYPE_CHECKING:
    from mcp_types import CallToolResult

    from mcp_notebook.auth.sign_in import SignIn
    from mcp_notebook.batch.batch import Batch

T = TypeVar("T")

_OF_CLIENTS = {
    "call_tool": ".tools.NAME(argument=…)",
    "list_tools": ".tools",
    "list_resources": ".resources",
    "read_resource": ".resources.read(ADDRESS)",
    "list_prompts": ".prompts",
    "get_prompt": ".prompts.NAME(argument=…)",
    "close": ".disconnect()",
}
"""What people type who know the protocol's own clients."""


class Session:
    """One server as a Python object: ``tools``, ``resources``, ``prompts``.

    Made by `mcp_notebook.connect` and ``%mcp connect``. It is there at once; `wait` (or ``await``)
    waits until it is connected, and any call does so by itself. `on_question` answers what the
    server asks in the middle of a call, `drift` tells how its tools differ from what they were. As
    a context manager it disconnects on leaving.

    Attributes:
        tools: The server's tools, by attribute, by item, in a loop.
        resources: What the server has to be read, by address.
        prompts: The server's prompts, by attribute, by item, in a loop.
        connection: The live connection; its coroutines run on the background loop only.
        front_end: Whoever shows things to the person.
        calls: The calls under way.
        batches: The last batch of each tool, by the tool's name.
        suggestions: What the server suggests for arguments.
        throttle: How fast the server takes calls; shared by all batches.
        drifting: What has changed in the tools, and whether that was told.
        key: What its connections in other processes are known by.
    """

    def __init__(self, connection: Connection, front_end: FrontEnd) -> None:
        self.connection = connection
        self.tools = Tools(self)
        self.front_end = front_end
        self.calls = Calls()
        self.batches: dict[str, Batch] = {}
        self.throttle = Throttle()
        self.key = secrets.token_hex(8)
        self.suggestions = Suggestions(connection)
        self.resources = Resources(self)
        self.prompts = Prompts(self)
        self.drifting = Drift(connection.server)
        connection.news.readers.append(self.drifting.saw)
        self._process = os.getpid()
        self._questions = Questions(
            connection.server, self.calls, lambda asking: self.front_end.ask(asking)
        )
        connection.handle(
            elicitation_callback=self._questions.callback,
            logging_callback=self.calls.logged,
            log_level="info",
        )

    @property
    def name(self) -> str:
        """The server's name in the book, or the account's after ``--as``."""
        return self.connection.server.name

    @property
    def url(self) -> str:
        """The MCP endpoint; empty for a program on this machine."""
        return self.connection.server.url

    @property
    def status(self) -> Status:
        """How the session stands."""
        return self.connection.status

    @property
    def sign_in(self) -> SignIn | None:
        """The sign-in under way, or None. Its `url` is the link to open."""
        sign_in = self.connection.sign_in
        if sign_in is None or sign_in.standing().state.ended:
            return None
        return sign_in

    @property
    def replayed(self) -> Path | None:
        """The recording that answers in place of the server, or None."""
        player = self.connection.player
        return player.path if player is not None else None

    @property
    def is_settled(self) -> bool:
        """Whether what the server offers is known, so that a name can be said to be wrong."""
        return self.connection.client is not None

    @property
    def on_question(self) -> PreparedAnswer | None:
        """Your answer to what the server asks in the middle of a call, instead of a prompt.

        A function ``f(question)``, given a `Question` (``.server``, ``.message``, ``.schema``,
        ``.url``), that returns a dict to answer or None to decline. `accept_defaults` is one.
        """
        return self._questions.prepared

    @on_question.setter
    def on_question(self, answer: PreparedAnswer | None) -> None:
        if answer is not None and not callable(answer):
            raise AnswerUseError(
                f"{type(answer).__name__} is no function.",
                hint='Give a function: session.on_question = lambda question: {"name": "Ada"}. '
                "None asks you again.",
            )
        self._questions.prepared = answer

    @property
    def drift(self) -> Changes:
        """What has changed in the server's tools since you used it last: a list; shows itself.

        Each has ``.tool``, ``.kind`` (new, gone, changed) and ``.details``. Who has looked has
        seen it: the next kernel compares with what the tools are now.
        """
        return self.drifting.changes()

    # -- waiting ------------------------------------------------------------------------------

    def wait(self, timeout: float | None = None) -> Self:
        """Waits until the server is connected, the sign-in included.

        Args:
            timeout: The longest time to wait, in seconds. Without one the wait ends with the
                sign-in's own time, and where nobody can be asked it fails at once.

        Returns:
            The session itself.

        Raises:
            RequestTimeoutError: The time is over; the session and the sign-in go on.
            SignInError: Somebody had to sign in and did not.
            ConnectionFailedError: The server could not be reached.
        """
        work = self._ours(self.connection.ready())
        if self.status is Status.CONNECTED:
            work.close()
        elif timeout is None:
            self.wait_for(work).result()
        else:
            end = time.monotonic() + timeout
            Wait(work, look=lambda: self._look_until(end, timeout), what=self.name).result()
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        yield from self.wait_for(self.connection.ready()).__await__()
        return self

    def wait_for(self, work: Coroutine[Any, Any, T]) -> Wait[T]:
        """Starts work on the background loop for somebody who waits for it in this thread."""
        return Wait(self._ours(work), look=self._look, what=self.name)

    def wait_for_call(
        self,
        work: Coroutine[Any, Any, T],
        call: Call,
        *,
        tend: Callable[[], None] = lambda: None,
    ) -> Wait[T]:
        """Starts a call like `wait_for`; how far it is is shown while somebody waits.

        Args:
            work: The call.
            call: What the server speaks in.
            tend: Called in the waiting thread, at every tick and at the end.
        """

        def look() -> None:
            self.front_end.look(self)
            tend()
            if self.status is Status.SIGNING_IN:
                call.progress.restart()
            self.front_end.progress(call.progress)

        def at_end() -> None:
            tend()
            call.progress.end()
            self.front_end.progress(call.progress)
            call.tell()
            self.front_end.tell_changes(self)

        self.front_end.tell_changes(self)
        return Wait(self._ours(work), look=look, at_end=at_end, what=call.progress.title)

    def _ours(self, work: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        """Returns the work, unless a fork has left a mere copy of the session here."""
        if os.getpid() == self._process:
            return work
        work.close()
        raise ConnectionFailedError(
            f"{self.name} is connected in the process that this one was forked from.",
            hint=f"Connect here too: mcp_notebook.connect({self.name!r})",
        )

    def _look(self) -> None:
        self.front_end.look(self)

    def _look_until(self, end: float, timeout: float) -> None:
        if time.monotonic() >= end:
            raise RequestTimeoutError(
                f"{self.name} is still {self.status.value.replace('_', ' ')} after {timeout:g} s.",
                hint="The session goes on; wait again, or look at it with: %mcp status",
            )
        # Who names a time limit has chosen to wait, whether or not somebody can be asked.
        if type(self.front_end) is not FrontEnd:
            self.front_end.look(self)

    def record_answer(self, tool: str, arguments: dict[str, Any], answer: CallToolResult) -> None:
        """Records an answer that came another way than over the connection, if any are recorded.

        Args:
            tool: The tool's name.
            arguments: What it was called with.
            answer: From a cache, or from a worker that has made the call.
        """
        recorder = self.connection.recorder
        if recorder is not None:
            recorder.keep(self.name, "tools/call", {"name": tool, "arguments": arguments}, answer)

    # -- ending -------------------------------------------------------------------------------

    def disconnect(self) -> None:
        """Closes the connection and a sign-in under way; the tokens are kept."""
        background().submit(self.connection.close()).result(5)

    def sign_out(self) -> list[str]:
        """Revokes the tokens (RFC 7009, at most 5 s), forgets them, and disconnects.

        What ``cache=True`` kept is dropped as well: the next to sign in may be somebody else.

        Returns:
            Sentences: what was revoked and dropped, and what remains at the provider.
        """
        remains = Wait(self.connection.sign_out()).result()
        return remains if self.replayed is not None else [*remains, *drop_answers(self.name)]

    def __enter__(self) -> Self:
        return self.wait()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(TimeoutError):
            self.disconnect()

    async def __aenter__(self) -> Self:
        await self
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        closing = asyncio.wrap_future(background().submit(self.connection.close()))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(closing, 5)

    # -- being shown --------------------------------------------------------------------------

    if not TYPE_CHECKING:  # type checkers are to find what is mistyped

        def __getattr__(self, name: str) -> Any:
            # Looked up on a half-made copy, or by IPython, copy and pickle on everything they see.
            if name.startswith("_") or "tools" not in vars(self):
                raise AttributeError(name)
            guess = nearest(name, [*dir(self), "resources", "prompts"])
            if name in dir(self.tools) or name in self.tools:
                hint = f"It is one of its tools: .tools.{name}"
            elif name in _OF_CLIENTS:
                hint = f"Here: {_OF_CLIENTS[name]}"
            else:
                hint = f"Did you mean .{guess}?" if guess else "The server's tools are in .tools"
            raise UnknownNameError(f"A session has no {printable(name, 60)!r}.", hint=hint)

    def __dir__(self) -> list[str]:
        # What a person uses, for Tab; the rest is between the rooms of this package.
        return [
            "disconnect",
            "drift",
            "name",
            "on_question",
            "prompts",
            "replayed",
            "resources",
            "sign_in",
            "sign_out",
            "status",
            "tools",
            "url",
            "wait",
        ]

    def _ipython_display_(self) -> None:
        self.front_end.show(self)

    def __repr__(self) -> str:
        where = self.url or "a program on this machine"
        return f"<Session {self.name} ({where}): {self.summary()}>"

    def summary(self) -> str:
        """Returns in a few words how the session stands."""
        if self.status is Status.CONNECTED:
            count = len(self.connection.tools)
            stands = "connected" if self.replayed is None else f"a replay of {self.replayed.name}"
            return f"{stands}, {count} tool{'s' * (count != 1)}"
        if self.status is Status.FAILED and self.connection.failure is not None:
            return f"failed: {self.connection.failure.message}"
        return self.status.value.replace("_", " ")

    def __reduce_ex__(self, protocol: object) -> Any:
        raise TypeError("a Session is live and is not pickled; connect again where it is needed")
