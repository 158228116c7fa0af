"""A server's tools by their names, also while the names are not known yet."""

from __future__ import annotations

import pytest

from mcp_notebook.errors import UnknownToolError
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
