"""Every example of the README, run from top to bottom in a kernel."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.prompts.base import Prompt
from mcp_types import ToolAnnotations

from tests.peers import serve_tools

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
ADDRESS = re.compile(r"https://(mcp\.linear\.app|notes\.example\.com)/mcp")


def get_issue(id: str) -> dict[str, str]:  # noqa: A002 - as Linear has it
    """Tells about an issue."""
    return {"issue": id}


def list_issues(query: str) -> list[dict[str, Any]]:
    """Finds issues."""
    return [{"issue": "LIN-1", "title": query}]


def search(query: str, limit: int = 10) -> list[dict[str, Any]]:
    """Finds it."""
    return [{"query": query, "number": number} for number in range(2)][:limit]


def odd(x: int) -> int:
    """Has a name that is none in Python."""
    return x


async def report(ctx: Context[Any, Any], year: int) -> str:
    """Takes its time."""
    await ctx.report_progress(1, 2)
    return f"The year {year}."


def extend(server: MCPServer[Any]) -> None:
    """Gives a server what the examples call."""
    harmless = ToolAnnotations(read_only_hint=True)
    for tool in (get_issue, list_issues, search, report):
        server.add_tool(tool, annotations=harmless)
    server.add_tool(odd, name="odd-name", annotations=harmless)
    server.resource("notes://today")(today)
    server.resource("notes://notes/{id}")(note)
    server.add_prompt(Prompt.from_function(summarize))


def today() -> str:
    """What there is today."""
    return "High water at noon."


def note(id: str) -> str:  # noqa: A002 - as the example has it
    """One note."""
    return f"Note {id}."


def summarize(topic: str) -> str:
    """Asks for a summary."""
    return f"Summarize {topic}."


def set_up(nb, server) -> None:
    """What a person has done before the examples."""
    for code in (
        f"%mcp add notes {server.url}",
        "import mcp_notebook, pandas",
        'df = pandas.DataFrame({"q": ["a", "b", "c"]})',
    ):
        assert not nb.run(code).error


def test_every_example_runs(start):
    with serve_tools(unguarded=True) as server:
        extend(server.mcp)
        nb = start(load=False)
        for block in BLOCKS:
            code = ADDRESS.sub(server.url, block)
            if "%load_ext" in code:
                assert not nb.run("%load_ext mcp_notebook").error
                set_up(nb, server)
            assert not nb.run("%mcp connect notes").error
            cell = nb.start(code)
            while ".watch(" in code and not cell.done.wait(0.2):
                server.run(server._tell_update("notes://today"))  # once it listens
            ran = cell.wait(60)
            assert not ran.error, f"{code}\n{ran.error}"
        assert not nb.run("%mcp connect notes").error
        assert "Summarize tides." in nb.run("notes.prompts.summarize(topic='tides')").text
        frame = nb.value("{k: list(map(str, v)) for k, v in found.to_frame().items()}")
        assert frame["q"] == ["a", "b", "c"]
        assert {"result", "error"} <= set(frame)
        assert nb.value("[report.done(), report.result().data]") == [True, "The year 2026."]
