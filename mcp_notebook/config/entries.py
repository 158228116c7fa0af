"""One entry of another client's configuration, as a `Server`.

Claude, VS Code, Cursor, Gemini and others describe a server by nearly the same JSON object, each
with words of its own. What means the same here is translated, with a note; what cannot be carried
over is a problem that says how to write it instead. A literal secret is never carried over.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from mcp_notebook.config import rules
from mcp_notebook.config.servers import OAuthSettings, Server, Transport, check_server
from mcp_notebook.errors import MCPNotebookError, ServerConfigError
from mcp_notebook.frames import bare
from mcp_notebook.redaction import printable

_TRANSPORTS: dict[str, Transport] = {
    "stdio": "stdio",
    "local": "stdio",
    "http": "http",
    "remote": "http",
    "streamable-http": "http",
    "streamablehttp": "http",
    "streamable_http": "http",
    "sse": "sse",
}
_ADDRESSES = ("url", "httpUrl", "serverUrl", "uri")
_BARE_VARIABLE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")
_INPUT = re.compile(r"\$\{(?:prompt|input):([^}]*)\}")
_SCHEME = re.compile(r"(?i)(bearer|basic|token) +")
_BRIDGE = re.compile(r"mcp-remote(@[\w.-]+)?")


@dataclass(frozen=True, slots=True)
class Found:
    """One server that was found in another client's configuration.

    Attributes:
        name: What it would be called here.
        source: Where it was found, for the person.
        server: The server, or ``None`` where there is a problem.
        problem: Why it cannot be taken, with a hint how to write it instead.
        notes: What was read differently from how it was written.
    """

    name: str
    source: str
    server: Server | None = None
    problem: MCPNotebookError | None = None
    notes: tuple[str, ...] = ()

    def use(self) -> Server:
        """Returns the server.

        Raises:
            ServerConfigError: The problem.
        """
        if self.server is None:
            assert self.problem is not None
            raise self.problem
        return self.server


@dataclass(slots=True)
class _Reading:
    """An entry while it is read, and what there is to tell about it.

    Attributes:
        entry: What stands there.
        name: The server's name.
        secrets_stay: Whether a literal secret stays where it is, and a variable is named for it.
        notes: What was read differently from how it was written.
    """

    entry: dict[str, Any]
    name: str
    secrets_stay: bool
    notes: list[str] = field(default_factory=list)

    def text(self, key: str) -> str | None:
        value = self.entry.get(key)
        if value is not None and not isinstance(value, str):
            raise _wrong(f"{key!r} is no text.")
        return value

    def words(self, key: str) -> tuple[str, ...]:
        value = self.entry.get(key) or []
        if not isinstance(value, list):
            raise _wrong(f"{key!r} is no list of texts.")
        # Ports and the like are often written as numbers.
        if any(isinstance(word, dict | list | bool | None) for word in value):
            raise _wrong(f"{key!r} holds something that is no text.")
        return tuple(str(word) for word in value)

    def values(self, key: str) -> dict[str, str]:
        value = self.entry.get(key) or {}
        if not isinstance(value, dict):
            raise _wrong(f"{key!r} is no object of texts.")
        found = {}
        for name, item in value.items():
            if isinstance(item, dict | list | None):
                raise _wrong(f"{key!r} holds something that is no text.")
            text = _reference(str(item).lower() if isinstance(item, bool) else str(item))
            secret = self.secrets_stay and rules.looks_secret(name, text)
            found[name] = self._for_secret(key, name, text) if secret else text
        return found

    def _for_secret(self, key: str, name: str, text: str) -> str:
        variable = _variable_name(f"{self.name} {name}" if key == "headers" else name)
        self.notes.append(
            f"its {printable(name, 60)} looks like a secret and stays there: set the environment "
            f"variable {variable}"
        )
        scheme = _SCHEME.match(text)
        return f"{scheme[0] if scheme else ''}${{{variable}}}"

    def address(self, url: str) -> str:
        """Returns an address with references in the place of the keys that are in it."""
        if not self.secrets_stay:
            return url
        named: dict[str, str] = {}
        for key, written in rules.keys_in(url):
            if written in named:
                continue
            variable = _variable_name(f"{self.name} {key or 'key'}")
            if variable in named.values():
                variable = f"{variable}_{len(named) + 1}"
            named[written] = variable
            self.notes.append(
                "a part of its address looks like a secret and stays there: set the environment "
                f"variable {variable}"
            )
        for written, variable in named.items():
            url = re.sub(rf"(?<=[/=]){re.escape(written)}(?=[/&?]|$)", f"${{{variable}}}", url)
        return url


def read_entry(
    name: str,
    entry: Any,
    source: str,
    *,
    places: Mapping[str, str] | None = None,
    secrets_stay: bool = False,
) -> Found:
    """Returns the server an entry describes, or what is wrong with it; raises nothing.

    Args:
        name: What the other client calls the server.
        entry: The JSON value that describes it.
        source: Where it stands, for the person.
        places: Folders by the names that an editor has for them, such as ``workspaceFolder``.
        secrets_stay: Whether a literal secret stays where it is, and the server gets a reference to
            a variable in its place; otherwise it is a problem, because what was pasted has to go.
    """
    own = own_name(name)
    if not isinstance(entry, dict):
        return Found(own, source, problem=_wrong("Its entry is no JSON object."))
    asked: dict[str, str] = {}
    reading = _Reading(_filled(entry, places or {}, asked), own, secrets_stay)
    for variable, wanted in asked.items():
        reading.notes.append(
            f"the editor asks for {printable(wanted, 60)!r}: here it is the environment variable "
            f"{variable}"
        )
    if own != name:
        reading.notes.append(f"is called {printable(name, 60)!r} there")
    if entry.get("disabled") is True or entry.get("enabled") is False:
        reading.notes.append("is switched off there")
    try:
        server = _server(own, reading)
        check_server(server)
    except ServerConfigError as problem:
        return Found(own, source, problem=bare(problem), notes=tuple(reading.notes))
    return Found(own, source, server=server, notes=tuple(reading.notes))


def own_name(name: str) -> str:
    """Returns a name that a server may have here: ``My Server`` becomes ``My-Server``."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:64]
    return plain or "server"


def _server(name: str, reading: _Reading) -> Server:
    address = next((key for key in _ADDRESSES if reading.text(key)), None)
    kind = (reading.text("type") or reading.text("transport") or "").lower()
    if kind and kind not in _TRANSPORTS:
        raise _wrong(f"It speaks {printable(kind, 30)!r}; known are http, sse and stdio.")
    if address is None:
        return _program(name, reading)
    # Gemini's `url` is legacy SSE, and its `httpUrl` the newer transport.
    transport = _TRANSPORTS.get(kind, "http")
    url = reading.address(reading.text(address) or "")
    if not kind and url.rstrip("/").endswith("/sse"):
        transport = "sse"
        reading.notes.append("is taken for the older SSE transport, by its address")
    return Server(
        name=name,
        url=url,
        transport="http" if transport == "stdio" else transport,
        headers=reading.values("headers"),
        oauth=_oauth(reading),
    )


def _program(name: str, reading: _Reading) -> Server:
    program = reading.entry.get("command")
    if isinstance(program, list):
        command = (*reading.words("command"), *reading.words("args"))
    elif isinstance(program, str) and program.strip():
        command = (program, *reading.words("args"))
    else:
        raise _wrong("It has neither a 'url' nor a 'command'.")
    if "envFile" in reading.entry:
        reading.notes.append(
            "its envFile is not read: set what it holds in the kernel's environment, and hand each "
            "on with --env KEY='${KEY}'"
        )
    env = reading.values("env") or reading.values("environment")
    bridged = _bridged(command, env, reading)
    if bridged is not None:
        return replace(bridged, name=name)
    cwd = reading.text("cwd")
    if cwd is not None and "${" in cwd:
        raise _wrong(
            "Its 'cwd' holds a ${…}, which is not filled in here.",
            "Add it by hand: %mcp add NAME --cwd FOLDER -- COMMAND ARGS",
        )
    return Server(name=name, transport="stdio", command=command, env=env, cwd=cwd)


def _bridged(command: tuple[str, ...], env: dict[str, str], reading: _Reading) -> Server | None:
    """Returns the server behind ``npx mcp-remote URL``: no bridge is needed to reach it."""
    at = next((i for i, word in enumerate(command) if _BRIDGE.fullmatch(word)), None)
    if at is None or at + 1 >= len(command) or "://" not in command[at + 1]:
        return None
    headers, transport, flags = {}, "", command[at + 2 :]
    for flag, value in pairwise((*flags, "")):
        if flag == "--header":
            name, _, text = value.partition(":")
            # The bridge's own references name what the entry's "env" holds.
            text = re.sub(r"\$\{(\w+)\}", lambda m: env.get(m[1], m[0]), text)
            headers[name.strip()] = text.strip()
        elif flag == "--transport":
            transport = value
    reading.notes.append("is reached directly, without the bridge mcp-remote")
    return Server(
        name="bridged",
        url=reading.address(command[at + 1]),
        transport="sse" if transport.startswith("sse") else "http",
        headers=headers,
        insecure="--allow-http" in flags,
        oauth=_oauth(reading),
    )


def _oauth(reading: _Reading) -> OAuthSettings:
    """Reads ``oauth`` (Claude Code, VS Code, Gemini) and ``auth`` (Cursor)."""
    given = reading.entry.get("oauth") or reading.entry.get("auth")
    if not isinstance(given, dict):
        return OAuthSettings()
    lower = {re.sub("[^a-z]", "", key.lower()): value for key, value in given.items()}
    secret = lower.get("clientsecret")
    secret_env = None
    if isinstance(secret, str) and secret:
        match = rules.REFERENCE.fullmatch(_reference(secret))
        if match is None:
            raise _wrong(
                "Its OAuth client secret stands in the file in plain text.",
                "%mcp add NAME URL --client-id ID --client-secret asks for it, masked.",
            )
        secret_env = match["name"]
    client_id, port = lower.get("clientid"), lower.get("callbackport")
    scopes = lower.get("scopes") or lower.get("scope")
    if isinstance(scopes, list):
        scopes = " ".join(str(scope) for scope in scopes)
    return OAuthSettings(
        client_id=client_id if isinstance(client_id, str) and client_id else None,
        client_secret_env=secret_env,
        callback_port=port if isinstance(port, int) and not isinstance(port, bool) else None,
        scope=scopes if isinstance(scopes, str) and scopes else None,
    )


def _reference(value: str) -> str:
    # Gemini writes $NAME for ${NAME}.
    match = _BARE_VARIABLE.fullmatch(value)
    return f"${{{match[1]}}}" if match else value


def _filled(value: Any, places: Mapping[str, str], asked: dict[str, str], depth: int = 4) -> Any:
    """Returns an entry without what only an editor can fill in.

    Args:
        value: The entry, or a part of it.
        places: Folders by the names that stand for them.
        asked: Gets the variables that take the place of what an editor asks for, and what that is.
        depth: Levels that are looked into.
    """
    if isinstance(value, str):
        for name, path in places.items():
            value = value.replace(f"${{{name}}}", path)
        return _INPUT.sub(lambda match: _variable(match[1], asked), value)
    if depth == 0:
        return value
    if isinstance(value, list):
        return [_filled(item, places, asked, depth - 1) for item in value]
    if isinstance(value, dict):
        return {key: _filled(item, places, asked, depth - 1) for key, item in value.items()}
    return value


def _variable(wanted: str, asked: dict[str, str]) -> str:
    name = _variable_name(wanted)
    asked[name] = wanted
    return f"${{{name}}}"


def _variable_name(wanted: str) -> str:
    """Returns the environment variable for what is called so: ``my key`` becomes ``MY_KEY``."""
    name = re.sub(r"\W+", "_", wanted, flags=re.ASCII).strip("_").upper()[:60] or "NAME"
    return f"_{name}" if name[0].isdigit() else name


def _wrong(message: str, hint: str = "") -> ServerConfigError:
    return ServerConfigError(message, hint=hint or "Add it by hand: %mcp help add")
