"""What a server asks in the middle of a call, from real servers of both eras."""

from __future__ import annotations

import asyncio
import json
import threading
import time

import pytest

import mcp_notebook
from mcp_notebook import AnswerError, ToolFailedError, accept_defaults
from mcp_notebook.config.servers import Server
from mcp_notebook.waiting import elicitation
from mcp_notebook.waiting.calls import Call, Calls
from mcp_notebook.waiting.elicitation import Asking, Questions
from mcp_notebook.waiting.frontend import FrontEnd
from mcp_notebook.waiting.wait import Wait
from tests.asking import SERVER, Noting, asking, form, page


@pytest.fixture(params=[False, True], ids=["2026", "2025"])
def legacy(request) -> bool:
    return request.param


@pytest.fixture
def shop(legacy):
    with asking(legacy=legacy) as (session, tools):
        yield session, tools


# -- prepared answers -------------------------------------------------------------------------


def test_a_prepared_answer_is_given_the_question_and_answers_it(shop):
    session, _ = shop
    seen = []

    def answer(question):
        seen.append(question)
        return {"name": "Ada"}

    session.on_question = answer
    assert session.tools.ask().data == "Hello Ada"
    (question,) = seen
    assert (question.server, question.tool) == ("shop", "ask")
    assert question.message == "What is your name?"
    assert question.schema["properties"]["name"]["type"] == "string"
    assert question.url is None


def test_none_declines(shop):
    session, _ = shop
    session.on_question = lambda question: None
    assert session.tools.ask().data == "no answer: decline"


def test_defaults_are_filled_in_and_what_has_none_is_agreed_to(shop):
    session, _ = shop
    session.on_question = mcp_notebook.accept_defaults
    assert json.loads(session.tools.order().text) == {
        "name": "Ada",
        "count": 3,
        "weight": 2.5,
        "colour": "green",
        "gift": False,
        "confirmed": True,
    }


def test_an_answer_that_does_not_fit_is_the_callers_error_and_never_sent(shop):
    session, _ = shop
    session.on_question = lambda question: {"name": "Ada", "count": 10, "confirmed": True}
    with pytest.raises(AnswerError, match="Count must be at most 9") as caught:
        session.tools.order()
    assert "10" not in str(caught.value)
    session.on_question = accept_defaults
    assert session.tools.order().text


def test_what_on_question_raises_is_raised_where_the_call_was_made(shop):
    session, _ = shop

    def fail(question):
        raise LookupError("mine")

    session.on_question = fail
    with pytest.raises(LookupError, match="mine"):
        session.tools.ask()


def test_on_question_runs_in_the_thread_that_waits(shop):
    session, _ = shop
    threads = []
    session.on_question = lambda question: threads.append(threading.current_thread())
    session.tools.ask()
    assert threads == [threading.current_thread()]


@pytest.mark.anyio
async def test_an_awaited_call_is_answered_too(shop):
    session, _ = shop
    session.on_question = lambda question: {"name": "Ada"}
    assert (await session.tools.ask.aio()).data == "Hello Ada"


def test_a_call_nobody_waits_for_yet_is_answered_beforehand(shop):
    session, _ = shop
    session.on_question = lambda question: {"name": "Ada"}
    pending = session.tools.ask.submit()
    done = threading.Event()
    pending._wait._future.add_done_callback(lambda _: done.set())
    assert done.wait(30)
    assert pending.result().data == "Hello Ada"


# -- front ends -------------------------------------------------------------------------------


def test_nobody_there_cancels_at_once_and_says_so_to_the_caller(shop, caplog):
    session, _ = shop
    began = time.monotonic()
    assert session.tools.ask().data == "no answer: cancel"
    assert time.monotonic() - began < 5
    (record,) = [r for r in caplog.records if r.name.startswith("mcp_notebook")]
    assert record.thread == threading.get_ident()
    assert "shop asked: What is your name?" in record.message
    assert "session.on_question" in record.message


def test_a_call_that_fails_for_want_of_an_answer_says_so(shop):
    session, tools = shop

    ask = tools.mcp._tool_manager.get_tool("ask")
    before = ask.fn

    def fail(**arguments: object) -> str:
        raise ValueError(before(**arguments))

    ask.fn = fail
    with pytest.raises(ToolFailedError) as caught:
        session.tools.ask()
    assert "on_question" in caught.value.hint


def test_a_front_end_asks_in_the_thread_that_waits(legacy):
    front_end = Noting(name="Ada")
    with asking(front_end, legacy=legacy) as (session, _):
        assert session.tools.ask().data == "Hello Ada"
    assert [question.tool for question in front_end.asked] == ["ask"]
    assert front_end.threads == {threading.current_thread()}


def test_calls_of_several_threads_ask_in_their_own(legacy):
    front_end = Noting(name="Ada")
    with asking(front_end, legacy=legacy) as (session, _):
        threads = [threading.Thread(target=session.tools.ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert front_end.threads == set(threads)


def test_stop_at_a_question_ends_the_call_and_nothing_else(legacy):
    class Stopping(Noting):
        def ask(self, asking):
            raise KeyboardInterrupt

    front_end = Stopping()
    with asking(front_end, legacy=legacy) as (session, _):
        with pytest.raises(KeyboardInterrupt):
            session.tools.ask()
        session.front_end = Noting(name="Ada")
        assert session.tools.ask().data == "Hello Ada"


def test_a_front_end_that_breaks_is_the_callers_error(legacy):
    class Broken(Noting):
        def ask(self, asking):
            raise ZeroDivisionError

    with asking(Broken(), legacy=legacy) as (session, _), pytest.raises(ZeroDivisionError):
        session.tools.ask()


def test_a_question_nobody_answers_is_cancelled_in_time(legacy, monkeypatch):
    class Absent(FrontEnd):
        def ask(self, asking):
            self.asking = asking

    monkeypatch.setattr(elicitation, "ANSWER_SECONDS", 0.3)
    front_end = Absent()
    with asking(front_end, legacy=legacy) as (session, _):
        assert session.tools.ask().data == "no answer: cancel"
    assert front_end.asking.over
    front_end.asking.accept({"name": "too late"})  # and nothing happens


def test_progress_is_not_shown_while_a_person_is_asked(legacy):
    class Slow(Noting):
        def ask(self, asking):
            threading.Timer(0.7, asking.accept, [{"name": "Ada"}]).start()

        def progress(self, progress):
            super().progress(progress)
            self.held = getattr(self, "held", False) or progress.held

    front_end = Slow()
    with asking(front_end, legacy=legacy) as (session, _):
        session.tools.ask()
    assert front_end.held
    assert not front_end.seen[-1].failed


# -- pages ------------------------------------------------------------------------------------


def test_a_page_is_accepted_without_content():
    seen = []

    def answer(question):
        seen.append(question)
        return {}

    with asking(legacy=True) as (session, _):
        session.on_question = answer
        assert session.tools.visit().data == "accept"
        session.on_question = accept_defaults
        assert session.tools.visit().data == "decline"
    assert seen[0].url == "https://pay.example.com/x?order=7"
    assert seen[0].host == "pay.example.com"


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "file:///etc/passwd",
        "data:text/html,hello",
        "http://pay.example.com/",
        "https://shop.example.com@evil.example/",
        "https://127.0.0.1/x",
        "https://169.254.169.254/x",
        "https://localhost/x",
        "https://0x7f.1/",
        "https://example.com/" + "x" * 8192,
        "https://exa\u0430mple.com/",
        "https://example.com\\@evil.example/",
        "//example.com/",
        "https://[::1/",
        "",
    ],
)
def test_a_page_nobody_should_open_is_never_shown(url):
    assert page(url).problem


def test_a_page_may_have_a_fragment_and_is_not_in_any_repr():
    question = page("https://pay.example.com/x?token=abc#part")
    assert not question.problem
    assert "abc" not in repr(question)


def test_what_a_host_hides_is_pointed_out():
    assert "letters" in page("https://xn--exmple-cua.com/").caution
    assert "number" in page("https://10.0.0.1/").caution
    assert not page("https://example.com/xn--").caution


def test_a_program_on_this_machine_may_name_a_page_of_this_machine():
    program = Server(name="local", command=("tool",))
    assert not page("http://127.0.0.1:8000/x", program).problem


# -- the value --------------------------------------------------------------------------------

NAME = {"type": "string"}


def test_an_answer_is_checked_field_by_field():
    question = form(name=NAME, age={"type": "integer"}, required=("name",))
    assert question.validate({"name": "Ada", "age": None}) == {"name": "Ada"}
    assert question.validate({"name": "Ada", "age": 7.0}) == {"name": "Ada", "age": 7}
    for wrong in ({}, {"name": 5}, {"name": "Ada", "nick": "A"}, {"name": "Ada", "age": "x"}):
        with pytest.raises(AnswerError):
            question.validate(wrong)


def test_defaults_are_no_answer_to_what_only_a_person_knows():
    assert accept_defaults(form(name=NAME, required=("name",))) is None
    assert accept_defaults(form(name=NAME)) == {}
    assert accept_defaults(page("https://example.com/")) is None


def test_defaults_take_the_first_choice_where_none_is_named():
    several = {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}}
    question = form(
        one={"type": "string", "enum": ["x", "y"]},
        some=several,
        maybe=several,
        required=("one", "some"),
    )
    assert accept_defaults(question) == {"one": "x", "some": ["a"]}


def test_an_answer_is_in_no_repr():
    assert "hush" not in repr(elicitation.Answer("accept", {"password": "hush"}))


def test_a_question_is_settled_once():
    open_question = Asking(form(name=NAME))
    over = []
    open_question.when_over(lambda: over.append(open_question.action))
    open_question.decline()
    open_question.accept({"name": "late"})
    open_question.cancel()
    assert over == ["decline"]


def test_an_answer_that_does_not_fit_leaves_the_question_open():
    open_question = Asking(form(name=NAME))
    with pytest.raises(AnswerError):
        open_question.accept({"nick": "A"})
    assert not open_question.over


# -- floods -----------------------------------------------------------------------------------


def test_a_flood_of_questions_is_asked_one_at_a_time_and_ten_at_the_most():
    open_now, most, total = [], [], []
    release = threading.Event()

    def ask(question: Asking) -> None:
        open_now.append(question)
        question.when_over(lambda: open_now.remove(question))
        most.append(len(open_now))
        total.append(question)
        release.wait(5)
        question.decline()

    calls = Calls()
    desk = Questions(SERVER, calls, ask)
    call = Call("shop", "flood")
    params = _params()

    async def flood():
        with calls.under_way(call):
            asked = [asyncio.ensure_future(desk.answer(params)) for _ in range(50)]
            await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            release.set()
            return await asyncio.gather(*asked)

    answers = Wait(flood()).result()
    assert max(most) == 1
    assert len(total) == elicitation.QUEUE
    assert [answer.action for answer in answers].count("cancel") == 40


def test_a_question_outside_any_call_is_cancelled_at_once():
    desk = Questions(SERVER, Calls(), lambda asking: asking.accept({}))

    async def ask():
        return await desk.answer(_params())

    assert asyncio.run(ask()).action == "cancel"


def _params():
    from mcp_types import ElicitRequestFormParams

    return ElicitRequestFormParams(message="Again?", requested_schema={"type": "object"})


# -- what is said about ourselves -------------------------------------------------------------


def test_both_kinds_of_question_are_announced(shop):
    session, tools = shop
    session.tools.echo(text="x")
    announced = [found for request in tools.seen for found in _find("elicitation", request.json)]
    assert announced
    assert all(said == {"form": {}, "url": {}} for said in announced)


def _find(name, document):
    for key, value in document.items():
        if key == name:
            yield value
        elif isinstance(value, dict):
            yield from _find(name, value)


def test_an_answer_that_is_no_function_is_told_at_once():
    with asking() as (session, _):
        with pytest.raises(mcp_notebook.AnswerUseError, match="int is no function") as caught:
            session.on_question = 3
        assert "lambda question" in caught.value.hint
        assert session.on_question is None
