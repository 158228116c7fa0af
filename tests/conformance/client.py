"""The suite's client: a person with a notebook, a real kernel and a browser.

    python -m tests.conformance.client SERVER-URL

Starts a kernel of its own, runs the cells of the scenario's `Script` in it one after another, and
listens to what the kernel publishes all the while, as a notebook does. Every sign-in link that a
card shows, at whatever moment, is opened like a person would. The links are not opened before a
cell has run after ``%mcp connect``: a connect that waited for the person would never return.

Ends with 0 where every cell did what the script says, the refusals included.
"""

from __future__ import annotations

import asyncio
import html
import json
import os
import queue
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_client.manager import AsyncKernelManager

from tests.conformance.scripts import Script, script

CELL_SECONDS = 50
SIGN_IN_SECONDS = 45
_LINK = re.compile(r'<a [^>]*href="([^"]+)"')


class CellError(Exception):
    """A cell ended with an error, whose name and message are the text, or not at all."""


class Notebook:
    """A kernel with a front end whose person opens the links they are shown."""

    def __init__(self, kernel: AsyncKernelClient) -> None:
        self._kernel = kernel
        self._opened: set[str] = set()
        self._at_hand = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._kernel.start_channels()
        await self._kernel.wait_for_ready(timeout=30)
        self._keep(self._listen())
        return self

    async def __aexit__(self, *raised: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._kernel.stop_channels()

    def take_the_browser(self) -> None:
        """Lets the person open links from now on."""
        self._at_hand.set()

    async def run(self, code: str) -> None:
        """Runs a cell to its end.

        Raises:
            CellError: It ended with an error, or not at all.
        """
        number = self._kernel.execute(code, allow_stdin=True)
        try:
            async with asyncio.timeout(CELL_SECONDS):
                while True:
                    reply = await self._kernel.get_shell_msg()
                    if reply["parent_header"].get("msg_id") == number:
                        break
        except TimeoutError:
            raise CellError(f"a cell did not end within {CELL_SECONDS} s: {code}") from None
        content = reply["content"]
        if content["status"] != "ok":
            raise CellError(f"{content.get('ename')}: {content.get('evalue')}")

    async def _listen(self) -> None:
        while True:
            with suppress(queue.Empty):
                message = await self._kernel.get_iopub_msg(timeout=60)
                if message["msg_type"] in {"comm_open", "comm_msg"}:
                    self._look_at(message["content"]["data"].get("state", {}))

    def _look_at(self, widget: Mapping[str, Any]) -> None:
        """Opens the links in a widget's text that were not there before."""
        for found in _LINK.findall(str(widget.get("value", ""))):
            link = html.unescape(found)
            if link not in self._opened:
                self._opened.add(link)
                self._keep(self._open(link))

    async def _open(self, link: str) -> None:
        from tests.peers.person import visit

        await self._at_hand.wait()
        await asyncio.to_thread(visit, link)

    def _keep(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def play(notebook: Notebook, server_url: str, wanted: Script) -> None:
    """Runs a script's cells.

    Raises:
        CellError: One ended with an error.
    """
    await notebook.run("%load_ext mcp_notebook\nimport mcp_notebook")
    await notebook.run(f"%mcp add server {server_url} {shlex.join(wanted.options)}")
    await notebook.run("%mcp connect server")
    await notebook.run(wanted.prepare or "1 + 1")
    notebook.take_the_browser()
    await notebook.run(f"server.wait({SIGN_IN_SECONDS})")
    for cell in wanted.cells:
        await notebook.run(cell)
    await notebook.run("%mcp disconnect server")


async def drive(server_url: str, wanted: Script) -> str:
    """Plays a script in a kernel of its own.

    Returns:
        What went otherwise than the script says, or ``""``.
    """
    manager = AsyncKernelManager(kernel_name="python3")
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        await manager.start_kernel(
            env=_environment(Path(folder), wanted.secrets),
            cwd=folder,
            # The harness waits for whoever holds its pipes.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            async with Notebook(manager.client()) as notebook:
                await play(notebook, server_url, wanted)
        except CellError as error:
            if wanted.refusal and re.search(wanted.refusal, str(error)):
                return ""
            return str(error)
        else:
            return f"nothing said: {wanted.refusal}" if wanted.refusal else ""
        finally:
            await manager.shutdown_kernel(now=True)


def _environment(folder: Path, secrets: Mapping[str, str]) -> dict[str, str]:
    """Returns a kernel's environment: nothing of the developer's own, nothing that stays."""
    return {
        **os.environ,
        **secrets,
        "IPYTHONDIR": str(folder / "ipython"),
        "MCP_NOTEBOOK_HOME": str(folder / "home"),
        "MCP_NOTEBOOK_TOKEN_STORE": "memory",
    }


async def _main() -> str:
    task = asyncio.current_task()
    assert task is not None
    # What the harness sends when its time is over: the kernel ends with us.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    scenario = os.environ["MCP_CONFORMANCE_SCENARIO"]
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
    server_url = sys.argv[1]
    wanted = script(scenario, context)
    extra = os.environ.get("CONFORMANCE_OPTIONS", "").replace("{origin}", _origin(server_url))
    wanted = replace(wanted, options=(*wanted.options, *shlex.split(extra)))
    return await drive(server_url, wanted)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


if __name__ == "__main__":
    complaint = asyncio.run(_main())
    if complaint:
        sys.exit(complaint)
