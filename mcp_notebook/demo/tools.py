"""The demo's MCP server: tools over the elements, and one of each kind a client should meet."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

from mcp.server.auth.settings import AuthSettings
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
from mcp_types import ToolAnnotations
from pydantic import BaseModel, Field

from mcp_notebook._version import VERSION
from mcp_notebook.demo.authority import SCOPE, Authority
from mcp_notebook.demo.elements import Element, Quantity, elements, find, heat_map

INSTRUCTIONS = (
    "The chemical elements, to try a client on. `table` gives all of them as rows, `search` some, "
    "`element` one; `picture` draws the periodic table."
)
READ_ONLY = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)
CHANGING = ToolAnnotations(
    read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False
)
DESTRUCTIVE = ToolAnnotations(
    read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False
)
LONGEST_SECONDS = 60.0


class Guess(BaseModel):
    """The form that `ask` lets the client show."""

    symbol: str = Field(description="Its chemical symbol, such as Fe")
    sure: bool = Field(default=False, description="Are you sure?")


async def ask_guess() -> Elicit[Guess]:
    """The question of `ask`; both protocol eras can carry it."""
    return Elicit("Which metal is liquid at room temperature?", Guess)


def make_server(authority: Authority, *, resource: str) -> MCPServer[Any]:
    """Returns the server, guarded by an authorization server.

    Args:
        authority: Whose tokens it takes.
        resource: Its own URL; tokens for another resource are refused (RFC 8707).
    """
    server = MCPServer(
        "mcp_notebook-demo",
        title="The chemical elements",
        version=VERSION,
        instructions=INSTRUCTIONS,
        log_level="WARNING",
        token_verifier=authority,
        auth=AuthSettings.model_validate(
            {
                "issuer_url": authority.issuer,
                "resource_server_url": resource,
                "required_scopes": [SCOPE],
                "validate_token_resource": True,
            }
        ),
    )
    _add_data_tools(server)
    _add_small_tools(server)
    _add_long_tools(server)
    _add_favourites(server)
    _add_resources(server)
    return server


def _add_data_tools(server: MCPServer[Any]) -> None:
    @server.tool(annotations=READ_ONLY)
    def table(limit: Annotated[int, Field(ge=1, le=118)] = 118) -> list[Element]:
        """Gives the chemical elements as rows, by number."""
        return list(elements()[:limit])

    @server.tool(annotations=READ_ONLY)
    def search(
        text: Annotated[str, Field(description="Part of a name or symbol")] = "",
        block: Annotated[str, Field(description="s, p, d or f")] = "",
        discovered_after: Annotated[int | None, Field(description="A year")] = None,
        limit: Annotated[int, Field(ge=1, le=118)] = 20,
    ) -> list[Element]:
        """Finds elements. Every condition that is given must hold."""
        found = (
            e
            for e in elements()
            if text.casefold() in f"{e.name} {e.symbol}".casefold()
            and block.casefold() in ("", e.block)
            and (discovered_after is None or (e.discovered or 0) > discovered_after)
        )
        return list(found)[:limit]

    @server.tool(annotations=READ_ONLY)
    def element(
        symbol: Annotated[str, Field(description="Symbol, name or number")],
    ) -> Element:
        """Gives one element. Fails where there is none."""
        return _found(symbol)

    @server.tool(annotations=READ_ONLY)
    def picture(quantity: Quantity = "electronegativity") -> Image:
        """Draws the periodic table, coloured by a quantity: the lighter, the higher."""
        return Image(data=heat_map(quantity), format="png")


def _add_small_tools(server: MCPServer[Any]) -> None:
    @server.tool(annotations=READ_ONLY)
    def echo(text: str) -> str:
        """Says it back."""
        return text

    @server.tool(annotations=READ_ONLY)
    def add(a: int | float, b: int | float) -> int | float:  # 2 + 3 is 5, not 5.0
        """Adds two numbers."""
        return a + b

    @server.tool(annotations=READ_ONLY)
    def fail(message: str = "This tool always fails.") -> str:
        """Fails, to see what that looks like."""
        raise ToolError(message)


def _add_long_tools(server: MCPServer[Any]) -> None:
    @server.tool(annotations=READ_ONLY)
    async def slow(
        ctx: Context[Any, Any],
        seconds: Annotated[float, Field(ge=0, le=LONGEST_SECONDS)] = 3.0,
        steps: Annotated[int, Field(ge=1, le=100)] = 6,
    ) -> str:
        """Takes its time, and reports its progress."""
        for step in range(steps):
            await ctx.report_progress(step, steps, f"step {step + 1} of {steps}")
            await asyncio.sleep(seconds / steps)
        await ctx.report_progress(steps, steps, "done")
        return f"{steps} steps in {seconds:g} seconds"

    @server.tool(annotations=READ_ONLY)
    def ask(answer: Annotated[ElicitationResult[Guess], Resolve(ask_guess)]) -> str:
        """Asks you a question in the middle of the call."""
        if not isinstance(answer, AcceptedElicitation):
            return "No answer is an answer too."
        if answer.data.symbol.strip().casefold() in ("hg", "mercury"):
            return "Right: mercury melts at 234.3 K."
        guess = find(answer.data.symbol)
        if guess is None or guess.melting_k is None:
            return "No: it is mercury (Hg)."
        return f"No: {guess.name.lower()} melts at {guess.melting_k:g} K. It is mercury (Hg)."


def _add_favourites(server: MCPServer[Any]) -> None:
    favourites: dict[str, Element] = {}

    @server.tool(annotations=CHANGING)
    def remember(symbol: str) -> list[str]:
        """Adds an element to the favourites, which last as long as the server runs."""
        chosen = _found(symbol)
        favourites[chosen.symbol] = chosen
        return sorted(favourites)

    @server.tool(annotations=DESTRUCTIVE)
    def forget_all() -> int:
        """Deletes all favourites. There is no way back."""
        count = len(favourites)
        favourites.clear()
        return count


def _add_resources(server: MCPServer[Any]) -> None:
    @server.resource("elements://table", mime_type="text/csv")
    def csv_table() -> str:
        """All elements as CSV."""
        return Path(__file__).with_name("elements.csv").read_text("utf-8")

    @server.resource("elements://element/{symbol}", mime_type="application/json")
    def one_element(symbol: str) -> str:
        """One element as JSON."""
        return _found(symbol).model_dump_json(indent=2)

    @server.prompt()
    def compare(one: str, other: str) -> str:
        """Asks for a comparison of two elements."""
        facts = "\n".join(_found(symbol).model_dump_json() for symbol in (one, other))
        return f"Compare these two elements for a curious reader, in five sentences.\n\n{facts}"


def _found(symbol: str) -> Element:
    element = find(symbol)
    if element is None:
        raise ToolError(f"There is no element {symbol[:40]!r}.")
    return element
