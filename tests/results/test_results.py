"""What a tool answered: what it holds and how it shows itself."""

from __future__ import annotations

import base64
import copy
import io
import json
import pickle
import re

import pytest
from IPython.core.formatters import DisplayFormatter
from mcp_types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    EmbeddedResource,
    Icon,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)
from PIL import Image

from mcp_notebook.errors import MCPNotebookError, ToolFailedError
from mcp_notebook.results.tool_result import ToolResult, failure

WRAPPED = {"type": "object", "properties": {"result": {"type": "integer"}}}


def answer(*content, structured=None, schema=None, error=False, **options) -> ToolResult:
    blocks = [TextContent(text=part) if isinstance(part, str) else part for part in content]
    raw = CallToolResult(content=blocks, structured_content=structured, is_error=error)
    return ToolResult(raw, tool="look", server="notes", output_schema=schema, **options)


def drawn(kind: str = "PNG", side: int = 20) -> str:
    file = io.BytesIO()
    Image.new("RGB", (side, side), "teal").save(file, kind)
    return base64.b64encode(file.getvalue()).decode()


def picture(kind: str = "PNG", said: str = "image/png") -> ImageContent:
    return ImageContent(data=drawn(kind), mime_type=said)


def shown(result: ToolResult) -> dict[str, str]:
    return result._repr_mimebundle_()


# -- the value ---------------------------------------------------------------------------------


def test_structured_content_comes_first():
    assert answer("something else", structured={"a": 1}).data == {"a": 1}


def test_a_value_that_the_schema_only_wraps_is_unwrapped():
    assert answer("5", structured={"result": 5}, schema=WRAPPED).data == 5
    assert answer(structured={"result": None}, schema=WRAPPED).data is None


def test_a_value_that_merely_looks_wrapped_is_left_alone():
    two = {"type": "object", "properties": {"result": {}, "next": {}}}
    for schema in (None, {}, two):
        assert answer(structured={"result": 5}, schema=schema).data == {"result": 5}


@pytest.mark.parametrize("structured", [{}, [], 0, False, ""])
def test_empty_structured_content_is_still_the_value(structured):
    assert answer("text", structured=structured).data == structured


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": [1, 2]}', {"a": [1, 2]}),
        ("5", 5),
        ("null", None),
        (" [1]\n", [1]),
        ("five", "five"),
        ("", ""),
        ("NaN", "NaN"),
        ("[NaN]", "[NaN]"),
        ("007", "007"),
        ("1" * 10_000, "1" * 10_000),
        ("[" * 100_000, "[" * 100_000),
        ("[" * 100_000 + "]" * 100_000, "[" * 100_000 + "]" * 100_000),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_text_that_is_json_is_its_value_and_any_other_is_itself(text, value):
    assert answer(text).data == value


def test_texts_that_are_each_a_record_are_a_list_of_them():
    assert answer('{"n": 1}', '{"n": 2}').data == [{"n": 1}, {"n": 2}]
    assert answer('{"n": 1}', "and").data == '{"n": 1}\nand'
    assert answer("1", "2").data == "1\n2"


def test_the_text_is_exactly_what_came():
    assert answer("a\x1b[31m", "<b>").text == "a\x1b[31m\n<b>"
    assert answer().text == ""
    assert answer().data is None


def test_pictures_sounds_links_and_resources_are_found():
    wave = base64.b64encode(b"RIFF\0\0\0\0WAVE").decode()
    inside = EmbeddedResource(resource=BlobResourceContents(uri="x://1", blob=drawn("GIF")))
    note = EmbeddedResource(resource=TextResourceContents(uri="x://2", text="hi"))
    link = ResourceLink(name="l", uri="x://3")
    result = answer(picture(), AudioContent(data=wave, mime_type="a/b"), inside, note, link)
    assert [found.mime for found in result.images] == ["image/png", "image/gif"]
    assert [found.mime for found in result.audio] == ["audio/wav"]
    assert [found.uri for found in result.resources] == ["x://1", "x://2"]
    assert result.links == [link]
    assert Image.open(io.BytesIO(result.images[0].data)).size == (20, 20)


def test_the_answer_becomes_a_frame():
    assert answer(structured={"result": [{"a": 1}, {"a": 2}]}).to_frame()["a"].sum() == 3
    assert list(answer("a,b\n1,2").to_frame().columns) == ["a", "b"]
    with pytest.raises(MCPNotebookError, match="not a table"):
        answer("prose").to_frame()


def test_what_the_server_adds_about_the_answer_is_kept():
    raw = CallToolResult.model_validate({"content": [], "_meta": {"k": 1}})
    result = ToolResult(raw, tool="look", server="notes")
    assert result.meta == {"k": 1}
    assert result.raw is raw


def test_a_result_can_be_copied_and_kept():
    result = answer(structured={"a": 1})
    assert copy.deepcopy(result).data == {"a": 1}
    assert pickle.loads(pickle.dumps(result)).data == {"a": 1}


# -- how it is shown ---------------------------------------------------------------------------


def test_a_value_is_shown_with_its_source_in_text_and_html():
    bundle = shown(answer("5", structured={"result": 5}, schema=WRAPPED))
    assert bundle["text/plain"] == "notes · look: 5"
    assert "notes · look" in bundle["text/html"]
    assert repr(answer("5")) == "<ToolResult of notes · look: 5>"


def test_only_html_and_text_are_offered_whatever_the_server_says():
    result = answer(
        "# Markdown\n<script>alert(1)</script>",
        picture(said="text/html"),
        picture("JPEG", said="application/javascript"),
        ImageContent(data="PHNjcmlwdD4=", mime_type="application/vnd.jupyter.widget-view+json"),
        AudioContent(data="PHNjcmlwdD4=", mime_type="text/markdown"),
        structured={"a": 1},
    )
    bundle = shown(result)
    assert set(bundle) == {"text/plain", "text/html"}
    sources = re.findall(r'src="data:([^;]+);', bundle["text/html"])
    assert sources == ["image/png", "image/jpeg"]
    assert "<script" not in bundle["text/html"]


def test_several_pictures_stand_side_by_side_with_a_text_alternative():
    markup = shown(answer(picture(), picture("WEBP")))["text/html"]
    assert markup.count("<figure><img alt=") == 2
    assert "Picture 2 from notes · look" in markup


def test_a_lone_picture_is_also_offered_as_itself_for_export():
    bundle = shown(answer(picture()))
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")
    assert "application/json" not in bundle
    assert set(shown(answer("text", picture()))) == {"text/plain", "text/html"}


def test_svg_is_shown_as_text_only():
    source = base64.b64encode(b"<svg onload='alert(1)'></svg>").decode()
    bundle = shown(answer(ImageContent(data=source, mime_type="image/svg+xml")))
    assert set(bundle) == {"text/plain", "text/html"}
    assert "&lt;svg" in bundle["text/html"]
    assert "<svg" not in bundle["text/html"]


def test_texts_that_repeat_the_structured_content_are_shown_once():
    value = {"city": "Oslo", "population": 700_000}
    assert shown(answer(json.dumps(value), structured=value))["text/plain"].count("Oslo") == 1
    items = {"result": ["Oslo", "Bergen"]}
    assert (
        shown(answer("Oslo", "Bergen", structured=items, schema=WRAPPED))["text/plain"].count(
            "Oslo"
        )
        == 1
    )
    other = shown(answer("Found it.", structured=value))["text/plain"]
    assert other.index("Found it.") < other.index("Oslo")


def test_content_is_shown_in_the_order_of_the_server():
    plain = shown(answer("before", picture(), "after"))["text/plain"]
    assert plain.index("before") < plain.index("[Picture 1") < plain.index("after")


def test_nothing_a_server_refers_to_is_loaded_or_disguised():
    link = ResourceLink(
        name="here",
        uri="javascript:alert(1)",
        description="<b>",
        icons=[Icon(src="https://evil.example/i.png")],
    )
    file = ResourceLink(name="secret", uri="file:///etc/passwd")
    web = ResourceLink(name="docs", uri="https://example.com/docs")
    markup = shown(answer(link, file, web))["text/html"]
    assert re.findall(r'href="([^"]*)"', markup) == ["https://example.com/docs"]
    assert ">https://example.com/docs</a>" in markup
    assert "src=" not in markup
    assert "i.png" not in markup


def test_a_source_that_is_markup_is_escaped():
    raw = CallToolResult(content=[TextContent(text="x")])
    result = ToolResult(raw, tool="</div><script>\x1b[2J", server="notes")
    assert "<script" not in shown(result)["text/html"]
    assert "\x1b" not in shown(result)["text/plain"] + repr(result)


def test_many_parts_and_many_bytes_are_cut_with_a_note():
    assert "20 parts more: .raw.content" in shown(answer(*[picture()] * 70))["text/html"]
    noise = drawn()
    large = base64.b64encode(base64.b64decode(noise) + bytes(9_000_000)).decode()
    bundle = shown(answer(*[ImageContent(data=large, mime_type="image/png")] * 4))
    assert bundle["text/html"].count("<img") == 2
    assert ".images has it" in bundle["text/plain"]


def test_a_huge_answer_is_shown_quickly_and_stays_whole():
    text = json.dumps({"rows": ["y" * 100] * 300_000})
    result = answer(text, structured=json.loads(text))
    bundle = shown(result)
    assert sum(map(len, bundle.values())) < 100_000
    assert len(result.text) == len(text)


def test_an_empty_answer_says_so():
    assert shown(answer())["text/plain"] == "notes · look: (an empty answer)"
    assert repr(answer()) == "<ToolResult of notes · look: nothing>"


def test_the_summary_holds_nothing_of_the_answer():
    secret = "tomato-7731"
    for result in (
        answer(secret, show="summary"),
        answer(structured={secret: secret}, show="summary"),
        answer(structured=[{"a": secret}, {"a": 1}], show="summary"),
    ):
        bundle = shown(result)
        assert set(bundle) == {"text/plain"}
        assert secret not in bundle["text/plain"] + repr(result)
    assert "2 rows × 1 columns" in repr(answer(structured=[{"a": 1}, {"a": 2}], show="summary"))


def test_markdown_is_rendered_on_request_only():
    result = answer("**bold** <script>alert(1)</script> ![x](https://evil.example/x.png)")
    assert "<strong>" not in shown(result)["text/html"]
    bundle = result.markdown()._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    assert "<strong>bold</strong>" in bundle["text/html"]
    assert "<script" not in bundle["text/html"]
    assert "<img" not in bundle["text/html"]


def test_ipython_shows_the_result_and_asks_it_nothing_else():
    data, _ = DisplayFormatter().format(answer(structured={"a": 1}))
    assert set(data) == {"text/plain", "text/html"}
    assert data["text/plain"].startswith("notes · look:")


# -- an answer that is an error ----------------------------------------------------------------


def test_a_failure_says_what_the_server_said_and_carries_the_answer():
    result = answer("no such\x1b[31m row", error=True)
    error = failure(result)
    assert isinstance(error, ToolFailedError)
    assert error.message == "look of notes failed: no such row"
    assert error.result is result
    assert error.tool == "look"
    assert error.hint


def test_a_failure_without_text_tells_what_there_is():
    assert "code" in failure(answer(structured={"code": 7}, error=True)).message
    assert "no reason" in failure(answer(error=True)).message


def test_a_long_failure_is_cut_and_keeps_its_lines():
    error = failure(
        answer("Traceback:\n" + "\n".join(f"line {n}" for n in range(10**5)), error=True)
    )
    assert len(error.message) < 2_200
    assert error.message.startswith("look of notes failed:\nTraceback:\nline 0\n")
    assert error.message.endswith("…")


def test_a_failure_that_echoes_a_credential_does_not_repeat_it():
    error = failure(answer("rejected: Authorization: Bearer abcdef123456", error=True))
    assert "abcdef123456" not in str(error) + repr(error)


@pytest.mark.parametrize("text", ["two\nlines", '{"a": "text"}', "5"])
def test_an_object_that_only_holds_the_text_is_shown_as_the_text(text):
    result = answer(text, structured={"content": text})
    assert result.data == {"content": text}
    assert "content" not in shown(result)["text/plain"]
    assert "content" not in shown(result)["text/html"].partition("</style>")[2]
    assert str(result) == str(answer(text))
    assert "other" in str(answer(text, structured={"content": "other"}))
    assert "2" in str(answer(text, structured={"content": text, "more": 2}))


def test_pictures_beside_the_text_that_an_object_holds_are_shown():
    result = answer("text", picture(), structured={"content": "text"})
    assert "Picture 1" in str(result)
