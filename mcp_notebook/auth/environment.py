"""Secrets a person keeps in environment variables; read when needed, never written down."""

from __future__ import annotations

import os
import re

from mcp_notebook.errors import ServerConfigError

_VISIBLE = re.compile(r"[\x20-\x7e]+")


def secret_from(variable: str, what: str) -> str:
    """Returns the value of an environment variable.

    Args:
        variable: The variable's name.
        what: What it holds, for the error: "client secret".

    Raises:
        ServerConfigError: It is not set, is empty, or holds what cannot be sent; the value is not
            in the message.
    """
    value = os.environ.get(variable, "").strip()
    if not value:
        raise ServerConfigError(
            f"The {what} is expected in the environment variable {variable}, which is not set.",
            hint=f"Set it without writing it into the notebook: import getpass, os; "
            f'os.environ["{variable}"] = getpass.getpass()',
        )
    if not _VISIBLE.fullmatch(value):
        raise ServerConfigError(
            f"The {what} in the environment variable {variable} holds characters that cannot be "
            "sent.",
            hint="Copy it again from where it was issued; it is one line of ASCII.",
        )
    return value


def private_key_from(variable: str) -> str:
    r"""Returns the PEM text of a private key; ``\n`` written out stands for a line break.

    Raises:
        ServerConfigError: The variable is not set or holds no private key in PEM.
    """
    value = os.environ.get(variable, "").strip().replace("\\n", "\n")
    if not value.startswith("-----BEGIN ") or "PRIVATE KEY-----" not in value:
        raise ServerConfigError(
            f"The environment variable {variable} should hold a private key, and does not.",
            hint="It is PEM text that begins with -----BEGIN PRIVATE KEY-----.",
        )
    return value
