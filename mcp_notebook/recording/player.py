"""Replays: a recording answers in place of the servers, without network and without sign-in.

A call that was made several times has its answers in their order, and the last one again from then
on. Listings are as they were in the end. What was not recorded is an error that says so.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from mcp_notebook.config.servers import Server
from mcp_notebook.errors import NotRecordedError
from mcp_notebook.recording import tape
from mcp_notebook.redaction import printable

if TYPE_CHECKING:
    from mcp import Client
    from pydantic import BaseModel

M = TypeVar("M", bound="BaseModel")

A_PROGRAM = "(a program, which is not started)"


class Player:
    """A recording that is replayed.

    Attributes:
        path: Where it is.
        servers: The servers that were met, by name, as they were in the end.
    """

    def __init__(self, path: str | Path) -> None:
        """Reads a recording, and keeps where its answers are.

        Raises:
            MCPNotebookError: There is none, or it is damaged.
        """
        self.path = Path(path).expanduser()
        self.servers: dict[str, tape.Line] = {}
        self._calls: dict[bytes, _Call] = {}
        self._made: dict[tuple[str, str], list[bytes]] = {}
        run = 0
        for place, line in tape.read(self.path):
            if line.get("kind") == tape.KIND:
                run += 1
            elif "request" in line:
                self._index(line, place, run)
            elif "server" in line:
                self.servers[line["server"]] = line
        self._file = self.path.open("rb")

    def _index(self, line: tape.Line, place: int, run: int) -> None:
        method, params, server = line["request"], line["params"], line["server"]
        key = tape.call_key(server, method, params)
        if key not in self._calls:
            self._calls[key] = _Call()
            if not tape.lists(method):
                self._made.setdefault((server, _subject(method, params)), []).append(key)
        self._calls[key].add(place, run, lists=tape.lists(method))

    def server(self, name: str) -> Server:
        """Returns a server as it was recorded.

        Raises:
            NotRecordedError: It was not.
        """
        found = self.servers.get(name)
        if found is None:
            known = ", ".join(map(repr, self.servers)) or "no server"
            raise NotRecordedError(
                f"{name!r} is not in {self.path.name}, which has {known}.",
                hint=f"Record it too: %mcp replay off, then %mcp record {self.path}",
            )
        if found["url"]:
            return Server(name=name, url=found["url"], insecure=True)
        return Server(name=name, transport="stdio", command=(A_PROGRAM,))

    def client(self, server: str) -> Client:
        """Returns what answers in place of an open client."""
        return cast("Client", Replayed(self, self.servers[server]))

    def answer(self, server: str, method: str, params: dict[str, Any]) -> tape.Line:
        """Returns the line of a call.

        Raises:
            NotRecordedError: The call was not recorded.
        """
        call = self._calls.get(tape.call_key(server, method, params))
        if call is None:
            raise self._missing(server, method, params)
        return self._line(call.next())

    def _line(self, place: int) -> tape.Line:
        self._file.seek(place)
        return cast(tape.Line, json.loads(self._file.readline()))

    def _missing(self, server: str, method: str, params: dict[str, Any]) -> NotRecordedError:
        what = _subject(method, params)
        same = self._made.get((server, what), [])
        arguments = params.get("arguments")
        message = f"{printable(what, 100)} of {server} was not recorded"
        if same and arguments is not None:
            message += f" with {_shown(arguments)}"
        hint = f"Record it too: %mcp replay off, then %mcp record {self.path}, and call it."
        if same and arguments is not None:
            last = self._line(self._calls[same[-1]].places[-1])["params"]["arguments"]
            calls = f"{len(same):,} other call{'s' * (len(same) != 1)}"
            hint = f"It was recorded with {calls}, the last {_shown(last)}. {hint}"
        return NotRecordedError(f"{message}.", hint=hint)

    @property
    def summary(self) -> str:
        """What is in it; one sentence."""
        answers = sum(len(self._calls[key].places) for keys in self._made.values() for key in keys)
        return f"{self.path} answers, with {answers:,} calls of {', '.join(self.servers)}."

    def contents(self) -> list[list[str]]:
        """Returns what is in it: server, address, version, when it was met, how many answers."""
        counts = dict.fromkeys(self.servers, 0)
        for (server, _), keys in self._made.items():
            counts[server] = counts.get(server, 0) + sum(len(self._calls[k].places) for k in keys)
        return [
            [
                name,
                met["url"] or A_PROGRAM,
                printable(met["serverInfo"].get("version", ""), 40),
                met["at"],
                f"{counts[name]:,}",
            ]
            for name, met in self.servers.items()
        ]

    def close(self) -> None:
        """Closes the file; what is asked now is not answered any more."""
        self._file.close()


class _Call:
    """The answers of one call, as places in the file."""

    __slots__ = ("_answered", "_run", "places")

    def __init__(self) -> None:
        self.places: list[int] = []
        self._run = 0
        self._answered = 0

    def add(self, place: int, run: int, *, lists: bool) -> None:
        if run != self._run or lists:
            self.places = []
        self._run = run
        self.places.append(place)

    def next(self) -> int:
        place = self.places[min(self._answered, len(self.places) - 1)]
        self._answered += 1
        return place


class Replayed:
    """In place of an open client: what was recorded of one server."""

    def __init__(self, player: Player, met: tape.Line) -> None:
        import mcp_types as types

        self._player = player
        self._server: str = met["server"]
        self.server_info = types.Implementation.model_validate(met["serverInfo"], by_name=False)
        self.protocol_version: str = met["protocolVersion"]
        self.instructions: str | None = met["instructions"]
        self.server_capabilities = types.ServerCapabilities.model_validate(
            _lasting(met["capabilities"]), by_name=False
        )

    def _answer(self, method: str, params: dict[str, Any], kind: type[M]) -> M:
        from mcp.shared.exceptions import MCPError

        line = self._player.answer(self._server, method, params)
        if "error" in line:
            error = line["error"]
            raise MCPError(error["code"], error["message"], error.get("data"))
        return kind.model_validate(line["result"], by_name=False)

    async def call_tool(self, name: str, arguments: dict[str, Any], **_: Any) -> Any:
        """Returns the answer that the tool gave."""
        from mcp_types import CallToolResult

        params = {"name": name, "arguments": arguments}
        return self._answer("tools/call", params, CallToolResult)

    async def read_resource(self, uri: str, **_: Any) -> Any:
        """Returns what the resource was."""
        from mcp_types import ReadResourceResult

        return self._answer("resources/read", {"uri": uri}, ReadResourceResult)

    async def get_prompt(self, name: str, arguments: dict[str, Any]) -> Any:
        """Returns the prompt as it was filled in."""
        from mcp_types import GetPromptResult

        params = {"name": name, "arguments": arguments}
        return self._answer("prompts/get", params, GetPromptResult)

    async def list_tools(self, *, cursor: str | None = None, **_: Any) -> Any:
        """Returns a page of the tools."""
        from mcp_types import ListToolsResult

        return self._answer("tools/list", _page(cursor), ListToolsResult)

    async def list_resources(self, *, cursor: str | None = None) -> Any:
        """Returns a page of the resources."""
        from mcp_types import ListResourcesResult

        return self._answer("resources/list", _page(cursor), ListResourcesResult)

    async def list_resource_templates(self, *, cursor: str | None = None) -> Any:
        """Returns a page of the templates."""
        from mcp_types import ListResourceTemplatesResult

        method = "resources/templates/list"
        return self._answer(method, _page(cursor), ListResourceTemplatesResult)

    async def list_prompts(self, *, cursor: str | None = None) -> Any:
        """Returns a page of the prompts."""
        from mcp_types import ListPromptsResult

        return self._answer("prompts/list", _page(cursor), ListPromptsResult)


def _page(cursor: str | None) -> dict[str, Any]:
    return {"cursor": cursor} if cursor else {}


def _lasting(capabilities: dict[str, Any]) -> dict[str, Any]:
    """Returns what is offered without what only a live server can do: tell news, suggest."""
    kept = {name: value for name, value in capabilities.items() if name != "completions"}
    for name in ("tools", "resources", "prompts"):
        if name in kept:
            kept[name] = {}
    return kept


def _subject(method: str, params: dict[str, Any]) -> str:
    """Returns what a call is about: the tool's or prompt's name, the resource's address."""
    return str(params.get("name") or params.get("uri") or method)


def _shown(arguments: Any) -> str:
    return printable(json.dumps(arguments, ensure_ascii=False), 200)
