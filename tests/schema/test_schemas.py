"""What a JSON Schema says, read defensively."""

from __future__ import annotations

import time
from typing import Any, Literal

import pytest

from mcp_notebook.schema.schemas import MisfitError, SchemaReader, Shape

DEFS = {
    "$defs": {
        "Size": {"enum": ["s", "m"], "description": "how big"},
        "Loop": {"$ref": "#/$defs/Loop"},
        "Tree": {"type": "array", "items": {"$ref": "#/$defs/Tree"}},
    }
}


def shape(schema):
    return SchemaReader({**DEFS, "properties": {"x": schema}}).shape(schema)


@pytest.mark.parametrize(
    ("schema", "annotation"),
    [
        ({"type": "string"}, str),
        ({"type": "integer"}, int),
        ({"type": ["string", "null"]}, str | None),
        ({"type": ["integer", "number"]}, float),
        ({"enum": ["a", "b"]}, Literal["a", "b"]),
        ({"const": 3}, Literal[3]),
        ({"type": "array", "items": {"type": "integer"}}, list[int]),
        ({"type": "array"}, list),
        (
            {"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "integer"}},
            list,
        ),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, str | None),
        (
            {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
            str | list[str],
        ),
        ({"allOf": [{"type": "number"}, {"type": "integer"}]}, int),
        ({"$ref": "#/$defs/Size"}, Literal["s", "m"]),
        ({"type": "string", "nullable": True}, str | None),
        ({"enum": ["x" * 50, "y"]}, str),
        ({}, Any),
        (True, Any),
        ({"type": "file"}, Any),
        ({"$ref": "https://evil.example/schema.json"}, Any),
        ({"$ref": "file:///etc/passwd"}, Any),
        ({"$ref": "#/$defs/Loop"}, Any),
        ({"anyOf": [{"type": "string"}, {}]}, Any),
    ],
)
def test_a_schema_becomes_a_python_type(schema, annotation):
    assert shape(schema).annotation() == annotation


@pytest.mark.parametrize(
    ("schema", "value", "sent"),
    [
        ({"type": "integer"}, 3.0, 3),
        ({"type": "number"}, 3, 3),
        ({"type": "array", "items": {"type": "integer"}}, [1.0, 2], [1, 2]),
        ({"enum": [1, "a"]}, "a", "a"),
        ({"type": ["string", "null"]}, None, None),
        ({}, {"any": "thing"}, {"any": "thing"}),
    ],
)
def test_a_value_that_fits_is_sent(schema, value, sent):
    made = shape(schema).fit(value)
    assert made == sent
    assert type(made) is type(sent)


@pytest.mark.parametrize(
    ("schema", "value", "says"),
    [
        ({"type": "integer"}, "planted", "must be int, not str"),
        ({"type": "integer"}, True, "must be int, not bool"),
        ({"type": "integer"}, 2.5, "not a fraction"),
        ({"type": "string"}, None, "must be str"),
        ({"type": ["string", "null"]}, 1, "str or None"),
        ({"enum": ["a", "b"]}, "planted", "one of 'a', 'b'"),
        ({"enum": [1]}, True, "one of 1"),
        ({"type": "array", "items": {"type": "integer"}}, [1, "planted"], "item 1"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_without_being_told(schema, value, says):
    with pytest.raises(MisfitError) as caught:
        shape(schema).fit(value)
    assert says in str(caught.value)
    assert "planted" not in str(caught.value)


def test_properties_are_collected_through_references_and_parts():
    found = SchemaReader(
        {
            "$ref": "#/$defs/Base",
            "properties": {"own": {"type": "string"}},
            "allOf": [{"properties": {"part": {}}, "required": ["part"]}],
            "anyOf": [
                {"properties": {"one": {}, "both": {}}, "required": ["both"]},
                {"properties": {"two": {}, "both": {}}, "required": ["both", "two"]},
            ],
            "$defs": {"Base": {"properties": {"base": {}}, "required": ["base"]}},
        }
    ).properties()
    assert list(found.schemas) == ["own", "base", "part", "one", "both", "two"]
    assert set(found.required) == {"base", "part", "both"}


@pytest.mark.parametrize(
    "conditional",
    [
        {"if": {"required": ["own"]}, "then": {"properties": {"more": {}}, "required": ["more"]}},
        {"if": {"required": ["own"]}, "then": True, "else": {"properties": {"more": {}}}},
        {"dependentSchemas": {"own": {"properties": {"more": {}}}}},
        {"dependencies": {"own": {"properties": {"more": {}}}, "other": ["own"]}},
    ],
)
def test_a_name_that_only_sometimes_counts_is_known_and_never_demanded(conditional):
    own = {"type": "string"}
    found = SchemaReader({"properties": {"own": own}, **conditional}).properties()
    assert found.schemas == {"own": own, "more": {}}
    assert found.required == []


@pytest.mark.parametrize("keyword", ["additionalProperties", "unevaluatedProperties"])
def test_other_names_may_be_invited(keyword):
    for said, invited in ((True, True), ({"type": "string"}, True), (False, False)):
        found = SchemaReader({"properties": {"own": {}}, keyword: said}).properties()
        assert found.extra is invited


@pytest.mark.parametrize(
    "schema", [None, [], "x", 3, True, {"properties": {f"p{i}": {} for i in range(501)}}]
)
def test_what_cannot_be_read_has_no_properties(schema):
    assert SchemaReader(schema).properties() is None


def test_what_is_said_is_found_behind_a_reference():
    reader = SchemaReader(DEFS)
    assert reader.said({"$ref": "#/$defs/Size"}, "description") == "how big"
    assert reader.said({"$ref": "#/$defs/Loop"}, "description") is None


def test_hostile_schemas_cost_little():
    wide: Any = {"type": "string"}
    for _ in range(12):
        wide = {"anyOf": [wide, wide, wide]}
    deep: Any = {}
    for _ in range(50_000):
        deep = {"items": deep, "type": "array"}
    started = time.perf_counter()
    reader = SchemaReader({"properties": {"x": {}}, **DEFS})
    assert isinstance(reader.shape(wide), Shape)
    assert isinstance(SchemaReader({}).shape(deep), Shape)
    assert isinstance(shape({"$ref": "#/$defs/Tree"}), Shape)
    assert SchemaReader({"properties": {"x": deep}}).properties() is None
    assert SchemaReader({"properties": {"x": {"description": "y" * 300_000}}}).properties() is None
    assert time.perf_counter() - started < 2
