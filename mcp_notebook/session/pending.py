"""A call that was started and is not waited for yet: looked at, waited for, or cancelled.

The call runs on the background loop from the moment it is made, whatever the cells do meanwhile.
What needs a person (a sign-in, a server's question) waits until somebody waits for the answer,
because only then is there a cell to ask in.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from mcp_notebook.errors import RequestTimeoutError, ToolError
from mcp_notebook.redaction import printable
from mcp_notebook.results import html

if TYPE_CHECKING:
    from mcp_notebook.results.tool_result import ToolResult
    from mcp_notebook.session.session import Session
    from mcp_notebook.waiting.calls import Call
    from mcp_notebook.waiting.wait import Wait


class Pending:
    """One call under way: `result()` waits for its answer, and so does ``await``.

    Made by `Tool.submit`.

    Attributes:
        tool: The tool's name.
    """

    def __init__(self, session: Session, call: Call, wait: Wait[ToolResult]) -> None:
        self.tool = call.tool
        self._session = session
        self._call = call
        self._wait = wait

    def done(self) -> bool:
        """Tells whether it has ended: with an answer, an error, or cancelled."""
        return self._wait.done()

    def cancelled(self) -> bool:
        """Tells whether it was cancelled, by `cancel` or by Stop."""
        return self._wait.cancelled()

    def result(self, timeout: float | None = None) -> ToolResult:
        """Waits for the answer. Stop cancels the call, also on the server.

        Args:
            timeout: The longest time to wait, in seconds; the call goes on afterwards.

        Raises:
            RequestTimeoutError: The time is over; the call goes on.
            ToolError: It was cancelled.
            MCPNotebookError: What became of the call, as for `Tool.__call__`.
        """
        if timeout is not None and not self._wait.within(timeout):
            raise RequestTimeoutError(
                f"{self._named} has not answered after {timeout:g} s.",
                hint="The call goes on; wait again with .result(), or end it with .cancel()",
                may_have_run=True,
            )
        try:
            return self._wait.result()
        except concurrent.futures.CancelledError:
            raise self._was_cancelled() from None

    def __await__(self) -> Generator[Any, None, ToolResult]:
        return self._awaited().__await__()

    async def _awaited(self) -> ToolResult:
        try:
            return await self._wait
        except asyncio.CancelledError:
            # A cancelled call is no cancelled caller: asyncio has one exception for both.
            caller = asyncio.current_task()
            if caller is not None and caller.cancelling():
                raise
            raise self._was_cancelled() from None

    def cancel(self) -> bool:
        """Cancels the call, also on the server; returns at once.

        Returns:
            Whether there was something to cancel. The server may have done its work all the same.
        """
        return not self.done() and self._wait.cancel()

    def _was_cancelled(self) -> ToolError:
        return ToolError(
            f"{self._named} was cancelled.",
            hint="The server may have carried it out all the same; call it again if it did not.",
        )

    @property
    def _named(self) -> str:
        return f"{printable(self.tool, 80)} of {self._session.name}"

    def _state(self) -> str:
        """Says in a few words how it stands; asks nobody."""
        if self.cancelled():
            return "cancelled"
        now = self._call.progress.look()
        if self.done():
            failure = self._wait.failure()
            if failure is None:
                return f"answered after {now.clock}; .result() has it"
            return f"failed: {printable(str(failure), 300)}"
        if not self._session.is_settled:
            return f"waiting; {self._session.name} is {self._session.summary()}"
        if self._call.progress.held:
            return "the server asks something; .result() lets you answer"
        return " · ".join(part for part in ("running", now.count, now.clock, now.message) if part)

    def __repr__(self) -> str:
        return f"<Pending {self._named}: {self._state()}>"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        line = f"{self._named}: {self._state()}"
        return {"text/plain": repr(self), "text/html": html.output(html.remark(line))}

    def __reduce_ex__(self, protocol: object) -> Any:
        raise TypeError("a Pending belongs to a live session and is not pickled")
