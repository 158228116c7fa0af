"""Prompts as callables, with real servers of both eras."""

from __future__ import annotations

import inspect
import threading

import pytest
from mcp_types import GetPromptResult, PromptMessage, TextContent

from mcp_notebook.errors import MCPNotebookError, ToolArgumentError, UnknownNameError
from mcp_notebook.session.prompts import PromptResult
from tests.mapping import session_with
from tests.peers import serve_tools


@pytest.fixture(scope="module", params=[False, True], ids=["modern", "legacy"])
def tools(request):
    with serve_tools(unguarded=True, legacy=request.param) as server:
        yield server


@pytest.fixture
def session(tools):
    with session_with(tools.url) as opened:
        yield opened.wait(20)


def listings(tools) -> int:
    """How often the prompts have been listed."""
    return sum(seen.rpc == "prompts/list" for seen in list(tools.seen))


def test_a_prompt_is_called_like_a_function_and_answers_with_messages(session):
    result = session.prompts.compare("Mars", other="Venus")
    assert [message.role for message in result.messages] == ["user"]
    assert result.text == "Compare Mars with Venus."
    assert "user:\nCompare Mars with Venus." in result._repr_mimebundle_()["text/plain"]


def test_a_prompt_called_before_the_session_is_connected_waits_for_it(tools):
    with session_with(tools.url) as session:
        assert session.prompts.compare("Mars").text == "Compare Mars with Earth."


def test_a_prompt_has_a_signature_and_the_servers_words(session):
    prompt = session.prompts["compare"]
    signature = inspect.signature(prompt)
    assert list(signature.parameters) == ["one", "other"]
    assert signature.parameters["one"].default is inspect.Parameter.empty
    assert "Asks for a comparison" in prompt.__doc__


def test_wrong_arguments_are_told_before_anything_is_sent(session, tools):
    prompt = session.prompts.compare
    before = len(tools.seen)
    with pytest.raises(ToolArgumentError, match="did you mean 'one'"):
        prompt(on="Mars")
    with pytest.raises(ToolArgumentError, match="needs 'one'"):
        prompt()
    assert len(tools.seen) == before


def test_numbers_are_sent_as_text(session):
    assert session.prompts.compare(4, other=2.5).text == "Compare 4 with 2.5."


def test_an_unknown_prompt_is_an_attribute_error_that_names_the_nearest(session):
    with pytest.raises(AttributeError) as caught:
        session.prompts.compar  # noqa: B018
    assert isinstance(caught.value, UnknownNameError)
    assert "compare" in caught.value.hint
    with pytest.raises(KeyError) as nothing_near:
        session.prompts["nothing"]
    assert nothing_near.value.hint == "It has: compare."
    with pytest.raises(MCPNotebookError, match="looked up by its name") as no_name:
        session.prompts[3]
    assert no_name.value.hint == "It has: compare."


def test_an_unknown_prompt_is_found_out_when_it_is_called_too_early(tools):
    with session_with(tools.url) as session:
        early = session.prompts["nothing"]
        with pytest.raises(UnknownNameError):
            early()


def test_the_prompts_are_shown_completed_and_counted(session):
    prompts = session.prompts
    assert dir(prompts) == ["compare"]
    assert prompts._ipython_key_completions_() == ["compare"]
    assert "compare" in prompts
    assert [prompt.name for prompt in prompts] == ["compare"]
    assert len(prompts) == 1
    assert "compare(one: str" in repr(prompts)
    assert "<table" in prompts._repr_mimebundle_()["text/html"]


def test_looking_asks_nothing_and_a_change_is_noticed():
    with serve_tools(unguarded=True) as tools, session_with(tools.url) as session:
        session.wait(20)
        tools.wait_until(lambda: any(seen.rpc == "subscriptions/listen" for seen in tools.seen))
        assert dir(session.prompts) == ["compare"]
        told = threading.Event()
        session.connection.news.listings.append(told.set)
        for _ in range(3):
            repr(session.prompts)
            session.prompts.compare("Mars")
        assert listings(tools) == 1
        tools.add_prompt("greet")
        assert told.wait(30)
        assert session.prompts.greet().text == "Hello."
        assert dir(session.prompts) == ["compare", "greet"]
        assert listings(tools) == 2


def test_a_server_without_prompts_has_none():
    with serve_tools(unguarded=True) as tools, session_with(tools.url) as session:
        assert len(session.prompts) == 1  # and none is on its way
        session.connection.client.server_capabilities.prompts = None
        assert session.wait_for(session.prompts._listing.fresh()).result() == []
        assert repr(session.prompts) == "peer: 0 prompts"


def test_nothing_a_server_says_in_a_prompt_is_markup():
    evil = "<script>alert(1)</script>"
    raw = GetPromptResult(
        messages=[PromptMessage(role="user", content=TextContent(type="text", text=evil))]
    )
    shown = PromptResult(raw, prompt=evil, server="notes")._repr_mimebundle_()
    assert "<script" not in shown["text/html"]
    assert evil in shown["text/plain"]


@pytest.mark.anyio
async def test_a_prompt_can_be_awaited(session):
    assert (await session.prompts.compare.aio("Mars")).text == "Compare Mars with Earth."


def test_the_server_suggests_values_given_those_that_are_there(session):
    prompt = session.prompts.compare
    assert prompt.suggest("one", "M") == ["Mercury", "Mars"]
    assert prompt.suggest("other", "M", one="Mars") == ["Mercury"]


def test_the_same_suggestion_is_asked_for_once(session, tools):
    prompt = session.prompts.compare
    before = tools.calls("complete")
    for _ in range(3):
        assert prompt.suggest("one", "Ear") == ["Earth"]
    assert tools.calls("complete") == before + 1


def test_a_slow_server_holds_a_suggestion_up_for_a_second_only(monkeypatch):
    monkeypatch.setattr("mcp_notebook.session.suggestions.SECONDS", 0.1)
    with serve_tools(unguarded=True, completion_seconds=20) as tools, session_with(tools.url) as s:
        s.wait(20)
        assert s.prompts.compare.suggest("one", "M") == []
        assert s.prompts.compare("Mars").text == "Compare Mars with Earth."
