"""What a server asks in the middle of a call, as a value: who, what, and which answers fit.

Nothing here is asked of anybody; `elicitation` does that. The words are a stranger's and are made
harmless, a page's address is checked before a person sees it, and what cannot be put to a person
says so itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mcp_notebook.config.rules import is_loopback
from mcp_notebook.config.urls import as_ip, check_web_address, host_of, reach
from mcp_notebook.errors import AnswerError, MCPNotebookError
from mcp_notebook.redaction import clean_lines, printable
from mcp_notebook.schema.fields import MISSING, Field, Kind
from mcp_notebook.schema.schemas import MisfitError, SchemaReader

if TYPE_CHECKING:
    from mcp_types import ElicitRequestParams

    from mcp_notebook.config.servers import Server

MAX_FIELDS = 40
"""Fields of a form; a question with more is not put to a person."""

_MAX_MESSAGE = 2_000


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
    def caution(self) -> str:
        """What to look out for before the page is opened, or ``""``."""
        if "xn--" in self.host:
            return "the name of its host holds international letters, which can look like others."
        if as_ip(self.host) is not None:
            return "its host is a bare number, which says nothing about whose it is."
        return ""

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
    # Where the server has a name, the check leaves numbers to those who resolve it. A browser
    # would reach what listens on this machine on the server's behalf.
    host, address = host_of(url), as_ip(host_of(url))
    odd = address is not None and reach(address) == "forbidden"
    here = not server.url or is_loopback(host_of(server.url))
    if odd or (is_loopback(host) and not here):
        return f"its page is on {host}, where the server is not"
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
