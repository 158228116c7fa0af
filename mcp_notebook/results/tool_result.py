"""What a tool answered: a value, texts, pictures, tables, and how they show themselves.

A `ToolResult` keeps the protocol's own object (`raw`) and reads it on demand. It shows itself as
text that is good on its own and as HTML made here; no MIME type of the server ever becomes one of
the output, and no other rich form stands beside the HTML, because front ends would show that one
instead.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from mcp_notebook.errors import ToolFailedError
from mcp_notebook.redaction import clean_lines, printable, redact
from mcp_notebook.results import arrow, html, rendering, tables
from mcp_notebook.results.blocks import Shown, json_value, show_blocks, show_text, show_value
from mcp_notebook.results.likeness import ValueLike
from mcp_notebook.results.pictures import (
    Picture,
    Sound,
    read_picture,
    read_resource_picture,
    read_sound,
)

if TYPE_CHECKING:
    import pyarrow as pa
    from mcp_types import (
        BlobResourceContents,
        CallToolResult,
        ResourceLink,
        TextResourceContents,
    )
    from pandas import DataFrame

    from mcp_notebook.results.markdown import Markdown

_MAX_TEXTS = 50
_MAX_COMPARED = 1_000_000
_MAX_TWICE_BYTES = 1024 * 1024
_MAX_REASON = 2_000
_MAX_REASON_LINES = 30


class ToolResult(ValueLike):
    """What a tool answered. It is read like its value: ``result["key"]``, ``for row in result``.

    Attributes:
        raw: The protocol's own object, a `mcp_types.CallToolResult`.
        tool: The tool's name.
        server: The name of the server, as it is known here.
    """

    def __init__(
        self,
        raw: CallToolResult,
        *,
        tool: str,
        server: str,
        output_schema: dict[str, Any] | None = None,
        show: Literal["full", "summary"] = "full",
    ) -> None:
        """Wraps an answer.

        Args:
            raw: The answer.
            tool: The tool's name.
            server: The server's name.
            output_schema: What the tool says it answers with.
            show: How the result shows itself; ``summary`` says what it is and holds none of it, so
                that a saved notebook does not either.
        """
        self.raw = raw
        self.tool = tool
        self.server = server
        self._output_schema = output_schema
        self._show = show

    @cached_property
    def data(self) -> Any:
        """The value: structured content, else the text read as JSON, else the text.

        Structured content that only wraps a value (``{"result": 5}``, where the output schema has
        that one property) is unwrapped. Several texts that are each a JSON object or list are a
        list of them. ``None`` where the answer has neither structured content nor text.
        """
        structured = self.raw.structured_content
        if structured is not None:
            return structured["result"] if self._is_wrapped(structured) else structured
        return _value(self._texts) if self._texts else None

    @property
    def text(self) -> str:
        """All texts of the answer, one below the other, exactly as they came."""
        return "\n".join(self._texts)

    @cached_property
    def images(self) -> list[Picture]:
        """The pictures, those in embedded resources included."""
        found = []
        for block in self.raw.content:
            if block.type == "image":
                found.append(read_picture(block.data, block.mime_type))
            elif block.type == "resource":
                picture = read_resource_picture(block.resource)
                if picture is not None:
                    found.append(picture)
        return found

    @cached_property
    def audio(self) -> list[Sound]:
        """The recordings."""
        return [
            read_sound(block.data, block.mime_type)
            for block in self.raw.content
            if block.type == "audio"
        ]

    @property
    def links(self) -> list[ResourceLink]:
        """Links to resources of the server. Nothing is fetched until you read one."""
        return [block for block in self.raw.content if block.type == "resource_link"]

    @property
    def resources(self) -> list[TextResourceContents | BlobResourceContents]:
        """Resources that came with the answer: ``.uri``, and ``.text`` or ``.blob`` (base64)."""
        return [block.resource for block in self.raw.content if block.type == "resource"]

    @property
    def meta(self) -> dict[str, Any]:
        """The answer's ``_meta``."""
        return dict(self.raw.meta or {})

    def to_frame(self) -> DataFrame:
        """Returns the answer as a DataFrame; see `tables.to_frame` for what counts as a table.

        Raises:
            MCPNotebookError: The answer is no table, or pandas is not installed.
        """
        return tables.to_frame(self.data)

    def to_arrow(self) -> pa.Table:
        """Returns the answer as an Arrow table, which `to_frame` would make a DataFrame of.

        Raises:
            MCPNotebookError: The answer is no table, or pyarrow is not installed.
        """
        found = tables.needed(self.data)
        return arrow.table(found.rows, found.columns)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Returns the table for whoever speaks Arrow's PyCapsule interface."""
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def markdown(self) -> Markdown:
        """Returns the text to be shown as Markdown: no HTML, no pictures, links to the web only."""
        from mcp_notebook.results.markdown import Markdown

        return Markdown(self.text, source=self._source)

    def __repr__(self) -> str:
        return f"<ToolResult of {self._source}: {self._summary()}>"

    def __str__(self) -> str:
        """The answer as a cell of a terminal shows it: harmless, and cut where it is huge."""
        return repr(self) if self._show == "summary" else _plain(list(self._parts()))

    def _repr_mimebundle_(
        self,
        include: Any = None,  # noqa: ARG002 (IPython gives both)
        exclude: Any = None,  # noqa: ARG002
    ) -> dict[str, str]:
        if self._show == "summary":
            return {"text/plain": repr(self)}
        parts = list(self._parts())
        body = _plain(parts)
        between = "\n" if "\n" in body else " "
        shown = [part.markup for part in parts] or [html.remark("an empty answer")]
        return {
            "text/plain": f"{self._source}:{between}{body}",
            "text/html": html.output(*shown, source=self._source),
            **self._native(),
        }

    @property
    def _source(self) -> str:
        return f"{printable(self.server, 64)} · {printable(self.tool, 80)}"

    @property
    def _texts(self) -> list[str]:
        return [block.text for block in self.raw.content if block.type == "text"]

    def _is_wrapped(self, structured: Any) -> bool:
        properties = (self._output_schema or {}).get("properties")
        return (
            isinstance(structured, dict)
            and structured.keys() == {"result"}
            and isinstance(properties, dict)
            and properties.keys() == {"result"}
        )

    def _summary(self) -> str:
        """Says what the answer is; its content only where it is a short value and may be shown."""
        value = self.data
        found = []
        if value is not None or self.raw.structured_content is not None:
            found.append(self._gist(value))
        media = {
            "picture": len(self.images),
            "recording": len(self.audio),
            "link": len(self.links),
            "resource": len(self.resources),
        }
        found += [
            f"{count} {noun}{'' if count == 1 else 's'}" for noun, count in media.items() if count
        ]
        return ", ".join(found) or "nothing"

    def _gist(self, value: Any) -> str:
        table = rendering.shown_table(value)
        if table is not None:
            return f"{len(table.rows):,} rows × {len(table.columns):,} columns"
        if self._show == "full":
            line = rendering.one_line(value, 60)
            if line is not None:
                return line
        if isinstance(value, str):
            return f"text of {len(value):,} characters"
        if isinstance(value, dict | list):
            return rendering.contents(value)
        return f"a {type(value).__name__}"

    def _parts(self) -> Iterator[Shown]:
        blocks = self.raw.content
        if self.raw.structured_content is None and isinstance(self.data, str):
            yield from show_blocks(blocks, source=self._source)
            return
        holds_text = self._only_holds_its_text()
        if self.raw.structured_content is not None and (
            holds_text or not self._texts_say_the_same()
        ):
            yield from map(show_text, self._texts[:_MAX_TEXTS])
        if not holds_text and (self.raw.structured_content is not None or self._texts):
            yield show_value(self.data)
        others = [block for block in blocks if block.type != "text"]
        yield from show_blocks(others, source=self._source)

    def _only_holds_its_text(self) -> bool:
        """Tells whether the value is an object with the text in it and nothing else.

        Servers of files answer so, ``{"content": "…"}``: the text is what a person reads.
        """
        value = self.raw.structured_content
        return (
            isinstance(value, dict)
            and len(value) == 1
            and bool(self._texts)
            and next(iter(value.values())) == self.text
        )

    def _texts_say_the_same(self) -> bool:
        """Tells whether the texts repeat the structured content, as the specification asks.

        MCP 2025-11-25, server/tools, "Structured Content": a tool SHOULD also return it as text.
        """
        texts, data = self._texts, self.data
        if sum(map(len, texts)) > _MAX_COMPARED:
            return True  # not worth the time; the texts are in `text`
        values = [
            value if found else text
            for text, (found, value) in zip(texts, map(json_value, texts), strict=True)
        ]
        try:
            same = self.raw.structured_content in values or data in values or data == values
        except RecursionError:
            return True
        return same or not texts or self.text == data

    def _native(self) -> dict[str, str]:
        """The form that exports to paper take, where the whole answer is one picture.

        Front ends prefer the HTML, which has the text alternative.
        """
        blocks = self.raw.content
        if len(blocks) != 1 or self.raw.structured_content is not None or not self.images:
            return {}
        picture = self.images[0]
        if picture.problem or len(picture.data) > _MAX_TWICE_BYTES:
            return {}
        return {picture.mime: base64.b64encode(picture.data).decode()}


def failure(result: ToolResult, *, hint: str = "") -> ToolFailedError:
    """Returns the error for an answer with ``isError``: the server's text, made harmless.

    Args:
        result: The answer; the error carries it as ``.result``.
        hint: What is known of why, in place of the usual hint.
    """
    text = result.text[: _MAX_REASON * 4].strip()
    if not text and result.raw.structured_content is not None:
        text = rendering.json_text(result.data, rest="the error's .result.data")
    lines = redact(clean_lines(text)).strip().split("\n")
    reason = "\n".join(lines[:_MAX_REASON_LINES])
    if len(reason) > _MAX_REASON or len(lines) > _MAX_REASON_LINES:
        reason = f"{reason[:_MAX_REASON]}…"
    between = "\n" if "\n" in reason else " "
    return ToolFailedError(
        f"{printable(result.tool, 80)} of {printable(result.server, 64)} failed:{between}"
        f"{reason or '(the server gave no reason)'}",
        hint=hint or "The server says so; its whole answer is the error's .result.",
        tool=result.tool,
        result=result,
    )


def _plain(parts: list[Shown]) -> str:
    return "\n".join(part.plain for part in parts) or "(an empty answer)"


def _value(texts: list[str]) -> Any:
    """Reads texts as JSON: one as its value, several as a list where each is a container."""
    if len(texts) == 1:
        found, value = json_value(texts[0])
        return value if found else texts[0]
    values = []
    for text in texts:
        found, value = json_value(text)
        if not found or not isinstance(value, dict | list):
            return "\n".join(texts)
        values.append(value)
    return values
