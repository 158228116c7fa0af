"""A server's tools as something to read: a table that folds, or one in a terminal.

Made of what the last listing said; nothing is asked. What a tool does, and whether it only reads,
is the server's own word and is shown as such.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mcp_notebook.redaction import clean_lines, printable
from mcp_notebook.results import html, rendering
from mcp_notebook.results.blocks import Shown
from mcp_notebook.results.html import Html, tag
from mcp_notebook.schema import names
from mcp_notebook.schema.signature import Parameters

if TYPE_CHECKING:
    import mcp_types

_MAX_TOOLS = 300
_OPEN = 25
_LINE = 90
_NAMESAKES = 3


def find_tools(tools: Sequence[mcp_types.Tool], words: Sequence[str]) -> list[mcp_types.Tool]:
    """Returns the tools whose name, title or description has all the words, in any case."""

    def text(tool: mcp_types.Tool) -> str:
        return " ".join(filter(None, (tool.name, tool.title, tool.description))).casefold()

    wanted = [word.casefold() for word in words]
    return [tool for tool in tools if all(word in text(tool) for word in wanted)]


def show_tools(
    tools: Sequence[mcp_types.Tool],
    *,
    source: str,
    notes: Sequence[str] = (),
    of: int | None = None,
) -> Shown:
    """Returns the tools as text and as HTML.

    Args:
        tools: What the last listing said.
        source: The server's name.
        notes: Sentences below the table.
        of: How many there are in all, where these were searched for.
    """
    listed = tools[:_MAX_TOOLS]
    more = f"… {len(tools) - len(listed)} more" if len(tools) > len(listed) else ""
    headers = ["tool", "what the server says it does", "effects"]
    rows = [[call_of(tool), summary(tool), effects(tool)] for tool in listed]
    count = f"{len(tools)}" if of is None else f"{len(tools)} of {of}"
    title = f"{source}: {count} tool{'s' * ((of or len(tools)) != 1)}"
    if not tools:
        return Shown(title, html.remark(title))
    search = f"To find some: %mcp tools {source} WORD"
    search = search if of is None and len(tools) > _OPEN else ""
    below = [line for line in (more, search, *notes) if line]
    text = "\n".join([title, rendering.text_table(headers, rows), *below])
    markup = html.table(
        headers,
        [[_signature(tool), _about(tool), effects(tool)] for tool in listed],
        caption=title,
        fold=len(listed) > _OPEN,
    )
    return Shown(text, html.join([markup, *map(html.remark, below)]))


def namesakes(
    tools: Sequence[mcp_types.Tool], doubled: Sequence[str], *, path: str
) -> Iterator[str]:
    """Returns what a person should know of tools whose names are one, or nearly.

    Args:
        tools: What the last listing said.
        doubled: Names by which it has several.
        path: How the tools are written, such as ``notes.tools``.
    """
    for name in doubled[:_NAMESAKES]:
        yield f"It lists several tools called {printable(name, 60)!r}: the first is used."
    others = names.displaced(tool.name for tool in tools)
    for name, taken in list(others.items())[:_NAMESAKES]:
        yield f"{path}[{printable(name, 60)!r}] is another tool than {path}.{taken}."


def show_tool(tool: mcp_types.Tool, *, source: str) -> Shown:
    """Returns one tool with all that the server says about it."""
    about = Parameters.of(tool.name, tool.input_schema).docstring(tool.description or "")
    text = f"{source} · {call_of(tool)}\n{about}".rstrip()
    parts = [
        _signature(tool),
        html.remark(f"{source} · {effects(tool)}"),
        html.preformatted(about, rest="tool.description"),
    ]
    return Shown(text, html.join(parts))


def call_of(tool: mcp_types.Tool) -> str:
    """Returns how a tool is called, such as ``add(a: int, b: int)``."""
    signature = Parameters.of(tool.name, tool.input_schema).signature
    return f"{printable(tool.name, 60)}{signature}"


def summary(tool: mcp_types.Tool) -> str:
    """Returns the first line of what the server says the tool does."""
    return printable((tool.description or tool.title or "").strip().split("\n")[0], _LINE)


def effects(tool: mcp_types.Tool) -> str:
    """Returns what the server says about side effects; a hint, not a promise."""
    hints = tool.annotations
    if hints is None:
        return "not said"
    if hints.read_only_hint:
        return "reads only"
    said = []
    if hints.destructive_hint is not False:
        # The protocol's default: what is not said to be harmless may destroy.
        said.append("may destroy" if hints.destructive_hint is None else "destroys")
    else:
        said.append("writes")
    if hints.idempotent_hint:
        said.append("repeatable")
    return ", ".join(said)


def _signature(tool: mcp_types.Tool) -> Html:
    whole = call_of(tool)
    name = printable(tool.name, 60)
    return tag("code", tag("b", name), whole.removeprefix(name))


def _about(tool: mcp_types.Tool) -> Html:
    text = clean_lines(tool.description or tool.title or "").strip()
    first = summary(tool)
    if len(text) <= len(first) + 1:
        return html.escape(first)
    return html.details(first, html.preformatted(text, rest="tool.description"))
