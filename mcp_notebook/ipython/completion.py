"""Tab after ``%mcp``: commands, servers, tools, arguments and their listed values.

A matcher of IPython's completer (API version 2); what could stand at the cursor is found by
`completing`, which is pure. Nothing here asks a server: only what is known already is offered.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from mcp_notebook.ipython import values

if TYPE_CHECKING:
    import mcp_types

    from mcp_notebook.ipython.magics import MCPMagics
    from mcp_notebook.schema.signature import Parameters

IDENTIFIER = "mcp_notebook"
_ONLY_RAISING = {
    ("mcp_notebook.session.session", "Session"),
    ("mcp_notebook.session.resources", "Resources"),
}
_POLICIES = "IPython.core.guarded_eval"  # takes as long to import as all that is loaded with it

_MAX_FILES = 200


class _Known:
    """The names a completion may offer."""

    def __init__(self, magics: MCPMagics | None) -> None:
        self._magics = magics

    def files(self, typed: str) -> Iterable[str]:
        folder, name = os.path.split(typed)
        try:
            with os.scandir(os.path.expanduser(folder) or ".") as found:  # noqa: PTH111
                names = sorted(
                    entry.name + ("/" if entry.is_dir() else "")
                    for entry in found
                    if entry.name.startswith(name) and (name or not entry.name.startswith("."))
                )
        except OSError:
            return []
        return [os.path.join(folder, name) for name in names[:_MAX_FILES]]  # noqa: PTH118

    def servers(self) -> Iterable[str]:
        if self._magics is None:
            return []
        space = self._magics.commands.workspace
        known = [server.name for server in space.book.all()]
        return dict.fromkeys([*known, *space.sessions])

    def _tools(self, server: str) -> list[mcp_types.Tool]:
        if self._magics is None:
            return []
        session = self._magics.commands.workspace.sessions.get(server)
        return session.connection.tools if session is not None else []

    def tools(self, server: str) -> Iterable[str]:
        return [tool.name for tool in self._tools(server)]

    def _parameters(self, server: str, tool: str) -> Parameters | None:
        from mcp_notebook.schema.signature import Parameters

        found = next((known for known in self._tools(server) if known.name == tool), None)
        return Parameters.of(found.name, found.input_schema) if found is not None else None

    def arguments(self, server: str, tool: str) -> Iterable[str]:
        parameters = self._parameters(server, tool)
        return parameters.all if parameters is not None else []

    def values(self, server: str, tool: str, argument: str) -> Iterable[str]:
        parameters = self._parameters(server, tool)
        return parameters.values(argument) if parameters is not None else []


def register(shell: Any, magics: Callable[[], MCPMagics | None]) -> None:
    """Adds the matchers to the shell's completer."""
    from IPython.core.completer import SimpleCompletion, context_matcher

    @context_matcher(identifier=IDENTIFIER, priority=1000)  # type: ignore[untyped-decorator,unused-ignore]
    def match(context: Any) -> dict[str, Any]:
        from mcp_notebook.commands import completing

        _looked_into().update(_ONLY_RAISING)  # ours are the first matchers that are asked
        before = context.line_with_cursor[: context.cursor_position]
        found = completing.complete(before, _Known(magics()))
        if found is None:
            return {"completions": [], "suppress": False}
        # What is replaced is the token as IPython cuts it, which may begin elsewhere than ours.
        token_start = len(before) - len(context.token)
        completions = []
        for candidate in found.candidates:
            if token_start >= found.start:
                text = candidate[token_start - found.start :]
            else:
                text = before[token_start : found.start] + candidate
            completions.append(SimpleCompletion(text=text, type="mcp"))
        return {"completions": completions, "suppress": True}

    unregister(shell)
    shell.Completer.custom_matchers += [match, values.matcher(shell)]


def unregister(shell: Any) -> None:
    """Takes the matchers away."""
    if _POLICIES in sys.modules:
        _looked_into().difference_update(_ONLY_RAISING)
    shell.Completer.custom_matchers[:] = [
        matcher
        for matcher in shell.Completer.custom_matchers
        if getattr(matcher, "matcher_identifier", None) not in {IDENTIFIER, values.IDENTIFIER}
    ]


def _looked_into() -> set[tuple[str, ...]]:
    """Returns the classes IPython looks into for Tab although they have a `__getattr__`.

    Theirs only raises; without this, Tab in ``session.tools["…`` would offer nothing.
    """
    policies = import_module(_POLICIES).EVALUATION_POLICIES
    return getattr(policies["limited"], "allowed_getattr_external", set())
