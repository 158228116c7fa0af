"""Terminal IPython: the same sign-in in lines of text, on a real pseudo-terminal."""

from __future__ import annotations

import threading

from tests.peers import visit


def test_a_person_signs_in_from_the_terminal(terminal, notes):
    child, run = terminal
    run("%load_ext mcp_notebook")
    assert "%mcp connect notes" in run(f"%mcp add notes {notes.url}")
    child.sendline("%mcp connect notes")
    child.expect(r"Open: (\S+)")
    link = child.match.group(1)
    child.expect(r"In \[\d+\]: ")
    assert "2" in run("1 + 1")

    child.sendline("notes.tools.add(a=2, b=3).data")
    child.expect("Waiting for the sign-in to notes")
    person = threading.Thread(target=visit, args=(link,))
    person.start()
    child.expect(r"Out\[\d+\]: 5")
    child.expect(r"In \[\d+\]: ")
    person.join()
    assert "connected" in run("notes.status.value")
    assert "→" in run("notes.tools.ad(a=1)")


def test_ctrl_c_stops_the_waiting_and_not_the_sign_in(terminal, notes):
    child, run = terminal
    run("%load_ext mcp_notebook")
    run(f"%mcp add notes {notes.url}")
    child.sendline("%mcp connect notes")
    child.expect(r"Open: (\S+)")
    link = child.match.group(1)
    child.expect(r"In \[\d+\]: ")
    child.sendline("notes.wait()")
    child.expect("Waiting for the sign-in to notes")
    child.sendintr()
    child.expect("KeyboardInterrupt")
    child.expect(r"In \[\d+\]: ")
    visit(link)
    assert "5" in run("notes.tools.add(a=2, b=3).data")
