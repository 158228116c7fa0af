"""A server's questions and long work in a real kernel."""

from __future__ import annotations

import json
import re
import threading

import pytest

from tests.asking import add_tools
from tests.driving.kernel import Notebook
from tests.peers import serve_tools


@pytest.fixture
def shop():
    with serve_tools(unguarded=True) as tools:
        add_tools(tools)
        yield tools


@pytest.fixture
def open_shop(start, shop):
    """Starts a kernel that is connected to the shop."""

    def open_shop(answers=None) -> Notebook:
        nb = start(person=None, answers=answers)
        nb.run(f"%mcp add shop {shop.url}")
        nb.run("%mcp connect shop")
        assert nb.value("shop.wait(20).status") == "connected"
        return nb

    return open_shop


def test_a_question_is_asked_in_the_cell_that_waits(open_shop):
    asked = []
    nb = open_shop(lambda prompt, masked: (asked.append((prompt, masked)), "Ada")[1])
    cell = nb.run("print(shop.tools.ask().data)")
    assert not cell.error
    assert asked == [("Name: ", False)]
    assert "shop asks, in ask:" in cell.text
    assert "What is your name?" in cell.text
    assert "Hello Ada" in cell.text


def test_where_nobody_can_be_asked_the_call_ends_at_once_and_says_why(open_shop):
    nb = open_shop()
    cell = nb.run("print(shop.tools.ask().data)", 10, allow_stdin=False)
    assert "no answer: cancel" in cell.text
    assert "shop asked: What is your name?" in cell.text
    assert "session.on_question" in cell.text
    nb.run("shop.on_question = lambda question: {'name': 'Ada'}")
    assert "Hello Ada" in nb.run("print(shop.tools.ask().data)", 10, allow_stdin=False).text


def test_stop_at_a_question_leaves_the_next_input_alone(open_shop):
    asked = threading.Event()

    def answer(prompt, masked):
        asked.set()
        return "me" if prompt == "Next: " else None

    nb = open_shop(answer)
    cell = nb.start("shop.tools.ask()")
    assert asked.wait(20)
    nb.interrupt()
    assert "KeyboardInterrupt" in cell.wait(20).error
    assert "me" in nb.run("print(input('Next: '))").text


def test_a_prompt_nobody_answers_does_not_hold_the_kernel(open_shop):
    nb = open_shop(lambda prompt, masked: None)
    nb.run("import mcp_notebook.waiting.elicitation as e; e.ANSWER_SECONDS = 0.5")
    cell = nb.run("print(shop.tools.ask().data)", 20)
    assert "no answer: cancel" in cell.text
    assert "The question is over" in cell.text
    assert "nobody answered in time" in cell.text
    assert nb.value("1 + 1") == 2


def test_an_awaited_question_is_a_form_that_keeps_no_answer(open_shop):
    nb = open_shop()
    cell = nb.start("answer = await shop.tools.ask.aio()")
    form = nb.wait_for_face("What is your name?")
    assert "shop" in form
    nb.type_into(nb.wait_for_widget("TextModel", lambda s: s["description"] == "Name"), "Zacharias")
    nb.click("Send")
    assert not cell.wait(20).error
    nb.wait_for_face("answered")
    assert nb.value("answer.data") == "Hello Zacharias"
    assert "Zacharias" not in json.dumps(nb.widgets)


def test_a_form_can_be_declined_while_the_kernel_does_other_things(open_shop):
    nb = open_shop()
    cell = nb.start(
        "import asyncio\n"
        "ticks = 0\n"
        "async def tick():\n"
        "    global ticks\n"
        "    while True:\n"
        "        ticks += 1\n"
        "        await asyncio.sleep(0.05)\n"
        "clock = asyncio.ensure_future(tick())\n"
        "print((await shop.tools.order.aio()).data)\n"
        "clock.cancel()"
    )
    nb.wait_for_face("What may it be?")
    nb.wait_for_face("Go ahead?")
    nb.click("Decline")
    assert "decline" in cell.wait(20).text
    assert nb.value("ticks") > 1


def test_long_work_is_a_bar_that_fills_and_goes(open_shop):
    nb = open_shop()
    cell = nb.start("shop.tools.slow(seconds=2.5, steps=5);")
    full = nb.wait_for_widget("FloatProgressModel", lambda state: state.get("value", 0) >= 0.4)
    assert full
    nb.wait_for_widget("HTMLModel", lambda state: re.search("step [234] of 5", state["value"]))
    assert not cell.wait(20).error
    assert [out["data"]["text/plain"] for out in cell.outputs] == ["… shop · slow"]
    nb.wait_for_widget("VBoxModel", lambda state: state["children"] == [])


def test_a_loop_over_slow_calls_has_one_place_for_its_bars(open_shop):
    nb = open_shop()
    open_now = "len(__import__('ipywidgets').widgets.widget._instances)"
    loop = "for n in range(3):\n    shop.tools.slow(seconds=0.8, steps=4)\n    time.sleep(0.5)"
    nb.run("import time")
    before = nb.value(open_now)
    cell = nb.run(loop)
    assert [out["data"]["text/plain"] for out in cell.outputs] == ["… shop · slow"]
    assert nb.value(open_now) == before + 2  # the place and its layout
    assert len(nb.run(loop).outputs) == 1  # another cell has a place of its own


def test_nothing_is_shown_of_what_is_short_or_where_nobody_looks(open_shop):
    nb = open_shop()
    assert not nb.run("shop.tools.echo(text='x');").outputs
    assert not nb.run("shop.tools.slow(seconds=1.5);", allow_stdin=False).outputs
