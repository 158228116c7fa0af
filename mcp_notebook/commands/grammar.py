"""The table of ``%mcp`` commands, and how a line is read by it.

One table drives reading, help and completion, so they cannot disagree. Nothing here knows what a
command does: `command` makes values of what was read.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from mcp_notebook.commands.words import Word
from mcp_notebook.config.importing import CLIENTS
from mcp_notebook.config.rules import looks_secret
from mcp_notebook.errors import CommandError
from mcp_notebook.redaction import printable

Kind = Literal["server", "tool", "topic", "source", "store", "stop", "recording", "word", "pair"]

CHOICES: dict[Kind, tuple[str, ...]] = {
    "source": CLIENTS,
    "store": ("keyring", "file", "memory"),
    "stop": ("stop",),
    "recording": ("off",),
}


@dataclass(frozen=True, slots=True)
class Option:
    """One ``--option``; without a `value` to show in the help it is a flag.

    Attributes:
        name: As it is typed.
        about: What it does, in a line.
        value: How its value is called in the help.
        choices: The values it takes, where they are listed.
        repeated: Whether it may be given several times.
        short: A short form, such as ``-o``.
        section: Under which heading the help shows it.
    """

    name: str
    about: str
    value: str = ""
    choices: tuple[str, ...] = ()
    repeated: bool = False
    short: str = ""
    section: str = "Options"

    @property
    def usage(self) -> str:
        """How the help shows it."""
        return f"{self.name} {self.value}".rstrip()


@dataclass(frozen=True, slots=True)
class Place:
    """One word that is told by its position."""

    name: str
    kind: Kind = "word"
    needed: bool = True
    repeated: bool = False

    @property
    def usage(self) -> str:
        """How the help shows it."""
        shown = f"{self.name} …" if self.repeated else self.name
        return shown if self.needed else f"[{shown}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One command of ``%mcp``.

    Attributes:
        name: As it is typed.
        group: Under which heading the help shows it.
        summary: What it does, in a line.
        places: The words it takes by position.
        options: The options it takes.
        program: Whether ``-- COMMAND ARGS`` may follow.
        cell: What the cell of ``%%mcp`` may hold; empty where it takes none.
        cell_instead: The places that need not be filled where there is a cell.
        notes: What else one should know.
        examples: Lines that work, without the ``%mcp``.
    """

    name: str
    group: str
    summary: str
    places: tuple[Place, ...] = ()
    options: tuple[Option, ...] = ()
    program: bool = False
    cell: str = ""
    cell_instead: tuple[str, ...] = ()
    notes: str = ""
    examples: tuple[str, ...] = ()

    @property
    def usage(self) -> str:
        """The form of the line."""
        words = ["%mcp", self.name, *(place.usage for place in self.places)]
        if len(self.options) > 2:
            words.append("[--option …]")
        else:
            words.extend(f"[{option.usage}]" for option in self.options)
        return " ".join(words)

    def option(self, name: str) -> Option | None:
        """Returns the option of that name, long or short, or None."""
        for option in self.options:
            if name and name in {option.name, option.short}:
                return option
        return None


@dataclass(slots=True)
class Reading:
    """A line, sorted: words by position, options, and the program after ``--``."""

    verb: Verb
    places: list[str] = field(default_factory=list)
    options: dict[str, list[str]] = field(default_factory=dict)
    program: tuple[str, ...] = ()
    cell: str = ""

    def one(self, option: str) -> str | None:
        """Returns the value of an option that is given at most once."""
        values = self.options.get(option)
        return values[0] if values else None

    def flag(self, option: str) -> bool:
        """Tells whether a flag was given."""
        return option in self.options


# What people type who know another tool.
_SYNONYMS = {
    "login": "sign-in",
    "signin": "sign-in",
    "auth": "sign-in",
    "logout": "sign-out",
    "signout": "sign-out",
    "rm": "remove",
    "delete": "remove",
    "ls": "list",
    "servers": "list",
    "open": "connect",
    "close": "disconnect",
    "run": "call",
    "debug": "doctor",
    "check": "doctor",
    "?": "help",
}

_ALWAYS_SECRET = frozenset(
    {
        "--token",
        "--access-token",
        "--refresh-token",
        "--api-key",
        "--apikey",
        "--key",
        "--password",
        "--secret",
        "--bearer",
        "--bearer-token",
        "--pat",
        "--private-key",
        "--assertion",
        "--initial-access-token",
    }
)

NOT_ON_THE_LINE = (
    "A secret is not taken on the line: the line stays in the notebook and in IPython's history."
)
_ELSEWHERE = (
    "Take it out of the cell and renew it where it was issued. Then put it into an environment "
    "variable and name that: --client-secret-env NAME, or --header Authorization='Bearer ${NAME}'. "
    "A bare --client-secret asks for it with a masked prompt."
)


def secret_on_the_line() -> CommandError:
    """Returns the refusal of a secret; it does not repeat it."""
    return CommandError(NOT_ON_THE_LINE, hint=_ELSEWHERE)


def nearest(wrong: str, known: Iterable[str]) -> str:
    """Returns "; did you mean 'x'?" for the nearest known word, or nothing."""
    close = difflib.get_close_matches(wrong.lower(), list(known), n=1, cutoff=0.55)
    return f"; did you mean {close[0]!r}?" if close else ""


def shown(word: str) -> str:
    """Returns a person's word for a message, or what stands for it where it may be a secret."""
    return "this word" if looks_secret("", word.lstrip("-")) else repr(printable(word, 60))


def find_verb(name: str, verbs: Sequence[Verb]) -> Verb:
    """Returns the command of that name.

    Raises:
        CommandError: There is none; the message names the nearest.
    """
    for verb in verbs:
        if verb.name == name:
            return verb
    if name.lower() in {"rename", "mv", "move"}:
        # The nearest word is `remove`, which signs out: nothing to suggest to a typing person.
        raise CommandError(
            "A server is not renamed.", hint="Add it under its new name: %mcp add NAME URL"
        )
    meant = _SYNONYMS.get(name.lower())
    guess = f"; did you mean {meant!r}?" if meant else nearest(name, (verb.name for verb in verbs))
    raise CommandError(
        f"Unknown command {shown(name)}{guess}", hint="%mcp help lists the commands."
    )


def read(verb: Verb, line: Sequence[Word], cell: str = "") -> Reading:
    """Sorts the words that follow a command by its entry of the table.

    Args:
        verb: The command.
        line: The words after it.
        cell: What stands below the line, in ``%%mcp``.

    Raises:
        CommandError: An unknown or repeated option, a value too few, a word too many or too few,
            an open quote, or a secret.
    """
    if cell and not verb.cell:
        raise CommandError(
            f"{verb.name!r} takes no cell.", hint=f"Write %mcp {verb.name} with one percent sign."
        )
    reading = Reading(verb, cell=cell)
    rest = [word.text for word in line]
    if not all(word.closed for word in line):
        raise CommandError(
            "A quote is not closed.",
            hint='A value with an apostrophe goes into double quotes: text="it\'s here". '
            'A path that ends with a backslash needs none before the quote: "C:\\data".',
        )
    while rest:
        word = rest.pop(0)
        if word == "--" and verb.program:
            reading.program = tuple(rest)
            break
        if word.startswith("-") and word != "-":
            _read_option(reading, word, rest)
        else:
            reading.places.append(word)
    _count(reading)
    return reading


def _read_option(reading: Reading, word: str, rest: list[str]) -> None:
    name, equals, value = word.partition("=")
    option = reading.verb.option(name)
    if option is None:
        raise _unknown_option(reading.verb, name)
    name = option.name
    if not option.value:
        if equals or (name == "--client-secret" and _is_a_value(rest)):
            raise (
                secret_on_the_line()
                if name == "--client-secret"
                else _usage(reading.verb, f"{name} takes no value.")
            )
        value = ""
    elif not equals:
        if not rest or (rest[0].startswith("--") and len(rest[0]) > 2):
            raise _usage(reading.verb, f"{name} needs a value: {name} {option.value}")
        value = rest.pop(0)
    if name in reading.options and not option.repeated:
        raise _usage(reading.verb, f"{name} is given twice.")
    if option.choices and value not in option.choices:
        raise _wrong_choice(reading.verb, name, value, option.choices)
    reading.options.setdefault(name, []).append(value)


def _is_a_value(rest: list[str]) -> bool:
    # `--client-secret hunter2`: the flag takes none, so the word would pass for a position.
    return bool(rest) and not rest[0].startswith("-") and "://" not in rest[0]


def _unknown_option(verb: Verb, name: str) -> CommandError:
    if name in _ALWAYS_SECRET:
        return secret_on_the_line()
    known = [option.name for option in verb.options]
    guess = nearest(name, known)
    if not known:
        return _usage(verb, f"{verb.name!r} takes no options, and got {shown(name)}.")
    return _usage(verb, f"{verb.name!r} has no option {shown(name)}{guess}")


def _wrong_choice(verb: Verb, what: str, value: str, choices: Sequence[str]) -> CommandError:
    guess = nearest(value, choices)
    return _usage(verb, f"{what} is one of {', '.join(choices)}, not {shown(value)}{guess}")


def _count(reading: Reading) -> None:
    verb, given = reading.verb, reading.places
    filled = verb.cell_instead if reading.cell else ("URL",) if reading.program else ()
    needed = [place.name for place in verb.places if place.needed][len(given) :]
    missing = [name for name in needed if name not in filled]
    if missing:
        raise _usage(verb, f"{verb.name!r} needs {' and '.join(missing)}.")
    if len(given) > len(verb.places) and not (verb.places and verb.places[-1].repeated):
        # The words are not repeated: one of them may be a secret.
        extra = len(given) - len(verb.places)
        raise _usage(verb, f"{verb.name!r} got {extra} word{'s' * (extra > 1)} too many.")
    for place, word in zip(verb.places, given, strict=False):
        choices = CHOICES.get(place.kind, ())
        if choices and place.kind not in {"source", "recording"} and word not in choices:
            raise _wrong_choice(verb, place.name, word, choices)


def _usage(verb: Verb, message: str) -> CommandError:
    return CommandError(message, hint=f"Usage: {verb.usage}   (%mcp help {verb.name} tells more)")


def usage_error(reading: Reading, message: str) -> CommandError:
    """Returns an error about a line that was read but makes no sense."""
    return _usage(reading.verb, message)
