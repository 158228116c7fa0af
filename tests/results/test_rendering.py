"""Foreign values as text and HTML: safe, cut, readable."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from mcp_notebook.results import html, rendering
from mcp_notebook.results.markdown import to_html

NASTY = [
    "<script>alert(1)</script>",
    '<img src=x onerror="alert(1)">',
    "<iframe src='https://evil.example'></iframe>",
    "</style><style>body{display:none}</style>",
    "</pre></div><form action=https://evil.example><input name=token></form>",
    '" onmouseover="alert(1)',
    "\x1b]8;;https://evil.example\x07click\x1b]8;;\x07 \x1b]52;c;aGk=\x07 \x1b[2J\x9b31m",
    "safe\rOVERWRITE\u202egnp.exe\u200b\u2066\0",
    r"$\href{javascript:alert(1)}{x}$ \unicode{x}",
]
TAGS = re.compile(
    "div|style|span|pre|code|table|caption|thead|tbody|tr|th|td|details|summary|figure|img|"
    "figcaption|audio|a|h1|p|strong|em|s|hr|br|ul|li|ol|blockquote"
)
ATTRIBUTES = re.compile(
    "class|open|href|title|target|rel|alt|src|scope|controls|preload|aria-label"
)


class Checker(HTMLParser):
    """Fails on every element and attribute that we do not make, and on wrong nesting."""

    def __init__(self) -> None:
        super().__init__()
        self.path: list[str] = []
        self.text: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag, attrs):
        assert TAGS.fullmatch(tag)
        assert all(ATTRIBUTES.fullmatch(name) for name, _ in attrs)
        self.links += [value for name, value in attrs if name == "href"]
        self.sources += [value for name, value in attrs if name == "src"]
        if tag not in {"img", "br", "hr"}:
            self.path.append(tag)

    def handle_endtag(self, tag):
        assert self.path.pop() == tag

    def handle_data(self, data):
        if self.path[-1:] != ["style"]:
            self.text.append(data)


def checked(markup: str) -> Checker:
    checker = Checker()
    checker.feed(markup)
    checker.close()
    assert checker.path == []
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]", markup
    )
    return checker


@pytest.mark.parametrize("text", NASTY)
def test_no_markup_or_control_of_a_server_gets_through_in_any_place(text):
    values = [
        text,
        [text, "y" * 100],
        {text: text, "long": "y" * 100},
        [{text: text, "b": {text: text}}, {text: text}],
        {"columns": [text, "b"], "rows": [[text, 1], [text, 2]]},
        {"items": [{"a": 1}, {"a": 2}], text: text},
    ]
    for value in values:
        checked(html.output(html.value(value), source=text))
        plain = rendering.value_text(value)
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202e\u2066]", plain)
    checked(html.output(html.table([text], [[text]], caption=text, note=text)))
    checked(html.table([text], [[text]], caption=text, fold=True))
    checked(to_html(text))


def test_the_output_is_closed_to_mathematics_and_scripts():
    shown = html.output(html.value("x"), source="notes")
    assert shown.startswith('<div class="mcpnb mcpnb-said mathjax_ignore">')
    assert html.output(html.value("x")).startswith('<div class="mcpnb mathjax_ignore">')
    assert "<script" not in shown
    assert "url(" not in html.STYLE
    assert "@import" not in html.STYLE


def test_a_large_first_member_hides_none_of_the_others():
    branch = [{"number": n, "words": "w" * 80, "below": {"a": ["x" * 70] * 9}} for n in range(99)]
    shown = html.tree({"first": branch, "second": {"a": "y" * 80}, "third": branch})
    assert all(f">{name}</span>" in shown for name in ("first", "second", "third"))
    assert "y" * 80 in shown
    assert shown.count("<li>") < 1_300  # what is shown stays bounded


def test_a_value_that_fits_is_whole_and_is_json():
    value = {"a": [1, 2.5, None, True], "b": {"c": "ü" * 90}, "d": [], "e": {}}
    assert json.loads(rendering.json_text(value, rest=".data")) == value


def test_a_deep_value_is_cut_and_never_recurses_to_the_end():
    deep: object = []
    for _ in range(100_000):
        deep = [deep]
    nested: object = {}
    for _ in range(100_000):
        nested = {"k": nested, "wide": "y" * 60}
    for value in (deep, nested):
        assert len(rendering.value_text(value)) < 20_000
        assert len(html.value(value)) < 100_000
        assert ".data" in html.value(value)
    # What holds the structure must be taken apart step by step: so does not the interpreter.
    for value in (deep, nested):
        while value:
            value = value[0] if isinstance(value, list) else value["k"]


def test_a_value_that_holds_itself_is_shown():
    value: dict[str, object] = {"text": "y" * 80}
    value["self"] = value
    assert rendering.value_text(value)
    assert html.value(value)


def test_a_number_of_a_million_digits_is_never_written():
    shown = rendering.value_text({"n": 1 << 3_000_000, "nan": float("nan"), "inf": float("-inf")})
    assert "903,091 digits" in shown
    assert "NaN" in shown
    assert "-Infinity" in shown


@pytest.mark.parametrize(
    "value",
    [
        "x" * 50_000_000,
        "line\n" * 1_000_000,
        ["item"] * 1_000_000,
        {str(number): "y" * 70 for number in range(100_000)},
        [{f"c{column}": "y" * 300 for column in range(60)} for _ in range(3_000)],
        ["y" * 10_000_000] * 50,
    ],
    ids=["a long line", "many lines", "many items", "many keys", "a large table", "long items"],
)
def test_a_huge_value_is_cut_and_says_where_the_rest_is(value):
    plain, markup = rendering.value_text(value), html.value(value)
    assert len(plain) < 60_000
    assert len(markup) < 300_000
    for shown in (plain, markup):
        assert re.search(r"\.(text|data|to_frame\(\)) (holds|has) (it|them) all", shown)


def test_a_small_tree_is_open_and_a_large_one_only_at_its_first_level():
    small = {"a": {"b": "y" * 80}}
    assert html.value(small).count("<details open>") == 2
    large = {"a": [{"b": "y" * 80} for _ in range(60)], "c": 1}
    assert html.tree(large).count("<details open>") == 1


def test_a_table_says_how_much_of_it_is_left_out_and_what_stood_beside_it():
    value = {"items": [{"n": number} for number in range(1_020)], "total": 1020}
    for shown in (rendering.value_text(value), html.value(value)):
        assert "1,000 rows more: .to_frame() has them all" in shown
        assert "total: 1020" in shown


def test_records_that_share_few_keys_are_a_tree():
    assert rendering.shown_table([{"a": 1}, {"b": 1}, {"c": 1}]) is None
    assert rendering.shown_table([{"a": 1, "b": 1}, {"a": 2}]) is not None


def test_text_tables_are_aligned_whatever_the_script():
    lines = rendering.text_table(["city", "n"], [["東京", 1], ["Oslo", 1000]]).split("\n")
    assert lines == ["city     n", "────  ────", "東京     1", "Oslo  1000"]


def test_wide_text_tables_are_cut_to_a_line():
    shown = rendering.text_table(["a", "b", "c"], [["x" * 150, "y" * 150, 1]])
    assert max(map(len, shown.split("\n"))) <= 110
    assert "…" in shown


def test_tables_of_ours_take_markup_only_where_it_was_made_here():
    shown = html.table(["a", "n"], [[html.link("https://example.com/a?b=1&c=2"), 5]])
    assert 'href="https://example.com/a?b=1&amp;c=2"' in shown
    assert 'rel="noopener noreferrer nofollow"' in shown
    assert '<td class="mcpnb-number">5</td>' in shown


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "data:text/html,<script>",
        "file:///etc/passwd",
        "blob:https://example.com/x",
        "https://user@example.com/",
        "https://exam\u202eple.com",
        "//example.com",
        "https://[",
    ],
)
def test_only_whole_web_addresses_are_links(address):
    assert checked(html.link(address)).links == []


def test_markdown_is_rendered_without_html_pictures_and_odd_links():
    shown = to_html(
        "# Title\n\n**bold** ~~gone~~ [good](https://example.com/) [bad](javascript:alert(1)) "
        "![seen](https://evil.example/x.png) ![d](data:image/png;base64,AAAA) <b>raw</b> "
        "<https://example.org> <javascript:alert(1)>\n\n[ref]\n\n[ref]: data:text/html,x\n\n"
        "|a|b|\n|-|-|\n|1|<i>2</i>|\n"
    )
    seen = checked(shown)
    assert seen.links == ["https://example.com/", "https://example.org"]
    assert seen.sources == []
    assert "<h1>Title</h1>" in shown
    assert "<strong>bold</strong>" in shown
    assert "[picture: seen, https://evil.example/x.png]" in shown
    assert "&lt;b&gt;raw" in shown
    assert "<td>1</td>" in shown
