"""The peers of the tests: honest ones, and a server of canned answers no honest peer would send."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from mcp_notebook.auth.fetch import Fetch
from tests.peers import (
    Authority,
    AuthorityKnobs,
    ToolKnobs,
    ToolServer,
    serve_authority,
    serve_tools,
)

Answer = tuple[int, dict[str, str], bytes] | Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Canned:
    """What is answered by path (404 where nothing is), and what was asked."""

    url: str
    answers: dict[str, Answer] = field(default_factory=dict)
    seen: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)

    def json(self, path: str, document: Any, status: int = 200, **headers: str) -> None:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers[path] = (status, {"content-type": "application/json", **named}, body)

    def status(self, path: str, status: int, body: bytes = b"", **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers[path] = (status, named, body)

    @property
    def paths(self) -> list[str]:
        return [path for _, path, _, _ in self.seen]


@contextmanager
def serving() -> Iterator[Canned]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items()}
            canned.seen.append((self.command, self.path, headers, self.rfile.read(length)))
            answer = canned.answers.get(self.path.partition("?")[0], (404, {}, b""))
            if callable(answer):
                answer(self)
                return
            status, headers, body = answer
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer  # noqa: N815

        def log_message(self, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *args: Any) -> None:
            """A client that hangs up on a long answer is what is tested."""

    httpd = Server(("127.0.0.1", 0), Handler)
    canned = Canned(f"http://127.0.0.1:{httpd.server_address[1]}")
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield canned
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


@pytest.fixture
def canned() -> Iterator[Canned]:
    with serving() as server:
        yield server


@pytest.fixture
def another() -> Iterator[Canned]:
    with serving() as server:
        yield server


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeats requests at once."""
    monkeypatch.setattr("mcp_notebook.auth.fetch.PAUSES", (0.0, 0.0))


@pytest.fixture(scope="module")
def peers() -> Iterator[tuple[Authority, ToolServer]]:
    with serve_authority() as authority, serve_tools(authority) as tools:
        yield authority, tools


@pytest.fixture
def authority(peers: tuple[Authority, ToolServer]) -> Authority:
    """An authorization server with its knobs as they were, and nothing seen yet."""
    authority, _ = peers
    vars(authority.knobs).update(vars(AuthorityKnobs()))
    authority.forget_seen()
    return authority


@pytest.fixture
def tools(peers: tuple[Authority, ToolServer], authority: Authority) -> ToolServer:
    """The MCP server it guards."""
    _, tools = peers
    vars(tools.knobs).update(vars(ToolKnobs()))
    tools.forget_seen()
    return tools


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A port that nobody listens on: it is bound, and stays so."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@pytest.fixture
async def fetch(authority: Authority) -> AsyncIterator[Fetch]:
    """An errand to an authorization server that knows the public client ``me`` and no other."""
    authority.clients.clear()
    authority.add_client("me")
    async with Fetch(f"{authority.url}/mcp") as errand:
        yield errand
