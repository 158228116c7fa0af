"""One tool as a callable: name -> definition -> signature -> call -> result.

While the session is still connecting the listing is not known. A `Tool` is then a name that finds
out what it means when it is called, which is what lets "Run All" run: the call waits for the
sign-in and goes on.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mcp_notebook.errors import ServerError
from mcp_notebook.redaction import clean_lines, printable
from mcp_notebook.results import html
from mcp_notebook.schema import names
from mcp_notebook.schema.hints import may_be_repeated
from mcp_notebook.schema.signature import Parameters
from mcp_notebook.session.callables import Signed
from mcp_notebook.session.toolbox import show_tool
from mcp_notebook.waiting.calls import Call
from mcp_notebook.waiting.wait import Wait

if TYPE_CHECKING:
    from concurrent.futures import Executor

    import mcp_types
    from distributed import Client

    from mcp_notebook.batch.batch import Batch
    from mcp_notebook.batch.cache import AnswerCache
    from mcp_notebook.results.tool_result import ToolResult
    from mcp_notebook.session.pending import Pending
    from mcp_notebook.session.session import Session


class Tool:
    """One tool of one server: call it, or await `aio`."""

    def __init__(self, session: Session, name: str) -> None:
        self._session = session
        self._written = name
        # What `tool(…)` uses is the method; this is what IPython's `tool?` looks at.
        vars(self)["__call__"] = Signed(self)

    @property
    def name(self) -> str:
        """As the server calls it; as it was written, while the listing is not known."""
        known = self._definition()
        return self._written if known is None else known.name

    def __call__(self, /, *args: Any, **arguments: Any) -> ToolResult:
        """Calls the tool and waits for its answer.

        A session that is still connecting or signing in is waited for first. Stop cancels the
        call, also on the server; the session goes on.

        Args:
            args: The required arguments, in the signature's order.
            arguments: By name. Those left out are not sent.

        Raises:
            ToolArgumentError: They do not fit the tool's schema; nothing was sent.
            ToolFailedError: The tool ran and answered with an error.
            UnknownToolError: The server has no such tool.
            SignInError: Somebody has to sign in and did not.
            ConnectionFailedError: The server was not reached, or its answer was lost.
        """
        return self._begin(args, arguments).result()

    async def aio(self, /, *args: Any, **arguments: Any) -> ToolResult:
        """Calls the tool like `__call__`, for ``await``: other tasks go on meanwhile."""
        return await self._begin(args, arguments)

    def submit(self, /, *args: Any, **arguments: Any) -> Pending:
        """Starts the call and returns at once; `Pending.result` waits for its answer.

        A sign-in or a question of the server's is put to you when you wait.

        Raises:
            ToolArgumentError: They do not fit the tool's schema; nothing was sent.
        """
        from mcp_notebook.session.pending import Pending

        call = Call(self._session.name, self.name)
        return Pending(self._session, call, self._begin(args, arguments, call))

    def _begin(
        self, args: tuple[Any, ...], arguments: dict[str, Any], call: Call | None = None
    ) -> Wait[ToolResult]:
        known = self._definition()
        # Before anything is sent, and in the frame of the person who wrote the call. It makes
        # copies: a list that was submitted may be changed in the next line.
        bound = None if known is None else _bound(known, args, arguments)
        call = call or Call(self._session.name, self.name)

        async def work() -> ToolResult:
            await self._session.connection.ready()
            tool = self.needed()
            # The listing may have come, or come anew, meanwhile.
            ours = bound if bound is not None and tool is known else _bound(tool, args, arguments)
            return await self._call(tool, ours, call)

        return self._session.wait_for_call(work(), call)

    async def _call(self, tool: mcp_types.Tool, bound: dict[str, Any], call: Call) -> ToolResult:
        call.tool = tool.name
        with self._session.calls.under_way(call):
            return await self.answer(tool, bound, call, progress_callback=call.progress.reported)

    async def answer(
        self, tool: mcp_types.Tool, arguments: dict[str, Any], call: Call, **options: Any
    ) -> ToolResult:
        """Sends one call and returns its answer; on the background loop.

        Args:
            tool: The definition, as the server's listing has it.
            arguments: What `Parameters.bind` returned.
            call: What the server speaks in meanwhile.
            options: For `Connection.call_tool`.

        Raises:
            MCPNotebookError: As `__call__` says.
        """
        try:
            raw = await self._send(tool, arguments, **options)
        except ServerError as error:
            if not await self._session._questions.settled(error):
                error.hint = call.hint() or error.hint
                raise
            raw = await self._send(tool, arguments, **options)
        return self.read(tool, raw, call)

    def read(self, tool: mcp_types.Tool, raw: mcp_types.CallToolResult, call: Call) -> ToolResult:
        """Returns the protocol's answer to a call as a person holds it.

        Raises:
            ToolFailedError: The tool says that it failed.
        """
        from mcp_notebook.results.tool_result import ToolResult, failure

        result = ToolResult(
            raw, tool=tool.name, server=self._session.name, output_schema=tool.output_schema
        )
        if raw.is_error:
            raise failure(result, hint=call.hint())
        return result

    async def _send(
        self, tool: mcp_types.Tool, arguments: dict[str, Any], **options: Any
    ) -> mcp_types.CallToolResult:
        from mcp_notebook.client.tasks import runs_as_task, send_call

        return await send_call(
            self._session.connection,
            tool.name,
            arguments,
            as_task=runs_as_task(tool),
            repeatable=may_be_repeated(tool),
            **options,
        )

    def map(
        self,
        rows: Any,
        /,
        *,
        concurrency: int = 8,
        rate: str | float | None = None,
        columns: Mapping[str, str] | None = None,
        on_error: Literal["keep", "stop"] = "keep",
        confirm: bool = True,
        cache: bool | str | Path | AnswerCache | None = None,
        sink: str | Path | Callable[[dict[str, Any]], object] | None = None,
        executor: Executor | Client | None = None,
        wait: bool = True,
        **fixed: Any,
    ) -> Batch:
        """Calls the tool once for every row, several at a time, and waits.

        Stop keeps what is done: `last_batch` has it, and its `resume` goes on. A server that is
        busy slows all batches of the session down. ``await tool.map(rows, wait=False)`` does the
        same while other tasks go on.

        Args:
            rows: A DataFrame, an Arrow table, or the table another tool answered, whose columns
                are matched to arguments by name; dicts of arguments; or the values of the one
                argument that is needed: a list, a Series, a generator.
            concurrency: Calls under way at once.
            rate: Calls in a time at the most, ``"5/s"`` or ``"100/min"``; a number is per second.
            columns: Which column is which argument, ``{"column": "argument"}``, where their names
                differ. What is no argument is carried along and not sent.
            on_error: ``"keep"`` goes on with the other rows, ``"stop"`` ends at the first failure.
            confirm: Whether you are asked first, if the tool does not say that it is harmless.
            cache: Keeps answers on disk, and does not call again for those that are kept: True
                for the user's own file, a path, or an `AnswerCache`.
            sink: Writes answers as they come and keeps none in memory: a ``.jsonl`` or
                ``.parquet`` file, which is gone on with if it is there, or a function that is
                given each as a dict. Parquet is written at the end of a run, or at Stop, from
                JSON lines beside it that lose nothing when the kernel dies.
            executor: Makes the calls in other processes or on other machines: a
                `concurrent.futures.Executor`, or a `dask.distributed.Client` with mcp_notebook
                installed where its workers are. Each worker process has a connection of its own;
                `concurrency` and `rate` are totals. Workers are sent the access token of the
                moment and the variables that the server's headers and address name, beside the
                rows and hidden from what an executor shows; the way there has to be safe (dask:
                TLS). They cannot ask you anything: a call that needs you to sign in is made here,
                and other questions of the server stay unanswered. Stop lets the calls that are
                under way in a worker come to their end there. When a worker is lost, its rows go
                out again if the tool says that does no harm; else they have failed.
            wait: Whether the calls are made now, rather than when the batch is awaited.
            fixed: Arguments that are the same for every row.

        Returns:
            The answers, in the order of the rows.

        Raises:
            ToolError: The rows do not fit the tool, or you said no.
            MCPNotebookError: What ended it before its end; what was done is kept.
        """
        from mcp_notebook.batch.batch import Batch
        from mcp_notebook.batch.work import Terms

        terms = Terms(
            concurrency=concurrency,
            rate=rate,
            columns=columns,
            fixed=fixed,
            on_error=on_error,
            confirm=confirm,
            cache=cache,
            sink=sink,
            executor=executor,
        )
        batch = Batch(self._session, self, rows, terms)
        self._session.batches[self.name] = batch
        return batch.resume() if wait else batch

    @property
    def last_batch(self) -> Batch | None:
        """What `map` made last, also if it was stopped in the middle."""
        name, batches = self.name, self._session.batches
        # One that was begun before the listing was known is kept by what was written.
        made = (batch for batch in reversed(batches.values()) if batch.tool.name == name)
        return batches.get(name) or next(made, None)

    # -- what is known of it ------------------------------------------------------------------

    def _definition(self) -> mcp_types.Tool | None:
        return self._session.tools._meant(self._written)

    def needed(self) -> mcp_types.Tool:
        """Returns the definition, as the server's last listing has it.

        Raises:
            UnknownToolError: The server has no such tool.
        """
        found = self._definition()
        if found is None:
            raise self._session.tools._unknown(self._written)
        return found

    def _described(self) -> mcp_types.Tool:
        self._session.wait()
        return self.needed()

    @property
    def description(self) -> str:
        """What the server says the tool does; waits for the session to be connected."""
        return clean_lines(self._described().description or "")

    @property
    def input_schema(self) -> dict[str, Any]:
        """The JSON Schema of the arguments, as the server sent it."""
        return self._described().input_schema

    @property
    def output_schema(self) -> dict[str, Any] | None:
        """The JSON Schema of the structured result, where the server sent one."""
        return self._described().output_schema

    @property
    def annotations(self) -> mcp_types.ToolAnnotations | None:
        """What the server says about side effects (hints, not promises)."""
        return self._described().annotations

    @property
    def __signature__(self) -> inspect.Signature:
        tool = self._definition()
        if tool is None:
            anything = inspect.Parameter("arguments", inspect.Parameter.VAR_KEYWORD)
            return inspect.Signature([anything])
        return Parameters.of(tool.name, tool.input_schema).signature

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        tool = self._definition()
        if tool is None:
            return f"A tool of {self._session.name}; known once the session is connected."
        return Parameters.of(tool.name, tool.input_schema).docstring(tool.description or "")

    @property
    def __name__(self) -> str:
        return names.identifier(self.name) or "tool"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        tool = self._definition()
        if tool is None:
            return {"text/plain": repr(self)}
        shown = show_tool(tool, source=self._session.name)
        return {"text/plain": shown.plain, "text/html": html.output(shown.markup)}

    def __repr__(self) -> str:
        signature = self.__signature__ if self._definition() is not None else ""
        return f"<Tool {printable(self.name, 60)}{signature} of {self._session.name}>"

    def __dir__(self) -> list[str]:
        # What a person uses, for Tab.
        return [
            "aio",
            "annotations",
            "description",
            "input_schema",
            "last_batch",
            "map",
            "name",
            "output_schema",
            "submit",
        ]

    def __reduce_ex__(self, protocol: object) -> Any:
        raise TypeError("a Tool is live and is not pickled; in other processes: .map(executor=…)")


def _bound(
    tool: mcp_types.Tool, args: tuple[Any, ...], arguments: dict[str, Any]
) -> dict[str, Any]:
    return Parameters.of(tool.name, tool.input_schema).bind(args, arguments)
