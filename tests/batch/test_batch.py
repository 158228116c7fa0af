"""One tool over many rows: what may be a row, what a batch holds, and how it becomes a table."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from mcp_notebook.errors import (
    AnswerUseError,
    ToolArgumentError,
    ToolError,
    ToolFailedError,
    UnknownToolError,
)
from mcp_notebook.session.tool import Tool
from tests.mapping import Answering, Watching, session_with

# -- rows -------------------------------------------------------------------------------------


def test_the_values_of_the_one_needed_argument_are_rows(session):
    batch = session.tools.echo.map(["a", "b", "c"])
    assert [result.data for result in batch] == ["a", "b", "c"]
    assert (batch.done, batch.failed, batch.total, batch.is_done) == (3, 0, 3, True)


def test_results_are_in_the_order_of_the_rows_whatever_takes_longer(session):
    rows = [{"seconds": seconds, "steps": 1} for seconds in (0.2, 0.1, 0.001)]
    batch = session.tools.slow.map(rows)
    assert [result.data for result in batch] == ["done"] * 3
    numbers = session.tools.add.map([{"a": n} for n in range(200)], b=1, concurrency=32)
    assert [result.data for result in numbers] == list(range(1, 201))


def test_columns_of_a_frame_are_matched_by_name_and_the_others_are_carried_along(session, tools):
    frame = pd.DataFrame({"a": [1, 2], "b": [10, 20], "city": ["Ulm", "Bonn"]}, index=[7, 9])
    table = session.tools.add.map(frame).to_frame()
    sent = sorted((arguments["a"], arguments["b"]) for _, arguments in tools.ran)
    assert sent == [(1, 10), (2, 20)]  # at once: either may arrive first
    assert table.columns.tolist() == ["a", "b", "city", "result", "error"]
    assert table.index.tolist() == [7, 9]
    assert table["result"].tolist() == [11, 22]


TEXTS = [str(number) for number in range(1200)]


@pytest.mark.parametrize(
    "rows",
    [
        pd.DataFrame({"text": TEXTS, "other": range(1200)}),
        pl.DataFrame({"text": TEXTS, "other": range(1200)}),
        pa.table({"text": TEXTS, "other": range(1200)}),
        pa.concat_tables([pa.table({"text": TEXTS[:700]}), pa.table({"text": TEXTS[700:]})]),
        pa.record_batch({"text": TEXTS}),
        pd.Series(TEXTS, dtype="category"),
        pl.Series(TEXTS),
        pa.array(TEXTS),
        np.array(TEXTS),
    ],
    ids=lambda rows: f"{type(rows).__module__.partition('.')[0]} {type(rows).__name__}",
)
def test_tables_and_columns_of_every_library_are_rows(session, rows):
    batch = session.tools.echo.map(rows, concurrency=32)
    assert batch.total == 1200
    assert [result.data for result in batch] == TEXTS
    assert batch.to_frame()["text"].tolist() == TEXTS


def test_a_frame_that_is_changed_afterwards_changes_no_batch(session):
    frame = pd.DataFrame({"text": ["a", "b"]})
    batch = session.tools.echo.map(frame)
    frame["text"] = ["x", "y"]
    frame["other"] = 1
    assert batch.to_frame().columns.tolist() == ["text", "result", "error"]
    assert batch.to_frame()["text"].tolist() == ["a", "b"]


def test_a_frame_with_columns_of_several_levels_keeps_them(session):
    columns = pd.MultiIndex.from_tuples([("post", "title"), ("post", "likes")])
    frame = pd.DataFrame([["a", 1], ["b", 2]], columns=columns)
    table = session.tools.echo.map(frame, columns={("post", "title"): "text"}).to_frame()
    assert table["post"].equals(frame["post"])
    assert table[("result", "")].tolist() == ["a", "b"]
    assert table.columns.nlevels == 2


def test_answers_of_many_members_are_as_many_columns(tools):
    def wide(n: int) -> dict[str, int]:
        return {f"c{number}": number * n for number in range(150)}

    tools.mcp.add_tool(wide)
    with session_with(tools.url) as session:
        frame = pd.DataFrame({"n": [1, 2]}, index=[3, 3])
        table = session.wait().tools.wide.map(frame, confirm=False).to_frame()  # without a warning
    assert table.shape == (2, 152)
    assert table["c149"].tolist() == [149, 298]
    assert table.index.tolist() == [3, 3]


def test_answers_are_had_by_number(session):
    batch = session.tools.echo.map(["a", "b", "c"])
    assert batch[-1].data == "c"
    assert [result.data for result in batch[:2]] == ["a", "b"]
    with pytest.raises(AnswerUseError) as caught:
        batch["text"]
    assert caught.value.hint == "As a table: .to_frame()['text']"


def test_columns_says_which_column_is_which_argument(session):
    frame = pd.DataFrame({"q": ["x", "y"], "text_id": [1, 2]})
    assert [r.data for r in session.tools.echo.map(frame, columns={"q": "text"})] == ["x", "y"]


def test_what_another_tool_answered_is_rows(session, tools):
    planets = session.tools.table(limit=2)
    names = session.tools.echo.map(planets, columns={"name": "text"})
    assert [result.data for result in names] == ["Mercury", "Venus"]
    assert names.to_frame().columns.tolist() == ["name", "radius_km", "moons", "result", "error"]
    with pytest.raises(ToolError, match="rows, not dict") as caught:
        session.tools.add.map({"a": [1, 2], "b": [3, 4]})
    assert "pd.DataFrame(columns)" in caught.value.hint
    with pytest.raises(ToolError, match="rows, not int"):
        session.tools.echo.map(session.tools.add(a=1, b=2))


def test_columns_the_wrong_way_round_are_explained(session, tools):
    frame = pd.DataFrame({"q": ["x"]})
    with pytest.raises(ToolArgumentError) as caught:
        session.tools.echo.map(frame, columns={"text": "q"})
    assert '{"column": "argument"}' in caught.value.hint
    assert tools.ran == []


def test_a_frame_without_the_needed_column_is_refused_before_anything_is_sent(session, tools):
    with pytest.raises(ToolArgumentError, match=r"No column is 'text'.*'q'"):
        session.tools.echo.map(pd.DataFrame({"q": ["x"]}))
    assert tools.ran == []


def test_a_series_and_fixed_arguments_go_together(session):
    assert [r.data for r in session.tools.add.map(pd.Series([1, 2], index=["x", "y"]), b=5)] == [
        6,
        7,
    ]


def test_a_misspelt_argument_in_a_dict_is_an_error_of_its_row(session):
    batch = session.tools.table.map([{"limit": 1}, {"limt": 2}])
    assert isinstance(batch.errors[1], ToolArgumentError)
    assert batch.results[0] is not None


@pytest.mark.parametrize("rows", ["abc", {"a": 1}, 5])
def test_what_has_no_rows_is_refused_at_once(session, rows):
    with pytest.raises(ToolError, match=r"map\(\) takes rows"):
        session.tools.echo.map(rows)


def test_a_table_of_a_kind_that_is_not_read_is_refused_by_its_name(session):
    class Lazy(list):
        columns = ("text",)

    with pytest.raises(ToolError, match="A Lazy is not read here") as caught:
        session.tools.echo.map(Lazy(["text"]))
    assert "an Arrow table" in caught.value.hint
    with pytest.raises(ToolError, match="not LazyFrame"):
        session.tools.echo.map(pl.LazyFrame({"text": ["a"]}))


def test_a_generator_is_read_in_the_callers_thread_and_only_as_far_as_needed(session):
    threads, read = set(), []

    def rows():
        for number in range(1000):
            threads.add(threading.get_ident())
            read.append(number)
            yield "it broke" if number == 3 else str(number)

    with pytest.raises(ToolFailedError):
        session.tools.fail.map(rows(), on_error="stop", confirm=False)
    assert threads == {threading.get_ident()}
    assert len(read) < 200


def test_an_empty_list_is_done_at_once(session):
    batch = session.tools.echo.map([])
    assert batch.is_done
    assert len(batch) == 0
    assert "0 of 0" in repr(batch)


def test_an_error_of_the_rows_own_code_comes_out_as_it_is(session):
    def rows():
        yield "a"
        raise LookupError("my own")

    with pytest.raises(LookupError, match="my own"):
        session.tools.echo.map(rows())
    batch = session.tools.echo.last_batch
    with pytest.raises(ToolError, match="generator"):
        batch.resume()
    assert batch.done == 1


def test_an_unknown_tool_is_told_once_and_not_for_every_row(session):
    session.wait()
    with pytest.raises(UnknownToolError):
        Tool(session, "nothing").map(["a"])


# -- failures ---------------------------------------------------------------------------------


def test_failures_are_kept_beside_the_answers(session):
    rows = [{"n": n} for n in (1, -1, 2)]
    frame = pd.DataFrame({"n": [1, 2], "message": ["x", "y"]})
    assert [r.data for r in session.tools.big.map(rows[::2])] == ["x", "xx"]
    batch = session.tools.fail.map(frame, confirm=False)
    assert list(batch.errors) == [0, 1]
    assert "x" in batch.errors[0].message
    table = batch.to_frame()
    assert table["error"].str.contains("failed").all()
    with pytest.raises(ToolFailedError):
        batch[1]


def test_on_error_stop_ends_at_the_first_failure_and_keeps_what_was_done(session, tools):
    with pytest.raises(ToolFailedError) as caught:
        session.tools.fail.map(["x"] * 100, on_error="stop", concurrency=2, confirm=False)
    batch = session.tools.fail.last_batch
    assert "last_batch.resume()" in caught.value.hint
    assert 1 <= batch.failed <= 4
    assert tools.calls("fail") == batch.failed


def test_failed_rows_are_called_again(session, tools):
    batch = session.tools.fail.map(["x", "y"], confirm=False)
    batch.retry_failed()
    assert tools.calls("fail") == 4
    assert batch.failed == 2


# -- tables -----------------------------------------------------------------------------------


def test_members_of_an_answer_become_columns_and_names_are_kept_apart(session):
    frame = pd.DataFrame({"x": [1.5, 2.5]})
    table = session.tools.structured.map(frame, y=3.0).to_frame()
    assert table.columns.tolist() == ["x", "x_result", "y", "error"]
    assert table["x_result"].tolist() == [1.5, 2.5]


def test_answers_that_are_tables_can_be_laid_out(session):
    table = session.tools.table.map(pd.DataFrame({"limit": [1, 2]})).to_frame(explode=True)
    assert table["name"].tolist() == ["Mercury", "Mercury", "Venus"]
    assert table["limit"].tolist() == [1, 2, 2]


def test_rows_without_a_frame_become_one(session):
    table = session.tools.echo.map(["a", "b"]).to_frame()
    assert table.to_dict("list") == {"text": ["a", "b"], "result": ["a", "b"], "error": [None] * 2}


def test_a_batch_shows_its_failures_on_top_and_stays_small(session):
    rows = [{"limit": 1} for _ in range(300)] + [{"limit": "many"}]
    batch = session.tools.table.map(rows, concurrency=32)
    shown = batch._repr_mimebundle_()
    lines = shown["text/plain"].splitlines()
    assert "300 of 301 rows done, 1 failed" in lines[0]
    assert lines[3].split()[0] == "300"
    assert len(lines) < 20
    assert "290 more done" in lines[-1]
    assert shown["text/html"].count("<tr>") == 12


# -- the guard --------------------------------------------------------------------------------


def test_a_destructive_tool_asks_once_with_the_count_and_the_first_row(tools):
    person = Answering(go_on=True)
    with session_with(tools.url, person) as session:
        batch = session.tools.delete.map(["a", "b", "c"])
    assert batch.done == 3
    assert len(person.asked) == 1
    assert "3 times" in person.asked[0].message
    assert '{"name": "a"}' in person.asked[0].message


def test_a_tool_that_says_nothing_asks_and_no_means_no(tools):
    with (
        session_with(tools.url, Answering(go_on=False)) as session,
        pytest.raises(ToolError, match="you said no"),
    ):
        session.tools.write.map(["a", "b"])
    assert tools.ran == []


def test_where_nobody_can_be_asked_the_error_names_the_way(session, tools):
    with pytest.raises(ToolError) as caught:
        session.tools.delete.map(["a", "b"])
    assert "confirm=False" in caught.value.hint
    assert tools.ran == []
    assert session.tools.delete.map(["a", "b"], confirm=False).done == 2


def test_a_read_only_tool_and_a_single_row_ask_nobody(session):
    assert session.tools.echo.map(["a", "b"]).done == 2
    assert session.tools.delete.map(["a"]).done == 1


# -- waiting ----------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_batch_can_be_awaited_while_other_tasks_go_on(tools):
    with session_with(tools.url) as session:
        batch = session.tools.slow.map([0.3, 0.3], wait=False)
        assert batch.done == 0
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.01)

        ticking = asyncio.create_task(tick())
        assert (await batch) is batch
        ticking.cancel()
        assert batch.done == 2
        assert ticks > 5
        assert (await session.tools.echo.map(["a"])).done == 1


def test_the_bar_tells_done_failed_and_the_time_left(tools):
    watching = Watching()
    rows = [{"seconds": 0.05, "steps": 1}] * 40 + [{"steps": "none"}]
    with session_with(tools.url, watching) as session:
        session.tools.slow.map(rows, concurrency=4)
    middle = [now for now in watching.seen if now.done and now.done < now.total]
    assert middle
    assert middle[-1].total == 41
    assert "1 failed" in middle[-1].message
    assert "a second" in middle[-1].message
    assert "left" in middle[-1].message
    assert watching.seen[-1].over


def test_a_rate_is_kept(session):
    import time

    began = time.monotonic()
    session.tools.echo.map(["x"] * 6, rate="20/s")
    assert time.monotonic() - began >= 0.25


@pytest.mark.parametrize("rate", ["fast", "5/year", 0, "-1/s"])
def test_a_rate_that_cannot_be_read_is_refused(session, rate):
    with pytest.raises(ToolError, match="rate"):
        session.tools.echo.map(["x"], rate=rate)
