"""Things of one server by their names: as attributes, as items, in a loop.

Nothing here touches the server by being looked at: it reads what the last listing said. While
the listing is not known, an attribute is a thing by that name all the same, which finds out when
it is called; that is what lets a whole notebook run while a session is still signing in.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from mcp_notebook.errors import MCPNotebookError, UnknownNameError
from mcp_notebook.redaction import printable
from mcp_notebook.results import html
from mcp_notebook.results.blocks import Shown
from mcp_notebook.schema import names

if TYPE_CHECKING:
    from mcp_notebook.session.listing import Listing
    from mcp_notebook.session.session import Session


class Definition(Protocol):
    """What a server says of a thing."""

    name: str


_SHOWN = 8

D = TypeVar("D", bound=Definition)
I = TypeVar("I")  # noqa: E741


class Named(Generic[D, I]):
    """A server's things of one kind. Looking at it asks the server nothing."""

    noun: ClassVar[str] = "thing"

    def __init__(self, session: Session, listing: Listing[D]) -> None:
        self._session = session
        self._listing = listing

    def _make(self, name: str) -> I:
        """Returns the thing of that name."""
        raise NotImplementedError

    def _show(self, listed: list[D]) -> Shown:
        """Returns the things as text and HTML."""
        raise NotImplementedError

    def _find(self, name: str) -> D | None:
        return next((known for known in self._listing.items if known.name == name), None)

    async def _needed(self, name: str) -> D:
        """Returns what the server says of a thing, listed if need be; on the loop."""
        await self._listing.needed()
        found = self._meant(name)
        if found is None:
            raise self._unknown(name)
        return found

    def _meant(self, name: str) -> D | None:
        # What was asked for before the listing was known is a name or an identifier.
        return self._find(name) or self._find(self._attributes().get(name, name))

    def _unknown(self, name: str) -> UnknownNameError:
        listed = [known.name for known in self._listing.items]
        guess = names.nearest(name, listed)
        return UnknownNameError(
            f"{self._session.name} has no {self.noun} {printable(name, 60)!r}.",
            hint=f"Did you mean {printable(guess, 60)!r}?" if guess else self._overview(listed),
        )

    def _overview(self, listed: list[str]) -> str:
        if not listed:
            return f"It offers no {self.noun}s."
        shown = ", ".join(printable(name, 60) for name in listed[:_SHOWN])
        more = f", and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
        return f"It has: {shown}{more}."

    def _attributes(self) -> dict[str, str]:
        return names.identifiers((known.name for known in self._listing.items), taken=dir(Named))

    def __getattr__(self, name: str) -> I:
        # IPython, copy, numpy and pickle look for names with underscores on everything they see.
        if name.startswith("_"):
            raise AttributeError(name)
        attributes = self._attributes()
        if name in attributes:
            return self._make(attributes[name])
        if self._listing.known:
            raise self._unknown(name)
        return self._make(name)

    def __getitem__(self, name: str) -> I:
        if not isinstance(name, str):
            raise MCPNotebookError(
                f"A {self.noun} is looked up by its name.",
                hint=self._overview([known.name for known in self._listing.items]),
            )
        if self._listing.known and self._find(name) is None:
            raise self._unknown(name)
        return self._make(name)

    def __iter__(self) -> Iterator[I]:
        listed = self._session.wait_for(self._listing.needed()).result()
        return iter([self._make(known.name) for known in listed])

    def __len__(self) -> int:
        return len(self._session.wait_for(self._listing.needed()).result())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._find(name) is not None

    def __dir__(self) -> list[str]:
        return list(self._attributes())

    def _ipython_key_completions_(self) -> list[str]:
        return [known.name for known in self._listing.items]

    def _shown(self) -> Shown:
        listed = self._listing.items
        if listed or self._listing.known:
            return self._show(listed)
        line = f"The {self.noun}s of {self._session.name} are not known yet."
        return Shown(line, html.remark(line))

    def __repr__(self) -> str:
        return self._shown().plain

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        shown = self._shown()
        return {"text/plain": shown.plain, "text/html": html.output(shown.markup)}

    def __reduce_ex__(self, protocol: object) -> Any:
        raise TypeError(f"the {self.noun}s of a live session are not pickled")
