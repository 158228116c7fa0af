"""A server's Markdown as HTML, when a person asks for it.

Front ends run the scripts in Markdown that is fresh, load its remote pictures (which tells their
owner that and when somebody looked) and typeset its mathematics. So it is rendered here: HTML in
it is text, pictures are their description and address, and only whole web addresses are links.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mcp_notebook.redaction import clean_lines, printable
from mcp_notebook.results import html, rendering

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markdown_it.renderer import RendererHTML
    from markdown_it.token import Token
    from markdown_it.utils import EnvType, OptionsDict

_MAX_NESTING = 12


class Markdown:
    """Markdown text that shows itself rendered; its text stays beside it."""

    def __init__(self, text: str, *, source: str) -> None:
        self.text = text
        self.source = source

    def __repr__(self) -> str:
        return f"<Markdown of {self.source}: {len(self.text):,} characters>"

    def _repr_mimebundle_(
        self,
        include: Any = None,  # noqa: ARG002 (IPython gives both)
        exclude: Any = None,  # noqa: ARG002
    ) -> dict[str, str]:
        head, left_out = rendering.cut(self.text, rest=".text")
        plain = "\n".join(filter(None, (f"{self.source}:", head, left_out)))
        shown = html.output(to_html(head), html.remark(left_out), source=self.source)
        return {"text/plain": plain, "text/html": shown}


def to_html(text: str) -> html.Html:
    """Returns CommonMark with tables as HTML in which nothing runs and nothing is loaded.

    Args:
        text: Foreign text; cut it first.
    """
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": _MAX_NESTING})
    parser.enable(["table", "strikethrough"])
    parser.validateLink = html.is_web  # type: ignore[assignment]  # its documented hook
    parser.add_render_rule("link_open", _link_open)
    parser.add_render_rule("image", _image)
    return html.Html(f'<div class="mcpnb-markdown">{parser.render(clean_lines(text))}</div>')


def _link_open(
    renderer: RendererHTML,
    tokens: Sequence[Token],
    index: int,
    options: OptionsDict,
    env: EnvType,
) -> str:
    token = tokens[index]
    address = str(token.attrGet("href") or "")
    token.attrs = {
        "href": address,
        "title": address,  # the text of a link may name another place
        "target": "_blank",
        "rel": "noopener noreferrer nofollow",
    }
    return renderer.renderToken(tokens, index, options, env)


def _image(
    renderer: RendererHTML,
    tokens: Sequence[Token],
    index: int,
    options: OptionsDict,
    env: EnvType,
) -> str:
    token = tokens[index]
    alt = renderer.renderInlineAsText(token.children or [], options, env)
    address = str(token.attrGet("src") or "")
    text = f"[picture: {printable(alt, 200)}, {printable(address, 200)}]"
    return html.tag("span", text, class_="mcpnb-quiet")
