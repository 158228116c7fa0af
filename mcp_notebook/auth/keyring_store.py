"""Records in the system's keyring: the only door to ``keyring``.

Its calls may block without end and raise anything, so they are made on the store's own thread and
every failure is told by its kind alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mcp_notebook.auth.record import TokenRecord
from mcp_notebook.auth.stores import StoreKind, json_object, to_record, to_text
from mcp_notebook.errors import TokenStoreError

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

CHUNK_CHARACTERS = 1000
"""Windows keeps at most 2,560 bytes, as UTF-16: 1,280 characters (``CredWrite``, error 1783)."""

CHUNKS_AT_MOST = 64

_USER = "mcp_notebook"
_ELSEWHERE = "Keep sign-ins elsewhere with %mcp store file, or %mcp store memory."


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
                record = self._assemble(key, json_object(text))
                if record is not None:
                    return record
                torn = text  # if the header has changed meanwhile, somebody has just written
        if torn is not None:
            self.problem = "A sign-in in the keyring could not be read; it counts as absent."
        return None

    def save(self, key: str, record: TokenRecord) -> None:
        """Writes the record's chunks, then its header, then removes the chunks of the old one."""
        text = to_text(record)
        with _translated("write"):
            live = self._live_slot(key)
            header = {"generation": record.generation, "sha256": _digest(text)}
            if self._chunked:
                slot = "b" if live == "a" else "a"
                header |= {"slot": slot, "n": self._save_chunks(key, slot, text)}
            else:
                header |= {"n": 0, "data": text}
            self._set(key, json.dumps(header))
            if self._chunked or live is not None:
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
        return to_record(text)

    def _live_slot(self, key: str) -> Any:
        text = self._get(key)
        return None if text is None else json_object(text).get("slot")

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
    while (members := getattr(found, "backends", None)) is not None:
        if not members:
            raise TokenStoreError("This machine has no keyring.", hint=_ELSEWHERE)
        found = members[0]
    module, name = type(found).__module__, type(found).__name__
    if module in {"keyring.backends.fail", "keyring.backends.null"}:
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


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
