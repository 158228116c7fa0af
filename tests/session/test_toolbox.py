"""A server's tools as a table: what the server says, escaped, and marked as its own word."""

from __future__ import annotations

import pytest
from mcp_types import Tool, ToolAnnotations

from mcp_notebook.session.toolbox import effects, find_tools, show_tool, show_tools

SCHEMA = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}


def tool(name: str = "find", description: str = "Finds it.", **hints: bool) -> Tool:
    annotations = ToolAnnotations(**hints) if hints else None
    return Tool(name=name, description=description, input_schema=SCHEMA, annotations=annotations)


def test_a_tool_is_listed_with_its_signature_and_first_line():
    shown = show_tools([tool(description="Finds it.\n\nSlowly.")], source="notes")
    assert "notes: 1 tool" in shown.plain
    assert "find(q: str)" in shown.plain
    assert "Slowly" not in shown.plain
    assert "<details>" in shown.markup  # the rest is folded away
    assert "Slowly" in shown.markup


def test_what_a_server_says_is_never_markup():
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    shown = show_tools([tool(name="a<b>", description=evil)], source="notes")
    assert "<script" not in shown.markup
    assert "<img" not in shown.markup
    assert "a&lt;b&gt;" in shown.markup
    assert "<script" not in show_tool(tool(description=evil), source="notes").markup


@pytest.mark.parametrize(
    ("hints", "said"),
    [
        ({}, "not said"),
        ({"read_only_hint": True}, "reads only"),
        ({"destructive_hint": True}, "destroys"),
        ({"destructive_hint": False, "idempotent_hint": True}, "writes, repeatable"),
        ({"read_only_hint": False}, "may destroy"),
    ],
)
def test_effects_are_the_servers_own_word(hints, said):
    assert effects(tool(**hints)) == said


def test_ten_thousand_tools_are_cut_and_folded():
    shown = show_tools([tool(name=f"t{n}") for n in range(10_000)], source="notes")
    assert "… 9700 more" in shown.plain
    assert shown.markup.count("<tr>") <= 301
    assert shown.markup.startswith("<details>")


def test_tools_are_found_by_all_words_of_name_and_description():
    tools = [
        tool("search_issues", "Finds open ISSUES."),
        tool("open_page", "Opens it."),
        tool("other", "Says nothing."),
    ]
    assert [found.name for found in find_tools(tools, ["open"])] == ["search_issues", "open_page"]
    assert [found.name for found in find_tools(tools, ["Issue", "open"])] == ["search_issues"]
    shown = show_tools(find_tools(tools, ["issue"]), source="notes", of=3)
    assert shown.plain.startswith("notes: 1 of 3 tools\n")
    assert show_tools([], source="notes", of=3).plain == "notes: 0 of 3 tools"


def test_many_tools_say_how_to_find_some():
    many = [tool(name=f"t{n}") for n in range(30)]
    assert "%mcp tools notes WORD" in show_tools(many, source="notes").plain
    assert "%mcp tools" not in show_tools(many, source="notes", of=90).plain
