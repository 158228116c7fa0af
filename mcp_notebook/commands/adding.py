"""What ``%mcp add`` says about a server, as a `Server`: its options, or the JSON in its cell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any, Literal, cast

from mcp_notebook.commands import grammar
from mcp_notebook.commands.grammar import Reading
from mcp_notebook.config.importing import Found, read_text
from mcp_notebook.config.servers import OAuthSettings, Server, check_server
from mcp_notebook.errors import CommandError

_NEEDED_BY = {
    "jwt_bearer": ("assertion_env",),
    "enterprise": ("idp_client_id", "idp_token_endpoint", "idp_id_token_env"),
}
_ONLY_FOR = {
    **{name: grant for grant, names in _NEEDED_BY.items() for name in names},
    "callback_host": "authorization_code",
    "callback_port": "authorization_code",
    "callback_path": "authorization_code",
    "authorize_params": "authorization_code",
    "assume_s256": "authorization_code",
}
"""Settings that mean nothing to any other grant."""

_LAUNCHERS = {"npx", "bunx", "deno", "node", "uv", "uvx", "python", "python3", "docker", "podman"}
"""What servers' READMEs start them with."""

_BELONG_TO = {
    "client_secret_env": ("client_id",),
    "private_key_env": ("client_id", "client_metadata_url"),
    "signing_algorithm": ("private_key_env",),
}
"""Settings that mean nothing without one of others."""


def described(reading: Reading) -> Server:
    """Returns the server a line describes, checked.

    Raises:
        CommandError: Options that do not go together.
        ServerConfigError: A server that cannot be written down.
    """
    if reading.program and len(reading.places) > 1:
        raise grammar.usage_error(reading, "A server has either a URL or a program, not both.")
    server = _program(reading) if reading.program else _web_server(reading)
    check_server(server)
    ask = reading.flag("--client-secret")
    if ask and reading.one("--client-secret-env"):
        raise grammar.usage_error(
            reading, "--client-secret asks for the secret, --client-secret-env names it: take one."
        )
    if ask and not reading.one("--client-id"):
        raise grammar.usage_error(reading, "--client-secret belongs to a --client-id.")
    return server


def check_program(words: Sequence[str]) -> None:
    """Refuses a program that does not stand behind ``--``: its options would be taken for ours.

    Args:
        words: What follows ``add``.
    """
    if len(words) > 2 and words[1] in _LAUNCHERS and "--" not in words:
        raise CommandError(
            "A program stands behind two dashes.", hint=f"%mcp add NAME -- {words[1]} …"
        )


def pasted(reading: Reading) -> list[Found]:
    """Returns the servers of the JSON in the cell of ``%%mcp add``.

    Raises:
        CommandError: The line says more than a name.
        ServerConfigError: The cell holds no servers.
    """
    _refuse_others(reading, {"--replace"}, "a server on the line")
    if len(reading.places) > 1:
        raise grammar.usage_error(reading, "The cell holds the server; the line takes no URL.")
    return read_text(reading.cell, name=reading.places[0] if reading.places else None)


def _program(reading: Reading) -> Server:
    _refuse_others(reading, {"--env", "--cwd", "--replace"}, "a server with a URL")
    return Server(
        name=reading.places[0],
        transport="stdio",
        command=reading.program,
        env=_pairs(reading, "--env"),
        cwd=reading.one("--cwd"),
    )


def _web_server(reading: Reading) -> Server:
    for option in ("--env", "--cwd"):
        if reading.flag(option):
            raise grammar.usage_error(
                reading, f"{option} is for a program: %mcp add NAME -- COMMAND"
            )
    name, url = reading.places
    return Server(
        name=name,
        url=url,
        transport=cast(Literal["http", "sse"], reading.one("--transport") or "http"),
        headers=_pairs(reading, "--header"),
        insecure=reading.flag("--insecure"),
        oauth=_oauth(reading),
    )


def _oauth(reading: Reading) -> OAuthSettings:
    chosen: dict[str, Any] = {}
    for item in fields(OAuthSettings):
        value = reading.one(f"--{item.name.replace('_', '-')}")
        if value is not None:
            chosen[item.name] = value
    if "callback_port" in chosen:
        port = chosen["callback_port"]
        chosen["callback_port"] = int(port) if port.isdecimal() and len(port) <= 5 else 0
    if "dpop" in chosen:
        chosen["dpop"] = chosen["dpop"] == "on"
    if reading.flag("--assume-s256"):
        chosen["assume_s256"] = True
    if reading.flag("--trusted-issuer"):
        chosen["trusted_issuers"] = tuple(reading.options["--trusted-issuer"])
    if reading.flag("--authorize-param"):
        chosen["authorize_params"] = _pairs(reading, "--authorize-param")
    settings = OAuthSettings(**chosen)
    _check_use(reading, settings, chosen)
    return settings


def _check_use(reading: Reading, settings: OAuthSettings, chosen: Iterable[str]) -> None:
    """Refuses what is missing, and what would change nothing though somebody expects it to."""
    for field in _NEEDED_BY.get(settings.grant, ()):
        if getattr(settings, field) is None:
            raise grammar.usage_error(reading, f"--grant {settings.grant} needs {_option(field)}.")
    for field in chosen:
        grant = _ONLY_FOR.get(field, settings.grant)
        if grant != settings.grant:
            raise grammar.usage_error(reading, f"{_option(field)} is for --grant {grant}.")
        needed = _BELONG_TO.get(field, ())
        if needed and not any(getattr(settings, name) for name in needed):
            options = " or ".join(_option(name) for name in needed)
            raise grammar.usage_error(reading, f"{_option(field)} belongs to {options}.")


def _option(field: str) -> str:
    plural = {"authorize_params": "authorize_param", "trusted_issuers": "trusted_issuer"}
    return f"--{plural.get(field, field).replace('_', '-')}"


def _refuse_others(reading: Reading, allowed: set[str], belongs: str) -> None:
    for option in reading.options:
        if option not in allowed:
            raise grammar.usage_error(reading, f"{option} is for {belongs}.")


def _pairs(reading: Reading, option: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in reading.options.get(option, ()):
        name, equals, value = text.partition("=")
        if option == "--header" and ":" in name:  # as HTTP and curl write it
            name, equals, value = text.partition(":")
            name, value = name.strip(), value.strip()
        if not equals or not name:
            # The text is not repeated: it may be the secret alone.
            raise grammar.usage_error(reading, f"{option} needs NAME=VALUE.")
        if name in found:
            raise grammar.usage_error(reading, f"{option} gives {grammar.shown(name)} twice.")
        found[name] = value
    return found
