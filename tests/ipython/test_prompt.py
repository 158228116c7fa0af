"""A question at a prompt: field by field, with ways out, never for ever."""

from __future__ import annotations

import builtins
import contextlib
import getpass
import signal
import threading
import time

import pytest

from mcp_notebook.ipython.questions import HELP, prompt
from mcp_notebook.waiting.elicitation import Asking
from tests.asking import form, page

NAME = {"type": "string", "title": "Name", "description": "What you are called"}
AGE = {"type": "integer", "title": "Age", "default": 30}
COLOUR = {"type": "string", "title": "Colour", "oneOf": [{"const": "r", "title": "Red"}]}


class Typist:
    """Types lines; notes the prompts, and which were masked."""

    def __init__(self, *lines):
        self.lines = list(lines)
        self.prompts = []
        self.masked = []

    def __call__(self, label):
        self.prompts.append(label)
        line = self.lines.pop(0)
        if isinstance(line, BaseException):
            raise line
        return line

    def mask(self, label):
        self.masked.append(label)
        return self(label)


@pytest.fixture
def ask(monkeypatch, capsys):
    def ask(question, *lines):
        typist = Typist(*lines)
        monkeypatch.setattr(builtins, "input", typist)
        monkeypatch.setattr(getpass, "getpass", typist.mask)
        asking = Asking(question)
        prompt(asking)
        answer = asking._answer.result(0)
        return answer, typist, capsys.readouterr().out

    return ask


def test_the_server_the_tool_and_the_ways_out_are_named_first(ask):
    answer, _, out = ask(form("Who is it?\nReally?", name=NAME, required=("name",)), "Ada")
    assert answer.content == {"name": "Ada"}
    first = out.splitlines()
    assert "shop asks, in buy:" in first[0]
    assert first[1:3] == ["  Who is it?", "  Really?"]
    assert HELP in out
    assert "What you are called" in out


def test_enter_takes_the_default_and_leaves_out_what_is_optional(ask):
    answer, typist, out = ask(form(age=AGE, name=NAME), "", "", "")
    assert answer.content == {"age": 30}
    assert typist.prompts[0] == "Age [30]: "
    assert "optional" in out


def test_what_does_not_fit_is_said_and_asked_again(ask):
    answer, _, out = ask(form(name=NAME, age=AGE, required=("name",)), "", "Ada", "old", "7", "")
    assert answer.content == {"name": "Ada", "age": 7}
    assert "Name is needed." in out
    assert "Age must be a whole number." in out


def test_choices_are_numbered_and_taken_by_number(ask):
    answer, _, out = ask(form(colour=COLOUR, required=("colour",)), "1")
    assert answer.content == {"colour": "r"}
    assert "1  Red" in out


def test_one_can_go_back_and_change_an_answer(ask):
    question = form(name=NAME, age=AGE, required=("name",))
    answer, typist, _ = ask(question, "Eve", "!back", "Ada", "7", "!back", "8", "")
    assert answer.content == {"name": "Ada", "age": 8}
    assert "Enter sends this" in typist.prompts[-1]


def test_one_can_say_no_or_nothing(ask):
    answer, _, out = ask(form(name=NAME), " !Decline ")
    assert answer.action == "decline"
    assert "Declined" in out
    assert ask(form(name=NAME), "!cancel")[0].action == "cancel"
    assert ask(form(name=NAME, age=AGE), "Ada", "7", "!decline")[0].action == "decline"


def test_a_question_without_fields_is_agreed_to_with_enter(ask):
    answer, typist, _ = ask(form("Go on?"), "")
    assert answer == type(answer)("accept", {})
    assert "agrees" in typist.prompts[0]


def test_a_secret_is_masked_warned_of_and_declined_by_enter(ask):
    question = form(password={"type": "string", "default": "hunter2"}, required=("password",))
    answer, typist, out = ask(question, "")
    assert answer.action == "decline"
    assert typist.masked == ["password: "]
    assert "Careful" in out
    assert "hunter2" not in out
    answer, _, out = ask(question, " with spaces ")
    assert answer.content == {"password": " with spaces "}
    assert "with spaces" not in out


def test_no_more_input_means_that_nobody_is_there(ask):
    answer, _, _ = ask(form(name=NAME), EOFError())
    assert answer.action == "cancel"
    assert answer.why


def test_stop_goes_through_and_leaves_the_signal_as_it_was(ask):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        ask(form(name=NAME), KeyboardInterrupt())
    assert signal.getsignal(signal.SIGINT) is before


def test_escape_sequences_of_a_server_are_not_printed(ask):
    _, _, out = ask(form("\x1b[2J\x1b]8;;http://evil\x07Hi\u202e", name=NAME), "Ada")
    assert "\x1b[2J" not in out
    assert "evil" not in out
    assert "\u202e" not in out


def test_a_page_is_shown_whole_with_its_host_marked(ask):
    url = "https://pay.example.com/checkout?order=7&" + "x" * 300
    answer, typist, out = ask(page(url), "")
    assert answer.action == "accept"
    assert answer.content is None
    assert url in out.replace("\x1b[1m", "").replace("\x1b[0m", "")
    assert "\x1b[1mpay.example.com\x1b[0m" in out
    assert "!decline" in typist.prompts[0]


def test_a_prompt_ends_when_its_question_is_over_elsewhere(monkeypatch, capsys):
    asking = Asking(form(name=NAME))
    before = signal.getsignal(signal.SIGINT)

    def away(label):
        threading.Timer(0.1, asking.cancel).start()
        time.sleep(30)

    monkeypatch.setattr(builtins, "input", away)
    began = time.monotonic()
    prompt(asking)
    assert time.monotonic() - began < 5
    assert "over" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGINT) is before


def test_a_question_that_ends_between_two_lines_disturbs_nobody(monkeypatch):
    asking = Asking(form(name=NAME, age=AGE))

    def end_meanwhile(label):
        thread = threading.Thread(target=asking.cancel)
        thread.start()
        with contextlib.suppress(KeyboardInterrupt):
            thread.join()
        return "Ada"

    monkeypatch.setattr(builtins, "input", end_meanwhile)
    prompt(asking)
    assert asking.action == "cancel"
    time.sleep(0.05)  # a signal that came late would raise here


def test_in_another_thread_a_question_is_asked_without_signals(monkeypatch):
    asking = Asking(form(name=NAME))
    monkeypatch.setattr(builtins, "input", Typist("Ada"))
    thread = threading.Thread(target=prompt, args=(asking,))
    thread.start()
    thread.join(5)
    assert asking.action == "accept"


def test_the_end_of_a_question_that_was_stopped_disturbs_nobody(monkeypatch):
    asking = Asking(form(name=NAME))
    monkeypatch.setattr(builtins, "input", Typist(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        prompt(asking)
    thread = threading.Thread(target=asking.cancel)
    thread.start()
    thread.join(5)
    time.sleep(0.05)  # a signal would raise here
