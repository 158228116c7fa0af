"""A ``%mcp`` line as a value: `parse` makes one frozen `Command` of the line and its cell.

Pure: no file is read and no server is looked up. What a command does is the workspace's; what may
be typed is the table in `verbs`, which also makes the help and the completion.
"""

from __future__ import annotations

import builtins
import json
import keyword
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import urlsplit

from mcp_notebook.commands import adding, grammar
from mcp_notebook.commands.command import (
    Add,
    AddMany,
    Call,
    Command,
    Connect,
    Demo,
    Disconnect,
    Doctor,
    Help,
    Import,
    List,
    Record,
    Remove,
    Replay,
    SignIn,
    SignOut,
    Status,
    Store,
    StoreKind,
    Tools,
    Trust,
)
from mcp_notebook.commands.grammar import Reading, Verb
from mcp_notebook.commands.verbs import VERBS
from mcp_notebook.commands.words import words
from mcp_notebook.config import rules
from mcp_notebook.errors import CommandError
from mcp_notebook.schema.names import identifier


def parse(line: str, cell: str | None = None) -> Command:
    """Returns what a line of ``%mcp``, or of ``%%mcp`` with its cell, asks for.

    Args:
        line: What follows ``%mcp``. Python's ``{…}`` and ``$…`` must not be expanded in it.
        cell: What stands below ``%%mcp``; blank counts as none.

    Raises:
        CommandError: The line cannot be understood; the hint shows how it would be written.
        ServerConfigError: The line describes a server that cannot be written down.
    """
    typed = words(line)
    cell = (cell or "").strip()
    if not typed and not cell:
        return List()
    if not typed:
        raise CommandError(
            "A cell needs a command on its first line.", hint="%%mcp add or %%mcp call NAME TOOL"
        )
    if typed[0].text in _HELP:
        return Help(grammar.find_verb(typed[1].text, VERBS).name if len(typed) > 1 else None)
    verb = grammar.find_verb(typed[0].text, VERBS)
    before_program = [word.text for word in typed[1:]]
    if verb.program and "--" in before_program:
        before_program = before_program[: before_program.index("--")]
    if _HELP.intersection(before_program):
        return Help(verb.name)
    if len(typed) == 2 and verb.name == "add" and not cell and "://" in typed[1].text:
        raise _nameless(verb, typed[1].text)
    if verb.name == "connect" and len(typed) == 4 and typed[2].text == "as":
        given = f"%mcp connect {grammar.shown(typed[1].text)} --as {grammar.shown(typed[3].text)}"
        raise CommandError(
            "The other variable is an option.", hint=f"Write {given.replace(chr(39), '')}"
        )
    if verb.program:
        adding.check_program([word.text for word in typed[1:]])
    _check_belonging(verb, before_program)
    return _MAKERS[verb.name](grammar.read(verb, typed[1:], cell))


_HELP = frozenset({"--help", "-h"})


def _check_belonging(verb: Verb, words: list[str]) -> None:
    for word in words:
        name = word.partition("=")[0]
        if not name.startswith("-") or verb.option(name) is not None:
            continue
        for other in VERBS:
            option = other.option(name)
            if option is not None:
                raise CommandError(
                    f"{name} belongs to {other.name!r}, not to {verb.name!r}.",
                    hint=f"For instance: %mcp {other.name} {other.places[0].name} {option.usage}",
                )


def _nameless(verb: Verb, url: str) -> CommandError:
    try:
        labels = (urlsplit(url).hostname or "").split(".")
    except ValueError:
        labels = []
    names = [label for label in labels[:-1] if label not in {"mcp", "www", "api"}]
    name = names[0] if names else "NAME"
    return CommandError(
        "A server needs a name before its address.",
        hint=f"For instance: %mcp {verb.name} {name} URL",
    )


def _add(reading: Reading) -> Command:
    replace = reading.flag("--replace")
    if reading.cell:
        found = adding.pasted(reading)
        notes = tuple(f"{item.name}: {note}" for item in found for note in item.notes)
        return AddMany(tuple(item.use() for item in found), replace, notes)
    return Add(
        server=adding.described(reading),
        replace=replace,
        ask_secret=reading.flag("--client-secret"),
    )


def _connect(reading: Reading) -> Connect:
    name, account = reading.places[0], reading.one("--as")
    if account is not None:
        rules.check_name(account)
        return Connect(name, _variable(reading, "--as", account), account)
    variable = identifier(name)
    if variable is None:
        raise grammar.usage_error(
            reading, "The name makes no Python variable; choose one with --as."
        )
    # A server called "filter" or "input" must not take away Python's own.
    return Connect(name, f"{variable}_" if _is_pythons(variable) else variable)


def _is_pythons(variable: str) -> bool:
    return hasattr(builtins, variable) or variable in {"In", "Out", "get_ipython"}


def _variable(reading: Reading, option: str, text: str) -> str:
    if not text.isidentifier() or keyword.iskeyword(text):
        better = identifier(text) if not rules.looks_secret("", text) else None
        guess = f"; {better!r} would do" if better else ""
        raise grammar.usage_error(reading, f"{option} needs a Python variable's name{guess}.")
    if _is_pythons(text):
        raise grammar.usage_error(
            reading, f"{text!r} is a name of Python's own; {f'{text}_'!r} would do."
        )
    return text


def _call(reading: Reading) -> Call:
    name, tool, *rest = reading.places
    pairs = []
    for text in rest:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise CommandError(
                f"An argument is written key=value, not {grammar.shown(text)}.",
                hint='Text with spaces goes into quotes, query="a b"; JSON into the cell of '
                f"%%mcp call {grammar.shown(name)} {grammar.shown(tool)}".replace("'", ""),
            )
        pairs.append((key, value))
    out = reading.one("--out")
    if out is not None:
        _variable(reading, "--out", out)
    return Call(name=name, tool=tool, pairs=tuple(pairs), body=_body(reading), out=out)


def _body(reading: Reading) -> dict[str, Any] | None:
    if not reading.cell:
        return None
    try:
        body = json.loads(reading.cell)
    except RecursionError:
        raise CommandError(
            "The cell's JSON is nested too deeply.",
            hint="Call the tool in Python: NAME.tools.TOOL(…)",
        ) from None
    except ValueError as error:
        where = f" (line {error.lineno} of the cell)" if hasattr(error, "lineno") else ""
        raise CommandError(
            f"The cell is not JSON{where}.",
            hint='It holds the tool\'s arguments: {"query": "is:open", "limit": 5}. In JSON it is '
            "true, false, null and double quotes.",
        ) from None
    if not isinstance(body, dict):
        raise CommandError(
            "The cell is JSON, but no object.", hint='It holds the arguments: {"key": "value"}'
        )
    return body


def _file(reading: Reading) -> tuple[str | None, bool]:
    """Returns the file that is named, and whether it is ``off`` that was said."""
    word = reading.places[0] if reading.places else None
    return (None, True) if word == "off" else (word, False)


def _help(reading: Reading) -> Help:
    topic = reading.places[0] if reading.places else None
    return Help(grammar.find_verb(topic, VERBS).name if topic else None)


_MAKERS: dict[str, Callable[[Reading], Command]] = {
    "add": _add,
    "import": lambda r: Import(
        r.places[0], tuple(r.places[1:]), r.flag("--all"), r.flag("--replace")
    ),
    "list": lambda _: List(),
    "trust": lambda r: Trust(r.places[0]),
    "remove": lambda r: Remove(r.places[0]),
    "connect": _connect,
    "tools": lambda r: Tools(r.places[0], tuple(r.places[1:])),
    "call": _call,
    "record": lambda r: Record(*_file(r), replace=r.flag("--replace")),
    "replay": lambda r: Replay(*_file(r)),
    "disconnect": lambda r: Disconnect(r.places[0]),
    "sign-in": lambda r: SignIn(r.places[0], r.flag("--register-again"), r.flag("--paste")),
    "sign-out": lambda r: SignOut(r.places[0]),
    "store": lambda r: Store(cast(StoreKind, r.places[0]) if r.places else None),
    "status": lambda _: Status(),
    "doctor": lambda r: Doctor(r.places[0]),
    "demo": lambda r: Demo(stop=bool(r.places)),
    "help": _help,
}
