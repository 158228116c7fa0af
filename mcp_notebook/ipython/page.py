"""What a command answers with, to read: text in a terminal, HTML in a notebook."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from mcp_notebook.commands.verbs import VERBS
from mcp_notebook.results import html, rendering
from mcp_notebook.results.html import Html

_VERBS = "|".join(sorted((re.escape(verb.name) for verb in VERBS), key=len, reverse=True))
_STORES = "keyring|file|memory"
_PAIR = re.compile(r"  (?P<label>\S+(?: \S+)?)  +(?P<value>\S.*)")
_CAREFUL = "careful:"


class Page:
    """Something to read, as text and as HTML that says the same."""

    def __init__(self, text: str, markup: Html | None = None) -> None:
        self._text = text
        # Our own words are never so long that they should scroll inside the page.
        self._markup = markup or html.tag("pre", text, class_="mcpnb-own")

    def __repr__(self) -> str:
        return self._text

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": self._text, "text/html": html.output(self._markup)}


def sentences(lines: Sequence[str]) -> Page:
    """Returns a page of one sentence a line; indented lines of a block are a label and a value."""
    text = "\n".join(lines)
    return Page(text, html.tag("div", *map(_line, text.split("\n"))))


def sections(text: str) -> Page:
    """Returns text as a page, in which a line above indented ones is their heading."""
    lines = text.split("\n")
    followed = [after.startswith("  ") for after in [*lines[1:], ""]]
    blocks = [
        html.tag("b", line) if heads and not line.startswith("  ") else _line(line)
        for line, heads in zip(lines, followed, strict=True)
    ]
    return Page(text, html.tag("div", *(html.tag("div", block) for block in blocks)))


def _line(line: str) -> Html:
    """Returns a line: a sentence, or under one a label and its value, as `trust.launch` has it."""
    if not line.strip():
        return Html("<br>")
    if not line.startswith("  "):
        return html.tag("div", typed(line))
    pair = _PAIR.fullmatch(line)
    if pair is None:
        return html.tag("div", typed(line.strip()), class_="mcpnb-under")
    label, value = pair["label"], pair["value"]
    if label == _CAREFUL:
        shown = html.tag("span", label, class_="mcpnb-bad"), " ", html.tag("span", value)
    else:
        shown = html.tag("span", label, class_="mcpnb-quiet"), " ", html.tag("code", value)
    return html.tag("div", *shown, class_="mcpnb-pair")


def columns(text: str) -> Page:
    """Returns text in columns as a page: its lines stay whole, and scroll where they are long."""
    return Page(text, html.tag("pre", text, class_="mcpnb-columns"))


def table(headers: list[str], rows: list[list[str]], note: str) -> Page:
    """Returns a table as a page.

    Args:
        headers: The columns' names.
        rows: The cells.
        note: Sentences below it, one a line, or ``""``.
    """
    text = rendering.text_table(headers, rows)
    grid = html.table(headers, rows)
    if not note:
        return Page(text, grid)
    below = [html.tag("div", typed(line)) for line in note.splitlines()]
    return Page(
        f"{text}\n\n{note}", html.join([grid, html.tag("div", *below, class_="mcpnb-note")])
    )


def typed(sentence: str, name: str = "") -> Html:
    """Returns a sentence in which what can be typed is set as code.

    That is a command after a colon, up to the clause's end; a command within the sentence, with
    its server, placeholders and options; and what stands after ``Try``.

    Args:
        sentence: The sentence, as text.
        name: The server it is about.
    """
    word = "|".join(
        part for part in (r"[A-Z]{2,}\b", r"--[\w-]+", _STORES, re.escape(name)) if part
    )
    code = (
        r"((?<=: )%{1,2}mcp\b.*?(?=[.,;](?: |$)| \(|$)"
        rf"|%{{1,2}}mcp(?: (?:{_VERBS})(?= |[.,;:)]|$)(?: (?:{word})(?![\w-]))*)?"
        r"|(?<=^Try ).+?(?=, or )|(?<=, or )\S+$)"
    )
    parts = re.split(code, sentence)
    return html.join(
        html.tag("code", part) if place % 2 else html.escape(part)
        for place, part in enumerate(parts)
    )
