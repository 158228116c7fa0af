"""What a person has in a cell, as JSON."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import pathlib
import uuid
from typing import NamedTuple

import matplotlib.figure
import numpy as np
import pandas as pd
import pytest
from mcp_types import CallToolResult
from PIL import Image
from pydantic import BaseModel, RootModel, SecretStr

from mcp_notebook.results.tool_result import ToolResult
from mcp_notebook.schema.values import NotJSONError, meant, to_json


class Colour(enum.StrEnum):
    RED = "red"


@dataclasses.dataclass
class Spot:
    x: float
    when: datetime.date | None = None


class Place(BaseModel):
    name: str
    spot: Spot


class Pair(NamedTuple):
    x: int
    y: int


class Columns:
    """A DataFrame of polars, as far as it matters here."""

    columns = ("a",)

    def to_dict(self) -> dict[str, list[int]]:
        return {"a": [1, 2]}

    def to_dicts(self) -> list[dict[str, int]]:
        return [{"a": 1}, {"a": 2}]


def answered(value):
    return ToolResult(CallToolResult(content=[], structured_content=value), tool="t", server="s")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        ((1, 2.5, "a"), [1, 2.5, "a"]),
        ({1: {"a": range(2)}}, {"1": {"a": [0, 1]}}),
        (Colour.RED, "red"),
        (datetime.date(2024, 2, 29), "2024-02-29"),
        (datetime.datetime(2024, 1, 1, 12, tzinfo=datetime.UTC), "2024-01-01T12:00:00+00:00"),
        (pathlib.PurePosixPath("/a/b"), "/a/b"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (decimal.Decimal("3.0"), 3),
        (decimal.Decimal("2.5"), 2.5),
        (float("nan"), None),
        (np.int64(3), 3),
        (np.float64(2.5), 2.5),
        (np.bool_(1), True),
        (np.str_("a"), "a"),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.datetime64("2024-01-01"), "2024-01-01"),
        (np.array(["2024-01-01"], dtype="datetime64[ns]"), ["2024-01-01T00:00:00.000000000"]),
        (np.array([["2024-01-01"]], dtype="datetime64[ns]"), [["2024-01-01T00:00:00.000000000"]]),
        (np.array("2024-01-01", dtype="datetime64[ns]"), "2024-01-01T00:00:00.000000000"),
        (pd.NA, None),
        (pd.NaT, None),
        (pd.Timestamp("2024-01-01"), "2024-01-01T00:00:00"),
        (pd.Series([1.0, None]), [1.0, None]),
        (pd.Series(pd.to_datetime(["2024-01-01", None])), ["2024-01-01T00:00:00", None]),
        (pd.Index(["a", "b"]), ["a", "b"]),
        ({"k": 1}.keys(), ["k"]),
        ({"k": 1}.values(), [1]),
        (Spot(1, datetime.date(2024, 2, 29)), {"x": 1, "when": "2024-02-29"}),
        ([Place(name="here", spot=Spot(2))], [{"name": "here", "spot": {"x": 2, "when": None}}]),
        (RootModel[list[int]]([1, 2]), [1, 2]),
        (answered({"id": 5}), {"id": 5}),
        ([answered([1, 2])], [[1, 2]]),
    ],
)
def test_a_value_of_a_notebook_becomes_plain_json(value, expected):
    made = to_json(value)
    assert made == expected
    assert type(made) is type(expected)
    json.dumps(made, allow_nan=False)


@pytest.mark.parametrize(
    "value",
    [
        b"x",
        bytearray(b"x"),
        float("inf"),
        "\ud800",
        object(),
        lambda: None,
        np.timedelta64(1, "s"),
        np.array([1], dtype="timedelta64[ns]"),
        {("a",): 1},
        {True: 1},
        pd.DataFrame({"a": [1]}),
        (item for item in ()),
        datetime.timedelta(hours=1),
        decimal.Decimal("123456789.0123456789"),
        answered(None),
        Spot,
        RootModel[SecretStr](SecretStr("hush")),
    ],
)
def test_what_has_no_place_in_json_is_refused_without_its_value(value):
    with pytest.raises(NotJSONError) as caught:
        to_json({"deep": [value]})
    assert "0x" not in str(caught.value)


def test_a_cycle_is_refused():
    loop: list = []
    loop += [loop, loop]
    with pytest.raises(NotJSONError, match="deeply"):
        to_json(loop)


def test_a_data_frame_is_told_how_it_is_sent():
    with pytest.raises(NotJSONError, match=r"\.map\(\)"):
        to_json(pd.DataFrame({"a": [1]}))


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (map(str, [1]), "list"),
        (Image.new("RGB", (1, 1)), "base64"),
        (matplotlib.figure.Figure(), "base64"),
        (pd.DataFrame({"a": [1]}), ".to_dict('records')"),
        (Columns(), ".to_dicts()"),
        (decimal.Decimal("0.1234567890123456789"), "as text"),
        (pd.Timedelta("1h"), "duration"),
    ],
)
def test_what_is_refused_tells_what_to_send_instead(value, told):
    with pytest.raises(NotJSONError) as caught:
        to_json(value)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("value", "types", "written", "expected"),
    [
        (decimal.Decimal("1.10"), ("number", "string"), "", "1.10"),
        (decimal.Decimal("1.10"), ("string",), "decimal", "1.10"),
        (datetime.timedelta(hours=1, microseconds=500_000), ("string",), "duration", "PT3600.5S"),
        (pd.Timedelta("-90s"), ("string",), "duration", "-PT90S"),
        (pd.Timestamp("2024-05-01"), ("string",), "date", "2024-05-01"),
        (
            datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC),
            ("string", "null"),
            "date",
            "2024-05-01",
        ),
        (b"\xff\x00", ("string",), "base64", "/wA="),
        (bytearray(b"a"), ("string", "null"), "byte", "YQ=="),
        (pd.DataFrame({"a": [1, 2]}), ("array",), "", [{"a": 1}, {"a": 2}]),
        (Columns(), ("array", "null"), "", [{"a": 1}, {"a": 2}]),
        (pd.Series({"x": 1, "y": 2}), ("object",), "", {"x": 1, "y": 2}),
        (Pair(1, 2), ("object", "null"), "", {"x": 1, "y": 2}),
    ],
)
def test_the_schema_tells_what_a_value_stands_for(value, types, written, expected):
    assert meant(value, types, written) == expected


@pytest.mark.parametrize(
    ("value", "types", "written"),
    [
        (decimal.Decimal("1.10"), ("number",), ""),
        (datetime.timedelta(1), ("string",), ""),
        (datetime.datetime(2024, 5, 1, 12, tzinfo=datetime.UTC), ("string",), "date"),
        (datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC), ("string",), "date-time"),
        (pd.NaT, ("string",), "date"),
        (b"a", ("string",), "binary"),
        (pd.DataFrame({"a": [1]}), (), ""),
        (pd.DataFrame({"a": [1]}), ("object",), ""),
        (Pair(1, 2), ("array", "object"), ""),
    ],
)
def test_where_the_schema_does_not_tell_nothing_is_guessed(value, types, written):
    assert meant(value, types, written) is value
