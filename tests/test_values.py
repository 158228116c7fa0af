"""What a person has in a cell, as JSON."""

from __future__ import annotations

import datetime
import decimal
import enum
import json
import pathlib
import uuid

import numpy as np
import pandas as pd
import pytest

from mcp_notebook.schema.values import NotJSONError, to_json


class Colour(enum.StrEnum):
    RED = "red"


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
        (pd.NA, None),
        (pd.NaT, None),
        (pd.Timestamp("2024-01-01"), "2024-01-01T00:00:00"),
        (pd.Series([1.0, None]), [1.0, None]),
        (pd.Series(pd.to_datetime(["2024-01-01", None])), ["2024-01-01T00:00:00", None]),
        (pd.Index(["a", "b"]), ["a", "b"]),
        ({"k": 1}.keys(), ["k"]),
        ({"k": 1}.values(), [1]),
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
        {("a",): 1},
        {True: 1},
        pd.DataFrame({"a": [1]}),
        (item for item in ()),
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
