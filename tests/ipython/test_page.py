"""What a command answers with: the same as text and as HTML, with code where something is typed."""

from __future__ import annotations

import re

import pytest

from mcp_notebook.ipython.page import Page, sections, sentences, table, typed


@pytest.mark.parametrize(
    ("sentence", "codes"),
    [
        ("Next: %mcp connect demo", ["%mcp connect demo"]),
        ("Start it again with: %mcp sign-in notes", ["%mcp sign-in notes"]),
        ("See each step with %mcp doctor notes, and report it.", ["%mcp doctor notes"]),
        ("%mcp lists the servers; %mcp add NAME URL adds one.", ["%mcp", "%mcp add NAME URL"]),
        ("If that is right: %mcp sign-out a-b, then more.", ["%mcp sign-out a-b"]),
        ("Then: %mcp add a http://h.example:80/x.y --replace. Or not.",
         ["%mcp add a http://h.example:80/x.y --replace"]),
        ("Elsewhere with %mcp store file, or %mcp store memory.",
         ["%mcp store file", "%mcp store memory"]),
        ("%mcp remove it and add it again.", ["%mcp remove"]),
        ("Try demo.tools.table(), or demo.tools", ["demo.tools.table()", "demo.tools"]),
        ("Try demo.tools.add(a=…, b=…), or demo.tools", ["demo.tools.add(a=…, b=…)", "demo.tools"]),
        ("Then: %mcp add a --client-id ID (without it where there is none).",
         ["%mcp add a --client-id ID"]),
        ("Is it running, and the address right?", []),
    ],
)  # fmt: skip
def test_what_can_be_typed_is_set_as_code(sentence, codes):
    markup = typed(sentence, "notes")
    assert re.findall("<code>(.*?)</code>", markup) == codes
    assert re.sub("<[^>]+>", "", markup) == sentence


def test_a_sentence_of_a_stranger_stays_text():
    assert "<b>" not in typed("Start: %mcp connect <b>x</b>, <b>y</b>")


def test_sentences_read_the_same_as_text_and_a_block_has_labels_and_values():
    page = sentences(["One.", "  runs      a  'b c'\n  careful:  it is a shell"])
    assert repr(page) == "One.\n  runs      a  'b c'\n  careful:  it is a shell"
    shown = page._repr_mimebundle_()
    assert shown["text/plain"] == repr(page)
    assert ">runs</span> <code>a  &#x27;b c&#x27;</code>" in shown["text/html"]
    assert (
        '<span class="mcpnb-bad">careful:</span> <span>it is a shell</span>' in shown["text/html"]
    )


def test_a_line_above_indented_ones_is_their_heading():
    page = sections("/a/file.json:\nnotes\n  contacts  https://<b>/\n  cannot be taken: so  it is")
    assert repr(page).startswith("/a/file.json:\nnotes\n  contacts")
    shown = page._repr_mimebundle_()["text/html"]
    assert re.findall("<b>(.*?)</b>", shown) == ["notes"]
    assert "<code>https://&lt;b&gt;/</code>" in shown
    assert ">cannot be taken: so  it is</div>" in shown


def test_a_table_has_its_note_below():
    page = table(["name"], [["notes"]], "Kept in memory.\nTo keep it: %mcp store file")
    assert repr(page).endswith("Kept in memory.\nTo keep it: %mcp store file")
    assert "<code>%mcp store file</code>" in page._repr_mimebundle_()["text/html"]


def test_a_page_is_text_where_nothing_else_is_said():
    assert ">a &lt;b&gt;</pre>" in Page("a <b>")._repr_mimebundle_()["text/html"]
