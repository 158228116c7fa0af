"""A server whose tools change: what is said of it in a kernel and in a terminal, and when."""

from __future__ import annotations

import pytest
from mcp_types import ToolAnnotations

from tests.peers import serve_tools

TITLE = "1 tool of notes has changed since you used it last:"


@pytest.fixture
def free():
    """A server that asks for no sign-in."""
    with serve_tools(unguarded=True) as tools:
        yield tools


def replace_echo(server) -> None:
    """Makes another tool of ``echo``, and tells everybody."""

    def echo(text: str, team: str) -> str:
        """Says it back to <b>everybody</b>."""
        return text + team

    server.mcp.remove_tool("echo")
    server.mcp.add_tool(echo, annotations=ToolAnnotations(destructive_hint=True))
    server.run(server._tell_change())


def connect(nb, server) -> None:
    nb.run(f"%mcp add notes {server.url}")
    assert not nb.run("%mcp connect notes").error
    nb.wait_for_face("Connected, ")


def is_told(nb) -> bool:
    """Whether the card says that something has changed."""
    nb.run("notes.drifting._settle()")
    magics = "get_ipython().magics_manager.registry['MCPMagics']"
    return nb.value(f"{magics}.commands.front_end.view(notes).changes is not None")


def use_for_the_first_time(nb, server) -> None:
    """Connects, and leaves: a card that is still looked at would tell what changes after it."""
    connect(nb, server)
    assert not is_told(nb)
    nb.run("%mcp disconnect notes")


def begin_again(nb, **options) -> None:
    nb.restart()
    nb.widgets.clear()
    nb.run("%load_ext mcp_notebook", **options)


def test_a_changed_tool_is_told_once_on_the_card(start, free):
    nb = start()
    use_for_the_first_time(nb, free)
    replace_echo(free)

    begin_again(nb)
    connect(nb, free)
    plain, _, folded = nb.wait_for_face(TITLE).partition("<details>")
    assert "<b>echo</b>: may destroy something now; before: reads only" in plain
    assert "<b>echo</b>: needs a new argument team: str" in plain
    assert "<span>Says it</span> <del>back.</del> <ins>back to &lt;b&gt;everybody" in folded
    assert "has changed" not in nb.run("notes.tools.add(a=1, b=1)").text  # the card has told it
    assert "echo: needs a new argument team: str" in nb.run("notes.drift").text

    begin_again(nb)
    connect(nb, free)
    assert not is_told(nb)
    assert nb.value("len(notes.drift)") == 0


def test_what_ran_unattended_is_told_to_the_person_who_comes_after(start, free):
    nb = start()
    use_for_the_first_time(nb, free)
    replace_echo(free)
    for attended in (False, True):
        begin_again(nb, allow_stdin=attended)
        nb.run("%mcp connect notes", allow_stdin=attended)
        nb.wait_for_face(TITLE)
        is_told(nb)  # and has been written down
    begin_again(nb)
    connect(nb, free)
    assert not is_told(nb)


def test_a_tool_that_changes_in_the_middle_is_told_in_the_cell_of_the_next_call(start, free):
    nb = start()
    connect(nb, free)
    free.wait_until(
        lambda: any(one.rpc == "subscriptions/listen" and one.status for one in free.seen)
    )
    replace_echo(free)
    nb.run("import time\nwhile 'team' not in str(notes.tools.echo.__signature__): time.sleep(.01)")
    nb.run("notes.drifting._settle()")
    told = nb.run("notes.tools.add(a=1, b=1)").text
    assert "echo: needs a new argument team: str" in told
    assert "has changed" not in nb.run("notes.tools.add(a=1, b=1)").text


def test_a_terminal_prints_it_once(terminal, start, free):
    nb = start()
    use_for_the_first_time(nb, free)
    replace_echo(free)
    _, run = terminal
    run("%load_ext mcp_notebook")
    printed = run("%mcp connect notes")
    assert TITLE in printed
    assert "echo: may destroy something now; before: reads only" in printed
    assert "{+back to <b>everybody</b>.+}" in printed
    assert "changed" not in run("notes")
    assert "changed" not in run("notes.tools.add(a=1, b=1)")
