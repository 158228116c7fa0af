"""Where token records are kept: what a store is, the one of private files, and memory.

A store is blocking and dumb: it keeps one record under one key, all of it or nothing. Who may
write, what is cached and which thread waits is the keeper's business (`auth.tokens`). Keys are
hashes, so a server's name never becomes a path or a service name. The keyring has a room of its
own (`auth.keyring_store`).
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Protocol

from mcp_notebook.auth.record import TokenRecord
from mcp_notebook.config.places import private_directory, write_private
from mcp_notebook.errors import TokenStoreError

StoreKind = Literal["keyring", "file", "memory"]

FILE_BYTES_AT_MOST = 1024 * 1024


class TokenStore(Protocol):
    """What every store does. All of it may block; every failure is a `TokenStoreError`.

    Attributes:
        kind: Which one it is.
        problem: What it met that a person should know, or ``""``.
    """

    kind: StoreKind
    problem: str

    @property
    def where(self) -> str:
        """Where the records are, for people."""
        ...

    def load(self, key: str) -> TokenRecord | None:
        """Returns the record; None where there is none, or only part of one, or a foreign one."""
        ...

    def save(self, key: str, record: TokenRecord) -> None:
        """Keeps the record in place of the one there was; that one stands if this fails."""
        ...

    def forget(self, key: str) -> None:
        """Removes every trace of the key; there need not be any."""
        ...

    def probe(self) -> None:
        """Writes, reads and deletes something, as a store that can be made may still be dead."""
        ...


def is_shared(store: TokenStore) -> bool:
    """Tells whether other processes see what the store keeps."""
    return store.kind != "memory"


class MemoryStore:
    """Keeps records as long as the process lives."""

    kind: StoreKind = "memory"
    problem = ""
    where = "the memory of this kernel"

    def __init__(self) -> None:
        self._records: dict[str, TokenRecord] = {}

    def load(self, key: str) -> TokenRecord | None:
        """Returns the record, or None."""
        return self._records.get(key)

    def save(self, key: str, record: TokenRecord) -> None:
        """Keeps the record."""
        self._records[key] = record

    def forget(self, key: str) -> None:
        """Removes the record."""
        self._records.pop(key, None)

    def probe(self) -> None:
        """Does nothing: memory works."""


class FileStore:
    """Keeps each record in a file of its own that only its owner can read (0600, unencrypted).

    One file for each server, not one for all: a write then replaces one record atomically and
    cannot lose a neighbour's. Links, foreign files and files that others can read are refused:
    whoever put them there could read the tokens.
    """

    kind: StoreKind = "file"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.problem = ""

    @property
    def where(self) -> str:
        """The directory, for people."""
        return f"files in {self._directory}"

    def load(self, key: str) -> TokenRecord | None:
        """Returns the record, or None where there is none that this version can read.

        Raises:
            TokenStoreError: The file is a link, somebody else's, or readable by others.
        """
        with self._translated("read"):
            content = self._read(self._path(key))
        if content is None:
            return None
        record = to_record(content)
        if record is None:
            self.problem = f"{self._path(key)} is not a record of this version; it is left alone."
        return record

    def save(self, key: str, record: TokenRecord) -> None:
        """Writes the record, on the disk itself when this returns."""
        with self._translated("write"):
            path = self._path(key)
            self._check_directory()
            before = self._read(path)
            if before is not None and to_record(before) is None:
                path.replace(self._aside(key))  # perhaps a newer version's: not ours to destroy
            write_private(path, to_text(record).encode())

    def forget(self, key: str) -> None:
        """Deletes the file, whatever it is, and what was set aside."""
        with self._translated("delete"):
            self._path(key).unlink(missing_ok=True)
            self._aside(key).unlink(missing_ok=True)

    def probe(self) -> None:
        """Writes a file, reads it and deletes it."""
        path = self._directory / f"probe-{secrets.token_hex(8)}"
        with self._translated("write"):
            self._check_directory()
            write_private(path, b"probe")
            try:
                if self._read(path) != b"probe":
                    raise OSError
            finally:
                path.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._directory / f"{key}.json"

    def _aside(self, key: str) -> Path:
        return self._directory / f"{key}.aside"

    def _check_directory(self) -> None:
        private_directory(self._directory)
        self._check(self._directory, self._directory.lstat(), stat.S_ISDIR)

    def _read(self, path: Path) -> bytes | None:
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        try:
            if path.is_symlink():
                raise _unsafe(path, "is a link")
            descriptor = os.open(path, flags)
        except FileNotFoundError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            self._check(path, os.fstat(descriptor), stat.S_ISREG)
            return file.read(FILE_BYTES_AT_MOST)

    def _check(self, path: Path, found: os.stat_result, is_expected: Any) -> None:
        if not is_expected(found.st_mode):
            raise _unsafe(path, "is a link, or no file of ours")
        if os.name == "nt":  # the user's profile is private by its ACL; there are no modes
            return
        if found.st_uid != os.geteuid():
            raise _unsafe(path, "belongs to another user")
        if found.st_mode & 0o077:
            raise _unsafe(path, "is open to other users")

    @contextlib.contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or type(error).__name__
            failed = TokenStoreError(
                f"The sign-in file could not be {_PAST[doing]} in {self._directory} ({reason}).",
                hint="Make room or give yourself access there. %mcp store memory goes on without.",
            )
        else:
            return
        raise failed from None


_PAST = {"read": "read", "write": "written", "delete": "deleted"}


def _unsafe(path: Path, what: str) -> TokenStoreError:
    return TokenStoreError(
        f"{path} {what}: sign-ins are not kept there.",
        hint=f"If it is yours alone, chmod go= {path}; otherwise delete it and sign in again.",
    )


def to_text(record: TokenRecord) -> str:
    """Returns a record as the text a store keeps."""
    return json.dumps(record.to_json(), separators=(",", ":"))  # ASCII: one character, one unit


def to_record(text: str | bytes) -> TokenRecord | None:
    """Returns the record of a kept text, or None where it is none of this version."""
    return TokenRecord.from_json(json_object(text))


def json_object(text: str | bytes) -> dict[str, Any]:
    """Returns a JSON object; an empty one where the text is none."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
