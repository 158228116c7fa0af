"""What the tests of batches share: a session on a real server, and front ends that answer."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from mcp_notebook.auth.stores import MemoryStore
from mcp_notebook.auth.tokens import TokenKeeper
from mcp_notebook.background import background
from mcp_notebook.client.connection import Connection
from mcp_notebook.config.servers import Server
from mcp_notebook.session.session import Session
from mcp_notebook.waiting.elicitation import Asking
from mcp_notebook.waiting.frontend import FrontEnd
from mcp_notebook.waiting.questions import Question
from tests.peers import Seen, visit


@contextlib.contextmanager
def session_with(
    url: str,
    front_end: FrontEnd | None = None,
    keeper: TokenKeeper | None = None,
    name: str = "peer",
) -> Iterator[Session]:
    """An open session for the block."""

    async def make() -> Connection:
        connection = Connection(Server(name=name, url=url), keeper or TokenKeeper(MemoryStore()))
        connection.open()
        return connection

    connection = background().submit(make()).result(30)
    session = Session(connection, front_end or FrontEnd())
    try:
        yield session
    finally:
        session.disconnect()


class Answering(FrontEnd):
    """Somebody who answers every question, and remembers it."""

    def __init__(self, **answer: Any) -> None:
        self.answer = answer
        self.asked: list[Question] = []

    def ask(self, asking: Asking) -> None:
        self.asked.append(asking.question)
        asking.accept(self.answer)


class Watching(FrontEnd):
    """Somebody who looks at the bar, and may press Stop."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def progress(self, progress: Any) -> None:
        self.seen.append(progress.look())


class Clicking(FrontEnd):
    """Somebody who opens every link and agrees, and remembers them."""

    def __init__(self) -> None:
        self.links: list[str] = []

    def look(self, session: Any) -> None:
        sign_in = session.sign_in
        if session.status == "signing_in" and sign_in.url and sign_in.url not in self.links:
            self.links.append(sign_in.url)
            threading.Thread(target=visit, args=(sign_in.url,)).start()


def calls(seen: Seen) -> bool:
    """Tells whether a request is a tool call, for ``fail_next``."""
    return bool(seen.tool)


def press_stop_when(condition: Callable[[], bool]) -> threading.Thread:
    """Presses Stop (SIGINT in the main thread) once the condition holds."""

    def press() -> None:
        end = time.monotonic() + 20
        while not condition() and time.monotonic() < end:
            time.sleep(0.005)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    return thread
