"""How a server's question gets its answer (elicitation), in both eras of the protocol.

While a question is open it is an `Asking`, which anybody may settle once, from any thread, like a
sign-in: the prompt of the waiting cell, the button of a form, the clock. `Questions` is one
server's desk: it takes the SDK's callback, lets one question be open at a time, asks the person's
prepared answer first and then the front end of the call that waits, in the thread that waits. A
question nobody can answer is cancelled: at once where nobody is there, after a while otherwise.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from mcp_notebook.errors import AnswerError, ServerError
from mcp_notebook.redaction import printable
from mcp_notebook.waiting.questions import Question
from mcp_notebook.waiting.wait import WaitOverError

if TYPE_CHECKING:
    from mcp.client.session import ClientRequestContext
    from mcp_types import ElicitRequestParams, ElicitResult

    from mcp_notebook.config.servers import Server
    from mcp_notebook.waiting.calls import Call, Calls

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 240.0
"""How long a question stays open: below a call's own 300 s, which in the older era go on."""

QUEUE = 10
"""Questions of one server that may be open or waiting for their turn; more are cancelled."""

Action = Literal["accept", "decline", "cancel"]
PreparedAnswer = Callable[[Question], Mapping[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a question. The content is in no repr: it may be private.

    Attributes:
        action: As the protocol has it.
        content: The form's values.
        why: Why nobody was asked, where that is so.
    """

    action: Action
    content: dict[str, Any] | None = field(default=None, repr=False)
    why: str = ""


class Asking:
    """A question while it is open. Settled once, by whoever comes first, from any thread.

    Attributes:
        question: What is asked.
        forms: Whether a form can be answered: the waiter is a coroutine that lets the kernel
            handle messages, not a blocked thread.
    """

    def __init__(
        self, question: Question, *, forms: bool = False, seconds: float = ANSWER_SECONDS
    ) -> None:
        self.question = question
        self.forms = forms
        self._end = time.monotonic() + seconds
        self._answer: concurrent.futures.Future[Answer] = concurrent.futures.Future()

    def accept(self, values: Mapping[str, Any] | None = None) -> None:
        """Answers the question; nothing happens if it is over.

        Args:
            values: By field name; None says that the page was opened.

        Raises:
            AnswerError: They do not fit; the question stays open.
        """
        if self.question.url is not None:
            self._settle(Answer("accept"))
        else:
            self._settle(Answer("accept", self.question.validate(values or {})))

    def decline(self) -> None:
        """Says no to the server."""
        self._settle(Answer("decline"))

    def cancel(self, why: str = "") -> None:
        """Leaves the question unanswered.

        Args:
            why: Why nobody could be asked; ``""`` where the person wants it so.
        """
        self._settle(Answer("cancel", why=why))

    @property
    def over(self) -> bool:
        """Whether it was answered, declined or cancelled."""
        return self._answer.done()

    @property
    def action(self) -> Action:
        """What became of it, once it is over."""
        return self._answer.result(0).action

    @property
    def seconds_left(self) -> float:
        """How long it stays open."""
        return max(0.0, self._end - time.monotonic())

    def when_over(self, callback: Callable[[], None]) -> None:
        """Calls a function once it is over, in the thread that ends it, at once if it is."""
        self._answer.add_done_callback(lambda _: callback())

    async def answer(self) -> Answer:
        """Waits for the answer, on the background loop."""
        return await asyncio.wrap_future(self._answer)

    def _settle(self, answer: Answer) -> None:
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            self._answer.set_result(answer)


class Questions:
    """One server's desk for questions. Its coroutines run on the background loop.

    Attributes:
        prepared: The person's `Session.on_question`, or None.
    """

    def __init__(self, server: Server, calls: Calls, ask: Callable[[Asking], None]) -> None:
        """Opens the desk.

        Args:
            server: Who asks.
            calls: The calls in which it may ask.
            ask: Puts a question to the person, as `FrontEnd.ask` does; called in the thread that
                waits for the call.
        """
        self.prepared: PreparedAnswer | None = None
        self._server = server
        self._calls = calls
        self._put = ask
        self._waiting = 0
        self._turn = asyncio.Lock()

    async def callback(
        self,
        context: ClientRequestContext,  # noqa: ARG002 -- the SDK's signature
        params: ElicitRequestParams,
    ) -> ElicitResult:
        """The ``elicitation_callback`` of `mcp.Client`, for requests and for input rounds."""
        from mcp_types import ElicitResult

        answer = await self.answer(params)
        return ElicitResult(action=answer.action, content=answer.content)

    async def answer(self, params: ElicitRequestParams) -> Answer:
        """Finds the answer to what the protocol brought; never raises for a person's sake."""
        call = self._calls.speaking()
        question = Question.of(params, self._server, tool=call.tool if call else "")
        problem = question.problem
        if not problem and self._waiting >= QUEUE:
            problem = f"it has asked more than {QUEUE} things at once"
        if problem:
            return self._unanswered(call, question, problem)
        self._waiting += 1
        try:
            end = time.monotonic() + ANSWER_SECONDS
            async with asyncio.timeout(ANSWER_SECONDS), self._turn:
                return await self._ask(question, call, end)
        except TimeoutError:
            return self._unanswered(call, question, "nobody answered in time")
        finally:
            self._waiting -= 1

    async def settled(self, error: ServerError) -> bool:
        """Has the pages opened that a server wants to be opened before it does what it was asked.

        The older era's other way of asking (MCP 2025-11-25, client/elicitation, "URL Elicitation
        Required Error"): the request fails, and is to be made again when they were opened.

        Args:
            error: How the request failed.

        Returns:
            Whether there were pages and all were opened.
        """
        from mcp_types import URL_ELICITATION_REQUIRED, ElicitRequestURLParams
        from pydantic import TypeAdapter, ValidationError

        if error.code != URL_ELICITATION_REQUIRED or not isinstance(error.data, dict):
            return False
        try:
            pages = TypeAdapter(list[ElicitRequestURLParams]).validate_python(
                error.data.get("elicitations")
            )
        except ValidationError:
            return False
        if not 0 < len(pages) <= QUEUE:
            return False
        for page in pages:
            if (await self.answer(page)).action != "accept":
                return False
        return True

    async def _ask(self, question: Question, call: Call | None, end: float) -> Answer:
        prepared = self.prepared
        if prepared is not None:
            return await self._prepared(prepared, question, call)
        if call is None or call.wait is None:
            return self._unanswered(call, question, "no call of yours is under way")
        wait = call.wait
        asking = Asking(question, forms=wait.asks_forms, seconds=end - time.monotonic())
        call.progress.hold()
        try:
            await wait.in_waiting_thread(lambda: self._put(asking))
            answer = await asking.answer()
        except WaitOverError:
            return Answer("cancel")
        except Exception as error:  # the front end's: the caller gets it, the server no answer
            self._fail(call, question, error)
            return Answer("cancel")
        finally:
            asking.cancel()
            call.progress.release()
        return self._unanswered(call, question, answer.why) if answer.why else answer

    async def _prepared(
        self, prepared: PreparedAnswer, question: Question, call: Call | None
    ) -> Answer:
        """Asks the person's own function, in the thread that waits where one does."""
        wait = call.wait if call is not None else None
        try:
            if wait is not None and wait.waited:
                given = await wait.in_waiting_thread(lambda: prepared(question))
            else:
                given = await asyncio.to_thread(prepared, question)
            return _answer(question, given)
        except WaitOverError:
            return Answer("cancel")
        except Exception as error:
            self._fail(call, question, error)
            return Answer("cancel")

    def _fail(self, call: Call | None, question: Question, error: Exception) -> None:
        if call is None:
            logger.warning("a question of %s: %s", question.server, type(error).__name__)
        else:
            call.trouble = call.trouble or error

    def _unanswered(self, call: Call | None, question: Question, why: str) -> Answer:
        """Cancels a question and notes why, for the error or the log."""
        note = (
            f"{question.server} asked: {printable(question.message, 200)} It got no answer: {why}."
        )
        if call is not None:
            call.unanswered.append(note)
        else:
            logger.info(note)
        return Answer("cancel")


def _answer(question: Question, given: Any) -> Answer:
    if given is None:
        return Answer("decline")
    if question.url is not None:
        return Answer("accept")
    if not isinstance(given, Mapping):
        raise AnswerError(
            f"on_question returned {type(given).__name__}.",
            hint="It returns a dict to answer, or None to decline.",
        )
    return Answer("accept", question.validate(given))
