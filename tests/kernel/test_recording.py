"""A notebook that was recorded runs again: in another kernel, without server or network."""

from __future__ import annotations

import nbformat
import pytest
from nbclient import NotebookClient

from mcp_notebook.config.servers import Server
from mcp_notebook.workspace import Workspace
from tests.kernel.conftest import environment, kernels
from tests.kernel.test_secrets import secrets_of
from tests.peers import serve_tools

STUDY = [
    "notes.tools.add(a=2, b=3)",
    "notes.tools.picture(width=8, height=8)",
    "notes.tools.table(limit=4).to_frame()",
    "notes.tools.fail(message='no such luck')",
    "notes.tools.echo.map(['x', 'y', 'z']).to_frame()",
    "notes.resources.read('peers://note')",
    "[text for text in (notes.prompts.compare(one='Mars').text, notes.tools.era().text)]",
    "%mcp call notes add a=1 b=1",
    "notes.tools",
]

NO_NETWORK = """
import socket
def _refuse(*args):
    tried.append(args)
    raise OSError("the network is forbidden here")
tried = []
socket.socket.connect = socket.socket.connect_ex = _refuse
socket.getaddrinfo = _refuse
"""


def shown(cell) -> list:
    """What a saved notebook would hold of a cell; a bar is there or not, as the time goes."""
    kept = ("output_type", "data", "text", "traceback")
    return [
        {name: out[name] for name in kept if name in out}
        for out in cell.outputs
        if "application/vnd.jupyter.widget-view+json" not in out.get("data", {})
    ]


def test_a_recorded_notebook_runs_again_without_server_network_and_sign_in(
    start, notes, authority, tmp_path
):
    file = tmp_path / "study.jsonl"
    nb = start()
    nb.run(f"%mcp add notes {notes.url}")
    assert "from now on" in nb.run(f"%mcp record {file}").text
    nb.run("%mcp connect notes")
    first = [shown(nb.run(cell)) for cell in STUDY]
    assert "(notes)" in nb.run("%mcp record").text
    assert str(file) in nb.run("%mcp").text
    assert "has ended" in nb.run("%mcp record off").text
    content = file.read_text()
    assert not [secret for secret in secrets_of(authority, nb.links) if secret in content]
    notes.stop()
    authority.stop()
    with kernels(environment(tmp_path / "colleague")) as start_elsewhere:
        again = start_elsewhere(person=pytest.fail)
        again.run(NO_NETWORK)
        assert "notes" in again.run(f"%mcp replay {file}").text
        connected = again.run("%mcp connect notes\nnotes.wait()\nprint(notes)")
        assert "replay of study.jsonl" in connected.text
        assert [shown(again.run(cell)) for cell in STUDY] == first
        missing = again.run("notes.tools.add(a=40, b=2)").error
        assert "NotRecordedError" in missing
        assert "study.jsonl" in again.run("%mcp").text
        assert not (tmp_path / "colleague" / "home" / "servers.json").exists()
        for line in (f"add notes {notes.url}", "record x.jsonl", "doctor notes", "sign-out notes"):
            assert "this is a replay" in again.run(f"%mcp {line}").text
        assert again.value("tried") == []
        assert "disconnected" in again.run("%mcp replay off\nnotes.tools.add(a=2, b=3)").error


def test_an_unattended_run_replays_a_notebook_as_it_is(home, tmp_path, monkeypatch):
    file = tmp_path / "study.jsonl"
    with serve_tools(unguarded=True) as tools:
        space = Workspace()
        space.book.add(Server(name="notes", url=tools.url))
        space.record(file)
        space.connect("notes").wait(20).tools.add(a=2, b=3)
        space.record(None)
        space.disconnect("notes")
    for name, value in {**home, "MCP_NOTEBOOK_REPLAY": str(file)}.items():
        monkeypatch.setenv(name, value)
    code = [
        "%load_ext mcp_notebook",
        f"%mcp add notes {tools.url}",
        "%mcp record study.jsonl",
        "%mcp connect notes",
        "notes.tools.add(a=2, b=3).data",
    ]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(line) for line in code])
    ran = NotebookClient(book, timeout=60, kernel_name="python3").execute()
    assert ran.cells[-1].outputs[0]["data"]["text/plain"] == "5"
