"""Tab in a call of a tool, a prompt or a template: the values an argument may have.

A tool's come from its schema and ask nobody. A prompt's and a template's are asked of the server,
which is what the protocol has completion for; only Tab in a value does so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcp_notebook.session.calling import CallAt

IDENTIFIER = "mcp_notebook_values"

_METHODS = {"aio", "submit", "uri"}  # these take the arguments of what they belong to


def matcher(shell: Any) -> Any:
    """Returns a matcher (API version 2) for the shell's completer."""
    from IPython.core.completer import SimpleCompletion, context_matcher

    @context_matcher(identifier=IDENTIFIER, priority=900)  # type: ignore[untyped-decorator,unused-ignore]
    def match(context: Any) -> dict[str, Any]:
        from mcp_notebook.session.calling import call_at

        before = _before_cursor(context)
        call = call_at(before) if "(" in before else None
        found = values(call, shell.user_ns) if call is not None else []
        if call is None or not found:
            return {"completions": [], "suppress": False}
        start = len(before) - len(call.typed)
        token_start = len(before) - len(context.token)
        completions = []
        for value in found:
            text = _written(value, call.quote)
            if token_start < start:
                text = before[token_start:start] + text
            else:
                text = text[token_start - start :]
            completions.append(SimpleCompletion(text=text, type="value"))
        return {"completions": completions, "suppress": True}

    return match


def _before_cursor(context: Any) -> str:
    lines = context.full_text.split("\n")[: context.cursor_line]
    return "\n".join([*lines, context.line_with_cursor[: context.cursor_position]])


def _written(value: Any, quote: str) -> str:
    """Returns a value as it stands in the cell, within its quotation marks if they are there."""
    if not quote:
        return repr(value)
    escaped = str(value).replace("\\", "\\\\").replace("\n", "\\n")
    return escaped.replace(quote[0], f"\\{quote[0]}")


def values(call: CallAt, namespace: dict[str, Any]) -> list[Any]:
    """Returns what the argument at the cursor could be; nothing for what is not ours."""
    from mcp_notebook.schema.signature import Parameters
    from mcp_notebook.session.callables import NamedCallable
    from mcp_notebook.session.tool import Tool

    target = _resolve(call, namespace)
    if not isinstance(target, Tool | NamedCallable):
        return []
    names = list(target.__signature__.parameters)
    argument = call.argument
    if isinstance(argument, int):
        if argument >= len(names):
            return []
        argument = names[argument]
    found: list[Any]
    if isinstance(target, Tool):
        known = target._definition()
        if known is None:
            return []
        found = Parameters.of(known.name, known.input_schema).choices(argument)
    else:
        by_place = zip(names, call.before, strict=False)
        given = {name: text for name, text in by_place if text is not None} | call.given
        found = target.suggest(argument, call.typed, **given)
    if not call.quote:
        return found
    return [value for value in found if isinstance(value, str) and value.startswith(call.typed)]


def _resolve(call: CallAt, namespace: dict[str, Any]) -> Any:
    """Follows the path of a call, through our own objects only: nobody else's code is run."""
    from mcp_notebook.session.callables import NamedCallable
    from mcp_notebook.session.named import Named
    from mcp_notebook.session.resources import Resources
    from mcp_notebook.session.session import Session
    from mcp_notebook.session.tool import Tool
    from mcp_notebook.session.tools import Tools

    first, *steps = call.path
    found = namespace.get(first) if isinstance(first, str) else None
    for step in steps:
        if isinstance(found, Tool | NamedCallable):
            return found if step in _METHODS else None
        if not isinstance(found, Session | Tools | Named | Resources):
            return None
        try:
            found = getattr(found, step) if isinstance(step, str) else found[step[0]]  # type: ignore[index]
        except (LookupError, AttributeError, TypeError):
            return None
    return found
