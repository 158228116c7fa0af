"""Servers that ask back, sessions with them, and front ends that note what they are asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

from mcp.server.mcpserver import (
    AcceptedElicitation,
    Context,
    Elicit,
    ElicitationResult,
    Resolve,
)
from mcp_types import ElicitRequestFormParams, ElicitRequestURLParams
from pydantic import BaseModel, Field

from mcp_notebook.config.servers import Server
from mcp_notebook.session.session import Session
from mcp_notebook.waiting.elicitation import Asking
from mcp_notebook.waiting.frontend import FrontEnd
from mcp_notebook.waiting.progress import Progress, Progressing
from mcp_notebook.waiting.questions import Question
from mcp_notebook.workspace import Workspace
from tests.peers import ToolServer, serve_tools

SERVER = Server(name="shop", url="https://shop.example.com/mcp")


class Order(BaseModel):
    """One field of each kind that has a default (SEP-1034), and one that has none."""

    name: str = Field("Ada", title="Your name")
    count: int = Field(3, ge=1, le=9)
    weight: float = 2.5
    colour: Literal["red", "green"] = "green"
    gift: bool = False
    confirmed: bool = Field(title="Go ahead?")


async def ask_order() -> Elicit[Order]:
    return Elicit("What may it be?", Order)


def add_tools(tools: ToolServer) -> None:
    """Adds tools that ask and tell."""

    def order(answer: Annotated[ElicitationResult[Order], Resolve(ask_order)]) -> str:
        if isinstance(answer, AcceptedElicitation):
            return answer.data.model_dump_json()
        return answer.action

    async def chat(ctx: Context[Any, Any], lines: int = 3) -> str:
        for number in range(lines):
            await ctx.info(f"line {number}")
        await ctx.report_progress(lines, lines, "all said")
        return "done"

    async def visit(ctx: Context[Any, Any]) -> str:
        answer = await ctx.elicit_url("Pay here.", "https://pay.example.com/x?order=7", "e-1")
        return str(answer.action)

    for tool in (order, chat, visit):
        tools.mcp.add_tool(tool)


@contextmanager
def asking(front_end: FrontEnd | None = None, **knobs: Any) -> Iterator[tuple[Session, ToolServer]]:
    """A session with a server that asks, over HTTP."""
    with serve_tools(unguarded=True, **knobs) as tools:
        add_tools(tools)
        space = Workspace(front_end=front_end)
        space.book.add(Server(name="shop", url=tools.url))
        session = space.connect("shop").wait(20)
        try:
            yield session, tools
        finally:
            session.disconnect()


class Noting(FrontEnd):
    """Answers every question the same way, and notes what it is asked and shown, and where."""

    def __init__(self, **values: Any) -> None:
        self.values = values
        self.asked: list[Question] = []
        self.seen: list[Progressing] = []
        self.threads: set[threading.Thread] = set()

    def ask(self, asking: Asking) -> None:
        self.asked.append(asking.question)
        self.threads.add(threading.current_thread())
        asking.accept(self.values)

    def progress(self, progress: Progress) -> None:
        self.threads.add(threading.current_thread())
        self.seen.append(progress.look())


def form(message: str = "Well?", /, *, required: tuple[str, ...] = (), **fields: Any) -> Question:
    """A question with these fields."""
    schema = {"type": "object", "properties": fields, "required": list(required)}
    params = ElicitRequestFormParams(message=message, requested_schema=schema)
    return Question.of(params, SERVER, tool="buy")


def page(url: str, server: Server = SERVER) -> Question:
    """A question that is a page to open."""
    return Question.of(ElicitRequestURLParams(message="Look.", url=url), server)
