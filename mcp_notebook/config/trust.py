"""Which programs on this machine may be started as servers.

A server that is a program runs with all the rights of the person, so it starts only after its
exact command was shown and allowed. What was allowed is the command, not the name: when the
program, an argument, a variable, the folder, or the file that the program's name leads to changes,
it is asked for again (CVE-2025-54136, "MCPoison", is what happens otherwise).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path, PurePath
from typing import Any

from mcp_notebook.config.places import home
from mcp_notebook.config.servers import Server
from mcp_notebook.config.statefile import StateFile
from mcp_notebook.errors import ServerConfigError

_KEPT = 20  # allowed commands per name; one name may mean another file in another folder

_SHELLS = frozenset({"bash", "cmd", "dash", "fish", "ksh", "powershell", "pwsh", "sh", "zsh"})
_INTERPRETERS = frozenset({"bun", "deno", "node", "perl", "php", "python", "ruby"})
_CODE_FLAGS = frozenset(
    {
        "-c",
        "-e",
        "-ec",
        "-lc",
        "-ic",
        "-p",
        "/c",
        "/k",
        "--eval",
        "--print",
        "-command",
        "-encodedcommand",
    }
)
_RUNNERS = frozenset({"bunx", "npx", "pipx", "pnpm", "uvx", "yarn"})
_FETCHERS = frozenset({"curl", "wget"})
_RAISERS = frozenset({"doas", "runas", "su", "sudo"})
_LOADING = frozenset(
    {
        "BASH_ENV",
        "DYLD_INSERT_LIBRARIES",
        "DYLD_LIBRARY_PATH",
        "ENV",
        "LD_LIBRARY_PATH",
        "LD_PRELOAD",
        "NODE_OPTIONS",
        "NODE_PATH",
        "PATH",
        "PERL5OPT",
        "PYTHONHOME",
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "RUBYOPT",
    }
)
_MOUNT = re.compile(r"(?:type=bind,.*)?(?:source=|src=)?(?P<host>[^:,]+)[:,].*")
_WIDE = frozenset({"/", "~", "$HOME", "/etc", "/home", "/root", "/Users", "/var/run/docker.sock"})


class TrustBook:
    """The file of what was allowed: names and fingerprints, no commands and no values.

    Args:
        path: The file; ``trusted.json`` in `home` unless told.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._file = StateFile(path or home() / "trusted.json", "the list of trusted programs")

    def is_trusted(self, server: Server, environ: Mapping[str, str] | None = None) -> bool:
        """Tells whether this very command may be started; a server with a URL starts nothing."""
        if server.transport != "stdio":
            return True
        return fingerprint(server, environ) in _list(self._file.read().get(server.added_as))

    def check(self, server: Server, environ: Mapping[str, str] | None = None) -> None:
        """Lets a server pass that may be started.

        Raises:
            ServerConfigError: It was not allowed, or it changed; the message shows what would run.
        """
        if not self.is_trusted(server, environ):
            known = bool(self._file.read().get(server.added_as))
            what = "was not allowed to be started yet"
            if known:
                what = "changed since it was allowed to be started"
            raise ServerConfigError(
                f"The program of {server.name!r} {what}:\n{launch(server, environ)}",
                hint=f"If that is what you want to run: %mcp trust {server.added_as}",
            )

    def trust(self, server: Server, environ: Mapping[str, str] | None = None) -> None:
        """Allows this very command from now on.

        Raises:
            ServerConfigError: The program is not found, or the file cannot be written.
        """
        if resolved(server, environ) is None:
            raise ServerConfigError(
                f"The program {_quoted(server.command[0])} is not found on this machine.",
                hint="Install it, or add the server with its whole path; then again: "
                f"%mcp trust {server.added_as}",
            )
        mark = fingerprint(server, environ)
        with self._file.changing() as document:
            others = [m for m in _list(document.get(server.added_as)) if m != mark]
            document[server.added_as] = [*others, mark][-_KEPT:]

    def forget(self, name: str) -> None:
        """Takes back what was allowed under a name."""
        with self._file.changing() as document:
            document.pop(name, None)


def fingerprint(server: Server, environ: Mapping[str, str] | None = None) -> str:
    """Returns a hash of all that decides what runs (hexadecimal SHA-256).

    These are the command and its arguments, the variables it is given (as written: a reference
    counts by its name), the folder, the file the program's name leads to, and the file of every
    argument that is one: ``python server.py`` is another program in another folder.
    """
    folder = Path(server.cwd).expanduser() if server.cwd else Path.cwd()
    files = [_real(folder / word) for word in server.command[1:] if _is_file(folder / word)]
    what = [
        list(server.command),
        sorted(server.env.items()),
        server.cwd,
        resolved(server, environ),
        files,
    ]
    return hashlib.sha256(json.dumps(what).encode("utf-8", "surrogatepass")).hexdigest()


def resolved(server: Server, environ: Mapping[str, str] | None = None) -> str | None:
    """Returns the file that would be run, links followed, or ``None`` where there is none."""
    environ = os.environ if environ is None else environ
    program = server.command[0]
    if len(PurePath(program).parts) > 1 and server.cwd:
        program = str(Path(server.cwd).expanduser() / program)
    found = shutil.which(program, path=environ.get("PATH"))
    return _real(Path(found)) if found else None


def launch(server: Server, environ: Mapping[str, str] | None = None) -> str:
    """Returns what would run, line by line: whole, escaped, and without a variable's value."""
    lines = [f"  runs      {' '.join(_quoted(word) for word in server.command)}"]
    found = resolved(server, environ)
    lines.append(f"  which is  {_quoted(found) if found else 'not found on this machine'}")
    lines.append(f"  in        {_quoted(server.cwd) if server.cwd else 'the folder of the kernel'}")
    if server.env:
        lines.append(f"  given     {', '.join(sorted(server.env))}")
    lines.extend(f"  careful:  {danger}" for danger in dangers(server))
    return "\n".join(lines)


def dangers(server: Server) -> tuple[str, ...]:
    """Returns what is risky about a program, in words. That nothing is found proves nothing."""
    found = []
    names = [_program_name(word) for word in server.command]
    flags = {word.lower() for word in server.command[1:]}
    if _RAISERS.intersection(names):
        found.append("it asks for the rights of another user")
    if _SHELLS.intersection(names[:1]) or (_SHELLS.intersection(names) and flags & _CODE_FLAGS):
        found.append("it is a shell, which carries out whatever its arguments say")
    elif _INTERPRETERS.intersection(names) and flags & _CODE_FLAGS:
        found.append("its code stands in the arguments themselves")
    if names[:1] and names[0] in _RUNNERS and flags & {"-c", "--call"}:
        found.append("it hands its arguments to a shell")
    elif names[:1] and names[0] in _RUNNERS:
        found.append("it fetches a package and runs it; which version may change from day to day")
    if _FETCHERS.intersection(names):
        found.append("it fetches something from the network")
    if {"docker", "podman"}.intersection(names[:1]):
        found.extend(_container_dangers(server.command))
    loading = sorted(_LOADING.intersection(name.upper() for name in server.env))
    if loading:
        found.append(f"{', '.join(loading)} changes what the program loads")
    return tuple(found)


def _container_dangers(command: tuple[str, ...]) -> list[str]:
    found = []
    for before, word in pairwise(command):
        if word.startswith(("--volume=", "--mount=")):
            value = word.partition("=")[2]
        elif word.startswith("-v"):
            value = word[2:].lstrip("=")
        else:
            value = word if before in {"-v", "--volume", "--mount"} else ""
        mount = _MOUNT.fullmatch(value)
        host = (mount["host"].rstrip("/") or "/") if mount else ""
        if host in _WIDE or host.endswith("docker.sock"):
            found.append(f"the container sees {host} of this machine")
    if "--privileged" in command:
        found.append("the container has the rights of this machine's administrator")
    return list(dict.fromkeys(found))


def _program_name(word: str) -> str:
    name = re.split(r"[/\\]", word)[-1].lower()
    return re.sub(r"(\.exe|\.cmd|\.bat|[\d.]+)$", "", name)


def _quoted(word: str) -> str:
    """Returns a word of a command, whole, with nothing in it that hides or moves text."""
    if re.fullmatch(r"[\w@%+=:,./\\~-]+", word, re.ASCII):
        return word
    # `ascii` shows bidirectional and zero-width characters, which would make it read otherwise.
    return ascii(word)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _real(path: Path) -> str:
    return os.path.realpath(path)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
