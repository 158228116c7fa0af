"""What this process knows of the kept records, and every read-compare-write of them.

All of it may block and runs on the store's thread, one job at a time. The memory in front of the
store holds what was read, with the marker it was read under, and what the store did not take: that
is not lost for this process, and is tried again with the next write.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from mcp_notebook.auth.locks import Locks
from mcp_notebook.auth.markers import Markers
from mcp_notebook.auth.record import TokenRecord
from mcp_notebook.auth.stores import TokenStore, is_shared
from mcp_notebook.errors import TokenStoreError


class StaleRecordError(Exception):
    """A write was made of a record that is no longer the kept one.

    Attributes:
        current: The kept record, or None where the person has signed out.
    """

    def __init__(self, current: TokenRecord | None) -> None:
        super().__init__("the record has changed meanwhile")
        self.current = current


@dataclass(frozen=True, slots=True)
class Cached:
    """What was read, and the stamp of its marker at that time."""

    stamp: bytes
    record: TokenRecord | None


@dataclass(frozen=True, slots=True)
class Unwritten:
    """A record the store did not take (None: one it did not remove), and what it was made of."""

    record: TokenRecord | None
    base: int


class Ledger:
    """The records of one home, as this process sees them.

    Attributes:
        unwritten: What the store still has to take, by server.
        failure: Why the store failed last, or ``""`` where it works.
    """

    def __init__(self, home: Path, locks: Locks) -> None:
        self._locks = locks
        self._markers = Markers(home / "sign-ins")
        self._cache: dict[str, Cached] = {}
        self._floor = 0
        self.unwritten: dict[str, Unwritten] = {}
        self.failure = ""

    def names(self) -> list[str]:
        """Returns the servers of which something is kept or known."""
        return sorted({*self._markers.names(), *self._cache, *self.unwritten})

    def stamp(self, name: str, *, shared: bool) -> bytes:
        """Returns what changes whenever any process writes the record of a server."""
        return self._markers.stamp(entry_key(name)) if shared else b""

    def cached(self, name: str) -> Cached | None:
        """Returns what was read or written last."""
        return self._cache.get(name)

    def known(self) -> dict[str, TokenRecord]:
        """Returns all records in memory, for when the store cannot be read."""
        return {name: item.record for name, item in self._cache.items() if item.record}

    # -- on the store's thread -------------------------------------------------------------------

    def read(self, store: TokenStore, name: str) -> TokenRecord | None:
        """Returns the record that counts, from the store."""
        stamp = self._stamp(store, name)  # first: a write in between is noticed at the next load
        record = self._standing(store, name, store.load(entry_key(name)))
        self._cache[name] = Cached(stamp, record)
        self.failure = ""
        return record

    def commit(self, store: TokenStore, record: TokenRecord, after: int | None) -> TokenRecord:
        """Writes a record, upon the generation `after` only where one is given."""
        name = record.server
        with self._writing(store):
            current = self._standing(store, name, store.load(entry_key(name)))
            taken_up = self.unwritten.get(name)
            generation = current.generation if current else None
            if after is not None and generation != after:
                self._cache[name] = Cached(self._stamp(store, name), current)
                raise StaleRecordError(current)
            written = replace(record, generation=1 + (generation or self._last(name)))
            self._put(store, written)
            if self.unwritten.get(name) is taken_up:
                self.unwritten.pop(name, None)
            # Otherwise this write took minutes, was given up, and a later one is waiting.
            standing = self._standing(store, name, written)
            self._cache[name] = Cached(self._stamp(store, name), standing)
            self.failure = ""
            self._write_the_unwritten(store)
        return written

    def erase(self, store: TokenStore, name: str) -> None:
        """Removes a server's record and its marker."""
        with self._writing(store):
            with contextlib.suppress(TokenStoreError):  # what cannot be read can be deleted
                self.read(store, name)
            self._remove(store, name)
            self.unwritten.pop(name, None)
            self.failure = ""

    def probe(self, store: TokenStore) -> None:
        """Tries the store, and writes what it did not take before."""
        store.probe()
        self.failure = ""
        if self.unwritten:
            with self._writing(store):
                self._write_the_unwritten(store)

    def collect(self, store: TokenStore, names: Iterable[str]) -> dict[str, TokenRecord]:
        """Returns the records of these servers from the store that is left."""
        found = {name: self.read(store, name) for name in names}
        return {name: record for name, record in found.items() if record}

    def adopt(self, store: TokenStore, records: Mapping[str, TokenRecord]) -> None:
        """Writes records into the store that is moved to."""
        with self._writing(store):
            for name, record in records.items():
                self._put(store, record)
                self.unwritten.pop(name, None)
            self._cache.clear()
            self.failure = ""

    def discard(
        self, store: TokenStore, records: Mapping[str, TokenRecord], new: TokenStore
    ) -> None:
        """Removes from the store that was left what the new one has taken."""
        with self._writing(store):
            removals = [name for name, item in self.unwritten.items() if item.record is None]
            for name in [*records, *removals]:
                store.forget(entry_key(name))
                self.unwritten.pop(name, None)
            if not is_shared(new):  # other kernels are to see that nothing is kept any more
                for name, record in records.items():
                    self._markers.remove(entry_key(name), record.generation)

    # -- where the store fails -------------------------------------------------------------------

    def hold(
        self, record: TokenRecord, after: int | None, error: TokenStoreError, *, shared: bool
    ) -> TokenRecord:
        """Keeps in memory what could not be written."""
        name = record.server
        cached = self._cache.get(name)
        current = cached.record if cached else None
        if after is not None and cached and (current is None or current.generation != after):
            raise StaleRecordError(current)
        latest = current.generation if current else self._last(name)
        held = replace(record, generation=1 + (after if after is not None else latest))
        if after is None and current is None:
            # What a failed sign-out left in the store must not overtake this sign-in.
            removal = self.unwritten.get(name)
            base = removal.base if removal else 0
        else:
            base = held.generation - 1
        self._await_writing(name, Unwritten(held, base), error, shared=shared)
        return held

    def hold_removal(self, name: str, error: TokenStoreError, *, shared: bool) -> None:
        """Forgets in memory what could not be removed."""
        base = self._last(name) or sys.maxsize
        self._await_writing(name, Unwritten(None, base), error, shared=shared)

    def _await_writing(
        self, name: str, unwritten: Unwritten, error: TokenStoreError, *, shared: bool
    ) -> None:
        self.unwritten[name] = unwritten
        self._cache[name] = Cached(self.stamp(name, shared=shared), unwritten.record)
        self.failure = error.message

    def _standing(
        self, store: TokenStore, name: str, stored: TokenRecord | None
    ) -> TokenRecord | None:
        """Returns the stored record, or the unwritten one where it is still the newer."""
        unwritten = self.unwritten.get(name)
        if unwritten is None:
            return stored
        overtaken = stored is not None and stored.generation > unwritten.base
        # Without its marker an absent record was forgotten; with it, the store has lost it.
        signed_out = stored is None and unwritten.base > 0 and not self._stamp(store, name)
        if overtaken or signed_out:
            del self.unwritten[name]
            return stored
        return unwritten.record

    def _write_the_unwritten(self, store: TokenStore) -> None:
        for name in list(self.unwritten):
            with contextlib.suppress(TokenStoreError):  # it waits for the next write
                record = self._standing(store, name, store.load(entry_key(name)))
                if name not in self.unwritten:
                    continue
                if record is None:
                    self._remove(store, name)
                else:
                    self._put(store, record)
                    self._cache[name] = Cached(self._stamp(store, name), record)
                del self.unwritten[name]

    # -- entries and markers ---------------------------------------------------------------------

    def _put(self, store: TokenStore, record: TokenRecord) -> None:
        key = entry_key(record.server)
        store.save(key, record)
        if is_shared(store):
            self._markers.touch(key, record.server, record.generation)

    def _remove(self, store: TokenStore, name: str) -> None:
        store.forget(entry_key(name))
        self._floor = max(self._floor, self._last(name))
        if is_shared(store):
            self._markers.remove(entry_key(name), self._floor)
        self._cache[name] = Cached(self._stamp(store, name), None)

    def _last(self, name: str) -> int:
        """Returns the greatest generation that is known of a server, forgotten ones included."""
        cached = self._cache.get(name)
        here = cached.record.generation if cached and cached.record else 0
        marked = self._markers.generation(entry_key(name))
        return max(here, marked, self._floor, self._markers.floor())

    def _stamp(self, store: TokenStore, name: str) -> bytes:
        return self.stamp(name, shared=is_shared(store))

    def _writing(self, store: TokenStore) -> AbstractContextManager[None]:
        return self._locks.writing() if is_shared(store) else contextlib.nullcontext()


def entry_key(name: str) -> str:
    """Returns the name of a server's entry, lock and marker: a hash, so it is never a path."""
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32]
