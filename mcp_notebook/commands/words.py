"""How a ``%mcp`` line falls into words: quotes, JSON after ``key=``, comments.

Not as a shell does it: a backslash is itself, so that Windows paths need no doubling.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a line, quotes taken off, and where it stood."""

    text: str
    start: int
    end: int
    closed: bool = True


# Backslashes stay as they are (Windows paths), but for \" and \' which stand for the quote.
_PIECE = re.compile(
    r"""'(?P<single>[^']*)(?P<single_end>'|$)"""
    r"""|"(?P<double>(?:\\"|[^"])*)(?P<double_end>"|$)"""
    r"""|\\(?P<escaped>["'])"""
    r"""|(?P<plain>[^\s'"\\]+|\\)"""
)
_JSON_AHEAD = re.compile(r"[\w.\-]+=(?=[\[{])")
_SPACE = re.compile(r"\s*")


def words(line: str) -> list[Word]:
    r"""Splits a line into words.

    Quotes group, ``\"`` is a quote, every other backslash is itself. ``key={"a": 1}`` needs no
    quotes: a JSON object or array after ``key=`` is one word. ``#`` at the start of a word begins
    a comment.
    """
    found: list[Word] = []
    at = _after_space(line, 0)
    while at < len(line) and line[at] != "#":
        word = _json_word(line, at) or _word(line, at)
        found.append(word)
        at = _after_space(line, word.end)
    return found


def _after_space(line: str, at: int) -> int:
    match = _SPACE.match(line, at)
    return match.end() if match else at


def _json_word(line: str, at: int) -> Word | None:
    head = _JSON_AHEAD.match(line, at)
    if head is None:
        return None
    try:
        _, end = json.JSONDecoder().raw_decode(line, head.end())
    except (ValueError, RecursionError):
        return None
    if end < len(line) and not line[end].isspace():
        return None
    return Word(line[at:end], at, end)


def _word(line: str, at: int) -> Word:
    pieces: list[str] = []
    end, closed = at, True
    while match := _PIECE.match(line, end):
        end = match.end()
        if match["single"] is not None:
            pieces.append(match["single"])
            closed = bool(match["single_end"])
        elif match["double"] is not None:
            pieces.append(match["double"].replace('\\"', '"'))
            closed = bool(match["double_end"])
        else:
            pieces.append(match["escaped"] or match["plain"])
    return Word("".join(pieces), at, end, closed)
