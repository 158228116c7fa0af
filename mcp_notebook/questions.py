"""What a server asks in the middle of a call (elicitation), and how it is answered.

A `Question` is the value: who asks, what, and which answers fit. While one is open it is an
`Asking`, which anybody may settle once, from any thread, like a sign-in: the prompt of the waiting
cell, the button of a form, the clock. `Questions` is one server's desk: it takes the SDK's
callback in both eras of the protocol, lets one question be open at a time, asks the person's
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
from urllib.parse import urlsplit

from mcp_notebook.auth.urls import check_web_address, host_of
from mcp_notebook.errors import AnswerError, MCPNotebookError
from mcp_notebook.fields import MISSING, Field, Kind
from mcp_notebook.redaction import clean_lines, printable
from mcp_notebook.schemas import MisfitError, SchemaReader
from mcp_notebook.waiting import WaitOverError

if TYPE_CHECKING:
    from mcp.client.session import ClientRequestContext
    from mcp_types import ElicitRequestParams, ElicitResult

    from mcp_notebook.calls import Call, Calls
    from mcp_notebook.frontend import FrontEnd
    from mcp_notebook.servers import Server

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 240.0
"""How long a question stays open: below a call's own 300 s, which in the older era go on."""

QUEUE = 10
"""Questions of one server that may be open or waiting for their turn; more are cancelled."""

MAX_FIELDS = 40
_MAX_MESSAGE = 2_000

Action = Literal["accept", "decline", "cancel"]
PreparedAnswer = Callable[["Question"], Mapping[str, Any] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a server wants to know, or the page it wants to be opened.

    Attributes:
        server: The session's name.
        tool: The tool whose call asks; empty where that cannot be told.
        message: The server's words, made harmless; may have several lines.
        schema: The JSON Schema of the answer, as the server sent it; None for a page.
        url: The page to open, or None for a form. Not opened by itself.
        fields: The form's fields, in the schema's order.
        problem: Why the question cannot be put to a person, or ``""``.
    """

    server: str
    tool: str = ""
    message: str
    schema: dict[str, Any] | None = None
    url: str | None = field(default=None, repr=False)
    fields: tuple[Field, ...] = field(default=(), repr=False)
    problem: str = ""

    @classmethod
    def of(cls, params: ElicitRequestParams, server: Server, *, tool: str = "") -> Question:
        """Reads what the protocol brought, for either mode.

        Args:
            params: The parameters of ``elicitation/create``.
            server: Who asks.
            tool: The tool whose call asks.
        """
        message = clean_lines(params.message[:_MAX_MESSAGE]).strip()
        if params.mode == "url":
            problem = _url_problem(params.url, server)
            return cls(
                server=server.name, tool=tool, message=message, url=params.url, problem=problem
            )
        schema = params.requested_schema
        fields, problem = _fields(schema)
        return cls(
            server=server.name,
            tool=tool,
            message=message,
            schema=schema,
            fields=fields,
            problem=problem,
        )

    @property
    def secret(self) -> bool:
        """Whether it asks for what no server should ask this way: a password, a key, a card."""
        return any(item.secret for item in self.fields)

    @property
    def host(self) -> str:
        """The host of the page to open, or ``""``."""
        return host_of(self.url) if self.url else ""

    @property
    def disguised(self) -> bool:
        """Whether the page's host holds international letters, which can look like others."""
        return "xn--" in self.host

    def validate(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """Returns an answer as it is to be sent, without the optional fields that are None.

        Raises:
            AnswerError: It does not fit the schema. The message names the field, never the value.
        """
        known = {item.name: item for item in self.fields}
        foreign = [name for name in answer if name not in known]
        if foreign:
            raise AnswerError(
                f"{self.server} did not ask for {printable(str(foreign[0]), 60)!r}.",
                hint=f"It asks for: {', '.join(map(printable, known)) or 'nothing'}.",
            )
        fitted = {}
        for name, item in known.items():
            value = answer.get(name)
            if value is None and not item.required:
                continue
            if name not in answer:
                raise AnswerError(f"{item.title} is needed.", hint=self._hint(item))
            try:
                fitted[name] = item.check(value)
            except MisfitError as misfit:
                raise AnswerError(f"{item.title} {misfit}.", hint=self._hint(item)) from None
        return fitted

    def _hint(self, item: Field) -> str:
        return f"{self.server} asked: {printable(self.message, 120)} ({printable(item.name, 60)})"


def _fields(schema: dict[str, Any]) -> tuple[tuple[Field, ...], str]:
    reader = SchemaReader(schema)
    properties = reader.properties()
    if properties is None:
        return (), "its form cannot be read"
    if len(properties.schemas) > MAX_FIELDS:
        return (), f"its form has more than {MAX_FIELDS} fields"
    required = set(properties.required)
    return tuple(
        Field.of(name, part, required=name in required, reader=reader)
        for name, part in properties.schemas.items()
    ), ""


def _url_problem(url: str, server: Server) -> str:
    # A page may have a fragment, which an address in metadata may not.
    try:
        bare = urlsplit(url)._replace(fragment="").geturl()
        check_web_address(
            bare,
            server_url=server.url or "http://127.0.0.1",
            insecure=server.insecure,
            what="page",
        )
    except ValueError:
        return "its page is not a web address"
    except MCPNotebookError as error:
        return error.message.rstrip(".")
    return ""


def accept_defaults(question: Question) -> dict[str, Any] | None:
    """Answers with the schema's defaults: ``session.on_question = mcp_notebook.accept_defaults``.

    Where there is no default, yes-or-no fields are answered with yes and choices with the first;
    fields that are not required are left out otherwise. A question that needs a text or a number
    nobody gave is declined, and so is a page that a person would have to open.

    Args:
        question: What the server asks.

    Returns:
        The answer, or None to decline.
    """
    if question.url is not None:
        return None
    answer = {}
    for item in question.fields:
        value = _default(item)
        if value is not MISSING:
            answer[item.name] = value
        elif item.required:
            return None
    return answer


def _default(item: Field) -> Any:
    if item.default is not MISSING:
        return item.default
    if item.kind is Kind.BOOLEAN:
        return True
    if item.kind is Kind.CHOICE and item.choices:
        return item.choices[0].value
    if item.kind is Kind.CHOICES and item.required and item.choices:
        return [item.choices[0].value]
    return MISSING


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a question. The content is in no repr: it may be private."""

    action: Action
    content: dict[str, Any] | None = field(default=None, repr=False)


class Asking:
    """A question while it is open. Settled once, by whoever comes first, from any thread.

    Attributes:
        question: What is asked.
        forms: Whether a form can be answered: the waiter is a coroutine that lets the kernel
            handle messages, not a blocked thread.
    """

    def __init__(self, question: Question, *, forms: bool, seconds: float = ANSWER_SECONDS) -> None:
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

    def cancel(self) -> None:
        """Leaves the question unanswered: nobody is there, or nobody came."""
        self._settle(Answer("cancel"))

    @property
    def over(self) -> bool:
        """Whether it was answered, declined or cancelled."""
        return self._answer.done()

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

    def __init__(self, server: Server, front_end: FrontEnd, calls: Calls) -> None:
        self.prepared: PreparedAnswer | None = None
        self._server = server
        self._front_end = front_end
        self._calls = calls
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
            async with asyncio.timeout(ANSWER_SECONDS), self._turn:
                return await self._ask(question, call)
        except TimeoutError:
            return self._unanswered(call, question, "nobody answered in time")
        finally:
            self._waiting -= 1

    async def _ask(self, question: Question, call: Call | None) -> Answer:
        wait = call.wait if call is not None else None
        prepared = self.prepared
        if prepared is not None:
            return await self._prepared(prepared, question, call)
        if wait is None:
            return self._unanswered(call, question, "no call of yours is under way")
        asking = Asking(question, forms=wait.asks_forms)
        try:
            await wait.in_waiting_thread(lambda: self._front_end.ask(asking))
            answer = await asking.answer()
        except WaitOverError:
            return Answer("cancel")
        finally:
            asking.cancel()
        if answer.action == "cancel":
            self._unanswered(call, question, "nobody could be asked")
        return answer

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
            # The server is told that there is no answer, and the caller gets the error.
            if call is None:
                logger.warning("on_question of %s failed: %s", question.server, error)
            else:
                call.trouble = call.trouble or error
            return Answer("cancel")

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
