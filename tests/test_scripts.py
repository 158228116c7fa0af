"""A plain script: nobody shows the link but the script itself, and it ends when it is done."""

from __future__ import annotations

import os
import subprocess
import sys
from urllib.parse import urljoin

import httpx2

from mcp_notebook.config.servers import Server, ServerBook
from tests.peers import callback_url, serve_authority, serve_tools
from tests.peers.person import NAVIGATION

SCRIPT = """
import time
import mcp_notebook

session = mcp_notebook.connect("notes")
while session.sign_in is None or session.sign_in.url is None:
    time.sleep(0.01)
print(session.sign_in.url, flush=True)
session.wait(60)
print(session.tools.add(a=2, b=3).data, flush=True)
"""


def test_a_script_that_ends_right_after_its_sign_in_leaves_the_browser_its_last_page(tmp_path):
    env = {**os.environ, "MCP_NOTEBOOK_HOME": str(tmp_path), "MCP_NOTEBOOK_TOKEN_STORE": "memory"}
    with serve_authority() as authority, serve_tools(authority) as tools:
        ServerBook(tmp_path / "servers.json").add(Server(name="notes", url=tools.url))
        with (
            subprocess.Popen(
                [sys.executable, "-c", SCRIPT], env=env, stdout=subprocess.PIPE, text=True
            ) as script,
            httpx2.Client(trust_env=False, headers=NAVIGATION, timeout=20) as browser,
        ):
            address = callback_url(script.stdout.readline().strip())
            sent_on = browser.get(address)
            assert script.stdout.readline().strip() == "5"  # the script has nothing more to do
            page = browser.get(urljoin(address, sent_on.headers["location"]))
            assert "Signed in to notes" in page.text
            assert script.wait(20) == 0
