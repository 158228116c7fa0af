"""Where this package's files live, and how one is written so that it is private and never torn.

Everything is under one directory of the user, `home`. Directories are made on the first write
(0700), files are 0600 from the moment they exist, and a new content takes the place of the old in
one step: a reader meets either, never half of one.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from pathlib import Path
from typing import BinaryIO

HOME_VARIABLE = "MCP_NOTEBOOK_HOME"

_REPLACE_TRIES = 10


def home() -> Path:
    """Returns the directory of this user's files; it need not exist yet.

    ``MCP_NOTEBOOK_HOME`` moves it; otherwise it is where the platform keeps a user's data.
    """
    chosen = os.environ.get(HOME_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute()
    from platformdirs import user_data_path

    return user_data_path("mcp_notebook", appauthor=False)


def private_directory(path: Path) -> Path:
    """Makes a directory, and the missing ones above it, for its owner alone (0700).

    Returns:
        The same path.

    Raises:
        OSError: It cannot be made.
    """
    if not path.is_dir():
        private_directory(path.parent)
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
    return path


def write_private(path: Path, content: bytes) -> None:
    """Puts a file in place atomically, readable by its owner alone whatever the umask.

    Args:
        path: The file; its directory is made where it is missing.
        content: All of its new content, on the disk itself when this returns.

    Raises:
        OSError: It could not be written; the old content stands.
    """
    private_directory(path.parent)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
    # O_EXCL neither follows a link nor opens what somebody else has put there.
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _replace(draft, path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
    _sync_directory(path.parent)


def end_of_lines(file: BinaryIO) -> int:
    """Returns where the last whole line of a file ends: what is behind was not written to its end.

    Args:
        file: An open file; its position is not kept.
    """
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - 65536)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _replace(draft: Path, path: Path) -> None:
    for _ in range(_REPLACE_TRIES if os.name == "nt" else 0):
        try:
            draft.replace(path)
        except PermissionError:  # Windows: somebody is just reading the old one
            time.sleep(0.02)
        else:
            return
    draft.replace(path)


def _sync_directory(path: Path) -> None:
    if os.name == "nt":  # a directory cannot be opened there
        return
    # Some network file systems refuse it; the file itself is on the disk already.
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
