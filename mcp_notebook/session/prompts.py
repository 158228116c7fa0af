"""A server's prompts as callables that return messages.

A prompt is a text the server fills in. It is shown and handed back, and given to no model here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mcp_notebook.redaction import clean_lines, printable
from mcp_notebook.results import html
from mcp_notebook.results.blocks import Shown, show_blocks
from mcp_notebook.results.html import tag
from mcp_notebook.schema.signature import Parameters
from mcp_notebook.session.callables import NamedCallable, show_callables, text_schema
from mcp_notebook.session.listing import Listing
from mcp_notebook.session.named import Named

if TYPE_CHECKING:
    import mcp_types

    from mcp_notebook.session.session import Session

_MAX_MESSAGES = 50


class PromptResult:
    """What a prompt came to: messages, in their order.

    Attributes:
        raw: The protocol's own object, a `mcp_types.GetPromptResult`.
        prompt: The prompt's name.
        server: The name of the server, as it is known here.
    """

    def __init__(self, raw: mcp_types.GetPromptResult, *, prompt: str, server: str) -> None:
        self.raw = raw
        self.prompt = prompt
        self.server = server

    @property
    def messages(self) -> list[mcp_types.PromptMessage]:
        """The messages: each has a ``.role`` and a ``.content`` block."""
        return list(self.raw.messages)

    @property
    def description(self) -> str:
        """What the server says the prompt is for."""
        return clean_lines(self.raw.description or "")

    @property
    def text(self) -> str:
        """All texts of the messages, one below the other, exactly as they came."""
        contents = [message.content for message in self.raw.messages]
        return "\n".join(content.text for content in contents if content.type == "text")

    def __len__(self) -> int:
        return len(self.raw.messages)

    def __iter__(self) -> Iterator[mcp_types.PromptMessage]:
        return iter(self.raw.messages)

    def __repr__(self) -> str:
        count = len(self)
        return f"<PromptResult of {self._source}: {count} message{'s' * (count != 1)}>"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        parts = list(self._parts()) or [Shown("(no messages)", html.remark("no messages"))]
        body = "\n".join(part.plain for part in parts)
        return {
            "text/plain": f"{self._source}:\n{body}",
            "text/html": html.output(*(part.markup for part in parts), source=self._source),
        }

    @property
    def _source(self) -> str:
        return f"{printable(self.server, 64)} · {printable(self.prompt, 80)}"

    def _parts(self) -> Iterator[Shown]:
        for message in self.raw.messages[:_MAX_MESSAGES]:
            role = printable(str(message.role), 20)
            yield Shown(f"{role}:", tag("div", tag("b", role)))
            yield from show_blocks([message.content], source=self._source)
        if len(self) > _MAX_MESSAGES:
            line = f"… {len(self) - _MAX_MESSAGES:,} more: .messages has them all"
            yield Shown(line, html.remark(line))


class Prompt(NamedCallable["mcp_types.Prompt", PromptResult]):
    """One prompt of one server: call it with its arguments, or await `aio`."""

    noun = "prompt"

    def _parameters(self, definition: mcp_types.Prompt) -> Parameters:
        return parameters_of(definition)

    def _said(self, definition: mcp_types.Prompt) -> str:
        return definition.description or definition.title or ""

    def _ref(self, definition: mcp_types.Prompt) -> mcp_types.PromptReference:
        from mcp_types import PromptReference

        return PromptReference(name=definition.name)

    async def _ask(self, definition: mcp_types.Prompt, arguments: dict[str, Any]) -> PromptResult:
        name = definition.name
        raw = await self._session.connection.ask(
            lambda client: client.get_prompt(name, arguments), operation=f"prompt {name}"
        )
        return PromptResult(raw, prompt=name, server=self._session.name)


class Prompts(Named["mcp_types.Prompt", Prompt]):
    """The prompts of one session: by attribute, by item, in a loop."""

    noun = "prompt"

    def __init__(self, session: Session) -> None:
        listing: Listing[mcp_types.Prompt] = Listing(
            session.connection,
            "prompts",
            "prompts",
            lambda client, cursor: client.list_prompts(cursor=cursor),
        )
        super().__init__(session, listing)

    def _make(self, name: str) -> Prompt:
        return Prompt(self, name)

    def _show(self, listed: list[mcp_types.Prompt]) -> Shown:
        rows = [
            (
                f"{printable(prompt.name, 60)}{parameters_of(prompt).signature}",
                prompt.description or prompt.title or "",
            )
            for prompt in listed
        ]
        return show_callables("prompt", rows, source=self._session.name)


def parameters_of(prompt: mcp_types.Prompt) -> Parameters:
    """Returns the arguments of a prompt, which are all text."""
    arguments = prompt.arguments or []
    properties = {
        argument.name: {"type": "string", "description": argument.description or argument.title}
        for argument in arguments
    }
    needed = [argument.name for argument in arguments if argument.required]
    return Parameters(prompt.name, text_schema(properties, needed))
