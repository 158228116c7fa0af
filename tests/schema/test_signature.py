"""A schema as a signature, and a call's arguments as JSON."""

from __future__ import annotations

import datetime
import inspect
import json
import pathlib
from decimal import Decimal

import pandas as pd
import pytest

from mcp_notebook.errors import ToolArgumentError
from mcp_notebook.schema.signature import Parameters

SEARCH = {
    "type": "object",
    "properties": {
        "limit": {"type": "integer", "default": 10, "description": "how many"},
        "query": {"type": "string", "description": "what\nfor"},
        "from": {"type": "string"},
        "Notion-Version": {"enum": ["2022", "2025"]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "note": {"type": ["string", "null"]},
    },
    "required": ["query", "from"],
}


@pytest.fixture
def search():
    return Parameters("search", SEARCH)


def test_required_ones_come_first_by_position_and_the_others_by_name(search):
    assert str(search.signature) == (
        "(query: str, from_: str, *, limit: int = 10, "
        "Notion_Version: Literal['2022', '2025', None] = None, "
        "tags: list[str] | None = None, note: str | None = None)"
    )


def test_no_more_than_three_are_taken_by_position():
    names = ["a", "b", "c", "d", "e"]
    made = Parameters("t", {"properties": {name: {} for name in names}, "required": names})
    kinds = [parameter.kind for parameter in made.signature.parameters.values()]
    assert (
        kinds
        == [inspect.Parameter.POSITIONAL_OR_KEYWORD] * 3 + [inspect.Parameter.KEYWORD_ONLY] * 2
    )
    assert made.bind((1, 2, 3), {"d": 4, "e": 5}) == dict(zip(names, range(1, 6), strict=True))


def test_a_single_optional_argument_may_be_given_by_position():
    made = Parameters("t", {"properties": {"path": {"type": "string"}}})
    assert made.bind(("x",)) == {"path": "x"}
    assert made.bind() == {}


@pytest.mark.parametrize(
    "names",
    [
        ["self", "cls", "class", "_timeout", "a b"],
        ["args", "kwargs", "more", "arguments", "return"],
        ["from", "from_", "a-b", "a_b", ""],
    ],
)
def test_odd_names_never_break_the_signature_and_are_sent_as_they_are(names):
    made = Parameters(
        "t", {"properties": {name: {} for name in names}, "additionalProperties": True}
    )
    for word in made.signature.parameters:
        assert word.isidentifier()
        assert not word.startswith("_")
    assert made.bind((), dict.fromkeys(names, 1)) == dict.fromkeys(names, 1)


def test_a_python_name_is_mapped_back(search):
    bound = search.bind(("q",), {"from_": "me", "Notion_Version": "2022"})
    assert bound == {"query": "q", "from": "me", "Notion-Version": "2022"}
    assert search.bind(("q",), {"from": "me", "Notion-Version": "2022"}) == bound


def test_what_is_left_out_is_not_sent(search):
    assert search.bind(("q", "f")) == {"query": "q", "from": "f"}


def test_none_is_sent_only_where_null_fits(search):
    bound = search.bind(("q", "f"), {"limit": None, "tags": None, "note": None})
    assert bound == {"query": "q", "from": "f", "note": None}


def test_a_required_argument_with_a_default_is_filled_in():
    made = Parameters(
        "t", {"properties": {"n": {"type": "integer", "default": 5}}, "required": ["n"]}
    )
    assert made.bind() == {"n": 5}
    assert made.bind((), {"n": 6}) == {"n": 6}


def test_values_of_a_notebook_are_made_json():
    made = Parameters("t", {"properties": {"when": {"type": "string"}, "n": {"type": "integer"}}})
    bound = made.bind((), {"when": datetime.date(2024, 1, 2), "n": 3.0})
    assert json.dumps(bound) == '{"when": "2024-01-02", "n": 3}'
    assert made.bind((), {"when": pathlib.PurePosixPath("/a")}) == {"when": "/a"}


@pytest.mark.parametrize(
    ("args", "kwargs", "says"),
    [
        (("q", "f", "x"), {}, "at most 2 by position"),
        (("q",), {"query": "q", "from_": "f"}, "'query' twice"),
        (("q", "f"), {"from": "f"}, "'from' twice"),
        ((), {}, "needs 'query' and 'from_'"),
        (("q", "f"), {"limti": 3}, "did you mean 'limit'?"),
        (("q", "f"), {"zzzzzz": 3}, "has no argument 'zzzzzz'."),
        (("q", "f"), {"limit": "planted"}, "'limit': it must be int"),
        (("q", "f"), {"Notion_Version": "planted"}, "must be one of '2022', '2025'"),
        (("q", "f"), {"tags": ["a", 1]}, "item 1 must be str"),
        (("q", "f"), {"tags": b"planted"}, "is bytes"),
        ((None, "f"), {}, "'query': it must be str"),
    ],
)
def test_arguments_that_do_not_fit_are_a_type_error_that_tells_no_value(search, args, kwargs, says):
    with pytest.raises(TypeError) as caught:
        search.bind(args, kwargs)
    assert isinstance(caught.value, ToolArgumentError)
    assert says in caught.value.message
    assert "search(query: str" in caught.value.hint
    assert "planted" not in str(caught.value)
    assert caught.value.__context__ is None or caught.value.__suppress_context__


@pytest.mark.parametrize(
    "schema", [{}, {"type": "object"}, None, {"properties": {"a": {}}, "additionalProperties": {}}]
)
def test_an_open_schema_takes_any_name(schema):
    made = Parameters("t", schema)
    assert made.bind((), {"anything": 1}) == {"anything": 1}
    assert "**more" in str(made.signature)


def test_a_tool_without_arguments_takes_none():
    with pytest.raises(ToolArgumentError):
        Parameters("t", {"type": "object", "properties": {}}).bind((), {"x": 1})


def test_a_schema_is_read_once():
    assert Parameters.of("search", SEARCH) is Parameters.of("search", SEARCH)
    assert Parameters.of("search", dict(SEARCH)) is not Parameters.of("search", SEARCH)


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        (
            [("limit", "5"), ("query", "5"), ("from", "true")],
            {"limit": 5, "query": "5", "from": "true"},
        ),
        ([("tags", "a")], {"tags": ["a"]}),
        ([("tags", "a"), ("tags", "b")], {"tags": ["a", "b"]}),
        ([("tags", '["a", "b"]')], {"tags": ["a", "b"]}),
        ([("note", "null")], {"note": None}),
        ([("note", "nullify")], {"note": "nullify"}),
        ([("Notion_Version", "2025")], {"Notion-Version": "2025"}),
        ([("query", '{"a": 1}')], {"query": '{"a": 1}'}),
        ([("query", "")], {"query": ""}),
    ],
)
def test_typed_words_get_their_type_from_the_schema(search, pairs, expected):
    assert search.from_text(pairs) == expected


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        ({"type": "boolean"}, "True", True),
        ({"type": "boolean"}, "false", False),
        ({"type": "number"}, "2.5", 2.5),
        ({"type": "object"}, '{"a": [1]}', {"a": [1]}),
        ({"enum": [1, 2]}, "2", 2),
        ({"enum": ["1", "2"]}, "2", "2"),
        ({"type": "array", "items": {"type": "integer"}}, "3", [3]),
        ({}, "3", 3),
        ({}, "plain", "plain"),
        ({"type": ["string", "array"]}, "[1]", [1]),
        ({"type": ["string", "integer"]}, "7", "7"),
    ],
)
def test_a_typed_word_means_what_its_schema_wants(schema, text, value):
    made = Parameters("t", {"properties": {"x": schema}}).from_text([("x", text)])
    assert made == {"x": value}
    assert type(made["x"]) is type(value)


@pytest.mark.parametrize(
    "pairs", [[("limit", "x")], [("limit", "1"), ("limit", "2")], [("nope", "1")]]
)
def test_a_typed_word_that_cannot_be_read_is_refused(search, pairs):
    with pytest.raises(ToolArgumentError):
        search.from_text(pairs)


def test_a_title_that_only_says_the_name_again_is_left_out():
    properties = {
        "file_key": {"type": "string", "title": "File Key"},
        "q": {"type": "string", "title": "What to look for"},
    }
    text = Parameters("search", {"type": "object", "properties": properties}).docstring("Finds.")
    assert "file_key (str, optional)\n" in text
    assert text.endswith(": What to look for")


def test_the_docstring_tells_the_arguments_in_harmless_text(search):
    text = search.docstring("Finds \x1b[31mpages\u202e.\n\nMore.")
    assert text.startswith("Finds pages.\n\nMore.\n\nArgs:\n")
    assert "    limit (int, default 10): how many" in text
    assert "    from_ (str, sent as 'from')" in text
    assert "    query (str): what for" in text
    assert len(search.docstring("x" * 1_000_000)) < 10_000


def test_a_long_default_does_not_crowd_the_signature():
    made = Parameters("t", {"properties": {"x": {"type": "string", "default": "y" * 500}}})
    assert str(made.signature) == "(x: str = …)"
    assert made.bind() == {}


def test_a_default_that_does_not_fit_is_not_believed():
    made = Parameters("t", {"properties": {"x": {"type": "integer", "default": "many"}}})
    assert str(made.signature) == "(x: int | None = None)"


def test_listed_values_are_offered(search):
    assert search.values("Notion_Version") == ["2022", "2025"]
    assert search.values("limit") == []
    assert Parameters("t", {"properties": {"x": {"type": "boolean"}}}).values("x") == [
        "true",
        "false",
    ]


def test_a_value_is_sent_as_its_schema_writes_it():
    takes = Parameters(
        "take",
        {
            "type": "object",
            "properties": {
                "price": {"anyOf": [{"type": "number"}, {"type": "string"}]},
                "wait": {"anyOf": [{"type": "string", "format": "duration"}, {"type": "null"}]},
                "file": {"type": "string", "contentEncoding": "base64"},
                "rows": {"type": "array", "items": {"type": "object"}},
            },
        },
    )
    frame = pd.DataFrame({"a": [1]})
    wait = datetime.timedelta(minutes=1)
    sent = takes.bind((), {"price": Decimal("1.10"), "wait": wait, "file": b"a", "rows": frame})
    assert sent == {"price": "1.10", "wait": "PT60S", "file": "YQ==", "rows": [{"a": 1}]}


def test_a_dict_in_place_of_named_arguments_is_explained(search):
    with pytest.raises(ToolArgumentError, match=r"search\(\*\*arguments\)"):
        search.bind([{"query": "x", "from": "y"}])
    takes_objects = Parameters("save", {"properties": {"point": {"type": "object"}}})
    assert takes_objects.bind([{"x": 1}]) == {"point": {"x": 1}}


def test_a_missing_value_is_called_so(search):
    with pytest.raises(ToolArgumentError, match="it is missing \\(NaN\\) and must be str"):
        search.bind((), {"query": float("nan"), "from": "x"})
