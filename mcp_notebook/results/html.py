"""Foreign values as HTML that is safe, quiet, and alive without scripts.

All markup is made here; everything foreign is cleaned, cut and escaped on its way in (`Html` marks
what is already markup). Folding is ``<details>``, so a saved notebook that is opened untrusted
behaves the same. Colours are JupyterLab's own variables with neutral values in their place, so
light and dark come by themselves. Nothing here is typeset as mathematics: TeX of a stranger can
hold links.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from html import escape as _escape
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from mcp_notebook.redaction import printable
from mcp_notebook.results import rendering
from mcp_notebook.results.pictures import Picture, Sound

_MAX_CHILDREN = 100
_MAX_NODES = 1_000
_MAX_LEVELS = 12
_INLINE = 64
_OPEN_NODES = 40
_MAX_STRING = 1_000
_SHORT_CELL, _LONG_CELL = 20, 40
_TAGS = re.compile(r"<[^>]*>")

STYLE = """\
.mcpnb{--mcpnb-dim:color-mix(in srgb,currentColor 65%,transparent);\
font-size:var(--jp-ui-font-size1,13px);line-height:1.5;\
color:var(--jp-ui-font-color1,inherit);display:grid;grid-template-columns:minmax(0,1fr);gap:.5em;\
margin-top:var(--jp-code-padding,5px);padding-left:.6em;overflow-wrap:anywhere}
.mcpnb-said{padding-left:calc(.6em - 2px);border-left:2px solid var(--jp-border-color2,#80808040)}
.mcpnb pre,.mcpnb code,.mcpnb-tree{font-family:var(--jp-code-font-family,ui-monospace,monospace);\
font-size:var(--jp-code-font-size,13px)}
.mcpnb.mcpnb.mcpnb pre{margin:0;padding:0;background:none;color:inherit;white-space:pre-wrap;\
word-break:normal;overflow-wrap:anywhere;max-height:32em;overflow:auto}
.mcpnb.mcpnb.mcpnb pre.mcpnb-own{max-height:none}
.mcpnb.mcpnb.mcpnb pre.mcpnb-columns{max-height:none;white-space:pre;overflow-wrap:normal}
.mcpnb.mcpnb.mcpnb code{background:none;padding:0;color:inherit}
.mcpnb a{color:var(--jp-content-link-color,#3b82c4)}
.mcpnb-from,.mcpnb-note,.mcpnb figcaption,.mcpnb-quiet{color:var(--mcpnb-dim)}
.mcpnb-from,.mcpnb-note,.mcpnb figcaption{font-size:.92em}
.mcpnb-under,.mcpnb-pair{padding-left:1em}
.mcpnb-pair{display:grid;grid-template-columns:5.5em minmax(0,1fr);overflow-wrap:anywhere}
.mcpnb.mcpnb.mcpnb .mcpnb-pair code{white-space:pre-wrap}
.mcpnb-scroll{overflow-x:auto}
.mcpnb table.mcpnb-table{border-collapse:collapse;border:none;margin:0;font-size:inherit;\
table-layout:auto}
.mcpnb table.mcpnb-table th,.mcpnb table.mcpnb-table td{text-align:left;vertical-align:top;\
line-height:1.4;padding:.35em .7em;border:none;max-width:34em;white-space:normal;\
overflow-wrap:break-word;background:none;color:inherit}
.mcpnb table.mcpnb-table th{font-weight:600;white-space:nowrap}
.mcpnb table.mcpnb-table thead{border-bottom:1px solid var(--jp-border-color1,#808080a0)}
.mcpnb table.mcpnb-table tbody tr:nth-child(even){\
background:var(--jp-rendermime-table-row-background,#80808018)}
.mcpnb table.mcpnb-table tbody tr:hover{\
background:var(--jp-rendermime-table-row-hover-background,#80808030)}
.mcpnb table.mcpnb-table .mcpnb-short{white-space:nowrap}
.mcpnb table.mcpnb-table .mcpnb-long{min-width:11em;overflow-wrap:anywhere}
.mcpnb table.mcpnb-table .mcpnb-number{text-align:right;font-variant-numeric:tabular-nums}
.mcpnb table.mcpnb-table caption{caption-side:top;text-align:left;padding:0 0 .3em;\
font-weight:600;color:inherit}
.mcpnb-bad{color:var(--jp-error-color1,#d32f2f)}
.mcpnb summary{cursor:pointer}
.mcpnb-tree details{margin:0}
.mcpnb ul.mcpnb-kids{list-style:none;margin:0 0 0 .45em;padding:0 0 0 1.1em;\
border-left:1px solid var(--jp-border-color2,#80808040)}
.mcpnb ul.mcpnb-kids li{margin:0}
.mcpnb-tree .mcpnb-leaf{padding-left:1.05em;overflow-wrap:anywhere}
.mcpnb-tree>.mcpnb-leaf{padding-left:0}
.mcpnb-key{color:var(--jp-mirror-editor-property-color,inherit);font-weight:600}
.mcpnb-string{color:var(--jp-mirror-editor-string-color,inherit);white-space:pre-wrap}
.mcpnb-atom{color:var(--jp-mirror-editor-number-color,inherit)}
.mcpnb-pictures{display:flex;flex-wrap:wrap;gap:1em;align-items:flex-start}
.mcpnb figure{margin:0;max-width:100%}
.mcpnb-pictures figure:not(:only-child){max-width:max(16em,calc(50% - .5em))}
.mcpnb figure img{display:block;max-width:100%;height:auto;margin:0}
.mcpnb figcaption{margin-top:.2em}
.mcpnb audio{display:block;max-width:100%}
.mcpnb-markdown table{border-collapse:collapse;margin:0 0 1em;font-size:inherit}
.mcpnb-markdown th,.mcpnb-markdown td{text-align:left;padding:.35em .7em}
.mcpnb.mcpnb.mcpnb .mcpnb-markdown pre{margin:0 0 1em;padding:.5em .7em}
.mcpnb.mcpnb.mcpnb .mcpnb-markdown :not(pre)>code{padding:.1em .35em}
.mcpnb.mcpnb.mcpnb .mcpnb-markdown pre,.mcpnb.mcpnb.mcpnb .mcpnb-markdown :not(pre)>code{\
background:var(--jp-layout-color2,#80808026)}
.mcpnb-markdown>:first-child{margin-top:0}
.mcpnb-markdown>:last-child{margin-bottom:0}
"""


class Html(str):
    """Markup that was made here, or escaped already."""

    __slots__ = ()


def escape(text: object, limit: int = rendering.MAX_CHARACTERS) -> Html:
    """Returns foreign text cleaned, cut to `limit` characters and escaped, quotes included.

    `Html` comes back as it is.
    """
    if isinstance(text, Html):
        return text
    return Html(_escape(rendering.clean(str(text), limit), quote=True))


def tag(name: str, *children: object, **attributes: str) -> Html:
    """Returns one element; children and attributes are escaped, ``class_`` is ``class``."""
    head = "".join(
        f' {key.rstrip("_")}="{_escape(item, quote=True)}"' for key, item in attributes.items()
    )
    return Html(f"<{name}{head}>{join(children)}</{name}>")


def join(parts: Iterable[object], between: str = "") -> Html:
    """Returns the parts as one piece of markup, each escaped where it is not markup."""
    return Html(_escape(between).join(escape(part) for part in parts))


def output(*parts: Html, source: str = "") -> Html:
    """Returns a whole output: the parts with the style sheet they need.

    Args:
        parts: What is shown; empty ones are left out.
        source: Who said it, as the first line, with a rule along all of it: foreign content is
            always framed by its source.
    """
    first = tag("div", source, class_="mcpnb-from") if source else Html()
    body = join(part for part in (first, *parts) if part)
    # MathJax leaves elements of this class alone (JupyterLab and nbconvert run it over outputs).
    kind = "mcpnb mcpnb-said mathjax_ignore" if source else "mcpnb mathjax_ignore"
    return Html(f'<div class="{kind}"><style>{STYLE}</style>{body}</div>')


def details(summary: str, body: Html, *, opened: bool = False) -> Html:
    """Returns a body that folds away under its summary."""
    state = " open" if opened else ""
    return Html(f"<details{state}>{tag('summary', summary)}{body}</details>")


def remark(text: str) -> Html:
    """Returns a quiet line, or nothing for ``""``."""
    return tag("div", text, class_="mcpnb-note") if text else Html()


def preformatted(text: str, *, rest: str) -> Html:
    """Returns foreign text with its own lines and spaces, cut with a note that says where it is."""
    head, left_out = rendering.cut(text, rest=rest)
    return join([tag("pre", Html(_escape(head))), remark(left_out)])


def table(
    headers: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    caption: str = "",
    note: str = "",
    fold: bool = False,
) -> Html:
    """Returns a table.

    Args:
        headers: The columns' names.
        rows: The cells: any JSON value, or `Html`. Columns of numbers are set to the right.
        caption: What the table is.
        note: A quiet line under it.
        fold: Whether it begins folded away under its caption.
    """
    kinds = [_kind([row[place] for row in rows]) for place in range(len(headers))]
    head = (
        tag("th", printable(name, rendering.MAX_CELL), class_=kind, scope="col")
        for name, kind in zip(headers, kinds, strict=True)
    )
    body = (
        tag(
            "tr",
            *(tag("td", _cell(item), class_=kind) for item, kind in zip(row, kinds, strict=True)),
        )
        for row in rows
    )
    above = tag("caption", caption) if caption and not fold else Html()
    grid = tag(
        "table",
        above,
        tag("thead", tag("tr", *head)),
        tag("tbody", *body),
        class_="mcpnb-table",
    )
    whole = join([tag("div", grid, class_="mcpnb-scroll"), remark(note)])
    return details(caption or f"{len(rows):,} rows", whole) if fold else whole


def _kind(cells: Sequence[Any]) -> str:
    """Returns the class of a column: numbers to the right, words whole, sentences with room."""
    present = [cell for cell in cells if cell is not None]
    if present and all(rendering.is_number(cell) for cell in present):
        return "mcpnb-number"
    longest = max((len(_TAGS.sub("", str(_cell(cell)))) for cell in present), default=0)
    if longest <= _SHORT_CELL:
        return "mcpnb-short"
    return "mcpnb-long" if longest > _LONG_CELL else "mcpnb-text"


def _cell(item: Any) -> object:
    return item if isinstance(item, Html) else rendering.shortened(item)


def value(item: Any, *, rest: str = ".data", frame: str = ".to_frame()") -> Html:
    """Returns a JSON value: a table where it is one, text as text, else a tree that folds.

    Args:
        item: Any JSON value, of any size and depth.
        rest: Where the whole value is found.
        frame: Where the whole table is found.
    """
    found = rendering.shown_table(item)
    if found is not None:
        columns = found.columns[: rendering.MAX_COLUMNS]
        rows = [[row.get(name) for name in columns] for row in found.rows[: rendering.MAX_ROWS]]
        under = [rendering.left_out(found, frame), rendering.beside(found)]
        return join([table(columns, rows), *(remark(line) for line in under)])
    if isinstance(item, str):
        return preformatted(item, rest=rest) if item else remark("an empty text")
    return tree(item, rest=rest)


def tree(item: Any, *, rest: str = ".data") -> Html:
    """Returns a JSON value as a tree that folds without scripts.

    What fits on a line stays on one. A small tree is open; of a large one only the first level.
    """
    return _Tree(item, rest).whole()


class _Tree:
    """One tree while it is written; counts its nodes, because their number is a stranger's.

    The children of a node are all there before one of them unfolds, and those that unfold share
    what room is left: a deep first member hides none of the others.
    """

    def __init__(self, item: Any, rest: str) -> None:
        self._item = item
        self._rest = rest
        self._spent = 0
        self._open_below = _count(item, _OPEN_NODES) <= _OPEN_NODES

    def whole(self) -> Html:
        """Returns the tree."""
        return tag("div", self._node(Html(), self._item, 0, _MAX_NODES), class_="mcpnb-tree")

    def _node(self, label: Html, item: Any, level: int, room: int) -> Html:
        if not isinstance(item, dict | list):
            return tag("div", label, self._atom(item), class_="mcpnb-leaf")
        line = rendering.one_line(item, _INLINE)
        if line is not None:
            return tag("div", label, line, class_="mcpnb-leaf")
        count = tag("span", rendering.contents(item), class_="mcpnb-quiet")
        if level >= _MAX_LEVELS:
            return tag("div", label, count, self._elsewhere("deeper"), class_="mcpnb-leaf")
        opened = level == 0 or self._open_below
        # A list is indented also where the style sheet was taken out: in an untrusted notebook.
        lines = (tag("li", kid) for kid in self._kids(item, level + 1, room))
        kids = tag("ul", *lines, class_="mcpnb-kids")
        return details(join([label, count]), kids, opened=opened)

    def _kids(self, item: dict[Any, Any] | list[Any], level: int, room: int) -> Iterable[Html]:
        pairs: Iterable[tuple[Any, Any]]
        pairs = item.items() if isinstance(item, dict) else enumerate(item)
        chosen = list(islice(pairs, min(_MAX_CHILDREN, room)))
        self._spent += len(chosen)
        room -= len(chosen)
        sharers = sum(isinstance(child, dict | list) for _, child in chosen)
        for key, child in chosen:
            kind = "mcpnb-key" if isinstance(item, dict) else "mcpnb-quiet"
            name = tag("span", printable(str(key), rendering.MAX_CELL), class_=kind)
            before = self._spent
            yield self._node(join([name, ": "]), child, level, room // max(1, sharers))
            room -= self._spent - before
            sharers -= isinstance(child, dict | list)
        if len(chosen) < len(item):
            more = self._elsewhere(f"{len(item) - len(chosen):,} more")
            yield tag("div", more, class_="mcpnb-leaf")

    def _atom(self, item: Any) -> Html:
        if not isinstance(item, str):
            return tag("span", rendering.scalar(item), class_="mcpnb-atom")
        text = tag("span", rendering.scalar(item[:_MAX_STRING]), class_="mcpnb-string")
        if len(item) <= _MAX_STRING:
            return text
        return join([text, self._elsewhere(f"of {len(item):,} characters")])

    def _elsewhere(self, what: str) -> Html:
        return tag("span", f" … {what}: {self._rest} holds it all", class_="mcpnb-quiet")


def _count(item: Any, limit: int) -> int:
    """Counts the nodes of a value, up to one more than `limit`."""
    waiting, count = [item], 0
    while waiting and count <= limit:
        item = waiting.pop()
        count += 1
        if isinstance(item, dict | list):
            children = item.values() if isinstance(item, dict) else item
            waiting.extend(islice(children, limit + 1))
    return count


def figure(picture: Picture, label: str, source: str) -> Html:
    """Returns a picture with its text alternative, or why it is not shown.

    Args:
        picture: What to show; its MIME type is the one its bytes tell.
        label: What it is called, such as ``Picture 1``.
        source: Who made it; label and source are the text alternative.
    """
    if picture.source:
        body = preformatted(picture.source, rest=".images")
        return details(f"{label}: {picture.size}, as text", body)
    if picture.problem:
        return remark(f"{label}: {picture.size}. Not shown: {picture.problem}")
    address = f"data:{picture.mime};base64,{base64.b64encode(picture.data).decode()}"
    alt = f"{label} from {source}, {picture.size}"
    caption = tag("figcaption", picture.size)
    return Html(f'<figure><img alt="{escape(alt)}" src="{address}">{caption}</figure>')


def player(sound: Sound, label: str) -> Html:
    """Returns a recording as a player, or why it cannot be played."""
    if sound.problem:
        return remark(f"{label}: {sound.size}. Not played: {sound.problem}")
    source = f"data:{sound.mime};base64,{base64.b64encode(sound.data).decode()}"
    audio = f'<audio controls preload="metadata" src="{source}" aria-label="{escape(label)}">'
    caption = tag("figcaption", sound.size)
    return Html(f"<figure>{audio}</audio>{caption}</figure>")


def link(address: str) -> Html:
    """Returns an address, to click where it is a web address; other schemes are only text.

    The address itself is what is shown, so that nobody is led elsewhere than they read.
    """
    shown = printable(address, 500)
    if shown != address or not is_web(address):
        return tag("code", shown)
    return tag("a", shown, href=address, target="_blank", rel="noopener noreferrer nofollow")


def is_web(address: str) -> bool:
    """Tells whether an address is http or https and names a host and no user."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and "@" not in parts.netloc
