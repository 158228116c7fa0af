"""The tools of the test server: one of each kind that a client must cope with."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

from mcp.server.mcpserver import (
    AcceptedElicitation,
    Context,
    Elicit,
    ElicitationResult,
    Image,
    MCPServer,
    Resolve,
)
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import (
    Completion,
    EmptyResult,
    SubscribeRequestParams,
    ToolAnnotations,
    UnsubscribeRequestParams,
)
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from pydantic import BaseModel, Field

from mcp_notebook.demo.png import png

if TYPE_CHECKING:
    from mcp.server.subscriptions import SubscriptionBus

    from tests.peers.tool_server import ToolServer

READ_ONLY = ToolAnnotations(read_only_hint=True)
ROWS = [
    {"name": "Mercury", "radius_km": 2439.7, "moons": 0},
    {"name": "Venus", "radius_km": 6051.8, "moons": 0},
    {"name": "Earth", "radius_km": 6371.0, "moons": 1},
    {"name": "Mars", "radius_km": 3389.5, "moons": 2},
]


class Name(BaseModel):
    name: str = Field(description="What you are called")


class Point(BaseModel):
    x: float
    y: float


async def ask_name() -> Elicit[Name]:
    return Elicit("What is your name?", Name)


def session_id(ctx: Any) -> str:
    """The session a message belongs to, in the old eras; empty where there is none."""
    return str(ctx.request.headers.get("mcp-session-id", ""))


def make_server(host: ToolServer, bus: SubscriptionBus) -> MCPServer[Any]:
    """Makes the MCP server; what is carried out is noted at `host`."""
    server = MCPServer(
        "peers", version="1.0", instructions="Try echo.", log_level="CRITICAL", subscriptions=bus
    )

    async def keep_sessions(ctx: Any, call_next: Any) -> Any:
        """Remembers the sessions of the old eras, to tell them of changes."""
        if ctx.method == "notifications/initialized":
            host.sessions[session_id(ctx)] = ctx.session
        return await call_next(ctx)

    server.middleware.append(keep_sessions)
    _values(server, host)
    _work(server, host)
    _effects(server, host)
    _things(server, host)
    for number in range(host.knobs.extra_tools):
        server.add_tool(_extra, name=f"extra_{number:04d}", description="One of many.")
    return server


def _extra(query: str, limit: int = 10) -> str:
    return query[:limit]


def _values(server: MCPServer[Any], host: ToolServer) -> None:
    @server.tool(annotations=READ_ONLY)
    def echo(text: str) -> str:
        """Says it back."""
        host.note("echo", {"text": text})
        return text

    @server.tool(annotations=READ_ONLY)
    def add(a: int, b: int) -> int:
        """Adds two whole numbers."""
        host.note("add", {"a": a, "b": b})
        return a + b

    @server.tool(annotations=READ_ONLY)
    def table(limit: int = 100) -> list[dict[str, Any]]:
        """Planets as rows."""
        host.note("table", {"limit": limit})
        return ROWS[:limit]

    @server.tool(annotations=READ_ONLY)
    def structured(x: float = 1, y: float = 2) -> Point:
        """One structured value."""
        host.note("structured", {"x": x, "y": y})
        return Point(x=x, y=y)

    @server.tool(annotations=READ_ONLY)
    def picture(width: int = 4, height: int = 3) -> Image:
        """A red picture."""
        host.note("picture", {"width": width, "height": height})
        return Image(data=png([b"\xff\x00\x00" * width] * height, width=width), format="png")

    @server.tool(annotations=READ_ONLY, structured_output=False)
    def big(n: int) -> str:
        """So many bytes of text."""
        host.note("big", {"n": n})
        return "x" * n


def _work(server: MCPServer[Any], host: ToolServer) -> None:
    @server.tool(annotations=READ_ONLY)
    async def slow(ctx: Context[Any, Any], seconds: float = 1, steps: int = 4) -> str:
        """Takes its time and reports progress."""
        host.note("slow", {"seconds": seconds, "steps": steps})
        try:
            for step in range(steps):
                await ctx.report_progress(step, steps, f"step {step} of {steps}")
                await asyncio.sleep(seconds / steps)
        except asyncio.CancelledError:
            host.note_cancelled("slow")
            raise
        return "done"

    @server.tool()
    def fail(message: str = "it broke") -> str:
        """Fails."""
        host.note("fail", {"message": message})
        raise ToolError(message)

    @server.tool()
    def ask(answer: Annotated[ElicitationResult[Name], Resolve(ask_name)]) -> str:
        """Asks for a name in the middle of the call."""
        host.note("ask", {})
        if isinstance(answer, AcceptedElicitation):
            return f"Hello {answer.data.name}"
        return f"no answer: {answer.action}"


def _effects(server: MCPServer[Any], host: ToolServer) -> None:
    @server.tool(annotations=ToolAnnotations(idempotent_hint=False, destructive_hint=True))
    def delete(name: str) -> str:
        """Says that it deletes something."""
        host.note("delete", {"name": name})
        return f"{name} is gone"

    @server.tool()
    def write(text: str) -> str:
        """Says nothing about whether it may be repeated."""
        host.note("write", {"text": text})
        return text

    @server.tool(annotations=READ_ONLY)
    def secret_tool() -> str:
        """Needs the scope ``admin``."""
        host.note("secret_tool", {})
        return "the secret is 42"

    @server.tool(annotations=READ_ONLY)
    def era(ctx: Context[Any, Any]) -> str:
        """Tells which protocol version this call came with."""
        version = str(ctx.protocol_version)
        host.note("era", {"legacy": version in HANDSHAKE_PROTOCOL_VERSIONS})
        return version


def _things(server: MCPServer[Any], host: ToolServer) -> None:  # noqa: C901 - a list of small tools
    @server.resource("peers://planets", mime_type="application/json")
    def planets() -> list[dict[str, Any]]:
        """All planets."""
        return ROWS

    @server.resource("peers://planets/{name}", mime_type="application/json")
    def planet(name: str) -> dict[str, Any]:
        """One planet."""
        return next(row for row in ROWS if row["name"] == name)

    @server.resource("peers://search{?query,limit}")
    def search(query: str = "", limit: str = "10") -> str:
        """What is found."""
        return f"{query} {limit}"

    @server.resource("peers://flag", mime_type="image/png")
    def flag() -> bytes:
        return png([b"\xff\x00\x00" * 4] * 3, width=4)

    @server.resource("peers://note", mime_type="text/html")
    def note() -> str:
        """A note that can be changed."""
        host.note("note", {})
        return host.note_text

    @server.prompt()
    def compare(one: str, other: str = "Earth") -> str:
        """Asks for a comparison of two planets."""
        return f"Compare {one} with {other}."

    @server.completion()
    async def complete(ref: Any, argument: Any, context: Any) -> Completion | None:
        host.note("complete", {"name": argument.name, "value": argument.value})
        if host.knobs.completion_seconds:
            await asyncio.sleep(host.knobs.completion_seconds)
        taken = (context.arguments or {}).values() if context is not None else ()
        names = [row["name"] for row in ROWS if row["name"] not in taken]
        return Completion(values=[name for name in names if name.startswith(argument.value)])

    async def subscribe(ctx: Any, params: SubscribeRequestParams) -> EmptyResult:
        host.note_subscribed(params.uri, session_id(ctx), on=True)
        return EmptyResult()

    async def unsubscribe(ctx: Any, params: UnsubscribeRequestParams) -> EmptyResult:
        host.note_subscribed(params.uri, session_id(ctx), on=False)
        return EmptyResult()

    low = server._lowlevel_server  # the high-level server of the SDK speaks only the new way
    low.add_request_handler("resources/subscribe", SubscribeRequestParams, subscribe)
    low.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, unsubscribe)
