"""Servers out of other clients' files: read and shown, never started and never contacted.

The files are looked for where each client keeps them on this system, and only when a person asks.
They may come with a cloned repository, so they are a stranger's: small regular files only, JSON
with comments and nothing more.
"""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mcp_notebook.config import rules, trust
from mcp_notebook.config.entries import Found, read_entry
from mcp_notebook.errors import ServerConfigError
from mcp_notebook.redaction import printable

__all__ = ["CLIENTS", "Found", "find", "locations", "preview", "read_text"]

CLIENTS = ("claude", "claude-code", "vscode", "cursor", "gemini", "windsurf")
"""Other clients whose files are known."""

_MAX_BYTES = 1024 * 1024
_MAX_SERVERS = 200
_NOT_JSON = re.compile(
    r"""(?P<text>"(?:\\.|[^"\\])*(?:"|\Z))|//[^\n]*|/\*(?:.*?\*/|.*\Z)""", re.DOTALL
)
_LAST_COMMA = re.compile(r"""(?P<text>"(?:\\.|[^"\\])*(?:"|\Z))|,(?=\s*[}\]])""", re.DOTALL)


def locations(
    source: str,
    *,
    folder: Path | None = None,
    person: Path | None = None,
    environ: Mapping[str, str] | None = None,
    platform: str = sys.platform,
) -> list[Path]:
    """Returns where a client keeps its servers: the folder's own file first, then the person's.

    Args:
        source: ``claude``, ``claude-code``, ``vscode``, ``cursor``, ``gemini`` or
            ``windsurf``.
        folder: The project's folder; the working folder unless told.
        person: The person's home; this user's unless told.
        environ: Where ``APPDATA`` is looked up.
        platform: As `sys.platform`.
    """
    folder, person = folder or Path.cwd(), person or Path.home()
    environ = os.environ if environ is None else environ
    if platform == "darwin":
        settings = person / "Library" / "Application Support"
    elif platform == "win32":
        settings = Path(environ.get("APPDATA") or person / "AppData" / "Roaming")
    else:
        settings = Path(environ.get("XDG_CONFIG_HOME") or person / ".config")
    return {
        "claude": [settings / "Claude" / "claude_desktop_config.json"],
        "claude-code": [folder / ".mcp.json", person / ".claude.json"],
        "vscode": [folder / ".vscode" / "mcp.json", settings / "Code" / "User" / "mcp.json"],
        "cursor": [folder / ".cursor" / "mcp.json", person / ".cursor" / "mcp.json"],
        "gemini": [folder / ".gemini" / "settings.json", person / ".gemini" / "settings.json"],
        "windsurf": [person / ".codeium" / "windsurf" / "mcp_config.json"],
    }[source]


def find(source: str, *, folder: Path | None = None, person: Path | None = None) -> list[Found]:
    """Returns the servers of another client, or of a file, each usable or with its problem.

    Args:
        source: A client's name, or the path of a file.
        folder: The project's folder; the working folder unless told.
        person: The person's home; this user's unless told.

    Raises:
        ServerConfigError: There is no such file, or it cannot be read as JSON.
    """
    folder = folder or Path.cwd()
    if source not in CLIENTS:
        return read_file(folder / Path(source).expanduser(), folder=folder)
    places = locations(source, folder=folder, person=person)
    present = [path for path in places if path.exists()]
    if not present:
        looked = ", ".join(str(path) for path in places)
        raise ServerConfigError(
            f"No servers of {source} were found.",
            hint=f"Looked for: {looked}. Another file: %mcp import PATH",
        )
    return _told_apart([item for path in present for item in read_file(path, folder=folder)])


def read_file(path: Path, *, folder: Path | None = None) -> list[Found]:
    """Returns the servers of one file.

    Args:
        path: The file.
        folder: The project whose own servers are taken from Claude Code's file.

    Raises:
        ServerConfigError: It is no regular file of at most 1 MiB, or no JSON object with servers.
    """
    document = _parse(_without_comments(_content(path)), str(path))
    places = _places(path, folder)
    found = [
        read_entry(name, entry, str(path), places=places, secrets_stay=True)
        for name, entry in _definitions(document, str(folder))
    ]
    return _told_apart(found[:_MAX_SERVERS])


def _places(path: Path, folder: Path | None) -> dict[str, str]:
    """Returns what an editor's names of folders stand for in a file."""
    places = {"userHome": str(Path.home())}
    if path.parent.name.startswith(".") and path.parent.parent != Path.home():
        folder = path.parent.parent  # such as .vscode/mcp.json
    if folder is not None:
        places["workspaceFolder"] = str(folder)
    return places


def read_text(text: str, *, name: str | None = None) -> list[Found]:
    """Returns the servers of pasted JSON, as a server's README shows it.

    Args:
        text: A whole document, ``"name": {…}`` alone, or one server's object.
        name: What to call the server, for an object without a name.

    Raises:
        ServerConfigError: It is no JSON that describes a server, or several under one name.
    """
    text = _without_comments(text).strip().rstrip(",")
    if len(text.encode("utf-8", "replace")) > _MAX_BYTES:
        raise ServerConfigError(
            "The cell is larger than 1 MiB.", hint="Put it into a file: %mcp import FILE"
        )
    document = _parse(text if text.startswith("{") else f"{{{text}}}", "the cell")
    definitions = list(_definitions(document, ""))
    if not definitions and _is_definition(document):
        if name is None:
            raise ServerConfigError(
                "The cell describes a server without a name.",
                hint="Name it on the line: %%mcp add NAME",
            )
        definitions = [(name, document)]
    elif name is not None:
        if len(definitions) != 1:
            raise ServerConfigError(
                "The cell holds several servers, and the line one name.", hint="Leave the name out."
            )
        definitions = [(name, definitions[0][1])]
    if not definitions:
        raise ServerConfigError("The cell holds no servers.", hint=_SAMPLE)
    if name is not None:
        rules.check_name(name)
    return _told_apart([read_entry(name, entry, "the cell") for name, entry in definitions])


_SAMPLE = 'It looks like {"mcpServers": {"linear": {"url": "https://mcp.linear.app/mcp"}}}.'


def preview(found: Sequence[Found]) -> str:
    """Returns what was found as text: what would be contacted or run, what is in the way."""
    blocks = []
    source = None
    for item in found:
        lines = []
        if item.source != source:
            source = item.source
            lines.append(f"{printable(source, 300)}:")
        lines.append(f"{item.name}" + "".join(f"  ({note})" for note in item.notes))
        if item.server is None:
            assert item.problem is not None
            lines += [f"  cannot be taken: {item.problem.message}", f"  → {item.problem.hint}"]
        elif item.server.transport == "stdio":
            lines.append(trust.launch(item.server))
        else:
            lines.append(f"  contacts  {printable(item.server.url, 2048)}")
            if names := _variables(item.server.url):
                lines.append(f"  sends     in its address, this machine's {names}")
            for name, value in item.server.headers.items():
                lines.append(f"  sends     {_sent(name, value)}")
        blocks.append("\n".join(lines))
    return "\n".join(blocks)


def _sent(name: str, value: str) -> str:
    if names := _variables(value):
        return f"{name}, made of this machine's {names}"
    return f"{name}: {printable(value, 200)}"


def _variables(text: str) -> str:
    return " and ".join(match["name"] for match in rules.REFERENCE.finditer(text))


def _content(path: Path) -> str:
    try:
        # Looked at before it is opened: opening a pipe would wait for its writer.
        if not stat.S_ISREG(path.stat().st_mode):
            raise ServerConfigError(f"{path} is no file.", hint="Name a JSON file.")
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise ServerConfigError(
            f"There is no file {printable(str(path), 300)}",
            hint=f"Known clients are {', '.join(CLIENTS)}.",
        ) from None
    except (OSError, ValueError):
        raise ServerConfigError(
            f"{printable(str(path), 300)} could not be read.",
            hint="Is it yours to read? What it holds can be pasted too, below %%mcp add.",
        ) from None
    if len(content) > _MAX_BYTES:
        raise ServerConfigError(f"{path} is larger than 1 MiB.", hint="Name a file of servers.")
    return content.decode("utf-8-sig", "replace")


def _without_comments(text: str) -> str:
    # The line breaks stay, so that a message counts lines as the person sees them.
    return _NOT_JSON.sub(lambda match: match["text"] or re.sub(r"[^\n]", " ", match[0]), text)


def _parse(text: str, where: str) -> dict[str, Any]:
    text = _LAST_COMMA.sub(lambda match: match["text"] or "", text)
    try:
        document = json.loads(text)
    except RecursionError:
        raise ServerConfigError(
            f"The JSON of {where} is nested too deeply.", hint=_SAMPLE
        ) from None
    except json.JSONDecodeError as error:
        # The text around the fault is not shown: it may be a secret.
        raise ServerConfigError(
            f"{where} is not JSON (line {error.lineno}, column {error.colno}).", hint=_SAMPLE
        ) from None
    if not isinstance(document, dict):
        raise ServerConfigError(f"{where} holds no JSON object.", hint=_SAMPLE)
    return document


def _definitions(document: dict[str, Any], folder: str) -> Iterator[tuple[str, Any]]:
    """Finds the servers in whichever form: every client wraps them in its own way."""
    vscode = document.get("mcp")
    projects = document.get("projects")
    project = projects.get(folder) if isinstance(projects, dict) else None
    for holder in (document, vscode, project):
        if not isinstance(holder, dict):
            continue
        for key in ("mcpServers", "servers"):
            servers = holder.get(key)
            if isinstance(servers, dict):
                yield from servers.items()
    if not {"mcpServers", "servers", "projects"}.intersection(document):
        yield from ((name, entry) for name, entry in document.items() if _is_definition(entry))


def _is_definition(value: Any) -> bool:
    return isinstance(value, dict) and bool(
        {"command", "url", "httpUrl", "serverUrl"}.intersection(value)
    )


def _told_apart(found: list[Found]) -> list[Found]:
    """Leaves out what was found twice, and makes another server of a taken name a problem."""
    kept: dict[str, Found] = {}
    apart = []
    for item in found:
        first = kept.setdefault(item.name, item)
        if first is item:
            apart.append(item)
        elif first.server != item.server or item.server is None:
            problem = ServerConfigError(
                f"Another server above has the name {item.name!r}.",
                hint="Add it by hand under another name: %mcp help add",
            )
            apart.append(Found(item.name, item.source, problem=problem))
    return apart
