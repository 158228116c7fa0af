"""`%config MCPMagics.keep_loop_running`: the person's own tasks go on while a cell waits."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from mcp_notebook.ipython import waiting
from tests.driving.kernel import Notebook
from tests.peers import serve_tools

TICKER = """
import asyncio
ticks = 0
async def ticker():
    global ticks
    while True:
        await asyncio.sleep(0.02)
        ticks += 1
task = asyncio.create_task(ticker())
"""


@pytest.fixture(scope="module")
def notes():
    with serve_tools() as server:
        yield server


@pytest.fixture(scope="module")
def kernel(start_shared, notes) -> Notebook:
    """A kernel that is connected and has a task of the person's on its loop."""
    book = start_shared()
    book.run(f"%mcp add notes {notes.url}")
    book.run("%mcp connect notes")
    assert book.value("notes.wait(30).status") == "connected"
    assert not book.run(TICKER).error
    return book


@pytest.fixture
def nb(kernel, notes) -> Notebook:
    """The same for every test; the first one finds it as it was loaded."""
    notes.ran.clear()
    notes.cancelled.clear()
    return kernel


def counted(nb: Notebook, call: str) -> int:
    """Returns how often the person's task ran during a call."""
    return nb.value(f"(lambda before: ({call}, ticks - before)[1])(ticks)")


def test_the_persons_tasks_stand_still_unless_they_are_to_go_on(nb):
    slow = "notes.tools.slow(seconds=0.6, steps=2)"
    assert counted(nb, slow) == 0
    patched = nb.value("hasattr(asyncio, '_nest_patched')")
    assert not patched  # by default nothing is

    set_ = nb.run("%config MCPMagics.keep_loop_running = True")
    assert not set_.error
    assert not nb.value("hasattr(asyncio, '_nest_patched')")  # nor before the first wait
    assert counted(nb, slow) >= 10
    assert nb.value("notes.tools.add(a=2, b=3).data") == 5
    assert nb.value("(await notes.tools.add.aio(a=2, b=3)).data") == 5
    assert nb.run("await asyncio.sleep(0)\nnotes.tools.add(a=2, b=4).data").text == "6"

    nb.run("%config MCPMagics.keep_loop_running = False")
    assert counted(nb, slow) == 0


def test_cells_that_wait_their_turn_run_in_order(nb):
    nb.run("%config MCPMagics.keep_loop_running = True; order = []")
    nb.run("order = []")
    cells = [nb.start("order.append('begun'); notes.tools.slow(seconds=0.6, steps=2)")]
    cells += [nb.start(f"order.append({number})") for number in range(3)]
    cells += [nb.start("order.append(notes.tools.echo(text='late').data)")]
    for cell in cells:
        assert not cell.wait(20).error
    assert nb.value("order") == ["begun", 0, 1, 2, "late"]


@pytest.mark.parametrize("way", ["", "await asyncio.sleep(0)\n"], ids=["plain", "with await"])
def test_stop_ends_the_wait_and_no_task(nb, notes, way):
    nb.run("%config MCPMagics.keep_loop_running = True")
    call = nb.start(f"{way}notes.tools.slow(seconds=30)")
    notes.wait_for_tool("slow")
    nb.interrupt()
    assert "KeyboardInterrupt" in call.wait(3).error
    notes.wait_until(lambda: notes.cancelled == ["slow"])
    assert not nb.value("task.done()")
    assert counted(nb, "notes.tools.slow(seconds=0.6, steps=2)") >= 10


def test_stop_reaches_a_task_that_never_gives_the_loop_back(nb, notes):
    nb.run("%config MCPMagics.keep_loop_running = True")
    nb.run(
        "async def greedy():\n    begun.set()\n    while True: pass\n"
        "begun = __import__('threading').Event()"
    )
    call = nb.start("t = asyncio.create_task(greedy())\nnotes.tools.slow(seconds=30)")
    notes.wait_for_tool("slow")
    for _ in range(20):
        nb.interrupt()
        if call.done.wait(0.3):
            break
    call.wait(1)
    # A Stop that comes while IPython writes the first one down is told on standard error.
    assert "KeyboardInterrupt" in call.error + call.text
    assert nb.value("notes.tools.add(a=2, b=3).data") == 5


def test_a_question_is_asked_at_the_prompt_meanwhile(nb):
    nb.run("%config MCPMagics.keep_loop_running = True")
    nb.answers = lambda prompt, masked: "Ada"
    assert "Hello Ada" in nb.run("notes.tools.ask()", 20).text


def test_a_kernel_ends_as_fast_with_it(start, notes):
    nb = start()
    nb.run(f"%mcp add notes {notes.url}")
    nb.run("%mcp connect notes")
    nb.run("%config MCPMagics.keep_loop_running = True")
    assert nb.value("notes.tools.add(a=2, b=3).data") == 5
    process = nb.process
    nb.shut_down()
    assert process.returncode == 0  # it was not killed


def test_it_can_be_set_in_a_configuration_file(start, home, notes):
    profile = Path(home["IPYTHONDIR"], "profile_default")
    profile.mkdir(parents=True)
    (profile / "ipython_config.py").write_text("c.MCPMagics.keep_loop_running = True")
    nb = start()
    assert nb.value("get_ipython().run_line_magic('config', 'MCPMagics.keep_loop_running')")
    nb.run("%reload_ext mcp_notebook")
    assert nb.value("get_ipython().run_line_magic('config', 'MCPMagics.keep_loop_running')")
    nb.run("%unload_ext mcp_notebook")
    assert nb.value("__import__('mcp_notebook').waiting.wait.Wait.nested is None")


def test_it_is_refused_where_another_has_patched_asyncio(nb):
    nb.run("%config MCPMagics.keep_loop_running = False")
    nb.run("del asyncio._nest_asyncio2")  # what is left is what nest_asyncio 1.6 leaves
    refused = nb.run("%config MCPMagics.keep_loop_running = True")
    assert "nest_asyncio is at work" in refused.text
    assert not nb.value("get_ipython().run_line_magic('config', 'MCPMagics.keep_loop_running')")


@pytest.mark.parametrize(
    ("shell", "installed", "reason"),
    [
        (SimpleNamespace(kernel=object()), "7.0.0", ""),
        (SimpleNamespace(kernel=object()), "6.31.0", "can hang ipykernel 6.31.0"),
        (SimpleNamespace(kernel=None), "7.4.0", "only a notebook's kernel"),
    ],
)
def test_it_is_refused_with_the_reason(monkeypatch, shell, installed, reason):
    monkeypatch.setattr(waiting, "version", lambda name: installed)
    said = waiting.hindrance(shell)
    assert reason in said
    assert bool(said) == bool(reason)
