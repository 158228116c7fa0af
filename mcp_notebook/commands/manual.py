"""The help of ``%mcp``, made of the table of commands."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from mcp_notebook.commands.grammar import Option, Verb, find_verb
from mcp_notebook.commands.verbs import VERBS

_WIDTH = 80
_START = (
    ("%mcp demo", "a server on this machine to try it all with"),
    ("%mcp add NAME URL", "remember a server"),
    ("%mcp connect NAME", "a card offers the sign-in; the cell is done at once"),
    ("NAME.tools.<Tab>", "call a tool as a Python function"),
    ("NAME.resources, .prompts", "what there is to read, and texts it fills in"),
)
_END = """\
%mcp help COMMAND (or %mcp COMMAND --help) tells more about one, with examples.
%config MCPMagics shows what can be set, such as keep_loop_running."""


def help_text(topic: str | None = None) -> str:
    """Returns the help as plain text, at most 80 columns wide.

    Args:
        topic: A command's name; ``None`` for the list of all.

    Raises:
        CommandError: There is no such command.
    """
    return _overview() if topic is None else _page(find_verb(topic, VERBS))


def _overview() -> str:
    parts = ["MCP servers in this notebook", f"Start here:\n{_columns(_START, 30)}"]
    groups = dict.fromkeys(verb.group for verb in VERBS)
    for group in groups:
        rows = [(_short_usage(verb), verb.summary) for verb in VERBS if verb.group == group]
        parts.append(f"{group}:\n{_columns(rows, 30)}")
    return "\n\n".join([*parts, _END])


def _short_usage(verb: Verb) -> str:
    return " ".join([f"%mcp {verb.name}", *(place.usage for place in verb.places)])


def _page(verb: Verb) -> str:
    parts = [f"%mcp {verb.name}: {verb.summary}.", _forms(verb)]
    if verb.notes:
        parts.append(verb.notes)
    for section in dict.fromkeys(option.section for option in verb.options):
        rows = [_option_row(option) for option in verb.options if option.section == section]
        parts.append(f"{section}:\n{_columns(rows, 34)}")
    lines = "\n".join(f"  %mcp {example}" for example in verb.examples)
    parts.append(f"For instance:\n{lines}")
    return "\n\n".join(parts)


def _forms(verb: Verb) -> str:
    options = " [options]" if verb.options else ""
    forms = [f"  {_short_usage(verb)}{options}"]
    if verb.program:
        forms.append(f"  %mcp {verb.name} NAME{options} -- COMMAND ARGS")
    if verb.cell:
        places = (place.usage for place in verb.places if place.name not in verb.cell_instead)
        forms.append(" ".join([f"  %%mcp {verb.name}", *places]) + f"\n  … {verb.cell}")
    return "\n".join(forms)


def _option_row(option: Option) -> tuple[str, str]:
    prefix = f"{option.short}, " if option.short else ""
    about = option.about
    if option.choices:
        about += f" ({', '.join(option.choices)})"
    return f"{prefix}{option.usage}", about


def _columns(rows: Iterable[tuple[str, str]], width: int) -> str:
    lines = []
    for left, right in rows:
        wrapped = textwrap.wrap(right, _WIDTH - width - 2)
        first = f"  {left:<{width}}"
        if len(left) < width:
            first += wrapped.pop(0)
        lines += [first.rstrip(), *(f"  {'':<{width}}{line}" for line in wrapped)]
    return "\n".join(lines)
