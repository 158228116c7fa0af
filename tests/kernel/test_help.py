"""Tab, Shift-Tab and ``?`` in a real kernel: for ``%mcp`` lines and for tools."""

from __future__ import annotations

import pytest

from tests.driving.kernel import Notebook
from tests.peers import serve_tools


@pytest.fixture(scope="module")
def nb(tmp_path_factory):
    """A kernel that is connected to a server of many tools."""
    folder = tmp_path_factory.mktemp("help")
    env = {"MCP_NOTEBOOK_HOME": str(folder), "MCP_NOTEBOOK_TOKEN_STORE": "memory"}
    with serve_tools(unguarded=True) as tools:
        book = Notebook(env=env)
        book.run("%load_ext mcp_notebook")
        book.run(f"%mcp add notes {tools.url}")
        book.run("%mcp connect notes")
        assert book.value("notes.wait(20).status") == "connected"
        yield book
        book.close()


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("%mcp con", "%mcp connect"),
        ("%mcp ", "%mcp add"),
        ("%mcp connect no", "%mcp connect notes"),
        ("x = %mcp connect no", "x = %mcp connect notes"),
        ("%mcp connect notes --", "%mcp connect notes --as"),
        ("%mcp add x http://h/mcp --callback-h", "%mcp add x http://h/mcp --callback-host"),
        (
            "%mcp add x http://h/mcp --grant cl",
            "%mcp add x http://h/mcp --grant client_credentials",
        ),
        ("%mcp call notes ad", "%mcp call notes add"),
        ("%mcp call notes add ", "%mcp call notes add a="),
        ("%mcp store me", "%mcp store memory"),
        ("%%mcp ca", "%%mcp call"),
        ("notes.tools.ec", "notes.tools.echo"),
        ('notes.tools["ec', 'notes.tools["echo'),
        ("notes.tools.add(", "notes.tools.add(a="),
    ],
)
def test_tab_offers_what_could_come_next(nb, typed, offered):
    assert offered in nb.complete(typed)


def test_tab_after_the_tools_offers_tools_and_nothing_else(nb):
    offered = nb.complete("notes.tools.")
    assert "notes.tools.add" in offered
    assert not [name for name in offered if name.startswith("notes.tools._")]
    assert len(offered) == nb.value("len(notes.tools)")


def test_a_tool_is_explained_by_its_signature_and_description(nb):
    shown = nb.inspect("notes.tools.add")
    assert "add(a:" in shown.replace("Signature:", "").replace(" ", "").replace("\n", "")
    assert "*args" not in shown


def test_the_magic_explains_itself(nb):
    assert "%mcp demo" in nb.inspect("%mcp")
