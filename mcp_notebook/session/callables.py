"""Prompts and resource templates as callables: name -> definition -> signature -> answer.

Their arguments are text, listed one by one. What the server suggests for one is asked for by a
person's own Tab and nothing else.
"""

from __future__ import annotations

import inspect
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from mcp_notebook.redaction import printable
from mcp_notebook.results import html, rendering
from mcp_notebook.results.blocks import Shown
from mcp_notebook.results.html import tag
from mcp_notebook.schema import names
from mcp_notebook.schema.signature import Parameters
from mcp_notebook.session.named import Definition, Named
from mcp_notebook.waiting.wait import Wait

if TYPE_CHECKING:
    import mcp_types

D = TypeVar("D", bound=Definition)
R = TypeVar("R")

_MAX_LISTED = 300
_LINE = 90


class Signed:
    """A callable's ``__call__`` with the callable's own signature, and no second docstring.

    IPython's ``?`` shows the ``__call__`` of an instance as a second call signature, unless it
    says the same as the first.
    """

    __doc__ = None

    def __init__(self, owner: Any) -> None:
        self._owner = owner

    def __call__(self, /, *args: Any, **arguments: Any) -> Any:  # noqa: D102 - see the class
        return self._owner(*args, **arguments)

    @property
    def __signature__(self) -> inspect.Signature:
        signature: inspect.Signature = self._owner.__signature__
        return signature


class NamedCallable(Generic[D, R]):
    """One of a server's prompts or templates: call it with its arguments, or await `aio`."""

    noun: ClassVar[str] = "thing"

    def __init_subclass__(cls) -> None:
        # A subclass's docstring would hide what the server says of one of its instances.
        cls.__doc__ = vars(NamedCallable)["__doc__"]  # type: ignore[method-assign]

    def __init__(self, among: Named[D, Any], name: str) -> None:
        self._among = among
        self._session = among._session
        self._written = name
        vars(self)["__call__"] = Signed(self)

    @property
    def name(self) -> str:
        """As the server calls it; as it was written, while the listing is not known."""
        known = self._definition()
        return self._written if known is None else known.name

    def _parameters(self, definition: D) -> Parameters:
        raise NotImplementedError

    def _said(self, definition: D) -> str:
        raise NotImplementedError

    def _ref(
        self, definition: D
    ) -> mcp_types.PromptReference | mcp_types.ResourceTemplateReference:
        raise NotImplementedError

    async def _ask(self, definition: D, arguments: dict[str, Any]) -> R:
        raise NotImplementedError

    def __call__(self, /, *args: Any, **arguments: Any) -> R:
        """Asks the server and waits for its answer.

        Args:
            args: The required arguments, in the signature's order.
            arguments: By name. They are text; numbers are sent as text.

        Raises:
            ToolArgumentError: They do not fit; nothing was sent.
            UnknownNameError: The server has nothing of that name.
            MCPNotebookError: The server was not reached, or answered with an error.
        """
        return self._begin(args, arguments).result()

    async def aio(self, /, *args: Any, **arguments: Any) -> R:
        """Does the same for ``await``: other tasks go on meanwhile."""
        return await self._begin(args, arguments)

    def _begin(self, args: tuple[Any, ...], arguments: dict[str, Any]) -> Wait[R]:
        known = self._definition()
        if known is not None:
            # Before anything is sent, and in the frame of the person who wrote the call.
            self._bind(known, args, arguments)
        return self._session.wait_for(self._answer(args, arguments))

    async def _answer(self, args: tuple[Any, ...], arguments: dict[str, Any]) -> R:
        definition = await self._among._needed(self._written)
        return await self._ask(definition, self._bind(definition, args, arguments))

    def _bind(self, known: D, args: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
        by_name = {name: _text(value) for name, value in named.items()}
        return self._parameters(known).bind([_text(value) for value in args], by_name)

    def _definition(self) -> D | None:
        return self._among._meant(self._written)

    # -- what is known of it ------------------------------------------------------------------

    def suggest(self, argument: str, value: str = "", /, **given: str) -> list[str]:
        """Asks the server what an argument could be; waits a second at the most.

        Args:
            argument: The argument, by its identifier or name.
            value: What it begins with.
            given: The other arguments, as far as they are known.

        Returns:
            The values; none where the server does not offer that.
        """
        known = self._definition()
        if known is None:
            return []
        parameters = self._parameters(known)
        context = {parameters.name_of(name): text for name, text in given.items()}
        return self._session.suggestions.ask(
            self._ref(known), parameters.name_of(argument), value, context
        )

    @property
    def __signature__(self) -> inspect.Signature:
        known = self._definition()
        if known is None:
            anything = inspect.Parameter("arguments", inspect.Parameter.VAR_KEYWORD)
            return inspect.Signature([anything])
        return self._parameters(known).signature

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        known = self._definition()
        if known is None:
            return f"A {self.noun} of {self._session.name}."
        return self._parameters(known).docstring(self._said(known))

    @property
    def __name__(self) -> str:
        return names.identifier(self.name) or "call"

    def __dir__(self) -> list[str]:
        return ["aio", "name", "suggest"]

    def __repr__(self) -> str:
        signature = self.__signature__ if self._definition() is not None else ""
        name = f"{printable(self.name, 60)}{signature}"
        return f"<{type(self).__name__} {name} of {self._session.name}>"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        head = f"{self._session.name} · {printable(self.name, 60)}"
        if self._definition() is not None:
            head += str(self.__signature__)
        shown = [tag("code", head), html.preformatted(self.__doc__, rest="the server")]
        return {"text/plain": f"{head}\n{self.__doc__}", "text/html": html.output(*shown)}

    def __reduce_ex__(self, protocol: object) -> Any:
        raise TypeError(f"a {self.noun} belongs to a live session and is not pickled")


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, Real) and not isinstance(value, bool) else value


def text_schema(properties: dict[str, Any], needed: list[str]) -> dict[str, Any]:
    """Returns the JSON Schema of arguments that are listed one by one."""
    return {
        "type": "object",
        "properties": properties,
        "required": needed,
        "additionalProperties": False,
    }


def first_line(text: str) -> str:
    """Returns the first line of what a server says, made harmless."""
    return printable(text.strip().split("\n")[0], _LINE)


def show_callables(noun: str, rows: list[tuple[str, str]], *, source: str) -> Shown:
    """Returns things as a table: how each is called, and what the server says of it.

    Args:
        noun: What they are.
        rows: The call and the server's words for each.
        source: The server's name.
    """
    title = f"{source}: {len(rows):,} {noun}{'s' * (len(rows) != 1)}"
    if not rows:
        return Shown(title, html.remark(title))
    headers = [noun, "what the server says it is for"]
    listed = rows[:_MAX_LISTED]
    more = f"… {len(rows) - len(listed):,} more" if len(rows) > len(listed) else ""
    grid = rendering.text_table(headers, [[call, first_line(said)] for call, said in listed])
    text = "\n".join(line for line in (title, grid, more) if line)
    cells = [[tag("code", call), html.escape(first_line(said))] for call, said in listed]
    return Shown(text, html.table(headers, cells, caption=title, note=more))
