"""Answers as Arrow tables and Parquet files: types, what fits no type, going on, a crash."""

from __future__ import annotations

import builtins
import json
import math
import os
import subprocess
import sys

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import parquet

from mcp_notebook.batch.batch import BatchStopped
from mcp_notebook.batch.parquet import Parquet
from mcp_notebook.batch.sink import JSONLines, Record
from mcp_notebook.errors import MCPNotebookError, ToolError
from mcp_notebook.results import arrow
from mcp_notebook.results.tool_result import ToolResult


def column(values: list, **more) -> pa.ChunkedArray:
    return arrow.table([{"x": value} for value in values], ["x"])["x"]


# -- types ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, None, 2], pa.int64()),
        ([1, 2.5], pa.float64()),
        (["a", None], pa.string()),
        ([True, None], pa.bool_()),
        ([None, None], pa.string()),
        ([[], [1]], pa.list_(pa.int64())),
        ([{"a": 1}, {"b": "x"}], pa.struct([("a", pa.int64()), ("b", pa.string())])),
        ([{"a": None}], pa.struct([("a", pa.string())])),
    ],
)
def test_a_column_has_the_type_in_which_all_its_values_fit(values, kind):
    assert column(values).type == kind
    assert column([1, math.nan]).to_pylist() == [1, None]


@pytest.mark.parametrize(
    "values",
    [
        [1, "a"],
        [True, 1],
        [{"a": 1}, {"a": "x"}],
        [{}],
        [[{}]],
        [2**70],
        [2**60 + 1, 0.5],
        ["\ud800"],
        [{f"id{n}": n for n in range(2000)}],
    ],
)
def test_values_that_share_no_type_are_written_as_json_and_none_is_changed(values):
    texts = column([*values, None])
    assert texts.type == pa.string()
    assert [json.loads(text) for text in texts.to_pylist()[:-1]] == values
    assert texts.to_pylist()[-1] is None


@pytest.mark.parametrize("levels", [49, 60, 900, 100_000])
def test_what_is_nested_deeply_does_not_end_the_process(levels):
    value = 1
    for _ in range(levels):
        value = {"a": value} if levels % 2 else [value]
    [text] = column([value]).to_pylist()
    assert text is not None


def test_what_a_row_holds_may_be_anything():
    circle: list = []
    circle.append(circle)
    texts = column([circle, {(1, 2): 3}, {"a": object}]).to_pylist()
    assert [json.loads(text) for text in texts] == ["[[...]]", "{(1, 2): 3}", {"a": str(object)}]


def test_types_of_a_file_are_those_of_all_its_parts(tmp_path):
    parts = [
        [{"a": 1, "b": 2**60 + 1, "c": 1, "d": {"x": 1}}],
        [{"a": 0.5, "b": 0.5, "c": "x", "d": {"y": "z"}}],
    ]
    path = tmp_path / "parts.parquet"
    arrow.write_parquet(path, lambda: parts, ["a", "b", "c", "d"])
    written = parquet.read_table(path)
    assert written["a"].to_pylist() == [1.0, 0.5]
    assert written["b"].to_pylist() == [str(2**60 + 1), "0.5"]
    assert written["c"].to_pylist() == ["1", '"x"']
    assert written["d"].to_pylist() == [{"x": 1, "y": None}, {"x": None, "y": "z"}]
    assert list(tmp_path.iterdir()) == [path]


def test_without_pyarrow_it_says_what_to_install(session, monkeypatch, tmp_path):
    batch = session.tools.table.map([{"limit": 1}])
    there = builtins.__import__

    def absent(name, *rest):
        if name.partition(".")[0] == "pyarrow":
            raise ImportError(name)
        return there(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    for use in (
        batch.to_arrow,
        batch[0].to_arrow,
        lambda: session.tools.echo.map(["a"], sink=tmp_path / "x.parquet"),
    ):
        with pytest.raises(MCPNotebookError, match="pyarrow") as caught:
            use()
        assert "mcp-notebook[arrow]" in caught.value.hint


# -- a batch ----------------------------------------------------------------------------------


def test_a_batch_is_the_table_that_its_frame_is(session):
    frame = pd.DataFrame({"a": [1, 2], "b": [10, 20], "city": ["Ulm", None]})
    batch = session.tools.add.map(frame)
    table = batch.to_arrow()
    assert table.column_names == batch.to_frame().columns.tolist()
    assert table["result"].to_pylist() == [11, 22]
    assert table["city"].to_pylist() == ["Ulm", None]
    assert table.schema.field("error").type == pa.string()


def test_polars_and_pyarrow_take_a_batch_as_it_is(session):
    batch = session.tools.fail.map(["x", "y"], confirm=False)
    assert pa.table(batch).equals(batch.to_arrow())
    frame = pl.DataFrame(batch)
    assert frame.shape == (2, 2)
    assert "x" in frame["error"][0]


def test_answers_that_are_tables_can_become_rows(session):
    batch = session.tools.table.map([{"limit": 3}, {"limit": 2}])
    assert batch.to_arrow(explode=True).num_rows == 5
    assert batch.to_arrow().num_rows == 2


def test_a_result_that_is_a_table_is_one_for_arrow_too(session):
    result = session.tools.table(limit=3)
    assert isinstance(result, ToolResult)
    assert pl.DataFrame(result).shape == result.to_frame().shape
    with pytest.raises(MCPNotebookError, match="not a table"):
        pa.table(session.tools.picture(width=1))


# -- a Parquet file ---------------------------------------------------------------------------


def test_answers_become_a_parquet_file_in_the_order_of_the_rows(session, tmp_path):
    path = tmp_path / "out" / "answers.parquet"
    batch = session.tools.add.map([{"a": n} for n in range(100)], b=1, sink=path, concurrency=16)
    written = pd.read_parquet(path)
    assert written.columns.tolist() == ["row", "a", "b", "result", "error"]
    assert written["row"].tolist() == list(range(100))
    assert written["result"].tolist() == list(range(1, 101))
    assert batch._work.kept == []
    assert batch.to_frame()["result"].tolist() == list(range(1, 101))
    assert batch.to_arrow().equals(parquet.read_table(path).drop_columns("row"))


def test_a_run_that_is_done_again_calls_nothing_and_leaves_the_file_as_it_is(
    session, tools, tmp_path
):
    path = tmp_path / "answers.parquet"
    rows = [{"a": n} for n in range(10)]
    session.tools.add.map(rows, b=1, sink=path)
    before = path.stat()
    assert session.tools.add.map(rows, b=1, sink=path)._work.known == 10
    assert tools.calls("add") == 10
    assert path.stat().st_ino == before.st_ino


def test_what_was_answered_before_stop_can_be_read_and_the_rest_is_gone_on_with(
    session, tools, tmp_path
):
    path = tmp_path / "answers.parquet"
    stop = [True]

    def rows():
        for number in range(100):
            if number == 70 and stop[0]:
                raise KeyboardInterrupt
            yield {"a": number}

    with pytest.raises(BatchStopped):
        session.tools.add.map(rows(), b=1, sink=path, concurrency=1)
    answered = pl.read_parquet(path)
    assert 0 < len(answered) <= 70
    assert answered["result"].to_list() == [n + 1 for n in range(len(answered))]
    stop[0] = False
    session.tools.add.map(rows(), b=1, sink=path)
    assert pl.read_parquet(path)["result"].to_list() == list(range(1, 101))
    assert tools.calls("add") in {100, 101}  # one may have been under way


DIES = """
import os, sys
from pathlib import Path
from tests.mapping import session_with
path = Path(sys.argv[2])
def rows():
    for number in range(1000):
        if number and path.with_name("answers.parquet.jsonl").exists():
            if len(path.with_name("answers.parquet.jsonl").read_bytes().splitlines()) > 30:
                os._exit(9)
        yield {"a": number}
with session_with(sys.argv[1]) as session:
    session.tools.add.map(rows(), b=1, sink=path, concurrency=4)
"""


def test_a_kernel_that_dies_loses_no_answer_it_had_written(session, tools, tmp_path):
    path = tmp_path / "answers.parquet"
    ran = subprocess.run(
        [sys.executable, "-c", DIES, tools.url, str(path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=60,
        check=False,
    )
    assert ran.returncode == 9
    assert not path.exists()
    kept = list(JSONLines(path.with_name("answers.parquet.jsonl")).read())
    before = tools.calls("add")
    session.tools.add.map([{"a": n} for n in range(200)], b=1, sink=path)
    assert tools.calls("add") - before == 200 - len(kept)
    assert pd.read_parquet(path)["result"].tolist() == list(range(1, 201))


def test_a_retry_takes_the_place_of_the_failure(session, tmp_path):
    path = tmp_path / "answers.parquet"
    batch = session.tools.fail.map(["x"], sink=path, confirm=False)
    assert "x" in pl.read_parquet(path)["error"][0]
    batch.retry_failed()
    assert len(pl.read_parquet(path)) == 1


def test_pictures_are_in_the_file_as_the_server_sent_them(session, tmp_path):
    path = tmp_path / "answers.parquet"
    session.tools.picture.map([{"width": 3}], sink=path)
    [content] = pd.read_parquet(path)["content"]
    assert [block["type"] for block in content if block["type"] == "image"]


def test_a_parquet_file_that_was_not_made_here_is_not_written_over(session, tools, tmp_path):
    path = tmp_path / "mine.parquet"
    pd.DataFrame({"precious": [1]}).to_parquet(path)
    for rows in (["a"], [{"text": 5}]):  # what does not fit the tool is written as well
        with pytest.raises(ToolError, match=r"mine\.parquet is there already"):
            session.tools.echo.map(rows, sink=path)
    assert tools.calls("echo") == 0
    assert pd.read_parquet(path)["precious"].tolist() == [1]


def test_columns_that_are_called_the_same_are_told_apart(tmp_path):
    sink = Parquet(tmp_path / "answers.parquet")
    arguments = {"row": "r", "error": "e", "x": 1}
    sink.write([Record(0, arguments, {"x": 2, "error": "none", "content": "c"}, content=[{}])])
    sink.close()
    [row] = parquet.read_table(sink.path).to_pylist()
    assert row == {
        "row_number": 0,
        **arguments,
        "x_result": 2,
        "error_result": "none",
        "content": "c",
        "content_result": "[{}]",
        "error_result_result": None,
    }


def test_answers_whose_keys_are_data_are_one_column(tmp_path):
    sink = Parquet(tmp_path / "answers.parquet")
    sink.write(Record(n, {"n": n}, {f"id{n}-{m}": m for m in range(30)}) for n in range(100))
    sink.close()
    written = parquet.read_table(sink.path)
    assert written.column_names == ["row", "n", "result", "error"]
    assert json.loads(written["result"][3].as_py())["id3-7"] == 7


def test_half_a_surrogate_pair_is_no_reason_to_lose_an_answer(tmp_path):
    sink = Parquet(tmp_path / "answers.parquet")
    sink.write([Record(0, {"a": "\ud83d"}, "\ud83d")])
    sink.close()
    assert json.loads(parquet.read_table(sink.path)["result"][0].as_py()) == "\ud83d"


def test_a_file_that_could_not_be_made_is_made_by_the_next_run(session, tools, tmp_path):
    path = tmp_path / "answers.parquet"
    path.with_name("answers.parquet.unfinished").mkdir()
    with pytest.raises(OSError, match="unfinished"):
        session.tools.echo.map(["a"], sink=path)
    path.with_name("answers.parquet.unfinished").rmdir()
    session.tools.echo.last_batch.resume()
    assert pl.read_parquet(path)["result"].to_list() == ["a"]
    assert tools.calls("echo") == 1


def test_a_clock_that_runs_differently_leaves_no_answer_out(session, tmp_path):
    path = tmp_path / "answers.parquet"
    session.tools.echo.map(["a"], sink=path)
    os.utime(path, (2**33, 2**33))
    session.tools.echo.map(["a", "b"], sink=path)
    assert pl.read_parquet(path)["result"].to_list() == ["a", "b"]


def test_a_kernel_that_died_before_the_file_was_made_has_it_made_by_the_next(
    session, tools, tmp_path
):
    path = tmp_path / "answers.parquet"
    session.tools.echo.map(["a"], sink=path.with_name("answers.parquet.jsonl"))
    session.tools.echo.map(["a"], sink=path)
    assert pl.read_parquet(path)["result"].to_list() == ["a"]
    assert tools.calls("echo") == 1


def test_when_only_the_parquet_file_is_left_it_says_how_to_read_it(session, tmp_path):
    path = tmp_path / "answers.parquet"
    batch = session.tools.echo.map(["a"], sink=path)
    path.with_name("answers.parquet.jsonl").unlink()
    with pytest.raises(ToolError) as caught:
        batch.to_frame()
    assert f"read_parquet({str(path)!r})" in caught.value.hint


def test_no_more_than_a_part_is_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("mcp_notebook.batch.parquet.PART_ROWS", 10)
    sink = Parquet(tmp_path / "answers.parquet")
    sink.write(Record(n, {"n": n}, n) for n in reversed(range(95)))
    sink.close()
    file = parquet.ParquetFile(sink.path)
    assert file.num_row_groups == 10
    assert file.read()["row"].to_pylist() == list(range(95))
    file.close()
