"""What the libraries below write into the log: nothing of it on a notebook's page, no credential.

Where a program has set up no logging, Python prints warnings to stderr, which a notebook shows
below whatever cell runs and saves; the SDK's come with tracebacks, and those with what a server
sent. Whoever does set up logging gets the records, without credentials and tracebacks.
"""

from __future__ import annotations

import logging

from mcp_notebook.redaction import RedactingFilter

LIBRARIES = ("mcp", "client", "httpx2", "httpcore2")
"""The first parts of their loggers' names; the SDK's session calls itself ``client``."""

_filter = RedactingFilter()
_silent = logging.NullHandler()


def tame() -> None:
    """Quiets the libraries' loggers. To be called once they are imported; twice does no harm."""
    for name in LIBRARIES:
        logging.getLogger(name).addHandler(_silent)
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in LIBRARIES:
            # A filter sees its own logger's records only, not those of the loggers below.
            logging.getLogger(name).addFilter(_filter)
