"""Stop in the middle of a batch, in a real kernel: what is done is kept and shown, and goes on."""

from __future__ import annotations

import pytest

from tests.driving.kernel import Notebook
from tests.peers import serve_tools


@pytest.fixture(scope="module")
def tools():
    with serve_tools(unguarded=True) as tools:
        yield tools


@pytest.fixture(scope="module")
def nb(tools, tmp_path_factory):
    folder = tmp_path_factory.mktemp("batch")
    env = {"MCP_NOTEBOOK_HOME": str(folder), "MCP_NOTEBOOK_TOKEN_STORE": "memory"}
    book = Notebook(env=env, answers=lambda prompt, masked: "y")
    book.run("%load_ext mcp_notebook")
    book.run(f"%mcp add notes {tools.url}")
    book.run("%mcp connect notes")
    assert book.value("notes.wait(20).status") == "connected"
    yield book
    book.close()


@pytest.mark.parametrize(
    "code",
    ["notes.tools.slow.map([0.05] * 200)", "await notes.tools.slow.map([0.05] * 200, wait=False)"],
    ids=["plain", "await"],
)
def test_stop_keeps_what_is_done(nb, tools, code):
    before = tools.calls("slow")
    cell = nb.start(code)
    tools.wait_for_tool("slow", before + 20)
    nb.interrupt()
    cell.wait(20)
    assert cell.error
    done = nb.value("notes.tools.slow.last_batch.done")
    assert 10 <= done < 200
    if "await" not in code:
        assert f"{done} of 200 rows done" in cell.error
        assert "last_batch.resume()" in cell.error
        assert "File" not in cell.error
    assert nb.value("notes.tools.slow.last_batch.resume().done") == 200


def test_a_batch_at_the_end_of_a_cell_shows_itself(nb):
    cell = nb.run("notes.tools.echo.map(['a', 'b'])")
    data = cell.outputs[-1]["data"]
    assert "2 of 2 rows done" in data["text/plain"]
    assert "<table" in data["text/html"]


def test_the_guard_asks_at_the_prompt_of_the_cell(nb, tools):
    assert nb.value("notes.tools.delete.map(['a', 'b']).done") == 2
    assert tools.calls("delete") == 2
