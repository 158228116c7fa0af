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


class Page:
    """Something to read, as text and as HTML that says the same."""

    def __init__(self, text: str, markup: Html | None = None) -> None:
        self._text = text
        # Our own words are never so long that they should scroll inside the page.
        self._markup = markup or html.tag("pre", text, style="max-height:none")

    def __repr__(self) -> str:
        return self._text

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": self._text, "text/html": html.output(self._markup)}


def sentences(lines: Sequence[str]) -> Page:
    """Returns a page of one sentence a line; a block of several lines keeps its spaces."""
    blocks = [
        html.tag("pre", line) if "\n" in line else html.tag("div", typed(line)) for line in lines
    ]
    return Page("\n".join(lines), html.tag("div", *blocks))


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
        r"((?<=: )%{1,2}mcp\b.*?(?=[.,;](?: |$)|$)"
        rf"|%{{1,2}}mcp(?: (?:{_VERBS})(?= |[.,;:)]|$)(?: (?:{word})(?![\w-]))*)?"
        r"|(?<=^Try ).+?(?=, or )|(?<=, or )\S+$)"
    )
    parts = re.split(code, sentence)
    return html.join(
        html.tag("code", part) if place % 2 else html.escape(part)
        for place, part in enumerate(parts)
    )
