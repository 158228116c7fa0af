"""The fields of a question: what is asked, what fits, how typed text is read."""

from __future__ import annotations

import time
from typing import Any

import pytest

from mcp_notebook.schema.fields import MISSING, Kind
from mcp_notebook.schema.schemas import MisfitError
from tests.asking import form


def field(schema: Any, name: str = "x", *, required: bool = True):
    return form(**{name: schema}, required=(name,) if required else ()).fields[0]


TITLED = {"type": "string", "oneOf": [{"const": "r", "title": "Red"}, {"const": "g"}]}
NAMED = {"type": "string", "enum": ["r", "g"], "enumNames": ["Red", "Green"]}
SEVERAL = {"type": "array", "items": {"type": "string", "enum": ["a", "b", "c"]}, "maxItems": 2}
TITLED_SEVERAL = {"type": "array", "items": {"anyOf": [{"const": "a", "title": "Ah"}]}}


@pytest.mark.parametrize(
    ("schema", "typed", "value"),
    [
        ({"type": "string"}, " Ada ", "Ada"),
        ({"type": "integer"}, "12", 12),
        ({"type": "integer"}, "12.0", 12),
        ({"type": "number"}, "1e3", 1000),
        ({"type": "number"}, "-2.5", -2.5),
        ({"type": "boolean"}, "Y", True),
        ({"type": "boolean"}, "no", False),
        (TITLED, "1", "r"),
        (TITLED, "red", "r"),
        (TITLED, "g", "g"),
        (NAMED, "Green", "g"),
        ({"type": "string", "enum": ["2", "1"]}, "1", "1"),
        ({"enum": [1, True]}, "True", True),
        (SEVERAL, "1, c", ["a", "c"]),
        (SEVERAL, "", []),
        (TITLED_SEVERAL, "ah", ["a"]),
        ({"type": "object"}, '{"a": 1}', {"a": 1}),
        ({"type": "string", "format": "email"}, "ada@example.com", "ada@example.com"),
        ({"type": "string", "format": "uri"}, "https://example.com/", "https://example.com/"),
        ({"type": "string", "format": "date"}, "2026-02-28", "2026-02-28"),
        ({"type": "string", "format": "date-time"}, "2026-02-28T10:00:00Z", "2026-02-28T10:00:00Z"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "5", 5),
        ({}, "anything", "anything"),
    ],
)
def test_typed_text_becomes_the_value_the_schema_means(schema, typed, value):
    read = field(schema).read(typed)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("schema", "typed", "said"),
    [
        ({"type": "integer"}, "1.5", "a whole number"),
        ({"type": "integer"}, "many", "a whole number"),
        ({"type": "number"}, "nan", "finite"),
        ({"type": "integer", "minimum": 3}, "2", "at least 3"),
        ({"type": "number", "maximum": 3}, "3.5", "at most 3"),
        ({"type": "boolean"}, "maybe", "yes or no"),
        ({"type": "string", "minLength": 3}, "ab", "at least 3 characters"),
        ({"type": "string", "maxLength": 3}, "abcd", "at most 3 characters"),
        ({"type": "string"}, "x" * 20_001, "at most 20,000"),
        ({"type": "string", "format": "email"}, "ada", "email"),
        ({"type": "string", "format": "uri"}, "no scheme", "address"),
        ({"type": "string", "format": "date"}, "2026-02-30", "date like"),
        ({"type": "string", "format": "date-time"}, "2026-02-28", "time like"),
        (TITLED, "3", "one of"),
        (TITLED, "Blue", "one of"),
        (SEVERAL, "a,b,c", "at most 2 choices"),
        ({"type": "object"}, "{", "JSON"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(schema, typed, said):
    with pytest.raises(MisfitError, match=said):
        field(schema).read(typed)


@pytest.mark.parametrize(
    ("schema", "default"),
    [
        ({"type": "string", "default": "Ada"}, "Ada"),
        ({"type": "integer", "default": 0}, 0),
        ({"type": "boolean", "default": False}, False),
        ({**NAMED, "default": "g"}, "g"),
        ({**SEVERAL, "default": ["b"]}, ["b"]),
        ({"type": "string"}, MISSING),
        ({"type": "integer", "default": "zero"}, MISSING),
        ({**NAMED, "default": "blue"}, MISSING),
    ],
)
def test_a_default_counts_where_it_fits(schema, default):
    assert field(schema).default == default


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "format": "password"},
        {"type": "string", "title": "Your PIN"},
        {"type": "string", "description": "The API key of your account"},
        {"type": "string", "title": "Credit-card number"},
    ],
)
def test_a_secret_is_smelled_in_words_and_format(schema):
    assert field(schema).secret


@pytest.mark.parametrize("name", ["password", "apiKey", "access_token", "clientSecret", "api-key"])
def test_a_secret_is_smelled_in_the_name(name):
    assert field({"type": "string"}, name).secret


@pytest.mark.parametrize("name", ["secretary", "keyboard", "pineapple", "city", "passenger"])
def test_an_innocent_name_is_not_taken_for_a_secret(name):
    assert not field({"type": "string"}, name).secret


def test_a_number_of_tokens_is_no_secret():
    assert not field({"type": "integer", "title": "Max tokens"}).secret


def test_the_pattern_of_a_server_is_never_run():
    bomb = field({"type": "string", "pattern": "^(a+)+$"})
    began = time.monotonic()
    bomb.read("a" * 60 + "!")
    assert time.monotonic() - began < 1


def test_a_hundred_thousand_choices_are_read_quickly_and_all_count():
    many = field({"type": "string", "enum": [f"c{n}" for n in range(20_000)]})
    began = time.monotonic()
    assert many.read("c19999") == "c19999"
    assert time.monotonic() - began < 1


def test_a_schema_of_megabytes_is_not_put_to_a_person():
    question = form(x={"type": "string", "enum": [f"choice {n}" for n in range(100_000)]})
    assert question.problem
    assert not question.fields


def test_more_fields_than_a_form_are_not_put_to_a_person():
    assert "more than 40 fields" in form(**{f"f{n}": {"type": "string"} for n in range(41)}).problem


def test_words_of_a_server_cannot_move_or_hide_text():
    item = field({"type": "string", "title": "A\x1b[2J\u202eB", "description": "x\r\ny" * 500})
    assert item.title == "AB"
    assert "\n" not in item.description
    assert len(item.description) <= 300


def test_bounds_and_formats_are_told_beforehand():
    assert field({"type": "integer", "minimum": 1, "maximum": 9}).about == "1 to 9"
    assert field({"type": "string", "minLength": 3}).about == "at least 3 characters"
    assert "date like" in field({"type": "string", "format": "date"}).about


def test_values_are_shown_by_their_titles():
    item = field(NAMED)
    assert item.kind is Kind.CHOICE
    assert item.shown("g") == "Green"
    assert field(SEVERAL).shown(["a", "b"]) == "a, b"
    assert field({"type": "boolean"}).shown(True) == "yes"
