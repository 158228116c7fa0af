"""Records: every answer of every server goes to the file before the caller has it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from mcp.shared.exceptions import MCPError

from mcp_notebook._version import VERSION
from mcp_notebook.config.places import end_of_lines
from mcp_notebook.config.servers import Server
from mcp_notebook.errors import MCPNotebookError
from mcp_notebook.recording import tape
from mcp_notebook.redaction import redact, without_concealed
from mcp_notebook.schema.digests import schema_digest

if TYPE_CHECKING:
    from mcp import Client
    from mcp_types import Tool
    from pydantic import BaseModel

R = TypeVar("R", bound="BaseModel")


class Recorder:
    """An open recording. Its methods may be called from any thread.

    Attributes:
        path: Where it is.
        answers: How many have been recorded; listings are not counted.
        left_out: How many could not be: they are nested too deeply.
        problem: Why nothing is recorded any more, or None.
    """

    def __init__(self, path: str | Path, *, replace: bool = False) -> None:
        """Opens a file, made if it is not there, for its owner alone.

        Args:
            path: Where.
            replace: Whether what it holds is dropped, rather than gone on with.

        Raises:
            MCPNotebookError: It cannot be written, or is there and is no recording.
        """
        self.path = Path(path).expanduser()
        self.answers = self.left_out = 0
        self.problem: MCPNotebookError | None = None
        self._lock = threading.Lock()
        self._met: dict[str, tape.Line] = {}
        self._schemas: dict[tuple[str, str], str] = {}
        if self.path.exists() and self.path.stat().st_size:
            next(tape.read(self.path), None)  # raises where it is none
        try:
            self._file = self._open(replace)
        except OSError as error:
            raise self._unwritten(error) from None
        self._write({"kind": tape.KIND, "format": tape.FORMAT, "by": VERSION, "at": tape.now()})

    def _open(self, replace: bool) -> Any:  # noqa: FBT001
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Appended to: two kernels may record to one file.
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | (os.O_TRUNC if replace else 0)
        file = os.fdopen(os.open(self.path, flags, 0o600), "rb+")
        self.path.chmod(0o600)  # it may have been there before
        file.truncate(end_of_lines(file))
        return file

    def client(
        self, server: Server, client: Client, is_answer: Callable[[MCPError], bool]
    ) -> Client:
        """Returns an open client whose answers are recorded.

        Args:
            server: Whom it speaks to.
            client: The client.
            is_answer: Tells whether an error is the server's own answer.
        """
        self._meet(server, client)
        return cast("Client", Recorded(self, server.name, client, is_answer))

    def begin(self, server: Server, client: Client, tools: list[Tool]) -> None:
        """Takes note of a server that is connected already, and of its tools."""
        from mcp_types import ListToolsResult

        self._meet(server, client)
        self.keep(server.name, "tools/list", {}, ListToolsResult(tools=tools))

    def _meet(self, server: Server, client: Client) -> None:
        met = {
            "server": server.name,
            "url": redact(server.url),
            "serverInfo": _plain(client.server_info),
            "protocolVersion": client.protocol_version,
            "capabilities": _plain(client.server_capabilities),
            "instructions": client.instructions,
        }
        if self._met.get(server.name) != met:
            self._met[server.name] = met
            self._write({**met, "at": tape.now()})

    def keep(self, server: str, method: str, params: dict[str, Any], result: BaseModel) -> None:
        """Records an answer; it is in the file when this returns."""
        line: tape.Line = {"server": server, "request": method, "params": params}
        if method == "tools/list":
            found = getattr(result, "tools", ())
            self._schemas |= {(server, tool.name): schema_digest(tool) for tool in found}
        if method == "tools/call":
            line["schema"] = self._schemas.get((server, params["name"]))
        self._write({**line, "at": tape.now(), "result": _plain(result)})

    def fail(self, server: str, method: str, params: dict[str, Any], error: BaseModel) -> None:
        """Records an error the server answered with."""
        line = {"server": server, "request": method, "params": params, "at": tape.now()}
        self._write({**line, "error": _plain(error)})

    def close(self) -> None:
        """Ends the recording.

        Raises:
            MCPNotebookError: It is not whole.
        """
        with self._lock, contextlib.suppress(OSError):  # what could not be written is told below
            self._file.close()
        if self.problem is not None:
            raise self.problem

    @property
    def summary(self) -> str:
        """What is in the file, or why it is not whole; one sentence."""
        if self.problem is not None:
            return self.problem.message
        servers = ", ".join(sorted(self._met)) or "no server yet"
        size = self.path.stat().st_size if self.path.exists() else 0
        shown = f"{size / 1e6:,.1f} MB" if size > 1e6 else f"{size / 1e3:,.0f} kB"
        left_out = f" {self.left_out:,} are too deep to be written." if self.left_out else ""
        new = f"{self.answers:,} new answer{'s' * (self.answers != 1)}"
        return f"{self.path} has {new} ({servers}), {shown} in all.{left_out}"

    def _write(self, line: tape.Line) -> None:
        try:
            data = json.dumps(_without_secrets(line)).encode() + b"\n"
        except (ValueError, RecursionError):  # nested deeper than can be written
            self.left_out += 1
            return
        with self._lock:
            if self.problem is not None or self._file.closed:
                return
            try:
                self._file.write(data)
                self._file.flush()
            except OSError as error:  # the call has its answer all the same
                self.problem = self._unwritten(error)
            else:
                self.answers += "request" in line and not tape.lists(line["request"])

    def _unwritten(self, error: OSError) -> MCPNotebookError:
        return MCPNotebookError(
            f"{self.path.name} cannot be written ({error.strerror or type(error).__name__}): "
            "nothing is recorded.",
            hint="Make room, or choose another file: %mcp record FILE",
        )


class Recorded:
    """An open client whose answers are recorded; everything else of it is as it was."""

    def __init__(
        self,
        recorder: Recorder,
        server: str,
        client: Client,
        is_answer: Callable[[MCPError], bool],
    ) -> None:
        self._recorder = recorder
        self._server = server
        self._client = client
        self._is_answer = is_answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def keep(self, method: str, params: dict[str, Any], work: Awaitable[R]) -> R:
        """Awaits an answer, an error too, and records it."""
        recorder, asked = self._recorder, (self._server, method, params)
        try:
            result = await work
        except MCPError as error:
            if self._is_answer(error):
                await asyncio.to_thread(recorder.fail, *asked, error.error)
            raise
        await asyncio.to_thread(recorder.keep, *asked, result)
        return result

    async def call_tool(self, name: str, arguments: dict[str, Any], **options: Any) -> Any:
        """Calls a tool and records its answer."""
        work = self._client.call_tool(name, arguments, **options)
        return await self.keep("tools/call", {"name": name, "arguments": arguments}, work)

    async def read_resource(self, uri: str, **options: Any) -> Any:
        """Reads a resource and records what it is."""
        work = self._client.read_resource(uri, **options)
        return await self.keep("resources/read", {"uri": uri}, work)

    async def get_prompt(self, name: str, arguments: dict[str, Any]) -> Any:
        """Has a prompt filled in and records it."""
        work = self._client.get_prompt(name, arguments)
        return await self.keep("prompts/get", {"name": name, "arguments": arguments}, work)

    async def list_tools(self, **options: Any) -> Any:
        """Lists tools and records the page."""
        return await self._list("tools/list", self._client.list_tools, options)

    async def list_resources(self, **options: Any) -> Any:
        """Lists resources and records the page."""
        return await self._list("resources/list", self._client.list_resources, options)

    async def list_resource_templates(self, **options: Any) -> Any:
        """Lists templates and records the page."""
        fetch = self._client.list_resource_templates
        return await self._list("resources/templates/list", fetch, options)

    async def list_prompts(self, **options: Any) -> Any:
        """Lists prompts and records the page."""
        return await self._list("prompts/list", self._client.list_prompts, options)

    async def _list(
        self, method: str, fetch: Callable[..., Awaitable[Any]], options: dict[str, Any]
    ) -> Any:
        cursor = options.get("cursor")
        return await self.keep(method, {"cursor": cursor} if cursor else {}, fetch(**options))


async def kept(client: Client, method: str, params: dict[str, Any], work: Awaitable[R]) -> R:
    """Awaits an answer that was not asked for by one of the client's own methods."""
    return await (client.keep(method, params, work) if isinstance(client, Recorded) else work)


def _plain(model: BaseModel | None) -> Any:
    if model is None:
        return None
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


def _without_secrets(value: Any) -> Any:
    """Returns a JSON value without what is known to be a secret, which a server may repeat."""
    if isinstance(value, str):
        return without_concealed(value)
    if isinstance(value, dict):
        return {name: _without_secrets(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_without_secrets(item) for item in value]
    return value
