"""A server's tools, looked up: by attribute, by item, in a loop.

`Tools` never touches the server by itself: showing it, completing a name or copying it reads what
the last listing said. While the session is still connecting the listing is not known; an
attribute is then a `Tool` by that name all the same, which finds out when it is called.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mcp_notebook.errors import ToolError, UnknownToolError
from mcp_notebook.redaction import printable
from mcp_notebook.results import html
from mcp_notebook.results.blocks import Shown
from mcp_notebook.schema import names
from mcp_notebook.session.tool import Tool
from mcp_notebook.session.toolbox import namesakes, show_tools

if TYPE_CHECKING:
    import mcp_types

    from mcp_notebook.session.session import Session


class Tools:
    """The tools of one session: by attribute, by item, in a loop."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def _listing(self) -> list[mcp_types.Tool]:
        return self._session.connection.tools

    def _find(self, name: str) -> mcp_types.Tool | None:
        return next((tool for tool in self._listing() if tool.name == name), None)

    def _meant(self, name: str) -> mcp_types.Tool | None:
        # What was asked for before the listing was known is a name or an identifier.
        return self._find(name) or self._find(self._attributes().get(name, name))

    def _unknown(self, name: str) -> UnknownToolError:
        known = [tool.name for tool in self._listing()]
        guess = names.nearest(name, known)
        return UnknownToolError(
            f"{self._session.name} has no tool {printable(name, 60)!r}.",
            hint=f"Did you mean {printable(guess, 60)!r}?"
            if guess
            else f"See what there is with: %mcp tools {self._session.name}",
        )

    def _attributes(self) -> dict[str, str]:
        return names.identifiers((tool.name for tool in self._listing()), taken=dir(Tools))

    def __getattr__(self, name: str) -> Tool:
        # IPython, copy, numpy and pickle look for names with underscores on everything they see;
        # none of them may become a call (and no tool's identifier begins with one).
        if name.startswith("_"):
            raise AttributeError(name)
        attributes = self._attributes()
        if name in attributes:
            return Tool(self._session, attributes[name])
        if self._session.is_settled:
            raise self._unknown(name)
        return Tool(self._session, name)

    def __getitem__(self, name: str) -> Tool:
        if not isinstance(name, str):
            raise ToolError(
                "A tool is looked up by its name.",
                hint=f"See what there is with: %mcp tools {self._session.name}",
            )
        if self._find(name) is None and self._session.is_settled:
            raise self._unknown(name)
        return Tool(self._session, name)

    def __iter__(self) -> Iterator[Tool]:
        self._session.wait()
        return iter([Tool(self._session, tool.name) for tool in self._listing()])

    def __len__(self) -> int:
        self._session.wait()
        return len(self._listing())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._find(name) is not None

    def __dir__(self) -> list[str]:
        return list(self._attributes())

    def _ipython_key_completions_(self) -> list[str]:
        return [tool.name for tool in self._listing()]

    def __repr__(self) -> str:
        return self._shown().plain

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        shown = self._shown()
        return {"text/plain": shown.plain, "text/html": html.output(shown.markup)}

    def _shown(self) -> Shown:
        if not self._session.is_settled and not self._listing():
            line = f"{self._session.name}: {self._session.summary()}; its tools are not known yet."
            return Shown(line, html.remark(line))
        name, doubled = self._session.name, self._session.connection.doubled
        notes = namesakes(self._listing(), doubled, path=f"{name}.tools")
        return show_tools(self._listing(), source=name, notes=list(notes))
