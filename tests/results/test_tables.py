"""JSON values and texts as rows and DataFrames."""

from __future__ import annotations

import sys

import pandas as pd
import pytest

from mcp_notebook.errors import MCPNotebookError
from mcp_notebook.results.tables import rows_of, table_of, to_frame

ROWS = [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]


@pytest.mark.parametrize(
    "value",
    [
        ROWS,
        {"result": ROWS},
        {"items": ROWS, "total": 2},
        {"columns": ["a", "b"], "rows": [[1, "x"], [2, "y"]]},
        {"columns": [{"name": "a"}, {"name": "b"}], "data": [[1, "x"], [2, "y"]]},
        {"columns": ["a", "b"], "rows": ROWS},
        {"a": [1, 2], "b": ["x", "y"]},
        "a,b\n1,x\n2,y\n",
        "a;b\r\n1;x\r\n2;y",
        "```csv\na\tb\n1\tx\n2\ty\n```",
        "Two of them:\n\n| a | b |\n|--:|:--|\n| 1 | x |\n| 2 | y |\n\nThat is all.",
        "a | b\n--|--\n1 | x\n2 | y",
        {"content": '[{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]'},
        {"content": "a,b\n1,x\n2,y\n"},
    ],
)
def test_the_same_table_is_read_from_every_shape(value):
    assert rows_of(value) == ROWS


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ('name,notes\nx,"one\ntwo"\n', "one\ntwo"),
        ('name;notes\r\nx;"one\r\ntwo"\r\n', "one\r\ntwo"),
        ("name,notes\nx,one\u2028two\n", "one\u2028two"),
        ("name\tnotes\nx\tone\x0ctwo\n", "one\x0ctwo"),
        ("| name | notes |\n|---|---|\n| x | one\u2028two |", "one\u2028two"),
    ],
)
def test_a_cell_of_a_text_is_what_was_written(text, cell):
    assert rows_of(text) == [{"name": "x", "notes": cell}]


def test_a_list_of_scalars_has_one_column():
    assert rows_of({"result": ["x", None]}) == [{"value": "x"}, {"value": None}]


def test_a_matrix_has_numbered_columns():
    assert rows_of([[1, 2], [3, 4]]) == [{"0": 1, "1": 2}, {"0": 3, "1": 4}]


def test_one_record_is_one_row_when_asked_for_and_no_table_by_itself():
    record = {"id": 7, "tags": ["a", "b"], "owner": {"name": "Ada"}}
    assert rows_of(record) == [record]
    assert rows_of({"text": "[1, 2"}) == [{"text": "[1, 2"}]
    assert rows_of({"text": "[" * 100_000}) == [{"text": "[" * 100_000}]
    assert rows_of({"text": "Hello, world"}) == [{"text": "Hello, world"}]
    assert table_of({"id": 7, "tags": ["a", "b"]}) is None


def test_what_stands_beside_the_rows_is_kept():
    table = table_of({"items": ROWS, "next": "abc"})
    assert table is not None
    assert table.rest == {"next": "abc"}


@pytest.mark.parametrize(
    "value",
    [None, 5, True, {}, "", "Hello, world", "Hello, world\nand, well, more", "| a | b |\nno rule"],
)
def test_what_is_no_table_is_none(value):
    assert rows_of(value) is None
    with pytest.raises(MCPNotebookError) as caught:
        to_frame(value)
    assert ".data" in caught.value.hint


def test_quoted_cells_may_hold_the_delimiter():
    assert rows_of('name,note\n"Doe, Jane","said ""hi"""') == [
        {"name": "Doe, Jane", "note": 'said "hi"'}
    ]


def test_numbers_are_read_by_column_and_codes_stay_text():
    rows = rows_of("zip,country,n,x,ok\n01234,NA,12345678901234567890,1.5,true\n99999,DE,,2,false")
    assert rows == [
        {"zip": "01234", "country": "NA", "n": 12345678901234567890, "x": 1.5, "ok": True},
        {"zip": "99999", "country": "DE", "n": None, "x": 2.0, "ok": False},
    ]


def test_columns_without_a_name_of_their_own_get_one():
    assert rows_of("a,a,\n1,2,3") == [{"a": 1, "a_2": 2, "column_3": 3}]


def test_bars_in_markdown_cells_may_be_escaped_and_short_rows_are_filled():
    text = "|a|b|\n|-|-|\n|x\\|y|\n|1|2|3|"
    assert rows_of(text) == [{"a": "x|y", "b": None}, {"a": "1", "b": 2}]


def test_whole_numbers_stay_whole_where_some_are_missing():
    big = 2**53 + 1
    frame = to_frame([{"n": big, "ok": True}, {"n": None}, {"n": 3, "ok": False}])
    assert str(frame["n"].dtype) == "Int64"
    assert frame["n"][0] == big
    assert str(frame["ok"].dtype) == "boolean"


def test_plain_columns_have_plain_types():
    frame = to_frame([{"n": 1, "x": 1, "t": "a"}, {"n": 2, "x": 2.5, "t": "b"}])
    assert [str(frame[name].dtype) for name in "nx"] == ["int64", "float64"]
    assert pd.api.types.is_string_dtype(frame["t"])


def test_times_are_times_only_where_all_of_a_column_are():
    frame = to_frame(
        [
            {"day": "2026-01-31", "at": "2026-01-31T10:00:00+02:00", "mixed": "2026-01-31"},
            {"day": "2026-02-01", "at": "2026-02-01T10:00:00Z", "mixed": "soon"},
        ]
    )
    assert frame["day"].dtype.kind == "M"
    assert str(frame["at"].dt.tz) == "UTC"
    assert frame["at"][0].hour == 8
    assert frame["mixed"].dtype.kind != "M"


def test_an_impossible_date_stays_text():
    frame = to_frame([{"day": "2026-02-30"}, {"day": "2026-02-01"}])
    assert list(frame["day"]) == ["2026-02-30", "2026-02-01"]


def test_a_text_that_was_cut_in_the_middle_of_an_emoji_stays_as_it_is():
    frame = to_frame([{"a": "cut \ud83d"}, {"a": "whole"}])
    assert frame["a"].tolist() == ["cut \ud83d", "whole"]


def test_nested_values_and_huge_numbers_stay_objects():
    frame = to_frame([{"o": {"x": 1}, "n": 10**30}, {"o": [1, 2], "n": 1}])
    assert frame["o"][0] == {"x": 1}
    assert frame["n"][0] == 10**30


def test_an_empty_table_keeps_its_columns():
    assert list(to_frame({"columns": ["a", "b"], "rows": []}).columns) == ["a", "b"]
    assert len(to_frame([])) == 0


def test_markup_in_names_and_cells_is_escaped_by_the_frame():
    shown = to_frame([{"<img src=x>": "<script>alert(1)</script>"}])._repr_html_()
    assert "<script>" not in shown
    assert "<img" not in shown


def test_records_that_share_no_key_are_refused_before_memory_is_spent():
    rows = [{f"key{number}": 1} for number in range(8_000)]
    with pytest.raises(MCPNotebookError, match="cells"):
        to_frame(rows)


def test_without_pandas_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MCPNotebookError) as caught:
        to_frame(ROWS)
    assert caught.value.hint == 'pip install "mcp-notebook[data]"'
    assert caught.value.__cause__ is None
