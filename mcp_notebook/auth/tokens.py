"""The keeper of the tokens: one for a process, in front of one store that all kernels share.

What was read once is answered from memory as long as the record's marker says that nobody has
written since; asking a keyring for every request would overwhelm it. A write compares the
generation it was made of with the kept one, under a lock between processes, so a late write never
undoes a sign-out. A write that fails is not lost for this process: it waits, and is tried again
with the next one. Everything that may block runs on the store's own thread.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

from mcp_notebook.auth.locks import RENEWING_SECONDS, Locks
from mcp_notebook.auth.markers import Markers
from mcp_notebook.auth.record import TokenRecord
from mcp_notebook.auth.store_choice import (
    STORE_VARIABLE,
    StoreReport,
    pinned_store,
    remember_store,
    remembered_store,
)
from mcp_notebook.auth.store_thread import StoreThread
from mcp_notebook.auth.stores import FileStore, KeyringStore, MemoryStore, StoreKind, TokenStore
from mcp_notebook.errors import TokenStoreError
from mcp_notebook.places import HOME_VARIABLE, home

__all__ = ["StaleRecordError", "StoreReport", "TokenKeeper", "open_keeper", "remember_store"]

T = TypeVar("T")


class StaleRecordError(Exception):
    """A write was made of a record that is no longer the kept one.

    Attributes:
        current: The kept record, or None where the person has signed out.
    """

    def __init__(self, current: TokenRecord | None) -> None:
        super().__init__("the record has changed meanwhile")
        self.current = current


@dataclass(frozen=True, slots=True)
class _Cached:
    stamp: bytes
    record: TokenRecord | None


@dataclass(frozen=True, slots=True)
class _Unwritten:
    """A record the store did not take (None: one it did not remove), and what it was made of."""

    record: TokenRecord | None
    base: int


class TokenKeeper:
    """Loads, keeps and forgets the tokens of every server. Its coroutines belong on one loop."""

    def __init__(self, store: TokenStore | None = None) -> None:
        """Makes a keeper; nothing is read or contacted yet.

        Args:
            store: The store to use; None for the one that is chosen (see `open_keeper`), which is
                opened on first use.

        Raises:
            TokenStoreError: ``MCP_NOTEBOOK_TOKEN_STORE`` names no store.
        """
        named = pinned_store()
        self._home = home()
        self._pinned = store is not None or named is not None
        self._wanted: StoreKind = (
            store.kind if store is not None else named or remembered_store() or "keyring"
        )
        self._store = store
        self._threads: dict[StoreKind, StoreThread] = {}
        self._locks = Locks(self._home / "locks")
        self._markers = Markers(self._home / "sign-ins")
        self._cache: dict[str, _Cached] = {}
        self._unwritten: dict[str, _Unwritten] = {}
        self._floor = 0
        self._fallback = ""
        self._failure = ""
        self._noticed = ""

    # -- reading ---------------------------------------------------------------------------------

    async def load(self, name: str, *, resource: str, fresh: bool = False) -> TokenRecord | None:
        """Returns what is kept of a server, or None.

        Args:
            name: The server's name.
            resource: The server's address; a record of another one is absent.
            fresh: Ask the store even where nothing has changed.

        Raises:
            TokenStoreError: A sign-in is kept, but the store cannot be read.
        """
        cached = self._cache.get(name)
        if fresh or cached is None or cached.stamp != self._stamp(name):
            record = await self._reread(name)
        else:
            record = cached.record
        if record is None or (record.server, record.resource) != (name, resource):
            return None
        return record

    async def _reread(self, name: str) -> TokenRecord | None:
        self._follow()
        store = await self._ready()
        try:
            return await self._run(store, lambda: self._read(store, name))
        except TokenStoreError as error:
            self._failure = error.message
            if name in self._unwritten:
                return self._unwritten[name].record
            cached = self._cache.get(name)
            if self._stamp(name) or (cached is not None and cached.record is not None):
                raise  # something is kept: to answer "nothing" would ask for a sign-in
            return None

    def _read(self, store: TokenStore, name: str) -> TokenRecord | None:
        stamp = self._stamp(name)  # first: a write in between is then noticed at the next load
        record = self._standing(name, store.load(_key(name)))
        self._cache[name] = _Cached(stamp, record)
        self._failure = ""
        return record

    def _standing(self, name: str, stored: TokenRecord | None) -> TokenRecord | None:
        """Returns the stored record, or the unwritten one where it is still the newer."""
        unwritten = self._unwritten.get(name)
        if unwritten is None:
            return stored
        overtaken = stored is not None and stored.generation > unwritten.base
        signed_out = stored is None and unwritten.base > 0 and not self._stamp(name)
        if overtaken or signed_out:
            del self._unwritten[name]
            return stored
        return unwritten.record

    # -- writing ---------------------------------------------------------------------------------

    async def save(self, record: TokenRecord) -> TokenRecord:
        """Keeps a record whatever was kept before: a person has just signed in.

        Returns:
            The record with its generation. If the store fails, it is kept in memory, and
            `describe` says so.
        """
        return await self._write(record, None)

    async def replace(self, record: TokenRecord, *, after: int) -> TokenRecord:
        """Keeps a record only if the kept one is still of the generation `after`.

        Returns:
            The record with its generation. If the store fails, it is kept in memory, and
            `describe` says so.

        Raises:
            StaleRecordError: Somebody has signed out, in, or renewed meanwhile.
        """
        return await self._write(record, after)

    async def _write(self, record: TokenRecord, after: int | None) -> TokenRecord:
        store = await self._ready()
        try:
            return await self._run(store, lambda: self._commit(store, record, after))
        except TokenStoreError as error:
            return self._hold(record, after, error)

    def _commit(self, store: TokenStore, record: TokenRecord, after: int | None) -> TokenRecord:
        name = record.server
        with self._writing(store):
            current = self._standing(name, store.load(_key(name)))
            generation = current.generation if current else None
            if after is not None and generation != after:
                self._cache[name] = _Cached(self._stamp(name), current)
                raise StaleRecordError(current)
            written = replace(record, generation=1 + (generation or self._last(name)))
            self._put(store, written)
            # Of two writes the earlier may be the one that took minutes.
            self._cache[name] = _Cached(self._stamp(name), self._standing(name, written))
            self._failure = ""
            self._write_the_unwritten(store)
        return written

    def _hold(self, record: TokenRecord, after: int | None, error: TokenStoreError) -> TokenRecord:
        name = record.server
        cached = self._cache.get(name)
        current = cached.record if cached else None
        if after is not None and cached and (current is None or current.generation != after):
            raise StaleRecordError(current) from None
        base = after if after is not None else current.generation if current else 0
        held = replace(record, generation=1 + (base or self._last(name)))
        self._unwritten[name] = _Unwritten(held, base)
        self._cache[name] = _Cached(self._stamp(name), held)
        self._failure = error.message
        return held

    def _put(self, store: TokenStore, record: TokenRecord) -> None:
        key = _key(record.server)
        store.save(key, record)
        if _shared(store):
            self._markers.touch(key, record.server, record.generation)

    def _write_the_unwritten(self, store: TokenStore) -> None:
        for name in list(self._unwritten):
            with contextlib.suppress(TokenStoreError):
                record = self._standing(name, store.load(_key(name)))
                if name not in self._unwritten:
                    continue
                if record is None:
                    self._remove(store, name)
                else:
                    self._put(store, record)
                    self._cache[name] = _Cached(self._stamp(name), record)
                del self._unwritten[name]

    # -- forgetting ------------------------------------------------------------------------------

    async def forget(self, name: str) -> None:
        """Deletes what is kept of a server, here and for every kernel.

        Raises:
            TokenStoreError: The store could not delete it. It is forgotten in this kernel, and
                deleted with the next write that succeeds.
        """
        store = await self._ready()
        try:
            await self._run(store, lambda: self._erase(store, name))
        except TokenStoreError as error:
            self._unwritten[name] = _Unwritten(None, self._last(name) or sys.maxsize)
            self._cache[name] = _Cached(self._stamp(name), None)
            self._failure = error.message
            raise TokenStoreError(
                f"The sign-in of {name} is forgotten in this kernel, but still kept: "
                f"{error.message}",
                hint=error.hint,
            ) from None

    def _erase(self, store: TokenStore, name: str) -> None:
        with self._writing(store):
            with contextlib.suppress(TokenStoreError):  # what cannot be read can be deleted
                self._read(store, name)
            self._remove(store, name)
            self._unwritten.pop(name, None)
            self._failure = ""

    def _remove(self, store: TokenStore, name: str) -> None:
        store.forget(_key(name))
        self._floor = max(self._floor, self._last(name))
        if _shared(store):
            self._markers.remove(_key(name), self._floor)
        self._cache[name] = _Cached(self._stamp(name), None)

    def _last(self, name: str) -> int:
        """Returns the greatest generation that is known of a server, forgotten ones included."""
        cached = self._cache.get(name)
        here = cached.record.generation if cached and cached.record else 0
        return max(here, self._floor, self._markers.floor(), self._markers.generation(_key(name)))

    # -- between kernels -------------------------------------------------------------------------

    @asynccontextmanager
    async def refreshing(
        self, name: str, *, seconds: float = RENEWING_SECONDS
    ) -> AsyncIterator[None]:
        """Makes its holder the only one who renews a server's tokens, in all processes.

        Whoever gets it reads with ``fresh=True`` first: it may have been renewed meanwhile.

        Raises:
            TokenStoreError: It could not be had within so many seconds.
        """
        store = await self._ready()
        async with self._locks.renewing(_key(name), shared=_shared(store), seconds=seconds):
            yield

    def _stamp(self, name: str) -> bytes:
        shared = self._store is None or _shared(self._store)
        return self._markers.stamp(_key(name)) if shared else b""

    def _writing(self, store: TokenStore) -> AbstractContextManager[None]:
        return self._locks.writing() if _shared(store) else contextlib.nullcontext()

    # -- the store -------------------------------------------------------------------------------

    async def probe(self) -> StoreReport:
        """Writes, reads and deletes something, so that a person knows before signing in.

        A keyring that could not be used before is tried again, and takes what was kept in memory.
        """
        store = await self._ready()
        try:
            if self._fallback:
                await self._move(store, await self._open(self._wanted))
                self._fallback = ""
            elif _shared(store):
                await self._run(store, lambda: self._try(store))
        except TokenStoreError as error:
            self._failure = "" if self._fallback else error.message
            self._fallback = error.message if self._fallback else ""
        return self.describe()

    def _try(self, store: TokenStore) -> None:
        store.probe()
        self._failure = ""
        if self._unwritten:
            with self._writing(store):
                self._write_the_unwritten(store)

    def describe(self) -> StoreReport:
        """Returns which store is used and what survives, without asking it."""
        store = self._store
        if store is None:
            return StoreReport(self._wanted, "the system's keyring (not used yet)", survives=True)
        problems = [self._fallback, self._failure, store.problem]
        if self._unwritten and not self._failure:
            problems.append("The last change of a sign-in could not be written.")
        named = os.environ.get(STORE_VARIABLE, "").strip().lower()
        if named and named != self._wanted:
            problems.append(f"Later kernels will use {named}: {STORE_VARIABLE} says so.")
        survives = _shared(store) and not self._unwritten
        problem = " ".join(line for line in problems if line)
        return StoreReport(store.kind, store.where, survives, problem)

    def notice(self) -> str:
        """Returns what a person should be told about the store; each trouble only once."""
        report = self.describe()
        if not report.problem or report.problem == self._noticed:
            return ""
        self._noticed = report.problem
        return str(report)

    async def change_store(self, kind: StoreKind) -> StoreReport:
        """Moves every sign-in to another store, for this and all later kernels.

        Raises:
            TokenStoreError: The other store cannot be used, or a kernel is just renewing.
        """
        old = await self._ready()
        if old.kind != kind:
            await self._move(old, await self._open(kind))
        self._wanted, self._fallback = kind, ""
        try:
            remember_store(kind)
        except TokenStoreError as error:
            self._pinned, self._failure = True, error.message
        return self.describe()

    async def _move(self, old: TokenStore, new: TokenStore) -> None:
        names = sorted({*self._markers.names(), *self._cache, *self._unwritten})
        async with AsyncExitStack() as held:
            for name in names:  # nobody renews a token that is on its way
                await held.enter_async_context(self.refreshing(name))
            try:
                records = await self._run(old, lambda: self._collect(old, names))
            except TokenStoreError:  # it is left because it does not work: what is known here goes
                found = {name: cached.record for name, cached in self._cache.items()}
                records = {name: record for name, record in found.items() if record}
            await self._run(new, lambda: self._adopt(new, records))
            self._store, self._wanted = new, new.kind
            try:
                await self._run(old, lambda: self._discard(old, records, new))
            except TokenStoreError as error:
                self._failure = f"Sign-ins are still kept in {old.where}: {error.message}"

    def _collect(self, old: TokenStore, names: list[str]) -> dict[str, TokenRecord]:
        found = {name: self._read(old, name) for name in names}
        return {name: record for name, record in found.items() if record}

    def _adopt(self, new: TokenStore, records: Mapping[str, TokenRecord]) -> None:
        with self._writing(new):
            for name, record in records.items():
                self._put(new, record)
                self._unwritten.pop(name, None)
            self._cache.clear()
            self._failure = ""

    def _discard(
        self, old: TokenStore, records: Mapping[str, TokenRecord], new: TokenStore
    ) -> None:
        with self._writing(old):
            for name, record in records.items():
                old.forget(_key(name))
                if not _shared(new):  # other kernels are to see that nothing is kept any more
                    self._markers.remove(_key(name), record.generation)

    def _follow(self) -> None:
        """Takes over what the person has chosen in another kernel."""
        if self._pinned:
            return
        chosen = remembered_store()
        if chosen is not None and chosen != self._wanted:
            self._wanted, self._store, self._fallback = chosen, None, ""

    async def _ready(self) -> TokenStore:
        if self._store is not None:
            return self._store
        problem = ""
        try:
            store = await self._open(self._wanted)
        except TokenStoreError as error:
            store, problem = MemoryStore(), error.message
        if self._store is None:  # somebody else may have waited for the same thing
            self._store, self._fallback = store, problem
        return self._store

    async def _open(self, kind: StoreKind) -> TokenStore:
        if kind == "memory":
            return MemoryStore()
        if kind == "file":
            files = FileStore(self._home / "tokens")
            await self._thread(kind).run(files.probe)
            return files
        return await self._thread(kind).run(self._open_keyring)

    def _open_keyring(self) -> TokenStore:
        store = KeyringStore(realm=self._realm())
        store.probe()
        return store

    def _realm(self) -> str:
        # Names and locks are those of one home, so the records are too.
        return _digest(str(self._home.resolve()))[:12] if os.environ.get(HOME_VARIABLE) else ""

    def _thread(self, kind: StoreKind) -> StoreThread:
        return self._threads.setdefault(kind, StoreThread())

    async def _run(self, store: TokenStore, job: Callable[[], T]) -> T:
        return await self._thread(store.kind).run(job) if _shared(store) else job()


def _shared(store: TokenStore) -> bool:
    return store.kind != "memory"


def _key(name: str) -> str:
    """Returns the name of a server's entry, lock and marker: a hash, so it is never a path."""
    return _digest(name)[:32]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


_lock = threading.Lock()
_current: tuple[tuple[object, ...], TokenKeeper] | None = None


def open_keeper() -> TokenKeeper:
    """Returns the process's one keeper; nothing is read or contacted yet.

    The store is the one that ``MCP_NOTEBOOK_TOKEN_STORE`` names (keyring, file or memory), else
    the one remembered by `TokenKeeper.change_store`, else the keyring where the machine has one
    that keeps secrets, else memory.

    Raises:
        TokenStoreError: ``MCP_NOTEBOOK_TOKEN_STORE`` names no store.
    """
    global _current
    # A forked child has neither the parent's thread nor its locks.
    fitting = (os.getpid(), home(), os.environ.get(STORE_VARIABLE))
    with _lock:
        if _current is None or _current[0] != fitting:
            _current = (fitting, TokenKeeper())
        return _current[1]


def _forget_after_fork() -> None:
    global _current, _lock
    _current, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
