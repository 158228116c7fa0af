"""Strangers' names as identifiers."""

from __future__ import annotations

import pytest

from mcp_notebook.schema.names import displaced, identifier, identifiers, nearest


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("search", "search"),
        ("from", "from_"),
        ("None", "None_"),
        ("Notion-Version", "Notion_Version"),
        ("2fa", "n2fa"),
        ("a b", "a_b"),
        ("x; import os", "x__import_os"),
        ("__class__", "class__"),
        ("_repr_html_", "repr_html_"),
        ("\ufb01le", "file"),
        ("größe", "größe"),
        ("", None),
        ("🙂", None),
        ("___", None),
        ("x" * 5000, None),
    ],
)
def test_a_name_becomes_an_identifier_or_none(name, expected):
    assert identifier(name) == expected


def test_an_identifier_never_begins_with_an_underscore():
    for name in ("__getattr__", "_ipython_display_", "-x", "_1", "__"):
        made = identifier(name)
        assert made is None or not made.startswith("_")


def test_a_name_that_is_an_identifier_is_never_displaced():
    assert identifiers(["get-file", "get_file"]) == {"get_file": "get_file"}
    assert identifiers(["from", "from_"]) == {"from_": "from_"}


def test_of_names_that_share_an_identifier_the_first_has_it():
    assert identifiers(["a-b", "a b"]) == {"a_b": "a-b"}


def test_a_taken_identifier_gets_an_underscore():
    assert identifiers(["close", "open"], taken={"close"}) == {"close_": "close", "open": "open"}


def test_the_nearest_name_is_found_across_case_and_dashes():
    assert nearest("Get-Fil", ["get_file", "list"]) == "get_file"
    assert nearest("zebra", ["get_file", "list"]) is None


def test_names_whose_identifier_is_taken_are_told():
    assert displaced(["a-b", "a b", "c", "_"]) == {"a b": "a_b"}
    assert displaced(["get-file", "get_file"]) == {"get-file": "get_file"}
    assert displaced(["close"], taken={"close"}) == {}
