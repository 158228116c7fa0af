"""What could come next on a ``%mcp`` line: completion over the table of commands.

Pure: names come from a `Lookup` the caller gives, which reads what is known already. Completion
never contacts a server.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from mcp_notebook.commands.grammar import CHOICES, Option, Place, Verb
from mcp_notebook.commands.verbs import VERBS
from mcp_notebook.commands.words import Word, words

# `x = %mcp call …` is a line magic as well; an assignment's left side holds no quotes.
_OURS = re.compile(r"\s*(?:[\w.,\[\] ]+=\s*)?%{1,2}mcp(?P<gap>\s+|$)")


class Lookup(Protocol):
    """The names that are known without asking anybody."""

    def files(self, typed: str) -> Iterable[str]:
        """Returns the files and folders whose paths begin so."""

    def servers(self) -> Iterable[str]:
        """Returns the names of the servers."""

    def tools(self, server: str) -> Iterable[str]:
        """Returns the tools of a server, none where they are not known."""

    def arguments(self, server: str, tool: str) -> Iterable[str]:
        """Returns the arguments of a tool, as `signature.Parameters` names them."""

    def values(self, server: str, tool: str, argument: str) -> Iterable[str]:
        """Returns the values an argument may have, where they are listed."""


@dataclass(frozen=True, slots=True)
class Completion:
    """What could stand at the cursor.

    Attributes:
        start: Where the text to replace begins; it ends at the cursor.
        candidates: What could stand there, whole and quoted where that is needed.
    """

    start: int
    candidates: tuple[str, ...]


def complete(text: str, lookup: Lookup) -> Completion | None:
    """Returns what could come next, or ``None`` where the line is none of ours.

    Args:
        text: The line up to the cursor, with its ``%mcp`` or ``%%mcp``.
        lookup: The names that are known.
    """
    head = _OURS.match(text)
    if head is None or not head["gap"]:
        return None
    rest = text[head.end() :]
    typed = words(rest)
    # After a space a new word begins; an open quote goes on through spaces.
    at_word = bool(typed) and typed[-1].end == len(rest)
    current = typed.pop() if at_word else Word("", len(rest), len(rest))
    if "#" in rest[typed[-1].end if typed else 0 : current.start]:
        return Completion(len(text), ())  # a comment
    found = _candidates([word.text for word in typed], current.text, lookup)
    fitting = dict.fromkeys(word for word in found if word.startswith(current.text))
    return Completion(head.end() + current.start, tuple(map(_quoted, fitting)))


def _candidates(before: list[str], current: str, lookup: Lookup) -> Iterable[str]:
    if not before:
        return [verb.name for verb in VERBS]
    verb = next((verb for verb in VERBS if verb.name == before[0]), None)
    if verb is None or (verb.program and "--" in before):
        return []
    places, given, open_option = _sort(verb, before[1:])
    if open_option is not None:
        return open_option.choices
    if current.startswith("-"):
        return _options(verb, given, current)
    if len(places) < len(verb.places):
        place = verb.places[len(places)]
    elif verb.places and verb.places[-1].repeated:
        place = verb.places[-1]
    else:
        return []
    return _of_place(place, places, current, lookup)


def _sort(verb: Verb, before: list[str]) -> tuple[list[str], set[str], Option | None]:
    """Returns the words by position, the options given, and one that still wants its value."""
    places: list[str] = []
    given: set[str] = set()
    wanting: Option | None = None
    for word in before:
        if wanting is not None:
            wanting = None
        elif word.startswith("-") and word != "-":
            name, equals, _ = word.partition("=")
            option = verb.option(name)
            if option is not None:
                given.add(option.name)
                wanting = option if option.value and not equals else None
        else:
            places.append(word)
    return places, given, wanting


def _options(verb: Verb, given: set[str], current: str) -> Iterable[str]:
    name, equals, _ = current.partition("=")
    option = verb.option(name)
    if equals:
        return [f"{name}={choice}" for choice in option.choices] if option else []
    names = [o.name for o in verb.options if o.repeated or o.name not in given]
    return [*names, "--help"]


def _of_place(place: Place, places: list[str], current: str, lookup: Lookup) -> Iterable[str]:
    if place.kind == "server":
        return lookup.servers()
    if place.kind == "topic":
        return [verb.name for verb in VERBS]
    if place.kind == "tool":
        return lookup.tools(places[0])
    if place.kind == "pair":
        return _pairs(places[0], places[1], places[2:], current, lookup)
    found = CHOICES.get(place.kind, ())
    return [*found, *lookup.files(current)] if place.kind in {"source", "recording"} else found


def _pairs(server: str, tool: str, given: list[str], current: str, lookup: Lookup) -> Iterable[str]:
    name, equals, _ = current.partition("=")
    if equals:
        return [f"{name}={value}" for value in lookup.values(server, tool, name)]
    taken = {word.partition("=")[0] for word in given}
    return [f"{name}=" for name in lookup.arguments(server, tool) if name not in taken]


def _quoted(word: str) -> str:
    """Returns a word as it has to be typed to be read as that word."""
    read = words(word)
    if len(read) == 1 and read[0].text == word and read[0].closed:
        return word
    name, equals, value = word.partition("=")
    escaped = value if equals else word
    escaped = escaped.replace('"', '\\"')
    return f'{name}="{escaped}"' if equals else f'"{escaped}"'
