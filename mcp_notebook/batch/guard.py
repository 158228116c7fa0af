"""One question before many calls of a tool that may change or delete things."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from mcp_notebook.errors import ToolError
from mcp_notebook.redaction import printable
from mcp_notebook.schema.fields import Field
from mcp_notebook.schema.schemas import SchemaReader
from mcp_notebook.waiting.elicitation import ANSWER_SECONDS, Asking
from mcp_notebook.waiting.questions import Question

if TYPE_CHECKING:
    import mcp_types

    from mcp_notebook.waiting.frontend import FrontEnd
    from mcp_notebook.waiting.wait import Wait

_GO_ON = {"type": "boolean", "title": "Go on"}
_SCHEMA = {"type": "object", "properties": {"go_on": _GO_ON}, "required": ["go_on"]}


async def allow(
    tool: mcp_types.Tool,
    first: dict[str, Any],
    *,
    rows: int | None,
    again: bool,
    front_end: FrontEnd,
    wait: Wait[Any],
) -> None:
    """Asks the person before a batch, in the thread that waits; returns if they agree.

    Args:
        tool: What is going to be called.
        first: The arguments of the first call.
        rows: How often, where that is known.
        again: Whether calls that may have run are to be made a second time.
        front_end: Who asks.
        wait: Whoever waits for the batch.

    Raises:
        ToolError: They do not agree, or nobody can be asked.
    """
    name = printable(tool.name, 80)
    times = f"{rows:,} times" if rows is not None else "for every row of a generator"
    what = "may have run already, and running twice may do harm" if again else _nature(tool)
    asking = Asking(
        Question(
            server="mcp_notebook",
            tool=tool.name,
            message=f"{name} {what}. Call it {times}? The first:\n"
            + printable(json.dumps(first, ensure_ascii=False), 400),
            schema=_SCHEMA,
            fields=(Field.of("go_on", _GO_ON, required=True, reader=SchemaReader(_SCHEMA)),),
        ),
        forms=wait.asks_forms,
    )
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await wait.in_waiting_thread(lambda: front_end.ask(asking))
            answer = await asking.answer()
    except TimeoutError:
        raise ToolError(
            f"{name} was not called: nobody answered.",
            hint="Call it again and answer; or, if it is to be called unasked: "
            "map(…, confirm=False)",
        ) from None
    finally:
        asking.cancel()
    if answer.action == "cancel":
        raise ToolError(
            f"{name} {what}, and nobody can be asked whether it is to be called {times}.",
            hint="If it is: map(…, confirm=False).",
        )
    if not (answer.content or {}).get("go_on"):
        raise ToolError(f"{name} was not called: you said no.", hint="Nothing was sent.")


def _nature(tool: mcp_types.Tool) -> str:
    if tool.annotations is not None and tool.annotations.destructive_hint:
        return "says that it may destroy things"
    return "does not say that it is harmless"
