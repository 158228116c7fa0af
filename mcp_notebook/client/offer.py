"""The tools that a server offers, each name once."""

from __future__ import annotations

from mcp import Client
from mcp_types import Tool

from mcp_notebook.client.pages import pages


async def list_tools(client: Client) -> list[Tool]:
    """Asks a server for its tools, all pages; one that has none is not asked."""
    if client.server_capabilities.tools is None:
        return []
    return await pages(
        lambda cursor: client.list_tools(cursor=cursor, cache_mode="refresh"), "tools"
    )


def each_once(tools: list[Tool]) -> tuple[list[Tool], list[str]]:
    """Returns of two tools by one name the first, and the names of those that differ."""
    first: dict[str, Tool] = {}
    for tool in tools:
        first.setdefault(tool.name, tool)
    doubled = {tool.name: None for tool in tools if tool != first[tool.name]}
    return list(first.values()), list(doubled)
