"""A web server in a thread of its own that remembers every request and can be made to fail.

`Web` holds what the two peers share: a port that is chosen once and kept over a restart, the
record of requests, and faults that strike the next requests (a status, a cut connection, a wait).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

WALL = b"<!doctype html><title>Access denied</title>"
Moment = Literal["before", "after", "body"]
"""When a connection is cut: before the work, after it, or in the middle of the answer's body."""


@dataclass(kw_only=True)
class Seen:
    """One request. `status` is filled in when the answer has begun; 0 if it was cut."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes = field(repr=False)
    at: float = field(default_factory=time.monotonic)
    status: int = 0

    @property
    def form(self) -> dict[str, str]:
        if "urlencoded" not in self.headers.get("content-type", ""):
            return {}
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))

    @property
    def json(self) -> dict[str, Any]:
        try:
            document = json.loads(self.body)
        except ValueError:
            return {}
        return document if isinstance(document, dict) else {}

    @property
    def rpc(self) -> str:
        """The JSON-RPC method, or ``""``."""
        return str(self.json.get("method", ""))

    @property
    def tool(self) -> str:
        """The tool that is called, or ``""``."""
        return str(self.json["params"].get("name", "")) if self.rpc == "tools/call" else ""


@dataclass
class Fault:
    """What happens to the next `left` requests that fit."""

    left: int
    fits: Callable[[Seen], bool]
    status: int = 0
    retry_after: str | None = None
    body: bytes = b""
    content_type: str = "application/json"
    cut: Moment | None = None


class _Protocol(H11Protocol):
    """Lets an answer cut its own connection, which ASGI has no word for."""

    open_transports: dict[Any, Any] = {}  # noqa: RUF012 - one register for all servers

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.open_transports[tuple(transport.get_extra_info("peername"))] = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.open_transports.pop(tuple(self.transport.get_extra_info("peername")), None)
        super().connection_lost(exc)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()
        self.loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.loop = asyncio.get_running_loop()
        self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        # Streams of events outlive the graceful time; uvicorn leaves their sockets open.
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)


class Web:
    """One server. Subclasses give `app()`, the ASGI application of one run."""

    fault_path = "/"
    """The path that `fail_next` and `cut_next` mean where none is given."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.port = 0
        self.wall: Callable[[Seen], bool] | None = None
        """A firewall in front: what it is true of is answered with a page and 403."""
        self._changed = threading.Condition()
        self._faults: list[Fault] = []
        self._holds: dict[str, asyncio.Event] = {}
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def app(self) -> Any:
        raise NotImplementedError

    # -- life

    def start(self) -> None:
        """Opens the port: a free one the first time, the same one after `stop`."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        self._inner = self.app()
        config = uvicorn.Config(
            self._serve,
            interface="asgi3",
            http=_Protocol,
            proxy_headers=False,
            ws="none",
            lifespan="on",
            # uvicorn sets logging up anew with every server, and what another one serves in that
            # moment is printed.
            log_config=None,
            log_level="critical",
            access_log=False,
            timeout_keep_alive=60,
        )
        config.timeout_graceful_shutdown = 0.1  # type: ignore[assignment]
        self._server = _Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([listener],), name=type(self).__name__, daemon=True
        )
        self._thread.start()
        if not self._server.ready.wait(20):
            raise RuntimeError("the test server did not start")

    def stop(self) -> None:
        """Closes the port and every connection."""
        if self._server is None or self._thread is None:
            return
        self.release()
        self._server.should_exit = True
        self._thread.join(20)
        self._server = self._thread = None

    def restart(self) -> None:
        """Stops and starts on the same port; what lives in the application's memory is gone."""
        self.stop()
        self.start()

    def run(self, coroutine: Any) -> Any:
        """Runs a coroutine on the server's loop and gives its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)

    @property
    def _loop(self) -> asyncio.AbstractEventLoop:
        assert self._server is not None
        assert self._server.loop is not None
        return self._server.loop

    # -- what was asked

    def count(self, path: str, method: str | None = None) -> int:
        """How many requests came for a path."""
        return sum(
            seen.path == path and (method is None or seen.method == method)
            for seen in list(self.seen)
        )

    def counts(self) -> Counter[str]:
        return Counter(seen.path for seen in list(self.seen))

    def wait_until(self, condition: Callable[[], bool], timeout: float = 30) -> None:
        """Waits until the condition holds; it is looked at after each request and answer."""
        with self._changed:
            if not self._changed.wait_for(condition, timeout):
                raise TimeoutError(f"not within {timeout} s; seen: {dict(self.counts())}")

    def wait_for(self, path: str, n: int = 1, timeout: float = 30) -> None:
        """Waits until `n` requests for a path have come."""
        self.wait_until(lambda: self.count(path) >= n, timeout)

    def forget_seen(self) -> None:
        self.seen.clear()

    # -- faults

    def heal(self) -> None:
        """Ends all faults that were ordered and have not come."""
        self._faults.clear()

    def fail_next(
        self,
        times: int = 1,
        status: int = 503,
        retry_after: float | str | None = None,
        *,
        path: str | None = None,
        when: Callable[[Seen], bool] | None = None,
        body: bytes = b"",
        content_type: str = "application/json",
    ) -> None:
        """The next `times` requests for `path` are answered with a status; nothing is done."""
        self._faults.append(
            Fault(
                times,
                self._fits(path, when),
                status=status,
                retry_after=None if retry_after is None else str(retry_after),
                body=body,
                content_type=content_type,
            )
        )

    def cut_next(
        self,
        times: int = 1,
        moment: Moment = "before",
        *,
        path: str | None = None,
        when: Callable[[Seen], bool] | None = None,
    ) -> None:
        """The next `times` connections that ask for `path` are cut."""
        self._faults.append(Fault(times, self._fits(path, when), cut=moment))

    @contextlib.contextmanager
    def hold(self, path: str) -> Iterator[None]:
        """Requests for `path` wait, unanswered, until the block ends."""
        self._holds[path] = asyncio.Event()
        try:
            yield
        finally:
            self.release(path)

    def release(self, path: str | None = None) -> None:
        for held in [path] if path else list(self._holds):
            if event := self._holds.pop(held, None):
                self._loop.call_soon_threadsafe(event.set)

    def delay(self, seen: Seen) -> float:
        """How many seconds this request waits before it is served."""
        return 0

    def _fits(
        self, path: str | None, when: Callable[[Seen], bool] | None
    ) -> Callable[[Seen], bool]:
        wanted = path or self.fault_path
        return lambda seen: seen.path == wanted and (when is None or when(seen))

    def _next_fault(self, seen: Seen) -> Fault | None:
        for fault in self._faults:
            if fault.left > 0 and fault.fits(seen):
                fault.left -= 1
                return fault
        return None

    # -- ASGI

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        seen = scope["seen"] = await self._record(scope, receive)
        if hold := self._holds.get(seen.path):
            await hold.wait()
        if delay := self.delay(seen):
            await asyncio.sleep(delay)
        if self.wall is not None and self.wall(seen):
            page = Fault(0, self.wall, status=403, body=WALL, content_type="text/html")
            await self._refuse(page, self._watched(seen, send))
            return
        fault = self._next_fault(seen)
        cut = None if fault is None else fault.cut
        if cut == "before":
            self._cut(scope)
            return
        if fault is not None and fault.status:
            await self._refuse(fault, self._watched(seen, send))
            return
        await self.serve(
            scope,
            _replay(seen.body, receive),
            _Cutting(scope, self._cut, send, cut) if cut else self._watched(seen, send),
        )

    async def serve(self, scope: Any, receive: Any, send: Any) -> None:
        """Hands a recorded request on to the application."""
        await self._inner(scope, receive, send)

    async def _record(self, scope: Any, receive: Any) -> Seen:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        seen = Seen(
            method=scope["method"],
            path=scope["path"],
            query=dict(parse_qsl(scope["query_string"].decode(), keep_blank_values=True)),
            headers={key.decode(): value.decode("latin-1") for key, value in scope["headers"]},
            body=body,
        )
        with self._changed:
            self.seen.append(seen)
            self._changed.notify_all()
        return seen

    def _watched(self, seen: Seen, send: Any) -> Any:
        async def watched(message: Any) -> None:
            if message["type"] == "http.response.start":
                with self._changed:
                    seen.status = message["status"]
                    self._changed.notify_all()
            await send(message)

        return watched

    async def _refuse(self, fault: Fault, send: Any) -> None:
        headers = [(b"content-type", fault.content_type.encode())]
        if fault.retry_after is not None:
            headers.append((b"retry-after", fault.retry_after.encode()))
        await send({"type": "http.response.start", "status": fault.status, "headers": headers})
        await send({"type": "http.response.body", "body": fault.body})

    @staticmethod
    def _cut(scope: Any) -> None:
        _Protocol.open_transports[tuple(scope["client"])].abort()


class _Cutting:
    """A ``send`` that cuts the connection in place of the answer, or in the middle of its body."""

    def __init__(self, scope: Any, cut: Callable[[Any], None], send: Any, moment: Moment) -> None:
        self._scope, self._cut, self._send, self._moment = scope, cut, send, moment
        self._done = False

    async def __call__(self, message: Any) -> None:
        if self._done:
            return
        begins = message["type"] == "http.response.start"
        if self._moment == "body" and begins:
            await self._send(message)
            return
        if self._moment == "body":
            body = message.get("body", b"")
            await self._send({**message, "body": body[: len(body) // 2], "more_body": True})
        elif begins or message.get("more_body"):
            return
        self._done = True
        self._cut(self._scope)


def _replay(body: bytes, receive: Any) -> Any:
    """The ``receive`` of a request whose body was read already."""
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Any:
        return pending.pop() if pending else await receive()

    return replayed
