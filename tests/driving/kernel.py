"""A real kernel with somebody in front of it.

`Notebook` runs cells over the Jupyter protocol and reads the kernel's messages all the time, as a
front end does, also between cells. It keeps what a saved notebook would hold (outputs, and the
state of widgets), and hands every new link of a card to a `person`.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import json
import os
import queue
import re
import subprocess
import tempfile
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from jupyter_client.manager import AsyncKernelManager

T = TypeVar("T")

_LINK = re.compile(r'href="([^"]+)"')


@dataclass
class Cell:
    """One cell that was run, and what came of it."""

    code: str
    outputs: list[dict[str, Any]] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)
    reply: dict[str, Any] = field(default_factory=dict)
    shown: threading.Event = field(default_factory=threading.Event)

    @property
    def text(self) -> str:
        """What a terminal would show."""
        return "\n".join(
            out.get("text") or out.get("data", {}).get("text/plain", "")
            for out in self.outputs
            if out["output_type"] != "error"
        )

    @property
    def error(self) -> str:
        """The error's lines, or nothing."""
        return "\n".join(
            "\n".join(out["traceback"]) for out in self.outputs if out["output_type"] == "error"
        )

    def wait(self, seconds: float = 60) -> Cell:
        """Waits until the cell is done."""
        assert self.done.wait(seconds), f"the cell is not done after {seconds} s: {self.code}"
        return self


class Notebook:
    """A kernel and its front end."""

    def __init__(
        self,
        *,
        env: dict[str, str] | None = None,
        person: Callable[[str], object] | None = None,
        answers: Callable[[str, bool], str | None] | None = None,
        kernel_name: str = "python3",
    ) -> None:
        """Starts a kernel.

        Args:
            env: Environment variables beside this process's own.
            person: Called with every new link, on a thread of its own.
            answers: Answers `input()`: called with the prompt and whether it is masked; returns
                None to type nothing.
            kernel_name: Which kernel.
        """
        self.person = person
        self.answers = answers
        self.links: list[str] = []
        self.widgets: dict[str, dict[str, Any]] = {}
        self.people: list[threading.Thread] = []
        self._cells: dict[str, Cell] = {}
        self._asked: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._seen = threading.Condition()
        self._pumps: list[asyncio.Task[None]] = []
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the kernel
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        # Sockets of the file system: on TCP the kernel warns that it is not encrypted.
        self._sockets = tempfile.TemporaryDirectory(prefix="nb-")
        self.manager = AsyncKernelManager(
            kernel_name=kernel_name, transport="ipc", ip=f"{self._sockets.name}/k"
        )
        # A kernel is terminated after half of it, which is not enough for a machine under load.
        self.manager.shutdown_wait_time = 10.0
        self._do(self._begin({**os.environ, **(env or {})}))

    def _do(self, work: Coroutine[Any, Any, T], seconds: float = 90) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(seconds)

    async def _begin(self, env: dict[str, str]) -> None:
        await self.manager.start_kernel(env=env, stdout=self._log, stderr=self._log)
        await self._attach()

    async def _attach(self) -> None:
        self.client = self.manager.client()
        self.client.start_channels()
        await self.client.wait_for_ready(timeout=60)
        channels: list[tuple[Callable[..., Awaitable[Any]], Callable[[Any], None]]] = [
            (self.client.get_iopub_msg, self._take),
            (self.client.get_stdin_msg, self._answer),
            (self.client.get_shell_msg, self._note_reply),
        ]
        self._pumps = [asyncio.create_task(self._pump(*channel)) for channel in channels]

    async def _detach(self) -> None:
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        self.client.stop_channels()

    # -- cells --------------------------------------------------------------------------------

    def start(self, code: str, *, allow_stdin: bool = True) -> Cell:
        """Sends a cell and does not wait for it."""
        cell = Cell(code)
        self._do(self._send(cell, allow_stdin=allow_stdin))
        return cell

    async def _send(self, cell: Cell, *, allow_stdin: bool) -> None:
        sent = self.client.execute(cell.code, allow_stdin=allow_stdin)
        self._cells[sent] = cell

    def run(self, code: str, seconds: float = 60, *, allow_stdin: bool = True) -> Cell:
        """Runs a cell to its end."""
        return self.start(code, allow_stdin=allow_stdin).wait(seconds)

    def value(self, expression: str, seconds: float = 60) -> Any:
        """Returns the value of an expression, as JSON carries it."""
        cell = self.run(f"import json as _j; print(_j.dumps({expression}))", seconds)
        assert not cell.error, cell.error
        return json.loads(cell.text.strip().splitlines()[-1])

    def complete(self, code: str) -> list[str]:
        """Presses Tab at the end of the code; returns the lines that could come of it."""
        content = self._do(self._ask(self.client.complete, code))
        return [code[: content["cursor_start"]] + match for match in content["matches"]]

    def inspect(self, code: str) -> str:
        """Presses Shift-Tab at the end of the code; returns what is shown, without colours."""
        content = self._do(self._ask(self.client.inspect, code))
        return re.sub(r"\x1b\[[0-9;]*m", "", content.get("data", {}).get("text/plain", ""))

    async def _ask(self, request: Callable[[str], str], code: str) -> dict[str, Any]:
        answer = self._loop.create_future()
        self._asked[request(code)] = answer
        return await asyncio.wait_for(answer, 20)

    def interrupt(self) -> None:
        """Presses Stop."""
        self._do(self.manager.interrupt_kernel())

    def restart(self) -> None:
        """Restarts the kernel; what was shown stays in `links` and the cells."""
        self._do(self._begin_again())

    async def _begin_again(self) -> None:
        await self._detach()
        await self.manager.restart_kernel(now=False)
        await self._attach()

    def wait_for_link(self, count: int = 1, seconds: float = 30) -> str:
        """Waits until so many links have been offered, and returns the last of them."""
        with self._seen:
            assert self._seen.wait_for(lambda: len(self.links) >= count, seconds), "no link came"
            return self.links[count - 1]

    def wait_for_face(self, text: str, seconds: float = 30) -> str:
        """Waits until some card says so, and returns its markup."""

        def find() -> str | None:
            for state in list(self.widgets.values()):
                if text in str(state.get("value", "")):
                    return str(state["value"])
            return None

        with self._seen:
            assert self._seen.wait_for(find, seconds), f"no card says {text!r}: {self.faces()}"
            found = find()
            assert found is not None
            return found

    def wait_for_widget(
        self, model: str, fits: Callable[[dict[str, Any]], object], seconds: float = 30
    ) -> str:
        """Waits until a widget of that model is in such a state, and returns its id."""

        def find() -> str | None:
            for known, state in list(self.widgets.items()):
                if state.get("_model_name") == model and fits(state):
                    return known
            return None

        with self._seen:
            assert self._seen.wait_for(find, seconds), f"no {model} came to be so"
            found = find()
            assert found is not None
            return found

    def click(self, label: str) -> None:
        """Clicks the newest button of that name."""
        self.wait_for_widget("ButtonModel", lambda state: state.get("description") == label)
        buttons = [k for k, s in self.widgets.items() if s.get("description") == label]
        self._do(self._tell(buttons[-1], {"method": "custom", "content": {"event": "click"}}))

    def type_into(self, widget: str, value: object) -> None:
        """Gives a widget a value, as the browser does when somebody types or chooses."""
        state = {"value": value}
        self.widgets[widget].update(state)
        self._do(self._tell(widget, {"method": "update", "state": state, "buffer_paths": []}))

    async def _tell(self, widget: str, data: dict[str, Any]) -> None:
        content = {"comm_id": widget, "data": data}
        self.client.shell_channel.send(self.client.session.msg("comm_msg", content))

    def faces(self) -> list[str]:
        """Returns the markup of every card."""
        return [
            str(s["value"]) for s in self.widgets.values() if "mcpnb-face" in str(s.get("value"))
        ]

    def saved(self) -> str:
        """Returns all that saving the notebook would write: sources, outputs, widget state."""
        cells = [{"source": c.code, "outputs": c.outputs} for c in self._cells.values()]
        return json.dumps({"cells": cells, "widgets": self.widgets}, default=str)

    def log(self) -> str:
        """Returns what the kernel wrote to its own standard output and error."""
        self._log.seek(0)
        return self._log.read()

    def shut_down(self) -> None:
        """Asks the kernel to end, as closing its notebook does, and waits until it has."""
        self._do(self.manager.shutdown_kernel(now=False))

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The kernel's process."""
        return self.manager.provisioner.process  # type: ignore[union-attr]

    def kill(self) -> None:
        """Kills the kernel, as a power cut does."""
        self._do(self.manager.signal_kernel(9))

    def close(self) -> None:
        """Ends the kernel."""
        for thread in self.people:
            thread.join(10)
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()
        self._log.close()
        self._sockets.cleanup()

    async def _end(self) -> None:
        await self._detach()
        if self.manager.has_kernel:
            await self.manager.shutdown_kernel(now=False)
        self.manager.context.destroy(linger=0)

    # -- messages, on the loop's thread -------------------------------------------------------

    async def _pump(
        self, receive: Callable[..., Awaitable[Any]], take: Callable[[Any], None]
    ) -> None:
        while True:
            with contextlib.suppress(queue.Empty):
                message = await receive(timeout=5)
                with self._seen:
                    take(message)
                    self._seen.notify_all()

    def _take(self, message: dict[str, Any]) -> None:
        kind, content = message["msg_type"], message["content"]
        cell = self._cells.get(message["parent_header"].get("msg_id", ""))
        if kind in {"comm_open", "comm_msg"}:
            self._take_comm(content)
        elif cell is None:
            return
        elif kind in {"stream", "display_data", "execute_result", "error"}:
            cell.outputs.append({"output_type": kind, **content})
            cell.shown.set()
        elif kind == "status" and content["execution_state"] == "idle":
            cell.done.set()

    def _take_comm(self, content: dict[str, Any]) -> None:
        state = content["data"].get("state") or {}
        self.widgets.setdefault(content["comm_id"], {}).update(state)
        for found in _LINK.findall(str(state.get("value", ""))):
            link = html.unescape(found)
            if link in self.links:
                continue
            self.links.append(link)
            if self.person is not None:
                person = threading.Thread(target=self.person, args=(link,), daemon=True)
                self.people.append(person)
                person.start()

    def _answer(self, message: dict[str, Any]) -> None:
        content = message["content"]
        if message["msg_type"] == "input_request" and self.answers is not None:
            answer = self.answers(content["prompt"], content["password"])
            if answer is not None:
                self.client.input(answer)

    def _note_reply(self, message: dict[str, Any]) -> None:
        request = message["parent_header"].get("msg_id", "")
        if request in self._cells:
            self._cells[request].reply = message["content"]
        if request in self._asked:
            self._asked.pop(request).set_result(message["content"])


@contextmanager
def notebook(**options: Any) -> Iterator[Notebook]:
    """A `Notebook` that is closed at the end."""
    book = Notebook(**options)
    try:
        yield book
    finally:
        book.close()
