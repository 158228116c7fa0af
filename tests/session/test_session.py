"""A session in a person's hand: what it tells who reaches past it, and ``async with``."""

from __future__ import annotations

import copy

import pytest

import mcp_notebook
from mcp_notebook.client.status import Status
from mcp_notebook.errors import ServerConfigError, UnknownNameError
from tests.mapping import session_with
from tests.peers import serve_tools


@pytest.fixture(scope="module")
def tools():
    with serve_tools(unguarded=True) as server:
        yield server


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("add", ".tools.add"),
        ("call_tool", ".tools.NAME"),
        ("tool", ".tools"),
        ("disconect", ".disconnect"),
        ("zzz", ".tools"),
    ],
)
def test_an_attribute_people_try_tells_the_way(tools, name, told):
    with session_with(tools.url) as session:
        session.wait()
        with pytest.raises(AttributeError) as caught:
            getattr(session, name)
    assert isinstance(caught.value, UnknownNameError)
    assert told in caught.value.hint


def test_looking_for_a_strange_attribute_is_no_error(tools):
    with session_with(tools.url) as session:
        assert not hasattr(session, "_repr_html_")
        with pytest.raises(TypeError, match="live"):
            copy.copy(session)


@pytest.mark.anyio
async def test_an_async_block_connects_and_disconnects(tools):
    with session_with(tools.url) as session:
        async with session as entered:
            assert entered is session
            assert (await session.tools.add.aio(a=1, b=2)).data == 3
        assert session.status is Status.DISCONNECTED


@pytest.fixture
def fresh(monkeypatch):
    """A script that has connected to nothing yet."""
    monkeypatch.setattr("mcp_notebook.workspace._current", None)


def test_a_script_names_a_server_by_its_address_once(tools, fresh):
    with mcp_notebook.connect("peer", tools.url) as session:
        assert session.tools.add(a=1, b=2).data == 3
    with mcp_notebook.connect("peer") as again, mcp_notebook.connect("peer", tools.url) as same:
        assert again is same
    with pytest.raises(ServerConfigError, match="another server already"):
        mcp_notebook.connect("peer", "http://127.0.0.1:9/mcp")


def test_an_address_in_place_of_a_name_is_explained(fresh):
    with pytest.raises(ServerConfigError) as caught:
        mcp_notebook.connect("https://mcp.example.com/mcp")
    assert "connect(NAME, URL)" in caught.value.hint
