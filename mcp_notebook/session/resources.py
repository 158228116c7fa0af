"""A server's resources: by address, by template, and watched for changes.

An address is the server's own name for something and is read from the server, whatever it looks
like; no file is opened and no page fetched here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mcp.shared.uri_template import InvalidUriTemplate, UriTemplate

from mcp_notebook.errors import MCPNotebookError, ServerError, UnknownNameError
from mcp_notebook.redaction import printable
from mcp_notebook.results import html, rendering
from mcp_notebook.results.blocks import Shown
from mcp_notebook.results.contents import ResourceResult
from mcp_notebook.results.html import tag
from mcp_notebook.results.pictures import binary_size
from mcp_notebook.schema.names import nearest
from mcp_notebook.schema.signature import Parameters
from mcp_notebook.session.callables import NamedCallable, first_line, show_callables, text_schema
from mcp_notebook.session.listing import Listing
from mcp_notebook.session.named import Named

if TYPE_CHECKING:
    import mcp_types

    from mcp_notebook.session.session import Session
    from mcp_notebook.session.watching import Watch

_MAX_LISTED = 300

_NOT_FOUND = frozenset({-32602, -32002})
"""What a server says of an unknown address, since 2026-07-28 and before (resources, Errors)."""


class Resource:
    """One resource of one server: `read` it, or await `aio`.

    Attributes:
        uri: Its address.
    """

    def __init__(self, resources: Resources, uri: str) -> None:
        self._resources = resources
        self.uri = uri

    def read(self) -> ResourceResult:
        """Reads it from the server and waits; see `Resources.read`."""
        return self._resources.read(self.uri)

    async def aio(self) -> ResourceResult:
        """Does the same for ``await``: other tasks go on meanwhile."""
        return await self._resources.aio(self.uri)

    def watch(self) -> Watch:
        """Has the server tell when it changes; see `Resources.watch`."""
        return self._resources.watch(self.uri)

    @property
    def about(self) -> mcp_types.Resource | None:
        """What the server says of it: ``.name``, ``.mime_type``, ``.size``; None if not listed."""
        return next((known for known in self._resources._items if known.uri == self.uri), None)

    def __dir__(self) -> list[str]:
        return ["about", "aio", "read", "uri", "watch"]

    def __repr__(self) -> str:
        return f"<Resource {printable(self.uri, 200)} of {self._resources._session.name}>"

    def __reduce_ex__(self, protocol: object) -> Any:
        raise TypeError("a Resource belongs to a live session and is not pickled")


class Resources:
    """The resources of one session. Looking at it asks the server nothing.

    Attributes:
        templates: Addresses with gaps to fill in, as callables.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._listing: Listing[mcp_types.Resource] = Listing(
            session.connection,
            "resources",
            "resources",
            lambda client, cursor: client.list_resources(cursor=cursor),
            first_page=True,
        )
        self.templates = Templates(self)

    def list(self) -> list[mcp_types.Resource]:
        """Asks the server what there is, and waits; ten thousand at the most.

        Raises:
            MCPNotebookError: The server was not reached, or answered with an error.
        """
        return list(self._session.wait_for(self._listing.fresh()).result())

    def read(self, uri: str) -> ResourceResult:
        """Reads a resource from the server and waits for it.

        Args:
            uri: Its address; it need not be listed.

        Raises:
            ServerError: The server has no such resource, or will not give it.
            SignInError: Somebody has to sign in and did not.
            ConnectionFailedError: The server was not reached, or its answer was lost.
        """
        return self._session.wait_for(self._read(_address(uri))).result()

    async def aio(self, uri: str) -> ResourceResult:
        """Does the same as `read` for ``await``: other tasks go on meanwhile."""
        return await self._session.wait_for(self._read(_address(uri)))

    async def _read(self, uri: str) -> ResourceResult:
        try:
            raw = await self._session.connection.ask(
                # Reading twice is asking twice: what the SDK remembers may be an hour old.
                lambda client: client.read_resource(uri, cache_mode="refresh"),
                operation=f"resource {uri}",
            )
        except ServerError as error:
            if error.code in _NOT_FOUND:
                error.hint = "What it lists: resources.list(), and resources.templates."
            raise
        return ResourceResult(raw, uri=uri, server=self._session.name)

    def watch(self, uri: str) -> Watch:
        """Has the server tell when a resource changes, from now on; waits for nobody.

        Args:
            uri: Its address.

        Returns:
            What to look at, to wait for and to close.
        """
        from mcp_notebook.session.watching import Watch

        return Watch(self, _address(uri))

    @property
    def _items(self) -> Sequence[mcp_types.Resource]:
        return self._listing.items

    def __getitem__(self, uri: str) -> Resource:
        return Resource(self, _address(uri))

    def __getattr__(self, name: str) -> Any:
        # Looked up on a half-made copy, or by IPython, copy and pickle on everything they see.
        if name.startswith("_"):
            raise AttributeError(name)
        guess = nearest(name, dir(self))
        meant = f"Did you mean .{guess}? " if guess else ""
        hint = f"{meant}A resource is read by its address: .read(address)"
        raise UnknownNameError(f"Resources have no {printable(name, 60)!r}.", hint=hint)

    def __iter__(self) -> Iterator[Resource]:
        listed = self._session.wait_for(self._listing.needed()).result()
        return iter([Resource(self, known.uri) for known in listed])

    def __len__(self) -> int:
        return len(self._session.wait_for(self._listing.needed()).result())

    def __contains__(self, uri: object) -> bool:
        return any(known.uri == uri for known in self._items)

    def __dir__(self) -> Sequence[str]:
        return ["aio", "list", "read", "templates", "watch"]

    def _ipython_key_completions_(self) -> Sequence[str]:
        return [known.uri for known in self._items]

    def __repr__(self) -> str:
        return self._shown().plain

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        shown = self._shown()
        return {"text/plain": shown.plain, "text/html": html.output(shown.markup)}

    def _shown(self) -> Shown:
        items, session = self._items, self._session
        if not items and not self._listing.known:
            line = f"The resources of {session.name} are not known yet."
            return Shown(line, html.remark(line))
        parts = [_show(items, source=session.name, whole=self._listing.whole)]
        if self.templates._listing.items:
            parts.append(self.templates._shown())
        return Shown(
            "\n".join(part.plain for part in parts), html.join(part.markup for part in parts)
        )

    def __reduce_ex__(self, protocol: object) -> Any:
        raise TypeError("the resources of a live session are not pickled")


def _address(uri: object) -> str:
    if not isinstance(uri, str) or not uri:
        raise MCPNotebookError(
            "A resource is named by its address, a text.",
            hint='Such as resources.read("docs://guide"); resources.list() has those there are.',
        )
    return uri


def _show(listed: Sequence[mcp_types.Resource], *, source: str, whole: bool) -> Shown:
    count = f"{len(listed):,}" if whole else f"more than {len(listed):,}"
    title = f"{source}: {count} resource{'s' * (len(listed) != 1 or not whole)}"
    if not listed:
        return Shown(title, html.remark(title))
    headers = ["address", "what the server says it is", "kind"]
    shown = listed[:_MAX_LISTED]
    more = f"{len(listed) - len(shown):,} more" if whole else "more"
    note = "" if whole and len(shown) == len(listed) else f"… {more}: .list() has them all"
    rows = [[printable(known.uri, 200), _gist(known), _kind(known)] for known in shown]
    text = "\n".join(line for line in (title, rendering.text_table(headers, rows), note) if line)
    cells = [[tag("code", row[0]), html.escape(row[1]), html.escape(row[2])] for row in rows]
    return Shown(text, html.table(headers, cells, caption=title, note=note))


def _gist(known: mcp_types.Resource) -> str:
    return first_line(known.description or known.title or known.name)


def _kind(known: mcp_types.Resource) -> str:
    size = binary_size(known.size) if known.size is not None and known.size >= 0 else ""
    return ", ".join(part for part in (printable(known.mime_type or "", 60), size) if part)


class Template(NamedCallable["mcp_types.ResourceTemplate", ResourceResult]):
    """Addresses of one form: call it with what fills the gaps, or await `aio`."""

    noun = "resource template"

    _among: Templates

    def uri(self, /, *args: Any, **arguments: Any) -> str:
        """Returns the address for these arguments (RFC 6570); asks nothing.

        Raises:
            ToolArgumentError: They do not fit.
            UnknownNameError: The server has no such template, or it is not known yet.
        """
        known = self._definition()
        if known is None:
            raise self._among._unknown(self.name)
        return _expand(known, self._bind(known, args, arguments))

    def _parameters(self, definition: mcp_types.ResourceTemplate) -> Parameters:
        return _parameters(definition)

    def _said(self, definition: mcp_types.ResourceTemplate) -> str:
        said = definition.description or definition.title or ""
        return f"{said}\n\n{printable(definition.uri_template, 300)}".strip()

    def _ref(self, definition: mcp_types.ResourceTemplate) -> mcp_types.ResourceTemplateReference:
        from mcp_types import ResourceTemplateReference

        return ResourceTemplateReference(uri=definition.uri_template)

    async def _ask(
        self, definition: mcp_types.ResourceTemplate, arguments: dict[str, Any]
    ) -> ResourceResult:
        return await self._among._resources._read(_expand(definition, arguments))

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), "uri"]


class Templates(Named["mcp_types.ResourceTemplate", Template]):
    """The resource templates of one session: by attribute, by item, in a loop."""

    noun = "resource template"

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        session = resources._session
        listing: Listing[mcp_types.ResourceTemplate] = Listing(
            session.connection,
            "resources",
            "resource_templates",
            lambda client, cursor: client.list_resource_templates(cursor=cursor),
        )
        super().__init__(session, listing)

    def _make(self, name: str) -> Template:
        return Template(self, name)

    def _show(self, listed: list[mcp_types.ResourceTemplate]) -> Shown:
        rows = [
            (
                f"{printable(known.name, 60)}{_parameters(known).signature}",
                known.description or known.title or known.uri_template,
            )
            for known in listed
        ]
        return show_callables(self.noun, rows, source=self._session.name)


def _parsed(template: mcp_types.ResourceTemplate) -> UriTemplate | None:
    try:
        return UriTemplate.parse(template.uri_template)
    except InvalidUriTemplate:
        return None


def _parameters(template: mcp_types.ResourceTemplate) -> Parameters:
    """Returns what fills the gaps of a template; the parts of a query may be left out."""
    parsed = _parsed(template)
    variables = parsed.variables if parsed is not None else []
    properties = {
        variable.name: {"type": ["array", "string"], "items": {"type": "string"}}
        if variable.explode
        else {"type": "string"}
        for variable in variables
    }
    needed = [variable.name for variable in variables if variable.operator not in {"?", "&"}]
    return Parameters(template.name, text_schema(properties, needed))


def _expand(template: mcp_types.ResourceTemplate, arguments: dict[str, Any]) -> str:
    parsed = _parsed(template)
    if parsed is None:
        raise ServerError(
            f"The template {printable(template.uri_template, 200)} cannot be filled in here.",
            hint="Read the whole address instead: resources.read(address)",
        )
    return parsed.expand(arguments)
