"""The HTTP client below the SDK: bounded, patient where that is right, and never a killer.

An exception out of a request ends the SDK's whole session and every other call in it, and a
status above 399 reaches the caller as one and the same sentence. So `GuardedClient` lets nothing
of the kind through. It answers in the server's place: the one request that failed gets a JSON-RPC
error, whose real cause waits in `cause`; everybody else goes on. Notifications fail silently, as
they must. The stream a server talks on by itself is opened again and again, with growing pauses.

While a client is `opening` the first fault is the last: the SDK takes most errors of its probe
for the sign of an older server and goes on with the older protocol.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import httpx2
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR

from mcp_notebook._version import USER_AGENT
from mcp_notebook.client import answers, faults
from mcp_notebook.client.faults import SessionLostError, TooLargeError
from mcp_notebook.client.listening import Pace, QuietStream
from mcp_notebook.client.pools import Pool
from mcp_notebook.config.rules import check_server_url
from mcp_notebook.errors import ConnectionFailedError, MCPNotebookError

__all__ = ["GuardedClient", "Limits", "SessionLostError"]

MIB = 1024 * 1024
NOTICE_SECONDS = 5.0
"""For a notification: the SDK sends nothing else until it is through."""

GOODBYE_SECONDS = 1.0
"""For ending a session on the server (MCP 2025-11-25, transports), which is a courtesy."""

CAUSES = 1000
"""Causes remembered at most; one is forgotten when it is asked for."""

_CAUSE = "mcp_notebook/cause"
_MESSAGE = "mcp_notebook"
_OTHER_ERA = frozenset({400, 404, 405, 406, 410, 415, 422, 500, 501})
"""How servers that only know ``initialize`` answer ``server/discover``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one connection.

    Attributes:
        call_seconds: How long a call may take.
        open_seconds: How long opening a client may take, its sign-in not counted.
        result_bytes: The size of a JSON answer, decoded.
        event_bytes: The size of one server-sent event.
        retry_after_seconds: The longest wait a server may ask for that is waited out.
    """

    call_seconds: float = 300.0
    open_seconds: float = 60.0
    result_bytes: int = 64 * MIB
    event_bytes: int = 64 * MIB
    retry_after_seconds: float = 30.0


@dataclass(slots=True)
class _Opening:
    cause: MCPNotebookError | None = None
    probe: asyncio.Future[bool] | None = None


class GuardedClient(httpx2.AsyncClient):
    """The `httpx2.AsyncClient` handed to the SDK's transports."""

    def __init__(
        self,
        url: str,
        *,
        auth: httpx2.Auth | None = None,
        headers: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        insecure: bool = False,
        name: str = "",
        answers_elsewhere: bool = False,
    ) -> None:
        """Prepares the client; it is opened with ``async with``.

        Args:
            url: The server's endpoint.
            auth: Puts credentials on requests.
            headers: Sent with every request.
            limits: Bounds of size and time.
            insecure: Plain http to another machine is allowed.
            name: What errors call the server; its host by default.
            answers_elsewhere: Answers come on another stream, so what a POST is answered with
                does not matter (HTTP+SSE of 2024-11-05).

        Raises:
            ServerConfigError: The address may not be used.
        """
        check_server_url(url, insecure=insecure)
        self._address, self._url = url, httpx2.URL(url)
        self.name = name or self._url.host
        self.bounds = limits or Limits()
        self._elsewhere = answers_elsewhere
        self._opening: _Opening | None = None
        self._causes: OrderedDict[str, MCPNotebookError] = OrderedDict()
        self._paces: WeakKeyDictionary[asyncio.Task[Any], Pace] = WeakKeyDictionary()
        seconds = self.bounds.call_seconds
        super().__init__(
            auth=auth,
            # No brotli, no zstd: their bombs grow a thousandfold more than gzip's within a chunk.
            headers={
                "User-Agent": USER_AGENT,
                "Accept-Encoding": "gzip, deflate",
                **(headers or {}),
            },
            timeout=httpx2.Timeout(30.0, read=seconds, pool=seconds),
            transport=Pool(url),
        )

    # -- causes -------------------------------------------------------------------------------

    def cause(self, error: MCPError) -> MCPNotebookError | None:
        """Returns what stands behind an error this client answered with, once; else None."""
        data = error.data
        key = data.get(_CAUSE) if isinstance(data, dict) else None
        return self._causes.pop(key, None) if isinstance(key, str) else None

    def knows(self, error: MCPError) -> bool:
        """Tells whether this client answered with an error itself, and knows its cause."""
        return isinstance(error.data, dict) and error.data.get(_CAUSE) in self._causes

    def answered(self, response: httpx2.Response) -> bool:
        """Tells whether a response is this client's own answer rather than the server's."""
        return _MESSAGE in response.extensions

    @contextmanager
    def opening(self) -> Iterator[None]:
        """Makes the first fault final while a client is opened in the block.

        Raises:
            MCPNotebookError: That fault, in place of whatever the SDK made of it.
        """
        opening = self._opening = _Opening()
        try:
            yield
        except Exception as error:
            leaf = faults.leaf(error)
            cause = opening.cause or (self.cause(leaf) if isinstance(leaf, MCPError) else None)
            if cause is None:
                raise
            raise cause from None
        finally:
            self._opening = None

    # -- requests -----------------------------------------------------------------------------

    def build_request(self, method: str, url: httpx2.URL | str, **options: Any) -> httpx2.Request:
        """Builds a request that knows which JSON-RPC message it carries."""
        if url == self._address:
            url = self._url  # read once, and not for every call
        request = super().build_request(method, url, **options)
        message = options.get("json")
        if isinstance(message, dict):
            request.extensions[_MESSAGE] = (message.get("id"), message.get("method"))
        return request

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """Sends a request of the SDK's; a POST never raises."""
        if request.method == "GET":
            return await self._get(request, options)
        if request.method != "POST":
            return await self._goodbye(request, options)
        identity, method = request.extensions.get(_MESSAGE, (None, None))
        asks = identity is not None and method is not None
        seconds = self.bounds.call_seconds if asks else NOTICE_SECONDS
        try:
            if self._opening is not None:
                await self._check_opening(self._opening, method)
            return await self._post(request, options, asks=asks, seconds=seconds)
        except Exception as error:
            fault = faults.of_exception(error, self.name, seconds)
            return self._answer(request, identity, fault) if asks else answers.taken(request)

    async def _goodbye(self, request: httpx2.Request, options: dict[str, Any]) -> httpx2.Response:
        with suppress(Exception):
            async with asyncio.timeout(GOODBYE_SECONDS):
                return await super().send(request, **options)
        return httpx2.Response(204, request=request)

    async def _check_opening(self, opening: _Opening, method: str | None) -> None:
        if method == "initialize" and opening.probe is not None and not opening.probe.done():
            # The SDK has lost patience with the probe (10 s). That tells nothing of the era: the
            # credentials may have been renewed meanwhile, or the server may just have woken up.
            await asyncio.wait([opening.probe], timeout=self.bounds.open_seconds / 2)
            if opening.probe.done() and opening.probe.result() and opening.cause is None:
                opening.cause = ConnectionFailedError(
                    f"{self.name} answers slowly.", hint="Try again in a moment.", retry_after=0
                )
        if opening.cause is not None:
            raise opening.cause

    async def _post(
        self, request: httpx2.Request, options: dict[str, Any], *, asks: bool, seconds: float
    ) -> httpx2.Response:
        probe = self._begin_probe(request)
        answered = False
        try:
            async with asyncio.timeout(seconds) as clock:
                response = await super().send(request, **options | {"stream": True})
                kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
                if response.status_code >= 400:
                    return await self._refused(request, response)
                answered = True
                if self._elsewhere and response.status_code < 300:
                    await response.aclose()
                    return answers.taken(request)
                if not asks or (response.status_code >= 202 and not self._elsewhere):
                    return response
                if kind == "application/json":
                    return await self._whole(response, self.bounds.result_bytes)
                if kind == "text/event-stream":
                    clock.reschedule(None)  # events may go on; each read has its own clock
                    self._note_stream()
                    return response
                raise faults.of_content(response, await answers.beginning(response), self.name)
        finally:
            if probe is not None and not probe.done():
                probe.set_result(answered)

    def _begin_probe(self, request: httpx2.Request) -> asyncio.Future[bool] | None:
        if self._opening is None or request.extensions[_MESSAGE][1] != "server/discover":
            return None
        self._opening.probe = asyncio.get_running_loop().create_future()
        return self._opening.probe

    async def _whole(self, response: httpx2.Response, limit: int) -> httpx2.Response:
        """Reads an answer to its end, because the SDK dies of what may happen on the way."""
        try:
            if not self._encoded(response):
                response.stream = answers.Bounded(response, limit, self.name)
                await response.aread()
                return response
            body = await self._decoded(response, limit)
        finally:
            await response.aclose()
        headers = response.headers.copy()  # the session's identifier is among them
        for spent in ("content-encoding", "content-length", "transfer-encoding"):
            headers.pop(spent, None)
        return httpx2.Response(
            response.status_code, headers=headers, content=body, request=response.request
        )

    def _encoded(self, response: httpx2.Response) -> bool:
        encoding = response.headers.get("content-encoding", "").strip().lower()
        if encoding not in {"", "identity", "gzip", "deflate"}:
            raise ConnectionFailedError(
                f"{self.name} answered in an encoding it was not asked for.",
                hint="A proxy in between may have changed it. The call may have run.",
                may_have_run=True,
            )
        return encoding not in {"", "identity"}

    async def _decoded(self, response: httpx2.Response, limit: int) -> bytes:
        chunks, size = [], 0
        async for chunk in response.aiter_bytes():
            size += len(chunk)
            if size > limit:
                raise TooLargeError(self.name, limit)
            chunks.append(chunk)
        return b"".join(chunks)

    # -- faults -------------------------------------------------------------------------------

    async def _refused(self, request: httpx2.Request, response: httpx2.Response) -> httpx2.Response:
        """Passes a JSON-RPC error on, and raises what any other answer means."""
        text = await answers.beginning(response)
        said = answers.rpc_error(text)
        if answers.session_lost(request, response, said):
            raise SessionLostError(
                f"{self.name} has forgotten the session.", hint="It is opened again.", status=404
            )
        status = response.status_code
        if said is not None and status not in faults.PASSING | {401, 403}:
            return answers.plain(request, status, text.encode())
        raise faults.of_status(response, said["message"] if said else text, self.name)

    def _answer(
        self, request: httpx2.Request, identity: Any, fault: MCPNotebookError
    ) -> httpx2.Response:
        """Answers a request in the server's place, with an error that `cause` knows."""
        if self._opening is not None and _decides(fault):
            self._opening.cause = self._opening.cause or fault
        key = secrets.token_hex(8)
        self._causes[key] = fault
        if len(self._causes) > CAUSES:
            self._causes.popitem(last=False)
        error = {"code": INTERNAL_ERROR, "message": fault.message, "data": {_CAUSE: key}}
        body = json.dumps({"jsonrpc": "2.0", "id": identity, "error": error})
        answer = answers.plain(request, 200, body.encode())
        answer.extensions[_MESSAGE] = key
        return answer

    # -- streams ------------------------------------------------------------------------------

    def _note_stream(self) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._paces[task] = Pace(resumes=True)

    async def check_stream(self, response: httpx2.Response) -> None:
        """Raises what the answer to a GET means where it is no stream of events."""
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if response.status_code >= 400:
            raise faults.of_status(response, await answers.beginning(response), self.name)
        if response.status_code != 200 or kind != "text/event-stream":
            raise faults.of_content(response, await answers.beginning(response), self.name)

    async def _get(self, request: httpx2.Request, options: dict[str, Any]) -> httpx2.Response:
        """Opens a stream of events; the SDK handles what is raised.

        One task of the SDK's opens one stream after another, either to resume the answer of a
        request it posted or to listen to what the server says by itself. A server that closes
        each at once would keep it busy for ever, so the task is paced.
        """
        task = asyncio.current_task()
        assert task is not None
        pace = self._paces.setdefault(task, Pace())
        while True:
            if not await pace.wait():
                raise ConnectionFailedError(
                    f"{self.name} broke off the answer again and again.",
                    hint="The call may have run. A proxy in between may close what is silent.",
                    may_have_run=True,
                )
            try:
                response = await super().send(request, **options)
            except Exception:  # one and the same for the SDK
                if pace.resumes or self._elsewhere:
                    raise
                continue
            if response.status_code in faults.PASSING and not self._elsewhere:
                await response.aclose()
                continue
            if (
                not pace.resumes
                and not self._elsewhere
                and isinstance(response.stream, httpx2.AsyncByteStream)
            ):
                response.stream = QuietStream(response.stream)
            return response


def _decides(fault: MCPNotebookError) -> bool:
    """Tells whether a fault ends an opening, rather than being an older server's way to say no."""
    return not isinstance(fault, ConnectionFailedError) or fault.status not in _OTHER_ERA
