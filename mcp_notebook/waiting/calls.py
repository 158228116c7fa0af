"""The calls of one session that are under way, for what the server says in the middle of one.

A question or a log line does not say which call it belongs to. The SDK carries the context of a
request along, so a context variable usually tells; over stdio in the older era it cannot, and
the newest call is taken for it.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from mcp_notebook.waiting.progress import Progress
from mcp_notebook.waiting.wait import Wait, current_wait

if TYPE_CHECKING:
    from mcp_types import LoggingMessageNotificationParams

logger = logging.getLogger(__name__)

_current: ContextVar[Call | None] = ContextVar("mcp_notebook_call", default=None)


class Call:
    """One call under way.

    Attributes:
        tool: What is called; empty for another request.
        progress: How far it is.
        wait: The wait of whoever called, or None where nobody waits in one.
        unanswered: What the server asked and nobody answered, as sentences.
        trouble: What answering raised, such as the person's own ``on_question``.
    """

    def __init__(self, server: str, tool: str = "") -> None:
        self.tool = tool
        self.progress = Progress(f"{server} · {tool}" if tool else server)
        self.wait: Wait[Any] | None = None
        self.unanswered: list[str] = []
        self.trouble: Exception | None = None

    def check(self) -> None:
        """Raises what answering raised: the call's own outcome does not matter then."""
        if self.trouble is not None:
            raise self.trouble from None

    def hint(self) -> str:
        """Returns what was not answered, for the error of a call that failed for it."""
        notes, self.unanswered = self.unanswered, []
        return f"{notes[0]} Answer beforehand with session.on_question = f." if notes else ""

    def tell(self) -> None:
        """Logs what was not answered and stands in no error; in the caller's thread."""
        hint = self.hint()
        if hint:
            logger.warning(hint)


class Calls:
    """The open calls of one session, oldest first; on the background loop."""

    def __init__(self) -> None:
        self._open: list[Call] = []

    @contextlib.contextmanager
    def under_way(self, call: Call) -> Iterator[Call]:
        """Holds a call open for the block, on behalf of the running task's wait."""
        call.wait = current_wait()
        self._open.append(call)
        token = _current.set(call)
        call.progress.begin()
        failed = True
        try:
            yield call
            failed = False
        except Exception:
            call.check()
            raise
        finally:
            _current.reset(token)
            self._open.remove(call)
            call.progress.end(failed=failed)
        call.check()

    def speaking(self) -> Call | None:
        """Returns the call the server speaks in: the running task's own, else the newest."""
        own = _current.get()
        if own is not None and own in self._open:
            return own
        wait = current_wait()
        if wait is not None:
            return _other_request(wait)
        return self._open[-1] if self._open else None

    async def logged(self, params: LoggingMessageNotificationParams) -> None:
        """The ``logging_callback`` of `mcp.Client`."""
        call = self.speaking()
        if call is not None:
            call.progress.log(params)


def _other_request(wait: Wait[Any]) -> Call:
    """A request that is no tool call, such as reading a resource, and may be asked back too."""
    call = Call("")
    call.wait = wait
    return call
