"""Servers that are programs on this machine, in a real kernel: trust, start, crash and end."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import psutil
import pytest

from tests.driving.kernel import Notebook
from tests.peers.examples import program

pytestmark = pytest.mark.timeout(90, func_only=True)


def children(nb: Notebook) -> list[psutil.Process]:
    """Returns the programs that the kernel has started and that are alive."""
    return psutil.Process(nb.value("__import__('os').getpid()")).children(recursive=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """What the server of files may see."""
    folder = tmp_path_factory.mktemp("files").resolve()
    (folder / "table.csv").write_text("city,people\nOslo,700000\nRome,2800000\n")
    (folder / "song.txt").write_text("la\nlala\n")
    return folder


@pytest.fixture(scope="module")
def nb(tmp_path_factory, folder):
    """A kernel whose person has pasted what the servers' READMEs show."""
    node, files = program("server-filesystem")
    _, everything = program("server-everything")
    home = tmp_path_factory.mktemp("home")
    book = Notebook(
        env={
            "MCP_NOTEBOOK_HOME": str(home),
            "MCP_NOTEBOOK_TOKEN_STORE": "memory",
            "NODE_OF_TEST": node,
            "GREETING": "value-of-the-variable",
        }
    )
    try:
        assert not book.run("%load_ext mcp_notebook").error
        servers = {
            "files": {"command": node, "args": [files, str(folder)]},
            "everything": {
                "command": node,
                "args": [everything, "stdio"],
                "env": {"GREETING": "${GREETING}", "PLAIN": "written"},
            },
        }
        pasted = book.run(f"%%mcp add\n{json.dumps({'mcpServers': servers}, indent=2)}")
        assert "files (a program on this machine) is remembered." in pasted.text
        assert children(book) == []
        yield book
    finally:
        book.close()


def test_a_program_runs_only_after_its_command_was_shown_and_allowed(nb, folder):
    refused = nb.run("%mcp connect files")
    assert "was not allowed to be started yet" in refused.error
    assert shlex.join([*program("server-filesystem"), str(folder)]) in refused.error
    assert "%mcp trust files" in refused.error
    assert children(nb) == []

    nb.run("%mcp trust files")
    nb.run("%mcp connect files")
    assert nb.value("files.wait(20).status") == "connected"
    assert len(children(nb)) == 1


def test_trust_shows_the_names_of_variables_and_gives_the_program_their_values(nb):
    trusted = nb.run("%mcp trust everything").text
    assert "GREETING, PLAIN" in trusted
    assert "value-of-the-variable" not in trusted
    nb.run("%mcp connect everything")
    assert nb.value("everything.wait(20).tools.get_env().data['GREETING']").startswith("value-of")
    assert nb.value("everything.tools.get_env().data.get('NODE_OF_TEST')") is None


def test_files_are_read_and_written_through_a_program(nb, folder):
    nb.run("%mcp trust files\n".strip())
    nb.run("%mcp connect files")
    path = str(folder / "table.csv")
    nb.run(f"table = files.tools.read_text_file(path={path!r})")
    assert nb.value("table.text").startswith("city,people")
    assert nb.value("table.to_frame()['people'].sum().item()") == 3_500_000
    new = str(folder / "new.txt")
    nb.run(f"files.tools.write_file(path={new!r}, content='from a notebook')")
    assert Path(new).read_text() == "from a notebook"
    outside = nb.run("files.tools.read_text_file(path='/etc/hostname')")
    assert "ToolFailedError" in outside.error
    assert "outside allowed directories" in outside.error
    assert "destroys" in nb.run("%mcp tools files").text


def test_many_files_are_read_at_once(nb, folder):
    paths = [str(folder / name) for name in ("table.csv", "song.txt")]
    nb.run(f"batch = files.tools.read_text_file.map({paths!r})")
    assert "lala" in nb.run("batch.to_frame().to_csv()").text


def test_a_program_that_ends_at_once_is_quoted(nb, tmp_path):
    missing = tmp_path / "missing"
    nb.run(f"%mcp add lost -- {shlex.join(program('server-filesystem'))} {missing}")
    nb.run("%mcp trust lost")
    nb.run("%mcp connect lost")
    cell = nb.run("lost.tools.list_allowed_directories()")
    assert "The program of lost ended before it answered." in cell.error
    assert "None of the specified directories are accessible" in cell.error
    assert "Traceback" not in cell.error


def test_a_program_that_is_killed_is_started_again_by_the_next_call(nb):
    nb.run("%mcp trust everything")
    nb.run("%mcp connect everything")
    assert nb.value("everything.wait(20).tools.echo(message='one').text") == "Echo: one"
    [server] = [p for p in children(nb) if "server-everything" in " ".join(p.cmdline())]
    server.kill()
    server.wait(10)
    assert nb.value("everything.tools.echo(message='two').text") == "Echo: two"
    names = [" ".join(p.cmdline()) for p in children(nb)]
    assert sum("server-everything" in name for name in names) == 1


@pytest.fixture
def heard(nb, tmp_path):
    """Connects `taped`; returns what tells which messages its program has read."""
    tape = tmp_path / "tape"
    line = f"tee {shlex.quote(str(tape))} | {shlex.join([*program('server-everything'), 'stdio'])}"
    added = nb.run(f"%mcp add taped --replace -- sh -c {shlex.quote(line)}")
    assert "it is a shell" in added.text
    nb.run("%mcp trust taped")
    nb.run("%mcp connect taped")
    assert nb.value("taped.wait(20).status") == "connected"
    yield lambda: [json.loads(text) for text in tape.read_text().splitlines()]
    nb.run("%mcp disconnect taped")


def stop(nb: Notebook, call: str) -> None:
    """Presses Stop once a call is seen to be under way."""
    cell = nb.start(call)
    assert cell.shown.wait(20)
    nb.interrupt()
    assert "KeyboardInterrupt" in cell.wait(10).error
    assert nb.value("taped.tools.echo(message='after').text") == "Echo: after"


def test_stop_tells_the_program_to_cancel(nb, heard):
    stop(nb, "taped.tools.trigger_long_running_operation(duration=60, steps=60)")
    [asked] = [message for message in heard() if "trigger-long" in str(message)]
    cancelled = [m["params"] for m in heard() if m["method"] == "notifications/cancelled"]
    assert [params["requestId"] for params in cancelled] == [asked["id"]]


def test_stop_cancels_a_task(nb, heard):
    stop(nb, "taped.tools.simulate_research_query(topic='rome')")
    methods = {message["method"]: message.get("params") for message in heard()}
    assert methods["tasks/cancel"]["taskId"] == methods["tasks/result"]["taskId"]


def test_a_tool_that_runs_as_a_task_is_called_like_any_other(nb):
    nb.run("%mcp trust everything")
    nb.run("%mcp connect everything")
    nb.answers = lambda prompt, masked: "2" if prompt.startswith("Clarification") else ""
    cell = nb.run(
        "report = everything.tools.simulate_research_query(topic='python', ambiguous=True)"
    )
    nb.answers = None
    assert not cell.error
    assert "everything asks, in simulate-research-query:" in cell.text
    assert nb.value("report.text").startswith("# Research Report: python (snake)")
    nb.wait_for_widget("HTMLModel", lambda state: "Generating report" in state.get("value", ""))


def test_a_file_of_servers_in_the_notebooks_folder_is_not_read_unasked(nb, tmp_path):
    planted = tmp_path / "cloned"
    planted.mkdir()
    sign = tmp_path / "started"
    servers = {"planted": {"command": "touch", "args": [str(sign)]}}
    (planted / ".mcp.json").write_text(json.dumps({"mcpServers": servers}))
    (planted / "servers.json").write_text(json.dumps({"mcpServers": servers}))
    nb.run(f"import os; here = os.getcwd(); os.chdir({str(planted)!r})")
    nb.run("%reload_ext mcp_notebook")
    assert "planted" not in nb.run("%mcp").text
    assert "No server is called 'planted'" in nb.run("%mcp connect planted").error
    nb.run("os.chdir(here)")
    assert not sign.exists()


def test_a_file_of_servers_is_shown_first_and_starts_nothing(nb, tmp_path, folder):
    node, files = program("server-filesystem")
    path = tmp_path / "mcp.json"
    path.write_text(
        '{\n  // as an editor keeps it\n  "servers": {\n'
        f'    "docs": {{"command": {json.dumps(node)}, "args": '
        f"{json.dumps([files, str(folder)])}}},\n"
        '    "cloud": {"type": "http", "url": "https://mcp.example.com/mcp"},\n  }\n}'
    )
    before = len(children(nb))
    preview = nb.run(f"%mcp import {path}").text
    assert shlex.join([node, files, str(folder)]) in preview
    assert "https://mcp.example.com/mcp" in preview
    assert "Nothing was taken or started" in preview
    assert "docs" not in nb.run("%mcp").text

    assert "docs (a program on this machine)" in nb.run(f"%mcp import {path} docs").text
    assert "cloud" not in nb.run("%mcp").text
    assert len(children(nb)) == before
    assert "was not allowed" in nb.run("%mcp connect docs").error


@pytest.mark.parametrize("end", ["shutdown", "restart", "kill"])
def test_no_program_outlives_its_kernel(start, end):
    nb = start()
    nb.run(f"%mcp add everything -- {shlex.join([*program('server-everything'), 'stdio'])}")
    nb.run("%mcp trust everything")
    nb.run("%mcp connect everything")
    assert nb.value("everything.wait(20).status") == "connected"
    programs = children(nb)
    work = nb.start("everything.tools.trigger_long_running_operation(duration=60, steps=60)")
    assert work.shown.wait(20)
    assert programs
    {"shutdown": nb.shut_down, "restart": nb.restart, "kill": nb.kill}[end]()
    assert psutil.wait_procs(programs, timeout=10)[1] == []
