"""Which argument of which call a cursor stands in, for completing its value.

Pure, and on the text alone: the cell is neither parsed as a whole (it is unfinished) nor run.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from itertools import pairwise

_LONGEST = 10_000
"""Characters before the cursor that are looked at."""

_CALLEE = re.compile(
    r"""(?P<path>[^\W\d]\w*(?:\.[^\W\d]\w*|\[(?:"[^"\\\n]*"|'[^'\\\n]*'|\d+)\])*)\s*$"""
)
_STEP = re.compile(r"""\.?(?P<name>[^\W\d]\w*)|\[(?P<item>"[^"]*"|'[^']*'|\d+)\]""")
_NAMED = re.compile(r"\s*(?P<name>[^\W\d]\w*)\s*=(?!=)\s*")
_REMARKS = re.compile(r"\s*(?:#[^\n]*\n\s*)*")
_CLOSING = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True, slots=True)
class CallAt:
    """A call with the cursor in one of its arguments.

    Attributes:
        path: What is called: a name, then attributes (text) and items (one-tuples).
        argument: The argument's name, or its place by position.
        quote: The quotation mark the value has begun with, or ``""`` before one.
        typed: What is typed of the value.
        given: The texts that are given by name already.
        before: The texts that are given by position already; None for what is no plain text.
    """

    path: tuple[str | tuple[str | int], ...]
    argument: str | int
    quote: str
    typed: str
    given: dict[str, str]
    before: tuple[str | None, ...]


def call_at(text: str) -> CallAt | None:
    """Returns the call whose argument is being typed, or None.

    Args:
        text: The cell up to the cursor.
    """
    scan = _Scan(text[-_LONGEST:])
    if scan.opened is None:
        return None
    callee = _CALLEE.search(scan.text[: scan.opened])
    if callee is None:
        return None
    *parts, last = scan.parts
    named = _NAMED.match(last)
    rest = last[named.end() :] if named else last.lstrip()
    if scan.quote:
        if rest != scan.quote + scan.typed or "\\" in scan.typed:
            return None  # a prefix such as f"…", a sum of texts, an escape
    elif rest or named is None:
        return None
    given: dict[str, str] = {}
    before: list[str | None] = []
    for part in parts:
        known = _NAMED.match(part)
        value = _plain_text(part[known.end() :] if known else part)
        if known is None:
            before.append(value)
        elif value is not None:
            given[known["name"]] = value
    argument = named["name"] if named else len(before)
    return CallAt(_steps(callee["path"]), argument, scan.quote, scan.typed, given, tuple(before))


class _Scan:
    """The end of a text: the innermost open bracket, its parts, and an open quotation.

    Attributes:
        text: What was looked at.
        opened: Where the innermost open parenthesis is, None where the innermost is another.
        parts: What stands behind it, between its commas.
        quote: The mark of an open quotation, or ``""``.
        typed: What stands in it.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.quote = self.typed = ""
        self._commas: list[list[int]] = [[]]
        self._open: list[tuple[str, int]] = []
        place = 0
        while place < len(text):
            place = self._step(place)
        mark, where = self._open[-1] if self._open else ("", 0)
        self.opened = where if mark == "(" else None
        self.parts: list[str] = []
        if self.opened is not None:
            edges = [where, *self._commas[-1], len(text)]
            parts = (text[a + 1 : b] for a, b in pairwise(edges))
            self.parts = [_REMARKS.sub("", part, count=1) for part in parts]

    def _step(self, place: int) -> int:
        letter = self.text[place]
        if letter in "\"'":
            return self._quotation(place)
        if letter == "#":
            end = self.text.find("\n", place)
            return len(self.text) if end < 0 else end
        if letter in _CLOSING:
            self._open.append((letter, place))
            self._commas.append([])
        elif self._open and letter == _CLOSING[self._open[-1][0]]:
            self._open.pop()
            self._commas.pop()
        elif letter == ",":
            self._commas[-1].append(place)
        return place + 1

    def _quotation(self, place: int) -> int:
        """Returns the place after a quotation; notes it where the text ends in it."""
        mark = self.text[place]
        mark = mark * 3 if self.text.startswith(mark * 3, place) else mark
        start = at = place + len(mark)
        while at < len(self.text):
            if self.text.startswith(mark, at):
                return at + len(mark)
            if len(mark) == 1 and self.text[at] == "\n":
                return at + 1  # an error of another line
            at += 2 if self.text[at] == "\\" else 1
        self.quote, self.typed = mark, self.text[start:]
        return len(self.text)


def _steps(path: str) -> tuple[str | tuple[str | int], ...]:
    found: list[str | tuple[str | int]] = []
    for step in _STEP.finditer(path):
        item = step["item"]
        found.append(step["name"] if item is None else (ast.literal_eval(item),))
    return tuple(found)


def _plain_text(source: str) -> str | None:
    try:
        value = ast.literal_eval(source.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, str) else None
