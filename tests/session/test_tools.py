"""A server's tools by their names, also while the names are not known yet."""

from __future__ import annotations

import pytest

from mcp_notebook.errors import UnknownToolError
from mcp_notebook.ipython.view import view_of
from tests.mapping import session_with
from tests.peers import serve_tools


@pytest.fixture
def tools():
    with serve_tools(unguarded=True) as server:
        server.add_tool("late-comer")
        yield server


def test_an_attribute_of_before_the_listing_is_the_tool_it_turns_out_to_name(tools):
    with session_with(tools.url) as session:
        tool = session.tools.late_comer
        assert tool.name == "late_comer"  # nobody knows better
        assert tool(text="x").text == "x"
        assert tool.name == "late-comer"


def test_an_item_of_before_the_listing_is_a_name(tools):
    with session_with(tools.url) as session:
        assert session.tools["late-comer"]().text == "hello"
        with pytest.raises(UnknownToolError) as caught:
            session.tools["late_comer"]
        assert "late-comer" in caught.value.hint


def test_a_batch_of_before_the_listing_is_the_last_of_its_tool(tools):
    with session_with(tools.url) as session:
        batch = session.tools.late_comer.map(["a", "b"], confirm=False)
        assert session.tools.late_comer.last_batch is batch
        assert session.tools["late-comer"].last_batch is batch
        again = session.tools["late-comer"].map(["c"], confirm=False)
        assert session.tools.late_comer.last_batch is again
        assert session.tools.echo.last_batch is None


def test_a_name_nobody_has_is_told_when_it_is_called(tools):
    with session_with(tools.url) as session:
        tool = session.tools.late_comers
        with pytest.raises(UnknownToolError, match="late_comers") as caught:
            tool()
        assert "late-comer" in caught.value.hint


def test_of_two_tools_by_one_name_the_first_is_used_and_that_is_said(tools):
    listed = tools.mcp.list_tools

    async def twice():
        first, *others = await listed()
        other = first.model_copy(update={"description": "Another."})
        return [first, *others, other, others[0]]  # the last one is merely repeated

    tools.mcp.list_tools = twice
    with session_with(tools.url) as session:
        session.wait(20)
        assert session.connection.doubled == ["echo"]
        assert [tool.name for tool in session.tools].count("echo") == 1
        assert session.tools.echo.description == "Says it back."
        assert "It lists several tools called 'echo': the first is used." in repr(session.tools)
        assert view_of(session).lines[1] == (
            "It lists several tools called 'echo': the first is used."
        )


def test_a_name_whose_identifier_is_another_tool_is_told_with_how_to_reach_it(tools):
    tools.add_tool("late_comer")
    with session_with(tools.url) as session:
        session.wait(20)
        assert session.tools.late_comer.name == "late_comer"
        assert session.tools["late-comer"].name == "late-comer"
        line = "peer.tools['late-comer'] is another tool than peer.tools.late_comer."
        assert repr(session.tools).splitlines()[-1] == line
        assert line in session.tools._repr_mimebundle_()["text/html"].replace("&#x27;", "'")
        assert line in view_of(session).lines
