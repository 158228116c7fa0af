"""Opens JupyterLab on the quickstart, or runs it here and tells what happened.

    python notebooks/start.py                       opens JupyterLab in your browser
    python notebooks/start.py --check               runs it without a display; a built-in person
                                                    signs in
    python notebooks/start.py data_work [--check]   the same with another notebook of this folder

Other options go to JupyterLab, such as --no-browser or --port=8899. It needs the package with its
[lab] extra: pip install -e ".[lab]".
"""

from __future__ import annotations

import argparse
import html
import json
import os
import queue
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
CELL_SECONDS = 120
LINK = re.compile(r'href="([^"]+)"')
FORM = re.compile(r"<input[^>]*name=\"?([\w-]+)\"?[^>]*value=\"?([^\" >]*)", re.IGNORECASE)


def main() -> int:
    """Does what the arguments say; returns the process's exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    names = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
    parser.add_argument("notebook", nargs="?", choices=names, default="quickstart")
    parser.add_argument("--check", action="store_true", help="run it here, without a display")
    chosen, options = parser.parse_known_args()
    if chosen.check and options:
        parser.error(f"--check opens no JupyterLab that could take {options[0]}")
    notebook = FOLDER / f"{chosen.notebook}.ipynb"
    if chosen.check:
        return check(notebook)
    return subprocess.call(  # noqa: S603 - this interpreter's own JupyterLab
        [sys.executable, "-m", "jupyterlab", str(notebook), *options], cwd=FOLDER
    )


def check(notebook: Path) -> int:
    """Runs a notebook in a kernel of its own and prints what each cell did."""
    from jupyter_client.manager import start_new_kernel

    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    with tempfile.TemporaryDirectory() as home:
        # A sign-in of this run only: nothing of the user's is read or written.
        env = {**os.environ, "MCP_NOTEBOOK_HOME": home, "MCP_NOTEBOOK_TOKEN_STORE": "file"}
        manager, client = start_new_kernel(env=env, stderr=subprocess.DEVNULL)
        try:
            run = Run(client)
            failed = [
                number for number, code in enumerate(sources, 1) if not run.cell(number, code)
            ]
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=False)
    signed_in = len(run.links) == 1
    verdict = "OK" if not failed and signed_in else "FAILED"
    print(
        f"{verdict}: {len(sources) - len(failed)} of {len(sources)} cells ran, "
        f"{len(run.links)} sign-in by the built-in person, "
        f"{run.pictures} pictures and {run.tables} tables shown."
    )
    return 0 if verdict == "OK" else 1


class Run:
    """One run of the notebook: its messages, and the person in front of it."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.links: list[str] = []
        self.pictures = self.tables = 0

    def cell(self, number: int, code: str) -> bool:
        """Runs one cell to its end and prints what it showed; tells whether it went well."""
        started = time.monotonic()
        print(f"[{number}] {code.splitlines()[0]}")
        request = self.client.execute(code, allow_stdin=True)
        well, idle = True, False
        while not idle:
            try:
                message = self.client.get_iopub_msg(timeout=CELL_SECONDS)
            except queue.Empty:
                print(f"    no end after {CELL_SECONDS} s")
                return False
            self._look_for_a_link(message)
            if message["parent_header"].get("msg_id") == request:
                well = self._show(message) and well
                state = message["content"].get("execution_state")
                idle = message["msg_type"] == "status" and state == "idle"
        print(f"    {time.monotonic() - started:.1f} s")
        return well

    def _show(self, message: dict[str, Any]) -> bool:
        kind, content = message["msg_type"], message["content"]
        if kind == "error":
            print("\n".join(f"    {line}" for line in content["traceback"]))
            return False
        data = content.get("data", {}) if kind in {"display_data", "execute_result"} else {}
        markup = str(data.get("text/html", ""))
        self.pictures += "image/png" in data or "<img" in markup
        self.tables += "<table" in markup
        text = str(content.get("text", "") if kind == "stream" else data.get("text/plain", ""))
        lines = text.rstrip().splitlines()
        for line in lines[:6]:
            print(f"    {line[:110]}")
        if len(lines) > 6:
            print(f"    … {len(lines) - 6} lines more")
        return True

    def _look_for_a_link(self, message: dict[str, Any]) -> None:
        if message["msg_type"] not in {"comm_open", "comm_msg"}:
            return
        state = message["content"]["data"].get("state") or {}
        for found in LINK.findall(str(state.get("value", ""))):
            link = html.unescape(found)
            if link not in self.links:
                self.links.append(link)
                print("    (the built-in person follows the card's link and allows the access)")
                threading.Thread(target=allow, args=(link,), daemon=True).start()


def allow(link: str) -> None:
    """Follows the link of a card, as a browser does, and allows the access."""
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor()
    )
    page = opener.open(link, timeout=30)
    text = page.read().decode()
    action = re.search(r'<form[^>]*action="([^"]*)"', text)
    button = re.search(r'<button class="main" name="([^"]+)" value="([^"]+)"', text)
    fields = [(name, html.unescape(value)) for name, value in FORM.findall(text)]
    if button:
        fields.append((button[1], button[2]))
    where = urllib.parse.urljoin(page.url, html.unescape(action[1]) if action else "")
    opener.open(where, urllib.parse.urlencode(fields).encode(), timeout=30).read()


if __name__ == "__main__":
    raise SystemExit(main())
