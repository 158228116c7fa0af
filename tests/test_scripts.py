"""A plain script: with somebody at its terminal, and with nobody."""

from __future__ import annotations

import os
import subprocess
import sys

import pexpect

from tests.peers import serve_authority, serve_tools, visit

SCRIPT = """
import sys, mcp_notebook
with mcp_notebook.connect("notes", sys.argv[1]) as notes:
    print("the sum is", notes.tools.add(a=2, b=3))
"""


def environment(folder) -> dict[str, str]:
    return {**os.environ, "MCP_NOTEBOOK_HOME": str(folder), "MCP_NOTEBOOK_TOKEN_STORE": "file"}


def test_a_script_at_a_terminal_prints_the_link_and_waits(tmp_path):
    with serve_authority() as authority, serve_tools(authority) as tools:
        command = ["-c", SCRIPT, tools.url]
        env = environment(tmp_path)
        child = pexpect.spawn(
            sys.executable, command, env=env, encoding="utf-8", timeout=40, dimensions=(50, 1000)
        )
        child.expect("Waiting for the sign-in to notes")
        child.expect(r"Open: (\S+)")
        visit(child.match[1])
        child.expect("the sum is 5")
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 0

        # The sign-in is kept, so the next run needs nobody and prints nothing but its own.
        again = subprocess.run(
            [sys.executable, *command], env=env, capture_output=True, text=True, timeout=40
        )
        assert (again.stdout, again.stderr) == ("the sum is 5\n", "")


def test_a_script_that_nobody_watches_fails_at_once_and_shows_no_link(tmp_path):
    with serve_authority() as authority, serve_tools(authority) as tools:
        ran = subprocess.run(
            [sys.executable, "-c", SCRIPT, tools.url],
            env=environment(tmp_path),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=40,
        )
    assert ran.returncode == 1
    assert "SignInNeededError" in ran.stderr
    assert "state=" not in ran.stdout + ran.stderr
