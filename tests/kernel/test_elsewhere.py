"""The same server in terminal IPython, and in a notebook that nobody looks at."""

from __future__ import annotations

import re
import shlex
import time

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from tests.peers.examples import program, serve_everything

pytestmark = pytest.mark.timeout(90, func_only=True)


def test_a_terminal_shows_results_asks_questions_and_stops(terminal):
    child, run = terminal
    run("%load_ext mcp_notebook")
    command = shlex.join([*program("server-everything"), "stdio"])
    assert "%mcp trust everything" in run(f"%mcp add everything -- {command}")
    run("%mcp trust everything")
    run("%mcp connect everything")
    assert "connected" in run("everything.wait(20).status.value")

    assert "everything · echo: Echo: hello" in run("everything.tools.echo(message='hello')")
    assert "[Picture 1: PNG, 20 × 20" in run("everything.tools.get_tiny_image()")
    assert '"humidity": 82' in run("%mcp call everything get-structured-content location=Chicago")
    assert "→" in run("everything.tools.get_sum(a=1)")

    child.sendline("said = everything.tools.trigger_elicitation_request()")
    child.expect("everything asks, in trigger-elicitation-request:")
    child.expect("String: ")
    child.sendline("Ada")
    child.expect(r"Boolean \(y/n\): ")
    child.sendline("maybe")
    child.expect(r"Boolean \(y/n\): ")  # asked again
    child.sendline("!decline")
    child.expect(r"In \[\d+\]: ")
    assert "User declined" in run("said.text")

    child.sendline("done = everything.tools.trigger_long_running_operation(duration=60, steps=60)")
    child.expect(r"[12] of 60")
    child.sendintr()
    child.expect("KeyboardInterrupt")
    child.expect(r"In \[\d+\]: ")
    assert "Echo: still here" in run("everything.tools.echo(message='still here').text")


@pytest.fixture
def execute(home, monkeypatch):
    """Runs cells as nbclient does: in a kernel of their own, with nobody to ask."""
    for name, value in home.items():
        monkeypatch.setenv(name, value)

    def execute(*cells: str) -> list[str]:
        book = nbformat.v4.new_notebook()
        book.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
        NotebookClient(book, timeout=40, kernel_name="python3").execute()
        return [_text(cell.outputs) for cell in book.cells]

    return execute


def _text(outputs: list) -> str:
    return "\n".join(
        out.get("text") or out.get("data", {}).get("text/plain", "") for out in outputs
    )


BEGIN = "%load_ext mcp_notebook"


def test_an_unattended_notebook_runs_from_top_to_bottom_at_once(execute):
    with serve_everything("streamableHttp") as url:
        shown = execute(
            BEGIN,
            f"%mcp add everything {url}",
            "%mcp connect everything",
            "everything.tools.get_structured_content(location='Chicago').to_frame()",
            "%mcp call everything get-tiny-image -o logo",
            "logo",
            "done = everything.tools.trigger_long_running_operation(duration=1, steps=2); done",
            "import mcp_notebook\neverything.on_question = mcp_notebook.accept_defaults",
            "everything.tools.trigger_elicitation_request()",
            "%mcp disconnect everything",
        )
    assert re.search(r"36 +Light rain", shown[3])
    assert "[Picture 1: PNG" in shown[5]
    assert "Long running operation completed" in shown[6]
    assert '"decline"' in shown[8]


def test_an_unattended_question_ends_the_call_at_once_and_says_how_to_answer(execute):
    with serve_everything("streamableHttp") as url:
        began = time.monotonic()
        shown = execute(
            BEGIN,
            f"%mcp add everything {url}",
            "%mcp connect everything",
            "everything.tools.trigger_elicitation_request()",
        )
        assert time.monotonic() - began < 25
    assert "everything asked: Please provide inputs for the following fields:" in shown[3]
    assert "session.on_question = f" in shown[3]
    assert '"cancel"' in shown[3]


def test_an_unattended_notebook_starts_no_program_that_was_not_allowed(execute):
    command = shlex.join([*program("server-everything"), "stdio"])
    with pytest.raises(CellExecutionError, match=r"%mcp trust everything"):
        execute(BEGIN, f"%mcp add everything -- {command}", "%mcp connect everything")
