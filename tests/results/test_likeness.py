"""What people do with an answer: it is read like its value, or tells how it is read."""

from __future__ import annotations

import copy
import pickle

import pandas as pd
import pytest
from mcp_types import CallToolResult, TextContent

from mcp_notebook.errors import AnswerUseError, UnknownNameError
from mcp_notebook.results.tool_result import ToolResult

ROWS = [{"a": 0, "b": "x"}, {"a": 1, "b": "y"}]


def answer(value) -> ToolResult:
    raw = CallToolResult(content=[], structured_content={"result": value})
    schema = {"type": "object", "properties": {"result": {}}}
    return ToolResult(raw, tool="look", server="notes", output_schema=schema)


def test_a_member_is_an_item():
    result = answer({"total": 2, "items": ROWS})
    assert result["total"] == 2
    assert result["items"][1]["b"] == "y"
    assert "total" in result
    assert result._ipython_key_completions_() == ["total", "items"]


def test_a_list_is_gone_through_counted_and_cut():
    result = answer(ROWS)
    assert [row["a"] for row in result] == [0, 1]
    assert (len(result), result[-1], result[:1]) == (2, ROWS[1], ROWS[:1])
    assert ROWS[0] in result


def test_pandas_takes_a_list_of_objects_as_rows():
    assert pd.DataFrame(answer(ROWS)).equals(pd.DataFrame(ROWS))


@pytest.mark.parametrize(
    "take", [list, len, dict, pd.DataFrame, lambda r: pd.DataFrame([r, r])], ids=str
)
def test_the_names_of_an_object_are_never_taken_for_its_rows(take):
    with pytest.raises(AnswerUseError) as caught:
        take(answer({"total": 2, "items": ROWS}))
    assert isinstance(caught.value, TypeError)
    assert "'total', 'items'" in caught.value.hint
    assert ".to_frame()" in caught.value.hint


def test_answers_in_a_series_stay_whole():
    answers = [answer({"total": 2}), answer(ROWS), answer(5)]
    for held in (pd.Series(answers), pd.Series([0, 1, 2]).apply(answers.__getitem__)):
        assert all(one is other for one, other in zip(held, answers, strict=True))
        assert len(repr(held).splitlines()) == 4


def test_an_answer_is_equal_to_its_value_and_to_an_equal_answer():
    assert answer(5) == 5
    assert answer({"a": 1}) == {"a": 1} == answer({"a": 1})
    assert answer(5) != 6
    assert answer(5) != answer("5")
    with pytest.raises(TypeError):
        hash(answer(5))


@pytest.mark.parametrize("value", [0, False, "", [], [1], {"a": 1}])
def test_whether_an_answer_is_true_is_not_guessed(value):
    with pytest.raises(AnswerUseError) as caught:
        bool(answer(value))
    assert "if answer.data" in caught.value.hint


@pytest.mark.parametrize(
    ("value", "key", "told"),
    [
        (ROWS, "a", ".to_frame()['a']"),
        ({"total": 2}, 0, "'total'"),
        (5, "a", "of type int"),
        ("text", "a", "text"),
        (None, 0, "no value"),
    ],
)
def test_an_item_that_cannot_be_there_tells_what_is(value, key, told):
    with pytest.raises(AnswerUseError) as caught:
        answer(value)[key]
    assert told in caught.value.hint


def test_a_member_that_is_not_there_is_a_key_error_that_names_the_nearest():
    with pytest.raises(KeyError) as caught:
        answer({"total": 2})["totals"]
    assert isinstance(caught.value, UnknownNameError)
    assert "Did you mean 'total'?" in caught.value.hint


def test_an_index_beyond_the_end_is_an_index_error():
    with pytest.raises(IndexError):
        answer(ROWS)[2]


@pytest.mark.parametrize(
    ("name", "told"),
    [("plot", ".to_frame().plot"), ("df", ".to_frame()"), ("total", "['total']"), ("x", ".data")],
)
def test_an_attribute_people_try_tells_the_way(name, told):
    with pytest.raises(AttributeError) as caught:
        getattr(answer({"total": 2}), name)
    assert told in caught.value.hint


@pytest.mark.anyio
async def test_awaiting_an_answer_tells_how_a_call_is_awaited():
    with pytest.raises(AnswerUseError) as caught:
        await answer(5)
    assert ".aio(" in caught.value.hint


def test_a_copy_and_a_pickle_are_equal():
    result = answer(ROWS)
    assert copy.deepcopy(result) == result == pickle.loads(pickle.dumps(result))
    assert not hasattr(object.__new__(ToolResult), "total")  # as copy and pickle begin


def test_printing_shows_what_a_terminal_would_show_and_runs_nothing():
    assert str(answer(5)) == "5"
    assert str(answer(ROWS)).splitlines()[0].split() == ["a", "b"]
    text = CallToolResult(content=[TextContent(text="hi \x1b[31mred")])
    assert str(ToolResult(text, tool="look", server="notes")).startswith("hi ")
    assert "\x1b" not in str(ToolResult(text, tool="look", server="notes"))
    secret = ToolResult(text, tool="look", server="notes", show="summary")
    assert "hi" not in str(secret)
