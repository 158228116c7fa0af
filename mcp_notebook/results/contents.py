"""What a resource holds: text, bytes, a picture, a table, and how it shows itself.

The MIME type a server names decides nothing about how it is shown, see `blocks` and `pictures`.
"""

from __future__ import annotations

import base64
import binascii
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mcp_notebook.redaction import printable
from mcp_notebook.results import html, tables
from mcp_notebook.results.blocks import Shown, json_value, show_resource
from mcp_notebook.results.pictures import Picture, binary_size, read_resource_picture

if TYPE_CHECKING:
    from mcp_types import BlobResourceContents, ReadResourceResult, TextResourceContents
    from pandas import DataFrame

    from mcp_notebook.results.markdown import Markdown

_MAX_PARTS = 50


class ResourceResult:
    """What a server answered when a resource was read.

    Attributes:
        raw: The protocol's own object, a `mcp_types.ReadResourceResult`.
        uri: The address that was read.
        server: The name of the server, as it is known here.
    """

    def __init__(self, raw: ReadResourceResult, *, uri: str, server: str) -> None:
        self.raw = raw
        self.uri = uri
        self.server = server

    @property
    def contents(self) -> list[TextResourceContents | BlobResourceContents]:
        """The parts: ``.uri``, ``.mime_type``, and ``.text`` or ``.blob`` (base64).

        A resource that is a folder, say, has several.
        """
        return list(self.raw.contents)

    @property
    def text(self) -> str:
        """All texts, one below the other, exactly as they came."""
        return "\n".join(self._texts)

    @cached_property
    def content(self) -> bytes:
        """The bytes of all parts, one after the other; text in UTF-8."""
        return b"".join(_bytes(part) for part in self.raw.contents)

    @cached_property
    def data(self) -> Any:
        """The value: a text read as JSON, else the text; bytes where there is no text.

        Several texts are a list of their values.
        """
        texts = self._texts
        if not texts:
            return self.content if self.raw.contents else None
        values = [value if found else text for text in texts for found, value in [json_value(text)]]
        return values[0] if len(values) == 1 else values

    @cached_property
    def images(self) -> list[Picture]:
        """The parts that are pictures."""
        read = map(read_resource_picture, self.raw.contents)
        return [picture for picture in read if picture is not None]

    def to_frame(self) -> DataFrame:
        """Returns the value as a DataFrame; see `tables.to_frame` for what counts as a table.

        Raises:
            MCPNotebookError: It is no table, or pandas is not installed.
        """
        return tables.to_frame(self.data)

    def markdown(self) -> Markdown:
        """Returns the text to be shown as Markdown: no HTML, no pictures, links to the web only."""
        from mcp_notebook.results.markdown import Markdown

        return Markdown(self.text, source=self._source)

    def __repr__(self) -> str:
        count = len(self.raw.contents)
        size = binary_size(len(self.content))
        parts = f"{count} parts, " if count != 1 else ""
        return f"<ResourceResult of {self._source}: {parts}{size}>"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        parts = [show_resource(part, opened=True) for part in self.raw.contents[:_MAX_PARTS]]
        if len(self.raw.contents) > _MAX_PARTS:
            line = f"… {len(self.raw.contents) - _MAX_PARTS:,} parts more: .contents has them all"
            parts.append(Shown(line, html.remark(line)))
        parts = parts or [Shown("(nothing)", html.remark("nothing"))]
        body = "\n".join(part.plain for part in parts)
        server = printable(self.server, 64)
        return {
            "text/plain": f"{server}:\n{body}",
            "text/html": html.output(*(part.markup for part in parts), source=server),
        }

    @property
    def _source(self) -> str:
        return f"{printable(self.server, 64)} · {printable(self.uri, 120)}"

    @property
    def _texts(self) -> list[str]:
        found = (getattr(part, "text", None) for part in self.raw.contents)
        return [text for text in found if text is not None]


def _bytes(part: TextResourceContents | BlobResourceContents) -> bytes:
    text = getattr(part, "text", None)
    if text is not None:
        return str(text).encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(getattr(part, "blob", ""))
    except (binascii.Error, ValueError):
        return b""
