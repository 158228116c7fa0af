"""How tools differ from what they were, in words: one line each in a terminal, folded in HTML.

Both sides of a difference are a stranger's text: cleaned, cut and escaped. What a call that used
to work may fall over, and what makes a tool dangerous, is said in plain words before all else.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from mcp_notebook.redaction import printable
from mcp_notebook.results import html
from mcp_notebook.results.blocks import Shown
from mcp_notebook.results.html import Html, tag
from mcp_notebook.session.seen import Argument, Seen

Kind = Literal["new", "gone", "changed"]

_AROUND = 4
"""Words that are shown on either side of a difference."""

_PIECE = 300
_LINES = 8
_ROWS = 100
_NAMES = 12
_HARMLESS = frozenset({"reads only", "writes", "writes, repeatable"})


class Piece(NamedTuple):
    """A few words of two texts that are compared.

    Attributes:
        mark: ``=`` if both have them, ``-`` or ``+`` if only the old or the new one has.
        words: The words.
    """

    mark: Literal["=", "-", "+"]
    words: str


@dataclass(frozen=True, slots=True)
class Detail:
    """One thing about a tool that is different.

    Attributes:
        what: What it is; made harmless.
        pieces: The old and the new words, where it is a text.
        warns: Whether calls that used to work may fail, or do harm.
    """

    what: str
    pieces: tuple[Piece, ...] = ()
    warns: bool = False

    def __str__(self) -> str:
        if not self.pieces:
            return self.what
        marks = [piece.mark for piece in self.pieces]
        if marks == ["-", "+"]:
            return f"{self.what}: {self.pieces[0].words!r} → {self.pieces[1].words!r}"
        around = {"=": "{}", "-": "[-{}-]", "+": "{{+{}+}}"}
        return f"{self.what}: " + " ".join(
            around[mark].format(words) for mark, words in self.pieces
        )

    @property
    def markup(self) -> Html:
        """The same as HTML."""
        if not self.pieces:
            return html.escape(self.what)
        elements = {"=": "span", "-": "del", "+": "ins"}
        words = [tag(elements[mark], words) for mark, words in self.pieces]
        return html.join([self.what, ": ", html.join(words, " ")])


@dataclass(frozen=True, slots=True, repr=False)
class Change:
    """One tool that is not as it was.

    Attributes:
        tool: Its name.
        kind: What has become of it.
        details: What is different.
    """

    tool: str
    kind: Kind
    details: tuple[Detail, ...] = ()

    @property
    def warns(self) -> bool:
        """Whether calls that used to work may fail, or do harm."""
        return any(detail.warns for detail in self.details)

    def __str__(self) -> str:
        name = printable(self.tool, 60)
        if self.kind != "changed":
            return f"{name} is {self.kind}"
        return f"{name} has changed: {'; '.join(map(str, self.details))}"

    def __repr__(self) -> str:
        return f"<Change: {self}>"


_UNTOLD = Detail("its description or schema, in a detail")


class Changes(list[Change]):
    """What has changed in the tools of one server; shows itself.

    Attributes:
        source: The server's name.
    """

    def __init__(self, changes: Iterable[Change] = (), *, source: str) -> None:
        super().__init__(changes)
        self.source = source

    def shown(self, rest: str = "") -> Shown:
        """Returns the changes as text and HTML.

        Args:
            rest: Where all of them are found, such as ``notes.drift``.
        """
        changed = [change for change in self if change.kind == "changed"]
        plain = [(c, d) for c in changed for d in c.details if d.warns]
        other = [(c, d) for c in changed for d in c.details if not d.warns]
        listed = [line for kind in ("new", "gone") if (line := self._names(kind))]
        lines = [f"{printable(c.tool, 60)}: {d}" for c, d in (*plain, *other)] + listed
        more = len(lines) - _LINES if rest and len(lines) > _LINES else 0
        if more:
            lines = [*lines[:_LINES], f"… {more} more: {rest}"]
        text = "\n  ".join([self._title(), *lines]) if lines else self._title()
        return Shown(text, self._markup(plain, other, listed))

    def _title(self) -> str:
        if not self:
            return f"The tools of {self.source} are as they were."
        tools = f"{len(self)} tool{'s' * (len(self) != 1)} of {self.source}"
        have = "has" if len(self) == 1 else "have"
        return f"{tools} {have} changed since you used it last:"

    def _names(self, kind: str) -> str:
        names = [printable(change.tool, 60) for change in self if change.kind == kind]
        more = f", and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
        return f"{kind}: {', '.join(names[:_NAMES])}{more}" if names else ""

    def _markup(
        self,
        plain: list[tuple[Change, Detail]],
        other: list[tuple[Change, Detail]],
        listed: list[str],
    ) -> Html:
        title = self._title()
        warnings = [
            tag("div", tag("b", printable(change.tool, 60)), ": ", detail.markup)
            for change, detail in plain[:_LINES]
        ]
        rows = [
            tag("div", tag("code", printable(change.tool, 60)), ": ", detail.markup)
            for change, detail in (*plain[_LINES:], *other)
        ]
        rows = rows[:_ROWS] + [tag("div", line) for line in listed]
        body = tag("div", *rows, style="margin-left:1em")
        if not warnings:
            return html.details(title.rstrip(":"), body) if rows else tag("div", title)
        fold = html.details("What else is different", body) if rows else Html()
        return tag("div", tag("div", title), *warnings, fold)

    def __repr__(self) -> str:
        return self.shown().plain

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        shown = self.shown()
        return {"text/plain": shown.plain, "text/html": html.output(shown.markup)}


def differences(before: Mapping[str, Seen], now: Mapping[str, Seen]) -> Iterator[Change]:
    """Returns what differs between two listings, by the tools' names."""
    for name, known in now.items():
        was = before.get(name)
        if was is None:
            yield Change(name, "new")
        elif was.fingerprint != known.fingerprint:
            found = tuple(_details(was, known))
            yield Change(name, "changed", found or (_UNTOLD,))
    for name, was in before.items():
        if name not in now and not (was.gone or was.returns):
            yield Change(name, "gone")


def _details(was: Seen, known: Seen) -> Iterator[Detail]:
    if was.about is None:  # no more than a fingerprint was kept
        return
    if was.effects != known.effects:
        yield _effects(was.effects, known.effects)
    for name, argument in known.arguments.items():
        yield from _argument(name, was.arguments.get(name), argument)
    for name in was.arguments:
        if name not in known.arguments:
            yield Detail(f"takes no argument {name} any more", warns=True)
    pieces = tuple(_description(was, known))
    if pieces:
        yield Detail("its description", pieces)
    if was.answers != known.answers:
        yield Detail("what it returns")


def _effects(old: str, new: str) -> Detail:
    if "destroy" in new and old in _HARMLESS:
        return Detail(f"may destroy something now; before: {old}", warns=True)
    return Detail(f"effects: {old} → {new}")


def _argument(name: str, was: Argument | None, known: Argument) -> Iterator[Detail]:
    if was is None:
        needs = "needs" if known.needed else "takes"
        yield Detail(f"{needs} a new argument {known.text}", warns=known.needed)
    elif known.needed and not was.needed:
        yield Detail(f"needs its argument {known.text}", warns=True)
    elif was.text != known.text:
        yield Detail(f"{was.text} → {known.text}")
    if was is not None and was.about != known.about:
        yield Detail(f"says of {name} now: {printable(known.said, _PIECE)!r}")


def _description(was: Seen, known: Seen) -> Iterator[Piece]:
    if was.whole and known.whole:
        yield from _word_by_word((was.about or "").split(), (known.about or "").split())
        return
    gone = [text for mark, text in was.sentences.items() if mark not in known.sentences]
    yield from (Piece("-", text) for text in gone if text)
    for mark, text in known.sentences.items():
        if mark not in was.sentences:
            yield Piece("+", text)
    lost = gone.count("")
    if lost:
        yield Piece("=", f"({lost} sentence{'s' * (lost != 1)} less)")


def _word_by_word(old: list[str], new: list[str]) -> Iterator[Piece]:
    steps = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    if all(step[0] == "equal" for step in steps):
        return
    for place, (what, begin, end, start, stop) in enumerate(steps):
        if what == "equal":
            yield Piece("=", _near(old[begin:end], first=not place, last=place == len(steps) - 1))
            continue
        if end > begin:
            yield Piece("-", printable(" ".join(old[begin:end]), _PIECE))
        if stop > start:
            yield Piece("+", printable(" ".join(new[start:stop]), _PIECE))


def _near(words: list[str], *, first: bool, last: bool) -> str:
    """Returns the words beside a difference, without those that are far from it."""
    head, tail = (0 if first else _AROUND), (0 if last else _AROUND)
    if len(words) > head + tail:
        words = [*words[:head], "…", *words[len(words) - tail :]]
    return printable(" ".join(words), _PIECE)
