"""Where the cursor stands in a call that is being typed."""

from __future__ import annotations

import pytest

from mcp_notebook.session.calling import call_at


@pytest.mark.parametrize(
    ("text", "path", "argument", "typed"),
    [
        ('f("', ("f",), 0, ""),
        ("f('Ma", ("f",), 0, "Ma"),
        ('f("a", "b', ("f",), 1, "b"),
        ('f("a, (b", x="c', ("f",), "x", "c"),
        ('s.tools.find(colour="r', ("s", "tools", "find"), "colour", "r"),
        ('s.tools["a-b"](x = "', ("s", "tools", ("a-b",)), "x", ""),
        ('x = g(1, [2, 3], f("', ("f",), 0, ""),
        ('f(g(1, 2), {"a": (1, 2)}, k="v', ("f",), "k", "v"),
        ('f(\n    one="a",  # it\'s (a\n    two="b', ("f",), "two", "b"),
        ("f(x='''a", ("f",), "x", "a"),
        ("f(x=", ("f",), "x", ""),
        ("f(1, x= ", ("f",), "x", ""),
        ("f(items[0](x='a", ("items", (0,)), "x", "a"),
    ],
)
def test_the_call_and_the_argument_are_found(text, path, argument, typed):
    call = call_at(text)
    assert call is not None
    assert (call.path, call.argument, call.typed) == (path, argument, typed)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "f",
        "f(",
        "f(1",
        "f(x",
        "f(x == ",
        'f(["a',
        'f(x={"a',
        'f(f"a',
        'f("a" + "b',
        'f("a\\x',
        '(lambda: 1)("a',
        'f("a")',
        "# f('a",
        '"f(" + "',
        "f(x=1",
        ")" * 50 + "f(",
    ],
)
def test_elsewhere_there_is_no_value_to_complete(text):
    assert call_at(text) is None


def test_what_is_given_already_is_told():
    call = call_at('f("one", 2, third="3", fourth=4, fifth="')
    assert call is not None
    assert call.before == ("one", None)
    assert call.given == {"third": "3"}


def test_a_very_long_cell_is_no_burden():
    assert call_at("x = 1\n" * 200_000 + 'f("a') is not None
    assert call_at("(" * 100_000) is None
