"""Where token records are kept: the keyring, private files, or memory.

A store is blocking and dumb: it keeps one record under one key, all of it or nothing. Who may
write, what is cached and which thread waits is the keeper's business (`auth.tokens`). Keys are
hashes, so a server's name never becomes a path or a service name.

This is the only door to ``keyring``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from mcp_notebook.auth.record import TokenRecord
from mcp_notebook.errors import TokenStoreError
from mcp_notebook.places import private_directory, write_private

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

StoreKind = Literal["keyring", "file", "memory"]

CHUNK_CHARACTERS = 1000
"""Windows keeps at most 2,560 bytes, as UTF-16: 1,280 characters (``CredWrite``, error 1783)."""

CHUNKS_AT_MOST = 64
FILE_BYTES_AT_MOST = 1024 * 1024

_ELSEWHERE = "Keep sign-ins elsewhere with %mcp store file, or %mcp store memory."


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
        """The directory."""
        return str(self._directory)

    def load(self, key: str) -> TokenRecord | None:
        """Returns the record, or None where there is none that this version can read.

        Raises:
            TokenStoreError: The file is a link, somebody else's, or readable by others.
        """
        with self._translated("read"):
            content = self._read(self._path(key))
        if content is None:
            return None
        record = _record(content)
        if record is None:
            self.problem = f"{self._path(key)} is not a record of this version; it is left alone."
        return record

    def save(self, key: str, record: TokenRecord) -> None:
        """Writes the record, on the disk itself when this returns."""
        with self._translated("write"):
            path = self._path(key)
            self._check_directory()
            before = self._read(path)
            if before is not None and _record(before) is None:
                path.replace(self._aside(key))  # perhaps a newer version's: not ours to destroy
            write_private(path, _text(record).encode())

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


class KeyringStore:
    """Keeps records in the system's keyring.

    On Windows a value is cut into chunks, each under a service of its own (a second user name
    under one service makes the backend move entries about). A header, written last, says how
    many chunks there are, their hash, and in which of two slots; a record whose chunks do not
    agree with its header is absent. The next record goes to the other slot, so the old one stays
    readable until the new header stands. Elsewhere the header holds the record itself: macOS asks
    its question once for each item.
    """

    kind: StoreKind = "keyring"

    def __init__(
        self, *, realm: str = "", backend: KeyringBackend | None = None, chunked: bool | None = None
    ) -> None:
        """Opens the keyring.

        Args:
            realm: Keeps records of different homes apart.
            backend: The backend to use; None for the one that ``keyring`` finds.
            chunked: Whether values are cut; None for where the platform needs it.

        Raises:
            TokenStoreError: There is no backend that keeps secrets; see `usable_backend`.
        """
        with _translated("open"):
            self._backend = usable_backend(backend)
        self._prefix = f"mcp_notebook:{realm}" if realm else "mcp_notebook"
        self._chunked = sys.platform == "win32" if chunked is None else chunked
        self.problem = ""

    @property
    def where(self) -> str:
        """The backend's name."""
        return f"the system's keyring ({type(self._backend).__module__.rpartition('.')[2]})"

    def load(self, key: str) -> TokenRecord | None:
        """Returns the record, or None where there is no whole one."""
        torn = None
        with _translated("read"):
            while (text := self._get(key)) is not None and text != torn:
                record = self._assemble(key, _json_object(text))
                if record is not None:
                    return record
                torn = text  # if the header has changed meanwhile, somebody has just written
        if torn is not None:
            self.problem = "A sign-in in the keyring could not be read; it counts as absent."
        return None

    def save(self, key: str, record: TokenRecord) -> None:
        """Writes the record's chunks, then its header, then removes the chunks of the old one."""
        text = _text(record)
        with _translated("write"):
            live = self._live_slot(key)
            header = {"generation": record.generation, "sha256": _digest(text)}
            if self._chunked:
                slot = "b" if live == "a" else "a"
                header |= {"slot": slot, "n": self._save_chunks(key, slot, text)}
            else:
                header |= {"n": 0, "data": text}
            self._set(key, json.dumps(header))
            for stale in {"a", "b"} - {header.get("slot")}:
                self._clear(key, str(stale))

    def forget(self, key: str) -> None:
        """Removes the header, so that nothing is read any more, and then every chunk."""
        with _translated("delete"):
            if self._get(key) is not None:
                self._backend.delete_password(self._service(key), _USER)
            for slot in "ab":
                self._clear(key, slot)

    def probe(self) -> None:
        """Writes, reads and deletes an entry.

        Raises:
            TokenStoreError: The keyring fails, or forgets what it was given.
        """
        # A name of its own: another kernel may be probing at the same time.
        name, value = f"probe/{secrets.token_hex(8)}", secrets.token_hex(8)
        with _translated("write"):
            self._set(name, value)
            found = self._get(name)
            if found is not None:
                self._backend.delete_password(self._service(name), _USER)
        if found != value:
            raise TokenStoreError("The keyring forgets what it is given.", hint=_ELSEWHERE)

    def _save_chunks(self, key: str, slot: str, text: str) -> int:
        chunks = [text[at : at + CHUNK_CHARACTERS] for at in range(0, len(text), CHUNK_CHARACTERS)]
        if len(chunks) > CHUNKS_AT_MOST:
            raise TokenStoreError("The tokens are too long for the keyring.", hint=_ELSEWHERE)
        self._clear(key, slot)  # what a write that was cut off has left
        try:
            for number, chunk in enumerate(chunks):
                self._set(f"{key}/{slot}{number}", chunk)
        except BaseException:
            with contextlib.suppress(Exception):
                self._clear(key, slot)
            raise
        return len(chunks)

    def _assemble(self, key: str, header: dict[str, Any]) -> TokenRecord | None:
        count, text = header.get("n"), header.get("data")
        if count != 0:
            if not isinstance(count, int) or not 0 < count <= CHUNKS_AT_MOST:
                return None
            chunks = [self._get(f"{key}/{header.get('slot')}{number}") for number in range(count)]
            text = "".join(chunk or "" for chunk in chunks)
        if not isinstance(text, str) or header.get("sha256") != _digest(text):
            return None
        return _record(text)

    def _live_slot(self, key: str) -> Any:
        text = self._get(key)
        return None if text is None else _json_object(text).get("slot")

    def _clear(self, key: str, slot: str) -> None:
        """Removes a slot's chunks, the last first: what is left is never a set with a hole."""
        count = 0
        while count < CHUNKS_AT_MOST and self._get(f"{key}/{slot}{count}") is not None:
            count += 1
        for number in reversed(range(count)):
            self._backend.delete_password(self._service(f"{key}/{slot}{number}"), _USER)

    def _service(self, entry: str) -> str:
        return f"{self._prefix}/{entry}"

    def _get(self, entry: str) -> str | None:
        return self._backend.get_password(self._service(entry), _USER)

    def _set(self, entry: str, value: str) -> None:
        self._backend.set_password(self._service(entry), _USER, value)


_USER = "mcp_notebook"


def usable_backend(backend: KeyringBackend | None = None) -> KeyringBackend:
    """Returns a backend that really keeps secrets.

    ``fail`` and ``null`` keep nothing, plaintext ones keep no secret, and what keyring itself
    gives a priority below 1 it does not recommend. Of a chain the first member is looked at, and
    used: the others would be read from but never written to.

    Raises:
        TokenStoreError: The machine has none.
    """
    import keyring

    found: Any = backend or keyring.get_keyring()
    while members := getattr(found, "backends", ()):
        found = members[0]
    module, name = type(found).__module__, type(found).__name__
    keeps_nothing = module in {"keyring.backends.fail", "keyring.backends.null"}
    if keeps_nothing or module == "keyring.backends.chainer":
        raise TokenStoreError("This machine has no keyring.", hint=_ELSEWHERE)
    if "plaintext" in name.lower() or found.priority < 1:
        raise TokenStoreError(
            f"The only keyring here ({module}.{name}) does not protect what it keeps.",
            hint=_ELSEWHERE,
        )
    chosen: KeyringBackend = found
    return chosen


@contextlib.contextmanager
def _translated(doing: str) -> Iterator[None]:
    # Backends raise OSError, AssertionError, EOFError, pywintypes.error, D-Bus and import errors,
    # with values in their text: the kind alone is told.
    try:
        yield
    except TokenStoreError:
        raise
    except Exception as error:
        kind = type(error).__name__
    else:
        return
    if kind == "NoKeyringError":
        raise TokenStoreError("This machine has no keyring.", hint=_ELSEWHERE) from None
    if kind == "KeyringLocked":
        raise TokenStoreError(
            "The keyring is locked.", hint=f"Unlock it and try again. {_ELSEWHERE}"
        ) from None
    raise TokenStoreError(
        f"The keyring could not {doing} ({kind}).", hint=f"Is it running? {_ELSEWHERE}"
    ) from None


def _text(record: TokenRecord) -> str:
    return json.dumps(record.to_json(), separators=(",", ":"))  # ASCII: one character, one unit


def _record(text: str | bytes) -> TokenRecord | None:
    return TokenRecord.from_json(_json_object(text))


def _json_object(text: str | bytes) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
