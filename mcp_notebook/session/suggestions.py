"""What a server suggests for the value of an argument (MCP, "Completion").

Asked for by a person's own Tab and nothing else, of prompts and resource templates only, in the
background and for a second at the most. It is never worth a sign-in, an error or a second try.
"""

from __future__ import annotations

import concurrent.futures
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mcp_notebook.background import background
from mcp_notebook.client.status import Status
from mcp_notebook.redaction import printable
from mcp_notebook.session.listing import within

if TYPE_CHECKING:
    from mcp_types import PromptReference, ResourceTemplateReference

    from mcp_notebook.client.connection import Connection

SECONDS = 1.0
"""How long Tab waits for the server."""

KEPT_SECONDS = 30.0
KEPT = 64
"""How long, and how many, answers are kept: some front ends complete while a person types."""

_MAX_VALUES = 100  # MCP, "Completion": no more than this is sent


class Suggestions:
    """What one server suggests, remembered for a moment."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._kept: OrderedDict[object, tuple[float, list[str]]] = OrderedDict()

    def ask(
        self,
        ref: PromptReference | ResourceTemplateReference,
        argument: str,
        value: str,
        given: Mapping[str, str],
    ) -> list[str]:
        """Returns the values the server suggests; none where it does not offer that.

        Args:
            ref: The prompt or the template.
            argument: The argument, as the server calls it.
            value: What is typed of it.
            given: The arguments that are given already.
        """
        key = (ref.model_dump_json(), argument, value, tuple(sorted(given.items())))
        kept = self._kept.get(key)
        if kept is not None and time.monotonic() - kept[0] < KEPT_SECONDS:
            return kept[1]
        if self._connection.status is not Status.CONNECTED or background().inside():
            return []
        work = within(SECONDS, self._ask(ref, argument, value, given), [])
        future = background().submit(work)
        try:
            found = future.result(SECONDS + 0.2)
        except concurrent.futures.TimeoutError:
            future.cancel()
            found = []
        self._kept[key] = (time.monotonic(), found)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return found

    async def _ask(
        self,
        ref: PromptReference | ResourceTemplateReference,
        argument: str,
        value: str,
        given: Mapping[str, str],
    ) -> list[str]:
        client = self._connection.client
        if client is None or client.server_capabilities.completions is None:
            return []
        # Not `Connection.ask`: a refusal here must not begin a sign-in.
        answer = await client.complete(
            ref, {"name": argument, "value": value}, context_arguments=dict(given) or None
        )
        # What would read otherwise than it is sent is not offered.
        values = answer.completion.values[:_MAX_VALUES]
        return [text for text in values if text and printable(text, 500) == text]
