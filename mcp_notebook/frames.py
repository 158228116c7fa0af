"""Errors without the frames they came through.

Verbose tracebacks, debuggers and crash reporters show the local variables of every frame, and
those of our own may hold a pasted address, a client secret, a token. So where an error leaves this
package it leaves its frames, and the errors behind it with theirs, inside.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from mcp_notebook.errors import MCPNotebookError

P = ParamSpec("P")
T = TypeVar("T")
E = TypeVar("E", bound=MCPNotebookError)


def bare(error: E) -> E:
    """Returns the error without frames and without what it came of; to be raised ``from None``.

    An exception group in the chain would also make IPython ignore `_render_traceback_`.
    """
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def sealed(function: Callable[P, T]) -> Callable[P, T]:
    """Makes a function raise this package's errors bare, its own arguments included."""

    @functools.wraps(function)
    def call(*args: P.args, **options: P.kwargs) -> T:
        try:
            return function(*args, **options)
        except MCPNotebookError as error:
            del args, options  # this frame stays
            raise bare(error) from None

    return call
