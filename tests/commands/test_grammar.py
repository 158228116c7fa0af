"""How a line is split into words and sorted by the table."""

from __future__ import annotations

import time

import pytest

from mcp_notebook.commands.grammar import Option, Place, Verb, find_verb, read
from mcp_notebook.commands.verbs import VERBS
from mcp_notebook.commands.words import words
from mcp_notebook.errors import CommandError

VERB = Verb(
    name="do",
    group="g",
    summary="s",
    places=(Place("NAME"), Place("URL")),
    options=(
        Option("--out", "o", "VARIABLE", short="-o"),
        Option("--header", "h", "NAME=VALUE", repeated=True),
        Option("--fast", "f"),
        Option("--kind", "k", "KIND", ("http", "sse")),
    ),
    program=True,
)


def texts(line):
    return [word.text for word in words(line)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a  b\tc", ["a", "b", "c"]),
        ('text="it\'s here" b', ["text=it's here", "b"]),
        (r'a="say \"hi\"" b', ['a=say "hi"', "b"]),
        (r"path=C:\data\new b", [r"path=C:\data\new", "b"]),
        ('filter={"a": [1, 2]} limit=5', ['filter={"a": [1, 2]}', "limit=5"]),
        ('filter={"a": "x y"}', ['filter={"a": "x y"}']),
        ("a # the rest is a remark", ["a"]),
        ("channel=#general", ["channel=#general"]),
        ("", []),
        ("''", [""]),
    ],
)
def test_a_line_is_split_as_a_person_means_it(line, expected):
    assert texts(line) == expected


def test_a_word_knows_where_it_stood():
    line = 'call  x k="a b" z'
    assert [line[word.start : word.end] for word in words(line)] == ["call", "x", 'k="a b"', "z"]


def test_splitting_a_hostile_line_takes_linear_time():
    line = 'a="' + '\\"' * 50_000 + " '" + "x=[" * 20_000
    started = time.perf_counter()
    words(line)
    assert time.perf_counter() - started < 2


def test_places_options_and_program_are_sorted():
    reading = read(VERB, words("n --header A=1 --header=B=2 --fast -o x -- npx -y --header z"))
    assert reading.places == ["n"]
    assert reading.options["--header"] == ["A=1", "B=2"]
    assert reading.flag("--fast")
    assert reading.one("--out") == "x"
    assert reading.program == ("npx", "-y", "--header", "z")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("n u --hedaer A=1", "--header"),
        ("n u --out", "--out needs a value"),
        ("n u --out --fast", "--out needs a value"),
        ("n u --out a -o b", "given twice"),
        ("n u --fast=yes", "takes no value"),
        ("n u --kind ftp", "one of http, sse"),
        ("n", "needs URL"),
        ("", "needs NAME and URL"),
        ("n u extra", "1 word too many"),
        ('n u --out "x', "quote is not closed"),
    ],
)
def test_a_line_that_does_not_fit_is_refused_with_what_would_fit(line, says):
    with pytest.raises(CommandError) as caught:
        read(VERB, words(line))
    assert says in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    "line",
    [
        "n u --token hunter2secret",
        "n u --password=hunter2secret",
        "n u hunter2secret",
        "n u --sk-hunter2secret",
        "n u --kind ghp_hunter2secret",
    ],
)
def test_a_refusal_never_repeats_what_may_be_a_secret(line):
    with pytest.raises(CommandError) as caught:
        read(VERB, words(line))
    shown = "".join([str(caught.value), *caught.value._render_traceback_()])
    assert "hunter2secret" not in shown


def test_a_client_secret_flag_takes_no_value():
    verb = find_verb("add", VERBS)
    for line in ("n https://a.b --client-secret hunter2", "n https://a.b --client-secret=hunter2"):
        with pytest.raises(CommandError, match="not taken on the line") as caught:
            read(verb, words(line))
        assert "hunter2" not in str(caught.value)


def test_a_cell_stands_for_the_places_it_describes_and_for_no_others():
    verb = find_verb("add", VERBS)
    assert read(verb, [], "{}").places == []
    with pytest.raises(CommandError, match="NAME and TOOL"):
        read(find_verb("call", VERBS), [], "{}")
    with pytest.raises(CommandError, match="takes no cell"):
        read(find_verb("connect", VERBS), words("a"), "x = 1")


@pytest.mark.parametrize(
    ("typed", "meant"), [("login", "sign-in"), ("conect", "connect"), ("LOGOUT", "sign-out")]
)
def test_an_unknown_command_names_the_one_that_was_meant(typed, meant):
    with pytest.raises(CommandError, match=meant):
        find_verb(typed, VERBS)
