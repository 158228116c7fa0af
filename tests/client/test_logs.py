"""The libraries' log records stay off the page, and hold no credential for whoever wants them."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from mcp_notebook.client.logs import tame


def test_nothing_is_printed_where_nobody_set_up_logging():
    code = (
        "import logging\nimport mcp_notebook.client.dialing\n"
        "for name in ('mcp.client.streamable_http', 'client', 'httpx2', 'httpcore2.http11'):\n"
        "    logging.getLogger(name).error('the server sent rubbish')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stderr == ""


@pytest.mark.parametrize("name", ["mcp.client.streamable_http", "client", "httpx2"])
def test_records_carry_no_credential_and_no_traceback(name, caplog):
    tame()
    logger = logging.getLogger(name)
    with caplog.at_level(logging.DEBUG, logger=name):
        try:
            raise ValueError("input_value='s3cr3t-token'")
        except ValueError:
            logger.exception("bad answer: %s", '{"access_token": "s3cr3t-token"}')
    assert "bad answer" in caplog.text
    assert "ValueError" in caplog.text
    assert "s3cr3t" not in caplog.text
