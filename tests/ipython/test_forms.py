"""The fields of a form: what each kind is filled in with, and what is read of it."""

from __future__ import annotations

from typing import Any

import ipywidgets
import pytest

from mcp_notebook.ipython.forms import Form
from mcp_notebook.waiting.elicitation import Asking
from tests.asking import form

LONG = [str(number) for number in range(20, 40)]


def filled(schema: dict[str, Any], *values: Any, required: bool = True) -> Asking:
    """Returns a question with one field, answered by setting its widgets and clicking Send."""
    asking = Asking(form("Well?", required=("x",) if required else (), x=schema), forms=True)
    shown = Form(asking)
    for widget, value in zip(shown.inputs, values, strict=True):
        widget.value = value
    shown._submit()
    return asking


def answer(asking: Asking) -> Any:
    assert asking.over, "it does not fit"
    return asking._answer.result().content


@pytest.mark.parametrize(
    ("schema", "values", "read"),
    [
        ({"type": "string"}, ["Ada"], "Ada"),
        ({"type": "integer"}, ["3"], 3),
        ({"type": "boolean"}, [False], False),
        ({"enum": ["red", "green"]}, [1], "green"),
        ({"enum": [1, True]}, [1], True),
        ({"enum": LONG}, ["27"], "27"),
        ({"oneOf": [{"const": f"v{n}", "title": LONG[-n]} for n in range(1, 20)]}, ["39"], "v1"),
        ({"type": "array", "items": {"enum": ["a", "b", "c"]}}, [True, False, True], ["a", "c"]),
        ({"type": "object"}, ['{"a": 1}'], {"a": 1}),
    ],
)
def test_each_kind_of_field_reads_what_was_filled_in(schema, values, read):
    found = answer(filled(schema, *values))["x"]
    assert (found, type(found)) == (read, type(read))


@pytest.mark.parametrize(
    ("schema", "empty"),
    [
        ({"type": "string"}, [""]),
        ({"type": "boolean"}, [None]),
        ({"enum": ["red", "green"]}, [None]),
        ({"enum": LONG}, [""]),
    ],
)
def test_nothing_is_chosen_for_the_person(schema, empty):
    assert answer(filled(schema, *empty, required=False)) == {}
    assert not filled(schema, *empty).over


def test_a_field_that_does_not_fit_is_marked_until_another_one_is():
    asking = Asking(form("Well?", a={"type": "integer"}, b={"type": "integer"}), forms=True)
    shown = Form(asking)
    first, second = shown.inputs
    first.value = second.value = "many"
    shown._submit()
    assert ("mcpnb-misfit" in first._dom_classes, "mcpnb-misfit" in second._dom_classes) == (
        True,
        False,
    )
    first.value = "1"
    shown._submit()
    assert ("mcpnb-misfit" in first._dom_classes, "mcpnb-misfit" in second._dom_classes) == (
        False,
        True,
    )
    second.value = "2"
    shown._submit()
    assert answer(asking) == {"a": 1, "b": 2}


def test_no_form_has_what_cannot_be_worked_by_keyboard_in_a_notebook():
    kinds = [
        {"type": "boolean"},
        {"enum": ["red", "green"]},
        {"enum": LONG},
        {"type": "array", "items": {"enum": LONG}},
    ]
    question = form("Well?", **{f"f{number}": kind for number, kind in enumerate(kinds)})
    selects = ipywidgets.Dropdown | ipywidgets.Select | ipywidgets.SelectMultiple
    assert not [w for w in Form(Asking(question, forms=True)).inputs if isinstance(w, selects)]


@pytest.mark.parametrize(
    ("schema", "values"),
    [
        ({"type": "string"}, ["planted"]),
        ({"type": "string", "title": "Password"}, ["planted"]),
        ({"enum": ["red", "blue"]}, [1]),
        ({"enum": [*LONG, "planted"]}, ["planted"]),
        ({"type": "array", "items": {"enum": ["red", "blue"]}}, [False, True]),
    ],
)
def test_what_was_filled_in_leaves_the_widgets_when_it_is_over(schema, values):
    asking = Asking(form("Well?", x=schema), forms=True)
    shown = Form(asking)
    holders = shown.inputs
    for widget, value in zip(holders, values, strict=True):
        widget.value = value
    shown._submit()
    assert asking.over
    shown._finish()
    for widget in holders:
        state = widget.get_state()
        assert state.get("value") in (None, "", False)
        assert state.get("index") is None
        assert "planted" not in str(state)
