"""Tab, Shift-Tab and ``?`` in a real kernel: for ``%mcp`` lines and for tools."""

from __future__ import annotations

from typing import Literal

import pytest

from tests.driving.kernel import Notebook
from tests.peers import serve_tools


def paint(colour: Literal["red", "green"], *, dry: bool = False, coats: Literal[1, 2] = 1) -> str:
    """Paints."""
    return colour


@pytest.fixture(scope="module")
def nb(tmp_path_factory):
    """A kernel that is connected to a server of many tools."""
    folder = tmp_path_factory.mktemp("help")
    env = {"MCP_NOTEBOOK_HOME": str(folder), "MCP_NOTEBOOK_TOKEN_STORE": "memory"}
    with serve_tools(unguarded=True) as tools:
        tools.mcp.add_tool(paint)
        book = Notebook(env=env)
        book.run("%load_ext mcp_notebook")
        book.run(f"%mcp add notes {tools.url}")
        book.run("%mcp connect notes")
        assert book.value("notes.wait(20).status") == "connected"
        book.run("p = notes.prompts.compare")
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
        ("notes.prompts.com", "notes.prompts.compare"),
        ('notes.prompts["com', 'notes.prompts["compare'),
        ("notes.prompts.compare(", "notes.prompts.compare(one="),
        ("notes.resources.templates.pl", "notes.resources.templates.planet"),
        ('notes.resources["peers://p', 'notes.resources["peers://planets'),
        ('notes.tools.paint("r', 'notes.tools.paint("red'),
        ("notes.tools.paint(colour=", "notes.tools.paint(colour='red'"),
        ("notes.tools.paint('red', dry=", "notes.tools.paint('red', dry=True"),
        ("notes.tools['paint'].submit(coats=", "notes.tools['paint'].submit(coats=2"),
        ('notes.prompts.compare(one="Me', 'notes.prompts.compare(one="Mercury'),
        ("x = p('Mars', other='M", "x = p('Mars', other='Mercury"),
        ('notes.resources.templates.planet("V', 'notes.resources.templates.planet("Venus'),
    ],
)
def test_tab_offers_what_could_come_next(nb, typed, offered):
    assert offered in nb.complete(typed)


def test_what_is_given_already_is_not_suggested(nb):
    assert nb.complete("x = p('Mars', other='M") == ["x = p('Mars', other='Mercury"]


def test_a_value_of_somebody_elses_call_is_left_alone(nb):
    nb.run("def other(one): ...")
    assert not [found for found in nb.complete('other(one="M') if "Mars" in found]


def test_tab_after_the_tools_offers_tools_and_nothing_else(nb):
    offered = nb.complete("notes.tools.")
    assert "notes.tools.add" in offered
    assert not [name for name in offered if name.startswith("notes.tools._")]
    assert len(offered) == nb.value("len(notes.tools)")


def test_a_tool_is_explained_by_its_signature_and_description(nb):
    shown = nb.inspect("notes.tools.add")
    assert "add(a:" in shown.replace("Signature:", "").replace(" ", "").replace("\n", "")
    assert "*args" not in shown
    assert "Call signature" not in shown
    assert shown.count("Adds two whole numbers.") == 1


@pytest.mark.parametrize("expression", ["notes.prompts.compare", "p"])
def test_a_prompt_is_explained_by_its_signature_and_description(nb, expression):
    shown = nb.inspect(expression)
    assert "one: str" in shown
    assert "*args" not in shown
    assert "Call signature" not in shown
    assert shown.count("Asks for a comparison of two planets.") == 1


def test_the_magic_explains_itself(nb):
    assert "%mcp demo" in nb.inspect("%mcp")


def test_a_variable_is_not_filled_in_and_not_sent_as_it_is_written(nb):
    nb.run("word = 'hello'")
    for written in ("$word", "{word}"):
        refused = nb.run(f"%mcp call notes echo text={written}")
        assert "notes.tools['echo'](text=word)" in refused.error
    assert "$unheard" in nb.run("%mcp call notes echo text=$unheard").text


def test_a_session_takes_no_variable_of_the_persons(nb):
    nb.run("import time")
    address = nb.value("notes.url")
    nb.run(f"%mcp add time {address}")
    assert not nb.run("%mcp connect time").error
    assert nb.value("time.sleep(0) or time_.tools.add(a=1, b=2).data") == 3
    assert "as time_" in nb.run("time_.disconnect()\n%mcp connect time").text
    nb.run("del time\n%mcp connect time")
    assert nb.value("time.tools.add(a=1, b=2).data") == 3
    nb.run("%mcp remove time")


def test_tools_are_searched(nb):
    shown = nb.run("%mcp tools notes back SAYS").text
    assert shown.startswith("notes: 1 of ")
    assert "echo(text: str)" in shown
    assert "add(" not in shown
