"""A real kernel with somebody in front of it.

`Notebook` runs cells over the Jupyter protocol and reads the kernel's messages all the time, as a
front end does, also between cells. It keeps what a saved notebook would hold (outputs, and the
state of widgets), and hands every new link of a card to a `person`.
"""

from __future__ import annotations

import html
import json
import os
import queue
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from jupyter_client.manager import KernelManager

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
        answers: Callable[[str, bool], str] | None = None,
        kernel_name: str = "python3",
    ) -> None:
        """Starts a kernel.

        Args:
            env: Environment variables beside this process's own.
            person: Called with every new link, on a thread of its own.
            answers: Answers `input()`: called with the prompt and whether it is masked.
            kernel_name: Which kernel.
        """
        self.person = person
        self.answers = answers
        self.links: list[str] = []
        self.widgets: dict[str, dict[str, Any]] = {}
        self.people: list[threading.Thread] = []
        self._cells: dict[str, Cell] = {}
        self._seen = threading.Condition()
        self._over = threading.Event()
        self.manager = KernelManager(kernel_name=kernel_name)
        self._env = {**os.environ, **(env or {})}
        self.manager.start_kernel(env=self._env)
        self._attach()

    def _attach(self) -> None:
        self._over = threading.Event()
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)
        pumps = [self._pump_iopub, self._pump_stdin, self._pump_shell]
        self._threads = [
            threading.Thread(target=pump, args=(self.client, self._over), daemon=True)
            for pump in pumps
        ]
        for thread in self._threads:
            thread.start()

    # -- cells --------------------------------------------------------------------------------

    def start(self, code: str, *, allow_stdin: bool = True) -> Cell:
        """Sends a cell and does not wait for it."""
        cell = Cell(code)
        with self._seen:
            sent = self.client.execute(code, allow_stdin=allow_stdin)
            self._cells[sent] = cell
        return cell

    def run(self, code: str, seconds: float = 60, *, allow_stdin: bool = True) -> Cell:
        """Runs a cell to its end."""
        return self.start(code, allow_stdin=allow_stdin).wait(seconds)

    def value(self, expression: str, seconds: float = 60) -> Any:
        """Returns the value of an expression, as JSON carries it."""
        cell = self.run(f"import json as _j; print(_j.dumps({expression}))", seconds)
        assert not cell.error, cell.error
        return json.loads(cell.text.strip().splitlines()[-1])

    def interrupt(self) -> None:
        """Presses Stop."""
        self.manager.interrupt_kernel()

    def restart(self) -> None:
        """Restarts the kernel; what was shown stays in `links` and the cells."""
        self._detach()
        self.manager.restart_kernel(now=False)
        self._attach()

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

    def faces(self) -> list[str]:
        """Returns the markup of every card."""
        return [
            str(s["value"]) for s in self.widgets.values() if "mcpnb-face" in str(s.get("value"))
        ]

    def saved(self) -> str:
        """Returns all that saving the notebook would write: sources, outputs, widget state."""
        cells = [{"source": c.code, "outputs": c.outputs} for c in self._cells.values()]
        return json.dumps({"cells": cells, "widgets": self.widgets}, default=str)

    def close(self) -> None:
        """Ends the kernel."""
        for thread in self.people:
            thread.join(10)
        self._detach()
        self.manager.shutdown_kernel(now=False)

    def _detach(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(5)
        self.client.stop_channels()

    # -- messages -----------------------------------------------------------------------------

    def _pump_iopub(self, client: Any, over: threading.Event) -> None:
        while not over.is_set():
            try:
                message = client.get_iopub_msg(timeout=0.2)
            except queue.Empty:
                continue
            with self._seen:
                self._take(message)
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

    def _pump_stdin(self, client: Any, over: threading.Event) -> None:
        while not over.is_set():
            try:
                message = client.get_stdin_msg(timeout=0.2)
            except queue.Empty:
                continue
            content = message["content"]
            if message["msg_type"] == "input_request" and self.answers is not None:
                client.input(self.answers(content["prompt"], content["password"]))

    def _pump_shell(self, client: Any, over: threading.Event) -> None:
        while not over.is_set():
            try:
                message = client.get_shell_msg(timeout=0.2)
            except queue.Empty:
                continue
            cell = self._cells.get(message["parent_header"].get("msg_id", ""))
            if cell is not None:
                cell.reply = message["content"]


@contextmanager
def notebook(**options: Any) -> Iterator[Notebook]:
    """A `Notebook` that is closed at the end."""
    book = Notebook(**options)
    try:
        yield book
    finally:
        book.close()
