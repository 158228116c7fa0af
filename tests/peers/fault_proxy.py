"""A TCP proxy in front of a real server that does to the next requests what networks do.

    with serve_faults(tools.port) as proxy:
        proxy.next(Reset("before"), Status(429, retry_after=1))   # the next two POSTs
        ...                                                       # proxy.url is the way through

It reads requests as bytes (HTTP/1.1 with ``Content-Length``, which is what our client sends) and
answers bytes, so a fault is a real one on a real socket: an RST is an RST. What a script does not
name passes unharmed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Status:
    """The proxy answers in the server's place."""

    code: int
    retry_after: float | str | None = None
    body: bytes = b"<html><head><title>Out of order</title></head></html>"
    content_type: str = "text/html"


@dataclass(frozen=True)
class Reset:
    """The connection is reset: before a byte was answered, or in the answer's body.

    Before: the server never sees the request. In the body: it has carried it out.
    """

    moment: Literal["before", "body"] = "before"


@dataclass(frozen=True)
class Delay:
    """The request waits before it goes on."""

    seconds: float


@dataclass(frozen=True)
class Hole:
    """Neither an answer nor an end comes; the server never sees the request."""


@dataclass(frozen=True)
class Lost:
    """The server carries the request out, and its answer is thrown away."""


@dataclass(frozen=True)
class Pass:
    """Nothing happens; takes a place in the script."""


Fault = Status | Reset | Delay | Hole | Lost | Pass


@dataclass
class Request:
    """One request that came through."""

    method: str
    path: str
    body: bytes = field(repr=False)
    fault: Fault | None = None

    @property
    def rpc(self) -> str:
        """The JSON-RPC method, or ``""``."""
        try:
            document = json.loads(self.body)
        except ValueError:
            return ""
        return str(document.get("method", "")) if isinstance(document, dict) else ""


class FaultProxy:
    """The proxy, on a loop and thread of its own.

    Attributes:
        seen: Every request, with what was done to it.
        connections: How many connections were made to it.
    """

    def __init__(self, port: int) -> None:
        self.target = port
        self.port = 0
        self.seen: list[Request] = []
        self.connections = 0
        self._script: deque[tuple[Callable[[Request], bool], Fault]] = deque()
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._thread = threading.Thread(target=self._loop.run_forever, name="faults", daemon=True)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return self.origin + "/mcp"

    def next(self, *faults: Fault, when: Callable[[Request], bool] | None = None) -> None:
        """What happens to the next requests that fit, in turn; POSTs if nothing is said."""
        fits = when or (lambda request: request.method == "POST")
        self._script.extend((fits, fault) for fault in faults)

    def wait_until(self, condition: Callable[[], bool], timeout: float = 30) -> None:
        """Waits until the condition holds; it is looked at after each request."""
        with self._changed:
            if not self._changed.wait_for(condition, timeout):
                raise TimeoutError(f"not within {timeout} s; seen: {self.seen}")

    # -- life

    def start(self) -> None:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        # A connection on its way to `_accept` when its server is closed would stay half made.
        for listener in self._server.sockets:
            self._loop.remove_reader(listener.fileno())
        await asyncio.sleep(0.01)
        await self._drop()
        self._server.close()

    def drop(self) -> None:
        """Closes every connection, as a server does with those that were idle too long."""
        asyncio.run_coroutine_threadsafe(self._drop(), self._loop).result(10)

    async def _drop(self) -> None:
        for task, writer in (before := dict(self._open)).items():
            task.cancel()
            writer.close()
        await asyncio.gather(*before, return_exceptions=True)

    # -- one connection

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = self._loop.create_task(self._serve(reader, writer))
        self._open[task] = writer
        task.add_done_callback(self._open.pop)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (head := await _head(reader)) is not None:
                request = await self._request(head, reader)
                if not await self._handle(request, head, reader, writer):
                    return
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            await _close(writer)

    async def _request(self, head: bytes, reader: asyncio.StreamReader) -> Request:
        method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        body = await reader.readexactly(_length(head))
        request = Request(method, path, body)
        for entry in self._script:
            if entry[0](request):
                self._script.remove(entry)
                request.fault = entry[1]
                break
        with self._changed:
            self.seen.append(request)
            self._changed.notify_all()
        return request

    async def _handle(
        self,
        request: Request,
        head: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        """Does to one request what is to be done; tells whether the connection goes on."""
        match request.fault:
            case Status() as status:
                writer.write(_answer(status))
                await writer.drain()
                return False
            case Reset("before"):
                _reset(writer)
                return False
            case Hole():
                await reader.read(1)  # until the client gives up
                return False
            case Delay(seconds):
                await asyncio.sleep(seconds)
        back, forth = await asyncio.open_connection("127.0.0.1", self.target)
        try:
            # The server closes after its answer, which tells its end whatever its framing.
            forth.write(head[:-2] + b"Connection: close\r\n\r\n" + request.body)
            await forth.drain()
            return await self._relay(request, back, reader, writer)
        finally:
            await _close(forth)

    async def _relay(
        self,
        request: Request,
        back: asyncio.StreamReader,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        head = await _head(back)
        if head is None or isinstance(request.fault, Lost):
            return False
        writer.write(re.sub(rb"(?i)connection: close\r\n", b"", head))
        while piece := await _piece(back, reader):
            if request.fault == Reset("body"):
                writer.write(piece[: len(piece) // 2])
                await writer.drain()
                _reset(writer)
                return False
            writer.write(piece)
            await writer.drain()
        return not reader.at_eof()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _piece(back: asyncio.StreamReader, reader: asyncio.StreamReader) -> bytes:
    """Reads a piece of the server's answer; nothing when either side has gone."""
    reading = asyncio.ensure_future(back.read(65536))
    try:
        while not reader.at_eof():
            done, _ = await asyncio.wait({reading}, timeout=0.02)
            if done:
                return reading.result()
        return b""
    finally:
        reading.cancel()


async def _head(reader: asyncio.StreamReader) -> bytes | None:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None


def _length(head: bytes) -> int:
    found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return int(found[1]) if found else 0


def _answer(status: Status) -> bytes:
    lines = [f"HTTP/1.1 {status.code} Out of order", f"Content-Type: {status.content_type}"]
    if status.retry_after is not None:
        lines.append(f"Retry-After: {status.retry_after}")
    lines += [f"Content-Length: {len(status.body)}", "Connection: close", "", ""]
    return "\r\n".join(lines).encode() + status.body


def _reset(writer: asyncio.StreamWriter) -> None:
    """Ends the connection with an RST: whoever lingers for no time does not say goodbye."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextlib.contextmanager
def serve_faults(port: int) -> Iterator[FaultProxy]:
    """Runs the proxy on a free port of 127.0.0.1, in front of another port, for the block."""
    proxy = FaultProxy(port)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
