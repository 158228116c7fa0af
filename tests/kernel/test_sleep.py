"""Processes that stand still for a while: the kernel's, as in a sleeping machine; the server's."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator

import httpx2
import pytest

from tests.driving.kernel import Notebook
from tests.peers import visit
from tests.peers.apart import peers_apart


@contextlib.contextmanager
def standing_still(pid: int) -> Iterator[None]:
    """Stops a process for the block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def add(nb: Notebook) -> int:
    return nb.value("notes.tools.add(a=2, b=3).data")


@pytest.fixture(scope="module")
def kernel(start_shared) -> Notebook:
    return start_shared(person=None)


@pytest.fixture
def nb(kernel, notes) -> Iterator[Notebook]:
    """The kernel of the module, which knows the server; nobody is in front of it."""
    kernel.person = None
    kernel.links.clear()
    kernel.widgets.clear()
    kernel.run(f"%mcp add notes {notes.url}")
    yield kernel
    kernel.run("%mcp remove notes")


def test_a_sign_in_whose_time_was_over_in_a_sleep_is_closed(nb, authority):
    nb.run("import mcp_notebook.auth.sign_in as module; module.DEADLINE = 2")
    nb.run("%mcp connect notes")
    nb.wait_for_link()
    with standing_still(nb.process.pid):
        time.sleep(2)  # the clocks go on
    assert "Nobody finished the sign-in to notes in time" in nb.wait_for_face("in time")
    with pytest.raises(httpx2.ConnectError):
        visit(nb.links[0])  # nobody listens there any more
    assert authority.count("/token") == 0

    nb.run("module.DEADLINE = 600")
    nb.person = visit
    nb.run("%mcp connect notes")
    assert add(nb) == 5


def test_a_click_that_comes_in_a_sleep_signs_in(nb, authority):
    nb.run("%mcp connect notes")
    link = nb.wait_for_link()
    with standing_still(nb.process.pid):
        person = threading.Thread(target=visit, args=(link,))
        person.start()
        authority.wait_until(lambda: authority.count("/authorize", "POST") == 1)
    person.join(10)
    assert add(nb) == 5
    assert len(nb.links) == 1


def test_a_session_whose_token_and_connections_ended_in_a_sleep_goes_on(nb, notes, authority):
    nb.person = visit
    nb.run("%mcp connect notes")
    assert add(nb) == 5
    with standing_still(nb.process.pid):
        notes.restart()
        authority.expire_access()
    assert add(nb) == 5
    assert authority.grants_made == ["authorization_code", "refresh_token"]
    assert len(nb.links) == 1


def test_a_server_that_stands_still_is_waited_for_and_can_be_given_up(kernel):
    nb = kernel
    with peers_apart(tools={"unguarded": True}) as peers:
        nb.run(f"%mcp add notes {peers.url}")
        nb.run("%mcp connect notes")
        assert add(nb) == 5
        with standing_still(peers.pid):
            given_up = nb.start("print('begun')\nnotes.tools.write(text='x')")
            given_up.shown.wait(10)
            nb.interrupt()
            assert "KeyboardInterrupt" in given_up.wait(2).error
            patient = nb.start("print('begun')\nnotes.tools.write(text='y').data")
            patient.shown.wait(10)
        assert "y" in patient.wait(20).text
        assert add(nb) == 5
        nb.run("%mcp remove notes")
